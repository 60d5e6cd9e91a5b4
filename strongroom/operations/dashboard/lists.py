"""Backups, runs, the calendar and incidents, each as a list; what may be long comes by the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from strongroom.operations.archive.incidents import Incident
from strongroom.operations.dashboard import frame
from strongroom.operations.dashboard.frame import PageFacts, moment, quoted, small, together
from strongroom.operations.health.calendar import EntryState, EntryStatus
from strongroom.sheet import Cell, Content, Mood, Part, Picture, Sheet, Table, marked, markup
from strongroom.state.records import CatalogEntry, Replica, Run
from strongroom.timestamps import as_written
from strongroom.words import plural, size

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
    head = ("Backup", "Policy", "Made", "Secrets", "Size", "Good replicas")
    rows = [_backup(entry, replicas.get(entry.backup, ())) for entry in found[:PAGE]]
    only = f"&policy={quoted(policy)}" if policy else ""
    parts = [Table(head, rows, nothing="The catalog has none here."), _older(found, "/backups", only)]
    title = f"Backups of {policy}" if policy else "Backups"
    return frame.document(Sheet(title=title, parts=parts), shown, here="/backups")


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
    )


def runs(found: Sequence[Run], shown: PageFacts) -> bytes:
    """Return a page of runs, the newest first. More than :data:`PAGE`: there are older ones."""
    head = ("Run", "What", "State", "Began", "Took")
    rows = [_run(run, shown.facts.now) for run in found[:PAGE]]
    parts = [Table(head, rows, nothing="There was no run."), _older(found, "/runs", "")]
    return frame.document(Sheet(title="Runs", parts=parts), shown, here="/runs")


def _run(run: Run, now: float) -> tuple[Content, ...]:
    took = frame.length((run.finished_at or now) - run.created_at)
    what = f"{run.spec.kind.value} of {run.spec.policy}"
    name = Cell(run.id, link=f"/runs/{quoted(run.id)}")
    return (name, what, frame.state(run.state), moment(run.created_at), took)


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
    table = Table(head, list(map(_entry, found)), nothing="Nothing is scheduled.")
    return frame.document(Sheet(title="Schedule", parts=[table]), shown, here="/schedule")


_STATES = {
    EntryState.OVERDUE: Mood.BAD,
    EntryState.PAUSED: Mood.WARN,
    EntryState.WAITING: Mood.WARN,
    EntryState.ON: Mood.GOOD,
}
_SAYS_WHY = (EntryState.OVERDUE, EntryState.PAUSED, EntryState.WAITING, EntryState.OFF)
"""Of the others the reason is what a run said in its own words, and that may name a secret."""


def _entry(found: EntryStatus) -> tuple[Content, ...]:
    run, why = found.run, found.why if found.state in _SAYS_WHY else ""
    name = Cell(found.entry.name, small=f"{found.entry.schedule} ({found.entry.time_zone})")
    slot = small(together("due", moment(found.made_up_for))) if found.made_up_for else ""
    state = Cell(found.state.value, _STATES.get(found.state, Mood.PLAIN), small=why)
    return (
        marked(name, bad=found.state is EntryState.OVERDUE),
        together(moment(found.last_ran), slot),  # and its slot, if that was another time
        Cell(frame.state(run.state), link=f"/runs/{quoted(run.id)}") if run else "-",
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
    return frame.document(Sheet(title="Incidents", parts=[table]), shown, here="/incidents")


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
