"""The options that several commands share: a record of each kind, which is what a helper takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import (
    UnreadableWord,
    by_name,
    group,
    moment,
    one_of,
    option,
    reason,
)
from strongroom.cli.terminal.output import in_line
from strongroom.errors import UsageError
from strongroom.model import Selection
from strongroom.words import nearest

LOCAL = "local"
"""The source that every installation has: its local store."""
RELOCATE = (
    "restore what is called FROM… in the backup, and call it TO… instead: another mount, prefix or path, "
    "such as secret/=restored/"
)
_TARGET = "a target: its directory, or its configured name; repeatable"
_ALL_CONFIGURED = f"{_TARGET} (default: all configured)"

FilterTag = Annotated[
    tuple[str, ...],
    option("only secrets with this tag; repeatable, all have to match", metavar="KEY=VALUE"),
]
Reason = Annotated[str, option("why; it goes on record", metavar="TEXT", read=reason)]
SourceName = Annotated[
    str,
    option(
        "'local' (the default), 'files:PATH[:FORMAT]' with FORMAT env, json, jsonl or tree, "
        "or the name of a configured source",
        metavar="SPEC",
    ),
]
BackupFile = Annotated[Path | None, option("a single-file backup", metavar="FILE")]
FromTarget = Annotated[tuple[str, ...], option(_TARGET, metavar="TARGET")]
FromTargets = Annotated[tuple[str, ...], option(_ALL_CONFIGURED, metavar="TARGET")]
"""The same where none means all of them."""
Signer = Annotated[
    tuple[str, ...],
    option(
        "trust what this installation signed too (sr1:…, from the recovery kit); repeatable",
        metavar="FINGERPRINT",
    ),
]
Quarantined = Annotated[bool, option("use a backup even if it is in quarantine; that goes on record")]
Legacy = Annotated[bool, option("read an old Fernet file (salt and token)")]
Identity = Annotated[tuple[Path, ...], option("key file or private key; repeatable", metavar="FILE")]
PassphraseFile = Annotated[Path | None, option("file that holds the passphrase", metavar="FILE")]
Recipient = Annotated[
    tuple[str, ...],
    option(
        "configured key, public key (text or file) or key file; repeatable, any one of them opens",
        metavar="KEY",
    ),
]
Cluster = Annotated[bool, option("hand it to the cluster, by a signed message")]


@group("which secrets")
class SelectionOptions(Struct, frozen=True, kw_only=True):
    """Which secrets a command means."""

    filter_tag: FilterTag = ()
    include: Annotated[
        tuple[str, ...], option("only names like 'prod/*'; repeatable", metavar="PATTERN")
    ] = ()
    exclude: Annotated[tuple[str, ...], option("not names like this; repeatable", metavar="PATTERN")] = ()

    def selection(self) -> Selection:
        """Return what they select. Raises UsageError for a tag without a value, or with two."""
        return Selection(
            include=self.include, exclude=self.exclude, tags=pairs(self.filter_tag, "--filter-tag")
        )


class BackupOptions(Struct, frozen=True, kw_only=True):
    """Which backup a command means, where the newest that covers what is asked will not do."""

    backup: Annotated[
        str | None, option("this backup (default: the newest that covers what is asked for)", metavar="ID")
    ] = None
    policy: Annotated[str | None, option("the newest of this policy", metavar="NAME")] = None
    at: Annotated[
        float | None, option("the newest made by then, such as 2026-07-20", metavar="DATE", read=moment)
    ] = None
    use_quarantined: Quarantined = False

    @property
    def partial(self) -> bool:
        """Tell whether a backup will do that covers less than what is asked for."""
        return False


class CoveringBackupOptions(BackupOptions, frozen=True, kw_only=True):
    """The same, where a person may take a backup that covers less."""

    partial: Annotated[bool, option("use a backup even if it covers less than what is asked for")] = False


class TrustOptions(Struct, frozen=True, kw_only=True):
    """Whose backups a command believes."""

    signer: Signer = ()

    @property
    def any_signer(self) -> bool:
        """Tell whether a stranger's backup will do."""
        return False


class ReaderTrustOptions(TrustOptions, frozen=True, kw_only=True):
    """The same, where anybody's backup may be read."""

    any_signer: Annotated[
        bool, option("read what a stranger made too: it may be intact, and nobody knows its maker")
    ] = False


