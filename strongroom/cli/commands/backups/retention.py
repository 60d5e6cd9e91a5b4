"""prune: mark the backups that no rule keeps, and delete those that were marked long enough ago."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from strongroom.cli.shared.drive_run import drive_here, lack_of
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, size
from strongroom.config import Settings, load_settings
from strongroom.errors import ConfigError, StrongroomError
from strongroom.model import EVERY_POLICY
from strongroom.operations.archive.deletions import counting, read_deletions
from strongroom.operations.retention.delete import UndeletedBackup
from strongroom.operations.retention.orphans import Orphan, find_orphans
from strongroom.operations.retention.plan import PlannedRemoval, RetentionPlan, plan_retention, safest_now
from strongroom.operations.retention.prune_job import marked_by, results_of, submit_prune
from strongroom.operations.retention.prune_plan import ToPrune
from strongroom.operations.retention.stock import take_stock
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.sheet import Lines, Sheet, Table
from strongroom.state.records import Run
from strongroom.wiring.policies import configured
from strongroom.words import nearest


def prune_backups(arguments: Namespace, output: Output) -> Answer:
    settings = load_settings()
    if arguments.policy and arguments.policy not in settings.policies:
        raise ConfigError(
            f"there is no policy '{arguments.policy}'", hint=nearest(arguments.policy, settings.policies)
        )
    services = open_services(settings)
    policies = [arguments.policy] if arguments.policy else list(settings.policies)
    waiting = tuple(_unapproved(settings, services, policies))
    if arguments.dry_run:
        return _preview(settings, services, arguments.policy, waiting)
    run_id, tickets = submit_prune(services, policy=arguments.policy or EVERY_POLICY)
    run = drive_here(run_id, tickets, services, output)
    lack = lack_of(run)
    return _pruned(run, services, waiting, _without_rules(settings, policies), lack)


def _unapproved(settings: Settings, services: Services, policies: Collection[str]) -> Iterator[str]:
    """Say which policies keep their backups for longer than configured: people have to approve less first."""
    own, in_force = configured(settings, services.targets), services.retention()
    for name in policies:
        if name in in_force and in_force[name] != own[name]:
            yield (
                f"policy '{name}' keeps its backups as long as before: less has to be approved first "
                "('strongroom approvals list')"
            )


def _without_rules(settings: Settings, policies: Collection[str]) -> Iterator[str]:
    """Say of which of these policies everything is kept, since they name no rule."""
    configured = settings.policies
    if without := sorted(name for name in policies if name in configured and not configured[name].keep):
        yield f"No keep rules, so everything stays: {', '.join(without)}."


# -- what it did ----------------------------------------------------------------------


class PrunedTarget(Struct, frozen=True, kw_only=True):
    """What a prune did on one target; ``before`` and ``after`` are the bytes that it holds."""

    before: int
    after: int
    freed: int
    deleted: tuple[str, ...]
    marked: tuple[str, ...]
    undeleted: tuple[str, ...]
    left: Mapping[str, UndeletedBackup]


class Pruned(Struct, frozen=True, kw_only=True):
    """What a prune did; ``more`` is left to the next one, ``away`` says which target was not looked at."""

    run: str
    kept: int
    waiting: int
    more: int
    away: Mapping[str, str]
    targets: Mapping[str, PrunedTarget]


def _pruned(
    run: Run,
    services: Services,
    waiting: tuple[str, ...],
    remarks: Iterator[str],
    lack: StrongroomError | None,
) -> Answer:
    plan, marked, deleted = read_facts(run, ToPrune), marked_by(run, services), results_of(run, services)
    targets = {
        name: PrunedTarget(
            before=before,
            after=deleted[name].after if name in deleted else before,
            freed=deleted[name].freed if name in deleted else 0,
            deleted=deleted[name].backups if name in deleted else (),
            marked=marked[name].marked if name in marked else (),
            undeleted=marked[name].undeleted if name in marked else (),
            left=deleted[name].left if name in deleted else {},
        )
        for name, before in plan.before.items()
    }
    record = Pruned(
        run=run.id, kept=plan.kept, waiting=plan.waiting, more=plan.more, away=plan.away, targets=targets
    )
    lines = [*_pruned_lines(record, plan, deleted), *remarks]
    verdict = f"{plural(plan.kept, 'backup')} kept, {plan.waiting:,} marked earlier and not due yet."
    sheet = Sheet(verdict=verdict, parts=[Lines(lines)])
    return Answer(record=record, sheet=sheet, warnings=waiting, error=lack)


def _pruned_lines(pruned: Pruned, plan: ToPrune, looked_at: Collection[str]) -> Iterator[str]:
    new = sorted({backup for pruned_target in pruned.targets.values() for backup in pruned_target.marked})
    reasons = {doomed.backup: doomed.why for doomed in plan.mark}
    yield from (f"{backup} is marked: {reasons.get(backup, '')}" for backup in new)
    if new:
        yield "'strongroom backups undelete BACKUP' keeps one of them, until its grace is over."
    yield from (f"{doomed.backup} is not marked any more: {doomed.why}" for doomed in plan.undelete)
    for name in sorted(looked_at):
        target = pruned.targets[name]
        yield (
            f"{name}: {plural(len(target.deleted), 'backup')} deleted, {size(target.freed)} freed; it "
            f"held {size(target.before)} and holds {size(target.after)}"
        )
        yield from (f"  {backup} is gone from there" for backup in target.deleted)
        for backup, left in target.left.items():
            until = f", until {left.until}" if left.until else ""
            yield f"  {backup} stays there for now: {left.why}{until}"
    yield from (
        f"{name}: not looked at, so nothing there was deleted: {why}" for name, why in pruned.away.items()
    )
    if pruned.more:
        yield f"{pruned.more:,} more are left to the next prune: one sees to so many at most."


# -- what it would do -----------------------------------------------------------------


class PrunePreview(Struct, frozen=True, kw_only=True):
    """Which rule keeps or drops each backup, and what would be freed where.

    ``marked`` is the end of the grace of each that is marked, ``orphans`` what dead runs left.
    """

    backups: tuple[PlannedRemoval, ...]
    orphans: tuple[Orphan, ...]
    marked: Mapping[str, str]
    freed: Mapping[str, int]
    away: Mapping[str, str]
    troubles: Mapping[str, str]
    aside: Mapping[str, str]


def _preview(settings: Settings, services: Services, policy: str | None, waiting: tuple[str, ...]) -> Answer:
    whole = plan_retention(services, now=safest_now(services))
    plan = whole.of(policy)
    places = read_deletions(services)
    marks = {removal.backup: counting(places.values(), removal.backup) for removal in plan.dropped}
    orphans = find_orphans(services, whole, take_stock(services), places, now=safest_now(services))
    preview = PrunePreview(
        backups=plan.backups,
        orphans=() if policy else tuple(orphans),
        marked={name: mark.after if mark and mark.state == "marked" else "" for name, mark in marks.items()},
        freed=plan.freed(),
        away=plan.away,
        troubles=plan.troubles,
        aside=plan.aside,
    )
    silent = (
        f"target '{name}' does not answer, so nothing there would be removed: {why}"
        for name, why in plan.away.items()
        if name in settings.online
    )
    remarks = _without_rules(settings, {backup.policy for backup in plan.backups})
    return Answer(record=preview, sheet=_preview_sheet(plan, preview, remarks), warnings=(*silent, *waiting))


def _preview_sheet(plan: RetentionPlan, preview: PrunePreview, remarks: Iterator[str]) -> Sheet:
    if not plan.backups:
        return Sheet(verdict="There is no backup.")
    rows = [
        (
            removal.backup,
            removal.policy or "?",
            removal.created_at[:10] or "?",
            removal.judgement.keeps,
            removal.judgement.rule.value,
            removal.judgement.why,
        )
        for removal in plan.backups
    ]
    head = ("Backup", "Policy", "Made", "Kept", "Rule", "Why")
    return Sheet(parts=[Table(head, rows), Lines([*_preview_lines(plan, preview, remarks)])])


def _preview_lines(plan: RetentionPlan, preview: PrunePreview, remarks: Iterator[str]) -> Iterator[str]:
    yield f"{plural(len(plan.dropped), 'backup')} of {len(plan.backups):,} would be removed."
    yield from (f"  {name}: {size(freed)} would be free" for name, freed in sorted(preview.freed.items()))
    for backup, after in preview.marked.items():
        if after:
            yield f"  {backup} is marked, and is deleted after {after}"
    for planned_removal in plan.dropped:
        for removal in planned_removal.removals:
            if removal.left:
                yield f"  {planned_removal.backup} would stay on {removal.target} for now: {removal.left}"
    for orphan in preview.orphans:
        where = ", ".join(orphan.targets)
        yield f"Objects of {orphan.backup} on {where} would be removed too: {orphan.why}."
    yield from remarks
    yield from (f"Target '{name}' does not answer: nothing there would be removed." for name in plan.away)
    yield from (f"Target '{name}': {why}" for name, why in plan.troubles.items())
    if plan.aside:
        yield f"{plural(len(plan.aside), 'object')} among the marks did not count:"
        yield from (f"  {name}: {why}" for name, why in sorted(plan.aside.items()))
