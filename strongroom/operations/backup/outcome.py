"""What came of a run that read replicas back: a backup, a verification or a repair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from strongroom.container.errors import VerificationFailed
from strongroom.container.manifest import parse_manifest
from strongroom.errors import StrongroomError
from strongroom.operations import recorded_errors
from strongroom.operations.archive.envelopes import describe_aside
from strongroom.operations.archive.expected_secrets import FLOOR, REMEMBERED
from strongroom.operations.archive.live_comparison import describe_drift
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.backup import replica_verdicts
from strongroom.operations.backup.facts import replica_facts
from strongroom.operations.backup.plan import plan_of
from strongroom.operations.backup.quorum import missing_from_quorum
from strongroom.operations.backup.replica_verdicts import ReadBack
from strongroom.operations.backup.verify import read_verified
from strongroom.operations.runs.job import Ending
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunState, StepKind
from strongroom.timestamps import rfc3339
from strongroom.words import plural


def backup_outcome(run: Run, read: ReadBack, services: Services) -> Ending:
    """Hold what was read back to the policy's quorum, then to all that the policy asks for.

    A backup that was made and could not be read back here is one all the same, and degraded.
    """
    if lacking := missing_from_quorum(run.spec, (*read.good, *read.kept)):
        return Ending(RunState.FAILED, f"read back, but {lacking}")
    return _blemished(run, services, _backup_blemishes(run, read, services))


def replica_outcome(run: Run, read: ReadBack, services: Services) -> Ending:
    """Hold what a verification or a repair read back to the policy's quorum, then to all of its targets.

    One that could not be made has failed: it is never taken for one that was.
    """
    if lacking := missing_from_quorum(run.spec, (*read.good, *read.kept)):
        return Ending(RunState.FAILED, f"{VerificationFailed.__name__}: read back, but {lacking}")
    if missing_from_quorum(run.spec, tuple(read.good)):
        return Ending(RunState.FAILED, replica_verdicts.describe_with_code(read))
    return _blemished(run, services, _replica_blemishes(run, read, services))


def _blemished(run: Run, services: Services, blemishes: Iterable[str | None]) -> Ending:
    if two_keys := _compare_name_keys(run, services):
        return Ending(RunState.FAILED, two_keys)
    blemish = next(filter(None, blemishes), None)
    return Ending(RunState.DEGRADED, blemish) if blemish else Ending(RunState.DONE)


def _backup_blemishes(run: Run, read: ReadBack, services: Services) -> Iterator[str | None]:
    """Yield what keeps a good backup from being all that the policy asks for, the worst first."""
    yield from _missing_replicas(run, read, services)
    yield _describe_omitted_recipients(run, read, services)
    yield _describe_shortfall(run, services)
    yield _describe_half_restored(run)
    if read.unread:
        yield f"whole, but {replica_verdicts.describe_unread(read)}"
    yield from _further_blemishes(run, services)


def _replica_blemishes(run: Run, read: ReadBack, services: Services) -> Iterator[str | None]:
    yield from _missing_replicas(run, read, services)
    if read.unread:
        yield replica_verdicts.describe_unread(read)
    yield from _further_blemishes(run, services)


def _missing_replicas(run: Run, read: ReadBack, services: Services) -> Iterator[str]:
    if bad := [pin.name for pin in run.spec.targets if pin.name not in read.good | read.kept]:
        yield f"no good replica on {', '.join(bad)}{_explain_missing(run, bad, services)}"
    if unlocked := replica_facts(run).unlocked:
        yield _describe_unlocked(unlocked)


def _further_blemishes(run: Run, services: Services) -> Iterator[str]:
    if aside := describe_aside((row.step.target, done.aside) for row, done in read_verified(run, services)):
        yield f"whole, but {aside}"
    if drift := _describe_drift(run, services):
        yield f"every replica is good, but the source has drifted: {drift}"


_PLACING = (StepKind.UPLOAD, StepKind.REPAIR, StepKind.VERIFY)


def _explain_missing(run: Run, bad: Sequence[str], services: Services) -> str:
    """Say why the first of these targets has no good replica, as far as this run knows: ``: target ...``."""
    facts = replica_facts(run)
    if bad[0] in facts.away:
        return f": target '{bad[0]}' does not answer"
    if (why := facts.unplaced.get(bad[0])) is not None:
        return f": {why}"
    rows = (row for kind in _PLACING for row in services.store.rows(run.id, kind))
    errors = (row.error for row in rows if row.step.target == bad[0] and row.error and not row.result)
    error = next(errors, None)
    return f": {recorded_errors.apart(error)[0]}" if error else ""


def _describe_omitted_recipients(run: Run, read: ReadBack, services: Services) -> str | None:
    """Describe whom a backup is not sealed for, since a key is lost or its service did not answer.

    The signed manifest says it: a row can be edited.
    """
    if not run.spec.sealed:
        return None
    trusted, why = services.signer_fingerprints, ""
    for name in (*sorted(read.good), *sorted(read.kept)):
        try:
            content = manifest_bytes(services.target(name), run.id, trusted=trusted)
            sealed_for = {recipient.name for recipient in parse_manifest(content, trusted=trusted).recipients}
            break
        except StrongroomError as error:
            why = error.message
    else:
        return f"whole, but its recipients could not be read back: {why}"
    who = ", ".join(pin.name for pin in run.spec.recipients if pin.name not in sealed_for)
    if not who:
        return None
    return (
        f"whole, but not sealed to {who}: that key could not be used, so it does not open this backup. "
        f"'strongroom keys rotate {run.spec.policy}' adds it once it can be. If it is lost, take it out of "
        "the "
        "policy's recipients and put another key in"
    )


def _describe_unlocked(unlocked: Mapping[str, str]) -> str:
    """Say where a whole backup could be removed before its time."""
    return "whole, but not locked: " + "; ".join(f"target '{name}': {why}" for name, why in unlocked.items())


def _describe_half_restored(run: Run) -> str | None:
    """Say if the source holds secrets that a restore began to write: the backup has half of each."""
    count = plan_of(run).plan.unfinished
    if not count:
        return None
    return (
        f"whole, but an interrupted restore left {plural(count, 'secret')} of the source half-written (tag "
        "strongroom:restoring), and the backup holds half of each. Repeat the command of that restore, then "
        "back up again"
    )


def _describe_shortfall(run: Run, services: Services) -> str | None:
    """Say if a backup holds much less than was expected: a source that answers with too little
    looks just like one from which much was deleted (invariant 7)."""
    if not (fewer := count_missing_secrets(run, services)):
        return None
    secrets = _count_secrets(run)
    expected = secrets + fewer
    if secrets >= FLOOR * expected:
        return None
    holds = plural(secrets, "secret")
    return f"whole, but it holds {holds} where {expected:,} were expected; look at the source"


def count_missing_secrets(run: Run, services: Services) -> int:
    """Return how many secrets a backup lacks of those that were listed, or that earlier ones have."""
    if replica_facts(run).counts is None:
        return 0
    expected = max(plan_of(run).plan.secrets, _most_secrets_before(run, services))
    return max(0, expected - _count_secrets(run))


def _count_secrets(run: Run) -> int:
    counts = replica_facts(run).counts
    return 0 if counts is None else counts.secrets


def _most_secrets_before(run: Run, services: Services) -> int:
    """Return the most that any of the policy's backups of late holds; a command has none before it."""
    if run.spec.policy.startswith("("):
        return 0
    since = rfc3339(run.created_at - REMEMBERED)
    return services.store.most_secrets(run.spec.policy, since=since, besides=run.id)


def _compare_name_keys(run: Run, services: Services) -> str:
    """Say that containers were opened which hash names under different keys: a name could be in two of them.

    Each step reads one container, so only here are they compared (FORMAT.md, 13.7).
    """
    keys = {done.name_key for _, done in read_verified(run, services) if done.name_key}
    return "Tampered: its containers have different keys for names" if len(keys) > 1 else ""


def _describe_drift(run: Run, services: Services) -> str:
    """Say how many secrets are not in the source as they were, by the replica on the first target."""
    first = run.spec.targets[0].name
    done = [done for row, done in read_verified(run, services) if row.step.target == first]
    return describe_drift(
        sum(verified.changed for verified in done), sum(verified.missing for verified in done)
    )
