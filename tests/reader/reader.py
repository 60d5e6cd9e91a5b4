"""A reader of the formats, written from FORMAT.md alone: a third one, to hold the other two to the document.

It imports nothing of the product and nothing of recover.py. It is for tests: it takes whole files in memory,
and stops at the first failure, with the class that the document names.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import re
import struct
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.reader.jsontext import BadJsonError, Json, Number, Object, canonical, parse


class RefusedError(Exception):
    """What is read is refused; ``kind`` is the class of section *How failures are named*."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def refuse(kind: str) -> NoReturn:
    raise RefusedError(kind)


def require(condition: object, kind: str) -> None:
    if not condition:
        refuse(kind)


# -- conventions -----------------------------------------------------------------


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA512(), 32, salt or None, info).derive(key)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def fingerprint(public: bytes) -> str:
    return f"sr1:{sha(public).hex()}"


def gcm(key: bytes, sealed: bytes, nonce: bytes = bytes(12)) -> bytes | None:
    try:
        return AESGCM(key).decrypt(nonce, sealed, b"")
    except InvalidTag:
        return None


SMALL = (
    *(value.to_bytes(32, "little") for value in (0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18)),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
)


def signed(public: bytes, domain: str, message: bytes, signature: bytes) -> None:
    require(public[:31] + bytes([public[31] & 0x7F]) not in SMALL, "Tampered")
    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, domain.encode() + b"\x00" + message)
    except (InvalidSignature, ValueError):
        refuse("Tampered")


def cobblestone(key: bytes, message: bytes, context: bytes) -> bytes:
    require(len(message) >= 72, "Tampered")
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + message[:24] + context
    material = HKDFExpand(hashes.SHA512(), 76, info).derive(key)
    require(hmac.compare_digest(material[44:], message[24:56]), "Tampered")
    plain, at, number = bytearray(), 56, 0
    while True:
        chunk = message[at : at + 16_400]
        nonce = bytes(a ^ b for a, b in zip(material[32:44], number.to_bytes(12, "big"), strict=True))
        opened = gcm(material[:32], chunk, nonce) if len(chunk) >= 16 else None
        if opened is None:
            refuse("Tampered")
        plain += opened
        at, number = at + len(chunk), number + 1
        if len(chunk) < 16_400:
            return bytes(plain)


Check = Callable[[Json], Any]


def text(value: Json) -> str:
    require(isinstance(value, str), "Malformed")
    return str(value)


def truth(value: Json) -> bool:
    require(isinstance(value, bool), "Malformed")
    return bool(value)


def integer(value: Json) -> int:
    if not isinstance(value, Number):
        refuse("Malformed")
    require(0 <= int(value) < 1 << 64, "Malformed")
    return int(value)


def hexed(*sizes: int) -> Check:
    def check(value: Json) -> str:
        fits = isinstance(value, str) and re.fullmatch("[0-9a-f]*", value)
        require(fits and len(str(value)) in [2 * size for size in sizes], "Malformed")
        return str(value)

    return check


def listed(check: Check) -> Check:
    def check_all(value: Json) -> list[Any]:
        if not isinstance(value, list):
            refuse("Malformed")
        return [check(each) for each in value]

    return check_all


def mapping(check: Check, *, in_order: bool = True) -> Check:
    def check_all(value: Json) -> dict[str, Any]:
        if not isinstance(value, Object):
            refuse("Malformed")
        names = list(value.members)
        require(not in_order or names == sorted(names, key=str.encode), "Malformed")
        return {name: check(each) for name, each in value.members.items()}

    return check_all


def record(**members: Check) -> Check:
    """Return a check of an object that has just these members, in this order."""

    def check_all(value: Json) -> dict[str, Any]:
        require(isinstance(value, Object) and list(value.members) == list(members), "Malformed")
        assert isinstance(value, Object)
        return {name: check(value.members[name]) for name, check in members.items()}

    return check_all


def sparse(required: tuple[str, ...], **members: Check) -> Check:
    """Return a check of an object whose members may be left out, but for some; its checks refuse defaults."""

    def check_all(value: Json) -> dict[str, Any]:
        if not isinstance(value, Object):
            refuse("Malformed")
        names = list(value.members)
        require(names == [name for name in members if name in names], "Malformed")
        require(all(name in names for name in required), "Malformed")
        return {name: members[name](each) for name, each in value.members.items()}

    return check_all


def other_than(check: Check, *defaults: object) -> Check:
    def check_it(value: Json) -> Any:
        found = check(value)
        require(found not in defaults, "Malformed")
        return found

    return check_it


def optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def one_of(*allowed: str) -> Check:
    def check(value: Json) -> str:
        require(value in allowed, "Malformed")
        return text(value)

    return check


def decode(data: bytes, check: Check) -> Any:
    """Decode canonical JSON."""
    try:
        value, _ = parse(data)
        found = check(value)
        require(canonical(value).encode() == data, "Malformed")
    except BadJsonError:
        refuse("Malformed")
    return found


BAD = (
    (0, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x200B, 0x200F), (0x2028, 0x202E),
    (0x2060, 0x206F), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFF), (0xE0000, 0xE0FFF),
)  # fmt: skip


def printable(most: int) -> Check:
    def check(value: Json) -> str:
        points = [ord(char) for char in text(value)]
        require(len(points) <= most, "Malformed")
        require(not any(low <= point <= high for point in points for low, high in BAD), "Malformed")
        return text(value)

    return check


Ended = Callable[[bytes], bool]
Total = Callable[[bytes], int | None]


def ending(data: bytes, ended: Ended, total: Total) -> tuple[bool, bool]:
    return ended(data), total(data) == len(data)


def check_ending(data: bytes, ended: Ended, total: Total, size: int = 16) -> None:
    """Hold a file to the ending rule; its ending has ``size`` bytes."""
    right = ending(data, ended, total)
    if right == (True, True):
        return
    require(right == (False, False), "Tampered")
    for cut in range(1, min(4096, len(data)) - size + 1):
        shorter = data[:-cut]
        if ending(shorter, ended, total) == (True, True):
            refuse("Malformed")
    refuse("Truncated")


def binary(end: bytes) -> tuple[Callable[[bytes], bool], Callable[[bytes], int | None]]:
    return lambda data: data.endswith(end), lambda data: int.from_bytes(data[-16:-8], "big")


# -- keys ------------------------------------------------------------------------


@dataclass
class Keys:
    """What is at hand. ``private`` has pairs of a KEM's name and a seed, ``hsm`` of a version and a key."""

    passphrases: list[str] = field(default_factory=list)
    keyfiles: list[bytes] = field(default_factory=list)
    private: list[tuple[str, bytes]] = field(default_factory=list)
    quorums: list[bytes] = field(default_factory=list)
    hsm: list[tuple[int, ec.EllipticCurvePrivateKey]] = field(default_factory=list)
    pins: frozenset[str] = frozenset()
    distrusted: frozenset[str] = frozenset()
    lists: dict[str, int] = field(default_factory=dict)
    """The number of the highest trust list that was found, of each pinned installation."""


WRAP = {"salt": hexed(32), "wrapped": hexed(48)}


def between(low: int, high: int) -> Check:
    def check(value: Json) -> int:
        require(low <= integer(value) <= high, "Malformed")
        return integer(value)

    return check


def unwrap(key: bytes, args: dict[str, Any], info: bytes) -> bytes | None:
    return gcm(hkdf(key, bytes.fromhex(args["salt"]), info), bytes.fromhex(args["wrapped"]))


