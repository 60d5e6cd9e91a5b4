"""A restore that a person attends: what its run works with, who is asked meanwhile, and what came of it.

The run is the one that a cluster performs (:mod:`strongroom.operations.restore.job`), driven in this process.
Its record lies in the folder of what undoes it, so it needs no database, broker or configuration.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, cast

import msgspec
from msgspec.structs import replace

from strongroom.cli.commands.restore.account_lines import ONE, WOULD, PlanLines
from strongroom.cli.commands.restore.arguments import PlanOptions, Restore
from strongroom.cli.parameters import command_line
from strongroom.cli.shared import (
    access_log,
    admission,
    identities,
    options,
    recipients,
    restore_source,
    sources,
)
from strongroom.cli.shared.backup_selection import report_shortfall
from strongroom.cli.shared.opening import open_file
from strongroom.cli.shared.restore_source import RestoreSource, SourceQuery, undo_sealer
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output, in_line
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.cli.terminal.screen import counting
from strongroom.container import bundle
from strongroom.container.errors import DAMAGE
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys.roles import load_or_create_role
from strongroom.model import COMMAND, Role, Secret, Selection
from strongroom.operations.archive.filled import Filled
from strongroom.operations.archive.shortfall import MissingSecret, Shortfall
from strongroom.operations.engine.lone_run import LoneStore, drive_alone, lone_services
from strongroom.operations.errors import LeakedValue, NothingSelected, PlanMismatch
from strongroom.operations.restore.batch import Progress
from strongroom.operations.restore.journal import Interrupted, RestoreAccount, Restored, continue_with
from strongroom.operations.restore.plan import (
    FIRST,
    IN_PLACE,
    TELLS,
    PlanEntry,
    Relocation,
    RestorePlan,
    encode_entry,
    manifest_digest,
    parse_relocation,
    require_fitting,
)
from strongroom.operations.restore.plan_file import PlanFile, open_sealed, seal_plan, sign_head
from strongroom.operations.restore.restorable import Restorable
from strongroom.operations.restore.restore import ChosenByContainer, plan_restore
from strongroom.operations.restore.staged import RestoreComparison, RestoreOptions, StagedPlan, facts_of
from strongroom.operations.restore.step import whole_plan
from strongroom.operations.restore.undo import UndoSealer
from strongroom.sources import Destination
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import Run, RunKind, Spec
from strongroom.system import process
from strongroom.system.files import placed, refuse_existing

if TYPE_CHECKING:
    from strongroom.operations.procedures.incident_exposure import Leaked


# -- What a restore is asked for: by options, or by a plan that was made before -----------------


class RestoreRequest(NamedTuple):
    """Which secrets, what becomes of those that differ, and what they are called at the destination."""

    selection: Selection = Selection()
    names: tuple[str, ...] = ()
    overwrite: bool = False
    relocation: Relocation = IN_PLACE
    plan: PlanFile | None = None
    version: int | None = None
    """Which version of the one secret; the newest if none is named."""

    def nothing(self, elsewhere: int = 0) -> NothingSelected:
        """Return what to say where no secret of the backup is asked for.

        Args:
            elsewhere: how many secrets of earlier backups are.
        """
        if elsewhere:
            said = f"No secret of this backup is asked for, and {elsewhere:,} of earlier ones"
            return NothingSelected(f"{said}; nothing was restored.", hint=_ELSEWHERE)
        if begins := self.relocation.source:
            said = f"No secret that is asked for begins with '{begins}'; nothing was restored."
            return NothingSelected(said, hint="See the names with 'strongroom list --backup-file FILE'.")
        said = "The filter matches no secret of the backup; nothing was restored."
        return NothingSelected(said, hint=_FILTER)

    def secrets_of(self, origin: RestoreSource) -> Iterator[Secret]:
        """Yield what is asked for, as the backup has it."""
        if self.names:
            return (origin.find(name, self.version) for name in self.names)
        return origin.select(self.selection)


def open_source(
    given: Restore, output: Output, installation: InstallationPlace
) -> AbstractContextManager[RestoreSource]:
    """Open what a restore is from."""
    query = SourceQuery(
        selection=given.selected.selection(),
        name=given.secret_name or "",
        source=given.into.to,
        whole=given.full_restore,
        writes=True,
        dry=given.dry_run,
        planned=given.planning.plan is not None,
    )
    return restore_source.open_restore_source(given.origin, query, output, installation)


def by_options(given: Restore) -> RestoreRequest:
    """Return what the options ask for. Raises UsageError."""
    relocation = parse_relocation(given.into.relocate)
    if given.secret_name is not None:
        return RestoreRequest(
            names=(given.secret_name,),
            overwrite=given.overwrite_existing,
            relocation=relocation,
            version=given.version,
        )
    selection = given.selected.selection()
    _refuse_contradictory(given, selection)
    return RestoreRequest(selection=selection, overwrite=given.overwrite_existing, relocation=relocation)


def _refuse_contradictory(given: Restore, selection: Selection) -> None:
    if given.full_restore and (selection.include or selection.tags):
        raise UsageError(
            "--full-restore contradicts --include and --filter-tag.",
            hint="Give one of the two. --exclude goes with both.",
        )
    if given.into.recipient and given.into.to_file is None:
        raise UsageError("--recipient is for whom a file is sealed: it goes with --to-file.")
    if given.into.to_file is not None:
        options.refuse_beside(given, _NOT_INTO_A_FILE, "--to-file", why=": a file is always new")
    if not (given.full_restore or given.into.relocate) and selection == Selection():
        raise UsageError(
            "What is to be restored?",
            hint="Everything: --full-restore. A part: --filter-tag, --include, --exclude. "
            "What a plan says: --plan FILE.",
        )


# -- a plan that is written ----------------------------------------------------------


class PlanOut:
    """Writes a plan into a file, sealed if it has recipients; without a file, nowhere."""

    def __init__(self, given: Restore, output: Output, installation: InstallationPlace) -> None:
        self.path, words = given.planning.plan_out, given.planning.plan_recipient
        if words and self.path is None:
            raise UsageError("--plan-recipient seals a plan: it goes with --plan-out.")
        self._replace = given.force
        self._recipients = [recipients.recipient_of(word, output, installation) for word in words]
        self._installation = installation
        if self.path is not None:
            refuse_existing(self.path, replace=self._replace)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Give what entries and head are written into; what is sealed never lies in the open."""
        if self.path is None:
            yield io.BytesIO()
        elif self._recipients:
            held = io.BytesIO()
            yield held
            seal_plan(
                self.path,
                held.getvalue(),
                recipients=self._recipients,
                signer=load_or_create_role(self._installation.role_keys, Role.RECOVER),
                replace=self._replace,
            )
        else:
            with placed(self.path, replace=self._replace) as file:
                yield file

    def write(self, file: BinaryIO, entry: PlanEntry) -> None:
        """Write an entry down."""
        if self.path is not None:
            file.write(encode_entry(entry))

    def end(self, file: BinaryIO, head: RestorePlan) -> None:
        """Write the signed head."""
        if self.path is not None:
            file.write(sign_head(head, load_or_create_role(self._installation.role_keys, Role.RECOVER)))


