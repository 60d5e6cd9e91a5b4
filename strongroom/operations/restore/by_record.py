"""What the steps of a restore and of an undo work with in a cluster: what the record of their run names.

Nobody is asked: what the record names must be what this process's own configuration and keys say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

from strongroom.container.errors import Tampered
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Recipient
from strongroom.model import Role, Secret, Selection
from strongroom.operations.archive import shredding
from strongroom.operations.archive.catalog import read_record
from strongroom.operations.archive.coverage import Asked, BackupChoice, BackupPlace
from strongroom.operations.archive.holds import recorded_holds
from strongroom.operations.archive.inventory import put_damaged_on_record
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.archive.shortfall import Earlier, MissingSecret, Shortfall
from strongroom.operations.engine.integrity import check_target
from strongroom.operations.engine.jobs import read_options, read_result
from strongroom.operations.engine.services import Services, openers
from strongroom.operations.errors import BackupQuarantined
from strongroom.operations.restore.batch import Progress
from strongroom.operations.restore.carried import WHOLE, CarriedRecord, bring_run, carried, note_undone_by
from strongroom.operations.restore.journal import Interrupted, Journal, RestoreAccount, begin_run
from strongroom.operations.restore.plan import TELLS, PlanEntry, RestorePlan, manifest_digest
from strongroom.operations.restore.restorable import Restorable
from strongroom.operations.restore.restore import ChosenByContainer, chosen
from strongroom.operations.restore.staged import (
    REST,
    RunRestored,
    Spill,
    StagedPlan,
    UndoOptions,
    entries_of,
    facts_of,
    options_of,
    require_plan_approval,
    staged_plan_of,
    wave_of_names,
)
from strongroom.operations.restore.take_back import undoable
from strongroom.operations.restore.undo import UndoSealer
from strongroom.operations.restore.undo_job import Undoing
from strongroom.sources import Destination
from strongroom.state.errors import RecordRefused
from strongroom.state.records import RESTORES, Run, RunKind, StepKind, StepRow, StepState
from strongroom.targets import Target
from strongroom.targets.errors import StageDiffers
from strongroom.targets.single_file import BundleReader
from strongroom.times import rfc3339
from strongroom.words import plural


class RecordedRestore:
    """A restore as its run's record names it."""

    def __init__(self, run: Run, services: Services) -> None:
        self._run, self._services, self._options = run, services, options_of(run)
        if not (self._options.planned and self._options.compare) or self._options.only_plan:
            raise RecordRefused(f"run {run.id} is to do without a plan, its approval or the comparison")
        self.goes_on = f"strongroom runs retry {run.id}"

    @property
    def destination(self) -> Destination:
        return self._services.destination(self._options.destination)  # which the control pool has not

    def fixed(self) -> str:
        return manifest_digest(
            _choose(_chooser(self._run, self._services), self._run, self._run.spec.backup).manifest
        )

    def open(self) -> Restorable:
        backup = open_fixed(self._run, self._services)
        return Restorable(f"backup {backup.manifest.backup_id}", self._services.identities(), backup)

    def secrets(self, origin: Restorable) -> Iterator[Secret]:
        assert origin.backup is not None
        return chosen(origin.backup, names=self._options.names, selection=self._run.spec.selection)

    def by_container(self, origin: Restorable) -> ChosenByContainer | None:
        return None  # a run of the cluster goes by its plan

    def planned(self, origin: Restorable, entries: Iterable[PlanEntry] | None) -> Iterator[Secret]:
        assert origin.backup is not None
        taken = [(entry.name, entry.backup) for entry in entries or () if entry.action not in TELLS]
        return origin.backup.planned(taken)

    def shortfall(self) -> Shortfall | None:
        names = self._options.names
        selection = Selection(include=names) if names else self._run.spec.selection
        asked = Asked(backup=self._run.spec.backup, selection=selection, partial=True)
        return shortfall_of(self._run, self._services, asked)

    def missing(self) -> Iterable[MissingSecret]:
        return ()

    def made_before(self) -> RestorePlan | None:
        return None

    def keeper(self, origin: Restorable) -> Spill:
        assert origin.backup is not None
        most = len(self._options.names) or origin.total
        wave_of = wave_of_names(origin.backup, self.destination, self._options.first)
        return Spill(self._run, self._services, wave_of, secrets=most)

    def plan(self) -> StagedPlan:
        return _approved_plan(self._run, self._services)

    def entries(self, plan: StagedPlan | None, piece: int) -> Sequence[PlanEntry]:
        assert plan is not None
        return entries_of(self._run, plan, piece, self._services)

    def folder(self, piece: int) -> Path:
        """Name the folder of a piece by its plan too, so that those of a run that was planned anew come
        later."""
        plan = staged_plan_of(self._run, self._services)
        journal = Journal(
            started_at=rfc3339(self._services.store.clock()),
            backup=plan.backup,
            to=plan.destination.name,
            goes_on=self.goes_on,
        )
        folder = begin_run(self._services.state_dir / "undo" / self._run.id, journal)
        return folder / f"{plan.made_at}-{piece:05}"

    def carried(self, folder: Path) -> CarriedRecord | None:
        if (record := carried(self._run, folder, self._services)) is not None:
            # What other hosts wrote by plans before this one.
            bring_run(self._run, self._services, besides=folder.name.rpartition("-")[0])
        return record

    def sealer(self, origin: Restorable) -> UndoSealer:
        return _sealer(self._run, self._services, origin.readers)

    def began(self, account: RestoreAccount, earlier: Sequence[Interrupted]) -> None:
        """Nobody waits for it: the run's record tells."""

    def accept_no_way_back(self, why: StrongroomError) -> None:
        raise type(why)(
            f"This restore could not be undone: {why.message}",
            hint="Nothing was written. Give this host a key that seals and opens, then 'strongroom runs "
            "retry "
            "RUN'. 'strongroom restore --force' restores all the same.",
        )

    def counting(self, doing: str) -> AbstractContextManager[Progress]:
        return nullcontext(_uncounted)


