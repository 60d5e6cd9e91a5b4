"""What a command or a report tells, as one sheet, and its three renderings: text, an HTML page, a CSV table.

Whoever tells something says what stands in it; how that looks is decided here alone. No character of others'
moves a cursor, forges a line, ends a tag or makes a spreadsheet compute.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import chain
from textwrap import wrap
from typing import Literal, TypeAlias
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from strongroom.words import spelled_out


class Mood(StrEnum):
    """How something stands."""

    PLAIN = "plain"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class Cell(Struct, frozen=True):
    """A text that is more than a text: how it stands, where it leads, that it is to be typed.

    ``link`` is a path within the place of the page. ``small`` is a second line, of less weight. ``time`` says
    the text once more, as RFC 3339.
    """

    text: object
    mood: Mood = Mood.PLAIN
    code: bool = False
    link: str = ""
    small: object = ""
    time: str = ""


class Share(Struct, frozen=True):
    """A bar, from 0 to 1 of its room, and what it says in words."""

    share: float
    text: str = ""
    mood: Mood = Mood.PLAIN


class Bars(Struct, frozen=True):
    """A row of bars, such as a day each, and what they say in words. ``bars`` has for each of them its mood,
    ``None`` for an empty place, and what a pointer over it shows."""

    bars: Sequence[tuple[Mood | None, str]]
    text: str = ""


class Folded(Struct, frozen=True):
    """Content that a page shows when somebody opens it, by what it is called there."""

    name: str
    content: object


Content: TypeAlias = object
"""What can stand in a cell or a line: a text, a number, a :class:`Cell`, a :class:`Share`, :class:`Bars`,
what is :class:`Folded`, ``None``, or a tuple of these, one after the other."""


class Pairs(Struct, frozen=True):
    """What is said about what. A pair without a value is left out."""

    pairs: Sequence[tuple[str, Content]]
    heading: Content = ""
    sub: bool = False


class Table(Struct, frozen=True):
    """Rows under a head, whose names are capitals in text but for a :class:`Cell`; the first cell names its
    row. ``nothing`` is said where there is no row, and people write into what is ``to_fill``, with a pen."""

    head: Sequence[Content]
    rows: Sequence[Sequence[Content]]
    heading: Content = ""
    sub: bool = False
    nothing: str = ""
    to_fill: bool = False


class Lines(Struct, frozen=True):
    """Sentences, a list, remarks, or what is to be typed."""

    lines: Sequence[Content]
    heading: Content = ""
    sub: bool = False
    style: Literal["", "list", "note", "code"] = ""


class Picture(Struct, frozen=True):
    """A drawing, which is HTML already and carries its words and its ``style``, and a remark on it."""

    html: str
    heading: Content = ""
    sub: bool = False
    text: str = ""
    style: str = ""


Part: TypeAlias = Pairs | Table | Lines | Picture
"""A part of a sheet. ``heading`` begins a section, or with ``sub`` one within a section; what follows without
one belongs to it. Of a part that is empty nothing is shown, its heading neither."""


def marked(text: object, *, bad: bool) -> Content:
    """Return a text that stands out if it is bad; as the first cell of a row it marks the row."""
    return Cell(text, Mood.BAD) if bad else text


class Sheet(Struct, frozen=True, kw_only=True):
    """One thing told: a title, a verdict with its mood, and what it rests on.

    Args:
        about: a sentence or two under the verdict.
        kind: what kind of document this is, and ``foot`` what made it; both stand on a page alone.
        data: what a spreadsheet gets instead of the tables.
    """

    title: str = ""
    verdict: str = ""
    mood: Mood = Mood.PLAIN
    about: Content = ""
    parts: Sequence[Part] = ()
    kind: str = ""
    foot: str = ""
    data: Table | None = None

    def text(self, width: int | None = None, *, colour: bool = False) -> str:
        """Return it for a terminal: with a width, the last column of a table that is wider is folded."""
        said = (self.title, Cell(self.verdict, self.mood), self.about)
        lines: list[str] = []
        before: Part | None = None
        indent = ""
        for part in chain([Lines([line for line in said if plain(line)])], self.parts):
            indent = "  " if part.heading else indent
            shown = [indent + line for line in _lines_of(part, width and width - len(indent), colour=colour)]
            if part.heading and shown:
                shown.insert(0, plain(part.heading))
            flowing = not part.heading and isinstance(part, Lines) and isinstance(before, Lines)
            lines += ["", *shown] if shown and lines and not flowing else shown
            before = part if shown else before
        return "".join(f"{line}\n" for line in lines)

    def html(self) -> bytes:
        """Return a page that needs nothing else and runs nothing: for a screen, a dark screen, and paper."""
        drawn = dict.fromkeys(part.style for part in self.parts if isinstance(part, Picture))
        head = _HEAD.format(title=markup(self.title), style="".join((STYLE, *drawn)))
        kind = f'<p class="kind">{markup(self.kind)}</p>' if self.kind else ""
        header = f"<header>{kind}<h1>{markup(self.title)}</h1></header>\n"
        footer = f"<footer>Strongroom {markup(self.foot)}</footer>\n"
        return f"{head}<main>\n{header}{self.body()}{footer}</main>\n</body>\n</html>\n".encode()

    def body(self) -> str:
        """Return the verdict and the parts as HTML, for a page that has its own head."""
        pieces = [_verdict(self)] if self.verdict else []
        within = False
        for part in self.parts:
            if not (content := _html_of(part, label=plain(part.heading) or self.title)):
                continue
            if part.heading and not part.sub:
                pieces.append("</section>\n<section>\n" if within else "<section>\n")
                within = True
            if part.heading:
                level = 3 if part.sub else 2
                pieces.append(f"<h{level}>{markup(part.heading)}</h{level}>\n")
            pieces.append(content)
        return "".join((*pieces, "</section>\n" if within else ""))

    def csv(self) -> bytes:
        """Return it for a spreadsheet (RFC 4180, UTF-8): ``data``, or the tables one by one."""
        tables = [self.data] if self.data else [part for part in self.parts if isinstance(part, Table)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        for at, table in enumerate(tables):
            writer.writerows([[]] if at else [])
            writer.writerow(map(_csv_cell, table.head))
            writer.writerows([_csv_cell(cell) for cell in row] for row in table.rows)
        return out.getvalue().encode()


# -- text ------------------------------------------------------------------------------

_BEGINS = {"list": "- ", "code": "  "}
_ANSI = {Mood.GOOD: "32", Mood.WARN: "33;1", Mood.BAD: "31;1"}


def plain(content: Content) -> str:
    """Return content in one line: line feeds of others could forge further lines."""
    match content:
        case tuple():
            return "".join(map(plain, content))
        case Cell():
            return " ".join(filter(None, (plain(content.text), plain(content.small))))
        case Share() | Bars():
            content = content.text
        case Folded():
            return plain(content.content)
        case None | bool():
            content = {None: "", True: "yes", False: "no"}[content]
    return f"{content:,}" if isinstance(content, int) else spelled_out(str(content))


def _is_number(content: Content) -> bool:
    return isinstance(content, int) and not isinstance(content, bool)


def _painted(text: str, content: Content, *, colour: bool) -> str:
    mood = content.mood if isinstance(content, Cell | Share) else Mood.PLAIN
    return f"\x1b[{_ANSI[mood]}m{text}\x1b[0m" if colour and mood in _ANSI else text


def _lines_of(part: Part, width: int | None, *, colour: bool) -> Iterator[str]:
    match part:
        case Pairs():
            found = _said(part)
            room = max((len(name) for name, _ in found), default=0)
            for name, value in found:
                yield f"{spelled_out(name):<{room}}  {_painted(plain(value), value, colour=colour)}"
        case Table():
            yield from (
                _columns(part, width, colour=colour) if part.rows else filter(None, [plain(part.nothing)])
            )
        case Lines():
            for line in part.lines:
                text = _painted(plain(line), line, colour=colour)
                yield f"{_BEGINS.get(part.style, '')}{text}"
        case Picture():
            yield from filter(None, [plain(part.text)])


def _said(part: Pairs) -> list[tuple[str, Content]]:
    return [(name, value) for name, value in part.pairs if value not in (None, "", ())]


def _columns(table: Table, width: int | None, *, colour: bool) -> Iterator[str]:
    """Lay rows out in columns; a column of numbers alone stands to the right."""
    rows = [list(map(plain, row)) for row in table.rows]
    texts = [[name.upper() if isinstance(name, str) else plain(name) for name in table.head], *rows]
    last = len(table.head) - 1
    numbers = [all(_is_number(row[at]) for row in table.rows) for at in range(last + 1)]
    widths = [max(len(row[at]) for row in texts) for at in range(last + 1)]
    room = width - sum(widths[:-1]) - 2 * last if width else 0
    fold = widths[-1] > room >= _LEAST and not numbers[-1]
    for at, row in enumerate(texts):
        folded = wrap(row[-1], room, break_on_hyphens=False) or [""] if fold else row[-1:]
        cells = [
            text.rjust(room) if right else text.ljust(room)
            for text, room, right in zip((*row[:-1], folded[0]), widths, numbers, strict=True)
        ]
        contents = table.rows[at - 1] if at else table.head
        painted = [_painted(text, of, colour=colour) for text, of in zip(cells, contents, strict=True)]
        yield "  ".join(painted).rstrip()
        yield from (" " * (sum(widths[:-1]) + 2 * last) + more for more in folded[1:])


_LEAST = 24
"""Columns below which folding helps nobody."""

# -- CSV -------------------------------------------------------------------------------

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet compute a cell. Names and errors are others' words: none of them may do so."""


