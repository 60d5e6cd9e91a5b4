"""SSH signatures and the people whose signatures count, checked without any program."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.keys.errors import SignatureRefused

# -- SSH signatures, checked without any program: whoever executes what people approved needs no OpenSSH
#
# The format is OpenSSH's own (PROTOCOL.sshsig; keys by RFC 4253, 5656 and 8709; hardware keys by
# PROTOCOL.u2f). ``ssh-keygen -Y sign`` makes them. SHA-1, keys of less than 2,048 bits, and hardware keys
# that nobody touched are refused.


MAX_ARMORED: Final = 16 * 1024
_MAGIC: Final = b"SSHSIG"
_ARMOR = re.compile(
    r"\s*-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\s*", re.ASCII
)
_HASHES: Final = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, HashAlgorithm]]] = {
    "nistp256": (ec.SECP256R1(), SHA256()),
    "nistp384": (ec.SECP384R1(), SHA384()),
    "nistp521": (ec.SECP521R1(), SHA512()),
}
_RSA_HASHES: Final[Mapping[str, HashAlgorithm]] = {"rsa-sha2-256": SHA256(), "rsa-sha2-512": SHA512()}
_LEAST_BITS: Final = 2048
_TOUCHED: Final = 0x01


class SshSignature(Struct, frozen=True, kw_only=True):
    """A signature taken apart: by which key, in which namespace. Nothing is checked yet."""

    key: bytes
    namespace: str
    hash_name: str
    signature: bytes


def parse_signature(armored: str) -> SshSignature:
    """Take an armored signature apart. Raises SignatureRefused."""
    match = _ARMOR.fullmatch(armored) if len(armored) <= MAX_ARMORED else None
    if match is None:
        raise SignatureRefused("This is no SSH signature.")
    reader = _Reader(_unbase64(match[1].replace("\n", "")))
    if reader.take(len(_MAGIC)) != _MAGIC or reader.number() != 1:
        raise SignatureRefused("This SSH signature is of a version that Strongroom does not know.")
    key, namespace, reserved, hash_name, signature = (reader.string() for _ in range(5))
    reader.end()
    if reserved or not namespace.isascii() or not hash_name.isascii():
        raise _malformed()
    return SshSignature(
        key=key, namespace=namespace.decode(), hash_name=hash_name.decode(), signature=signature
    )


def check_signature(signature: SshSignature, message: bytes, *, namespace: str) -> None:
    """Return if the signature is of its key, over this message, in this namespace.

    Raises:
        SignatureRefused: it is not, or its key is of a kind that does not count.
    """
    if signature.namespace != namespace:
        raise SignatureRefused(
            f"The signature was made for the namespace '{_shown(signature.namespace)}', not '{namespace}'."
        )
    digest = _HASHES.get(signature.hash_name)
    if digest is None:
        raise SignatureRefused("The signature's hash is neither sha256 nor sha512.")
    parts = (namespace.encode(), b"", signature.hash_name.encode(), digest(message).digest())
    signed = _MAGIC + b"".join(map(_string, parts))
    try:
        _verifier(signature.key)(signed, _Reader(signature.signature))
    except InvalidSignature:
        raise SignatureRefused("The signature does not fit what it should be over.") from None


def check_key(blob: bytes) -> None:
    """Return if signatures of this public key can be checked; raise SignatureRefused if not."""
    _verifier(blob)


def ssh_fingerprint(blob: bytes) -> str:
    """Return a public key's fingerprint as ``ssh-keygen -l`` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


# -- the kinds of keys -------------------------------------------------------------

_Verify = Callable[[bytes, "_Reader"], None]
"""Check a signature over a message; the reader holds the signature's own bytes."""


def _verifier(blob: bytes) -> _Verify:
    """Return what checks signatures of a public key."""
    reader = _Reader(blob)
    kind = reader.string()
    maker = _KINDS.get(kind)
    if maker is None:
        raise SignatureRefused("The key is of a kind that does not count here: see docs/how-to/approve.md.")
    try:
        verify = maker(kind, reader)
    except ValueError:  # a point that is on no curve, a modulus that is none
        raise _malformed() from None
    reader.end()
    return verify


def _check_ed25519(kind: bytes, public: Ed25519PublicKey, message: bytes, signature: _Reader) -> None:
    signature.expect(kind)
    found = signature.string()
    signature.end()
    public.verify(found, message)


