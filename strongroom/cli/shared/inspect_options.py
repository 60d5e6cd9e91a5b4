"""How a backup is inspected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import Place
from strongroom.keys import Identity
from strongroom.model import Depth


class InspectOptions(NamedTuple):
    """How deep to inspect, with which keys, whose signature counts, and whether the catalog records it."""

    depth: Depth
    output: Output
    place: Place
    keys: Sequence[Identity] = ()
    typed: Sequence[str] = ()
    entering: bool = False