class RecordedUndo:
    """The undoing of a restore run, as its own run's record names it, where that restore is on record."""

    def __init__(self, run: Run, services: Services) -> None:
        self._run, self._services, self._options = run, services, undo_options_of(run)
        if self._options.only_plan:
            raise RecordRefused(f"run {run.id} is to undo nothing")
        self.goes_on = f"strongroom runs retry {run.id}"

    @property
    def destination(self) -> Destination:
        return self._services.destination(self._options.destination)  # which the control pool has not

    def fixed(self) -> str:
        """Hold an undo to a restore that is on record and at its end, into the same destination."""
        run, undone = self._run, self._services.store.load(self._options.undoes)
        if undone.spec.kind not in RESTORES:
            raise RecordRefused(f"run {undone.id} is no restore")
        if undone.spec.options.get("destination") != self._options.destination:
            raise RecordRefused(f"run {undone.id} restored into another destination than run {run.id} names")
        if not undone.state.final:
            raise UsageError(
                f"Run {undone.id} is still at work.", hint=f"Wait, then 'strongroom runs retry {run.id}'."
            )
        return undone.id

    @contextmanager
    def undoing(self) -> Iterator[Undoing]:
        undone = self._services.store.load(self._options.undoes)
        self._require_whole_record(undone, bring_run(undone, self._services))
        undo = self._services.state_dir / "undo"
        what = undoable(undo, self._options.undoes)
        openers(self._run.spec, self._services)
        opened: dict[Path, Backup] = {}
        with ExitStack() as files:
            yield Undoing(
                what,
                self.destination,
                undo / self._run.id,
                open_file=partial(self._open, files, opened),
                sealer=lambda: _sealer(
                    self._run, self._services, next((backup.manifest for backup in opened.values()), None)
                ),
                to=self._options.destination,
                goes_on=self.goes_on,
                selection=self._options.selection,
                carried=carried(self._run, undo / self._run.id, self._services, part=WHOLE),
                began=lambda: note_undone_by(undone, self._run.id, self._services),
            )

    def _open(self, files: ExitStack, opened: dict[Path, Backup], file: Path) -> Backup:
        """Open an undo file: one that a trusted installation signed, as any other backup."""
        if file not in opened:
            bundle = files.enter_context(BundleReader(file))
            trusted = self._services.signer_fingerprints
            opened[file] = open_backup(bundle, identities=self._services.identities(), trusted=trusted)
        return opened[file]

    def _require_whole_record(self, undone: Run, heads: Mapping[str, str]) -> None:
        """Refuse to undo a part, or by what is not the record that the restore left."""
        if undone.spec.kind is RunKind.UNDO:  # one piece, which is there or not
            return
        folder = self._services.state_dir / "undo" / undone.id
        rows = self._services.store.rows(undone.id, StepKind.RESTORE)
        wrote = [row.step.piece for row in rows if _wrote(undone, row)]
        for row in rows if heads else ():
            _require_head(undone, row, heads)
        if elsewhere := sum(not any(folder.glob(f"*-{piece:05}")) for piece in wrote):
            raise UsageError(
                f"{elsewhere:,} of the {plural(len(wrote), 'piece')} of run {undone.id} are not on record "
                "on this host.",
                hint="Nothing was changed. On each host whose workers restored it, type "
                f"'strongroom restore undo {undone.id}': that undoes what this host restored.",
            )

    def keeper(self, secrets: int) -> Spill:
        return Spill(self._run, self._services, lambda name: REST, secrets=secrets)

    def plan(self) -> StagedPlan:
        return _approved_plan(self._run, self._services)

    def entries(self, plan: StagedPlan | None) -> Iterable[PlanEntry]:
        assert plan is not None
        pieces = (entries_of(self._run, plan, piece, self._services) for piece in range(len(plan.pieces)))
        return (entry for piece in pieces for entry in piece)

    def counting(self, doing: str) -> AbstractContextManager[Progress]:
        return nullcontext(_uncounted)


