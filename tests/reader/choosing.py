"""Three readers on a target of several backups. ``python -m tests.reader.choosing SEED COUNT`` tries many."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import sys
from argparse import Namespace
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from strongroom.container.segment import encode_secrets
from strongroom.errors import StrongroomError
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Secret
from strongroom.operations.archive.coverage import ASIDE, Asked, BackupPlace
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.archive.select_backup import Chooser
from strongroom.targets.directory import MARKER, DirectoryTarget
from strongroom.targets.memory import MemoryTarget
from tests.reader import reader
from tests.reader.agreeing import try_many
from tests.reader.targets import Placed, Placer
from tests.recover.families import family
from tests.recover.test_recover import recover
from tests.vectors import material as m

NOW = 1_795_996_800.0
"""2026-11-30: after the backups, whatever clock is tested."""
KEY = KeyFileIdentity(m.KEY_FILE)
Row = tuple[bytes, ...]


@dataclass(frozen=True)
class Answer:
    """How a reader ended: the family of the failure, ``LeftAside`` or ``ok``; what it took, what came out."""

    ends: str
    taken: str = ""
    came: tuple[Row, ...] = ()
    missed: bool = False
    """A newer backup is known and not there."""


# -- the product --


def by_product(placed: Placed, place: Path | None) -> Answer:
    taken, missed = "", None
    try:
        chooser = Chooser([BackupPlace("copy", lambda: _target(placed, place))], trusted=placed.pins, now=NOW)
        asked = Asked(backup=placed.wanted)
        choice = chooser.choose(asked)
        taken = choice.manifest.backup_id

        def opened(one: Any) -> Replicated:
            return Replicated(one, [KEY], trusted=chooser.trusted, told=chooser.note)

        backup = Salvaged(opened(choice), map(opened, chooser.before(choice.manifest, asked)))
        missed = None if placed.wanted else chooser.lost(asked, choice.manifest)
        came = tuple(sorted(map(_flat, backup.secrets())))
    except StrongroomError as error:
        return Answer(family(error.code), taken, missed=bool(missed) or error.code == "NewestUnseen")
    newer = [one for one in chooser.passed if one.backup > taken and (not one.policy or ASIDE in one.why)]
    aside = bool(backup.aside or chooser.marks_aside or newer)
    first = backup.error() or (missed and missed.error(None))
    ends = family(first.code) if first else "LeftAside" if aside else "ok"
    return Answer(ends, taken, came, missed=missed is not None)


def _flat(secret: Secret) -> Row:
    return encode_secrets([secret]), *(v.value.reveal() for v in secret.versions if v.value is not None)


def _target(placed: Placed, place: Path | None) -> DirectoryTarget | MemoryTarget:
    if place is not None:
        return DirectoryTarget(place, name="copy", region="eu")
    target = MemoryTarget(name="copy")
    for name, content in placed.objects.items():
        target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
    return target


# -- recover.py --


@dataclass(frozen=True)
class Held(recover.Part):  # type: ignore[misc]
    """An object in memory."""

    content: bytes

    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + max(0, min(length, self.size - offset))]


class InMemory(recover.Store):  # type: ignore[misc]
    """The objects of a target in memory."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(Path())
        self.objects = objects
        for name in sorted(objects):
            parts = name.split("/")
            for depth in range(1, len(parts)):
                folder, below = "/".join(parts[:depth]), "/".join(parts[: depth + 1])
                self.listed.setdefault(folder, {})[below] = depth + 1 < len(parts)

    def list(self, folder: str) -> dict[str, bool]:
        found: dict[str, bool] = self.listed.get(folder, {})
        return found

    def get(self, name: str) -> Held | None:
        content = self.objects.get(name)
        return None if content is None else Held(Path(), 0, len(content), content)


def by_recover(placed: Placed, place: Path | None) -> Answer:
    losses = recover.Losses()
    keys = recover.Keys({"keyfile": (m.KEY_FILE,)}, placed.pins)
    given = Namespace(backup=placed.wanted or None, get=None, out=None, policy=None)
    came: list[Row] = []
    said = io.StringIO()
    with redirect_stderr(said):
        try:
            store = recover.Store(place) if place is not None else InMemory(placed.objects)
            backup = recover.Backup(store, keys, losses)
            came.extend((one.line, *one.values) for one in recover.secrets_of(backup, given))
        except recover.Failure as failure:
            losses.first = losses.first or failure
    text = said.getvalue()
    taken = re.search(r"^backup (\S+) of", text, re.MULTILINE)
    missed = "A newer backup is known, and not here" in f"{text}{losses.first}"
    ends = losses.first.args[0] if losses.first else "LeftAside" if losses.aside else "ok"
    return Answer(ends, taken[1] if taken else "", tuple(sorted(came)), missed=missed)


# -- the third reader, which stops at the first loss --


def by_reader(placed: Placed, place: Path | None) -> Answer:
    keys = reader.Keys(keyfiles=[m.KEY_FILE], pins=placed.pins)
    objects = reader.directory(place) if place is not None else placed.objects
    try:
        whole = reader.whole(objects, keys, placed.wanted or None)
    except reader.RefusedError as error:
        return Answer(family(error.kind), missed=error.kind == "NewestUnseen")
    came = tuple(sorted((one.line, *one.values) for one in whole.secrets))
    return Answer("LeftAside" if whole.aside else "ok", whole.manifest["backup_id"], came)


# -- all three --


def difference(seed: int, scratch: Path) -> str:
    """Return in what the readers differ on the target of a seed; empty if in nothing."""
    placed = Placer(seed).place()
    place = _on_disk(placed, scratch) if placed.links else None
    product, program, third = (read(placed, place) for read in (by_product, by_recover, by_reader))
    told = _differs(placed, product, program, third)
    if not told:
        return ""
    ends = [
        f"{one.ends} {one.taken} {len(one.came)}{' missed' * one.missed}" for one in (product, program, third)
    ]
    return f"seed {seed}: {told}: {ends}: {placed.said} {placed.links} {placed.wanted}"


def _differs(placed: Placed, product: Answer, program: Answer, third: Answer) -> str:
    if product.ends != program.ends or product.missed != program.missed:
        return "they end otherwise"
    if third.missed != product.missed or (not third.missed and third.ends != product.ends):
        return "the third ends otherwise"
    if product.came != program.came:
        return "other secrets come out"
    if product.came and product.taken != program.taken:
        return "another backup is taken"
    if third.came and (third.taken, third.came) != (product.taken, product.came):
        return "the third gives others"
    genuine = {_flat(secret) for one in placed.world.contents.values() for secret in one}
    return "" if genuine.issuperset(product.came) else "what nobody made came out"


def _on_disk(placed: Placed, scratch: Path) -> Path:
    """Write a target, with a link in place of what is named: it leads to the same, elsewhere."""
    here, there = scratch.with_name("target"), scratch.with_name("elsewhere")
    for folder in (here, there):
        rmtree(folder, ignore_errors=True)
        folder.mkdir()
    (here / MARKER).touch()
    for name, content in placed.objects.items():
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in placed.links:
        (here / name).rename(there / "moved")
        (here / name).symlink_to(there / "moved")
    return here


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # the links that are met
    sys.exit(try_many("targets", difference))
