"""Numbers in messages agree with their words."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.container.errors import VerificationFailed
from strongroom.operations.backup.verify import missing_from_quorum
from strongroom.targets.memory import MemoryTarget
from strongroom.words import plural, verb
from tests.operations.world import make_world


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 secrets"), (1, "1 secret"), (2, "2 secrets"), (2000, "2,000 secrets")]
)
def test_a_number_takes_the_word_that_fits(number: int, words: str) -> None:
    assert plural(number, "secret") == words


@pytest.mark.parametrize(
    ("word", "many"),
    [("copy", "copies"), ("day", "days"), ("address", "addresses")],
)
def test_of_many_it_is_spelt_as_it_is_said(word: str, many: str) -> None:
    assert (plural(1, word), plural(2, word)) == (f"1 {word}", f"2 {many}")


@pytest.mark.parametrize(
    ("many", "one"), [("differ", "differs"), ("are", "is"), ("were", "was"), ("have", "has"), ("do", "does")]
)
def test_a_verb_takes_the_number_of_what_it_is_about(many: str, one: str) -> None:
    assert [verb(number, many) for number in (0, 1, 2)] == [many, one, many]


@pytest.mark.parametrize(
    ("left", "words"),
    [(1, "longer than the 1 byte announced"), (2, "longer than the 2 bytes announced")],
)
def test_what_is_too_long_is_said_of_one_byte_as_of_many(left: int, words: str) -> None:
    target = MemoryTarget(name="t", region="r")
    with pytest.raises(VerificationFailed) as caught:
        target.put("t", [b"x" * 9], size=left, sha256=b"")
    assert words in str(caught.value)


@pytest.mark.parametrize(("quorum", "lacks"), [(1, "0 of the 1 target that"), (3, "0 of the 3 targets that")])
def test_what_a_quorum_lacks_is_said_of_one_as_of_many(tmp_path: Path, quorum: int, lacks: str) -> None:
    spec = make_world(tmp_path, quorum=quorum).spec
    assert str(missing_from_quorum(spec, ())).startswith(lacks)
