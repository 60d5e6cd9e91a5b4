"""What watches: made of settings alone, without a key, a source or a stage, so that any host can."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from strongroom.config import Settings
from strongroom.config.env import find_config
from strongroom.operations.drift import mass_change
from strongroom.operations.evidence.ledger_check import compare_with_heads
from strongroom.operations.facts.gather import on_record
from strongroom.operations.facts.records import AlertLimits, InstallationFacts
from strongroom.operations.facts.watched import WatchedDrill, WatchedInstallation, WatchedRoom
from strongroom.operations.health.calendar import late_entries
from strongroom.operations.services import Services
from strongroom.state import schema_check
from strongroom.state.engine import StateDatabase
from strongroom.state.records import RunKind
from strongroom.state.store import RunStore
from strongroom.wiring import adapters, signers
from strongroom.wiring.calendar import calendar
from strongroom.wiring.channels import BY_MAIL
from strongroom.wiring.checks import CHECKS
from strongroom.wiring.database import database_url
from strongroom.wiring.policies import configured
from strongroom.wiring.read_only import looking_services


def watched(settings: Settings) -> WatchedInstallation:
    """Return what is watched; nothing is connected yet, and nothing is made."""
    host = socket.gethostname()
    targets = {name: adapters.target(name, settings, prepare=False) for name in settings.targets}
    seen = WatchedInstallation(
        host=host,
        store=cache(lambda: _store(settings)),
        targets=targets,
        trusted=signers.fingerprints(settings, settings.state_dir / "keys" / "roles"),
        state_dir=settings.state_dir,
        recovery_objective=settings.recovery.objective,
        policies=tuple(configured(settings, targets).values()),
        drills=tuple(_drills(settings)),
        key_health=settings.calendar.key_proof.schedule,
        checks=tuple(CHECKS),
        access_logs={name: float(log.silent) for name, log in settings.access_logs.items()},
        channels=frozenset({BY_MAIL, *settings.channels}),
        calendar=calendar(settings),
        configured_at=_set_up_at(settings),
        key_zone=settings.calendar.time_zone,
        rooms=tuple(_rooms(settings, host)),
        certificates={
            f"{name} on {host}": path for name, path in _certificates(settings) if path is not None
        },
    )
    return replace(
        seen,
        hold_ledger=lambda: compare_with_heads(looking_services(settings), seen.in_use),
        late_entries=lambda now: late_entries(looking_services(settings), seen.calendar, now=now),
    )


def facts_on_record(settings: Settings, services: Services, *, now: float) -> InstallationFacts:
    """Return what the record has; no target is asked. Raises StateError if it cannot be read."""
    known = replace(watched(settings), trusted=services.signer_fingerprints)
    return on_record(known, limits(settings), services.store, now=now)


def _set_up_at(settings: Settings) -> float | None:
    """Return when this host was configured: by a file, or else with its first key.

    A host with neither only watches others: what it misses was always due.
    """
    if (file := find_config(os.environ)) is not None:
        return _written_at(file)
    keys = (settings.state_dir / "keys").rglob("*")
    return min(filter(None, map(_written_at, keys)), default=None)


def _written_at(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:  # it went away after it was read: the record says when the installation began
        return None


def _store(settings: Settings) -> RunStore:
    """Return the state; make one where there is none, for what was told, and migrate none.

    Workers of an older version would refuse a database that a newer look had migrated.
    """
    url = database_url(settings)
    database = StateDatabase(url)
    if database.revision() is not None:
        schema_check.require(database)
    return RunStore(url)


def limits(settings: Settings, *, threshold_age: float | None = None) -> AlertLimits:
    """Return from when on something is told."""
    found = settings.alerts
    return AlertLimits(
        threshold_age=found.threshold_age if threshold_age is None else threshold_age,
        key_age=found.key_age,
        notice=found.notice,
        free_percent=found.free_percent,
        mass_change=mass_change.MassChangeLimits(mass_change_percent=settings.drift.mass_change_percent),
    )


def _drills(settings: Settings) -> Iterator[WatchedDrill]:
    for entry in calendar(settings):
        if entry.kind is RunKind.DRILL and not entry.needs:
            yield WatchedDrill(
                drill=entry.options["drill"],
                policy=entry.policy,
                schedule=entry.schedule,
                time_zone=entry.time_zone,
            )


def _rooms(settings: Settings, host: str) -> Iterator[WatchedRoom]:
    yield WatchedRoom(name=f"the state directory on {host}", path=settings.state_dir)
    least = settings.limits.container_bytes
    yield WatchedRoom(name=f"the stage on {host}", path=settings.stage_path, least=least)
    for name, target in settings.targets.items():
        if target.folder is not None:
            yield WatchedRoom(name=f"target '{name}' on {host}", path=target.folder, target=name)


def _certificates(settings: Settings) -> Iterator[tuple[str, Path | None]]:
    yield "broker.ca_file", settings.broker.ca_file
    yield "mail.ca_file", settings.mail.ca_file
    for section in ("vaults", "sources", "targets", "channels"):
        for name, found in getattr(settings, section).items():
            yield f"{section}.{name}.ca_file", getattr(found, "ca_file", None)
