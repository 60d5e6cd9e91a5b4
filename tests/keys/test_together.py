"""Several recipients at once: any one opens, and a damaged or foreign stanza is told apart."""

from __future__ import annotations

import re
import subprocess
import sys

import msgspec
import pytest

from strongroom.container.errors import Malformed, Tampered, WrongKey
from strongroom.container.wrapping import Stanza, WrappingKey, WrappingKeyRecord, unlock
from strongroom.keys import Opener
from strongroom.keys.hpke import HpkeIdentity, Kem
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.passphrase import PassphraseIdentity, PassphraseRecipient

IDENTITIES: dict[str, Opener] = {
    "passphrase": PassphraseIdentity("CANARY-one"),
    "keyfile": KeyFileIdentity(bytes(range(32))),
    "hybrid": HpkeIdentity(bytes(range(1, 33))),
    "x25519": HpkeIdentity(bytes(range(1, 33)), kem=Kem.X25519),
}
STRANGERS: list[Opener] = [
    PassphraseIdentity("CANARY-two"),
    KeyFileIdentity(bytes(32)),
    HpkeIdentity(bytes(32)),
    HpkeIdentity(bytes(32), kem=Kem.X25519),
]


@pytest.fixture(scope="module")
def made() -> WrappingKey:
    others = [IDENTITIES[name].recipient() for name in ("keyfile", "hybrid", "x25519")]
    return WrappingKey.create([PassphraseRecipient("CANARY-one", label="safe", iterations=100_000), *others])


@pytest.fixture
def record(made: WrappingKey) -> WrappingKeyRecord:
    return made.record


def with_stanzas(record: WrappingKeyRecord, *stanzas: Stanza) -> WrappingKeyRecord:
    return msgspec.structs.replace(record, stanzas=stanzas)


@pytest.mark.parametrize("name", IDENTITIES)
def test_any_one_opens(made: WrappingKey, name: str) -> None:
    wrap = made.wrap_file_key(bytes(range(32)), bytes(32))

    opened = unlock(made.record, [*STRANGERS, IDENTITIES[name]])

    assert opened.unwrap_file_key(wrap, bytes(32)) == bytes(range(32))


def test_none_of_many_strangers_opens_and_all_are_named(record: WrappingKeyRecord) -> None:
    with pytest.raises(WrongKey) as caught:
        unlock(record, STRANGERS)

    assert all(stranger.describe() in caught.value.message for stranger in STRANGERS)
    number = "[0-9a-f]{16}"
    assert re.search(
        rf"passphrase \(safe\), keyfile {number}, hpke {number}, hpke {number};", caught.value.message
    )
    assert "CANARY" not in caught.value.message


def test_a_recipient_that_is_added_without_the_key_is_noticed_by_all_others(
    record: WrappingKeyRecord,
) -> None:
    forged = IDENTITIES["keyfile"].recipient().wrap(bytes(32), context=b"anything")
    for identity in IDENTITIES.values():
        with pytest.raises(Tampered):
            unlock(with_stanzas(record, *record.stanzas, forged), [identity])


def test_a_recipient_from_the_future_stands_in_nobodys_way(record: WrappingKeyRecord) -> None:
    future = [
        Stanza(type="lattice-only", label="", args={"x": 1}),
        Stanza(type="hpke", label="", args={"kem": 0x0042, "key": "00" * 32, "sealed": "00"}),
    ]
    for identity in IDENTITIES.values():
        # The list is not the one that was sealed, and that is what is said: no stanza was taken for damage.
        with pytest.raises(Tampered, match="recipients"):
            unlock(with_stanzas(record, *future, *record.stanzas), [identity])


def test_a_stanza_moved_to_another_wrapping_key_opens_nothing(record: WrappingKeyRecord) -> None:
    other = WrappingKey.create([IDENTITIES["keyfile"].recipient()]).record
    for identity in IDENTITIES.values():
        with pytest.raises(WrongKey):
            unlock(with_stanzas(other, *record.stanzas), [identity])


def test_rounds_without_end_are_malformed_whoever_asks_for_the_passphrase(record: WrappingKeyRecord) -> None:
    first = record.stanzas[0]
    endless = msgspec.structs.replace(first, args=first.args | {"iterations": 1 << 31})

    with pytest.raises(Malformed, match="iterations"):
        unlock(with_stanzas(record, endless), [IDENTITIES["passphrase"]])


def test_recipients_import_nothing_heavy() -> None:
    code = (
        "import sys, strongroom.keys.hpke, strongroom.keys.keyfile, strongroom.keys.passphrase,"
        " strongroom.keys.roles, strongroom.keys.keywrap;"
        "print([n for n in ('sqlalchemy', 'celery', 'boto3', 'pydantic', 'alembic', 'asyncio', 'ssl')"
        " if n in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
