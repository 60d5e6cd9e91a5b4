"""The directory target meets the contract, and what only a file system can do to it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import resource
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.errors import TargetError
from strongroom.plugins.conformance.targets import (
    MIB,
    SharedConformance,
    exit_code,
    get,
    in_child,
    killed_putter,
    names,
    put,
)
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.targets.directory import MARKER, DirectoryTarget
from strongroom.targets.errors import TargetUnavailable
from tests.targets.disks import read_only, small_disk

pytestmark = pytest.mark.durable


def make(path: Path, *, reserve: int = 0) -> DirectoryTarget:
    target = DirectoryTarget(path, name="region-a", region="eu-west", reserve=reserve)
    target.prepare()
    return target


@pytest.fixture
def target(tmp_path: Path) -> DirectoryTarget:
    return make(tmp_path / "region-a")


def files(target: DirectoryTarget) -> set[str]:
    """Everything under the root but the marker, provisional files and directories included."""
    root = Path(target.address)
    return {str(path.relative_to(root)) for path in root.rglob("*")} - {MARKER}


def provisional(target: DirectoryTarget) -> list[str]:
    return sorted(name for name in files(target) if name.endswith(".part"))


class TestDirectory(SharedConformance):
    @pytest.fixture
    def target(self, target: DirectoryTarget) -> DirectoryTarget:
        return target


# -- being there -----------------------------------------------------------------


def every_call(target: DirectoryTarget) -> Iterator[tuple[str, object]]:
    yield "put", lambda: put(target, "a", b"x")
    yield "read", lambda: get(target, "a")
    yield "stat", lambda: target.stat("a")
    yield "list", lambda: names(target)
    yield "delete", lambda: target.delete("a")
    yield "sweep", lambda: target.abort_incomplete("")


@pytest.mark.parametrize("present", [False, True], ids=["missing", "empty mount point"])
def test_a_directory_without_its_marker_is_unavailable_and_is_never_filled(
    tmp_path: Path, *, present: bool
) -> None:
    # An absent disk: its mount point is missing, or an empty directory.
    path = tmp_path / "disk"
    if present:
        path.mkdir()
    target = DirectoryTarget(path, name="region-a", region="eu-west")

    for name, call in every_call(target):
        with pytest.raises(TargetUnavailable, match="region-a") as caught:
            call()  # type: ignore[operator]
        assert caught.value.transient, name
        assert "Mount it" in caught.value.hint

    assert path.exists() is present
    assert not present or not list(path.iterdir())


def test_what_to_do_about_a_marker_that_is_missing_does_it(tmp_path: Path) -> None:
    """A medium that lost its marker, or a new one: what the hint says to type makes it this target's."""
    path = tmp_path / "my disk"
    path.mkdir()
    target = DirectoryTarget(path, name="safe", region="safe")
    with pytest.raises(TargetUnavailable) as caught:
        names(target)
    hint = caught.value.hint
    typed = re.search(r"touch '[^']+'", hint)
    assert typed is not None
    subprocess.run(["sh", "-c", typed[0]], check=True)
    assert put(target, "a", b"content")
    assert "mounted elsewhere" in hint
    assert "'create = true' is for a directory of this machine that is always there" in hint


def test_a_directory_that_is_not_there_at_all_is_not_said_to_need_a_mark(tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable) as caught:
        names(DirectoryTarget(tmp_path / "disk", name="safe", region="safe"))
    assert "touch" not in caught.value.hint
    assert "'create = true' is for a directory of this machine that is always there" in caught.value.hint


def test_a_disk_that_comes_back_is_used_again_by_the_same_instance(tmp_path: Path) -> None:
    target = make(tmp_path / "disk")
    put(target, "a", b"content")
    (tmp_path / "disk").rename(tmp_path / "away")
    with pytest.raises(TargetUnavailable):
        get(target, "a")

    (tmp_path / "away").rename(tmp_path / "disk")

    assert get(target, "a") == b"content"


