"""Wrapping keys: one a run, any recipient opens, nobody adds another."""

from __future__ import annotations

import msgspec
import pytest

from strongroom.container.errors import Malformed, Stale, Tampered, UntrustedSigner, WrongKey
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container
from strongroom.container.wrapping import (
    Stanza,
    WrappingKey,
    WrappingKeyRecord,
    open_detached,
    unlock,
    write_detached,
)
from strongroom.errors import KeyServiceError, UsageError
from strongroom.keys.errors import KeyDenied, KeyServiceUnavailable
from tests.container.parts import KEY, OTHER, RECOVER, TRUSTED, RawKey, sealed, secret

FILE_ID = bytes(32)


def test_a_file_key_opens_through_any_recipient() -> None:
    key = WrappingKey.create([KEY, OTHER])
    wrap = key.wrap_file_key(bytes(range(32)), FILE_ID)
    for identity in (KEY, OTHER):
        assert unlock(key.record, [identity]).unwrap_file_key(wrap, FILE_ID) == bytes(range(32))


def test_a_file_key_is_bound_to_its_file() -> None:
    key = WrappingKey.create([KEY])
    wrap = key.wrap_file_key(bytes(32), FILE_ID)
    with pytest.raises(Tampered):
        key.unwrap_file_key(wrap, bytes([1]) * 32)


def test_wrapping_the_same_file_key_twice_repeats_no_byte() -> None:
    key = WrappingKey.create([KEY])
    first, second = (key.wrap_file_key(bytes(32), FILE_ID) for _ in range(2))
    assert first.salt != second.salt
    assert first.wrapped != second.wrapped


def test_recipients_are_asked_once_however_many_containers_there_are() -> None:
    asked = []

    class Slow(RawKey):
        def wrap(self, key: bytes, *, context: bytes) -> Stanza:
            asked.append(context)
            return super().wrap(key, context=context)

    key = WrappingKey.create([Slow(bytes(32))])
    for _ in range(5):
        sealed([secret("a")], wrapping_key=key)
    assert len(asked) == 1


class Kept(RawKey):
    """A key whose key service has a problem."""

    def __init__(self, key: bytes, problem: KeyServiceError) -> None:
        super().__init__(key)
        self.problem = problem

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:  # noqa: ARG002
        raise self.problem


AWAY = Kept(bytes(32), KeyServiceUnavailable("it does not answer"))
DENIED = Kept(bytes(32), KeyDenied("it may not be used"))


def test_a_key_that_is_away_or_refused_is_left_out_and_named_where_that_is_allowed() -> None:
    key = WrappingKey.create([AWAY, DENIED, KEY], may_lack=True)

    assert key.absent == (AWAY.label, DENIED.label)
    assert [stanza.label for stanza in key.record.stanzas] == [KEY.label]
    assert unlock(key.record, [KEY]).id == key.id
    assert WrappingKey.create([KEY, OTHER], may_lack=True).absent == ()


def test_a_key_is_missed_where_that_is_not_allowed_or_nobody_is_left() -> None:
    for recipients, may_lack in (([AWAY, KEY], False), ([AWAY], True), ([AWAY, AWAY], True)):
        with pytest.raises(KeyServiceUnavailable):
            WrappingKey.create(recipients, may_lack=may_lack)
    with pytest.raises(KeyDenied):
        WrappingKey.create([DENIED, KEY])
    with pytest.raises(KeyServiceUnavailable):
        WrappingKey.create([KEY]).rewrap([AWAY, KEY])


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 2},
        {"stanzas": ()},
        {"mac": "00" * 32},
        {"id": "00" * 16},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_edited_record_is_refused(change: dict[str, object]) -> None:
    record = WrappingKey.create([KEY]).record
    with pytest.raises((Tampered, Malformed, WrongKey)):
        unlock(msgspec.structs.replace(record, **change), [KEY])


def test_a_recipient_added_by_somebody_without_the_key_is_refused() -> None:
    record = WrappingKey.create([KEY]).record
    extra = Stanza(type="raw", label="attacker", args={"nonce": "00", "wrapped": "00"})
    with pytest.raises(Tampered, match="recipients"):
        unlock(msgspec.structs.replace(record, stanzas=(*record.stanzas, extra)), [KEY])


@pytest.mark.parametrize("label", ["\x1b[2Jgone", "a" * 129, "two\nlines", "\u202egnp.exe"])
def test_a_label_that_could_fool_a_terminal_is_refused(label: str) -> None:
    record = WrappingKey.create([KEY]).record
    stanza = Stanza(type="raw", label=label, args={})
    with pytest.raises(Malformed, match="label"):
        msgspec.structs.replace(record, stanzas=(stanza,)).check()


def test_sealing_for_nobody_or_for_too_many_is_refused() -> None:
    with pytest.raises(UsageError):
        WrappingKey.create([])
    with pytest.raises(UsageError):
        WrappingKey.create([KEY] * 65)


def test_after_rotation_only_the_new_recipient_opens_and_no_byte_of_the_container_changed() -> None:
    key = WrappingKey.create([KEY])
    data, _ = sealed([secret("a")], wrapping_key=key)
    newer = open_detached(write_detached(key.rewrap([OTHER]).record, RECOVER), trusted=TRUSTED).record
    reader = BytesReader(data)
    assert Container.open(reader, [OTHER], newer=newer, trusted=TRUSTED).find("a") == secret("a")
    with pytest.raises(WrongKey):
        Container.open(reader, [KEY], newer=newer, trusted=TRUSTED)


def test_an_unlocked_key_can_be_wrapped_again_and_again() -> None:
    record = WrappingKey.create([KEY]).record
    for generation in (2, 3, 4):
        record = unlock(record, [KEY]).rewrap([KEY, OTHER]).record
        assert record.generation == generation


def test_an_older_envelope_does_not_pass_for_a_newer_one() -> None:
    key = WrappingKey.create([KEY])
    data, _ = sealed([secret("a")], wrapping_key=key)
    with pytest.raises(Stale):
        Container.open(BytesReader(data), [KEY], newer=key.record, trusted=TRUSTED)
    foreign = WrappingKey.create([KEY]).rewrap([KEY]).record
    with pytest.raises(Tampered, match="another wrapping key"):
        Container.open(BytesReader(data), [KEY], newer=foreign, trusted=TRUSTED)


def test_a_detached_envelope_of_an_unknown_signer_is_refused() -> None:
    data = write_detached(WrappingKey.create([KEY]).record, RECOVER)
    with pytest.raises(UntrustedSigner):
        open_detached(data, trusted=frozenset())


def test_a_detached_envelope_is_encoded_identically_when_read_and_written_again() -> None:
    record = WrappingKey.create([KEY, OTHER]).record
    data = write_detached(record, RECOVER)
    again: WrappingKeyRecord = open_detached(data, trusted=None).record
    assert again == record
    assert write_detached(again, RECOVER) == data
