"""Listing ahead of the plan, in a child process: the same names, and nothing rests on the child."""

from __future__ import annotations

import errno
import gc
import os
import signal
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Selection
from strongroom.operations.archive.open import open_backup
from strongroom.operations.backup import plan as listed_ahead_module
from strongroom.operations.backup.plan import Ahead, listed_ahead, read_range, spill
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.engine import layout
from strongroom.operations.engine.layout import SECTIONS, ListingBatch, ListingLost, SecretListing, sections
from strongroom.operations.engine.stage import Stage
from strongroom.sources import Listable, Source, json_files
from strongroom.sources.errors import EmptySource
from strongroom.sources.files import open_files
from strongroom.sources.memory import MemoryStore
from strongroom.state.errors import RecordRefused
from strongroom.system.process import may_fork
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.single_file import BundleReader
from tests.operations.world import World, made_up, make_world

pytestmark = [
    pytest.mark.skipif(not may_fork(), reason="forking is not safe on this system"),
    pytest.mark.platform,
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = make_world(tmp_path)
    stage = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    stage.prepare()
    return world.with_stage(stage)


@pytest.fixture
def several_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed_ahead_module, "cores", lambda: 3)


class Elsewhere(Source):
    """A source that behaves differently in another process than the one that made it."""

    name = "vault"

    def __init__(self, held: Source, failure: BaseException | int) -> None:
        self._held = held
        self._home = os.getpid()
        self._failure = failure
        self.read = held.read

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        for number, entry in enumerate(self._held.list(with_tags=with_tags)):
            yield entry
            if number == 10 and os.getpid() != self._home:
                self._fail()

    def _fail(self) -> None:
        if isinstance(self._failure, BaseException):
            raise self._failure
        os.kill(os.getpid(), self._failure)


def names_in(listing: SecretListing) -> list[str]:
    found = [section for batch in listing.batches() for section in sections(batch.packed)]
    return sorted(entry.name for section in found for entry in section.entries)


def backed_up(world: World, source: Source, path: Path, ahead: SecretListing | None) -> list[str]:
    recipients = [world.identity.recipient()]
    backup_to_file(path, source=source, recipients=recipients, services=world.services(), ahead=ahead)
    with BundleReader(path) as bundle:
        backup = open_backup(bundle, identities=[world.identity], trusted=None)
        return sorted(secret.name for secret in backup.secrets())


def test_a_listing_made_ahead_has_the_selected_names() -> None:
    source = MemoryStore(made_up(30))
    with listed_ahead(source, Selection(tags={"parity": "odd"})) as ahead:
        assert ahead is not None
        assert names_in(ahead) == [f"app/{number:04}" for number in range(1, 30, 2)]


def test_it_is_listed_in_another_process() -> None:
    source = Elsewhere(MemoryStore(made_up(30)), SourceError("only a child raises this"))
    with listed_ahead(source, Selection()) as ahead:
        assert ahead is not None
        with pytest.raises(ListingLost):
            names_in(ahead)


@pytest.mark.parametrize("failure", [SourceError("no"), ValueError("a bug"), signal.SIGKILL], ids=repr)
def test_a_child_that_fails_or_dies_costs_a_second_listing_and_nothing_else(
    world: World, tmp_path: Path, failure: BaseException | int
) -> None:
    source = Elsewhere(world.source, failure)
    with listed_ahead(source, Selection()) as ahead:
        assert backed_up(world, source, tmp_path / "file", ahead) == [f"app/{n:04}" for n in range(30)]


def test_what_a_source_refuses_ahead_is_reported_as_ever(world: World, tmp_path: Path) -> None:
    empty = MemoryStore(name="vault")
    with listed_ahead(empty, Selection()) as ahead, pytest.raises(EmptySource):
        backed_up(world, empty, tmp_path / "file", ahead)


def test_a_backup_from_a_listing_made_ahead_holds_everything(world: World, tmp_path: Path) -> None:
    with listed_ahead(world.source, Selection()) as ahead:
        assert backed_up(world, world.source, tmp_path / "file", ahead) == [f"app/{n:04}" for n in range(30)]


