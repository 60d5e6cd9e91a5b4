"""Custom metadata and values that are no objects: whatever is written is read back the same."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.sources.convention import understood
from strongroom.sources.vault import secrets
from strongroom.sources.vault.records import KeyInfo, Mount, MountConfig, MountInfo, seconds_of, time_of
from strongroom.sources.vault.secrets import (
    custom_metadata_of,
    custom_of,
    data_of,
    fitting,
    kept,
    plan,
    secret_of,
    tags_in,
)
from strongroom.sources.vault.writing import MOST, VaultLosses, spans

KEYS = st.sampled_from(
    [
        "type",
        "expires_at",
        "rotation_days",
        "rotation_enabled",
        "tag.a",
        "tag.",
        "a",
        "owner",
        "strongroom.metadata",
    ]
) | st.text(max_size=9)
VALUES = st.sampled_from(
    [
        "generic",
        "api_key",
        "2027-01-01",
        "2027-1-1",
        "90",
        "090",
        "0",
        "true",
        "false",
        "True",
        "{}",
        '{"a": 1}',
    ]
) | st.text(max_size=9)
MOUNT = Mount("", "secret/", 2, MountInfo(type="kv", options={"version": "2"}))
ONE = SecretVersion(number=1, value=SecretBytes(b"{}"), media=Media.JSON)


@given(st.dictionaries(KEYS, VALUES, max_size=8), st.sets(KEYS, max_size=3))
def test_custom_metadata_comes_back_letter_for_letter(custom: dict[str, str], tag_metadata: set[str]) -> None:
    custom.pop(secrets.MARK, None)
    info = KeyInfo(custom_metadata=custom, current_version=1)
    found = secret_of("secret/a", MOUNT, None, info, (ONE,), tag_metadata=frozenset(tag_metadata))
    written = custom_of(found)
    free = msgspec.json.decode(custom["strongroom.metadata"]) if _is_object(custom) else None
    if free is not None:  # it is JSON, and may be spelled in another way
        assert written is not None
        assert msgspec.json.decode(written.pop("strongroom.metadata", "{}")) == free
        custom.pop("strongroom.metadata")
    assert written == custom


def _is_object(custom: dict[str, str]) -> bool:
    try:
        return isinstance(msgspec.json.decode(custom.get("strongroom.metadata", "")), dict)
    except msgspec.DecodeError:
        return False


def test_the_convention_means_what_it_says() -> None:
    custom = {
        "type": "api_key",
        "expires_at": "2027-01-01T00:00:00Z",
        "rotation_days": "90",
        "rotation_enabled": "false",
        "tag.team": "payments",
        "owner": "someone",
    }
    meaning = understood(custom)
    tags = tags_in(meaning.rest, tag_metadata=["owner"])
    assert (meaning.type, meaning.expires_at) == ("api_key", "2027-01-01T00:00:00Z")
    assert meaning.rotation == RotationSchedule(days=90, enabled=False)
    assert tags == {"team": "payments", "owner": "someone"}
    assert meaning.rest == {"owner": "someone"}
    assert understood({"rotation_days": "090"}).rest == {"rotation_days": "090"}
    secret = Secret(name="a", versions=(ONE,), tags={"k": "v"}, rotation=RotationSchedule(days=7))
    assert custom_metadata_of(secret, {}) == {"rotation_days": "7", "tag.k": "v"}


VERSIONS = st.builds(
    SecretVersion,
    number=st.just(1),
    value=st.builds(SecretBytes, st.text(max_size=20).map(str.encode)),
    media=st.just(Media.TEXT),
) | st.builds(
    SecretVersion,
    number=st.just(1),
    value=st.builds(SecretBytes, st.binary(max_size=20)),
    media=st.just(Media.BINARY),
)


@given(VERSIONS)
def test_a_value_that_is_no_object_comes_back(version: SecretVersion) -> None:
    assert secrets.unwrapped(_stored(version)) == version


@pytest.mark.parametrize("text", ['{"value": "x"}', '{"json": "x"}', "[1]", '"x"', "1", "null", '{"a": 1}'])
def test_json_comes_back_even_if_it_looks_as_if_it_were_wrapped(text: str) -> None:
    version = SecretVersion(number=1, value=SecretBytes(text.encode()), media=Media.JSON)
    assert secrets.unwrapped(_stored(version)) == version


def _stored(version: SecretVersion) -> SecretVersion:
    data = data_of(version, wrap=True)
    assert isinstance(msgspec.json.decode(data), dict)
    return SecretVersion(number=1, value=SecretBytes(data), media=Media.JSON)


@pytest.mark.parametrize(
    "text", ['{"a":1},"options":{"cas":0},"data":{}', "{", '{"a":1}}', "{\xff}", '{"a":' * 2_000]
)
def test_a_value_cannot_say_anything_about_the_request_it_is_in(text: str) -> None:
    """A backup is hostile input: what merely begins like an object is carried as text."""
    version = SecretVersion(number=1, value=SecretBytes(text.encode("latin-1")), media=Media.JSON)
    assert secrets.needs_wrapping((version,))


def test_numbers_that_are_one_to_the_server_are_one_to_the_comparison() -> None:
    def held(text: bytes) -> Secret:
        version = SecretVersion(number=1, value=SecretBytes(text), media=Media.JSON)
        return kept(Secret(name="a", versions=(version,)))

    assert held(b'{"a": 1.50, "b": 1.0}') == held(b'{"b":1,"a":1.5}')
    assert held(b'{"a": 12345678901234567890}') == held(b'{"a":12345678901234567000}')
    assert held(b'{"a": 1}') != held(b'{"a": 2}')
    assert held(b'{"a": true}') != held(b'{"a": 1}')


def test_custom_metadata_keeps_to_the_servers_limits() -> None:
    assert fitting({"a": "b", "long": "x" * 513, "k" * 129: "v", "empty": "", "": "v"}) == {"a": "b"}
    assert len(fitting({str(number): "v" for number in range(100)})) == 64


@pytest.mark.parametrize(
    ("last", "oldest", "limit", "mount", "wanted"),
    [
        (3, 0, 0, 0, 0),  # as it comes: the server keeps ten
        (12, 3, 0, 0, 0),
        (12, 5, 0, 0, 8),  # the limit was lower then
        (12, 0, 0, 0, 13),  # and higher
        (12, 3, 0, 10, 0),
        (5, 3, 3, 0, 3),
        (10, 1, 0, 0, 0),
    ],
)
def test_the_limit_of_versions_pushes_out_what_was_pushed_out(
    last: int, oldest: int, limit: int, mount: int, wanted: int
) -> None:
    facts = {"vault": {"oldest_version": oldest, "max_versions": limit}}
    versions = tuple(
        SecretVersion(number=number, value=SecretBytes(b"{}"), media=Media.JSON)
        for number in range(max(1, oldest), last + 1)
    )
    secret = Secret(name="a", versions=versions, metadata=facts)
    assert plan(secret, None, MountConfig(max_versions=mount)).limit == wanted


def test_a_gap_is_written_and_destroyed() -> None:
    versions = (
        SecretVersion(number=2, value=SecretBytes(b"{}"), media=Media.JSON),
        SecretVersion(number=4, state=VersionState.DELETED),
    )
    todo = plan(Secret(name="a", versions=versions), None, MountConfig())
    assert [version.number for version in todo.write] == [1, 2, 3, 4]
    assert (todo.delete, todo.destroy, todo.limit) == ((4,), (3,), 3)


def test_lines_are_bounded_and_come_once() -> None:
    losses = VaultLosses()
    for number in range(MOST + 5):
        losses.add(f"line {number}")
        losses.add("line 0")
    assert len(losses.lines) == MOST + 1
    assert losses.lines[-1].startswith("and ")
    assert spans([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"


def test_times_and_durations_are_read_as_the_server_writes_them() -> None:
    assert time_of("2026-11-25T08:59:28.803299163Z").microsecond == 803299
    assert seconds_of("720h0m0s") == 720 * 3600
    assert seconds_of("-1s") == -1
    assert seconds_of("1m0.5s") == 60.5
    assert seconds_of("0s") == 0
