"""Leaving on record who opens a backup, or has a value shown, from this command line."""

from __future__ import annotations

import os
import pwd
from argparse import Namespace

from cli.output import Output, in_line
from cli.place import Place
from strongroom.evidence import accesses


def opened(arguments: Namespace, output: Output, here: Place, backup: str, *, quarantine: str = "") -> None:
    """Note that a backup is about to be opened; ``quarantine`` says why it should not be."""
    given = vars(arguments)
    where = given.get("backup_file") or given.get("from_target") or given.get("file")
    words = ", ".join(map(str, where)) if isinstance(where, list) else str(where or "the configured targets")
    more = {"quarantined": in_line(quarantine)} if quarantine else {}
    noted(accesses.OPENED, arguments, output, here, backup=backup, where=in_line(words), **more)


def noted(kind: str, arguments: Namespace, output: Output, here: Place, **detail: str | int | None) -> None:
    """Leave a line where an installation is. One that cannot be left is said: it stops no recovery."""
    if not here.state_dir.is_dir():
        return
    who = {"command": arguments.command_name, "by": _user(), "host": os.uname().nodename}
    try:
        accesses.note(here.state_dir, kind, **who, **detail)
    except OSError as error:
        output.note(f"note: that this was opened could not be put on record: {error.strerror}")


def _user() -> str:
    """Return who runs this, and behind sudo who typed it: whom the system knows, not what is claimed."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    typed = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo by {typed[:64]})" if typed.isprintable() and typed else name
