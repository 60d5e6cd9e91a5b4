"""Draw the rooms of the code as the contracts in pyproject.toml order them: imports run downwards."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
WIDTH, EDGE, ROW, GAP = 920, 20, 34, 10
INNER: Final = "strongroom.operations"
WORDS: Final = {
    "strongroom.cli": "commands; the only place that prints",
    "tasks": "Celery tasks",
    "workers": "the Celery app, pools, the local cluster",
    "strongroom.api": "open, Client",
    "strongroom.wiring": "settings → services",
    INNER: "one room for each thing that a person does",
    "strongroom.schedule": "due times",
    "strongroom.state": "run records, catalog, ledger in SQL",
    "strongroom.sources": "live secrets",
    "strongroom.targets": "backups",
    "strongroom.keys": "who can open",
    "strongroom.vault": "one client",
    "strongroom.container": "the file format, pure bytes",
    "strongroom.config": "strongroom.toml",
    "strongroom.system": "atomic files, forks, deadlines",
}
"""What a room is for, where there is space to say it."""


def layers(name: str) -> list[list[str]]:
    """Return the layers of a contract, the top one first, each as the rooms side by side in it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    [found] = [each["layers"] for each in contracts if each["name"] == name]
    return [re.split(r"\s*[|:]\s*", layer) for layer in found]


def house() -> list[list[str]]:
    """Return the layers of the whole: those of strongroom, with tasks and workers below the command line."""
    callers = layers("Tasks call strongroom, and the command line calls tasks and workers")
    inside = [[f"strongroom.{room}" for room in layer] for layer in layers("Imports run downwards")]
    return callers[:-1] + inside[1:]


def rooms_svg() -> str:
    """Return the picture."""
    parts, top = [], EDGE
    for layer in house():
        if layer == [INNER]:
            drawn, top = _operations(top)
            parts += drawn
        else:
            parts += _row(layer, top=top, left=EDGE, width=WIDTH - 2 * EDGE, height=ROW + 12)
            top += ROW + 12 + GAP
    height = top - GAP + EDGE
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" text-anchor="middle">\n'
        "<title>The rooms of Strongroom; imports run downwards</title>\n"
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>\n'
    )
    return head + "\n".join(parts) + "\n</svg>\n"


def _operations(top: int) -> tuple[list[str], int]:
    rooms = layers("Each room knows only the rooms below it")
    height = 30 + len(rooms) * (ROW + 6) + 8
    box = (
        f'<rect x="{EDGE}" y="{top}" width="{WIDTH - 2 * EDGE}" height="{height}" rx="6" fill="#eef2fb" '
        f'stroke="#3f51b5"/>\n<text x="{WIDTH // 2}" y="{top + 20}" font-size="14" font-weight="600" '
        f'fill="#1a237e">{INNER}: {WORDS[INNER]}</text>'
    )
    parts = [box]
    for at, layer in enumerate(rooms):
        left, width = EDGE + 12, WIDTH - 2 * EDGE - 24
        parts += _row(layer, top=top + 30 + at * (ROW + 6), left=left, width=width, height=ROW)
    return parts, top + height + GAP


def _row(layer: Sequence[str], *, top: int, left: int, width: int, height: int) -> Iterator[str]:
    each = (width - GAP * (len(layer) - 1)) / len(layer)
    for at, room in enumerate(layer):
        x = left + at * (each + GAP)
        yield (
            f'<rect x="{x:.0f}" y="{top}" width="{each:.0f}" height="{height}" rx="5" fill="#ffffff" '
            f'stroke="#90a4ae"/>'
        )
        yield from _label(room, x + each / 2, top, height, each)


def _label(room: str, middle: float, top: int, height: int, width: float) -> Iterator[str]:
    words = WORDS.get(room, "") if len(WORDS.get(room, "")) * 6.2 < width else ""
    name = room.removeprefix("strongroom.") if width < 170 else room
    y = top + height / 2 + (-3 if words else 5)
    yield f'<text x="{middle:.0f}" y="{y:.0f}" font-size="13" fill="#102027">{name}</text>'
    if words:
        yield f'<text x="{middle:.0f}" y="{y + 16:.0f}" font-size="11" fill="#546e7a">{words}</text>'