@contextmanager
def ahead_of(parts: Sequence[Listable]) -> Iterator[Ahead]:
    ahead = Ahead()
    try:
        ahead.start(parts, Selection())
        yield ahead
    finally:
        ahead.close()


def test_what_several_children_list_is_all_there() -> None:
    held = made_up(5_000)  # more than a pipe takes at once
    with ahead_of([MemoryStore(held[:10]), MemoryStore(), MemoryStore(held[10:])]) as ahead:
        assert names_in(ahead) == [f"app/{number:04}" for number in range(5_000)]


def test_a_listing_is_lost_with_any_of_its_children(children: Callable[[], set[int]]) -> None:
    broken = Elsewhere(MemoryStore(made_up(30)), SourceError("only a child raises this"))
    with ahead_of([MemoryStore(made_up(30)), broken]) as ahead, pytest.raises(ListingLost):
        names_in(ahead)


@pytest.mark.usefixtures("several_cores")
def test_a_file_that_is_listed_in_parts_is_backed_up_whole(
    children: Callable[[], set[int]], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_files, "PART", 500)
    lines = [f'{{"name":"n{n:03}","value":"CANARY-{n}"}}\n' for n in range(100)]
    (tmp_path / "secrets.jsonl").write_text("".join(lines))
    source = open_files(tmp_path / "secrets.jsonl", name="vault")
    with listed_ahead(source, Selection()) as ahead:
        assert len(children()) == 3
        found = backed_up(world, source, tmp_path / "file", ahead)
    assert found == [f"n{n:03}" for n in range(100)]


def test_a_source_that_cannot_be_reached_is_not_listed_ahead(tmp_path: Path) -> None:
    with listed_ahead(open_files(tmp_path / "missing.jsonl"), Selection()) as ahead:
        assert ahead is None


