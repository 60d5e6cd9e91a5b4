"""An audit report as a sheet, and as a table of data: pure functions of the report.

Nothing stands in either without what it rests on: a run, an event of the ledger, or a signed report.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

from strongroom.operations.evidence.audit import Audit, AuditedBackup, AuditedIncident, Operation, Rehearsal
from strongroom.operations.evidence.signed_report import (
    BAD,
    CHART_STYLE,
    GOOD,
    LEGEND,
    PLAIN,
    WARN,
    Bar,
    LedgerEvent,
    Mark,
    Point,
    ReportKind,
    bars,
    calendar,
    columns,
)
from strongroom.sheet import Lines, Mood, Part, Picture, Sheet, Table, marked
from strongroom.state.records import RunKind, RunState
from strongroom.words import name_first_few, plural, size

SHOWN = 100
"""Rows of one table on the page; the table beside it and the signed document have all."""
_CALENDARS = {"Backups": (RunKind.BACKUP,), "Verifications": (RunKind.VERIFY, RunKind.SCRUB)}
_PASSING = (RunState.ACTIVE, RunState.DEGRADED, RunState.CANCELLED)


def sheet_of(report: Audit) -> Sheet:
    """Return what is on record of the span; each run, replica, drill, key, incident and event is a row of its
    data."""
    last_day = (_time(report.until) - timedelta(seconds=1)).date().isoformat()  # that is in the span
    ends = f" They are events {report.first.id} to {report.last.id}." if report.first and report.last else ""
    whole = f"{plural(report.events, 'event')} in this span, each chained to the one before.{ends}"
    changed = (
        f"Event {report.broken} was changed, or one before it is gone. This page says what stands there now: "
        "do not rest on it."
    )
    is_whole = report.broken is None
    return Sheet(
        kind="Audit report",
        title=f"Backups, {report.since[:10]} to {last_day}",
        verdict="The ledger is whole" if is_whole else "The ledger is not what was appended",
        mood=Mood.GOOD if is_whole else Mood.BAD,
        about=whole if is_whole else changed,
        parts=list(_parts(report)),
        foot=f"{report.strongroom}, {report.made_at}",
        data=Table(_HEAD, list(_rows(report))),
    )


def _parts(report: Audit) -> Iterator[Part]:
    yield Table(("What", "Found", "Rests on"), list(_figures(report)), "In short")
    for name, kinds in _CALENDARS.items():
        yield from _calendar(name, kinds, report)
    yield from _unwell(report)
    yield from _sizes(report.backups)
    yield from _drills(report.drills)
    yield from _keys(report)
    yield from _incidents(report)
    yield _events(report)


# -- in short ----------------------------------------------------------------------


def _figures(report: Audit) -> Iterator[tuple[str, str, str]]:
    """Yield each figure with what it rests on."""
    for kind in sorted({operation.kind for operation in report.operations}):
        runs = [operation for operation in report.operations if operation.kind == kind]
        ended = [operation for operation in runs if operation.ended]
        done = sum(operation.state == RunState.DONE for operation in ended)
        share = f"{done:,} of {len(ended):,} ended whole" + (f" ({done / len(ended):.1%})" if ended else "")
        yield f"{kind.capitalize()} runs", share, _runs(runs)
    unread = [
        backup for backup in report.backups if not any(on.good and on.verified for on in backup.replicas)
    ]
    names = name_first_few([audited.backup.backup for audited in unread])
    yield "Backups made", f"{len(report.backups):,}", "the catalog: each backup is in the table"
    yield "Never read back", f"{len(unread):,}", names or "each backup has a replica that was verified"


def _runs(runs: Sequence[Operation]) -> str:
    first, last = runs[0].run, runs[-1].run
    return f"run {first}" if len(runs) == 1 else f"{len(runs):,} runs, from {first} to {last}"


# -- calendars ---------------------------------------------------------------------


def _calendar(name: str, kinds: Iterable[str], report: Audit) -> Iterator[Part]:
    heading = f"Calendar of {name.lower()}"
    by_day: dict[date, list[Operation]] = defaultdict(list)
    for operation in report.operations:
        if operation.kind in kinds:
            by_day[_time(operation.began).date()].append(operation)
    if not by_day:
        yield Lines([f"There were no {name.lower()} in this span."], heading)
        return
    marks = {day: _mark(day, runs) for day, runs in by_day.items()}
    counted = sum(map(len, by_day.values()))
    said = f"{plural(counted, 'run')} on {plural(len(by_day), 'day')}, by the day on which each began (UTC)."
    said += " Each run is in the table by its id."
    yield Picture(calendar(name, marks) + LEGEND, heading, text=said, style=CHART_STYLE)


def _mark(day: date, runs: Sequence[Operation]) -> Mark:
    states = {operation.state for operation in runs}
    said = ", ".join(f"{sum(run.state == state for run in runs)} {state}" for state in sorted(states))
    ids = name_first_few([operation.run for operation in runs])
    return Mark(state=_worst(states), words=f"{day}: {said} ({ids})")


def _worst(states: Iterable[str]) -> str:
    found = set(states)
    if RunState.FAILED in found:
        return BAD
    return WARN if found & set(_PASSING) else GOOD


def _unwell(report: Audit) -> Iterator[Part]:
    unwell = [operation for operation in report.operations if operation.state != RunState.DONE]
    rows = [
        (
            marked(operation.run, bad=operation.state == RunState.FAILED),
            operation.kind,
            operation.policy,
            _day(operation.began),
            operation.state,
            operation.error or "",
        )
        for operation in unwell[:SHOWN]
    ]
    head = ("Run", "Kind", "Policy", "Began (UTC)", "State", "Error")
    yield Table(head, rows, "What did not end well", nothing="Every run of this span ended whole.")
    if (more := len(unwell) - SHOWN) > 0:
        yield Lines([f"And {plural(more, 'run')} more, in the table beside this page."], style="note")


# -- sizes -------------------------------------------------------------------------


def _sizes(backups: Sequence[AuditedBackup]) -> Iterator[Part]:
    by_policy: dict[str, list[AuditedBackup]] = defaultdict(list)
    for audited in backups:
        by_policy[audited.backup.policy].append(audited)
    said = "Of each policy the last backup of each day." if by_policy else "No backup was made in this span."
    yield Lines([said], "Sizes of backups")
    for policy, held in sorted(by_policy.items()):
        yield from _size(policy, held)


def _size(policy: str, held: Sequence[AuditedBackup]) -> Iterator[Part]:
    largest = max(audited.backup.size for audited in held) or 1
    times = [_time(audited.backup.created_at).timestamp() for audited in held]
    first, span = min(times), max(times) - min(times) or 1.0
    points = [
        Point(
            at=(at - first) / span,
            value=backup.backup.size / largest,
            words=(
                f"{backup.backup.backup}: {size(backup.backup.size)}, "
                f"{plural(backup.backup.secrets, 'secret')}"
            ),
        )
        for at, backup in _last_of_each_day(times, held)
    ]
    last = held[-1].backup
    days = (held[0].backup.created_at[:10], last.created_at[:10])
    said = (
        f"{plural(len(held), 'backup')}. The largest has {size(largest)}, "
        f"the newest ({last.backup}) {size(last.size)}."
    )
    chart = columns(f"Sizes of backups of {policy}", points, ends=days, most=size(largest))
    yield Picture(chart, policy, sub=True, text=said, style=CHART_STYLE)


def _last_of_each_day(
    times: Sequence[float], held: Sequence[AuditedBackup]
) -> Iterable[tuple[float, AuditedBackup]]:
    """Return a backup for each day that has any: a page stays small, however often somebody backs up."""
    found = {audited.backup.created_at[:10]: (at, audited) for at, audited in zip(times, held, strict=True)}
    return found.values()


# -- drills, keys, incidents -------------------------------------------------------


def _drills(drills: Sequence[Rehearsal]) -> Iterator[Part]:
    heading = "Recovery drills against their objective"
    if not drills:
        yield Lines(["No recovery was rehearsed in this span."], heading)
        return
    shown = drills[-SHOWN:]
    rows = [
        Bar(
            label=f"{rehearsal.began[:10]} {rehearsal.drill}",
            end=min((rehearsal.took or 0) / max(rehearsal.objective, 1), _MOST) / _MOST,
            limit=1 / _MOST,
            mark=Mark(state=_drill_state(rehearsal), words=f"run {rehearsal.run}: {_drill_said(rehearsal)}"),
        )
        for rehearsal in shown
    ]
    drawn = bars("Recovery times against their objectives", rows)
    said = "Each bar is a share of its own objective, the upright line."
    yield Picture(drawn + LEGEND, heading, text=said, style=CHART_STYLE)
    listed = [
        (
            marked(_day(rehearsal.began), bad=_drill_state(rehearsal) == BAD),
            rehearsal.drill,
            rehearsal.policy,
            _drill_said(rehearsal),
            f"drills/{rehearsal.run}.json",
        )
        for rehearsal in shown
    ]
    yield Table(("Began (UTC)", "Drill", "Policy", "Recovery", "Signed report"), listed)


_MOST = 1.5
"""Times its objective that a drill is drawn with at most."""


def _drill_state(rehearsal: Rehearsal) -> str:
    if rehearsal.took is None or rehearsal.state == RunState.FAILED:
        return BAD
    return WARN if rehearsal.took > rehearsal.objective or rehearsal.state != RunState.DONE else GOOD


def _drill_said(rehearsal: Rehearsal) -> str:
    objective = f"objective {_length(rehearsal.objective)}"
    if rehearsal.took is None:
        return f"{rehearsal.state}: nothing came back; {objective}"
    met = "met" if rehearsal.took <= rehearsal.objective else "missed"
    return f"{rehearsal.state}: {_length(rehearsal.took)}; {objective}, {met}"


def _length(milliseconds: int) -> str:
    seconds = milliseconds / 1000
    return f"{seconds:,.1f} s" if seconds < 120 else f"{seconds / 60:,.1f} min"


def _keys(report: Audit) -> Iterator[Part]:
    if not report.keys:
        yield Lines(["No key is on record."], "Ages of keys")
        return
    ages = [_days(key.since, report.made_at) for key in report.keys]
    most = max(*ages, 1)
    rows = [
        Bar(
            label=key.name[:22],
            end=age / most,
            mark=Mark(state=PLAIN, words=f"{key.name}: {plural(age, 'day')}, {key.evidence}"),
        )
        for age, key in zip(ages, report.keys, strict=True)
    ]
    yield Picture(bars("Ages of keys in days", rows), "Ages of keys", style=CHART_STYLE)
    listed = [
        (key.name, key.use, key.since[:10], age, key.evidence)
        for age, key in zip(ages, report.keys, strict=True)
    ]
    yield Table(("Key", "Use", "Since", "Days", "Rests on"), listed)


def _incidents(report: Audit) -> Iterator[Part]:
    if not report.incidents:
        yield Lines(["No incident was open in this span."], "Incidents")
        return
    rows = [_incident_bar(incident, report) for incident in report.incidents]
    yield Picture(bars("Incidents from opening to closure", rows), "Incidents", style=CHART_STYLE)
    listed = [
        (
            marked(audited.incident, bad=_is_late(audited, report)),
            _day(audited.opened),
            _day(audited.due),
            _day(audited.closed) or "open",
            _entries(audited),
        )
        for audited in report.incidents
    ]
    yield Table(("Incident", "Opened (UTC)", "Due (UTC)", "Closed (UTC)", "Signed entries"), listed)


def _entries(audited: AuditedIncident) -> str:
    return f"incidents/{audited.incident}/"


def _incident_bar(audited: AuditedIncident, report: Audit) -> Bar:
    closed = f"closed {_day(audited.closed)}" if audited.closed else "open"
    state = BAD if _is_late(audited, report) else GOOD if audited.closed else WARN
    return Bar(
        label=f"{audited.opened[:10]} {audited.incident[-8:]}",
        start=_share(audited.opened, report),
        end=_share(audited.closed or report.made_at, report),
        mark=Mark(state=state, words=f"{audited.incident}: opened {_day(audited.opened)}, {closed}"),
    )


def _share(at: str, report: Audit) -> float:
    """Return where in the span, as far as it was over, a time is."""
    first, end = _time(report.since), min(_time(report.until), _time(report.made_at))
    share = (_time(at) - first) / max(end - first, timedelta(seconds=1))
    return min(max(share, 0.0), 1.0)


def _is_late(incident: AuditedIncident, report: Audit) -> bool:
    return (incident.closed or report.made_at) > incident.due


# -- the rest ----------------------------------------------------------------------


def _events(report: Audit) -> Table:
    seen: dict[str, list[int]] = defaultdict(list)
    for happening in report.happenings:
        seen[happening.kind].append(happening.event)
    rows = [(kind, len(events), _which(events)) for kind, events in sorted(seen.items())]
    nothing = "Nothing else is on record in this span."
    return Table(("Event", "How often", "Rests on"), rows, "Other events", nothing=nothing)


def _which(events: Sequence[int]) -> str:
    if len(events) == 1:
        return f"event {events[0]}"
    return f"{len(events):,} events, from {events[0]} to {events[-1]}"


def _day(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z")[:16]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _days(since: str, until: str) -> int:
    return max((_time(until) - _time(since)).days, 0)


# -- the table ---------------------------------------------------------------------

_HEAD = ("what", "kind", "name", "policy", "begin", "end", "state", "number", "unit", "said", "evidence")


def _rows(report: Audit) -> Iterator[tuple[object, ...]]:
    for run in report.operations:
        said = (run.state, "", "", run.error, f"run {run.run}")
        yield ("run", run.kind, run.run, run.policy, run.began, run.ended, *said)
    for held in report.backups:
        yield from _backup_rows(held)
    for drill in report.drills:
        took = (drill.state, drill.took, "ms", f"objective {drill.objective} ms", f"drills/{drill.run}.json")
        yield ("drill", drill.drill, drill.run, drill.policy, drill.began, "", *took)
    for key in report.keys:
        age = _days(key.since, report.made_at)
        yield ("key", key.use, key.name, "", key.since, "", "", age, "days", "", key.evidence)
    for case in report.incidents:
        due = ("", "", "", f"due {case.due}", _entries(case))
        yield ("incident", "", case.incident, "", case.opened, case.closed, *due)
    for happening in report.happenings:
        yield (
            "event",
            happening.kind,
            "",
            "",
            happening.at,
            "",
            "",
            "",
            "",
            _said(happening.detail),
            f"event {happening.event}",
        )


def _backup_rows(held: AuditedBackup) -> Iterator[tuple[object, ...]]:
    made = held.backup
    rests = f"manifest {made.manifest_sha256}"
    yield ("backup", "", made.backup, made.policy, made.created_at, "", "", made.size, "bytes", "", rests)
    for on in held.replicas:
        depth = on.verified.value if on.verified else "never read back"
        said = ("good" if on.good else "bad", "", "", depth, f"backup {made.backup}")
        yield ("replica", on.target, made.backup, made.policy, "", on.verified_at, *said)


def _said(detail: Mapping[str, object]) -> str:
    """Say what an event has besides; a signed entry, which is long, stands in the document."""
    pairs = ((name, str(value)) for name, value in sorted(detail.items()) if value not in (None, "", [], {}))
    return "; ".join(f"{name}={_short(value)}" for name, value in pairs)


def _short(value: str) -> str:
    return value if len(value) <= 200 else f"({len(value):,} characters)"


REPORT = ReportKind(
    name="audit-report",
    words="audit report",
    record=Audit,
    sheet=sheet_of,
    ledger=lambda report: (
        LedgerEvent(number=report.last.id, sha256=report.last.sha256) if report.last else None
    ),
)