# -- a plan that is done -------------------------------------------------------------


@contextmanager
def by_plan(
    given: Restore, output: Output, installation: InstallationPlace
) -> Iterator[tuple[Restore, RestoreRequest]]:
    """Give what a plan's file asks for, with parameters that mean the same backup and destination.

    Raises:
        UsageError: an option says something else than the plan may.
        NotABackup, Truncated, Tampered, UntrustedSigner: the file is not what a trusted installation signed.
    """
    options.refuse_beside(given, _DECIDED, "--plan", why=": the plan decides that")
    with _plan_file(given, output, installation) as file:
        trusted = admission.trusted_signers(installation, given.origin.trust.signer)
        plan = PlanFile(file, trusted=trusted)
        head = plan.head
        if given.into.to not in (options.LOCAL, head.destination.name):
            raise UsageError(
                f"The plan is for '{head.destination.name}', and not for '{given.into.to}'.",
                hint="Nothing was changed. Leave --to out, or make a plan for the other one.",
            )
        backup = head.backup if given.origin.where.backup_file is None else None
        # What it lacks was seen when the plan was made.
        choice = replace(given.origin.choice, backup=backup, partial=True)
        meant = replace(
            given,
            origin=replace(given.origin, choice=choice),
            into=replace(given.into, to=head.destination.name),
        )
        yield (
            meant,
            RestoreRequest(
                selection=head.selection,
                names=head.names,
                overwrite=head.overwrite,
                relocation=head.relocation,
                plan=plan,
                version=head.secret_version,
            ),
        )


