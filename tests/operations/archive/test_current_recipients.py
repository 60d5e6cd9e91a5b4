"""Readers are told by the stanzas of a record as the recipients themselves tell it."""

from __future__ import annotations

import os

import pytest

from strongroom.container.errors import FormatError
from strongroom.container.manifest import ManifestRecipient
from strongroom.container.wrapping import Stanza
from strongroom.keys import Recipient
from strongroom.keys.allof import AllOfRecipient
from strongroom.keys.hpke import HpkeIdentity, HpkeRecipient, Kem
from strongroom.keys.keyfile import KeyFileRecipient
from strongroom.keys.passphrase import PassphraseRecipient
from strongroom.keys.quorum import QuorumRecipient
from strongroom.operations.archive.envelopes import _reader
from tests.keys.quorum.made import made


def hpke(kem: Kem, label: str) -> Recipient:
    return HpkeRecipient(HpkeIdentity.generate(kem=kem).public, label=label)


ALONE: list[Recipient] = [
    hpke(Kem.XWING, "new.key"),
    hpke(Kem.XWING, ""),
    hpke(Kem.X25519, "plain"),
    KeyFileRecipient(os.urandom(32), label="box"),
    PassphraseRecipient("six words nobody would guess at all", label="words", iterations=100_000),
]
BOTH = AllOfRecipient([[ALONE[0], ALONE[2]], [ALONE[3]]], label="both")


def read(recipient: Recipient, *known: ManifestRecipient) -> ManifestRecipient:
    return _reader(recipient.wrap(bytes(32), context=b"test"), known)


@pytest.mark.parametrize("recipient", [*ALONE, BOTH], ids=lambda one: one.label or "unnamed")
def test_a_stanza_says_what_its_recipient_says(recipient: Recipient) -> None:
    found = read(recipient)
    assert (found.name, found.type) == (recipient.label, recipient.type)
    assert found.fingerprint == recipient.fingerprint
    assert found.post_quantum == recipient.post_quantum
    assert found.describes == recipient.describe()


def test_whom_the_manifest_names_is_told_in_its_words() -> None:
    quorum = QuorumRecipient(made()[0])
    known = ManifestRecipient(
        name=quorum.label,
        type=quorum.type,
        fingerprint=quorum.fingerprint,
        post_quantum=True,
        describes=quorum.describe(),
    )
    assert read(quorum, known) is known
    assert read(quorum).describes == f"the custodians of the quorum `{quorum.label}`"


def test_a_composition_that_breaks_the_format_is_refused() -> None:
    stanza = Stanza(type="all-of", label="x", args={"legs": 7})
    with pytest.raises(FormatError):
        _reader(stanza, ())
