"""incident: a key or backups may be in wrong hands. Quarantine, seal anew, and write down what was done.

The most exposed go first: what the key opens without any other leg or rotation in between, what lies
on the most targets, what nothing locks, what is newest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.wrapping import WrappingKey
from strongroom.errors import ConfigError, StrongroomError
from strongroom.model import COMMAND
from strongroom.operations.archive.file_backups import SUPERSEDED
from strongroom.operations.archive.first_answer import first_answer
from strongroom.operations.archive.open import open_backup
from strongroom.operations.archive.quarantine import Unmarked, quarantine
from strongroom.operations.errors import KeyStillNeeded, NothingSelected
from strongroom.operations.key_management.usage import (
    Opens,
    keys_of,
    look_all,
    opens_with,
    own_records,
    pinned_key,
)
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.operations.rotation.submit import submit_rotation
from strongroom.operations.runs.submit import Submitted
from strongroom.operations.services import Pinned, Services
from strongroom.state.records import CatalogEntry
from strongroom.targets.repaired import Objects
from strongroom.targets.single_file import BundleReader
from strongroom.timestamps import rfc3339


class Affected(Struct, frozen=True, kw_only=True):
    """A backup that an incident is about. ``opens_now``: by its newest envelope; else by a copy alone.

    ``file`` is where a command wrote it, empty if it lies on targets. One that could not be
    ``looked_at`` counts as open: nobody knows better.
    """

    backup: str
    policy: str
    created_at: str
    opens_now: bool
    targets: int
    file: str = ""
    looked_at: bool = True


class Incident(Struct, frozen=True, kw_only=True):
    """An incident as it was opened. ``key`` is empty if only backups are suspected.

    ``unread`` says why some of what is affected could not be read, ``gone`` are backups whose
    files a person said are gone: what was copied of those is as open as before.
    """

    id: str
    opened_at: str
    by: str
    reason: str
    key: str
    affected: tuple[Affected, ...]
    unread: dict[str, str]
    version: int | None = None
    gone: tuple[str, ...] = ()
    unmarked: Unmarked = {}

    @property
    def policies(self) -> dict[str, tuple[str, ...]]:
        """The backups of each policy that can be sealed anew on their targets, the most exposed first."""
        found: dict[str, list[str]] = {}
        for one in self.affected:
            if one.file or not one.looked_at:
                continue
            found.setdefault(one.policy, []).append(one.backup)
        return {policy: tuple(backups) for policy, backups in found.items()}

    @property
    def files(self) -> tuple[str, ...]:
        """The files of what commands made, which no policy seals anew."""
        return tuple(one.file for one in self.affected if one.file and not one.file.endswith(SUPERSEDED))

    @property
    def superseded(self) -> tuple[str, ...]:
        """The files that were sealed anew already, and that this kept beside the new ones."""
        return tuple(one.file for one in self.affected if one.file.endswith(SUPERSEDED))


class Exposed(Struct, frozen=True, kw_only=True):
    """What a key opens, or may: see :class:`Incident`."""

    affected: tuple[Affected, ...]
    unread: dict[str, str]
    gone: tuple[str, ...]


def affected_by(
    services: Services, *, key: str = "", version: int | None = None, backups: Sequence[str] = ()
) -> Exposed:
    """Return what a leaked key opens, or the backups named, the most exposed first. What could not be
    looked at is part of it, last.

    Args:
        key: as :func:`~strongroom.keys.key_names.stanza_key` names it.
        version: only what opens with this version of it, for kinds that have versions.
    """
    entries = [e for e in services.store.backups() if not backups or e.backup in backups]
    looked = look_all(services, entries)
    opened = [one for one in looked.found if not key or _is_open_to(services, one, key, version)]
    found = [_affected(services, one, key, version) for one in opened]
    found += [_unseen(services, entry) for entry in entries if entry.backup in looked.unread]
    found.sort(key=lambda one: one.created_at, reverse=True)
    found.sort(key=lambda one: (not one.looked_at, not one.opens_now, -one.targets))
    return Exposed(affected=tuple(found), unread=looked.unread, gone=looked.gone)


def _is_open_to(services: Services, opening: Opens, key: str, version: int | None) -> bool:
    if version is None:
        return key in opening.first or any(key in keys_of(record) for record in opening.records)
    return _opens_now(opening, key, version) or _opened_first(services, opening, key, version)


def _opens_now(opening: Opens, key: str, version: int | None) -> bool:
    return any(opens_with(record, key, version) for record in opening.records)


def _opened_first(services: Services, opening: Opens, key: str, version: int) -> bool:
    """Tell whether a backup's own envelopes open with a version; if they cannot be read, they may."""
    if key not in opening.first:
        return False
    try:
        return any(opens_with(record, key, version) for record in own_records(services, opening))
    except StrongroomError:
        return True


