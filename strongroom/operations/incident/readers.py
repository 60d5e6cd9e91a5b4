"""readers: who opened what is affected, or tried to, since when the incident goes back.

Three records know: what commands of this host noted, what the ledger has of them and of the runs that open
backups, and the access logs of the servers that the targets are on. The last ones alone know of a stranger
who has a key and copies the files. Those that are configured are read; for the others it says where to look.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from strongroom.errors import StrongroomError
from strongroom.operations.access.activities import noted
from strongroom.operations.access.look import STRANGE
from strongroom.operations.archive.incidents import Affected, BackupOpener, Incident, StepOutcome, Suspicion
from strongroom.operations.evidence import access_log
from strongroom.operations.incident.open_case import affected_by, require_affected
from strongroom.operations.runs.job import job_of
from strongroom.operations.services import Services
from strongroom.state.records import Event, RunKind
from strongroom.targets import Target
from strongroom.targets.reader_log import reader_log
from strongroom.timestamps import rfc3339
from strongroom.words import plural

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
    meant = {affected_backup.backup for affected_backup in asked.affected}
    for event in services.store.happened(*STRANGE, since=_since(asked)):
        said = event.detail
        who = f"{said.get('who')} from {said.get('origin') or 'nowhere known'}, by log '{said.get('log')}'"
        named = set(map(str, said.get("backups") or ()))
        at = noted(event) if not isinstance(said.get("last"), int | float) else float(said["last"])
        for backup in sorted(named & meant) if named and meant else [""]:
            yield who, f"{said.get('how')}: {said.get('why')}", at, backup


def _accesses(services: Services, asked: _ReaderQuestion) -> Iterator[tuple[str, str, float, str]]:
    """Yield who opened what by commands. An attempt of which nothing else is known counts: it was killed."""
    attempted: dict[tuple[str, str], list[Event]] = {}
    meant = {affected_backup.backup for affected_backup in asked.affected} | {
        affected_backup.file for affected_backup in asked.affected
    } - {""}
    for event in services.store.happened(*_ACCESSES, since=_since(asked)):
        said = str(event.detail.get("backup", ""))
        if not said or not asked.affected:  # of secrets nobody noted in which backup they were read
            backup = said
        elif not (backup := next((word for word in said.split() if word in meant), "")):
            continue
        who = _who(event.detail)
        if event.kind == access_log.ATTEMPTED:
            attempted.setdefault((who, backup), []).append(event)
            continue
        if event.kind in (access_log.OPENED, access_log.FAILED) and attempted.get((who, backup)):
            attempted[who, backup].pop(0)
        yield who, _DID[event.kind], noted(event), backup
    for (who, backup), events in attempted.items():
        yield from ((who, "began to open", noted(event), backup) for event in events)


def _who(detail: Any) -> str:
    by, host = str(detail.get("by", "somebody")), str(detail.get("host", "an unknown host"))
    command = str(detail.get("command", ""))
    return f"{by}@{host}" + (f", {command}" if command else "")


def _runs(services: Services, asked: _ReaderQuestion) -> Iterator[tuple[str, str, float, str]]:
    """Yield the runs that opened what is affected, each with the hosts of its workers."""
    meant = {affected_backup.backup for affected_backup in asked.affected}
    policies = dict.fromkeys(affected_backup.policy for affected_backup in asked.affected)
    for policy in policies:
        for kind in (kind for kind in RunKind if job_of(kind).opens):
            for run in services.store.runs_of(policy, kind, limit=MOST):
                if run.created_at < _since(asked):
                    break
                named = run.facts.get("backups") or [run.spec.backup]
                hosts = {(row.owner or "").partition(":")[0] for row in services.store.rows(run.id)} - {""}
                for backup in meant.intersection(named):
                    yield (
                        f"workers on {', '.join(sorted(hosts))}",
                        f"{kind.value} run",
                        run.created_at,
                        backup,
                    )


def _since(asked: _ReaderQuestion) -> float:
    return datetime.fromisoformat(asked.since).timestamp()


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
        if where := reader_log(target):
            return f"its server wrote down in {where} who read {target.address}"
        if where is not None:
            return f"no access log of {target.address} is kept; other logs of its provider may know"
    return next(log for start, log in _LOGS if target.address.startswith(start)).format(target.address)
