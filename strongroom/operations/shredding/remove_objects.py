"""Removing a backup from a target, whatever of it can be removed, and saying what stays.

The manifest goes first, so that no half of a backup is ever visible. A delete is not believed: what
is listed afterwards is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import msgspec

from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError
from strongroom.operations.archive.envelopes import envelopes_prefix
from strongroom.operations.key_management.exposure import UNKNOWN, old_versions
from strongroom.operations.layout import EMERGENCY, containers_prefix, manifest_name
from strongroom.operations.services import Services
from strongroom.operations.shredding.events import MeantBackup, TargetNow
from strongroom.operations.shredding.key_versions import Gone, envelopes_on, is_closed
from strongroom.targets import Locking, Target
from strongroom.targets.errors import TargetLocked
from strongroom.targets.purging import purge
from strongroom.targets.repaired import copies
from strongroom.timestamps import rfc3339
from strongroom.words import plural


def inspect_target(
    services: Services, meant: MeantBackup, name: str, *, closes: Gone, last: TargetNow | None
) -> TargetNow:
    """Say what of a backup lies on one target. On record before anything is removed, it tells an
    emptied target from another medium in its place.

    Args:
        closes: whether a key version is among those to be destroyed.
        last: what was known of this target before.
    """
    return _asked(meant, name, last, lambda: _seen(services, meant, services.target(name), closes, last))


def remove(services: Services, meant: MeantBackup, name: str, *, closes: Gone, last: TargetNow) -> TargetNow:
    """Remove a backup from one target, as far as that lets. As :func:`inspect_target`."""
    return _asked(meant, name, last, lambda: _removed(services, meant, services.target(name), closes, last))


def _asked(
    meant_backup: MeantBackup, name: str, last: TargetNow | None, ask: Callable[[], TargetNow]
) -> TargetNow:
    """A target that is away is said, not raised; what was read there before stays known."""
    try:
        return ask()
    except StrongroomError as error:
        # Words that change from hour to hour would fill the record.
        why = f"it does not answer ({error.code})" if error.transient else f"{error.code}: {error.message}"
        return msgspec.structs.replace(last or TargetNow(backup=meant_backup.backup, target=name), why=why)


def _seen(
    services: Services, meant_backup: MeantBackup, target: Target, closes: Gone, last: TargetNow | None
) -> TargetNow:
    there = list(_names(target, meant_backup))
    found = bool(there) or (last is not None and last.found)
    return TargetNow(
        backup=meant_backup.backup,
        target=target.name,
        found=found,
        seen=found or target.name not in meant_backup.expected,
        left=len(there),
        hidden=last.hidden if last else 0,
        opens=_united(_opens(services, meant_backup, target, closes), last),
        why="" if found else EXCHANGED,
    )


def _removed(
    services: Services, meant_backup: MeantBackup, target: Target, closes: Gone, last: TargetNow
) -> TargetNow:
    before = list(_names(target, meant_backup))
    locked = [name for name in before if not _deleted(target, name)]
    target.abort_incomplete(containers_prefix(meant_backup.backup))
    hidden = _purged(target, meant_backup)
    left = list(_names(target, meant_backup))
    opens = _opens(services, meant_backup, target, closes)
    return msgspec.structs.replace(
        last,
        gone=last.seen and not left and hidden == 0,
        deleted=last.deleted + len(before) - len(left),
        left=len(left),
        hidden=hidden,
        # What a delete only hid may come back: for whom that opens still counts.
        opens=_united(opens, last if hidden else None),
        until=_until(target, meant_backup, left, locked=bool(locked), hidden=hidden),
        why=_why(left, locked, hidden) if last.seen else EXCHANGED,
    )


"""One form, so that the later of two is the greater."""

EXCHANGED = "nothing of it is there, and there was: another medium may be in its place"


def _united(opens: Sequence[str], last: TargetNow | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*opens, *(last.opens if last else ())]))


def _opens(services: Services, meant_backup: MeantBackup, target: Target, closes: Gone) -> list[str]:
    """Return for whom an envelope on a target opens whose key is not to be destroyed."""
    records, aside = envelopes_on(target, meant_backup.wrapping_keys, services)
    stanzas = [stanza for record in records for stanza in record.stanzas]
    opens = [stanza.label or stanza.type for stanza in stanzas if not is_closed(stanza, closes)]
    # Anybody who may write could have put those there: they direct no destruction, and are removed.
    return opens + [f"the recipients of {one.name} ({one.code})" for one in aside]


def _names(target: Target, meant_backup: MeantBackup) -> Iterator[str]:
    yield from copies(target, manifest_name(meant_backup.backup))
    for prefix in _folders(meant_backup):
        yield from [info.name for info in target.list(prefix)]


def _folders(meant_backup: MeantBackup) -> Sequence[str]:
    keys = [envelopes_prefix(key) for key in meant_backup.wrapping_keys]
    return [*keys, containers_prefix(meant_backup.backup), f"{EMERGENCY}{meant_backup.backup}/"]


def _deleted(target: Target, name: str) -> bool:
    try:
        target.delete(name)
    except TargetLocked:
        return False
    return True


def _purged(target: Target, meant_backup: MeantBackup) -> int:
    stay = [purge(target, prefix) for prefix in (manifest_name(meant_backup.backup), *_folders(meant_backup))]
    known = [number for number in stay if number is not None]
    return sum(known) if len(known) == len(stay) else -1


def _until(
    target: Target, meant_backup: MeantBackup, left: Sequence[str], *, locked: bool, hidden: int
) -> str:
    """Return when what stays can go: the last lock's end, the day of the rule that ends what is hidden.

    Empty if one of them is not known.
    """
    ends = [_locks_end(target, left) if locked else ""] if left else []
    if hidden:
        old = old_versions(target, manifest_name(meant_backup.backup), *_folders(meant_backup))
        ends += [_day(old.until)] if old.count else []
    return max(ends, default="") if all(ends) else ""


def _day(until: str) -> str:
    return "" if until in ("", UNKNOWN) else rfc3339(datetime.fromisoformat(until))


def _locks_end(target: Target, names: Sequence[str]) -> str:
    """Return when the last lock ends; empty if one target does not say."""
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


def _why(left: Sequence[str], locked: Sequence[str], hidden: int) -> str:
    if left:
        return f"left there: {plural(len(left), 'object')}" + (f", {len(locked)} locked" if locked else "")
    if hidden > 0:
        count = plural(hidden, "hidden version")
        return f"{count} may not be removed by this credential, or not yet"
    return "what the target keeps of deleted objects cannot be told" if hidden else ""
