#!/usr/bin/env python3
"""Opens Strongroom backups when nothing of Strongroom is left.

Written from FORMAT.md. It needs Python 3.11 or newer and two packages, which can be brought on a stick as
wheels (see README.md beside this file):

    cryptography     50 or newer
    zstandard        not needed on Python 3.14 and newer

    python3 recover.py weekly.strongroom --private-key recovery.key --list
    python3 recover.py weekly.strongroom --private-key recovery.key --get PAYMENTS_API_KEY
    python3 recover.py region-a --private-key recovery.key --signer sr1:... --out DIRECTORY
    python3 recover.py region-a --backup ID --passphrase --jsonl > secrets.jsonl
    python3 recover.py emergency.strongroom --shares --hsm MODULE.so --token backup --out DIRECTORY

A FILE is a copy of a target (a directory with manifests/, containers/ and keys/), a backup file, a manifest,
a container, a metadata document, or with --legacy an old file. Whatever can be read is handed out; what is
lost is listed, and the program then ends with the class of the first loss and never with 0.

What people hold is asked for: --shares takes a quorum's shares one by one. A key in an HSM needs the package
python-pkcs11 as well. Of a key in Vault or AWS KMS, --ask NAME writes the commands to give there; hand what
they print in with --answers FILE, or --answer. All these are in recover_keys.py, which lies beside this file
and is loaded on request. Keys that are needed together are given together. A name in --get may hold a value
that you do not want on a screen: redirect the output.

    python3 recover.py region-a --ask bao --transit transit/backup > ask.sh     # what Vault has to decrypt
    sh ask.sh > answers                                                         # where Vault can be reached
    python3 recover.py region-a --answers answers --list
"""

from __future__ import annotations

import argparse
import base64
import getpass
import hashlib
import hmac
import importlib.util
import json
import os
import re
import struct
import sys
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

try:
    import zstandard

    PACKAGED = True
except ImportError:  # Python 3.14 and newer have their own
    PACKAGED = False

CONTAINER, FILE = b"SRCT\r\n\x1a\n", b"SRBF\r\n\x1a\n"
MIB = 1024 * 1024
CODES = {
    "WrongKey": 10, "NotABackup": 11, "UnsupportedVersion": 12, "Malformed": 13, "Truncated": 14,
    "Tampered": 15, "MissingPiece": 16, "LegacyFormat": 17, "UntrustedSigner": 18, "Stale": 19,
    "BackupQuarantined": 95,
}  # fmt: skip
ADVICE = {
    "WrongKey": "Nothing was damaged. Try another passphrase, key file or private key.",
    "UntrustedSigner": "Compare the fingerprint with the recovery kit; then give it with --signer.",
    "LegacyFormat": "Repeat with --legacy.",
    "UnsupportedVersion": "Use the recover.py that lies beside this backup.",
    "BackupQuarantined": "Take another backup with --backup. If this one is really meant: --use-quarantined.",
}


class Failure(Exception):
    """A failure of a class that FORMAT.md names."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def need(condition: object, kind: str, message: str) -> None:
    """Raise a failure unless the condition holds."""
    if not condition:
        raise Failure(kind, message)


def sound(condition: object, message: str) -> None:
    """Raise Malformed unless the condition holds."""
    need(condition, "Malformed", message)


def genuine(condition: object, message: str) -> None:
    """Raise Tampered unless the condition holds."""
    need(condition, "Tampered", message)


def note(text: str) -> None:
    print(text, file=sys.stderr)


# -- JSON ----------------------------------------------------------------------


class Number(str):
    """A number as it was written: it may have more digits than a float or an integer here holds."""

    __slots__ = ()


def loads(data: bytes, what: str) -> Any:
    """Decode JSON strictly: UTF-8, RFC 8259, no name twice, no half of a surrogate pair."""
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=pairs_once,
            parse_constant=no_constant,
            parse_int=as_number,
            parse_float=Number,
        )
        check_texts(value)
    except (ValueError, RecursionError):
        raise Failure("Malformed", f"{what} is not JSON.") from None
    return value


def pairs_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name.encode() for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError
    return dict(pairs)


def no_constant(text: str) -> None:
    raise ValueError


def as_number(text: str) -> int | Number:
    return Number(text) if text == "-0" or len(text) > 4300 else int(text)


def check_texts(value: Any) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            check_texts(inner)


def depth_of(value: Any) -> int:
    """Return how deep objects and lists lie in each other."""
    layer, depth = [value], 0
    while layer := [each for each in layer if isinstance(each, list | dict)]:
        depth += 1
        layer = [inner for each in layer for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def fits(value: Any, shape: Any) -> bool:  # noqa: PLR0911 - one for each kind of shape
    """Tell whether decoded JSON has a shape: members in their order, types, hex of a number of bytes."""
    if isinstance(shape, dict):
        own = isinstance(value, dict) and list(value) == list(shape)
        return own and all(fits(value[name], inner) for name, inner in shape.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(inner, shape[0]) for inner in value)
    if shape is None or isinstance(shape, bool):
        return value is shape
    if isinstance(shape, tuple):
        return any(fits(value, each) for each in shape)
    if isinstance(shape, int):
        return type(value) is str and re.fullmatch(f"[0-9a-f]{{{2 * shape}}}", value) is not None
    if isinstance(shape, type):
        return type(value) is shape
    return bool(shape(value))


def strict(data: bytes, shape: Any, what: str) -> Any:
    """Decode canonical JSON of a shape."""
    value = loads(data, what)
    sound(fits(value, shape), f"{what} has other members.")
    sound(canonical(value) == data, f"{what} is not canonical.")
    return value


def texts(value: Any) -> bool:
    return isinstance(value, dict) and all(type(text) is str for text in value.values())


def sorted_texts(value: Any) -> bool:
    return texts(value) and list(value) == sorted(value)


UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\U000e0000-\U000e0fff]"
)


def printable(text: str, most: int) -> bool:
    return type(text) is str and len(text) <= most and not UNPRINTABLE.search(text)


# -- the primitives ------------------------------------------------------------


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA512(), 32, salt, info).derive(key)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def unhex(text: object, size: int) -> bytes:
    sound(fits(text, size), "A field is not hex.")
    return bytes.fromhex(str(text))


def cobblestone(key: bytes, message: bytes, context: bytes) -> bytes:
    """Open a Cobblestone-256 message (c2sp.org/chunked-encryption)."""
    salt, commitment, body = message[:24], message[24:56], message[56:]
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + salt + context
    derived = HKDFExpand(SHA512(), 76, info).derive(key)
    genuine(hmac.compare_digest(derived[44:], commitment), "A sealed message does not belong here.")
    chunks = [body[at : at + 16400] for at in range(0, len(body), 16400)]
    genuine(chunks and 16 <= len(chunks[-1]) < 16400, "A sealed message is cut.")
    base, aead = int.from_bytes(derived[32:44], "big"), AESGCM(derived[:32])
    try:
        return b"".join(aead.decrypt((base ^ i).to_bytes(12, "big"), c, None) for i, c in enumerate(chunks))
    except InvalidTag:
        raise Failure("Tampered", "A sealed message was changed.") from None


def unzstd(frame: bytes, length: int) -> bytes:
    """Decompress one frame of exactly the stated size."""
    if not PACKAGED:
        return unzstd_native(frame, length)
    try:
        size = zstandard.get_frame_parameters(frame).content_size
        sound(size == length, "A compressed frame has another size than stated.")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        raise Failure("Malformed", "A compressed frame is damaged.") from None


def unzstd_native(frame: bytes, length: int) -> bytes:
    """Do the same with what Python 3.14 brings."""
    from compression import zstd  # type: ignore[import-not-found]  # noqa: PLC0415

    opened = zstd.ZstdDecompressor()
    data: bytes = opened.decompress(frame, max_length=length + 1)
    sound(opened.eof and not opened.unused_data and len(data) == length, "A frame is damaged.")
    return data


def labeled(  # noqa: PLR0917 - as the RFC has it
    name: str, suite: bytes, prk: bytes, label: bytes, data: bytes, size: int = 0
) -> bytes:
    """HPKE's LabeledExtract, or with a size LabeledExpand, of which one block is enough (RFC 9180, 4)."""
    data = b"HPKE-v1" + suite + label + data
    if not size:
        return hmac.digest(prk or bytes(hashlib.new(name).digest_size), data, name)
    return hmac.digest(prk, size.to_bytes(2, "big") + data + b"\x01", name)[:size]


def dhkem(kem: int, dh: bytes, enc: bytes, public: bytes) -> bytes:
    """Finish the Decap of a DHKEM (RFC 9180, 4.1) from what Diffie-Hellman gave."""
    name, size = ("sha384", 48) if kem == 0x11 else ("sha256", 32)
    suite = b"KEM" + kem.to_bytes(2, "big")
    prk = labeled(name, suite, b"", b"eae_prk", dh)
    return labeled(name, suite, prk, b"shared_secret", enc + public, size)


def open_hpke(kem: int, shared: bytes, info: bytes, sealed: bytes) -> bytes | None:
    """Open HPKE's base mode, single shot, from the KEM's shared secret (RFC 9180, 5.1)."""
    suite = b"HPKE" + kem.to_bytes(2, "big") + b"\x00\x03\x00\x02"
    hashed = [labeled("sha512", suite, b"", *pair) for pair in ((b"psk_id_hash", b""), (b"info_hash", info))]
    context, secret = b"\x00" + b"".join(hashed), labeled("sha512", suite, shared, b"secret", b"")
    key = labeled("sha512", suite, secret, b"key", context, 32)
    nonce = labeled("sha512", suite, secret, b"base_nonce", context, 12)
    return open_gcm(key, nonce, sealed)


