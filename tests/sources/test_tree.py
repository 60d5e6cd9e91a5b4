"""What a directory of secret files may hold besides secrets."""

from __future__ import annotations

import gc
import logging
import os
import socket
from pathlib import Path

import pytest

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media
from strongroom.sources import tree
from strongroom.sources.errors import EmptySource, SourceChanged
from strongroom.sources.files import open_files
from tests.sources.rights import as_nobody


def values(path: Path) -> dict[str, bytes]:
    source = open_files(path, "tree")
    found = {}
    for entry in source.list():
        (held,) = source.read([entry])
        assert held is not None
        assert held.current.value is not None
        assert entry.name not in found
        found[entry.name] = held.current.value.reveal()
    return found


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """A secret volume as Kubernetes lays it out, an item with a path of its own included."""
    mount = tmp_path / "mount"
    real = mount / "..2026_01_01_00_00_00.123456789"
    (real / "certs").mkdir(parents=True)
    (real / "password").write_text("CANARY-1")
    (real / "certs" / "key").write_text("CANARY-2")
    (mount / "..data").symlink_to(real.name)
    (mount / "password").symlink_to("..data/password")
    (mount / "certs").symlink_to("..data/certs")
    return mount


def test_a_kubernetes_mount_shows_each_secret_once_by_its_plain_name(mount: Path) -> None:
    assert values(mount) == {"password": b"CANARY-1", "certs/key": b"CANARY-2"}


def test_a_kubernetes_mount_is_read_after_its_swap(mount: Path) -> None:
    source = open_files(mount)
    entries = list(source.list())
    new = mount / "..2026_02_02_00_00_00.987654321"
    (new / "certs").mkdir(parents=True)
    (new / "password").write_text("CANARY-new")
    (new / "certs" / "key").write_text("CANARY-new")
    (mount / "..tmp").symlink_to(new.name)
    (mount / "..tmp").rename(mount / "..data")
    for held in source.read(entries):
        assert held is not None
        assert held.current.value is not None
        assert held.current.value.reveal() == b"CANARY-new"


