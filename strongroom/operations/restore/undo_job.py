"""The undoing of a restore as a run, on record."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from strongroom.errors import UsageError
from strongroom.model import Selection, prepare
from strongroom.operations.backup.verify import spec_of_policy
from strongroom.operations.engine.integrity import TERMS
from strongroom.operations.engine.jobs import ApprovedJob, Ending, Result, RunAccount, StepAction
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted, submit
from strongroom.operations.errors import ApprovalNeeded, RunDegraded
from strongroom.operations.restore.batch import Progress
from strongroom.operations.restore.carried import CarriedRecord
from strongroom.operations.restore.job import PASSING, REPORT, restore_account
from strongroom.operations.restore.journal import (
    DONE,
    NAMES,
    PARTIAL,
    STOPPED,
    Journal,
    RestoreAccount,
    Restored,
    continue_with,
    interrupted,
    note_undone,
)
from strongroom.operations.restore.plan import Note, PlanEntry, RestorePlan, encode_entry, name_destination
from strongroom.operations.restore.record import Recorder, key_file, records, traces_of
from strongroom.operations.restore.staged import Approved, RunRestored, StagedPlan, UndoOptions, facts_of
from strongroom.operations.restore.step import restored_by
from strongroom.operations.restore.take_back import Decided, Open, TakeBack, Undoable, decided, undone_before
from strongroom.operations.restore.undo import UndoSealer, seal_record_key, undo_into
from strongroom.sources import Destination
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    RESTORES,
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    StepConsequence,
    StepKind,
    StepRow,
    Tally,
)
from strongroom.system.attempts import on_failure
from strongroom.times import rfc3339
from strongroom.words import plural, verb

# -- The steps of the undoing of a restore: find it, look at what it left, wait for people, bring back
#
# They are the same for a cluster and for a person at a command line
# (:mod:`~strongroom.operations.restore.work`).


class FixedRestore(Struct, frozen=True, kw_only=True):
    """The restore that the run undoes."""

    undoes: str


prepare(FixedRestore)


def fix_restore(run: Run, step: RunStep, services: Services) -> FixedRestore:
    """Hold an undo to a restore that is on record and at its end."""
    return FixedRestore(undoes=services.undoing(run, services).fixed())


def plan_undo(run: Run, step: RunStep, services: Services) -> StagedPlan:
    """Look at what the restore left, and say what would be done with each secret; write nothing."""
    work, entries = services.undoing(run, services), hashlib.sha256()
    with work.undoing() as undoing:
        keeper = work.keeper(undoing.take_back().total)

        def note(entry: PlanEntry) -> None:
            entries.update(encode_entry(entry))
            keeper.add(entry)

        totals = undoing.plan(note)
    head = RestorePlan(
        id=run.id,
        made_at=rfc3339(time.time()),
        by=run.spec.options.get("requester", ""),
        backup=undoing.about,
        manifest="",
        destination=name_destination(work.destination, undoing.to),
        overwrite=True,
        totals=totals,
        entries=entries.hexdigest(),
    )
    return keeper.finish(head)


def approve_undo(run: Run, step: RunStep, services: Services) -> Approved:
    """Wait until enough people approved the plan, if the configuration asks for that."""
    services.undoing(run, services).plan()
    return Approved()


def undo_step(run: Run, step: RunStep, services: Services) -> RunRestored:
    """Bring back what was there, and remove what was not; what an attempt that died did is not done again."""
    work = services.undoing(run, services)
    only = decided(work.entries(work.plan()))  # nothing else is touched: nobody approved it
    with work.undoing() as undoing, work.counting("undoing") as advance:
        undoing.perform(only, progress=advance)
    return restored_by(undoing.account, undoing.about, undoing.folder)


# -- The undoing of a restore run as a job: plan → restore plan → approve → undo → report -------


UNDO = RunStep(StepKind.RESTORE)


class UndoJob(ApprovedJob):
    """Brings back what a restore run replaced, and removes what it created, where nobody changed it since."""

    first = RunStep(StepKind.PLAN)
    keeps_steps = True
    opens = True
    terms = TERMS
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(fix_restore, FixedRestore, Pool.CONTROL),
        StepKind.RESTORE_PLAN: StepAction(plan_undo, StagedPlan, Pool.RECOVER, waits_for=PASSING),
        StepKind.APPROVE: StepAction(approve_undo, Approved, Pool.RECOVER, waits_for=(ApprovalNeeded,)),
        StepKind.RESTORE: StepAction(undo_step, RunRestored, Pool.RECOVER, waits_for=PASSING),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case FixedRestore():
                return StepConsequence(follow=(RunStep(StepKind.RESTORE_PLAN),))
            case StagedPlan():
                follow = REPORT if run.spec.options.get("only_plan") else RunStep(StepKind.APPROVE)
                return StepConsequence(facts={"restore_plan": msgspec.to_builtins(result)}, follow=(follow,))
            case Approved():
                return StepConsequence(follow=(UNDO,))
            case _:
                return StepConsequence(facts={"restore": msgspec.to_builtins(result)}, follow=(REPORT,))

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "what was undone by then stays"

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:
        return restore_account(run, rows, facts_of(run))

    def outcome(self, run: Run, services: Services) -> Ending:
        """Say what somebody changed since the restore, which is left to them."""
        done = facts_of(run).restore
        if run.spec.options.get("only_plan"):
            return Ending(RunState.DONE)
        if done is None:
            raise RecordRefused(f"run {run.id} does not record what it undid")
        shortfalls = list(_shortfalls(done, into=str(run.spec.options.get("destination"))))
        if not shortfalls:
            return Ending(RunState.DONE)
        shortfalls.append(f"each is named in {done.record}/{NAMES}")
        return Ending(RunState.DEGRADED, "; ".join(shortfalls))


JOB = UndoJob()


def changed_since(count: int, *, into: str, planned: bool = False) -> RunDegraded:
    """Return what an undo ends with that leaves, or would leave, what somebody changed since."""
    said = f"{plural(count, 'secret')} in '{into}' {verb(count, 'were')} changed since the restore"
    were = "would be" if planned else verb(count, "were")
    return RunDegraded(f"{said}, and {were} left as {'it is' if count == 1 else 'they are'}.", hint=_LEFT)


_LEFT = (
    "The lines above name each. Look at who wrote there. 'strongroom restore --backup-file FILE' with "
    "a file of the restore's undo folder brings one of them back all the same. One that the restore had "
    "created is in no file: remove it yourself."
)


def _shortfalls(done: RunRestored, *, into: str) -> Iterator[str]:
    if done.left:
        yield changed_since(done.left, into=into).message.rstrip(".")
    if done.not_done:
        by = ", ".join(f"{count:,} {code}" for code, count in done.not_done_by.items())
        yield f"{plural(done.not_done, 'secret')} could not be undone ({by})"


def submit_undo(services: Services, *, options: UndoOptions, request_id: str | None = None) -> Submitted:
    """Create a run that undoes a restore run, or an undo.

    Raises:
        UsageError: the run is no restore, or is still at work.
    """
    undone = services.store.find(options.undoes)
    if undone.spec.kind not in RESTORES:
        raise UsageError(
            f"Run {undone.id} is a {undone.spec.kind.value}, which there is no undoing.",
            hint="'strongroom restore undo ID' undoes what a command restored, on the host where it did.",
        )
    if not undone.state.final:
        raise UsageError(
            f"Run {undone.id} is still at work; nothing was submitted.",
            hint=f"Wait for its end, or end it: 'strongroom runs cancel {undone.id}'.",
        )
    destination = undone.spec.options.get("destination", "")
    given = msgspec.structs.replace(options, undoes=undone.id, destination=destination)
    about = {name: getattr(undone.spec, name) for name in ("source", "values", "backup")}
    spec = spec_of_policy(
        services, RunKind.UNDO, undone.spec.policy, options=msgspec.to_builtins(given), **about
    )
    return submit(services, spec, request_id=request_id)


# -- One undo of one restore, put on record: what the command and the cluster's step both do ----


class Undoing:
    """An undo that is planned, then done.

    Args:
        folder: where it is put on record, beside the restore.
        open_file: opens what the restore kept.
        sealer: seals what undoes the undo; made once the files are open.
        to: the name of the destination, as the record has it.
        goes_on: what to type after it was interrupted.
        carried: brings its record to other hosts, if there are any.
        began: is called before the first change, so that they know of it.
    """

    def __init__(
        self,
        what: Undoable,
        destination: Destination,
        folder: Path,
        *,
        open_file: Open,
        sealer: Callable[[], UndoSealer],
        to: str,
        goes_on: str,
        selection: Selection = Selection(),
        carried: CarriedRecord | None = None,
        began: Callable[[], None] = lambda: None,
    ) -> None:
        self.about, self.to, self.folder = about(what), to, folder
        self._what = what
        self._destination = destination
        self._open = open_file
        self._sealer = sealer
        self._journal = Journal(
            started_at=rfc3339(time.time()), backup=self.about, to=to, goes_on=goes_on, undoes=what.run
        )
        self._selection = selection
        self._carried, self._tell = carried, began
        if carried is not None:
            carried.bring()
        self._earlier = list(interrupted(folder.parent, to=to, backup=self._journal.backup))
        self.account = RestoreAccount()
        self._require_keys()

    def _require_keys(self) -> None:
        """Open the keys of the record, so that what does not open is told before anything is begun."""
        for record in (record for folder in self._what.folders for record in records(folder)):
            if key_file(record).exists():
                self._open(key_file(record))

    def take_back(self, plan: Decided | None = None) -> TakeBack:
        """Return what does it, by a plan if there is one."""
        tried = self.account.tried.union(*(attempt.tried for attempt in self._earlier))
        return TakeBack(
            self._what, self._destination, self._open, tried=tried, plan=plan, selection=self._selection
        )

    def plan(self, note: Note) -> Restored:
        """Say what would be done; write nothing."""
        return self.take_back().plan(note)

    def perform(self, plan: Decided, *, progress: Progress | None = None) -> None:
        """Do what a plan says. Whatever ends it, :attr:`account` tells what was done by then."""
        sealer = self._sealer()
        recorder = Recorder(self.folder, partial(seal_record_key, sealer))
        carry = self._carried.send if self._carried is not None else None
        self.account = RestoreAccount(
            self.folder, self._journal, earlier=self._earlier, recorder=recorder, carry=carry
        )
        self.account.begin()
        before = traces_of([self.folder])
        with on_failure(lambda: self.account.end(STOPPED)):
            undoing = self.take_back(plan)
            note_undone(self.folder.parent / self._what.run, self.folder.name)
            self._tell()
            keep = undo_into(self.folder, self._destination, sealer)
            undoing.perform(self.account, keep, progress=progress)
            done = undone_before(before, traces_of([self.folder]), self.account)
            self.account.counts = self.account.counts.plus(done)
        self.account.end(PARTIAL if self.account.counts.not_done else DONE)
        if self._carried is not None:
            self._carried.send()
        if self.account.folder is not None:
            continue_with(
                [
                    earlier_restore
                    for earlier_restore in self._earlier
                    if earlier_restore.folder != self.folder
                ],
                self.folder,
            )


def about(what: Undoable) -> str:
    """Return what stands in the place of a backup where an undo is on record."""
    return f"undo of {what.run}"
