"""The emergency backup: on a medium that lies in a safe, and is here once a month.

Nothing is captured while the medium is away: a run that waited would keep secrets on the stage
for weeks, and bring old ones. So the slot waits. It is opened when the medium is there, with
what the source holds then; until then people are reminded, and overdue is an alarm.
"""

from __future__ import annotations

import hashlib
import time
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice, product

import msgspec
from msgspec import Struct

from strongroom.container.errors import VerificationFailed
from strongroom.container.manifest import Manifest
from strongroom.container.stanza import Stanza
from strongroom.errors import StrongroomError
from strongroom.keys import allof
from strongroom.operations.archive.envelopes import envelopes_prefix, wrapping_keys
from strongroom.operations.archive.open import carried_record
from strongroom.operations.emergency.contents import completed
from strongroom.operations.emergency.kit import KitKey, Way, configured
from strongroom.operations.layout import EMERGENCY, container_name, manifest_name
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.schedule import last_slot, next_slot
from strongroom.targets import Target

DAY = 86_400.0
GRACE = 7 * DAY
"""How long after its slot an emergency backup is waited for before it is overdue."""

NOTICE = 3 * DAY
"""How long before its slot people are reminded to fetch the medium."""

SUMS = "SHA256SUMS"
RUNBOOK = "RUNBOOK.md"
MOST = 4
"""Ways through the spares of one all-of that are written out: more would hide the first."""


class MediumState(StrEnum):
    """How an emergency policy stands."""

    DONE = "done"
    COMING = "coming"
    """It is due within :data:`NOTICE`: whoever fetches the medium is reminded."""
    WAITING = "waiting"
    OVERDUE = "overdue"


class MediumStatus(Struct, frozen=True, kw_only=True):
    """An emergency policy: when its newest slot was due, or is if it is coming (epoch seconds; ``None``: no
    slot yet), its newest backup (empty: none), and the targets that do not answer, with why."""

    policy: str
    state: MediumState
    due_at: float | None
    backup: str
    absent: Mapping[str, str]

    @property
    def can_run(self) -> bool:
        """Whether a backup is due and every medium is there."""
        return self.state in (MediumState.WAITING, MediumState.OVERDUE) and not self.absent


def medium_status(
    services: Services,
    *,
    policy: str,
    schedule: str | None,
    time_zone: str = "UTC",
    now: float | None = None,
    grace: float = GRACE,
) -> MediumStatus:
    """Say how an emergency policy stands. ``schedule`` is a cron expression."""
    moment = time.time() if now is None else now
    due = last_slot(schedule, moment, time_zone) if schedule else None
    newest = next(iter(services.store.backups(policy=policy, limit=1)), None)
    made = datetime.fromisoformat(newest.created_at).timestamp() if newest else None
    state = _state(due, made, moment, grace)
    coming = next_slot(schedule, moment, time_zone) if schedule else None
    if state is MediumState.DONE and coming is not None and coming - moment <= NOTICE:
        state, due = MediumState.COMING, coming
    return MediumStatus(
        policy=policy,
        state=state,
        due_at=due,
        backup=newest.backup if newest else "",
        absent=absent(services, policy),
    )


def _state(due: float | None, made: float | None, now: float, grace: float) -> MediumState:
    if due is None or (made is not None and made >= due):
        return MediumState.DONE
    return MediumState.OVERDUE if now - due > grace else MediumState.WAITING


def absent(services: Services, policy: str) -> dict[str, str]:
    """Return the policy's targets that do not answer, and what each said."""
    away: dict[str, str] = {}
    for pin in services.pinned(policy).spec.targets:
        try:
            next(iter(services.target(pin.name).list("manifests/")), None)
        except StrongroomError as error:
            away[pin.name] = error.message
    return away


def remind(services: Services, found: MediumStatus) -> bool:
    """Leave an event that a medium is waited for, or soon will be, once a day; tell whether it did.

    Kinds are ``emergency.coming``, ``emergency.waiting`` and, as an alarm, ``emergency.overdue``.
    """
    name = f"reminder emergency {found.policy}"
    if found.state is MediumState.DONE or services.store.heartbeats().get(name, DAY) < DAY:
        return False
    services.store.event(
        f"emergency.{found.state.value}",
        policy=found.policy,
        absent=sorted(found.absent),
        due_at=found.due_at,
    )
    services.store.heartbeat(name)
    return True


