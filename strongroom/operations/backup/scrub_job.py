"""The verification that covers, as a job: plan → verify, one container of each target at a time → report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import msgspec

from strongroom.container.errors import VerificationFailed
from strongroom.errors import ConfigError, Refused
from strongroom.model import EVERY_POLICY, Depth
from strongroom.operations.archive.envelopes import describe_aside
from strongroom.operations.archive.inventory import put_damaged_on_record
from strongroom.operations.backup.existing import spec_about
from strongroom.operations.backup.repair import BY_RECORD
from strongroom.operations.backup.repair_job import under_way
from strongroom.operations.backup.replica_verdicts import ReadBack, describe_with_code
from strongroom.operations.backup.scrub import (
    ContainerPlace,
    ContainerReadBack,
    Slice,
    check,
    place_of,
    plan_slice,
)
from strongroom.operations.recorded_errors import code_of
from strongroom.operations.run_integrity import pin_target
from strongroom.operations.runs.job import (
    Ending,
    Job,
    ReportFacts,
    Result,
    StepAction,
    Where,
    read_facts,
    read_result,
)
from strongroom.operations.runs.submit import submit
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.operations.verification.checks import refresh
from strongroom.operations.verification.coverage import VerificationScope, scope_of
from strongroom.state.records import (
    ContainerCheck,
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
from strongroom.words import plural

SHOWN = 3
"""Damaged replicas that an outcome names; the catalog has all of them."""
REPORT = RunStep(StepKind.REPORT)


class ScrubJob(Job):
    """Reads a slice of all replicas back, and has what is damaged repaired.

    It has no ``terms``: it is about the backups of all policies, and goes by the record.
    """

    first = RunStep(StepKind.PLAN)
    reads = True
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(plan_slice, Slice, Pool.CONTROL),
        StepKind.VERIFY: StepAction(
            check, ContainerReadBack, Pool.VERIFY, tolerated=True, where=Where.FORKED
        ),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        """Go on with the next container of the same target: one at a time, whoever the workers are."""
        if isinstance(result, Slice):
            return StepConsequence(follow=_first_of_each(result.places) or (REPORT,))
        if (following := _next_of(read_facts(run, Slice).places, step)) is not None:
            return StepConsequence(follow=(following,))
        return StepConsequence() if tally.unsettled(StepKind.VERIFY) else StepConsequence(follow=(REPORT,))

    def record(self, run: Run, services: Services) -> Sequence[str]:
        """Enter what was read, whole or damaged."""
        looked = _looked(run, services)
        services.store.put_checks(
            [_as_check(container, depth) for container in looked if (depth := container.checked.depth)]
        )
        _refresh_replicas(looked, services)
        # No more than the class: what an error says may name a secret, and an event must not.
        why = {
            key: f"{container.place.what}: {code_of(container.checked.damage)}"
            for key, container in _damaged(looked).items()
        }
        pieces = {
            key: {each.place.piece for each in looked if each.checked.damage and each.place.key == key}
            for key in why
        }
        put_damaged_on_record(services.store, why, pieces)
        return ()

    def report_facts(self, run: Run, services: Services) -> ReportFacts:
        return ReportFacts(started=tuple(_order_repairs(run, services)))

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "no backup was touched; what was not read is due with the next slice"

    def outcome(self, run: Run, services: Services) -> Ending:
        looked = _looked(run, services)
        aside = describe_aside((container.place.target, container.checked.aside) for container in looked)
        blemishes = (
            _describe_damage(looked),
            _describe_unread(run, services),
            f"whole, but {aside}" if aside else "",
        )
        blemish = next(filter(None, blemishes), None)
        return Ending(RunState.DEGRADED, blemish) if blemish else Ending(RunState.DONE)

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the next slice, unless one is being read: two at once would read at twice the rate."""
        if any(run.spec.kind is RunKind.SCRUB for run in services.store.active()):
            return None
        return make_spec(services, scope_of(entry, due))


JOB = ScrubJob()


def make_spec(services: Services, scope: VerificationScope) -> Spec:
    """Return the spec of a slice: it is about every target but the media in a safe."""
    names = [name for name in services.targets if name not in scope.media]
    return Spec(
        kind=RunKind.SCRUB,
        policy=EVERY_POLICY,
        targets=tuple(pin_target(name, services.target(name)) for name in names),
        options=msgspec.to_builtins(scope),
    )


