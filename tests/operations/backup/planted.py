"""Damage of each kind, planted in one replica."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from strongroom.container.manifest import Manifest
from strongroom.operations.archive.envelopes import envelope_name, find_newest, wrapping_keys
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.engine.layout import container_name, manifest_name
from strongroom.targets import Target


class Vandal:
    """Somebody who may write to a target, through what every target can do."""

    def remove(self, target: Target, name: str) -> None:
        target.delete(name)

    def overwrite(self, target: Target, name: str, content: bytes) -> None:
        target.delete(name)
        assert target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


class Planted(NamedTuple):
    """A replica to damage: its target, its backup, an older backup of the same policy, and by whom."""

    target: Target
    backup: str
    older: str
    vandal: Vandal = Vandal()

    def overwrite(self, name: str, content: bytes) -> None:
        self.vandal.overwrite(self.target, name, content)

    def remove(self, name: str) -> None:
        self.vandal.remove(self.target, name)

    def read(self, name: str) -> bytes:
        return b"".join(self.target.read(name))

    def container(self, piece: int = 0) -> str:
        return container_name(self.backup, self.manifest().containers[piece].sha256)

    def manifest(self) -> Manifest:
        return read_manifest(self.target, self.backup, trusted=None)


def flip_a_bit(at: Planted) -> None:
    content = bytearray(at.read(at.container()))
    content[len(content) // 2] ^= 1
    at.overwrite(at.container(), bytes(content))


def cut(at: Planted) -> None:
    at.overwrite(at.container(), at.read(at.container())[:-1])


def delete_a_container(at: Planted) -> None:
    at.remove(at.container())


def delete_the_manifest(at: Planted) -> None:
    at.remove(manifest_name(at.backup))


def delete_all_of_it(at: Planted) -> None:
    names = [at.container(entry.piece) for entry in at.manifest().containers]
    for name in (*names, manifest_name(at.backup)):
        at.remove(name)


def change_the_manifest(at: Planted) -> None:
    content = bytearray(at.read(manifest_name(at.backup)))
    content[len(content) // 2] ^= 1
    at.overwrite(manifest_name(at.backup), bytes(content))


def roll_back(at: Planted) -> None:
    """Put the older backup's manifest, which is soundly signed, in the newer one's place."""
    at.overwrite(manifest_name(at.backup), at.read(manifest_name(at.older)))


def swap_containers(at: Planted) -> None:
    first, second = at.container(0), at.container(1)
    was = at.read(first)
    at.overwrite(first, at.read(second))
    at.overwrite(second, was)


def put_another_backups_container(at: Planted) -> None:
    other = Planted(at.target, at.older, at.older).container()
    at.overwrite(at.container(), at.read(other))


def strip_the_envelope(at: Planted) -> None:
    """Take the newest envelope away: the keys that were rotated away open the replica again."""
    for key in wrapping_keys(at.manifest()):
        newest = find_newest(at.target, key, trusted=None).newest
        assert newest is not None
        at.remove(envelope_name(key, newest.generation))


KINDS: Mapping[str, tuple[Callable[[Planted], None], str]] = {
    "bit": (flip_a_bit, "Tampered"),
    "cut": (cut, "MissingPiece|Truncated"),
    "deletion of a container": (delete_a_container, "MissingPiece"),
    "deletion of the manifest": (delete_the_manifest, "MissingPiece"),
    "deletion of the replica": (delete_all_of_it, "MissingPiece"),
    "changed manifest": (change_the_manifest, "Tampered"),
    "rollback": (roll_back, "Tampered"),
    "swapped containers": (swap_containers, "Tampered|Truncated|MissingPiece"),
    "container of another backup": (put_another_backups_container, "Tampered|Truncated|MissingPiece"),
    "stripped envelope": (strip_the_envelope, "Stale"),
}
"""Each kind of damage, and the class of what is found (a pattern)."""
