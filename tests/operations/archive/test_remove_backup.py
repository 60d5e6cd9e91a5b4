"""Removing a backup: the indexes that tell its names go with it, or with the last that they tell of."""

from __future__ import annotations

from hashlib import sha256

import pytest

from strongroom.operations.archive.removal import remove_backup
from strongroom.operations.engine.layout import INDEXES, container_name, index_name, manifest_name
from strongroom.targets.memory import MemoryTarget

NIGHTS = ("night-1", "night-2", "night-3")


def put(target: MemoryTarget, name: str) -> None:
    target.put(name, [b"x"], size=1, sha256=sha256(b"x").digest())


@pytest.fixture
def target() -> MemoryTarget:
    """Return a target with three backups, of which the first two are told in one chain of indexes."""
    target = MemoryTarget(name="eu", region="eu")
    for night in NIGHTS:
        put(target, manifest_name(night))
        put(target, container_name(night, "0" * 64))
        put(target, index_name("night-3" if night == "night-3" else "night-1", night, "1" * 64))
    return target


def chains(target: MemoryTarget) -> set[str]:
    return {info.name.split("/")[1] for info in target.list(INDEXES)}


def test_a_chain_of_indexes_stays_while_a_backup_is_there_that_it_tells_of(target: MemoryTarget) -> None:
    remove_backup(target, "night-1", (), trusted=frozenset())
    assert chains(target) == {"night-1", "night-3"}
    assert len(list(target.list(f"{INDEXES}night-1/"))) == 2, "the second cannot be read without the first"


def test_a_chain_goes_with_the_last_backup_that_it_tells_of(target: MemoryTarget) -> None:
    remove_backup(target, "night-1", (), trusted=frozenset())
    removed = remove_backup(target, "night-2", (), trusted=frozenset())
    assert chains(target) == {"night-3"}
    assert (removed.deleted, removed.left) == (4, 0), "a manifest, a container and two indexes"


def test_where_the_names_are_to_be_forgotten_the_whole_chain_goes_at_once(target: MemoryTarget) -> None:
    remove_backup(target, "night-2", (), trusted=frozenset(), forget_names=True)
    assert chains(target) == {"night-3"}
    assert [info.name for info in target.list("manifests/")] == [
        manifest_name("night-1"),
        manifest_name("night-3"),
    ]


def test_a_copy_of_a_manifest_beside_a_damaged_one_keeps_its_chain(target: MemoryTarget) -> None:
    target.delete(manifest_name("night-2"))
    put(target, f"{manifest_name('night-2')}.r1")
    remove_backup(target, "night-1", (), trusted=frozenset())
    assert "night-1" in chains(target)


def test_junk_among_the_indexes_is_let_be(target: MemoryTarget) -> None:
    put(target, f"{INDEXES}junk")
    remove_backup(target, "night-1", (), trusted=frozenset())
    assert [info.name for info in target.list(f"{INDEXES}junk")] == [f"{INDEXES}junk"]
