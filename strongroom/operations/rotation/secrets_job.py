"""New values for secrets, as a job: planned, approved, made one by one; and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from strongroom.errors import UsageError
from strongroom.model import ListedSecret
from strongroom.operations.engine import run_log
from strongroom.operations.engine.drive import Watch, drive, is_abandoned, take_up
from strongroom.operations.engine.jobs import (
    ApprovedJob,
    Ending,
    Result,
    StepAction,
    read_facts,
    read_result,
    to_facts,
)
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted, first_tickets, submit
from strongroom.operations.errors import ApprovalNeeded
from strongroom.operations.rotation.secret_plan import (
    NO_ROTATOR,
    NOT_THERE,
    PlannedRotation,
    Rotated,
    RotatedSecret,
    RotateSecretsOptions,
    RotationApproved,
    SecretRotationPlan,
    SecretRotationResult,
    SecretsNamed,
    SecretsPlanned,
    StepRotated,
    approve_step,
    plan_rotation,
    unique_names,
)
from strongroom.operations.rotation.secret_step import rotate_step
from strongroom.sources.batches import matches
from strongroom.sources.errors import SourceUnavailable
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
)
from strongroom.words import plural, told_alike

# -- The rotation of secrets as a job: sign → plan → approve → rotate × secrets → report --------


REPORT = RunStep(StepKind.REPORT)
DAY = 86_400.0


def name_step(run: Run, step: RunStep, services: Services) -> SecretsNamed:
    """Have the run signed: no later step is performed for other names."""
    return SecretsNamed(count=len(RotateSecretsOptions.of(run).names))


def plan_step(run: Run, step: RunStep, services: Services) -> SecretsPlanned:
    """Find each secret's rotator by this process's own configuration."""
    options = RotateSecretsOptions.of(run)
    plan = plan_rotation(services, options.names, source=run.spec.source, incident=options.incident)
    numbered = tuple(enumerate(plan.secrets))
    return SecretsPlanned(
        digest=plan.digest,
        rotators=tuple("" if planned.already else planned.rotator for planned in plan.secrets),
        missing=tuple(number for number, planned in numbered if planned.missing),
        already=tuple(number for number, planned in numbered if planned.already),
    )


class RotateSecretsJob(ApprovedJob):
    """Gives secrets new values, one step each. One that fails keeps no other from its turn.

    The control workers sign the run. All else is done by the recover workers: they alone read and write
    secrets for it.
    """

    first = RunStep(StepKind.PLAN)
    keeps_steps = True
    subject = "source"
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(name_step, SecretsNamed, Pool.CONTROL),
        StepKind.ROTATE_SECRET_PLAN: StepAction(
            plan_step, SecretsPlanned, Pool.RECOVER, waits_for=(SourceUnavailable,)
        ),
        StepKind.APPROVE: StepAction(
            approve_step, RotationApproved, Pool.RECOVER, waits_for=(ApprovalNeeded,)
        ),
        StepKind.ROTATE_SECRET: StepAction(rotate_step, StepRotated, Pool.RECOVER, tolerated=True),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case SecretsNamed():
                return StepConsequence(follow=(RunStep(StepKind.ROTATE_SECRET_PLAN),))
            case SecretsPlanned():
                follow = RunStep(StepKind.APPROVE) if any(result.rotators) else REPORT
                return StepConsequence(facts=to_facts(result), follow=(follow,))
            case RotationApproved():
                planned = read_facts(run, SecretsPlanned).rotators
                pieces = (piece for piece, rotator in enumerate(planned) if rotator)
                return StepConsequence(
                    follow=tuple(RunStep(StepKind.ROTATE_SECRET, piece) for piece in pieces)
                )
        return (
            StepConsequence()
            if tally.unsettled(StepKind.ROTATE_SECRET)
            else StepConsequence(follow=(REPORT,))
        )

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "what was rotated by then stays; the secret that it was at is as its source says"

    def outcome(self, run: Run, services: Services) -> Ending:
        """Hold a rotation to what it was asked for: each secret that has no new value is told."""
        rows = services.store.rows(run.id, StepKind.ROTATE_SECRET)
        failed = sum(row.state is StepState.MISSED for row in rows)
        facts = read_facts(run, SecretsPlanned)
        left = sum(not rotator for rotator in facts.rotators) - len(facts.missing) - len(facts.already)
        counted = {
            "could not be rotated": failed,
            "without a rotator": left,
            "not at the source": len(facts.missing),
        }
        wrong = [f"{plural(count, 'secret')} {words}" for words, count in counted.items() if count]
        if not wrong:
            return Ending(RunState.DONE)
        to_do = f"'strongroom secrets rotate --show {run.id}' names each, and says what to do"
        return Ending(RunState.DEGRADED, run_log.joined("; ".join(wrong), to_do))


JOB = RotateSecretsJob()


def submit_secrets(
    services: Services,
    *,
    source: str,
    options: RotateSecretsOptions,
    request_id: str | None = None,
) -> Submitted:
    """Create a run that gives secrets new values; or return the one of just these that has not ended.

    Raises:
        UsageError: no reason, no name, or too many; or another run of one of them has not ended.
    """
    if not options.reason.strip():
        raise UsageError("A rotation needs a reason: it goes on record.")
    wanted = msgspec.structs.replace(options, names=unique_names(options.names))
    if (going := _unended(services, source, wanted, request_id)) is not None:
        abandoned = is_abandoned(going, services.store, services.state_dir)
        return going.id, take_up(going.id, services) if abandoned else first_tickets(services, going)
    given: dict[str, Any] = msgspec.to_builtins(wanted)
    spec = Spec(kind=RunKind.ROTATE_SECRET, policy=source, source=source, options=given)
    return submit(services, spec, request_id=request_id)


def _unended(
    services: Services, source: str, wanted: RotateSecretsOptions, request_id: str | None
) -> Run | None:
    """Return the run of just these secrets that goes on, or whose process died: nothing is rotated twice.

    One of long ago is not gone on with: what it wrote may be known to others by now.
    """
    for run in services.store.active():
        if run.spec.kind is not RunKind.ROTATE_SECRET or run.spec.source != source:
            continue
        own = RotateSecretsOptions.of(run)
        recent = services.store.clock() - run.created_at < DAY
        fresh = recent or not services.store.rows(run.id, StepKind.ROTATE_SECRET)
        if request_id is None and fresh and (own.names, own.incident) == (wanted.names, wanted.incident):
            return run
        if run.request_id != request_id and (same := set(own.names) & set(wanted.names)):
            raise UsageError(
                f"Rotation {run.id}, of {plural(len(same), 'secret')} of these, has not ended.",
                hint=f"Nothing was changed. Go on with it: 'strongroom runs retry {run.id} --here'. "
                f"Or end it: 'strongroom runs cancel {run.id}'.",
            )
    return None


# -- Rotating secrets in this process, and what came of a run of it -----------------------------


NOT_YET = "its turn did not come"
_HALF_DONE = "its source may have a new value that nothing else knows: rotate it again"
"""What to do about a step that ended without a word: its process died, and nobody went on."""


def rotate_secrets(
    services: Services,
    names: Sequence[str],
    *,
    source: str,
    reason: str,
    incident: str = "",
    by: str = "",
    begun: Callable[[str], object] | None = None,
    progress: Watch | None = None,
) -> Rotated:
    """Give secrets new values, here and now, and return what came of each.

    It may be called again after a crash, or with the same names: what an earlier process began is finished,
    and with an ``incident``, what was rotated in it is left as it is.

    Args:
        source: the configured source that holds them; it has to be one that can be restored into.
        incident: the incident's id, if they are rotated since somebody else may know them.
        begun: is told the run, before anything is done.
        progress: is told of each step.

    Raises:
        UsageError: no reason, no name, or too many; or another run of one of them has not ended.
        ApprovalNeeded: people have to approve it first; called again, it goes on.
        StrongroomError: what the run failed of, such as a source that does not answer.
    """
    options = RotateSecretsOptions(names=tuple(names), reason=reason, by=by, incident=incident)
    run, tickets = submit_secrets(services, source=source, options=options)
    if begun is not None:
        begun(run)
    ended = drive(run, tickets, services, watch=progress)
    if ended.state in (RunState.FAILED, RunState.CANCELLED):
        raise run_log.failure_of(ended)
    return rotated_by(ended, services)


def rotated_by(run: Run, services: Services) -> Rotated:
    """Return what a run did by now, secret by secret. Raises RecordRefused."""
    options = RotateSecretsOptions.of(run)
    rows = {row.step.piece: row for row in services.store.rows(run.id, StepKind.ROTATE_SECRET)}
    planned = _planned(run, len(options.names))
    secrets = tuple(
        _with_step(run, name, planned.rotators[piece], rows[piece])
        if planned and piece in rows
        else _without_step(name, piece, planned)
        for piece, name in enumerate(options.names)
    )
    to_do = (*_to_do(secrets), *_backups_due(services, run.spec.source, secrets))
    return Rotated(source=run.spec.source, run=run.id, secrets=secrets, to_do=to_do)


def without_run(plan: SecretRotationPlan) -> Rotated:
    """Return what a plan by which nothing is rotated leaves to a person."""
    secrets = tuple(
        RotatedSecret(name=planned.name, result=_unrotated(planned), why=planned.why)
        for planned in plan.secrets
    )
    return Rotated(source=plan.source, run="", secrets=secrets, to_do=tuple(_to_do(secrets)))


def _unrotated(planned: PlannedRotation) -> SecretRotationResult:
    if planned.already:
        return SecretRotationResult.ALREADY
    return SecretRotationResult.MISSING if planned.missing else SecretRotationResult.NO_ROTATOR


def _planned(run: Run, names: int) -> SecretsPlanned | None:
    """Return what a run's plan found out; ``None`` if it is not planned yet."""
    if "rotators" not in run.facts:
        return None
    planned = read_facts(run, SecretsPlanned)
    if len(planned.rotators) != names:
        raise RecordRefused(f"run {run.id} has another plan than it was asked for")
    return planned


