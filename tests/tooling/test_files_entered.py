"""What a backup enters is a page: each file whose functions it calls, and what that file is for."""

from __future__ import annotations

from scripts import files_entered

MOST, RESTORED = 118, 95
"""Files that a reader has to know, to follow one backup into one file; RESTORED, to follow it back."""


def test_the_page_says_what_each_file_that_a_backup_enters_is_for() -> None:
    entered = files_entered.of_a_backup()
    assert len(entered) <= MOST
    assert "strongroom/operations/backup/capture.py" in entered
    assert files_entered.PAGE.read_text() == files_entered.page(entered), (
        "run: python scripts/files_entered.py --write"
    )


def test_a_restore_from_a_file_enters_few_files() -> None:
    assert len(files_entered.of_a_restore()) <= RESTORED


def test_a_row_has_the_first_words_of_the_file() -> None:
    text = files_entered.page(["strongroom/system/lazy.py"])
    assert "| `strongroom/system/lazy.py` | Functions that are named by a string" in text
