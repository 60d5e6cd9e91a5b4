"""Numbers in messages agree with their words."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.operations.commit import missing_from_quorum
from strongroom.words import plural
from tests.operations.world import make_world


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 secrets"), (1, "1 secret"), (2, "2 secrets"), (2000, "2,000 secrets")]
)
def test_a_number_takes_the_word_that_fits(number: int, words: str) -> None:
    assert plural(number, "secret") == words


@pytest.mark.parametrize(("quorum", "lacks"), [(1, "0 of the 1 target that"), (3, "0 of the 3 targets that")])
def test_what_a_quorum_lacks_is_said_of_one_as_of_many(tmp_path: Path, quorum: int, lacks: str) -> None:
    spec = make_world(tmp_path, quorum=quorum).spec
    assert str(missing_from_quorum(spec, ())).startswith(lacks)
