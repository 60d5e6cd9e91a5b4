"""The lint of phrases sees what a person reads, and nothing else."""

from __future__ import annotations

import re

import pytest

from scripts import check_words


def phrases(found: list[tuple[int, str, str]]) -> list[tuple[int, str]]:
    return [(line, phrase) for line, phrase, _ in found]


@pytest.mark.parametrize("pattern", check_words.PHRASES)
def test_every_phrase_is_a_pattern_of_small_letters_with_something_better(pattern: str) -> None:
    assert re.compile(pattern)
    assert pattern == pattern.lower()
    assert len(check_words.PHRASES[pattern]) > 3


def test_a_phrase_is_named_with_its_line_however_it_is_broken_and_spelt() -> None:
    page = "# Keys\n\nA key. Whoever has it, opens.\nIt was not tried For\nWant of a PIN.\n"
    assert phrases(list(check_words.in_page(page))) == [(4, "For Want of"), (3, "Whoever")]


def test_code_and_links_in_a_page_are_not_read() -> None:
    page = "Use `--for-want of`, [the page](keeper.md):\n\n```sh\nkeeper\n```\n\n    keeper anew\n"
    assert list(check_words.in_page(page)) == []


def test_texts_and_class_docstrings_are_read_and_other_docstrings_and_names_are_not() -> None:
    source = '''
"""A keeper."""
def keeper() -> None:
    """Seal anew."""  # for want of
    print(f"for want of {keeper}")
class Key:
    """A keeper's key."""
KEYS = 1
"""The keys at hand."""
'''
    assert sorted(phrases(list(check_words.in_source(source, classes=True)))) == [
        (5, "for want of"),
        (7, "keeper"),
    ]
    assert phrases(list(check_words.in_source(source, classes=False))) == [(5, "for want of")]


def test_a_phrase_in_the_comments_of_a_shipped_file_is_named_though_it_is_broken_by_their_signs() -> None:
    unit = "# Sends what\n# lies there.\n[Unit]\nDescription=Sealed anew\n"
    assert sorted(phrases(list(check_words.in_comments(unit)))) == [
        (1, "what lies there"),
        (2, "lies there"),
        (4, "anew"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "docker-compose.yml",
        "ops/Dockerfile",
        "ops/systemd/strongroom-alerts.service",
    ],
)
def test_the_files_that_an_administrator_edits_are_read(name: str) -> None:
    assert check_words.ROOT / name in check_words.files(check_words.SHIPPED)


def test_the_pages_that_are_checked_have_no_such_phrase() -> None:
    assert list(check_words.problems(check_words.FOLDERS)) == []