@contextmanager
def _plan_file(given: Restore, output: Output, installation: InstallationPlace) -> Iterator[BinaryIO]:
    path = given.planning.plan
    assert path is not None
    with open_file(path) as reader:
        sealed = reader.read(0, len(bundle.MAGIC)) == bundle.MAGIC
    if not sealed:
        # A copy: who may write to the file must not change its entries after they were checked.
        with path.open("rb") as file, SpooledTemporaryFile(max_size=_HELD) as held:
            shutil.copyfileobj(file, held)
            yield cast("BinaryIO", held)
        return
    openers = identities.identities_of(given.origin.opening, output, installation)
    trusted = admission.trusted_signers(installation, given.origin.trust.signer)
    yield open_sealed(path, identities=openers, trusted=trusted)


_HELD: Final = 64 << 20
"""Bytes of a plan that are held in memory; a larger one is copied to the disk, where it has no name."""
_ELSEWHERE = (
    "The lines above say which backups have them. The same command takes them from there with "
    "--fill-from-earlier."
)
_FILTER = "Check the filter: 'strongroom get NAME --backup-file FILE' shows a secret's tags."
_NOT_INTO_A_FILE = ("overwrite_existing", "verify_after_restore", "plan_out")
_DECIDED = (
    "secret_name",
    "full_restore",
    "filter_tag",
    "include",
    "exclude",
    "overwrite_existing",
    "relocate",
    "plan_out",
    "plan_recipient",
    "backup",
    "policy",
    "at",
    "fill_from_earlier",
    "to_file",
    "recipient",
)


# -- A restore that a person attends: what its run works with, who is asked meanwhile, and what came of it
#
# The run is the one that a cluster performs (:mod:`strongroom.operations.restore.job`), driven in this
# process. Its record lies in the folder of what undoes it, so it needs no database, broker or
# configuration.


WORTH_SAYING = 10.0
"""Seconds: below, nobody wonders."""


