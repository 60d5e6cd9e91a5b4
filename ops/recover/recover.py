#!/usr/bin/env python3
"""Opens Strongroom backups when nothing of Strongroom is left.

One file, written from FORMAT.md. It needs Python 3.11 or newer and two packages, which can
be brought on a stick as wheels (see README.md beside this file):

    cryptography     50 or newer
    zstandard        not needed on Python 3.14 and newer

    python3 recover.py weekly.strongroom --private-key recovery.key --list
    python3 recover.py weekly.strongroom --private-key recovery.key --get PAYMENTS_API_KEY
    python3 recover.py weekly.strongroom --private-key recovery.key --out DIRECTORY
    python3 recover.py containers/ID/* --passphrase --jsonl > secrets.jsonl
    python3 recover.py emergency.strongroom --shares --hsm MODULE.so --token backup --out DIRECTORY

What people hold is asked for: --shares takes a quorum's shares one by one. A key in an HSM needs the package
python-pkcs11 beside the two above. Of a key in Vault or AWS KMS, the program says which command to give
there; hand the answer in with --answer. Keys that are needed together are given together.

FILE is a backup file, a container, a manifest, a metadata document, or with --legacy an old
file. A name in --get may hold a value you do not want on a screen: redirect the output.
"""

from __future__ import annotations

import argparse
import base64
import getpass
import hashlib
import hmac
import json
import os
import re
import struct
import sys
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

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
}  # fmt: skip
ADVICE = {
    "WrongKey": "Nothing was damaged. Try another passphrase, key file or private key.",
    "UntrustedSigner": "Compare the fingerprint with the recovery kit; then give it with --signer.",
    "LegacyFormat": "Repeat with --legacy.",
    "UnsupportedVersion": "Use the recover.py that lies beside this backup.",
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


# -- the primitives ------------------------------------------------------------


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA512(), 32, salt, info).derive(key)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def unhex(text: object, size: int) -> bytes:
    sound(isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{2 * size}}}", text), "A field is not hex.")
    return bytes.fromhex(str(text))


def canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def pairs_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Take an object whose names are there once each and can be written in UTF-8."""
    names = [name.encode() for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError
    return dict(pairs)


class Number(str):
    """A number as it was written: it may have more digits than a float or an integer here holds."""

    __slots__ = ()


def loads(data: bytes, what: str, **options: Any) -> Any:
    """Decode JSON strictly: UTF-8, RFC 8259, no name twice, no half of a surrogate pair."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=pairs_once, parse_constant=no_constant, **options)
        check_texts(value)
    except (ValueError, RecursionError):
        raise Failure("Malformed", f"{what} is not JSON.") from None
    return value


def no_constant(text: str) -> None:
    raise ValueError


def check_texts(value: Any) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            check_texts(inner)


def depth_of(value: Any) -> int:
    """Return how deep objects and arrays lie in each other."""
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


def strict(data: bytes, members: Sequence[str], what: str) -> dict[str, Any]:
    """Decode canonical JSON with exactly these members in this order."""
    value = loads(data, what)
    need(isinstance(value, dict) and list(value) == list(members), "Malformed", f"{what} has other members.")
    need(canonical(value) == data, "Malformed", f"{what} is not canonical.")
    return dict(value)


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


CERTIFICATE = "installation role key issued_at signature".split()  # noqa: SIM905
SPELLING = (
    rb'\{"installation":"[0-9a-f]{64}","role":"[a-z]{1,16}","key":"[0-9a-f]{64}","issued_at":'
    rb'"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z","signature":"[0-9a-f]{128}"\}'
)
ROLES = {"manifest": ("control", "recover"), "envelope": ("recover",), "container": ("seal", "recover")}


def installation(certificate: dict[str, str]) -> str:
    """Return the fingerprint of the installation that certified a key."""
    return "sr1:" + sha256(bytes.fromhex(certificate["installation"])).hex()


def check_signature(public: bytes, domain: bytes, message: bytes, signature: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, domain + b"\x00" + message)
    except (InvalidSignature, ValueError):
        raise Failure("Tampered", "The signature does not fit.") from None


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


@dataclass(frozen=True)
class Keys:
    """What is at hand to open with, and whom to believe."""

    passphrases: tuple[str, ...] = ()
    files: tuple[bytes, ...] = ()
    private: tuple[tuple[str, bytes], ...] = ()
    quorums: tuple[bytes, ...] = ()
    hsms: tuple[Hsm, ...] = ()
    answers: tuple[bytes, ...] = ()
    kms: bytes = b""
    signers: frozenset[str] = frozenset()
    derived: dict[tuple[str, bytes, int], bytes] = field(default_factory=dict)

    def trust(self, certificate: dict[str, str], kind: str) -> None:
        """Check a signer's certificate, its role, and its installation (section 12)."""
        name = installation(certificate)
        signed = canonical({member: certificate[member] for member in CERTIFICATE[:-1]})
        domain, signature = b"strongroom/v1/certificate", bytes.fromhex(certificate["signature"])
        check_signature(bytes.fromhex(certificate["installation"]), domain, signed, signature)
        said = f"Signed by role '{certificate['role']}', which does not sign this."
        need(certificate["role"] in ROLES[kind], "UntrustedSigner", said)
        said = f"Signed by installation {name}."
        need(not self.signers or name in self.signers, "UntrustedSigner", said)

    def said_of(self, certificate: dict[str, str]) -> str:
        return installation(certificate) + ("" if self.signers else " (not checked: no --signer)")

    def unwrap(self, stanza: dict[str, Any], context: bytes) -> bytes | None:
        """Try every key on one stanza; None if none fits."""
        openers: dict[str, Callable[[dict[str, Any], bytes], bytes | None]] = {
            "passphrase": self._passphrase,
            "keyfile": self._file,
            "hpke": lambda args, context: self._hpke(args, b"hpke/" + context, self.private),
            "quorum": lambda args, context: self._hpke(
                args, b"quorum/" + context, tuple(("mlkem768-x25519", seed) for seed in self.quorums)
            ),
            "pkcs11-ec": self._ec,
            "pkcs11-aes": self._aes,
            "transit": self._transit,
            "kms": self._kms,
            "all-of": self._all_of,
        }
        opener = openers.get(stanza["type"])
        return opener(stanza["args"], context) if opener else None

    def _passphrase(self, args: dict[str, Any], context: bytes) -> bytes | None:
        if not self.passphrases:
            return None
        members(args, "iterations", "kdf_salt", "salt", "wrapped")
        rounds, salt = args["iterations"], unhex(args["kdf_salt"], 32)
        need(
            type(rounds) is int and 100_000 <= rounds <= 10_000_000, "Malformed", "Iterations out of bounds."
        )
        for words in self.passphrases:
            if (words, salt, rounds) not in self.derived:
                normal = unicodedata.normalize("NFC", words).encode()
                self.derived[words, salt, rounds] = hashlib.pbkdf2_hmac("sha256", normal, salt, rounds, 32)
            found = unwrap(
                self.derived[words, salt, rounds], args, b"strongroom/v1/wrap/passphrase/" + context
            )
            if found:
                return found
        return None

    def _file(self, args: dict[str, Any], context: bytes) -> bytes | None:
        if not self.files:
            return None
        members(args, "key", "salt", "wrapped")
        name = unhex(args["key"], 16)
        for key in self.files:
            if hkdf(key, b"", b"strongroom/v1/keyfile-fingerprint")[:16] == name:
                return unwrap(key, args, b"strongroom/v1/wrap/keyfile/" + context)
        return None

    def _hpke(
        self, args: dict[str, Any], info: bytes, private: tuple[tuple[str, bytes], ...]
    ) -> bytes | None:
        if not private:
            return None
        members(args, "kem", "key", "sealed")
        name = unhex(args["key"], 32)
        for kind, seed in private:
            number, kem, key, public = hpke_key(kind, seed)
            if number != args["kem"] or sha256(public) != name:
                continue
            sealed = unhex(args["sealed"], (1120 if kind == "mlkem768-x25519" else 32) + 48)
            try:
                return hpke.Suite(kem, hpke.KDF.HKDF_SHA512, hpke.AEAD.AES_256_GCM).decrypt(
                    sealed, key, info=b"strongroom/v1/wrap/" + info
                )
            except InvalidTag:
                return None
        return None

    def _ec(self, args: dict[str, Any], context: bytes) -> bytes | None:
        if not self.hsms:
            return None
        members(args, "kem", "key", "sealed", "version")
        version, name = number(args["version"]), unhex(args["key"], 32)
        point = {16: 65, 17: 97}.get(args["kem"])
        if point is None:
            return None
        sealed = unhex(args["sealed"], point + 48)
        info = b"strongroom/v1/wrap/pkcs11-ec/" + version.to_bytes(2, "big") + context
        for hsm in self.hsms:
            found = hsm.agree(name, version, sealed[:point])
            if found is not None:
                return open_ec(*found, args["kem"], sealed, info)
        return None

    def _aes(self, args: dict[str, Any], context: bytes) -> bytes | None:
        members(args, "data_key", "key", "salt", "version", "wrapped")
        version, wrapped = number(args["version"]), unhex(args["data_key"], 40)
        info = b"strongroom/v1/wrap/pkcs11-aes/" + version.to_bytes(2, "big") + context
        found = [*self.answers, *(key for hsm in self.hsms if (key := hsm.unwrap(version, wrapped)))]
        return next((key for each in found if (key := unwrap(each, args, info))), None)

    def _transit(self, args: dict[str, Any], context: bytes) -> bytes | None:
        members(args, "data_key", "key", "salt", "version", "wrapped")
        unhex(args["data_key"], 60)
        info = b"strongroom/v1/wrap/transit/" + context
        return next((key for each in self.answers if (key := unwrap(each, args, info))), None)

    def each(self) -> Iterator[Keys]:
        """Yield these keys for each answer by itself: of KMS's, only the record's MAC tells which it is."""
        return (replace(self, kms=answer) for answer in self.answers or (b"",))

    def _kms(self, args: dict[str, Any], context: bytes) -> bytes | None:  # noqa: ARG002
        members(args, "arn", "blob")
        return self.kms or None

    def _all_of(self, args: dict[str, Any], context: bytes) -> bytes | None:
        legs, data = legs_of(args)
        shares = []
        for place, leg in enumerate(legs):
            bound = b"strongroom/v1/wrap/all-of/leg/" + bytes([place, len(legs)]) + context
            share = next((found for stanza in leg if (found := self.unwrap(stanza, bound))), None)
            if share is None:
                return None
            shares.append(share)
        return unwrap(b"".join(shares), args, b"strongroom/v1/wrap/all-of/" + sha256(data) + context)


