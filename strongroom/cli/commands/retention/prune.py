"""prune: mark the backups that no rule keeps, and delete those that were marked long enough ago."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from strongroom.cli.commands.retention.dry_run import no_rules_lines, show_plan
from strongroom.cli.commands.retention.unapproved import unapproved
from strongroom.cli.shared.drive_run import drive_here, require_good, require_whole
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, plural, size
from strongroom.config import load_settings
from strongroom.model import EVERY_POLICY
from strongroom.operations.retention.delete import Deleted, Marked
from strongroom.operations.retention.prune_job import marked_by, results_of, submit_prune
from strongroom.operations.retention.prune_plan import ToPrune
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.state.records import Run


def prune_backups(arguments: Namespace, output: Output) -> None:
    if arguments.dry_run:
        show_plan(arguments, output)
        return
    settings = load_settings()
    services = open_services(settings)
    run_id, tickets = submit_prune(services, policy=arguments.policy or EVERY_POLICY)
    run = drive_here(run_id, tickets, services, output)
    require_good(run)
    said = Pruned.of(run, services)
    for line in unapproved(settings, services, arguments.policy):
        output.warn(line)
    remarks = no_rules_lines(settings, [arguments.policy] if arguments.policy else settings.policies)
    output.answer(said.document(), (*said.lines(), *remarks))
    require_whole(run)


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune did, by target."""

    run: str
    plan: ToPrune
    marked: Mapping[str, Marked]
    deleted: Mapping[str, Deleted]

    @classmethod
    def of(cls, run: Run, services: Services) -> Pruned:
        """Read it from the record."""
        return cls(
            run=run.id,
            plan=read_facts(run, ToPrune),
            marked=marked_by(run, services),
            deleted=results_of(run, services),
        )

    def document(self) -> dict[str, Any]:
        """Return it for machines."""
        targets = {
            name: {
                "before": before,
                "after": self.deleted[name].after if name in self.deleted else before,
                "freed": self.deleted[name].freed if name in self.deleted else 0,
                "deleted": list(self.deleted[name].backups) if name in self.deleted else [],
                "marked": list(self.marked[name].marked) if name in self.marked else [],
                "undeleted": list(self.marked[name].undeleted) if name in self.marked else [],
                "left": msgspec.to_builtins(self.deleted[name].left) if name in self.deleted else {},
            }
            for name, before in self.plan.before.items()
        }
        return {
            "run": self.run,
            "kept": self.plan.kept,
            "waiting": self.plan.waiting,
            "more": self.plan.more,
            "away": dict(self.plan.away),
            "targets": targets,
        }

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        yield f"{plural(self.plan.kept, 'backup')} kept, {self._waiting()}."
        yield from self._marked()
        for name, deleted in sorted(self.deleted.items()):
            yield (
                f"{name}: {plural(len(deleted.backups), 'backup')} deleted, {size(deleted.freed)} freed; it "
                f"held {size(self.plan.before[name])} and holds {size(deleted.after)}"
            )
            yield from (f"  {backup} is gone from there" for backup in deleted.backups)
            for backup, left in deleted.left.items():
                yield f"  {backup} stays there for now: {left.why}" + (
                    f", until {left.until}" if left.until else ""
                )
        for name, why in self.plan.away.items():
            yield f"{name}: not looked at, so nothing there was deleted: {why}"
        if self.plan.more:
            yield f"{self.plan.more:,} more are left to the next prune: one sees to so many at most."

    def _waiting(self) -> str:
        return f"{self.plan.waiting:,} marked earlier and not due yet"

    def _marked(self) -> Iterator[str]:
        new = sorted({backup for one in self.marked.values() for backup in one.marked})
        for backup in new:
            why = next((one.why for one in self.plan.mark if one.backup == backup), "")
            yield f"{backup} is marked: {why}"
        if new:
            yield "'strongroom undelete BACKUP' keeps one of them, until its grace is over."
        for one in self.plan.undelete:
            yield f"{one.backup} is not marked any more: {one.why}"