def _with_step(run: Run, name: str, rotator: str, row: StepRow) -> RotatedSecret:
    if row.state is StepState.DONE:
        done = read_result(run, RunStep(StepKind.ROTATE_SECRET, row.step.piece), row.result, StepRotated)
        return RotatedSecret(
            name=name,
            result=SecretRotationResult.DONE,
            rotator=rotator,
            version=done.version,
            to_do=done.to_do,
        )
    text, to_do = run_log.apart(row.error)
    code = run_log.code_of(text)
    failed = row.state in (StepState.MISSED, StepState.POISONED)
    begun = row.attempts > 0 and not code
    return RotatedSecret(
        name=name,
        result=SecretRotationResult.FAILED if failed else SecretRotationResult.WAITS,
        rotator=rotator,
        code=code,
        why=text.removeprefix(f"{code}: ") or ("it was being rotated" if begun else NOT_YET),
        to_do=(_HALF_DONE,) if begun else (to_do,) if to_do else (),
    )


def _without_step(name: str, piece: int, planned: SecretsPlanned | None) -> RotatedSecret:
    if planned is None or planned.rotators[piece]:
        return RotatedSecret(name=name, result=SecretRotationResult.WAITS, why=NOT_YET)
    if piece in planned.missing:
        return RotatedSecret(name=name, result=SecretRotationResult.MISSING, why=NOT_THERE)
    if piece in planned.already:
        return RotatedSecret(
            name=name, result=SecretRotationResult.ALREADY, why="it was rotated in this incident already"
        )
    return RotatedSecret(name=name, result=SecretRotationResult.NO_ROTATOR, why=NO_ROTATOR)


