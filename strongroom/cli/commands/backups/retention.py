"""prune, hold and undelete: what is removed, what nothing may remove, and what is kept after all."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from functools import partial

from msgspec import Struct

from strongroom.cli.commands.backups.arguments import (
    AddHold,
    PruneBackups,
    ReleaseHold,
    SubjectOptions,
    UndeleteBackup,
)
from strongroom.cli.parameters import Nothing
from strongroom.cli.shared import access_log
from strongroom.cli.shared.runs import drive_here, lack_of
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, size
from strongroom.config import Settings, load_settings
from strongroom.container.canonical import printable
from strongroom.container.errors import MissingPiece
from strongroom.container.marks import MAX_TEXT, HoldMark
from strongroom.errors import ConfigError, StrongroomError, TargetError, UsageError
from strongroom.model import EVERY_POLICY, ApprovalAction
from strongroom.operations.archive import holds
from strongroom.operations.archive.deletions import counting, read_deletions
from strongroom.operations.engine.drive import end_abandoned
from strongroom.operations.engine.jobs import read_facts
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import HoldNotWritten
from strongroom.operations.retention.delete import ToPrune, UndeletedBackup, undelete
from strongroom.operations.retention.plan import (
    Orphan,
    PlannedRemoval,
    RetentionPlan,
    find_orphans,
    plan_retention,
    safest_now,
    take_stock,
)
from strongroom.operations.retention.prune import marked_by, results_of, submit_prune
from strongroom.sheet import Lines, Sheet, Table
from strongroom.state.records import Run, RunKind
from strongroom.system.process import who
from strongroom.times import rfc3339
from strongroom.wiring.jobs import configured
from strongroom.words import nearest

# -- prune: mark the backups that no rule keeps, and delete those that were marked long enough ago ---


def prune_backups(given: PruneBackups, output: Output) -> Answer:
    settings = load_settings()
    if given.policy and given.policy not in settings.policies:
        raise ConfigError(
            f"there is no policy '{given.policy}'", hint=nearest(given.policy, settings.policies)
        )
    services = open_services(settings)
    policies = [given.policy] if given.policy else list(settings.policies)
    waiting = tuple(_unapproved(settings, services, policies))
    if given.dry_run:
        return _preview(settings, services, given.policy, waiting)
    for gone in end_abandoned(services, RunKind.PRUNE):
        output.note(f"prune {gone.id} was abandoned, for its process is gone: it is cancelled")
    begin = partial(submit_prune, services, policy=given.policy or EVERY_POLICY)
    run = drive_here(begin, services, output)
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


# -- hold and undelete: let nothing remove some backups, whatever their policy says -------------


_NOTHING = "Nothing was changed. See: strongroom backups list"


def add_hold(given: AddHold, output: Output) -> Answer:
    kind, subject = _subject(given.subject)
    settings = load_settings()
    services = open_services(settings)
    if given.until is not None and given.until <= time.time():
        raise UsageError("--until is in the past, so it would hold nothing.")
    until = "" if given.until is None else rfc3339(given.until)
    backups = _held_now(services, kind, subject, configured=subject in settings.policies)
    _require_shorter_approved(services, kind, subject, until)
    failed = holds.hold(services, kind, subject, reason=given.reason, by=who(), until=until)
    end = f"until {until}" if until else "until the hold is lifted"
    now = "" if backups is None else f" That is {plural(len(backups), 'backup')} now."
    said = f"Held {end}: {kind} '{subject}'.{now}"
    return _written(services, failed, said, {} if backups is None else {"backups": backups})


def _require_shorter_approved(services: Services, kind: holds.Kind, subject: str, until: str) -> None:
    """Have a hold that ends earlier than the one there approved as its release would be: it replaces that."""
    day = until[:10]  # of '90d', which is another moment when the command is repeated
    standing = holds.read_holds(services, now=time.time()).standing if until else ()
    for mark in standing:
        if (mark.kind, mark.subject) == (kind, subject) and (not mark.until or mark.until > until):
            was = mark.until or "when it is lifted"
            access_log.require_approved(
                place.find(),
                ApprovalAction.RELEASE,
                {"hold": [kind, subject], "until": day},
                policy=subject if kind == "policy" else "",
                lines=(f"have the hold on {kind} '{subject}' end on {day}; so far it ends {was}",),
            )


def _held_now(services: Services, kind: holds.Kind, subject: str, *, configured: bool) -> list[str] | None:
    """Return what a hold is about now; refuse one that is about nothing: its subject was mistyped."""
    try:
        backups = holds.held_backups(services, kind, subject)
    except TargetError:  # a hold is needed then as well; that no target has the mark is said afterwards
        return None
    if not backups and (kind == "backup" or (kind == "policy" and not configured)):
        raise MissingPiece(f"no target shows a backup of {kind} '{subject}'", hint=_NOTHING)
    return backups


def release_hold(given: ReleaseHold, output: Output) -> Answer:
    kind, subject = _subject(given.subject)
    services = open_services(load_settings())
    standing = holds.read_holds(services, now=time.time()).standing
    if not any((mark.kind, mark.subject) == (kind, subject) for mark in standing):
        raise UsageError(
            f"There is no hold on {kind} '{subject}'.",
            hint="Nothing was changed. See: strongroom backups hold list",
        )
    access_log.require_approved(
        place.find(),
        ApprovalAction.RELEASE,
        {"hold": [kind, subject]},
        policy=subject if kind == "policy" else "",
        lines=(f"lift the hold on {kind} '{subject}': what it held may be deleted",),
    )
    failed = holds.release(services, kind, subject, reason=given.reason, by=who())
    return _written(services, failed, f"The hold on {kind} '{subject}' is lifted.", {})


def _subject(given: SubjectOptions) -> tuple[holds.Kind, str]:
    kinds: tuple[holds.Kind, ...] = ("backup", "policy", "tag")
    [(kind, subject)] = [(kind, found) for kind in kinds if (found := getattr(given, kind)) is not None]
    if not (subject and printable(subject, MAX_TEXT)):
        raise UsageError(f"The {kind} is empty, too long, or cannot be printed, so no hold can name it.")
    key, equals, _ = subject.partition("=")
    if kind == "tag" and not (key and equals):
        raise UsageError("--tag takes a tag as K=V.")
    return kind, subject


def _written(services: Services, failed: Mapping[str, str], said: str, more: Mapping[str, object]) -> Answer:
    written = sorted(services.targets.keys() - failed.keys())
    return Answer(
        record={"written": written, "failed": failed, **more},
        sheet=Sheet(verdict=said),
        warnings=_unwritten(failed),
        error=None if written else _not_written(),
    )


def _unwritten(failed: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"the mark could not be written on target '{name}': {why}" for name, why in failed.items())


def _not_written() -> HoldNotWritten:
    return HoldNotWritten("It is on record here, and no target could be given the mark.")


class HoldList(Struct, frozen=True, kw_only=True):
    """The holds that stand, those of the configuration, and why the marks of a target could not be read."""

    holds: tuple[HoldMark, ...]
    legal_hold: Mapping[str, str]
    unread: Mapping[str, str]


def list_holds(given: Nothing, output: Output) -> Answer:
    settings = load_settings()
    standing = holds.read_holds(open_services(settings), now=time.time())
    configured = {
        name: policy_settings.legal_hold
        for name, policy_settings in settings.policies.items()
        if policy_settings.legal_hold
    }
    rows = [
        (mark.kind, mark.subject, mark.at, mark.until or "it is lifted", mark.by, mark.reason)
        for mark in standing.standing
    ]
    rows += [("policy", name, "", "legal_hold is removed", "", why) for name, why in configured.items()]
    silent = (
        f"target '{name}' does not answer; a hold may be there alone: {why}"
        for name, why in standing.unread.items()
        if name in settings.online
    )
    aside = (f"'{name}' is no hold: {why}" for name, why in standing.aside.items())
    head = ("Held", "", "Since", "Until", "By", "Why")
    return Answer(
        record=HoldList(holds=standing.standing, legal_hold=configured, unread=standing.unread),
        sheet=Sheet(parts=[Table(head, rows, nothing="Nothing is held.")]),
        warnings=(*silent, *aside),
    )


def undelete_backup(given: UndeleteBackup, output: Output) -> Answer:
    services = open_services(load_settings())
    done = undelete(services, given.backup, reason=given.reason, by=who())
    written = services.targets.keys() - done.failed.keys()
    release = f"strongroom backups hold release --backup {done.backup}"
    lacking = written - set(done.targets)
    copied = (
        f"It is on {', '.join(done.targets)}. To copy it to others: strongroom backups repair {done.backup}"
    )
    return Answer(
        record=done,
        sheet=Sheet(
            verdict=f"Backup {done.backup} is not deleted. It is held until somebody lets it go: {release}",
            about=copied if lacking else "",
        ),
        warnings=_unwritten(done.failed),
        error=None if written else _not_written(),
    )
