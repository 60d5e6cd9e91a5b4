"""The backup file: a target's two sides in one file, whole or not at all."""

from __future__ import annotations

import hashlib
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.container.errors import MissingPiece, NotABackup, Tampered, VerificationFailed
from strongroom.container.kinds import FileKind, sniff
from strongroom.errors import TargetError
from strongroom.system import files
from strongroom.system.errors import TargetReadOnly, WouldOverwrite
from strongroom.targets.single_file import BundleReader, BundleWriter


def put(bundle: BundleWriter, name: str, content: bytes) -> bool:
    return bundle.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def made(path: Path, **objects: bytes) -> Path:
    with BundleWriter(path) as bundle:
        for name, content in objects.items():
            put(bundle, name, content)
        bundle.close(commit=True)
    return path


def test_what_was_put_can_be_read_listed_and_ranged(tmp_path: Path) -> None:
    big = bytes(range(256)) * 10_000
    with BundleReader(made(tmp_path / "b", a=b"one", big=big, none=b"")) as bundle:
        assert [(o.name, o.size) for o in bundle.list()] == [("a", 3), ("big", len(big)), ("none", 0)]
        assert [o.name for o in bundle.list("b")] == ["big"]
        assert b"".join(bundle.read("big")) == big
        assert b"".join(bundle.read("big", offset=1_000_000, length=2_000_000)) == big[1_000_000:]
        assert b"".join(bundle.read("a", offset=1, length=1)) == b"n"
        assert bundle.open("big").read(500, 20) == big[500:520]
        assert bundle.open("a").read(1, 100) == b"ne"
        assert bundle.stat("absent") is None
        bundle.check()
        with pytest.raises(MissingPiece):
            next(bundle.read("absent"))


def test_nothing_is_visible_before_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "b"
    with BundleWriter(path) as bundle:
        put(bundle, "a", b"one")
        assert b"".join(bundle.read("a")) == b"one"
        assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with BundleWriter(tmp_path / "b") as bundle:
            put(bundle, "a", b"one")
            raise RuntimeError("planned")

    with pytest.raises(RuntimeError, match="planned"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / files.provisional_name("b")).write_bytes(b"half of it")
    assert list(tmp_path.iterdir()) != [tmp_path / "b"]
    assert list(made(tmp_path / "b").parent.iterdir()) == [tmp_path / "b"]


def test_an_interruption_as_it_is_closed_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    bundle = BundleWriter(tmp_path / "b")
    with monkeypatch.context() as patched:
        patched.setattr("strongroom.targets.single_file.os.close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bundle.close(commit=False)
    assert list(tmp_path.iterdir()) == []


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    assert stat.S_IMODE(made(tmp_path / "b").stat().st_mode) == 0o600


def test_an_existing_file_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.write_bytes(b"mine")
    with pytest.raises(WouldOverwrite):
        BundleWriter(path)
    assert path.read_bytes() == b"mine"
    with BundleWriter(path, replace=True) as bundle:
        put(bundle, "a", b"one")
        assert path.read_bytes() == b"mine"
        bundle.close(commit=True)
    assert sniff(path.read_bytes()) is FileKind.BUNDLE


def test_a_file_that_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "b"
    with BundleWriter(path) as bundle:
        path.write_bytes(b"theirs")
        with pytest.raises(WouldOverwrite):
            bundle.close(commit=True)
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_an_object_is_put_once(tmp_path: Path) -> None:
    path = tmp_path / "b"
    with BundleWriter(path) as bundle:
        assert put(bundle, "a", b"one")
        assert not put(bundle, "a", b"two")
        bundle.close(commit=True)
    with BundleReader(path) as bundle:
        assert b"".join(bundle.read("a")) == b"one"


def test_content_that_is_not_what_was_announced_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "b"

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError("planned")

    with BundleWriter(path) as bundle:
        put(bundle, "a", b"one")
        with pytest.raises(VerificationFailed):
            bundle.put("b", [b"xy"], size=3, sha256=hashlib.sha256(b"xy").digest())
        with pytest.raises(VerificationFailed):
            bundle.put("b", [b"xy"], size=2, sha256=bytes(32))
        with pytest.raises(OSError, match="planned"):
            bundle.put("b", broken(), size=2, sha256=bytes(32))
        assert put(bundle, "b", b"two")
        bundle.close(commit=True)
    with BundleReader(path) as bundle:
        assert [b"".join(bundle.read(o.name)) for o in bundle.list()] == [b"one", b"two"]


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "../a", ".a", "a/.b", "a b", "ä"])
def test_an_impossible_name_is_refused(tmp_path: Path, name: str) -> None:
    with BundleWriter(tmp_path / "b") as bundle, pytest.raises(TargetError):
        put(bundle, name, b"")


def test_threads_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "b"
    contents = {f"o{n}": bytes([n]) * 50_000 for n in range(8)}
    with BundleWriter(path) as bundle:
        threads = [threading.Thread(target=put, args=(bundle, *item)) for item in contents.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bundle.close(commit=True)
    with BundleReader(path) as bundle:
        assert {o.name: b"".join(bundle.read(o.name)) for o in bundle.list()} == contents


def test_a_complete_file_takes_and_loses_nothing(tmp_path: Path) -> None:
    with BundleReader(made(tmp_path / "b", a=b"one")) as bundle:
        with pytest.raises(TargetReadOnly):
            bundle.put("b", [], size=0, sha256=b"")
        with pytest.raises(TargetReadOnly):
            bundle.delete("a")
        bundle.delete("absent")


def test_a_changed_object_is_noticed_when_it_is_read_whole(tmp_path: Path) -> None:
    path = made(tmp_path / "b", a=b"CANARY-one")
    path.write_bytes(path.read_bytes().replace(b"CANARY-one", b"CANARY-two"))
    with BundleReader(path) as bundle, pytest.raises(Tampered, match="'a'"):
        list(bundle.read("a"))


def test_a_folder_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError):
        BundleWriter(tmp_path / "absent" / "b")


def test_a_path_that_is_no_backup_file_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(MissingPiece):
        BundleReader(tmp_path / "absent")
    path = tmp_path / "text"
    path.write_text("hello\n" * 100)
    with pytest.raises(NotABackup):
        BundleReader(path)
