"""Old Fernet files: read on an explicit flag only, never as a fallback."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from strongroom.cli.shared import passphrases
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output
from strongroom.container.errors import LegacyFormat
from strongroom.container.kinds import FileKind
from strongroom.errors import UsageError
from strongroom.model import Secret

_LEAVE_OUT = "Leave --legacy out. Nothing was read or written."


def refuse_legacy_option(arguments: Namespace, kind: FileKind | None) -> None:
    """Refuse to be told that an old file is meant where another thing is named (``None``: a target)."""
    if getattr(arguments, "legacy", False) and kind not in (FileKind.LEGACY, FileKind.UNKNOWN):
        raise UsageError(
            f"--legacy is for an old Fernet file, and this is a {kind or 'target'}.", hint=_LEAVE_OUT
        )


def open_plaintext(path: Path, arguments: Namespace, output: Output) -> bytes:
    """Open an old file.

    Raises:
        LegacyFormat: ``--legacy`` was not given.
        WrongKey, Truncated, Malformed: it does not open.
    """
    from strongroom.container.legacy import open_legacy

    if not getattr(arguments, "legacy", False):
        raise LegacyFormat(f"'{path}' is an old file: a salt and a Fernet token.")
    passphrase = passphrases.read_given(arguments, output)
    if passphrase is None:
        if not prompts.somebody_there():
            raise UsageError(
                "An old file opens with a passphrase.",
                hint="Give --passphrase-file, or set STRONGROOM_PASSPHRASE_FILE.",
            )
        passphrase = prompts.hidden("Passphrase of the old file: ")
    return open_legacy(path.read_bytes(), passphrase)


def secrets_of(path: Path, arguments: Namespace, output: Output) -> list[Secret]:
    """Return the secrets of an old file: the JSON that it holds."""
    from strongroom.operations.restore.legacy import secrets_in

    return secrets_in(open_plaintext(path, arguments, output))