def members(args: dict[str, Any], *names: str) -> None:
    sound(sorted(args) == list(names), "A stanza is not as it must be.")


def number(value: object) -> int:
    sound(type(value) is int and 1 <= value < 1 << 31, "A version is out of bounds.")
    return int(str(value))


def legs_of(args: dict[str, Any]) -> tuple[list[list[dict[str, Any]]], bytes]:
    """Return the stanzas of an all-of stanza by leg, and their encoding."""
    members(args, "legs", "salt", "wrapped")
    data = unhex(args["legs"], len(str(args["legs"])) // 2)
    legs = loads(data, "A list of legs")
    sound(isinstance(legs, list) and 2 <= len(legs) <= 8 and canonical(legs) == data, "The legs are bad.")
    sound(all(isinstance(leg, list) and 1 <= len(leg) <= 8 for leg in legs), "A leg is bad.")
    for stanza in (stanza for leg in legs for stanza in leg):
        check_stanza(stanza)
        sound(stanza["type"] != "all-of", "An all-of is inside another.")
    return legs, data


def unwrap(kek: bytes, args: dict[str, Any], info: bytes) -> bytes | None:
    salt, wrapped = unhex(args["salt"], 32), unhex(args["wrapped"], 48)
    try:
        return AESGCM(hkdf(kek, salt, info)).decrypt(bytes(12), wrapped, None)
    except InvalidTag:
        return None


def hpke_key(kind: str, seed: bytes) -> tuple[int, Any, Any, bytes]:
    """Return a private key's KEM number, KEM, key and raw public key."""
    if kind == "x25519":
        key = X25519PrivateKey.from_private_bytes(seed)
        return 0x20, hpke.KEM.X25519, key, key.public_key().public_bytes_raw()
    expanded = hashlib.shake_256(seed).digest(96)
    lattice, curve = (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        X25519PrivateKey.from_private_bytes(expanded[64:]),
    )
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return 0x647A, hpke.KEM.MLKEM768_X25519, hpke.MLKEM768X25519PrivateKey(lattice, curve), public


def unlock(record: dict[str, Any], keys: Keys) -> bytes:
    """Open a wrapping key's record (section 2)."""
    stanzas, name, mac = check_record(record), unhex(record["id"], 16), unhex(record["mac"], 32)
    context = b"strongroom/v1/wrapping-key/" + name
    message = canonical({name: value for name, value in record.items() if name != "mac"})
    some = False
    for key in (
        found for each in keys.each() for stanza in stanzas if (found := each.unwrap(stanza, context))
    ):
        right = hmac.digest(hkdf(key, name, b"strongroom/v1/wrapping-record"), message, "sha256")
        if hmac.compare_digest(right, mac):
            return key
        some = True
    genuine(
        not some,
        "The list of recipients was changed" + (", or --answer is another key's." * bool(keys.answers)),
    )
    who = "".join(f"\n- {line}" for stanza in stanzas for line in todo(stanza, context))
    raise Failure("WrongKey", f"Nothing at hand opens it. It was sealed for any of:{who}")


def todo(stanza: dict[str, Any], context: bytes) -> list[str]:
    """Say who or what opens a stanza, and what to do for it."""
    kind, args, label = stanza["type"], stanza["args"], stanza["label"]
    name = f"{kind} {label}".strip()
    if kind == "all-of":
        lines = [f"{name}, all of these together:"]
        for place, leg in enumerate(legs_of(args)[0], 1):
            bound = b"strongroom/v1/wrap/all-of/leg/" + bytes([place - 1, len(legs_of(args)[0])]) + context
            lines += [f"    {place}. {line}" for each in leg for line in todo(each, bound)]
        return lines
    try:
        return [f"{name}: {HELP.get(kind, _unknown)(args, context)}"]
    except (KeyError, ValueError, TypeError):  # nobody has checked this stanza yet
        return [f"{name}: it is malformed"]


def _unknown(args: dict[str, Any], context: bytes) -> str:
    return "use a newer recover.py"


def _in_hsm(args: dict[str, Any], context: bytes) -> str:
    return f"plug in the HSM (its key has the id {args['version']:04x}); give --hsm MODULE --token LABEL"


def _in_transit(args: dict[str, Any], context: bytes) -> str:
    ciphertext = base64.b64encode(bytes.fromhex(args["data_key"])).decode()
    return (
        "run 'vault write -field=plaintext transit/decrypt/KEY ciphertext=vault:v"
        f"{args['version']}:{ciphertext}' (KEY: see the recovery kit), and give what it prints with --answer"
    )


def _in_kms(args: dict[str, Any], context: bytes) -> str:
    arn = re.fullmatch(rb"arn:[a-z-]+:kms:([a-z0-9-]+):[0-9]+:key/[A-Za-z0-9-]+", bytes.fromhex(args["arn"]))
    if arn is None:  # whoever wrote it may want a command of theirs to be typed
        return "it names no key of AWS KMS"
    blob = base64.b64encode(bytes.fromhex(args["blob"])).decode()
    return (
        f"run 'aws kms decrypt --region {arn[1].decode()} --key-id {arn[0].decode()} --encryption-context "
        f"strongroom={context.hex()} --cli-binary-format base64 --ciphertext-blob {blob} --output text "
        "--query Plaintext', and give what it prints with --answer"
    )


HELP: dict[str, Callable[[dict[str, Any], bytes], str]] = {
    "passphrase": lambda args, context: "give --passphrase",
    "keyfile": lambda args, context: "give --key-file FILE",
    "hpke": lambda args, context: "give --private-key FILE",
    "quorum": lambda args, context: "bring custodians together; give --shares",
    "pkcs11-ec": _in_hsm,
    "pkcs11-aes": _in_hsm,
    "transit": _in_transit,
    "kms": _in_kms,
}


def check_record(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold a wrapping key's record to the format's limits; return its stanzas."""
    sound(list(record) == ["id", "generation", "stanzas", "mac"], "The record has other members.")
    unhex(record["id"], 16), unhex(record["mac"], 32)
    generation, stanzas = record["generation"], record["stanzas"]
    sound(type(generation) is int and 1 <= generation <= 99_999_999, "The generation is out of bounds.")
    sound(isinstance(stanzas, list) and 1 <= len(stanzas) <= 64, "There must be 1 to 64 stanzas.")
    for stanza in stanzas:
        check_stanza(stanza)
    return list(stanzas)


def check_stanza(stanza: object) -> None:
    sound(isinstance(stanza, dict) and list(stanza) == ["type", "label", "args"], "A stanza is malformed.")
    assert isinstance(stanza, dict)
    kind, label, args = stanza["type"], stanza["label"], stanza["args"]
    sound(isinstance(kind, str) and re.fullmatch("[a-z0-9][a-z0-9.-]{0,31}", kind), "A stanza's type is bad.")
    need(
        isinstance(label, str) and len(label) <= 128 and (label.isprintable()), "Malformed", "A label is bad."
    )
    sound(isinstance(args, dict) and list(args) == sorted(args), "A stanza's args are bad.")
    sound(all(type(value) in (str, int) for value in args.values()), "A stanza's args are bad.")


# -- keys in an HSM, or its copy in a safe ----------------------------------------


@dataclass(frozen=True)
class Hsm:
    """Something that does a Diffie-Hellman, and maybe unwraps, with keys that it keeps.

    ``agree`` takes the SHA-256 of a public point, a version and the other side's point; it returns the
    shared x-coordinate and our public point, or None if it has no such key.
    """

    agree: Callable[[bytes, int, bytes], tuple[bytes, bytes] | None]
    unwrap: Callable[[int, bytes], bytes | None] = lambda version, wrapped: None


def software(private: ec.EllipticCurvePrivateKey) -> Hsm:
    """Use a copy of the private key in the HSM's place."""
    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def agree(name: bytes, version: int, enc: bytes) -> tuple[bytes, bytes] | None:
        if sha256(public) != name or len(enc) != len(public):
            return None
        try:
            other = ec.EllipticCurvePublicKey.from_encoded_point(private.curve, enc)
        except ValueError:
            return None
        return private.exchange(ec.ECDH(), other), public

    return Hsm(agree)


def pkcs11_session(module: str, label: str, pin: str) -> Any:
    """Log in to a token, once: a wrong PIN is not tried again."""
    try:
        import pkcs11  # noqa: PLC0415 - only where there is an HSM
    except ImportError:
        raise Failure("WrongKey", "An HSM needs the package python-pkcs11: see README.md.") from None
    try:
        return pkcs11.lib(module).get_token(token_label=label).open(user_pin=pin)
    except pkcs11.PKCS11Error as error:
        kinds = f"{type(error).__name__} {error}".strip()
        raise Failure("WrongKey", f"The HSM does not let us in ({kinds}). Nothing was tried twice.") from None


def told(use: Callable[..., Any]) -> Callable[..., Any]:
    """Name what an HSM does not do, or not any more."""
    import pkcs11  # noqa: PLC0415 - only where there is an HSM

    def used(*words: Any) -> Any:
        try:
            return use(*words)
        except pkcs11.PKCS11Error as error:
            raise Failure("WrongKey", f"The HSM does not do it ({type(error).__name__} {error}).") from None
        except AttributeError:  # what the token does not allow its key, the binding does not offer
            raise Failure("WrongKey", "The HSM does not allow its key this use.") from None

    return used


def pkcs11_token(module: str, label: str, pin: str) -> Hsm:
    """Return what an HSM does with the keys of a token that never leave it."""
    session = pkcs11_session(module, label, pin)
    import pkcs11  # noqa: PLC0415 - only where there is an HSM

    attribute, kind = pkcs11.Attribute, pkcs11.ObjectClass

    def find(**wanted: Any) -> list[Any]:
        return list(session.get_objects({attribute[name]: value for name, value in wanted.items()}))

    def agree(name: bytes, version: int, enc: bytes) -> tuple[bytes, bytes] | None:
        for public in find(CLASS=kind.PUBLIC_KEY, ID=version.to_bytes(2, "big")):
            point = bytes(public[attribute.EC_POINT])[-len(enc) :]  # after the DER octet string's head
            if sha256(point) != name:
                continue
            private = find(CLASS=kind.PRIVATE_KEY, ID=version.to_bytes(2, "big"), LABEL=public.label)
            need(private, "WrongKey", f"The HSM has the public half of '{public.label}' alone.")
            secret = private[0].derive_key(
                pkcs11.KeyType.GENERIC_SECRET,
                8 * (len(enc) // 2),
                mechanism=pkcs11.Mechanism.ECDH1_DERIVE,
                mechanism_param=(pkcs11.KDF.NULL, None, enc),
                template={attribute.SENSITIVE: False, attribute.EXTRACTABLE: True},
            )
            return bytes(secret[attribute.VALUE]), point
        return None

    def unwrap_(version: int, wrapped: bytes) -> bytes | None:
        for key in find(CLASS=kind.SECRET_KEY, ID=version.to_bytes(2, "big")):
            try:
                made = key.unwrap_key(
                    kind.SECRET_KEY,
                    pkcs11.KeyType.GENERIC_SECRET,
                    wrapped,
                    mechanism=pkcs11.Mechanism.AES_KEY_WRAP,
                    template={
                        attribute.TOKEN: False,
                        attribute.SENSITIVE: False,
                        attribute.EXTRACTABLE: True,
                    },
                )
            except pkcs11.PKCS11Error:
                continue
            return bytes(made[attribute.VALUE])
        return None

    return Hsm(told(agree), told(unwrap_))


def open_ec(dh: bytes, public: bytes, kem: int, sealed: bytes, info: bytes) -> bytes | None:
    """Finish HPKE's Decap and open (RFC 9180 4.1, 5.1, 5.2): the HSM did the Diffie-Hellman alone."""
    enc, wrapped = sealed[: len(public)], sealed[len(public) :]
    inner, size = ("sha256", 32) if kem == 16 else ("sha384", 48)
    suite = b"KEM" + kem.to_bytes(2, "big")
    prk = labeled_extract(inner, suite, b"", b"eae_prk", dh)
    secret = labeled_expand(inner, suite, prk, b"shared_secret", enc + public, size)
    suite = b"HPKE" + kem.to_bytes(2, "big") + b"\x00\x03\x00\x02"
    empty = labeled_extract("sha512", suite, b"", b"psk_id_hash", b"")
    context = b"\x00" + empty + labeled_extract("sha512", suite, b"", b"info_hash", info)
    prk = labeled_extract("sha512", suite, secret, b"secret", b"")
    key = labeled_expand("sha512", suite, prk, b"key", context, 32)
    nonce = labeled_expand("sha512", suite, prk, b"base_nonce", context, 12)
    try:
        return AESGCM(key).decrypt(nonce, wrapped, None)
    except InvalidTag:
        return None


def labeled_extract(name: str, suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(hashlib.new(name).digest_size), b"HPKE-v1" + suite + label + ikm, name)


def labeled_expand(  # noqa: PLR0917 - as the RFC has it
    name: str, suite: bytes, prk: bytes, label: bytes, info: bytes, size: int
) -> bytes:
    """HKDF-Expand, of which one block is enough here."""
    return hmac.digest(prk, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01", name)[
        :size
    ]


# -- shares of a quorum (SLIP-39) ---------------------------------------------------

# Every word of SLIP-39's list begins with four letters of its own; these are they, in order.
WORDS = """
acadacidacneacquacroactiactradapadeqadjuadmiadoraduladvaadvoafraagaiagenagreaideaircairlairpajar
alaralbualcoaliealivalphalrealtoalumalwaamazambiamouamusanalanatanceanciangeangranimanswanteanxi
aparaquaarcaarenarguarmeartiartwaspeauctauguauntaveraviaavoiawarawayaxisaxlebeambearbeavbecobedr
behabeinbelibelobenebestbeyobikebiolbirtbishblacblanblesblimblinbluebodyboltboribornbothbounbrac
branbravbreabriebrokbrotbrowbuckbudgbuilbulbbulgbumpbundburdburnbusybuyecagecalccamecampcanycapa
capicaptcarbcardcarecargcarpcarvcatecausceilcentcerachamchancharchecchemcheschewchubcineciviclas
claycleaclieclimclinclocclogclosclotclubcluscoalcoascodicolucompcorncostcouncourcovecowbcradcraf
crazcredcriccrimcriscritcrowcruccruncruscryscubicultcuricurlcustcylidaisdamadancdarkdatadaugdead
dealdebrdebudecedecidecldecodecrdelidemadensdenydepadepedepidepldescdesedesideskdestdetadetedevi
devodiagdictdietdiledimidinidipldisadiscdisedishdismdispdistdivedivodocudomadomedomidougdowndrag
dramdreadresdrifdrindrovdrugdryeduckdukeduradwardynaearlearteaseeasyechoecliecoledgeediteduceith
elboeldeelecelegelemelepelevelitelseemaiemeremisempeemphemplemptendiendlendoenemenerenfoengaenjo
enlaentrenveenvyepidepisequaequieraserodescaestaestievalevenevidevilevokexacexamexceexchexclexcu
execexerexhaexotexpaexpeexplexprexteextreyebfacifactfailfainfakefalsfamifamofancfangfantfatafati
favofawnfibefictfiltfinafindfingfirefirmfiscfishfitnflamflasflavfleaflexflipfloaflorfluffocuforb
forcforeforgformfortforwfounfracfragfreqfresfriafridfriefrosfrotfrozfumefundfurlfusegalagamegarb
gardgarlgasogathgenegenigenrgenugeolgestgladglanglasglenglimgoatgoldgradgrangrasgravgraygreagrie
grilgringrocgrosgrougrowgrumguarguesguilguitgumshairhamshandhangharvhavehavohawkhazaheadhealhear
heathelpheraherdhesihoboholiholyhomehormhosphourhugehumahumihunthusbhushhuskhybrideaidenidleimag
impaimplimprimpuinclincoincrindeindiinduinfainfoinheinjuinmainseinsiinstinteintiinvainvoirisisla
isolitemivorjackjerkjewejoinjudijuicjumpjuncjunijunkjuryjustkernkeybkidnkindkitcknifknitladeladl
ladylairlamplanglarglaselaunlawsleadleaflearleavlectlegalegelegslendlenglevelibelibrliceliftlike
lilalilylipsliqulistlitelivilizaloanlobelocalosiloudloyalucklunalunclungluxulyinlyrimachmagamaid
mailmainmakemakimamamanamandmansmanumaramarcmarkmarvmasomatemathmaximayomeanmedamedimembmemoment
mercmerimethmetrmidsmildmilimineminimiramixemixtmobimodemodimoismomemornmortmothmounmousmovemuch
mulemultmuscmusemusimustnailnatineckneganervnetwnewsnuclnumbnumenylooasiobesobjeobseobtaoceaofte
olymomitoraloranorbiordeordiorgaouncovenoverownepacepacipackpaidpainpajapancpantpapapapeparcpark
partpatepatrpaympayrpeacpeanpeaspecapenapencpercperfpermpetiphanpharphotphraphyspickpictpiecpile
pinkpipepistpitcplaiplanplasplatplaypleaplotplunpracpraypreapredpregprempreppresprevprieprimprio
prisprivprizprobprocprofprogpromprosprovprunpublpulspumppunipunypupapurcpurppythquanquarquicquie
raceraciradarailrainraisrandrankrapiraspreacrealreboreburecarecerecoregrregurejerelaremeremiremo
rendreparepereplrequrescreseresirespresuretaretrreunreverevirewarhymrhytrichrivariverobirockroma
romprostrounroyaruinrulerumosacksafasalasalosaltsatisatosavesaysscanscarscatscenschosciescouscra
screscriscroseafseassecrsecusegmsenishadshafshamshapsharshelshershorshoushrisidesilesilvsimisimp
singsistskinskunslapslavsledslicslimslowslussmarsmeasmelsmirsmitsmoksmugsnaksnapsnifsocisoftsold
solusoulsourspacsparspeaspecspelspenspewspidspilspinspirspitsprasprisquasquestadstafstanstarstat
staysteastepsticstilstorstrastristylsubjsubmsugasuitsunlsupesurfsurpsurvsweaswimswinswitsymbsymp
syndsysttacktacttadptaletasktasttaugtaxiteacteamteastemptenatendtenstermtesttextthanthattheatheo
therthorthrethumthunticktidytimbtimetingtofutogetoletotatoxitractraftraitrantrastravtreatrentria
trictriptriutroutruetrustwictwintypetypiuglyultiumbruncoundeunfaunfounhauniounivunkiunknunusunwr
upgrupstuserusheusuavalivaluvampvanivarivegavelvventverdveriveryvetevexevictvideviewvintviolvira
visivisuvitavocavoicvoluvotevotiwalnwarmwarnwatcwavywealweapwebcwelcwelfwestwidtwildwindwinewire
wisdwithwitswolfwomaworkwortwrapwriswritwrotyearyelpyielyogazero
""".replace("\n", "")
PLACES = {WORDS[at : at + 4]: at // 4 for at in range(0, len(WORDS), 4)}


def read_share(text: str) -> tuple[tuple[int, int, int], int, bytes]:
    """Return what all shares of a set have in common (id, exponent, threshold), the number and the value."""
    typed = text.lower().split()
    wrong = [str(at) for at, word in enumerate(typed, 1) if word[:4] not in PLACES]
    need(not wrong, "WrongKey", f"Word {', '.join(wrong)} of a share is no word of a share.")
    need(len(typed) == 33, "WrongKey", f"A share has 33 words, and {len(typed)} were given.")
    places = [PLACES[word[:4]] for word in typed]
    need(rs1024([*b"shamir_extendable", *places]) == 1, "WrongKey", "A word of a share is wrong: look again.")
    bits = 0
    for place in places[:30]:
        bits = bits << 10 | place
    value, head = bits & ((1 << 256) - 1), bits >> 260
    # The head: id 15, extendable 1, exponent 4; group's index, threshold and count, index, threshold: 4 each.
    need(
        head >> 24 & 1 and not head >> 8 & 0xFFF and not bits >> 256 & 15,
        "WrongKey",
        "It is another kind of share.",
    )
    return (head >> 25, head >> 20 & 15, (head & 15) + 1), head >> 4 & 15, value.to_bytes(32, "big")


def rs1024(values: Sequence[int]) -> int:
    """The checksum of SLIP-39, which is 1 if all is right."""
    generator = (
        0xE0E040, 0x1C1C080, 0x3838100, 0x7070200, 0xE0E0009,
        0x1C0C2412, 0x38086C24, 0x3090FC48, 0x21B1F890, 0x3F3F120,
    )  # fmt: skip
    check = 1
    for value in values:
        top, check = check >> 20, (check & 0xFFFFF) << 10 ^ value
        for bit, factor in enumerate(generator):
            check ^= factor if top >> bit & 1 else 0
    return check


def join_shares(texts: Sequence[str], passphrase: bytes = b"") -> bytes:
    """Put the shares of a quorum together; return the private key's seed. Ours have no passphrase."""
    read = [read_share(text) for text in texts]
    need(len({common for common, _, _ in read}) == 1, "WrongKey", "The shares are of different quorums.")
    _, exponent, threshold = read[0][0]
    points = {place: value for _, place, value in read}
    need(len(points) == len(texts), "WrongKey", "A share was given twice.")
    need(len(points) == threshold, "WrongKey", f"{threshold} shares are needed, {len(points)} were given.")
    secret, check = interpolate(points, 255), interpolate(points, 254)
    right = hmac.digest(check[4:], secret, "sha256")[:4]
    need(right == check[:4], "WrongKey", "The shares are whole, and do not belong together.")
    left, other = secret[:16], secret[16:]
    for step in (3, 2, 1, 0):
        mask = hashlib.pbkdf2_hmac("sha256", bytes([step]) + passphrase, other, (10_000 << exponent) // 4, 16)
        left, other = other, bytes(a ^ b for a, b in zip(left, mask, strict=True))
    return other + left


def interpolate(points: dict[int, bytes], at: int) -> bytes:
    """Lagrange's interpolation over GF(256), byte by byte."""
    result = bytes(32)
    for place, value in points.items():
        factor = 1
        for other in points:
            if other != place:
                factor = times(factor, times(at ^ other, inverse(place ^ other)))
        result = bytes(a ^ times(factor, b) for a, b in zip(result, value, strict=True))
    return result


def times(a: int, b: int) -> int:
    """Multiply in GF(256) with the polynomial of AES."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a, b = a << 1 ^ (0x11B if a & 0x80 else 0), b >> 1
    return product


def inverse(a: int) -> int:
    power = a
    for _ in range(253):  # a to the 254th
        power = times(power, a)
    return power


# -- containers ----------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A range of an open file; of a backup file's object, with its digest in hex."""

    fd: int
    start: int
    size: int
    sha256: str = ""

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        return b"".join(iter_pread(self.fd, self.start + offset, length))


def iter_pread(fd: int, offset: int, length: int) -> Iterator[bytes]:
    while length > 0 and (data := os.pread(fd, length, offset)):
        yield data
        offset, length = offset + len(data), length - len(data)


@dataclass(frozen=True)
class Secret:
    """A row as stored, its line, and the values of its versions in order."""

    row: dict[str, Any]
    line: bytes
    values: tuple[bytes, ...]


@dataclass(frozen=True)
class Container:
    """A container whose signature and envelope were checked (section 1, steps 1 to 9)."""

    part: Part
    header: bytes
    directory: bytes
    index: bytes
    envelope: dict[str, Any]
    signer: bytes

    def secrets(self, keys: Keys, newer: Sequence[dict[str, Any]] = ()) -> Iterator[Secret]:
        """Yield every secret; memory is bounded by one segment."""
        sub = self._subkeys(keys, newer)
        tag = self.header[48:]
        index = open_index(cobblestone(sub["index"], self.index, tag + struct.pack(">BI", 3, 0)), self)
        for number, (at, values, rows, dv, dr) in enumerate(self.entries()):
            v, m = self.part.read(at, values), self.part.read(at + values, rows)
            genuine(
                sha256(m) == dr and (sha256(v) == dv if values else not any(dv)), "A segment was changed."
            )
            packed = cobblestone(sub["rows"], m, tag + struct.pack(">BI", 2, number))
            plain = cobblestone(sub["values"], v, tag + struct.pack(">BI", 1, number)) if values else None
            yield from (found := list(segment(packed, plain)))
            check_place(found, index, number)

    def entries(self) -> Iterator[tuple[int, int, int, bytes, bytes]]:
        at = 80
        for values, rows, dv, dr in struct.iter_unpack(">II32s32s", self.directory):
            yield at, values, rows, dv, dr
            at += values + rows

    def _subkeys(self, keys: Keys, newer: Sequence[dict[str, Any]]) -> dict[str, bytes]:
        record, file_id = self.envelope["wrapping_key"], self.header[16:48]
        if newer:
            own = [one for one in newer if one["id"] == record["id"]]
            need(own, "Tampered", "The newer envelope belongs to another wrapping key.")
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
        return {
            kind: hkdf(file_key, file_id, b"strongroom/v1/" + kind.encode())
            for kind in ("values", "rows", "index")
        }


def open_container(part: Part, keys: Keys) -> Container:
    """Check a container as far as that needs no key."""
    head, tail = part.read(0, 80), part.read(max(0, part.size - 4096), 4096)
    marked = marker(b"\nSRCTEND")
    check_beginning(head, CONTAINER, part.size, ended=marked(tail) and binary_total(tail) == part.size)
    need(part.size >= 204, "Truncated", "The container ends too early.")
    need(
        head[8:16] == b"\x00\x01\x00\x01\x00\x00\x00\x00",
        "UnsupportedVersion",
        "A version, suite or flag is unknown.",
    )
    check_ending(tail, part.size, marked, binary_total)
    d, i, e = struct.unpack(">III", tail[-28:-16])
    start = part.size - 124 - d - i - e
    sound(
        start >= 80 and d <= 65_536 * 72 and i <= 16 * MIB and e <= 256 * 1024, "Lengths are out of bounds."
    )
    directory, index, envelope = part.read(start, d), part.read(start + d, i), part.read(start + d + i, e)
    signer, signature = tail[-124:-92], tail[-92:-28]
    message = head + sha256(directory) + sha256(index) + sha256(envelope) + tail[-28:]
    check_signature(signer, b"strongroom/v1/container", message, signature)
    record = strict(envelope, ("file_key", "wrapping_key", "certificate"), "The envelope")
    sound(list(record["file_key"]) == ["salt", "wrapped"], "The file key has other members.")
    unhex(record["file_key"]["salt"], 32), unhex(record["file_key"]["wrapped"], 48)
    check_record(record["wrapping_key"])
    certificate = record["certificate"]
    sound(re.fullmatch(SPELLING, canonical(certificate)), "The certificate is spelt otherwise.")
    genuine(certificate["key"] == signer.hex(), "The certificate is another key's.")
    keys.trust(certificate, "container")
    check_directory(directory, start)
    return Container(part, head, directory, index, record, signer)


def check_directory(directory: bytes, end: int) -> None:
    sound(len(directory) % 72 == 0, "The directory is odd.")
    at = 80
    for values, rows, _, _ in struct.iter_unpack(">II32s32s", directory):
        sound(rows and max(values, rows) <= 80 * MIB, "A segment's length is out of bounds.")
        at += values + rows
    sound(at == end, "The segments do not fill the file.")


INDEX = tuple(
    "backup_id piece pieces source policy values created_at name_key signer directory segments".split()  # noqa: SIM905
)


def open_index(data: bytes, container: Container) -> dict[str, Any]:
    index = strict(data, INDEX, "The index")
    genuine(unhex(index["signer"], 32) == container.signer, "Another signer sealed this container.")
    genuine(unhex(index["directory"], 32) == sha256(container.directory), "The directory was exchanged.")
    sound(0 <= index["piece"] < index["pieces"], "The piece is out of bounds.")
    unhex(index["name_key"], 32)
    entries, segments = list(container.entries()), index["segments"]
    sound(len(entries) == len(segments), "The index counts other segments.")
    sound(all(bool(entry[1]) == index["values"] for entry in entries), "Values are missing or too many.")
    firsts = [unhex(first, 16) for first, _, _ in segments]
    sound(firsts == sorted(set(firsts)) and b"" not in firsts, "The segments do not ascend.")
    sound(all(1 <= s <= v for _, s, v in segments), "A segment is empty.")
    return index


def check_place(found: list[Secret], index: dict[str, Any], number: int) -> None:
    """Hold a segment to the index: names in their places, as many as stated. Section 4."""
    first, secrets, versions = index["segments"][number]
    key, following = bytes.fromhex(index["name_key"]), [*index["segments"], ["g"]][number + 1][0]
    names = [secret.row["name"].encode() for secret in found]
    sound(names == sorted(set(names)), "The names of a segment do not ascend.")
    places = [hmac.digest(key, name, "sha256")[:16].hex() for name in names]
    sound(min(places) == first and max(places) < following, "A name is out of its place.")
    counted = sum(len(secret.row["versions"]) for secret in found)
    sound((len(found), counted) == (secrets, versions), "A segment holds another number.")


ROW = ["name", "type", "versions", "tags", "created_at", "updated_at", "expires_at", "rotation", "metadata"]
VERSION = ["number", "length", "media", "state", "created_at"]


def segment(packed: bytes, plain: bytes | None) -> Iterator[Secret]:
    """Take a segment's two plaintexts apart (section 5)."""
    sound(len(packed) >= 12, "The rows are too short.")
    count, digests, length = struct.unpack_from(">III", packed)
    end = len(packed) - 16 * digests
    sound(end >= 12 and length <= 32 * MIB, "The rows' counts are out of bounds.")
    lines = unzstd(packed[12:end], length).split(b"\n")
    sound(lines.pop() == b"" and len(lines) == count > 0, "The rows are miscounted.")
    rows = [check_row(line) for line in lines]
    lengths = [[v.get("length") for v in row["versions"]] for row in rows]
    stored = [n for row in lengths for n in row if n is not None]
    sound(len(stored) == digests and (plain is not None or not stored), "The digests are miscounted.")
    sound(plain is not None or not any("metadata" in row for row in rows), "There is metadata too much.")
    if plain is not None:
        total = sum(stored)
        sound(len(plain) == padded(total) and not any(plain[total:]), "The padding is wrong.")
    at = 0
    for row, line, sizes in zip(rows, lines, lengths, strict=True):
        values = []
        for size in sizes:
            if size is not None and plain is not None:
                values.append(plain[at : at + size])
                at += size
        yield Secret(row, line + b"\n", tuple(values))


def check_row(line: bytes) -> dict[str, Any]:
    """Hold a row to section 5: canonical but for the last member, whose own bytes are the writer's."""
    row = loads(line, "A row", parse_int=as_number, parse_float=Number)
    sound(isinstance(row, dict) and list(row) == [m for m in ROW if m in row], "A row has other members.")
    metadata, own = row.pop("metadata", None), {**row}
    before = canonical(own)
    if metadata is not None:
        sound(isinstance(metadata, dict) and metadata and depth_of(metadata) <= 64, "Metadata is malformed.")
        before = before[:-1] + b',"metadata":'
        sound(line[len(before) : len(before) + 1] == b"{" and line.endswith(b"}}"), "Metadata is misplaced.")
    sound(line.startswith(before) if metadata else line == before, "A row is not canonical.")
    sound(all(m in row for m in ROW[:3]) and row["versions"], "A row lacks a member.")
    numbers = [v["number"] for v in row["versions"]]
    sound(
        numbers == sorted(set(numbers)) and numbers[0] >= 0 and numbers[-1] < 1 << 63,
        "Versions do not ascend.",
    )
    sound(all(list(v) == [m for m in VERSION if m in v] for v in row["versions"]), "A version is malformed.")
    return row if metadata is None else row | {"metadata": line[len(before) : -1]}


def as_number(text: str) -> int | Number:
    return Number(text) if text == "-0" or len(text) > 4300 else int(text)


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
    version = re.match(magic[:-3] + rb'([0-9]{1,4})",', data)
    need(version is None or version[1] == b"1", "UnsupportedVersion", "The version is unknown.")
    other = re.match(rb'\{"format":"strongroom-[a-z]+/', data)
    foreign = other is not None and not magic.startswith(other[0])
    ended = document_marked(data) and document_total(data) == len(data)
    need(not foreign, "NotABackup", "This is another document.")
    check_beginning(data[:64], magic, len(data), ended=ended)
    check_ending(data[-4096:], len(data), document_marked, document_total)


def signed_body(data: bytes, kind: str, keys: Keys) -> bytes:
    """Check a manifest's or envelope's frame and signature; return the body (section 6)."""
    need(len(data) <= 64 * MIB, "NotABackup", "This is too large for a document.")
    check_document(data, kind)
    frame = rb'\{"format":"[^"\n]*",\n"body":([^\n]*),\n"certificate":(' + SPELLING
    frame += rb'),\n"signature":"([0-9a-f]{128})",\n"length":"\d{12}"\}\n'
    found = re.fullmatch(frame, data)
    if found is None:
        raise Failure("Tampered", "The document's frame was changed.")
    certificate, signature = json.loads(found[2]), bytes.fromhex(found[3].decode())
    message = found[1] + b"\n" + found[2]
    check_signature(bytes.fromhex(certificate["key"]), b"strongroom/v1/" + kind.encode(), message, signature)
    keys.trust(certificate, kind)
    note(f"{kind} signed by {keys.said_of(certificate)}")
    return found[1]


def read_envelope(data: bytes, keys: Keys) -> dict[str, Any]:
    """Read a detached envelope's record."""
    body = signed_body(data, "envelope", keys)
    sound(len(body) <= 256 * 1024, "The envelope is too large.")
    record = strict(body, ("id", "generation", "stanzas", "mac"), "The envelope")
    check_record(record)
    return record


MANIFEST = tuple(
    "backup_id policy source created_at values sealed selection counts recipients targets "  # noqa: SIM905
    "quorum regions providers not_contained containers previous".split()
)
ENTRY = tuple(
    "piece sha256 size secrets versions first last wrapping_key signer signature".split()  # noqa: SIM905
)


def read_manifest(data: bytes, keys: Keys) -> dict[str, Any]:
    """Read a manifest and hold it to section 7."""
    manifest = strict(signed_body(data, "manifest", keys), MANIFEST, "The manifest")
    containers, last = manifest["containers"], ""
    for piece, entry in enumerate(containers):
        sound(tuple(entry) == ENTRY and entry["piece"] == piece, "The containers are misnumbered.")
        unhex(entry["sha256"], 32), unhex(entry["signer"], 32), unhex(entry["signature"], 64)
        sealed = 16 if manifest["sealed"] else 0
        unhex(entry["wrapping_key"], sealed)
        (
            unhex(entry["first"], sealed if entry["secrets"] else 0),
            unhex(entry["last"], sealed if entry["secrets"] else 0),
        )
        if manifest["sealed"] and entry["secrets"]:
            sound(last < entry["first"] <= entry["last"], "The ranges of names overlap.")
            last = entry["last"]
    sums = {name: sum(entry[name] for entry in containers) for name in ("secrets", "versions", "size")}
    sound(manifest["counts"] == sums, "The counts are not those of the containers.")
    if manifest["previous"] is not None:
        unhex(manifest["previous"], 32)
    for entry in containers:
        receipt = {"run": manifest["backup_id"], **{member: entry[member] for member in ENTRY[:-2]}}
        public, signature = bytes.fromhex(entry["signer"]), bytes.fromhex(entry["signature"])
        check_signature(public, b"strongroom/v1/receipt", canonical(receipt), signature)
    return manifest


def read_metadata(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Read a metadata document: each secret and its line (section 8)."""
    check_document(data, "metadata")
    found = re.search(rb',\n"digest":"sha256:([0-9a-f]{64})",\n"length":"\d{12}"\}\n\Z', data)
    if found is None or sha256(data[: found.start()]).hex().encode() != found[1]:
        raise Failure("Tampered", "The document was changed.")
    lines = data[: found.start()].split(b"\n")
    sound(len(lines) >= 4 and lines[2] == b'"secrets":[' and lines[-1] == b"]", "The document is misshapen.")
    rows = [line.removesuffix(b",") for line in lines[3:-1]]
    return [(loads(row, "A line"), row + b"\n") for row in rows]


def open_file(part: Part) -> list[tuple[str, Part]]:
    """Return a backup file's objects, each checked against its SHA-256 (section 9)."""
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
    return list(_objects(part, strict(index, ("objects",), "The index")["objects"], part.size - 52 - length))


def _objects(part: Part, objects: list[dict[str, Any]], end: int) -> Iterator[tuple[str, Part]]:
    name = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
    at = 10
    for one in objects:
        sound(list(one) == ["name", "offset", "size", "sha256"] and one["offset"] == at, "There is a gap.")
        sound(re.fullmatch(f"{name}(/{name})*", one["name"]), "An object's name is not allowed.")
        at += one["size"]
    sound(at == end and len({one["name"] for one in objects}) == len(objects), "The objects do not fit.")
    for one in objects:
        found = Part(part.fd, part.start + one["offset"], one["size"], str(one["sha256"]))
        digest = hashlib.sha256()
        for chunk in iter_pread(found.fd, found.start, found.size):
            digest.update(chunk)
        need(digest.hexdigest() == one["sha256"], "Tampered", f"'{one['name']}' was changed.")
        yield one["name"], found


def open_legacy(data: bytes, passphrases: Sequence[str]) -> bytes:
    """Open an old Fernet file (section 10)."""
    need(data[16:21] == b"gAAAA", "NotABackup", "This is not an old file.")
    token = data[16:].rstrip(b"=")
    raw = len(token) * 3 // 4
    whole = len(data[16:]) % 4 == 0 and raw >= 73 and (raw - 57) % 16 == 0
    need(whole, "Truncated", "The old file ends too early.")
    for words in passphrases:
        key = hashlib.pbkdf2_hmac("sha256", words.encode(), data[:16], 100_000, 32)
        try:
            return Fernet(base64.urlsafe_b64encode(key)).decrypt(data[16:])
        except (InvalidToken, ValueError):
            continue
    raise Failure("WrongKey", "The passphrase is wrong, or the file is damaged: this format cannot tell.")


# -- the command line ----------------------------------------------------------


def secrets_in(part: Part, keys: Keys, newer: Sequence[dict[str, Any]]) -> Iterator[Secret]:
    """Yield the secrets of whatever a file is."""
    head = part.read(0, 64)
    if head.startswith(b'{"format":"strongroom-metadata'):
        yield from (Secret(row, line, ()) for row, line in read_metadata(part.read(0, part.size)))
    elif head.startswith(b'{"format":"strongroom-manifest'):
        describe(read_manifest(part.read(0, part.size), keys))
    elif head.startswith(FILE):
        yield from _secrets_in_file(open_file(part), keys, newer)
    else:
        container = open_container(part, keys)
        note(f"sealed by {keys.said_of(container.envelope['certificate'])}")
        yield from container.secrets(keys, newer)


def _secrets_in_file(
    objects: list[tuple[str, Part]], keys: Keys, newer: Sequence[dict[str, Any]]
) -> Iterator[Secret]:
    """Yield a backup file's secrets; only of containers that its manifest names."""
    held = dict(objects)
    manifest = _manifest_of(held, keys)
    describe(manifest)
    rotated: dict[str, list[dict[str, Any]]] = {}
    for entry in manifest["containers"]:
        part = _piece(held, f"containers/{manifest['backup_id']}/{entry['sha256']}", entry["sha256"])
        if not manifest["sealed"]:
            yield from secrets_in(part, keys, ())
            continue
        container = open_container(part, keys)
        need(
            container.signer.hex() == entry["signer"], "Tampered", "A container was sealed by another signer."
        )
        key = container.envelope["wrapping_key"]["id"]
        if key not in rotated:
            rotated[key] = list(_newest(held, key, keys))
        yield from container.secrets(keys, [*newer, *rotated[key]])


def _piece(held: dict[str, Part], name: str, sha256: str) -> Part:
    """Return what the manifest names, whole: under its name, or beside it (section 7)."""
    there = [held[one] for one in (name, *(f"{name}.r{n}" for n in range(1, 10))) if one in held]
    need(there, "MissingPiece", f"'{name}' is not there.")
    right = [part for part in there if part.sha256 == sha256]
    genuine(right, f"'{name}' is not the one that the manifest names.")
    return right[0]


def _manifest_of(held: dict[str, Part], keys: Keys) -> dict[str, Any]:
    """Return a file's manifest: the first copy that nothing speaks against (section 9)."""
    names = sorted(name for name in held if name.startswith("manifests/"))
    stems = {re.sub(r"\.r[1-9]$", "", name) for name in names}
    need(len(stems) == 1, "MissingPiece", "The file does not hold exactly one manifest.")
    refused = []
    for name in names:
        try:
            return read_manifest(held[name].read(0, held[name].size), keys)
        except Failure as failure:
            refused.append(failure)
    raise refused[0]


def _newest(held: dict[str, Part], key: str, keys: Keys) -> Iterator[dict[str, Any]]:
    """Yield the newest detached envelope of a wrapping key that counts, if there is one (section 9)."""
    names = ((re.fullmatch(rf"keys/{key}/([0-9]{{8}})(\.r[1-9])?", name), name) for name in held)
    for generation, name in sorted((-int(found[1]), name) for found, name in names if found):
        try:
            record = read_envelope(held[name].read(0, 257 * 1024), keys)
            sound((record["id"], -record["generation"]) == (key, generation), "It has another's name.")
        except Failure as failure:  # anybody can put it there, and it must not keep from the next
            note(f"left aside: {name}: {failure.kind}: {failure}")
            continue
        yield record
        return


def counted(secrets: int) -> str:
    return f"{secrets} secret" + ("" if secrets == 1 else "s")


def describe(manifest: dict[str, Any]) -> None:
    counts = manifest["counts"]
    made = f"of {manifest['source']}, made {manifest['created_at']}"
    note(f"backup {manifest['backup_id']} {made}: {counted(counts['secrets'])}")


def note(text: str) -> None:
    print(text, file=sys.stderr)


def shown(secret: Secret) -> str:
    """Return a secret as JSON: UTF-8 values as text, others as base64."""
    row, values = dict(secret.row), iter(secret.values)
    versions = []
    for stored in row["versions"]:
        version = {key: value for key, value in stored.items() if key != "length"}
        versions.append(version | (as_text(next(values)) if "length" in stored else {}))
    metadata = row.pop("metadata", None)
    row["versions"] = versions
    text = json.dumps(row)
    # Free-form metadata goes out as it was written: a number in it may be more than a float holds.
    return text if metadata is None else f'{text[:-1]}, "metadata": {metadata.decode()}}}'


def as_text(value: bytes) -> dict[str, str]:
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(value).decode()}


def write_out(folder: Path, secret: Secret) -> None:
    """Write a secret's newest value to a file of its own, mode 0600."""
    name = urllib.parse.quote(secret.row["name"], safe="").replace(".", "%2E") or "%"
    if secret.values:
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret.values[-1])


def act(arguments: argparse.Namespace, secrets: Iterator[Secret]) -> int:
    """Do with the secrets what was asked for; return how many there were."""
    count = 0
    if arguments.out:
        arguments.out.mkdir(mode=0o700, exist_ok=False)
    for secret in secrets:
        if arguments.get is not None and secret.row["name"] != arguments.get:
            continue
        count += 1
        if arguments.get is not None and secret.values:
            sys.stdout.buffer.write(secret.values[-1])
        elif arguments.list:
            print(secret.row["name"])
        elif arguments.jsonl:
            print(shown(secret))
        elif arguments.out:
            write_out(arguments.out, secret)
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
    right = (
        len(words) == 4 and words[0] == kind and sha256(" ".join(words[:3]).encode()).hex()[:8] == words[3]
    )
    right = right and words[1] in ("AES256", "mlkem768-x25519", "x25519")
    need(
        right and re.fullmatch("[0-9a-f]{64}", words[2]),
        "WrongKey",
        f"'{path}' is not a {kind} file, or it is damaged.",
    )
    return words[1], bytes.fromhex(words[2])


def answer_of(text: str) -> bytes:
    try:
        found = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        found = b""
    need(len(found) == 32, "WrongKey", "--answer takes what Vault or KMS printed: 32 bytes in base64.")
    return found


def asked(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise Failure("WrongKey", "Nobody is there to be asked.") from None


def gather(arguments: argparse.Namespace) -> Keys:
    """Read every key that the command line names."""
    passphrases = [asked("Passphrase: ")] if arguments.passphrase else []
    passphrases += [line_of(path) for path in arguments.passphrase_file]
    files = [key_line(path, "strongroom-key-1")[1] for path in arguments.key_file]
    private = [key_line(path, "strongroom-private-key-1") for path in arguments.private_key]
    return Keys(
        passphrases=tuple(passphrases),
        files=tuple(files),
        private=tuple(private),
        quorums=tuple(gather_quorums(arguments)),
        hsms=tuple(gather_hsms(arguments)),
        answers=tuple(map(answer_of, arguments.answer)),
        signers=frozenset(arguments.signer),
    )


def gather_quorums(arguments: argparse.Namespace) -> Iterator[bytes]:
    """Read shares from files, a line each, or ask for them one by one; a slip loses no other."""
    for path in arguments.share_file:
        yield join_shares([line for line in text_of(path).splitlines() if line.strip()])
    given: list[str] = []
    while arguments.shares:
        try:
            given.append(asked(f"Share {len(given) + 1}: "))
            (_, _, threshold), _, _ = read_share(given[-1])
        except Failure as failure:
            note(f"{failure} Type it again.")
            given.pop()
            continue
        if len(given) == threshold:
            yield join_shares(given)
            return


def gather_hsms(arguments: argparse.Namespace) -> Iterator[Hsm]:
    for path in arguments.hsm_private_key:
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Failure("WrongKey", f"'{path}' is no EC private key in PEM, or it is encrypted.")
        yield software(key)
    if arguments.hsm:
        path = arguments.pin_file
        pin = line_of(path) if path else asked("PIN: ")
        need(pin.strip(), "WrongKey", "There is no PIN; none was tried.")
        yield pkcs11_token(arguments.hsm, arguments.token, pin)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Open Strongroom backups with nothing of Strongroom.")
    made.add_argument("file", type=Path, nargs="+")
    made.add_argument("--passphrase", action="store_true", help="ask for a passphrase")
    made.add_argument("--passphrase-file", type=Path, action="append", default=[])
    made.add_argument("--key-file", type=Path, action="append", default=[])
    made.add_argument("--private-key", type=Path, action="append", default=[])
    made.add_argument("--shares", action="store_true", help="ask for a quorum's shares")
    made.add_argument("--share-file", type=Path, action="append", default=[], help="shares, a line each")
    made.add_argument("--hsm", metavar="MODULE", help="an HSM's PKCS#11 library (needs python-pkcs11)")
    made.add_argument("--token", metavar="LABEL", help="which of its tokens")
    made.add_argument("--pin-file", type=Path, help="its PIN; asked for otherwise")
    made.add_argument(
        "--hsm-private-key", type=Path, action="append", default=[], help="a copy of its key, PEM"
    )
    made.add_argument("--answer", action="append", default=[], help="what Vault or KMS printed")
    made.add_argument("--signer", action="append", default=[], help="trust this installation only (sr1:...)")
    made.add_argument(
        "--newer",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        help="detached envelopes, after a rotation; each serves the containers of its wrapping key",
    )
    made.add_argument("--legacy", action="store_true", help="the file is an old one")
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="names only")
    what.add_argument("--get", metavar="NAME", help="one newest value, to standard output")
    what.add_argument("--out", type=Path, metavar="DIR", help="newest values, a file each")
    what.add_argument("--jsonl", action="store_true", help="everything, to standard output")
    return made


def run(arguments: argparse.Namespace) -> int:
    keys = gather(arguments)
    newer = list(_given(arguments.newer, keys))
    if arguments.legacy:
        for path in arguments.file:
            sys.stdout.buffer.write(open_legacy(path.read_bytes(), keys.passphrases))
        return 0
    count = act(arguments, (secret for path in arguments.file for secret in _of(path, keys, newer)))
    note(counted(count))
    need(count or arguments.get is None, "MissingPiece", f"There is no secret '{arguments.get}' here.")
    return 0


def _given(paths: Sequence[Path], keys: Keys) -> Iterator[dict[str, Any]]:
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


def _of(path: Path, keys: Keys, newer: Sequence[dict[str, Any]]) -> Iterator[Secret]:
    with path.open("rb") as file:
        yield from secrets_in(Part(file.fileno(), 0, os.fstat(file.fileno()).st_size), keys, newer)


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
