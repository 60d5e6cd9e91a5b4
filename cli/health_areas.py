"""The areas of an installation, looked at one after the other: what stops one stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cli import health_cluster
from cli.runs import cluster_runs
from strongroom.config import (
    DirectoryTargetSettings,
    HpkeKey,
    KeyFileKey,
    LocalSource,
    PassphraseKey,
    Pkcs11Key,
    Settings,
)
from strongroom.config.remarks import remarks
from strongroom.errors import StateError, StrongroomError
from strongroom.operations import health_catalog as catalog
from strongroom.operations import health_machine as machine
from strongroom.operations import health_runs as record
from strongroom.operations.health import Finding, attempted, good, remark, unknown, wrong
from strongroom.operations.health_backups import kept, newest_of
from strongroom.operations.health_catalog import Metrics
from strongroom.operations.health_keys import history, judge_ages, labels_of
from strongroom.operations.health_policies import Policy
from strongroom.operations.services import Services
from strongroom.sources.local import LocalStore
from strongroom.state.engine import Database
from strongroom.state.records import CatalogEntry, Run
from strongroom.wiring.looking import looking_services, policies_now
from strongroom.wiring.policies import scheduled
from strongroom.wiring.services import database_url

CONFIGURATION = "configuration"
Look = Callable[[], Iterable[Finding]]


class Known(NamedTuple):
    """What the record gives, read once."""

    services: Services
    policies: dict[str, Policy]
    runs: list[Run]
    kept: list[CatalogEntry]


def look(found: Settings, *, days: int, now: float) -> tuple[list[Finding], Metrics | None]:
    """Look at every area; the metrics are missing where the record cannot be read."""
    findings = [*_configuration(found)]
    findings += [one for area, work in _machine(found) for one in attempted(area, work, wrong)]
    try:
        known = _known(found)
    except StrongroomError as error:
        area = machine.STATE if isinstance(error, StateError) else machine.FILES
        return [*findings, wrong(area, error)], None
    findings += [one for area, work in _record(found, known, now) for one in attempted(area, work, unknown)]
    try:
        metrics = _metrics(known, days, now)
    except StrongroomError as error:
        return [*findings, unknown(catalog.METRICS, error)], None
    return [*findings, *catalog.of_metrics(metrics)], metrics


def _configuration(found: Settings) -> Iterator[Finding]:
    """It is valid, or there would be no settings to look by."""
    said = list(remarks(found))
    yield from (remark(CONFIGURATION, one) for one in said)
    if not said:
        yield good(CONFIGURATION, "valid")


def _known(found: Settings) -> Known:
    services = looking_services(found)
    policies = policies_now(found, services)
    return Known(services, policies, record.begun(services), kept(services))


# -- what needs no record ----------------------------------------------------------


def _machine(found: Settings) -> Iterator[tuple[str, Look]]:
    for name, source in found.sources.items():
        if isinstance(source, LocalSource):
            yield (
                machine.STORE,
                partial(machine.local_store, LocalStore(source.path or found.state_dir, name=name)),
            )
    yield health_cluster.BROKER, partial(health_cluster.cluster, found)
    yield machine.DISK, partial(machine.disks, list(_places(found)))
    yield machine.FILES, partial(machine.modes, found.state_dir, list(_secret_files(found)))


def _places(found: Settings) -> Iterator[machine.Place]:
    limits = found.limits
    yield machine.Place(name="state", path=found.state_dir)
    yield machine.Place(
        name="stage", path=found.stage_path, least=limits.container_bytes, enough=limits.stage_bytes
    )
    away = {name for policy in found.policies.values() if policy.offline for name in policy.targets}
    for name, target in found.targets.items():
        if isinstance(target, DirectoryTargetSettings) and (name not in away or target.path.is_dir()):
            yield machine.Place(name=name, path=target.path)


def _secret_files(found: Settings) -> Iterator[Path]:
    for key in found.keys.values():
        match key:
            case (
                PassphraseKey(file=Path() as file)
                | KeyFileKey(file=file)
                | HpkeKey(identity_file=Path() as file)
            ):
                yield file
            case Pkcs11Key(pin_file=Path() as file):
                yield file
    files = (found.broker.password_file, found.state.password_file, found.flower.password_file)
    yield from (file for file in files if file is not None)


# -- what the record tells ---------------------------------------------------------


def _record(found: Settings, known: Known, now: float) -> Iterator[tuple[str, Look]]:
    services, policies, runs, entries = known
    database = Database(database_url(found))
    newest = {one.policy: one for one in newest_of(entries)}
    threshold = found.alerts.threshold_age
    yield machine.STATE, partial(machine.database, database, services.store)
    yield machine.LEDGER, partial(machine.chain, services.store)
    yield machine.CLOCK, partial(machine.clock, database)
    yield record.RUNS, partial(record.runs, services, runs, cluster=cluster_runs(found), now=now)
    yield record.SLOTS, partial(record.freshness, services, policies, threshold=threshold, now=now)
    for entry in scheduled(found):
        if entry.objective_seconds is not None:
            yield record.SLOTS, partial(record.drill_slot, services, entry, now=now)
    yield catalog.BACKUPS, partial(catalog.backups, services, newest, policies, runs, now=now)
    yield catalog.REPLICAS, partial(catalog.replicas, services, entries, policies)
    yield record.DRILLS, partial(record.drills, runs, now=now)
    yield record.KEYS, partial(_keys, known)
    yield record.EMERGENCY, partial(record.emergency, services, policies, now=now)


def _keys(known: Known) -> Iterator[Finding]:
    yield from record.keys(known.services)
    yield from judge_ages(record.KEYS, labels_of(known.policies.values()), history(known.services))
    for policy in known.policies.values():
        yield from (unknown(record.KEYS, error) for error in policy.unpinned.values())


def _metrics(known: Known, days: int, now: float) -> Metrics:
    used = history(known.services).used
    own = {key: used[key] for key in labels_of(known.policies.values()) if key in used}
    return catalog.metrics(known.services, known.runs, known.kept, known.policies, own, days=days, now=now)
