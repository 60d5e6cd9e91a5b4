"""The areas of an installation, looked at one after the other: what stops one stops no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from strongroom.config import (
    LocalSource,
    Settings,
)
from strongroom.config.checks.secrets import secret_files
from strongroom.config.remarks import remarks
from strongroom.errors import StrongroomError
from strongroom.operations.facts.records import Facts
from strongroom.operations.facts.watched import ConfiguredPolicy
from strongroom.operations.findings import (
    Finding,
    State,
    attempted,
    good,
    remark,
    unknown,
    worst_first,
    wrong,
)
from strongroom.operations.health import calendar as calendar_health
from strongroom.operations.health import catalog, ledger, machine
from strongroom.operations.health import runs as record
from strongroom.operations.health.backups import newest_of, retained_backups
from strongroom.operations.health.catalog import Metrics
from strongroom.operations.health.keys import history, judge_ages, labels_of
from strongroom.operations.health.targets import TARGETS, answering
from strongroom.operations.health.verification import VERIFICATION, covered
from strongroom.operations.readiness import machine as readiness
from strongroom.operations.services import Checked, Services
from strongroom.sources.local import LocalStore
from strongroom.state.engine import Database
from strongroom.state.errors import RecordRefused, StateError
from strongroom.state.records import CatalogEntry, Replica
from strongroom.wiring import adapters
from strongroom.wiring.alerts import facts_on_record, limits
from strongroom.wiring.calendar import calendar, media
from strongroom.wiring.database import database_url
from strongroom.wiring.read_only import looking_services, policies_now

CONFIGURATION = "configuration"
MONTH_DAYS = 30
Look = Callable[[], Iterable[Finding]]
Failed = Callable[[str, StrongroomError], Finding]


class Known(NamedTuple):
    """What the record gives, read once."""

    services: Services
    facts: Facts
    policies: dict[str, ConfiguredPolicy]
    kept: list[CatalogEntry]
    replicas: dict[str, list[Replica]]


def check_areas(
    settings: Settings,
    *,
    days: int,
    now: float,
    cluster: bool,
    besides: Sequence[tuple[str, Look]] = (),
) -> tuple[list[Finding], Metrics | None]:
    """Look at every area; the metrics are missing where the record cannot be read.

    Args:
        days: over how many days the metrics count.
        now: seconds since the epoch.
        cluster: whether workers do the runs on record.
        besides: areas that only the caller can look at, such as the broker.
    """
    known = _known(settings, now)
    besides = [*besides, (TARGETS, partial(_targets, settings))]
    if not isinstance(known, Known):
        return [*_configuration(settings), known, *_all([*besides, *_machine(settings, {})], wrong)], None
    findings = [*_configuration(settings), *_all(_foundations(settings, known), wrong)]
    findings += [
        *_all([*besides, *_machine(settings, _sizes(known))], wrong),
        *_all(_record(settings, known, cluster=cluster), unknown),
    ]
    try:
        metrics = _metrics(known, days)
    except StrongroomError as error:
        return [*findings, unknown(catalog.METRICS, error)], None
    return [*findings, *catalog.of_metrics(metrics, key_age=limits(settings).key_age)], metrics


def check_now(_services: Services, settings: Settings) -> Checked:
    """Look at the installation as this process sees it: what the calendar asks for daily."""
    findings, _ = check_areas(settings, days=MONTH_DAYS, now=time.time(), cluster=True)
    bad = [one for one in worst_first(findings) if one.state in (State.WRONG, State.UNKNOWN)]
    named = (" ".join(filter(None, (one.check, one.policy, one.target, f"({one.code})"))) for one in bad)
    return Checked(bad=tuple(dict.fromkeys(named)), do="Run 'strongroom health-advanced' to see what to do.")


def _all(areas: Iterable[tuple[str, Look]], failed: Failed) -> Iterator[Finding]:
    for area, work in areas:
        yield from attempted(area, work, failed)


def _configuration(settings: Settings) -> Iterator[Finding]:
    """It is valid, or there would be no settings to look by."""
    said = list(remarks(settings))
    yield from (remark(CONFIGURATION, one) for one in said)
    if not said:
        yield good(CONFIGURATION, "valid")


def _known(settings: Settings, now: float) -> Known | Finding:
    """Return what the record gives, or why it gives nothing."""
    try:
        services = looking_services(settings)
        kept = retained_backups(services)
        return Known(
            services=services,
            facts=facts_on_record(settings, services, now=now),
            policies=policies_now(settings, services),
            kept=kept,
            replicas=catalog.replicas_of(services, kept),
        )
    except StrongroomError as error:
        return wrong(machine.STATE if isinstance(error, StateError | RecordRefused) else machine.FILES, error)


def _sizes(known: Known) -> dict[str, int]:
    """Return how large the newest backups on each target are: so much the next ones take."""
    sizes: dict[str, int] = {}
    for entry in newest_of(known.kept):
        policy = known.policies.get(entry.policy)
        for pin in policy.spec.targets if policy else ():
            sizes[pin.name] = max(entry.size, sizes.get(pin.name, 0))
    return sizes


# -- what needs no record ----------------------------------------------------------


def _machine(settings: Settings, sizes: Mapping[str, int]) -> Iterator[tuple[str, Look]]:
    for name, source in settings.sources.items():
        if isinstance(source, LocalSource):
            yield (
                machine.STORE,
                partial(machine.local_store, LocalStore(source.path or settings.state_dir, name=name)),
            )
    yield (
        machine.DISK,
        partial(machine.disks, list(_places(settings, sizes)), percent=settings.alerts.free_percent),
    )
    yield machine.FILES, partial(machine.modes, settings.state_dir, secret_files(settings).values())
    yield readiness.SWAP, readiness.swap


def _targets(settings: Settings) -> Iterator[Finding]:
    """Ask the targets that are to answer at any time: a medium lies in a safe."""
    names = settings.targets.keys() - media(settings)
    yield from answering({name: adapters.target(name, settings, prepare=False) for name in sorted(names)})


def _places(settings: Settings, sizes: Mapping[str, int]) -> Iterator[machine.Place]:
    bounds = settings.limits
    yield machine.Place(name="state", path=settings.state_dir)
    yield machine.Place(
        name="stage", path=settings.stage_path, least=bounds.container_bytes, enough=bounds.stage_bytes
    )
    away = {name for policy in settings.policies.values() if policy.offline for name in policy.targets}
    for name, target in settings.targets.items():
        if target.folder is not None and (name not in away or target.folder.is_dir()):
            size = sizes.get(name, 0)
            yield machine.Place(name=name, path=target.folder, least=machine.LEAST + size)


# -- what the record tells ---------------------------------------------------------


def _foundations(settings: Settings, known: Known) -> Iterator[tuple[str, Look]]:
    database, store = Database(database_url(settings)), known.services.store
    yield machine.STATE, partial(machine.database, database, store)
    yield ledger.LEDGER, partial(ledger.unchanged, known.services, settings.online)
    yield machine.CLOCK, partial(machine.clock, database)


def _record(settings: Settings, known: Known, *, cluster: bool) -> Iterator[tuple[str, Look]]:
    services, facts, policies, kept, replicas = known
    newest = {one.policy: one for one in newest_of(kept)}
    yield record.RUNS, partial(record.runs, services, facts, cluster=cluster)
    yield record.SLOTS, partial(record.freshness, facts, threshold=settings.alerts.threshold_age)
    if cluster:
        yield record.SLOTS, partial(record.beat, facts)
    yield record.SLOTS, partial(calendar_health.findings, services, calendar(settings), now=facts.now)
    yield catalog.BACKUPS, partial(catalog.backups, services, facts, replicas, newest, policies)
    yield catalog.REPLICAS, partial(catalog.replicas, services, replicas, kept, policies)
    yield record.CHANGES, partial(record.changes, facts, limits(settings))
    yield VERIFICATION, partial(covered, VERIFICATION, facts)
    yield record.DRILLS, partial(record.drills, services, facts)
    yield record.KEYS, partial(_keys, settings, known)
    yield record.EMERGENCY, partial(record.emergency, services, policies, now=facts.now)


def _keys(settings: Settings, known: Known) -> Iterator[Finding]:
    yield from record.keys(known.facts)
    labels, past = labels_of(known.policies.values()), history(known.services, known.facts.keys.used)
    yield from judge_ages(record.KEYS, labels, past, limits(settings))
    for policy in known.policies.values():
        yield from (unknown(record.KEYS, error) for error in policy.unpinned.values())


def _metrics(known: Known, days: int) -> Metrics:
    services, facts, policies, kept, replicas = known
    return catalog.metrics(services, facts, replicas, kept, policies, days=days)
