"""The worked example of FORMAT.md, section 14: ``python -m tests.vectors.example`` writes it anew.

It opens ``container-xwing.vector`` step by step with the primitives alone, and shows every value on the way.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.vectors import apart
from tests.vectors.primitives import hkdf
from tests.vectors.vector import parse, stored

DOCUMENT = Path(__file__).parents[2] / "strongroom" / "container" / "FORMAT.md"
BEGIN, END = "<!-- example: written by tests/vectors/example.py -->\n", "<!-- end of example -->\n"
Line = tuple[str, bytes | str]
KEM = b"\x64\x7a"
SUITE = b"HPKE" + KEM + b"\x00\x03\x00\x02"


def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(64), b"HPKE-v1" + SUITE + label + ikm, "sha512")


def expand(prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
    data = struct.pack(">H", size) + b"HPKE-v1" + SUITE + label + info
    return HKDFExpand(SHA512(), size, data).derive(prk)


def lines() -> Iterator[Line]:
    """Yield every value on the way from the private key to the first row and its values."""
    vector = parse(stored()["container-xwing"])
    data, seed = vector.body, bytes.fromhex((vector.one("hpke") or "").split()[1])
    directory, index, size = struct.unpack(">III", data[-28:-16])
    start = len(data) - 124 - directory - index - size
    envelope = json.loads(data[-124 - size : -124])
    record = envelope["wrapping_key"]
    sealed = bytes.fromhex(record["stanzas"][0]["args"]["sealed"])
    yield "private key's seed", seed
    yield "id of the wrapping key", bytes.fromhex(record["id"])
    context = b"strongroom/v1/wrapping-key/" + bytes.fromhex(record["id"])
    shared: bytes = b""
    for name, value in decapsulated(seed, sealed[:1120]):
        yield name, value
        shared = value
    wrapping_key = b""
    for name, value in opened(shared, b"strongroom/v1/wrap/hpke/" + context, sealed[1120:]):
        yield name, value
        wrapping_key = value
    yield from container(data, start, (directory, index), envelope, wrapping_key)


def decapsulated(seed: bytes, enc: bytes) -> Iterator[tuple[str, bytes]]:
    expanded = hashlib.shake_256(seed).digest(96)
    yield "ML-KEM seed d ‖ z", expanded[:64]
    yield "X25519 scalar", expanded[64:]
    lattice, curve = (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        X25519PrivateKey.from_private_bytes(expanded[64:]),
    )
    own = curve.public_key().public_bytes_raw()
    yield "SHA-256 of the public key", hashlib.sha256(lattice.public_key().public_bytes_raw() + own).digest()
    yield "SHA-256 of the encapsulation", hashlib.sha256(enc).digest()
    yield "ss_M", (ss_m := lattice.decapsulate(enc[:1088]))
    yield "ss_X", (ss_x := curve.exchange(X25519PublicKey.from_public_bytes(enc[1088:])))
    yield "ct_X", enc[1088:]
    yield "pk_X", own
    yield "shared_secret", hashlib.sha3_256(ss_m + ss_x + enc[1088:] + own + b"\\.//^\\").digest()


def opened(shared: bytes, info: bytes, ciphertext: bytes) -> Iterator[tuple[str, bytes]]:
    yield "info of HPKE", info
    yield "psk_id_hash", (psk := extract(b"", b"psk_id_hash", b""))
    yield "info_hash", (hashed := extract(b"", b"info_hash", info))
    context = b"\x00" + psk + hashed
    yield "secret", (secret := extract(shared, b"secret", b""))
    yield "key", (key := expand(secret, b"key", context, 32))
    yield "base_nonce", (nonce := expand(secret, b"base_nonce", context, 12))
    yield "wrapping key", AESGCM(key).decrypt(nonce, ciphertext, b"")


def container(
    data: bytes, start: int, sizes: tuple[int, int], envelope: dict[str, dict[str, str]], wrapping_key: bytes
) -> Iterator[Line]:
    record = data[-124 - struct.unpack(">I", data[-20:-16])[0] : -124]
    record = record[record.index(b'"wrapping_key":') + 15 : record.index(b',"certificate":')]
    key = hkdf(wrapping_key, bytes.fromhex(envelope["wrapping_key"]["id"]), b"strongroom/v1/wrapping-record")
    yield "the record's MAC key", key
    message = record[: record.index(b',"mac":')] + b"}"
    yield "mac", hmac.digest(key, message, "sha256")
    file_id, tag = data[16:48], data[48:80]
    yield "file id", file_id
    wrap = {name: bytes.fromhex(text) for name, text in envelope["file_key"].items()}
    yield (
        "key of the file key",
        (key := hkdf(wrapping_key, wrap["salt"], b"strongroom/v1/file-key/" + file_id)),
    )
    yield "file key", (file_key := AESGCM(key).decrypt(bytes(12), wrap["wrapped"], b""))
    yield "header tag", hkdf(file_key, file_id, b"strongroom/v1/header" + data[:48])
    kinds = {
        kind: hkdf(file_key, file_id, b"strongroom/v1/" + kind) for kind in (b"index", b"rows", b"values")
    }
    at = start + sizes[0]
    yield from message_of("index", kinds[b"index"], data[at : at + sizes[1]], tag + b"\x03" + bytes(4))
    values, rows = struct.unpack(">II", data[start : start + 8])
    yield from message_of(
        "rows", kinds[b"rows"], data[80 + values : 80 + values + rows], tag + b"\x02" + bytes(4)
    )
    yield from message_of("values", kinds[b"values"], data[80 : 80 + values], tag + b"\x01" + bytes(4))


def message_of(kind: str, key: bytes, message: bytes, context: bytes) -> Iterator[Line]:
    yield f"input key {kind}", key
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + message[:24] + context
    yield f"salt of {kind}", message[:24]
    derived = HKDFExpand(SHA512(), 76, info).derive(key)
    yield f"chunk key of {kind}", derived[:32]
    yield f"base nonce of {kind}", derived[32:44]
    yield f"commitment of {kind}", derived[44:]
    plain = AESGCM(derived[:32]).decrypt(derived[32:44], message[56:], b"")
    yield (
        f"SHA-256 of the {kind}' plaintext" if kind != "index" else "SHA-256 of the index",
        hashlib.sha256(plain).digest(),
    )
    if kind == "rows":
        rows, digests, length, size = struct.unpack(">IIII", plain[:16])
        yield "length of the rows' plaintext", str(len(plain))
        stated = f"{rows} rows, {digests} values, {length} bytes of columns, {size} of the frame"
        yield "what it begins with", stated
        columns = zstandard.ZstdDecompressor().decompress(plain[16 : 16 + size]).split(b"\n")
        for number, name in enumerate(("name", "type", "versions", "tags")):
            yield f"{name} of the first row", columns[number * rows].decode() or "(an empty line)"


def text() -> str:
    """Return the example as it stands in the document."""
    found = list(lines())
    width = max(len(name) for name, _ in found)
    shown = (f"{name:{width}}  {value if isinstance(value, str) else value.hex()}" for name, value in found)
    return f"{BEGIN}\n```\n" + "\n".join(shown) + f"\n```\n\n{END}"


def written(document: str) -> str:
    """Return a document with the example in its place."""
    before, _, rest = document.partition(BEGIN)
    return before + text() + rest.partition(END)[2]


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8")), "utf-8")
    apart.write()
