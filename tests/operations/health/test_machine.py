"""Files, clocks, stores and a database that an installation stands on, each made wrong for real."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from strongroom.model import SecretBytes
from strongroom.operations.engine.findings import Finding, FindingState
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    HostFacts,
    InstallationFacts,
    WatchedInstallation,
)
from strongroom.operations.judge.host import exposed_files, files, host, host_facts
from strongroom.sources.local import LocalStore
from strongroom.state.store import RunStore


def said(findings: list[Finding]) -> list[tuple[FindingState, str]]:
    return [(one.state, one.code) for one in findings]


def judged(shown: HostFacts, kind: str) -> list[tuple[FindingState, str]]:
    found = host(InstallationFacts(now=time.time(), host=shown), AlertLimits())
    return said([finding for finding in found if finding.kind == kind])


def modes(state_dir: Path, *secrets: Path) -> list[Finding]:
    exposed, private = exposed_files(state_dir, secrets)
    return list(files(HostFacts(name="h", private=private, exposed=exposed)))


def seen(path: Path, store: RunStore | None = None) -> HostFacts:
    watched = WatchedInstallation(
        store=lambda: RunStore(""),
        targets={},
        trusted=frozenset(),
        policies=(),
        state_dir=path,
        local_stores=(LocalStore(path),),
    )
    return host_facts(replace(watched, host="h"), store)


def test_files_that_others_may_use_are_named_each(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    for name, mode in (("one", 0o600), ("two", 0o640)):
        (tmp_path / "keys" / f"{name}.key").write_text("CANARY-key")
        (tmp_path / "keys" / f"{name}.key").chmod(mode)
    [found] = modes(tmp_path, tmp_path / "absent")
    assert (found.state, found.code) == (FindingState.WRONG, "KeyFileExposed")
    assert found.subject == f"{tmp_path / 'keys' / 'two.key'} on h"
    assert f"chmod 600 '{tmp_path / 'keys' / 'two.key'}'" in found.what
    (tmp_path / "keys" / "two.key").chmod(0o600)
    assert said(modes(tmp_path)) == [(FindingState.GOOD, "")]
    tmp_path.chmod(0o777)
    assert said(modes(tmp_path)) == [(FindingState.WRONG, "KeyFileExposed")]


def test_clocks_that_are_apart_are_told(tmp_path: Path) -> None:
    store = RunStore(f"sqlite:///{tmp_path / 'state.db'}")
    store.event("test", number=1)
    shown = seen(tmp_path, store)
    for off, state in ((0.0, FindingState.GOOD), (30.0, FindingState.REMARK), (-300.0, FindingState.WRONG)):
        apart = structs.replace(shown, ahead=(shown.ahead or 0.0) + off)
        assert [one for one, _ in judged(apart, "clock.apart")] == [state]
    store.close()


def test_the_record_is_read_whole(tmp_path: Path) -> None:
    store = RunStore(f"sqlite:///{tmp_path / 'state.db'}")
    store.event("test", number=1)
    assert judged(seen(tmp_path, store), "state.damaged") == [(FindingState.GOOD, "")]
    assert judged(seen(tmp_path), "state.damaged") == []
    store.close()


def test_a_damaged_page_shows_that_nothing_else_reads(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    store = RunStore(f"sqlite:///{file}")
    store.check()
    store.close()
    with file.open("r+b") as opened:
        opened.seek(-4096, os.SEEK_END)
        opened.write(os.urandom(4096))
    assert judged(seen(tmp_path, store), "state.damaged") == [(FindingState.WRONG, "StateError")]
    store.close()


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert judged(seen(tmp_path), "store.unusable") == [(FindingState.REMARK, "")]
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_lost_is_not_taken_for_one_that_never_was(tmp_path: Path) -> None:
    LocalStore(tmp_path).set("A", SecretBytes(b"CANARY-value"))
    assert judged(seen(tmp_path), "store.unusable") == [(FindingState.GOOD, "")]
    shutil.rmtree(tmp_path / "store")
    assert judged(seen(tmp_path), "store.unusable") == [(FindingState.WRONG, "SourceError")]


def test_a_store_that_is_damaged_ends_no_look(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "secrets.db").write_bytes(b"no database at all")
    assert judged(seen(tmp_path), "store.unusable") == [(FindingState.WRONG, "SourceError")]