def open_passphrase(raw: Json, context: bytes, keys: Keys) -> bytes | None:
    rounds = between(100_000, 10_000_000)
    args = record(iterations=rounds, kdf_salt=hexed(32), salt=hexed(32), wrapped=hexed(48))(raw)
    for words in keys.passphrases:
        kdf = PBKDF2HMAC(hashes.SHA256(), 32, bytes.fromhex(args["kdf_salt"]), args["iterations"])
        kek = kdf.derive(unicodedata.normalize("NFC", words).encode())
        if key := unwrap(kek, args, b"strongroom/v1/wrap/passphrase/" + context):
            return key
    return None


def open_scrypt(raw: Json, context: bytes, keys: Keys) -> bytes | None:
    args = record(kdf_salt=hexed(32), log_n=between(15, 20), salt=hexed(32), wrapped=hexed(48))(raw)
    for words in keys.passphrases:
        kdf = Scrypt(bytes.fromhex(args["kdf_salt"]), 32, 1 << args["log_n"], 8, 1)
        kek = kdf.derive(unicodedata.normalize("NFC", words).encode())
        if key := unwrap(kek, args, b"strongroom/v1/wrap/scrypt/" + context):
            return key
    return None


def open_keyfile(raw: Json, context: bytes, keys: Keys) -> bytes | None:
    args = record(key=hexed(16), salt=hexed(32), wrapped=hexed(48))(raw)
    for key in keys.keyfiles:
        if hkdf(key, b"", b"strongroom/v1/keyfile-fingerprint")[:16].hex() == args["key"]:
            return unwrap(key, args, b"strongroom/v1/wrap/keyfile/" + context)
    return None


def open_hpke(raw: Json, info: bytes, private: list[tuple[str, bytes]]) -> bytes | None:
    args = record(kem=integer, key=hexed(32), sealed=text)(raw)
    for name, seed in private:
        number, size, suite, key, public = private_key(name, seed)
        if args["kem"] != number:
            continue
        sealed = bytes.fromhex(hexed(size + 48)(args["sealed"]))
        if sha(public).hex() != args["key"]:
            continue
        try:
            return suite.decrypt(sealed, key, info=info)
        except InvalidTag:
            continue
    return None


def private_key(name: str, seed: bytes) -> tuple[int, int, hpke.Suite, Any, bytes]:
    if name == "x25519":
        key = x25519.X25519PrivateKey.from_private_bytes(seed)
        suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA512, hpke.AEAD.AES_256_GCM)
        return 0x20, 32, suite, key, key.public_key().public_bytes_raw()
    expanded = hashlib.shake_256(seed).digest(96)
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    curve = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA512, hpke.AEAD.AES_256_GCM)
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return 0x647A, 1120, suite, hpke.MLKEM768X25519PrivateKey(lattice, curve), public


def key_line(line: str, passphrases: list[str]) -> tuple[str, bytes] | None:
    """Return name and key of a key's file; None if it is sealed and no passphrase at hand opens it."""
    kind, name, content, check = line.split(" ")
    require(sha(f"{kind} {name} {content}".encode()).hex()[:8] == check, "Malformed")
    if not kind.startswith("strongroom-sealed-"):
        return name, bytes.fromhex(content)
    size = {"strongroom-sealed-key-1": 16, "strongroom-sealed-private-key-1": 32}[kind]
    data = bytes.fromhex(hexed(size + 113)(content))
    log_n, own, kdf_salt, salt, wrapped = struct.unpack(f">B{size}s32s32s48s", data)
    require(15 <= log_n <= 20, "Malformed")
    inner = f"{kind.replace('sealed-', '')} {name} ".encode()
    for words in passphrases:
        kek = Scrypt(kdf_salt, 32, 1 << log_n, 8, 1).derive(unicodedata.normalize("NFC", words).encode())
        if key := gcm(hkdf(kek, salt, b"strongroom/v1/sealed-key/" + inner + own), wrapped):
            return name, key
    return None


CURVES = {16: (ec.SECP256R1, hashes.SHA256, 65), 17: (ec.SECP384R1, hashes.SHA384, 97)}


def open_hsm(raw: Json, context: bytes, keys: Keys) -> bytes | None:
    args = record(kem=between(16, 17), key=hexed(32), sealed=hexed(113, 145), version=between(1, 65_535))(raw)
    _, digest, size = CURVES[args["kem"]]
    sealed, version = bytes.fromhex(hexed(size + 48)(args["sealed"])), args["version"]
    info = b"strongroom/v1/wrap/pkcs11-ec/" + struct.pack(">H", version) + context
    for own, key in keys.hsm:
        public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        if own != version or sha(public).hex() != args["key"]:
            continue
        try:
            other = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, sealed[:size])
        except ValueError:
            continue
        dh = key.exchange(ec.ECDH(), other)
        return decapsulate(args["kem"], digest(), dh, sealed, public, info)
    return None


def decapsulate(  # noqa: PLR0917 - all that the RFC names
    kem: int, digest: hashes.HashAlgorithm, dh: bytes, sealed: bytes, public: bytes, info: bytes
) -> bytes | None:
    """RFC 9180: DHKEM's Decap (4.1), KeyScheduleR in base mode (5.1), Open of the first message (5.2)."""
    enc, size = sealed[: len(public)], digest.digest_size
    suite = b"KEM" + struct.pack(">H", kem)
    prk = extract(digest, suite, b"", b"eae_prk", dh)
    shared = expand(digest, suite, prk, b"shared_secret", enc + public, size)
    suite, sha512 = b"HPKE" + struct.pack(">HHH", kem, 3, 2), hashes.SHA512()
    context = b"\x00" + extract(sha512, suite, b"", b"psk_id_hash", b"")
    context += extract(sha512, suite, b"", b"info_hash", info)
    secret = extract(sha512, suite, shared, b"secret", b"")
    key = expand(sha512, suite, secret, b"key", context, 32)
    return gcm(key, sealed[len(public) :], expand(sha512, suite, secret, b"base_nonce", context, 12))