def test_preparing_makes_private_directories_and_may_be_repeated(tmp_path: Path) -> None:
    target = make(tmp_path / "deep" / "er" / "region-a")
    put(target, "a", b"content")

    target.prepare()

    assert get(target, "a") == b"content"
    for path in (tmp_path / "deep", tmp_path / "deep" / "er", tmp_path / "deep" / "er" / "region-a"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_file_in_the_roots_place_is_refused_for_good(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    target = DirectoryTarget(tmp_path / "file", name="region-a", region="eu-west")

    with pytest.raises(TargetError) as caught:
        put(target, "a", b"x")

    assert not caught.value.transient


def test_the_address_is_the_real_path(tmp_path: Path) -> None:
    (tmp_path / "disk-1").mkdir()
    (tmp_path / "link").symlink_to("disk-1")

    assert make(tmp_path / "link").address == str(tmp_path / "disk-1")


# -- what lies on the disk -------------------------------------------------------


def test_files_and_directories_are_the_owners_alone(target: DirectoryTarget) -> None:
    old = os.umask(0)
    try:
        put(target, "containers/r/a", b"content")
    finally:
        os.umask(old)

    root = Path(target.address)
    assert stat.S_IMODE((root / "containers/r/a").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / "containers/r").stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "containers").stat().st_mode) == 0o700


def test_refused_content_leaves_no_file_and_no_directory(target: DirectoryTarget) -> None:
    with pytest.raises(VerificationFailed):
        target.put("d/e/a", [b"content"], size=7, sha256=bytes(32))

    assert files(target) == set()


def test_deleting_the_last_object_removes_its_directories(target: DirectoryTarget) -> None:
    put(target, "runs/r/names/1", b"x")
    put(target, "runs/s", b"x")

    target.delete("runs/r/names/1")

    assert files(target) == {"runs", "runs/s"}


def test_foreign_and_hidden_files_are_neither_listed_nor_read_nor_swept(target: DirectoryTarget) -> None:
    root = Path(target.address)
    for name in (".hidden", "a b", ".a.part", ".a.0123456789abcdef.part~"):
        (root / name).write_bytes(b"foreign")
    (root / "lost+found").mkdir()
    (root / "lost+found" / "a").write_bytes(b"foreign")
    (root / "directory").mkdir()

    assert names(target) == []
    assert target.stat("directory") is None
    assert target.abort_incomplete("") == 0
    with pytest.raises(MissingPiece):
        get(target, "directory")


def test_a_pipe_in_an_objects_place_hangs_nobody(target: DirectoryTarget) -> None:
    os.mkfifo(Path(target.address) / "a")

    with pytest.raises(MissingPiece):
        get(target, "a")
    assert names(target) == []


# -- links -----------------------------------------------------------------------