@group("what opens the backup")
class OpeningOptions(Struct, frozen=True, kw_only=True):
    """What opens a backup."""

    identity: Identity = ()
    quorum: Annotated[
        tuple[Path, ...],
        option(
            "a quorum's file besides the configured ones; its custodians are asked for their shares",
            metavar="FILE",
        ),
    ] = ()
    share: Annotated[
        tuple[Path, ...],
        option("a file with one custodian's words, instead of typing them; repeatable", metavar="FILE"),
    ] = ()
    passphrase_file: PassphraseFile = None


@group("what opens, beside the configured keys")
class FurtherOpeningOptions(Struct, frozen=True, kw_only=True):
    """What opens beside the configured keys."""

    identity: Identity = ()
    passphrase_file: PassphraseFile = None


@group("who can open it")
class RecipientOptions(Struct, frozen=True, kw_only=True):
    """For whom a command seals."""

    recipient: Recipient = ()
    passphrase_file: PassphraseFile = None


class InstallationKeyOptions(Struct, frozen=True, kw_only=True):
    """Where the installation's private key is that certifies."""

    installation_key: Annotated[
        Path | None,
        option("where the installation's private key lies, if it is kept offline", metavar="FILE"),
    ] = None
    installation_share: Annotated[
        tuple[Path, ...],
        option(
            "a file with its words, or those of one of its shares, instead of typing them; repeatable",
            metavar="FILE",
        ),
    ] = ()


class PaperOptions(Struct, frozen=True, kw_only=True):
    """Where a private installation key goes: into a file, or on a terminal onto paper."""

    to: Annotated[Path | None, option("a file on a medium, instead of paper", metavar="FILE")] = None
    custodian: Annotated[
        tuple[str, ...], option("split the words among these people; repeatable", metavar="NAME")
    ] = ()
    threshold: Annotated[int | None, option("how many of them are needed (default: all)", metavar="K")] = None


class ClusterOptions(Struct, frozen=True, kw_only=True):
    """Whether the cluster does it, and whether that is waited for."""

    cluster: Cluster = False
    follow: Annotated[bool, option("with --cluster: wait until it has ended, and show it live")] = False

    def __post_init__(self) -> None:
        if self.follow and not self.cluster:
            raise UnreadableWord(
                "--follow goes with --cluster: what this process does is followed to its end anyway"
            )


@one_of()
class FileOrTargets(Struct, frozen=True, kw_only=True):
    """Where a backup lies: in a file, or on targets; on all that are configured if none is named."""

    backup_file: BackupFile = None
    from_target: FromTargets = ()

    def __str__(self) -> str:
        named = [self.backup_file] if self.backup_file else self.from_target
        return ", ".join(map(str, named)) or "the configured targets"


class BackupSource(Struct, frozen=True, kw_only=True):
    """A backup that a command reads: where it lies and which it is, whose it may be, and what opens it."""

    where: FileOrTargets = FileOrTargets()
    choice: BackupOptions = BackupOptions()
    opening: OpeningOptions = OpeningOptions()
    trust: TrustOptions = TrustOptions()
    legacy: Legacy = False


class RestoreFrom(BackupSource, frozen=True, kw_only=True):
    """What a command restores from, or rehearses with."""

    where: Annotated[FileOrTargets, group("what to restore from")] = FileOrTargets()
    choice: Annotated[CoveringBackupOptions, group("what to restore from")] = CoveringBackupOptions()
    trust: ReaderTrustOptions = ReaderTrustOptions()


def refuse_beside(given: Struct, names: Iterable[str], option: str, *, why: str = "") -> None:
    """Refuse options that contradict another, by the names of their fields. Raises UsageError."""
    values = by_name(given)
    beside = [_as_typed(name) for name in names if values.get(name)]
    if beside:
        raise UsageError(
            f"{', '.join(beside)} and {option} contradict each other{why}.", hint="Give one of them."
        )


def _as_typed(name: str) -> str:
    return name.upper() if name in ("file", "backup_id") else f"--{name.replace('_', '-')}"


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """Return ``key=value`` words as a mapping."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise UsageError(f"{option} needs KEY=VALUE.", hint=f"For example {option} priority=critical")
        if found.setdefault(key, value) != value:
            raise UsageError(
                f"{option} gives '{key}' two values.", hint="A secret has one value for each tag."
            )
    return found


# -- What a command was asked about by name: sources, targets, policies -------------------------


def choose_named(wanted: Sequence[str], known: Iterable[str]) -> list[str]:
    """Return what was named, or all that is known. Raises UsageError for a name that is not."""
    names = list(known)
    if unknown := [name for name in wanted if name not in names]:
        raise UsageError(
            f"There is no {in_line(unknown[0])!r} in the configuration.", hint=nearest(unknown[0], names)
        )
    return list(wanted) or names
