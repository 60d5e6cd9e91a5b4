"""A file that is sealed anew, at the moment when the new one takes the old one's place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.operations.rotation.single_file import _take_over
from strongroom.system.errors import TargetFull


class Failing:
    """A writer that fails as it completes: before it took the name, or after."""

    def __init__(self, before: Callable[[], object]) -> None:
        self._before = before

    def close(self, *, commit: bool) -> None:
        assert commit
        self._before()
        raise TargetFull("the disk is full")


def test_where_it_fails_before_the_old_file_has_one_name_again(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.sr", tmp_path / "a.sr.superseded"
    path.write_bytes(b"old")
    os.link(path, kept)
    with pytest.raises(TargetFull):
        _take_over(Failing(lambda: None), path, kept)  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["a.sr"]


def test_where_the_new_one_has_the_name_already_the_old_one_is_not_lost(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.sr", tmp_path / "a.sr.superseded"
    path.write_bytes(b"old")
    os.link(path, kept)

    def replaced() -> None:
        (tmp_path / "new").write_bytes(b"new")
        (tmp_path / "new").replace(path)

    with pytest.raises(TargetFull):
        _take_over(Failing(replaced), path, kept)  # type: ignore[arg-type]
    assert (path.read_bytes(), kept.read_bytes()) == (b"new", b"old")