def _csv_cell(content: Content) -> str:
    text = str(content) if isinstance(content, str) or _is_number(content) else plain(content)
    return f"'{text}" if text.startswith(_FORMULA) else text


# -- HTML ------------------------------------------------------------------------------

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def markup(content: Content) -> str:
    """Return content as HTML. No character of a stranger's name ends a tag, or changes the order of what
    stands beside it."""
    match content:
        case tuple():
            return "".join(map(markup, content))
        case Cell():
            return _cell(content)
        case Share():
            wide = f"{100 * min(max(content.share, 0.005), 1):.1f}"
            bar = f'<rect class="{content.mood}" width="{wide}" height="8"/>'
            room = '<svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
            return f"{room}{bar}</svg>{markup(content.text)}"
        case Bars():
            bars = "".join(
                f'<rect class="{mood or "none"}" x="{4 * at}" y="{16 - _HEIGHTS[mood]}" width="3" '
                f'height="{_HEIGHTS[mood]}"><title>{markup(said)}</title></rect>'
                for at, (mood, said) in enumerate(content.bars)
            )
            room = f'<svg class="bars" viewBox="0 0 {4 * len(content.bars)} 16" role="img"'
            return f'{room} aria-label="{markup(content.text)}">{bars}</svg>'
        case Folded():
            name = f"<summary>{markup(content.name)}</summary>"
            return f"<details>{name}{markup(content.content)}</details>"
    return plain(content).translate(_ESCAPES)


