"""report: the last step of every run. Sweeps what the run left, says what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strongroom.container.manifest import parse_manifest
from strongroom.errors import RecordRefused, StrongroomError, VerificationFailed
from strongroom.operations import policy_pins, recorded_errors
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.backup import interrupted_commit, replica_verdicts
from strongroom.operations.backup.commit import missing_from_quorum
from strongroom.operations.backup.expected_secrets import FLOOR, REMEMBERED
from strongroom.operations.backup.replica_verdicts import ReadBack
from strongroom.operations.backup.sweep import sweep_earlier, sweep_stage, sweep_targets
from strongroom.operations.recovery_objective import missed
from strongroom.operations.rotation.outcome import outcome as rotated
from strongroom.operations.services import Services
from strongroom.operations.timestamps import rfc3339
from strongroom.state.records import Run, RunKind, RunState, Step, StepKind
from strongroom.words import plural


def report(run: Run, step: Step, services: Services) -> dict[str, Any]:
    """Clean up after the run and return its final state, with the reason if it is a bad one."""
    unswept = _sweep(run, services)
    refused = policy_pins.refusal(run, services)
    read = replica_verdicts.record(run, services) if refused is None else ReadBack()
    state, error = _outcome(run, read, services, refused)
    fewer = _fewer(run, services)
    swept = sweep_earlier(run, services) if run.spec.kind is RunKind.BACKUP else []
    return {
        "state": state.value,
        "error": error,
        "good": sorted(read.good),
        "unswept": unswept,
        "kept": interrupted_commit.kept(run, services) if run.spec.kind is RunKind.BACKUP else [],
        "swept": swept,
        "fewer": fewer,
    }


Outcome = tuple[RunState, str | None]


def _outcome(run: Run, read: ReadBack, services: Services, refused: RecordRefused | None) -> Outcome:
    if (ending := run.facts.get("ending")) is not None:
        return RunState(ending), run.facts.get("error")
    if refused is not None:
        return RunState.FAILED, _recorded(run, refused, services)
    if run.spec.kind is RunKind.RESTORE:
        return _restored(run, services)
    if run.spec.kind is RunKind.DRILL:
        return _timed(run, services)
    if run.spec.kind is RunKind.ROTATE:
        return rotated(run, services)
    return _judged(run, read, services)


def _recorded(run: Run, refused: RecordRefused, services: Services) -> str:
    """Record the refusal where the alerts look for it, and return what the run says of it."""
    said = f"{refused.code}: {recorded_errors.said(refused)}"
    services.store.event("step.failed", run.id, step=StepKind.REPORT.value, error=said)
    return said


def _restored(run: Run, services: Services) -> Outcome:
    """Hold a restore to what it was asked for: what differs afterwards, or is not there, is told."""
    done = run.facts[StepKind.RESTORE]
    said = []
    if done["not_done"]:
        by = ", ".join(f"{count:,} {code}" for code, count in done["not_done_by"].items())
        said.append(f"{plural(done['not_done'], 'secret')} could not be restored ({by})")
    if done["left"]:
        said.append(f"{plural(done['left'], 'secret')} differ from the backup and were left as they are")
    if said:
        said.append(f"each is named in {done['record']}")
    if aside := _aside(run, services, StepKind.RESTORE):
        said.append(f"restored, but {aside}")
    return (RunState.DEGRADED, "; ".join(said)) if said else (RunState.DONE, None)


def _judged(run: Run, read: ReadBack, services: Services) -> Outcome:
    """Hold what was read back to the policy's quorum, then to all of its targets.

    A backup that was made and could not be read back here is one all the same, and degraded. A
    verification that could not be made has failed: it is never taken for one that was.
    """
    if lacking := missing_from_quorum(run.spec, (*read.good, *read.kept)):
        code = "" if run.spec.kind is RunKind.BACKUP else f"{VerificationFailed.__name__}: "
        return RunState.FAILED, f"{code}read back, but {lacking}"
    if run.spec.kind is not RunKind.BACKUP and missing_from_quorum(run.spec, tuple(read.good)):
        return RunState.FAILED, replica_verdicts.typed(read)
    if odd := _two_name_keys(run, services):
        return RunState.FAILED, odd
    blemish = next(filter(None, _blemishes(run, read, services)), None)
    return (RunState.DEGRADED, blemish) if blemish else (RunState.DONE, None)


def _blemishes(run: Run, read: ReadBack, services: Services) -> Iterator[str | None]:
    """Yield what keeps a good backup from being all that the policy asks for, the worst first."""
    if bad := [pin.name for pin in run.spec.targets if pin.name not in read.good | read.kept]:
        yield f"no good replica on {', '.join(bad)}{_why(run, bad, services)}"
    if unlocked := run.facts.get("unlocked"):
        yield _said_unlocked(unlocked)
    yield _not_sealed_for(run, read, services)
    yield _short(run, services)
    yield _half_restored(run)
    if read.unread:
        yield ("whole, but " if run.spec.kind is RunKind.BACKUP else "") + replica_verdicts.said(read)
    if aside := _aside(run, services, StepKind.VERIFY):
        yield f"whole, but {aside}"
    if moved := _moved(run, services):
        yield f"every replica is good, but the source has {plural(moved, 'secret')} otherwise by now"


_PLACING = (StepKind.UPLOAD, StepKind.REPAIR, StepKind.VERIFY)


def _why(run: Run, bad: Sequence[str], services: Services) -> str:
    """Say why the first of these targets has no good replica, as far as this run knows: ``: target ...``."""
    if bad[0] in run.facts.get("away", ()):
        return f": target '{bad[0]}' does not answer"
    if (why := run.facts.get("unplaced", {}).get(bad[0])) is not None:
        return f": {why}"
    rows = (row for kind in _PLACING for row in services.store.rows(run.id, kind))
    said = (row.error for row in rows if row.step.target == bad[0] and row.error and not row.result)
    found = next(said, None)
    return f": {recorded_errors.apart(found)[0]}" if found else ""


def _not_sealed_for(run: Run, read: ReadBack, services: Services) -> str | None:
    """Say whom a silent key service left out: by the signed manifest, since a row can be edited."""
    if run.spec.kind is not RunKind.BACKUP or not run.spec.sealed:
        return None
    trusted, why = services.signer_fingerprints, ""
    for name in (*sorted(read.good), *sorted(read.kept)):
        try:
            content = manifest_bytes(services.target(name), run.id, trusted=trusted)
            sealed_for = {one.name for one in parse_manifest(content, trusted=trusted).recipients}
            break
        except StrongroomError as error:
            why = error.message
    else:
        return f"whole, but whom it is sealed for could not be read back: {why}"
    who = ", ".join(pin.name for pin in run.spec.recipients if pin.name not in sealed_for)
    if not who:
        return None
    return f"whole, but not sealed for {who}, which did not answer; 'strongroom rotate' adds that"


def _said_unlocked(unlocked: Mapping[str, str]) -> str:
    """Say where a whole backup could be removed before its time."""
    return "whole, but not locked: " + "; ".join(f"target '{name}': {why}" for name, why in unlocked.items())


def _half_restored(run: Run) -> str | None:
    """Say if the source holds secrets that a restore began to write: the backup has half of each."""
    count = run.facts["plan"].get("unfinished", 0) if run.spec.kind is RunKind.BACKUP else 0
    if not count:
        return None
    return (
        f"whole, but an interrupted restore left {plural(count, 'secret')} of the source half-written (tag "
        "strongroom:restoring), and the backup holds half of each. Repeat the command of that restore, then "
        "back up again"
    )


def _short(run: Run, services: Services) -> str | None:
    """Say if a backup holds much less than was expected: a source that answers with too little
    looks just like one from which much was deleted (invariant 7)."""
    if not (fewer := _fewer(run, services)):
        return None
    held = run.facts["counts"]["secrets"]
    expected = held + fewer
    if held >= FLOOR * expected:
        return None
    holds = plural(held, "secret")
    return f"whole, but it holds {holds} where {expected:,} were expected; look at the source"


def _fewer(run: Run, services: Services) -> int:
    """Return how many secrets a backup lacks of those that were listed, or that earlier ones have."""
    if run.spec.kind is not RunKind.BACKUP or "counts" not in run.facts:
        return 0
    expected = max(run.facts["plan"]["secrets"], _held_before(run, services))
    return max(0, int(expected - run.facts["counts"]["secrets"]))


def _held_before(run: Run, services: Services) -> int:
    """Return the most that any of the policy's backups of late holds; a command has none before it."""
    if run.spec.policy.startswith("("):
        return 0
    since = rfc3339(run.created_at - REMEMBERED)
    return services.store.most_secrets(run.spec.policy, since=since, besides=run.id)


