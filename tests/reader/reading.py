"""What the independent reader makes of a vector."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, cast

import shamir_mnemonic
from cryptography.hazmat.primitives.asymmetric import ec

from tests.reader import reader
from tests.vectors.vector import Vector


def keys_of(vector: Vector) -> reader.Keys:
    shares = vector.all("share")
    lines = [reader.key_line(line, vector.all("passphrase")) for line in vector.all("line")]
    made = [pair for pair in lines if pair is not None]
    return reader.Keys(
        passphrases=vector.all("passphrase"),
        keyfiles=[
            *(bytes.fromhex(text) for text in vector.all("keyfile")),
            *(key for name, key in made if name == "AES256"),
        ],
        private=[
            *((name, bytes.fromhex(seed)) for name, seed in (t.split(" ") for t in vector.all("hpke"))),
            *(pair for pair in made if pair[0] != "AES256"),
        ],
        quorums=[shamir_mnemonic.combine_mnemonics(shares)] if shares else [],
        hsm=[_hsm(text) for text in vector.all("ec")],
        pins=frozenset(vector.all("trusted")),
    )


def _hsm(text: str) -> tuple[int, ec.EllipticCurvePrivateKey]:
    curve, version, scalar = text.split()
    curves = {"p256": ec.SECP256R1, "p384": ec.SECP384R1}
    return int(version), ec.derive_private_key(int(scalar, 16), curves[curve]())


def _manifest(data: bytes, keys: reader.Keys) -> bytes:
    reader.manifest(data, keys)
    return reader.document(data, "manifest", keys)


SIGNED: dict[str, Callable[[bytes, reader.Keys], bytes]] = {
    "manifest": _manifest,
    "envelope": lambda data, keys: reader.envelope(data, keys)[1],
    "head": reader.head,
    "index": reader.index_receipt,
    "deletion": reader.deletion,
    "hold": reader.hold,
    "trust": reader.trust,
}


def contents(vector: Vector) -> Iterator[bytes]:
    """Yield what the vectors' README says that ``plaintext`` is over, for each kind."""
    keys, body, kind = keys_of(vector), vector.body, vector.one("kind")
    if kind == "container":
        field = vector.one("newer")
        newer = reader.envelope(base64.b64decode(field), keys) if field else None
        opened = reader.container(reader.outer(body, keys), keys, newer)
        yield from (secret.line + b"".join(secret.values) for secret in opened.secrets)
    elif kind == "target":
        yield from (s.line + b"".join(s.values) for s in whole(vector).secrets)
    elif kind == "bundle":
        yield from reader.bundle(body).values()
    elif kind == "metadata":
        yield from reader.metadata(body)[1]
    elif kind == "legacy":
        yield reader.legacy(body, keys.passphrases)
    else:
        yield SIGNED[kind or ""](body, keys)


def whole(vector: Vector) -> reader.Whole:
    """Open what lies on a target."""
    return reader.whole(objects_of(vector), keys_of(vector), vector.one("backup"))


def objects_of(vector: Vector) -> dict[str, bytes]:
    """Return the objects of a target from the archive of its directory."""
    with tarfile.open(fileobj=io.BytesIO(vector.body)) as tar:
        return {member.name: cast("IO[bytes]", tar.extractfile(member)).read() for member in tar.getmembers()}
