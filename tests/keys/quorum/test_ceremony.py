"""The ceremony: nothing is active before every share was read back, and nothing is kept."""

from __future__ import annotations

import copy
import gc
import pickle

import pytest

from strongroom.errors import UsageError
from strongroom.keys.quorum.ceremony import open_together
from strongroom.keys.quorum.record import CeremonyBroken, ShareMistyped
from strongroom.plugins.conformance.recipients import shown
from tests.keys.quorum.made import NAMES, begin


def test_every_custodian_has_a_turn_and_the_quorum_opens_with_what_was_typed() -> None:
    ceremony, papers, turns = begin(), [], []
    while ceremony.next:
        turns.append(ceremony.next)
        papers.append(" ".join(ceremony.show()))
        ceremony.confirm(papers[-1].upper())
    quorum = ceremony.finish()

    assert tuple(turns) == NAMES
    assert open_together(quorum, papers[2:]).quorum == quorum
    assert len({*papers}) == 5


def test_a_share_is_shown_once() -> None:
    ceremony = begin()
    ceremony.show()
    with pytest.raises(CeremonyBroken, match="shown once"):
        ceremony.show()


def test_a_slip_is_named_by_its_number_and_can_be_typed_again() -> None:
    ceremony = begin()
    words = ceremony.show()
    typed = [*words[:6], "zero" if words[6] != "zero" else "acid", *words[7:]]
    with pytest.raises(ShareMistyped, match="word 7 is not what was shown"):
        ceremony.confirm(" ".join(typed))
    with pytest.raises(ShareMistyped, match="32 words typed"):
        ceremony.confirm(" ".join(words[:-1]))
    assert ceremony.next == "Ada"
    ceremony.confirm(" ".join(words))
    assert ceremony.next == "Björn"


def test_no_quorum_comes_of_a_ceremony_that_is_left() -> None:
    ceremony = begin()
    for _ in range(4):
        ceremony.confirm(" ".join(ceremony.show()))
    with pytest.raises(CeremonyBroken, match="Eve has not typed"):
        ceremony.finish()
    ceremony.show()
    with pytest.raises(CeremonyBroken, match="Eve has not typed"):
        ceremony.finish()


def test_out_of_order_nothing_is_shown_or_taken() -> None:
    ceremony = begin(names=("Ada", "Chi"), threshold=2)
    with pytest.raises(CeremonyBroken, match="no share on a paper"):
        ceremony.confirm("zero")
    for _ in range(2):
        ceremony.confirm(" ".join(ceremony.show()))
    for act in (ceremony.show, lambda: ceremony.confirm("zero")):
        with pytest.raises(CeremonyBroken):
            act()
    ceremony.finish()
    with pytest.raises(CeremonyBroken):
        ceremony.show()


def test_no_share_is_kept_or_shown_by_the_ceremony() -> None:
    ceremony = begin()
    papers = []
    while ceremony.next:
        papers.append(" ".join(ceremony.show()))
        assert papers[-1] not in repr(ceremony) + ceremony.quorum.encode().decode()
        ceremony.confirm(papers[-1])
    ceremony.finish()

    assert papers[0] not in shown(ceremony)
    assert not ceremony._shares
    assert not ceremony._typed
    gc.collect()
    for carried in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="must not be pickled"):
            carried(ceremony)


@pytest.mark.parametrize(
    ("names", "threshold", "said"),
    [
        (("Ada",), 1, "2 to 16 custodians"),
        (("Ada", "Chi"), 1, "threshold of 2"),
        (("Ada", "Chi"), 3, "threshold of 2"),
        (tuple(f"n{n}" for n in range(17)), 3, "2 to 16 custodians"),
        (("Ada", "Ada"), 2, "one name"),
        (("Ada", " "), 2, "printable"),
        (("Ada", "Chi\x1b[2J"), 2, "printable"),
        (("Ada", "x" * 65), 2, "printable"),
    ],
)
def test_names_and_numbers_have_their_limits(names: tuple[str, ...], threshold: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        begin(names=names, threshold=threshold)
