"""What every page of the dashboard has: its head, the way to the other pages, and what it is as of."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from msgspec import Struct

from strongroom import sheet
from strongroom.durations import measured
from strongroom.operations.facts.records import AlertLimits, InstallationFacts
from strongroom.operations.findings import Finding, Severity
from strongroom.operations.muted import Muted
from strongroom.sheet import Cell, Content, Mood, Sheet, markup
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

STYLE: Final = f"""{sheet.STYLE}
a:focus-visible,button:focus-visible,input:focus-visible{{outline:3px solid var(--link);outline-offset:2px}}
.skip{{position:absolute;left:-99rem}}
.skip:focus{{position:static;display:block;padding:.5rem 1.25rem}}
main{{max-width:76rem;padding-top:1rem}}
.top{{background:var(--panel);border-bottom:1px solid var(--line);padding:.6rem 1.25rem}}
.top>div{{max-width:73.5rem;margin:0 auto;display:flex;flex-wrap:wrap;gap:.2rem 1.25rem;align-items:center}}
.top ul{{display:flex;flex-wrap:wrap;gap:0 1.1rem;list-style:none;margin:0;padding:0;flex:1}}
.top li{{margin:0}}
.top li a,.top form button{{display:inline-block;padding:.35rem 0;min-height:1.5rem}}
.top a[aria-current]{{color:var(--ink);font-weight:600;text-decoration:none;
border-bottom:2px solid var(--ink)}}
.name{{font-weight:700}}
button{{font:inherit;color:var(--link);background:none;border:0;cursor:pointer;text-decoration:underline}}
.login{{max-width:24rem}}
.login label{{display:block;margin:.8rem 0 .2rem}}
.login input{{width:100%;font:inherit;padding:.5rem;border:1px solid var(--soft);border-radius:.3rem;
background:var(--ground);color:var(--ink)}}
.login button{{margin-top:1.2rem;padding:.55rem 1.2rem;border:1px solid var(--link);border-radius:.3rem;
text-decoration:none}}
tbody th{{min-width:9rem}}
td{{min-width:6rem}}
footer{{max-width:76rem;margin:0 auto;padding:0 1.25rem 2rem}}
@media (max-width:36rem){{.top>div{{justify-content:space-between}}.top nav{{order:3;width:100%}}}}
"""


class PageFacts(Struct, frozen=True, kw_only=True):
    """What the pages show: facts as they are now, what is wrong by them, what people said of that, and where
    Flower is, if it is."""

    facts: InstallationFacts
    limits: AlertLimits
    alerts: tuple[Finding, ...]
    version: str
    muted: Muted = Muted()
    looked_at: float | None = None
    flower: str = ""

    def alert(self, kind: str, subject: str) -> Finding | None:
        """Return how something is judged, if it is wrong."""
        return next(
            (finding for finding in self.alerts if (finding.kind, finding.subject) == (kind, subject)), None
        )


def document(page: Sheet, shown: PageFacts, *, here: str = "") -> bytes:
    """Return a whole page. ``here`` is the page of the menu that it belongs to."""
    head = _HEAD.format(title=markup(page.title))
    title = f"<h1>{markup(page.title)}</h1>\n"
    body = f'<main id="main">\n{title}{_without_record(shown)}{page.body()}</main>\n'
    return "".join((head, _SKIP, _menu(shown, here), body, _foot(shown), _END)).encode()


def bare(title: str, content: str) -> bytes:
    """Return a page for whoever has not logged in: it shows nothing of the installation."""
    body = f'<main id="main" class="login">\n<h1>{markup(title)}</h1>\n{content}</main>\n'
    return (_HEAD.format(title=markup(title)) + body + _END).encode()


def _menu(shown: PageFacts, here: str) -> str:
    items = "".join(_item(path, name, shown, here) for path, name in PAGES.items())
    if shown.flower:
        items += f'<li><a href="{markup(shown.flower)}">Flower</a></li>\n'
    return (
        '<header class="top"><div><span class="name">Strongroom</span>\n'
        f'<nav aria-label="Pages"><ul>\n{items}</ul></nav>\n'
        '<form method="post" action="/logout"><button>Log out</button></form></div></header>\n'
    )


def _item(path: str, name: str, shown: PageFacts, here: str) -> str:
    current = ' aria-current="page"' if path == here else ""
    count = f" ({len(shown.alerts)})" if path == "/alerts" and shown.alerts else ""
    return f'<li><a href="{path}"{current}>{name}{count}</a></li>\n'


def _without_record(shown: PageFacts) -> str:
    if shown.facts.state is None:
        return ""
    seen = ("What follows is what was seen at ", moment(shown.facts.now), ".")
    about = (f"{shown.facts.state}. ", *(seen if shown.looked_at else ("Nothing is known yet.",)))
    return Sheet(verdict="The state database cannot be read", mood=Mood.BAD, about=about).body()


def _foot(shown: PageFacts) -> str:
    looked: Content = "The targets have not been checked yet."
    if shown.looked_at:
        looked = ("The targets were checked ", moment(shown.looked_at), ".")
    as_of = ("By the record as of ", moment(shown.facts.now), ". ", looked)
    version = f" Strongroom {shown.version}; this page changes nothing."
    return f"<footer><p>{markup((*as_of, version))}</p></footer>\n"


def quoted(name: str) -> str:
    """Return a name as one part of a path, whatever it is made of."""
    return quote(name, safe="")


# -- parts -----------------------------------------------------------------------------


_MOODS: Final = {
    RunState.DONE: Mood.GOOD,
    RunState.DEGRADED: Mood.WARN,
    RunState.CANCELLED: Mood.WARN,
    RunState.FAILED: Mood.BAD,
}


def state(of: RunState) -> Cell:
    """Return how a run stands."""
    return Cell("running" if of is RunState.ACTIVE else of.value, _MOODS.get(of, Mood.PLAIN))


def small(said: Content) -> Cell:
    """Return a line under another."""
    return Cell("", small=said)


def together(*parts: Content) -> Content:
    """Return parts one after the other."""
    return tuple(piece for part in parts if part != "" for piece in (" ", part))[1:]


def moment(at: float | None) -> Content:
    """Return a time; a row that somebody edited may hold one that is none."""
    if at is None:
        return "-"
    try:
        return Cell(for_people(at), time=rfc3339(at))
    except (OverflowError, ValueError, OSError):
        return "nobody knows when"


def length(seconds: float) -> str:
    """Return how long something took."""
    return measured(seconds)


def alerts_in_words(alerts: tuple[Finding, ...], muted: Muted) -> str:
    """Count alerts by how bad they are, and say how many of them somebody silenced."""
    silenced = sum(muted.silence_of(alert.key) is not None for alert in alerts)
    critical = sum(alert.severity is Severity.CRITICAL for alert in alerts)
    words = [plural(critical, "critical alert")] if critical else []
    words += [plural(len(alerts) - critical, "warning")] if len(alerts) > critical else []
    return " and ".join(words) + (f", {silenced:,} silenced" if silenced else "")
