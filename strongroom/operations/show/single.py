"""One backup, one run, one incident: all that the record has of it, but for what may name a secret."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

from msgspec import Struct
from msgspec.structs import replace

from strongroom.model import COMMAND
from strongroom.operations.archive.cases import Incident
from strongroom.operations.engine import run_log
from strongroom.operations.judge.fact_records import RunPace
from strongroom.operations.procedures.incident_report import account_of, status_of
from strongroom.operations.show import frame
from strongroom.operations.show.acting import retrying
from strongroom.operations.show.frame import PageFacts, moment, quoted, together
from strongroom.operations.show.overview import far, replica
from strongroom.sheet import Cell, Content, Lines, Mood, Pairs, Part, Sheet, Table, marked
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
from strongroom.times import as_written
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


def backup(found: OneBackup, shown: PageFacts) -> bytes:
    """Return where a backup lies, who opens it, and what happened to it."""
    places = [_replica(other_replica, found, shown.facts.now) for other_replica in found.replicas]
    events = [
        (moment(event.at), Cell(event.kind, code=True), _detail(event))
        for event in found.events[-EVENTS:][::-1]
    ]
    incident = Cell(found.quarantine, link=f"/incidents/{quoted(found.quarantine)}")
    page = Sheet(
        title=f"Backup {found.entry.backup}",
        verdict="In quarantine" if found.quarantine else "",
        mood=Mood.BAD,
        about=("No restore takes it: ", incident),
        parts=[
            Pairs(list(_backup(found))),
            Table(("Target", "Replica", "Read back"), places, "Where it lies", nothing="Nowhere."),
            Lines(frame.commands_of(found.entry, _file(found) or "FILE"), "To use it, type", style="code"),
            *_readers(found),
            Table(("When", "What", "About"), events, "History", nothing="Nothing since."),
        ],
    )
    return frame.document(page, shown)


def _file(found: OneBackup) -> str:
    """Return where a command wrote a backup, if one did and its run is on record."""
    if found.made is None or found.entry.policy != COMMAND:
        return ""
    return found.made.spec.targets[0].address


def _backup(found: OneBackup) -> Iterator[tuple[str, Content]]:
    entry = found.entry
    made = as_written(entry.created_at)
    yield "Policy", Cell(entry.policy, link=f"/backups?policy={quoted(entry.policy)}")
    yield "Made", moment(made.timestamp() if made else None)
    held = f"{plural(entry.secrets, 'secret')}, {size(entry.size)}"
    yield "Holds", f"{held} in {plural(entry.containers, 'container')}"
    if file := _file(found):
        yield "File", Cell(file, code=True)
    yield "Values", "yes" if entry.values else "no: metadata alone"
    yield "Manifest", Cell(entry.manifest_sha256, code=True)
    if found.made is not None:
        yield "Run", Cell("how it was made", link=f"/runs/{quoted(found.made.id)}")


def _replica(other_replica: Replica, found: OneBackup, now: float) -> tuple[Content, ...]:
    lock = Cell("not locked", Mood.WARN) if other_replica.target in found.unlocked else ""
    state = together(
        replica(other_replica.good, other_replica.verified, other_replica.verified_at, now), lock
    )
    return (
        marked(other_replica.target, bad=not other_replica.good),
        state,
        moment(other_replica.verified_at),
    )


def _readers(found: OneBackup) -> Iterator[Part]:
    if found.sealed is None:
        where = next((replica.target for replica in found.replicas if replica.good), "TARGET")
        command = Cell(f"strongroom backups show {where} --backup {found.entry.backup}", code=True)
        yield Lines([("No run on record sealed it. Its manifest says: ", command)], "Who opens it")
        return
    sealed = Cell(found.sealed.id, link=f"/runs/{quoted(found.sealed.id)}")
    by = ("Any one of these does, by run ", sealed, " of ", moment(found.sealed.created_at), ".")
    yield Lines([by], "Who opens it", style="note")
    rows = [(pin.name, pin.describes.replace("`", ""), pin.post_quantum) for pin in found.readers]
    head = ("Key", "Whose", "Withstands a quantum computer")
    yield Table(head, rows, nothing="Nobody: it is not sealed.")


def _detail(event: Event) -> str:
    said = [f"{name} {event.detail[name]}" for name in _SAFE if event.detail.get(name)]
    return ", ".join([*said, f"run {event.run}"] if event.run else said) or "-"


# -- a run -----------------------------------------------------------------------------


def run(of: Run, rows: Sequence[StepRow], pace: RunPace, shown: PageFacts) -> bytes:
    """Return how a run stands, and each kind of its steps."""
    trouble = [_trouble(row) for row in rows if row.error and row.state is not StepState.DONE]
    parts: list[Part] = [
        Pairs(list(_run(of, pace, shown))),
        Table(("Step", "Done", "Attempts"), list(_steps(rows)), "Steps", nothing="None yet."),
        Table(("Step", "State", "Attempts", "Error"), trouble[:STEPS], "Trouble"),
    ]
    return frame.document(Sheet(title=f"Run {of.id}", parts=parts), shown)


def _run(of: Run, pace: RunPace, shown: PageFacts) -> Iterator[tuple[str, Content]]:
    now = shown.facts.now
    yield "What", f"{of.spec.kind.value} of {of.spec.policy}"
    waits = any(running.run == of.id and running.waits_for_approval for running in shown.facts.active)
    more = "and ends" if of.closing and not of.state.final else "waits for approval" if waits else ""
    yield "State", together(frame.run_mark(of), more)
    if waits:
        yield "To approve it, type", Cell(f"strongroom approvals approve {quote(of.id)}", code=True)
    yield "Began", moment(of.created_at)
    yield "Took" if of.state.final else "So far", frame.length((of.finished_at or now) - of.created_at)
    if not of.state.final:
        yield "How far", far(pace)
        yield "Rate", pace.rate_words
        yield "Left", pace.left_words
    if of.error:
        code = run_log.class_in(of.error)
        yield "Reason", frame.reason_of(code)
        yield "What to do", frame.to_do_about(code)
    if of.state is RunState.FAILED and shown.acts:
        yield "Again", retrying(of)
    if of.error:
        yield "In full", Cell(f"strongroom runs show {of.id}", code=True)
    made = of.spec.kind is RunKind.BACKUP and of.state in (RunState.DONE, RunState.DEGRADED)
    if of.spec.backup or made:
        backup = of.spec.backup or of.id
        yield "Backup", Cell(backup, link=f"/backups/{quoted(backup)}")


def _steps(rows: Sequence[StepRow]) -> Iterator[tuple[Content, ...]]:
    kinds: dict[str, list[StepRow]] = {}
    for row in rows:
        kinds.setdefault(row.step.kind.value, []).append(row)
    for kind, mine in kinds.items():
        done = sum(step.steps for step in mine if step.state is StepState.DONE)
        yield kind, f"{done:,} of {sum(step.steps for step in mine):,}", sum(step.attempts for step in mine)


def _trouble(row: StepRow) -> tuple[Content, ...]:
    why = frame.reason_of(run_log.class_in(row.error))
    return (marked(str(row.step), bad=True), _STATES.get(row.state, row.state.value), row.attempts, why)


# -- an incident -----------------------------------------------------------------------


def incident(of: Incident, shown: PageFacts) -> bytes:
    """Return what is suspected, how each step stands, and what is affected."""
    affected = [
        (
            Cell(affected_backup.backup, link=f"/backups/{quoted(affected_backup.backup)}"),
            affected_backup.policy,
            affected_backup.opens_now,
        )
        for affected_backup in of.affected[:AFFECTED]
    ]
    more = len(of.affected) - AFFECTED
    status = account_of(status_of(of, now=shown.facts.now)).status()
    parts = (
        *status.parts,
        Table(("Backup", "Policy", "Could be opened when it began"), affected, "Affected"),
        Lines([f"And {more:,} more."] if more > 0 else [], style="note"),
    )
    return frame.document(replace(status, parts=parts), shown)
