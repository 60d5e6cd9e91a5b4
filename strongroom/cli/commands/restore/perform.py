"""One restore of the command line: performed, and told at whatever end it comes to."""

from __future__ import annotations

import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from strongroom.cli.commands.restore.account_lines import (
    NAMED,
    PlanLines,
    counted,
    how_ended,
    names_left,
    names_moved,
    not_done,
    summed,
    they,
    typed_keys,
)
from strongroom.cli.commands.restore.request import PlanOut, Request
from strongroom.cli.shared import access_log, approval, estimate, options, sources
from strongroom.cli.shared.backup_selection import report_shortfall
from strongroom.cli.shared.restore_source import RestoreSource
from strongroom.cli.shared.undo_seal import undo_sealer
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output, in_line, plural, verb
from strongroom.cli.terminal.place import Place
from strongroom.cli.terminal.progress import counting
from strongroom.container.errors import DAMAGE, VerificationFailed
from strongroom.errors import InstallationError, SourceError, StrongroomError, UsageError, name_of
from strongroom.model import Secret
from strongroom.operations.archive.filled import Filled
from strongroom.operations.archive.salvage import Lost
from strongroom.operations.archive.shortfall import Missing, Shortfall
from strongroom.operations.errors import LeakedValue, PlanMismatch, RightMissing, RunDegraded
from strongroom.operations.evidence import access_log as evidence_access_log
from strongroom.operations.restore.journal import (
    DONE,
    STOPPED,
    Account,
    Interrupted,
    Journal,
    NotDone,
    Restored,
    continue_with,
    interrupted,
)
from strongroom.operations.restore.make_plan import make_plan
from strongroom.operations.restore.plan import (
    FIRST,
    TELLS,
    WRITES,
    Action,
    Note,
    PlanEntry,
    RestorePlan,
    manifest_digest,
    name_destination,
    require_fitting,
)
from strongroom.operations.restore.plan_file import PlanFile
from strongroom.operations.restore.record import Recorder
from strongroom.operations.restore.restore import Undo, plan_restore, restore
from strongroom.operations.restore.undo import seal_record_key, undo_into
from strongroom.sources import Destination
from strongroom.sources.memory import MemoryStore
from strongroom.system import person
from strongroom.system.undo import on_failure
from strongroom.timestamps import rfc3339, unique

if TYPE_CHECKING:
    from strongroom.operations.incident.leaked import Leaked

WORTH_SAYING = 10.0
"""Seconds: below, nobody wonders."""


class Came(Struct, frozen=True, kw_only=True):
    """What came of a restore, or would, for whoever leads through one. Names: the first hundred of each."""

    counts: Restored
    names: Mapping[Action, Sequence[str]]
    not_done: Sequence[NotDone]
    verified: int | None
    undo_by: Sequence[str]
    goes_on: str
    least_seconds: float | None
    losses: Sequence[str]
    lost: Lost | None = None
    stopped: bool = False
    verified_otherwise: int = 0