def _to_do(secrets: Sequence[RotatedSecret]) -> Iterator[str]:
    for secret in secrets:
        if secret.result in (SecretRotationResult.NO_ROTATOR, SecretRotationResult.MISSING):
            yield f"{secret.name}: {secret.why}"
        if secret.result is not SecretRotationResult.FAILED:
            yield from (f"{secret.name}: {line}" for line in secret.to_do)
    yield from told_alike(
        (rotated_secret.name, line)
        for rotated_secret in secrets
        if rotated_secret.result is SecretRotationResult.FAILED
        for line in rotated_secret.to_do
    )


def _backups_due(services: Services, source: str, secrets: Sequence[RotatedSecret]) -> Iterator[str]:
    """Say that the new values are in no backup yet, and the former ones in each that there is."""
    names = [
        ListedSecret(secret.name, 0, tags={})
        for secret in secrets
        if secret.result in (SecretRotationResult.DONE, SecretRotationResult.ALREADY)
    ]
    if not names:
        return
    yield "the backups made so far hold the former values, and a restore from one brings those back"
    specs = [policy.spec for policy in services.retention().values()]
    due = [spec.policy for spec in specs if spec.source == source and _holds_any(spec, names)]
    yield from (f"back up the new values: strongroom backup --policy {name}" for name in due)
    if not due:
        yield f"no policy with values backs these secrets of '{source}' up: the new values are in no backup"


def _holds_any(spec: Spec, names: Sequence[ListedSecret]) -> bool:
    """Tell whether a policy backs one of these up. Tags are not looked at: a backup too many does no harm."""
    by_name = replace(spec.selection, tags={})
    return spec.values and any(matches(by_name, entry) for entry in names)
