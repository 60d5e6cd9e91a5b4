"""Rotation without moving a payload byte: what it writes, what then opens, what may go wrong."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from strongroom.container.errors import Stale, Tampered, Truncated, WrongKey
from strongroom.container.reader import read_outer
from strongroom.container.wrapping import WrappingKey, write_detached
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.passphrase import PassphraseIdentity, PassphraseRecipient
from strongroom.operations.archive.envelopes import envelope_name, find_all, find_newest, wrapping_keys
from strongroom.operations.archive.open import Backup, ObjectReader, carried_record
from strongroom.operations.engine.layout import container_name
from strongroom.operations.rotation.rewrap import KeyRotated, rewrap_backup
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.certified import certified
from tests.operations.rotation.rotating import CountingTarget, Rotated
from tests.operations.world import names_on


@pytest.fixture
def at(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


def rotate(at: Rotated, backup: str, **changed: object) -> list[KeyRotated]:
    return list(rewrap_backup(at.manifest(backup), at.all_targets(), at.rotation(**changed)))


def put(target: Target, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def overwrite(target: Target, name: str, content: bytes) -> None:
    assert isinstance(target, MemoryTarget)
    target._objects[name] = content


def test_afterwards_the_new_key_opens_every_replica_and_the_old_one_none(at: Rotated) -> None:
    backup = at.back_up()
    (key,) = rotate(at, backup)
    assert (key.generation, key.made, key.placed) == (2, True, ("eu", "us", "ap"))
    assert key.now == ("keyfile (new)",)
    assert key.opened_by == (at.new.describe(),)
    for target in at.all_targets():
        assert at.opened(backup, target, at.new) == 30
        with pytest.raises(WrongKey):
            at.opened(backup, target, at.old)


def test_the_record_of_a_damaged_container_is_had_from_its_repair(at: Rotated) -> None:
    backup, target = at.back_up(), at.world.targets["eu"]
    (entry,) = wrapping_keys(at.manifest(backup)).values()
    name = container_name(backup, entry.sha256)
    whole = b"".join(target.read(name))
    good = carried_record(target, backup, entry)

    overwrite(target, name, whole[:-200] + bytes(200))
    with pytest.raises(Truncated):
        carried_record(target, backup, entry)
    put(target, f"{name}.r1", whole)
    assert carried_record(target, backup, entry) == good
    target.delete(name)
    assert carried_record(target, backup, entry) == good


def test_another_container_in_the_place_of_one_does_not_hide_its_repair(at: Rotated) -> None:
    backup, other, target = at.back_up(), at.back_up(), at.world.targets["eu"]
    (entry,), (wrong,) = (wrapping_keys(at.manifest(one)).values() for one in (backup, other))
    name = container_name(backup, entry.sha256)
    whole = b"".join(target.read(name))
    good = carried_record(target, backup, entry)

    overwrite(target, name, b"".join(target.read(container_name(other, wrong.sha256))))
    with pytest.raises(Tampered, match="another signature"):
        carried_record(target, backup, entry)
    put(target, f"{name}.r1", whole)
    assert carried_record(target, backup, entry) == good


def payload_read(at: Rotated, backup: str) -> int:
    """Count the bytes of segments that were read, from what each container says of itself."""
    touched = 0
    for target in at.counting():
        spans, segments = list(target.spans), {}
        for entry in at.manifest(backup).containers:
            name = container_name(backup, entry.sha256)
            outer = read_outer(ObjectReader(target, name), trusted=None)
            segments[name] = (80, outer.trailer.start)
        for name, start, end in spans:
            low, high = segments.get(name, (0, 0))
            touched += max(0, min(end, high) - max(start, low))
    return touched


def test_no_payload_byte_is_read_or_written(at: Rotated) -> None:
    backup = at.back_up()
    for target in at.counting():
        target.forget()
    rotate(at, backup)
    assert [dict(target.written).keys() for target in at.counting()] == [{"keys"}] * 3
    assert sum(len(target.spans) for target in at.counting()) > 0
    assert payload_read(at, backup) == 0


def test_one_key_operation_a_wrapping_key_and_recipient(at: Rotated) -> None:
    backup = at.back_up()
    assert len(at.manifest(backup).containers) >= 3
    assert len(wrapping_keys(at.manifest(backup))) == 1
    rotate(at, backup)
    assert (at.recipient.wraps, at.new.opened) == (1, 1)


def test_a_second_time_changes_nothing_and_calls_no_recipient(at: Rotated) -> None:
    backup = at.back_up()
    rotate(at, backup)
    before = {target.name: names_on(target) for target in at.all_targets()}
    (again,) = rotate(at, backup)
    assert (again.made, again.generation, at.recipient.wraps) == (False, 2, 1)
    assert {target.name: names_on(target) for target in at.all_targets()} == before


def test_the_older_envelope_goes_once_the_new_one_was_opened(at: Rotated) -> None:
    backup = at.back_up()
    rotate(at, backup)
    third = KeyFileIdentity(os.urandom(32))
    (key,) = rotate(at, backup, recipients=(third.recipient(),), identities=(at.new, third))
    assert (key.generation, key.removed) == (3, 3)
    assert [name for name in names_on(at.world.targets["eu"]) if name.startswith("keys/")] == [
        envelope_name(key.key, 3)
    ]


def test_the_older_envelope_stays_while_nobody_could_open_the_new_one(at: Rotated) -> None:
    backup = at.back_up()
    rotate(at, backup)
    offline = KeyFileIdentity(os.urandom(32))
    (key,) = rotate(at, backup, recipients=(offline.recipient(),), identities=(at.new,))
    assert (key.generation, key.opened_by, key.removed) == (3, (), 0)
    assert envelope_name(key.key, 2) in names_on(at.world.targets["eu"])


class Dead(CountingTarget):
    """A region that does not answer."""

    dead = False

    def list(self, prefix: str = ""):  # type: ignore[no-untyped-def]
        if self.dead:
            raise TargetUnavailable(f"{self.name} does not answer")
        return super().list(prefix)


def test_a_target_that_is_away_is_named_and_brought_up_by_a_rerun(at: Rotated) -> None:
    us = Dead("us")
    at.world.targets["us"] = us  # type: ignore[index]
    backup = at.back_up()
    us.dead = True
    (key,) = rotate(at, backup)
    assert key.placed == ("eu", "ap")
    assert key.missed == {"us": "TargetUnavailable: us does not answer"}
    us.dead = False
    (again,) = rotate(at, backup)
    assert (again.made, again.generation, again.placed) == (False, 2, ("eu", "us", "ap"))
    assert at.opened(backup, us, at.new) == 30


def test_what_is_away_everywhere_is_an_error_that_may_pass(at: Rotated) -> None:
    backup = at.back_up()
    manifest = at.manifest(backup)
    dead = [Dead(name) for name in at.world.targets]
    for target in dead:
        target.dead = True
    with pytest.raises(TargetUnavailable):
        list(rewrap_backup(manifest, dead, at.rotation()))


def test_without_the_old_key_nothing_is_written(at: Rotated) -> None:
    backup = at.back_up()
    with pytest.raises(WrongKey):
        rotate(at, backup, identities=(at.new,))
    assert not [name for name in names_on(at.world.targets["eu"]) if name.startswith("keys/")]


def test_a_passphrase_is_a_recipient_like_any_other(at: Rotated) -> None:
    backup = at.back_up()
    words = [f"CANARY six words number {number}" for number in (1, 2)]
    sealing = [PassphraseRecipient(one, label=one[-1], iterations=100_000) for one in words]
    opening = [PassphraseIdentity(one) for one in words]
    rotate(at, backup, recipients=(sealing[0],), identities=(at.old, opening[0]))
    (key,) = rotate(at, backup, recipients=(sealing[1],), identities=opening)
    assert (key.made, key.generation) == (True, 3)
    assert at.opened(backup, at.world.targets["eu"], opening[1]) == 30


# -- what others put there -----------------------------------------------------


def key_of(at: Rotated, backup: str) -> str:
    return next(iter(wrapping_keys(at.manifest(backup))))


def envelope_of(at: Rotated, key: str, generation: int) -> bytes:
    return b"".join(at.world.targets["eu"].read(envelope_name(key, generation)))


def test_what_a_stranger_signed_neither_opens_nor_blocks(at: Rotated) -> None:
    backup, stranger = at.back_up(), KeyFileIdentity(os.urandom(32))
    forged = WrappingKey.create([stranger.recipient()]).record
    key = key_of(at, backup)
    renamed = type(forged)(id=key, generation=7, stanzas=forged.stanzas, mac=forged.mac)
    put(at.world.targets["eu"], envelope_name(key, 7), write_detached(renamed, certified("recover")))
    put(at.world.targets["eu"], envelope_name(key, 99_999_999), b"junk")
    assert at.opened(backup, at.world.targets["eu"], at.old) == 30
    (rotated,) = rotate(at, backup)
    assert rotated.generation == 2
    assert at.opened(backup, at.world.targets["eu"], at.new) == 30
    assert {one.code for one in find_all(at.world.targets["eu"], key, trusted=at.trusted).aside} == {
        "UntrustedSigner",
        "NotABackup",
    }


def test_a_generation_whose_name_is_taken_by_junk_is_stepped_over(at: Rotated) -> None:
    backup = at.back_up()
    put(at.world.targets["us"], envelope_name(key_of(at, backup), 2), b"junk")
    (rotated,) = rotate(at, backup)
    assert (rotated.generation, rotated.placed) == (3, ("eu", "us", "ap"))


def test_a_copied_name_of_a_key_is_not_taken_for_another_rotations_work(at: Rotated) -> None:
    """Fingerprints are public: an envelope that names the wanted recipients but was made
    without the wrapping key must not be adopted and signed."""
    backup = at.back_up()
    key, other = key_of(at, backup), WrappingKey.create([at.recipient]).record
    forged = type(other)(id=key, generation=2, stanzas=other.stanzas, mac=other.mac)
    overwrite(at.world.targets["eu"], envelope_name(key, 2), write_detached(forged, certified("recover")))
    (rotated,) = rotate(at, backup)
    assert rotated.generation == 3
    assert at.opened(backup, at.world.targets["eu"], at.new) == 30


def test_an_older_envelope_in_the_place_of_a_newer_is_stale(at: Rotated) -> None:
    backup = at.back_up()
    rotate(at, backup)
    key, third = key_of(at, backup), KeyFileIdentity(os.urandom(32))
    older = envelope_of(at, key, 2)
    rotate(at, backup, recipients=(third.recipient(),), identities=(at.new,))
    overwrite(at.world.targets["eu"], envelope_name(key, 3), older)
    found = find_newest(at.world.targets["eu"], key, trusted=at.trusted)
    assert [(one.code, one.name) for one in found.aside] == [("Stale", envelope_name(key, 3))]


def test_a_generation_older_than_one_known_from_elsewhere_is_stale(at: Rotated) -> None:
    backup = at.back_up()
    rotate(at, backup)
    at.world.targets["us"].delete(envelope_name(key_of(at, backup), 2))
    found = Backup(
        at.world.targets["us"], at.manifest(backup), [at.old], trusted=at.trusted, known=lambda _: 2
    )
    with pytest.raises(Stale):
        list(found.secrets())


def test_two_rotations_at_once_end_in_one_envelope(at: Rotated) -> None:
    """The second looks before the first has written, and writes after it."""
    backup = at.back_up()
    second = rewrap_backup(at.manifest(backup), at.all_targets(), at.rotation(pace=lambda: None))

    eu = at.world.targets["eu"]
    assert isinstance(eu, CountingTarget)
    real, raced = eu.put, []

    def racing(name: str, chunks, *, size: int, sha256: bytes) -> bool:  # type: ignore[no-untyped-def]
        if name.startswith("keys/") and not raced:
            raced.append(True)
            rotate(at, backup)
        return real(name, chunks, size=size, sha256=sha256)

    eu.put = racing  # type: ignore[method-assign]
    (key,) = list(second)
    assert (key.generation, key.made, raced) == (2, True, [True])
    assert len({b"".join(t.read(envelope_name(key.key, 2))) for t in at.all_targets()}) == 1
    assert at.opened(backup, eu, at.new) == 30


def test_two_rotations_to_different_keys_lose_nothing(at: Rotated) -> None:
    backup, third = at.back_up(), KeyFileIdentity(os.urandom(32))
    eu = at.world.targets["eu"]
    assert isinstance(eu, CountingTarget)
    real, raced = eu.put, []

    def racing(name: str, chunks, *, size: int, sha256: bytes) -> bool:  # type: ignore[no-untyped-def]
        if name.startswith("keys/") and not raced:
            raced.append(True)
            rotate(at, backup, recipients=(third.recipient(),), identities=(at.old, third))
        return real(name, chunks, size=size, sha256=sha256)

    eu.put = racing  # type: ignore[method-assign]
    (key,) = rotate(at, backup)
    assert key.generation == 3
    assert [at.opened(backup, target, at.new) for target in at.all_targets()] == [30] * 3
