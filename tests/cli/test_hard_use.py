"""What a shell, a disk or a stranger's file does to a command that was not made for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.cli.terminal.failures import from_os
from strongroom.container.errors import SecretTooLarge
from strongroom.errors import SourceError, UsageError
from strongroom.operations.errors import NotCovered
from strongroom.sources.errors import SecretNotFound
from strongroom.system.errors import HostExhausted, TargetFull, WouldOverwrite
from tests.cli.program import PASSPHRASE, ROOT, Done, Machine, command
from tests.cli.test_bad_input import KINDS, SEALED, back_up, nothing_left, refused
from tests.patience import PATIENCE
from tests.targets.disks import read_only, small_disk


def without_stream(machine: Machine, number: int, *words: str) -> Done:
    """Run one command line to which a standard stream was closed."""
    done = subprocess.run(
        command(*words),
        cwd=machine.home,
        env=machine.env,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        preexec_fn=lambda: os.close(number),
    )
    return Done(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


NO_THREAD = """
import sys, threading
threading.stack_size(1 << 46)  # more than any address space has: the system starts none
sys.argv[0] = "strongroom"
from strongroom.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "words",
    [
        ("backups", "verify", "full.sr"),
        ("backup", "other.sr", "--include-values", "--force", "--source", "files:some.jsonl"),
    ],
    ids=["verify", "backup"],
)
def test_a_host_that_gives_no_thread_is_named_and_no_fault_of_ours(
    sealed: Machine, words: tuple[str, ...]
) -> None:
    (sealed.home / "some.jsonl").write_text('{"name":"a","value":"CANARY-a"}\n')
    done = subprocess.run(
        [sys.executable, "-c", NO_THREAD, *words],
        cwd=sealed.home,
        env=sealed.env | {"PYTHONPATH": str(ROOT), "STRONGROOM_PASSPHRASE": PASSPHRASE},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == HostExhausted.exit_code, done
    assert "no further thread" in done.stderr
    assert "fault of its own" not in done.stderr
    assert not (sealed.home / "other.sr").exists()


def test_a_closed_stdout_or_stderr_is_like_the_null_device(stocked: Machine) -> None:
    for words in (("list",), ("list", "--json"), ("get", "JWT_SECRET_KEY", "--show-value")):
        assert without_stream(stocked, 1, *words).code == 0
        assert without_stream(stocked, 2, *words).code == 0
    assert without_stream(stocked, 2, "get", "NOBODY").code == SecretNotFound.exit_code


def test_a_closed_stdin_is_an_empty_one(machine: Machine) -> None:
    assert refused(without_stream(machine, 0, "set", "A"), UsageError)


def test_a_value_that_no_backup_could_hold_is_not_stored(machine: Machine) -> None:
    assert refused(machine.run("set", "A", stdin=b"v" * (64 * 1024 * 1024 + 1)), SecretTooLarge)
    assert machine.ok("list", "--json").document["secrets"] == []
    machine.ok("set", "A", stdin=b"v" * (64 * 1024 * 1024) + b"\n")


def test_a_name_with_line_feeds_is_one_row(machine: Machine) -> None:
    machine.set("A\nFORGED  priority=critical", "v")
    assert machine.ok("list").out.splitlines()[1:] == [r"A\nFORGED  priority=critical", "", "1 secret"]


@KINDS
@pytest.mark.parametrize("name", [".", "folder", "link.sr", "device"])
def test_only_a_plain_file_is_ever_replaced(stocked: Machine, name: str, options: tuple[str, ...]) -> None:
    stocked.path("folder").mkdir()
    stocked.path("elsewhere.sr").write_text("mine")
    stocked.path("link.sr").symlink_to("elsewhere.sr")
    os.mkfifo(stocked.path("device"))
    with nothing_left(stocked):
        assert refused(back_up(stocked, name, *options, "--force"), WouldOverwrite)
    assert stocked.path("link.sr").is_symlink()
    assert stocked.path("device").is_fifo()


def test_a_full_disk_under_the_target_is_told_as_such(machine: Machine) -> None:
    lines = (f'{{"name": "N{n:06}", "value": "CANARY-{os.urandom(60).hex()}"}}\n' for n in range(6_000))
    machine.path("many.jsonl").write_text("".join(lines))
    folder = machine.path("small")
    folder.mkdir()
    with small_disk(folder, size=256 * 1024) as mounted:
        if not mounted:
            pytest.skip("needs the right to mount")
        with nothing_left(machine):
            assert refused(
                back_up(machine, "small/new.sr", *SEALED, "--source", "files:many.jsonl"), TargetFull
            )
        assert list(folder.iterdir()) == []


def test_a_full_disk_under_the_store_is_told_as_such(sealed: Machine, other: Machine) -> None:
    lines = (f'{{"name": "N{n:06}", "value": "CANARY-{os.urandom(60).hex()}"}}\n' for n in range(6_000))
    other.path("many.jsonl").write_text("".join(lines))
    other.state.mkdir()
    with small_disk(other.state, size=256 * 1024) as mounted:
        if not mounted:
            pytest.skip("needs the right to mount")
        assert refused(other.run("secrets", "import", "many.jsonl"), TargetFull)
        assert other.ok("list", "--json").document["secrets"] == []


def test_a_store_that_cannot_be_written_says_so(stocked: Machine) -> None:
    stocked.ok("list")
    with read_only(stocked.state):
        done = stocked.run("get", "JWT_SECRET_KEY")
    assert refused(done, SourceError)
    assert "writable" in done.err
    assert "No backup was made" not in done.err


def test_what_may_not_be_read_is_no_target_without_writes() -> None:
    error = from_os(PermissionError(13, "Permission denied", "/etc/shadow"))
    assert (error.code, error.message) == ("UsageError", "/etc/shadow: Permission denied.")


def test_a_metadata_file_is_known_when_it_is_to_be_restored(stocked: Machine) -> None:
    stocked.ok("backup", "meta.json")
    done = stocked.run("restore", "--backup-file", "meta.json", "--full-restore")
    assert refused(done, NotCovered)
    assert "holds no values" in done.err


def test_two_restores_in_one_second_each_keep_a_way_back(stocked: Machine) -> None:
    full = stocked.seal()
    for name in ("JWT_SECRET_KEY", "REDIS_PASSWORD"):
        stocked.set(name, "CANARY-other")
    running = [_restoring(stocked, full, name) for name in ("JWT_SECRET_KEY", "REDIS_PASSWORD")]
    assert [process.wait(timeout=PATIENCE) for process in running] == [0, 0]
    assert len(list((stocked.state / "undo").iterdir())) == 2


def _restoring(machine: Machine, full: Path, name: str) -> subprocess.Popen[bytes]:
    words = ("restore", "--backup-file", full, "--secret-name", name, "--overwrite-existing")
    env = machine.env | {"STRONGROOM_PASSPHRASE": PASSPHRASE}
    return subprocess.Popen(command(*words), cwd=machine.home, env=env, stdout=subprocess.DEVNULL)


def test_what_keygen_advises_works_as_written(machine: Machine) -> None:
    advice = machine.ok("keys", "new", "--output", "my key").out
    line = next(line for line in advice.splitlines() if "strongroom init" in line)
    done = subprocess.run(
        ["/bin/sh", "-c", line.replace("strongroom", " ".join(map(str, command())), 1)],
        cwd=machine.home,
        env=machine.env,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0
    machine.ok("check", "config")
