"""What came of one restore of the command line: told, put on record, and what to type next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from strongroom.cli.commands.restore.account_lines import (
    counted,
    how_ended,
    names_left,
    names_moved,
    not_done,
    summed,
    they,
)
from strongroom.cli.commands.restore.arguments import PlanOptions, Restore, RestoreInto, RestoreUndo
from strongroom.cli.commands.restore.attended_restore import AttendedRestore, from_anywhere
from strongroom.cli.parameters import command_line
from strongroom.cli.shared import access_log, options
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import in_line, plural, verb
from strongroom.errors import SourceError, StrongroomError, name_of
from strongroom.operations.archive.salvage import LostParts
from strongroom.operations.archive.shortfall import MissingSecret
from strongroom.operations.errors import RightMissing
from strongroom.operations.evidence import access_log as evidence_access_log
from strongroom.operations.restore.job import differing_since, shortfalls
from strongroom.operations.restore.journal import (
    STOPPED,
    Interrupted,
    NotDone,
    Restored,
)
from strongroom.operations.restore.plan import PlanEntry, RestoreAction
from strongroom.sheet import Lines, Sheet


class RestoreOutcome(Restored, frozen=True, kw_only=True):
    """What came of a restore, or would: for machines, and for whoever leads through one. Of each thing that
    happens the first hundred secrets are named, unless all are asked for."""

    origin: str = msgspec.field(name="from")
    to: str
    dry_run: bool
    ended: str
    verified: int | None
    verified_otherwise: int
    left_names: Sequence[str]
    moved_names: Sequence[str]
    not_done_names: Sequence[NotDone]
    all_names: str | None
    secrets: Sequence[PlanEntry]
    plan: Mapping[str, Any] | None
    undo: str | None
    undo_by: Sequence[str]
    goes_on: str | None
    earlier: Sequence[Mapping[str, Any]]
    least_seconds: float | None
    estimate: Mapping[str, Any] | None
    losses: Sequence[str]
    shortfall: Mapping[str, Any] | None
    lost: LostParts | None
    leaked: Sequence[Any]

    def named(self, *actions: RestoreAction) -> list[str]:
        """Return the secrets that something happens to."""
        if actions == (RestoreAction.LEAVE,) and not self.dry_run:
            return list(self.left_names)
        return [entry.to for action in actions for entry in self.secrets if entry.action is action]

    @property
    def refused(self) -> Sequence[NotDone]:
        """What is not restored, or could not be, and why."""
        if not self.dry_run:
            return self.not_done_names
        cannot = (entry for entry in self.secrets if entry.action is RestoreAction.CANNOT)
        return [NotDone(name=entry.to, code=entry.code, why=entry.why) for entry in cannot]


class RestoreAnswer:
    """What is told of a restore at whatever end it came to."""

    def __init__(self, restored: AttendedRestore) -> None:
        self._of = restored

    # -- commands to type ----------------------------------------------------------

    def way_back(self) -> list[str]:
        """Return the command that undoes all of it; without a record, one for each file that keeps
        what was overwritten."""
        if (
            self._of.account.folder is not None
            and self._of.can_be_undone
            and self._of.done.written
            and not self._of.dry
        ):
            undo = RestoreUndo(restored=self._of.record.name, opening=self._of.given.origin.opening)
            return [command_line("restore undo", undo)]
        earlier = (interrupted.folder for interrupted in reversed(self._of.earlier))
        return [
            command_line("restore", self._from_file(file))
            for folder in (*earlier, self._of.record)
            for file in sorted(folder.glob("*.strongroom"))
        ]

    def _from_file(self, file: Path) -> Restore:
        """Return what brings back what a file keeps."""
        origin = options.RestoreFrom(
            where=options.FileOrTargets(backup_file=file), opening=self._of.given.origin.opening
        )
        into = RestoreInto(to=self._of.to)
        return Restore(origin=origin, into=into, full_restore=True, overwrite_existing=True)

    def _by_plan(self, file: Path) -> str:
        """Return the command that does a plan, with the same backup and keys."""
        origin = from_anywhere(self._of.given.origin)
        origin = replace(origin, choice=options.CoveringBackupOptions())
        return command_line("restore", Restore(origin=origin, planning=PlanOptions(plan=file)))

    @property
    def _ended(self) -> str:
        return how_ended(self._of.done, self._of.stopped)

    @property
    def _unfinished(self) -> bool:
        return not self._of.dry and (self._of.stopped is not None or bool(self._of.done.not_done))

    @property
    def elsewhere(self) -> int:
        """How many secrets that are asked for earlier backups have, and this one lacks."""
        return self._of.lacks.missing if self._of.lacks is not None and self._of.lacks.by_name else 0

    # -- telling -------------------------------------------------------------------

    def answer(self) -> None:
        """Tell what came of it, put that on record, and raise what it comes to."""
        outcome = self.settle()
        sheet = Sheet(parts=[Lines(list(self._lines()))])
        self._of.output.give(Answer(record=self.outcome(), sheet=sheet))
        if isinstance(outcome, KeyboardInterrupt):
            outcome.add_note("what was restored by then stays, as the lines above say.")
        if outcome is not None:
            raise outcome

    def settle(self) -> BaseException | None:
        """Put on record what came of it, and return what it comes to; nothing if all is well."""
        outcome = self._error()
        if not self._of.dry:
            self._put_on_record(outcome)
        return outcome

    def _error(self) -> BaseException | None:
        """Return what stopped it, or else the worst that happened to a secret."""
        done, worst = self._of.done, self._of.account.worst
        if (ended := self._of.stopped or self._of.backup.loss()) is not None:
            return ended
        if self._of.dry:
            return _cannot(self._of.lines.codes, done.total, single=bool(self._of.request.names))
        if worst is not None:
            return (
                worst
                if done.total == 1
                else summed(
                    worst,
                    self._of.account,
                    "restored",
                    hint=_WORST if self._of.request.plan is None else _BY_PLAN,
                )
            )
        return next(shortfalls(done, self._of.compared, into=self._of.to), None)

    def _put_on_record(self, outcome: BaseException | None) -> None:
        """Note what was brought back, and into what."""
        access_log.record_access(
            evidence_access_log.RESTORED,
            self._of.output,
            self._of.here,
            backup=in_line(self._of.backup.name),
            to=self._of.to,
            created=self._of.done.created,
            changed=self._of.done.changed,
            left=self._of.done.left,
            moved=self._of.done.moved,
            not_done=self._of.done.not_done,
            plan=self._of.head.digest if self._of.head is not None else None,
            ended=self._ended if outcome is None else name_of(outcome),
        )

    def outcome(self) -> RestoreOutcome:
        """Return what came of it."""
        of, back, estimate = self._of, self.way_back(), self._of.estimate(self._of.done)
        return RestoreOutcome(
            **asdict(of.done),
            origin=of.backup.name,
            to=of.to,
            dry_run=of.dry,
            ended=self._ended,
            verified=of.compared.same if of.compared is not None else None,
            verified_otherwise=differing_since(of.done, of.compared),
            left_names=of.account.left,
            moved_names=of.account.moved,
            not_done_names=of.account.not_done,
            all_names=str(of.account.names_file) if of.account.names_file else None,
            secrets=of.lines.all(),
            plan=self._plan_document(),
            undo=str(of.record) if back and of.done.changed else None,
            undo_by=back,
            goes_on=of.goes_on if self._unfinished else None,
            earlier=[earlier_document(interrupted) for interrupted in of.earlier],
            least_seconds=estimate.least,
            estimate=estimate.document() if of.dry else None,
            losses=list(of.account.losses),
            shortfall=self._shortfall_document(),
            lost=of.backup.lost,
            leaked=of.leaked,
        )

    def _shortfall_document(self) -> dict[str, Any] | None:
        """Return what the backup lacks, every name of it, and whether it was taken from earlier ones."""
        found = self._of.lacks or (self._of.head.shortfall if self._of.head is not None else None)
        if found is None:
            return None
        earlier = self._of.backup.earlier
        names: Iterable[MissingSecret] = found.names
        if self._of.output.json and earlier is not None and self._of.lacks is not None and found.by_name:
            names = earlier.missing()
        return {
            **msgspec.to_builtins(found),
            "names": list(names),
            "sound": found.sound or None,
            "filled": self._of.filled is not None,
        }

    def _plan_document(self) -> dict[str, Any] | None:
        if self._of.head is None:
            return None
        file = self._of.plan_out.path or self._of.given.planning.plan
        return {
            "file": str(file) if file is not None else None,
            "digest": self._of.head.digest,
            **msgspec.to_builtins(self._of.head),
        }

    def _estimate_lines(self) -> Iterator[str]:
        """Say how long it takes; of the local store, which takes no time worth a word, only if known."""
        estimated = self._of.estimate(self._of.done)
        if estimated.seconds is not None or self._of.to != options.LOCAL:
            yield f"  {estimated.describe(self._of.to, self._of.done)}"

    def _lines(self) -> Iterator[str]:
        yield from (line for interrupted in self._of.earlier for line in _of_earlier(interrupted))
        begun = "Nothing was written. " if self._of.dry else ""
        if self._of.stopped is not None:
            begun = "This restore was stopped before its end. "
        yield f"{begun}From {self._of.backup.name} into {_words(self._of.to)}:"
        if (version := self._of.request.version) is not None:
            yield f"  version {version}: its value becomes the newest, above the versions there"
        yield from self._of.lines.lines() if self._of.dry else self._done_lines()
        yield from self._verified_lines()
        yield from self._filled_lines()
        if self._of.dry and self._of.done.written:
            yield from self._estimate_lines()
        yield from (f"  not as it was: {loss}" for loss in self._of.account.losses)
        if self._of.plan_out.path is not None and self._of.head is not None:
            yield f"  The plan is in {self._of.plan_out.path}, with digest {self._of.head.digest}."
            yield "  This does what it says, and leaves what changes until then:"
            yield f"    {self._by_plan(self._of.plan_out.path)}"
        if back := self.way_back():
            if self._of.done.changed:
                yield f"  what was there before is sealed in {self._of.record}"
                yield "  whatever opens this backup opens it"
            yield "  This undoes it:"
            yield from (f"    {command}" for command in back)
        if self._unfinished:
            yield "  This goes on, once the cause is removed:"
            yield f"    {self._of.goes_on}"

    def _done_lines(self) -> Iterator[str]:
        done = self._of.done
        yield from counted(
            (done.created, "created"),
            (done.changed, "changed"),
            (done.unchanged, "already as in the backup"),
            (done.compared, "read back and compared with the backup"),
        )
        if done.moved:
            said = f"{plural(done.moved, 'secret')} changed since the plan was made and"
            yield f"  {said} {verb(done.moved, 'are')} left as {they(done.moved)}:"
            yield from names_moved(self._of.account, every=self._of.every_name)
        if done.left:
            said = f"{plural(done.left, 'secret')} {verb(done.left, 'differ')}"
            yield f"  {said} and {verb(done.left, 'are')} left as {they(done.left)}:"
            yield from names_left(self._of.account, every=self._of.every_name)
            yield "    --overwrite-existing replaces what differs, and writes an undo file first"
        yield from not_done(self._of.account, "restored", every=self._of.every_name)

    def _filled_lines(self) -> Iterator[str]:
        """Say what is from earlier backups, or what is in none that was restored."""
        told = self._of.lacks or (self._of.head.shortfall if self._of.head is not None else None)
        if told is None or not told.missing:
            return
        if self._of.filled is None and self._of.dry:
            return  # each is named
        if self._of.filled is None:
            said = f"{plural(told.missing, 'secret')} of earlier backups {verb(told.missing, 'are')}"
            yield f"  {said} not in it"
            return
        for group in told.groups:
            said = f"{plural(group.secrets, 'secret')} of these {verb(group.secrets, 'are')}"
            yield f"  {said} as in backup {group.backup}, made {group.created_at}"

    def _verified_lines(self) -> Iterator[str]:
        if (compared := self._of.compared) is None:
            return
        total, same = compared.same + compared.differ, compared.same
        said = f"{plural(total, 'secret')} compared once more at the end"
        yield f"  {said}: all equal" if total == same else f"  {said}: {same:,} equal, {total - same:,} not"


def earlier_document(interrupted: Interrupted) -> dict[str, Any]:
    return {
        "folder": str(interrupted.folder),
        "started_at": interrupted.journal.started_at,
        "killed": interrupted.killed,
        "counts": interrupted.journal.counts,
        "not_done": interrupted.journal.not_done,
        "writing": interrupted.journal.writing,
    }


def _of_earlier(interrupted: Interrupted) -> Iterator[str]:
    """Say what a restore did that this one goes on with."""
    journal = interrupted.journal
    how = (
        "was killed"
        if interrupted.killed
        else "was stopped"
        if journal.ended == STOPPED
        else "did not restore all"
    )
    counts = journal.counts
    yield f"An earlier restore of this backup, begun at {journal.started_at}, {how}:"
    yield f"  {plural(counts.created, 'secret')} created and {counts.changed:,} changed; it is on record in"
    yield f"  {interrupted.folder}"
    if interrupted.killed and journal.writing:
        written = plural(len(journal.writing), "secret")
        yield f"  It was writing {written}: what these lost may not be among the losses below."
    yield "  Its losses are among those below."


def _cannot(codes: Counter[str], total: int, *, single: bool) -> StrongroomError | None:
    """Return what to say of secrets that cannot be restored: rights are granted, all else is otherwise."""
    if not codes:
        return None
    others = ", and all others would be" if total > codes.total() else ""
    said = f"{plural(codes.total(), 'secret')} could not be restored{others}."
    if set(codes) == {RightMissing.__name__}:
        return RightMissing(said, hint=_GRANT_ONE if single else _GRANT)
    return SourceError(said, hint=_REFUSED_ONE if single else _REFUSED)


def _words(name: str) -> str:
    return "the local store" if name == options.LOCAL else f"'{name}'"


_GRANT = (
    "Nothing was changed. Grant what the lines above name (ops/ holds policies that fit), or leave those "
    "secrets out with --exclude."
)
_GRANT_ONE = "Nothing was changed. Grant what the line above names (ops/ holds policies that fit)."
_REFUSED_ONE = (
    "Nothing was changed. The line above says why: remove the cause, such as a missing mount, or restore it "
    "elsewhere with --to and --relocate."
)
_REFUSED = (
    "Nothing was changed. The lines above say why: remove the cause, such as a missing mount, or leave those "
    "secrets out with --exclude, or restore them elsewhere with --to and --relocate."
)
_WORST = (
    "The lines above name each, with its reason, and the command that goes on. Remove the cause, or leave "
    "them out with --exclude."
)
_BY_PLAN = "The lines above name each, with its reason. Remove the cause, and make another plan for them."