@pytest.mark.usefixtures("several_cores")
def test_it_is_listed_here_if_a_child_cannot_be_started(
    children: Callable[[], set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Parted([MemoryStore(made_up(10))] * 3)
    fork, started = os.fork, []

    def fork_once() -> int:
        if started:
            raise BlockingIOError(errno.EAGAIN, "no more processes")
        started.append(child := fork())
        return child

    monkeypatch.setattr(os, "fork", fork_once)
    gc.collect()  # what earlier tests left open may be closed at any moment
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with listed_ahead(source, Selection()) as ahead:
        assert ahead is None
        assert children() == set()
        assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


def test_the_children_are_gone_when_the_block_ends_even_if_nobody_read_what_they_listed(
    children: Callable[[], set[int]],
) -> None:
    with ahead_of([MemoryStore(made_up(2_000))] * 2):
        assert len(children()) == 2
    assert children() == set()


def test_where_the_kernel_buries_children_that_is_no_error() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with ahead_of([MemoryStore(made_up(30))] * 2) as ahead:
            assert len(names_in(ahead)) == 60
    finally:
        signal.signal(signal.SIGCHLD, before)


class OfAnotherVersion:
    """A listing that is packed in another way."""

    name_key = bytes(32)

    def batches(self) -> Iterator[ListingBatch]:
        section = msgspec.msgpack.encode([[bytes(16), ListedSecret("a", 1)]])
        index = struct.pack(">257I", 1028, *[1028 + len(section)] * SECTIONS)
        yield ListingBatch(packed=index + section, secrets=1, size=1)


def test_names_that_another_version_staged_are_refused_in_words(world: World) -> None:
    stage = Stage(world.services().stage, key=bytes(32))
    spilled = spill(stage, "run", OfAnotherVersion())
    with pytest.raises(RecordRefused, match="another version"):
        read_range(stage, "run", spilled.chunks, piece=0, pieces=1)


@pytest.mark.parametrize("secrets", [1, 40, 3_000])
def test_a_piece_is_read_from_the_chunks_that_may_have_its_names(
    world: World, monkeypatch: pytest.MonkeyPatch, secrets: int
) -> None:
    """Else a backup of ten times the secrets opens a hundred times the bytes of their list."""
    monkeypatch.setattr(listed_ahead_module, "GATHERED", 32_768 * 16)
    monkeypatch.setattr(layout, "BATCH_ENTRIES", 500)
    source = MemoryStore(made_up(secrets, size=1), name="vault")
    stage = Stage(world.services().stage, key=bytes(32))
    opened: list[str] = []
    really = Stage.open
    monkeypatch.setattr(
        Stage, "open", lambda self, name, **how: opened.append(name) or really(self, name, **how)
    )
    spilled = spill(stage, "run", layout.InProcessListing(source, Selection()))
    pieces = 32
    found = [read_range(stage, "run", spilled.chunks, piece=piece, pieces=pieces) for piece in range(pieces)]
    assert sorted(placed.name for each in found for _, placed in each) == sorted(
        entry.name for entry in source.list()
    )
    assert max(Counter(opened).values()) <= (8 if secrets == 3_000 else pieces)
    assert len(spilled.chunks) == 1 or secrets == 3_000


def test_what_a_piece_opens_and_what_a_run_names_is_the_same_however_long_the_list(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed_ahead_module, "GATHERED", 65_536)
    monkeypatch.setattr(listed_ahead_module, "FINE", 2_048)
    monkeypatch.setattr(listed_ahead_module, "NAMED", 4)
    monkeypatch.setattr(layout, "BATCH_ENTRIES", 500)
    stage = Stage(world.services().stage, key=bytes(32))
    opened: list[int] = []
    really = Stage.open

    def counting(self: Stage, name: str, *, sha256: str, context: bytes) -> bytes:
        content = really(self, name, sha256=sha256, context=context)
        opened.append(len(content))
        return content

    monkeypatch.setattr(Stage, "open", counting)
    most = []
    for secrets in (1_000, 8_000):
        source = MemoryStore(made_up(secrets, size=1), name="vault")
        spilled = spill(stage, str(secrets), layout.InProcessListing(source, Selection()))
        names, sizes, pieces = [], [], secrets // 40
        for piece in range(pieces):
            opened.clear()
            found = read_range(stage, str(secrets), spilled.chunks, piece=piece, pieces=pieces)
            names += [placed.name for _, placed in found]
            sizes.append(sum(opened))
        assert sorted(names) == sorted(entry.name for entry in source.list())
        assert len(spilled.chunks) <= 4
        most.append(sum(sizes) / pieces)
    assert most[1] < 3 * most[0]  # of a list that is 8 times as long


class Stopped(BaseException):
    """What the handler of a signal raises."""


@pytest.fixture
def stopping() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("several_cores", "stopping")
def test_a_signal_while_children_are_forked_stops_the_command_and_not_the_children(
    children: Callable[[], set[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fork = os.fork

    def fork_and_stop() -> int:
        child = fork()
        signal.raise_signal(signal.SIGTERM)
        return child

    monkeypatch.setattr(os, "fork", fork_and_stop)
    with pytest.raises(Stopped), listed_ahead(Parted([MemoryStore(made_up(30))] * 3), Selection()):
        pytest.fail("it went on as if nobody had stopped it")
    assert children() == set()


class Parted(Source):
    """A source in parts."""

    name = "vault"

    def __init__(self, parts: list[MemoryStore]) -> None:
        self._parts = parts
        self.read = parts[0].read
        self.list = parts[0].list

    def parts(self, most: int) -> list[MemoryStore]:
        return self._parts[:most]


def all_children() -> set[int]:
    """Return this process's children, dead ones that nobody waited for included."""
    path = Path("/proc/self/task", str(threading.get_native_id()), "children")
    return {int(child) for child in path.read_text().split()}


@pytest.fixture
def children() -> Callable[[], set[int]]:
    """Return what gives the children that this process has more than before; servers may be among those."""
    before = all_children()
    return lambda: all_children() - before
