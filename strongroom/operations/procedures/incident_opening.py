"""Opening an incident: what somebody else may read, the most exposed first.

First comes what a key opens without any other leg or rotation in between, what lies on the most targets, what
nothing locks, what is newest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.wrapping import WrappingKey
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys.key_names import recipient_key
from strongroom.model import COMMAND
from strongroom.operations.archive.cases import add_entry, spread_case
from strongroom.operations.archive.incidents import (
    INCIDENT,
    Affected,
    Incident,
    IncidentEntry,
    IncidentStep,
    Opening,
    Suspicion,
    read_incidents,
)
from strongroom.operations.errors import KeyStillSeals, NothingSelected
from strongroom.operations.incident import names
from strongroom.operations.key_management.usage import (
    Opens,
    keys_of,
    look_all,
    opens_with,
    own_records,
    pinned_key,
)
from strongroom.operations.services import Pinned, Services
from strongroom.operations.statements import fit
from strongroom.state.records import CatalogEntry, StepKind
from strongroom.timestamps import rfc3339, unique

DUE = 72 * 3600.0
"""Within how many seconds an incident should be closed, unless it is said otherwise."""


class AffectedBackups(Struct, frozen=True, kw_only=True):
    """What is affected, why some of it could not be read, and the backups whose files are said to be gone."""

    affected: tuple[Affected, ...]
    unread: dict[str, str]
    gone: tuple[str, ...]

    @property
    def oldest(self) -> str:
        """When the oldest backup of them was made (RFC 3339): nobody read any before."""
        return min((backup.created_at for backup in self.affected), default=rfc3339(time.time()))


class OpenedIncident(Struct, frozen=True, kw_only=True):
    """An incident as it was opened. ``missed`` says which targets have not got it, and why."""

    incident: Incident
    missed: Mapping[str, str]


def affected_by(services: Services, suspicion: Suspicion, *, since: str = "") -> AffectedBackups:
    """Return the backups that somebody else may be able to read, the most exposed first. What could not be
    looked at is part of it, last.

    Args:
        since: of a host, what it made since then (RFC 3339); of what it holds keys for, everything.
    """
    entries = [entry for entry in services.store.backups() if _is_asked(services, suspicion, entry)]
    looked = look_all(services, entries)
    made = _made_on(services, suspicion.host, entries, since)
    opened = [
        opening
        for opening in looked.found
        if opening.backup in made or _is_open_to(services, opening, suspicion)
    ]
    found = [_affected(services, opening, suspicion) for opening in opened]
    found += [_unseen(services, entry) for entry in entries if entry.backup in looked.unread]
    found.sort(key=lambda backup: backup.created_at, reverse=True)
    found.sort(key=lambda backup: (not backup.looked_at, not backup.opens_now, -backup.targets))
    return AffectedBackups(affected=tuple(found), unread=looked.unread, gone=looked.gone)


def _is_asked(services: Services, suspicion: Suspicion, entry: CatalogEntry) -> bool:
    """Tell whether a backup has to be looked at: of keys and hosts that is each one."""
    if suspicion.backups:
        return entry.backup in suspicion.backups
    if suspicion.target:
        return any(replica.target == suspicion.target for replica in services.store.replicas(entry.backup))
    return bool(suspicion.keys or suspicion.host)


def _made_on(services: Services, host: str, entries: Iterable[CatalogEntry], since: str) -> frozenset[str]:
    """Return the backups whose values a host had in its memory, as the runs' rows say."""
    if not host:
        return frozenset()
    recent = [entry.backup for entry in entries if entry.created_at >= since]
    return frozenset(backup for backup in recent if _captured_on(services, backup, host))


def _captured_on(services: Services, backup: str, host: str) -> bool:
    rows = services.store.rows(backup, StepKind.CAPTURE)
    return any((row.owner or "").partition(":")[0] == host for row in rows)


def _is_open_to(services: Services, opening: Opens, suspicion: Suspicion) -> bool:
    if suspicion.backups or suspicion.target:
        return True
    version = suspicion.version
    return any(
        _opens_now(opening, key, version) or _opened_first(services, opening, key, version)
        for key in suspicion.keys
    )


def _opens_now(opening: Opens, key: str, version: int | None) -> bool:
    if version is None:
        return any(key in keys_of(record) for record in opening.records)
    return any(opens_with(record, key, version) for record in opening.records)


def _opened_first(services: Services, opening: Opens, key: str, version: int | None) -> bool:
    """Tell whether a backup's own envelopes open with a version; if they cannot be read, they may."""
    if key not in opening.first or version is None:
        return key in opening.first
    try:
        return any(opens_with(record, key, version) for record in own_records(services, opening))
    except StrongroomError:
        return True


