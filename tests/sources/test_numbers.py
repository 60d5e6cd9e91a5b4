"""Numbers of free-form metadata come back as they were written, minus nought included."""

from __future__ import annotations

import msgspec
import pytest

from strongroom import freeform
from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.sources.database import pack_head, unpack_head
from strongroom.sources.records import Records

WRITTEN = [
    b"-0",
    b'{"a":-0}',
    b"[-0,0,-0.0,-0e1]",
    b'{"note":"from a-0 to -0","n":[-0,{"m":-0}]}',
    b'"-0"',
]


def encoded(value: object) -> bytes:
    return msgspec.json.encode(value)


@pytest.mark.parametrize("written", WRITTEN)
def test_a_value_is_read_as_it_was_written(written: bytes) -> None:
    assert encoded(freeform.decode(written)) == written


@pytest.mark.parametrize("written", WRITTEN)
def test_metadata_of_a_record_keeps_it_and_the_value_stays_what_it_is(written: bytes) -> None:
    records = Records()
    for _ in range(3):  # the further fields are learned from the first
        made = records.parse(b'{"name":"A","value":{"v":-0},"free":%b}' % written)
        assert encoded(made.metadata["free"]) == written
        assert made.current.value is not None
        assert made.current.value.reveal() == b'{"v":-0}'


@pytest.mark.parametrize("written", WRITTEN)
def test_the_local_store_keeps_it(written: bytes) -> None:
    version = SecretVersion(number=1, value=SecretBytes(b"CANARY"))
    secret = Secret(name="A", versions=(version,), metadata={"free": freeform.decode(written)})

    found, older = unpack_head(pack_head(secret, version, 0), "A", 1)

    assert (encoded(found.metadata["free"]), older) == (written, 0)


@pytest.mark.parametrize("wrong", [b"", b"{", b"[-0", b"-", b"-00", b"NaN", b"[-0,Infinity]"])
def test_what_is_no_json_is_refused(wrong: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        freeform.decode(wrong)
