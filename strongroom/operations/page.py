"""A report as one HTML page that needs nothing else: for a screen, a dark screen, and paper."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from strongroom.words import spelled_out

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
<main>
"""
HOW_TO_CHECK = (
    "<p>The signed file beside this page says the same, and holds the SHA-256 of the page and of the table. "
    "With the three files and the installation's fingerprint, which you have from somebody you trust, this "
    "needs no network:</p>\n<pre>strongroom report check FILE.json --signer sr1:…</pre>\n"
    "<p>On a host of the installation, <code>--ledger</code> also compares its ledger.</p>\n"
)
"""How to check a report that a command writes with its page and its table."""
_END = "</main>\n</body>\n</html>\n"


def page(kind: str, title: str, content: Iterable[str], *, foot: str, style: str = "") -> bytes:
    """Return a whole page about a document of some kind; ``style`` is what it needs besides."""
    head = _HEAD.format(title=escape(title), style=STYLE + style)
    header = f'<header><p class="kind">{escape(kind)}</p><h1>{escape(title)}</h1></header>\n'
    footer = f"<footer>Strongroom {escape(foot)}</footer>\n"
    return "".join((head, header, *content, footer, _END)).encode()


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def text(said: object) -> Markup:
    """Return anything as HTML. No character of a stranger's name ends a tag, or changes the order of what
    stands beside it."""
    return said if isinstance(said, Markup) else Markup(escape(spelled_out(str(said))))


def link(path: str, said: object) -> Markup:
    """Return a link within this place; the parts of a path are names of any characters."""
    return Markup(f'<a href="{escape(quote(path, safe="/?=&%"))}">{text(said)}</a>')


def section(title: str, content: str) -> str:
    """Return a part of the page under a heading."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}</section>\n"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Return what is said about what."""
    rows = (f"<dt>{text(about)}</dt><dd>{text(said)}</dd>\n" for about, said in pairs)
    return f"<dl>\n{''.join(rows)}</dl>\n"


def table(head: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table of rows that are HTML already."""
    names = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    return (
        f'<div class="wide"><table>\n<thead><tr>{names}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def row(cells: Iterable[object], *, bad: bool = False) -> str:
    """Return a row; what is bad stands out in the first cell, which names the row."""
    first, *others = map(text, cells)
    rest = "".join(f"<td>{cell}</td>" for cell in others)
    return f'<tr><th scope="row" class="{"bad" if bad else ""}">{first}</th>{rest}</tr>\n'


STYLE = """
:root{--ink:#1a1d21;--soft:#59616b;--line:#d9dee4;--ground:#fff;--panel:#f5f7f9;
--good:#17663a;--good-ground:#e6f4ec;--warn:#7a4a00;--warn-ground:#fdf1dc;--bad:#a11220;--bad-ground:#fde8ea;
--bar:#7f93ab}
@media (prefers-color-scheme:dark){:root{--ink:#e8ebee;--soft:#a3adb8;--line:#363d45;--ground:#14171a;
--panel:#1d2226;--good:#7fd6a3;--good-ground:#12301f;--warn:#f0c277;--warn-ground:#35270d;--bad:#ff9aa4;
--bad-ground:#3d1519;--bar:#5c728c}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif}
main{max-width:54rem;margin:0 auto;padding:2rem 1.25rem 3rem}
.kind{margin:0;color:var(--soft);text-transform:uppercase;letter-spacing:.08em;font-size:.8rem}
h1{font-size:1.7rem;line-height:1.25;margin:.1rem 0 1.2rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2rem 0 .6rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
.verdict{padding:1rem 1.25rem;border-radius:.5rem;border-left:.4rem solid;background:var(--panel)}
.verdict strong{font-size:1.25rem}
.verdict p{margin:.3rem 0 0;color:var(--ink)}
.passed{color:var(--good);background:var(--good-ground)}
.late,.degraded,.cancelled{color:var(--warn);background:var(--warn-ground)}
.failed{color:var(--bad);background:var(--bad-ground)}
dl{display:grid;grid-template-columns:minmax(9rem,max-content) 1fr;gap:.3rem 1.25rem;margin:0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-size:.95rem;margin-top:.8rem}
th{text-align:left;color:var(--soft);font-weight:600;border-bottom:1px solid var(--line)}
th,td{padding:.4rem .6rem .4rem 0;vertical-align:top}
td,tbody th{border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
tbody th{color:inherit;font-weight:inherit}
td:last-child{overflow-wrap:anywhere;min-width:6.5rem}
.number{text-align:right;white-space:nowrap}
.bar{width:22%;vertical-align:middle}
.bar span,.meter span{display:block;height:.55rem;border-radius:.3rem;background:var(--bar)}
.meter{margin:.8rem 0 .2rem;background:var(--panel);border:1px solid var(--line);border-radius:.4rem;
padding:2px}
.meter.within span{background:var(--good)}
.meter.over span,.bad{color:var(--bad)}
.meter.over span{background:var(--bad)}
.bad{font-weight:600}
.note{color:var(--soft);font-size:.9rem}
li{margin:.4rem 0}
code,pre{font-family:ui-monospace,"DejaVu Sans Mono",Consolas,monospace;font-size:.88rem}
code{overflow-wrap:anywhere}
pre{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;padding:.7rem;
white-space:pre-wrap;overflow-wrap:anywhere}
footer{margin-top:2.5rem;color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}
@media (max-width:36rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}h1{font-size:1.35rem}
.wide table{font-size:.82rem}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--ground:#fff;--panel:#fff;--good:#000;
--good-ground:#fff;--warn:#000;--warn-ground:#fff;--bad:#000;--bad-ground:#fff;--bar:#888}
main{max-width:none;padding:0}.verdict{border:2px solid #000}section{break-inside:avoid}
.bar span,.meter span{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
