"""A line of a document holds one sentence."""

from __future__ import annotations

import pytest

from scripts.check_docs import not_one_sentence


@pytest.mark.parametrize(
    "text",
    [
        "One sentence.\nAnother one.\n",
        "- An item without an end\n- Another\n",
        "See RFC 9180, e.g. Section 5. It ends.".replace("5. It", "5.1, and"),
        "| One. Two. | table |\n",
        "- **A lead.** And its sentence.\n",
        "```sh\nOne. Two\n```\n",
        "Take `a. B`, i.e. the second.\n",
        "A heading follows:\n\n## Not. Prose\n",
    ],
)
def test_one_sentence_a_line_passes(text: str) -> None:
    assert list(not_one_sentence(text)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("One sentence. Another one.\n", "line 1 has more than one sentence"),
        ("A sentence that\nis broken.\n", "line 1 ends in the middle of a sentence"),
        ("- An item that\n  is broken.\n", "line 1 ends in the middle of a sentence"),
    ],
)
def test_the_line_is_named(text: str, said: str) -> None:
    assert list(not_one_sentence(text)) == [said]
