"""restore undo: a restore on record is taken back, as far as nobody changed since what it left."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from shlex import quote
from typing import Any

from strongroom.cli.commands.restore.account_lines import (
    PlanLines,
    counted,
    how_ended,
    names_left,
    not_done,
    they,
    typed_keys,
)
from strongroom.cli.shared import access_log, approval, identities, opening, options, sources
from strongroom.cli.shared.services import existing_run_store
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.output import Output, in_line, plural, verb
from strongroom.cli.terminal.place import Place
from strongroom.cli.terminal.progress import counting
from strongroom.config import load_settings
from strongroom.errors import StrongroomError, UsageError, name_of
from strongroom.keys.roles import load_or_create_role
from strongroom.model import ApprovalAction
from strongroom.operations.archive.open import Backup
from strongroom.operations.errors import RunDegraded
from strongroom.operations.evidence import access_log as evidence_access_log
from strongroom.operations.restore.journal import (
    Account,
    Journal,
    Restored,
    continue_with,
    interrupted,
    journals,
    note_undone,
    parts_of,
)
from strongroom.operations.restore.plan import Action
from strongroom.operations.restore.record import Recorder, records
from strongroom.operations.restore.take_back import TakeBack, Undoable, undoable
from strongroom.operations.restore.undo import seal_record_key, undo_into
from strongroom.system.errors import Conflict
from strongroom.timestamps import rfc3339, unique


def undo_restore(arguments: Namespace, output: Output) -> None:
    here = place.find()
    undo = here.state_dir / "undo"
    if arguments.list:
        _list(undo, output)
        return
    if arguments.restored is None:
        raise UsageError("Which restore?", hint="See them with 'strongroom restore undo --list'.")
    what = undoable(undo, arguments.restored)
    _refuse_unfinished_run(what.run)
    approved = ""
    if not arguments.dry_run:
        approved = approval.require_approved(
            here,
            ApprovalAction.UNDO,
            {"undoes": what.run},
            destination=what.journal.to,
            lines=(f"undo restore {what.run} into '{what.journal.to}', where nobody changed it since",),
            lasting=True,
        )
    if what.journal.to != options.LOCAL and not arguments.dry_run:
        prompts.confirm(f"Restore {what.run} into '{what.journal.to}' will be undone", force=arguments.force)
    with ExitStack() as opened:
        undoing = _Undoing(arguments, output, here, what, opened)
        if undoing.is_over:
            approval.end_approval(here, approved)
        undoing.answer()


def _refuse_unfinished_run(run: str) -> None:
    """Refuse to undo a run that the cluster would go on with afterwards."""
    ended = True
    with suppress(StrongroomError):  # a restore of the command line, or a host without the record of runs
        store = existing_run_store(load_settings())
        ended = store is None or store.load(run).state.final
    if not ended:
        raise UsageError(
            f"Run {run} has not ended: a cluster would go on with it. Nothing was changed.",
            hint=f"End it first: 'strongroom cancel {run}'. Then repeat.",
        )


class _Undoing:
    """One undo, and what is told of it."""

    def __init__(
        self, arguments: Namespace, output: Output, here: Place, what: Undoable, opened: ExitStack
    ) -> None:
        self._arguments, self._output, self._here, self._what = arguments, output, here, what
        self._opened = opened
        self._files: dict[Path, Backup] = {}
        self._openers = identities.identities_of(arguments, output, here)
        self._every = output.json or arguments.all_names
        self._planned = PlanLines(_WOULD, every=self._every)
        self._account = Account()
        self._folder = here.state_dir / "undo" / unique(time.time())
        self._done = Restored()
        self._stopped: BaseException | None = None
        self._losses: tuple[str, ...] = ()
        self._earlier = list(interrupted(self._folder.parent, to=what.journal.to, backup=_about(what.run)))
        self._destination = sources.destination_of(what.journal.to, here)
        tried = frozenset().union(*(one.tried for one in self._earlier))
        self._undoing = TakeBack(what, self._destination, self._open, tried=tried)
        if arguments.dry_run:
            self._done = self._undoing.plan(self._planned.add)
        else:
            self._perform()

    def _open(self, file: Path) -> Backup:
        """Open an undo file: one that a trusted installation signed, as any other backup."""
        if file not in self._files:
            with opening.explaining_keys():
                objects = self._opened.enter_context(opening.objects_in_file(file))
                given = Namespace(**{**vars(self._arguments), "backup_file": file, "backup": None})
                backup = opening.open_trusted(objects, given, self._output, self._openers, self._here)
                backup.unlock()
            self._files[file] = backup
        return self._files[file]

    # -- performing ----------------------------------------------------------------

    def _perform(self) -> None:
        for folder in self._what.folders:  # a wrong key is told before anything is begun
            for sealed in sorted(folder.glob("written-*.key")):
                self._open(sealed)
        self._begin()
        try:
            with counting(self._output, "undoing", self._undoing.total) as advance:
                signer = load_or_create_role(self._here.role_keys, "recover")
                openers = identities.without_questions(self._openers)
                manifest = next((backup.manifest for backup in self._files.values()), None)
                keep = undo_into(self._folder, self._destination, openers, signer, manifest=manifest)
                self._undoing.perform(self._account, keep, progress=advance)
        except BaseException as stopped:  # noqa: BLE001 - whatever it is, what was done by then is told
            self._stopped = stopped
        self._done = self._account.counts
        self._account.end(self._ended)
        if self._account.folder is not None:
            continue_with(self._earlier, self._folder)

    def _begin(self) -> None:
        what = self._what
        journal = Journal(
            started_at=rfc3339(time.time()),
            backup=_about(what.run),
            to=what.journal.to,
            goes_on=f"strongroom restore undo {quote(what.run)}",
            undoes=what.run,
        )
        recorder = Recorder(self._folder, self._seal_key)
        self._account = Account(self._folder, journal, earlier=self._earlier, recorder=recorder)
        self._account.begin()
        if self._account.folder is None:
            self._output.note(f"note: this undo cannot be put on record: {self._folder} cannot be made")
        note_undone(self._folder.parent / what.run, self._folder.name)

    def _seal_key(self, path: Path, key: bytes) -> None:
        signer = load_or_create_role(self._here.role_keys, "recover")
        openers = identities.without_questions(self._openers)
        manifest = next((backup.manifest for backup in self._files.values()), None)
        seal_record_key(path, key, openers, signer, manifest=manifest)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing that the same command would go on with."""
        return self._stopped is None and not self._done.not_done

    @property
    def _ended(self) -> str:
        return how_ended(self._done, self._stopped)

    # -- telling -------------------------------------------------------------------

    def answer(self) -> None:
        """Tell what came of it, put that on record, and raise what it comes to."""
        outcome = self._outcome()
        if not self._arguments.dry_run:
            self._put_on_record(outcome)
        self._output.answer(self._document(), self._lines())
        if isinstance(outcome, KeyboardInterrupt):
            outcome.add_note("what was undone by then stays undone, as the lines above say.")
        if outcome is not None:
            raise outcome

    def _outcome(self) -> BaseException | None:
        done, worst = self._done, self._account.worst
        if self._stopped is not None:
            return self._stopped
        if worst is not None and not isinstance(worst, Conflict):
            return worst
        if kept := done.left + (0 if self._arguments.dry_run else done.not_done):
            said = f"{plural(kept, 'secret')} in '{self._what.journal.to}' {verb(kept, 'were')} changed since"
            would = "would be" if self._arguments.dry_run else verb(kept, "were")
            return RunDegraded(f"{said} the restore, and {would} left as {they(kept)}.", hint=_LEFT)
        if cannot := self._planned.counts[Action.CANNOT]:
            return RunDegraded(f"{plural(cannot, 'secret')} could not be brought back.", hint=_CANNOT)
        return None

    def _put_on_record(self, outcome: BaseException | None) -> None:
        access_log.record_access(
            evidence_access_log.RESTORED,
            self._arguments,
            self._output,
            self._here,
            backup=_about(self._what.run),
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
            "dry_run": self._arguments.dry_run,
            "ended": self._ended,
            "to": self._what.journal.to,
            "changed": done.changed,
            "created": done.created,
            "removed": done.removed,
            "unchanged": done.unchanged,
            "left": done.left,
            "not_done": done.not_done,
            "already": self._undoing.already,
            "left_names": account.left,
            "not_done_names": account.not_done,
            "all_names": str(account.names_file) if account.names_file else None,
            "secrets": self._planned.all(),
            "undo_by": self._way_back(),
            "losses": list(account.losses),
        }

    def _way_back(self) -> str | None:
        if self._arguments.dry_run or not self._done.written or self._account.folder is None:
            return None
        return " ".join([f"strongroom restore undo {self._folder.name}", *typed_keys(self._arguments)])

    def _lines(self) -> Iterator[str]:
        what = self._what
        begun = "Nothing was written. " if self._arguments.dry_run else ""
        if self._stopped is not None:
            begun = "This undo was stopped before its end. The same command goes on. "
        yield f"{begun}Restore {what.run} of {what.journal.started_at}, into '{what.journal.to}':"
        if self._undoing.already:
            yield f"  {plural(self._undoing.already, 'secret')} undone before"
        yield from self._planned.lines() if self._arguments.dry_run else self._done_lines()
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
        yield from not_done(self._account, "undone", every=self._every)