def _ecdsa(kind: bytes, reader: _Reader) -> _Verify:
    curve, algorithm = _CURVES[kind.decode().removeprefix("ecdsa-sha2-")]
    reader.expect(kind.removeprefix(b"ecdsa-sha2-"))
    public = ec.EllipticCurvePublicKey.from_encoded_point(curve, reader.string())
    return partial(_check_ecdsa, kind, public, algorithm)


def _check_ecdsa(
    kind: bytes,
    public: ec.EllipticCurvePublicKey,
    algorithm: HashAlgorithm,
    message: bytes,
    signature: _Reader,
) -> None:
    signature.expect(kind)
    found = signature.string()
    signature.end()
    public.verify(_der(found), message, ec.ECDSA(algorithm))


def _der(found: bytes) -> bytes:
    numbers = _Reader(found)
    r, s = numbers.positive(), numbers.positive()
    numbers.end()
    return encode_dss_signature(r, s)


def _rsa(_kind: bytes, reader: _Reader) -> _Verify:
    exponent, modulus = reader.positive(), reader.positive()
    if modulus.bit_length() < _LEAST_BITS:
        raise SignatureRefused(f"The RSA key has less than {_LEAST_BITS:,} bits.")
    return partial(_check_rsa, rsa.RSAPublicNumbers(exponent, modulus).public_key())


def _check_rsa(public: rsa.RSAPublicKey, message: bytes, signature: _Reader) -> None:
    algorithm = _RSA_HASHES.get(signature.string().decode("ascii", "replace"))
    found = signature.string()
    signature.end()
    if algorithm is None:  # ssh-rsa, that is SHA-1
        raise SignatureRefused("The signature is RSA with SHA-1, which anybody may be able to forge.")
    public.verify(found.rjust(public.key_size // 8, b"\0"), message, padding.PKCS1v15(), algorithm)


def _hardware_ed25519(kind: bytes, reader: _Reader) -> _Verify:
    public = Ed25519PublicKey.from_public_bytes(reader.string())
    return partial(_check_hardware, kind, public.verify, reader.string())


def _hardware_ecdsa(kind: bytes, reader: _Reader) -> _Verify:
    reader.expect(b"nistp256")
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), reader.string())

    def verify(found: bytes, message: bytes) -> None:
        public.verify(_der(found), message, ec.ECDSA(SHA256()))

    return partial(_check_hardware, kind, verify, reader.string())


def _check_hardware(
    kind: bytes,
    verify: Callable[[bytes, bytes], None],
    application: bytes,
    message: bytes,
    signature: _Reader,
) -> None:
    """Check what an authenticator signed: the digests of application and message, and that it was touched."""
    signature.expect(kind)
    found = signature.string()
    flags, counter = signature.take(1), signature.take(4)
    signature.end()
    verify(
        found,
        hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(message).digest(),
    )
    if not flags[0] & _TOUCHED:
        raise SignatureRefused("Nobody touched the hardware key when it signed.")


_KINDS: Final[Mapping[bytes, Callable[[bytes, _Reader], _Verify]]] = {
    b"ssh-ed25519": lambda kind, reader: partial(
        _check_ed25519, kind, Ed25519PublicKey.from_public_bytes(reader.string())
    ),
    b"ecdsa-sha2-nistp256": _ecdsa,
    b"ecdsa-sha2-nistp384": _ecdsa,
    b"ecdsa-sha2-nistp521": _ecdsa,
    b"ssh-rsa": _rsa,
    b"sk-ssh-ed25519@openssh.com": _hardware_ed25519,
    b"sk-ecdsa-sha2-nistp256@openssh.com": _hardware_ecdsa,
}


# -- SSH's own encoding (RFC 4251) ---------------------------------------------------