class RestoreJob:
    """One restore into the local store, or wherever a person said."""

    def __init__(
        self,
        arguments: Namespace,
        output: Output,
        installation: Place,
        origin: RestoreSource,
        request: Request,
    ) -> None:
        file: Path | None = arguments.to_file
        self.to: str = arguments.to if file is None else str(file)
        self.destination: Destination = (
            sources.destination_of(self.to, installation) if file is None else MemoryStore(name=self.to)
        )
        self._out = PlanOut(arguments, output, installation)
        self.dry = arguments.dry_run or self._out.path is not None
        self.head: RestorePlan | None = request.plan.head if request.plan is not None else None
        self.done = Restored()
        self.stopped: BaseException | None = None
        self._arguments = arguments
        self._whole = getattr(arguments, "full_restore", False)
        self._names = output.json or getattr(arguments, "all_names", False)
        self._output = output
        self._here = installation
        self._origin = origin
        self._request = request
        self._undo: Undo | None = None
        self._folder = installation.state_dir / "undo" / unique(time.time())
        self._account = Account()
        self.can_be_undone = True
        self._earlier: list[Interrupted] = []
        self._planned = PlanLines(WOULD if hasattr(arguments, "full_restore") else _ONE, every=self._names)
        self._verified: Counter[Action] | None = None
        self._fills: bool = getattr(arguments, "fill_from_earlier", False)
        self._filled: Filled | None = None
        self._shortfall: Shortfall | None = None
        self._leaked: list[Leaked] = []

    # -- performing ----------------------------------------------------------------

    def differs(self) -> bool:
        """Say whether the destination has something else for what is asked for."""
        relocation = self._request.relocation
        return plan_restore(self._secrets, self.destination, overwrite=False, relocation=relocation).left > 0

    def do(self) -> None:
        """Restore, or find out what that would do. What stops it is kept for :meth:`answer`."""
        plan = self._request.plan
        if plan is not None:
            require_fitting(plan.head, self._origin.manifest, self.destination)
        self._compare()
        self._tell_leaked()
        if self.dry:
            self._plan()
            return
        self._require_approved()
        self._origin.unlock()  # what does not open has begun nothing
        if self._whole:
            self._warn(self._origin.total, self._origin.versions)
        self._begin()
        try:
            with counting(self._output, "restoring", self._origin.total) as advance:
                restore(
                    self._secrets,
                    self.destination,
                    overwrite=self._request.overwrite,
                    relocation=self._request.relocation,
                    plan=plan.entries() if plan is not None else None,
                    first=self._first(),
                    undo=self._undo,
                    progress=advance,
                    account=self._account,
                    tried=frozenset().union(*(one.tried for one in self._earlier)),
                    newest_only=self._request.version is not None,
                    loss=self._origin.loss,
                )
        except BaseException as stopped:  # noqa: BLE001 - as above
            self.stopped = stopped
        self.done = self._account.counts
        self._account.end(self._ended)
        if self.head is not None and self.stopped is None and not self.done.not_done:
            approval.end_approval(self._here, self.head.id)
        if self.stopped is None or self._account.folder is not None:
            continue_with(self._earlier, self._folder)

    def _compare(self) -> None:
        """Say what the backup lacks of those before it, and take that from them if that is asked for.

        What a plan lacks was seen when it was made.
        """
        earlier = self._origin.earlier
        if self.head is not None:
            self._filled = self._fill_by_plan(self.head)
            return
        if earlier is None:
            return
        self._origin.unlock()
        self._shortfall = told = earlier.shortfall()
        if self._fills and told.missing:
            with suppress(*DAMAGE):  # what it lacks is said as a number, and what is lost of it comes back
                self._filled = self._origin.fill()
        report_shortfall(told, self._output, filled=self._filled is not None, fillable=self._can_fill)

    @property
    def elsewhere(self) -> int:
        """How many secrets that are asked for earlier backups have, and this one lacks."""
        return self._shortfall.missing if self._shortfall is not None and self._shortfall.by_name else 0

    def _tell_leaked(self) -> None:
        """Say which values an incident has as known to others before they come back, and ask for a yes."""
        self._leaked = self._origin.leaked(self._request.names, self._request.selection)
        for one in self._leaked:
            self._output.warn(f"{one.words}.")
        certain = [one for one in self._leaked if not one.sealed]
        if not certain:
            return
        if not self.dry:
            prompts.confirm("Values that others know will be restored", force=self._arguments.force)
        change = f"strongroom incident rotate {certain[0].incident}"
        after = "Nothing was restored yet. After a restore" if self.dry else "What was restored stays. Now"
        hint = f"{after} change them where they are used: {change}"
        self._output.end_with(LeakedValue(f"{certain[0].words}.", hint=hint))

    @property
    def _can_fill(self) -> bool:
        return hasattr(self._arguments, "fill_from_earlier")

    def _fill_by_plan(self, head: RestorePlan) -> Filled | None:
        """Take from earlier backups what a plan says, if they are those that it was made from."""
        plan = self._request.plan
        if plan is None or not head.earlier:
            return None
        taken = self._origin.fill(lambda: _taken_by(plan))
        for one in head.earlier:
            if taken is None or manifest_digest(taken.opened(one.backup).manifest) != one.manifest:
                raise PlanMismatch(
                    f"The plan takes secrets from backup {one.backup}, and this is another one."
                )
        return taken

    def _require_approved(self) -> None:
        """Have a person told who else has to approve this, where the configuration asks for that."""
        if not approval.has_rules(self._here):
            return
        kept = self._request.plan is not None
        head = self.head or self._make_plan(lambda entry: None)
        manifest = self._origin.manifest
        policy = manifest.policy if manifest is not None else ""
        approval.require_plan_approved(self._here, head, policy=policy, kept=kept)

    def _secrets(self) -> Iterable[Secret]:
        return self._request.secrets_of(self._origin)

    def _plan(self) -> None:
        """Find out what would be done; of a plan that was made before, what has moved since."""
        request = self._request
        if request.plan is not None:
            self.done = plan_restore(
                self._secrets,
                self.destination,
                overwrite=request.overwrite,
                relocation=request.relocation,
                plan=request.plan.entries(),
                note=self._planned.add,
                newest_only=request.version is not None,
            )
            return
        with self._out.opened() as file:
            note = self._out.noting(file, self._planned.add)
            self.head = self._make_plan(note)
            self.done = self.head.totals
            self._out.end(file, self.head)

    def _make_plan(self, note: Note) -> RestorePlan:
        asked = self._asked()
        with counting(self._output, "comparing", self._origin.total) as advance:

            def told(planned: PlanEntry) -> None:
                note(planned)
                advance(1)

            return make_plan(
                asked,
                self._secrets,
                self.destination,
                note=told,
                first=self._first(),
                backup_of=self._origin.backup_of,
                missing=self._missing(),
                earlier=self._origin.taken_from,
                lost=lambda: self._origin.lost,
                stands_in=self._origin.stands_in,
            )

    def _missing(self) -> Iterable[Missing]:
        """Return what the backup lacks, and no other backup is asked for."""
        found, earlier = self._shortfall, self._origin.earlier
        if earlier is None or found is None or self._filled or not (found.by_name and found.missing):
            return ()
        return earlier.missing()

    def _first(self) -> Sequence[str]:
        """Return the tags of critical secrets. A configuration that is wrong keeps nobody from a restore."""
        section = self._here.tables.get("restore")
        first = section.get("first") if isinstance(section, Mapping) else None
        return tuple(map(str, first)) if isinstance(first, list) else FIRST

    def _asked(self) -> RestorePlan:
        """Return what the plan is of. An old file has no manifest that a plan could be held to."""
        request = self._request
        for name in request.names:
            self._origin.find(name, request.version)  # only now it is known which backup has it
        manifest = self._origin.manifest
        if manifest is None and self._out.path is not None:
            raise UsageError("An old file can be restored, and no plan can be made of it.", hint=_OLD_FILE)
        now = time.time()
        return RestorePlan(
            id=unique(now),
            made_at=rfc3339(now),
            by=person.who(),
            backup=self._backup,
            manifest=manifest_digest(manifest) if manifest is not None else "",
            destination=name_destination(self.destination),
            selection=request.selection,
            names=request.names,
            secret_version=request.version,
            overwrite=request.overwrite,
            relocation=request.relocation,
            shortfall=self._shortfall,
        )

    @property
    def _ended(self) -> str:
        return how_ended(self.done, self.stopped)

    def _begin(self) -> None:
        """Open the account. Where nothing can be put on record, a restore goes on without."""
        backup = self._backup
        self._earlier = list(interrupted(self._here.state_dir / "undo", to=self.to, backup=backup))
        journal = Journal(started_at=rfc3339(time.time()), backup=backup, to=self.to, goes_on=self._goes_on())
        sealer = undo_sealer(self._origin.openers, self._origin.readers, self._output, self._here)
        self._undo = undo_into(self._folder, self.destination, sealer)
        recorder = Recorder(self._folder, partial(seal_record_key, sealer))
        self._account = Account(self._folder, journal, earlier=self._earlier, recorder=recorder)
        self._account.begin()
        self._require_undoable(recorder)
        for name, error in sealer.absent.items():
            self._output.note(f"note: what undoes this is not sealed to {in_line(name)}: {error.message}")

    def _require_undoable(self, recorder: Recorder) -> None:
        """Have a person agree before what nobody could undo is begun."""
        why = recorder.begin() if self._account.folder is not None else None
        if self._account.folder is None:
            why = InstallationError(f"it cannot be put on record: {self._folder} cannot be made")
        if why is not None:
            self.can_be_undone = False
            said = f"This restore could not be undone: {why.message.rstrip('.')}"
            with on_failure(lambda: self._account.end(DONE)):
                if self._request.overwrite:
                    raise type(why)(f"{said}. So it overwrites nothing.", hint=why.hint)
                prompts.confirm(said, force=self._arguments.force)
            self._output.warn(f"this restore cannot be undone: {why.message}")

    @property
    def _backup(self) -> str:
        manifest = self._origin.manifest
        return manifest.backup_id if manifest is not None else self._origin.name

    def _warn(self, secrets: int, versions: int) -> None:
        """Say beforehand how long everything may take: who sees nothing move ends it half-way."""
        planned = Restored(created=secrets, versions=versions)
        estimated = self._estimate(planned)
        if estimated.seconds is not None and estimated.seconds >= WORTH_SAYING:
            self._output.note(f"{estimated.describe(self.to, planned)}. What is there already takes less.")

    def verify(self) -> None:
        """Compare everything with the backup once more, unless it was stopped."""
        if self.stopped is not None:
            return
        seen: Counter[Action] = Counter()

        try:
            with counting(self._output, "comparing", self._origin.total) as advance:

                def note(planned: PlanEntry) -> None:
                    seen[planned.action] += 1
                    advance(1)

                plan_restore(
                    self._secrets,
                    self.destination,
                    overwrite=False,
                    relocation=self._request.relocation,
                    note=note,
                    rights=False,
                )
        except BaseException as stopped:  # noqa: BLE001 - as above
            self.stopped = stopped
        else:
            self._verified = seen

    # -- commands to type ----------------------------------------------------------

    def way_back(self) -> list[str]:
        """Return the command that undoes all of it; without a record, one for each file that keeps
        what was overwritten."""
        if self._account.folder is not None and self.can_be_undone and self.done.written and not self.dry:
            return [" ".join(["strongroom restore undo", self._folder.name, *self._given(to=False)])]
        options = " ".join(["--full-restore --overwrite-existing", *self._given()])
        return [
            f"strongroom restore --backup-file {quote(str(file))} {options}"
            for folder in (*(one.folder for one in reversed(self._earlier)), self._folder)
            for file in sorted(folder.glob("*.strongroom"))
        ]

    def _by_plan(self, file: Path) -> str:
        """Return the command that does a plan, with the same backup and keys."""
        words = [f"strongroom restore --plan {quote(str(file.absolute()))}", *self._from()]
        words += [f"--signer {quote(each)}" for each in self._arguments.signer]
        return " ".join([*words, *typed_keys(self._arguments)])

    def _from(self) -> Iterator[str]:
        """Yield the typed options for where the backup is."""
        given = self._arguments
        if given.backup_file is not None:
            yield f"--backup-file {quote(str(given.backup_file.absolute()))}"
        else:
            yield from (f"--from-target {quote(place)}" for place in _places(given.from_target))

    def _goes_on(self) -> str:
        """Return the command that restores what this one does not: the same, from just this backup."""
        given = self._arguments
        words = ["strongroom", given.command_name]
        if given.plan is not None:
            words.append(f"--plan {quote(str(given.plan.absolute()))}")
        words += self._from()
        if given.backup_file is None and given.plan is None:
            words.append(f"--backup {quote(self._backup)}")
        if name := getattr(given, "secret_name", None):
            words.append(f"--secret-name {quote(name)}")
            words += [f"--version {given.version}"] if given.version is not None else []
        switches = _SWITCHES if given.plan is None else _BESIDE_PLAN
        words += [f"--{name.replace('_', '-')}" for name in switches if getattr(given, name, False)]
        for option in ("filter_tag", "include", "exclude", "signer"):
            words += [f"--{option.replace('_', '-')} {quote(each)}" for each in getattr(given, option, [])]
        if given.relocate is not None:
            words.append(f"--relocate {quote(given.relocate)}")
        return " ".join([*words, *self._given(to=given.plan is None)])

    def _given(self, *, to: bool = True) -> Iterator[str]:
        """Yield the typed options for what opens, and for where to."""
        yield from typed_keys(self._arguments)
        if to and self.to != options.LOCAL:
            yield f"--to {quote(self.to)}"

    # -- telling -------------------------------------------------------------------

    def answer(self) -> None:
        """Tell what came of it, put that on record, and raise what it comes to."""
        outcome = self.settle()
        self._output.answer(self._document(), self._lines())
        if isinstance(outcome, KeyboardInterrupt):
            outcome.add_note("what was restored by then stays, as the lines above say.")
        if outcome is not None:
            raise outcome

    def settle(self) -> BaseException | None:
        """Put on record what came of it, and return what it comes to; nothing if all is well."""
        outcome = self._outcome()
        if not self.dry:
            self._put_on_record(outcome)
        return outcome

    def _outcome(self) -> BaseException | None:
        """Return what stopped it, or else the worst that happened to a secret."""
        done, worst = self.done, self._account.worst
        if (ended := self.stopped or self._origin.loss()) is not None:
            return ended
        if self.dry:
            return _cannot(self._planned.codes, done.total, one=bool(self._request.names))
        if worst is not None:
            return (
                worst
                if done.total == 1
                else summed(
                    worst, self._account, "restored", hint=_WORST if self._request.plan is None else _BY_PLAN
                )
            )
        if differing := self._differing_since():
            said = f"{plural(differing, 'secret')} in '{self.to}' {verb(differing, 'differ')}"
            return VerificationFailed(f"{said} from the backup again.", hint=_AGAIN)
        if done.moved:
            return _moved(done.moved)
        return _left(done.left, self.to) if done.left else None

    def _differing_since(self) -> int:
        """Count what was as in the backup, and was not when it was compared once more."""
        if self._verified is None:
            return 0
        wrong = sum(self._verified.values()) - self._verified[Action.SAME]
        return max(0, wrong - self.done.left - self.done.moved - self.done.not_done)

    def _put_on_record(self, outcome: BaseException | None) -> None:
        """Note what was brought back, and into what."""
        access_log.record_access(
            evidence_access_log.RESTORED,
            self._arguments,
            self._output,
            self._here,
            backup=in_line(self._origin.name),
            to=self.to,
            created=self.done.created,
            changed=self.done.changed,
            left=self.done.left,
            moved=self.done.moved,
            not_done=self.done.not_done,
            plan=self.head.digest if self.head is not None else None,
            ended=self._ended if outcome is None else name_of(outcome),
        )

    def came(self) -> Came:
        """Return what came of it, in short."""
        account, planned = self._account, self._planned
        cannot = (NotDone(name=one.to, code=one.code, why=one.why) for one in planned.of(Action.CANNOT))
        return Came(
            counts=self.done,
            names={action: [one.to for one in planned.of(action)] for action in WRITES}
            | {
                Action.LEAVE: [one.to for one in planned.of(Action.LEAVE)]
                if self.dry
                else account.left[:NAMED]
            },
            not_done=list(cannot) if self.dry else account.not_done[:NAMED],
            verified=self._verified[Action.SAME] if self._verified is not None else None,
            undo_by=self.way_back(),
            goes_on=self._goes_on() if self._unfinished else "",
            least_seconds=self._estimate(self.done).least,
            losses=list(account.losses[:NAMED]),
            lost=self._origin.lost.without_names if self._origin.lost is not None else None,
            stopped=self.stopped is not None,
            verified_otherwise=self._differing_since(),
        )

    def _document(self) -> dict[str, Any]:
        account, back = self._account, self.way_back()
        return {
            "from": self._origin.name,
            "dry_run": self.dry,
            "ended": self._ended,
            "created": self.done.created,
            "changed": self.done.changed,
            "unchanged": self.done.unchanged,
            "left": self.done.left,
            "moved": self.done.moved,
            "not_done": self.done.not_done,
            "compared": self.done.compared,
            "verified": self._verified[Action.SAME] if self._verified is not None else None,
            "left_names": account.left,
            "moved_names": account.moved,
            "not_done_names": account.not_done,
            "all_names": str(account.names_file) if account.names_file else None,
            "secrets": self._planned.all(),
            "plan": self._plan_document(),
            "undo": str(self._folder) if back and self.done.changed else None,
            "undo_by": back,
            "goes_on": self._goes_on() if self._unfinished else None,
            "earlier": [earlier_document(one) for one in self._earlier],
            "to": self.to,
            "least_seconds": self._estimate(self.done).least,
            "estimate": self._estimate(self.done).document() if self.dry else None,
            "losses": list(account.losses),
            "shortfall": self._shortfall_document(),
            "lost": self._origin.lost,
            "leaked": self._leaked,
        }

    def _shortfall_document(self) -> dict[str, Any] | None:
        """Return what the backup lacks, every name of it, and whether it was taken from earlier ones."""
        found = self._shortfall or (self.head.shortfall if self.head is not None else None)
        if found is None:
            return None
        earlier = self._origin.earlier
        names: Iterable[Missing] = found.names
        if self._output.json and earlier is not None and self._shortfall is not None and found.by_name:
            names = earlier.missing()
        return {
            **msgspec.to_builtins(found),
            "names": list(names),
            "sound": found.sound or None,
            "filled": self._filled is not None,
        }

    def _plan_document(self) -> dict[str, Any] | None:
        if self.head is None:
            return None
        file = self._out.path or self._arguments.plan
        return {
            "file": str(file) if file is not None else None,
            "digest": self.head.digest,
            **msgspec.to_builtins(self.head),
        }

    @property
    def _unfinished(self) -> bool:
        return not self.dry and (self.stopped is not None or bool(self.done.not_done))

    def _estimate(self, planned: Restored) -> estimate.Estimate:
        undo = self._here.state_dir / "undo"
        return estimate.estimate(self.destination, planned, undo=undo, to=self.to)

    def _estimate_lines(self) -> Iterator[str]:
        """Say how long it takes; of the local store, which takes no time worth a word, only if known."""
        estimated = self._estimate(self.done)
        if estimated.seconds is not None or self.to != options.LOCAL:
            yield f"  {estimated.describe(self.to, self.done)}"

    def _lines(self) -> Iterator[str]:
        yield from (line for one in self._earlier for line in _of_earlier(one))
        begun = "Nothing was written. " if self.dry else ""
        if self.stopped is not None:
            begun = "This restore was stopped before its end. "
        yield f"{begun}From {self._origin.name} into {_words(self.to)}:"
        if self._request.version is not None:
            yield f"  version {self._request.version}: its value becomes the newest, above the versions there"
        yield from self._planned.lines() if self.dry else self._done_lines()
        yield from self._verified_lines()
        yield from self._filled_lines()
        if self.dry and self.done.written:
            yield from self._estimate_lines()
        yield from (f"  not as it was: {loss}" for loss in self._account.losses)
        if self._out.path is not None and self.head is not None:
            yield f"  The plan is in {self._out.path}, with digest {self.head.digest}."
            yield "  This does what it says, and leaves what changes until then:"
            yield f"    {self._by_plan(self._out.path)}"
        if back := self.way_back():
            if self.done.changed:
                yield f"  what was there before is sealed in {self._folder}"
                yield "  whatever opens this backup opens it"
            yield "  This undoes it:"
            yield from (f"    {command}" for command in back)
        if self._unfinished:
            yield "  This goes on, once the cause is removed:"
            yield f"    {self._goes_on()}"

    def _done_lines(self) -> Iterator[str]:
        done = self.done
        yield from counted(
            (done.created, "created"),
            (done.changed, "changed"),
            (done.unchanged, "already as in the backup"),
            (done.compared, "read back and compared with the backup"),
        )
        if done.moved:
            said = f"{plural(done.moved, 'secret')} changed since the plan was made and"
            yield f"  {said} {verb(done.moved, 'are')} left as {they(done.moved)}:"
            yield from names_moved(self._account, every=self._names)
        if done.left:
            said = f"{plural(done.left, 'secret')} {verb(done.left, 'differ')}"
            yield f"  {said} and {verb(done.left, 'are')} left as {they(done.left)}:"
            yield from names_left(self._account, every=self._names)
            yield "    --overwrite-existing replaces what differs, and writes an undo file first"
        yield from not_done(self._account, "restored", every=self._names)

    def _filled_lines(self) -> Iterator[str]:
        """Say what is from earlier backups, or what is in none that was restored."""
        told = self._shortfall or (self.head.shortfall if self.head is not None else None)
        if told is None or not told.missing:
            return
        if self._filled is None and self.dry:
            return  # each is named
        if self._filled is None:
            said = f"{plural(told.missing, 'secret')} of earlier backups {verb(told.missing, 'are')}"
            yield f"  {said} not in it"
            return
        for one in told.groups:
            said = f"{plural(one.secrets, 'secret')} of these {verb(one.secrets, 'are')}"
            yield f"  {said} as in backup {one.backup}, made {one.created_at}"

    def _verified_lines(self) -> Iterator[str]:
        if self._verified is None:
            return
        total, same = sum(self._verified.values()), self._verified[Action.SAME]
        said = f"{plural(total, 'secret')} compared once more at the end"
        yield f"  {said}: all equal" if total == same else f"  {said}: {same:,} equal, {total - same:,} not"


