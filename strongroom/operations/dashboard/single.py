"""One backup, one run, one incident: all that the record has of it, but for what may name a secret."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from strongroom.operations import recorded_errors
from strongroom.operations.archive.incidents import Incident, next_command, steps_of
from strongroom.operations.dashboard import frame
from strongroom.operations.dashboard.frame import Line, Shown, mark, moment, quoted, together
from strongroom.operations.dashboard.lists import standing
from strongroom.operations.dashboard.overview import far, replica
from strongroom.operations.facts.records import Pace
from strongroom.operations.incident import words
from strongroom.operations.page import Markup, definitions, link, section, text
from strongroom.state.records import (
    CatalogEntry,
    Event,
    RecipientPin,
    Replica,
    Run,
    RunKind,
    RunState,
    StepRow,
    StepState,
)
from strongroom.timestamps import as_written, readable
from strongroom.words import plural, size

AFFECTED = 200
STEPS = 200
EVENTS = 100
_STATES = {StepState.POISONED: "given up", StepState.MISSED: "done without"}
_SAFE = ("target", "by", "who", "key", "incident")
"""What is shown of an event: names of the configuration and of people."""


class OneBackup(Struct, frozen=True, kw_only=True):
    """What is on record of a backup.

    ``made`` is its own run, if there was one. ``readers`` are who can open it, by the run that ``sealed`` it
    last: ``None`` if no run on record did. ``quarantine`` is the incident that put it there. ``unlocked``
    names the targets where it should be locked and is not.
    """

    entry: CatalogEntry
    replicas: Sequence[Replica]
    readers: Sequence[RecipientPin] = ()
    sealed: Run | None = None
    made: Run | None = None
    quarantine: str = ""
    unlocked: Sequence[str] = ()
    events: Sequence[Event] = ()


def backup(found: OneBackup, shown: Shown) -> bytes:
    """Return where a backup lies, who opens it, and what happened to it."""
    now = shown.facts.now
    places = [_replica(one, found, now) for one in found.replicas]
    head = ("Target", "Replica", "Read back")
    content = (
        _quarantine(found)
        + definitions(_backup(found))
        + section("Where it lies", frame.listed(places, head=head, label="Where it lies", nothing="Nowhere."))
        + section("Who opens it", _readers(found))
        + section("History", _history(found.events))
    )
    return frame.document(f"Backup {found.entry.backup}", content, shown)


def _quarantine(found: OneBackup) -> str:
    if not found.quarantine:
        return ""
    return frame.verdict(
        "failed",
        "In quarantine",
        together("No restore takes it:", link(f"/incidents/{quoted(found.quarantine)}", found.quarantine)),
    )


def _backup(found: OneBackup) -> Iterator[tuple[str, str]]:
    entry = found.entry
    made = as_written(entry.created_at)
    yield "Policy", link(f"/backups?policy={quoted(entry.policy)}", entry.policy)
    yield "Made", moment(made.timestamp() if made else None)
    yield (
        "Holds",
        f"{plural(entry.secrets, 'secret')}, {size(entry.size)} in {plural(entry.containers, 'container')}",
    )
    yield "Values", "yes" if entry.values else "no: metadata alone"
    yield "Manifest", Markup(f"<code>{text(entry.manifest_sha256)}</code>")
    if found.made is not None:
        yield "Run", link(f"/runs/{quoted(found.made.id)}", "how it was made")


def _replica(one: Replica, found: OneBackup, now: float) -> Line:
    lock = mark("degraded", "not locked") if one.target in found.unlocked else ""
    state = together(replica(one.good, one.verified, one.verified_at, now), lock)
    return Line((one.target, state, moment(one.verified_at)), bad=not one.good)


def _readers(found: OneBackup) -> str:
    if found.sealed is None:
        return (
            "<p>No run on record sealed it. Its manifest says: "
            f"<code>strongroom verify-backup {text(found.entry.backup)}</code></p>\n"
        )
    rows = [
        Line((pin.name, pin.describes.replace("`", ""), "yes" if pin.post_quantum else "no"))
        for pin in found.readers
    ]
    head = ("Key", "Whose", "Withstands a quantum computer")
    sealed = link(f"/runs/{quoted(found.sealed.id)}", found.sealed.id)
    by = together("Any one of these does, by run", sealed, "of", moment(found.sealed.created_at))
    table = frame.listed(rows, head=head, label="Who opens it", nothing="Nobody: it is not sealed.")
    return f'<p class="note">{by}.</p>\n{table}'


def _history(events: Sequence[Event]) -> str:
    rows = [
        Line((moment(event.at), Markup(f"<code>{text(event.kind)}</code>"), _detail(event)))
        for event in events[-EVENTS:][::-1]
    ]
    return frame.listed(
        rows, head=("When", "What", "About"), label="History, the newest first", nothing="Nothing since."
    )


def _detail(event: Event) -> str:
    said = [f"{name} {event.detail[name]}" for name in _SAFE if event.detail.get(name)]
    return ", ".join([*said, f"run {event.run}"] if event.run else said) or "-"


# -- a run -----------------------------------------------------------------------------


def run(of: Run, rows: Sequence[StepRow], pace: Pace, shown: Shown) -> bytes:
    """Return how a run stands, and each kind of its steps."""
    bad = [row for row in rows if row.error and row.state is not StepState.DONE]
    content = definitions(_run(of, pace, shown.facts.now)) + section("Steps", _steps(rows))
    if bad:
        head = ("Step", "State", "Attempts", "Error")
        table = frame.listed(map(_trouble, bad[:STEPS]), head=head, label="Steps that failed", nothing="")
        content += section("Trouble", table)
    return frame.document(f"Run {of.id}", content, shown)


def _run(of: Run, pace: Pace, now: float) -> Iterator[tuple[str, str]]:
    yield "What", f"{of.spec.kind.value} of {of.spec.policy}"
    yield "State", together(frame.state(of.state), "and ends" if of.closing and not of.state.final else "")
    yield "Began", moment(of.created_at)
    yield "Took" if of.state.final else "So far", frame.length((of.finished_at or now) - of.created_at)
    if not of.state.final:
        yield "How far", far(pace)
        yield "Rate", pace.rate_words
        yield "Left", pace.left_words
    if of.error:
        yield "Error", Markup(f"<code>{text(_code(of.error))}</code>")
        yield "In full", Markup(f"<code>strongroom status {text(of.id)}</code>")
    made = of.spec.kind is RunKind.BACKUP and of.state in (RunState.DONE, RunState.DEGRADED)
    if of.spec.backup or made:
        yield "Backup", link(f"/backups/{quoted(of.spec.backup or of.id)}", of.spec.backup or of.id)


def _code(error: str) -> str:
    """Return the class of an error: in its own words it may name a secret."""
    return recorded_errors.class_in(error) or "a fault"


def _steps(rows: Sequence[StepRow]) -> str:
    kinds: dict[str, list[StepRow]] = {}
    for one in rows:
        kinds.setdefault(one.step.kind.value, []).append(one)
    cells = [(kind, _far(mine), sum(one.attempts for one in mine)) for kind, mine in kinds.items()]
    return frame.listed(
        [Line(each) for each in cells], head=("Step", "Done", "Attempts"), label="Steps", nothing="None yet."
    )


def _far(rows: Sequence[StepRow]) -> str:
    return f"{sum(one.state is StepState.DONE for one in rows):,} of {len(rows):,}"


def _trouble(one: StepRow) -> Line:
    code = Markup(f"<code>{text(_code(one.error or ''))}</code>")
    return Line((str(one.step), _STATES.get(one.state, one.state.value), one.attempts, code), bad=True)


# -- an incident -----------------------------------------------------------------------


def incident(of: Incident, shown: Shown) -> bytes:
    """Return what is suspected, how each step stands, and what is affected."""
    content = definitions(_incident(of, shown.facts.now)) + section("Steps", _incident_steps(of))
    if of.affected:
        rows = [
            Line(
                (
                    link(f"/backups/{quoted(one.backup)}", one.backup),
                    one.policy,
                    "yes" if one.opens_now else "no",
                )
            )
            for one in of.affected[:AFFECTED]
        ]
        head = ("Backup", "Policy", "Could be opened when it began")
        more = len(of.affected) - AFFECTED
        note = f'<p class="note">And {more:,} more.</p>\n' if more > 0 else ""
        content += section(
            "Affected", frame.listed(rows, head=head, label="Affected backups", nothing="") + note
        )
    return frame.document(f"Incident {of.id}", content, shown)


def _incident(of: Incident, now: float) -> Iterator[tuple[str, str]]:
    said = of.suspicion
    yield "State", standing(of, now)
    yield "Reason", of.reason
    yield "Opened", together(readable(of.opened_at), "by", of.by)
    yield "To be closed by", readable(of.opening.due_at)
    yield from (("Key", key) for key in said.keys)
    for about, what in (("Host", said.host), ("Target", said.target)):
        if what:
            yield about, what
    if said.secrets:
        yield "Secrets", f"{said.secrets:,}, named in a sealed entry"
    if of.closed is None:
        yield "Next", Markup(f"<code>{text(next_command(of))}</code>")
    else:
        yield "Closed", together(readable(of.closed.at), "by", of.closed.by)


def _incident_steps(of: Incident) -> str:
    rows = [
        Line((words.STEPS[one.step], one.state, readable(one.at) or "-", one.by or "-", one.said or "-"),
            bad=not one.settled)
        for one in steps_of(of)
    ]  # fmt: skip
    return frame.listed(rows, head=("Step", "State", "When", "By", "Said"), label="Steps", nothing="")
