"""Run a program of the product in a process of its own, without waiting for its imports.

A server with the usual modules in memory forks for each program: see :mod:`tests.warm_server`. Where the
beginning of a process is the point (its imports, its interpreter's options), use :mod:`subprocess` itself.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.warm_server import NUMBER, ROOT

AT_THE_START = ("PYTHON", "LC_", "LANG", "OPENSSL_", "LD_")
"""Variables that begin so are read as a process starts, so that a forked one would not see them."""
MOVED_CLOCK = (
    ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC", "TZ") if "FAKETIME" in os.environ else ()
)
"""What moves the time of day of a process that is started (see :mod:`tests.dates`): each program keeps it."""


def run(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: bytes = b"", timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a Python program to its end: its path, then its arguments."""
    pipe = subprocess.PIPE
    with Popen([sys.executable, *words], cwd=cwd, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(words, process.returncode, out, err)


class ServerEndedError(Exception):
    """The server ended, so that nobody knows how the program did. The next program gets another server."""


class Popen(subprocess.Popen[bytes]):
    """A process that is forked where a fork can be what a start would be, and started otherwise."""

    _ending: socket.socket | None = None
    _child_created: bool

    def _execute_child(self, *given: Any) -> None:
        started: Any = super()
        asked = inspect.signature(started._execute_child).bind(*given).arguments
        if not _can_be_forked(asked):
            started._execute_child(*given)
            return
        try:
            self._fork(asked)
        finally:
            ours = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            started._close_pipe_fds(*(asked[name] for name in ours))

    def _fork(self, asked: Mapping[str, Any]) -> None:
        self._ending, theirs = socket.socketpair()
        given = [asked[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        streams = [number if stream == -1 else stream for number, stream in enumerate(given)]
        words = list(map(str, asked["args"][1:]))
        request = {"words": words, "cwd": str(asked["cwd"]), "env": dict(asked["env"])}
        with theirs:
            socket.send_fds(_server().asking, [json.dumps(request).encode()], [*streams, theirs.fileno()])
        self.pid = self._number()
        self._child_created = True

    def _number(self) -> int:
        assert self._ending is not None
        said = self._ending.recv(NUMBER, socket.MSG_WAITALL)
        if len(said) < NUMBER:
            self._abandon()
            raise ServerEndedError("The warm server ended while it had a program to run.")
        return int.from_bytes(said, signed=True)

    def _abandon(self) -> None:
        assert self._ending is not None
        self._ending.close()
        self.returncode = -signal.SIGKILL
        if self._child_created:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        end()

    def _wait(self, timeout: float | None) -> int:
        if self._ending is None:
            started: Any = super()
            return int(started._wait(timeout))
        if self.returncode is None:
            if not select.select([self._ending], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._number()
            self._ending.close()
        return self.returncode

    def _internal_poll(self, *given: Any, **named: Any) -> int | None:
        if self._ending is None:
            started: Any = super()
            polled: int | None = started._internal_poll(*given, **named)
            return polled
        if self.returncode is None and select.select([self._ending], [], [], 0)[0]:
            self._wait(None)
        return self.returncode


def _can_be_forked(asked: Mapping[str, Any]) -> bool:
    """Tell whether a fork of the server would be the same, as far as the process itself can see."""
    unlike = ("preexec_fn", "pass_fds", "start_new_session", "shell")
    if not hasattr(os, "pidfd_open") or any(map(asked.get, unlike)) or None in (asked["env"], asked["cwd"]):
        return False
    return _read_at_start(asked["env"]) == _read_at_start(_server_env())


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    found = {name: value for name, value in env.items() if name.startswith(AT_THE_START)}
    return {name: value for name, value in found.items() if (name, value) != ("PYTHONPATH", ROOT)}


def _server_env() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "LANG", *MOVED_CLOCK) if name in os.environ}


class _Server:
    """The server of this test process: started with its first program, ended with :func:`end`."""

    def __init__(self) -> None:
        self.asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = Path(__file__).with_name("warm_server.py")
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, str(program), str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_server_env(),
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        self.asking.close()
        self.process.communicate()


@functools.cache
def _server() -> _Server:
    return _Server()


def end() -> None:
    """End the server, if there is one."""
    if _server.cache_info().currsize:
        _server().close()
        _server.cache_clear()