def open_gcm(key: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    try:
        return AESGCM(key).decrypt(nonce, sealed, None)
    except InvalidTag:
        return None


def exchange(scalar: bytes, point: bytes) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:  # a point of small order: RFC 9180 has it refused
        return b""


def curve_public(scalar: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw()


def xwing_parts(seed: bytes) -> tuple[MLKEM768PrivateKey, bytes]:
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), expanded[64:]


def xwing(seed: bytes, enc: bytes) -> bytes:
    """Decapsulate X-Wing: ML-KEM-768 and X25519, combined by SHA3-256."""
    lattice, scalar = xwing_parts(seed)
    point = enc[1088:]
    shared = lattice.decapsulate(enc[:1088]) + exchange(scalar, point)
    return hashlib.sha3_256(shared + point + curve_public(scalar) + b"\\.//^\\").digest()


def fingerprint(public: bytes) -> str:
    return "sr1:" + sha256(public).hex()


def check_signature(public: bytes, domain: str, message: bytes, signature: bytes) -> None:
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, f"strongroom/v1/{domain}\0".encode() + message)
    except (InvalidSignature, ValueError):
        raise Failure("Tampered", f"The signature of a {domain} does not fit.") from None


Marked = Callable[[bytes], bool]
Stated = Callable[[bytes], int | None]


def check_ending(tail: bytes, size: int, marked: Marked, stated: Stated) -> None:
    """Apply FORMAT.md's ending rule to a file's last bytes."""
    whole, right = marked(tail), stated(tail) == size
    if whole and right:
        return
    genuine(not (whole or right), "The end of the file was changed.")
    for end in range(len(tail) - 1, 0, -1):
        if marked(tail[:end]) and stated(tail[:end]) == size - len(tail) + end:
            raise Failure("Malformed", "Bytes were added at the end.")
    raise Failure("Truncated", "The file ends too early.")


def marker(end: bytes) -> Marked:
    return lambda tail: tail.endswith(end)


def binary_total(tail: bytes) -> int | None:
    return int.from_bytes(tail[-16:-8], "big") if len(tail) >= 16 else None


def check_beginning(head: bytes, magic: bytes, size: int, *, ended: bool) -> None:
    if head.startswith(magic):
        return
    need(not (size < len(magic) and magic.startswith(head)), "Truncated", "The file is cut at its beginning.")
    need(head[16:21] != b"gAAAA", "LegacyFormat", "This is an old Fernet file.")
    genuine(not ended, "The beginning of the file was changed.")
    raise Failure("NotABackup", "This is another kind of file.")


# -- keys ----------------------------------------------------------------------

CERTIFICATE = {"installation": 32, "role": str, "key": 32, "issued_at": str, "signature": 64}
ROLES = {
    "manifest": ("control", "recover"), "envelope": ("recover",), "container": ("seal", "recover"),
    "quarantine": ("control", "recover"),
}  # fmt: skip


@dataclass(frozen=True)
class Keys:
    """What is at hand to open with, and which installations to believe."""

    passphrases: tuple[str, ...] = ()
    files: tuple[bytes, ...] = ()
    private: tuple[tuple[str, bytes], ...] = ()
    quorums: tuple[bytes, ...] = ()
    hsms: tuple[Any, ...] = ()
    answers: tuple[bytes, ...] = ()
    kms: bytes = b""
    signers: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    asked_of: frozenset[str] = frozenset()
    transit: tuple[str, ...] = ()
    questions: dict[str, None] = field(default_factory=dict)
    derived: dict[tuple[str, bytes, int], bytes] = field(default_factory=dict)

    def trust(self, certificate: dict[str, str], kind: str) -> None:
        """Hold a signer's certificate to section 12: form, signature, role, pinned installation."""
        unsigned = {name: value for name, value in certificate.items() if name != "signature"}
        installation = unhex(certificate["installation"], 32)
        check_signature(installation, "certificate", canonical(unsigned), unhex(certificate["signature"], 64))
        role, name = certificate["role"], fingerprint(installation)
        need(role in ROLES[kind], "UntrustedSigner", f"The key of role '{role}' does not sign a {kind}.")
        pinned = self.signers or self.own
        known = not pinned or name in pinned
        need(known, "UntrustedSigner", f"Signed by installation {name}.")

    def said_of(self, certificate: dict[str, str]) -> str:
        name = fingerprint(bytes.fromhex(certificate["installation"]))
        return f"installation {name}" + ("" if self.signers else " (not checked: no --signer)")

    def unwrap(self, stanza: dict[str, Any], context: bytes) -> bytes | None:
        """Try every key on one stanza; None if none fits."""
        kind, args = stanza["type"], stanza["args"]
        if not self._may_open().get(kind):
            return None
        sound(fits(args, STANZAS[kind]), "A stanza is not as it must be.")
        info = f"strongroom/v1/wrap/{kind}/".encode()
        if "version" in args and kind != "transit":
            info += struct.pack(">H", args["version"])
        opener: Callable[[dict[str, Any], bytes, bytes], bytes | None]
        opener = getattr(self, "_" + kind.replace("-", "_"))
        with told():
            return opener(args, info, context)

    def _may_open(self) -> dict[str, object]:
        """Return by type of stanza whether a key of that type is at hand."""
        held: dict[str, object] = {
            "passphrase": self.passphrases, "keyfile": self.files, "hpke": self.private, "all-of": True,
            "quorum": self.quorums, "pkcs11-ec": self.hsms, "pkcs11-aes": self.answers or self.hsms,
            "transit": self.answers, "kms": self.kms,
        }  # fmt: skip
        return held

    def _passphrase(self, args: dict[str, Any], info: bytes, context: bytes) -> bytes | None:
        rounds, salt = args["iterations"], unhex(args["kdf_salt"], 32)
        for words in self.passphrases:
            if (words, salt, rounds) not in self.derived:
                normal = unicodedata.normalize("NFC", words).encode()
                self.derived[words, salt, rounds] = hashlib.pbkdf2_hmac("sha256", normal, salt, rounds, 32)
        keys = (self.derived[words, salt, rounds] for words in self.passphrases)
        return first(unwrap(key, args, info + context) for key in keys)

    def _keyfile(self, args: dict[str, Any], info: bytes, context: bytes) -> bytes | None:
        return first(
            unwrap(key, args, info + context)
            for key in self.files
            if hkdf(key, b"", b"strongroom/v1/keyfile-fingerprint")[:16].hex() == args["key"]
        )

    def _hpke(self, args: dict[str, Any], info: bytes, context: bytes) -> bytes | None:
        return first(open_private(*pair, args, info + context) for pair in self.private)

    def _quorum(self, args: dict[str, Any], info: bytes, context: bytes) -> bytes | None:
        return first(open_private("mlkem768-x25519", seed, args, info + context) for seed in self.quorums)

    def _pkcs11_ec(self, args: dict[str, Any], info: bytes, context: bytes) -> bytes | None:
        kem, sealed = args["kem"], bytes.fromhex(args["sealed"])
        enc, rest = sealed[:-48], sealed[-48:]
        sound(len(enc) == {16: 65, 17: 97}[kem], "A stanza is not as it must be.")
        for hsm in self.hsms:
            agreed = hsm.agree(unhex(args["key"], 32), args["version"], enc)
            if agreed is not None:
                return open_hpke(kem, dhkem(kem, agreed[0], enc, agreed[1]), info + context, rest)
        return None

    def _pkcs11_aes(self, args: dict[str, Any], info: bytes, context: bytes) -> bytes | None:
        wrapped = unhex(args["data_key"], 40)
        own = (key for hsm in self.hsms if (key := hsm.unwrap(args["version"], wrapped)))
        return first(unwrap(key, args, info + context) for key in (*self.answers, *own))

    def _transit(self, args: dict[str, Any], info: bytes, context: bytes) -> bytes | None:
        return first(unwrap(key, args, info + context) for key in self.answers)

    def each(self) -> Iterator[Keys]:
        """Yield these keys for each answer by itself: of KMS's, only the record's MAC tells which it is."""
        return (replace(self, kms=answer) for answer in self.answers or (b"",))

    def _kms(self, args: dict[str, Any], info: bytes, context: bytes) -> bytes | None:  # noqa: ARG002
        return self.kms or None

    def _all_of(self, args: dict[str, Any], info: bytes, context: bytes) -> bytes | None:
        legs, data = legs_of(args)
        shares = []
        for place, leg in enumerate(legs):
            bound = leg_context(place, legs, context)
            share = first(self.unwrap(stanza, bound) for stanza in leg)
            if share is None:
                return None
            shares.append(share)
        return unwrap(b"".join(shares), args, info + sha256(data) + context)


