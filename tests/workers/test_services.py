"""Services are made once a process, after the fork, and closed at its end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from strongroom.config import load_settings
from workers.services import PerProcess


def per_process(folder: Path) -> PerProcess:
    return PerProcess(load_settings({"STRONGROOM_STATE_DIR": str(folder)}), role="transfer")


def in_child(work: PerProcess) -> int:
    """Return the process id that a forked child's services carry."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        owner = work.get().owner
        os.write(writing, owner.split(":")[1].encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = int(pipe.read())
    os.waitpid(child, 0)
    assert told == child
    return told


def test_one_process_gets_one_set(tmp_path: Path) -> None:
    services = per_process(tmp_path)

    assert services.get() is services.get()
    services.close()


def test_a_forked_process_makes_its_own(tmp_path: Path) -> None:
    services = per_process(tmp_path)
    mine = services.get()

    assert in_child(services) != os.getpid()
    assert services.get() is mine
    services.close()


def test_a_fork_while_another_thread_builds_does_not_lock_up_the_child(tmp_path: Path) -> None:
    services = per_process(tmp_path)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with services._lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        in_child(services)
    finally:
        release.set()
        thread.join()


def test_after_closing_they_are_made_anew(tmp_path: Path) -> None:
    services = per_process(tmp_path)
    first = services.get()
    services.close()

    assert services.get() is not first
    services.close()
