"""What every page of the dashboard has: its head, the way to the other pages, and what it is as of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, NamedTuple
from urllib.parse import quote

from msgspec import Struct

from strongroom.durations import measured
from strongroom.operations import page
from strongroom.operations.alerts.alert_kinds import Alert, Severity
from strongroom.operations.facts.records import Facts, Limits
from strongroom.operations.muted import Muted
from strongroom.operations.page import Markup, text
from strongroom.state.records import RunState
from strongroom.timestamps import for_people, rfc3339
from strongroom.words import plural

PAGES: Final = {
    "/": "Overview",
    "/alerts": "Alerts",
    "/backups": "Backups",
    "/runs": "Runs",
    "/schedule": "Schedule",
    "/coverage": "Verification",
    "/drills": "Drills",
    "/keys": "Keys",
    "/incidents": "Incidents",
}

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} - Strongroom</title>
<link rel="stylesheet" href="/style.css">
<link rel="icon" href="data:,">
</head>
<body>
"""
_SKIP = '<a class="skip" href="#main">Skip to the content</a>\n'
_END = "</body>\n</html>\n"

STYLE: Final = (
    page.STYLE
    + """
:root{--link:#0b57a4}
@media (prefers-color-scheme:dark){:root{--link:#8ec1ff}}
a{color:var(--link)}
a:focus-visible,button:focus-visible,input:focus-visible,.wide:focus-visible{outline:3px solid var(--link);
outline-offset:2px}
.skip{position:absolute;left:-99rem}
.skip:focus{position:static;display:block;padding:.5rem 1.25rem}
main{max-width:76rem;padding-top:1rem}
.top{background:var(--panel);border-bottom:1px solid var(--line);padding:.6rem 1.25rem}
.top>div{max-width:73.5rem;margin:0 auto;display:flex;flex-wrap:wrap;gap:.2rem 1.25rem;align-items:center}
.top ul{display:flex;flex-wrap:wrap;gap:0 1.1rem;list-style:none;margin:0;padding:0;flex:1}
.top li{margin:0}
.top li a,.top form button{display:inline-block;padding:.35rem 0;min-height:1.5rem}
.top a[aria-current]{color:var(--ink);font-weight:600;text-decoration:none;border-bottom:2px solid var(--ink)}
.name{font-weight:700}
button{font:inherit;color:var(--link);background:none;border:0;cursor:pointer;text-decoration:underline}
.login{max-width:24rem}
.login label{display:block;margin:.8rem 0 .2rem}
.login input{width:100%;font:inherit;padding:.5rem;border:1px solid var(--soft);border-radius:.3rem;
background:var(--ground);color:var(--ink)}
.login button{margin-top:1.2rem;padding:.55rem 1.2rem;border:1px solid var(--link);border-radius:.3rem;
text-decoration:none}
.mark{display:inline-block;padding:0 .45rem;border-radius:.3rem;font-weight:600;white-space:nowrap}
.verdict.failed strong,.verdict.degraded strong,.verdict.passed strong{color:inherit}
.plain{background:var(--panel)}
.small{display:block;color:var(--soft);font-size:.88rem;font-weight:400}
time{white-space:nowrap}
td,th{overflow-wrap:break-word}
tbody th{min-width:9rem}
td{min-width:6rem}
main ul{padding:0;list-style:none}
progress{width:8rem;height:.7rem;accent-color:var(--bar)}
footer{max-width:76rem;margin:0 auto;padding:0 1.25rem 2rem}
@media (max-width:36rem){
.top>div{justify-content:space-between}
.top nav{order:3;width:100%}
thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
table,tbody,tr,tbody th,td{display:block}
tr{border-bottom:1px solid var(--line);padding:.6rem 0}
tbody th,td{border:0;padding:.1rem 0}
tbody th{font-weight:600;overflow-wrap:anywhere}
td{display:grid;grid-template-columns:7.5rem 1fr;gap:.75rem}
td::before{content:attr(data-of);color:var(--soft)}
td>div{min-width:0;overflow-wrap:anywhere}
}
"""
)


class Shown(Struct, frozen=True, kw_only=True):
    """What the pages show: facts as they are now, what is wrong by them, what people said of that, and where
    Flower is, if it is."""

    facts: Facts
    limits: Limits
    alerts: tuple[Alert, ...]
    version: str
    muted: Muted = Muted()
    looked_at: float | None = None
    flower: str = ""


def document(title: str, content: str, shown: Shown, *, here: str = "") -> bytes:
    """Return a whole page. ``here`` is the page of the menu that it belongs to."""
    head = _HEAD.format(title=text(title))
    body = f'<main id="main">\n<h1>{text(title)}</h1>\n{_without_record(shown)}{content}</main>\n'
    return "".join((head, _SKIP, _menu(shown, here), body, _foot(shown), _END)).encode()


def bare(title: str, content: str) -> bytes:
    """Return a page for whoever has not logged in: it shows nothing of the installation."""
    body = f'<main id="main" class="login">\n<h1>{text(title)}</h1>\n{content}</main>\n'
    return (_HEAD.format(title=text(title)) + body + _END).encode()