def test_names_are_paths_below_the_directory(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("1")
    (tmp_path / ".hidden").write_text("2")
    assert values(tmp_path) == {"a/b/c": b"1", ".hidden": b"2"}


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A tree that is worth several processes to list."""
    for number in range(tree.FEWEST_CUT):
        (tmp_path / f"d{number:02}" / "deep").mkdir(parents=True)
        (tmp_path / f"d{number:02}" / "a").write_text("CANARY-a")
        (tmp_path / f"d{number:02}" / "deep" / "b").write_text("CANARY-b")
    (tmp_path / "top").write_text("CANARY-top")
    (tmp_path / "..hidden").write_text("CANARY-hidden")
    return tmp_path


def listed_in(path: Path, most: int) -> list[list[ListedSecret]]:
    return [list(part.list(with_tags=True)) for part in open_files(path, "tree").parts(most)]


def test_the_parts_of_a_tree_list_together_what_the_tree_does(wide: Path) -> None:
    (wide / "d03" / "link").symlink_to("../d09/deep/b")
    whole = sorted(entry.name for entry in open_files(wide, "tree").list())
    for most in (2, 3, 5):
        parts = listed_in(wide, most)
        assert len(parts) == most
        assert sorted(entry.name for part in parts for entry in part) == whole
        assert {entry.size for part in parts for entry in part} == {8, 10}
        assert max(map(len, parts)) - min(map(len, parts)) <= 4


@pytest.mark.parametrize("beside", ["..data", "link"])
def test_a_tree_with_links_on_top_is_listed_as_a_whole(wide: Path, beside: str) -> None:
    (wide / beside).symlink_to("d00", target_is_directory=True)
    assert len(listed_in(wide, 4)) == 1


def test_a_tree_with_few_directories_or_very_many_entries_on_top_is_listed_as_a_whole(
    wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(listed_in(wide, 1)) == 1
    monkeypatch.setattr(tree, "MOST_CUT", 10)
    assert len(listed_in(wide, 4)) == 1
    monkeypatch.undo()
    (wide / "d00" / "a").unlink()
    (wide / "d00" / "deep" / "b").unlink()
    (wide / "d00" / "deep").rmdir()
    (wide / "d00").rmdir()
    assert len(listed_in(wide, 4)) == 1


def test_a_part_follows_no_link_to_what_is_hidden_in_another(wide: Path) -> None:
    """Both would: a secret that the whole tree shows once would be listed twice."""
    (wide / "d01" / "..data").mkdir()
    (wide / "d01" / "..data" / "c").write_text("CANARY-c")
    (wide / "d01" / "own").symlink_to("..data", target_is_directory=True)
    assert ["d01/own/c"] in [[e.name for e in part if e.name.endswith("c")] for part in listed_in(wide, 2)]
    (wide / "d02" / "across").symlink_to("../d01/..data", target_is_directory=True)
    with pytest.raises(SourceChanged, match="as a whole"):
        listed_in(wide, tree.FEWEST_CUT)


def test_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"CANARY\r\n\n")
    (tmp_path / "binary").write_bytes(b"\x00\xff\n")
    assert values(tmp_path) == {"text": b"CANARY\r\n\n", "binary": b"\x00\xff\n"}
    text, binary = open_files(tmp_path).read([ListedSecret("text", 0), ListedSecret("binary", 0)])
    assert text is not None
    assert text.current.media is Media.TEXT
    assert binary is not None
    assert binary.current.media is Media.BINARY


def test_a_link_out_of_the_tree_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outside").write_text("CANARY-not-ours")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "own").write_text("1")
    (inside / "stolen").symlink_to("../outside")
    (inside / "absolute").symlink_to(tmp_path / "outside")
    (inside / "up").symlink_to("..")
    (inside / "dangling").symlink_to("nothing")
    with caplog.at_level(logging.WARNING):
        assert values(inside) == {"own": b"1"}
    assert "4 links" in caplog.text
    assert "stolen" not in caplog.text


def test_a_sibling_whose_name_starts_alike_is_outside(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "own").write_text("1")
    (tmp_path / "in-not").mkdir()
    (tmp_path / "in-not" / "secret").write_text("CANARY")
    (tmp_path / "in" / "link").symlink_to("../in-not/secret")
    assert values(tmp_path / "in") == {"own": b"1"}


@pytest.mark.parametrize(
    "name",
    ["../outside", "a/../../outside", "/etc/hostname", "link/hostname", "stolen", ".", "", "a//b", "x\x00y"],
)
def test_a_name_that_leads_out_of_the_tree_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("CANARY-not-ours")
    inside = tmp_path / "inside"
    (inside / "a").mkdir(parents=True)
    (inside / "a" / "b").write_text("1")
    (inside / "link").symlink_to("/etc")
    (inside / "stolen").symlink_to("../outside")
    assert list(open_files(inside).read([ListedSecret(name, 0)])) == [None]


def test_a_file_exchanged_for_a_link_after_the_listing_is_not_followed_out(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("CANARY-not-ours")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "own").write_text("1")
    source = open_files(inside)
    entries = list(source.list())
    (inside / "own").unlink()
    (inside / "own").symlink_to("../outside")
    assert list(source.read(entries)) == [None]


def test_links_between_files_are_read_and_links_in_circles_end(mount: Path) -> None:
    (mount / "alias").symlink_to("password")
    (mount / "circle").symlink_to("circle")
    (mount / "here").symlink_to(".")
    (mount / "..data" / "certs" / "again").symlink_to("../certs")
    assert values(mount) == {"password": b"CANARY-1", "alias": b"CANARY-1", "certs/key": b"CANARY-2"}


def test_sockets_and_pipes_are_no_secrets_and_do_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    (tmp_path / "own").write_text("1")
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert values(tmp_path) == {"own": b"1"}
        assert list(open_files(tmp_path).read([ListedSecret("pipe", 0), ListedSecret("socket", 0)])) == [
            None,
            None,
        ]


def test_a_file_that_vanished_reads_as_none(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("a", "d/b"):
        (tmp_path / name).write_text("1")
    source = open_files(tmp_path)
    entries = list(source.list())
    (tmp_path / "a").unlink()
    (tmp_path / "d" / "b").unlink()
    (tmp_path / "d").rmdir()
    assert list(source.read(entries)) == [None, None]


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").write_text("CANARY")
    (tmp_path / "closed").chmod(0)
    source = open_files(".", "tree")
    with as_nobody(tmp_path), pytest.raises(SourceError, match="closed' may not be read"):
        list(source.read(list(source.list())))


def test_an_unreadable_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    with as_nobody(tmp_path), pytest.raises(SourceError, match="closed' may not be read"):
        list(open_files(".", "tree").list())


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad\xff")).write_text("CANARY")
    with pytest.raises(SourceError, match="not UTF-8"):
        list(open_files(tmp_path).list())


def test_an_empty_directory_is_an_empty_source(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmptySource):
        list(open_files(tmp_path).list())


def test_a_file_larger_than_a_secret_may_be_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "LARGEST", 10)
    (tmp_path / "fits").write_text("x" * 10)
    (tmp_path / "large").write_text("x" * 11)
    source = open_files(tmp_path)
    assert [held is not None for held in source.read([ListedSecret("fits", 0)])] == [True]
    with pytest.raises(SourceError, match="'large' is larger"):
        list(source.read([ListedSecret("large", 0)]))


def open_descriptors() -> int:
    gc.collect()  # what earlier tests left open may be closed at any moment
    return len(list(Path("/dev/fd").iterdir()))


def test_more_directories_than_may_be_open_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "room", lambda: 20)
    count = 50
    for number in range(count):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "s").write_text(f"{number}")
    before = open_descriptors()
    source = open_files(tmp_path)
    read = source.read([ListedSecret(f"{number}/s", 0) for number in range(count)])
    held = [next(read) for _ in range(count)]
    assert open_descriptors() <= before + 20
    assert all(held)
    read.close()  # type: ignore[attr-defined]
    assert open_descriptors() == before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_file_that_is_longer_than_it_says_is_read_to_its_end() -> None:
    descriptor = os.open("/proc/self/status", os.O_RDONLY)  # says that it has no bytes
    try:
        assert len(tree.contents(descriptor, "status") or b"") > 100
    finally:
        os.close(descriptor)
