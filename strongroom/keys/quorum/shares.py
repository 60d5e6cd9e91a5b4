"""Shares in words: SLIP-39, through ``shamir-mnemonic``, with errors for somebody who reads them off paper.

One group, the empty passphrase, no stretching: what is split is a random key, not a password. A
passphrase would be one more thing to lose, and a wrong one gives a wrong key without a word.
"""

from __future__ import annotations

from typing import Any

import shamir_mnemonic  # type: ignore[import-untyped]
from msgspec import Struct

from strongroom.keys.quorum.errors import ShareMistyped, SharesWrong
from strongroom.words import plural

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
    known = _known()
    wrong = [position for position, word in enumerate(words, 1) if word not in known]
    if wrong:
        raise ShareMistyped(f"word {_list(wrong)} of the share is not a word that shares are made of")
    if len(words) != WORDS:
        raise ShareMistyped(f"the share has {plural(len(words), 'word')}, and should have {WORDS}")
    _check([known[word] for word in words])
    return _share(" ".join(words))


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


def _share(mnemonic: str) -> QuorumShare:
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


def _check(indices: list[int]) -> None:
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


def _known() -> dict[str, int]:
    return dict(_slip39().wordlist.WORD_INDEX_MAP)


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _slip39() -> Any:
    return shamir_mnemonic
