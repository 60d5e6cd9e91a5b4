"""Opening an incident: what somebody else may read, the most exposed first."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.container import cobblestone
from strongroom.container.cobblestone import KEY_SIZE, value_digester
from strongroom.container.errors import Malformed
from strongroom.container.wrapping import FileKeyWrap, WrappingKey, WrappingKeyRecord, unlock
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys import Identity
from strongroom.keys.allof import recipient_key
from strongroom.model import COMMAND, ListedSecret, Role, Secret
from strongroom.operations.access.look import STRANGE, noted
from strongroom.operations.archive.cases import (
    INCIDENT,
    Affected,
    BackupOpener,
    Incident,
    IncidentStep,
    Opening,
    StepOutcome,
    Suspicion,
    read_incidents,
    spread_case,
)
from strongroom.operations.archive.live_comparison import read_each
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.services import Pinned, Services
from strongroom.operations.engine.statements import fit
from strongroom.operations.errors import KeyStillSeals, NothingOpens, NothingSelected
from strongroom.operations.evidence import access_log
from strongroom.operations.keys.usage import Opens, keys_of, look_all, opens_with, own_records, pinned_key
from strongroom.operations.procedures.incident import RecordedIncident, enter
from strongroom.state.records import CatalogEntry, Event, RunKind, StepKind
from strongroom.targets import Target
from strongroom.times import rfc3339, unique
from strongroom.words import plural

# -- The secrets whose values are known to others: sealed, since an incident lies on the targets ---
#
# With the names go digests of the values that the sources had when the incident was opened. A secret that was
# written after its last backup leaks like any other, and by that backup alone it would pass for changed.


_CONTEXT = b"strongroom/v1/incident-names"
_NOT_AS_ASKED = "The sealed names of the incident are not what the format asks for."


class _SealedNames(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    record: WrappingKeyRecord
    file_id: str
    key: FileKeyWrap
    content: str


class Named(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person named. ``values`` has, by source and name, a digest (hex) of the value at that
    time, under a ``key`` (hex) of its own; ``unread`` are the sources that did not answer then."""

    names: tuple[str, ...] = ()
    key: str = ""
    values: Mapping[str, Mapping[str, str]] = {}
    unread: tuple[str, ...] = ()

    def was(self, source: str, name: str, value: bytes) -> bool:
        """Tell whether a secret had this value when the incident was opened."""
        then = self.values.get(source, {}).get(name)
        return then is not None and then == _digest(bytes.fromhex(self.key), source, name, value)


def _digest(key: bytes, source: str, name: str, value: bytes) -> str:
    return value_digester(key, source)(name, 0, value).hex()


def _named(services: Services, names: Sequence[str]) -> Named:
    """Return names with what each source has of them now."""
    key, values, unread = os.urandom(KEY_SIZE), dict[str, dict[str, str]](), list[str]()
    for source in services.sources:
        try:
            place = services.source(source)
            values[source] = {
                secret.name: _digest(key, place.name, secret.name, secret.current.value.reveal())
                for secret in read_each(place, [ListedSecret(name, 0) for name in names])
                if isinstance(secret, Secret) and secret.current.value is not None
            }
        except StrongroomError:
            unread.append(source)
    return Named(names=tuple(names), key=key.hex(), values=values, unread=tuple(unread))


def seal(services: Services, names: Sequence[str], *, without: Sequence[str] = ()) -> str:
    """Seal names to the recipients of all policies, except keys that are suspected themselves.

    Raises:
        ConfigError: no policy has another recipient.
    """
    recipients = {
        recipient_key(recipient): recipient
        for policy in services.retention()
        for recipient in services.pinned(policy).recipients
    }
    left = [recipient for key, recipient in recipients.items() if key not in without]
    if not left:
        raise ConfigError(
            "no policy has a recipient to which the names could be sealed",
            hint="Nothing was recorded. Names go to the targets, so they are sealed: configure a key first.",
        )
    wrapping = WrappingKey.create(left, may_lack=True)
    key, file_id = os.urandom(KEY_SIZE), os.urandom(32)
    sealed = _SealedNames(
        record=wrapping.record,
        file_id=file_id.hex(),
        key=wrapping.wrap_file_key(key, file_id),
        content=cobblestone.seal(
            key, _ENCODER.encode(_named(services, sorted(names))), context=_CONTEXT
        ).hex(),
    )
    return msgspec.json.encode(sealed).decode()


