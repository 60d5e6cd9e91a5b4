"""What goes into a container comes out again, for the right people only."""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
import string
import tracemalloc
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.container import layout, segment, writer
from strongroom.container.cobblestone import keyed_hash, name_hash, value_digester
from strongroom.container.errors import (
    DuplicateSecret,
    Malformed,
    SecretTooLarge,
    Tampered,
    UntrustedSigner,
    VerificationFailed,
    WrongKey,
)
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container
from strongroom.container.segment import bare, decode_rows, encode_secrets
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import (
    SEGMENT_COLUMNS,
    SEGMENT_SECRETS,
    SEGMENT_VALUES,
    check_sealed,
    scrub,
    write_container,
)
from strongroom.errors import SourceError, UsageError
from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion, VersionState
from tests.container.parts import (
    DIGEST_KEY,
    INSTALLATION,
    KEY,
    NAME_KEY,
    OTHER,
    SIGNER,
    TRUSTED,
    hashed,
    sealed,
    secret,
)
from tests.container.parts import about as about_

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.none() | text
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def versions(draw: st.DrawFn) -> tuple[SecretVersion, ...]:
    numbers = sorted(draw(st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=4)))
    return tuple(
        SecretVersion(
            number=number,
            value=draw(st.none() | st.binary(max_size=40).map(SecretBytes)),
            media=draw(st.sampled_from(Media)),
            state=draw(st.sampled_from(VersionState)),
            created_at=draw(times),
        )
        for number in numbers
    )


secrets_ = st.lists(
    st.builds(
        Secret,
        name=text,
        versions=versions(),
        type=text,
        tags=st.dictionaries(text, text, max_size=3),
        created_at=times,
        updated_at=times,
        expires_at=times,
        rotation=st.none() | st.builds(RotationSchedule, days=st.integers(0, 999), enabled=st.booleans()),
        metadata=st.dictionaries(text, json_values, max_size=3),
    ),
    max_size=6,
    unique_by=lambda s: s.name,
)


def opened(data: bytes, *, key: object = KEY) -> Container:
    return Container.open(BytesReader(data), [key], trusted=TRUSTED)  # type: ignore[list-item]


@given(secrets_)
@settings(max_examples=60)
def test_any_secrets_come_out_as_they_went_in(secrets: list[Secret]) -> None:
    data, record = sealed(secrets)
    check_sealed(BytesReader(data), record)
    container = opened(data)
    assert list(container.hashed()) == hashed(secrets)
    assert list(container.secrets()) == sorted(secrets, key=lambda s: s.name)
    assert [row.name for row in container.rows()] == sorted(s.name for s in secrets)
    assert (record.secrets, record.size) == (len(secrets), len(data))
    assert record.sha256 == scrub(BytesReader(data)).sha256
    for each in secrets:
        assert container.find(each.name) == each


@given(secrets_, st.integers(1, 3))
@settings(max_examples=40)
def test_wherever_segments_are_cut_each_name_is_found_and_no_other(secrets: list[Secret], few: int) -> None:
    with patch.object(writer, "SEGMENT_SECRETS", few), patch.object(writer, "BATCH", few):
        data, record = sealed(secrets)
    check_sealed(BytesReader(data), record)
    container = opened(data)
    assert list(container.hashed()) == hashed(secrets)
    names = {each.name: each for each in secrets}
    for name in (*names, "", "\x00", "\U0010ffff", *(each + "\x00" for each in names)):
        assert container.find(name) == names.get(name)
        found = container.digested_row(name)
        assert (found and found[0].name) == (name if name in names else None)
    assert {each.name for each in container.some(names)} == set(names)


def test_a_bound_is_the_shortest_beginning_that_parts_two_names() -> None:
    names = ["", "a", "a\x00", "prod/db/a", "prod/db/b", "prod/dbx", "\uffff", "\U00010000"]
    assert sorted(names) == names == sorted(names, key=str.encode)
    with patch.object(writer, "SEGMENT_SECRETS", 1), patch.object(writer, "BATCH", 1):
        data, _ = sealed([secret(name) for name in names])
    bounds = [segment.bound for segment in opened(data)._index.segments]
    assert bounds == ["", "a", "a\x00", "p", "prod/db/b", "prod/dbx", "\uffff", "\U00010000"]


def test_an_index_that_no_reader_takes_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_INDEX", 1024)
    with pytest.raises(SecretTooLarge, match="names are too long"):
        sealed([secret("a")])


def test_stored_digests_are_those_of_source_name_version_and_value() -> None:
    two = Secret(
        name="a",
        versions=(
            SecretVersion(number=1, value=SecretBytes(b"CANARY-1")),
            SecretVersion(number=2, state=VersionState.DESTROYED),
            SecretVersion(number=3, value=SecretBytes(b"CANARY-3")),
        ),
    )
    data, _ = sealed([two])
    digest = value_digester(DIGEST_KEY, "local")
    stored = {number: digest("a", number, b"CANARY-%d" % number) for number in (1, 3)}
    assert list(opened(data).digested()) == [("a", stored)]


