"""What the linter of imports cannot hold, because it knows packages only."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def imported(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_the_beat_schedule_imports_the_configuration_readers_of_schedules_and_names_alone() -> None:
    beyond = {
        name
        for name in imported(ROOT / "beat_schedule.py")
        if name.split(".")[0] not in sys.stdlib_module_names
    }
    assert beyond == {
        "celery.schedules",
        "strongroom.config",
        "strongroom.schedule",
        "workers",
    }