def _affected(services: Services, opening: Opens, suspicion: Suspicion) -> Affected:
    keys, version = suspicion.keys, suspicion.version
    return Affected(
        backup=opening.backup,
        policy=opening.policy,
        created_at=opening.created_at,
        opens_now=not keys or any(_opens_now(opening, key, version) for key in keys),
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


def open_case(
    services: Services,
    suspicion: Suspicion,
    *,
    by: str,
    reason: str,
    secrets: Sequence[str] = (),
    since: str = "",
    due: float = DUE,
) -> OpenedIncident:
    """Put an incident on record here and on the targets. Nothing is isolated yet.

    If one about the same is open, it goes on: what is affected is looked for again. So whoever died may
    repeat it, and what could not be read is read once it is back.

    Args:
        secrets: the names of those whose values are suspected to be known.
        since: RFC 3339, from when on readers are looked for; else from the oldest backup that is affected.
        due: within how many seconds it should be closed.

    Raises:
        NothingSelected: nothing is affected.
        KeyStillSeals: a policy still seals for the key; what is made next would be affected too.
    """
    exposed = affected_by(services, suspicion, since=since)
    if not secrets:
        require_affected(exposed, suspicion)
    _refuse_sealing(services, suspicion, exposed.affected)
    before, now = _same(services, suspicion, secrets), time.time()
    if before is not None and _scope(before.opening) == _scope(exposed):
        return OpenedIncident(incident=before, missed=spread_case(services, INCIDENT, before.id))
    if before is not None:
        whole, due_at = before.suspicion, before.opening.due_at
    else:
        sealed = names.seal(services, secrets, without=suspicion.keys) if secrets else ""
        whole, due_at = replace(suspicion, secrets=len(secrets), names=sealed), rfc3339(now + due)
    opening = Opening(
        suspicion=whole,
        since=since or exposed.oldest,
        due_at=due_at,
        affected=exposed.affected,
        unread=exposed.unread,
        gone=exposed.gone,
    )
    return _enter(services, opening, before.id if before else unique(now), by=by, reason=fit(reason))


def _scope(found: Opening | AffectedBackups) -> set[tuple[str, str, bool]]:
    return {
        (affected_backup.backup, affected_backup.file, affected_backup.looked_at)
        for affected_backup in found.affected
    }


def _enter(services: Services, opening: Opening, case: str, *, by: str, reason: str) -> OpenedIncident:
    suspicion = opening.suspicion
    for key in suspicion.keys or ("",):
        detail: dict[str, Any] = {"key": key, "version": suspicion.version, "backups": len(opening.affected)}
        services.store.event("incident.opened", incident=case, by=by, reason=reason, **detail)
    entry = IncidentEntry(
        case=case,
        number=1,
        at=rfc3339(time.time()),
        by=by,
        step=IncidentStep.OPEN,
        state="done",
        said=reason,
        opening=opening,
    )
    added = add_entry(services, INCIDENT, entry)
    return OpenedIncident(incident=read_incidents(services, case).incidents[case], missed=added.missed)


def _same(services: Services, suspicion: Suspicion, secrets: Sequence[str]) -> Incident | None:
    """Return the incident about the same that is open already."""
    for incident in read_incidents(services).incidents.values():
        known = incident.suspicion
        same = replace(known, secrets=0, names="") == suspicion and known.secrets == len(secrets)
        if incident.closed is None and same and _same_names(services, known, secrets):
            return incident
    return None


def _same_names(services: Services, known: Suspicion, secrets: Sequence[str]) -> bool:
    try:
        return set(names.unseal(services, known).names) == set(secrets)
    except StrongroomError:  # without a key nobody can tell
        return False


def _refuse_sealing(services: Services, suspicion: Suspicion, affected: Iterable[Affected]) -> None:
    for policy in dict.fromkeys(backup.policy for backup in affected if backup.policy != COMMAND):
        for key in suspicion.keys:
            with suppress(ConfigError):  # a policy that is gone seals nothing more
                _refuse_sealing_for(services.pinned(policy), policy, key, suspicion.version)


_CHECK = (
    "See 'strongroom keys list' for the keys, and 'strongroom backups list' for the backups. A key that "
    "stands "
    "under [index] alone opens names and no backup: put another one there, and delete 'index/' on every "
    "target."
)


def require_affected(exposed: AffectedBackups, suspicion: Suspicion) -> None:
    """Return if a backup is affected; raise NothingSelected if none is."""
    if not exposed.affected:
        raise NothingSelected(_nothing(exposed.gone), hint=_why_nothing(suspicion))


def _nothing(gone: Sequence[str]) -> str:
    if not gone:
        return "No backup is affected."
    return f"No backup is affected that is here; said to be gone, and not looked at: {', '.join(gone)}."


def _why_nothing(suspicion: Suspicion) -> str:
    if suspicion.host and not suspicion.keys:
        return (
            f"No run on record here captured anything on host '{suspicion.host}'. Name each key that was on "
            "it with --key, and the secrets that it held with --secret."
        )
    return _CHECK


def _refuse_sealing_for(pinned: Pinned, policy: str, key: str, version: int | None) -> None:
    if key not in {pinned_key(pin) for pin in pinned.spec.recipients}:
        if key in map(recipient_key, pinned.index_recipients):
            raise KeyStillSeals(
                f"The index of names of policy '{policy}' is still sealed to that key.",
                hint="Nothing was changed. Put another key into 'recipients' of [index], then repeat.",
            )
        return
    # Which version a key service seals with now, only sealing tells.
    record = None if version is None else WrappingKey.create(pinned.recipients).record
    if record is None or opens_with(record, key, version):
        raise KeyStillSeals(
            f"Policy '{policy}' still seals to that key, so its next backup would be open too.",
            hint="Nothing was changed. Put another key into the policy's recipients, then repeat.",
        )
