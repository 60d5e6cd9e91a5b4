"""How a backup is inspected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.keys import Identity
from strongroom.model import Depth


class InspectOptions(NamedTuple):
    """How deep to inspect, with which keys, and whether the catalog records it.

    ``shows`` is for a command that shows what a backup claims, whoever made it.
    """

    depth: Depth
    output: Output
    place: InstallationPlace
    keys: Sequence[Identity] = ()
    entering: bool = False
    shows: bool = False
