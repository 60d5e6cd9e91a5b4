"""What is put on record beside runs: changed settings, and channels that do not work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from strongroom.errors import StrongroomError
from strongroom.state.records import Event

if TYPE_CHECKING:
    from strongroom.config.live import SettingsChange
    from strongroom.state.store import RunStore

# -- Changed settings: which hosts took them on ---------------------------------------------------

TAKEN, REFUSED, WAITS = "settings.taken", "settings.refused", "settings.waits"
_KINDS: Final = (TAKEN, REFUSED, WAITS)
_REMEMBERED: Final = 400 * 86_400.0


def record(store: RunStore, host: str, change: SettingsChange) -> None:
    """Record a change, unless another process of the host was faster."""
    kind = TAKEN if change.taken else REFUSED if change.problem else WAITS
    newest = _newest(store).get((host, change.file))
    if newest is not None and (newest.kind, newest.detail.get("sha256")) == (kind, change.sha256):
        return
    said = (
        {"problem": change.problem}
        if change.problem
        else {"waits": list(change.waits)}
        if change.waits
        else {}
    )
    store.event(kind, host=host, file=change.file, sha256=change.sha256, **said)


def settle(store: RunStore, host: str, change: SettingsChange) -> None:
    """Record that a process began with settings of which another said that they are not in force."""
    newest = _newest(store).get((host, change.file))
    if newest is not None and newest.kind != TAKEN:
        record(store, host, change)


def untaken(store: RunStore) -> Iterator[Event]:
    """Yield the newest change of each host's file that is not in force."""
    return (event for event in _newest(store).values() if event.kind != TAKEN)


def _newest(store: RunStore) -> dict[tuple[str, str], Event]:
    events = store.happened(*_KINDS, since=time.time() - _REMEMBERED)
    return {(str(event.detail.get("host")), str(event.detail.get("file"))): event for event in events}


# -- Channels that do not work: on record whenever that changes, so that the others can tell people ----


_FAILED: Final = "channel.failed"
_WORKS: Final = "channel.works"
_SPAN: Final = 30 * 86_400.0
"""Seconds for which it counts that a channel failed, if nothing was sent by it since."""


def failing(store: RunStore, *, now: float) -> dict[str, Event]:
    """Return the event of each channel that did not work when it was used last, by the channel's name."""
    newest = {
        str(event.detail.get("channel")): event
        for event in store.happened(_FAILED, _WORKS, since=now - _SPAN)
    }
    return {name: event for name, event in newest.items() if event.kind == _FAILED}


def record_channel(store: RunStore, used: Mapping[str, StrongroomError | None], *, now: float) -> None:
    """Put on record what became of the channels that were used: ``None`` for one that worked."""
    if not used:
        return
    failed_before = failing(store, now=now)
    for name, error in used.items():
        if error is not None and name not in failed_before:
            store.event(_FAILED, channel=name, error=f"{error.code}: {error.message}")
        elif error is None and name in failed_before:
            store.event(_WORKS, channel=name)
