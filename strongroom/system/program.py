"""Running a program of somebody's own: no shell, nothing of this process's environment, no descriptor.

It is ended when its time is over, and with it what it started, as far as this process may.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NotStarted(Exception):
    """The program could not be started; the message says why."""


class TooSlow(Exception):
    """The program did not end in time; the message says whether it was ended."""


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
        raise TooSlow("and was ended" if _end(process) else "and runs on, as another user") from None
    finally:
        _end(process)
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> bool:
    """End a program and what it started. What runs as another user by now, as by sudo, is left: to wait
    for what this process may not end might have no end."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    process.wait()
    return True


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