def _list(undo: Path, output: Output) -> None:
    """List the restores on record, newest first; those that another went on with are told by that one."""
    found = [(folder, journal) for folder, journal in journals(undo) if not journal.continued_by]
    rows = [_row(folder, journal) for folder, journal in reversed(found)]
    output.answer({"restores": rows}, map(_told, rows) if rows else ["No restore is on record here."])


def _row(folder: Path, journal: Journal) -> dict[str, Any]:
    return {
        "id": folder.name,
        "started_at": journal.started_at,
        "of": journal.backup,
        "to": journal.to,
        "created": journal.counts.created,
        "changed": journal.counts.changed,
        "removed": journal.counts.removed,
        "ended": journal.ended or None,
        "undone_by": [name for name in journal.undone_by if (folder.parent / name).is_dir()],
        "can_be_undone": any(records(part) for part in parts_of(folder)),
    }


def _told(row: dict[str, Any]) -> str:
    counts = ", ".join(f"{row[word]:,} {word}" for word in ("created", "changed", "removed") if row[word])
    how = row["ended"] or "interrupted"
    undone = f"; undone by {row['undone_by'][-1]}" if row["undone_by"] else ""
    only = "; has undo files alone" if counts and not row["can_be_undone"] else ""
    about = f"{in_line(row['of'])} into {in_line(row['to'])}"
    return f"{row['id']}  {about}: {counts or 'nothing written'} ({how}{undone}{only})"


def _about(run: str) -> str:
    return f"undo of {run}"


_WOULD = {
    Action.CHANGE: "would be brought back as before",
    Action.CREATE: "would be made again",
    Action.FINISH: "would be finished: an interrupted undo began to write them",
    Action.REMOVE: "would be removed, which the restore had created",
    Action.SAME: "already as before",
    Action.LEAVE: "changed since the restore, and would be left",
    Action.CANNOT: "could not be brought back",
}
_LEFT = (
    "The lines above name each. Look at who wrote there. 'strongroom restore-secret --backup-file FILE' with "
    "a file of the restore's undo folder brings one of them back all the same."
)
_CANNOT = "The lines above name each, with its reason. Remove the cause, then repeat."
