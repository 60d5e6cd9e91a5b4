"""Running a program of somebody's own: no shell, nothing of this process's environment, no descriptor.

It is ended when its time is over, and with it what it started.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NotStarted(Exception):
    """The program could not be started; the message says why."""


class TooSlow(Exception):
    """The program did not end in time, and was ended."""


def run_program(
    command: Sequence[str], *, told: Mapping[str, str], timeout: float, given: bytes | None = None
) -> int:
    """Run a program to its end and return its status. Its output is not kept: nobody knows what it says.

    Args:
        told: its environment, beside PATH and LANG.
        given: what it reads on its standard input; nothing, if left out.

    Raises:
        NotStarted, TooSlow.
    """
    with _standard_input(given) as stdin:
        process = _start(command, told, stdin)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise TooSlow from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started, too
        process.wait()
    return process.returncode


@contextmanager
def _standard_input(given: bytes | None) -> Iterator[int]:
    """Give what a program reads. All of it is there before the program begins: if this process is killed, the
    program never takes a part of it, or nothing, for the whole."""
    if given is None:
        yield subprocess.DEVNULL
        return
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        _write_whole(writing, given)
        yield reading
    finally:
        os.close(reading)


def _write_whole(writing: int, given: bytes) -> None:
    try:
        whole = not given or os.write(writing, given) == len(given)
    except BlockingIOError:
        whole = False
    finally:
        os.close(writing)
    if not whole:
        raise NotStarted("what it is to read is too large")


def _start(command: Sequence[str], told: Mapping[str, str], stdin: int) -> subprocess.Popen[bytes]:
    null = subprocess.DEVNULL
    own = {"PATH": PATH, "LANG": "C.UTF-8", **told}
    try:
        return subprocess.Popen(
            command, env=own, cwd="/", stdin=stdin, stdout=null, stderr=null, start_new_session=True
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    except ValueError:  # a zero byte
        reason = "its command is no text"
    raise NotStarted(reason)
