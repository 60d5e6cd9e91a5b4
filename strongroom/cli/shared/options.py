"""The options that several commands share, and what a person may type for each."""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from argparse import _ActionsContainer as Arguments
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from strongroom import times
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


def add_source_argument(parser: Arguments) -> None:
    """Let a command name its source."""
    parser.add_argument(
        "--source",
        metavar="SPEC",
        default=LOCAL,
        help="'local' (the default), 'files:PATH[:FORMAT]' with FORMAT env, json, jsonl or tree, "
        "or the name of a configured source",
    )


def add_selection_arguments(parser: Arguments) -> None:
    """Let a command say which secrets it means."""
    group = parser.add_argument_group("which secrets")
    group.add_argument(
        "--filter-tag",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="only secrets with this tag; repeatable, all have to match",
    )
    group.add_argument(
        "--include",
        metavar="PATTERN",
        action="append",
        default=[],
        help="only names like 'prod/*'; repeatable",
    )
    group.add_argument(
        "--exclude",
        metavar="PATTERN",
        action="append",
        default=[],
        help="not names like this; repeatable",
    )


def add_target_argument(parser: Arguments, *, default: str = "") -> None:
    """Let a command name the targets that it reads from."""
    words = "a target: its directory, or its configured name; repeatable"
    parser.add_argument("--from-target", metavar="TARGET", action="append", help=f"{words}{default}")


def add_backup_arguments(parser: Arguments, *, partial: bool = False) -> None:
    """Let a command say which backup it means, where the newest that covers what is asked will not do."""
    parser.add_argument(
        "--backup", metavar="ID", help="this backup (default: the newest that covers what is asked for)"
    )
    parser.add_argument("--policy", metavar="NAME", help="the newest of this policy")
    parser.add_argument(
        "--at", metavar="DATE", type=moment, help="the newest made by then, such as 2026-07-20"
    )
    if partial:
        parser.add_argument(
            "--partial",
            action="store_true",
            help="use a backup even if it covers less than what is asked for",
        )
    add_quarantine_argument(parser)


def beginning(text: str) -> float:
    """Parse a date, which means its beginning, or a time; without a zone they are UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            f"'{text}' is no date or time, such as 2026-07-20 or 2026-07-20T18:00"
        ) from None
    return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).timestamp()


def moment(text: str) -> float:
    """Parse a date, which means its end, or a time; without a zone they are UTC."""
    is_date = len(text) <= len("2026-07-20")
    whole = timedelta(days=1) - timedelta(seconds=1) if is_date else timedelta()
    return beginning(text) + whole.total_seconds()


def version_number(text: str) -> int:
    """Parse the number of a secret's version."""
    if not text.isdecimal():
        raise ValueError
    return int(text)


def add_version_argument(parser: Arguments, *, help: str) -> None:  # noqa: A002 - as argparse calls it
    """Let a command take an older version of a secret."""
    parser.add_argument("--version", metavar="N", type=version_number, help=help)


def ending(text: str) -> float:
    """Parse when something ends: a date, which it lasts to the end of, a time, or so long from now."""
    try:
        return time.time() + times.parse(text)
    except ValueError:
        return moment(text)


def add_reason_argument(parser: Arguments) -> None:
    """Let a command go on record with a reason."""
    parser.add_argument(
        "--reason", metavar="TEXT", required=True, type=_reason, help="why; it goes on record"
    )


