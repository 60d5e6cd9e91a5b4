"""Rotating secrets in this process, and what came of a run of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from strongroom.model import ListedSecret
from strongroom.operations import recorded_errors
from strongroom.operations.rotators.job import submit_secrets
from strongroom.operations.rotators.plan import NO_ROTATOR, NOT_THERE
from strongroom.operations.rotators.records import (
    PlannedRotation,
    Rotated,
    RotatedSecret,
    RotateSecretsOptions,
    SecretRotationPlan,
    SecretRotationResult,
    SecretsPlanned,
    StepRotated,
)
from strongroom.operations.runs.drive import Watch, drive
from strongroom.operations.runs.job import read_facts, read_result
from strongroom.operations.services import Services
from strongroom.sources.select import matches
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunState, RunStep, Spec, StepKind, StepRow, StepState
from strongroom.words import told_alike

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
    progress: Watch | None = None,
) -> Rotated:
    """Give secrets new values, here and now, and return what came of each.

    It may be called again after a crash, or with the same names: what an earlier process began is finished,
    and with an ``incident``, what was rotated in it is left as it is.

    Args:
        source: the configured source that holds them; it has to be one that can be restored into.
        incident: the incident's id, if they are rotated since somebody else may know them.
        progress: is told of each step.

    Raises:
        UsageError: no reason, no name, or too many; or another run of one of them has not ended.
        ApprovalNeeded: people have to approve it first; called again, it goes on.
        StrongroomError: what the run failed of, such as a source that does not answer.
    """
    options = RotateSecretsOptions(names=tuple(names), reason=reason, by=by, incident=incident)
    run, tickets = submit_secrets(services, source=source, options=options)
    ended = drive(run, tickets, services, watch=progress)
    if ended.state in (RunState.FAILED, RunState.CANCELLED):
        raise recorded_errors.failure_of(ended)
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
    text, to_do = recorded_errors.apart(row.error)
    code = recorded_errors.code_of(text)
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
