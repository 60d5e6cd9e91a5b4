"""Backups, runs, the calendar and incidents, each as a list; what may be long comes by the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from strongroom.operations.archive.incidents import Incident
from strongroom.operations.dashboard import frame
from strongroom.operations.dashboard.frame import Line, Shown, mark, moment, quoted, small, together
from strongroom.operations.health.calendar import EntryStatus, State
from strongroom.operations.page import Markup, link
from strongroom.state.records import CatalogEntry, Replica, Run
from strongroom.timestamps import as_written
from strongroom.words import plural, size

PAGE = 50
"""Lines of a long list on one page."""


def backups(
    found: Sequence[CatalogEntry],
    replicas: Mapping[str, Sequence[Replica]],
    shown: Shown,
    *,
    policy: str = "",
) -> bytes:
    """Return a page of backups, the newest first. More than :data:`PAGE`: there are older ones."""
    head = ("Backup", "Policy", "Made", "Secrets", "Size", "Good replicas")
    rows = [_backup(entry, replicas.get(entry.backup, ())) for entry in found[:PAGE]]
    title = f"Backups of {policy}" if policy else "Backups"
    table = frame.listed(rows, head=head, label=title, nothing="The catalog has none here.")
    only = f"&policy={quoted(policy)}" if policy else ""
    return frame.document(title, table + _older(found, "/backups", only), shown, here="/backups")


def _backup(entry: CatalogEntry, replicas: Sequence[Replica]) -> Line:
    good = sum(one.good for one in replicas)
    made = as_written(entry.created_at)
    return Line(
        (
            link(f"/backups/{quoted(entry.backup)}", entry.backup),
            link(f"/backups?policy={quoted(entry.policy)}", entry.policy),
            moment(made.timestamp() if made else None),
            f"{entry.secrets:,}",
            size(entry.size),
            f"{good} of {len(replicas)}",
        ),
        bad=good < len(replicas),
    )


def runs(found: Sequence[Run], shown: Shown) -> bytes:
    """Return a page of runs, the newest first. More than :data:`PAGE`: there are older ones."""
    head = ("Run", "What", "State", "Began", "Took")
    rows = [_run(run, shown.facts.now) for run in found[:PAGE]]
    table = frame.listed(rows, head=head, label="Runs", nothing="There was no run.")
    return frame.document("Runs", table + _older(found, "/runs", ""), shown, here="/runs")


def _run(run: Run, now: float) -> Line:
    took = frame.length((run.finished_at or now) - run.created_at)
    what = f"{run.spec.kind.value} of {run.spec.policy}"
    name = link(f"/runs/{quoted(run.id)}", run.id)
    return Line((name, what, frame.state(run.state), moment(run.created_at), took))


def _older(found: Sequence[CatalogEntry] | Sequence[Run], path: str, more: str) -> str:
    """Return the way to what is older than a page. Both ends of it are links: no page is lost."""
    newest = f'<a href="{path}{"?" + more[1:] if more else ""}">Newest</a>'.replace("&", "&amp;")
    if len(found) <= PAGE:
        return f'<nav aria-label="More"><p>{newest}</p></nav>\n'
    last = found[PAGE - 1]
    name = last.backup if isinstance(last, CatalogEntry) else last.id
    older = link(f"{path}?before={quoted(name)}{more}", "Older")
    return f'<nav aria-label="More"><p>{newest} · {older}</p></nav>\n'


def schedule(found: Iterable[EntryStatus], shown: Shown) -> bytes:
    """Return the calendar: each entry's last and next time, and what keeps it."""
    head = ("Entry", "Last", "Came to", "Next", "State")
    table = frame.listed(map(_entry, found), head=head, label="The calendar", nothing="Nothing is scheduled.")
    return frame.document("Schedule", table, shown, here="/schedule")


_STATES = {State.OVERDUE: "failed", State.PAUSED: "degraded", State.WAITING: "degraded", State.ON: "passed"}
_SAYS_WHY = (State.OVERDUE, State.PAUSED, State.WAITING, State.OFF)
"""Of the others the reason is what a run said in its own words, and that may name a secret."""


def _last(found: EntryStatus) -> Markup:
    """Return when it last ran, with the slot beside it if that was another time."""
    slot = small(together("due", moment(found.made_up_for))) if found.made_up_for else ""
    return together(moment(found.last_ran), slot)


def _entry(found: EntryStatus) -> Line:
    run, why = found.run, found.why if found.state in _SAYS_WHY else ""
    came = link(f"/runs/{quoted(run.id)}", frame.state(run.state)) if run else Markup("-")
    state = together(mark(_STATES.get(found.state, "plain"), found.state.value), small(why) if why else "")
    when = small(f"{found.entry.schedule} ({found.entry.time_zone})")
    name = together(found.entry.name, when)
    cells = (name, _last(found), came, moment(found.next_due), state)
    return Line(cells, bad=found.state is State.OVERDUE)


def incidents(found: Iterable[Incident], shown: Shown) -> bytes:
    """Return the incidents, the newest first."""
    head = ("Incident", "State", "Opened", "By", "Affects")
    newest = sorted(found, key=lambda one: one.opened_at, reverse=True)
    rows = [_incident(one, shown.facts.now) for one in newest]
    nothing = "No incident is on record: 'strongroom incident open' begins one."
    table = frame.listed(rows, head=head, label="Incidents", nothing=nothing)
    return frame.document("Incidents", table, shown, here="/incidents")


def _incident(one: Incident, now: float) -> Line:
    opened = as_written(one.opened_at)
    name = link(f"/incidents/{quoted(one.id)}", one.id)
    at = moment(opened.timestamp() if opened else None)
    return Line((name, standing(one, now), at, one.by, plural(len(one.affected), "backup")))


def standing(one: Incident, now: float) -> Markup:
    """Return how an incident stands."""
    if one.closed is not None:
        return mark("passed", "closed")
    return mark("failed", "overdue") if one.is_overdue(now) else mark("degraded", "open")
