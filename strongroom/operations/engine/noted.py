"""What is put on record beside runs: changed settings, channels that do not work, what people said of
alerts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from strongroom.config.live import SettingsChange
from strongroom.state.records import Event
from strongroom.state.store import RunStore

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
