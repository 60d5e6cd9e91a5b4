"""Making a quorum, and bringing its shares together again: one custodian at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NoReturn

from strongroom.container.cobblestone import Random
from strongroom.errors import UsageError
from strongroom.keys.hpke import SEED, Kem, public_of
from strongroom.keys.quorum import QuorumIdentity
from strongroom.keys.quorum.record import (
    CeremonyBroken,
    Custodian,
    Quorum,
    QuorumFileWrong,
    QuorumShare,
    ShareForeign,
    ShareMistyped,
    ShareRepeated,
    SharesTooFew,
    SharesTooMany,
    SharesWrong,
    check_names,
    combine,
    fingerprint,
    parse,
    split,
)
from strongroom.words import plural

# -- Custodians bring their shares together: one at a time, none lost by another's slip ---------


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


# -- Making a quorum: each share shown once, typed back, and stored nowhere ---------------------
#
# A pure flow that knows no screen. Nobody can seal for the quorum before :meth:`Ceremony.finish`,
# which gives the file only when every custodian has shown that the paper can be read. A ceremony
# that is left half-way leaves shares of a key that nothing was ever sealed for.


_TRIAL = b"strongroom/v1/ceremony"


class Papers:
    """Shares that go onto paper: ``show`` and ``confirm`` for each custodian in turn.

    Args:
        custodians: their names, in the order in which they come to the screen.
        shares: one for each of them.
    """

    __slots__ = ("_shares", "_shown", "_typed", "custodians")

    def __init__(self, custodians: Sequence[str], shares: Sequence[QuorumShare]) -> None:
        self.custodians = tuple(custodians)
        self._shares = list(shares)
        self._typed: list[str] = []
        self._shown = 0

    def __reduce__(self) -> NoReturn:
        raise TypeError("an object that holds a key must not be pickled")

    @property
    def next(self) -> str | None:
        """Whose turn it is; ``None`` when all have typed theirs back."""
        done = len(self._typed)
        return self.custodians[done] if done < len(self.custodians) else None

    def show(self) -> list[str]:
        """Return the words for whose turn it is: once.

        Raises:
            CeremonyBroken: they were shown before, or everybody has a share.
        """
        if self._shown != len(self._typed) or self.next is None:
            raise CeremonyBroken("a share is shown once, to one custodian after the other")
        self._shown += 1
        return self._shares[self._shown - 1].mnemonic.split()

    def confirm(self, text: str) -> None:
        """Take the share as its custodian reads it off the paper. May be repeated after a slip.

        Raises:
            ShareMistyped: it is not what was shown; with the numbers of the words that differ.
            CeremonyBroken: none was shown.
        """
        if self._shown != len(self._typed) + 1:
            raise CeremonyBroken("there is no share on a paper yet")
        expected, typed = self._shares[len(self._typed)].mnemonic.split(), text.lower().split()
        if len(typed) != len(expected):
            raise ShareMistyped(f"{plural(len(typed), 'word')} typed, and the share has {len(expected)}")
        wrong = [n for n, (right, other) in enumerate(zip(expected, typed, strict=True), 1) if right != other]
        if wrong:
            raise ShareMistyped(f"word {', '.join(map(str, wrong))} is not what was shown")
        self._typed.append(parse(text).mnemonic)

    def typed(self) -> list[str]:
        """Return what was typed, and forget every share.

        Raises:
            CeremonyBroken: somebody has not typed the share back.
        """
        if self.next is not None:
            raise CeremonyBroken(f"{self.next} has not typed the share back")
        typed, self._typed, self._shares = self._typed, [], []
        self._shown = -1  # over: nothing is shown or taken any more
        return typed


class Ceremony(Papers):
    """One ceremony: ``show``, ``confirm`` for each custodian in turn, then ``finish``.

    Args:
        name: what the quorum is called.
        custodians: their names, in the order in which they come to the screen.
        threshold: how many of them are needed.
        created_at: RFC 3339.
        replaces: the id of the quorum whose place this one takes.

    Raises:
        UsageError: names or numbers are out of bounds.
    """

    __slots__ = ("quorum",)

    def __init__(
        self,
        *,
        name: str,
        custodians: list[str],
        threshold: int,
        created_at: str,
        replaces: str | None = None,
        random: Random = os.urandom,
    ) -> None:
        check_names(name, custodians, threshold=threshold, error=UsageError)
        seed = random(SEED)
        super().__init__(custodians, split(seed, threshold=threshold, count=len(custodians)))
        public = public_of(Kem.XWING, seed)
        given = zip(self.custodians, self._shares, strict=True)
        self.quorum = Quorum(
            name=name,
            created_at=created_at,
            threshold=threshold,
            custodians=tuple(
                Custodian(name=who, share=fingerprint(public, share.mnemonic)) for who, share in given
            ),
            set_id=self._shares[0].set_id,
            public=public,
            replaces=replaces,
        )

    def __repr__(self) -> str:
        return f"Ceremony({self.quorum.name}, {len(self._typed)} of {len(self.custodians)} confirmed)"

    def finish(self) -> Quorum:
        """Return the quorum, opened once with what was typed; forget every share.

        Raises:
            CeremonyBroken: somebody has not typed the share back, or what was typed does not open.
        """
        typed = self.typed()
        for first in range(len(typed)):
            some = [typed[(first + n) % len(typed)] for n in range(self.quorum.threshold)]
            identity = open_together(self.quorum, some)
            stanza = identity.recipient().wrap(bytes(32), context=_TRIAL)
            if identity.unwrap(stanza, context=_TRIAL) != bytes(32):
                raise CeremonyBroken("the shares that were typed do not open what is sealed to the quorum")
        return self.quorum
