"""Reading the files of an access log, each line once."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from strongroom.errors import ConfigError
from strongroom.operations.access.follow import FUTURE, Follower, LogBatch, LogFolder, LogPlace
from strongroom.operations.access.parsers import FORMATS
from strongroom.state.records import AccessMark
from strongroom.targets.memory import MemoryTarget
from tests.operations.access.lines import s3_line, trail, trail_record, vault_line

NOW = 1_795_824_000.0


class Log:
    """A log with the marks of the looks before."""

    def __init__(self, folder: Path, form: str = "vault", place: LogPlace | None = None) -> None:
        self.folder, self.form, self.place = folder, form, place or LogFolder(folder)
        self.marks: dict[str, AccessMark] = {}

    def look(self, *, until: float = NOW + 1000) -> list[LogBatch]:
        form = FORMATS[self.form]
        batches = list(Follower("log", self.place, form, self.marks.values(), until=until).new())
        for batch in batches:
            self.marks |= {mark.head: mark for mark in batch.marks}
            for head in batch.gone:
                del self.marks[head]
        return batches

    def keys(self, **options: float) -> list[str]:
        return [read.what.rpartition("/")[2] for batch in self.look(**options) for read in batch.reads]


def used(*names: str, at: float = NOW) -> bytes:
    return b"".join(vault_line(at + number, f"transit/decrypt/{name}") for number, name in enumerate(names))


def rewritten(batches: Iterable[LogBatch]) -> list[str]:
    return [name for batch in batches for name in batch.rewritten]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_each_line_is_read_once_and_one_that_is_being_written_later(log: Log) -> None:
    file = log.folder / "audit.log"
    file.write_bytes(used("a", "b")[:-20])
    assert log.keys() == ["a"]
    assert log.keys() == []
    file.write_bytes(used("a", "b") + used("c"))
    assert log.keys() == ["b", "c"]
    assert log.keys() == []


def test_a_rotated_and_packed_file_goes_on_where_it_was_left(log: Log) -> None:
    file = log.folder / "audit.log"
    file.write_bytes(used("a"))
    log.look()
    (log.folder / "audit.log.1").write_bytes(used("a", "b"))
    file.write_bytes(used("c"))
    assert log.keys() == ["c", "b"]
    (log.folder / "audit.log.1").unlink()
    (log.folder / "audit.log.2.gz").write_bytes(gzip.compress(used("a", "b", "d")))
    batches = log.look()
    assert [read.what for batch in batches for read in batch.reads] == ["transit/decrypt/d"]
    assert rewritten(batches) == []


def test_a_file_that_was_cut_or_changed_is_told_and_read_again(log: Log) -> None:
    file = log.folder / "audit.log"
    file.write_bytes(used("a", "b", "c"))
    log.look()
    file.write_bytes(used("a", "b"))
    batches = log.look()
    assert rewritten(batches) == ["audit.log"]
    file.write_bytes(used("a", "X", "c"))
    batches = log.look()
    assert rewritten(batches) == ["audit.log"]
    assert [read.what[-1] for batch in batches for read in batch.reads] == ["a", "X", "c"]


def test_a_file_that_another_took_the_place_of_is_told(log: Log) -> None:
    file = log.folder / "audit.log"
    file.write_bytes(used("a"))
    log.look()
    file.write_bytes(used("b"))
    assert rewritten(log.look()) == ["audit.log"]
    file.unlink()
    assert rewritten(log.look()) == []
    assert log.marks == {}


@pytest.mark.parametrize("name", ["audit.bak", "audit.log.bak", "old/audit.log"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_copy_beside_it_hides_nothing_that_is_logged_later(log: Log, name: str, packed: bool) -> None:
    file, copy = log.folder / "audit.log", log.folder / name
    file.write_bytes(used("a"))
    log.look()
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(gzip.compress(used("a")) if packed else used("a"))
    assert log.keys() == []
    for seen in range(2, 5):
        file.write_bytes(used(*"abcde"[:seen]))
        assert log.keys() == ["abcde"[seen - 1]]
        assert log.keys() == []
    copy.unlink()
    file.write_bytes(used(*"abcde"))
    assert log.keys() == ["e"]


def test_a_longer_file_that_begins_alike_hides_nothing(log: Log) -> None:
    """Whoever may add files there knows the first line."""
    file = log.folder / "audit.log"
    file.write_bytes(used("a", "b"))
    log.look()
    (log.folder / "a-first.log").write_bytes(used("a") + used(*"zzzzzzzz"))
    assert log.keys() == list("azzzzzzzz")
    file.write_bytes(used("a", "b", "c"))
    assert log.keys() == ["c"]
    (log.folder / "a-first.log").write_bytes(used("a") + used(*"zzzzzzzzy"))
    assert log.keys() == ["y"]
    assert log.keys() == []


def test_a_log_that_was_cut_beside_its_copy_is_read_on(log: Log) -> None:
    file = log.folder / "audit.log"
    file.write_bytes(used("a", "b", "c"))
    log.look()
    (log.folder / "audit.log.1").write_bytes(file.read_bytes())
    file.write_bytes(used("a", "b"))
    log.look()
    file.write_bytes(used("a", "b") + used("x", at=NOW + 10))
    batches = log.look()
    assert "x" in [read.what[-1] for batch in batches for read in batch.reads]
    assert rewritten(batches) == ["audit.log"]
    assert log.keys() == []
    (log.folder / "audit.log.1").unlink()
    file.write_bytes(used("a", "b") + used("x", "y", at=NOW + 10))
    assert log.keys() == ["y"]


def test_a_packed_file_without_a_last_newline_is_read_to_its_end(log: Log) -> None:
    (log.folder / "audit.log.gz").write_bytes(gzip.compress(used("a", "b")[:-1]))
    assert log.keys() == ["a", "b"]
    assert log.keys() == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_without_an_end_is_told_once(log: Log, packed: bool) -> None:
    zeros = bytes(4 * FORMATS["vault"].longest)
    (log.folder / "bomb").write_bytes(gzip.compress(zeros) if packed else zeros)
    assert [batch.odd for batch in log.look() if batch.odd] == [1]
    assert [batch.odd for batch in log.look() if batch.odd] == []


def test_a_document_that_begins_as_another_does_hides_none(tmp_path: Path) -> None:
    log = Log(tmp_path, "cloudtrail")
    records = [trail_record(NOW, key=f"k{number}") for number in range(40)]
    (tmp_path / "b.json").write_bytes(trail(*records))
    (tmp_path / "a.json").write_bytes(trail(*records[:20]))
    assert len(log.keys()) == 60
    assert log.keys() == []


def test_a_young_line_is_left_and_one_of_the_far_future_holds_nothing_up(log: Log) -> None:
    (log.folder / "audit.log").write_bytes(used("old") + used("forged", at=NOW + 10 * FUTURE) + used("young"))
    assert log.keys(until=NOW - 0.5) == []
    (log.folder / "audit.log").write_bytes(
        used("old") + used("forged", at=NOW + 10 * FUTURE) + used("young", at=NOW + 100)
    )
    assert log.keys(until=NOW + 50) == ["old", "forged"]
    assert log.keys(until=NOW + 100) == ["young"]


def test_lines_that_are_none_are_counted_and_those_around_them_read(log: Log) -> None:
    (log.folder / "audit.log").write_bytes(used("a") + b"nonsense\n" + b"x" * (9 << 20) + b"\n" + used("b"))
    batches = log.look()
    assert [read.what[-1] for batch in batches for read in batch.reads] == ["a", "b"]
    assert sum(batch.odd for batch in batches) == 2


def test_a_damaged_archive_is_told_once(log: Log) -> None:
    packed = gzip.compress(used("a") * 1000)
    (log.folder / "audit.log.gz").write_bytes(packed[:60] + b"\xff" * 40 + packed[100:])
    assert sum(batch.odd for batch in log.look()) == 1
    assert sum(batch.odd for batch in log.look()) == 0


def test_files_of_cloudtrail_are_read_whole_and_a_bomb_is_refused(tmp_path: Path) -> None:
    log = Log(tmp_path, "cloudtrail")
    folder = tmp_path / "AWSLogs" / "123456789012"
    folder.mkdir(parents=True)
    (folder / "one.json.gz").write_bytes(gzip.compress(trail(trail_record(NOW), trail_record(NOW))))
    (folder / "bomb.json.gz").write_bytes(gzip.compress(bytes(65 << 20)))
    batches = log.look()
    assert sum(len(batch.reads) for batch in batches) == 2
    assert sum(batch.odd for batch in batches) == 1
    assert [batch for batch in log.look() if batch.lines] == []


def test_objects_of_a_store_are_read_as_files_are(tmp_path: Path) -> None:
    store = MemoryTarget(name="logs", region="r")
    log = Log(tmp_path, "s3", store)
    content = s3_line(NOW) + s3_line(NOW + 1)
    store.put("2026-11-28-00-24-26-0123", [content], size=len(content), sha256=sha256(content))
    assert sum(len(batch.reads) for batch in log.look()) == 2
    assert sum(len(batch.reads) for batch in log.look()) == 0


def test_no_link_leads_out_of_the_folder(log: Log, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.log"
    outside.write_bytes(used("a"))
    (log.folder / "audit.log").symlink_to(outside)
    assert log.keys() == []


def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_log(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Log(tmp_path / "none").look()


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
