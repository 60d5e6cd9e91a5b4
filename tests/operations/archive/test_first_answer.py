"""One rule for a backup in several places: the first that answers, else the failure that matters."""

from __future__ import annotations

from itertools import permutations

import pytest

from strongroom.container.errors import MissingPiece, Tampered, UntrustedSigner, WrongKey
from strongroom.errors import StrongroomError, TargetError
from strongroom.operations.archive.envelopes import first_answer, most_telling
from strongroom.sources.errors import SourceUnavailable
from strongroom.state.errors import RecordRefused
from strongroom.targets.errors import TargetUnavailable

RANKS: list[list[type[StrongroomError]]] = [
    [UntrustedSigner, RecordRefused],
    [WrongKey],
    [TargetUnavailable, SourceUnavailable],
    [Tampered, TargetError],
    [MissingPiece],
]
PAIRS = [
    (before, after)
    for rank, kinds in enumerate(RANKS)
    for before in kinds
    for after in (kind for later in RANKS[rank + 1 :] for kind in later)
]


def test_the_first_place_that_answers_is_asked_last() -> None:
    asked = []

    def read(place: str) -> str:
        asked.append(place)
        if place == "away":
            raise TargetUnavailable("away")
        return f"read from {place}"

    assert first_answer(["away", "here", "never"], read, of="backup x") == "read from here"
    assert asked == ["away", "here"]


@pytest.mark.parametrize(("decides", "other"), PAIRS, ids=lambda kind: kind.__name__)
def test_what_decides_is_told_in_whatever_order_the_places_were_asked(
    decides: type[StrongroomError], other: type[StrongroomError]
) -> None:
    for order in permutations((decides("the one"), other("the other"))):
        assert most_telling(order).message == "the one"


@pytest.mark.parametrize("kinds", RANKS, ids=lambda kinds: kinds[0].__name__)
def test_of_several_alike_the_first_is_told(kinds: list[type[StrongroomError]]) -> None:
    assert most_telling([kind(str(number)) for number, kind in enumerate(kinds * 2)]).message == "0"


def test_what_failed_earlier_counts_too() -> None:
    def read(place: str) -> str:
        raise Tampered(place)

    with pytest.raises(TargetUnavailable, match="away before"):
        first_answer(["eu"], read, of="backup x", earlier=[TargetUnavailable("away before")])


def test_where_there_is_no_place_to_ask_it_is_missing() -> None:
    with pytest.raises(MissingPiece, match="no configured target holds backup x"):
        first_answer([], str, of="backup x")
