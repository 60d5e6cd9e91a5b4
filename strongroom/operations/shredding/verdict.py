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


def judge(one: Shredding, now: Mapping[Epoch, KeyNow], *, held: str = "") -> Judged:
    """Judge a backup by what is known of its keys and targets.

    Args:
        held: why nothing is done for now.
    """
    keys = list(_keys(one.meant, now))
    words = {name: lost for name, lost in one.lost.items() if _is_lost(one.targets.get(name))}
    left = [_left(one, name, keys) for name in one.meant.targets if name not in words]
    open_ = [(reasons, until) for reasons, until in left if reasons]
    if not open_:
        told = [words[name] for name in one.meant.targets if name in words]
        reasons = tuple(f"target '{w.target}' is destroyed, by the word of {w.by}: {w.reason}" for w in told)
        return Judged(backup=one.meant.backup, verdict=SHREDDED, reasons=reasons)
    ends = [until for _, until in open_]
    waits = [reason for found, _ in open_ for reason in found]
    return Judged(
        backup=one.meant.backup,
        verdict=PENDING,
        until=UNKNOWN if held or UNKNOWN in ends else max(ends),
        reasons=tuple(dict.fromkeys([held, *waits] if held else waits)),
    )


def _is_lost(found: TargetNow | None) -> bool:
    """A word about a medium counts only as long as the medium itself does not speak against it."""
    return found is None or not found.left


def _keys(meant: MeantBackup, now: Mapping[Epoch, KeyNow]) -> Iterator[tuple[str, str]]:
    """Yield why the keys alone do not shred it, each with when that ends."""
    for name in meant.stays:
        yield f"'{name}' opens it, and cannot be destroyed", UNKNOWN
    for epoch in meant.epochs:
        found = now.get(epoch)
        if found is None:
            yield f"{_words(epoch)} is not destroyed yet", UNKNOWN
        elif not found.proven:
            waits = found.until if len(found.why) == 1 else UNKNOWN
            yield f"{_words(epoch)}: {'; '.join(found.why)}", waits
    if not meant.epochs:
        yield "no key of it can be destroyed", UNKNOWN


def _left(one: Shredding, name: str, keys: list[tuple[str, str]]) -> tuple[list[str], str]:
    """Return why a backup could come back from one target (nothing: it cannot), and until when."""
    found = one.targets.get(name)
    if found is not None and found.gone:
        return [], UNKNOWN
    shut = [*keys, *_open_there(one.meant, found)]
    if not shut:
        return [], UNKNOWN
    why = found.why if found and found.why else "it was not looked at yet"
    by_key = _latest([until for _, until in shut])
    by_target = found.until if found else UNKNOWN
    ends = [until for until in (by_key, by_target) if until]
    return [f"target '{name}': {why}", *(reason for reason, _ in shut)], min(ends, default=UNKNOWN)


def _open_there(meant: MeantBackup, found: TargetNow | None) -> Iterator[tuple[str, str]]:
    """Yield what keeps a replica from being shut although the keys are destroyed."""
    if found is None or not found.seen:
        yield "what opens the copy there could not be looked at", UNKNOWN
        return
    for name in found.opens:
        yield f"there it also opens for {name}", UNKNOWN
    if found.hidden and meant.gaps:
        yield "an older envelope was removed there, and what the target hides of it cannot be told", UNKNOWN


def _latest(ends: list[str]) -> str:
    return UNKNOWN if UNKNOWN in ends else max(ends, default=UNKNOWN)


def _words(epoch: Epoch) -> str:
    kind, _, named = epoch.key.partition(":")
    shown = named if kind == "kms" else named[:16]
    return f"the {kind} key {shown}" + (f" v{epoch.version}" if epoch.version else "")