class AttendedRestore:
    """One restore into the local store, or wherever a person said."""

    def __init__(
        self,
        given: Restore,
        output: Output,
        here: InstallationPlace,
        backup: RestoreSource,
        request: RestoreRequest,
    ) -> None:
        file = given.into.to_file
        self.to: str = given.into.to if file is None else str(file)
        self.destination: Destination = (
            sources.destination_of(self.to, here) if file is None else MemoryStore(name=self.to)
        )
        self.given, self.output, self.here = given, output, here
        self.backup, self.request = backup, request
        self.plan_out = PlanOut(given, output, here)
        self.dry = given.dry_run or self.plan_out.path is not None
        self.every_name = output.json or given.all_names
        self.lines = PlanLines(WOULD if given.secret_name is None else ONE, every=self.every_name)
        self.head: RestorePlan | None = request.plan.head if request.plan is not None else None
        self.done = Restored()
        self.compared: RestoreComparison | None = None
        self.stopped: BaseException | None = None
        self.account = RestoreAccount()
        self.earlier: Sequence[Interrupted] = ()
        self.can_be_undone = True
        self.filled: Filled | None = None
        self.lacks: Shortfall | None = None
        self.leaked: list[Leaked] = []
        self._opened = ExitStack()
        self._plan_file: BinaryIO | None = None
        self._unlocked = self._approved = self._begun = False
        self._to_approve = self.head
        self._sealer: UndoSealer | None = None
        self._run = ""

    @property
    def undo(self) -> Path:
        """Where restores are on record."""
        return self.here.state_dir / "undo"

    @property
    def record(self) -> Path:
        """Where this one is."""
        return self.undo / self._run

    @property
    def goes_on(self) -> str:
        return command_that_goes_on(self.given, self.backup.id)

    # -- before and after the run ----------------------------------------------------------

    def differs(self) -> bool:
        """Say whether the destination has something else for what is asked for."""
        relocation = self.request.relocation
        choose = lambda: self.secrets(self.backup)  # noqa: E731 - anew each time
        return plan_restore(choose, self.destination, overwrite=False, relocation=relocation).left > 0

    def do(self) -> None:
        """Restore, or find out what that would do. What stops it is kept, and what was done by then."""
        if self.request.plan is not None:
            require_fitting(self.request.plan.head, self.backup.manifest, self.destination)
        self._compare_with_earlier()
        self._tell_leaked()
        run: Run | None = None
        try:
            with self._opened:
                run, error = self._drive()
                if error is not None:
                    raise error
        except BaseException as stopped:
            refused = isinstance(stopped, UsageError) and not self.account.counts.total
            if self.dry or not self._begun or refused:
                raise
            self.stopped = stopped
        if self.dry:
            return
        self.done = self.account.counts
        if self.stopped is not None and self.account.folder is not None:
            continue_with(self.earlier, self.record)
        restored = run is not None and facts_of(run).restore is not None
        if self.head is not None and restored and not self.done.not_done:
            access_log.end_approval(self.here, self.head.id)

    def _drive(self) -> tuple[Run, BaseException | None]:
        store = LoneStore(lambda run: self.undo / run)
        request = self.request
        asked = RestoreOptions(
            destination=self.to,
            names=request.names,
            overwrite=request.overwrite,
            requester=process.who(),
            first=self._first(),
            relocation=request.relocation,
            secret_version=request.version,
            planned=self.dry or request.plan is not None or access_log.has_rules(self.here),
            compare=self.given.verify_after_restore,
            only_plan=self.dry,
        )
        spec = Spec(
            kind=RunKind.RESTORE,
            policy=COMMAND,
            source=self.backup.source,
            selection=request.selection,
            backup=self.backup.id,
            options=msgspec.to_builtins(asked),
        )
        services = lone_services(
            store, spec, state_dir=self.here.state_dir, restoring=lambda run, _services: self._at(run)
        )
        run, error = drive_alone(store, spec, services)
        self.compared = facts_of(run).restore_compare
        return run, error

    def _at(self, run: Run) -> AttendedRestore:
        self._run = run.id
        return self

    def _first(self) -> tuple[str, ...]:
        """Return the tags of critical secrets. A configuration that is wrong keeps nobody from a restore."""
        section = self.here.tables.get("restore")
        first = section.get("first") if isinstance(section, Mapping) else None
        return tuple(map(str, first)) if isinstance(first, list) else FIRST

    def _compare_with_earlier(self) -> None:
        """Say what the backup lacks of those before it, and take that from them if that is asked for.

        What a plan lacks was seen when it was made.
        """
        if self.head is not None:
            self.filled = self._fill_by_plan(self.head)
            return
        if (earlier := self.backup.earlier) is None:
            return
        self.backup.unlock()
        self.lacks = found = earlier.shortfall()
        if found.missing and self.given.fill_from_earlier:
            with suppress(*DAMAGE):  # what it lacks is said as a number, and what is lost of it comes back
                self.filled = self.backup.fill()
        report_shortfall(found, self.output, filled=self.filled is not None, fillable=True)

    def _fill_by_plan(self, head: RestorePlan) -> Filled | None:
        """Take from earlier backups what a plan says, if they are those that it was made from."""
        plan = self.request.plan
        if plan is None or not head.earlier:
            return None
        taken = self.backup.fill(lambda: _taken_by(plan))
        for earlier_backup in head.earlier:
            if (
                taken is None
                or manifest_digest(taken.opened(earlier_backup.backup).manifest) != earlier_backup.manifest
            ):
                raise PlanMismatch(
                    f"The plan takes secrets from backup {earlier_backup.backup}, and this is another one."
                )
        return taken

    def _tell_leaked(self) -> None:
        """Say which values an incident has as known to others before they come back, and ask for a yes."""
        self.leaked = self.backup.leaked(self.request.names, self.request.selection)
        for leak in self.leaked:
            self.output.warn(f"{leak.words}.")
        certain = [leaked_secret for leaked_secret in self.leaked if not leaked_secret.sealed]
        if not certain:
            return
        if not self.dry:
            prompts.confirm("Values that others know will be restored", force=self.given.force)
        change = f"strongroom incident rotate {certain[0].incident}"
        after = "Nothing was restored yet. After a restore" if self.dry else "What was restored stays. Now"
        hint = f"{after} change them where they are used: {change}"
        self.output.end_with(LeakedValue(f"{certain[0].words}.", hint=hint))

    # -- what the steps of the run ask ----------------------------------------------------

    def fixed(self) -> str:
        manifest = self.backup.manifest
        if manifest is None and self.plan_out.path is not None:
            raise UsageError("An old file can be restored, and no plan can be made of it.", hint=_OLD_FILE)
        return manifest_digest(manifest) if manifest is not None else ""

    def open(self) -> RestoreSource:
        if not (self.dry or self._unlocked):
            self._unlocked = True
            self.backup.unlock()  # what does not open has begun nothing
            if self.given.full_restore:
                self._say_how_long()
        return self.backup

    def _say_how_long(self) -> None:
        """Say beforehand how long everything may take: who sees nothing move ends it half-way."""
        planned = Restored(created=self.backup.total, versions=self.backup.versions)
        estimated = self.estimate(planned)
        if estimated.seconds is not None and estimated.seconds >= WORTH_SAYING:
            self.output.note(f"{estimated.describe(self.to, planned)}. What is there already takes less.")

    def estimate(self, planned: Restored) -> restore_source.Estimate:
        """Estimate how long so much takes."""
        return restore_source.estimate(self.destination, planned, undo=self.undo, to=self.to)

    def secrets(self, backup: Restorable) -> Iterator[Secret]:
        return self.request.secrets_of(self.backup)

    def by_container(self, backup: Restorable) -> ChosenByContainer | None:
        return None if self.request.names else self.backup.by_container(self.request.selection)

    def planned(self, backup: Restorable, entries: Iterable[PlanEntry] | None) -> Iterator[Secret]:
        return self.secrets(backup)

    def shortfall(self) -> Shortfall | None:
        return self.lacks

    def missing(self) -> Iterable[MissingSecret]:
        found, earlier = self.lacks, self.backup.earlier
        if earlier is None or found is None or self.filled or not (found.by_name and found.missing):
            return ()
        return earlier.missing()

    def made_before(self) -> RestorePlan | None:
        """Return the plan in the file; where it is only looked at, tell what of it has moved since."""
        plan = self.request.plan
        if plan is not None and self.dry:
            self.done = plan_restore(
                lambda: self.secrets(self.backup),
                self.destination,
                overwrite=self.request.overwrite,
                relocation=self.request.relocation,
                plan=plan.entries(),
                note=self.lines.add,
                newest_only=self.request.version is not None,
            )
        return plan.head if plan is not None else None

    def keeper(self, backup: Restorable) -> AttendedRestore:
        if self.request.plan is None:
            self._plan_file = self._opened.enter_context(self.plan_out.opened())
            self._advance = self._opened.enter_context(counting(self.output, "comparing", backup.total))
        return self

    def add(self, entry: PlanEntry) -> None:
        """Write an entry of the plan down, then hold it for the answer."""
        assert self._plan_file is not None
        self.plan_out.write(self._plan_file, entry)
        if self.dry:
            self.lines.add(entry)
        self._advance(1)

    def finish(self, head: RestorePlan) -> StagedPlan:
        if self._plan_file is not None:
            self.plan_out.end(self._plan_file, head)
            self.done = head.totals
        self._to_approve = head
        self.head = head if self.dry else self.head
        return whole_plan(head)

    def plan(self) -> StagedPlan | None:
        """Have a person told, once, who else has to approve this, where the configuration asks for that."""
        if self._to_approve is not None and not self._approved:
            manifest = self.backup.manifest
            policy = manifest.policy if manifest is not None else ""
            kept = self.request.plan is not None
            access_log.require_plan_approved(self.here, self._to_approve, policy=policy, kept=kept)
            self._approved = True
        return None

    def entries(self, plan: StagedPlan | None, piece: int) -> Iterable[PlanEntry] | None:
        return self.request.plan.entries() if self.request.plan is not None else None

    def folder(self, piece: int) -> Path:
        return self.record

    def carried(self, folder: Path) -> None:
        """Leave the record on this host: it is where the person is who undoes it."""

    def sealer(self, backup: Restorable) -> UndoSealer:
        self._sealer = undo_sealer(backup.openers, backup.readers, self.output, self.here)
        return self._sealer

    def began(self, account: RestoreAccount, earlier: Sequence[Interrupted]) -> None:
        self.account, self.earlier, self._begun = account, earlier, True

    def accept_no_way_back(self, why: StrongroomError) -> None:
        """Have a person agree before what nobody could undo is begun."""
        self.can_be_undone = False
        said = f"This restore could not be undone: {why.message.rstrip('.')}"
        if self.request.overwrite:
            raise type(why)(f"{said}. So it overwrites nothing.", hint=why.hint)
        prompts.confirm(said, force=self.given.force)
        self.output.warn(f"this restore cannot be undone: {why.message}")

    def counting(self, doing: str) -> AbstractContextManager[Progress]:
        if doing == "restoring" and self._sealer is not None:
            for name, error in self._sealer.absent.items():
                self.output.note(f"note: what undoes this is not sealed to {in_line(name)}: {error.message}")
        return counting(self.output, doing, self.backup.total)


