"""From the same damage the product and recover.py give the same secrets with the same values."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strongroom.container.cobblestone import name_hash
from strongroom.container.errors import WrongKey
from strongroom.operations.archive.coverage import Asked, BackupPlace
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.archive.select_backup import Chooser
from strongroom.targets.memory import MemoryTarget
from tests.recover.damaged import HELD, NEWEST, OLDER, OLDEST, Damaged, Objects, Piece, key_file, make, value
from tests.recover.test_recover import recover
from tests.vectors import material as m

Damage = Callable[[Damaged], None]
Held = dict[str, str]
PLACES = [
    *(f"{number} {what}" for number in range(4) for what in ("values", "rows")),
    "header", "directory", "index", "envelope", "signature", "length",
]  # fmt: skip


def flip(place: str, number: int, backup: str = NEWEST) -> Damage:
    return lambda made: made.flip(made.pieces[backup][number], place)


def changed(change: Callable[[bytes], bytes | None], number: int, backup: str = NEWEST) -> Damage:
    """Have a container be what a function makes of it, or be gone."""

    def damage(made: Damaged) -> None:
        name = made.pieces[backup][number].name
        content = change(made.objects.pop(name))
        if content is not None:
            made.objects[name] = content

    return damage


WHOLE: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda data: None,
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "larger": lambda data: data + b"\0" * 9,
    "exchanged": lambda data: b"another thing" * 500,
}


def both(*damages: Damage) -> Damage:
    def damage(made: Damaged) -> None:
        for one in damages:
            one(made)

    return damage


CASES: dict[str, Damage] = {
    f"{place} of container {number}": flip(place, number) for place in PLACES for number in (0, 1)
}
CASES |= {f"container {n} {what}": changed(change, n) for what, change in WHOLE.items() for n in (0, 1)}
CASES |= {
    "all containers gone": both(changed(WHOLE["gone"], 0), changed(WHOLE["gone"], 1)),
    "all containers damaged": both(flip("header", 0), flip("index", 1)),
    "a segment of each": both(flip("1 values", 0), flip("2 rows", 1)),
    "two backups in a row": both(flip("1 rows", 0), changed(WHOLE["gone"], 0, OLDER)),
    "two backups in a row, the same names": both(
        changed(WHOLE["gone"], 0), changed(WHOLE["gone"], 1), changed(WHOLE["cut"], 0, OLDER)
    ),
    "values in one and rows in the next": both(
        flip("0 values", 1), flip("0 rows", 0, OLDER), flip("2 values", 1, OLDER)
    ),
    "all three": both(*(changed(WHOLE["gone"], 1, backup) for backup in (NEWEST, OLDER, OLDEST))),
    "nothing left": both(*(changed(WHOLE["gone"], n, b) for n in (0, 1) for b in (NEWEST, OLDER, OLDEST))),
    "an older one alone": flip("0 rows", 0, OLDER),
}


# -- what has to come out, by where each name lies in the sound backups ---------------------


def lost_names(backup: str, made: Damaged) -> Callable[[str], bool]:
    """Return whether a name could have lain in a part of a backup that is lost: from its whole containers."""
    sound = make(rotated=made.rotated)
    opened = [_sound_parts(piece, made.objects.get(piece.name)) for piece in sound.pieces[backup]]
    if not any(parts is not None for parts in opened):
        return lambda name: True
    manifest = json.loads(sound.objects[f"manifests/{backup}.json"].split(b"\n")[1][7:-1])
    key = m.fixed(f"name key of {backup}")

    def is_lost(name: str) -> bool:
        for parts, entry in zip(opened, manifest["containers"], strict=True):
            if entry["first"] <= name_hash(key, name).hex() <= entry["last"]:
                return parts is None or name in parts or any(held(name) for held in parts[None])
        return False

    return is_lost


def _sound_parts(piece: Piece, now: bytes | None) -> Any:
    """Return which names a container lost, or ``None`` if all: names, and under ``None`` segments by rule."""
    if now == piece.data:
        return {None: []}
    at = [number for number, (a, b) in enumerate(zip(piece.data, now or b"", strict=False)) if a != b]
    place = next((name for name, where in piece.places.items() if at == [where]), "")
    if now is None or len(now) != len(piece.data) or not place[:1].isdigit():
        return None
    number, opened = int(place[0]), piece.opened
    if place.endswith("values"):
        return {None: [], **{row.name: True for row in opened.rows_of(number)}}
    return {None: [lambda name: opened.could_have_lain(number, name)]}


def expected(made: Damaged) -> Held:
    found: Held = {}
    wanted: list[Callable[[str], bool]] = []
    for backup in (NEWEST, OLDER, OLDEST):
        is_lost = lost_names(backup, made)
        for name in HELD[backup]:
            if all(newer(name) for newer in wanted) and not is_lost(name):
                found[name] = value(name, backup)
        wanted.append(is_lost)
    return found


# -- the two readers ------------------------------------------------------------------------


def by_the_product(objects: Objects) -> tuple[Held, Salvaged]:
    target = MemoryTarget(name="copy")
    for name, content in objects.items():
        target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
    pins = frozenset({m.INSTALLATION.fingerprint})
    chooser = Chooser([BackupPlace("copy", lambda: target)], trusted=pins)
    choice = chooser.choose(Asked())
    assert choice.manifest.backup_id == NEWEST

    def opened(one: Any) -> Replicated:
        return Replicated(one, [key_file()], trusted=pins, told=chooser.note)

    backup = Salvaged(opened(choice), map(opened, chooser.before(choice.manifest, Asked())))
    found = list(backup.secrets())
    assert len({secret.name for secret in found}) == len(found)
    for secret in found:
        again = backup.find(secret.name)
        assert again is not None
        assert again.current.value == secret.current.value
        assert (backup.backup_of(secret.name) or NEWEST) in str(secret.current.value.reveal())
    assert len(list(backup.some([s.name for s in found]))) == len(found)
    return {s.name: s.current.value.reveal().decode() for s in found}, backup


def by_recover(objects: Objects, folder: Path) -> tuple[Held, Any]:
    for name, content in objects.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    losses = recover.Losses()
    keys = recover.Keys({"keyfile": (m.KEY_FILE,)}, frozenset({m.INSTALLATION.fingerprint}))
    given = Namespace(backup=None, get=None, out=None, policy=None)
    secrets = list(recover.secrets_of(recover.Backup(recover.Store(folder), keys, losses), given))
    held = {s.row["name"]: s.values[-1].decode() for s in secrets}
    assert len(held) == len(secrets)
    return held, losses


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("case", CASES)
def test_both_readers_give_what_is_sound_and_of_the_rest_what_the_backup_before_has(
    case: str, tmp_path: Path
) -> None:
    made = make()
    CASES[case](made)
    product, backup = by_the_product(made.objects)
    program, losses = by_recover(made.objects, tmp_path)
    assert product == program == expected(made)
    says_the_same(backup, losses)
    assert (losses.first is None) == (case == "an older one alone")


def says_the_same(backup: Salvaged, losses: Any) -> None:
    error, lost = backup.error(), backup.lost
    if error is None or lost is None:
        assert (error, lost, losses.first) == (None, None, None)
        return
    assert recover.CODES[losses.first.args[0]] == error.exit_code
    taken = sum(one.secrets for one in lost.taken)
    assert (lost.secrets, taken) == (losses.lost, losses.taken)


@pytest.mark.parametrize("number", [0, 1])
def test_what_a_key_does_not_open_for_want_of_its_envelope_comes_from_the_backup_before(
    number: int, tmp_path: Path
) -> None:
    """Each container has a wrapping key of its own, and one of the envelopes of a rotation is gone."""
    made = make(rotated=True)
    piece = made.pieces[NEWEST][number]
    [envelope] = [name for name in made.objects if name.startswith(f"keys/{piece.wrapping_key}/")]
    del made.objects[envelope]
    product, backup = by_the_product(made.objects)
    program, losses = by_recover(made.objects, tmp_path)
    del made.objects[piece.name]  # of the names it says as much as a container that is gone
    assert product == program == expected(made)
    says_the_same(backup, losses)
    assert losses.first.args[0] == "CannotOpen"


def test_a_key_that_opens_nothing_of_the_newest_is_told_and_no_older_backup_is_handed_out(
    tmp_path: Path,
) -> None:
    made = make(rotated=True)
    for name in [name for name in made.objects if name.startswith("keys/")]:
        if any(piece.wrapping_key in name for piece in made.pieces[NEWEST]):
            del made.objects[name]
    with pytest.raises(WrongKey):
        by_the_product(made.objects)
    held, losses = by_recover(made.objects, tmp_path)
    assert (held, losses.first.args[0]) == ({}, "CannotOpen")