def _timed(run: Run, services: Services) -> Outcome:
    """Hold a drill that brought everything back to its objective."""
    from strongroom.operations.rehearsal.drill import least_seconds  # noqa: PLC0415 - restoring, for drills alone

    took = sum(run.facts[kind]["seconds"] for kind in (StepKind.DRILL_RESTORE, StepKind.DRILL_COMPARE))
    objective = run.spec.options["objective_seconds"]
    late = missed(took, least=least_seconds(run, services), objective=objective)
    return (RunState.DEGRADED, f"everything came back, but {late}") if late else (RunState.DONE, None)


def _aside(run: Run, services: Services, kind: StepKind) -> str | None:
    """Say what lies beside the backup and does not count, by target."""
    found: dict[str, dict[str, None]] = {}
    for row in services.store.rows(run.id, kind):
        for one in (row.result or {}).get("aside", ()):
            found.setdefault(row.step.target, {})[one] = None
    if not found:
        return None
    where = "; ".join(
        f"{target or 'where it was read'}: {', '.join(names)}" for target, names in found.items()
    )
    return f"something beside it does not count ({where})"


def _two_name_keys(run: Run, services: Services) -> str:
    """Say that containers were opened which hash names under different keys: a name could be in two of them.

    Each step reads one container, so only here are they compared (FORMAT.md, 13.7).
    """
    results = [row.result or {} for row in services.store.rows(run.id, StepKind.VERIFY)]
    keys = {one["name_key"] for one in results if one.get("name_key")}
    return "Tampered: its containers have different keys for names" if len(keys) > 1 else ""


def _moved(run: Run, services: Services) -> int:
    """Count secrets that the source has otherwise by now, as the first good replica shows."""
    first = run.spec.targets[0].name
    rows = services.store.rows(run.id, StepKind.VERIFY)
    return sum((row.result or {}).get("moved", 0) for row in rows if row.step.target == first)


def _sweep(run: Run, services: Services) -> dict[str, str]:
    """Remove leftovers; return the places that still hold some, and why."""
    unswept = sweep_targets(run, services) if run.spec.kind is RunKind.BACKUP else {}
    if run.spec.kind is RunKind.DRILL:
        from strongroom.operations.rehearsal.drill import remove_scratch  # noqa: PLC0415

        remove_scratch(run, services)
    return unswept if sweep_stage(run, services) else {**unswept, "stage": "it could not be emptied"}
