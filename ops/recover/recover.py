#!/usr/bin/env python3
"""Opens Strongroom backups when nothing of Strongroom is left.

Written from FORMAT.md. It needs Python 3.11 or newer and two packages, which can be brought on a stick as
wheels (README.md beside this file): cryptography 50 or newer, and zstandard.

    python3 recover.py region-a --private-key recovery.key --signer sr1:... --list
    python3 recover.py region-a --private-key recovery.key --signer sr1:... --out DIRECTORY
    python3 recover.py region-a --backup ID --passphrase --get PAYMENTS_API_KEY > value

FILE is a copy of a target: a directory with manifests/, containers/ and keys/. All that can be read is handed
out. What is lost is listed, and then the program ends with the family of the first loss and never with 0.

This file opens the backup that --backup names, with passphrases, key files and private keys. It loads
recover_extra.py from beside it for all that is rarer: choosing a backup, quarantine marks, backup files and
other files, X25519 keys, shares, HSMs, Vault, KMS, several keys together, JSON. See --help.
"""

# One empty line between functions: this may have to be read from paper.
# fmt: off
from __future__ import annotations

import argparse
import functools
import getpass
import hashlib
import hmac
import importlib
import json
import os
import re
import stat
import struct
import sys
import traceback
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

try:
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
except ImportError as error:
    sys.exit(f"Needs cryptography (50 or newer) and zstandard: {error}. RUNBOOK.md or README.md says how.")

try:
    import zstandard
except ImportError:  # Python 3.14 and newer have their own
    zstandard = None  # type: ignore[assignment]

CONTAINER, MIB, SHOWN, NO_KEY = b"SRCT\r\n\x1a\n", 1024 * 1024, 4, "No given key opens it."
Record = dict[str, Any]

# -- how it fails: FORMAT.md says which class of failure belongs to which family -----------------

CODES = {"Refused": 4, "CannotOpen": 10, "Damaged": 11, "Missing": 12, "Untrusted": 13, "LeftAside": 70}
ADVICE = {
    "Untrusted": "Compare an installation's fingerprint with the kit; then give it with --signer.",
    "CannotOpen": "Nothing is known to be damaged.",
    "Refused": "Take another backup: name it with --backup.",
    "LeftAside": "Compare with another copy of this backup, which may be newer."}

class Failure(Exception):
    """A failure: its family, what happened, and what more is to be said, a line each."""

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"

def need(condition: object, message: str, family: str = "Damaged") -> None:
    """Raise a failure unless the condition holds. Damaged means: this copy is bad, another may be good."""
    if not condition:
        raise Failure(family, message)

def note(*lines: str) -> None:
    """Say lines to a person. This and say() are all that prints texts."""
    say(*lines, file=sys.stderr)

def say(*lines: str, file: Any = None) -> None:
    for line in lines:
        print(shown(line), file=file)

def shown(text: str) -> str:
    """Spell out what is not printable: a stranger's text must not drive or deceive the screen."""
    return re.sub(f"[\ud800-\udfff{PRINTABLE[2:]}", lambda found: json.dumps(found[0])[1:-1], text)

def counted(secrets: int) -> str:
    return f"{secrets} secret" + ("" if secrets == 1 else "s")

class Losses:
    """What could not be read. The first loss decides how the program ends."""

    def __init__(self) -> None:
        self.first: Failure | None = None
        self.aside: dict[str, Failure] = {}  # by name; it does not count, and may hide something newer
        self.ignored: dict[str, int] = {}  # by the folder at the top, which anybody may have filled
        self.lost = self.taken = 0  # taken: of earlier backups, in place of what is lost
        self.parts: list[tuple[Container | None, int, Failure]] = []  # a segment by its number, or a piece
        self.name_key = ""  # of any container that opened

    @contextmanager
    def within(self, what: str, secrets: int = 0,
               part: tuple[Container | None, int] | None = None) -> Iterator[None]:
        """Go on after a failure of what is done within. The part that it was about is lost then."""
        try:
            yield
        except (Failure, struct.error, OSError) as error:
            odd = Failure("Damaged", f"It cannot be read ({type(error).__name__}).")
            failure = error if isinstance(error, Failure) else odd
            self.add(failure, what, secrets)
            self.parts += [(*part, failure)] if part else []

    def ignore(self, name: str, failure: Failure) -> None:
        """Say what does not count, but not all of it: it may be junk, and much of it."""
        folder = name.partition("/")[0]
        self.ignored[folder] = many = self.ignored.get(folder, 0) + 1
        if many <= SHOWN:
            note(f"left aside: {name}: {failure}" if many < SHOWN else f"left aside: more in {folder}/")

    def add(self, failure: Failure, what: str, secrets: int = 0, verb: str = "LOST") -> None:
        self.first = self.first or failure
        self.lost += secrets
        verb = "not opened" if failure.args[0] == "CannotOpen" else verb
        many = f" ({counted(secrets)})" if secrets else ""
        note(f"{verb}: {what}{many}: {failure}")

# -- JSON, and the shapes that it must have ------------------------------------------------------

def loads(data: bytes) -> Any:
    """Decode JSON strictly: UTF-8, RFC 8259, no name twice, no half of a surrogate pair."""

    def once(pairs: list[tuple[str, Any]]) -> Record:
        if len(members := dict(pairs)) != len(pairs):
            raise ValueError
        return members

    hooks: Record = {"object_pairs_hook": once, "parse_constant": int}  # which refuses NaN and Infinity
    try:
        value = json.loads(data.decode(), parse_int=integer, **hooks)
        canonical(value)  # refuses half of a surrogate pair
    except (ValueError, RecursionError):
        raise Failure("Damaged", "It is not JSON.") from None
    return value

def integer(digits: str) -> int:
    return int(digits[:4000])  # Python reads no more, and what we compare is shorter

def canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

def fits(value: Any, shape: Any) -> bool:  # noqa: PLR0911 - one for each kind of shape
    """Tell whether decoded JSON has a shape: members in their order ("?": may be left out), types, hex."""
    if isinstance(shape, dict):
        there = value if isinstance(value, dict) else {}
        names = [name for name in shape if name[-1] != "?" or name[:-1] in there]
        same = list(there) == [name.rstrip("?") for name in names]
        return same and all(fits(there[name.rstrip("?")], shape[name]) for name in names)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(inner, shape[0]) for inner in value)
    if shape is None or isinstance(shape, bool):
        return value is shape
    if isinstance(shape, tuple):
        return any(fits(value, each) for each in shape)
    if isinstance(shape, int):
        return type(value) is str and re.fullmatch(f"[0-9a-f]{{{2 * shape}}}", value) is not None
    if isinstance(shape, type):
        return type(value) is shape and (shape is not int or 0 <= value < 1 << 64)
    return bool(shape(value))

def strict(data: bytes, shape: Any, what: str) -> Any:
    """Decode canonical JSON of a shape."""
    value = loads(data)
    need(fits(value, shape) and canonical(value) == data, f"{what} is not as it must be.")
    return value