def _affected(services: Services, opening: Opens, key: str, version: int | None) -> Affected:
    return Affected(
        backup=opening.backup,
        policy=opening.policy,
        created_at=opening.created_at,
        opens_now=not key or _opens_now(opening, key, version),
        targets=1 if opening.file else len(services.store.replicas(opening.backup)),
        file=opening.file,
    )


def _unseen(services: Services, entry: CatalogEntry) -> Affected:
    return Affected(
        backup=entry.backup,
        policy=entry.policy,
        created_at=entry.created_at,
        opens_now=True,
        targets=len(services.store.replicas(entry.backup)),
        looked_at=False,
    )


def open_incident(
    services: Services,
    *,
    name: str,
    by: str,
    reason: str,
    key: str = "",
    version: int | None = None,
    backups: Sequence[str] = (),
) -> Incident:
    """Quarantine what is affected and put the incident on record.

    Raises:
        NothingSelected: nothing is affected.
        KeyStillNeeded: a policy still seals for the key; what is made next would be affected too.
    """
    exposed = affected_by(services, key=key, version=version, backups=backups)
    affected = exposed.affected
    if not affected:
        raise NothingSelected(_nothing(exposed.gone), hint="Check the key or the backups with 'keys'.")
    incident = Incident(
        id=name,
        opened_at=rfc3339(time.time()),
        by=by,
        reason=reason,
        key=key,
        affected=affected,
        unread=exposed.unread,
        version=version,
        gone=exposed.gone,
    )
    sealing = dict.fromkeys(one.policy for one in affected if one.policy != COMMAND)
    for policy in sealing if key else ():
        with suppress(ConfigError):  # a policy that is gone seals nothing more
            _refuse_sealing_for(services.pinned(policy), policy, key, version)
    detail: dict[str, Any] = {"key": key, "version": version, "backups": len(affected)}
    services.store.event("incident.opened", incident=name, by=by, reason=reason, **detail)
    unmarked = quarantine(services, (one.backup for one in affected), incident=name, reason=reason, by=by)
    return replace(incident, unmarked=unmarked)


def _nothing(gone: Sequence[str]) -> str:
    if not gone:
        return "No backup is affected."
    return f"No backup is affected that is here; said to be gone, and not looked at: {', '.join(gone)}."


def _refuse_sealing_for(pinned: Pinned, policy: str, key: str, version: int | None) -> None:
    if key not in {pinned_key(pin) for pin in pinned.spec.recipients}:
        return
    # Which version a key service seals with now, only sealing tells.
    record = None if version is None else WrappingKey.create(pinned.recipients).record
    if record is None or opens_with(record, key, version):
        raise KeyStillNeeded(
            f"Policy '{policy}' still seals to that key, so its next backup would be open too.",
            hint="Nothing was changed. Put another key into the policy's recipients, then repeat.",
        )


def submit_reencryption(
    services: Services, incident: Incident, policy: str, *, take_over: bool = False
) -> Submitted:
    """Create the run that seals an incident's backups of one policy anew, in order of exposure."""
    options = RotateOptions(reencrypt=True, renew=True, backups=incident.policies[policy])
    return submit_rotation(services, policy=policy, options=options, take_over=take_over)


