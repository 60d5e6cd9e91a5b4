"""Machines to which something was done once: another one gets copies of the files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Machine

Work = Callable[[Machine], Any]


class Furnish:
    """Gives a machine the files that some works left on the first machine that asked for them.

    Each test's machine has the same home, whose path stands in configurations and databases.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[tuple[Work, ...], tuple[Path, Any]] = {}

    def __call__(self, machine: Machine, *works: Work) -> Any:
        """Have works done in their order, or those still missing; return what the last returned back then."""
        done = len(before := machine.done)
        assert works[:done] == before[: len(works)], "something else was done to this machine before"
        kept = max((n for n in range(done + 1, len(works) + 1) if works[:n] in self._kept), default=done)
        if kept > done:
            machine.clear()
            shutil.copytree(self._kept[works[:kept]][0], machine.home, symlinks=True, dirs_exist_ok=True)
        for number in range(kept, len(works)):
            self._keep(machine, works[: number + 1], works[number](machine))
        machine.done = max(before, works, key=len)
        return self._kept[works][1]

    def _keep(self, machine: Machine, works: tuple[Work, ...], returned: Any) -> None:
        kept = self._folder / str(len(self._kept))
        shutil.copytree(machine.home, kept, symlinks=True)
        self._kept[works] = kept, returned


def furnished(*works: Work) -> Any:
    """Make a fixture: the machine, with works done to it."""

    @pytest.fixture
    def made(machine: Machine, furnish: Furnish) -> Machine:
        furnish(machine, *works)
        return machine

    return made
