"""Errors as a person reads them: what happened, what it means, what to do."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from textwrap import wrap
from typing import Final

from strongroom import __version__
from strongroom.cli.terminal.output import Output, clean, clear_broken_pipe, columns, paint
from strongroom.cli.terminal.place import find
from strongroom.cli.terminal.stopping import Abandoned, Terminated
from strongroom.errors import StrongroomError, TargetError, UsageError, meaning_of, raised_at
from strongroom.system.errors import TargetFull, TargetReadOnly

INTERRUPTED: Final = 130
"""Ctrl-C: 128 and the number of SIGINT."""
TERMINATED: Final = 143
"""Asked to end: 128 and the number of SIGTERM."""
BROKEN_PIPE: Final = 141
"""The reader of the output stopped reading: 128 and the number of SIGPIPE."""
UNEXPECTED: Final = 1
"""A fault of Strongroom's own, as of any Python program that ends with a traceback."""

FLUSH_SECONDS = 2.0
"""How long a fault may take on its way to Sentry."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM})


def report(error: StrongroomError, output: Output) -> int:
    """Say what is wrong, in one block on stderr, and return the exit code."""
    head = [f"{paint('strongroom:', '31;1')} {error.code}", ""]
    print("\n".join([*head, *block_of(error)]), file=sys.stderr)
    _settle(output, as_document(error))
    return error.exit_code


def block_of(error: StrongroomError) -> list[str]:
    """Return an error in lines: what happened, what it means, what to do."""
    happened = _part("What happened", _sentence(error.message))
    return [*happened, *_part("What it means", meaning(error)), *_part("What to do", error.hint)]


def _sentence(message: str) -> str:
    """Return a message as a sentence, wherever in the program it was written."""
    first = message.partition(" ")[0]
    begun = message[0].upper() + message[1:] if first.isalpha() and first != "strongroom" else message
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."


def _settle(output: Output, document: dict[str, object]) -> None:
    """Write the document; where stdout takes nothing, stderr has said what happened."""
    try:
        output.settle(document)
    except OSError:
        clear_broken_pipe()


def as_document(error: StrongroomError) -> dict[str, object]:
    """Return an error for machines."""
    return {
        "code": error.code,
        "family": error.family,
        "exit_code": error.exit_code,
        "message": error.message,
        "means": meaning(error),
        "hint": error.hint,
        "transient": error.transient,
    }


def _unclassed(code: str, exit_code: int, *, message: str, means: str, hint: str) -> dict[str, object]:
    """Return what ends a command and is no error of a family, in the shape of one."""
    error = {"code": code, "family": "", "exit_code": exit_code, "message": message}
    return error | {"means": means, "hint": hint, "transient": False}


def meaning(error: StrongroomError) -> str:
    """Return what an error's class means, which its first line of documentation says."""
    return meaning_of(type(error))


def from_os(error: OSError) -> StrongroomError:
    """Return the typed error for what the operating system refused."""
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    words = f"{where}{os.strerror(error.errno or 0)}."
    if error.errno in _FULL:
        return TargetFull(words, hint="Nothing half-written was left. Free space, then repeat.")
    if error.errno == errno.EROFS:
        return TargetReadOnly(words, hint="Check how the path is mounted.")
    if error.errno in _DENIED:
        return UsageError(words, hint="Check the owner and mode of the path.")
    if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG):
        return UsageError(words, hint="Check the path.")
    return TargetError(words)


def ask_what_is_left(error: BaseException, output: Output) -> None:
    """Note on an interruption what it left, unless somebody did. The record may hang, as it may have before:
    who interrupts once more, and again, waits for it no longer."""
    if (
        not isinstance(error, KeyboardInterrupt)
        or isinstance(error, Abandoned)
        or hasattr(error, "__notes__")
    ):
        return
    try:
        left = output.left()
    except (Exception, KeyboardInterrupt):  # noqa: BLE001 - the state database's last breath, or none
        left = "what it left, the record could not say. 'strongroom runs' lists what is on record."
    error.add_note(left)


def interrupted(error: KeyboardInterrupt, output: Output) -> int:
    """Say what an interruption left, as far as it was given the time."""
    if isinstance(error, Abandoned):
        left = "'strongroom runs cancel RUN' takes back what was begun."
        print(f"\nstrongroom: stopped at once. {left}", file=sys.stderr)
    else:
        left = error.__notes__[0]
        print(f"\nstrongroom: interrupted; {left}", file=sys.stderr)
    code = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    _settle(output, _unclassed("Interrupted", code, message="It was asked to end.", means=left, hint=""))
    return code


def unexpected(error: BaseException, output: Output) -> int:
    """Report a fault of our own: its kind and place, never its text, which may quote data."""
    _capture(error)
    happened = f"a fault of its own ({type(error).__name__} at {raised_at(error)})"
    means = "This should not happen. A backup that was made before is untouched."
    hint = "Please report it with this line. STRONGROOM_DEBUG=1 shows where it happened."
    block = [f"{paint('strongroom:', '31;1')} {happened}", ""]
    block += _part("What it means", means) + _part("What to do", hint)
    print("\n".join(block), file=sys.stderr)
    name = type(error).__name__
    _settle(output, _unclassed(name, UNEXPECTED, message=happened, means=means, hint=hint))
    return UNEXPECTED


def _capture(error: BaseException) -> None:
    """Report a fault of the command line's own to Sentry, if a DSN is set, scrubbed as the workers' are."""
    with suppress(Exception):  # reporting a fault must not hide it behind another, nor may a missing package
        dsn = os.environ.get("STRONGROOM_SENTRY__DSN") or _configured("dsn")
        if not dsn:
            return
        import sentry_sdk

        from workers import telemetry

        environment = _configured("environment") or "production"
        telemetry.start(dsn, process="cli", release=__version__, environment=environment)
        sentry_sdk.capture_exception(error)
        sentry_sdk.flush(FLUSH_SECONDS)


def _configured(key: str) -> str | None:
    section = find().tables.get("sentry")
    value = section.get(key) if isinstance(section, Mapping) else None
    return value if isinstance(value, str) else None


def debug(error: BaseException) -> None:
    """Print where an error came from, without local variables or the text of any error."""
    if not os.environ.get("STRONGROOM_DEBUG"):
        return
    import traceback

    lines = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__)).format()
    print("".join(["Traceback, without values:\n", *lines, type(error).__name__]), file=sys.stderr)


def _part(title: str, text: str) -> list[str]:
    if not text:
        return []
    width = max(40, min(100, columns()) - 18)
    lines = [
        piece
        for line in clean(text).split("\n")
        for piece in (wrap(line, width, break_on_hyphens=False, break_long_words=False) or [""])
    ]
    return [
        f"  {paint(title.ljust(13), '1') if at == 0 else ' ' * 13}  {line}" for at, line in enumerate(lines)
    ]
