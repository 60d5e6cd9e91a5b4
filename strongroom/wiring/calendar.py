"""The calendar as this process's own configuration has it: every entry, on or off, and why.

A new entry is a table in :mod:`strongroom.config.calendar` and a function here that yields it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from msgspec import to_builtins

from strongroom.config import Settings
from strongroom.config.calendar import Entry
from strongroom.config.failure_domains import opens
from strongroom.config.policies import PolicySettings
from strongroom.errors import ConfigError
from strongroom.model import EVERY_POLICY, Depth
from strongroom.operations.archive.coverage import limits_on
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.services import CheckResult, Services
from strongroom.operations.restore.scratch import DrillScope
from strongroom.state.records import RunKind
from strongroom.system.lazy import resolve
from strongroom.wiring.jobs import drill_options
from strongroom.words import nearest, plural

DAY = 86_400.0
SAMPLE = 0.1
"""How much a verification reads besides at random, as a part of the regular work: nobody can know before what
that is."""

EMERGENCY = "emergency"


def calendar(settings: Settings) -> tuple[Scheduled, ...]:
    """Return every entry of the calendar."""
    return tuple(entry for entries in ENTRIES for entry in entries(settings))


def entries_named(name: str, settings: Settings) -> list[Scheduled]:
    """Return an entry, with those for its subjects. Raises ConfigError if there is none of that name."""
    entries = calendar(settings)
    found = [entry for entry in entries if entry.belongs_to(name)]
    if not found:
        known = [entry.name for entry in entries]
        raise ConfigError(f"the calendar has no entry '{name}'", hint=nearest(name, known))
    return found


def _entry(name: str, kind: RunKind, found: Entry, settings: Settings, **more: Any) -> Scheduled:
    """Return a built-in entry with its times. What it lacks is said unless somebody switched it off."""
    if found.off:
        more["needs"] = f"switched off by calendar.{name}"
    zone = settings.calendar.time_zone
    return Scheduled(name=name, kind=kind, schedule=found.schedule, time_zone=zone, **more)


def _daily(found: Entry) -> str:
    """Return an entry's time of day, every day: what it asks for is asked again until it is done."""
    minute, hour, *_ = found.schedule.split()
    return f"{minute} {hour} * * *"


def _policies(settings: Settings) -> Iterator[Scheduled]:
    for name, policy in settings.policies.items():
        if policy.schedule:
            yield Scheduled(
                name=name,
                kind=RunKind.BACKUP,
                schedule=policy.schedule,
                time_zone=settings.calendar.zone_of(policy.time_zone),
                policy=name,
                offline=policy.offline,
                reason=_reason(policy),
            )


def _reason(policy: PolicySettings) -> str:
    limits = limits_on(policy.selection)
    return f"a {policy.kind} backup of '{policy.source}'" + (f": what is {limits}" if limits else "")


def _emergency(settings: Settings) -> Iterator[Scheduled]:
    """Yield what is missing, where no medium is kept in a safe: the policy of one has an entry of its own."""
    if EMERGENCY not in settings.policies and not any(
        policy_settings.offline for policy_settings in settings.policies.values()
    ):
        yield Scheduled(
            name=EMERGENCY,
            kind=RunKind.BACKUP,
            schedule="0 3 1 * *",
            time_zone=settings.calendar.time_zone,
            offline=True,
            reason="a full backup onto a medium for the safe",
            needs="no policy is offline: 'strongroom init' has an example, policies.emergency",
        )


def _repair(settings: Settings) -> Iterator[Scheduled]:
    reason = "brings up what a target missed or lost, from a good replica"
    yield _entry("repair", RunKind.REPAIR, settings.calendar.repair, settings, reason=reason)


def verification_entry(settings: Settings) -> Scheduled:
    """Return the entry that reads every replica again."""
    terms = settings.verification
    return _entry(
        "verification",
        RunKind.SCRUB,
        settings.calendar.verification,
        settings,
        options={
            "span": terms.span_days * DAY,
            "rate": terms.rate,
            "sample": SAMPLE,
            "offline": sorted(name for name, policy in settings.policies.items() if policy.offline),
            "media": sorted(media(settings)),
        },
        reason=f"reads every replica once in {plural(terms.span_days, 'day')}, and has damage repaired",
    )


def media(settings: Settings) -> frozenset[str]:
    """Return the targets that lie in a safe: those that only offline policies name."""
    policies = settings.policies.values()
    away = {name for policy in policies if policy.offline for name in policy.targets}
    return frozenset(away - {name for policy in policies if not policy.offline for name in policy.targets})


def _prune(settings: Settings) -> Iterator[Scheduled]:
    reason = "deletes what no retention rule keeps, days after it was marked"
    yield _entry(
        "prune", RunKind.PRUNE, settings.calendar.prune, settings, policy=EVERY_POLICY, reason=reason
    )


def _rotation(settings: Settings) -> Iterator[Scheduled]:
    yield _entry(
        "rotation",
        RunKind.ROTATE,
        settings.calendar.rotation,
        settings,
        options={"policies": settings.rotated, "rate": settings.rotation.rate},
        reason="brings backups to the newest versions of their keys",
        needs="" if settings.rotated else "no policy seals to a key that has versions (transit, kms)",
    )


def _drills(settings: Settings) -> Iterator[Scheduled]:
    yield _drill(
        "full-drill", DrillScope.FULL, settings, reason="proves that everything comes back, and how fast"
    )
    regions = {settings.targets[name].region for name in _targets_of(settings.drilled, settings)}
    yield _drill(
        "failover-drill",
        DrillScope.FAILOVER,
        settings,
        reason="proves that everything comes back without one of the regions",
        needs="" if len(regions) > 1 else f"the targets of '{settings.drilled}' are all in one region",
    )


