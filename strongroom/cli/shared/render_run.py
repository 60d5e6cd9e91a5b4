"""A run as it is shown: what it is, how far it is, what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from strongroom.cli.shared import identities
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, size
from strongroom.errors import StrongroomError, TargetError, by_name
from strongroom.operations.engine import run_log
from strongroom.operations.engine.jobs import RunAccount, job_of
from strongroom.operations.errors import ApprovalNeeded
from strongroom.operations.rotation.secret_plan import PlannedRotation, SecretRotationPlan
from strongroom.sheet import Lines, Pairs, Part, Sheet, Table
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    Run,
    RunState,
    StepKind,
    StepRow,
    StepState,
)
from strongroom.times import for_people, if_any, measured, rfc3339

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


ABANDONED, WAITS_FOR_APPROVAL = "abandoned", "waits for approval"
WAITS_FOR_TURN = "waits for its turn"


def as_document(run: Run, rows: list[StepRow], *, abandoned: bool = False) -> dict[str, Any]:
    """Return a run for machines."""
    happened, to_do = run_log.apart(run.error)
    return {
        "id": run.id,
        "request_id": run.request_id,
        "kind": run.spec.kind,
        "policy": run.spec.policy,
        "backup": job_of(run.spec.kind).backup_of(run) or None,
        "recipients": [pin.describes for pin in run.readers],
        "post_quantum": all(pin.post_quantum for pin in run.spec.recipients) if run.spec.recipients else None,
        "state": run.state,
        "closing": run.closing,
        "queued": run.queued,
        "abandoned": abandoned,
        "created_at": rfc3339(run.created_at),
        "finished_at": if_any(run.finished_at),
        "seconds": run.seconds,
        "happened": happened or None,
        "to_do": to_do or None,
        "secrets": _counts(run).get("secrets"),
        "size": _counts(run).get("size"),
        "fewer": run.facts.get("report", {}).get("fewer"),
        "unswept": run.facts.get("report", {}).get("unswept"),
        "kept": run.facts.get("report", {}).get("kept"),
        **_account(run, rows).document,
        "steps": steps(rows),
        "waiting": waiting_of(rows),
        "unfinished": [as_step(row) for row in rows if row.error],
    }


def as_step(row: StepRow) -> dict[str, Any]:
    """Return a step that had trouble."""
    happened, _ = run_log.apart(row.error)
    return {"step": str(row.step), "state": row.state, "attempts": row.attempts, "error": happened}


def steps(rows: list[StepRow]) -> dict[str, dict[str, Any]]:
    """Count the steps of each kind, and add up how long they worked."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry = found.setdefault(row.step.kind.value, {"done": 0, "of": 0, "seconds": 0.0})
        entry["of"] += row.steps
        entry["done"] += row.steps if row.state is StepState.DONE else 0
        entry["seconds"] = round(entry["seconds"] + _worked(row), 3)
    return found


def answer_runs(runs: Sequence[Run], store: RunStore) -> Answer:
    """Answer with runs, one after the other."""
    shown = [(run, rows_of(store, run)) for run in runs]
    return Answer(
        record={"runs": [as_document(run, rows) for run, rows in shown]},
        sheet=Sheet(parts=[part for run, rows in shown for part in parts_of(run, rows)]),
    )


def answer_run(run: Run, rows: list[StepRow], *, abandoned: str = "") -> Answer:
    """Answer with a run. ``abandoned``: what to do about one that nobody works on."""
    return Answer(
        record=as_document(run, rows, abandoned=bool(abandoned)),
        sheet=Sheet(parts=list(parts_of(run, rows, abandoned=abandoned))),
    )


def parts_of(run: Run, rows: list[StepRow], *, abandoned: str = "") -> Iterator[Part]:
    """Yield a run for people: how it stands, and which steps had trouble."""
    pairs = list(_pairs(run, rows))
    if abandoned:
        pairs += [("means", job_of(run.spec.kind).left_behind(run, rows)), ("to do", abandoned)]
    elif run.state is RunState.FAILED:  # the lines before it name the cause
        kind = by_name(run_log.class_in(run.error))
        if kind and not run_log.apart(run.error)[1]:
            pairs.append(("hint", kind.default_hint))
        pairs.append(("to do", f"remove the cause, then {job_of(run.spec.kind).again(run)}"))
    standing = _standing(run, rows, abandoned=bool(abandoned))
    yield Pairs(pairs, f"{run.spec.kind.value} run {run.id}: {standing}")
    yield Lines(
        [
            f"{row.step} ({row.state}, {plural(row.attempts, 'attempt')}): {run_log.apart(row.error)[0]}"
            for row in rows
            if row.error and row.state is not StepState.DONE and not waits_for_people([row])
        ]
    )


def _standing(run: Run, rows: list[StepRow], *, abandoned: bool) -> str:
    if waits_for_people(rows) and not run.closing:
        return WAITS_FOR_APPROVAL
    if run.queued:
        return f"{WAITS_FOR_TURN}: as many of its kind as may be are at work"
    if abandoned:
        return f"{ABANDONED}: nobody works on it, its process is gone"
    if run.closing and not run.state.final:
        return "ending"
    if waiting_of(rows) is not None and not run.state.final:
        return "waiting"
    ended = job_of(run.spec.kind).states.get(run.state, run.state.value)
    return run_log.NOTHING_YET_IN_WORDS if run_log.found_nothing_yet(run) else ended


