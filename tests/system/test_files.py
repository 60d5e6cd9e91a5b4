"""A file is there whole or not at all; a lock is held by who lives."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.system import files

pytestmark = pytest.mark.durable


def test_a_file_is_put_in_place_whole_with_its_mode_and_nothing_beside_it(tmp_path: Path) -> None:
    with files.atomic(tmp_path / "a", replace=False, mode=0o640) as file:
        file.write(b"content")

    assert (tmp_path / "a").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_is_there_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    with pytest.raises(FileExistsError), files.atomic(tmp_path / "a", replace=False) as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"old"

    with files.atomic(tmp_path / "a", replace=True) as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_that_leads_nowhere_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FileExistsError), files.atomic(tmp_path / "a", replace=False) as file:
        file.write(b"content")

    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("there", [True, False])
def test_a_file_system_without_links_keeps_the_same_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    if there:
        (tmp_path / "a").write_bytes(b"old")
        with pytest.raises(FileExistsError), files.atomic(tmp_path / "a", replace=False) as file:
            file.write(b"new")
    else:
        with files.atomic(tmp_path / "a", replace=False) as file:
            file.write(b"new")

    assert (tmp_path / "a").read_bytes() == (b"old" if there else b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("fails", ["block", "check"])
def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, fails: str) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def check(provisional: Path) -> None:
        assert provisional.read_bytes() == b"new"
        raise RuntimeError("not as it should be")

    def write() -> None:
        with files.atomic(tmp_path / "a", replace=True, check=check) as file:
            file.write(b"new")
            if fails == "block":
                raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        write()

    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    (tmp_path / ".a.0123456789abcdef.part").write_bytes(b"half")

    with files.atomic(tmp_path / "a", replace=True) as slow:
        slow.write(b"slow")
        with files.atomic(tmp_path / "a", replace=True) as quick:
            quick.write(b"quick")

    assert (tmp_path / "a").read_bytes() == b"slow"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_is_taken_for_abandoned_before_it_is_locked_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, removed = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with files.atomic(tmp_path / "a", replace=False) as file:
        file.write(b"content")

    assert (tmp_path / "a").read_bytes() == b"content"
    assert [path.name for path in removed] != ["a"]


_HOLDER = """
import sys
from pathlib import Path
from strongroom.system import files
with files.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_others_out_until_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with path.open("rb") as file:
            assert files.is_locked(file.fileno())
        with pytest.raises(BlockingIOError), files.locked(path, wait=False):
            pass
        holder.send_signal(signal.SIGKILL)

    with path.open("rb") as file:
        assert not files.is_locked(file.fileno())
    with files.locked(path, os.O_RDONLY, wait=False) as descriptor:
        assert os.fstat(descriptor).st_size == 0
