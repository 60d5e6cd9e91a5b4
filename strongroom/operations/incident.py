"""incident: a key or backups may be in wrong hands. Quarantine, seal anew, and write down what was done.

The most exposed go first: what the key opens without any other leg or rotation in between, what lies
on the most targets, what nothing locks, what is newest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct

from strongroom.container.wrapping import WrappingKey
from strongroom.errors import ConfigError, KeyStillNeeded, MissingPiece, NothingSelected, StrongroomError
from strongroom.operations.keyuse import Opens, keys_of, look, opens_with, own_records, pinned_key
from strongroom.operations.open import open_backup
from strongroom.operations.quarantine import quarantine
from strongroom.operations.rotate import EVERY, RotateOptions
from strongroom.operations.rotation import submit_rotation
from strongroom.operations.services import Pinned, Services
from strongroom.operations.submit import Submitted
from strongroom.operations.times import rfc3339


class Affected(Struct, frozen=True, kw_only=True):
    """A backup that an incident is about. ``opens_now``: by its newest envelope; else by a copy alone."""

    backup: str
    policy: str
    created_at: str
    opens_now: bool
    targets: int


class Incident(Struct, frozen=True, kw_only=True):
    """An incident as it was opened. ``key`` is empty if only backups are suspected."""

    id: str
    opened_at: str
    by: str
    reason: str
    key: str
    affected: tuple[Affected, ...]
    unread: dict[str, str]
    version: int | None = None

    @property
    def policies(self) -> dict[str, tuple[str, ...]]:
        """The backups of each policy, the most exposed first."""
        found: dict[str, list[str]] = {}
        for one in self.affected:
            found.setdefault(one.policy, []).append(one.backup)
        return {policy: tuple(backups) for policy, backups in found.items()}


def affected_by(
    services: Services, *, key: str = "", version: int | None = None, backups: Sequence[str] = ()
) -> tuple[list[Affected], dict[str, str]]:
    """Return what a leaked key opens, or the backups named, the most exposed first; and what
    could not be looked at, with why: whoever counts has to count those as well.

    Args:
        key: as :func:`~strongroom.operations.keyuse.stanza_key` names it.
        version: only what opens with this version of it, for kinds that have versions.
    """
    entries = [e for e in services.store.backups(limit=EVERY) if not backups or e.backup in backups]
    opened, unread = look(services, entries)
    found = [_affected(services, one, key, version) for one in opened if not key or _is_open_to(one, key)]
    if version is not None:
        found = [one for one in found if one.opens_now or _opened_first(services, one.backup, key, version)]
    order = sorted(found, key=lambda one: one.created_at, reverse=True)
    return sorted(order, key=lambda one: (not one.opens_now, -one.targets)), unread


def _is_open_to(one: Opens, key: str) -> bool:
    return key in one.first or any(key in keys_of(record) for record in one.records)


def _opened_first(services: Services, backup: str, key: str, version: int) -> bool:
    """Tell whether a backup's own envelopes open with a version; if they cannot be read, they may."""
    try:
        return any(opens_with(record, key, version) for record in own_records(services, backup))
    except StrongroomError:
        return True


def _affected(services: Services, one: Opens, key: str, version: int | None) -> Affected:
    return Affected(
        backup=one.backup,
        policy=one.policy,
        created_at=one.created_at,
        opens_now=not key or any(opens_with(record, key, version) for record in one.records),
        targets=len(services.store.replicas(one.backup)),
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
    affected, unread = affected_by(services, key=key, version=version, backups=backups)
    if not affected and not unread:
        raise NothingSelected("No backup is affected.", hint="Check the key or the backups with 'keys'.")
    made = Incident(
        id=name,
        opened_at=rfc3339(time.time()),
        by=by,
        reason=reason,
        key=key,
        affected=tuple(affected),
        unread=unread,
        version=version,
    )
    for policy in made.policies if key else ():
        with suppress(ConfigError):  # a policy that is gone seals nothing more
            _refuse_sealing_for(services.pinned(policy), policy, key, version)
    detail: dict[str, Any] = {"key": key, "version": version, "backups": len(affected)}
    services.store.event("incident.opened", incident=name, by=by, reason=reason, **detail)
    quarantine(services, (one.backup for one in affected), incident=name, reason=reason)
    return made


def _refuse_sealing_for(pinned: Pinned, policy: str, key: str, version: int | None) -> None:
    if key not in {pinned_key(pin) for pin in pinned.spec.recipients}:
        return
    # Which version a keeper seals with now, only sealing tells.
    record = None if version is None else WrappingKey.create(pinned.recipients).record
    if record is None or opens_with(record, key, version):
        raise KeyStillNeeded(
            f"Policy '{policy}' still seals for that key, so its next backup would be open too.",
            hint="Nothing was changed. Put another key into the policy's recipients, then repeat.",
        )


def submit_reencryption(
    services: Services, incident: Incident, policy: str, *, take_over: bool = False
) -> Submitted:
    """Create the run that seals an incident's backups of one policy anew, in order of exposure."""
    options = RotateOptions(reencrypt=True, renew=True, backups=incident.policies[policy])
    return submit_rotation(services, policy=policy, options=options, take_over=take_over)


def secrets_of(services: Services, incident: Incident) -> dict[str, list[str]]:
    """Return the names of the secrets in what is affected, each with the backups that hold it.

    These are what has to be changed. Names can be sensitive: they go to a file of its owner alone.
    """
    found: dict[str, list[str]] = {}
    for one in incident.affected:
        for name in _names(services, one.backup):
            found.setdefault(name, []).append(one.backup)
    return dict(sorted(found.items()))


def _names(services: Services, backup: str) -> list[str]:
    failures: list[StrongroomError] = []
    for replica in services.store.replicas(backup):
        try:
            opened = open_backup(
                services.target(replica.target),
                backup,
                identities=services.identities(),
                trusted=services.signer_fingerprints,
            )
            return [row.name for row in opened.rows()]
        except StrongroomError as error:
            failures.append(error)
    raise failures[0] if failures else MissingPiece(f"no target has backup {backup}")


def record(
    incident: Incident,
    results: Iterable[Mapping[str, Any]],
    *,
    closed_at: str,
    failed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the incident record: what happened, what was done, what is still open and until when.

    ``failed`` says of which policies the backups could not be sealed anew, and why.
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
        "affected": [
            {"backup": one.backup, "policy": one.policy, "made": one.created_at, "opened_now": one.opens_now}
            for one in incident.affected
        ],
        "not_looked_at": incident.unread,
        "sealed_anew": [
            {"backup": one["backup"], "new": one["new"], "verified": one["verified"]}
            for one in done
            if one.get("new")
        ],
        "not_sealed_anew": dict(failed or {}),
        "still_open": [still for one in done for still in one.get("still", ())],
        "left_to_do": [
            "Change every secret that these backups hold: nothing takes back a copy that was read.",
            "Delete the old copies when their locks end; until then they stay open to the key.",
            "Remove the old versions that targets hide too, or wait for their day: deleting only hides.",
            "Destroy the key where it lies, and look at who had it.",
        ],
    }
