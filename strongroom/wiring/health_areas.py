"""A check of an installation: the judgement of its facts, and what only a look from this host sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from msgspec import structs

from strongroom.config import Settings
from strongroom.config.failure_domains import remarks
from strongroom.errors import StrongroomError
from strongroom.operations.checks import machine as readiness
from strongroom.operations.engine.findings import (
    Finding,
    FindingState,
    attempted,
    good,
    remark,
    unknown,
    worst_first,
    wrong,
)
from strongroom.operations.engine.services import CheckResult, Services
from strongroom.operations.judge import inspection
from strongroom.operations.judge.fact_records import ClusterFacts, WatchedInstallation
from strongroom.operations.judge.facts import without_record
from strongroom.operations.judge.inspection import KeyMetrics, retained_backups
from strongroom.operations.judge.judgement import judge
from strongroom.operations.notify.notify import JudgedFacts, gather_and_judge
from strongroom.state.errors import RecordRefused, StateError
from strongroom.wiring.read_only import looking_services, policies_now
from strongroom.wiring.watching import limits, watched

CONFIGURATION, METRICS = "configuration", "metrics"
MONTH_DAYS = 30


def check_areas(
    settings: Settings, *, days: int, now: float, cluster: Callable[[], ClusterFacts] | None = None
) -> tuple[list[Finding], KeyMetrics | None]:
    """Look at every area; the metrics are missing where the record cannot be read.

    Args:
        days: over how many days the metrics count.
        now: seconds since the epoch.
        cluster: what asks the broker and its workers, as only a command can.
    """
    configuration, swap = _configuration(settings), attempted(readiness.SWAP, readiness.swap, wrong)
    known = replace(watched(settings), cluster=cluster)
    try:
        services = looking_services(settings)
        seen = _by_record(known, settings, services)
    except StrongroomError as error:
        return [*configuration, *_without_record(known, settings, error, now), *swap], None
    found = gather_and_judge(seen, limits(settings), now=now)
    findings = [*configuration, *found.findings, *swap]
    try:
        return findings, _metrics(services, found, seen, days)
    except StrongroomError as error:
        return [*findings, unknown(METRICS, error)], None


def check_now(_services: Services, settings: Settings) -> CheckResult:
    """Look at the installation as this process sees it: what the calendar asks for daily. What is an alert by
    itself is left out."""
    findings, _ = check_areas(settings, days=MONTH_DAYS, now=time.time())
    bad = [
        finding
        for finding in worst_first(findings)
        if finding.state in (FindingState.WRONG, FindingState.UNKNOWN)
    ]
    named = (
        " ".join(filter(None, (finding.check, finding.policy, finding.target, f"({finding.code})")))
        for finding in bad
        if not finding.is_alert
    )
    return CheckResult(bad=tuple(dict.fromkeys(named)), do="Run 'strongroom check' to see what to do.")


def _by_record(known: WatchedInstallation, settings: Settings, services: Services) -> WatchedInstallation:
    """Return what is watched, by this record; key services are asked which keys the policies name."""
    policies = tuple(policies_now(settings, services).values())
    return replace(
        known,
        store=lambda: services.store,
        trusted=services.signer_fingerprints,
        policies=policies,
    )


def _without_record(
    known: WatchedInstallation, settings: Settings, error: StrongroomError, now: float
) -> Iterator[Finding]:
    """Judge what can be seen where the record cannot be read, which is told with the error's own hint."""
    bounds, why = limits(settings), error.message
    area = "state" if isinstance(error, StateError | RecordRefused) else "files"
    for found in judge(without_record(known, bounds, now=now, why=why), bounds):
        if found.kind == "state.unreachable":
            hint = error.hint or found.to_do
            yield structs.replace(found, check=area, to_do=hint, code=error.code, exit_code=error.exit_code)
        else:
            yield found


def _configuration(settings: Settings) -> Iterator[Finding]:
    """It is valid, or there would be no settings to look by."""
    said = list(remarks(settings))
    yield from (remark(CONFIGURATION, reason) for reason in said)
    if not said:
        yield good(CONFIGURATION, "valid")
    yield from readiness.plugins()


def _metrics(services: Services, found: JudgedFacts, seen: WatchedInstallation, days: int) -> KeyMetrics:
    policies = {policy.name: policy for policy in seen.policies}
    return inspection.metrics(services, found.facts, retained_backups(services), policies, days=days)