def integers(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high

def matching(pattern: str) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and re.fullmatch(pattern, value) is not None

def texts(value: Any) -> bool:
    return isinstance(value, dict) and all(type(text) is str for text in value.values())

PRINTABLE = "[^\0-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\U000e0000-\U000e0fff]"  # noqa: E501

# -- the primitives ------------------------------------------------------------------------------

def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA512(), 32, salt, info).derive(key)

def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()

SMALL_ORDER = (  # the public keys under which a signature fits any message, without their highest bit
    *(number.to_bytes(32, "little") for number in (0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18)),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
)

def check_signature(public: bytes, domain: str, message: bytes, signature: bytes) -> None:
    try:
        need(public[:31] + bytes([public[31] & 127]) not in SMALL_ORDER, f"Anybody could sign this {domain}.")
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, f"strongroom/v1/{domain}\0".encode() + message)
    except (InvalidSignature, ValueError):
        raise Failure("Damaged", f"The signature of a {domain} does not fit.") from None

def open_gcm(key: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    try:
        return AESGCM(key).decrypt(nonce, sealed, None)
    except InvalidTag:
        return None

def unwrap(key: bytes, args: Record, info: bytes) -> bytes | None:
    """Open what was wrapped under a salt of its own, so that the nonce may be zero."""
    return open_gcm(hkdf(key, unhex(args["salt"]), info), bytes(12), unhex(args["wrapped"]))

unhex, pbkdf2 = bytes.fromhex, functools.cache(hashlib.pbkdf2_hmac)

def cobblestone(key: bytes, message: bytes, context: bytes) -> bytes:
    """Open a Cobblestone-256 message (c2sp.org/chunked-encryption)."""
    salt, commitment, body = message[:24], message[24:56], message[56:]
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + salt + context
    derived = HKDFExpand(SHA512(), 76, info).derive(key)
    need(hmac.compare_digest(derived[44:], commitment), "A sealed message does not belong here.")
    chunks = [body[at : at + 16400] for at in range(0, len(body), 16400)]
    need(chunks and 16 <= len(chunks[-1]) < 16400, "A sealed message is cut.")
    base, aead = int.from_bytes(derived[32:44], "big"), AESGCM(derived[:32])
    try:
        return b"".join(aead.decrypt((base ^ i).to_bytes(12, "big"), c, None) for i, c in enumerate(chunks))
    except InvalidTag:
        raise Failure("Damaged", "A sealed message was changed.") from None

def unzstd(frame: bytes, length: int) -> bytes:
    """Decompress one frame of exactly the stated size."""
    if zstandard is None:
        return bytes(extra("The zstd of Python itself").unzstd(frame, length))
    try:
        stated = zstandard.get_frame_parameters(frame)
        right = stated.content_size == length and stated.window_size <= 32 * MIB
        need(right, "A frame has another size, or too large a window.")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        raise Failure("Damaged", "A frame is damaged.") from None

def labeled(  # noqa: PLR0917
        name: str, suite: bytes, prk: bytes, label: bytes, data: bytes, size: int = 0) -> bytes:
    """HPKE's LabeledExtract, or with a size LabeledExpand, of which one block is enough (RFC 9180, 4)."""
    data = b"HPKE-v1" + suite + label + data
    if not size:
        return hmac.digest(prk or bytes(hashlib.new(name).digest_size), data, name)
    return hmac.digest(prk, size.to_bytes(2, "big") + data + b"\x01", name)[:size]

def open_hpke(kem: int, shared: bytes, info: bytes, sealed: bytes) -> bytes | None:
    """Open HPKE's base mode, single shot, from the KEM's shared secret (RFC 9180, 5.1)."""
    suite = b"HPKE" + kem.to_bytes(2, "big") + b"\x00\x03\x00\x02"
    hashed = [labeled("sha512", suite, b"", *pair) for pair in ((b"psk_id_hash", b""), (b"info_hash", info))]
    context, secret = b"\x00" + b"".join(hashed), labeled("sha512", suite, shared, b"secret", b"")
    key = labeled("sha512", suite, secret, b"key", context, 32)
    return open_gcm(key, labeled("sha512", suite, secret, b"base_nonce", context, 12), sealed)

# -- keys, and whose signature counts (sections 2 and 12) ----------------------------------------

ROLES = {
    "manifest": ("control", "recover"), "envelope": ("recover",), "container": ("seal", "recover"),
    "quarantine": ("control", "recover"), "trust": ("installation",),
}

@dataclass(frozen=True)
class Keys:
    """What is at hand to open with, by type of stanza, and which installations to believe."""
    held: dict[str, tuple[Any, ...]]
    signers: frozenset[str] = frozenset()
    lists: Any = None  # by installation: the number of its highest trust list, and the keys it distrusts

    def trust(self, certificate: dict[str, str], kind: str) -> str:
        """Hold a signer's certificate to section 12; return its installation's fingerprint."""
        unsigned = {name: value for name, value in certificate.items() if name != "signature"}
        installation, role = unhex(certificate["installation"]), certificate["role"]
        check_signature(installation, "certificate", canonical(unsigned), unhex(certificate["signature"]))
        name = "sr1:" + sha256(installation).hex()
        need(role in ROLES[kind], f"The key of role '{role}' does not sign a {kind}.", "Untrusted")
        need(not self.signers or name in self.signers, f"Signed by installation {name}.", "Untrusted")
        # For a container its manifest vouches, whatever became of the key that sealed it.
        leaked = self.list_of(name)[1].get(certificate["key"]) if kind != "container" else None
        need(not leaked, f"Signed by a key of role '{role}' that is distrusted since {leaked}.", "Untrusted")
        own = kind != "trust" or certificate["key"] == certificate["installation"]
        need(own, "An installation key alone signs a trust list.", "Untrusted")
        return name

    def list_of(self, installation: str) -> tuple[int, dict[str, str]]:
        return (self.lists or {}).get(installation, (0, {}))

CERTIFICATE = {
    "installation": 32, "role": matching("[a-z]{1,16}"), "key": 32,
    "issued_at": matching("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"), "signature": 64,
}
STANZA = {
    "type": matching("[a-z0-9][a-z0-9.-]{0,31}"), "label": matching(PRINTABLE + "{0,128}"),
    "args": lambda value: isinstance(value, dict) and list(value) == sorted(value)
    and all(fits(each, (str, int)) for each in value.values())}
RECORD = {
    "id": 16, "generation": integers(1, 99_999_999),
    "stanzas": lambda some: fits(some, [STANZA]) and 0 < len(some) < 65 and cost(some) <= 2**25, "mac": 32}
WRAPPED = {"salt": 32, "wrapped": 48}

def open_with_passphrase(passphrase: str, args: Record, context: bytes) -> bytes | None:
    normal = unicodedata.normalize("NFC", passphrase).encode()
    key = pbkdf2("sha256", normal, unhex(args["kdf_salt"]), args["iterations"], 32)
    return unwrap(key, args, b"strongroom/v1/wrap/passphrase/" + context)

def open_with_scrypt(passphrase: str, args: Record, context: bytes) -> bytes | None:
    key = scrypt(unicodedata.normalize("NFC", passphrase).encode(), unhex(args["kdf_salt"]), args["log_n"])
    return unwrap(key, args, b"strongroom/v1/wrap/scrypt/" + context)

@functools.cache
def scrypt(passphrase: bytes, salt: bytes, log_n: int) -> bytes:
    size = 1024 << log_n
    try:
        return hashlib.scrypt(passphrase, salt=salt, n=1 << log_n, r=8, p=1, maxmem=size + MIB, dklen=32)
    except (AttributeError, MemoryError, ValueError):
        said = f"A passphrase takes {size // MIB} MiB of memory, and an OpenSSL with scrypt."
        raise Failure("CannotOpen", said) from None

def cost(stanzas: list[Record]) -> int:
    """Return what trying a passphrase on all of these costs: whoever wrote the file chose it."""
    total = 0
    for kind, args in ((stanza["type"], stanza["args"]) for stanza in stanzas):
        if kind == "passphrase" and ITERATIONS(args.get("iterations")):
            total += args["iterations"]
        elif kind == "scrypt" and LOG_N(args.get("log_n")):
            total += 16 << args["log_n"]
        elif kind == "all-of" and EXTRA.is_file():
            total += extra("").cost_of_legs(args)
    return total

def open_with_key_file(key: bytes, args: Record, context: bytes) -> bytes | None:
    own = hkdf(key, b"", b"strongroom/v1/keyfile-fingerprint")[:16].hex() == args["key"]
    return unwrap(key, args, b"strongroom/v1/wrap/keyfile/" + context) if own else None

def open_with_private_key(key: tuple[str, bytes], args: Record, context: bytes) -> bytes | None:
    if key[0] != "mlkem768-x25519":
        opened: bytes | None = extra("A key without ML-KEM").open_with_x25519(key[1], args, context)
        return opened
    return open_with_xwing(key[1], args, b"strongroom/v1/wrap/hpke/" + context)

def open_with_xwing(seed: bytes, args: Record, info: bytes) -> bytes | None:
    """Open what was sealed by HPKE with X-Wing: ML-KEM-768 and X25519, combined by SHA3-256."""
    expanded = hashlib.shake_256(seed).digest(96)
    lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    curve = X25519PrivateKey.from_private_bytes(expanded[64:])
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    need(args["kem"] != 0x647A or fits(args["sealed"], 1168), "A stanza is not as it must be.")
    if (args["kem"], args["key"]) != (0x647A, sha256(public).hex()):
        return None
    sealed = unhex(args["sealed"])
    lattice_part, point = sealed[:1088], sealed[1088:1120]
    try:
        exchanged = curve.exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:  # a point of small order, with which nobody seals
        return None
    shared = lattice.decapsulate(lattice_part) + exchanged + point + public[-32:] + b"\\.//^\\"
    return open_hpke(0x647A, hashlib.sha3_256(shared).digest(), info, sealed[1120:])

ITERATIONS, LOG_N = integers(100_000, 10**7), integers(15, 20)
# By type of stanza the shape of its arguments, and what opens it. recover_extra.py adds more.
OPENERS: dict[str, tuple[Record, Callable[..., bytes | None]]] = {
    "passphrase": ({"iterations": ITERATIONS, "kdf_salt": 32, **WRAPPED}, open_with_passphrase),
    "scrypt": ({"kdf_salt": 32, "log_n": LOG_N, **WRAPPED}, open_with_scrypt),
    "keyfile": ({"key": 16, **WRAPPED}, open_with_key_file),
    "hpke": ({"kem": int, "key": 32, "sealed": str}, open_with_private_key),
}

def candidates(stanza: Record, context: bytes, keys: Keys) -> Iterator[bytes]:
    """Yield what the keys at hand make of a stanza."""
    kind, args = stanza["type"], stanza["args"]
    if kind == "all-of":
        yield from extra("A key that is made of several").open_all_of(args, context, keys)
    for key in keys.held.get("passphrase" if kind == "scrypt" else kind, ()):
        shape, opener = OPENERS[kind]
        need(fits(args, shape), "A stanza is not as it must be.")
        if (opened := opener(key, args, context)) is not None:
            yield opened

def unlock(record: Record, keys: Keys) -> bytes:
    """Open a wrapping key's record."""
    name, stanzas, odd, some = unhex(record["id"]), record["stanzas"], list[Failure](), False
    context = b"strongroom/v1/wrapping-key/" + name
    message = canonical({name: value for name, value in record.items() if name != "mac"})
    for stanza in stanzas:
        try:
            for key in candidates(stanza, context, keys):
                mac = hmac.digest(hkdf(key, name, b"strongroom/v1/wrapping-record"), message, "sha256")
                if hmac.compare_digest(mac.hex(), record["mac"]):
                    return key
                some = True
        except Failure as failure:  # a stanza that is odd must not hide that another opens
            odd.append(failure)
    need(not some, "The list of recipients was changed, or --answer is another key's.")
    if odd:
        raise next((failure for failure in odd if failure.args[0] == "Damaged"), odd[0])
    lines = [f"{stanza['type']} {stanza['label']}".strip() for stanza in stanzas]
    lines = extra("").instructions(stanzas, context, keys) if EXTRA.is_file() else lines
    lines = ["It was sealed to any of:", *(f"- {line}" for line in lines)]
    raise Failure("CannotOpen", NO_KEY, *lines)

# -- what is rare --------------------------------------------------------------------------------

EXTRA = Path(__file__).with_name("recover_extra.py")

def extra(what: str) -> Any:
    """Load recover_extra.py from beside this file."""
    said = f"{what} needs '{EXTRA.name}' beside this file. Get it from where this file came from."
    need(EXTRA.is_file(), said, "CannotOpen")
    sys.modules.setdefault("recover", sys.modules[__name__])  # it builds on this file
    sys.path.append(str(EXTRA.parent))
    return importlib.import_module(EXTRA.stem)

# -- ranges of files -----------------------------------------------------------------------------

@dataclass(frozen=True)
class Part:
    """A file, or a range of one."""
    path: Path
    start: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Part:
        return cls(path, 0, path.stat().st_size)

    def read(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.start + offset)
            return file.read(max(0, min(length, self.size - offset)))

    def digest(self) -> str:
        digest = hashlib.sha256()
        for at in range(0, self.size, 8 * MIB):
            digest.update(self.read(at, 8 * MIB))
        return digest.hexdigest()

    def whole(self, most: int = 64 * MIB) -> bytes:
        need(self.size <= most, "It is too large.")
        return self.read(0, self.size)

def check_ends(part: Part, magic: bytes, version: bytes, end: bytes, least: int) -> bytes:
    """Check how a binary file begins and ends, its own length included; return its last bytes."""
    head, tail = part.read(0, 24), part.read(max(0, part.size - 124), 124)
    need(head[:8] == magic or head[16:21] != b"gAAAA", "For an old file give --legacy.", "CannotOpen")
    need(head[:8] == magic, "This is another kind of file, or its beginning was changed.")
    same = head[8:].startswith(version)
    said = "A newer Strongroom wrote this: take its recover.py."
    if head[8:12] == b"\0\1\0\1":
        said = "It was written before Strongroom's first release."
    need(same or part.size < least, said, "CannotOpen")
    whole = same and tail.endswith(end) and int.from_bytes(tail[-16:-8], "big") == part.size >= least
    need(whole, "The file is cut, or its end was changed.")
    return tail

# -- containers (sections 1 to 5) ----------------------------------------------------------------

@dataclass(frozen=True)
class Secret:
    """A row as stored, its metadata in the bytes that it had; its line; its versions' values in order."""
    row: Record
    line: bytes
    values: tuple[bytes, ...]

@dataclass(frozen=True)
class Container:
    """A container that was checked and opened: its keys, its index, its segments."""
    part: Part
    header: bytes
    entries: list[tuple[int, int, int, bytes, bytes]]  # of a segment its place, two lengths, two digests
    signer: str
    wrapping_key: str
    keys: dict[str, bytes]
    index: Record

    def message(self, kind: str, number: int, sealed: bytes) -> bytes:
        """Open a sealed message (section 3)."""
        context = self.header[48:] + struct.pack(">BI", KINDS.index(kind) + 1, number)
        return cobblestone(self.keys[kind], sealed, context)

    def secrets(self, losses: Losses, name: str | None = None) -> Iterator[Secret]:
        """Yield every secret, or those of the one segment that can hold a name; memory holds one segment."""
        index, before, span = self.index, losses.lost, list[str]()
        for number, (_, count, _) in enumerate(index["segments"]):
            if name is None or number == self.place(name):
                secrets: list[Secret] = []
                what = f"segment {number} of piece {index['piece']}"
                with losses.within(what, count, (self, number)):
                    secrets = self.segment(number, losses)
                hashes = [self.hash(secret.row["name"]) for secret in secrets]
                span = [min(span + hashes), max(span + hashes)] if hashes else span
                yield from secrets
        with losses.within(f"the names of piece {index['piece']}: its secrets are handed out all the same"):
            edges = [index["first"], index["last"]] if span else []
            here = all(index["first"] <= each <= index["last"] for each in span)
            some = name is not None or losses.lost > before
            need(here and (some or span == edges), "They are not those that the index ranges over.")

    def place(self, name: str) -> int:
        """Return the number of the only segment that can hold a name."""
        return sum(bound <= name for bound, _, _ in self.index["segments"]) - 1

    def hash(self, name: str) -> str:
        encoded = name.encode("utf-8", "surrogatepass")  # an odd name must not keep from the others
        return hmac.digest(unhex(self.index["name_key"]), encoded, "sha256")[:16].hex()

    def segment(self, number: int, losses: Losses) -> list[Secret]:
        at, values, rows, values_digest, rows_digest = self.entries[number]
        v, r = self.part.read(at, values), self.part.read(at + values, rows)
        same = sha256(r) == rows_digest and (sha256(v) if values else bytes(32)) == values_digest
        need(same, "It was changed.")
        packed = self.message("rows", number, r)
        plain = self.message("values", number, v) if values else None
        secrets = read_segment(packed, plain, losses)
        with losses.within(f"the order of segment {number}: its secrets are handed out all the same"):
            bound, count, versions = self.index["segments"][number]
            names = [secret.row["name"] for secret in secrets]
            following = [each for each, _, _ in self.index["segments"][number + 1 : number + 2]]
            placed = ascending(names) and bound <= names[0] and all(names[-1] < each for each in following)
            there = len(secrets), sum(len(secret.row["versions"]) for secret in secrets)
            need(placed and there == (count, versions), "The names are not those of the index.")
        return secrets

KINDS, HASH = ("values", "rows", "index"), (16, 0)
ENVELOPE = {"file_key": WRAPPED, "wrapping_key": RECORD, "certificate": CERTIFICATE}
INDEX = {
    "backup_id": str, "piece": int, "pieces": int, "source": str, "policy": str, "values": bool,
    "created_at": str, "name_key": 32, "first": HASH, "last": HASH, "signer": 32, "directory": 32,
    "segments": [lambda each: isinstance(each, list) and len(each) == 3 and fits(each[0], str)
                 and fits(each[1:], [int]) and 1 <= each[1] <= each[2]],
}

def open_container(
    part: Part, keys: Keys, item: Record | None = None, newer: Callable[[Record], Record | None] | None = None
) -> Container:
    """Check and open a container, a manifest's ``item``; ``newer`` finds the envelope that counts."""
    tail = check_ends(part, CONTAINER, b"\0\1\0\2\0\0\0\0", b"\nSRCTEND", 204)
    head, (d, i, e) = part.read(0, 80), struct.unpack(">III", tail[-28:-16])
    start = part.size - 124 - d - i - e
    fit = start >= 80 and d <= 65_536 * 72 and d % 72 == 0 and i <= 16 * MIB and e <= 256 * 1024
    need(fit, "Lengths are out of bounds.")
    directory, index, envelope = part.read(start, d), part.read(start + d, i), part.read(start + d + i, e)
    public = tail[-124:-92]
    message = head + sha256(directory) + sha256(index) + sha256(envelope) + tail[-28:]
    check_signature(public, "container", message, tail[-92:-28])
    record = strict(envelope, ENVELOPE, "The envelope")
    need(record["certificate"]["key"] == public.hex(), "The certificate is another key's.")
    by = keys.trust(record["certificate"], "container")
    at, entries = 80, []
    for values, rows, *digests in struct.iter_unpack(">II32s32s", directory):
        need(rows and max(values, rows) <= 80 * MIB, "A segment's length is out of bounds.")
        entries.append((at, values, rows, *digests))
        at += values + rows
    need(at == start, "The segments do not fill the file.")
    ends = {"signer": public.hex(), "container_signature": tail[-92:-28].hex()}
    need(ends.items() <= (item or ends).items(), "It is another container than the manifest names.")
    own = record["wrapping_key"]
    derived = derive(head, record["file_key"], unlock((newer and newer(own)) or own, keys))
    container = Container(part, head, entries, by, own["id"], derived, {})
    plain = container.message("index", 0, index)
    opened = strict(unpadded(plain, len(plain.rstrip(b"\0"))), INDEX, "The index")
    signed = (opened["signer"], opened["directory"]) == (public.hex(), sha256(directory).hex())
    need(signed, "Another signer sealed this container, or its directory was exchanged.")
    bounds, edges = [bound for bound, _, _ in opened["segments"]], (opened["first"], opened["last"])
    whole = len(entries) == len(bounds) and all(bool(entry[1]) == opened["values"] for entry in entries)
    right = 0 <= opened["piece"] < opened["pieces"] and ascending(bounds) and bounds[:1] in ([], [""])
    right = right and edges[0] <= edges[1] and {bool(edge) for edge in edges} == {bool(bounds)}
    need(whole and right, "The index does not fit the directory.")
    return replace(container, index=opened)

def derive(head: bytes, wrapped: Record, wrapping_key: bytes) -> dict[str, bytes]:
    """Open the file key; derive from it the header's tag and the keys of the messages (section 2)."""
    file_id = head[16:48]
    file_key = unwrap(wrapping_key, wrapped, b"strongroom/v1/file-key/" + file_id)
    if file_key is None:
        said = "The file key does not belong here. If a stranger's envelope is the cause, --signer helps."
        raise Failure("Damaged", said)
    tag = hkdf(file_key, file_id, b"strongroom/v1/header" + head[:48])
    need(hmac.compare_digest(tag, head[48:]), "The header was changed.")
    return {kind: hkdf(file_key, file_id, f"strongroom/v1/{kind}".encode()) for kind in KINDS}

def read_rows(packed: bytes, losses: Losses) -> tuple[list[tuple[Record, bytes]], int]:
    """Take a segment's rows apart (section 5); return each row, its lines, and the number of digests."""
    need(len(packed) >= 16, "The rows are too short.")
    count, digests, length, size = struct.unpack_from(">IIII", packed)
    end = 16 + size + 16 * digests
    need(end <= len(packed) and length <= 32 * MIB, "The rows' counts are out of bounds.")
    cells = unzstd(unpadded(packed, end)[16 : 16 + size], length).split(b"\n")
    need(cells.pop() == b"" and len(cells) == len(ROW) * count > 0, "The rows are miscounted.")
    rows = [cells[row::count] for row in range(count)]  # of each column the line of that row
    return [(read_row(row, losses), b"\n".join([*row, b""])) for row in rows], digests

def read_segment(packed: bytes, plain: bytes | None, losses: Losses) -> list[Secret]:
    """Take a segment's two plaintexts apart (section 5)."""
    rows, digests = read_rows(packed, losses)
    secrets, at, values = [], 0, plain or b""
    for row, line in rows:
        ends = [at]
        ends += [at := at + each["length"] for each in row["versions"] if "length" in each]
        secrets.append(Secret(row, line, tuple(values[a:b] for a, b in pairwise(ends))))
    need(sum(len(secret.values) for secret in secrets) == digests, "The digests are miscounted.")
    if plain is None:
        names_only = not digests and not any("metadata" in secret.row for secret in secrets)
        need(names_only, "There is more than names.")
    else:
        unpadded(plain, at)
    return secrets

def unpadded(plain: bytes, length: int) -> bytes:
    """Cut off the zeros that hide a length (section 3)."""
    e = length.bit_length() - 1
    mask = (1 << (e - e.bit_length())) - 1 if length > 4096 else 4095
    right = len(plain) == (max(length, 4096) + mask) & ~mask and not any(plain[length:])
    need(right, "The padding is wrong.")
    return plain[:length]

def read_row(cells: list[bytes], losses: Losses) -> Record:
    """Read a row. If it breaks a rule and can be read, it was sealed so: it is named and handed out."""
    row: Record = {}
    try:
        row = {"name": json.loads(cells[0]), "type": "", "versions": json.loads(cells[2], parse_int=integer)}
        row["versions"] = [dict(zip(VERSION, each, strict=True)) for each in row["versions"]]
        lengths = [each["length"] or 0 for each in row["versions"]]
        usable = type(row["name"]) is str and all(type(each) is int and each >= 0 for each in lengths)
    except (ValueError, TypeError, RecursionError):
        usable = False
    need(usable, "A row cannot be read.")
    row["versions"] = [
        {name: each[name] for name in VERSION if each[name] != VERSION[name]} for each in row["versions"]
    ]
    with losses.within(f"the rules of the row '{row['name']}' (its value is handed out)"):
        for (member, shape), cell in zip(ROW.items(), cells, strict=True):
            if member == "metadata?" and cell:
                whole = cell.startswith(b"{") and cell.endswith(b"}") and fits(loads(cell), shape)
                need(whole, "Metadata is not as it must be.")
                row["metadata"] = cell  # the writer's own bytes
            elif cell or member[-1] != "?":
                found = strict(cell, shape, f"Its {member.rstrip('?')}")
                row |= {} if member == "versions" else {member.rstrip("?"): found}
    return row

def depth_of(value: Any) -> int:
    """Return how deep objects and lists lie in each other."""
    layer, depth = [value], 0
    while layer := [each for each in layer if isinstance(each, list | dict)]:
        depth += 1
        layer = [inner for each in layer for inner in (each.values() if isinstance(each, dict) else each)]
    return depth

def ascending(values: list[Any]) -> bool:
    return values == sorted(set(values))

# A version's members and their defaults; and the nine columns ("?": a line may be empty).
VERSION = {"number": "", "length": None, "media": "text", "state": "live", "created_at": None}
STATE, MEDIA = matching("live|deleted|destroyed"), matching("text|json|binary")

def a_version(value: Any) -> bool:
    shapes = (int, (int, None), MEDIA, STATE, (str, None))
    return isinstance(value, list) and len(value) == 5 and all(map(fits, value, shapes))

ROW = {
    "name": str, "type": str,
    "versions": lambda value: value and fits(value, [a_version]) and ascending([each[0] for each in value]),
    "tags?": lambda value: texts(value) and value, "created_at?": str, "updated_at?": str, "expires_at?": str,
    "rotation?": ({"days": int}, {"days": int, "enabled": False}),
    "metadata?": lambda value: isinstance(value, dict) and value and depth_of(value) <= 64,
}

# -- signed documents (sections 6, 7 and 12) -----------------------------------------------------

def check_document(data: bytes, kind: str) -> None:
    """Check how a document of lines begins and ends, its own length included."""
    version = re.match(rb'\{"format":"strongroom-%s/([0-9]{1,4})",\n' % kind.encode(), data)
    need(version, f"This is no {kind}, or its beginning was changed.")
    newer = version is not None and version[1] != b"1"
    need(not newer, "A newer Strongroom wrote this: take its recover.py.", "CannotOpen")
    length = re.search(rb',\n"length":"([0-9]{12})"\}\n\Z', data)
    need(length and int(length[1]) == len(data), "The document is cut, or its end was changed.")

def signed_body(data: bytes, kind: str, keys: Keys) -> tuple[bytes, str]:
    """Check a document's frame, signature and signer; return body and installation."""
    check_document(data, kind)
    frame = rb'[^\n]*\n"body":([^\n]+),\n"certificate":([^\n]+),\n'
    frame += rb'"signature":"([0-9a-f]{128})",\n"length":"\d{12}"\}\n'
    lines = re.fullmatch(frame, data)
    if lines is None:
        raise Failure("Damaged", "The document's frame was changed.")
    certificate, signature = strict(lines[2], CERTIFICATE, "A certificate"), unhex(lines[3].decode())
    check_signature(unhex(certificate["key"]), kind, lines[1] + b"\n" + lines[2], signature)
    return lines[1], keys.trust(certificate, kind)

def read_envelope(data: bytes, keys: Keys) -> Record:
    """Read a detached envelope's record."""
    body, by = signed_body(data, "envelope", keys)
    need(len(body) <= 256 * 1024, "The envelope is too large.")
    record: Record = strict(body, RECORD, "The envelope")
    note(f"envelope of generation {record['generation']} signed by installation {by}")
    return record

ENTRY = {
    "piece": int, "sha256": 32, "size": int, "secrets": int, "versions": int, "first": HASH, "last": HASH,
    "wrapping_key": HASH, "signer": 32, "container_signature": (64, 0), "signature": 64,
}
RECEIPT = [name for name in ENTRY if name not in {"signer", "signature"}]
RECIPIENT = {"name": str, "type": str, "fingerprint": str, "post_quantum": bool, "describes": str}
TARGET = {"name": str, "address": str, "region": str, "provider": str, "counts": bool}
MANIFEST = {
    "backup_id": str, "policy": str, "source": str, "created_at": str, "values": bool, "sealed": bool,
    "selection": {"include": [str], "exclude": [str],
                  "tags": lambda value: texts(value) and list(value) == sorted(value)},
    "counts": {"secrets": int, "versions": int, "size": int}, "recipients": [RECIPIENT], "targets": [TARGET],
    "quorum": int, "regions": int, "providers": int,
    "not_contained": lambda value: fits(value, [matching(PRINTABLE + "{0,1000}")]) and len(value) <= 1000,
    "containers": lambda value: fits(value, [ENTRY]) and len(value) <= 100_000, "previous": (32, None),
    "trust": integers(0, 99_999_999),
}

def read_manifest(data: bytes, keys: Keys, *, alone: bool = True) -> Record:
    """Read a manifest and hold it to section 7; unless ``alone``, not to its receipts and its trust list."""
    body, by = signed_body(data, "manifest", keys)
    first_release = not re.search(rb',"previous":(null|"[^"\\]*")\}\Z', body)
    need(first_release, "It was written before Strongroom's first release.", "CannotOpen")
    manifest: Record = strict(body, MANIFEST, "The manifest")
    containers, sealed, last = manifest["containers"], manifest["sealed"], ""
    for piece, entry in enumerate(containers):
        full = bool(sealed and entry["secrets"])
        right = entry["piece"] == piece and bool(entry["first"]) == bool(entry["last"]) == full
        right = right and bool(entry["wrapping_key"]) == bool(entry["container_signature"]) == sealed
        right = right and (not full or last < entry["first"] <= entry["last"])
        need(right, "The containers are misnumbered, or the ranges of names overlap.")
        last = entry["last"] or last
        if alone:
            receipt = {"run": manifest["backup_id"]} | {name: entry[name] for name in RECEIPT}
            check_signature(unhex(entry["signer"]), "receipt", canonical(receipt), unhex(entry["signature"]))
    sums = {name: sum(entry[name] for entry in containers) for name in ("secrets", "versions", "size")}
    need(manifest["counts"] == sums, "The counts are not those of the containers.")
    if alone:
        require_list(manifest | {"by": by}, keys)
    return manifest | {"by": by}

# -- a whole backup (sections 12 and 13) ---------------------------------------------------------

def backup_ids(store: Store) -> list[str]:
    """Return the ids of the backups in a store, the newest first."""
    matches = (re.fullmatch(r"manifests/([^/]+)\.json(\.r[1-9])?", name) for name in store.names("manifests"))
    return sorted({match[1] for match in matches if match}, reverse=True)

def by_lists(store: Store, keys: Keys) -> Keys:
    """Return the keys with what the trust lists in a store say; no list that counts may be missing."""
    listed = dict.fromkeys(keys.signers, (0, dict[str, str]()))
    if store.names("trust"):
        listed = extra("A trust list").read_lists(store, keys.signers)
    keys = replace(keys, lists=listed, signers=keys.signers and frozenset(listed))
    manifests = (counting(store, keys, backup) for backup in backup_ids(store) if keys.signers)
    for manifest in islice(filter(None, manifests), 8):
        require_list(manifest, keys)
    return keys

def counting(store: Store, keys: Keys, backup: str) -> Record | None:
    """Return a backup's manifest that counts, its receipts aside; None if none does."""
    for _, part in store.copies(f"manifests/{backup}.json"):
        with suppress(Failure):
            manifest = read_manifest(part.whole(), keys, alone=False)
            if manifest["backup_id"] == backup:
                return manifest
    return None

def require_list(manifest: Record, keys: Keys) -> None:
    """Refuse a manifest that states a higher trust list than there is, if its installation is pinned."""
    number, here = manifest["trust"], keys.list_of(manifest["by"])[0]
    said = f"Trust list {number} of installation {manifest['by']} is missing. The highest here is {here}. "
    by = f"Backup {manifest['backup_id']}" if "backup_id" in manifest else "The signed head of a ledger"
    said += f"A key that is believed here may be distrusted on it. {by} states it."
    if keys.signers and keys.lists is not None and number > here:
        advice = f"Take another copy of the target, or put its trust/{number:08}.json into this one."
        raise Failure("Untrusted", said, advice)

class Store:
    """The objects of a backup by their names, in a copy of a target."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.links: set[Path] = set()
        self.listed: dict[str, dict[str, bool]] = {}

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects right in a folder, sorted, so that a copy follows its original."""
        return [name for name, is_folder in self.list(folder).items() if not is_folder]

    def list(self, folder: str) -> dict[str, bool]:
        """List a folder, once: there may be any number of objects in it. What links lead to is not there."""
        if folder not in self.listed:
            found = {}
            for entry in os.scandir(self.path / folder) if stat.S_ISDIR(self._mode(folder)) else ():
                if entry.is_symlink():
                    self._tell(Path(entry.path))
                elif (is_folder := entry.is_dir()) or entry.is_file():
                    found[f"{folder}/{entry.name}"] = is_folder
            self.listed[folder] = dict(sorted(found.items()))
        return self.listed[folder]

    def get(self, name: str) -> Part | None:
        return Part.of(self.path / name) if stat.S_ISREG(self._mode(name)) else None

    def _mode(self, name: str) -> int:
        """Tell what lies under a name; 0: nothing. What a link leads to is not there (section 7)."""
        path, mode = self.path, 0
        for part in name.split("/"):
            path /= part
            try:
                mode = path.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                return 0
            if stat.S_ISLNK(mode):
                self._tell(path)
                return 0
        return mode

    def _tell(self, link: Path) -> None:
        if link not in self.links and len(self.links) < 4:
            note(f"not followed: '{link}' is a link" if len(self.links) < 3 else "not followed: more links")
        self.links.add(link)

    def copies(self, name: str) -> list[tuple[str, Part]]:
        """Return what lies under a name and beside it, in the order of section 7."""
        names, there = [name, *(f"{name}.r{n}" for n in range(1, 10))], self.list(name.rpartition("/")[0])
        return [(each, part) for each in names if each in there and (part := self.get(each)) is not None]

@dataclass(frozen=True)
class Backup:
    """A backup in a store: read and joined."""
    store: Store
    keys: Keys
    losses: Losses

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", by_lists(self.store, self.keys))

    def secrets(self, manifest: Record, name: str | None = None, *,
                for_values: bool = False) -> Iterator[Secret]:
        """Yield the secrets of the containers that a manifest names, or those of one name."""
        made = f"of policy '{manifest['policy']}', made {manifest['created_at']}"
        many, sure = counted(manifest["counts"]["secrets"]), " (not checked: no --signer)"
        sure = "" if self.keys.signers else sure
        note(f"backup {manifest['backup_id']} {made}: {many}, signed by installation {manifest['by']}{sure}")
        said = "This backup holds no values, only names and dates: --list shows them."
        need(manifest["values"] or not for_values, said, "Missing")
        # Where nothing is pinned, containers and envelopes have to be of the manifest's own installation.
        keys = replace(self.keys, signers=self.keys.signers or frozenset({manifest["by"]}))
        came, self.losses.parts, self.losses.name_key = 0, [], ""
        for entry in manifest["containers"]:
            opened: Container | None = None
            secrets: Iterable[Secret] = ()
            with self.losses.within(f"piece {entry['piece']}", entry["secrets"], (None, entry["piece"])):
                if manifest["sealed"]:
                    opened = self._joined(manifest, entry, keys)
                    same = self.losses.name_key in ("", opened.index["name_key"])
                    need(same, "Its names are keyed otherwise than those of another piece.")
                    self.losses.name_key = opened.index["name_key"]
                    secrets = opened.secrets(self.losses, name)
                else:
                    there = self.piece(manifest, entry)
                    secrets = extra("A backup of names only").secrets_of_names(*there, manifest, entry)
            for secret in secrets:
                came += 1
                yield secret
        shut = (one for *_, one in self.losses.parts if one.args[0] == "CannotOpen")
        self.losses.first = self.losses.first if self.losses.name_key else next(shut, self.losses.first)
        complete = name is not None or self.losses.first or came == manifest["counts"]["secrets"]
        need(complete, f"{came} of {counted(manifest['counts']['secrets'])} came out.", "Missing")

    def manifest(self, backup: str) -> Record:
        """Return a backup's manifest, of its copies the first that counts."""
        failures = []
        for name, part in self.store.copies(f"manifests/{backup}.json"):
            try:
                manifest = read_manifest(part.whole(), self.keys)
                need(manifest["backup_id"] == backup, "It is another backup's.", "Missing")
                return manifest
            except Failure as failure:
                self.losses.ignore(name, failure)
                failures.append(failure)
        need(failures or backup_ids(self.store), "There is no manifest here.")
        raise (*failures, Failure("Missing", f"There is no manifest of backup '{backup}'."))[0]

    def piece(self, manifest: Record, entry: Record) -> tuple[Part, bool]:
        """Return a piece, and if it is whole: the first copy with the digest named; else what there is."""
        name = f"containers/{manifest['backup_id']}/{entry['sha256']}"
        copies = self.store.copies(name)
        need(copies, f"'{name}' is not there.", "Missing")
        for _, part in copies:
            if part.size == entry["size"] and part.digest() == entry["sha256"]:
                return part, True
        self.losses.add(Failure("Damaged", "It is not what the manifest names."), name, verb="DAMAGED")
        return copies[0][1], False

    def _joined(self, manifest: Record, entry: Record, keys: Keys) -> Container:
        """Open a container and join it with its manifest."""
        part, whole = self.piece(manifest, entry)
        need(part.size == entry["size"], "It has another size than the manifest names.")
        try:
            opened = open_container(part, keys, entry, lambda own: self.newest(own, keys))
        except Failure as failure:  # what other bytes say of themselves is no finding about this backup
            told = whole or failure.args[1] == NO_KEY  # that is found only of the one that the manifest names
            raise failure if told else Failure("Damaged", failure.args[1]) from None
        index, segments = opened.index, opened.index["segments"]
        there = manifest | entry | {"pieces": len(manifest["containers"])}
        sums = {"secrets": sum(each[1] for each in segments), "versions": sum(each[2] for each in segments)}
        here = index | sums | {"wrapping_key": opened.wrapping_key}
        whose = ("backup_id", "policy", "source", "values", "piece", "pieces", "wrapping_key")
        same = all(here[name] == there[name] for name in (*whose, "first", "last", "secrets", "versions"))
        need(same, "The container and its manifest differ.")
        return opened

    def newest(self, own: Record, keys: Keys) -> Record | None:
        """Return the newest detached envelope that counts in place of a container's own (section 6)."""
        folder = f"keys/{own['id']}"
        names = (re.fullmatch(folder + r"/([0-9]{8})(\.r[1-9])?", name) for name in self.store.names(folder))
        for generation in sorted({int(match[1]) for match in names if match}, reverse=True):
            aside: list[tuple[str, Failure]] = []
            copies = self.store.copies(f"{folder}/{generation:08}") if generation > own["generation"] else []
            for name, part in copies:
                try:
                    record = read_envelope(part.whole(257 * 1024), keys)
                    same = (record["id"], record["generation"]) == (own["id"], generation)
                    need(same, "It is another envelope than its name says.")
                except Failure as failure:  # anybody can put it there, and it must not keep from the next
                    self.losses.ignore(name, failure)
                    aside.append((name, failure))
                    continue
                return record
            self.losses.aside |= aside[:1]
        return None

# -- the command line ----------------------------------------------------------------------------

def write_out(folder: Path, secret: Secret) -> None:
    """Write a secret's newest value to a file of its own, mode 0600."""
    name = urllib.parse.quote(secret.row["name"], "", errors="surrogatepass").replace(".", "%2E") or "%"
    if len(name) > 255:  # more than a file system takes
        name = f"{name[:180]}~{sha256(name.encode()).hex()[:32]}"
    if secret.values:
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret.values[-1])