def _require_head(undone: Run, row: StepRow, heads: Mapping[str, str]) -> None:
    """Refuse a piece's record that lacks something: what was left out of it would stay as it was restored."""
    if not _wrote(undone, row):
        return
    wanted = read_result(undone, row.step, row.result, RunRestored).carried
    if wanted and wanted not in heads.values():
        raise StageDiffers(
            f"the stage has another record of piece {row.step.piece} of run {undone.id} than was put there",
            hint="Nothing was changed. Find out who else writes to the stage. What each host restored itself "
            f"'strongroom restore undo {undone.id}' undoes on that host.",
        )


def undo_options_of(run: Run) -> UndoOptions:
    """Return what an undo run is asked for."""
    return read_options(run, UndoOptions, "an undo")


def _uncounted(secrets: int) -> None:
    """Nobody looks: how far a run is, its record tells."""


def _wrote(run: Run, row: StepRow) -> bool:
    """Tell whether a piece wrote anything: one that did not leaves no record."""
    return row.state is StepState.DONE and read_result(run, row.step, row.result, RunRestored).written > 0


def _approved_plan(run: Run, services: Services) -> StagedPlan:
    """Return the plan that was signed for a run, if it may be done: each step asks again."""
    plan = staged_plan_of(run, services)
    require_plan_approval(run, plan, services)
    return plan


def _sealer(run: Run, services: Services, manifest: Manifest | None) -> UndoSealer:
    """Return what seals the way back of a run, for whoever could open a backup."""

    def others() -> Sequence[Recipient]:
        with suppress(StrongroomError):  # of a policy that is no more, or that this host cannot make out
            return services.pinned(run.spec.policy).recipients
        return ()

    return UndoSealer(services.identities(), services.signers(Role.RECOVER), manifest=manifest, others=others)