def _taken_by(plan: PlanFile) -> Iterator[tuple[str, str]]:
    """Yield what a plan takes from earlier backups."""
    return ((one.name, one.backup) for one in plan.entries() if one.backup and one.action not in TELLS)


WOULD = {
    Action.CREATE: "would be created",
    Action.FINISH: "would be finished: an interrupted restore began to write them",
    Action.CHANGE: "would be changed to what the backup has",
    Action.SAME: "already as in the backup",
    Action.MOVED: "changed since the plan was made and would be left",
    Action.LEAVE: "{differ} and would be left (--overwrite-existing would replace them)",
    Action.CANNOT: "could not be restored",
    Action.MISSING: "not in it, and in earlier backups (--fill-from-earlier restores them too)",
    Action.LOST: "lost: the values are damaged, and no earlier backup has one",
}


_ONE = WOULD | {
    Action.LEAVE: "{differ} and would be left (--overwrite-existing would replace it)",
}


def earlier_document(one: Interrupted) -> dict[str, Any]:
    return {
        "folder": str(one.folder),
        "started_at": one.journal.started_at,
        "killed": one.killed,
        "counts": one.journal.counts,
        "not_done": one.journal.not_done,
        "writing": one.journal.writing,
    }


def _of_earlier(one: Interrupted) -> Iterator[str]:
    """Say what a restore did that this one goes on with."""
    journal = one.journal
    how = "was killed" if one.killed else "was stopped" if journal.ended == STOPPED else "did not restore all"
    counts = journal.counts
    yield f"An earlier restore of this backup, begun at {journal.started_at}, {how}:"
    yield f"  {plural(counts.created, 'secret')} created and {counts.changed:,} changed; it is on record in"
    yield f"  {one.folder}"
    if one.killed and journal.writing:
        written = plural(len(journal.writing), "secret")
        yield f"  It was writing {written}: what these lost may not be among the losses below."
    yield "  Its losses are among those below."