def _reason(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("a reason is needed: it goes on record")
    return text.strip()


def add_restore_source_arguments(
    parser: ArgumentParser, *, title: str = "what to restore from", required: bool = True
) -> None:
    """Let a command say what it restores from, or compares with.

    Args:
        required: there is always a backup; without a word it is looked for on all configured targets.
    """
    group = parser.add_argument_group(title)
    where = group.add_mutually_exclusive_group()
    where.add_argument("--backup-file", metavar="FILE", type=Path, help="a single-file backup")
    add_target_argument(where, default=" (default: all configured)" if required else "")
    add_backup_arguments(group, partial=True)
    add_opening_arguments(parser)
    add_trust_arguments(parser)
    add_legacy_argument(parser)


def add_recipient_arguments(parser: Arguments) -> None:
    """Let a command be told for whom to seal."""
    group = parser.add_argument_group("who can open it")
    add_recipient_argument(group)
    add_passphrase_argument(group)


def add_recipient_argument(parser: Arguments) -> None:
    """Let a command be given recipients."""
    parser.add_argument(
        "--recipient",
        metavar="KEY",
        action="append",
        default=[],
        help="configured key, public key (text or file) or key file; repeatable, any one of them opens",
    )


def add_opening_arguments(parser: Arguments) -> None:
    """Let a command be told what opens."""
    group = parser.add_argument_group("what opens the backup")
    add_identity_argument(group)
    add_quorum_arguments(group)
    add_passphrase_argument(group)


def add_identity_argument(parser: Arguments) -> None:
    """Let a command be given key files and private keys."""
    parser.add_argument(
        "--identity",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="key file or private key; repeatable",
    )


def add_further_opening_arguments(parser: ArgumentParser) -> None:
    """Let a command be told what opens beside the configured keys."""
    group = parser.add_argument_group("what opens, beside the configured keys")
    add_identity_argument(group)
    add_passphrase_argument(group)


def add_quorum_arguments(parser: Arguments) -> None:
    """Let a command be given a quorum's file, and shares."""
    parser.add_argument(
        "--quorum",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a quorum's file besides the configured ones; its custodians are asked for their shares",
    )
    parser.add_argument(
        "--share",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a file with one custodian's words, instead of typing them; repeatable",
    )


def add_passphrase_argument(parser: Arguments) -> None:
    """Let a command take a passphrase: by file, never by word."""
    parser.add_argument("--passphrase-file", metavar="FILE", type=Path, help="file that holds the passphrase")


def add_signer_argument(parser: Arguments) -> None:
    """Let a command be told whose backups to believe."""
    parser.add_argument(
        "--signer",
        metavar="FINGERPRINT",
        action="append",
        default=[],
        help="trust what this installation signed too (sr1:…, from the recovery kit); repeatable",
    )


def add_trust_arguments(parser: Arguments) -> None:
    """Let a command that reads backups be told whose it believes, or that anybody's will do."""
    add_signer_argument(parser)
    parser.add_argument(
        "--any-signer",
        action="store_true",
        help="read what a stranger made too: it may be intact, and nobody knows its maker",
    )


def add_quarantine_argument(parser: Arguments) -> None:
    """Let a command use what an incident set aside."""
    parser.add_argument(
        "--use-quarantined",
        action="store_true",
        help="use a backup even if it is in quarantine; that goes on record",
    )


def add_legacy_argument(parser: Arguments) -> None:
    """Let a command be told that an old file is meant."""
    parser.add_argument("--legacy", action="store_true", help="read an old Fernet file (salt and token)")


def add_cluster_arguments(parser: Arguments) -> None:
    """Let a command be handed to the cluster."""
    parser.add_argument("--cluster", action="store_true", help="hand it to the cluster, by a signed message")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="with --cluster: wait until it has ended, and show it live",
    )


def refuse_beside(arguments: Namespace, names: Iterable[str], option: str, *, why: str = "") -> None:
    """Refuse options that contradict another. Raises UsageError."""
    given = [_as_typed(name) for name in names if getattr(arguments, name, None)]
    if given:
        raise UsageError(
            f"{', '.join(given)} and {option} contradict each other{why}.", hint="Give one of them."
        )


def _as_typed(name: str) -> str:
    return name.upper() if name in ("file", "backup_id") else f"--{name.replace('_', '-')}"


def selection_of(filter_tag: list[str], include: list[str], exclude: list[str]) -> Selection:
    """Return what those options select.

    Raises:
        UsageError: a tag is not ``key=value``, or one key is given two values.
    """
    return Selection(include=tuple(include), exclude=tuple(exclude), tags=pairs(filter_tag, "--filter-tag"))


def pairs(words: list[str], option: str) -> dict[str, str]:
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
