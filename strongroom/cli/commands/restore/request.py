"""What a restore is asked for: by options, or by a plan that was made before."""

from __future__ import annotations

import io
import shutil
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, NamedTuple, cast

from strongroom.cli.shared import identities, options, recipients, trust
from strongroom.cli.shared.backup_argument import open_file
from strongroom.cli.shared.restore_source import RestoreSource
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container import bundle
from strongroom.errors import UsageError
from strongroom.keys import Recipient
from strongroom.keys.roles import load_or_create_role
from strongroom.model import Secret, Selection
from strongroom.operations.errors import NothingSelected
from strongroom.operations.restore.plan import (
    IN_PLACE,
    PlanEntry,
    Relocation,
    RestorePlan,
    encode_entry,
    parse_relocation,
)
from strongroom.operations.restore.plan_file import PlanFile, open_sealed, seal_plan, sign_head
from strongroom.system.atomic_file import placed, refuse_existing


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


def by_options(arguments: Namespace) -> RestoreRequest:
    """Return what the options ask for. Raises UsageError."""
    name = arguments.secret_name
    relocation = parse_relocation(arguments.relocate)
    if name is not None:
        return RestoreRequest(
            names=(name,),
            overwrite=arguments.overwrite_existing,
            relocation=relocation,
            version=arguments.version,
        )
    selection = options.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    _refuse_contradictory(arguments, selection)
    return RestoreRequest(selection=selection, overwrite=arguments.overwrite_existing, relocation=relocation)


def _refuse_contradictory(arguments: Namespace, selection: Selection) -> None:
    if arguments.full_restore and (selection.include or selection.tags):
        raise UsageError(
            "--full-restore contradicts --include and --filter-tag.",
            hint="Give one of the two. --exclude goes with both.",
        )
    if arguments.recipient and arguments.to_file is None:
        raise UsageError("--recipient is for whom a file is sealed: it goes with --to-file.")
    if arguments.to_file is not None and (clash := [o for o in _NOT_INTO_A_FILE if getattr(arguments, o)]):
        words = ", ".join(f"--{option.replace('_', '-')}" for option in clash)
        raise UsageError(f"{words} and --to-file contradict each other: a file is always new.")
    if not (arguments.full_restore or arguments.relocate) and selection == Selection():
        raise UsageError(
            "What is to be restored?",
            hint="Everything: --full-restore. A part: --filter-tag, --include, --exclude. "
            "What a plan says: --plan FILE.",
        )


# -- a plan that is written ----------------------------------------------------------


class PlanOut:
    """Writes a plan into a file, sealed if it has recipients; without a file, nowhere."""

    def __init__(self, arguments: Namespace, output: Output, installation: InstallationPlace) -> None:
        self.path: Path | None = arguments.plan_out
        self._replace: bool = arguments.force
        self._recipients = _recipients(arguments, output, installation)
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
                signer=load_or_create_role(self._installation.role_keys, "recover"),
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
            file.write(sign_head(head, load_or_create_role(self._installation.role_keys, "recover")))


def _recipients(arguments: Namespace, output: Output, installation: InstallationPlace) -> Sequence[Recipient]:
    if arguments.plan_recipient and arguments.plan_out is None:
        raise UsageError("--plan-recipient seals a plan: it goes with --plan-out.")
    return [recipients.recipient_of(word, output, installation) for word in arguments.plan_recipient]


# -- a plan that is done -------------------------------------------------------------


@contextmanager
def by_plan(
    arguments: Namespace, output: Output, installation: InstallationPlace
) -> Iterator[RestoreRequest]:
    """Give what a plan's file asks for, and have the options mean the same backup and destination.

    Raises:
        UsageError: an option says something else than the plan may.
        NotABackup, Truncated, Tampered, UntrustedSigner: the file is not what a trusted installation signed.
    """
    _refuse_beside_plan(arguments)
    with _plan_file(arguments, output, installation) as file:
        plan = PlanFile(file, trusted=trust.trusted_signers(installation, arguments.signer))
        head = plan.head
        if arguments.to not in (options.LOCAL, head.destination.name):
            raise UsageError(
                f"The plan is for '{head.destination.name}', and not for '{arguments.to}'.",
                hint="Nothing was changed. Leave --to out, or make a plan for the other one.",
            )
        arguments.to = head.destination.name
        arguments.backup = head.backup if arguments.backup_file is None else None
        arguments.partial = True  # what it lacks was seen when the plan was made
        yield RestoreRequest(
            selection=head.selection,
            names=head.names,
            overwrite=head.overwrite,
            relocation=head.relocation,
            plan=plan,
            version=head.secret_version,
        )


@contextmanager
def _plan_file(arguments: Namespace, output: Output, installation: InstallationPlace) -> Iterator[BinaryIO]:
    path = arguments.plan
    with open_file(path) as reader:
        sealed = reader.read(0, len(bundle.MAGIC)) == bundle.MAGIC
    if not sealed:
        # A copy: who may write to the file must not change its entries after they were checked.
        with path.open("rb") as file, SpooledTemporaryFile(max_size=_HELD) as held:
            shutil.copyfileobj(file, held)
            yield cast("BinaryIO", held)
        return
    openers = identities.identities_of(arguments, output, installation)
    trusted = trust.trusted_signers(installation, arguments.signer)
    yield open_sealed(path, identities=openers, trusted=trusted)


def _refuse_beside_plan(arguments: Namespace) -> None:
    given = [f"--{name.replace('_', '-')}" for name in _DECIDED if getattr(arguments, name, None)]
    if given:
        raise UsageError(
            f"{', '.join(given)} and --plan contradict each other: the plan decides that.",
            hint="Leave it out, or make another plan.",
        )


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
