"""Which role may send what: a stolen key of one pool is not the key of the house.

A pool sends what the runs that its own steps belong to may need next, and nothing else: a
seal worker can make an upload due, never a restore. It may also send again what stands on
its own queue, for a task whose process was killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from strongroom.state.records import StepKind
from workers import names


def queue_of(task: str) -> str:
    """Return the queue of a task: that of the pool which alone performs it."""
    return names.HOME_OF.get(task) or _queues_of_steps()[task]


def may_send(role: str) -> frozenset[str]:
    """Return the tasks that a role may send; none if there is no such role."""
    return ASKED_FOR[role] if role in ASKED_FOR else _sent_by_pools().get(role, frozenset())


ASKED_FOR: Final[Mapping[str, frozenset[str]]] = {
    names.SUBMIT: names.ENTRY_TASKS,
    names.BEAT: names.BEAT_TASKS,
    names.WATCH: frozenset(),
}
"""Who asks sends no step. None of them loads a job."""


@cache
def _queues_of_steps() -> Mapping[str, str]:
    from strongroom.operations.engine import steps

    return {names.step_task(kind): pool.value for kind, pool in steps.pools().items()}


@cache
def _sent_by_pools() -> Mapping[str, frozenset[str]]:
    from strongroom.operations.engine.jobs import JOBS, job_of

    runs = [{names.step_task(step) for step in (*job_of(kind).actions, StepKind.REPORT)} for kind in JOBS]
    sent = {queue: _sent_by(queue, runs) for queue in names.QUEUES}
    return sent | {names.TRANSFER: sent[names.TRANSFER] | names.INSTEAD_OF_BEAT}


def _sent_by(queue: str, runs: Iterable[set[str]]) -> frozenset[str]:
    homes = {**names.HOME_OF, **_queues_of_steps()}
    taken_part = (steps for steps in runs if any(homes[task] == queue for task in steps))
    return frozenset(task for task, home in homes.items() if home == queue).union(*taken_part)


LOOKING: Final = frozenset(
    {
        "ping",
        "stats",
        "conf",
        "active",
        "active_queues",
        "registered",
        "reserved",
        "revoked",
        "scheduled",
        "query_task",
        "enable_events",
        "heartbeat",
    }
)
"""Remote-control commands that change nothing a backup depends on."""

MAY_COMMAND: Final[Mapping[str, frozenset[str]]] = {names.SUBMIT: LOOKING, names.WATCH: LOOKING}
"""Nobody may shut down, revoke, rate-limit or re-queue by message: signals and the run
record do that, so a broker in the wrong hands cannot."""
