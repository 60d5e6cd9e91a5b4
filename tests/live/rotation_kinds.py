"""Every kind of recipient, twice: a key to rotate from, and one to rotate to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from strongroom.keys import Identity, Recipient
from strongroom.keys.allof import AllOfIdentity, AllOfRecipient
from strongroom.keys.ec import EcRecipient
from strongroom.keys.hpke import HpkeIdentity, Kem
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.kms import KmsIdentity, KmsRecipient
from strongroom.keys.passphrase import PassphraseIdentity, PassphraseRecipient
from strongroom.keys.pkcs11.session import Token
from strongroom.keys.pkcs11.token_keys import (
    HsmAesKey,
    Pkcs11AesIdentity,
    Pkcs11AesRecipient,
    Pkcs11EcIdentity,
    generate_aes,
    generate_ec,
)
from strongroom.keys.quorum import QuorumRecipient
from strongroom.keys.quorum.ceremony import Gathering
from strongroom.keys.transit import TransitIdentity, TransitRecipient
from tests.keys.quorum.made import made
from tests.live.keys.test_kms import make_key, of
from tests.live.keys.test_transit import Transit
from tests.live.moto import CREDENTIALS, Moto
from tests.live.nss import shared
from tests.live.openbao import dev_server
from tests.live.softhsm import SoftHsm


class Pair(NamedTuple):
    """A key, seen from both sides. ``again`` gives it as a process has it that derived nothing yet."""

    recipient: Recipient
    identity: Identity
    again: Callable[[], Pair] | None = None

    def afresh(self) -> Pair:
        return self if self.again is None else self.again()


PASSPHRASE = "passphrase"

_versions = count(71)
"""Versions of keys in a token, which others may have keys in too, and this module's own from before."""

Kind = tuple[str, Pair, Pair]
"""What it is called, the key to rotate from, the key to rotate to."""


def in_software() -> Iterator[Kind]:
    """Yield the kinds that need nothing but this process."""
    files = [KeyFileIdentity(os.urandom(32)) for _ in range(2)]
    yield "key file", *(Pair(one.recipient(), one) for one in files)  # type: ignore[misc]
    for kem in (Kem.X25519, Kem.XWING):
        keys = [HpkeIdentity.generate(kem=kem) for _ in range(2)]
        yield f"HPKE {kem.value}", *(Pair(one.recipient(), one) for one in keys)  # type: ignore[misc]
    yield PASSPHRASE, passphrase(1), passphrase(2)
    yield "quorum 3 of 5", *(quorum(seed) for seed in (1, 2))  # type: ignore[misc]


def passphrase(number: int) -> Pair:
    """Return a passphrase, with a salt of its own each time, as each backup has it."""
    words = f"CANARY six words nobody would guess {number}"
    sealing = PassphraseRecipient(words, label=str(number))
    return Pair(sealing, PassphraseIdentity(words), partial(passphrase, number))


def quorum(seed: int) -> Pair:
    """Return a quorum whose custodians have come together."""
    record, papers = made(bytes([seed]) * 32, f"board{seed}")
    gathering = Gathering(record)
    for paper in papers[:3]:
        gathering.add(paper)
    return Pair(QuorumRecipient(record, label=record.name), gathering.open())


def of_hsm(name: str, token: Token) -> Iterator[Kind]:
    """Yield what one make of HSM keeps."""
    ecs, aess = ([next(_versions), next(_versions)] for _ in range(2))
    public = [generate_ec(token, key="rotated", version=version) for version in ecs]
    ec = [
        Pair(
            EcRecipient(one, key="rotated", version=version, label=f"v{version}"),
            Pkcs11EcIdentity(token, key="rotated", version=version, public=one),
        )
        for version, one in zip(ecs, public, strict=True)
    ]
    yield f"HSM key pair ({name})", ec[0], ec[1]
    ids = [generate_aes(token, key="rotated", version=version) for version in aess]
    assert len(set(ids)) == 2
    aes = [HsmAesKey(token, key="rotated", version=version) for version in aess]
    pairs = [Pair(Pkcs11AesRecipient(one), Pkcs11AesIdentity(one)) for one in aes]
    yield f"HSM AES key ({name})", pairs[0], pairs[1]
    both = [
        Pair(
            AllOfRecipient([[pair.recipient], [board.recipient]], label=f"both{number}"),
            AllOfIdentity([pair.identity, board.identity]),
        )
        for number, (pair, board) in enumerate(zip(ec, (quorum(1), quorum(2)), strict=True))
    ]
    yield f"HSM key pair ({name}) and quorum", both[0], both[1]


def of_vault(folder: Path) -> Iterator[Kind]:
    """Yield keys of a live OpenBao's transit engine."""
    with dev_server() as server:
        transit = Transit(server, folder)
        transit.tell("POST", "keys/other", {"type": "aes256-gcm96"})
        keys = [transit.key(name=name) for name in ("strongroom", "other")]
        pairs = [Pair(TransitRecipient(one, label=one.key), TransitIdentity(one)) for one in keys]
        yield "transit (OpenBao)", pairs[0], pairs[1]


def of_kms() -> Iterator[Kind]:
    """Yield keys of a live KMS server."""
    with Moto() as server:
        keys = [of(server, make_key(server)) for _ in range(2)]
        pairs = [Pair(KmsRecipient(one, label=f"kms{at}"), KmsIdentity(one)) for at, one in enumerate(keys)]
        yield "KMS (moto)", pairs[0], pairs[1]


@contextmanager
def credentials() -> Iterator[None]:
    """Let the AWS SDK find made-up credentials, and nobody's own."""
    wanted = {name.upper(): value for name, value in CREDENTIALS.items()}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def every_kind(folder: Path) -> Iterator[Iterator[Kind]]:
    """Give all of them, on servers and devices that are started for it."""
    with ExitStack() as stack:
        stack.enter_context(credentials())
        softhsm = stack.enter_context(SoftHsm())
        softhsm.make_token("rotation")

        def kinds() -> Iterator[Kind]:
            yield from in_software()
            yield from of_hsm("SoftHSM", softhsm.token("rotation"))
            yield from of_hsm("NSS", shared().token())
            yield from of_vault(folder)
            yield from of_kms()

        yield kinds()