def test_a_linked_directory_is_not_followed(target: DirectoryTarget, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_bytes(b"outside")
    (outside / ".a.0123456789abcdef.part").write_bytes(b"outside")
    (Path(target.address) / "d").symlink_to(outside)

    assert names(target) == names(target, "d/") == []
    assert target.stat("d/a") is None
    assert target.abort_incomplete("d/") == target.abort_incomplete("") == 0
    with pytest.raises(MissingPiece):
        get(target, "d/a")
    with pytest.raises(TargetError):
        put(target, "d/b", b"x")
    target.delete("d/a")

    assert sorted(path.name for path in outside.iterdir()) == [".a.0123456789abcdef.part", "a"]


def test_a_linked_file_is_not_followed(target: DirectoryTarget, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"outside")
    (Path(target.address) / "a").symlink_to(outside)

    (Path(target.address) / ".b.0123456789abcdef.part").symlink_to(outside)

    assert target.stat("a") is None
    assert names(target) == []
    assert target.abort_incomplete("") == 0
    with pytest.raises(MissingPiece):
        get(target, "a")
    assert put(target, "a", b"x") is False  # the reading back that follows then fails
    target.delete("a")
    assert outside.read_bytes() == b"outside"


@pytest.mark.parametrize("link", ["containers", "containers/b", "containers/b/c"])
def test_a_link_is_named_where_what_it_leads_to_is_missed(
    link: str, target: DirectoryTarget, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody moved a folder to a larger disk and left a link, and read nothing but 'does not hold'."""
    put(target, "containers/b/c", b"x")
    Path(target.address, link).rename(tmp_path / "elsewhere")
    Path(target.address, link).symlink_to(tmp_path / "elsewhere")
    for look in (
        lambda: names(target),
        lambda: names(target, "containers/b/"),
        lambda: target.stat("containers/b/c"),
    ):
        assert not look()
    with pytest.raises(MissingPiece, match=f"'{link}' in it is a link, and no link there is followed"):
        get(target, "containers/b/c")
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        f"'{link}' in it is a link and is not followed"
    ]


def test_thousands_of_links_are_no_thousands_of_lines(
    target: DirectoryTarget, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2_000):
        Path(target.address, f"junk-{number}").symlink_to("/")
    assert names(target) == []
    assert len(caplog.records) == 3


# -- crashes ---------------------------------------------------------------------


def test_a_killed_writer_leaves_a_provisional_file_that_a_sweep_removes(target: DirectoryTarget) -> None:
    with killed_putter(target, "containers/r/a", sent=3 * MIB):
        pass

    assert len(provisional(target)) == 1
    assert target.abort_incomplete("containers/r/") == 1
    assert provisional(target) == []


def test_a_sweep_is_bounded_by_its_prefix(target: DirectoryTarget) -> None:
    for name in ("containers/r/a", "containers/r2/a", "containers/r/b", "manifests/r"):
        with killed_putter(target, name, sent=10):
            pass

    assert target.abort_incomplete("containers/r/a") == 1
    assert target.abort_incomplete("containers/r/") == 1
    assert target.abort_incomplete("containers/x/") == 0
    assert [name.split("/")[:-1] for name in provisional(target)] == [["containers", "r2"], ["manifests"]]


def test_a_sweep_spares_a_writer_that_lives(target: DirectoryTarget) -> None:
    with killed_putter(target, "containers/r/a", sent=10):
        assert len(provisional(target)) == 1
        assert target.abort_incomplete("") == 0
        assert len(provisional(target)) == 1


def test_a_kill_between_publishing_and_tidying_keeps_the_object(target: DirectoryTarget) -> None:
    root = Path(target.address)
    put(target, "d/a", b"content")
    os.link(root / "d/a", root / "d/.a.0123456789abcdef.part")  # what such a kill leaves

    assert names(target) == ["d/a"]
    assert target.abort_incomplete("") == 1
    assert get(target, "d/a") == b"content"


def test_a_writer_whose_file_was_swept_fails_as_transient(target: DirectoryTarget) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"con"
        (name,) = provisional(target)
        (Path(target.address) / name).unlink()
        yield b"tent"

    with pytest.raises(TargetError) as caught:
        target.put("a", chunks(), size=7, sha256=hashlib.sha256(b"content").digest())

    assert caught.value.transient
    assert files(target) == set()


def test_the_content_is_durable_before_it_is_visible(
    target: DirectoryTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []
    real = os.fsync

    def watched(fd: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(fd).st_mode), target.stat("d/e/a") is not None))
        real(fd)

    monkeypatch.setattr(os, "fsync", watched)
    put(target, "d/e/a", b"content")

    # The file while it is invisible, then its directory and each one up to the root.
    assert seen == [(False, False), (True, True), (True, True), (True, True)]


# -- full and read-only disks ----------------------------------------------------


def test_a_disk_without_the_room_is_full_before_anything_is_read(tmp_path: Path) -> None:
    target = make(tmp_path / "region-a", reserve=2**60)
    chunks = iter([b"content"])

    with pytest.raises(TargetFull, match="region-a"):
        target.put("d/a", chunks, size=7, sha256=hashlib.sha256(b"content").digest())

    assert next(chunks) == b"content"
    assert files(target) == set()


def test_what_is_there_already_needs_no_room(tmp_path: Path) -> None:
    put(make(tmp_path / "region-a"), "a", b"content")

    assert put(make(tmp_path / "region-a", reserve=2**60), "a", b"content") is False


def test_a_disk_that_fills_up_midway_leaves_nothing_half_written(tmp_path: Path) -> None:
    with small_disk(tmp_path, size=4 * MIB) as mounted:
        target = make(tmp_path / "region-a")
        put(target, "good", b"last good one")
        if mounted:
            fill_up_midway(target, tmp_path)
        else:
            exceed_the_file_size_limit(target)

        assert files(target) == {"good"}
        assert get(target, "good") == b"last good one"


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def fill_up_midway(target: DirectoryTarget, disk: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield bytes(MIB)
        fill(disk / "somebody elses")
        yield bytes(MIB)

    with pytest.raises(TargetFull):
        target.put("d/a", chunks(), size=2 * MIB, sha256=hashlib.sha256(bytes(2 * MIB)).digest())


def test_a_file_size_limit_midway_counts_as_full_and_leaves_nothing(target: DirectoryTarget) -> None:
    put(target, "good", b"last good one")

    exceed_the_file_size_limit(target)

    assert files(target) == {"good"}


def exceed_the_file_size_limit(target: DirectoryTarget) -> None:
    def work() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))  # Python ignores SIGXFSZ: EFBIG comes
        try:
            put(target, "d/a", bytes(3 * MIB))
        except TargetFull:
            return 0
        return 1

    assert exit_code(in_child(work)) == 0


def test_a_read_only_target_refuses_writes_and_still_reads(tmp_path: Path) -> None:
    target = make(tmp_path / "region-a")
    put(target, "d/a", b"content")

    with read_only(tmp_path / "region-a"):
        for call in (
            lambda: put(target, "d/b", b"x"),
            lambda: put(target, "new/b", b"x"),
            lambda: target.delete("d/a"),
        ):
            with pytest.raises(TargetReadOnly, match="region-a"):
                call()
        assert put(target, "d/a", b"content") is False
        assert get(target, "d/a") == b"content"
        assert names(target) == ["d/a"]

    assert files(target) == {"d", "d/a"}


# -- races -----------------------------------------------------------------------


def test_a_directory_that_is_removed_under_a_putter_is_made_again(
    target: DirectoryTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A delete prunes the empty directory just before the provisional file would be in it.
    real = os.open
    removed: list[str] = []

    def racing(path: str, flags: int, *args: int, dir_fd: int | None = None) -> int:
        if path.endswith(".part") and not removed:
            removed.append(path)
            (Path(target.address) / "d" / "e").rmdir()
        return real(path, flags, *args, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", racing)

    assert put(target, "d/e/a", b"content") is True
    assert removed
    assert get(target, "d/e/a") == b"content"


def test_no_descriptor_stays_open(target: DirectoryTarget) -> None:
    def use() -> None:
        put(target, "d/a", b"content")
        put(target, "d/a", b"content")
        get(target, "d/a")
        next(iter(target.read("d/a")))
        next(iter(target.list()))
        names(target)
        target.stat("no/such")
        with pytest.raises(VerificationFailed):
            target.put("x/y", [b"bad"], size=3, sha256=bytes(32))
        target.abort_incomplete("")
        target.delete("d/a")

    use()
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        use()

    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_listing_survives_deletions_under_it(target: DirectoryTarget) -> None:
    for number in range(4):
        put(target, f"d{number}/a", b"x")

    listing = target.list()
    first = next(listing)
    target.delete("d1/a")
    target.delete("d2/a")

    assert [first.name, *(info.name for info in listing)] == ["d0/a", "d3/a"]


def test_a_provisional_file_is_locked_by_its_writer(target: DirectoryTarget) -> None:
    locked: list[bool] = []

    def chunks() -> Iterator[bytes]:
        (name,) = provisional(target)
        with (Path(target.address) / name).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append(True)
        yield b"content"

    target.put("a", chunks(), size=7, sha256=hashlib.sha256(b"content").digest())

    assert locked == [True]