def test_a_digest_differs_where_source_name_version_or_value_does() -> None:
    digests = {
        value_digester(DIGEST_KEY, source)(name, version, value)
        for source, name, version, value in [
            ("s", "n", 1, b"v"),
            ("sn", "", 1, b"v"),
            ("", "sn", 1, b"v"),
            ("s", "n", 2, b"v"),
            ("s", "n", 1, b"w"),
        ]
    }
    assert len(digests) == 5


def test_metadata_only_containers_hold_no_value_and_no_free_form_metadata() -> None:
    full = Secret(
        name="a",
        versions=(SecretVersion(number=4, value=SecretBytes(b"CANARY")),),
        tags={"team": "x"},
        metadata={"note": "CANARY-note"},
    )
    data, record = sealed([full], about_=about_(values=False))
    check_sealed(BytesReader(data), record)
    container = opened(data)
    assert list(container.secrets()) == [
        Secret(name="a", versions=(SecretVersion(number=4),), tags={"team": "x"})
    ]
    assert list(container.digested()) == [("a", {})]
    assert container.find("a") == Secret(name="a", versions=(SecretVersion(number=4),), tags={"team": "x"})


def test_the_wrong_key_is_called_that_and_the_message_lists_what_was_tried() -> None:
    data, _ = sealed([secret("a")])
    with pytest.raises(WrongKey, match=r"Sealed to raw \(test\); tried a raw key") as tried:
        opened(data, key=OTHER)
    with pytest.raises(WrongKey, match="tried nothing") as untried:
        Container.open(BytesReader(data), [], trusted=None)
    assert (tried.value.nothing_tried, untried.value.nothing_tried) == (False, True)


def test_any_recipient_of_several_opens() -> None:
    data, _ = sealed([secret("a")], recipients=[KEY, OTHER])
    assert opened(data, key=KEY).secrets_count == opened(data, key=OTHER).secrets_count == 1


def test_a_signer_that_is_not_trusted_is_refused_before_any_key_is_tried() -> None:
    class Untouchable:
        def describe(self) -> str:
            return "never asked"

        def unwrap(self, stanza: object, *, context: bytes) -> bytes | None:  # noqa: ARG002
            raise AssertionError("a key was tried on an untrusted file")

    data, _ = sealed([secret("a")])
    with pytest.raises(UntrustedSigner, match=INSTALLATION.fingerprint):
        Container.open(BytesReader(data), [Untouchable()], trusted=frozenset({"sr1:00"}))


def test_two_secrets_of_one_name_are_refused_by_name() -> None:
    with pytest.raises(DuplicateSecret, match="'same'"):
        sealed([secret("same", b"CANARY-1"), secret("other"), secret("same", b"CANARY-2")])


def test_two_secrets_of_one_name_are_refused_across_batches_too() -> None:
    rows = hashed([secret(str(n)) for n in range(64)])
    with pytest.raises(DuplicateSecret):
        write_rows([*rows, rows[-1]])


def write_rows(rows: object) -> None:
    write_container(
        lambda _: None,
        rows,  # type: ignore[arg-type]
        about=about_(),
        wrapping_key=WrappingKey.create([KEY]),
        signer=SIGNER,
        digest_key=DIGEST_KEY,
    )


def test_unsorted_rows_are_a_mistake_of_the_caller() -> None:
    rows = hashed([secret("a"), secret("b")])
    with pytest.raises(ValueError, match="sorted"):
        write_rows(reversed(rows))


def test_versions_that_do_not_ascend_are_refused() -> None:
    twisted = Secret(name="a", versions=(SecretVersion(number=2), SecretVersion(number=1)))
    with pytest.raises(SourceError, match="'a'"):
        sealed([twisted])
    with pytest.raises(SourceError, match="'none'"):
        sealed([Secret(name="none", versions=())])


def test_metadata_that_is_not_json_is_refused_and_the_secret_named() -> None:
    odd = Secret(name="odd", versions=(SecretVersion(number=1),), metadata={"x": object()})
    with pytest.raises(SourceError, match="'odd'"):
        sealed([secret("a"), odd])


def test_a_secret_too_large_for_the_format_is_refused() -> None:
    big = bytes(33 * 1024 * 1024)
    values = tuple(SecretVersion(number=n, value=SecretBytes(big)) for n in (1, 2))
    with pytest.raises(SecretTooLarge, match="values of 'a'"):
        sealed([Secret(name="a", versions=values)])
    wide = Secret(name="b", versions=(SecretVersion(number=1),), metadata={"x": "y" * (17 * 1024 * 1024)})
    with pytest.raises(SecretTooLarge, match="metadata of 'b'"):
        sealed([wide])


