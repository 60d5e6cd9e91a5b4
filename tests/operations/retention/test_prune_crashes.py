"""A prune dies at every point where it touches anything outside itself, one at a time.

Whatever the point, what is kept opens from every target at any time, nothing half of a backup is visible, and
whoever prunes next ends with all that was said to go gone, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from strongroom.operations.engine.drive import drive
from strongroom.operations.retention.prune import submit_prune
from strongroom.state.records import RunState
from strongroom.targets.reading import ManifestListing
from tests.operations.backup.test_crashes import Crash, Fuse, with_fuse
from tests.operations.retention.pruning import Stocked, about, opens, prune, stock
from tests.operations.world import World
from tests.seed import drawn


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Stocked:
    """Return two backups of which one is marked, and its grace is over."""
    found = stock(tmp_path_factory.mktemp("marked"))
    assert prune(found.world.services()).state is RunState.DONE
    return found


def crashed(marked: Stocked, folder: Path, *, after: bool, every: int) -> Iterator[tuple[Stocked, str]]:
    """Run a prune into a crash at one call, a later one and so on, until none is left."""
    for number in count(drawn("crash").randint(1, every), every):
        found = marked.copied(folder / str(number))
        fuse = Fuse(number, after=after)
        run, tickets = submit_prune(found.world.services())
        try:
            drive(run, tickets, with_fuse(found.world.services(), fuse), processes=1)
        except Crash:
            yield found, run
        if not fuse.burnt:
            return


def check_harmless(found: Stocked) -> None:
    for target in found.world.targets.values():
        assert opens(found.world, target, found.new)
        if found.old in ManifestListing(target):
            assert opens(found.world, target, found.old)


def check_gone(found: Stocked, world: World) -> None:
    for target in world.targets.values():
        assert about(target, found.old) == []
        assert opens(world, target, found.new)
    services = world.services()
    assert services.store.backup(found.old) is None
    assert services.store.backup(found.new) is not None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("every", [41, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("after", [False, True], ids=["before-the-call", "after-the-call"])
@pytest.mark.parametrize("resumed", [True, False], ids=["resumed", "by-the-next-one"])
def test_a_crash_at_any_call_loses_nothing_that_is_needed_and_nothing_is_left(
    marked: Stocked, tmp_path: Path, *, after: bool, every: int, resumed: bool
) -> None:
    points = 0
    for found, run in crashed(marked, tmp_path, after=after, every=every):
        points += 1
        check_harmless(found)
        world = found.world
        if resumed:
            ended = drive(run, [], world.services(), processes=1)
            assert ended.state is RunState.DONE, ended.error
        else:  # another host, which has a record of its own and never heard of that run
            world = replace(world, database=marked.copied(tmp_path / f"other{points}").world.database)
            assert prune(world.services()).state is RunState.DONE
        check_gone(found, world)
    assert points > 100 // every
