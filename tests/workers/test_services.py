"""Services are made once a process, after the fork, and closed at its end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from strongroom.config.live import LiveSettings
from strongroom.operations.engine.noted import untaken
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import submit
from workers.services import PerProcess


def per_process(folder: Path) -> PerProcess:
    return PerProcess(LiveSettings.load({"STRONGROOM_STATE_DIR": str(folder)}), role="transfer")


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


OLD = '[policies.p]\nkind = "metadata"\ntargets = ["region-a", "region-b"]\n'
NEW = '[policies.p]\nkind = "metadata"\ntargets = ["region-c"]\n'


def write(folder: Path, text: str) -> None:
    (folder / "strongroom.toml").write_text(text)
    os.utime(folder / "strongroom.toml", (0, len(text)))


def targets_of(services: Services) -> list[str]:
    return [pin.name for pin in services.pinned("p").spec.targets]


def test_changed_settings_make_new_services_and_a_run_ends_under_those_it_began_with(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    services = per_process(tmp_path)
    begun = submit(services.get(), services.get().pinned("p").spec)[0]
    assert services.of_run(begun) is services.get()

    write(tmp_path, NEW)
    later = submit(services.get(), services.get().pinned("p").spec)[0]
    assert targets_of(services.get()) == ["region-c"]
    assert targets_of(services.of_run(begun)) == ["region-a", "region-b"]
    assert targets_of(services.of_run(later)) == ["region-c"]
    assert services.of_run("no-such-run") is services.get()
    services.close()


def test_what_became_of_a_changed_file_is_on_record_once_a_host_until_it_is_put_right(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    processes = [per_process(tmp_path) for _ in range(2)]
    store = processes[0].get().store

    for text in (NEW, "broken", NEW, NEW + "[workers]\nseal = 7\n"):
        write(tmp_path, text)
        for one in processes:
            one.get()
    kinds = ["settings.taken", "settings.refused", "settings.taken", "settings.waits"]
    assert [event.kind for event in store.happened(*set(kinds), since=0.0)] == kinds
    (event,) = untaken(store)
    assert event.detail["waits"] == ["workers"]

    per_process(tmp_path).get()  # started again
    assert list(untaken(store)) == []
    for one in processes:
        one.close()