def extract(digest: hashes.HashAlgorithm, suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return HKDF.extract(digest, salt or bytes(digest.digest_size), b"HPKE-v1" + suite + label + ikm)


def expand(  # noqa: PLR0917 - as the RFC has it
    digest: hashes.HashAlgorithm, suite: bytes, prk: bytes, label: bytes, info: bytes, size: int
) -> bytes:
    data = struct.pack(">H", size) + b"HPKE-v1" + suite + label + info
    return HKDFExpand(digest, size, data).derive(prk)


def open_all_of(raw: Json, context: bytes, keys: Keys) -> bytes | None:
    args = record(legs=text, salt=hexed(32), wrapped=hexed(48))(raw)
    legs, data = legs_of(args["legs"])
    shares = b""
    for number, leg in enumerate(legs):
        bound = b"strongroom/v1/wrap/all-of/leg/" + bytes([number, len(legs)]) + context
        share = first_that_opens(leg, bound, keys)
        if share is None:
            return None
        shares += share
    return unwrap(shares, args, b"strongroom/v1/wrap/all-of/" + sha(data) + context)


def legs_of(legs: Json) -> tuple[list[list[dict[str, Any]]], bytes]:
    """Return the legs of an all-of stanza, and their canonical JSON."""
    require(len(text(legs)) % 2 == 0, "Malformed")
    data = bytes.fromhex(hexed(len(text(legs)) // 2)(legs))
    found = decode(data, listed(listed(STANZA)))
    require(2 <= len(found) <= 8 and all(1 <= len(leg) <= 8 for leg in found), "Malformed")
    require(not any(stanza["type"] == "all-of" for leg in found for stanza in leg), "Malformed")
    return found, data


def first_that_opens(stanzas: list[dict[str, Any]], context: bytes, keys: Keys) -> bytes | None:
    """Return what the first stanza gives that opens; one that is malformed counts if none does."""
    malformed = False
    for stanza in stanzas:
        try:
            if key := open_stanza(stanza, context, keys):
                return key
        except (RefusedError, BadJsonError):
            malformed = True
    require(not malformed, "Malformed")
    return None


def open_stanza(stanza: dict[str, Any], context: bytes, keys: Keys) -> bytes | None:
    kind, args = stanza["type"], stanza["args"]
    if kind in {"passphrase", "scrypt"} and keys.passphrases:
        return (open_scrypt if kind == "scrypt" else open_passphrase)(args, context, keys)
    if kind == "keyfile" and keys.keyfiles:
        return open_keyfile(args, context, keys)
    if kind == "hpke" and keys.private:
        return open_hpke(args, b"strongroom/v1/wrap/hpke/" + context, keys.private)
    if kind == "quorum" and keys.quorums:
        seeds = [("mlkem768-x25519", seed) for seed in keys.quorums]
        return open_hpke(args, b"strongroom/v1/wrap/quorum/" + context, seeds)
    if kind == "pkcs11-ec" and keys.hsm:
        return open_hsm(args, context, keys)
    return open_all_of(args, context, keys) if kind == "all-of" else None


def a_type(value: Json) -> str:
    require(re.fullmatch("[a-z0-9][a-z0-9.-]{0,31}", text(value)), "Malformed")
    return text(value)


def an_args(value: Json) -> Json:
    def check(each: Json) -> Json:
        require(isinstance(each, str) or integer(each) is not None, "Malformed")
        return each

    mapping(check)(value)
    return value


STANZA = record(type=a_type, label=printable(128), args=an_args)
RECORD = record(id=hexed(16), generation=between(1, 99_999_999), stanzas=listed(STANZA), mac=hexed(32))
CERTIFICATE = re.compile(
    rb'\{"installation":"([0-9a-f]{64})","role":"([a-z]{1,16})","key":"([0-9a-f]{64})",'
    rb'"issued_at":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z","signature":"([0-9a-f]{128})"\}'
)


def check_stanzas(found: dict[str, Any]) -> None:
    require(1 <= len(found["stanzas"]) <= 64, "Malformed")
    require(sum(map(cost, found["stanzas"])) <= 1 << 25, "Malformed")


def cost(stanza: dict[str, Any]) -> int:
    """What trying a passphrase on a stanza costs; one that breaks a bound is never tried."""
    args = stanza["args"].members
    try:
        match stanza["type"]:
            case "passphrase":
                return int(between(100_000, 10_000_000)(args.get("iterations")))
            case "scrypt":
                return 16 << between(15, 20)(args.get("log_n"))
            case "all-of":
                return sum(cost(each) for leg in legs_of(args.get("legs"))[0] for each in leg)
    except (RefusedError, BadJsonError):
        pass
    return 0


def installation_of(data: bytes) -> str:
    """Return the fingerprint of the installation that a sound document is of."""
    match = CERTIFICATE.fullmatch(data.split(b"\n")[2][14:-1])
    assert match
    return fingerprint(bytes.fromhex(match[1].decode()))


def signer(certificate: bytes, roles: tuple[str, ...], keys: Keys) -> bytes:
    """Hold a certificate to section 12; return the key that it is of."""
    pins = keys.pins
    match = CERTIFICATE.fullmatch(certificate)
    if match is None:
        refuse("Malformed")
    installation, role, key, signature = (part.decode() for part in match.groups())
    unsigned = certificate[: certificate.rindex(b',"signature":')] + b"}"
    public = bytes.fromhex(installation)
    signed(public, "strongroom/v1/certificate", unsigned, bytes.fromhex(signature))
    require(role in roles, "UntrustedSigner")
    require(not pins or fingerprint(public) in pins, "UntrustedSigner")
    require(key not in keys.distrusted, "UntrustedSigner")
    return bytes.fromhex(key)


def unlock(raw: dict[str, Any], keys: Keys, body: bytes) -> bytes:
    """Open a record. ``body`` is its canonical JSON."""
    identity = bytes.fromhex(raw["id"])
    key = first_that_opens(raw["stanzas"], b"strongroom/v1/wrapping-key/" + identity, keys)
    if key is None:
        refuse("WrongKey")
    message = body[: body.rindex(b',"mac":')] + b"}"
    mac = hmac.digest(hkdf(key, identity, b"strongroom/v1/wrapping-record"), message, "sha256")
    require(hmac.compare_digest(mac.hex(), raw["mac"]), "Tampered")
    return key


# -- containers ------------------------------------------------------------------


@dataclass(frozen=True)
class Secret:
    """A row's lines, what they say, its metadata as it was written, and its values."""

    line: bytes
    row: dict[str, Any]
    metadata: bytes
    values: list[bytes]


@dataclass(frozen=True)
class Outer:
    """What of a container is known without a key."""

    data: bytes
    header: bytes
    entries: list[tuple[int, int, bytes, bytes]]
    directory: bytes
    index: bytes
    envelope: dict[str, Any]
    record: bytes
    key: str


def outer(data: bytes, keys: Keys, entry: dict[str, Any] | None = None) -> Outer:
    marks = binary(b"\nSRCTEND")
    if not data.startswith(b"SRCT\r\n\x1a\n"):
        require(not b"SRCT\r\n\x1a\n".startswith(data[:8]) or len(data) >= 8, "Truncated")
        require(data[16:21] != b"gAAAA", "LegacyFormat")
        refuse("Tampered" if len(data) >= 16 and ending(data, *marks) == (True, True) else "NotABackup")
    require(len(data) >= 204, "Truncated")
    require(data[8:16] == bytes([0, 1, 0, 2, 0, 0, 0, 0]), "UnsupportedVersion")
    check_ending(data, *marks)
    sizes = struct.unpack(">III", data[-28:-16])
    start = len(data) - 124 - sum(sizes)
    require(
        start >= 80 and sizes[0] <= 65_536 * 72 and sizes[1] <= 1 << 24 and sizes[2] <= 1 << 18, "Malformed"
    )
    a, b = start + sizes[0], start + sizes[0] + sizes[1]
    directory, index, envelope = data[start:a], data[a:b], data[b:-124]
    message = data[:80] + sha(directory) + sha(index) + sha(envelope) + data[-28:]
    signed(data[-124:-92], "strongroom/v1/container", message, data[-92:-28])
    found, written, certificate = split_envelope(envelope)
    match = CERTIFICATE.fullmatch(certificate)
    require(match, "Malformed")
    require(match and match[3].decode() == data[-124:-92].hex(), "Tampered")
    signer(certificate, ("seal", "recover"), keys)
    entries = tiles(directory, start)
    by = data[-124:-92].hex(), data[-92:-28].hex()
    require(not entry or by == (entry["signer"], entry["container_signature"]), "Tampered")
    return Outer(data, data[:80], entries, directory, index, found, written, data[-124:-92].hex())


def split_envelope(envelope: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    """Return an envelope, its record as it was written, and the certificate as it was written."""
    shape = record(
        file_key=record(**WRAP), wrapping_key=RECORD, certificate=lambda value: canonical(value).encode()
    )
    found = decode(envelope, shape)
    check_stanzas(found["wrapping_key"])
    value, _ = parse(envelope)
    assert isinstance(value, Object)
    return found, canonical(value.members["wrapping_key"]).encode(), found["certificate"]


def tiles(directory: bytes, end: int) -> list[tuple[int, int, bytes, bytes]]:
    require(len(directory) % 72 == 0, "Malformed")
    entries = list(struct.iter_unpack(">II32s32s", directory))
    require(all(rows and max(values, rows) <= 80 << 20 for values, rows, _, _ in entries), "Malformed")
    require(80 + sum(values + rows for values, rows, _, _ in entries) == end, "Malformed")
    return entries


def a_segment(value: Json) -> tuple[str, int, int]:
    if not isinstance(value, list):
        refuse("Malformed")
    require(len(value) == 3, "Malformed")
    return text(value[0]), integer(value[1]), integer(value[2])


INDEX = record(
    backup_id=text, piece=integer, pieces=integer, source=text, policy=text, values=truth, created_at=text,
    name_key=hexed(32), first=hexed(16, 0), last=hexed(16, 0), signer=hexed(32), directory=hexed(32),
    segments=listed(a_segment),
)  # fmt: skip


@dataclass(frozen=True)
class Container:
    """An opened container."""

    index: dict[str, Any]
    secrets: list[Secret]


def unlocked(
    found: Outer, keys: Keys, newer: tuple[dict[str, Any], bytes] | None
) -> tuple[dict[str, Any], bytes, list[bytes]]:
    """Return a container's index, the tag of its header and the keys of its values and rows."""
    own, written = found.envelope["wrapping_key"], found.record
    if newer:
        require(newer[0]["id"] == own["id"], "Tampered")
        require(newer[0]["generation"] > own["generation"], "Stale")
        own, written = newer
    wrapping_key, file_id, tag = unlock(own, keys, written), found.header[16:48], found.header[48:]
    file_key = unwrap(wrapping_key, found.envelope["file_key"], b"strongroom/v1/file-key/" + file_id)
    if file_key is None:
        refuse("Tampered")
    right = hkdf(file_key, file_id, b"strongroom/v1/header" + found.header[:48])
    require(hmac.compare_digest(right, tag), "Tampered")
    sub = [hkdf(file_key, file_id, b"strongroom/v1/" + kind) for kind in (b"values", b"rows", b"index")]
    return open_index(cobblestone(sub[2], found.index, tag + b"\x03" + bytes(4)), found), tag, sub[:2]


def container(found: Outer, keys: Keys, newer: tuple[dict[str, Any], bytes] | None = None) -> Container:
    index, tag, sub = unlocked(found, keys, newer)
    secrets: list[Secret] = []
    at = 80
    for number, (values, rows, values_sha, rows_sha) in enumerate(found.entries):
        v, r = found.data[at : at + values], found.data[at + values : at + values + rows]
        at += values + rows
        require(sha(r) == rows_sha and (sha(v) if v else bytes(32)) == values_sha, "Tampered")
        place = struct.pack(">I", number)
        packed = cobblestone(sub[1], r, tag + b"\x02" + place)
        plain = cobblestone(sub[0], v, tag + b"\x01" + place) if v else None
        secrets += segment(packed, plain, index, number)
    hashed = [name_hash(index, secret) for secret in secrets]
    require(
        min(hashed, default="") == index["first"] and max(hashed, default="") == index["last"], "Malformed"
    )
    return Container(index, secrets)


def name_hash(index: dict[str, Any], secret: Secret) -> str:
    return hmac.digest(bytes.fromhex(index["name_key"]), secret.row["name"].encode(), "sha256")[:16].hex()


def open_index(data: bytes, found: Outer) -> dict[str, Any]:
    index: dict[str, Any] = decode(unpadded(data, len(data.rstrip(b"\0"))), INDEX)
    require(index["signer"] == found.key and index["directory"] == sha(found.directory).hex(), "Tampered")
    require(0 <= index["piece"] < index["pieces"], "Malformed")
    segments = index["segments"]
    require(len(segments) == len(found.entries), "Malformed")
    require(all((values > 0) == index["values"] for values, _, _, _ in found.entries), "Malformed")
    require(all(1 <= secrets <= versions for _, secrets, versions in segments), "Malformed")
    bounds = [bound.encode() for bound, _, _ in segments]
    require(not bounds or bounds[0] == b"", "Malformed")
    require(all(a < b for a, b in itertools.pairwise(bounds)), "Malformed")
    size = 32 if segments else 0
    require(
        len(index["first"]) == len(index["last"]) == size and index["first"] <= index["last"], "Malformed"
    )
    return index


def segment(packed: bytes, plain: bytes | None, index: dict[str, Any], number: int) -> list[Secret]:
    require(len(packed) >= 16, "Malformed")
    rows, values, length, size = struct.unpack(">IIII", packed[:16])
    end = 16 + size + 16 * values
    require(end <= len(packed) and length <= 32 << 20 and rows > 0, "Malformed")
    unpadded(packed, end)
    secrets = list(split(decompress(packed[16 : 16 + size], length), rows, plain))
    stored = [part for secret in secrets for part in secret.values]
    require(len(stored) == values, "Malformed")
    if plain is not None:
        unpadded(plain, sum(map(len, stored)))
    _, many, versions = index["segments"][number]
    names = [secret.row["name"].encode() for secret in secrets]
    require(all(a < b for a, b in itertools.pairwise(names)), "Malformed")
    bounds = [bound.encode() for bound, _, _ in index["segments"]][number : number + 2]
    require(bounds[0] <= names[0] and all(names[-1] < bound for bound in bounds[1:]), "Malformed")
    require((len(secrets), sum(len(s.row["versions"]) for s in secrets)) == (many, versions), "Malformed")
    return secrets


def decompress(frame: bytes, length: int) -> bytes:
    try:
        stated = zstandard.get_frame_parameters(frame)
        require(stated.content_size == length and stated.window_size <= 32 << 20, "Malformed")
        opened = zstandard.ZstdDecompressor().decompressobj()
        data = opened.decompress(frame)
    except zstandard.ZstdError:
        refuse("Malformed")
    require(opened.eof and not opened.unused_data and len(data) == length, "Malformed")
    return data


def split(columns: bytes, rows: int, plain: bytes | None) -> Iterator[Secret]:
    lines = columns.split(b"\n")
    require(len(lines) == 9 * rows + 1 and lines[-1] == b"", "Malformed")
    at = 0
    for number in range(rows):
        own = [lines[column * rows + number] for column in range(9)]
        row, values = a_row(own), []
        for version in row["versions"]:
            if version["length"] is not None:
                require(plain is not None, "Malformed")
                values.append((plain or b"")[at : at + version["length"]])
                require(len(values[-1]) == version["length"], "Malformed")
                at += version["length"]
        require(plain is not None or not own[8], "Malformed")
        yield Secret(b"".join(line + b"\n" for line in own), row, own[8], values)


def a_rotation(value: Json) -> dict[str, Any]:
    found: dict[str, Any] = sparse(("days",), days=integer, enabled=other_than(truth, True))(value)
    return found


VERSION: dict[str, Check] = {
    "number": integer, "length": optional(integer), "media": one_of("text", "json", "binary"),
    "state": one_of("live", "deleted", "destroyed"), "created_at": optional(text),
}  # fmt: skip


def a_version(value: Json) -> dict[str, Any]:
    if not isinstance(value, list):
        refuse("Malformed")
    require(len(value) == len(VERSION), "Malformed")
    return {name: check(each) for (name, check), each in zip(VERSION.items(), value, strict=True)}


DATED = {"created_at": text, "updated_at": text, "expires_at": text}
COLUMNS: dict[str, Check] = {
    "name": text, "type": text, "versions": listed(a_version),
    "tags": other_than(mapping(text, in_order=False), {}), **DATED, "rotation": a_rotation,
}  # fmt: skip


def a_row(lines: list[bytes]) -> dict[str, Any]:
    """Return what the lines of a row say, but for its metadata, which is only held to the rules."""
    row: dict[str, Any] = {}
    for (name, check), line in zip(COLUMNS.items(), lines[:8], strict=True):
        if line or name in {"name", "type", "versions"}:
            row[name] = decode(line, check)
    if metadata := lines[8]:
        require(metadata.startswith(b"{") and metadata.endswith(b"}"), "Malformed")
        try:
            held, depth = parse(metadata)
        except BadJsonError:
            refuse("Malformed")
        require(isinstance(held, Object) and held.members and depth <= 64, "Malformed")
    ascending([version["number"] for version in row["versions"]])
    return row


def ascending(numbers: list[int]) -> None:
    require(numbers and all(a < b for a, b in itertools.pairwise(numbers)), "Malformed")


def unpadded(plain: bytes, length: int) -> bytes:
    require(len(plain) == padme(length) and plain[length:].count(0) == len(plain) - length, "Malformed")
    return plain[:length]


def padme(n: int) -> int:
    if n <= 4096:
        return 4096
    e = n.bit_length() - 1
    s = e.bit_length()
    step = 1 << (e - s)
    return -(-n // step) * step


# -- indexes of names --------------------------------------------------------------

OLDER: tuple[Check, ...] = (
    integer, integer, one_of("live", "deleted", "destroyed"), truth, optional(text), optional(text),
)  # fmt: skip


def an_older(value: Json) -> list[Any]:
    if not isinstance(value, list):
        refuse("Malformed")
    require(len(value) == len(OLDER), "Malformed")
    return [check(one) for check, one in zip(OLDER, value, strict=True)]


def a_block(value: Json) -> tuple[str, int]:
    if not isinstance(value, list):
        refuse("Malformed")
    require(len(value) == 2, "Malformed")
    return text(value[0]), integer(value[1])


NAMES_HEAD = record(
    source=text, containers=hexed(32), previous=optional(record(backup_id=text, sha256=hexed(32))),
    blocks=listed(a_block),
)  # fmt: skip
NAME_COLUMNS: dict[str, tuple[Check, Json]] = {
    "name": (text, None), "number": (integer, None),
    "state": (one_of("deleted", "destroyed"), "live"), "written_at": (text, None),
    "tags": (other_than(mapping(text), {}), {}), "expires_at": (text, None),
    "stored": (other_than(truth, True), True), "older": (other_than(listed(an_older), []), []),
}  # fmt: skip


def names(found: Container) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the head of an index of names, and its rows."""
    require(found.index["source"] == "strongroom-names/1", "NotABackup")
    parts = {secret.row["name"]: secret.values[0] for secret in found.secrets}
    head = decode(parts.pop("head"), NAMES_HEAD)
    require(sorted(parts) == [f"{number:08}" for number in range(len(head["blocks"]))], "Malformed")
    rows = [
        row
        for part, (first, count) in zip(sorted(parts), head["blocks"], strict=True)
        for row in block(parts[part], first, count)
    ]
    ascending_names = [canonical(row["name"]).encode() for row in rows]
    require(all(a < b for a, b in itertools.pairwise(ascending_names)), "Malformed")
    return head, rows


def block(packed: bytes, first: str, count: int) -> list[dict[str, Any]]:
    rows, values, length, size = struct.unpack(">IIII", packed[:16])
    require(rows == count and length <= 16 << 20 and len(packed) == 16 + size + 16 * values, "Malformed")
    lines = decompress(packed[16 : 16 + size], length).split(b"\n")
    require(len(lines) == len(NAME_COLUMNS) * rows + 1 and lines[-1] == b"", "Malformed")
    digests = iter(packed[at : at + 16].hex() for at in range(16 + size, len(packed), 16))
    found = []
    for number in range(rows):
        row: dict[str, Any] = {"digest": ""}
        for column, (name, (check, default)) in enumerate(NAME_COLUMNS.items()):
            line = lines[column * rows + number]
            row[name] = decode(line, check) if line or name == "name" else default
        if row["number"] is None:
            require(not any(lines[column * rows + number] for column in range(1, 8)), "Malformed")
        elif row["stored"]:
            row["digest"] = next(digests, "") or refuse("Malformed")
        below = -1
        for low, high, *_ in row["older"]:
            require(below < low <= high < row["number"], "Malformed")
            below = high
        require(sum(high - low + 1 for low, high, *_ in row["older"]) <= 100_000, "Malformed")
        found.append(row)
    require(next(digests, None) is None and found[0]["name"] == first, "Malformed")
    return found


# -- documents -------------------------------------------------------------------

_LENGTH = re.compile(rb',\n"length":"([0-9]{12})"\}\n')


def document_ended(data: bytes) -> bool:
    return data[-27:-15] == b',\n"length":"' and data[-3:] == b'"}\n'


def document_total(data: bytes) -> int | None:
    return int(data[-15:-3]) if re.fullmatch(rb"[0-9]{12}", data[-15:-3]) else None


def document_begun(data: bytes, kind: str) -> None:
    magic = f'{{"format":"strongroom-{kind}/1",\n'.encode()
    if data.startswith(magic):
        return
    require(not magic.startswith(data), "Truncated")
    version = re.match(magic[:-4] + rb'([0-9]{1,4})",\n', data)
    require(not version, "UnsupportedVersion")
    ours = re.match(
        rb'\{"format":"strongroom-(manifest|envelope|metadata|head|quarantine|deletion|hold|incident|audit-report'
        rb"|incident-report|recovery|recovery-report|drill-report|security-review|restore-plan|compliance-report|trust|index)/",
        data,
    )
    other = ours and not magic.startswith(ours[0])
    if not other and ending(data, document_ended, document_total) == (True, True):
        refuse("Tampered")
    refuse("NotABackup")


SIGNERS = {
    "manifest": ("control", "recover"), "head": ("control", "recover"), "quarantine": ("control", "recover"),
    "envelope": ("recover",), "deletion": ("prune", "control", "recover"), "hold": ("control", "recover"),
    "trust": ("installation",),
    "index": ("control", "recover"),
}  # fmt: skip


def document(data: bytes, kind: str, keys: Keys) -> bytes:
    """Return the body of a signed document."""
    require(len(data) <= (263_168 if kind == "envelope" else 64 << 20), "NotABackup")
    document_begun(data, kind)
    check_ending(data, document_ended, document_total, 27)
    lines = data.split(b"\n")
    shape = (b'"body":', b'"certificate":', b'"signature":"', b'"length":"')
    framed = len(lines) == 6 and all(map(bytes.startswith, lines[1:5], shape)) and not lines[5]
    require(framed and all(line.endswith(b",") for line in lines[1:4]), "Tampered")
    body, certificate, signature = lines[1][7:-1], lines[2][14:-1], lines[3][13:-2]
    match = CERTIFICATE.fullmatch(certificate)
    right = match and re.fullmatch(rb"[0-9a-f]{128}", signature) and lines[3].endswith(b'",')
    if not right or match is None:
        refuse("Tampered")
    public = bytes.fromhex(match[3].decode())
    signed(public, f"strongroom/v1/{kind}", body + b"\n" + certificate, bytes.fromhex(signature.decode()))
    signer(certificate, SIGNERS[kind], keys)
    return body


def envelope(data: bytes, keys: Keys) -> tuple[dict[str, Any], bytes]:
    body = document(data, "envelope", keys)
    require(len(body) <= 1 << 18, "Malformed")
    found = decode(body, RECORD)
    check_stanzas(found)
    return found, body


ENTRY = record(
    piece=integer, sha256=hexed(32), size=integer, secrets=integer, versions=integer, first=hexed(16, 0),
    last=hexed(16, 0), wrapping_key=hexed(16, 0), signer=hexed(32), container_signature=hexed(64, 0),
    signature=hexed(64),
)  # fmt: skip
RECEIPTED = (
    "piece", "sha256", "size", "secrets", "versions", "first", "last", "wrapping_key", "container_signature",
)  # fmt: skip
MANIFEST = record(
    backup_id=text, policy=text, source=text, created_at=text, values=truth, sealed=truth,
    selection=record(include=listed(text), exclude=listed(text), tags=mapping(text)),
    counts=record(secrets=integer, versions=integer, size=integer),
    recipients=listed(record(name=text, type=text, fingerprint=text, post_quantum=truth, describes=text)),
    targets=listed(record(name=text, address=text, region=text, provider=text, counts=truth)),
    quorum=integer, regions=integer, providers=integer, not_contained=listed(printable(1000)),
    containers=listed(ENTRY), previous=optional(hexed(32)), trust=between(0, 99_999_999),
)  # fmt: skip


def manifest(data: bytes, keys: Keys, *, receipts: bool = True) -> dict[str, Any]:
    body = document(data, "manifest", keys)
    require(not re.search(rb',"previous":(null|"[^"\\]*")\}\Z', body), "UnsupportedVersion")
    found: dict[str, Any] = decode(body, MANIFEST)
    entries = found["containers"]
    require(len(entries) <= 100_000 and len(found["not_contained"]) <= 1000, "Malformed")
    require([entry["piece"] for entry in entries] == list(range(len(entries))), "Malformed")
    for name in ("secrets", "versions", "size"):
        require(found["counts"][name] == sum(entry[name] for entry in entries), "Malformed")
    last = ""
    for entry in entries:
        size = 32 if found["sealed"] and entry["secrets"] else 0
        require(len(entry["first"]) == len(entry["last"]) == size, "Malformed")
        require(len(entry["wrapping_key"]) == (32 if found["sealed"] else 0), "Malformed")
        require(len(entry["container_signature"]) == (128 if found["sealed"] else 0), "Malformed")
        require(not size or last < entry["first"] <= entry["last"], "Malformed")
        last = entry["last"] or last
    require(found["trust"] <= keys.lists.get(installation_of(data), found["trust"]), "TrustListMissing")
    for entry in entries if receipts else ():
        receipt = ",".join(
            f'"{name}":{entry[name]}' if isinstance(entry[name], int) else f'"{name}":"{entry[name]}"'
            for name in RECEIPTED
        )
        message = f'{{"run":{canonical(found["backup_id"])},{receipt}}}'.encode()
        public, signature = bytes.fromhex(entry["signer"]), bytes.fromhex(entry["signature"])
        signed(public, "strongroom/v1/receipt", message, signature)
    return found


ZONED = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def moment(value: Json) -> str:
    require(ZONED.fullmatch(text(value)), "Malformed")
    try:
        datetime.fromisoformat(text(value))
    except ValueError:
        refuse("Malformed")
    return text(value)


def head(data: bytes, keys: Keys) -> bytes:
    require(len(data) <= 1 << 18, "Malformed")
    body = document(data, "head", keys)
    require(not re.search(rb',"made_at":"[^"\\]*"\}\Z', body), "UnsupportedVersion")
    a_head(body)
    return body


TRUST = record(
    number=between(1, 99_999_999),
    distrusted=listed(record(key=hexed(32), since=moment, reason=printable(1000))),
    successor=optional(hexed(32)), made_at=moment,
)  # fmt: skip


def trust(data: bytes, keys: Keys) -> bytes:
    require(len(data) <= 1 << 20, "Malformed")
    body = document(data, "trust", keys)
    certificate = CERTIFICATE.fullmatch(data.split(b"\n")[2][14:-1])
    require(certificate is not None and certificate[1] == certificate[3], "UntrustedSigner")
    leaked = [each["key"] for each in decode(body, TRUST)["distrusted"]]
    require(leaked == sorted(set(leaked)), "Malformed")
    return body


RECEIPT = record(
    backup_id=text, sha256=hexed(32), container_signature=hexed(64), containers=hexed(32), chain=text,
    previous=optional(record(backup_id=text, sha256=hexed(32))), made_at=moment,
)  # fmt: skip


def index_receipt(data: bytes, keys: Keys) -> bytes:
    require(len(data) <= 16 * 1024, "Malformed")
    body = document(data, "index", keys)
    found = decode(body, RECEIPT)
    own, chain, before = found["backup_id"], found["chain"], found["previous"]
    follows = chain <= before["backup_id"] < own if before else chain == own
    require(follows and (not before or chain != own), "Malformed")
    return body


MARKED = between(1, 99_999_999)
HEAD = record(
    ledger=hexed(32), event=other_than(integer, 0), at=moment, sha256=hexed(32), made_at=moment,
    trust=between(0, 99_999_999), backups=mapping(other_than(text, "")), marks=mapping(MARKED),
)  # fmt: skip


def a_head(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = decode(body, HEAD)
    require(len(found["backups"]) <= 1000 and len(found["marks"]) <= 4000, "Malformed")
    return found


MARK = record(
    backup_id=printable(1000), number=between(1, 99_999_999), state=one_of("quarantined", "released"),
    reason=printable(1000), incident=printable(1000), by=printable(1000), at=moment,
)  # fmt: skip

DELETION = record(
    backup_id=printable(1000), number=between(1, 99_999_999), state=one_of("marked", "undeleted", "deleted"),
    after=printable(1000), reason=printable(1000), run=printable(1000), by=printable(1000), at=moment,
)  # fmt: skip
HOLD = record(
    kind=one_of("backup", "tag", "policy", "everything"), subject=printable(1000),
    number=between(1, 99_999_999), state=one_of("held", "released"), reason=printable(1000),
    by=printable(1000), at=moment, until=printable(1000),
)  # fmt: skip


def deletion(data: bytes, keys: Keys) -> bytes:
    require(len(data) <= 16 * 1024, "Malformed")
    body = document(data, "deletion", keys)
    found = decode(body, DELETION)
    require((found["state"] == "marked") == bool(found["after"]), "Malformed")
    if found["after"]:
        moment(found["after"])
    if found["state"] != "undeleted":
        certificate = CERTIFICATE.fullmatch(data.split(b"\n")[2][14:-1])
        require(certificate is not None and certificate[2] == b"prune", "UntrustedSigner")
    return body


def hold(data: bytes, keys: Keys) -> bytes:
    require(len(data) <= 16 * 1024, "Malformed")
    body = document(data, "hold", keys)
    found = decode(body, HOLD)
    if found["until"]:
        require(found["state"] == "held", "Malformed")
        moment(found["until"])
    require((found["kind"] == "everything") != bool(found["subject"]), "Malformed")
    return body


READ_ON = 100_000


def known_by_heads(objects: Mapping[str, bytes], keys: Keys) -> tuple[dict[str, str], dict[str, int]]:
    """Return each policy's newest backup, and how far the marks of each backup go, by the heads there."""
    shape = re.compile(r"ledger/([0-9a-f]{16})/[0-9]{4}-[0-9]{2}/[0-9]{12}-[0-9a-f]{16}\.json")
    backups: dict[str, str] = {}
    marks: dict[str, int] = {}
    seen: set[str] = set()
    for name in sorted(filter(shape.fullmatch, objects), reverse=True):
        if (ledger := name[7:23]) in seen:
            continue
        try:
            found = a_head(head(objects[name], keys))
            own = f"{found['ledger'][:16]}/{found['made_at'][:7]}/{found['event']:012}-{found['sha256'][:16]}"
            require(name == f"ledger/{own}.json", "Tampered")
        except RefusedError:
            continue
        stated = installation_of(objects[name])
        require(found["trust"] <= keys.lists.get(stated, found["trust"]), "TrustListMissing")
        seen.add(ledger)
        for policy, backup in found["backups"].items():
            backups[policy] = max(backup, backups.get(policy, ""))
        for backup, number in found["marks"].items():
            marks[backup] = max(number, marks.get(backup, 0))
    return backups, marks


@dataclass(frozen=True)
class Standing:
    """What the quarantine marks of a backup say: whether it is set aside, whether nobody can tell, and the
    class of what is ignored among them."""

    aside: bool
    unseen: bool
    ignored: str = ""


def standing(objects: Mapping[str, bytes], backup: str, keys: Keys) -> Standing:
    """Return what the mark with the highest number that counts says, if it is the one that is due."""
    shape = re.compile(re.escape(f"quarantine/{backup}/") + r"[0-9]{8}\.json")
    ignored = ""
    number, aside = 0, False
    names = sorted(filter(shape.fullmatch, objects), reverse=True)
    for name in names[:READ_ON]:
        try:
            require(len(objects[name]) <= 16 * 1024, "Malformed")
            found = decode(document(objects[name], "quarantine", keys), MARK)
            require(f"quarantine/{found['backup_id']}/{found['number']:08}.json" == name, "Tampered")
        except RefusedError as error:
            ignored = ignored or error.kind
            continue
        number, aside = found["number"], found["state"] == "quarantined"
        break
    due = known_by_heads(objects, keys)[1].get(backup, 0)
    unseen = number < due or (not number and len(names) > READ_ON)
    return Standing(aside and not unseen, unseen, ignored)


def is_gone_on_purpose(objects: Mapping[str, bytes], backup: str, keys: Keys, now: datetime) -> bool:
    """Tell whether the newest deletion mark of a backup that counts explains why it is not there."""
    shape = re.compile(re.escape(f"deletion/{backup}/") + r"[0-9]{8}\.json")
    for name in sorted(filter(shape.fullmatch, objects), reverse=True)[:READ_ON]:
        try:
            found = decode(deletion(objects[name], keys), DELETION)
            require(f"deletion/{found['backup_id']}/{found['number']:08}.json" == name, "Tampered")
        except RefusedError:
            continue
        marked = found["state"] == "marked"
        return found["state"] == "deleted" or (marked and datetime.fromisoformat(found["after"]) <= now)
    return False


ABOUT = record(backup_id=text, piece=integer, pieces=integer, source=text, policy=text, created_at=text)
PLAIN_VERSION = sparse(("number",), number=integer, state=one_of("deleted", "destroyed"), created_at=text)
PLAIN = sparse(
    ("name", "type", "versions"), name=text, type=text, versions=listed(PLAIN_VERSION),
    tags=other_than(mapping(text), {}), **DATED, rotation=a_rotation,
)  # fmt: skip


def metadata(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return what a metadata document says of itself, and its secrets' lines."""
    document_begun(data, "metadata")
    check_ending(data, document_ended, document_total, 27)
    found = re.search(rb',\n"digest":"sha256:([0-9a-f]{64})",\n"length":"[0-9]{12}"\}\n\Z', data)
    if found is None or sha(data[: found.start()]).hex().encode() != found[1]:
        refuse("Tampered")
    _, about, opened, *rows, closed = data[: found.start()].split(b"\n")
    require(about.startswith(b'"about":') and about.endswith(b","), "Malformed")
    require(opened == b'"secrets":[' and closed == b"]", "Malformed")
    said = decode(about[8:-1], ABOUT)
    require(0 <= said["piece"] < said["pieces"], "Malformed")
    require(all(row.endswith(b",") for row in rows[:-1]), "Malformed")
    lines = [*(row[:-1] for row in rows[:-1]), *rows[-1:]]
    for line in lines:
        require(len(line) <= 16 << 20, "Malformed")
        ascending([version["number"] for version in decode(line, PLAIN)["versions"]])
    return said, [line + b"\n" for line in lines]


OBJECT = record(name=text, offset=integer, size=integer, sha256=hexed(32))


def bundle(data: bytes) -> dict[str, bytes]:
    """Return a backup file's objects."""
    marks, magic = binary(b"\nSRBFEND"), b"SRBF\r\n\x1a\n"
    if not data.startswith(magic):
        require(not magic.startswith(data), "Truncated")
        refuse("Tampered" if len(data) >= 16 and ending(data, *marks) == (True, True) else "NotABackup")
    require(len(data) >= 62, "Truncated")
    require(data[8:10] == b"\x00\x01", "UnsupportedVersion")
    check_ending(data, *marks)
    size = int.from_bytes(data[-52:-48], "big")
    end = len(data) - 52 - size
    require(end >= 10 and size <= 64 << 20, "Malformed")
    require(sha(data[end:-52]) == data[-48:-16], "Tampered")
    listing = decode(data[end:-52], record(objects=listed(OBJECT)))["objects"]
    at, found = 10, {}
    for each in listing:
        segments = each["name"].split("/")
        require(all(re.fullmatch("[A-Za-z0-9_-][A-Za-z0-9._-]*", part) for part in segments), "Malformed")
        require(each["offset"] == at and each["name"] not in found, "Malformed")
        found[each["name"]] = data[at : at + each["size"]]
        at += each["size"]
    require(at == end, "Malformed")
    require(all(sha(found[each["name"]]).hex() == each["sha256"] for each in listing), "Tampered")
    return found


def legacy(data: bytes, passphrases: list[str]) -> bytes:
    require(data[16:21] == b"gAAAA", "NotABackup")
    token = data[16:]
    require(len(token) % 4 == 0, "Truncated")
    require(re.fullmatch(rb"[A-Za-z0-9_-]*={0,2}", token), "Malformed")
    raw = base64.urlsafe_b64decode(token)
    require(len(raw) >= 73 and (len(raw) - 57) % 16 == 0, "Truncated")
    for words in passphrases:
        key = PBKDF2HMAC(hashes.SHA256(), 32, data[:16], 100_000).derive(words.encode())
        try:
            return Fernet(base64.urlsafe_b64encode(key)).decrypt(token)
        except InvalidToken:
            continue
    refuse("WrongKey")


# -- a whole backup ----------------------------------------------------------------


@dataclass
class Whole:
    """A backup as it came out; ``aside`` names classes of what was left aside with nothing in its place."""

    manifest: dict[str, Any]
    secrets: list[Secret] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)


def directory(folder: Path) -> dict[str, bytes]:
    """Return the objects of a target on a disk: what a link leads to is not there."""
    found: dict[str, bytes] = {}
    for path, folders, files in os.walk(folder):  # which follows no link but the folder itself
        folders.sort()
        there = (Path(path, name) for name in files)
        found |= {
            str(each.relative_to(folder)): each.read_bytes()
            for each in there
            if not each.is_symlink() and each.is_file()
        }
    return found


COPIES = ("", *(f".r{n}" for n in range(1, 10)))


def by_lists(objects: Mapping[str, bytes], keys: Keys) -> Keys:
    """Return the keys with what the trust lists of the pinned installations say."""
    lists: dict[str, list[dict[str, Any]]] = {}
    for name, content in objects.items():
        match = re.fullmatch(r"trust/([0-9]{8})\.json(\.r[1-9])?", name)
        try:
            found = decode(trust(content, Keys()), TRUST) if match else None
        except RefusedError:
            continue
        if match and found and found["number"] == int(match[1]):
            lists.setdefault(installation_of(content), []).append(found)
    numbers: dict[str, int] = {}
    distrusted: set[str] = set()
    for pin in keys.pins:
        chain: dict[str, list[dict[str, Any]]] = {}
        following = [pin]
        while following:
            one = following.pop()
            if one not in chain:
                highest = max((each["number"] for each in lists.get(one, [])), default=0)
                chain[one] = [each for each in lists.get(one, []) if each["number"] == highest]
                named = [each["successor"] for each in chain[one] if each["successor"]]
                following += [fingerprint(bytes.fromhex(each)) for each in named]
        own = [each for found in chain.values() for each in found]
        highest = max((each["number"] for each in own), default=0)
        distrusted |= {key["key"] for each in own if each["number"] == highest for key in each["distrusted"]}
        numbers |= {one: max(highest, numbers.get(one, 0)) for one in chain}
    return replace(keys, pins=frozenset(numbers), distrusted=frozenset(distrusted), lists=numbers)


STATING = 8


def require_lists(objects: Mapping[str, bytes], ids: set[str], keys: Keys) -> None:
    """Refuse to go on without a list that one of the newest manifests states."""
    unasked, stating = replace(keys, lists={}), 0
    for backup in sorted(ids, reverse=True):
        for content in (objects.get(f"manifests/{backup}.json{copy}") for copy in COPIES):
            try:
                found = manifest(content, unasked, receipts=False) if content is not None else None
            except RefusedError:
                continue
            if found and found["backup_id"] == backup:
                require(found["trust"] <= keys.lists[installation_of(content or b"")], "TrustListMissing")
                stating += 1
                break
        if stating == STATING:
            return


def whole(objects: Mapping[str, bytes], keys: Keys, wanted: str | None = None) -> Whole:
    """Open the backup of a target by section 13."""
    names = [name for name in objects if re.fullmatch(r"manifests/[^/]+\.json(\.r[1-9])?", name)]
    ids = {re.sub(r"\.json(\.r[1-9])?$", "", name[len("manifests/") :]) for name in names}
    keys = by_lists(objects, keys)
    if keys.pins:
        require_lists(objects, ids, keys)
    if not ids:
        if wanted is None:
            fresh(objects, keys, "", set())
        refuse("NotABackup")
    require(wanted is None or wanted in ids, "MissingPiece")
    listing, pinned, aside = chosen(objects, keys, [wanted] if wanted else sorted(ids, reverse=True), wanted)
    try:
        return contents(objects, pinned, Whole(listing, aside=aside))
    except RefusedError:
        require(not is_shut(objects, listing, pinned), "WrongKey")
        raise


def chosen(
    objects: Mapping[str, bytes], keys: Keys, backups: list[str], wanted: str | None
) -> tuple[dict[str, Any], Keys, list[str]]:
    """Return the manifest of the backup that is taken, who is pinned then, and what was left aside."""
    refused: list[str] = []
    first: list[str] = []
    shown: set[str] = set()
    for backup in backups:
        found, own = believed(objects, keys, backup)
        shown |= {backup} if found or own[:1] == ["UntrustedSigner"] else set()
        if found is not None:
            listing, pinned = found
            stands = standing(objects, backup, pinned)
            own = [stands.ignored] if stands.ignored else []
            require(not stands.unseen and not (stands.aside and wanted), "BackupQuarantined")
            if not stands.aside:
                if not wanted:
                    fresh(objects, pinned, backup, shown)
                return listing, pinned, refused + own
            first.append("BackupQuarantined")
            own.append("BackupQuarantined")
        else:
            first.append(own[0])
        refused += own
    if not wanted:
        fresh(objects, keys, "", shown)
    refuse(next((kind for kind in ("BackupQuarantined", "UntrustedSigner") if kind in first), first[0]))


def believed(
    objects: Mapping[str, bytes], keys: Keys, backup: str
) -> tuple[tuple[dict[str, Any], Keys] | None, list[str]]:
    """Return a backup's manifest that counts and who is pinned then, and why other copies do not count."""
    refused: list[str] = []
    for name in (f"manifests/{backup}.json{copy}" for copy in COPIES):
        if name not in objects:
            continue
        try:
            found, pinned = manifest(objects[name], keys), keys
            require(found["backup_id"] == backup, "MissingPiece")
            if not keys.pins:
                alone = replace(keys, pins=frozenset({installation_of(objects[name])}))
                pinned = replace(by_lists(objects, alone), lists={})
                manifest(objects[name], pinned)
        except RefusedError as error:
            refused.append(error.kind)
            continue
        return (found, pinned), refused
    return None, refused


def fresh(objects: Mapping[str, bytes], keys: Keys, taken: str, shown: set[str]) -> None:
    """Refuse an older backup where the heads know of a newer one that is not there."""
    now = datetime.now(UTC)
    for newest in known_by_heads(objects, keys)[0].values() if keys.pins else ():
        if newest > taken and newest not in shown and not standing(objects, newest, keys).aside:
            require(is_gone_on_purpose(objects, newest, keys, now), "NewestUnseen")


WHOSE = ("backup_id", "policy", "source")


def contents(objects: Mapping[str, bytes], keys: Keys, into: Whole) -> Whole:
    listing, name_keys = into.manifest, set()
    newest: dict[str, tuple[dict[str, Any], bytes] | None] = {}
    for entry in listing["containers"]:
        data = piece(objects, listing["backup_id"], entry)
        if not listing["sealed"]:
            said, lines = metadata(data)
            pieces = len(listing["containers"])
            require((said["piece"], said["pieces"]) == (entry["piece"], pieces), "Tampered")
            require(all(said[name] == listing[name] for name in WHOSE), "Tampered")
            require(len(lines) == entry["secrets"], "Tampered")
            into.secrets += [Secret(line, {}, b"", []) for line in lines]
            continue
        found = outer(data, replace(keys, distrusted=frozenset()), entry)
        own = found.envelope["wrapping_key"]
        require(own["id"] == entry["wrapping_key"], "Tampered")
        if own["id"] not in newest:
            newest[own["id"]] = newest_of(objects, own, keys, into.aside)
        opened = container(found, keys, newest[own["id"]])
        index, segments = opened.index, opened.index["segments"]
        require(all(index[name] == listing[name] for name in WHOSE), "Tampered")
        require(index["piece"] == entry["piece"], "Tampered")
        require(
            (index["pieces"], index["values"]) == (len(listing["containers"]), listing["values"]), "Tampered"
        )
        require((index["first"], index["last"]) == (entry["first"], entry["last"]), "Tampered")
        require(sum(each[1] for each in segments) == entry["secrets"], "Tampered")
        require(sum(each[2] for each in segments) == entry["versions"], "Tampered")
        name_keys.add(index["name_key"])
        require(len(name_keys) == 1, "Tampered")
        into.secrets += opened.secrets
    return into


def is_shut(objects: Mapping[str, bytes], listing: dict[str, Any], keys: Keys) -> bool:
    """Tell whether no container opens, and one of them because no key fits."""
    kinds: set[str] = set()
    for entry in listing["containers"] if listing["sealed"] else ():
        name = f"containers/{listing['backup_id']}/{entry['sha256']}"
        for data in (objects[name + copy] for copy in COPIES if name + copy in objects):
            try:
                require(len(data) == entry["size"], "Truncated")
                found = outer(data, replace(keys, distrusted=frozenset()), entry)
                unlocked(found, keys, newest_of(objects, found.envelope["wrapping_key"], keys, []))
            except RefusedError as error:
                kinds.add(error.kind)
            else:
                return False
    return "WrongKey" in kinds


def piece(objects: Mapping[str, bytes], backup: str, entry: dict[str, Any]) -> bytes:
    name = f"containers/{backup}/{entry['sha256']}"
    there = [objects[name + copy] for copy in COPIES if name + copy in objects]
    require(there, "MissingPiece")
    for data in there:
        if sha(data).hex() == entry["sha256"] and len(data) == entry["size"]:
            return data
    refuse("Truncated" if len(there[0]) < entry["size"] else "Tampered")


def newest_of(
    objects: Mapping[str, bytes], own: dict[str, Any], keys: Keys, aside: list[str]
) -> tuple[dict[str, Any], bytes] | None:
    found = re.compile(rf"keys/{own['id']}/([0-9]{{8}})(\.r[1-9])?")
    named = [(-int(match[1]), name) for name in objects if (match := found.fullmatch(name))]
    left: dict[int, str] = {}
    for generation, name in sorted(named):
        if -generation <= own["generation"]:
            break
        try:
            newer = envelope(objects[name], keys)
            require(newer[0]["id"] == own["id"], "Tampered")
            require(newer[0]["generation"] >= -generation, "Stale")
            require(newer[0]["generation"] == -generation, "Malformed")
        except RefusedError as error:
            left.setdefault(generation, error.kind)
            continue
        aside += [kind for number, kind in left.items() if number != generation]
        return newer
    aside += left.values()
    return None
