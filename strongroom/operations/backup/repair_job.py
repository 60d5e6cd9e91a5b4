"""The repair as a job: plan → repair × what lacks → commit → verify × N × targets → report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from msgspec import structs

from strongroom.errors import ConfigError
from strongroom.operations.archive.deletions import forget_deleted
from strongroom.operations.archive.file_backups import in_a_file
from strongroom.operations.archive.inventory import LOST, REPAIRED, why_lost
from strongroom.operations.archive.locks import left_unlocked
from strongroom.operations.backup import replica_verdicts
from strongroom.operations.backup.existing import spec_about
from strongroom.operations.backup.facts import replica_facts
from strongroom.operations.backup.outcome import replica_outcome
from strongroom.operations.backup.quorum import quorum_is_open
from strongroom.operations.backup.repair import (
    BY_RECORD,
    PublishedManifest,
    Repaired,
    ToRepair,
    list_to_repair,
    publish,
    repair,
)
from strongroom.operations.backup.verify import REPORT, VERIFY, report_when_settled
from strongroom.operations.evidence.ledger_heads import put_heads_at_end
from strongroom.operations.run_integrity import TERMS
from strongroom.operations.runs.job import Ending, Job, Result, StepAction, Where, read_result, to_facts
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.operations.shredding import record as shredding_record
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    Tally,
)

AT_ONCE = "* * * * *"
"""The times of a repair whose damage was found after its last turn. One that fails then waits as ever."""
DAY = 86_400.0


class RepairJob(Job):
    """Brings the bad replicas of a backup up again, from any good one."""

    first = RunStep(StepKind.PLAN)
    terms = TERMS
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(list_to_repair, ToRepair, Pool.CONTROL),
        StepKind.REPAIR: StepAction(repair, Repaired, Pool.TRANSFER, tolerated=True, where=Where.THREAD),
        StepKind.COMMIT: StepAction(publish, PublishedManifest, Pool.CONTROL),
        StepKind.VERIFY: VERIFY,
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case ToRepair(lacking=lacking, idle=idle):
                copies = tuple(RunStep(StepKind.REPAIR, piece, target) for target, piece in lacking)
                return StepConsequence(follow=copies or (REPORT if idle else RunStep(StepKind.COMMIT),))
            case PublishedManifest(targets=targets):
                facts = replica_facts(run)
                follow = tuple(
                    RunStep(StepKind.VERIFY, piece, name)
                    for name in targets
                    if name not in facts.held
                    for piece in facts.pieces_read(name)
                )
                return StepConsequence(
                    facts=to_facts(result, "unlocked", "unplaced"), follow=follow or (REPORT,)
                )
            case _ if step.kind is StepKind.REPAIR:
                busy = tally.unsettled(StepKind.REPAIR)
                return StepConsequence() if busy else StepConsequence(follow=(RunStep(StepKind.COMMIT),))
            case _:
                return report_when_settled(run, tally, step)

    def worth_a_pause(self, run: Run, tally: Tally, step: RunStep) -> bool:
        """A copy is never waited for: the repair comes again with the next slot."""
        return step.kind is StepKind.VERIFY and quorum_is_open(run, tally, step)

    def after_step(self, run: Run, step: RunStep, services: Services) -> None:
        """Bring the targets what tells of a backup, too: heads, trust lists, and marks."""
        put_heads_at_end(step, services, run.spec.backup)

    def record(self, run: Run, services: Services) -> Sequence[str]:
        bad = {replica.target for replica in services.store.replicas(run.spec.backup) if not replica.good}
        read = replica_verdicts.read_back(run, services, enter_unread=True)
        # Told first: who dies in between tells it again, and not never.
        _tell_repaired(run, bad & read.good, services)
        return replica_verdicts.record_replicas(run, read, services)

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "what was good is untouched; what lacked may still lack"

    def outcome(self, run: Run, services: Services) -> Ending:
        read = replica_verdicts.read_back(run, services, enter_unread=True)
        return replica_outcome(run, read, services)

    def scheduled_entries(self, entry: Scheduled, services: Services) -> Iterator[Scheduled]:
        """Return an entry for each degraded backup. Whoever finds damage, its repair begins at once; what
        could not be repaired is tried again at the entry's times."""
        busy, found = under_way(services), _found_lately(services)
        for backup in degraded(services):
            if backup not in busy:
                scheduled_entry = entry.about(backup, options={"backup": backup})
                tried = services.store.newest_slot(scheduled_entry.name)
                again = tried is not None and found.get(backup, 0.0) > tried
                yield structs.replace(scheduled_entry, schedule=AT_ONCE) if again else scheduled_entry

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the repair of a backup. It goes by the record (``repair.BY_RECORD``).

        Backups of policies that are configured no more are left: nobody says where they belong.
        """
        with suppress(ConfigError):
            return spec_about(services, RunKind.REPAIR, entry.options["backup"], options=BY_RECORD)
        return None


JOB = RepairJob()


def _found_lately(services: Services) -> dict[str, float]:
    """Return when a replica of each backup was last found to be bad."""
    events = services.store.happened(LOST, since=services.store.clock() - DAY)
    return {str(event.detail.get("backup")): event.at for event in events}


def _tell_repaired(run: Run, targets: Iterable[str], services: Services) -> None:
    """Leave an event of each replica that was bad and is good again: what was wrong, repaired from where."""
    rows = [row for row in services.store.rows(run.id, StepKind.REPAIR) if row.result]
    held = replica_facts(run).held
    for target in sorted(targets):
        mine = [row for row in rows if row.step.target == target]
        sources = {read_result(run, row.step, row.result, Repaired).source for row in mine}
        services.store.event(
            REPAIRED,
            run.id,
            backup=run.spec.backup,
            target=target,
            why=why_lost(services.store, run.spec.backup, target),
            containers=len(mine),
            sources=sorted(sources or held),  # a manifest alone is the same on all that hold it
        )


def submit_repair(services: Services, *, backup: str, request_id: str | None = None) -> Submitted:
    """Create a run that brings a backup's bad replicas up again."""
    return submit(services, spec_about(services, RunKind.REPAIR, backup), request_id=request_id)


def degraded(services: Services) -> list[str]:
    """Return the backups that have a bad replica, by the catalog, or one that could not be locked."""
    store = services.store
    if store.with_bad_replicas():
        forget_deleted(store, services.targets.values(), trusted=services.signer_fingerprints)
    shredding = shredding_record.shredded_backups(store, services.signer_fingerprints)
    unlocked = [backup for backup in left_unlocked(store) if store.backup(backup)]
    backups = dict.fromkeys((*store.with_bad_replicas(), *unlocked))
    repairable = (backup for backup in backups if backup not in shredding and _on_targets(services, backup))
    return sorted(repairable, reverse=True)


def _on_targets(services: Services, backup: str) -> bool:
    """Tell whether a policy made a backup. A file that a command wrote is made anew, not repaired."""
    entry = services.store.backup(backup)
    return entry is None or not in_a_file(entry)


def under_way(services: Services) -> set[str]:
    """Return the backups that are still being made, or repaired."""
    active = services.store.active()
    return {run.spec.backup if run.spec.kind is RunKind.REPAIR else run.id for run in active}