def within(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def sealed_hex(*sizes: int) -> Callable[[Any], bool]:
    return lambda value: any(fits(value, size) for size in sizes)


def any_hex(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: (
        type(value) is str and least <= len(value) // 2 <= most and fits(value, len(value) // 2)
    )


WRAPPED = {"salt": 32, "wrapped": 48}
VERSIONED = within(1, 65_535)
PUBLIC = {"kem": int, "key": 32, "sealed": any_hex(48, 4096)}
STANZAS: dict[str, dict[str, Any]] = {
    "passphrase": {"iterations": within(100_000, 10_000_000), "kdf_salt": 32, **WRAPPED},
    "keyfile": {"key": 16, **WRAPPED},
    "hpke": PUBLIC,
    "quorum": PUBLIC,
    "pkcs11-ec": {"kem": within(16, 17), "key": 32, "sealed": sealed_hex(113, 145), "version": VERSIONED},
    "pkcs11-aes": {"data_key": 40, "key": 16, "salt": 32, "version": VERSIONED, "wrapped": 48},
    "transit": {"data_key": 60, "key": 16, "salt": 32, "version": within(1, 1 << 31), "wrapped": 48},
    "kms": {"arn": any_hex(1, 2048), "blob": any_hex(1, 6144)},
    "all-of": {"legs": any_hex(1, 131_072), **WRAPPED},
}


def first(found: Iterator[bytes | None]) -> bytes | None:
    return next((key for key in found if key is not None), None)


def unwrap(kek: bytes, args: dict[str, Any], info: bytes) -> bytes | None:
    return open_gcm(hkdf(kek, unhex(args["salt"], 32), info), bytes(12), unhex(args["wrapped"], 48))


def open_private(kind: str, seed: bytes, args: dict[str, Any], info: bytes) -> bytes | None:
    """Open a stanza with a private key, if it is for that one."""
    hybrid = kind == "mlkem768-x25519"
    if args["kem"] != (0x647A if hybrid else 0x20):
        return None
    sealed = unhex(args["sealed"], 1168 if hybrid else 80)
    enc, rest = sealed[:-48], sealed[-48:]
    public = curve_public(seed)
    if hybrid:
        lattice, scalar = xwing_parts(seed)
        public = lattice.public_key().public_bytes_raw() + curve_public(scalar)
    if sha256(public).hex() != args["key"]:
        return None
    if hybrid:
        return open_hpke(0x647A, xwing(seed, enc), info, rest)
    dh = exchange(seed, enc)
    return open_hpke(0x20, dhkem(0x20, dh, enc, public), info, rest) if dh else None


def legs_of(args: dict[str, Any]) -> tuple[list[list[dict[str, Any]]], bytes]:
    """Return the stanzas of an all-of stanza by leg, and their encoding."""
    data = bytes.fromhex(args["legs"])
    legs: list[list[dict[str, Any]]] = strict(data, [[STANZA]], "A list of legs")
    sound(2 <= len(legs) <= 8 and all(1 <= len(leg) <= 8 for leg in legs), "The legs are out of bounds.")
    sound(all(stanza["type"] != "all-of" for leg in legs for stanza in leg), "An all-of is inside another.")
    return legs, data


def leg_context(place: int, legs: Sequence[object], context: bytes) -> bytes:
    return b"strongroom/v1/wrap/all-of/leg/" + bytes([place, len(legs)]) + context


def a_type(value: Any) -> bool:
    return type(value) is str and re.fullmatch("[a-z0-9][a-z0-9.-]{0,31}", value) is not None


def an_args(value: Any) -> bool:
    own = isinstance(value, dict) and list(value) == sorted(value)
    return own and all(type(each) in (str, int) for each in value.values())


STANZA = {"type": a_type, "label": lambda text: printable(text, 128), "args": an_args}
RECORD = {"id": 16, "generation": within(1, 99_999_999), "stanzas": [STANZA], "mac": 32}


def check_record(record: dict[str, Any]) -> None:
    sound(1 <= len(record["stanzas"]) <= 64, "There must be 1 to 64 stanzas.")


def unlock(record: dict[str, Any], keys: Keys) -> bytes:
    """Open a wrapping key's record (section 2)."""
    stanzas, name, mac = record["stanzas"], unhex(record["id"], 16), unhex(record["mac"], 32)
    context = b"strongroom/v1/wrapping-key/" + name
    message = canonical({name: value for name, value in record.items() if name != "mac"})
    if keys.asked_of:
        keys.questions.update(dict.fromkeys(questions(stanzas, keys, context)))
    odd: list[Failure] = []
    some = False
    for key in unwrapped(stanzas, keys, context, odd):
        right = hmac.digest(hkdf(key, name, b"strongroom/v1/wrapping-record"), message, "sha256")
        if hmac.compare_digest(right, mac):
            return key
        some = True
    genuine(
        not some,
        "The list of recipients was changed" + (", or --answer is another key's." * bool(keys.answers)),
    )
    if odd:
        raise next((failure for failure in odd if failure.kind == "Malformed"), odd[0])
    who = "".join(f"\n- {line}" for stanza in stanzas for line in todo(stanza, context, keys.transit))
    raise Failure("WrongKey", f"Nothing at hand opens it. It was sealed for any of:{who}")


def unwrapped(
    stanzas: list[dict[str, Any]], keys: Keys, context: bytes, odd: list[Failure]
) -> Iterator[bytes]:
    """Yield what any key makes of any stanza; a stanza that is odd must not hide that another opens."""
    for each in keys.each():
        for stanza in stanzas:
            try:
                key = each.unwrap(stanza, context)
            except Failure as failure:
                odd.append(failure)
                continue
            if key is not None:
                yield key


SIMPLE = {
    "passphrase": "give --passphrase", "keyfile": "give --key-file FILE", "hpke": "give --private-key FILE",
}  # fmt: skip


def questions(stanzas: list[dict[str, Any]], keys: Keys, context: bytes) -> Iterator[str]:
    """Yield the commands whose answers open the stanzas of the keys that --ask names."""
    for stanza in stanzas:
        if stanza["type"] == "all-of":
            legs = legs_of(stanza["args"])[0]
            for place, leg in enumerate(legs):
                yield from questions(leg, keys, leg_context(place, legs, context))
        elif stanza["label"] in keys.asked_of and stanza["type"] in ("transit", "kms"):
            sound(fits(stanza["args"], STANZAS[stanza["type"]]), "A stanza is not as it must be.")
            with told():
                yield companion().question(stanza["type"], stanza["args"], context, keys.transit)


def todo(stanza: dict[str, Any], context: bytes, transit: Sequence[str] = ()) -> list[str]:
    """Say who or what opens a stanza, and what to do for it."""
    kind, args = stanza["type"], stanza["args"]
    name = f"{kind} {stanza['label']}".strip()
    try:
        if kind == "all-of":
            legs = legs_of(args)[0]
            lines = [f"{name}, all of these together:"]
            for place, leg in enumerate(legs):
                bound = leg_context(place, legs, context)
                lines += [f"    {place + 1}. {line}" for each in leg for line in todo(each, bound, transit)]
            return lines
        return [f"{name}: {SIMPLE.get(kind) or companion().instruction(kind, args, context, transit)}"]
    except (KeyError, ValueError, TypeError, Failure):  # nobody has checked this stanza yet
        return [f"{name}: it is malformed, or recover_keys.py is not here"]


def companion() -> Any:
    """Load recover_keys.py from beside this file: keys that people, HSMs and services keep."""
    path = Path(__file__).with_name("recover_keys.py")
    need(path.is_file(), "WrongKey", f"'{path.name}' has to lie beside recover.py for this kind of key.")
    if "recover_keys" not in sys.modules:
        spec = importlib.util.spec_from_file_location("recover_keys", path)
        assert spec is not None and spec.loader is not None  # noqa: PT018
        sys.modules["recover_keys"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["recover_keys"])
    return sys.modules["recover_keys"]


@contextmanager
def told() -> Iterator[None]:
    """Name as WrongKey what recover_keys.py says of a key; of what it says nothing quotes one."""
    try:
        yield
    except ValueError as error:
        raise Failure("WrongKey", str(error)) from None


# -- files, and ranges of them ---------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A range of a file; of a backup file's object, with its digest in hex."""

    path: Path
    start: int
    size: int
    sha256: str = ""

    @classmethod
    def of(cls, path: Path) -> Part:
        return cls(path, 0, path.stat().st_size)

    def read(self, offset: int, length: int) -> bytes:
        return b"".join(self.blocks(offset, length))

    def whole(self, most: int) -> bytes:
        return self.read(0, min(self.size, most))

    def blocks(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        left = max(0, min(self.size if length is None else length, self.size - offset))
        with self.path.open("rb") as file:
            file.seek(self.start + offset)
            while left > 0 and (data := file.read(min(left, 8 * MIB))):
                yield data
                left -= len(data)

    def digest(self) -> str:
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()


class Losses:
    """What could not be read. The first loss decides how the program ends; a strict one ends at once.

    What was left aside (section 13) counts after all that was lost.
    """

    def __init__(self, *, strictly: bool = False) -> None:
        self.first: Failure | None = None
        self.aside: Failure | None = None
        self.part: Failure | None = None
        """Everything came out of a backup of a part, and nobody had asked for that one."""
        self.lost = 0
        self.asking = False
        self._strictly = strictly

    @contextmanager
    def within(self, what: str, secrets: int = 0) -> Iterator[None]:
        """Go on after a failure of what is done within."""
        try:
            yield
        except Failure as failure:
            self.add(failure, what, secrets)
        except (struct.error, OSError) as error:
            self.add(Failure("Truncated", type(error).__name__), what, secrets)

    def add(self, failure: Failure, what: str, secrets: int = 0, verb: str = "LOST") -> None:
        if self._strictly:
            raise failure
        self.first = self.first or failure
        self.lost += secrets
        if self.asking and failure.kind == "WrongKey":
            return
        many = f" ({counted(secrets)})" if secrets else ""
        verb = "not opened" if failure.kind == "WrongKey" else verb
        said = str(failure).partition("\n")[0]
        note(f"{verb}: {what}{many}: {failure.kind}: {said}")


# -- containers ----------------------------------------------------------------


@dataclass(frozen=True)
class Secret:
    """A row as stored, its metadata in the bytes that it had; its line; its versions' values in order."""

    row: dict[str, Any]
    line: bytes
    values: tuple[bytes, ...]


Index = dict[str, Any]


@dataclass(frozen=True)
class Container:
    """A container whose signature, envelope and directory were checked (section 1, all that needs no key)."""

    part: Part
    header: bytes
    directory: bytes
    index: bytes
    envelope: dict[str, Any]

    @property
    def signer(self) -> str:
        return str(self.envelope["certificate"]["key"])

    def opened(self, keys: Keys, newer: Sequence[dict[str, Any]] = ()) -> Opened:
        """Open envelope and index."""
        sub = self._subkeys(keys, newer)
        return Opened(self, sub, open_index(cobblestone(sub["index"], self.index, self.context(3, 0)), self))

    def secrets(self, keys: Keys, newer: Sequence[dict[str, Any]] = ()) -> Iterator[Secret]:
        """Yield every secret; memory is bounded by one segment."""
        return self.opened(keys, newer).secrets(Losses(strictly=True))

    def context(self, kind: int, number: int) -> bytes:
        return self.header[48:] + struct.pack(">BI", kind, number)

    def entries(self) -> list[tuple[int, int, int, bytes, bytes]]:
        at, found = 80, []
        for values, rows, dv, dr in struct.iter_unpack(">II32s32s", self.directory):
            found.append((at, values, rows, dv, dr))
            at += values + rows
        return found

    def _subkeys(self, keys: Keys, newer: Sequence[dict[str, Any]]) -> dict[str, bytes]:
        record, file_id = self.envelope["wrapping_key"], self.header[16:48]
        if newer:
            own = [one for one in newer if one["id"] == record["id"]]
            genuine(own, "The newer envelope belongs to another wrapping key.")
            newest = max(own, key=lambda one: one["generation"])
            need(newest["generation"] > record["generation"], "Stale", "The envelope is not newer.")
            record = newest
        wrapping_key = unlock(record, keys)
        file_key = unwrap(wrapping_key, self.envelope["file_key"], b"strongroom/v1/file-key/" + file_id)
        if file_key is None:
            said = " Give --signer: the envelope may be a stranger's." if newer and not keys.signers else ""
            raise Failure("Tampered", f"The file key does not belong to this container.{said}")
        tag = hkdf(file_key, file_id, b"strongroom/v1/header" + self.header[:48])
        genuine(hmac.compare_digest(tag, self.header[48:]), "The header was changed.")
        kinds = ("values", "rows", "index")
        return {kind: hkdf(file_key, file_id, f"strongroom/v1/{kind}".encode()) for kind in kinds}


@dataclass(frozen=True)
class Opened:
    """A container with its keys and its index."""

    container: Container
    sub: dict[str, bytes]
    index: Index

    def secrets(self, losses: Losses, name: str | None = None) -> Iterator[Secret]:
        """Yield every secret, or those of the one segment that can hold a name."""
        for number, (_, secrets, _) in enumerate(self.index["segments"]):
            if name is None or number == self.place(name):
                found: list[Secret] = []
                with losses.within(f"segment {number} of piece {self.index['piece']}", secrets):
                    found = self.segment(number, losses)
                yield from found

    def place(self, name: str) -> int:
        hashed = self.hash(name)
        return sum(first <= hashed for first, _, _ in self.index["segments"]) - 1

    def hash(self, name: str) -> str:
        return hmac.digest(bytes.fromhex(self.index["name_key"]), name.encode(), "sha256")[:16].hex()

    def segment(self, number: int, losses: Losses) -> list[Secret]:
        at, values, rows, dv, dr = self.container.entries()[number]
        v, r = self.container.part.read(at, values), self.container.part.read(at + values, rows)
        same = sha256(r) == dr and (sha256(v) == dv if values else not any(dv))
        genuine(same, "It was changed.")
        packed = cobblestone(self.sub["rows"], r, self.container.context(2, number))
        plain = cobblestone(self.sub["values"], v, self.container.context(1, number)) if values else None
        found = segment(packed, plain, losses)
        with losses.within(f"the order of segment {number}: its secrets are handed out all the same"):
            self.check_place(found, number)
        return found

    def check_place(self, found: list[Secret], number: int) -> None:
        """Hold a segment to the index: names in their places, as many as stated. Section 4."""
        first, secrets, versions = self.index["segments"][number]
        following = [*self.index["segments"], ["g"]][number + 1][0]
        names = [secret.row["name"] for secret in found]
        sound(names == sorted(set(names)), "The names of a segment do not ascend.")
        places = [self.hash(name) for name in names]
        sound(min(places) == first and max(places) < following, "A name is out of its place.")
        held = sum(len(secret.row["versions"]) for secret in found)
        sound((len(found), held) == (secrets, versions), "A segment holds another number.")


ENVELOPE = {"file_key": WRAPPED, "wrapping_key": RECORD, "certificate": CERTIFICATE}
ISSUED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def certificate_spelt(certificate: dict[str, str]) -> bool:
    """Tell whether a certificate, whose hex was looked at, is spelt as section 12 has it."""
    role, issued = certificate["role"], certificate["issued_at"]
    return bool(re.fullmatch("[a-z]{1,16}", role) and ISSUED.fullmatch(issued))


def open_container(part: Part, keys: Keys, signer: str | None = None) -> Container:
    """Check a container as far as that needs no key; ``signer`` is the key that a manifest names."""
    head, tail = part.read(0, 80), part.read(max(0, part.size - 4096), 4096)
    marked = marker(b"\nSRCTEND")
    check_beginning(head, CONTAINER, part.size, ended=marked(tail) and binary_total(tail) == part.size)
    need(part.size >= 204, "Truncated", "The container ends too early.")
    known = head[8:16] == b"\x00\x01\x00\x01\x00\x00\x00\x00"
    need(known, "UnsupportedVersion", "A version, suite or flag is unknown.")
    check_ending(tail, part.size, marked, binary_total)
    d, i, e = struct.unpack(">III", tail[-28:-16])
    start = part.size - 124 - d - i - e
    fit = start >= 80 and d <= 65_536 * 72 and i <= 16 * MIB and e <= 256 * 1024
    sound(fit, "Lengths are out of bounds.")
    directory, index, envelope = part.read(start, d), part.read(start + d, i), part.read(start + d + i, e)
    public, signature = tail[-124:-92], tail[-92:-28]
    message = head + sha256(directory) + sha256(index) + sha256(envelope) + tail[-28:]
    check_signature(public, "container", message, signature)
    record = strict(envelope, ENVELOPE, "The envelope")
    check_record(record["wrapping_key"])
    sound(certificate_spelt(record["certificate"]), "The certificate is malformed.")
    genuine(record["certificate"]["key"] == public.hex(), "The certificate is another key's.")
    keys.trust(record["certificate"], "container")
    check_directory(directory, start)
    genuine(signer in (None, public.hex()), "It was sealed by another key than the manifest says.")
    return Container(part, head, directory, index, record)


def check_directory(directory: bytes, end: int) -> None:
    sound(len(directory) % 72 == 0, "The directory is odd.")
    at = 80
    for values, rows, _, _ in struct.iter_unpack(">II32s32s", directory):
        sound(rows and max(values, rows) <= 80 * MIB, "A segment's length is out of bounds.")
        at += values + rows
    sound(at == end, "The segments do not fill the file.")


ABOUT = {"backup_id": str, "piece": int, "pieces": int, "source": str, "policy": str, "created_at": str}
INDEX = {
    "backup_id": str, "piece": int, "pieces": int, "source": str, "policy": str, "values": bool,
    "created_at": str, "name_key": 32, "signer": 32, "directory": 32,
    "segments": [lambda each: isinstance(each, list) and len(each) == 3],
}  # fmt: skip


def open_index(data: bytes, container: Container) -> Index:
    index: Index = strict(data, INDEX, "The index")
    genuine(index["signer"] == container.signer, "Another signer sealed this container.")
    genuine(index["directory"] == sha256(container.directory).hex(), "The directory was exchanged.")
    sound(0 <= index["piece"] < index["pieces"], "The piece is out of bounds.")
    entries, segments = container.entries(), index["segments"]
    sound(len(entries) == len(segments), "The index counts other segments.")
    sound(all(bool(entry[1]) == index["values"] for entry in entries), "Values are missing or too many.")
    shaped = all(fits(f, 16) and type(s) is int and type(v) is int and 1 <= s <= v for f, s, v in segments)
    sound(shaped, "A segment's entry is malformed.")
    firsts = [first for first, _, _ in segments]
    sound(firsts == sorted(set(firsts)), "The segments do not ascend.")
    return index


def segment(packed: bytes, plain: bytes | None, losses: Losses) -> list[Secret]:
    """Take a segment's two plaintexts apart (section 5)."""
    sound(len(packed) >= 12, "The rows are too short.")
    count, digests, length = struct.unpack_from(">III", packed)
    end = len(packed) - 16 * digests
    sound(end >= 12 and length <= 32 * MIB, "The rows' counts are out of bounds.")
    lines = unzstd(packed[12:end], length).split(b"\n")
    sound(lines.pop() == b"" and len(lines) == count > 0, "The rows are miscounted.")
    rows = [checked_row(line, losses) for line in lines]
    lengths = [[v.get("length") for v in row["versions"]] for row in rows]
    stored = [n for row in lengths for n in row if n is not None]
    sound(len(stored) == digests and (plain is not None or not stored), "The digests are miscounted.")
    sound(plain is not None or not any("metadata" in row for row in rows), "There is metadata too much.")
    if plain is not None:
        total = sum(stored)
        sound(len(plain) == padded(total) and not any(plain[total:]), "The padding is wrong.")
    found, at = [], 0
    for row, line, sizes in zip(rows, lines, lengths, strict=True):
        ends = [at := at + size for size in sizes if size is not None]
        starts = [end - size for end, size in zip(ends, (s for s in sizes if s is not None), strict=True)]
        values = tuple((plain or b"")[a:b] for a, b in zip(starts, ends, strict=True))
        found.append(Secret(row, line + b"\n", values))
    return found


def checked_row(line: bytes, losses: Losses) -> dict[str, Any]:
    """Check a row. One that breaks a rule, and yet can be read, was sealed so: it is named and handed out."""
    try:
        return check_row(line)
    except Failure as failure:
        try:
            row = json.loads(line)
            lengths = [each.get("length", 0) for each in row["versions"]]
            usable = type(row["name"]) is str and all(type(each) is int and each >= 0 for each in lengths)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            usable = False
        if not usable:
            raise
        losses.add(failure, f"the row of '{row['name']}' (its value is handed out)", verb="ODD")
        row.pop("metadata", None)
        return dict(row)


def rotation(value: Any) -> bool:
    return fits(value, {"days": int}) or fits(value, {"days": int, "enabled": False})


TIMES = {"created_at": str, "updated_at": str, "expires_at": str}
ROW = {
    "name": str, "type": str, "versions": lambda value: isinstance(value, list) and value,
    "tags": lambda value: texts(value) and value, **TIMES, "rotation": rotation,
    "metadata": lambda value: isinstance(value, dict) and value != {} and depth_of(value) <= 64,
}  # fmt: skip
VERSION = {
    "number": within(0, (1 << 63) - 1), "length": within(0, 1 << 63),
    "media": ("json", "binary").__contains__, "state": ("deleted", "destroyed").__contains__,
    "created_at": str,
}  # fmt: skip


def some_of(value: Any, shape: dict[str, Any], *always: str) -> bool:
    """Tell whether an object has a shape, in which all but some members may be left out."""
    there = isinstance(value, dict) and all(name in value for name in always)
    return there and fits(value, {name: inner for name, inner in shape.items() if name in value})


def check_row(line: bytes) -> dict[str, Any]:
    """Hold a row to section 5: canonical but for the last member, whose own bytes are the writer's."""
    row = loads(line, "A row")
    check_members(row, ROW, VERSION)
    metadata = row.pop("metadata", None)
    before = canonical(row)
    if metadata is not None:
        before = before[:-1] + b',"metadata":'
        sound(line[len(before) : len(before) + 1] == b"{" and line.endswith(b"}}"), "Metadata is misplaced.")
    sound(line.startswith(before) if metadata else line == before, "A row is not canonical.")
    return dict(row) if metadata is None else {**row, "metadata": line[len(before) : -1]}


def check_members(row: Any, shape: dict[str, Any], version: dict[str, Any]) -> None:
    sound(some_of(row, shape, "name", "type", "versions"), "A row has other members.")
    sound(all(some_of(each, version, "number") for each in row["versions"]), "A version is malformed.")
    numbers = [each["number"] for each in row["versions"]]
    sound(numbers == sorted(set(numbers)), "Versions do not ascend.")


def padded(length: int) -> int:
    if length <= 1024:
        return 1024
    e = length.bit_length() - 1
    mask = (1 << (e - e.bit_length())) - 1
    return (length + mask) & ~mask


# -- documents and backup files ------------------------------------------------


def document_marked(tail: bytes) -> bool:
    return tail[-27:-15] == b',\n"length":"' and tail.endswith(b'"}\n')


def document_total(tail: bytes) -> int | None:
    return int(tail[-15:-3]) if re.fullmatch(rb"[0-9]{12}", tail[-15:-3]) else None


def check_document(data: bytes, kind: str) -> None:
    """Apply the beginning and ending rules to a document of lines."""
    magic = f'{{"format":"strongroom-{kind}/1",'.encode()
    version = re.match(magic[:-3] + rb'([0-9]{1,4})",\n', data)
    need(version is None or version[1] == b"1", "UnsupportedVersion", "The version is unknown.")
    other = re.match(
        rb'\{"format":"strongroom-(manifest|envelope|metadata|head|quarantine|audit-report)/', data
    )
    foreign = other is not None and not magic.startswith(other[0])
    ended = document_marked(data) and document_total(data) == len(data)
    need(not foreign, "NotABackup", "This is another document.")
    check_beginning(data[:64], magic + b"\n", len(data), ended=ended)
    check_ending(data[-4096:], len(data), document_marked, document_total)


def signed_body(data: bytes, kind: str, keys: Keys) -> tuple[bytes, dict[str, str]]:
    """Check a document's frame, signature and signer; return body and certificate (section 6)."""
    need(len(data) <= 64 * MIB, "NotABackup", "This is too large for a document.")
    check_document(data, kind)
    frame = rb'[^\n]*\n"body":([^\n]+),\n"certificate":([^\n]+),\n'
    frame += rb'"signature":"([0-9a-f]{128})",\n"length":"\d{12}"\}\n'
    found = re.fullmatch(frame, data)
    try:
        certificate = strict(found[2], CERTIFICATE, "A certificate") if found else {}
    except Failure:
        certificate = {}
    if found is None or not certificate or not certificate_spelt(certificate):
        raise Failure("Tampered", "The document's frame was changed.")
    public, signature = bytes.fromhex(certificate["key"]), bytes.fromhex(found[3].decode())
    check_signature(public, kind, found[1] + b"\n" + found[2], signature)
    keys.trust(certificate, kind)
    return found[1], certificate


def read_envelope(data: bytes, keys: Keys) -> dict[str, Any]:
    """Read a detached envelope's record."""
    body, certificate = signed_body(data, "envelope", keys)
    sound(len(body) <= 256 * 1024, "The envelope is too large.")
    record: dict[str, Any] = strict(body, RECORD, "The envelope")
    check_record(record)
    note(f"envelope of generation {record['generation']} signed by {keys.said_of(certificate)}")
    return record


def public_text(value: Any) -> bool:
    return printable(value, 1000)


def a_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


COUNT = within(0, 1 << 63)
RECEIPT = ("piece", "sha256", "size", "secrets", "versions", "first", "last", "wrapping_key")
HASH = (16, 0)
ENTRY = {
    "piece": int, "sha256": 32, "size": COUNT, "secrets": COUNT, "versions": COUNT, "first": HASH,
    "last": HASH, "wrapping_key": HASH, "signer": 32, "signature": 64,
}  # fmt: skip
RECIPIENT = {"name": str, "type": str, "fingerprint": str, "post_quantum": bool, "describes": str}
TARGET = {"name": str, "address": str, "region": str, "provider": str, "counts": bool}
MARK = {
    "backup_id": public_text, "number": within(1, 99_999_999),
    "state": ("quarantined", "released").__contains__, "reason": public_text, "incident": public_text,
    "by": public_text, "at": lambda value: public_text(value) and a_time(value),
}  # fmt: skip
MANIFEST = {
    "backup_id": str, "policy": str, "source": str, "created_at": str, "values": bool, "sealed": bool,
    "selection": {"include": [str], "exclude": [str], "tags": sorted_texts},
    "counts": {"secrets": int, "versions": int, "size": int}, "recipients": [RECIPIENT], "targets": [TARGET],
    "quorum": int, "regions": int, "providers": int, "not_contained": [public_text], "containers": [ENTRY],
    "previous": (32, None),
}  # fmt: skip


def read_manifest(data: bytes, keys: Keys) -> dict[str, Any]:
    """Read a manifest and hold it to section 7, its receipts included."""
    body, certificate = signed_body(data, "manifest", keys)
    manifest: dict[str, Any] = strict(body, MANIFEST, "The manifest")
    containers, last = manifest["containers"], ""
    few = len(containers) <= 100_000 and len(manifest["not_contained"]) <= 1000
    sound(few, "The manifest lists too many.")
    for piece, entry in enumerate(containers):
        sound(entry["piece"] == piece, "The containers are misnumbered.")
        full = bool(manifest["sealed"] and entry["secrets"])
        sound(bool(entry["wrapping_key"]) == manifest["sealed"], "A wrapping key's id is missing.")
        sound(bool(entry["first"]) == bool(entry["last"]) == full, "A name's hash is missing or too many.")
        sound(not full or last < entry["first"] <= entry["last"], "The ranges of names overlap.")
        last = entry["last"] or last
    sums = {name: sum(entry[name] for entry in containers) for name in ("secrets", "versions", "size")}
    sound(manifest["counts"] == sums, "The counts are not those of the containers.")
    for entry in containers:
        receipt = {"run": manifest["backup_id"]} | {name: entry[name] for name in RECEIPT}
        signer, signature = bytes.fromhex(entry["signer"]), bytes.fromhex(entry["signature"])
        check_signature(signer, "receipt", canonical(receipt), signature)
    by = fingerprint(bytes.fromhex(certificate["installation"]))
    return manifest | {"by": by, "signed": f"signed by {keys.said_of(certificate)}"}


def lacks(manifest: dict[str, Any], name: str | None) -> str:
    """Say what a backup lacks to bring everything back, or one secret; nothing if it lacks nothing."""
    if manifest["source"] == "escrow":
        return "it is an escrow of an installation's keys"
    if not manifest["values"]:
        return "it holds no values"
    limits = manifest["selection"]
    if name is not None or not any(limits.values()):
        return ""
    said = ["tagged " + ", ".join(f"{key}={value}" for key, value in limits["tags"].items())]
    said += [
        f"{word} {', '.join(limits[of])}" for word, of in (("named", "include"), ("not named", "exclude"))
    ]
    kept = [each for each in said if each.split()[-1:] not in (["tagged"], ["named"])]
    return f"it holds only secrets {'; '.join(kept)}"


def read_metadata(data: bytes) -> tuple[dict[str, Any], list[tuple[dict[str, Any], bytes]]]:
    """Read a metadata document: what it says of itself, each secret and its line (section 8)."""
    check_document(data, "metadata")
    found = re.search(rb',\n"digest":"sha256:([0-9a-f]{64})",\n"length":"\d{12}"\}\n\Z', data)
    if found is None or sha256(data[: found.start()]).hex().encode() != found[1]:
        raise Failure("Tampered", "The document was changed.")
    lines = data[: found.start()].split(b"\n")
    sound(len(lines) >= 4 and lines[2] == b'"secrets":[' and lines[-1] == b"]", "The document is misshapen.")
    sound(lines[1].startswith(b'"about":') and lines[1].endswith(b","), "The document is misshapen.")
    about: dict[str, Any] = strict(lines[1][8:-1], ABOUT, "The document")
    sound(0 <= about["piece"] < about["pieces"], "The piece is out of bounds.")
    rows = lines[3:-1]
    sound(all(row.endswith(b",") for row in rows[:-1]), "The lines are not separated as they must be.")
    sound(max(map(len, rows), default=0) <= 16 * MIB, "A line is too long.")
    rows = [*(row[:-1] for row in rows[:-1]), *rows[-1:]]
    return about, [(check_metadata(row), row + b"\n") for row in rows]


def check_metadata(line: bytes) -> dict[str, Any]:
    row = strict(line, dict, "A line")
    version = {name: VERSION[name] for name in ("number", "state", "created_at")}
    shape = {name: inner for name, inner in ROW.items() if name != "metadata"}
    check_members(row, shape | {"tags": lambda value: sorted_texts(value) and value}, version)
    return dict(row)


OBJECT = {"name": str, "offset": int, "size": COUNT, "sha256": 32}


def open_file(part: Part) -> list[tuple[str, Part]]:
    """Return a backup file's objects (section 9); whoever reads one compares its SHA-256."""
    head, tail = part.read(0, 64), part.read(max(0, part.size - 4096), 4096)
    marked = marker(b"\nSRBFEND")
    check_beginning(head, FILE, part.size, ended=marked(tail) and binary_total(tail) == part.size)
    need(part.size >= 62, "Truncated", "The file ends too early.")
    need(head[8:10] == b"\x00\x01", "UnsupportedVersion", "The version is unknown.")
    check_ending(tail, part.size, marked, binary_total)
    length = int.from_bytes(tail[-52:-48], "big")
    sound(length <= min(64 * MIB, part.size - 62), "There is no room for the index.")
    index = part.read(part.size - 52 - length, length)
    genuine(sha256(index) == tail[-48:-16], "The index was changed.")
    objects = strict(index, {"objects": [OBJECT]}, "The index")["objects"]
    name, at = r"[A-Za-z0-9_-][A-Za-z0-9._-]*", 10
    for one in objects:
        right = one["offset"] == at and re.fullmatch(f"{name}(/{name})*", one["name"])
        sound(right, "An object is misplaced.")
        at += one["size"]
    whole = at == part.size - 52 - length and len({one["name"] for one in objects}) == len(objects)
    sound(whole, "The objects do not fit.")
    start = part.start
    return [
        (one["name"], Part(part.path, start + one["offset"], one["size"], one["sha256"])) for one in objects
    ]


def intact(name: str, part: Part) -> Part:
    """Compare a backup file's object with its digest."""
    genuine(not part.sha256 or part.sha256 == part.digest(), f"'{name}' was changed.")
    return part


def open_legacy(data: bytes, passphrases: Sequence[str]) -> bytes:
    """Open an old Fernet file (section 10)."""
    need(data[16:21] == b"gAAAA", "NotABackup", "This is not an old file.")
    token = data[16:]
    raw = len(token.rstrip(b"=")) * 3 // 4
    need(len(token) % 4 == 0, "Truncated", "The old file ends too early.")
    sound(re.fullmatch(rb"[A-Za-z0-9_-]+={0,2}", token), "The old file's token is not base64.")
    need(raw >= 73 and (raw - 57) % 16 == 0, "Truncated", "The old file ends too early.")
    for words in passphrases:
        key = hashlib.pbkdf2_hmac("sha256", words.encode(), data[:16], 100_000, 32)
        try:
            return Fernet(base64.urlsafe_b64encode(key)).decrypt(token)
        except (InvalidToken, ValueError):
            continue
    raise Failure("WrongKey", "The passphrase is wrong, or the file is damaged: this format cannot tell.")


# -- a whole backup (section 13) -------------------------------------------------


class Store:
    """The objects of a backup by their names: of a copy of a target, or of a backup file."""

    def __init__(self, path: Path) -> None:
        self._root = path
        self._objects = None if path.is_dir() else dict(open_file(Part.of(path)))

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects right in a folder, sorted, so that a copy follows its original."""
        if self._objects is not None:
            return sorted(name for name in self._objects if name.rpartition("/")[0] == folder)
        here = self._root / folder
        there = here.iterdir() if here.is_dir() else ()
        return sorted(f"{folder}/{one.name}" for one in there if one.is_file())

    def get(self, name: str) -> Part | None:
        if self._objects is not None:
            return self._objects.get(name)
        path = self._root / name
        return Part.of(path) if path.is_file() else None

    def copies(self, name: str) -> list[tuple[str, Part]]:
        """Return what lies under a name and beside it, in the order of section 7."""
        names = [name, *(f"{name}.r{n}" for n in range(1, 10))]
        return [(each, part) for each in names if (part := self.get(each)) is not None]


@dataclass(frozen=True)
class Backup:
    """A backup in a store: chosen, read and joined."""

    store: Store
    keys: Keys
    losses: Losses
    newer: Sequence[dict[str, Any]] = ()
    for_values: bool = False
    use_quarantined: bool = False

    def secrets(self, wanted: str | None, name: str | None, policy: str | None = None) -> Iterator[Secret]:
        """Yield the secrets of a backup: the newest one that counts and covers that, or the one with an id.
        One secret is looked for in older ones, too.

        Without pins its containers and envelopes must be of its manifest's own installation.
        """
        for manifest in self.chosen(wanted, name, policy):
            keys, found = replace(self.keys, own=frozenset({manifest["by"]})), False
            for secret in replace(self, keys=keys).secrets_of(manifest, name):
                found = found or secret.row["name"] == name
                yield secret
            if name is None or found:
                return
            note(f"'{name}' is not in backup {manifest['backup_id']}")

    def secrets_of(self, manifest: dict[str, Any], name: str | None) -> Iterator[Secret]:
        """Yield the secrets of the containers that a manifest names."""
        said = f"Backup {manifest['backup_id']} holds no values, only names and dates: --list shows them."
        need(manifest["values"] or not self.for_values, "MissingPiece", said)
        came, name_key = 0, ""
        for entry in manifest["containers"]:
            what = f"piece {entry['piece']}"
            opened, found = None, None
            with self.losses.within(what, entry["secrets"]):
                if manifest["sealed"]:
                    opened = self._joined(manifest, entry)
                    same = name_key in ("", opened.index["name_key"])
                    genuine(same, "Its names are keyed otherwise than those of another piece.")
                    name_key = opened.index["name_key"]
                else:
                    found = self._document(manifest, entry)
            if opened is None and found is None:
                continue
            last = ""
            for secret in opened.secrets(self.losses, name) if opened else found or ():
                came, last = came + 1, max(last, opened.hash(secret.row["name"]) if opened else "")
                yield secret
            with self.losses.within(what):
                genuine(name is not None or last == entry["last"], "Its last name is not the manifest's.")
        complete = name is not None or self.losses.first or came == manifest["counts"]["secrets"]
        need(complete, "MissingPiece", f"{came} of {counted(manifest['counts']['secrets'])} came out.")

    def chosen(
        self, wanted: str | None, name: str | None, policy: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the manifest of the backup that is asked for; for one secret, of those before it, too."""
        named = (each for each in self.store.names("manifests") if MANIFEST_NAME.fullmatch(each))
        ids = dict.fromkeys(map(manifest_id, named))
        need(ids, "NotABackup", "There is no manifest here.")
        need(wanted is None or wanted in ids, "MissingPiece", f"There is no manifest of backup '{wanted}'.")
        refused: list[tuple[str, Failure]] = []
        passed: list[tuple[dict[str, Any], str]] = []
        copies, came = dict[str, list[tuple[str, Failure]]](), False
        for backup in [wanted] if wanted else sorted(ids, reverse=True):
            manifest, failures = self._manifest(f"manifests/{backup}.json", backup)
            if manifest is None:
                refused += failures
                continue
            if policy not in (None, manifest["policy"]):
                continue
            aside = self._quarantined(backup, manifest["by"])
            if aside and self.use_quarantined:
                note(f"CAREFUL: backup {backup} is used, and {aside}")
                aside = ""
            need(not (wanted and aside), "BackupQuarantined", f"Backup {backup}: {aside}.")
            why = aside or ("" if policy and manifest["values"] else lacks(manifest, name))
            if why and not wanted:
                passed.append((manifest, why))
                copies[backup] = failures
                continue
            self._tell(manifest, refused, failures, [] if came else passed)
            came, refused, passed = True, [], []
            yield manifest
        if not came:
            yield self._lesser(refused, passed, copies, policy)

    def _lesser(
        self,
        refused: list[tuple[str, Failure]],
        passed: list[tuple[dict[str, Any], str]],
        copies: dict[str, list[tuple[str, Failure]]],
        policy: str | None,
    ) -> dict[str, Any]:
        """Return the best backup of those that lack something, and say what; raise what keeps from all."""
        if not passed:
            none = Failure("MissingPiece", f"There is no backup of policy '{policy}' here.")
            raise refused[0][1] if refused else none
        fair = [(manifest, why) for manifest, why in passed if not why.startswith("it is ")]
        odd = "MissingPiece" if all("escrow" in why for _, why in passed) else "BackupQuarantined"
        need(fair, odd, f"No backup here is to be restored from: {passed[0][1]}.")
        manifest, why = next((one for one in fair if one[0]["values"]), fair[0])
        others = [one for one in passed if one[0] is not manifest]
        self._tell(manifest, refused, copies[manifest["backup_id"]], others)
        if manifest["values"]:
            self.losses.part = Failure("MissingPiece", f"There is no backup of everything here: {why}.")
        return manifest

    def _tell(
        self,
        manifest: dict[str, Any],
        refused: list[tuple[str, Failure]],
        copies: list[tuple[str, Failure]],
        passed: list[tuple[dict[str, Any], str]],
    ) -> None:
        """Say which backup is read, and which newer ones are not."""
        made = f"of policy '{manifest['policy']}', made {manifest['created_at']}"
        held = counted(manifest["counts"]["secrets"])
        note(f"backup {manifest['backup_id']} {made}: {held}, {manifest['signed']}")
        for why in dict.fromkeys(why for _, why in passed):
            same = [other for other, said in passed if said == why]
            more = f" and {len(same) - 1} more like it" if same[1:] else ""
            note(f"passed over: {same[0]['backup_id']} of policy '{same[0]['policy']}'{more}: {why}")
        for name, failure in copies + refused:
            note(f"left aside: {name}: {failure.kind}: {failure}")
        for _, failure in refused:
            self.losses.aside = self.losses.aside or failure

    def _quarantined(self, backup: str, by: str) -> str:
        """Say that a backup is in quarantine by the newest mark that counts; nothing if it is in none."""
        keys = replace(self.keys, own=frozenset({by}))
        for name in reversed(self.store.names(f"quarantine/{backup}")):
            try:
                data = intact(name, self.store.get(name)).whole(16_385)
                sound(len(data) <= 16_384, "It is too large.")
                mark = strict(signed_body(data, "quarantine", keys)[0], MARK, "A quarantine mark")
                genuine(
                    name == f"quarantine/{mark['backup_id']}/{mark['number']:08}.json", "It is another one's."
                )
            except Failure as failure:
                note(f"left aside: {name}: {failure.kind}: {failure}")
                continue
            since = f" since {mark['at']}" + (f" by {mark['by']}" if mark["by"] else "")
            return "" if mark["state"] == "released" else f"it is in quarantine{since}: {mark['reason']}"
        return ""

    def _manifest(self, name: str, backup: str) -> tuple[dict[str, Any] | None, list[tuple[str, Failure]]]:
        failures = []
        for copy, part in self.store.copies(name):
            try:
                manifest = read_manifest(intact(copy, part).whole(64 * MIB + 1), self.keys)
                need(manifest["backup_id"] == backup, "MissingPiece", "It is another backup's.")
            except Failure as failure:
                failures.append((copy, failure))
                continue
            return manifest, failures
        return None, failures or [(name, Failure("MissingPiece", "It is not there, a copy is."))]

    def _piece(self, manifest: dict[str, Any], entry: dict[str, Any]) -> Part:
        """Return a piece: the first copy with the digest named; else what there is, noting that."""
        name = f"containers/{manifest['backup_id']}/{entry['sha256']}"
        copies = self.store.copies(name)
        need(copies, "MissingPiece", f"'{name}' is not there.")
        for _, part in copies:
            if part.size == entry["size"] and part.digest() == entry["sha256"]:
                return part
        part = copies[0][1]
        kind = "Truncated" if part.size < entry["size"] else "Tampered"
        self.losses.add(Failure(kind, "It is not the one that the manifest names."), name, verb="DAMAGED")
        return part

    def _joined(self, manifest: dict[str, Any], entry: dict[str, Any]) -> Opened:
        """Open a container and join it with its manifest."""
        container = open_container(self._piece(manifest, entry), self.keys, entry["signer"])
        own = container.envelope["wrapping_key"]
        genuine(own["id"] == entry["wrapping_key"], "It is sealed under another wrapping key.")
        given = [record for record in self.newer if record["id"] == own["id"]]
        newest = given or list(self._newest(own["id"], own["generation"]))
        opened = container.opened(self.keys, newest)
        index, segments = opened.index, opened.index["segments"]
        here = [index["backup_id"], index["piece"], index["pieces"], index["values"]]
        here += [segments[0][0] if segments else ""]
        here += [sum(each[1] for each in segments), sum(each[2] for each in segments)]
        there = [manifest["backup_id"], entry["piece"], len(manifest["containers"]), manifest["values"]]
        there += [entry["first"], entry["secrets"], entry["versions"]]
        genuine(here == there, "The container and its manifest differ.")
        return opened

    def _newest(self, key: str, own: int) -> Iterator[dict[str, Any]]:
        """Yield the newest detached envelope of a wrapping key that counts, if there is one (section 6)."""
        there = self.store.names(f"keys/{key}")
        names = ((re.fullmatch(rf"keys/{key}/([0-9]{{8}})(\.r[1-9])?", name), name) for name in there)
        aside: dict[int, Failure] = {}
        for generation, name in sorted((-int(found[1]), name) for found, name in names if found):
            if -generation <= own:
                break
            part = self.store.get(name)
            try:
                record = read_envelope(intact(name, part).whole(257 * 1024) if part else b"", self.keys)
                genuine(record["id"] == key, "It is another wrapping key's.")
                need(
                    record["generation"] >= -generation,
                    "Stale",
                    "It is an older one under a newer one's name.",
                )
                sound(record["generation"] == -generation, "It is a newer one under an older one's name.")
            except Failure as failure:  # anybody can put it there, and it must not keep from the next
                note(f"left aside: {name}: {failure.kind}: {failure}")
                aside.setdefault(generation, failure)
                continue
            aside.pop(generation, None)
            yield record
            break
        for failure in aside.values():
            self.losses.aside = self.losses.aside or failure

    def _document(self, manifest: dict[str, Any], entry: dict[str, Any]) -> Iterator[Secret]:
        about, rows = read_metadata(self._piece(manifest, entry).whole(1 << 40))
        joined = (about["backup_id"], about["piece"], about["pieces"], len(rows))
        there = (manifest["backup_id"], entry["piece"], len(manifest["containers"]), entry["secrets"])
        genuine(joined == there, "The document and its manifest differ.")
        return (Secret(row, line, ()) for row, line in rows)


def secrets_in(path: Path, given: argparse.Namespace, keys: Keys, losses: Losses) -> Iterator[Secret]:
    """Yield the secrets of whatever a path is."""
    newer, for_values = given.envelopes, bool(given.out) or given.get is not None
    means = (keys, losses, newer, for_values, given.use_quarantined)
    head = b"" if path.is_dir() else Part.of(path).read(0, 64)
    if path.is_dir() or head.startswith(FILE):
        yield from Backup(Store(path), *means).secrets(given.backup, given.get, given.policy)
    elif head.startswith(b'{"format":"strongroom-manifest'):
        backup = Backup(Store(beside(path)), *means)
        yield from backup.secrets(manifest_id(path.name), given.get)
    elif head.startswith(b'{"format":"strongroom-metadata'):
        need(not for_values, "MissingPiece", f"'{path}' holds no values: --list shows the names in it.")
        about, rows = read_metadata(path.read_bytes())
        note(f"piece {about['piece'] + 1} of {about['pieces']} of backup {about['backup_id']}, not signed")
        yield from (Secret(row, line, ()) for row, line in rows)
    else:
        with losses.within(str(path)):
            container = open_container(Part.of(path), keys)
            note(f"sealed by {keys.said_of(container.envelope['certificate'])}")
            own = container.envelope["wrapping_key"]["id"]
            opened = container.opened(keys, [one for one in newer if one["id"] == own])
            whole = opened.index["backup_id"], opened.index["pieces"]
            given.pieces.setdefault(whole, set()).add(opened.index["piece"])
            yield from opened.secrets(losses, given.get)


def beside(manifest: Path) -> Path:
    """Return the copy of a target that a manifest lies in."""
    home = manifest.resolve().parent
    said = "A manifest alone holds no secret. Give the directory that has manifests/ and containers/ in it."
    need(home.name == "manifests", "MissingPiece", said)
    return home.parent


MANIFEST_NAME = re.compile(r"manifests/[^/]+\.json(\.r[1-9])?")


def manifest_id(name: str) -> str:
    return re.sub(r"\.json(\.r[1-9])?$", "", name.rpartition("/")[2])


# -- the command line ----------------------------------------------------------


def counted(secrets: int) -> str:
    return f"{secrets} secret" + ("" if secrets == 1 else "s")


def shown(secret: Secret) -> str:
    """Return a secret as JSON: UTF-8 values as text, others as base64, metadata in the bytes that it had."""
    row, values = dict(secret.row), iter(secret.values)
    versions = []
    for stored in row["versions"]:
        version = {key: value for key, value in stored.items() if key != "length"}
        versions.append(version | (as_text(next(values)) if "length" in stored else {}))
    metadata = row.pop("metadata", None)
    text = json.dumps({**row, "versions": versions})
    return text if metadata is None else f'{text[:-1]}, "metadata": {metadata.decode()}}}'


def as_text(value: bytes) -> dict[str, str]:
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(value).decode()}


def write_out(folder: Path, secret: Secret) -> None:
    """Write a secret's newest value to a file of its own, mode 0600."""
    name = urllib.parse.quote(secret.row["name"], safe="").replace(".", "%2E") or "%"
    if len(name) > 255:  # more than a file system takes
        name = f"{name[:180]}~{sha256(name.encode()).hex()[:32]}"
    if secret.values:
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret.values[-1])


def act(given: argparse.Namespace, secrets: Iterator[Secret]) -> int:
    """Do with the secrets what was asked for; return how many there were."""
    if not given.out:
        return hand_out(given, secrets)
    given.out.mkdir(mode=0o700, exist_ok=False)
    try:
        return hand_out(given, secrets)
    finally:
        with suppress(OSError):  # it goes if nothing came out, so that the next try finds the place free
            given.out.rmdir()


def hand_out(given: argparse.Namespace, secrets: Iterator[Secret]) -> int:
    count = 0
    for secret in secrets:
        if given.get is not None and secret.row["name"] != given.get:
            continue
        count += 1
        if given.get is not None:
            sys.stdout.buffer.write(secret.values[-1] if secret.values else b"")
            break
        if given.list:
            print(secret.row["name"])
        elif given.jsonl:
            print(shown(secret))
        elif given.out:
            write_out(given.out, secret)
    return count


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError:
        raise Failure("WrongKey", f"'{path}' is not a text file.") from None


def line_of(path: Path) -> str:
    return text_of(path).rstrip("\r\n")


def key_line(path: Path, kind: str) -> tuple[str, bytes]:
    """Read a key file: kind, variety, hex, checksum."""
    words = text_of(path).split()
    right = len(words) == 4 and words[0] == kind and words[1] in ("AES256", "mlkem768-x25519", "x25519")
    right = right and sha256(" ".join(words[:3]).encode()).hex()[:8] == words[3] and fits(words[2], 32)
    need(right, "WrongKey", f"'{path}' is not a {kind} file, or it is damaged.")
    return words[1], bytes.fromhex(words[2])


def asked(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise Failure("WrongKey", "Nobody is there to be asked.") from None


def gather(given: argparse.Namespace) -> Keys:
    """Read every key that the command line names."""
    passphrases = [asked("Passphrase: ")] if given.passphrase else []
    passphrases += [line_of(path) for path in given.passphrase_file]
    keys = Keys(
        passphrases=tuple(passphrases),
        files=tuple(key_line(path, "strongroom-key-1")[1] for path in given.key_file),
        private=tuple(key_line(path, "strongroom-private-key-1") for path in given.private_key),
        signers=frozenset(given.signer),
        asked_of=frozenset(given.ask or ()),
        transit=tuple(given.transit),
    )
    if any((given.shares, given.share_file, given.hsm, given.hsm_private_key, given.answer, given.answers)):
        with told():
            keys = replace(keys, **companion().gather(given, text_of, asked, note))
    return keys


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Open Strongroom backups with nothing of Strongroom.")
    add, paths = made.add_argument, {"type": Path, "action": "append", "default": []}
    add("file", type=Path, nargs="+", help="a copy of a target, or any file of a backup")
    add(
        "--backup",
        metavar="ID",
        help="which backup of several; default: the newest of everything, with values",
    )
    add("--use-quarantined", action="store_true", help="take a backup also if it is in quarantine")
    add("--policy", metavar="NAME", help="the newest backup of this policy, also of a part")
    add("--signer", action="append", default=[], help="the installation's fingerprint: believe it alone")
    add("--passphrase", action="store_true", help="ask for a passphrase")
    add("--passphrase-file", **paths)
    add("--key-file", **paths)
    add("--private-key", **paths)
    add("--shares", action="store_true", help="ask for a quorum's shares")
    add("--share-file", **paths, help="shares, a line each")
    add("--hsm", metavar="MODULE", help="an HSM's PKCS#11 library (needs python-pkcs11)")
    add("--token", metavar="LABEL", help="which of its tokens")
    add("--pin-file", type=Path, help="its PIN; asked for otherwise")
    add("--hsm-private-key", **paths, help="a copy of its key, PEM")
    add("--answer", action="append", default=[], help="what Vault or KMS printed")
    add("--answers", **paths, help="the same, a line each")
    add("--transit", action="append", default=[], metavar="MOUNT/KEY", help="a key of Vault's, for --ask")
    add("--newer", type=Path, nargs="+", action="extend", default=[],
        help="detached envelopes for lone containers, after a rotation")  # fmt: skip
    add("--legacy", action="store_true", help="the file is an old one")
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="names only")
    what.add_argument("--get", metavar="NAME", help="one newest value, to standard output")
    what.add_argument("--out", type=Path, metavar="DIR", help="newest values, a file each")
    what.add_argument("--ask", action="append", metavar="NAME",
        help="for the key of that name: the commands that Vault or KMS has to answer")  # fmt: skip
    what.add_argument("--jsonl", action="store_true", help="everything, to standard output")
    return made


def run(given: argparse.Namespace) -> int:
    keys, losses = gather(given), Losses()
    given.envelopes, given.pieces = list(read_newer(given.newer, keys)), {}
    if given.legacy:
        for path in given.file:
            sys.stdout.buffer.write(open_legacy(path.read_bytes(), keys.passphrases))
        return 0
    secrets = (secret for path in sources(given.file) for secret in secrets_in(path, given, keys, losses))
    if given.ask:
        return ask(keys, losses, secrets)
    count = act(given, secrets)
    note(counted(count) + (f"; {losses.lost} did not come out" if losses.lost else ""))
    for (backup, pieces), there in given.pieces.items() if given.get is None else ():
        if len(there) < pieces:
            said = f"{len(there)} of the {pieces} pieces of backup {backup} were given."
            losses.add(Failure("MissingPiece", said), "the rest")
    if losses.first:
        raise losses.first
    need(count or given.get is None, "MissingPiece", f"There is no secret '{given.get}' here.")
    if amiss := losses.aside or losses.part:
        raise amiss
    return 0


def ask(keys: Keys, losses: Losses, secrets: Iterator[Secret]) -> int:
    """Print what a service has to be asked, as commands; that nothing opens yet is no loss."""
    losses.asking = True
    for _ in secrets:
        pass
    found = losses.first or losses.aside
    if found and (found.kind != "WrongKey" or not keys.questions):
        raise found
    need(keys.questions, "WrongKey", "No key of that name in Vault or KMS opens it: see --list.")
    print("".join(f"{command}\necho\n" for command in keys.questions), end="")  # each answer on its line
    note("Run these where the service can be reached, logged in; give what they print with --answers.")
    return 0


def sources(paths: list[Path]) -> list[Path]:
    """Leave out containers that lie in the copy of a target whose manifest was given, too: it reads them."""
    homes = {beside(path) for path in paths if path.parent.resolve().name == "manifests"}
    held = [home / "containers" for home in homes]
    return [path for path in paths if not any(path.resolve().is_relative_to(each) for each in held)]


def read_newer(paths: Sequence[Path], keys: Keys) -> Iterator[dict[str, Any]]:
    """Yield the envelopes that were given; one among many may be a stranger's, and must not block."""
    refused = []
    for path in paths:
        try:
            yield read_envelope(path.read_bytes(), keys)
        except Failure as failure:
            note(f"left aside: {path}: {failure.kind}: {failure}")
            refused.append(failure)
    if refused and len(refused) == len(paths):
        raise refused[0]


def main() -> int:
    try:
        return run(parser().parse_args())
    except Failure as failure:
        note(f"{failure.kind}: {failure}\n{ADVICE.get(failure.kind, 'Try another copy of this backup.')}")
        return CODES[failure.kind]
    except OSError as error:
        note(f"{error.filename}: {error.strerror}")
        return 1
    except Exception as error:  # noqa: BLE001 - its text, and a traceback's lines, may quote a key or a value
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        note(f"A fault of this program ({type(error).__name__} at line {trace.tb_lineno if trace else 0}).")
        return 70


if __name__ == "__main__":
    sys.exit(main())