def _cell(cell: Cell) -> str:
    inner = markup(cell.text)
    if cell.time:
        inner = f'<time datetime="{markup(cell.time)}">{inner}</time>'
    if cell.code:
        inner = f"<code>{inner}</code>"
    if cell.link:
        inner = f'<a href="{quote(cell.link, safe="/?=&%").translate(_ESCAPES)}">{inner}</a>'
    if cell.mood is not Mood.PLAIN:
        inner = f'<span class="mark {cell.mood}">{inner}</span>'
    return inner + (f'<span class="small">{markup(cell.small)}</span>' if cell.small else "")


_HEIGHTS = {Mood.GOOD: 16, Mood.WARN: 11, Mood.PLAIN: 7, Mood.BAD: 4, None: 1}
"""How high a bar is: no colour says a thing alone."""


_SIGNS = {Mood.GOOD: "✓ ", Mood.WARN: "! ", Mood.BAD: "✕ ", Mood.PLAIN: ""}
"""No colour says a thing alone."""


def _verdict(sheet: Sheet) -> str:
    about = f"<p>{markup(sheet.about)}</p>" if sheet.about else ""
    said = f"<strong>{_SIGNS[sheet.mood]}{markup(sheet.verdict)}</strong>"
    return f'<div class="verdict {sheet.mood}">{said}{about}</div>\n'


