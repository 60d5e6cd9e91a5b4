"""prune --dry-run: which rule keeps or drops each backup, and what would be freed where."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from strongroom.cli.commands.retention.unapproved import unapproved
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, plural, size, table
from strongroom.config import Settings, load_settings
from strongroom.errors import ConfigError
from strongroom.operations.archive.deletion_marks import counting
from strongroom.operations.archive.deletions import read_deletions
from strongroom.operations.retention.orphans import Orphan, find_orphans
from strongroom.operations.retention.plan import Planned, RetentionPlan, plan_retention, safest_now
from strongroom.operations.retention.stock import take_stock
from strongroom.operations.services import Services
from strongroom.words import nearest


def show_plan(arguments: Namespace, output: Output) -> None:
    settings = load_settings()
    if arguments.policy and arguments.policy not in settings.policies:
        raise ConfigError(
            f"there is no policy '{arguments.policy}'", hint=nearest(arguments.policy, settings.policies)
        )
    services = open_services(settings)
    whole = plan_retention(services, now=safest_now(services))
    plan = whole.of(arguments.policy)
    beside = _look_beside(services, whole, orphans=not arguments.policy)
    for name, why in plan.away.items():
        if name in settings.online:
            output.warn(f"target '{name}' does not answer, so nothing there would be removed: {why}")
    for line in unapproved(settings, services, arguments.policy):
        output.warn(line)
    output.answer(plan_document(plan, beside), plan_lines(plan, beside, settings))


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What the marks say of backups, and what dead runs left. ``marked`` is the end of each one's grace."""

    marked: Mapping[str, str]
    orphans: tuple[Orphan, ...]


def _look_beside(services: Services, plan: RetentionPlan, *, orphans: bool) -> Beside:
    places = read_deletions(services)
    marks = ((one.backup, counting(places.values(), one.backup)) for one in plan.dropped)
    found = find_orphans(services, plan, take_stock(services), places, now=safest_now(services))
    return Beside(
        marked={backup: mark.after for backup, mark in marks if mark is not None and mark.state == "marked"},
        orphans=tuple(found) if orphans else (),
    )


def plan_document(plan: RetentionPlan, beside: Beside) -> dict[str, Any]:
    """Return a plan for machines."""
    return {
        "backups": [_document(one) for one in plan.backups],
        "orphans": msgspec.to_builtins(beside.orphans),
        "marked": {one.backup: beside.marked.get(one.backup, "") for one in plan.dropped},
        "freed": plan.freed(),
        "away": dict(plan.away),
        "troubles": dict(plan.troubles),
        "aside": dict(plan.aside),
    }


def _document(one: Planned) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(one)
    judgement: dict[str, Any] = fields.pop("judgement")
    del fields["keys"]
    return fields | judgement


def plan_lines(plan: RetentionPlan, beside: Beside, settings: Settings) -> Iterator[str]:
    """Yield a plan for people: every backup, then what would be freed, then what is left and why."""
    if not plan.backups:
        yield "There is no backup."
        return
    head = ("BACKUP", "POLICY", "MADE", "KEPT", "RULE", "WHY")
    yield from table(head, [_row(one) for one in plan.backups])
    yield ""
    count = len(plan.dropped)
    yield f"{plural(count, 'backup')} of {len(plan.backups):,} would be removed."
    for target, freed in sorted(plan.freed().items()):
        yield f"  {target}: {size(freed)} would be free"
    for one in plan.dropped:
        if after := beside.marked.get(one.backup):
            yield f"  {one.backup} is marked, and is deleted after {after}"
    yield from _left_lines(plan)
    yield from _orphan_lines(beside)
    yield from _remark_lines(plan, settings)


def _row(one: Planned) -> tuple[object, ...]:
    return (
        one.backup,
        one.policy or "?",
        one.created_at[:10] or "?",
        "yes" if one.judgement.keeps else "no",
        one.judgement.rule.value,
        one.judgement.why,
    )


def _left_lines(plan: RetentionPlan) -> Iterator[str]:
    for one in plan.dropped:
        for removal in one.removals:
            if removal.left:
                yield f"  {one.backup} would stay on {removal.target} for now: {removal.left}"


def _orphan_lines(beside: Beside) -> Iterator[str]:
    for orphan in beside.orphans:
        where = ", ".join(orphan.targets)
        yield f"Objects of {orphan.backup} on {where} would be removed too: {orphan.why}."


def no_rules_lines(settings: Settings, policies: Collection[str]) -> Iterator[str]:
    """Say of which of these policies everything is kept, since they name no rule."""
    if without := [
        name for name in policies if name in settings.policies and not settings.policies[name].keep
    ]:
        yield f"No keep rules, so everything stays: {', '.join(sorted(without))}."


def _remark_lines(plan: RetentionPlan, settings: Settings) -> Iterator[str]:
    yield from no_rules_lines(settings, {one.policy for one in plan.backups})
    for name in plan.away:
        yield f"Target '{name}' does not answer: nothing there would be removed."
    for name, why in plan.troubles.items():
        yield f"Target '{name}': {why}"
    if plan.aside:
        yield f"{plural(len(plan.aside), 'object')} among the marks did not count:"
        yield from (f"  {name}: {why}" for name, why in sorted(plan.aside.items()))
