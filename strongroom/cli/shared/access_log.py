"""Leaving on record who opens a backup, or has a value shown, from this command line."""

from __future__ import annotations

import os
import pwd
from argparse import Namespace
from collections.abc import Callable

from strongroom.cli.terminal.output import Output, in_line
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import WrongKey
from strongroom.errors import UsageError
from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.operations.errors import NothingOpens
from strongroom.operations.evidence import access_log


def record_opening(
    arguments: Namespace,
    output: Output,
    installation: InstallationPlace,
    backup: str,
    *,
    quarantine: str = "",
) -> None:
    """Note that a backup is about to be opened; ``quarantine`` says why it should not be."""
    given = vars(arguments)
    where = given.get("backup_file") or given.get("from_target") or given.get("file")
    words = ", ".join(map(str, where)) if isinstance(where, list) else str(where or "the configured targets")
    more = {"quarantined": in_line(quarantine)} if quarantine else {}
    record_attempt(arguments, output, installation, backup=backup, where=in_line(words), **more)


def record_attempt(
    arguments: Namespace,
    output: Output,
    installation: InstallationPlace,
    *,
    backup: str,
    where: str,
    **more: str,
) -> None:
    """Note an attempt before it is made: a process that is killed leaves that much.

    What came of it is noted by :func:`record_outcomes`, once that is known.
    """
    detail = {"backup": backup, "where": where, **more}
    record_access(access_log.ATTEMPTED, arguments, output, installation, **detail)
    _PENDING.append(
        lambda kind, **error: record_access(kind, arguments, output, installation, **detail, **error)
    )


def record_reading(
    arguments: Namespace, output: Output, installation: InstallationPlace, *, backup: str, where: str
) -> None:
    """Note that a replica is about to be read and not opened, and, with the outcomes, that it was."""
    detail = {"backup": backup, "where": where}
    record_access(access_log.READING, arguments, output, installation, **detail)
    _PENDING.append(
        lambda _kind, **error: record_access(
            access_log.READ, arguments, output, installation, **detail, **error
        )
    )


def record_outcomes(error: BaseException | None) -> None:
    """Note what came of the attempts: opened, or failed if no key at hand opened anything."""
    while _PENDING:
        record_outcome(error)


def record_outcome(error: BaseException | None) -> None:
    """Note what came of the first attempt of which that is not noted yet."""
    note = _PENDING.pop(0)
    if isinstance(error, _UNOPENED):
        note(access_log.FAILED, error=error.code)
    else:
        note(access_log.OPENED)


_PENDING: list[Callable[..., None]] = []
_UNOPENED = (WrongKey, NothingOpens, KeyServiceUnavailable, UsageError)
"""What ends a command before anything was opened. Damage is not among them: something may have been read."""


def record_access(
    kind: str,
    arguments: Namespace,
    output: Output,
    installation: InstallationPlace,
    **detail: str | int | None,
) -> None:
    """Leave a line where an installation is. One that cannot be left is said: it stops no recovery."""
    if kind in (access_log.RESTORED, access_log.SHOWN):  # which only an opened backup leads to
        record_outcomes(None)
    if not installation.state_dir.is_dir():
        return
    who = {"command": arguments.command_name, "by": _user_name(), "host": os.uname().nodename}
    try:
        access_log.record_access(installation.state_dir, kind, **who, **detail)
    except OSError as error:
        output.note(f"note: that this was opened could not be put on record: {error.strerror}")


def _user_name() -> str:
    """Return who runs this, and behind sudo who typed it: whom the system knows, not what is claimed."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    typed = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo by {typed[:64]})" if typed.isprintable() and typed else name
