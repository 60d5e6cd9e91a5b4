"""What may be printed is the format's own rule: it does not change with a version of Unicode."""

from __future__ import annotations

import pytest

from strongroom.container.canonical import printable
from tests.reader.reader import RefusedError
from tests.reader.reader import printable as by_reader
from tests.recover.test_recover import recover


@pytest.mark.parametrize("text", ["", "recovery", "Ключ", "鍵", "😀", "a\u00a0b", "\u3000", "\U0001fae9"])
def test_text_of_any_script_and_age_can_be_printed(text: str) -> None:
    assert _answers(text) == {True}


@pytest.mark.parametrize(
    "text", ["\x00", "\x1b[2J", "\x7f", "\x9b", "\u200b", "\u202e", "\u2066", "\ufeff", "\U000e0041"]
)
def test_what_drives_a_terminal_or_hides_or_turns_text_cannot(text: str) -> None:
    assert _answers(f"a{text}b") == {False}


def test_no_reader_judges_any_character_otherwise() -> None:
    for point in (*range(0xD800), *range(0xE000, 0x30000, 7), *range(0xE0000, 0xE1002)):
        assert len(_answers(chr(point))) == 1, hex(point)


def _answers(text: str) -> set[bool]:
    try:
        by_reader(9)(text)
        third = True
    except RefusedError:
        third = False
    return {printable(text, 9), bool(recover.matching(recover.PRINTABLE + "{0,9}")(text)), third}
