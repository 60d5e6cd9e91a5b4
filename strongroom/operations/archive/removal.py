"""Removing a backup from a target, whatever of it can be removed, and saying what stays: the one way.

The manifest goes first, so that no half of a backup is ever visible, and the containers last: as long as
there is one, it tells of the envelopes that belong to it, whoever goes on after a crash. A delete is not
believed: what is listed afterwards is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from msgspec import Struct

from strongroom.container.errors import FormatError, MissingPiece
from strongroom.container.keyless import read_outer
from strongroom.errors import TargetError
from strongroom.model import ObjectInfo
from strongroom.operations.archive.envelopes import envelopes_prefix
from strongroom.operations.archive.index_keys import IndexKeys
from strongroom.operations.archive.old_versions import UNKNOWN, old_versions
from strongroom.operations.archive.open import ObjectReader
from strongroom.operations.layout import EMERGENCY, INDEXES, containers_prefix, manifest_name
from strongroom.targets import Locking, Target
from strongroom.targets.errors import TargetLocked
from strongroom.targets.purging import purge
from strongroom.targets.repaired import original_name
from strongroom.timestamps import rfc3339
from strongroom.words import plural


class BackupRemoval(Struct, frozen=True, kw_only=True):
    """What came of removing a backup from a target.

    ``deleted`` objects of ``freed`` bytes are gone, ``left`` ones stay, of which ``locked`` are under a lock.
    ``hidden`` is how many versions a delete left, -1 if that cannot be told. ``until`` is when all that
    stays can go; empty if that is not known.
    """

    deleted: int = 0
    freed: int = 0
    left: int = 0
    locked: int = 0
    hidden: int = 0
    until: str = ""

    @property
    def why(self) -> str:
        """What stays; empty if nothing does."""
        if self.left:
            return f"left there: {plural(self.left, 'object')}" + (
                f", {self.locked} locked" if self.locked else ""
            )
        if self.hidden > 0:
            count = plural(self.hidden, "hidden version")
            return f"{count} may not be removed by this credential, or not yet"
        return "what the target keeps of deleted objects cannot be told" if self.hidden else ""


def remove_backup(
    target: Target,
    backup: str,
    keys: Iterable[str],
    *,
    trusted: frozenset[str],
    forget_names: bool = False,
) -> BackupRemoval:
    """Remove a backup from a target, with the envelopes of these wrapping keys.

    It may be repeated, and die at any point: the next attempt goes on.

    Args:
        forget_names: remove every index that tells its names, though others are told there too: who reads
            those needs more time then. Else an index goes with the last backup that it tells of.
    """
    chains = list(_chains(target, backup, forget_names=forget_names))
    prefixes = [*_prefixes(backup, keys), *_index_prefixes(target, chains, trusted)]
    before = list(_objects(target, backup, prefixes))
    target.abort_incomplete(containers_prefix(backup))
    locked: list[str] = []
    hidden: list[int | None] = []
    for prefix in prefixes:
        locked += [info.name for info in _under(target, backup, prefix) if not _deleted(target, info.name)]
        hidden.append(_purged(target, prefix))
    left = list(_objects(target, backup, prefixes))
    stay = -1 if None in hidden else sum(number for number in hidden if number) - len(left)  # each is one too
    return BackupRemoval(
        deleted=len(before) - len(left),
        freed=sum(info.size for info in before) - sum(info.size for info in left),
        left=len(left),
        locked=len(locked),
        hidden=stay,
        until=_until(target, [info.name for info in left], prefixes, locked=bool(locked), hidden=stay != 0),
    )


def objects_of(target: Target, backup: str, keys: Iterable[str]) -> Iterator[ObjectInfo]:
    """Yield all that is there of a backup, in the order in which it is removed."""
    return _objects(target, backup, _prefixes(backup, keys))


def keys_by_containers(target: Target, backup: str, *, trusted: frozenset[str]) -> frozenset[str]:
    """Return the wrapping keys of a backup whose manifest is gone, by the containers that are still there."""
    keys: set[str] = set()
    for info in target.list(containers_prefix(backup)):
        with suppress(FormatError):  # junk names no key, and a document of names has none
            keys.add(read_outer(ObjectReader(target, info.name), trusted=trusted).envelope.wrapping_key.id)
    return frozenset(keys)


def locks_end(target: Target, names: Iterable[str]) -> str:
    """Return when the last lock on these objects ends; empty if nothing locks them."""
    ends = [_lock_of(target, name) for name in names] if isinstance(target, Locking) else []
    return max((rfc3339(end) for end in ends if end is not None), default="")


def _prefixes(backup: str, keys: Iterable[str]) -> Sequence[str]:
    folders = [f"{EMERGENCY}{backup}/", containers_prefix(backup)]
    return [manifest_name(backup), *map(envelopes_prefix, keys), *folders]


def _index_prefixes(target: Target, chains: Sequence[str], trusted: frozenset[str]) -> Iterator[str]:
    """Yield what is to go with chains of indexes. Their envelopes go first: the indexes tell of them."""
    indexes = IndexKeys({target.name: target}, trusted=trusted) if chains else None
    for chain in chains:
        found = indexes.in_chain(chain) if indexes else ()
        yield from dict.fromkeys(envelopes_prefix(index_key.record.id) for index_key in found)
        yield f"{INDEXES}{chain}/"


def _chains(target: Target, backup: str, *, forget_names: bool) -> Iterator[str]:
    """Yield the chains of indexes that are to go with a backup. None can be read without those before it."""
    chains: dict[str, set[str]] = {}
    for info in target.list(INDEXES):
        _, chain, *rest = info.name.split("/")
        chains.setdefault(chain, set()).update(rest[:1])
    for chain, told in chains.items():
        if backup in told and (forget_names or not any(_shows(target, other) for other in told - {backup})):
            yield chain


def _shows(target: Target, backup: str) -> bool:
    return next(iter(target.list(manifest_name(backup))), None) is not None


def _objects(target: Target, backup: str, prefixes: Iterable[str]) -> Iterator[ObjectInfo]:
    for prefix in prefixes:
        yield from _under(target, backup, prefix)


def _under(target: Target, backup: str, prefix: str) -> list[ObjectInfo]:
    """List before anything is deleted. Beside a manifest its copies count alone."""
    own = manifest_name(backup)
    return [info for info in target.list(prefix) if prefix != own or original_name(info.name) == own]


def _deleted(target: Target, name: str) -> bool:
    try:
        target.delete(name)
    except TargetLocked:
        return False
    return True


def _purged(target: Target, prefix: str) -> int | None:
    try:
        return purge(target, prefix)
    except TargetError as error:
        if error.transient:
            raise
        return None  # it may not even be listed with this credential


def _until(
    target: Target, left: Sequence[str], prefixes: Sequence[str], *, locked: bool, hidden: bool
) -> str:
    """Return when what stays can go: the last lock's end, the day of the rule that ends what is hidden.

    Empty if one of them is not known.
    """
    ends = [_all_end(target, left) if locked else ""] if left else []
    if hidden:
        old = old_versions(target, *prefixes)
        ends += [_day(old.until)] if old.count else []
    return max(ends, default="") if all(ends) else ""


def _day(until: str) -> str:
    return "" if until in ("", UNKNOWN) else rfc3339(datetime.fromisoformat(until))


def _all_end(target: Target, names: Sequence[str]) -> str:
    """Return when the last lock ends; empty if one of the objects is not locked, or does not say."""
    if not isinstance(target, Locking):
        return ""
    ends = [_lock_of(target, name) for name in names]
    known = [end for end in ends if end is not None]
    return rfc3339(max(known)) if known and len(known) == len(ends) else ""


def _lock_of(target: Locking, name: str) -> datetime | None:
    try:
        return target.locked_until(name)
    except MissingPiece:
        return None
