"""restore undo: a restore on record is taken back, as far as nobody changed since what it left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from strongroom.cli.commands.restore.account_lines import (
    PlanLines,
    counted,
    how_ended,
    names_left,
    not_done,
    summed,
    they,
)
from strongroom.cli.commands.restore.arguments import RestoreUndo
from strongroom.cli.parameters import command_line
from strongroom.cli.shared import access_log, identities, opening, options, sources
from strongroom.cli.shared.restore_source import undo_sealer
from strongroom.cli.shared.services import existing_run_store, open_services
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line, plural, verb
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.cli.terminal.screen import counting
from strongroom.config import load_settings
from strongroom.errors import SourceError, StrongroomError, UsageError, name_of
from strongroom.model import COMMAND, ApprovalAction, Selection
from strongroom.operations.archive.open import Backup
from strongroom.operations.engine.lone_run import LoneStore, drive_alone, lone_services
from strongroom.operations.errors import RightMissing
from strongroom.operations.evidence import access_log as evidence_access_log
from strongroom.operations.restore.batch import Progress
from strongroom.operations.restore.carried import bring_run, carried_journals
from strongroom.operations.restore.journal import Journal, RestoreAccount, Restored, journals, parts_of
from strongroom.operations.restore.plan import PlanEntry, RestoreAction, RestorePlan
from strongroom.operations.restore.record import key_file, records
from strongroom.operations.restore.staged import StagedPlan, UndoOptions
from strongroom.operations.restore.step import whole_plan
from strongroom.operations.restore.take_back import TakeBack, Undoable, undoable
from strongroom.operations.restore.undo import UndoSealer
from strongroom.operations.restore.undo_job import Undoing, about, changed_since
from strongroom.sheet import Lines, Sheet
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run, RunKind, Spec
from strongroom.system.errors import Conflict
from strongroom.wiring.read_only import looking_services


def undo_restore(given: RestoreUndo, output: Output) -> Answer | None:
    here = place.find()
    undo = here.state_dir / "undo"
    if given.list:
        return _list(undo, output)
    if given.restored is None:
        raise UsageError("Which restore?", hint="See them with 'strongroom restore undo --list'.")
    _bring(given.restored, output)
    what = undoable(undo, given.restored)
    _refuse_unfinished_run(what.run)
    selection = given.selected.selection()
    approved = "" if given.dry_run else _require_approved(here, what, selection)
    with ExitStack() as opened:
        undoing = AttendedUndo(given, output, here, what, opened=opened, selection=selection)
        undoing.do()
        if undoing.is_over:
            access_log.end_approval(here, approved)
        undoing.answer()
    return None


def _bring(run: str, output: Output) -> None:
    """Have what other hosts restored on record here too, if the cluster did it and has a stage for that."""
    try:
        if (settings := load_settings()).stages and existing_run_store(settings) is not None:
            services = open_services(settings, output=output)
            bring_run(services.store.load(run), services)
    except RunNotFound:  # a restore of the command line
        return
    except StrongroomError as error:  # what this host restored can be undone without
        output.note(f"note: what other hosts restored is not undone here: {in_line(error.message)}")


def _require_approved(here: InstallationPlace, what: Undoable, selection: Selection) -> str:
    part: dict[str, Any] = {} if selection == Selection() else {"selection": selection}
    return access_log.require_approved(
        here,
        ApprovalAction.UNDO,
        {"undoes": what.run, **part},
        destination=what.journal.to,
        lines=(
            f"undo restore {what.run} into '{what.journal.to}', where nobody changed it since",
            *([access_log.how_much(selection)] if part else []),
        ),
        lasting=True,
    )


def _refuse_unfinished_run(run: str) -> None:
    """Refuse to undo a run that the cluster would go on with afterwards."""
    ended = True
    with suppress(StrongroomError):  # a restore of the command line, or a host without the record of runs
        store = existing_run_store(load_settings())
        ended = store is None or store.load(run).state.final
    if not ended:
        raise UsageError(
            f"Run {run} has not ended: a cluster would go on with it. Nothing was changed.",
            hint=f"End it first: 'strongroom runs cancel {run}'. Then repeat.",
        )


class AttendedUndo:
    """One undo of the command line: what its run works with, and what is told of it.

    The run is the one that a cluster performs (:mod:`strongroom.operations.restore.undo_job`), driven here.
    """

    def __init__(
        self,
        given: RestoreUndo,
        output: Output,
        here: InstallationPlace,
        what: Undoable,
        *,
        opened: ExitStack,
        selection: Selection,
    ) -> None:
        self._given, self._output, self._here, self._what = given, output, here, what
        self._opened, self._selection = opened, selection
        self._files: dict[Path, Backup] = {}
        self._openers = identities.identities_of(given.opening, output, here)
        self._every = output.json or given.all_names
        self._planned = PlanLines(_WOULD, every=self._every)
        self._entries: list[PlanEntry] = []
        self._done = Restored()
        self._totals: TakeBack | None = None
        self._stopped: BaseException | None = None
        self._confirmed = self._began = False
        self._undone: Undoing | None = None
        self._folder = here.state_dir / "undo"
        self.destination = sources.destination_of(what.journal.to, here)
        again = replace(given, restored=what.run, dry_run=False, all_names=False)
        self.goes_on = command_line("restore undo", again)

    # -- the run ------------------------------------------------------------------

    def do(self) -> None:
        """Undo, or find out what that would do. What stops it is kept for :meth:`answer`."""
        dry = self._given.dry_run
        store = LoneStore(lambda run: self._here.state_dir / "undo" / run)
        asked = UndoOptions(undoes=self._what.run, destination=self._what.journal.to, only_plan=dry)
        spec = Spec(
            kind=RunKind.UNDO,
            policy=COMMAND,
            options=msgspec.to_builtins(asked),
        )
        services = lone_services(
            store, spec, state_dir=self._here.state_dir, undoing=lambda run, _services: self._at(run)
        )
        try:
            _, error = drive_alone(store, spec, services)
            if error is not None:
                raise error
        except BaseException as stopped:
            if not self._began:
                raise
            self._stopped = stopped
        if self._began and self._account.folder is None:
            self._output.note(f"note: this undo is not on record: {self._folder} cannot be written")
        self._done = self._account.counts if self._began else self._done

    def _at(self, run: Run) -> AttendedUndo:
        self._folder = self._here.state_dir / "undo" / run.id
        return self

    # -- what the steps of the run ask ----------------------------------------------

    def fixed(self) -> str:
        return self._what.run

    @contextmanager
    def undoing(self) -> Iterator[Undoing]:
        if self._undone is None:
            self._undone = Undoing(
                self._what,
                self.destination,
                self._folder,
                open_file=self._open,
                sealer=self._sealer,
                to=self._what.journal.to,
                goes_on=self.goes_on,
                selection=self._selection,
            )
            self._totals = self._undone.take_back()
        yield self._undone

    def _open(self, file: Path) -> Backup:
        """Open an undo file: one that a trusted installation signed, as any other backup."""
        if file not in self._files:
            with opening.explaining_keys():
                objects = self._opened.enter_context(opening.objects_in_file(file))
                where = options.FileOrTargets(backup_file=file)
                source = options.BackupSource(where=where, trust=self._given.trust)
                backup = opening.open_trusted(
                    objects, source, self._output, lambda: self._openers, self._here
                )
                backup.unlock()
            self._files[file] = backup
        return self._files[file]

    def _sealer(self) -> UndoSealer:
        manifest = next((backup.manifest for backup in self._files.values()), None)
        return undo_sealer(self._openers, manifest, self._output, self._here)

    def keeper(self, secrets: int) -> AttendedUndo:
        return self

    def add(self, entry: PlanEntry) -> None:
        """Hold an entry of the plan for the answer, and, if something is done with it, for that."""
        self._planned.add(entry)
        if entry.action is not RestoreAction.SAME:
            self._entries.append(entry)

    def finish(self, head: RestorePlan) -> StagedPlan:
        self._done = head.totals
        return whole_plan(head)

    def plan(self) -> StagedPlan | None:
        """Say once what will be done, and what cannot be, before anything is written elsewhere."""
        if not self._confirmed:
            self._confirm(self._done)
            self._confirmed = True
        return None

    def entries(self, plan: StagedPlan | None) -> Iterable[PlanEntry]:
        return self._entries

    def counting(self, doing: str) -> AbstractContextManager[Progress]:
        self._began = True
        return counting(self._output, doing, self._total)

    def _confirm(self, planned: Restored) -> None:
        if self._what.journal.to == options.LOCAL or not (planned.written or planned.not_done):
            return
        counts = (
            (planned.changed + planned.created, "brought back as before"),
            (planned.removed, "removed"),
            (planned.not_done, "left, which cannot be undone (--dry-run names each, with the reason)"),
        )
        said = ", ".join(f"{number:,} {words}" for number, words in counts if number)
        into = f"Restore {self._what.run} into '{self._what.journal.to}' will be undone"
        prompts.confirm(f"{into}: {said}", force=self._given.force)

    # -- telling -------------------------------------------------------------------

    @property
    def _account(self) -> RestoreAccount:
        return self._undone.account if self._undone is not None else RestoreAccount()

    @property
    def _total(self) -> int:
        return self._totals.total if self._totals is not None else 0

    @property
    def _already(self) -> int:
        return self._totals.already if self._totals is not None else 0

    @property
    def is_over(self) -> bool:
        """Whether there is nothing that the same command would go on with."""
        return self._stopped is None and not self._done.not_done

    @property
    def _ended(self) -> str:
        return how_ended(self._done, self._stopped)

    def answer(self) -> None:
        """Tell what came of it, put that on record, and raise what it comes to."""
        outcome = self._outcome()
        if not self._given.dry_run:
            self._put_on_record(outcome)
        sheet = Sheet(parts=[Lines(list(self._lines()))])
        self._output.give(Answer(record=self._document(), sheet=sheet))
        if isinstance(outcome, KeyboardInterrupt):
            outcome.add_note("what was undone by then stays undone, as the lines above say.")
        if outcome is not None:
            raise outcome

    def _outcome(self) -> BaseException | None:
        done, worst = self._done, self._account.worst
        if self._stopped is not None:
            return self._stopped
        if worst is not None and not isinstance(worst, Conflict):
            return summed(worst, self._account, "undone", hint=_CANNOT)
        if kept := done.left + (0 if self._given.dry_run else done.not_done):
            return changed_since(kept, into=self._what.journal.to, planned=self._given.dry_run)
        if self._given.dry_run and (cannot := self._planned.counts[RestoreAction.CANNOT]):
            kind = RightMissing if set(self._planned.codes) == {RightMissing.__name__} else SourceError
            return kind(f"{plural(cannot, 'secret')} could not be undone.", hint=_CANNOT)
        return None

    def _put_on_record(self, outcome: BaseException | None) -> None:
        access_log.record_access(
            evidence_access_log.RESTORED,
            self._output,
            self._here,
            backup=about(self._what),
            to=self._what.journal.to,
            created=self._done.created,
            changed=self._done.changed,
            removed=self._done.removed,
            left=self._done.left,
            not_done=self._done.not_done,
            ended=self._ended if outcome is None else name_of(outcome),
        )

    def _document(self) -> dict[str, Any]:
        account, done = self._account, self._done
        return {
            "undone": self._what.run,
            "dry_run": self._given.dry_run,
            "ended": self._ended,
            "to": self._what.journal.to,
            "changed": done.changed,
            "created": done.created,
            "removed": done.removed,
            "unchanged": done.unchanged,
            "left": done.left,
            "not_done": done.not_done,
            "already": self._already,
            "left_names": account.left,
            "not_done_names": account.not_done,
            "stays": account.stays,
            "all_names": str(account.names_file) if account.names_file else None,
            "secrets": self._planned.all(),
            "undo_by": self._way_back(),
            "losses": list(account.losses),
        }

    def _way_back(self) -> str | None:
        if self._given.dry_run or not self._done.written or self._account.folder is None:
            return None
        undo = RestoreUndo(restored=self._folder.name, opening=self._given.opening)
        return command_line("restore undo", undo)

    def _lines(self) -> Iterator[str]:
        what = self._what
        begun = "Nothing was written. " if self._given.dry_run else ""
        if self._stopped is not None:
            begun = "This undo was stopped before its end. "
        yield f"{begun}Restore {what.run} of {what.journal.started_at}, into '{what.journal.to}':"
        if self._already:
            yield f"  {plural(self._already, 'secret')} undone before"
        elif not self._total:
            wrote = "nothing" if self._selection == Selection() else "none of these secrets"
            yield f"  it wrote {wrote}, so there is nothing to undo"
        yield from self._planned.lines() if self._given.dry_run else self._done_lines()
        yield from (f"  not as it was: {loss}" for loss in self._account.losses)
        if back := self._way_back():
            yield "  This undoes the undo:"
            yield f"    {back}"

    def _done_lines(self) -> Iterator[str]:
        done = self._done
        yield from counted(
            (done.changed, "brought back as before"),
            (done.created, "made again"),
            (done.removed, "removed, which the restore had created"),
            (done.unchanged, "already as before"),
        )
        if done.left:
            yield f"  {plural(done.left, 'secret')} changed since, and left as {they(done.left)}:"
            yield from names_left(self._account, every=self._every)
        for why, names in self._account.stays.items():
            yield f"  {plural(len(names), 'secret')} {verb(len(names), 'stay')} by design: {in_line(why)}"
            yield from (f"    {in_line(name)}" for name in names)
        yield from not_done(self._account, "undone", every=self._every)
        if not self.is_over:
            yield "  This goes on, once the cause is removed:"
            yield f"    {self.goes_on}"


def _list(undo: Path, output: Output) -> Answer:
    """List the restores on record, newest first; those that another went on with are told by that one."""
    known = {folder.name: journal for folder, journal in journals(undo)}
    found = {name: _row(undo / name, journal) for name, journal in known.items()}
    for name, journal, machines in _carried(output):
        found[name] = _row(undo / name, journal, found.get(name), machines=machines)
    rows = [
        row
        for name, row in sorted(found.items(), reverse=True)
        if name not in known or not known[name].continued_by
    ]
    lines = list(map(_told, rows)) or ["No restore is on record here."]
    return Answer(record={"restores": rows}, sheet=Sheet(parts=[Lines(lines)]))


def _carried(output: Output) -> Iterator[tuple[str, Journal, tuple[str, ...]]]:
    """Yield what the cluster restored, on any of its hosts."""
    try:
        if (settings := load_settings()).stages and existing_run_store(settings) is not None:
            yield from carried_journals(looking_services(settings))
    except StrongroomError as error:
        output.note(f"note: what other hosts restored is not listed: {in_line(error.message)}")


def _row(
    folder: Path, journal: Journal, here: dict[str, Any] | None = None, *, machines: tuple[str, ...] = ()
) -> dict[str, Any]:
    there = [name for name in journal.undone_by if machines or (folder.parent / name).is_dir()]
    parts = () if machines else parts_of(folder)
    return {
        "id": folder.name,
        "started_at": journal.started_at,
        "of": journal.backup,
        "to": journal.to,
        "created": journal.counts.created,
        "changed": journal.counts.changed,
        "removed": journal.counts.removed,
        "ended": journal.ended or None,
        "undone_by": list(dict.fromkeys((*there, *(here["undone_by"] if here else ())))),
        "can_be_undone": bool(machines)
        or any(key_file(path).exists() for part in parts for path in records(part)),
        "machines": machines,
    }


def _told(row: dict[str, Any]) -> str:
    counts = ", ".join(f"{row[word]:,} {word}" for word in ("created", "changed", "removed") if row[word])
    how = row["ended"] or ("not ended" if row["machines"] else "interrupted")
    undone = f"; undone by {row['undone_by'][-1]}" if row["undone_by"] else ""
    on = f"; by {', '.join(map(in_line, row['machines']))}" if row["machines"] else ""
    only = "; has undo files alone" if counts and not row["can_be_undone"] else ""
    about = f"{in_line(row['of'])} into {in_line(row['to'])}"
    return f"{row['id']}  {about}: {counts or 'nothing written'} ({how}{on}{undone}{only})"


_WOULD = {
    RestoreAction.CHANGE: "would be brought back as before",
    RestoreAction.CREATE: "would be made again",
    RestoreAction.FINISH: "would be finished: an interrupted undo began to write them",
    RestoreAction.REMOVE: "would be removed, which the restore had created",
    RestoreAction.SAME: "already as before",
    RestoreAction.LEAVE: "changed since the restore, and would be left",
    RestoreAction.STAY: "would stay by design",
    RestoreAction.CANNOT: "could not be undone",
}
_CANNOT = (
    "The lines above name each, with its reason. Remove the cause (the rights for a Vault: 'strongroom "
    "cluster rules vault --role undo'). All others are undone without them: --exclude leaves them out."
)
