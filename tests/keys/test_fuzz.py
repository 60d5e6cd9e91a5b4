"""Whatever stands in a stanza, a share or a key's file: it is refused or passed over, and no more.

The changes are drawn from one seed, so that what is found once is found again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from shamir_mnemonic import rs1024, wordlist  # type: ignore[import-untyped]

from strongroom.container.wrapping import Identity, Stanza
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.keys.allof import AllOfIdentity, AllOfRecipient
from strongroom.keys.ec import EcPublicKey
from strongroom.keys.hpke import HpkeIdentity, Kem, PublicKey
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.kms import Kms, KmsIdentity, KmsOptions
from strongroom.keys.quorum import record
from strongroom.keys.quorum.ceremony import open_together
from strongroom.keys.quorum.record import parse
from tests.keys.quorum.made import made
from tests.keys.software import EcIdentity

SEED = bytes(range(32))
QUORUM, PAPERS = made()
PAIR, CLASSIC, FILE = HpkeIdentity(SEED), HpkeIdentity(SEED, kem=Kem.X25519), KeyFileIdentity(SEED)
CURVE = EcIdentity(derive_private_key(5, SECP256R1()), version=1)
OPENERS: tuple[Opener, ...] = (PAIR, CLASSIC, FILE, CURVE, open_together(QUORUM, PAPERS[:3]))
IDENTITIES: tuple[Identity, ...] = (
    *OPENERS,
    AllOfIdentity(OPENERS),
    KmsIdentity(Kms(KmsOptions(key_id="k", region="r"))),
)
BOTH = AllOfRecipient([[PAIR.recipient(), FILE.recipient()], [CLASSIC.recipient()]])
STANZAS = [
    *(each.recipient().wrap(bytes(32), context=b"c") for each in OPENERS),
    BOTH.wrap(bytes(32), context=b"c"),
    Stanza(type="kms", label="", args={"arn": b"arn:aws:kms:e:1:key/1".hex(), "blob": "00" * 50}),
]
ODD: list[object] = [
    *("", None, 0, -1, True, 2**70, 1.5, "zz", "\u0660" * 2, "00 ", "AA", "aa" * 32, "aa" * 100_000, [], {}),
    *(text.hex() for text in (b"[[],[]]", b"[" * 50_000, b'[[{"type":"all-of","label":"","args":{}}],[]]')),
]

Change = Callable[[bytes, random.Random], bytes]


def changed(data: bytes, draw: random.Random) -> bytes:
    """Change, drop or put in a byte, up to four times."""
    new = bytearray(data)
    for _ in range(draw.randrange(1, 5)):
        at = draw.randrange(len(new) + 1)
        new[at : at + draw.randrange(2)] = draw.randbytes(draw.randrange(2))
    return bytes(new)


def changed_stanza(draw: random.Random) -> Stanza:
    stanza = draw.choice(STANZAS)
    args: dict[str, object] = dict(stanza.args)
    name = draw.choice([*args, "more"])
    value = args.get(name)
    if draw.random() < 0.4 or not isinstance(value, str):
        args[name] = draw.choice(ODD)
    elif draw.random() < 0.5:
        args[name] = changed(bytes.fromhex(value), draw).hex()
    else:
        args[name] = changed(value.encode(), draw).decode("latin-1")
    kind = draw.choice([stanza.type] * 9 + [each.type for each in STANZAS])
    return Stanza(type=kind, label="", args=args)  # type: ignore[arg-type]  # that is what is tried


def test_no_stanza_does_anything_but_open_or_not() -> None:
    draw = random.Random(1)
    for _ in range(4000):
        stanza = changed_stanza(draw)
        for identity in IDENTITIES:
            with suppress(StrongroomError):
                assert identity.unwrap(stanza, context=b"c") in (None, bytes(32))


def changed_share(draw: random.Random) -> str:
    words = PAPERS[draw.randrange(5)].split()
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(words))
        new = draw.choice(
            [draw.choice(wordlist.WORDLIST), "é", "\0", "ACADEMIC", "\ud800", "İ", "x" * 10_000]
        )
        words[at : at + draw.randrange(3)] = [new] * draw.randrange(2)
    return " ".join(words)


def foreign_share(draw: random.Random) -> str:
    """Return words of any number with the right checksum, which Strongroom never made."""
    indices = [draw.randrange(1024) for _ in range(draw.choice([30, 30, 17, 5, 0]))]
    kind = draw.choice([b"shamir", b"shamir_extendable"])
    return " ".join(wordlist.WORDLIST[each] for each in [*indices, *rs1024.create_checksum(indices, kind)])


@pytest.mark.parametrize("share", [changed_share, foreign_share])
def test_no_words_do_anything_but_be_a_share_or_none(share: Callable[[random.Random], str]) -> None:
    draw = random.Random(2)
    for _ in range(600):
        with suppress(StrongroomError):
            assert len(parse(share(draw)).mnemonic.split()) == 33


def changed_member(data: bytes, draw: random.Random) -> bytes:
    document = json.loads(data)
    document[draw.choice(list(document))] = draw.choice(ODD)
    return json.dumps(document).encode()


PEM = CURVE._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
READERS: dict[str, tuple[bytes, Change, Callable[[bytes], object]]] = {
    "quorum file": (QUORUM.encode(), changed, record.decode),
    "quorum file's members": (QUORUM.encode(), changed_member, record.decode),
    "public key": (str(PAIR.public).encode(), changed, lambda data: PublicKey.parse(data.decode("latin-1"))),
    "HSM's public key": (
        str(CURVE.public).encode(),
        changed,
        lambda d: EcPublicKey.parse(d.decode("latin-1")),
    ),
    "HSM's public key in PEM": (PEM, changed, lambda data: EcPublicKey.parse(data.decode("latin-1"))),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_file_does_anything_but_be_read_or_refused(reader: str) -> None:
    data, change, read = READERS[reader]
    draw = random.Random(3)
    for _ in range(1000):
        with suppress(StrongroomError):
            read(change(data, draw))
