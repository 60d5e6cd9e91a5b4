"""The published vectors: each is accepted with the right content, or refused for the right reason."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from strongroom.container import canonical
from strongroom.container.bundle import check_objects, read_index
from strongroom.container.document import parse
from strongroom.container.legacy import open_legacy
from strongroom.container.manifest import MANIFEST, parse_manifest
from strongroom.container.marks import DELETION, HEAD, HOLD, TRUST_LIST, MarkKind
from strongroom.container.metadata import check_document, read_document, to_metadata
from strongroom.container.name_index import INDEX
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container
from strongroom.container.wrapping import DETACHED, Identity, open_detached
from strongroom.errors import StrongroomError
from strongroom.keys.errors import WrongPassphrase
from strongroom.keys.hpke import HpkeIdentity, Kem
from strongroom.keys.identityfile import load_identity
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.passphrase import PassphraseIdentity
from strongroom.keys.quorum.ceremony import open_together
from strongroom.keys.quorum.record import decode as decode_quorum
from tests.keys.software import EcIdentity
from tests.keys.together import with_all_of
from tests.vectors.generate import vectors
from tests.vectors.vector import Vector, stored
from tests.vectors.vector import parse as parse_vector

STORED = stored()


class Content:
    """What came out: how many secrets, if that is asked for, and the SHA-256."""

    def __init__(self, plaintext: Iterable[bytes], secrets: int | None = None) -> None:
        self.plaintext = hashlib.sha256(b"".join(plaintext)).hexdigest()
        self.secrets = None if secrets is None else str(secrets)


def identities(vector: Vector) -> list[Identity]:
    found: list[Identity] = [PassphraseIdentity(text) for text in vector.all("passphrase")]
    found += [KeyFileIdentity(bytes.fromhex(text)) for text in vector.all("keyfile")]
    for text in vector.all("hpke"):
        kem, _, seed = text.partition(" ")
        found.append(HpkeIdentity(bytes.fromhex(seed), kem=Kem(kem)))
    found += sealed(vector)
    found += [hsm(text) for text in vector.all("ec")]
    for text in vector.all("quorum"):
        found.append(open_together(decode_quorum(base64.b64decode(text)), vector.all("share")))
    return with_all_of(found)


def sealed(vector: Vector) -> Iterator[Identity]:
    """Yield what the sealed files of keys open with, if the passphrase of one is at hand."""
    for text in vector.all("line"):
        with tempfile.NamedTemporaryFile("w") as file, suppress(WrongPassphrase):
            file.write(text)
            file.flush()
            opener = load_identity(Path(file.name), lambda _: vector.all("passphrase"))
            opener.recipient()
            yield opener


def hsm(text: str) -> EcIdentity:
    """Return an HSM's private key, which these vectors publish."""
    _, version, scalar = text.split()
    return EcIdentity(derive_private_key(int(scalar, 16), SECP256R1()), version=int(version))


def trusted(vector: Vector) -> frozenset[str] | None:
    return frozenset(vector.all("trusted")) or None


def read_container(vector: Vector) -> Content:
    field = vector.one("newer")
    newer = open_detached(base64.b64decode(field), trusted=trusted(vector)).record if field else None
    opened = Container.open(
        BytesReader(vector.body), identities(vector), newer=newer, trusted=trusted(vector)
    )
    secrets = list(opened.secrets())
    assert len(list(opened.rows())) == opened.secrets_count == len(secrets)
    lines = [line for number in range(len(opened._index.segments)) for line in _lines(opened, number)]
    values = [
        b"".join(v.value.reveal() for v in secret.versions if v.value is not None) for secret in secrets
    ]
    return Content((part for pair in zip(lines, values, strict=True) for part in pair), len(secrets))


def _lines(container: Container, number: int) -> list[bytes]:
    """Return for each row of a segment its lines of all columns."""
    rows, _ = container._segment(number)
    lines, many = rows.columns.split(b"\n"), len(rows.rows)
    return [b"\n".join([*lines[row : many * 9 : many], b""]) for row in range(many)]


def read_manifest(vector: Vector) -> Content:
    parse_manifest(vector.body, trusted=trusted(vector))
    return Content([parse(MANIFEST, vector.body, trusted=trusted(vector)).body])


def read_head(vector: Vector) -> Content:
    HEAD.parse(vector.body, trusted=trusted(vector))
    return Content([parse(HEAD, vector.body, trusted=trusted(vector)).body])


def read_list(vector: Vector) -> Content:
    TRUST_LIST.open(vector.body, trusted=trusted(vector))
    return Content([parse(TRUST_LIST, vector.body, trusted=trusted(vector)).body])


def read_index_receipt(vector: Vector) -> Content:
    INDEX.parse(vector.body, trusted=trusted(vector))
    return Content([parse(INDEX, vector.body, trusted=trusted(vector)).body])


def read_mark(kind: MarkKind[Any], vector: Vector) -> Content:
    kind.open(vector.body, trusted=trusted(vector))
    return Content([parse(kind, vector.body, trusted=trusted(vector)).body])


def read_envelope(vector: Vector) -> Content:
    open_detached(vector.body, trusted=trusted(vector))
    return Content([parse(DETACHED, vector.body, trusted=trusted(vector)).body])


def read_metadata(vector: Vector) -> Content:
    check_document(BytesReader(vector.body))
    secrets = list(read_document(BytesReader(vector.body)))
    return Content((canonical.encode(to_metadata(s)) + b"\n" for s in secrets), len(secrets))


def read_bundle(vector: Vector) -> Content:
    reader = BytesReader(vector.body)
    objects = read_index(reader)
    check_objects(reader, objects)
    return Content(reader.read(found.offset, found.size) for found in objects)


def read_legacy(vector: Vector) -> Content:
    return Content([open_legacy(vector.body, vector.all("passphrase")[0])])


READERS: dict[str, Callable[[Vector], Content]] = {
    "container": read_container,
    "manifest": read_manifest,
    "envelope": read_envelope,
    "head": read_head,
    "index": read_index_receipt,
    "deletion": partial(read_mark, DELETION),
    "hold": partial(read_mark, HOLD),
    "trust": read_list,
    "metadata": read_metadata,
    "bundle": read_bundle,
    "legacy": read_legacy,
}


@pytest.mark.parametrize("name", sorted(name for name in STORED if not name.startswith("target-")))
def test_a_published_vector_gives_what_it_says(name: str) -> None:
    vector = parse_vector(STORED[name])
    read = READERS[vector.one("kind") or ""]
    expect = vector.one("expect")
    if expect == "ok":
        content = read(vector)
        assert content.plaintext == vector.one("plaintext")
        assert content.secrets == vector.one("secrets")
        return
    with pytest.raises(StrongroomError) as caught:
        read(vector)
    assert caught.value.code == expect


def test_the_writer_makes_the_published_vectors_again_byte_for_byte() -> None:
    made = vectors()
    assert made.keys() == STORED.keys()
    assert [name for name in made if made[name] != STORED[name]] == []


def test_every_class_of_failure_has_a_vector() -> None:
    seen = {parse_vector(data).one("expect") for data in STORED.values()}
    assert seen == {
        "ok", "WrongKey", "NotABackup", "UnsupportedVersion", "Malformed", "Truncated", "Tampered",
        "LegacyFormat", "UntrustedSigner", "Stale", "MissingPiece", "BackupQuarantined",
        "TrustListMissing", "NewestUnseen",
    }  # fmt: skip
