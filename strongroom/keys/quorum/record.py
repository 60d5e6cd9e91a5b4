"""A quorum's public file, and its shares in words."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from strongroom.container import canonical
from strongroom.errors import CannotOpen, ConfigError, Damaged, Refused, UsageError
from strongroom.keys.hpke import Kem, PublicKey
from strongroom.model import prepare
from strongroom.words import plural

# -- What can go wrong with a quorum: its shares, its file and its ceremony ---------------------


class SharesTooFew(CannotOpen):
    """There are fewer shares than the quorum needs. They reveal nothing of the key."""

    default_hint = "Ask further custodians for their shares."


class SharesTooMany(CannotOpen):
    """There are more shares than the quorum needs."""

    default_hint = "Give exactly as many as the quorum needs; leave the others on paper."


class ShareRepeated(CannotOpen):
    """One share was given twice."""

    default_hint = "Each custodian gives a share once. Take another custodian's."


class ShareForeign(CannotOpen):
    """The share belongs to another quorum."""

    default_hint = "Compare the quorum's name on the paper: the share may be an older quorum's."


class ShareMistyped(CannotOpen):
    """The share has a wrong word, an unknown word, or too many or too few words."""

    default_hint = "Look at that word on the paper and type the share again. Nothing is locked."


class SharesWrong(CannotOpen):
    """The shares are whole and their labels fit, but together they give another key than the quorum's."""

    default_hint = "One of the papers is not from this quorum. Try with another custodian's share."


class QuorumFileWrong(Damaged):
    """The quorum's file is damaged, or its public key does not belong to its shares."""

    default_hint = "Bring the file back from another copy. If its key was exchanged, treat it as an incident."


class CeremonyBroken(Refused):
    """The quorum's ceremony was left, or done out of order. It made no quorum."""

    default_hint = "Burn the papers and begin again: shares of an unfinished ceremony open nothing."


# -- A quorum's public file, and its shares in words --------------------------------------------


# -- The quorum file: public, readable, and complete enough to lead a restore by ----------------
#
# It holds the public key, who has a share, and of each share a hash: with those, a share of
# another quorum and a file that was exchanged are told from a slip of the pen. A share is 256
# random bits to whoever lacks it, so its hash helps nobody to guess it.


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
        check = _check_words(self)
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
    quorum = Quorum(
        name=file.name,
        created_at=file.created_at,
        threshold=file.threshold,
        custodians=file.custodians,
        set_id=file.set_id,
        public=public,
        replaces=file.replaces,
    )
    if _check_words(quorum) != file.check:
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


def _check_words(quorum: Quorum) -> str:
    """Return a hash of everything else: against slips and decay, not against an attacker."""
    return hashlib.sha256(canonical.encode(_file(quorum, ""))).hexdigest()[:_CHECK]


# -- Shares in words: SLIP-39, through ``shamir-mnemonic``, with errors for somebody who reads them off
# paper
#
# One group, the empty passphrase, no stretching: what is split is a random key, not a password. A
# passphrase would be one more thing to lose, and a wrong one gives a wrong key without a word.


WORDS = 33
"""Words of a share of 32 bytes: 4 that say which it is, 26 of the share, 3 of checksum."""
_BITS = 10
_CHECKSUM = 3
_EXTENDABLE = b"shamir_extendable"


class QuorumShare(Struct, frozen=True, kw_only=True):
    """A share that is whole. Its ``repr`` shows no word."""

    mnemonic: str
    set_id: int
    index: int
    threshold: int

    def __repr__(self) -> str:
        return f"Share(number {self.index + 1} of set {self.set_id})"


def split(seed: bytes, *, threshold: int, count: int) -> list[QuorumShare]:
    """Split a key into ``count`` shares of which ``threshold`` are needed."""
    (mnemonics,) = _slip39().generate_mnemonics(1, [(threshold, count)], seed, iteration_exponent=0)
    return [parse(mnemonic) for mnemonic in mnemonics]


def parse(text: str) -> QuorumShare:
    """Read one share as a person typed it: any spacing, any case.

    Raises:
        ShareMistyped: with the number of the word to look at, where one can be told.
    """
    words = text.lower().split()
    known = dict(_slip39().wordlist.WORD_INDEX_MAP)
    wrong = [position for position, word in enumerate(words, 1) if word not in known]
    if wrong:
        raise ShareMistyped(f"word {_list(wrong)} of the share is not a word that shares are made of")
    if len(words) != WORDS:
        raise ShareMistyped(f"the share has {plural(len(words), 'word')}, and should have {WORDS}")
    _check_checksum([known[word] for word in words])
    mnemonic = " ".join(words)
    library, found = _slip39(), None
    try:
        found = library.share.Share.from_mnemonic(mnemonic)
    except library.MnemonicError:  # its message quotes words
        found = None
    if found is None or found.group_count != 1 or not found.extendable or len(found.value) != 32:
        raise ShareMistyped("the words are a share of something else", hint="Strongroom did not make it.")
    return QuorumShare(
        mnemonic=mnemonic, set_id=found.identifier, index=found.index, threshold=found.member_threshold
    )


def combine(shares: list[QuorumShare]) -> bytes:
    """Put exactly as many shares as are needed together.

    Raises:
        SharesWrong: they are whole, and do not belong together.
    """
    library = _slip39()
    try:
        return bytes(library.combine_mnemonics([share.mnemonic for share in shares]))
    except library.MnemonicError:  # its message quotes words
        problem = SharesWrong("the shares are whole, and do not belong together")
    raise problem


def _check_checksum(indices: list[int]) -> None:
    """Hold the words to their checksum, and say which one is wrong if a single one explains it.

    SLIP-39 allows to say where an error may be, and advises against saying what the word should be.
    """
    if _syndrome(indices) == 0:
        return
    # At most one place can: the checksum tells any two changes of one word apart.
    place = next((place for place in range(WORDS) if _explains(indices, place)), None)
    if place is not None:
        raise ShareMistyped(f"word {place + 1} of the share is wrong")
    raise ShareMistyped("two or more words of the share are wrong, or in another order")


def _explains(indices: list[int], place: int) -> bool:
    """Whether another word at that place would make the checksum right.

    The checksum is linear: what a change of one word does to it is the XOR of what its bits do.
    """
    start = _syndrome(indices)
    bits = [
        _syndrome([each ^ (1 << bit if at == place else 0) for at, each in enumerate(indices)]) ^ start
        for bit in range(_BITS)
    ]
    reached = {0}
    for effect in bits:
        reached |= {each ^ effect for each in reached}
    return start in reached


def _syndrome(indices: list[int]) -> int:
    """Return how the checksum differs from what it should be, in 30 bits; 0 if it is right."""
    right = _slip39().rs1024.create_checksum(indices[:-_CHECKSUM], _EXTENDABLE)
    difference = 0
    for should, found in zip(right, indices[-_CHECKSUM:], strict=True):
        difference = difference << _BITS | should ^ found
    return difference


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _slip39() -> Any:
    import shamir_mnemonic  # type: ignore[import-untyped]  # noqa: PLC0415 - it reads its list of words

    return shamir_mnemonic