def _first_of_each(places: Sequence[ContainerPlace]) -> tuple[RunStep, ...]:
    first: dict[str, RunStep] = {}
    for number, place in enumerate(places):
        first.setdefault(place.target, RunStep(StepKind.VERIFY, number, place.target))
    return tuple(first.values())


def _next_of(places: Sequence[ContainerPlace], step: RunStep) -> RunStep | None:
    rest = range(step.piece + 1, len(places))
    following = next((number for number in rest if places[number].target == step.target), None)
    return None if following is None else RunStep(StepKind.VERIFY, following, step.target)


# -- what came of it -------------------------------------------------------------------


class _ReadContainer(NamedTuple):
    """A container that was read, and when (epoch seconds)."""

    place: ContainerPlace
    checked: ContainerReadBack
    at: float


def _looked(run: Run, services: Services) -> list[_ReadContainer]:
    rows = [row for row in services.store.rows(run.id, StepKind.VERIFY) if row.result]
    places = read_facts(run, Slice).places if rows else ()
    return [_looked_at(run, row, places) for row in rows]


def _looked_at(run: Run, row: StepRow, places: Sequence[ContainerPlace]) -> _ReadContainer:
    checked = read_result(run, row.step, row.result, ContainerReadBack)
    return _ReadContainer(place_of(places, row.step), checked, row.finished_at or 0.0)


def _as_check(container: _ReadContainer, depth: Depth) -> ContainerCheck:
    place = container.place
    return ContainerCheck(
        backup=place.backup, target=place.target, piece=place.piece, depth=depth, checked_at=container.at
    )


def _refresh_replicas(looked: Sequence[_ReadContainer], services: Services) -> None:
    """Have the catalog know how each replica stands of which something was read."""
    store, touched = (
        services.store,
        {(container.place.backup, container.place.target) for container in looked},
    )
    backups = sorted({backup for backup, _ in touched})
    checks: dict[tuple[str, str], list[ContainerCheck]] = {}
    for container_check in store.checks(backups):
        checks.setdefault((container_check.backup, container_check.target), []).append(container_check)
    for replica in (each for found in store.replicas_of(backups).values() for each in found):
        key = replica.backup, replica.target
        entry = store.backup(replica.backup) if key in touched else None
        if entry is not None and (now := refresh(replica, entry.containers, checks.get(key, ()))) != replica:
            store.set_replica(now)


def _damaged(looked: Sequence[_ReadContainer]) -> dict[tuple[str, str], _ReadContainer]:
    """Return the damaged replicas, by target and backup, each with the first thing that was found."""
    found: dict[tuple[str, str], _ReadContainer] = {}
    for container in looked:
        if container.checked.damage:
            found.setdefault(container.place.key, container)
    return found


def _order_repairs(run: Run, services: Services) -> Iterator[str]:
    """Put the repair of each damaged backup on record, and yield its run. Asked again, it is the same one.

    A backup of a policy that is configured no more is left: nobody says where it belongs. Nothing is handed
    out here, since only a run's own steps are sent with it: the next reconcile takes it, or who drives.
    """
    busy, here = under_way(services), replace(services, hands_out=False)
    for backup in dict.fromkeys(backup for _, backup in _damaged(_looked(run, services))):
        if backup not in busy:
            with suppress(ConfigError, Refused):
                spec = spec_about(services, RunKind.REPAIR, backup, options=BY_RECORD)
                yield submit(here, spec, request_id=f"{run.id} {backup}")[0]


def _describe_damage(looked: Sequence[_ReadContainer]) -> str:
    found = [
        f"{backup} on {target}: {container.place.what}: {container.checked.damage}"
        for (target, backup), container in _damaged(looked).items()
    ]
    if not found:
        return ""
    more = f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    said = f"{plural(len(found), 'replica')} damaged ({'; '.join(found[:SHOWN])}{more})"
    return f"{VerificationFailed.__name__}: {said}; the repair of what can be repaired was ordered"


def _describe_unread(run: Run, services: Services) -> str:
    """Say what was not read back and why, by the first reason."""
    away = read_facts(run, Slice).away
    rows = services.store.rows(run.id, StepKind.VERIFY)
    missed = {row.step.target: row.error or "" for row in rows if row.state is StepState.MISSED}
    unread = {**missed, **away}
    return describe_with_code(ReadBack(unread=unread)) if unread else ""
