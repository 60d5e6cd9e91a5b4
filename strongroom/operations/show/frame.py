"""What every page of the dashboard has, and lists of backups, runs and incidents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from shlex import quote
from typing import Final
from urllib import parse

from msgspec import Struct

from strongroom import sheet
from strongroom.alert_kinds import Severity
from strongroom.errors import by_name, meaning_of
from strongroom.model import COMMAND
from strongroom.operations.archive.cases import Incident
from strongroom.operations.engine import run_log
from strongroom.operations.engine.findings import Finding
from strongroom.operations.engine.muted import Muted
from strongroom.operations.judge.calendar import EntryState, EntryStatus
from strongroom.operations.judge.fact_records import AlertLimits, InstallationFacts
from strongroom.sheet import Cell, Content, Folded, Mood, Part, Picture, Sheet, Table, marked, markup
from strongroom.state.records import CatalogEntry, Replica, Run, RunState
from strongroom.times import as_written, for_people, measured, rfc3339
from strongroom.words import plural, size

# -- What every page of the dashboard has: its head, the way to the other pages, and what it is as of


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
.act label{{display:block;margin:.8rem 0 .2rem}}
.act input{{width:100%;max-width:40rem;font:inherit;padding:.5rem;border:1px solid var(--soft);
border-radius:.3rem;background:var(--ground);color:var(--ink)}}
.act button{{display:block;margin-top:1.2rem;padding:.55rem 1.2rem;border:1px solid var(--link);
border-radius:.3rem;text-decoration:none}}
.who{{color:var(--soft)}}
@media (max-width:36rem){{.top>div{{justify-content:space-between}}.top nav{{order:3;width:100%}}}}
"""


