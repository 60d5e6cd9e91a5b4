"""What a backup enters is a page: each file whose functions it calls."""

from __future__ import annotations

from scripts import files_entered

MOST, RESTORED = 121, 96
"""Files that a reader has to know, to follow one backup into one file; RESTORED, to follow it back."""


def test_the_page_names_each_file_that_a_backup_enters() -> None:
    entered = files_entered.of_a_backup()
    assert len(entered) <= MOST
    assert "strongroom/operations/backup/capture.py" in entered
    assert files_entered.PAGE.read_text() == files_entered.page(entered), (
        "run: python scripts/files_entered.py --write"
    )


def test_a_restore_from_a_file_enters_few_files() -> None:
    assert len(files_entered.of_a_restore()) <= RESTORED