class _Reader:
    """Reads the fields of a text one after the other, none beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        if len(found) != count:
            raise _malformed()
        self._at += count
        return found

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def positive(self) -> int:
        """Return a number (mpint) above zero, in its one encoding."""
        found = self.string()
        if not found or found[0] & 0x80 or (found[0] == 0 and not (found[1:] and found[1] & 0x80)):
            raise _malformed()
        return int.from_bytes(found, "big")

    def expect(self, text: bytes) -> None:
        if self.string() != text:
            raise _malformed()

    def end(self) -> None:
        if self._at != len(self._data):
            raise _malformed()


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed() from None


def _malformed() -> SignatureRefused:
    return SignatureRefused("The SSH key or signature is malformed.")


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:64]


# -- The people whose SSH signatures count: OpenSSH's file of allowed signers (``man ssh-keygen``) ---
#
# Each line binds one key to the names of one person. What would let one key sign for others is refused: a
# name with a wildcard, and a certificate authority.


_LIMIT: Final = 1024 * 1024
_LINE = re.compile(
    r"(?P<names>\S+)\s+(?:(?P<options>[A-Za-z-]+(?:=\"[^\"]*\")?(?:,[A-Za-z-]+(?:=\"[^\"]*\")?)*)\s+)?"
    r"(?P<kind>[a-z0-9@.-]+)\s+(?P<key>[A-Za-z0-9+/=]+)(?:\s+.*)?"
)
_OPTION = re.compile(r"([A-Za-z-]+)(?:=\"([^\"]*)\")?(?:,|$)")
_WILD: Final = frozenset("*?!")
_TIMES: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class AllowedSigner(Struct, frozen=True, kw_only=True):
    """A line: the names of a person, a key of theirs, for which namespaces and from when until when."""

    names: tuple[str, ...]
    key: bytes
    namespaces: tuple[str, ...] = ()
    after: float | None = None
    before: float | None = None

    @property
    def fingerprint(self) -> str:
        return ssh_fingerprint(self.key)

    def counts(self, *, namespace: str, now: float) -> bool:
        """Tell whether the line counts for a namespace at a time (epoch seconds)."""
        in_time = (self.after is None or self.after <= now) and (self.before is None or now < self.before)
        return in_time and (not self.namespaces or namespace in self.namespaces)


def read_allowed_signers(path: Path) -> tuple[AllowedSigner, ...]:
    """Return the lines of a file of allowed signers.

    Raises:
        ConfigError: it cannot be read, others may write it, or a line is none that counts.
    """
    return tuple(_lines(path, _text(path)))


def _text(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            data = file.read(_LIMIT + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise ConfigError(
            f"The allowed signers in '{path}' cannot be read: {error.strerror}.", hint=_HINT
        ) from None
    if not stat.S_ISREG(mode) or len(data) > _LIMIT:
        raise ConfigError(f"'{path}' is no small regular file.", hint=_HINT)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):  # whoever may add a line may approve
        raise ConfigError(
            f"Others may write the allowed signers in '{path}'.", hint=f"Run: chmod go-w '{path}'."
        )
    return data.decode("utf-8", "replace")


_HINT: Final = "Nothing that needs approvals is done until it is there: docs/how-to/approve.md."


def _lines(path: Path, text: str) -> Iterator[AllowedSigner]:
    for number, line in enumerate(text.splitlines(), start=1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            try:
                yield _parsed(stripped)
            except (ValueError, SignatureRefused) as error:
                why = getattr(error, "message", str(error))
                raise ConfigError(
                    f"'{path}', line {number}: {why}",
                    hint='Write each line as: NAME namespaces="strongroom-approval" ssh-ed25519 AAAA…',
                ) from None


def _parsed(line: str) -> AllowedSigner:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("it is no line of allowed signers.")
    names = tuple(match["names"].split(","))
    if not all(names) or any(_WILD & set(name) for name in names):
        raise ValueError("a name with a wildcard would let one key sign for everybody.")
    try:
        key = base64.b64decode(match["key"], validate=True)
    except binascii.Error:
        raise ValueError("the key is not in base64.") from None
    check_key(key)
    if key[4 : 4 + len(match["kind"])].decode("ascii", "replace") != match["kind"]:
        raise ValueError("the key is not of the kind that the line says.")
    return AllowedSigner(names=names, key=key, **_options(match["options"] or ""))


def _options(text: str) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in _OPTION.findall(text):
        match name.lower():
            case "namespaces":
                known["namespaces"] = tuple(value.split(","))
            case "valid-after":
                known["after"] = _time(value)
            case "valid-before":
                known["before"] = _time(value)
            case _:
                raise ValueError(f"the option '{name}' does not count here.")
    return known


def _time(text: str) -> float:
    """Return a time as OpenSSH writes it: ``20261127``, ``202611271200Z``; without Z it is this host's."""
    digits = text.removesuffix("Z")
    if not digits.isdecimal() or len(digits) not in _TIMES:
        raise ValueError("a time is not written as OpenSSH does.")
    found = datetime.strptime(digits, _TIMES[len(digits)])  # noqa: DTZ007 - its zone follows
    return (found.replace(tzinfo=UTC) if text.endswith("Z") else found.astimezone()).timestamp()
