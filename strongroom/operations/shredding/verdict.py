"""The verdict on a backup: *shredded*, or *pending* until a date, with the reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from strongroom.operations.shredding.events import (
    PENDING,
    SHREDDED,
    Judged,
    KeyNow,
    MeantBackup,
    TargetNow,
)
from strongroom.operations.shredding.key_versions import Epoch
from strongroom.operations.shredding.record import Shredding

UNKNOWN = ""


def judge(shredding: Shredding, now: Mapping[Epoch, KeyNow], *, held: str = "") -> Judged:
    """Judge a backup by what is known of its keys and targets.

    Args:
        held: why nothing is done for now.
    """
    keys = list(_keys(shredding.meant, now))
    words = {name: lost for name, lost in shredding.lost.items() if _is_lost(shredding.targets.get(name))}
    left = [_left(shredding, name, keys) for name in shredding.meant.targets if name not in words]
    open_ = [(reasons, until) for reasons, until in left if reasons]
    if not open_:
        losses = [words[name] for name in shredding.meant.targets if name in words]
        reasons = tuple(
            f"target '{w.target}' is destroyed, by the word of {w.by}: {w.reason}" for w in losses
        )
        return Judged(backup=shredding.meant.backup, verdict=SHREDDED, reasons=reasons)
    ends = [until for _, until in open_]
    waits = [reason for found, _ in open_ for reason in found]
    return Judged(
        backup=shredding.meant.backup,
        verdict=PENDING,
        until=UNKNOWN if held or UNKNOWN in ends else max(ends),
        reasons=tuple(dict.fromkeys([held, *waits] if held else waits)),
    )


def _is_lost(target_state: TargetNow | None) -> bool:
    """A word about a medium counts only as long as the medium itself does not speak against it."""
    return target_state is None or not target_state.left


def _keys(meant_backup: MeantBackup, now: Mapping[Epoch, KeyNow]) -> Iterator[tuple[str, str]]:
    """Yield why the keys alone do not shred it, each with when that ends."""
    for name in meant_backup.stays:
        yield f"'{name}' opens it, and cannot be destroyed", UNKNOWN
    for epoch in meant_backup.epochs:
        key_state = now.get(epoch)
        if key_state is None:
            yield f"{_words(epoch)} is not destroyed yet", UNKNOWN
        elif not key_state.proven:
            waits = key_state.until if len(key_state.why) == 1 else UNKNOWN
            yield f"{_words(epoch)}: {'; '.join(key_state.why)}", waits
    if not meant_backup.epochs:
        yield "no key of it can be destroyed", UNKNOWN


def _left(shredding: Shredding, name: str, keys: list[tuple[str, str]]) -> tuple[list[str], str]:
    """Return why a backup could come back from one target (nothing: it cannot), and until when."""
    target_state = shredding.targets.get(name)
    if target_state is not None and target_state.gone:
        return [], UNKNOWN
    shut = [*keys, *_open_there(shredding.meant, target_state)]
    if not shut:
        return [], UNKNOWN
    why = target_state.why if target_state and target_state.why else "it was not looked at yet"
    by_key = _latest([until for _, until in shut])
    by_target = target_state.until if target_state else UNKNOWN
    ends = [until for until in (by_key, by_target) if until]
    return [f"target '{name}': {why}", *(reason for reason, _ in shut)], min(ends, default=UNKNOWN)


def _open_there(meant_backup: MeantBackup, target_state: TargetNow | None) -> Iterator[tuple[str, str]]:
    """Yield what keeps a replica from being shut although the keys are destroyed."""
    if target_state is None or not target_state.seen:
        yield "what opens the copy there could not be read", UNKNOWN
        return
    for name in target_state.opens:
        yield f"there it also opens for {name}", UNKNOWN
    if target_state.hidden and meant_backup.gaps:
        yield "an older envelope was removed there, and what the target hides of it cannot be told", UNKNOWN


def _latest(ends: list[str]) -> str:
    return UNKNOWN if UNKNOWN in ends else max(ends, default=UNKNOWN)


def _words(epoch: Epoch) -> str:
    kind, _, named = epoch.key.partition(":")
    shown = named if kind == "kms" else named[:16]
    return f"the {kind} key {shown}" + (f" v{epoch.version}" if epoch.version else "")
