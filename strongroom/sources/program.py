"""Runs a program that decrypts: what it says goes through pipes into memory, and nowhere else.

Its standard error is looked at and never repeated: gpg and sops quote what they could not read, and
that can be a value.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence

from msgspec import Struct

from strongroom.errors import SourceError
from strongroom.sources.errors import SourceUnavailable

SECONDS = 120.0
_ERRORS = 1 << 16
_BLOCK = 1 << 16


class ProgramEnd(Struct, frozen=True):
    """How a program ended and what it said."""

    status: int
    output: bytes
    errors: bytes


def run(command: Sequence[str], *, about: str, stdin: int | None = None, limit: int) -> ProgramEnd:
    """Run a program to its end.

    Args:
        about: what it reads, for messages.
        stdin: a descriptor that it reads from; nothing, if left out.
        limit: how many bytes it may say: a few kilobytes can unpack to any size.

    Raises:
        SourceError: the program is not there, or said more than ``limit``.
        SourceUnavailable: it did not end in time; a smart card or a key server may be slow.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"LC_ALL": "C"},
            start_new_session=True,  # it, and what it starts, can be ended together
        )
    except OSError:
        process = None
    if process is None:
        raise SourceError(
            f"{about} is read by the program '{command[0]}', which is not to be found here",
            hint=f"Install {command[0]} for the user that makes backups, or give another format.",
        )
    ends = time.monotonic() + SECONDS
    with process:
        try:
            output, errors = _said(process, about, limit, ends)
            # It may close its pipes and stay.
            return ProgramEnd(process.wait(max(0.0, ends - time.monotonic())), output, errors)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end(process)
    raise SourceUnavailable(f"the program that reads {about} did not end in {SECONDS:g} seconds")


def _said(process: subprocess.Popen[bytes], about: str, limit: int, ends: float) -> tuple[bytes, bytes]:
    """Read until both pipes are closed. Raises TimeoutExpired, also if it says a little now and then."""
    assert process.stdout is not None
    assert process.stderr is not None
    said = {process.stdout: bytearray(), process.stderr: bytearray()}
    most = {process.stdout: limit, process.stderr: _ERRORS}
    with selectors.DefaultSelector() as waiting:
        for pipe in said:
            waiting.register(pipe, selectors.EVENT_READ)
        while waiting.get_map():
            left = ends - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, SECONDS)
            for key, _ in waiting.select(left):
                ready_pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                block = os.read(ready_pipe.fileno(), _BLOCK)
                if not block:
                    waiting.unregister(ready_pipe)
                elif len(said[ready_pipe]) <= most[ready_pipe]:
                    said[ready_pipe] += block
            if len(said[process.stdout]) > limit:
                raise SourceError(f"{about} holds more than {limit >> 20} MiB", hint="Exclude it.")
    return bytes(said[process.stdout]), bytes(said[process.stderr])


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