def write_value(value: bytes) -> None:
    """Write a value to standard output: its bytes, but on a terminal only what that prints."""
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(value)
        return
    say(*(lines := value.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n")))
    if shown("".join(lines)) != "".join(lines):
        note("Not all of it can be shown: write it to a file (> FILE).")

def hand_out(given: argparse.Namespace, secrets: Iterator[Secret]) -> int:
    """Do with the secrets what was asked for; return how many there were."""
    if given.out:
        given.out.mkdir(mode=0o700, exist_ok=False)
    count = 0
    try:
        for secret in secrets:
            if given.get is not None and secret.row["name"] != given.get:
                continue
            count += 1
            if given.get is not None:
                write_value(secret.values[-1] if secret.values else b"")
                break
            if given.out:
                write_out(given.out, secret)
            else:
                say(given.show(secret))
    finally:
        if given.out:
            with suppress(OSError):  # it goes if nothing came out, so that the next try finds the place free
                given.out.rmdir()
    return count

def key_line(path: Path, kind: str, passphrases: Iterable[str] = ()) -> tuple[str, bytes]:
    """Read a key file: kind, variety, hex, checksum."""
    words = path.read_text("utf-8", "replace").split()
    sealed, known = kind.replace("-", "-sealed-", 1), ("AES256", "mlkem768-x25519", "x25519")
    right = len(words) == 4 and words[0] in (kind, sealed) and words[1] in known
    size = 32 if words[:1] != [sealed] else 129 if words[1:2] == ["AES256"] else 145
    right = right and sha256(" ".join(words[:3]).encode()).hex()[:8] == words[3] and fits(words[2], size)
    need(right, f"'{path}' is not a {kind} file, or it is damaged.", "CannotOpen")
    content = unhex(words[2])
    if size != 32:
        unseal = extra("A key that a passphrase seals").unseal
        content = unseal(path, f"{kind} {words[1]} ", content, passphrases)
    return words[1], content

def gather(given: argparse.Namespace) -> Keys:
    """Read every key that the command line names."""
    passphrases = [getpass.getpass("Passphrase: ")] if given.passphrase else []
    passphrases += [path.read_text("utf-8", "replace").rstrip("\r\n") for path in given.passphrase_file]
    files = tuple(key_line(path, "strongroom-key-1", passphrases)[1] for path in given.key_file)
    private = tuple(key_line(path, "strongroom-private-key-1", passphrases) for path in given.private_key)
    held = {"passphrase": tuple(passphrases), "keyfile": files, "hpke": private}
    return Keys(held, frozenset(given.signer))

def parse(words: list[str]) -> tuple[argparse.Namespace, Callable[[argparse.Namespace], int]]:
    """Return what is asked for, and what does it: recover_extra.py if one of its options is given."""
    more = "" if EXTRA.is_file() else f"'{EXTRA.name}' is not beside this file, so many options are missing."
    parser = argparse.ArgumentParser(description="Open Strongroom backups.", epilog=more, allow_abbrev=False)
    add = parser.add_argument
    paths: Record = {"type": Path, "action": "append", "default": []}
    add("file", type=Path, nargs="+", help="a copy of a target")
    add("--backup", metavar="ID", help="which backup; default: the newest of everything, with values")
    add("--signer", action="append", default=[], help="the installation's fingerprint: believe it alone")
    add("--passphrase", action="store_true", help="ask for a passphrase, also of a sealed key's file")
    add("--passphrase-file", **paths)
    add("--key-file", **paths)
    add("--private-key", **paths, help="a private key's file")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="names only")
    what.add_argument("--get", metavar="NAME", help="one newest value, to standard output")
    what.add_argument("--out", type=Path, metavar="DIR", help="newest values, a file each")
    parser.set_defaults(show=lambda secret: secret.row["name"], whole=Backup)
    helped = {"-h", "--help"} & {*words}
    unknown = ["--help"] * EXTRA.is_file() if helped else parser.parse_known_args(words)[1]
    rare = extra(f"The option '{unknown[0]}'") if unknown else None
    if rare:
        rare.add_options(parser, what)
    what.required = True
    return parser.parse_args(words), rare.run if rare else recover

def recover(given: argparse.Namespace, keys: Keys | None = None) -> int:
    """Hand out what was asked for; raise what the program is to end with."""
    losses = Losses()
    count = hand_out(given, secrets_in(given, keys or gather(given), losses))
    said = f", {losses.taken} of them from earlier backups" if losses.taken else ""
    missing = losses.lost - losses.taken
    note(counted(count) + said + (f"; {missing} did not come out" if missing > 0 else ""))
    if losses.first:
        raise losses.first
    need(count or given.get is None, f"There is no secret '{given.get}' here.", "Missing")
    aside = ", ".join(f"{name} ({failure})" for name, failure in [*losses.aside.items()][:SHOWN])
    aside += f" and {len(losses.aside) - SHOWN} more" if len(losses.aside) > SHOWN else ""
    need(not aside, f"Everything that counts came out. This does not count: {aside}", "LeftAside")
    return 0

def secrets_in(given: argparse.Namespace, keys: Keys, losses: Losses) -> Iterator[Secret]:
    """Yield the secrets of what each path is."""
    others = [path for path in given.file if path.stat() and not path.is_dir()]
    if others:
        what = f"'{others[0]}' is not a copy of a target. Reading it"
        yield from extra(what).secrets_in_files(given, keys, losses)
    for path in () if others else given.file:
        yield from secrets_of(given.whole(Store(path), keys, losses), given)

def secrets_of(backup: Backup, given: argparse.Namespace) -> Iterator[Secret]:
    """Yield the secrets of the backup that is asked for."""
    marks = backup.store.names(f"quarantine/{given.backup}") if given.backup else []
    if given.backup and not marks and not (EXTRA.is_file() and backup.store.list("ledger")):
        for_values, manifest = bool(given.out) or given.get is not None, backup.manifest(given.backup)
        yield from backup.secrets(manifest, given.get, for_values=for_values)
        if backup.losses.parts and EXTRA.is_file():
            yield from extra("").secrets_before(backup, manifest, given)
        elif backup.losses.parts:
            note(f"An earlier backup may have what is lost: '{EXTRA.name}' beside this file looks for it.")
    else:
        ids = ", ".join(name[10:-5] for name in backup.store.names("manifests"))
        what = f"Choosing one of the backups ({ids}) without --backup, or reading its quarantine marks,"
        yield from extra(what).secrets_of_chosen(backup, given)

def main() -> int:
    try:
        given, act = parse(sys.argv[1:])
        return act(given)
    except Failure as failure:
        note(str(failure), *failure.args[2:], ADVICE.get(failure.args[0], "Try another copy of this backup."))
        return CODES[failure.args[0]]
    except EOFError:
        note("CannotOpen: Nobody is there to be asked.")
        return CODES["CannotOpen"]
    except OSError as error:
        note(f"{error.filename}: {error.strerror}" + ". Name another." * isinstance(error, FileExistsError))
        return 1
    except Exception as error:  # noqa: BLE001 - its text, and a traceback's lines, may quote a key or a value
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        note(f"A fault of this program ({type(error).__name__} at line {line}).")
        return 1

if __name__ == "__main__":
    sys.exit(main())