def secrets_of(services: Services, incident: Incident) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the names of the secrets in what is affected, each with the backups that hold it; and
    why those of some backups could not be listed, which hold further ones.

    These are what has to be changed. Names can be sensitive: they go to a file of its owner alone.
    """
    found: dict[str, list[str]] = {}
    unlisted: dict[str, str] = {}
    for one in incident.affected:
        try:
            names = _names(services, one)
        except StrongroomError as error:
            unlisted[one.backup] = incident.unread.get(one.backup, f"{error.code}: {error.message}")
            continue
        for name in names:
            found.setdefault(name, []).append(one.backup)
    return dict(sorted(found.items())), unlisted


def _names(services: Services, one: Affected) -> list[str]:
    if one.file:
        with BundleReader(one.file) as file:
            return _names_in(services, file, one.backup)
    return first_answer(
        services.store.replicas(one.backup),
        lambda replica: _names_in(services, services.target(replica.target), one.backup),
        of=f"backup {one.backup}",
    )


def _names_in(services: Services, objects: Objects, backup: str) -> list[str]:
    trusted = services.signer_fingerprints
    opened = open_backup(objects, backup, identities=services.identities(), trusted=trusted)
    return [row.name for row in opened.rows()]


def record(
    incident: Incident,
    results: Iterable[Mapping[str, Any]],
    *,
    closed_at: str,
    failed: Mapping[str, str] | None = None,
    unlisted: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the incident record: what happened, what was done, what is still open and until when.

    ``failed`` says of which policies the backups could not be sealed anew, and why; ``unlisted`` of
    which backups the secrets could not be listed.
    """
    done = list(results)
    return {
        "incident": incident.id,
        "opened_at": incident.opened_at,
        "written_at": closed_at,
        "by": incident.by,
        "reason": incident.reason,
        "key": incident.key,
        "version": incident.version,
        "affected": [_affected_document(one) for one in incident.affected],
        "not_looked_at": incident.unread,
        "said_to_be_gone": list(incident.gone),
        "not_marked": {backup: dict(failed) for backup, failed in incident.unmarked.items()},
        "secrets_not_listed": dict(unlisted or {}),
        "sealed_anew": [_sealed_document(one) for one in done if one.get("new")],
        "not_sealed_anew": dict(failed or {}),
        "still_open": [still for one in done for still in one.get("still", ())],
        "left_to_do": list(_left_to_do(incident)),
    }


def _affected_document(one: Affected) -> dict[str, Any]:
    return {
        "backup": one.backup,
        "policy": one.policy,
        "made": one.created_at,
        "opened_now": one.opens_now,
        "looked_at": one.looked_at,
        "file": one.file,
    }


def _sealed_document(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"backup": result["backup"], "new": result["new"], "verified": result["verified"]}


def _left_to_do(incident: Incident) -> Iterator[str]:
    yield from _left(incident)
    yield "Change every secret that these backups hold: nothing takes back a copy that was read."
    yield from _to_remove(incident)
    yield "Remove the old versions that targets hide too, or wait for their day: deleting only hides."
    yield "Destroy the key where it lies, and look at who had it."


def _to_remove(incident: Incident) -> Iterator[str]:
    """Yield the commands that remove the old copies, which stay open to the key until then."""
    for policy in incident.policies:
        yield (
            f"Delete the old copies once their locks have ended: strongroom rotate {policy} --re-encrypt "
            "--remove-replaced"
        )


def _left(incident: Incident) -> Iterator[str]:
    if incident.files:
        yield (
            "Re-encrypt the backup files: strongroom rotate-backup-key --current-key FILE --new-key FILE "
            "--re-encrypt-backups; a file that only a passphrase opens has to be written again, under "
            "another passphrase. They "
            f"are: {', '.join(incident.files)}."
        )
    if incident.unmarked:
        yield (
            "Not every target could be given the mark that keeps other hosts from these backups. Bring those "
            "targets back, then repeat 'strongroom incident open --quarantine-only' with the same backups."
        )
    if incident.superseded:
        yield f"Delete the originals of what is re-encrypted already: {', '.join(incident.superseded)}."
    if incident.unread:
        yield (
            "A backup that could not be read counts as open to the key. Bring it back, then open the "
            "incident again. None of its secrets is listed."
        )