def _health(settings: Settings) -> Iterator[Scheduled]:
    reason, options = "looks at the whole installation, as 'check' does", {"check": "health"}
    found = settings.calendar.health
    yield _entry("health", RunKind.CHECK, found, settings, options=options, reason=reason)


def _key_proof(settings: Settings) -> Iterator[Scheduled]:
    found = settings.calendar.key_proof
    sealed = any(policy.sealed for policy in settings.policies.values())
    yield _entry(
        "key-proof",
        RunKind.CHECK,
        found,
        settings,
        options={"check": "keys", "again": _daily(found), "needs_backup": True},
        reason="proves that every key still opens what depends on it; daily again while one does not",
        needs="" if sealed else "no policy seals, so no backup depends on a key",
    )


def _review(settings: Settings) -> Iterator[Scheduled]:
    found = settings.calendar.review
    yield _entry(
        "review",
        RunKind.CHECK,
        found,
        settings,
        options={"check": "review", "again": _daily(found), "needs_backup": True},
        reason="asks for the yearly security review; daily again until it is made",
    )


def _signers(settings: Settings) -> Iterator[Scheduled]:
    found = settings.calendar.signers
    yield _entry(
        "signers",
        RunKind.CHECK,
        found,
        settings,
        options={"check": "signers", "again": _daily(found)},
        reason="has each role sign with a new key once a year; asks for it where a person has to do it",
    )


def _access(settings: Settings) -> Iterator[Scheduled]:
    found = settings.calendar.access
    yield _entry(
        "access",
        RunKind.CHECK,
        found,
        settings,
        options={"check": "access"},
        reason="reads the access logs, and tells who read a backup that nobody recorded",
        needs="" if settings.access_logs else "no access log is configured (access_logs)",
    )


def _drift(settings: Settings) -> Iterator[Scheduled]:
    found = settings.calendar.drift
    full = {
        name: policy
        for name, policy in settings.policies.items()
        if policy.kind == "full" and not policy.offline and settings.sources[policy.source].kind != "raft"
    }
    opened = [name for name, policy in full.items() if found.written or opens(settings, policy.recipients)]
    needs = "" if opened else "this host opens the backups of no policy that backs up values"
    yield _entry(
        "drift",
        RunKind.DRIFT,
        found,
        settings,
        options={
            "policies": opened,
            "mass_change_percent": settings.drift.mass_change_percent,
        },
        reason="finds out what changed in the sources, and freezes deletion if that is much",
        needs=needs if full else "no policy backs up values",
    )


def _monthly_tests(settings: Settings) -> Iterator[Scheduled]:
    reason = "proves that one secret comes back, of a random backup of the last months"
    within = settings.drill.within_days
    yield _drill("monthly-tests", DrillScope.SINGLE, settings, reason=reason, within_days=within)
    found = settings.calendar.monthly_tests
    yield _entry(
        "monthly-tests",
        RunKind.VERIFY,
        found,
        settings,
        policy=settings.drilled,
        options={"depth": Depth.COMPARED.value},
        reason="proves that the newest backup is whole on every target, and that all of it opens",
        needs=_no_drill(found, settings),
    ).about("integrity")


def _drill(
    name: str,
    drill: DrillScope,
    settings: Settings,
    *,
    reason: str,
    needs: str = "",
    within_days: float = 0.0,
) -> Scheduled:
    entry = settings.calendar.entries()[name]
    return _entry(
        name,
        RunKind.DRILL,
        entry,
        settings,
        policy=settings.drilled,
        options=to_builtins(drill_options(settings, drill, within_days=within_days)),
        reason=reason,
        needs=_no_drill(entry, settings) or needs,
    )


def _no_drill(entry: Entry, settings: Settings) -> str:
    """Say why nothing can be rehearsed here; nothing if it can."""
    policy = settings.policies.get(settings.drilled)
    if policy is None:
        return "no policy backs up values"
    if not entry.written and not opens(settings, policy.recipients):
        return f"this host opens none of the keys of '{settings.drilled}'"
    return ""


def _targets_of(policy: str, settings: Settings) -> tuple[str, ...]:
    found = settings.policies.get(policy)
    return () if found is None else found.targets


ENTRIES: tuple[Callable[[Settings], Iterator[Scheduled]], ...] = (
    _policies,
    _emergency,
    _repair,
    _prune,
    lambda settings: iter((verification_entry(settings),)),
    _rotation,
    _monthly_tests,
    _drills,
    _health,
    _key_proof,
    _signers,
    _drift,
    _review,
    _access,
)


# -- The checks of the calendar: for each name the function that does it, which loads on first use ---
#
# A new check is a function from the services and the settings to a
# :class:`~strongroom.operations.engine.services.CheckResult`, a line here, and an entry of the calendar
# whose option ``check`` names it. It raises what kept it from looking: a check that could not be done has
# failed.


CHECKS: Final[Mapping[str, str]] = {
    "access": "strongroom.wiring.watching:check",
    "health": "strongroom.wiring.health_areas:check_now",
    "keys": "strongroom.operations.keys.health:prove",
    "signers": "strongroom.operations.keys.replacement:renew",
    "review": "strongroom.wiring.evidence:remind",
}


def checks(settings: Settings) -> Mapping[str, Callable[[Services], CheckResult]]:
    """Return every check there is, by name."""
    return {name: partial(_check, function, settings) for name, function in CHECKS.items()}


def _check(function: str, settings: Settings, services: Services) -> CheckResult:
    checked: CheckResult = resolve(function)(services, settings)
    return checked
