"""Disks, files and clocks that an installation stands on, each made wrong for real."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from strongroom.model import SecretBytes
from strongroom.operations.engine.findings import Finding, FindingState
from strongroom.operations.judge import inspection
from strongroom.sources.local import LocalStore
from strongroom.state.engine import StateDatabase
from strongroom.state.errors import StateError
from strongroom.state.store import RunStore

MIB = 1024 * 1024


def said(findings: list[Finding]) -> list[tuple[FindingState, str]]:
    return [(one.state, one.code) for one in findings]


def test_files_that_others_may_use_are_named_each(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    for name, mode in (("one", 0o600), ("two", 0o640)):
        (tmp_path / "keys" / f"{name}.key").write_text("CANARY-key")
        (tmp_path / "keys" / f"{name}.key").chmod(mode)
    found = list(inspection.modes(tmp_path, [tmp_path / "absent"]))
    assert said(found) == [(FindingState.WRONG, "KeyFileExposed")]
    assert "two.key" in found[0].what
    (tmp_path / "keys" / "two.key").chmod(0o600)
    assert said(list(inspection.modes(tmp_path, []))) == [(FindingState.GOOD, "")]
    tmp_path.chmod(0o777)
    assert said(list(inspection.modes(tmp_path, []))) == [(FindingState.WRONG, "KeyFileExposed")]


def test_clocks_that_are_apart_are_told(tmp_path: Path) -> None:
    database = StateDatabase(f"sqlite:///{tmp_path / 'state.db'}")
    for off, state in ((0.0, FindingState.GOOD), (30.0, FindingState.REMARK), (-300.0, FindingState.WRONG)):
        assert [one.state for one in inspection.clock(database, now=time.time() + off)] == [state]
    database.close()


def test_the_record_is_read_whole(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    store = RunStore(url)
    store.event("test", number=1)
    assert said(list(inspection.database(StateDatabase(url), store))) == [(FindingState.GOOD, "")]
    store.close()


def test_a_damaged_page_shows_that_nothing_else_reads(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    store = RunStore(f"sqlite:///{file}")
    store.check()
    store.close()
    with file.open("r+b") as opened:
        opened.seek(-4096, os.SEEK_END)
        opened.write(os.urandom(4096))
    with pytest.raises(StateError):
        list(inspection.database(StateDatabase(f"sqlite:///{file}"), store))
    store.close()


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert said(list(inspection.local_store(LocalStore(tmp_path)))) == [(FindingState.REMARK, "")]
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_lost_is_not_taken_for_one_that_never_was(tmp_path: Path) -> None:
    LocalStore(tmp_path).set("A", SecretBytes(b"CANARY-value"))
    shutil.rmtree(tmp_path / "store")
    assert said(list(inspection.local_store(LocalStore(tmp_path)))) == [(FindingState.WRONG, "SourceError")]
