"""The quorum file: public, readable, and complete enough to lead a restore by.

It holds the public key, who has a share, and of each share a hash: with those, a share of
another quorum and a file that was exchanged are told from a slip of the pen. A share is 256
random bits to whoever lacks it, so its hash helps nobody to guess it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import msgspec
from msgspec import Struct

from strongroom.container import canonical
from strongroom.errors import ConfigError, UsageError
from strongroom.keys.keypair import Kem, PublicKey
from strongroom.keys.quorum.errors import QuorumFileWrong
from strongroom.model import prepare

FORMAT = "strongroom-quorum/1"
LEAST, MOST = 2, 16
"""Of one share no secret sharing is needed; SLIP-39 numbers at most 16."""
MAX_NAME = 64
LIMIT = 64 * 1024
_SHARE = b"strongroom/v1/quorum-share/"
_CHECK = 16


class Custodian(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who has a share. ``share`` is the share's :func:`fingerprint`, in hex."""

    name: str
    share: str


class _QuorumFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: str
    name: str
    created_at: str
    threshold: int
    custodians: tuple[Custodian, ...]
    set_id: int
    public_key: str
    replaces: str | None
    check: str


class Quorum(Struct, frozen=True, kw_only=True):
    """A quorum as everybody may know it.

    Args:
        threshold: how many custodians are needed.
        set_id: the 15-bit number that all of its shares carry (SLIP-39's *identifier*).
        created_at: RFC 3339.
        replaces: the id of the quorum whose place it took, if any.

    Raises:
        QuorumFileWrong: threshold, names or key are not those of a quorum.
    """

    name: str
    created_at: str
    threshold: int
    custodians: tuple[Custodian, ...]
    set_id: int
    public: PublicKey
    replaces: str | None = None

    def __post_init__(self) -> None:
        names = [custodian.name for custodian in self.custodians]
        check_names(self.name, names, threshold=self.threshold, error=QuorumFileWrong)
        if self.public.kem is not Kem.XWING or not 0 <= self.set_id < 1 << 15:
            raise QuorumFileWrong("the quorum's key or number is not one of a quorum")

    @property
    def id(self) -> str:
        """What the quorum is called where names could be mixed up: its public key's, 16 hex digits."""
        return self.public.id.hex()[:16]

    def describe(self) -> str:
        """Say in words who can open."""
        names = ", ".join(custodian.name for custodian in self.custodians)
        return (
            f"any {self.threshold} of {len(self.custodians)} custodians of the quorum `{self.name}`: {names}"
        )

    def holder_of(self, mnemonic: str) -> Custodian | None:
        """Return who was given this share, if it is one of this quorum."""
        found = fingerprint(self.public, mnemonic)
        return next((each for each in self.custodians if each.share == found), None)

    def encode(self) -> bytes:
        """Return the quorum file's content."""
        check = _check(self)
        return msgspec.json.format(canonical.encode(_file(self, check)), indent=2) + b"\n"


prepare(_QuorumFile)


def fingerprint(public: PublicKey, mnemonic: str) -> str:
    """Return the public hash of a share: SHA-256 over label, public key's id and words; 16 bytes, hex."""
    return hashlib.sha256(_SHARE + public.id + mnemonic.encode()).digest()[:_CHECK].hex()


def check_names(
    name: str, custodians: list[str], *, threshold: int, error: type[QuorumFileWrong | UsageError]
) -> None:
    """Hold a quorum's names and numbers to their limits; raise ``error``."""
    if not LEAST <= threshold <= len(custodians) <= MOST:
        raise error(
            f"a quorum needs {LEAST} to {MOST} custodians, and a threshold of {LEAST} to their number"
        )
    for each in (name, *custodians):
        if not each.strip() or len(each) > MAX_NAME or not each.isprintable():
            raise error(f"a name is 1 to {MAX_NAME} printable characters")
    if len(set(custodians)) != len(custodians):
        raise error("two custodians have one name")


def decode(data: bytes, *, what: str = "the quorum file") -> Quorum:
    """Read a quorum file's content. Raises QuorumFileWrong."""
    try:
        file = msgspec.json.decode(data, type=_QuorumFile)
        public = PublicKey.parse(file.public_key)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise QuorumFileWrong(f"{what} is not one, or it was damaged") from None
    except ConfigError as error:
        raise QuorumFileWrong(f"{what} holds no usable public key: {error.message}") from None
    if file.format != FORMAT:
        raise QuorumFileWrong(f"{what} is of a version that is not known here")
    quorum = _quorum(file, public)
    if _check(quorum) != file.check:
        raise QuorumFileWrong(f"{what} was changed or mistyped: its check value is wrong")
    return quorum


def load(path: Path) -> Quorum:
    """Read a quorum file.

    Raises:
        ConfigError: it cannot be read, or others may change it: whoever can exchanges the key.
        QuorumFileWrong: it is damaged.
    """
    try:
        with path.open("rb") as file:
            mode, data = os.fstat(file.fileno()).st_mode, file.read(LIMIT)
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror}", hint="Check the path.") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"others may change '{path}'", hint=f"Run: chmod go-w '{path}'")
    return decode(data, what=f"'{path}'")


def _file(quorum: Quorum, check: str) -> _QuorumFile:
    return _QuorumFile(
        format=FORMAT,
        name=quorum.name,
        created_at=quorum.created_at,
        threshold=quorum.threshold,
        custodians=quorum.custodians,
        set_id=quorum.set_id,
        public_key=str(quorum.public),
        replaces=quorum.replaces,
        check=check,
    )


def _quorum(file: _QuorumFile, public: PublicKey) -> Quorum:
    return Quorum(
        name=file.name,
        created_at=file.created_at,
        threshold=file.threshold,
        custodians=file.custodians,
        set_id=file.set_id,
        public=public,
        replaces=file.replaces,
    )


def _check(quorum: Quorum) -> str:
    """Return a hash of everything else: against slips and decay, not against an attacker."""
    return hashlib.sha256(canonical.encode(_file(quorum, ""))).hexdigest()[:_CHECK]
