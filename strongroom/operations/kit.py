"""The recovery kit: a page to print, with everything that recovery needs and no secret on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from msgspec import Struct

LONG = 32
"""Characters of the longest word that is never broken."""


class Section(Struct, frozen=True, kw_only=True):
    """A part of the kit: what it says in words, a table, commands to type, lines to fill in by hand."""

    title: str
    words: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    commands: tuple[str, ...] = ()
    blanks: tuple[str, ...] = ()


class Kit(Struct, frozen=True, kw_only=True):
    """A recovery kit. ``made_at`` is RFC 3339."""

    title: str
    made_at: str
    sections: tuple[Section, ...]


def render(kit: Kit) -> str:
    """Return one HTML page that loads nothing from elsewhere and prints on A4 and Letter."""
    body = "\n".join(line for section in kit.sections for line in _section(section))
    return _PAGE.format(title=escape(kit.title), made_at=escape(kit.made_at), style=_STYLE, body=body)


def _section(section: Section) -> Iterator[str]:
    yield f"<section><h2>{escape(section.title)}</h2>"
    yield from (f"<p>{escape(words)}</p>" for words in section.words)
    if section.rows:
        yield f"<table><thead>{_row(section.head, 'th')}</thead><tbody>"
        yield from (_row(row, "td") for row in section.rows)
        yield "</tbody></table>"
    if section.commands:
        yield f"<pre>{escape(chr(10).join(section.commands))}</pre>"
    yield from (f"<p class=blank><span>{escape(label)}</span></p>" for label in section.blanks)
    yield "</section>"


def _row(cells: Iterable[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}{_class(cell)}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _class(cell: str) -> str:
    """Mark a cell with a word that no column is wide enough for: digests, addresses."""
    return " class=long" if any(len(word) > LONG for word in cell.split()) else ""


_STYLE = """
@page { margin: 18mm; }
body { font: 10.5pt/1.4 Georgia, serif; color: #000; background: #fff; max-width: 46rem; margin: auto; }
h1 { font-size: 17pt; margin: 0; } h2 { font-size: 12.5pt; margin: 1.2em 0 .3em; border-bottom: 1px solid; }
section { break-inside: avoid; } p { margin: .3em 0; }
table { border-collapse: collapse; width: 100%; font-size: 9.5pt; }
th, td { border: 1px solid #666; padding: .2em .4em; text-align: left; vertical-align: top; }
.long { font: 8.5pt/1.4 "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
thead { display: table-header-group; } tr { break-inside: avoid; }
pre { font: 9pt/1.45 "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; border: 1px solid #666; padding: .5em; }
.blank { margin: .9em 0 0; border-bottom: 1px solid; } .blank span { font-size: 9pt; }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>{style}</style></head>
<body><h1>{title}</h1>
<p>Made {made_at}. There is no secret on this page. Keep it where it can be read when no computer runs,
and a copy with each medium.</p>
{body}
</body></html>
"""