def unseal(services: Services, suspicion: Suspicion) -> Named:
    """Return the secrets that a person named.

    Raises:
        NothingOpens: this process has no key.
        WrongKey: none that it has opens them.
    """
    return unsealed(suspicion, services.identities() if suspicion.names else ())


def unsealed(suspicion: Suspicion, identities: Sequence[Identity]) -> Named:
    """Return the secrets that a person named, by the keys that are at hand. Raises as :func:`unseal`."""
    if not suspicion.names:
        return Named()
    if not identities:
        raise NothingOpens("the names of the secrets of the incident are sealed, and no key is given")
    try:
        sealed = msgspec.json.decode(suspicion.names, type=_SealedNames)
        file_id, content = bytes.fromhex(sealed.file_id), bytes.fromhex(sealed.content)
    except ValueError:
        raise Malformed(_NOT_AS_ASKED) from None
    sealed.record.check()
    key = unlock(sealed.record, identities).unwrap_file_key(sealed.key, file_id)
    try:
        return msgspec.json.decode(cobblestone.open_(key, content, context=_CONTEXT), type=Named)
    except msgspec.MsgspecError:  # no cause: a validation message can quote what it read
        raise Malformed(_NOT_AS_ASKED) from None


_ENCODER = msgspec.json.Encoder(order="deterministic")


# -- Opening an incident: what somebody else may read, the most exposed first -------------------
#
# First comes what a key opens without any other leg or rotation in between, what lies on the most targets,
# what nothing locks, what is newest.


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
    return frozenset(
        entry.backup
        for entry in entries
        if host and entry.created_at >= since
        for row in services.store.rows(entry.backup, StepKind.CAPTURE)
        if (row.owner or "").partition(":")[0] == host
    )


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
) -> RecordedIncident:
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
        return RecordedIncident(incident=before, missed=spread_case(services, INCIDENT, before.id))
    if before is not None:
        whole, due_at = before.suspicion, before.opening.due_at
    else:
        sealed = seal(services, secrets, without=suspicion.keys) if secrets else ""
        whole, due_at = replace(suspicion, secrets=len(secrets), names=sealed), rfc3339(now + due)
    case = before.id if before else unique(now)
    opening = Opening(
        suspicion=whole,
        since=since or exposed.oldest,
        due_at=due_at,
        affected=exposed.affected,
        unread=exposed.unread,
        gone=exposed.gone,
    )
    services.signers(Role.CONTROL)  # a host that may not sign the entry puts nothing on record, either
    for key in whole.keys or ("",):
        detail: dict[str, Any] = {"key": key, "version": whole.version, "backups": len(opening.affected)}
        services.store.event("incident.opened", incident=case, by=by, reason=fit(reason), **detail)
    return enter(services, case, IncidentStep.OPEN, "done", said=reason, by=by, opening=opening)


def _scope(found: Opening | AffectedBackups) -> set[tuple[str, str, bool]]:
    return {
        (affected_backup.backup, affected_backup.file, affected_backup.looked_at)
        for affected_backup in found.affected
    }


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
        return set(unseal(services, known).names) == set(secrets)
    except StrongroomError:  # without a key nobody can tell
        return False


def _refuse_sealing(services: Services, suspicion: Suspicion, affected: Iterable[Affected]) -> None:
    for policy in dict.fromkeys(backup.policy for backup in affected if backup.policy != COMMAND):
        with suppress(ConfigError):  # a policy that is gone seals nothing more
            pinned = services.pinned(policy)
            for key in suspicion.keys:
                _refuse_sealing_for(pinned, policy, key, suspicion.version)


_CHECK = (
    "See 'strongroom keys list' for the keys, and 'strongroom backups list' for the backups. A key that "
    "stands under [index] alone opens names and no backup: put another one there, and delete 'index/' on "
    "every target."
)


