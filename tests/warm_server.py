"""A Python that has imported the product already, and forks for each program it is asked to run.

Each program gets a process of its own, as if it had been started: with its own arguments, environment,
folder, streams, signals, exit code and memory. What it does not do again is half a second of imports.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = str(Path(__file__).resolve().parent.parent)
NUMBER = 8
LONGEST = 1 << 20
STREAMS = 3


def main() -> None:
    """Serve until the process that started this one ends; in a process that was asked for, be it."""
    sys.path[0] = ROOT
    warm_up()
    if (asked := _serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        _take_on(*asked)
        _be(sys.argv[0])


def warm_up() -> None:
    """Do what most commands do first, so that a fork of this process has done it."""
    for module in _usual_modules():
        importlib.import_module(module)
    _use_algorithms()
    _use_settings_and_state()
    # A passphrase at the lowest cost that the format allows: there are hundreds in the tests.
    importlib.import_module("strongroom.keys.passphrase").DEFAULT_LOG_N = 15
    # To lock the memory of a large process takes longer than most commands: tests/system holds that it is.
    secrecy = importlib.import_module("strongroom.system.process")
    secrecy.lock = secrecy.may_lock
    gc.collect()
    gc.freeze()


def _usual_modules() -> list[str]:
    """Name what most commands import: their own modules, and the large libraries that some load late."""
    from strongroom.cli import commands

    modules = (module.name for module in pkgutil.walk_packages(commands.__path__, f"{commands.__name__}."))
    return [
        *modules,
        "strongroom.cli.main",
        "alembic.command",
        "azure.storage.blob",
        "boto3",
        "psycopg",
        "sqlalchemy.dialects.sqlite",
        "strongroom.state.store",
    ]


def _use_algorithms() -> None:
    """Have OpenSSL look up each algorithm: it does so once a process, and that takes 15 ms."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    key = HKDF(algorithm=SHA256(), length=32, salt=b"", info=b"").derive(b"")
    for aead in (AESGCM(key), ChaCha20Poly1305(key)):
        aead.encrypt(bytes(12), b"", None)
    signer, agreeing = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
    signer.public_key().verify(signer.sign(b""), b"")
    agreeing.exchange(agreeing.public_key())


def _use_settings_and_state() -> None:
    """Read settings and make a backup: the shape of each record and statement is worked out once."""
    from strongroom.config import load_settings
    from tests.operations.world import make_world
    from tests.statements_once import share

    share()
    with tempfile.TemporaryDirectory() as folder:
        load_settings({"STRONGROOM_STATE_DIR": folder})
        world = make_world(Path(folder))
        services = world.services()
        world.back_up(services)
        services.store.runs()
        services.store.close()


def _serve(asking: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for each request; tell whoever asked the process's id, and then how the process ended.

    Returns in each process forked, with what was asked for, and with None once nobody is left to ask.
    """
    selector = selectors.PollSelector()  # what epoll knows would be shared with each process forked
    selector.register(asking, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not asking:
                selector.unregister(key.fileobj)
                _tell_ending(key.fd, *key.data)
                continue
            request, streams, *_ = socket.recv_fds(asking, LONGEST, STREAMS + 1)
            if not request:
                return None
            if not (pid := os.fork()):
                return json.loads(request), streams[:STREAMS]
            _tell(streams[STREAMS], pid)
            for stream in streams[:STREAMS]:
                os.close(stream)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, streams[STREAMS]))


def _tell_ending(pidfd: int, pid: int, answering: int) -> None:
    _tell(answering, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.close(answering)
    os.close(pidfd)


def _tell(answering: int, number: int) -> None:
    try:
        os.write(answering, number.to_bytes(NUMBER, signed=True))
    except BrokenPipeError:
        return  # whoever asked is gone


def _be(program: str) -> None:
    """Run a program, and end as Python ends but for the taking apart of each module: half of a short life."""
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as ending:
        if not isinstance(ending.code, int | None):
            raise
        code = ending.code or 0
    else:
        code = 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError):  # Python's own end will try again, and say so
        sys.stdout.flush()
        os._exit(code & 0xFF)


def _take_on(request: dict[str, Any], streams: list[int]) -> None:
    """Have the streams, folder, environment and arguments of the process that was asked for."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(STREAMS, os.sysconf("SC_OPEN_MAX"))
    os.chdir(request["cwd"])
    by_python = {name: value for name, value in os.environ.items() if name == "LC_CTYPE"}  # where LANG is C
    os.environ.clear()
    os.environ.update(by_python | request["env"])
    time.tzset()
    tempfile.tempdir = None
    sys.argv[:] = request["words"]


if __name__ == "__main__":
    main()
