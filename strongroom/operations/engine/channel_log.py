"""Which channels do not work: on record whenever that changes, so that the others can tell people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from strongroom.errors import StrongroomError
from strongroom.state.records import Event

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

FAILED: Final = "channel.failed"
WORKS: Final = "channel.works"
SPAN: Final = 30 * 86_400.0
"""Seconds for which it counts that a channel failed, if nothing was sent by it since."""


def failing(store: RunStore, *, now: float) -> dict[str, Event]:
    """Return the event of each channel that did not work when it was used last, by the channel's name."""
    newest = {
        str(event.detail.get("channel")): event for event in store.happened(FAILED, WORKS, since=now - SPAN)
    }
    return {name: event for name, event in newest.items() if event.kind == FAILED}


def record_channel(store: RunStore, used: Mapping[str, StrongroomError | None], *, now: float) -> None:
    """Put on record what became of the channels that were used: ``None`` for one that worked."""
    if not used:
        return
    failed_before = failing(store, now=now)
    for name, error in used.items():
        if error is not None and name not in failed_before:
            store.event(FAILED, channel=name, error=f"{error.code}: {error.message}")
        elif error is None and name in failed_before:
            store.event(WORKS, channel=name)