def require_affected(exposed: AffectedBackups, suspicion: Suspicion) -> None:
    """Return if a backup is affected; raise NothingSelected if none is."""
    if exposed.affected:
        return
    hint = _CHECK
    if suspicion.host and not suspicion.keys:
        hint = (
            f"No run on record here captured anything on host '{suspicion.host}'. Name each key that was on "
            "it with --key, and the secrets that it held with --secret."
        )
    gone = ", ".join(exposed.gone)
    here = f" that is here; said to be gone, and not looked at: {gone}" if gone else ""
    raise NothingSelected(f"No backup is affected{here}.", hint=hint)


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


# -- readers: who opened what is affected, or tried to, since when the incident goes back -------
#
# Three records know: what commands of this host noted, what the ledger has of them and of the runs that
# open backups, and the access logs of the servers that the targets are on. The last ones alone know of a
# stranger who has a key and copies the files. Those that are configured are read; for the others it says
# where to look.


LOOK = "access"
"""The check that reads the access logs."""
MOST = 500
"""Readers in an entry, the latest first; all are in the ledger."""
_NAMED = 50
"""Backups that are named of one reader."""
_ACCESSES = (
    access_log.ATTEMPTED,
    access_log.OPENED,
    access_log.FAILED,
    access_log.RESTORED,
    access_log.SHOWN,
    access_log.UNREADABLE,
)
_DID = {
    access_log.OPENED: "opened",
    access_log.FAILED: "tried, and no key fitted",
    access_log.RESTORED: "restored",
    access_log.SHOWN: "had a value shown",
    access_log.UNREADABLE: "left an unreadable line in the access log",
}
_LOGS = (
    ("s3:", "look at the access log and the CloudTrail data events of {0} (aws s3api get-bucket-logging)"),
    ("vault:", "look at the audit device of {0} (vault audit list -detailed)"),
    ("http", "look at the diagnostic logs of {0} (az monitor diagnostic-settings list)"),
    ("", "ask who may read {0}: it keeps no log, unless its host's auditd watches it"),
)
"""Which log knows of a target's readers, by the beginning of its address, if the target does not tell."""


class _ReaderQuestion(Struct, frozen=True, kw_only=True):
    """Of what readers are looked for: since when (RFC 3339), and how another host is asked the same."""

    affected: tuple[Affected, ...]
    since: str
    again: str

    @property
    def began(self) -> float:
        return datetime.fromisoformat(self.since).timestamp()

    @property
    def backups(self) -> frozenset[str]:
        return frozenset(affected_backup.backup for affected_backup in self.affected)


def find_readers(services: Services, incident: Incident) -> StepOutcome:
    """Return who opened affected backups, by all that is on record at this host.

    Raises:
        StateError: what commands of this host noted could not be taken into the record.
    """
    return _found(
        services,
        _ReaderQuestion(
            affected=incident.affected,
            since=incident.opening.since,
            again=f"strongroom incident readers {incident.id}",
        ),
    )


def readers_of(services: Services, suspicion: Suspicion, *, again: str) -> StepOutcome:
    """Return who opened what somebody else may be able to read. No incident is opened: nothing is put into
    quarantine, so that it can be restored first.

    Raises:
        NothingSelected: nothing is affected.
        StateError: as :func:`find_readers`.
    """
    exposed = affected_by(services, suspicion)
    require_affected(exposed, suspicion)
    found = _found(services, _ReaderQuestion(affected=exposed.affected, since=exposed.oldest, again=again))
    return replace(found, missing=exposed.unread)


def _found(services: Services, asked: _ReaderQuestion) -> StepOutcome:
    access_log.take(services.state_dir, services.store)
    unread = list(_look_at_logs(services))
    found: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for who, did, at, backup in (
        *_accesses(services, asked),
        *_runs(services, asked),
        *_strangers(services, asked),
    ):
        found.setdefault((who, did), []).append((at, backup))
    readers = sorted((_reader(*key, times) for key, times in found.items()), key=lambda opener: opener.last)
    return StepOutcome(
        counts={"readers": len(readers), "times": sum(opener.times for opener in readers)},
        readers=tuple(reversed(readers))[:MOST],
        left=(*unread, *_elsewhere(services, asked)),
    )


def _reader(who: str, did: str, times: list[tuple[float, str]]) -> BackupOpener:
    moments = [at for at, _ in times]
    backups = sorted({backup for _, backup in times if backup})
    return BackupOpener(
        who=who,
        did=did,
        times=len(times),
        first=rfc3339(min(moments)),
        last=rfc3339(max(moments)),
        backups=tuple(backups[:_NAMED]),
    )


