"""check and check backups: is everything well? Looked at, never made well by looking."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from msgspec import Struct, structs

from strongroom.cli.commands.checks.arguments import CheckBackups, CheckInstallation
from strongroom.cli.shared import access_log, identities
from strongroom.cli.shared.inspection import InspectOptions as Looking
from strongroom.cli.shared.inspection import require_digest_key
from strongroom.cli.shared.options import choose_named
from strongroom.cli.shared.passphrases import asking
from strongroom.cli.shared.services import check_areas
from strongroom.cli.shared.target_comparison import recorded
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.screen import Advance, counting
from strongroom.config import Settings, load_settings
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.model import Depth
from strongroom.operations.engine.findings import Finding, FindingState, worst_error, worst_first
from strongroom.operations.engine.services import ConfiguredPolicy, Services
from strongroom.operations.judge import sheets
from strongroom.operations.judge.fact_records import InstallationFacts
from strongroom.operations.judge.inspection import (
    KeyMetrics,
    check,
    check_files,
    file_backups,
    newest_of,
    nothing_seen,
    retained_backups,
)
from strongroom.operations.judge.judgement import judge
from strongroom.operations.judge.replicas import INTEGRITY, CheckingMeans, Entering
from strongroom.state.records import CatalogEntry
from strongroom.targets import Target
from strongroom.wiring.read_only import lock_caps, looking_services, policies_now
from strongroom.wiring.watching import facts_on_record, limits


def check_backups(given: CheckBackups, output: Output) -> Answer:
    settings = load_settings()
    choose_named(given.policy, settings.policies)
    choose_named(given.target, settings.targets)
    services = identities.with_identities(looking_services(settings, ask=asking()), given.opening, output)
    policies = policies_now(settings, services)
    facts = facts_on_record(settings, services, now=time.time())
    every = retained_backups(services)
    chosen = every if given.all else newest_of(every)
    chosen = [entry for entry in chosen if not given.policy or entry.policy in given.policy]
    files = file_backups(services) if given.all and not (given.policy or given.target) else []
    findings = _looked(
        given,
        settings,
        services,
        output,
        facts=facts,
        chosen=chosen,
        files=files,
        every=every,
        policies=policies,
    )
    backups = [entry.backup for entry in (*chosen, *files)]
    if not (given.policy or given.target) and INTEGRITY in given.checks.names:
        by_now = facts_on_record(settings, services, now=time.time())  # with what was just read
        findings += _judged(by_now, settings, INTEGRITY, kinds=("verification.late",))
    return Answer(
        record=BackupsChecked(checks=given.checks.names, backups=tuple(backups), **_outcome(findings)),
        sheet=sheets.backups(findings, len(backups)),
        error=worst_error(findings),
    )


class BackupsChecked(Struct, frozen=True, kw_only=True):
    """What was found of backups, the worst first, and the exit code of the worst."""

    checks: tuple[str, ...]
    backups: tuple[str, ...]
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    code: str
    exit_code: int


class InstallationChecked(Struct, frozen=True, kw_only=True):
    """What was found of an installation, the worst first, and the exit code of the worst."""

    metrics: KeyMetrics | None
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    code: str
    exit_code: int


def _outcome(findings: Sequence[Finding]) -> dict[str, Any]:
    worst = worst_error(findings)
    return {
        "findings": tuple(worst_first(findings)),
        "counts": {
            state.value: sum(finding.state is state for finding in findings) for state in FindingState
        },
        "code": worst.code if worst else "",
        "exit_code": worst.exit_code if worst else 0,
    }


def _looked(
    given: CheckBackups,
    settings: Settings,
    services: Services,
    output: Output,
    *,
    facts: InstallationFacts,
    chosen: Sequence[CatalogEntry],
    files: Sequence[CatalogEntry],
    every: Sequence[CatalogEntry],
    policies: dict[str, ConfiguredPolicy],
) -> list[Finding]:
    only = frozenset(given.target)
    with counting(output, "replicas", len(chosen) * len(only or settings.targets)) as advance:
        means = replace(_means(given, settings, services, output, advance), used=facts.keys.used)
        findings = check(means, chosen, policies, every=every, targets=only)
        findings += check_files(means, files)
    first = min(means.checks)
    wanted = [name for name in policies if not given.policy or name in given.policy]
    without = [name for name in wanted if name not in {entry.policy for entry in every}]
    late = _judged(facts, settings, first, kinds=("backup.overdue", "emergency.due", "policy.idle"))
    findings += [finding for finding in late if finding.policy in without]
    return [*findings, *nothing_seen(findings, first)]


def _judged(
    facts: InstallationFacts, settings: Settings, check: str, *, kinds: tuple[str, ...]
) -> list[Finding]:
    """Return some of how the facts are judged, shown under a check."""
    return [
        structs.replace(finding, check=check)
        for finding in judge(facts, limits(settings))
        if finding.kind in kinds
    ]


def _means(
    given: CheckBackups,
    settings: Settings,
    services: Services,
    output: Output,
    advance: Advance,
) -> CheckingMeans:
    require_digest_key(Looking(given.depth, output, place.find()))  # says what lacks before anything is read
    return CheckingMeans(
        services=services,
        checks=frozenset(given.checks.names),
        depth=given.depth,
        entering=_entering(output),
        identities=_identities(given.depth, services, output),
        limits=limits(settings),
        caps=lock_caps(settings),
        progress=advance,
    )


def _identities(depth: Depth, services: Services, output: Output) -> tuple[Opener, ...]:
    """Return what opens, if that is asked for: once, for all threads. Without it the digests are read."""
    if depth is Depth.DIGEST:
        return ()
    try:
        return tuple(services.identities())
    except StrongroomError as error:
        output.warn(f"What opens is not to be had here: {error.message}")
        return ()


def _entering(output: Output) -> Entering:
    """Return what leaves on record that a replica is opened, and what reading it back told: as backups verify
    does, of the same replica."""
    installation = place.find()

    def entering(target: Target, manifest: Manifest, depth: Depth) -> AbstractContextManager[None]:
        opens = manifest.sealed and depth in (Depth.OPENED, Depth.COMPARED)
        note = access_log.record_attempt if opens else access_log.record_reading
        note(output, installation, backup=manifest.backup_id, where=target.name)
        return recorded(target, manifest, depth, installation, output)

    return entering


# -- the whole installation ------------------------------------------------------


def check_installation(given: CheckInstallation, output: Output) -> Answer:
    settings = load_settings()
    findings, metrics = check_areas(settings, days=given.days, now=time.time())
    shown = tuple(metrics.pairs(key_age=settings.alerts.key_age)) if metrics else ()
    return Answer(
        record=InstallationChecked(metrics=metrics, **_outcome(findings)),
        sheet=sheets.installation(findings, shown),
        error=worst_error(findings),
    )
