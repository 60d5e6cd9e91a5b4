"""Whoever may write to a target puts junk there: it costs little, and nothing is read beyond its bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.model import ObjectInfo
from strongroom.operations.archive.catalog import rebuild
from strongroom.operations.archive.coverage import Asked, BackupPlace
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.engine.drive import drive
from strongroom.state.records import RunState
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.reading import ManifestListing
from tests.operations.world import World, make_world, names_on

TERABYTE = 1 << 40
MIB = 1 << 20


class Counting(DirectoryTarget):
    """A directory that counts what is asked of it."""

    listings = 0
    given = 0

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.listings += 1
        return super().list(prefix)

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        for chunk in super().read(name, offset=offset, length=length):
            self.given += len(chunk)
            yield chunk


@pytest.fixture
def place(tmp_path: Path) -> Counting:
    target = Counting(tmp_path / "eu", name="eu", region="eu")
    target.prepare()
    return target


@pytest.fixture
def world(tmp_path: Path, place: Counting) -> World:
    return make_world(tmp_path).with_targets(
        {"eu": place, **{name: MemoryTarget(name=name, region=name) for name in ("us", "ap")}}
    )


def litter(place: Counting, count: int) -> None:
    for number in range(count):
        Path(place.address, "manifests", f"20991231T000000Z-{number:08x}.json").write_text("junk")


def sparse(place: Counting, name: str) -> None:
    """Put a file of a terabyte under a name, which takes no room."""
    path = Path(place.address, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        os.truncate(file.fileno(), TERABYTE)


def test_the_newest_sound_backup_is_found_under_any_number_of_others_by_one_listing(
    world: World, place: Counting
) -> None:
    run = world.back_up()
    litter(place, 300)
    place.listings = 0
    manifest = read_manifest(place, trusted=world.services().signer_fingerprints)
    assert (manifest.backup_id, place.listings) == (run.id, 1)


def test_a_catalog_is_rebuilt_by_one_listing_of_manifests_whatever_lies_among_them(
    world: World, place: Counting
) -> None:
    run = world.back_up()
    litter(place, 300)
    place.listings = 0
    services = world.services()
    done = rebuild(services.store, place, trusted=services.signer_fingerprints)
    assert (done.backups, len(done.refused), place.listings) == ((run.id,), 300, 2)


def test_a_terabyte_where_a_manifest_should_be_is_read_no_further_than_its_first_chunk(
    world: World, place: Counting
) -> None:
    run = world.back_up()
    sparse(place, "manifests/20991231T000000Z-00000000.json")
    place.given = 0
    assert read_manifest(place, trusted=world.services().signer_fingerprints).backup_id == run.id
    assert (len(ManifestListing(place)), place.given < 3 * MIB) == (2, True)


@pytest.mark.parametrize("which", ["manifests/", "containers/"])
def test_a_repair_reads_nothing_beyond_the_size_on_record_and_puts_a_terabyte_right(
    world: World, place: Counting, which: str
) -> None:
    run = world.back_up()
    name = next(name for name in names_on(place) if name.startswith(which))
    sparse(place, name)
    place.given = 0
    services = world.services()
    repair, tickets = submit_repair(services, backup=run.id)
    done = drive(repair, tickets, services, processes=1)
    mended = place.stat(name)
    assert mended is not None
    assert (done.state, mended.size < TERABYTE, place.given < 300 * MIB) == (RunState.DONE, True, True)


def test_marks_that_nobody_asks_for_are_not_read(world: World, place: Counting) -> None:
    run = world.back_up()
    for number in range(300):
        sparse(place, f"quarantine/20991231T000000Z-{number:08x}/00000001.json")
    place.given = 0
    services = world.services()
    found = Chooser([BackupPlace("eu", lambda: place)], trusted=services.signer_fingerprints)
    assert found.choose(Asked()).manifest.backup_id == run.id
    assert place.given < 3 * MIB
