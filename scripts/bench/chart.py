"""Draw time against the number of secrets, for each job and each tool, as SVG.

Both axes are logarithmic. The colours hold on a light and on a dark page, and each tool has a mark of its
own beside its colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from scripts.bench.peers import ORDER
from scripts.bench.rows import JSONL, TREE, US, Session

WHO = {US: "Strongroom", "restic": "restic", "borg": "borg", "age": "age"}
LAYOUTS = {TREE: "one file a secret", JSONL: "all in one file of JSON lines"}
TITLES = {
    "backup": "Backup",
    "verify": "Verify everything",
    "one secret": "Read one secret",
    "restore": "Restore everything",
}
WIDTH, LEFT, TOP, GAP = 960, 60, 96, 58
PLOT_WIDTH, PLOT_HEIGHT, ROW = 174, 150, 240
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.panel { font-size: 13px; font-weight: 600 }
.quiet { fill: #57606a; font-size: 11px }
.grid { stroke: #d0d7de; stroke-width: 1; fill: none }
.line { fill: none; stroke-width: 1.75 }
.strongroom { stroke: #0969da; fill: #0969da } .line.strongroom { fill: none; stroke-width: 3 }
.restic { stroke: #bc4c00; fill: #bc4c00 } .line.restic { fill: none }
.borg { stroke: #1a7f37; fill: #1a7f37 } .line.borg { fill: none }
.age { stroke: #8250df; fill: #8250df } .line.age { fill: none }
.back { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } .back { fill: #0d1117 }
.strongroom { stroke: #58a6ff; fill: #58a6ff } .line.strongroom { fill: none }
.restic { stroke: #f0883e; fill: #f0883e } .line.restic { fill: none }
.borg { stroke: #56d364; fill: #56d364 } .line.borg { fill: none }
.age { stroke: #bc8cff; fill: #bc8cff } .line.age { fill: none }
}
"""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps powers of ten onto a stretch of the picture."""

    low: int
    high: int
    start: float
    length: float

    @classmethod
    def over(cls, values: Sequence[float], *, start: float, length: float) -> Scale:
        low, high = floor(log10(min(values))), ceil(log10(max(values)))
        return cls(low=low, high=max(high, low + 1), start=start, length=length)

    def at(self, value: float) -> float:
        return self.start + (log10(value) - self.low) / (self.high - self.low) * self.length

    def powers(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def svg(session: Session) -> str:
    """Return the picture of all that was measured beside others."""
    return "\n".join(_lines(session)) + "\n"


def _lines(session: Session) -> Iterator[str]:
    height = TOP + ROW * len(LAYOUTS)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-labelledby="title">'
    )
    yield '<title id="title">Seconds against the number of secrets, Strongroom beside other tools</title>'
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="back" width="{WIDTH}" height="{height}" rx="8"/>'
    yield '<text class="title" x="20" y="30">Seconds against the number of secrets; lower is better</text>'
    yield from _legend(session)
    for at, (layout, said) in enumerate(LAYOUTS.items()):
        top = TOP + at * ROW
        yield f'<text class="quiet" x="20" y="{top - 4}">{said}</text>'
        for column, job in enumerate(ORDER):
            left = LEFT + column * (PLOT_WIDTH + GAP)
            yield from _panel(session, job, layout, left=left, top=top + 32)
    yield "</svg>"


def _legend(session: Session) -> Iterator[str]:
    x = 20
    for who, name in WHO.items():
        if any(row.who == who for part in ("peers", "million", "sizes") for row in session.of(part)):
            yield f'<path class="line {who}" d="M{x} 54 h28"/>{_mark(who, x + 14, 54)}'
            yield f'<text x="{x + 36}" y="58">{name}</text>'
            x += 70 + 7 * len(name)


def _panel(session: Session, job: str, layout: str, *, left: float, top: float) -> Iterator[str]:
    drawn = {who: points for who in WHO if (points := _points(session, who, job, layout))}
    if not drawn:
        return
    every = [point for points in drawn.values() for point in points]
    x = Scale.over([secrets for secrets, _ in every], start=left, length=PLOT_WIDTH)
    y = Scale.over([seconds for _, seconds in every], start=top + PLOT_HEIGHT, length=-PLOT_HEIGHT)
    yield f'<text class="panel" x="{left}" y="{top - 10}">{TITLES[job]}</text>'
    for power in y.powers():
        yield f'<path class="grid" d="M{left} {y.at(power):.1f} h{PLOT_WIDTH}"/>'
        label = f'<text class="quiet" text-anchor="end" x="{left - 6}" y="{y.at(power) + 4:.1f}">'
        yield f"{label}{power:g} s</text>"
    for power in x.powers():
        yield f'<path class="grid" d="M{x.at(power):.1f} {top} v{PLOT_HEIGHT}"/>'
        label = (
            f'<text class="quiet" text-anchor="middle" x="{x.at(power):.1f}" y="{top + PLOT_HEIGHT + 16}">'
        )
        yield f"{label}{_short(power)}</text>"
    yield (
        f'<text class="quiet" text-anchor="middle" x="{left + PLOT_WIDTH / 2}" y="{top + PLOT_HEIGHT + 32}">'
        "secrets</text>"
    )
    # Ours is drawn last, above the others.
    for who in reversed(drawn):
        at = [(x.at(secrets), y.at(seconds)) for secrets, seconds in drawn[who]]
        yield f'<path class="line {who}" d="M{" L".join(f"{px:.1f} {py:.1f}" for px, py in at)}"/>'
        yield "".join(_mark(who, px, py) for px, py in at)


def _points(session: Session, who: str, job: str, layout: str) -> list[tuple[int, float]]:
    rows = (row for part in ("peers", "million", "sizes") for row in session.of(part))
    found = [row for row in rows if (row.who, row.what, row.layout) == (who, job, layout)]
    return sorted((row.secrets, row.seconds) for row in found)


def _short(count: float) -> str:
    return f"{count / 1e6:g} M" if count >= 1e6 else f"{count / 1e3:g} k" if count >= 1e3 else f"{count:g}"


def _mark(who: str, x: float, y: float) -> str:
    match who:
        case "restic":
            return f'<rect class="{who}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'
        case "borg":
            return f'<path class="{who}" d="M{x:.1f} {y - 5:.1f} l5 9 h-10 z"/>'
        case "age":
            return f'<path class="{who}" d="M{x:.1f} {y - 5:.1f} l5 5 l-5 5 l-5 -5 z"/>'
    return f'<circle class="{who}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