def _html_of(part: Part, *, label: str) -> str:
    match part:
        case Pairs():
            pairs = (f"<dt>{markup(name)}</dt><dd>{markup(value)}</dd>\n" for name, value in _said(part))
            return f"<dl>\n{inner}</dl>\n" if (inner := "".join(pairs)) else ""
        case Table():
            return _html_table(part, label) if part.rows else _each("p", [part.nothing])
        case Lines(style="list"):
            return f"<ul>\n{inner}</ul>\n" if (inner := _each("li", part.lines)) else ""
        case Lines(style="code"):
            return f"<pre>{chr(10).join(map(markup, part.lines))}</pre>\n"
        case Lines():
            return _each('p class="note"' if part.style else "p", part.lines)
        case Picture():
            return part.html + _each('p class="note"', [part.text])


def _each(tag: str, contents: Iterable[Content]) -> str:
    return "".join(f"<{tag}>{markup(content)}</{tag.partition(' ')[0]}>\n" for content in contents if content)


def _html_table(table: Table, label: str) -> str:
    """Return a table. A phone shows each row as a card, with the names of the columns beside the cells. That
    takes the meaning of a table from its elements, so that roles give it back."""
    names = "".join(f'<th scope="col" role="columnheader">{markup(name)}</th>' for name in table.head)
    wide = "wide to-fill" if table.to_fill else "wide"
    about = f'role="region" tabindex="0" aria-label="{markup(label)}"'
    return (
        f'<div class="{wide}" {about}>\n<table role="table">\n'
        f'<thead role="rowgroup"><tr role="row">{names}</tr></thead>\n<tbody role="rowgroup">\n'
        f"{''.join(_html_row(row, table.head) for row in table.rows)}</tbody></table></div>\n"
    )


def _html_row(row: Sequence[Content], head: Sequence[Content]) -> str:
    first, *others = row
    bad = isinstance(first, Cell) and first.mood is Mood.BAD
    named = markup(replace(first, mood=Mood.PLAIN) if isinstance(first, Cell) and bad else first)
    cells = "".join(
        f'<td role="cell" data-of="{markup(name)}"{_NUMBER if _is_number(cell) else ""}>'
        f"<div>{markup(cell)}</div></td>"
        for name, cell in zip(head[1:], others, strict=True)
    )
    return f'<tr role="row"><th scope="row" role="rowheader"{_BAD if bad else ""}>{named}</th>{cells}</tr>\n'


_NUMBER, _BAD = ' class="number"', ' class="bad"'


_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""