def test_a_large_value_has_a_segment_to_itself() -> None:
    secrets = [secret(f"s{n}", os.urandom(2 * 1024 * 1024 if n == 50 else 20)) for n in range(100)]
    data, record = sealed(secrets)
    check_sealed(BytesReader(data), record)
    reader = Counting(data)
    container = Container.open(reader, [KEY], trusted=TRUSTED)
    small = next(s for s in secrets if len(s.current.value or b"") == 20)
    assert container.find(small.name) == small
    assert reader.bytes < 128 * 1024


def test_segments_are_bounded_in_secrets_values_and_columns() -> None:
    mixed = [
        Secret(
            name=f"s{n}",
            versions=(SecretVersion(number=1, value=SecretBytes(bytes(n * 37 % 3000))),),
            metadata={"m": "x" * (n * 97 % 9000)},
        )
        for n in range(3000)
    ]
    data, record = sealed(mixed)
    check_sealed(BytesReader(data), record)
    container = opened(data)
    for number in range(len(container._outer.entries)):
        rows, values = container._segment(number)
        assert len(rows.rows) <= SEGMENT_SECRETS
        assert len(values) <= SEGMENT_VALUES
        assert len(rows.columns) <= SEGMENT_COLUMNS


class Counting(BytesReader):
    """Counts reads and bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads = 0
        self.bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        found = super().read(offset, length)
        self.reads += 1
        self.bytes += len(found)
        return found


def test_one_secret_of_many_is_found_in_three_small_reads() -> None:
    data, _ = sealed(secret(f"prod/service-{n}/password", b"CANARY-%d" % n) for n in range(20_000))
    reader = Counting(data)
    container = Container.open(reader, [KEY], trusted=TRUSTED)
    assert container.find("prod/service-777/password") == secret("prod/service-777/password", b"CANARY-777")
    assert container.find("prod/absent") is None
    assert reader.reads <= 4
    assert reader.bytes < 256 * 1024


def test_listing_reads_no_values() -> None:
    data, _ = sealed(secret(f"n{n}", bytes(200_000)) for n in range(20))
    reader = Counting(data)
    assert len(list(Container.open(reader, [KEY], trusted=TRUSTED).rows())) == 20
    assert reader.bytes < 200_000, "less than one value of twenty"


def many(count: int) -> Iterator[tuple[bytes, Secret]]:
    """Yield secrets with made-up hashes, none of which is kept."""
    for n in range(1, count):
        yield n.to_bytes(16, "big"), secret(f"s{n:08}", b"x" * 300)


def peak_of_writing(count: int) -> int:
    tracemalloc.start()
    try:
        write_rows(many(count))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_writing_takes_memory_for_one_segment_however_many_secrets_there_are() -> None:
    peak_of_writing(100)
    assert peak_of_writing(20_000) < 1.3 * peak_of_writing(5_000)


def test_large_values_are_not_gathered_before_they_are_sealed() -> None:
    def large() -> Iterator[tuple[bytes, Secret]]:
        for n in range(1, 40):
            yield n.to_bytes(16, "big"), secret(f"s{n:08}", os.urandom(1024 * 1024))

    tracemalloc.start()
    write_rows(large())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 1024 * 1024


def test_reading_takes_memory_for_one_segment_however_many_secrets_there_are() -> None:
    def peak(count: int) -> int:
        data, _ = sealed(secret(f"s{n}", b"x" * 300) for n in range(count))
        container = opened(data)
        tracemalloc.start()
        for _ in container.secrets():
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(12_000) < 1.3 * peak(4_000)


def test_two_containers_of_the_same_secrets_share_no_salt_key_or_message() -> None:
    key = WrappingKey.create([KEY])
    first, one = sealed([secret("a")], wrapping_key=key)
    second, two = sealed([secret("a")], wrapping_key=key)
    assert one.file_key != two.file_key
    chunks = {first[at : at + 16] for at in range(16, len(first) - 600)}
    assert not any(second[at : at + 16] in chunks for at in range(16, 1200))


def test_reopening_notices_what_sealing_got_wrong() -> None:
    data, record = sealed([secret("a", b"CANARY-1")])
    _, other = sealed([secret("a", b"CANARY-2")])
    with pytest.raises(Tampered):
        check_sealed(BytesReader(data), other)
    with pytest.raises(VerificationFailed, match="what was sealed"):
        check_sealed(BytesReader(data), replaced(record, fold=bytes(32)))
    with pytest.raises(VerificationFailed, match="the file that was written"):
        check_sealed(BytesReader(data), replaced(record, sha256=bytes(32)))


FAULTS = {"rows": 3, "values": 7, "length": 11, "size of the frame": 15, "frame": 24, "padding": -1}
"""Where to change a byte of a rows message, so that what it names is wrong."""


@pytest.mark.parametrize("fault", FAULTS)
def test_reopening_notices_a_message_that_was_put_together_wrong(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(parts: segment.Packed) -> bytes:
        message = bytearray(segment.pack_rows(parts))
        message[FAULTS[fault]] ^= 1
        return bytes(message)

    check_sealed(BytesReader((made := sealed([secret("a")]))[0]), made[1])
    monkeypatch.setattr(writer, "pack_rows", spoiled)
    data, record = sealed([secret("a")])
    with pytest.raises((VerificationFailed, Malformed), match=r"what was sealed|padded|out of bounds"):
        check_sealed(BytesReader(data), record)


def test_what_is_compared_has_the_values_too() -> None:
    folds = set()
    for values in (b"CANARY-1", b"CANARY-2"):
        running = hashlib.sha256()
        writer.fold_segment(running.update, segment.Packed(1, 1, 3, b"frame", bytes(16)), values)
        folds.add(running.digest())
    assert len(folds) == 2


def replaced(record: object, **changes: object) -> Any:
    return msgspec.structs.replace(record, **changes)  # type: ignore[type-var]


def test_a_name_under_a_wrong_hash_is_refused_when_read() -> None:
    parts: list[bytes] = []
    write_container(
        parts.append,
        [(bytes(15) + b"\x01", secret("a"))],
        about=about_(),
        wrapping_key=WrappingKey.create([KEY]),
        signer=SIGNER,
        digest_key=DIGEST_KEY,
    )
    container = opened(b"".join(parts))
    for read in (container.secrets, container.rows, container.digested_rows, container.hashed):
        with pytest.raises(Malformed, match="another container"):
            list(read())


def test_no_error_or_representation_shows_a_key_or_value() -> None:
    data, record = sealed([secret("a", b"CANARY-hidden")])
    key = WrappingKey.create([KEY])
    container = opened(data)
    shown = repr([record, key, container, container.about, SIGNER, *container.secrets()])
    assert "CANARY" not in shown
    for hidden in (record.file_key.reveal(), key._key, NAME_KEY, SIGNER.private_bytes()):
        assert hidden.hex() not in shown
        assert repr(hidden) not in shown
    for holder in (record, key, SIGNER):
        with pytest.raises(TypeError):
            pickle.dumps(holder)


def test_a_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(UsageError):
        sealed([], wrapping_key=WrappingKey(bytes(16), WrappingKey.create([KEY]).record))
    with pytest.raises(UsageError):
        value_digester(b"short", "s")


def test_names_hash_to_sixteen_bytes_of_hmac_sha256() -> None:
    assert len(name_hash(NAME_KEY, "a")) == 16
    assert len({name_hash(NAME_KEY, letter) for letter in string.ascii_letters}) == 52


@pytest.mark.parametrize("length", [0, 1, 32, 64, 65, 200])
def test_the_keyed_hash_is_hmac_sha256_whatever_the_key_and_wherever_the_message_is_cut(length: int) -> None:
    key, message = os.urandom(length), os.urandom(300)
    for cut in (0, 1, 64, 300):
        compute = keyed_hash(key, message[:cut])
        assert [compute(message[cut:]) for _ in range(2)] == [hmac.digest(key, message, "sha256")] * 2


def test_a_secret_is_encoded_as_its_row_and_a_value_as_its_length_alone() -> None:
    secret = Secret(
        name="a",
        versions=(
            SecretVersion(number=1, value=SecretBytes(b"CANARY-one")),
            SecretVersion(number=2, state=VersionState.DELETED),
            SecretVersion(number=3, value=SecretBytes(b""), media=Media.JSON, created_at="2026-01-01"),
        ),
        tags={"k": "v"},
        rotation=RotationSchedule(days=30),
        metadata={"note": "kept"},
    )
    data = encode_secrets([secret])
    [row] = decode_rows(data, 1)
    assert (row.name, row.type, row.tags, row.metadata) == ("a", "generic", {"k": "v"}, {"note": "kept"})
    assert [version.length for version in row.versions] == [10, None, 0]
    assert b"CANARY" not in data
    without = encode_secrets([bare(secret)])
    assert b"kept" not in without
    assert b"10" not in without
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


def test_a_value_among_the_metadata_is_refused_and_not_stored_as_its_length() -> None:
    strayed = Secret(
        name="a",
        versions=(SecretVersion(number=1, value=SecretBytes(b"x")),),
        metadata={"also": [SecretBytes(b"CANARY-strayed")]},
    )
    with pytest.raises(SourceError, match="metadata of 'a'"):
        sealed([secret("b", b"y"), strayed])