def remind_all(services: Services, scheduled: Iterable[Scheduled]) -> list[str]:
    """Remind of every offline policy that waits for its medium or soon will; return their names."""
    found = [
        medium_status(services, policy=entry.policy, schedule=entry.schedule, time_zone=entry.time_zone)
        for entry in scheduled
        if entry.offline and not entry.needs
    ]
    return [medium.policy for medium in found if remind(services, medium)]


# -- beside the backup ---------------------------------------------------------


def furnish(target: Target, manifest: Manifest, files: Mapping[str, bytes]) -> list[str]:
    """Put what opens and explains a backup beside it on its medium; return the names.

    Under ``emergency/<backup>/``: the files given, a list of contents, and the SHA-256 of all of
    it and of the backup's own objects, as ``sha256sum --check`` reads it from the medium's top.

    Raises:
        VerificationFailed: the medium gave other bytes back.
    """
    folder = f"{EMERGENCY}{manifest.backup_id}/"
    made = {**files, "CONTENTS.json": contents(manifest)}
    if RUNBOOK in made:
        ways = ways_into(target, manifest, files)
        made[RUNBOOK] = completed(made[RUNBOOK], manifest.backup_id, ways)
    placed = {f"{folder}{name}": content for name, content in sorted(made.items())}
    sums = "".join(f"{digest}  {name}\n" for name, digest in _sums(target, manifest, placed))
    for name, content in {**placed, f"{folder}{SUMS}": sums.encode()}.items():
        _place(target, name, content)
    return [*placed, f"{folder}{SUMS}"]


def ways_into(target: Target, manifest: Manifest, files: Mapping[str, bytes]) -> list[Way]:
    """Return what opens a backup, as its own envelope says: each with the keys that are needed together.

    Args:
        files: what lies beside it; ``strongroom.toml`` says where the HSM's keys are.
    """
    tables = tomllib.loads(files.get("strongroom.toml", b"").decode())
    found: dict[Way, None] = {}
    for entry in wrapping_keys(manifest).values():
        for stanza in carried_record(target, manifest.backup_id, entry).stanzas:
            legs = allof.inner(stanza) if stanza.type == allof.TYPE else ((stanza,),)
            ways = islice(product(*legs), MOST)
            found |= dict.fromkeys(tuple(_key(way_in, tables) for way_in in way) for way in ways)
    return list(found)


def _key(stanza: Stanza, tables: Mapping[str, Mapping[str, Mapping[str, str]]]) -> KitKey:
    name = stanza.label or str(stanza.args.get("key", stanza.kind))[:16]
    return configured(name, stanza.kind.partition("-")[0], tables)


def contents(manifest: Manifest) -> bytes:
    """Return what a medium holds, in plain JSON: counts and dates, no name of a secret."""
    listed = {
        "backup": manifest.backup_id,
        "policy": manifest.policy,
        "source": manifest.source,
        "created_at": manifest.created_at,
        "secrets": manifest.counts.secrets,
        "versions": manifest.counts.versions,
        "bytes": manifest.counts.size,
        "opens_for": [recipient.describes for recipient in manifest.recipients],
        "withstands_quantum_computers": all(recipient.post_quantum for recipient in manifest.recipients),
        "not_contained": list(manifest.not_contained),
        "containers": [container_name(manifest.backup_id, entry.sha256) for entry in manifest.containers],
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return msgspec.json.format(msgspec.json.encode(listed), indent=2) + b"\n"


def _sums(target: Target, manifest: Manifest, placed: Mapping[str, bytes]) -> Iterable[tuple[str, str]]:
    own = [container_name(manifest.backup_id, entry.sha256) for entry in manifest.containers]
    own.append(manifest_name(manifest.backup_id))
    for key in wrapping_keys(manifest):
        own += [info.name for info in target.list(envelopes_prefix(key))]
    for name in own:
        yield name, _digest(target, name)
    for name, content in placed.items():
        yield name, hashlib.sha256(content).hexdigest()


def _digest(target: Target, name: str) -> str:
    digest = hashlib.sha256()
    for block in target.read(name):
        digest.update(block)
    return digest.hexdigest()


def _place(target: Target, name: str, content: bytes) -> None:
    """Put a file; one of an earlier attempt, whose dates are older, is replaced."""
    size, sha256 = len(content), hashlib.sha256(content).digest()
    if not target.put(name, [content], size=size, sha256=sha256) and _digest(target, name) != sha256.hex():
        target.delete(name)
        target.put(name, [content], size=size, sha256=sha256)
    if _digest(target, name) != sha256.hex():
        raise VerificationFailed(f"'{target.name}' did not give {name} back as it was written")
