"""Shares as people type them: which word is wrong, and what is no share at all."""

from __future__ import annotations

import os
import random
from itertools import count, pairwise

import pytest
import shamir_mnemonic
from shamir_mnemonic.wordlist import WORDLIST

from strongroom.keys.quorum.record import WORDS, ShareMistyped, combine, parse, split


def paper() -> str:
    """Return a share no word of which is followed by itself; of thirty, one is no such."""
    shares = (split(os.urandom(32), threshold=3, count=5)[0].mnemonic for _ in count())
    return next(share for share in shares if all(one != next_ for one, next_ in pairwise(share.split())))


PAPER = paper()


def words() -> list[str]:
    return list(WORDLIST)


def with_word(place: int, word: str) -> str:
    typed = PAPER.split()
    typed[place] = word
    return " ".join(typed)


@pytest.mark.parametrize("place", range(WORDS))
def test_of_a_single_wrong_word_its_number_is_told(place: int) -> None:
    chooser = random.Random(place)
    right = PAPER.split()[place]
    said = f"word {place + 1} of the share is wrong {ShareMistyped.default_hint}"
    for word in chooser.sample([word for word in words() if word != right and word not in said], 5):
        with pytest.raises(ShareMistyped, match=rf"^word {place + 1} of the share is wrong$") as caught:
            parse(with_word(place, word))
        assert word not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("place", range(WORDS - 1))
def test_two_words_in_the_wrong_order_are_not_blamed_on_one(place: int) -> None:
    typed = PAPER.split()
    assert typed[place] != typed[place + 1]
    typed[place : place + 2] = reversed(typed[place : place + 2])

    with pytest.raises(ShareMistyped, match="two or more words"):
        parse(" ".join(typed))


def test_words_that_no_share_is_made_of_are_named_by_number_and_not_repeated() -> None:
    typed = PAPER.split()
    typed[2], typed[30] = "CANARY", "passwort"

    with pytest.raises(ShareMistyped, match=r"^word 3, 31 of the share is not a word") as caught:
        parse(" ".join(typed))
    assert "canary" not in str(caught.value).lower()


@pytest.mark.parametrize("count", [0, 1, 20, 32, 34, 66])
def test_a_word_too_few_or_too_many_is_counted(count: int) -> None:
    with pytest.raises(ShareMistyped, match=f"has {count} words?, and should have 33"):
        parse(" ".join((PAPER.split() * 2)[:count]))


def test_a_share_of_a_wallet_is_none_of_ours() -> None:
    groups = shamir_mnemonic.generate_mnemonics(2, [(2, 3), (2, 3)], bytes(32))
    old = shamir_mnemonic.generate_mnemonics(1, [(2, 3)], bytes(32), extendable=False)
    with pytest.raises(ShareMistyped, match="share of something else"):
        parse(groups[0][0])
    with pytest.raises(ShareMistyped):
        parse(old[0][0])


@pytest.mark.parametrize(("threshold", "count"), [(2, 2), (2, 3), (3, 5), (7, 16), (16, 16)])
def test_what_was_split_is_put_together_again(threshold: int, count: int) -> None:
    seed = random.Random(count).randbytes(32)
    shares = split(seed, threshold=threshold, count=count)

    assert combine(shares[-threshold:]) == seed
    assert {(share.set_id, share.threshold) for share in shares} == {(shares[0].set_id, threshold)}
