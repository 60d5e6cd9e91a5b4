"""A quorum meets the contract of every recipient, and opens with any k of its n shares."""

from __future__ import annotations

from itertools import combinations

import pytest
import shamir_mnemonic

from strongroom.errors import StrongroomError
from strongroom.keys.hpke import HpkeIdentity
from strongroom.keys.quorum import QuorumIdentity, QuorumRecipient, record
from strongroom.keys.quorum.ceremony import Gathering, open_together
from strongroom.keys.quorum.record import (
    Quorum,
    QuorumFileWrong,
    ShareForeign,
    ShareMistyped,
    ShareRepeated,
    SharesTooFew,
    SharesTooMany,
    SharesWrong,
    combine,
    fingerprint,
    parse,
)
from strongroom.plugins.conformance.recipients import CONTEXT, KEY, RecipientConformance, shown
from tests.keys.quorum.made import NAMES, made

SEED = bytes(range(32))
OTHER = bytes(range(1, 33))


class TestQuorum(RecipientConformance):
    post_quantum = True
    words = "any 3 of 5 custodians of the quorum `board`: Ada, Björn, Chi, Dana, Eve"

    @pytest.fixture
    def recipient(self) -> QuorumRecipient:
        return QuorumRecipient(made()[0], label="recovery")

    @pytest.fixture
    def same(self) -> QuorumRecipient:
        return QuorumRecipient(record.decode(made()[0].encode()), label="recovery")

    @pytest.fixture
    def identity(self) -> QuorumIdentity:
        quorum, papers = made()
        return open_together(quorum, papers[1:4])

    @pytest.fixture
    def stranger(self) -> QuorumIdentity:
        quorum, papers = made(OTHER)
        return open_together(quorum, papers[:3])

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        return [SEED, *(paper.encode() for paper in made()[1])]


def test_any_three_of_five_open_in_any_order_and_no_two_do() -> None:
    quorum, papers = made()
    stanza = QuorumRecipient(quorum).wrap(KEY, context=CONTEXT)

    for some in combinations(papers, 3):
        assert open_together(quorum, reversed(some)).unwrap(stanza, context=CONTEXT) == KEY
    for two in combinations(papers, 2):
        with pytest.raises(SharesTooFew, match="2 of the 3"):
            open_together(quorum, two)


def test_two_shares_and_a_made_up_third_are_not_taken() -> None:
    quorum, papers = made()
    # A share that is whole and of this set, and that nobody was given: the polynomial is another.
    forged = _altered(papers[2])
    assert parse(forged).set_id == quorum.set_id

    with pytest.raises(SharesWrong, match="does not know it"):
        open_together(quorum, [papers[0], papers[1], forged])
    with pytest.raises(SharesWrong, match="do not belong together"):
        combine([parse(text) for text in (papers[0], papers[1], forged)])


def _altered(paper: str) -> str:
    share = shamir_mnemonic.share.Share.from_mnemonic(paper)
    value = bytes([share.value[0] ^ 1]) + share.value[1:]
    return str(
        shamir_mnemonic.share.Share(
            share.identifier, share.extendable, share.iteration_exponent, share.group_index,
            share.group_threshold, share.group_count, share.index, share.member_threshold, value,
        ).mnemonic()
    )  # fmt: skip


def test_an_hpke_key_of_the_same_seed_does_not_open_for_a_quorum() -> None:
    stanza = QuorumRecipient(made()[0]).wrap(KEY, context=CONTEXT)

    assert HpkeIdentity(SEED).unwrap(stanza, context=CONTEXT) is None
    assert HpkeIdentity(SEED).open_args(stanza, info=b"strongroom/v1/wrap/hpke/" + CONTEXT) is None


# -- shares brought together ---------------------------------------------------------


def test_each_custodian_is_named_as_the_share_is_given_and_a_slip_loses_no_other() -> None:
    quorum, papers = made()
    gathering = Gathering(quorum)
    assert gathering.add(papers[4].upper().replace(" ", "\n")).name == "Eve"
    slip = papers[1].split()
    slip[9] = "zero" if slip[9] != "zero" else "academic"
    with pytest.raises(ShareMistyped, match="word 10 of the share is wrong"):
        gathering.add(" ".join(slip))
    assert [gathering.add(papers[n]).name for n in (1, 0)] == ["Björn", "Ada"]

    assert gathering.missing == 0
    assert gathering.open().quorum == quorum


def test_too_many_repeated_and_foreign_shares_are_told_apart() -> None:
    quorum, papers = made()
    foreign = made(OTHER)[1]
    gathering = Gathering(quorum)
    gathering.add(papers[0])
    with pytest.raises(ShareRepeated, match="share of Ada"):
        gathering.add(papers[0])
    with pytest.raises(ShareForeign, match="not one of the quorum `board`"):
        gathering.add(foreign[1])
    gathering.add(papers[1])
    gathering.add(papers[2])
    with pytest.raises(SharesTooMany, match="3 shares are needed"):
        gathering.add(papers[3])
    assert gathering.open().quorum == quorum


def test_a_wrong_file_is_told_from_a_wrong_share() -> None:
    """An attacker exchanged the public key and, to hide it, listed the true shares."""
    quorum, papers = made()
    public = made(OTHER)[0].public
    forged = Quorum(
        name=quorum.name,
        created_at=quorum.created_at,
        threshold=3,
        custodians=tuple(
            record.Custodian(name=who, share=fingerprint(public, paper))
            for who, paper in zip(NAMES, papers, strict=True)
        ),
        set_id=quorum.set_id,
        public=public,
    )
    with pytest.raises(QuorumFileWrong, match="their key is not the one"):
        open_together(forged, papers[:3])


def test_nothing_that_is_shown_has_two_words_of_a_share() -> None:
    quorum, papers = made()
    gathering = Gathering(quorum)
    pairs = [" ".join(paper.split()[n : n + 2]) for paper in papers for n in range(32)]
    seen = [repr(parse(papers[0]))]
    for text in (papers[0], papers[0], "not words", papers[1] + " zero", _altered(papers[2])):
        try:
            gathering.add(text)
        except StrongroomError as error:
            seen.append(f"{error!r} {error} {error.hint}")
    seen.append(shown(gathering))
    assert len(seen) == 6
    assert not [pair for pair in pairs if any(pair in line for line in seen)]
