"""What a file is taken for when its first bytes are cut or changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.cli.shared.opening import kind_of
from strongroom.container.kinds import FileKind, sniff
from tests.vectors.vector import parse, stored

CONTAINER = parse(stored()["container-keyfile"]).body


@pytest.mark.parametrize("size", range(8))
def test_a_file_cut_within_its_first_bytes_is_still_one_of_ours(size: int) -> None:
    """It was "not a backup", where the format says Truncated."""
    assert sniff(CONTAINER[:size]) in {FileKind.CONTAINER, FileKind.BUNDLE}


def test_a_container_with_a_changed_magic_is_read_as_a_container(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(b"X" + CONTAINER[1:])
    assert kind_of(path) is FileKind.CONTAINER
    path.write_bytes(b"X" * 300)
    assert kind_of(path) is FileKind.UNKNOWN