def _cannot(codes: Counter[str], total: int, *, one: bool) -> StrongroomError | None:
    """Return what to say of secrets that cannot be restored: rights are granted, all else is otherwise."""
    if not codes:
        return None
    others = ", and all others would be" if total > codes.total() else ""
    said = f"{plural(codes.total(), 'secret')} could not be restored{others}."
    if set(codes) == {RightMissing.__name__}:
        return RightMissing(said, hint=_GRANT_ONE if one else _GRANT)
    return SourceError(said, hint=_REFUSED_ONE if one else _REFUSED)


def _left(count: int, to: str) -> RunDegraded:
    said = f"{plural(count, 'secret')} in '{to}' {verb(count, 'differ')} from the backup"
    return RunDegraded(f"{said} and {verb(count, 'were')} left as {they(count)}.", hint=_LEFT)


def _moved(count: int) -> RunDegraded:
    said = f"{plural(count, 'secret')} changed since the plan was made"
    return RunDegraded(f"{said}, and {verb(count, 'were')} left as {they(count)}.", hint=_MOVED)


def _places(given: str | Sequence[str] | None) -> list[str]:
    """Return targets as they can be named from anywhere: a folder by its whole path."""
    named = [given] if isinstance(given, str) else list(given or ())
    return [str(Path(one).absolute()) if Path(one).is_dir() else one for one in named]


_SWITCHES = (
    "full_restore",
    "partial",
    "use_quarantined",
    "overwrite_existing",
    "legacy",
    "force",
    "fill_from_earlier",
)

_BESIDE_PLAN = ("use_quarantined", "force")


def _words(name: str) -> str:
    return "the local store" if name == options.LOCAL else f"'{name}'"


_OLD_FILE = "Leave --plan-out out: --dry-run alone says what would be done."
_MOVED = (
    "They were not changed; everything else in the plan was done. Look at who changed them, then make "
    "another plan for what is left: strongroom restore --plan-out FILE."
)
_AGAIN = "Somebody wrote there meanwhile. Look at who does, then restore once more, or leave it as it is."
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
_LEFT = (
    "They were not changed. Decide which side is right (--dry-run says which is newer). "
    "--overwrite-existing replaces what differs, and writes an undo file first."
)