def _menu(shown: Shown, here: str) -> str:
    items = "".join(_item(path, name, shown, here) for path, name in PAGES.items())
    if shown.flower:
        items += f'<li><a href="{escape(shown.flower)}">Flower</a></li>\n'
    return (
        '<header class="top"><div><span class="name">Strongroom</span>\n'
        f'<nav aria-label="Pages"><ul>\n{items}</ul></nav>\n'
        '<form method="post" action="/logout"><button>Log out</button></form></div></header>\n'
    )


def _item(path: str, name: str, shown: Shown, here: str) -> str:
    current = ' aria-current="page"' if path == here else ""
    count = f" ({len(shown.alerts)})" if path == "/alerts" and shown.alerts else ""
    return f'<li><a href="{path}"{current}>{name}{count}</a></li>\n'


def _without_record(shown: Shown) -> str:
    if shown.facts.state is None:
        return ""
    why = f"{shown.facts.state}."
    since = together("What follows is what was seen at", moment(shown.facts.now))
    seen = since if shown.looked_at else "Nothing is known yet."
    return verdict("failed", "The state database cannot be read", together(why, seen))


def _foot(shown: Shown) -> str:
    looked = (
        f"The targets were checked {moment(shown.looked_at)}."
        if shown.looked_at
        else "The targets have not been checked yet."
    )
    as_of = f"By the record as of {moment(shown.facts.now)}. {looked}"
    return f"<footer><p>{as_of} Strongroom {text(shown.version)}; this page changes nothing.</p></footer>\n"


def quoted(name: str) -> str:
    """Return a name as one part of a path, whatever it is made of."""
    return quote(name, safe="")


# -- parts -----------------------------------------------------------------------------


def verdict(kind: str, title: str, more: object = "") -> str:
    """Return a box that says how something stands. ``kind``: passed, degraded or failed."""
    words = f"<p>{text(more)}</p>" if more else ""
    return f'<div class="verdict {kind}"><strong>{text(title)}</strong>{words}</div>\n'


def mark(kind: str, words: str) -> Markup:
    """Return words that stand out: the colour says nothing that they do not."""
    return Markup(f'<span class="mark {kind}">{text(words)}</span>')


_KINDS: Final = {
    RunState.ACTIVE: "plain",
    RunState.DONE: "passed",
    RunState.DEGRADED: "degraded",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "cancelled",
}


def state(of: RunState) -> Markup:
    """Return how a run stands."""
    return mark(_KINDS[of], "running" if of is RunState.ACTIVE else of.value)


def small(said: object) -> Markup:
    """Return a line under another."""
    return Markup(f'<span class="small">{text(said)}</span>')


def together(*parts: object) -> Markup:
    """Return parts one after the other."""
    return Markup(" ".join(text(part) for part in parts if part != ""))


def moment(at: float | None) -> Markup:
    """Return a time; a row that somebody edited may hold one that is none."""
    if at is None:
        return Markup("-")
    try:
        return Markup(f'<time datetime="{rfc3339(at)}">{for_people(at)}</time>')
    except (OverflowError, ValueError, OSError):
        return Markup("nobody knows when")


def length(seconds: float) -> str:
    """Return how long something took."""
    return measured(max(0.0, seconds)) if math.isfinite(seconds) else "nobody knows how long"


class Line(NamedTuple):
    """A line of a table: its cells, of which the first names it, and whether something is wrong with it."""

    cells: Sequence[object]
    bad: bool = False


def listed(found: Iterable[Line], *, head: Sequence[str], label: str, nothing: str) -> str:
    """Return a table; a sentence where there is nothing.

    A phone shows each line as a card, with the names of the columns beside the cells. That takes the meaning
    of a table from its elements, so that roles give it back.
    """
    lines = list(found)
    if not lines:
        return f"<p>{text(nothing)}</p>\n"
    names = "".join(f'<th scope="col" role="columnheader">{text(name)}</th>' for name in head)
    rows = "".join(_line(line, head) for line in lines)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{text(label)}">\n<table role="table">\n'
        f'<thead role="rowgroup"><tr role="row">{names}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{rows}</tbody></table></div>\n'
    )


def _line(line: Line, head: Sequence[str]) -> str:
    first, *others = map(text, line.cells)
    cells = "".join(
        f'<td role="cell" data-of="{text(name)}"><div>{cell}</div></td>'
        for name, cell in zip(head[1:], others, strict=True)
    )
    bad = ' class="bad"' if line.bad else ""
    return f'<tr role="row"><th scope="row" role="rowheader"{bad}>{first}</th>{cells}</tr>\n'


def alerts_in_words(alerts: tuple[Alert, ...], muted: Muted) -> str:
    """Count alerts by how bad they are, and say how many of them somebody silenced."""
    silenced = sum(muted.silence_of(alert.key) is not None for alert in alerts)
    critical = sum(alert.severity is Severity.CRITICAL for alert in alerts)
    words = [plural(critical, "critical alert")] if critical else []
    words += [plural(len(alerts) - critical, "warning")] if len(alerts) > critical else []
    return " and ".join(words) + (f", {silenced:,} silenced" if silenced else "")