# -- the backup ------------------------------------------------------------------------------


def open_fixed(run: Run, services: Services) -> Salvaged:
    """Open the backup of a restore run: the one that its first step found, and no other of that name.

    What of it no target gives is taken from the backups before it.
    """
    opened = open_anywhere(run, services, whole=False)
    asked = Asked(backup=run.spec.backup, selection=run.spec.selection, partial=True)
    before = (_opened(choice, services) for choice in _chooser(run, services).before(opened.manifest, asked))
    backup = Salvaged(opened, before)
    backup.unlock()
    if manifest_digest(backup.manifest) != facts_of(run).manifest:
        raise Tampered(
            f"Backup {run.spec.backup} has another manifest now than when this restore was planned.",
            hint="Nothing more was written. Find out who signed it: 'strongroom backups verify'.",
        )
    return backup


def open_anywhere(
    run: Run, services: Services, *, backup: str = "", or_newest: bool = False, whole: bool = True
) -> Replicated:
    """Open the run's backup, or the newest that covers what it is to restore, from all targets that have it.

    Each wrapping key is opened once: what does not open from one target may from another.

    Args:
        backup: the backup to open, if it is not the one that the run is about.
        or_newest: take the newest of the policy instead if the backup is quarantined.
        whole: a container of each wrapping key has to open.
    """
    openers(run.spec, services)  # one that opens nothing asks no target
    chooser = _chooser(run, services)
    choice = _choose(chooser, run, backup or run.spec.backup, or_newest=or_newest)
    put_damaged_on_record(services.store, chooser.damaged)
    opened = _opened(choice, services)
    opened.failed |= {name: f"{error.code}: {error.message}" for name, error in chooser.away.items()}
    opened.failed |= chooser.odd_marks
    if whole:
        opened.unlock()
    return opened


def _opened(choice: BackupChoice, services: Services) -> Replicated:
    return Replicated(
        choice,
        services.identities(),
        trusted=services.signer_fingerprints,
        told=partial(_put_on_record, services),
    )


def _chooser(run: Run, services: Services) -> Chooser:
    shredding.check(services.store, run.spec.backup, services.signer_fingerprints)
    targets = [check_target(run, pin.name, services) for pin in run.spec.targets]
    trusted = services.signer_fingerprints
    gone = frozenset(shredding.shredded_backups(services.store, trusted))
    return read_record(services.store, gone=gone).chooser(
        [BackupPlace(target.name, partial(_give_target, target)) for target in targets], trusted=trusted
    )


def _choose(chooser: Chooser, run: Run, backup: str, *, or_newest: bool = False) -> BackupChoice:
    try:
        return chooser.choose(Asked(backup=backup, selection=run.spec.selection, partial=True))
    except BackupQuarantined:
        if not or_newest:
            raise
    return chooser.choose(Asked(policy=run.spec.policy, partial=True))


def _put_on_record(services: Services, name: str, why: str, backup: str) -> None:
    """Have a replica repaired that could not be read: the restore itself goes on with another one."""
    if backup:
        put_damaged_on_record(services.store, {(name, backup): why})


def _give_target(target: Target) -> Target:
    return target


def shortfall_of(run: Run, services: Services, asked: Asked) -> Shortfall | None:
    """Return what a backup lacks of those before it on the run's targets. Where nothing tells, it goes on."""
    trusted, identities = services.signer_fingerprints, services.identities()
    try:
        chooser = _chooser(run, services)
        earlier = Earlier(
            chooser.choose(asked),
            asked,
            chooser,
            identities=identities,
            trusted=trusted,
            opened=partial(_opened, services=services),
            held=recorded_holds(services.store),
        )
        return earlier.shortfall()
    except StrongroomError:
        return None
