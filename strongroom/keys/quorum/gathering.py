"""Custodians bring their shares together: one at a time, none lost by another's slip."""

from __future__ import annotations

from collections.abc import Iterable

from strongroom.keys.keypair import public_of
from strongroom.keys.quorum import QuorumIdentity
from strongroom.keys.quorum.errors import (
    QuorumFileWrong,
    ShareForeign,
    ShareRepeated,
    SharesTooFew,
    SharesTooMany,
    SharesWrong,
)
from strongroom.keys.quorum.record import Custodian, Quorum
from strongroom.keys.quorum.shares import QuorumShare, combine, parse


class Gathering:
    """The shares that were given so far. A refused one leaves the others as they are."""

    __slots__ = ("_given", "quorum")

    def __init__(self, quorum: Quorum) -> None:
        self.quorum = quorum
        self._given: dict[int, QuorumShare] = {}

    @property
    def missing(self) -> int:
        """How many more are needed."""
        return self.quorum.threshold - len(self._given)

    def __repr__(self) -> str:
        return f"Gathering({len(self._given)} of {self.quorum.threshold} shares of `{self.quorum.name}`)"

    def add(self, text: str) -> Custodian:
        """Take one share; return whose it is.

        Raises:
            ShareMistyped: a word is wrong.
            ShareRepeated: it was given before.
            ShareForeign: it is one of another quorum.
            SharesTooMany: there are enough.
            QuorumFileWrong: it carries this quorum's number, and the file does not know it.
        """
        share = parse(text)
        custodian = self._whose(share)
        if share.index in self._given:
            raise ShareRepeated(f"the share of {custodian.name} was given before")
        if self.missing < 1:
            raise SharesTooMany(f"{self.quorum.threshold} shares are needed, and all are there")
        self._given[share.index] = share
        return custodian

    def open(self) -> QuorumIdentity:
        """Return the identity.

        Raises:
            SharesTooFew: further shares are needed.
            SharesWrong: they are whole, and do not belong together.
            QuorumFileWrong: they do, and give another key than the file's.
        """
        if self.missing > 0:
            have = len(self._given)
            raise SharesTooFew(f"{have} of the {self.quorum.threshold} shares that are needed are there")
        seed = combine(list(self._given.values()))
        if public_of(self.quorum.public.kem, seed) != self.quorum.public:
            raise QuorumFileWrong(
                f"the shares open, and their key is not the one of the quorum `{self.quorum.name}`"
            )
        return QuorumIdentity(seed, self.quorum)

    def _whose(self, share: QuorumShare) -> Custodian:
        custodian = self.quorum.holder_of(share.mnemonic)
        if custodian is not None:
            return custodian
        if share.set_id != self.quorum.set_id:
            raise ShareForeign(f"the share is whole, and is not one of the quorum `{self.quorum.name}`")
        raise SharesWrong(
            f"the share carries the number of the quorum `{self.quorum.name}`, and the quorum's file does "
            "not know it",
            hint="Either another quorum has the same number by chance, or the file was exchanged: compare "
            "it with its other copies.",
        )


def open_together(quorum: Quorum, texts: Iterable[str]) -> QuorumIdentity:
    """Return the identity that these shares open; raises as :class:`Gathering` does."""
    gathering = Gathering(quorum)
    for text in texts:
        gathering.add(text)
    return gathering.open()
