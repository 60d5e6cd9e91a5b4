"""What the commands of this room take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import Command, UnreadableWord, argument, group, one_of, option
from strongroom.cli.shared import options
from strongroom.errors import UsageError


@group("where to")
class BackupPlaceOptions(Struct, frozen=True, kw_only=True):
    """Where a backup goes: into a file, or by a policy to its targets, and who makes it."""

    file: Annotated[Path | None, argument("the file to write", metavar="FILE")] = None
    output: Annotated[Path | None, option("the same, as an option", metavar="FILE")] = None
    policy: Annotated[
        str | None, option("instead of FILE: back up by this policy, to its targets", metavar="NAME")
    ] = None
    by: options.ClusterOptions = options.ClusterOptions()

    @property
    def path(self) -> Path:
        """The file to write: FILE or --output, one of them."""
        path = self.file or self.output
        assert path is not None  # as the parameters ask for
        return path


@one_of()
class BackupKind(Struct, frozen=True, kw_only=True):
    """Whether values are in a backup."""

    metadata_only: Annotated[bool, option("names, types, tags and dates (the default)")] = False
    include_values: Annotated[bool, option("values too; always sealed")] = False


@group("what")
class BackupContent(Struct, frozen=True, kw_only=True):
    """What is in a backup.

    The hidden options ask for what is always in a backup: command lines that do so stay valid.
    """

    kind: BackupKind = BackupKind()
    encrypt_backup: Annotated[bool, option("seal a metadata-only backup too")] = False
    include_metadata: Annotated[bool, option(hidden=True)] = False
    include_expiration: Annotated[bool, option(hidden=True)] = False
    include_rotation_schedule: Annotated[bool, option(hidden=True)] = False
    source: options.SourceName = options.LOCAL


class MakeBackup(Struct, frozen=True, kw_only=True):
    """What is backed up, where to, and who can open it."""

    where: BackupPlaceOptions = BackupPlaceOptions()
    what: BackupContent = BackupContent()
    selection: options.SelectionOptions = options.SelectionOptions()
    recipients: options.RecipientOptions = options.RecipientOptions()
    force: Annotated[bool, option("do not ask first, and replace the file if it exists")] = False

    @property
    def sealed(self) -> bool:
        """Tell whether a file is sealed, whatever is in it."""
        content = self.what.kind.include_values or self.what.encrypt_backup
        return content or self.recipients != options.RecipientOptions()

    def __post_init__(self) -> None:
        if self.where.policy is not None:
            self._refuse_beside_policy()
        elif not self.where.by.cluster and len({self.where.file, self.where.output} - {None}) != 1:
            several = self.where.file and self.where.output
            what = "two files are named" if several else "nothing says where the backup goes"
            raise UnreadableWord(f"{what}: name one file, or a policy with --policy")

    def _refuse_beside_policy(self) -> None:
        """Refuse what a policy says itself."""
        what, kind = self.what, self.what.kind
        beside = {
            "FILE": self.where.file,
            "--output": self.where.output,
            "--include-values": kind.include_values,
            "--metadata-only": kind.metadata_only,
            "--encrypt-backup": what.encrypt_backup,
            "--recipient": self.recipients.recipient,
            "--filter-tag": self.selection.filter_tag,
            "--include": self.selection.include,
            "--exclude": self.selection.exclude,
            "--passphrase-file": self.recipients.passphrase_file,
            "--source": what.source != options.LOCAL,
        }
        if said := ", ".join(name for name, value in beside.items() if value):
            raise UnreadableWord(f"a policy says that itself: --policy does not go with {said}")


def _backup_work(given: MakeBackup) -> str:
    """Choose: a plain document needs no database, and a policy needs what drives runs."""
    if given.where.policy is not None:
        return "sealed:back_up_there" if given.where.by.cluster else "sealed:back_up"
    if given.where.by.cluster:
        raise UsageError("The cluster backs up by a policy.", hint="Say --policy NAME.")
    return "sealed:back_up_to_file" if given.sealed else "metadata:write_metadata"


class EmergencyBackup(Struct, frozen=True, kw_only=True):
    """Which policy's media are backed up onto, or looked for."""

    policy: Annotated[str, argument("the policy whose targets are the offline media", metavar="POLICY")]
    status: Annotated[bool, option("only say whether a backup is due, and which media are missing")] = False
    wait: Annotated[bool, option("wait until every medium is mounted")] = False
    with_wheels: Annotated[
        Path | None,
        option(
            "take along the wheels in this folder with which recover.py runs where there is no network",
            metavar="DIR",
        ),
    ] = None
    force: Annotated[bool, option("do not ask before values are sealed onto the media")] = False

    def __post_init__(self) -> None:
        if self.status and self.wait:
            raise UnreadableWord("--status says how it stands at once: it does not go with --wait")


class WriteKit(Struct, frozen=True, kw_only=True):
    """Where the recovery kit goes."""

    output: Annotated[Path, option("the HTML file to write", metavar="FILE")]
    force: Annotated[bool, option("replace the file if it exists")] = False


class EscrowKeys(Struct, frozen=True, kw_only=True):
    """Where an escrow lies, and for whom it is sealed or what opens it."""

    file: Annotated[Path, argument("the file to write, or with --open to read", metavar="FILE")]
    open: Annotated[bool, option("restore it into an empty state directory")] = False
    force: Annotated[bool, option("replace the file to write if it exists")] = False
    recipient: options.Recipient = ()
    opening: options.OpeningOptions = options.OpeningOptions()
    trust: options.TrustOptions = options.TrustOptions()

    def __post_init__(self) -> None:
        if self.open and self.recipient:
            raise UnreadableWord("--recipient seals; to open, give --identity or --passphrase-file")
        if not self.open and self.opening.identity:
            raise UnreadableWord("--identity opens; to seal, give --recipient")


COMMANDS = {
    "backup": Command(
        MakeBackup,
        _backup_work,
        "Without --include-values only metadata is written, as plain JSON with a digest. Values are always\n"
        "sealed and never written in plain text. A full backup asks first; --force answers yes. A policy's\n"
        "backup is made by this process; with --cluster by the workers, even if the broker loses its\n"
        "messages.",
    ),
    "emergency backup": Command(
        EmergencyBackup,
        "emergency:make_emergency_backup",
        "Nothing is captured before every medium of the policy is mounted. The recovery program, the\n"
        "format, a runbook, the recovery kit and checksums are written next to the backup.",
    ),
    "emergency kit": Command(
        WriteKit,
        "kit:write_recovery_kit",
        "The page says who can open what, where it is, whose signature to trust and what to type.",
    ),
    "emergency escrow": Command(
        EscrowKeys,
        "emergency:seal_or_open",
        "An escrow rebuilds a lost machine: a copy of the store's database can be read again, and backups\n"
        "made before are still trusted.",
    ),
}
