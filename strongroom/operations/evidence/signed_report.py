"""Signed reports: JSON that anybody can read, with the digests of what lies beside it, and pages with
charts."""

from __future__ import annotations

import calendar as months
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Final, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.marks import StatementKind
from strongroom.container.signing import MANIFEST_ROLES
from strongroom.sheet import Cell, Lines, Part, Sheet, markup

# -- Signed reports: JSON that anybody can read, and the digests of the files beside it that say the same
#
# One way for all of them, so that one command checks any, without a network.


R = TypeVar("R", bound=Struct)

PAGE: Final = ".html"
TABLE: Final = ".csv"
BESIDE: Final[Mapping[str, str]] = {PAGE: "page_sha256", TABLE: "csv_sha256"}
"""What may lie beside a report, by the end of its name, and the field that has its SHA-256, in hex."""


class LedgerEvent(Struct, frozen=True, kw_only=True):
    """The newest event of a ledger, and the digest of all up to it."""

    number: int
    sha256: str


class ReportKind(StatementKind[R], Generic[R], frozen=True, kw_only=True):
    """A kind of report: what it says and what it tells; the roles of manifests sign it.

    ``file_name`` is what its file is called without its ending, ``stored`` the folder of the targets where it
    is put, if it is. ``ledger`` returns the event up to which it was read from a ledger.
    """

    roles: tuple[str, ...] = MANIFEST_ROLES
    sheet: Callable[[R], Sheet]
    moment: str = "made_at"
    file_name: Callable[[R], str] = lambda _: "FILE"
    stored: Callable[[R], str] = lambda _: ""
    ledger: Callable[[R], LedgerEvent | None] = lambda _: None

    def files(self, report: R) -> dict[str, bytes]:
        """Return what lies beside a report, by the ends of their names: its page, and its table if it has
        one."""
        sheet = self.sheet(report)
        page = replace(sheet, parts=(*sheet.parts, *self._how_to_check(report, table=sheet.data is not None)))
        return {PAGE: page.html()} | ({TABLE: sheet.csv()} if sheet.data is not None else {})

    def _how_to_check(self, report: R, *, table: bool) -> Iterator[Part]:
        name, place = self.file_name(report), self.stored(report)
        also = " and of the table" if table else ""
        stored = f" They are stored next to the backups, under {place} on each target." if place else ""
        said = (
            f"The signed document beside this page says the same, and holds the SHA-256 of the page{also}."
            f"{stored} With these files in one folder, and the installation's fingerprint, which you have "
            "from somebody you trust, this needs no network:"
        )
        yield Lines([said], "How to check this report")
        yield Lines([f"strongroom reports check {name}.json --signer sr1:…"], style="code")
        if (event := self.ledger(report)) is not None:
            sha256 = Cell(event.sha256, code=True)
            yield Lines(
                [
                    (f"It was read from the ledger up to event {event.number}, SHA-256 ", sha256, "."),
                    ("On a host of the installation, ", Cell("--ledger", code=True), " compares its ledger."),
                ]
            )


def vouch(report: R, files: Mapping[str, bytes]) -> R:
    """Return a report that vouches for what lies beside it, by the ends of their names."""
    digests = {BESIDE[ending]: hashlib.sha256(content).hexdigest() for ending, content in files.items()}
    return replace(report, **digests)


def vouches(report: Struct, content: bytes) -> bool:
    """Tell whether a page is the one that a report vouches for."""
    return bool(hashlib.sha256(content).hexdigest() == getattr(report, BESIDE[PAGE]))


def beside(report_file: Path, ending: str = PAGE) -> Path:
    """Return where what goes with a report lies."""
    return report_file.with_suffix(ending)


# -- Charts as inline SVG that needs no script: for a screen, a dark screen, and paper ----------
#
# Each mark has a title with what it rests on. No colour says a thing alone: what is not good has a sign, too.


GOOD, WARN, BAD, PLAIN = "good", "warn", "bad", "plain"
_CELL, _LABEL, _HEAD_HEIGHT = 12, 56, 14
_WIDE = _LABEL + 31 * _CELL


class Mark(Struct, frozen=True, kw_only=True):
    """One mark of a chart: how it stands, and the words that are shown for it."""

    state: str
    words: str


def calendar(name: str, days: Mapping[date, Mark]) -> str:
    """Return a row for each month and a cell for each day, from the first month with a mark to the last."""
    if not days:
        return ""
    rows = list(_months(min(days), max(days)))
    head = "".join(
        _text(_LABEL + (day - 0.5) * _CELL, 10, str(day), "middle") for day in (1, 5, 10, 15, 20, 25, 30)
    )
    body = "".join(
        _month(year, month, _HEAD_HEIGHT + at * _CELL, days) for at, (year, month) in enumerate(rows)
    )
    return _svg(name, _WIDE, _HEAD_HEIGHT + len(rows) * _CELL + 2, head + body)


def _months(first: date, last: date) -> Iterator[tuple[int, int]]:
    for number in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        yield number // 12, number % 12 + 1


def _month(year: int, month: int, top: int, days: Mapping[date, Mark]) -> str:
    cells = (
        _day(days.get(date(year, month, day)), _LABEL + (day - 1) * _CELL, top)
        for day in range(1, months.monthrange(year, month)[1] + 1)
    )
    return _text(_LABEL - 5, top + 10, f"{year}-{month:02}", "end") + "".join(cells)


def _day(mark: Mark | None, left: int, top: int) -> str:
    size = _CELL - 2
    if mark is None:
        return (
            f'<rect class="none" x="{left + 0.5}" y="{top + 0.5}" width="{size - 1}" height="{size - 1}"/>\n'
        )
    box = f'<rect class="{mark.state}" x="{left}" y="{top}" width="{size}" height="{size}"/>'
    return f"<g>{_title(mark.words)}{box}{_sign(mark.state, left + size / 2, top + size / 2)}</g>\n"