STYLE = """
:root{--ink:#1a1d21;--soft:#59616b;--line:#d9dee4;--ground:#fff;--panel:#f5f7f9;--link:#0b57a4;
--good:#17663a;--good-ground:#e6f4ec;--warn:#7a4a00;--warn-ground:#fdf1dc;--bad:#a11220;--bad-ground:#fde8ea;
--bar:#7f93ab}
@media (prefers-color-scheme:dark){:root{--ink:#e8ebee;--soft:#a3adb8;--line:#363d45;--ground:#14171a;
--panel:#1d2226;--link:#8ec1ff;--good:#7fd6a3;--good-ground:#12301f;--warn:#f0c277;--warn-ground:#35270d;
--bad:#ff9aa4;--bad-ground:#3d1519;--bar:#5c728c}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif}
main{max-width:54rem;margin:0 auto;padding:2rem 1.25rem 3rem}
.kind{margin:0;color:var(--soft);text-transform:uppercase;letter-spacing:.08em;font-size:.8rem}
h1{font-size:1.7rem;line-height:1.25;margin:.1rem 0 1.2rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2rem 0 .6rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .2rem}
a{color:var(--link)}
.wide:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.verdict{padding:1rem 1.25rem;border-radius:.5rem;border-left:.4rem solid;background:var(--panel)}
.verdict strong{font-size:1.25rem}
.verdict p{margin:.3rem 0 0;color:var(--ink)}
.good{color:var(--good);background:var(--good-ground)}
.warn{color:var(--warn);background:var(--warn-ground)}
.bad{color:var(--bad);background:var(--bad-ground)}
th.bad{background:none;font-weight:600}
.mark{display:inline-block;padding:0 .45rem;border-radius:.3rem;font-weight:600}
time{white-space:nowrap}
.small{display:block;color:var(--soft);font-size:.88rem;font-weight:400}
dl{display:grid;grid-template-columns:minmax(9rem,max-content) 1fr;gap:.3rem 1.25rem;margin:0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-size:.95rem;margin-top:.8rem}
th{text-align:left;color:var(--soft);font-weight:600;border-bottom:1px solid var(--line)}
th,td{padding:.4rem .6rem .4rem 0;vertical-align:top}
td,tbody th{border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
tbody th:not(.bad){color:inherit;font-weight:inherit}
td:last-child{overflow-wrap:anywhere;min-width:6.5rem}
.number{white-space:nowrap}
.to-fill tr{height:3.2rem}
.to-fill td{min-width:9rem}
.share{display:block;width:100%;min-width:6rem;height:.55rem;margin:.5rem 0 .2rem;background:none;
border-radius:.3rem}
.share .plain{fill:var(--bar)}
.share .good{fill:var(--good)}
.share .warn{fill:var(--warn)}
.share .bad{fill:var(--bad)}
.bars{display:block;width:100%;min-width:8rem;max-width:12rem;height:1.6rem;margin:.2rem 0}
.bars .none{fill:var(--line)}
.bars .plain{fill:var(--bar)}
.bars .good{fill:var(--good)}
.bars .warn{fill:var(--warn)}
.bars .bad{fill:var(--bad)}
details summary{cursor:pointer;color:var(--link)}
.note{color:var(--soft);font-size:.9rem}
li{margin:.4rem 0}
code,pre{font-family:ui-monospace,"DejaVu Sans Mono",Consolas,monospace;font-size:.88rem}
code{overflow-wrap:anywhere}
pre{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;padding:.7rem;
white-space:pre-wrap;overflow-wrap:anywhere}
footer{margin-top:2.5rem;color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}
@media (max-width:36rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}h1{font-size:1.35rem}
thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
table,tbody,tr,tbody th,td{display:block}
tr{border-bottom:1px solid var(--line);padding:.6rem 0}
tbody th,td{border:0;padding:.1rem 0}
tbody th{font-weight:600;overflow-wrap:anywhere}
td{display:grid;grid-template-columns:7.5rem 1fr;gap:.75rem}
td::before{content:attr(data-of);color:var(--soft)}
td>div{min-width:0;overflow-wrap:anywhere}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--ground:#fff;--panel:#fff;--good:#000;
--good-ground:#fff;--warn:#000;--warn-ground:#fff;--bad:#000;--bad-ground:#fff;--bar:#888}
main{max-width:none;padding:0}.verdict{border:2px solid #000}tr{break-inside:avoid}
h2,h3{break-after:avoid}.share *{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
"""What a page looks like. A page that is served has it as a file of its own."""