def _taken_by(plan: PlanFile) -> Iterator[tuple[str, str]]:
    """Yield what a plan takes from earlier backups."""
    return (
        (entry.name, entry.backup) for entry in plan.entries() if entry.backup and entry.action not in TELLS
    )


# -- commands to type ------------------------------------------------------------------------


def command_that_goes_on(given: Restore, backup: str) -> str:
    """Return the command that restores what this one does not: the same, from just this backup."""
    origin = from_anywhere(given.origin)
    if given.planning.plan is not None:  # which decides all else
        choice = options.CoveringBackupOptions(use_quarantined=origin.choice.use_quarantined)
        planning, origin = PlanOptions(plan=given.planning.plan), replace(origin, choice=choice)
        return command_line("restore", Restore(origin=origin, planning=planning, force=given.force))
    named = backup if origin.where.backup_file is None else origin.choice.backup
    choice = replace(origin.choice, backup=named, policy=None, at=None)
    return command_line("restore", replace(given, origin=replace(origin, choice=choice), dry_run=False))


def from_anywhere(origin: options.RestoreFrom) -> options.RestoreFrom:
    """Return what a restore is from as it is typed in any folder: a target that is one is named in full."""
    places = (
        str(Path(word).absolute()) if Path(word).is_dir() else word for word in origin.where.from_target
    )
    return replace(origin, where=replace(origin.where, from_target=tuple(places)))


_OLD_FILE = "Leave --plan-out out: --dry-run alone says what would be done."
