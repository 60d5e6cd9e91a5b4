"""Numbers in messages agree with their words."""

from __future__ import annotations

import pytest

from strongroom.operations.commit import missing_from_quorum
from strongroom.words import plural
from tests.operations.world import make_world


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 secrets"), (1, "1 secret"), (2, "2 secrets"), (2000, "2,000 secrets")]
)
def test_a_number_takes_the_word_that_fits(number: int, words: str) -> None:
    assert plural(number, "secret") == words


def test_what_a_quorum_lacks_is_said_of_one_as_of_many(tmp_path) -> None:  # type: ignore[no-untyped-def]
    spec = make_world(tmp_path, quorum=3).spec
    assert (
        missing_from_quorum(spec, ("eu",))
        == "1 target of the 3 that the policy demands hold the whole backup"
    )