class PageFacts(Struct, frozen=True, kw_only=True):
    """What the pages show: facts as they are now, what is wrong by them, what people said of that, and where
    Flower is, if it is.

    ``visitor`` is who looks, ``acts`` tells whether they may act, and ``leaves`` whether they can log out
    here. ``here`` is where the page is, and ``still``: it does not load itself again.
    """

    facts: InstallationFacts
    limits: AlertLimits
    alerts: tuple[Finding, ...]
    version: str
    muted: Muted = Muted()
    looked_at: float | None = None
    flower: str = ""
    visitor: str = ""
    acts: bool = False
    leaves: bool = True
    here: str = "/"
    still: bool = True

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
    leave = f'<span class="who">{markup(shown.visitor)}</span>\n' if shown.visitor else ""
    if shown.leaves:
        leave += '<form method="post" action="/logout"><button>Log out</button></form>'
    return (
        '<header class="top"><div><span class="name">Strongroom</span>\n'
        f'<nav aria-label="Pages"><ul>\n{items}</ul></nav>\n'
        f"{leave}</div></header>\n"
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
    what = "what people do here is on record with their names" if shown.acts else "this page changes nothing"
    version = f" Strongroom {shown.version}; {what}."
    sign = "&" if "?" in shown.here else "?"
    still = Cell("Stop that", link=f"{shown.here}{sign}still=1")
    again: Content = ("This page loads itself again every minute. ", still)
    if shown.still:
        again = ("This page stays as it is. ", Cell("Load it again every minute", link=shown.here))
    more = (
        f"<p>{markup(again)}</p>" if shown.here else ""
    )  # a form never loads itself: what is typed would go
    return f"<footer><p>{markup((*as_of, version))}</p>\n{more}</footer>\n"


def quoted(name: str) -> str:
    """Return a name as one part of a path, whatever it is made of."""
    return parse.quote(name, safe="")


# -- parts -----------------------------------------------------------------------------


_MOODS: Final = {
    RunState.DONE: Mood.GOOD,
    RunState.DEGRADED: Mood.WARN,
    RunState.CANCELLED: Mood.WARN,
    RunState.FAILED: Mood.BAD,
}


def state_mark(of: RunState) -> Cell:
    """Return how a run stands."""
    return Cell("running" if of is RunState.ACTIVE else of.value, _MOODS.get(of, Mood.PLAIN))


def run_mark(run: Run) -> Cell:
    """Return how a run stands, where what it ended with is known too."""
    return Cell(run_log.NOTHING_YET_IN_WORDS) if run_log.found_nothing_yet(run) else state_mark(run.state)


def reason_of(code: str) -> str:
    """Return what a run failed of, in our own words: in its own it may name a secret."""
    kind = by_name(code)
    return f"{code}: {meaning_of(kind)}" if kind is not None else "A fault of Strongroom."


def to_do_about(code: str) -> str:
    """Return what to do about it."""
    kind = by_name(code)
    return kind.default_hint if kind is not None else ""


def commands_of(entry: CatalogEntry, file: str = "FILE") -> list[str]:
    """Return what to type to find a secret in a backup, and to bring its secrets back by a plan.

    Args:
        file: where a backup lies that a command wrote into a file: no target has it.
    """
    plan = quote(f"{entry.backup}.plan")
    if entry.policy == COMMAND:
        where = f"--backup-file {quote(file)}"
        find, made, done = f"strongroom list {where}", where, f" {where}"
    else:
        at = f"--policy {quote(entry.policy)} --at {quote(entry.created_at)}"
        find, made, done = f"strongroom backups find NAME {at}", f"--backup {quote(entry.backup)}", ""
    restore = [
        f"strongroom restore {made} --full-restore --plan-out {plan}",
        f"strongroom restore --plan {plan}{done}",
    ]
    return [find, *restore] if entry.values else [find]


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


# -- Backups, runs, the calendar and incidents, each as a list; what may be long comes by the page ---


PAGE = 50
"""Lines of a long list on one page."""


def backups(
    found: Sequence[CatalogEntry],
    replicas: Mapping[str, Sequence[Replica]],
    shown: PageFacts,
    *,
    policy: str = "",
) -> bytes:
    """Return a page of backups, the newest first. More than :data:`PAGE`: there are older ones."""
    head = ("Backup", "Policy", "Made", "Secrets", "Size", "Good replicas", "To use it")
    rows = [_backup(entry, replicas.get(entry.backup, ())) for entry in found[:PAGE]]
    only = f"&policy={quoted(policy)}" if policy else ""
    parts = [Table(head, rows, nothing="The catalog has none here."), _older(found, "/backups", only)]
    title = f"Backups of {policy}" if policy else "Backups"
    return document(Sheet(title=title, parts=parts), shown, here="/backups")


def _backup(entry: CatalogEntry, replicas: Sequence[Replica]) -> tuple[Content, ...]:
    good = sum(replica.good for replica in replicas)
    made = as_written(entry.created_at)
    name = Cell(entry.backup, link=f"/backups/{quoted(entry.backup)}")
    return (
        marked(name, bad=good < len(replicas)),
        Cell(entry.policy, link=f"/backups?policy={quoted(entry.policy)}"),
        moment(made.timestamp() if made else None),
        entry.secrets,
        size(entry.size),
        f"{good} of {len(replicas)}",
        Folded("What to type", tuple(Cell("", small=Cell(line, code=True)) for line in commands_of(entry))),
    )


def runs(found: Sequence[Run], shown: PageFacts) -> bytes:
    """Return a page of runs, the newest first. More than :data:`PAGE`: there are older ones."""
    head = ("Run", "What", "State", "Began", "Took")
    rows = [_run(run, shown.facts.now) for run in found[:PAGE]]
    parts = [Table(head, rows, nothing="There was no run."), _older(found, "/runs", "")]
    return document(Sheet(title="Runs", parts=parts), shown, here="/runs")


def _run(run: Run, now: float) -> tuple[Content, ...]:
    took = length((run.finished_at or now) - run.created_at)
    what = f"{run.spec.kind.value} of {run.spec.policy}"
    name = Cell(run.id, link=f"/runs/{quoted(run.id)}")
    stands = Cell("waits for its turn") if run.queued else run_mark(run)
    return (name, what, stands, moment(run.created_at), took)


def _older(found: Sequence[CatalogEntry] | Sequence[Run], path: str, more: str) -> Part:
    """Return the way to what is older than a page. Both ends of it are links: no page is lost."""
    way: Content = Cell("Newest", link=f"{path}{'?' + more[1:] if more else ''}")
    if len(found) > PAGE:
        last = found[PAGE - 1]
        name = last.backup if isinstance(last, CatalogEntry) else last.id
        way = (way, " · ", Cell("Older", link=f"{path}?before={quoted(name)}{more}"))
    return Picture(f'<nav aria-label="More"><p>{markup(way)}</p></nav>\n')


def schedule(found: Iterable[EntryStatus], shown: PageFacts) -> bytes:
    """Return the calendar: each entry's last and next time, and what keeps it."""
    head = ("Entry", "Last", "Came to", "Next", "State")
    rows = [_entry(entry, shown) for entry in found]
    table = Table(head, rows, nothing="Nothing is scheduled.")
    return document(Sheet(title="Schedule", parts=[table]), shown, here="/schedule")


_STATES = {
    EntryState.OVERDUE: Mood.BAD,
    EntryState.PAUSED: Mood.WARN,
    EntryState.WAITING: Mood.WARN,
    EntryState.ON: Mood.GOOD,
}
_SAYS_WHY = (EntryState.OVERDUE, EntryState.PAUSED, EntryState.WAITING, EntryState.OFF)
"""Of the others the reason is what a run said in its own words, and that may name a secret."""


def _entry(found: EntryStatus, shown: PageFacts) -> tuple[Content, ...]:
    run, why = found.run, found.why if found.state in _SAYS_WHY else ""
    asks = shown.acts and not (found.entry.needs or found.entry.offline)
    now = Cell("Run now", link=f"/act/run?of={quoted(found.entry.name)}") if asks else ""
    name = Cell(found.entry.name, small=f"{found.entry.schedule} ({found.entry.time_zone})")
    slot = small(together("due", moment(found.made_up_for))) if found.made_up_for else ""
    state = together(Cell(found.state.value, _STATES.get(found.state, Mood.PLAIN), small=why), now)
    return (
        marked(name, bad=found.state is EntryState.OVERDUE),
        together(moment(found.last_ran), slot),  # and its slot, if that was another time
        Cell(run_mark(run), link=f"/runs/{quoted(run.id)}") if run else "-",
        moment(found.next_due),
        state,
    )


def incidents(found: Iterable[Incident], shown: PageFacts) -> bytes:
    """Return the incidents, the newest first."""
    head = ("Incident", "State", "Opened", "By", "Affects")
    newest = sorted(found, key=lambda incident: incident.opened_at, reverse=True)
    rows = [_incident(incident, shown.facts.now) for incident in newest]
    nothing = "No incident is on record: 'strongroom incident open' begins one."
    table = Table(head, rows, nothing=nothing)
    return document(Sheet(title="Incidents", parts=[table]), shown, here="/incidents")


def _incident(incident: Incident, now: float) -> tuple[Content, ...]:
    opened = as_written(incident.opened_at)
    name = Cell(incident.id, link=f"/incidents/{quoted(incident.id)}")
    at = moment(opened.timestamp() if opened else None)
    return (name, standing(incident, now), at, incident.by, plural(len(incident.affected), "backup"))


def standing(incident: Incident, now: float) -> Cell:
    """Return how an incident stands."""
    if incident.closed is not None:
        return Cell("closed", Mood.GOOD)
    return Cell("overdue", Mood.BAD) if incident.is_overdue(now) else Cell("open", Mood.WARN)
