"""Rotating secrets in this process, and what came of a run of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strongroom.operations import recorded_errors
from strongroom.operations.rotators.job import options_of, submit_secrets
from strongroom.operations.rotators.plan import NO_ROTATOR, NOT_THERE
from strongroom.operations.rotators.records import (
    Result,
    Rotated,
    RotatedSecret,
    RotateSecretsOptions,
    SecretsPlanned,
    StepRotated,
)
from strongroom.operations.runs.drive import Watch, drive
from strongroom.operations.runs.job import read_facts, read_result
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunState, Step, StepKind, StepRow, StepState


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
    options = options_of(run)
    rows = {row.step.piece: row for row in services.store.rows(run.id, StepKind.ROTATE_SECRET)}
    planned = read_facts(run, SecretsPlanned) if "rotators" in run.facts else None
    if planned is not None and len(planned.rotators) != len(options.names):
        raise RecordRefused(f"run {run.id} has another plan than it was asked for")
    secrets = tuple(
        _with_step(run, name, rows[piece]) if piece in rows else _without_step(name, piece, planned)
        for piece, name in enumerate(options.names)
    )
    return Rotated(source=run.spec.source, run=run.id, secrets=secrets, to_do=tuple(_to_do(secrets)))


def _with_step(run: Run, name: str, row: StepRow) -> RotatedSecret:
    if row.state is StepState.DONE:
        done = read_result(run, Step(StepKind.ROTATE_SECRET, row.step.piece), row.result, StepRotated)
        return RotatedSecret(
            name=name, result=Result.DONE, rotator=done.rotator, version=done.version, to_do=done.to_do
        )
    happened, to_do = recorded_errors.apart(row.error)
    failed = row.state in (StepState.MISSED, StepState.POISONED)
    return RotatedSecret(
        name=name,
        result=Result.FAILED if failed else Result.WAITS,
        why=happened,
        to_do=(to_do,) if to_do else (),
    )


def _without_step(name: str, piece: int, planned: SecretsPlanned | None) -> RotatedSecret:
    if planned is None or planned.rotators[piece]:
        return RotatedSecret(name=name, result=Result.WAITS, why="its turn did not come")
    if piece in planned.missing:
        return RotatedSecret(name=name, result=Result.MISSING, why=NOT_THERE)
    if piece in planned.already:
        return RotatedSecret(name=name, result=Result.ALREADY, why="it was rotated in this incident already")
    return RotatedSecret(name=name, result=Result.NO_ROTATOR, why=NO_ROTATOR)


def _to_do(secrets: Sequence[RotatedSecret]) -> Iterator[str]:
    for one in secrets:
        if one.result in (Result.NO_ROTATOR, Result.MISSING):
            yield f"{one.name}: {one.why}"
        yield from (f"{one.name}: {line}" for line in one.to_do)
