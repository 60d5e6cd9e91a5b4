"""Removing a backup that is shredded from a target, and saying for whom what stays opens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from strongroom.errors import StrongroomError
from strongroom.operations.archive.remove_backup import objects_of, remove_backup
from strongroom.operations.services import Services
from strongroom.operations.shredding.events import MeantBackup, TargetNow
from strongroom.operations.shredding.key_versions import Gone, envelopes_on, is_closed
from strongroom.targets import Target


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
    there = list(objects_of(target, meant_backup.backup, meant_backup.wrapping_keys))
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
    removed = remove_backup(
        target,
        meant_backup.backup,
        meant_backup.wrapping_keys,
        trusted=services.signer_fingerprints,
        forget_names=True,
    )
    opens = _opens(services, meant_backup, target, closes)
    return msgspec.structs.replace(
        last,
        gone=last.seen and not removed.left and removed.hidden == 0,
        deleted=last.deleted + removed.deleted,
        left=removed.left,
        hidden=removed.hidden,
        # What a delete only hid may come back: for whom that opens still counts.
        opens=_united(opens, last if removed.hidden else None),
        until=removed.until,
        why=removed.why if last.seen else EXCHANGED,
    )


EXCHANGED = "nothing of it is there, and there was: another medium may be in its place"


def _united(opens: Sequence[str], last: TargetNow | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*opens, *(last.opens if last else ())]))


def _opens(services: Services, meant_backup: MeantBackup, target: Target, closes: Gone) -> list[str]:
    """Return for whom an envelope on a target opens whose key is not to be destroyed."""
    records, aside = envelopes_on(target, meant_backup.wrapping_keys, services)
    stanzas = [stanza for record in records for stanza in record.stanzas]
    opens = [stanza.label or stanza.type for stanza in stanzas if not is_closed(stanza, closes)]
    # Anybody who may write could have put those there: they direct no destruction, and are removed.
    return opens + [f"the recipients of {envelope.name} ({envelope.code})" for envelope in aside]
