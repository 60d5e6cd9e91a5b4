"""Listing ahead of the plan, in a child process: the same names, and nothing rests on the child."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.container.bundle import BundleReader
from strongroom.errors import EmptySource, SourceError
from strongroom.model import Entry, Selection
from strongroom.operations.backup_file import backup_to_file
from strongroom.operations.forking import may_fork
from strongroom.operations.listed_ahead import Ahead, listed_ahead
from strongroom.operations.listing import Listing, ListingLost, sections
from strongroom.operations.open import open_backup
from strongroom.sources import Source
from strongroom.sources.files import open_files
from strongroom.sources.memory import MemoryStore
from strongroom.targets.directory import DirectoryTarget
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


class Elsewhere:
    """A source that behaves differently in another process than the one that made it."""

    name = "vault"

    def __init__(self, held: Source, failure: BaseException | int) -> None:
        self._held = held
        self._home = os.getpid()
        self._failure = failure
        self.read = held.read

    def list(self, *, with_tags: bool = False) -> Iterator[Entry]:
        for number, entry in enumerate(self._held.list(with_tags=with_tags)):
            yield entry
            if number == 10 and os.getpid() != self._home:
                self._fail()

    def _fail(self) -> None:
        if isinstance(self._failure, BaseException):
            raise self._failure
        os.kill(os.getpid(), self._failure)


def names_in(listing: Listing) -> list[str]:
    found = [section for batch in listing.batches() for section in sections(batch.packed)]
    return sorted(entry.name for section in found for entry in section.entries)


def backed_up(world: World, source: Source, path: Path, ahead: Listing | None) -> list[str]:
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


def test_what_several_children_list_is_all_there() -> None:
    held = made_up(50)
    ahead = Ahead([MemoryStore(held[:10]), MemoryStore(), MemoryStore(held[10:])], Selection())
    try:
        assert names_in(ahead) == [f"app/{number:04}" for number in range(50)]
    finally:
        ahead.close()


def test_a_listing_is_lost_with_any_of_its_children() -> None:
    broken = Elsewhere(MemoryStore(made_up(30)), SourceError("only a child raises this"))
    ahead = Ahead([MemoryStore(made_up(30)), broken], Selection())
    try:
        with pytest.raises(ListingLost):
            names_in(ahead)
    finally:
        ahead.close()


def test_a_source_that_cannot_be_reached_is_not_listed_ahead(tmp_path: Path) -> None:
    with listed_ahead(open_files(tmp_path / "missing.jsonl"), Selection()) as ahead:
        assert ahead is None


def test_the_children_are_gone_when_the_block_ends_even_if_nobody_read_what_they_listed() -> None:
    source = MemoryStore(made_up(2_000))
    ahead = Ahead([source, source], Selection())
    children = [child.process for child in ahead._children]
    ahead.close()
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