def _account(run: Run, rows: list[StepRow]) -> RunAccount:
    """Return what its job tells of a run. An odd row must not keep a person from seeing the others."""
    with suppress(RecordRefused):
        return job_of(run.spec.kind).account(run, rows)
    return RunAccount()


def _pairs(run: Run, rows: list[StepRow]) -> Iterator[tuple[str, object]]:
    job = job_of(run.spec.kind)
    yield job.subject, run.spec.policy
    yield "backup", run.spec.backup
    yield "began", for_people(run.created_at)
    yield "took" if run.finished_at else "so far", measured(run.seconds)
    if counts := _counts(run):
        yield "holds", f"{plural(counts['secrets'], 'secret')}, {size(counts['size'])}"
    if fewer := run.facts.get("report", {}).get("fewer"):
        yield (
            "lacks",
            f"{plural(fewer, 'secret')} of those listed, or of what a backup of the last 30 days holds",
        )
    if waiting := waiting_of(rows):
        yield "waits for", f"{waiting['error']} (since {waiting['since']})"
        yield "to do", waiting["to_do"]
    for place, why in (run.facts.get("report", {}).get("unswept") or {}).items():
        yield "unswept", "; ".join(filter(None, (f"{place}: {why}", job.swept_again)))
    if kept := run.facts.get("report", {}).get("kept"):
        yield "kept", f"the backup is whole on {', '.join(kept)} and in the catalog; 'repair' completes it"
    yield from identities.recipient_fields(run.readers)
    for kind, entry in steps(rows).items():
        yield (
            kind,
            f"{entry['done']} of {entry['of']}"
            + (f", {measured(entry['seconds'])} of work" if entry["seconds"] else ""),
        )
    yield from _account(run, rows).pairs
    yield from zip(("error", "to do"), run_log.apart(run.error), strict=True)


def waiting_of(rows: list[StepRow]) -> dict[str, str] | None:
    """Say what a run waits for, by the step that has waited longest."""
    first = min(
        (row for row in rows if row.waits_since), key=lambda row: row.waits_since or 0.0, default=None
    )
    if first is None:
        return None
    happened, to_do = run_log.apart(first.error)
    happened = happened.removeprefix(f"{ApprovalNeeded.__name__}: ")
    since = rfc3339(first.waits_since or 0.0)
    if away := _all_away(rows):
        happened = f"no target of this run answers ({', '.join(away)}). The last good backup is untouched"
        to_do = "The run goes on once one does. 'strongroom check storage' says what each answers."
    return {"since": since, "step": str(first.step), "error": happened, "to_do": to_do}


def _all_away(rows: Iterable[StepRow]) -> list[str]:
    """Return the targets of a run, if it waits for every one of them; else none."""
    targets: dict[str, bool] = {}
    for row in rows:
        if name := row.step.target:
            waits = bool(row.waits_since) and _is_of_target(run_log.class_in(row.error))
            targets[name] = targets.get(name, True) and waits
    return list(targets) if all(targets.values()) else []


def _is_of_target(name: str) -> bool:
    kind = by_name(name)
    return kind is not None and issubclass(kind, TargetError)


def waits_for_people(rows: Iterable[StepRow]) -> StrongroomError | None:
    """Return what people have to approve before a run goes on, if it waits for that."""
    waiting = (run_log.parse_error(row.error) for row in rows if row.waits_since and row.error)
    return next((error for error in waiting if isinstance(error, ApprovalNeeded)), None)


def _counts(run: Run) -> Mapping[str, Any]:
    """Return how much a run is about: what it committed, or what it planned."""
    found: Mapping[str, Any] = run.facts.get("counts") or run.facts.get("plan", {})
    return found if "secrets" in found else {}


def _worked(row: StepRow) -> float:
    if row.worked is not None:
        return row.worked
    if row.started_at is None or row.finished_at is None:
        return 0.0
    return max(0.0, row.finished_at - row.started_at)


def rows_of(store: RunStore, run: Run) -> list[StepRow]:
    """Return a run's steps in the order of the work."""
    order = list(StepKind)
    return sorted(
        store.rows(run.id), key=lambda row: (order.index(row.step.kind), row.step.piece, row.step.target)
    )


# -- What a rotation of secrets would do: shown, and asked about --------------------------------


def plan_table(plan: SecretRotationPlan) -> Table:
    """Return what a rotation would do to each secret."""
    rows = [(planned.name, planned.rotator or "-", _planned(planned)) for planned in plan.secrets]
    heading = f"{plural(len(plan.to_rotate), 'secret')} of '{plan.source}' would get a new value"
    return Table(("Secret", "Rotator", "What is done"), rows, heading)


def _planned(planned: PlannedRotation) -> str:
    last = f" (last rotated {planned.last})" if planned.last else ""
    if planned.already:
        return f"nothing: it was rotated in this incident already{last}"
    return f"{planned.does}{last}" if planned.rotator else f"nothing: {planned.why}"


def confirm(plans: Sequence[SecretRotationPlan], output: Output, *, force: bool) -> None:
    """Show what gets a new value, and ask. Raises ConfirmationRequired."""
    if not force:
        output.note(Sheet(parts=[plan_table(plan) for plan in plans]).text().rstrip())
    counts = " and ".join(
        f"{plural(len(plan.to_rotate), 'secret')} of '{plan.source}'" for plan in plans if plan.to_rotate
    )
    prompts.confirm(f"This gives {counts} a new value", force=force)
