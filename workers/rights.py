"""Which role may send what: a stolen key of one pool is not the key of the house.

A pool sends what the runs that its own steps belong to may need next, and nothing else: a
seal worker can make an upload due, never a restore. It may also send again what stands on
its own queue, for a task whose process was killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from strongroom.config import BrokerSettings
from strongroom.model import Role
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
    names.PAGE: names.PAGE_TASKS,
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
    (
        *("ping", "stats", "conf", "active", "active_queues", "registered", "reserved", "revoked"),
        *("scheduled", "query_task", "enable_events", "heartbeat"),
    )
)
"""Remote-control commands that change nothing a backup depends on."""

MAY_COMMAND: Final[Mapping[str, frozenset[str]]] = {names.SUBMIT: LOOKING, names.WATCH: LOOKING}
"""Nobody may shut down, revoke, rate-limit or re-queue by message: signals and the run
record do that, so a broker in the wrong hands cannot."""


# -- The same towards Redis: which keys and channels the user of a role may touch, and by which commands --


class BrokerUser(Struct, frozen=True, kw_only=True):
    """What the broker has to grant to the user of a role, as Redis 7 and Valkey spell it."""

    role: str
    keys: tuple[str, ...]
    channels: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        """The words of its line in a file of users, but for its name and its password."""
        return ("on", "sanitize-payload", *self.keys, "resetchannels", *self.channels, *self.commands)


def broker_users(broker: BrokerSettings) -> Iterator[BrokerUser]:
    """Yield the user of each role that sends or takes messages, and the operator, who is all of them: the one
    login of a host whose processes share their settings."""
    database = (urlsplit(broker.url or "").path.strip("/") or "0") if broker.url else "0"
    control, events = f"&/{database}.celery.pidbox", f"&/{database}.celeryev/*"
    for role in (*names.ROLES, Role.OPERATOR.value):
        each = names.ROLES if role == Role.OPERATOR else (role,)
        listens = {*each} - _ONLY_SENDS
        takes = {*each} & {*names.QUEUES}
        commands = _SENDING + (_TAKING if takes else _LISTENING if listens else ())
        yield BrokerUser(
            role=role,
            keys=tuple(dict.fromkeys(key for one in each for key in _keys(one))),
            channels=(control, events) if listens else (),
            commands=("-@all", *(f"+{command}" for command in sorted(commands))),
        )


def unacked_keys(role: str) -> dict[str, str]:
    """Return where kombu keeps what a role's workers have not acknowledged: apart from that of the others, so
    that each reads no queue but its own."""
    return {key: f"strongroom.{key.removesuffix('_key')}.{role}" for key in _UNACKED}


_UNACKED: Final = ("unacked_key", "unacked_index_key", "unacked_mutex_key")
_CONNECTING: Final = ("client|setinfo", "client|setname", "hello", "info", "ping", "select")
_SENDING: Final = (*_CONNECTING, "discard", "exec", "llen", "lpush", "multi", "sadd", "smembers")
_LISTENING: Final = (
    *("brpop", "del", "evalsha", "exists", "pexpire", "psubscribe", "publish", "punsubscribe", "rpop"),
    *("script|exists", "script|load", "srem", "subscribe", "time", "unsubscribe", "zadd", "zrangebyscore"),
    "zrem",
)
"""Remote control and events. The scripts are kombu's, which look after the queues of answers."""
_ONLY_SENDS: Final = frozenset({names.BEAT, names.PAGE})
"""Roles that listen to nobody."""
_TAKING: Final = (
    *_LISTENING,
    *("expire", "get", "hdel", "hget", "hset", "rpush", "set", "unwatch", "watch", "zrange"),
)


def _keys(role: str) -> Iterator[str]:
    sends = {queue_of(task) for task in may_send(role)} - {role}
    for queue in sorted(sends):
        yield f"~{queue}" if role == names.BEAT else f"%W~{queue}"  # it asks for nothing twice: how many wait
    for queue in sorted({*sends, role} & {*names.QUEUES}):
        yield f"~_kombu.binding*.{queue}"
    if role in names.QUEUES:
        yield f"~{role}"
        yield from (f"~{key}" for key in unacked_keys(role).values())
    if role not in _ONLY_SENDS:
        yield from ("~*.celery.pidbox", "~_kombu.binding*celery.pidbox", "~_kombu.binding*.celeryev")
        yield from ("~_kombu.binding_deadlines", "~celeryev.*")
    if role == names.CONTROL:
        yield "%W~strongroom.seen.*"
    elif role == names.SUBMIT:
        yield "~strongroom.seen.*"
    elif role == names.WATCH:
        yield from (f"%R~{queue}" for queue in names.QUEUES)  # how many messages wait