def _look_at_logs(services: Services) -> Iterator[str]:
    """Read what is new in the configured access logs; yield why one could not be read."""
    if LOOK not in services.checks:
        return
    try:
        services.checks[LOOK](services)
    except StrongroomError as error:
        yield f"An access log could not be read: {error.message}. {error.hint or ''}".strip()


def _strangers(services: Services, asked: _ReaderQuestion) -> Iterator[tuple[str, str, float, str]]:
    """Yield who came to what is affected by the access logs of servers, and by no record of ours."""
    for event in services.store.happened(*STRANGE, since=asked.began):
        said = event.detail
        who = f"{said.get('who')} from {said.get('origin') or 'nowhere known'}, by log '{said.get('log')}'"
        named = set(map(str, said.get("backups") or ()))
        at = noted(event) if not isinstance(said.get("last"), int | float) else float(said["last"])
        for backup in sorted(named & asked.backups) if named and asked.backups else [""]:
            yield who, f"{said.get('how')}: {said.get('why')}", at, backup


def _accesses(services: Services, asked: _ReaderQuestion) -> Iterator[tuple[str, str, float, str]]:
    """Yield who opened what by commands. An attempt of which nothing else is known counts: it was killed."""
    attempted: dict[tuple[str, str], list[Event]] = {}
    meant = asked.backups | {affected_backup.file for affected_backup in asked.affected} - {""}
    for event in services.store.happened(*_ACCESSES, since=asked.began):
        said = str(event.detail.get("backup", ""))
        if not said or not asked.affected:  # of secrets nobody noted in which backup they were read
            backup = said
        elif not (backup := next((word for word in said.split() if word in meant), "")):
            continue
        detail = event.detail
        who = f"{detail.get('by', 'somebody')}@{detail.get('host', 'an unknown host')}"
        who += f", {command}" if (command := str(detail.get("command", ""))) else ""
        if event.kind == access_log.ATTEMPTED:
            attempted.setdefault((who, backup), []).append(event)
            continue
        if event.kind in (access_log.OPENED, access_log.FAILED) and attempted.get((who, backup)):
            attempted[who, backup].pop(0)
        yield who, _DID[event.kind], noted(event), backup
    for (who, backup), events in attempted.items():
        yield from ((who, "began to open", noted(event), backup) for event in events)


def _runs(services: Services, asked: _ReaderQuestion) -> Iterator[tuple[str, str, float, str]]:
    """Yield the runs that opened what is affected, each with the hosts of its workers."""
    policies = dict.fromkeys(affected_backup.policy for affected_backup in asked.affected)
    for policy in policies:
        for kind in (kind for kind in RunKind if job_of(kind).opens):
            for run in services.store.runs_of(policy, kind, limit=MOST):
                if run.created_at < asked.began:
                    break
                named = run.facts.get("backups") or [run.spec.backup]
                hosts = {(row.owner or "").partition(":")[0] for row in services.store.rows(run.id)} - {""}
                workers = f"workers on {', '.join(sorted(hosts))}"
                for backup in asked.backups.intersection(named):
                    yield workers, f"{kind.value} run", run.created_at, backup


def _elsewhere(services: Services, asked: _ReaderQuestion) -> Iterator[str]:
    """Yield where else to look: at each other host, and in the log of each server."""
    yield (
        f"On each other host with a record of its own, repeat '{asked.again}': it adds what was opened there."
    )
    yield from (f"Target '{name}': {_log_of(target)}." for name, target in services.targets.items())
    unread = [backup for backup in asked.affected if backup.file]
    if unread:
        yield f"Ask who could copy {plural(len(unread), 'file')} that commands wrote: no program noted it."


def _log_of(target: Target) -> str:
    """Say where a target's readers are written down: by its server if that tells, else by its kind."""
    with suppress(StrongroomError):  # a credential that may not ask
        if where := target.reader_log():
            return f"its server wrote down in {where} who read {target.address}"
        if where is not None:
            return f"no access log of {target.address} is kept; other logs of its provider may know"
    return next(log for start, log in _LOGS if target.address.startswith(start)).format(target.address)
