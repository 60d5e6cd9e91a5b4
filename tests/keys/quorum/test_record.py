"""The quorum file: what it says is public, and every change to it shows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from strongroom.errors import ConfigError
from strongroom.keys.quorum.record import QuorumFileWrong, decode, load
from tests.keys.quorum.made import NAMES, made


def test_what_was_written_reads_back(tmp_path: Path) -> None:
    quorum, papers = made()
    path = tmp_path / "board.quorum"
    path.write_bytes(quorum.encode())
    path.chmod(0o644)

    assert load(path) == quorum
    text = path.read_text()
    assert all(name in text for name in NAMES)
    assert not any(paper in text or paper.split()[20] in text.split() for paper in papers)


def test_every_changed_byte_is_noticed() -> None:
    data = made()[0].encode()
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 0x10
        try:
            found = decode(bytes(changed))
        except QuorumFileWrong:
            continue
        assert found == made()[0], position  # white space between the members


@pytest.mark.parametrize("size", [0, 1, 100, 1000])
def test_a_cut_file_is_refused(size: int) -> None:
    with pytest.raises(QuorumFileWrong):
        decode(made()[0].encode()[:size])


def test_a_file_that_others_may_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "board.quorum"
    path.write_bytes(made()[0].encode())
    path.chmod(0o664)
    with pytest.raises(ConfigError, match="others may change"):
        load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none")


def test_what_the_format_says_of_the_file_gives_its_check_values() -> None:
    quorum, papers = made()
    file = json.loads(quorum.encode())
    public = hashlib.sha256(quorum.public.raw).digest()
    shares = [
        hashlib.sha256(b"strongroom/v1/quorum-share/" + public + paper.encode()).hexdigest()[:32]
        for paper in papers
    ]
    text = json.dumps(file | {"check": ""}, ensure_ascii=False, separators=(",", ":"))

    assert [custodian["share"] for custodian in file["custodians"]] == shares
    assert file["check"] == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert quorum.id == public.hex()[:16]