def _sign(state: str, x: float, y: float) -> str:
    """Return a cross on what is bad and a dot on what is remarkable."""
    if state == BAD:
        return f'<path class="sign" d="M{x - 2.5} {y - 2.5}l5 5m0 -5l-5 5"/>'
    return f'<circle class="dot" cx="{x}" cy="{y}" r="1.8"/>' if state == WARN else ""


class Bar(Struct, frozen=True, kw_only=True):
    """A bar, from ``start`` to ``end``, with a line at ``limit`` if there is one; all from 0 to 1."""

    label: str
    end: float
    mark: Mark
    start: float = 0.0
    limit: float | None = None


_BAR_LABEL, _BAR = 150, 274


def bars(name: str, rows: Sequence[Bar]) -> str:
    """Return a bar for each row, one below the other."""
    body = "".join(_bar(row, 4 + 18 * at) for at, row in enumerate(rows))
    return _svg(name, _BAR_LABEL + _BAR + 2, 8 + 18 * len(rows), body) if rows else ""


def _bar(row: Bar, top: int) -> str:
    least = 4 if row.mark.state in (GOOD, PLAIN) else 10  # a sign has room in it
    wide = max(_BAR * (row.end - row.start), least)
    left = min(_BAR_LABEL + _BAR * row.start, _BAR_LABEL + _BAR - wide)
    box = f'<rect class="{row.mark.state}" x="{left:.1f}" y="{top}" width="{wide:.1f}" height="10"/>'
    line = ""
    if row.limit is not None:
        at = _BAR_LABEL + _BAR * row.limit
        line = f'<path class="limit" d="M{at:.1f} {top - 3}v16"/>'
    sign = _sign(row.mark.state, left + min(wide, 12) / 2, top + 5) if wide >= 6 else ""
    label = _text(_BAR_LABEL - 6, top + 9, row.label, "end")
    return f"<g>{_title(row.mark.words)}{label}{box}{sign}{line}</g>\n"


class Point(Struct, frozen=True, kw_only=True):
    """A value at a time, both from 0 to 1, and the words that are shown for it."""

    at: float
    value: float
    words: str


def columns(name: str, points: Sequence[Point], *, ends: tuple[str, str], most: str) -> str:
    """Return a column for each point, with what the two ends and the top stand for."""
    if not points:
        return ""
    wide, high = 424, 80
    body = "".join(
        f'<rect class="plain" x="{point.at * (wide - 4):.1f}" y="{high - max(point.value * high, 1):.1f}" '
        f'width="3" height="{max(point.value * high, 1):.1f}">{_title(point.words)}</rect>\n'
        for point in points
    )
    first, last = ends
    words = _text(0, high + 13, first, "start") + _text(wide, high + 13, last, "end")
    top = _text(0, -4, most, "start") + '<path class="axis" d="M0 .5h424"/>'
    axis = f'<path class="axis" d="M0 {high}.5h{wide}"/>'
    return _svg(name, wide, high + 16, f"{body}{axis}{top}{words}", above=14)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{markup(text)}</text>'


def _title(text: str) -> str:
    return f"<title>{markup(text)}</title>"


def _svg(name: str, wide: float, high: float, content: str, *, above: int = 0) -> str:
    box = f"0 {-above} {wide} {high + above}"
    return (
        f'<svg class="chart" role="img" aria-label="{markup(name)}" viewBox="{box}" '
        f'xmlns="http://www.w3.org/2000/svg">\n{content}</svg>\n'
    )


_KEY = (
    (GOOD, "", "well"),
    (WARN, "•", "lacking or not ended"),
    (BAD, "×", "failed"),
    ("none", "", "nothing"),
)
LEGEND = '<p class="note">{}</p>\n'.format(
    " ".join(
        f'<span class="legend"><span class="key {state}">{sign}</span> {words}</span>'
        for state, sign, words in _KEY
    )
)

CHART_STYLE = """
:root{--c-good:#2f8f5b;--c-warn:#d9942e;--c-bad:#c2303f;--c-none:#d9dee4;--c-sign:#fff}
@media (prefers-color-scheme:dark){:root{--c-good:#3fa56d;--c-warn:#d59a3c;--c-bad:#e05565;--c-none:#363d45;
--c-sign:#14171a}}
.chart{display:block;width:100%;max-width:40rem;height:auto;margin:.6rem 0}
.chart text{font-size:10.5px;fill:var(--soft);font-family:inherit}
.chart .good,.key.good{fill:var(--c-good);background:var(--c-good)}
.chart .warn,.key.warn{fill:var(--c-warn);background:var(--c-warn)}
.chart .bad,.key.bad{fill:var(--c-bad);background:var(--c-bad)}
.chart .none{fill:none;stroke:var(--c-none)}
.chart .plain{fill:var(--bar)}
.chart .sign{stroke:var(--c-sign);stroke-width:1.6;fill:none}
.chart .dot{fill:var(--c-sign)}
.chart .limit{stroke:var(--ink);stroke-width:1.5}
.chart .axis{stroke:var(--line)}
.key{display:inline-block;width:.9rem;height:.9rem;line-height:.9rem;text-align:center;color:var(--c-sign);
vertical-align:-.1rem}
.legend{white-space:nowrap;margin-right:.9rem}
.key.none{border:1px solid var(--c-none)}
@media print{section{break-inside:auto}.chart,tr{break-inside:avoid}h2,h3{break-after:avoid}
:root{--c-good:#bbb;--c-warn:#888;--c-bad:#000;--c-none:#ccc;--c-sign:#fff}
.chart *,.key{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
