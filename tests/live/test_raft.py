"""A whole server as a source: taken under the shipped policy, checked, kept sealed, read by others."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.container.errors import MissingPiece
from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media
from strongroom.operations.archive.open import open_backup
from strongroom.operations.restore.vault_snapshot import assembled
from strongroom.plugins.conformance.sources import in_a_child
from strongroom.sources.raft import RaftSource
from strongroom.sources.raft.source import PART
from strongroom.state.records import RunState
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.memory import MemoryTarget
from strongroom.vault.client import Vault
from tests.live.openbao import RaftServer
from tests.live.raft_parts import about_of, content_of, rekey, running_server, snapshot_of, source_of
from tests.operations.world import make_world


@pytest.fixture(scope="module")
def server() -> Iterator[RaftServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def source(server: RaftServer, tmp_path: Path) -> RaftSource:
    return source_of(server, tmp_path, "raft-snapshot")


# -- taking ------------------------------------------------------------------


def test_a_listing_takes_one_snapshot_and_yields_its_parts_and_what_they_are(
    server: RaftServer, source: RaftSource
) -> None:
    entries = list(source.list())
    secrets = [secret for secret in source.read(entries) if secret]
    about = about_of(source, entries)

    assert len(secrets) == len(entries) == about.parts + 1
    assert about.parts > 2
    assert [len(content_of(secret)) for secret in secrets[:-2]] == [PART] * (about.parts - 1)
    assert all(len(content_of(secret)) == entry.size for secret, entry in zip(secrets, entries, strict=True))
    assert {secret.current.media for secret in secrets[:-1]} == {Media.BINARY}
    assert len({entry.name for entry in entries}) == len(entries)
    assert {entry.name.split("/")[1] for entry in entries} == {about.snapshot}


def test_what_is_said_about_it_is_what_the_server_says(server: RaftServer, source: RaftSource) -> None:
    about = about_of(source, list(source.list()))
    status = server.call("GET", "sys/seal-status", token="")

    assert (about.cluster_name, about.cluster_id) == (status["cluster_name"], status["cluster_id"])
    assert (about.seal_type, about.shares, about.threshold) == ("shamir", 3, 2)
    assert about.server_version == status["version"]
    assert about.key_term == server.call("GET", "sys/key-status")["data"]["term"]
    assert about.keys_in_words() == f"2 of the 3 unseal keys of generation {about.unseal_generation} (shamir)"


def test_each_listing_is_of_its_own_moment_and_one_is_never_mixed_with_another(
    server: RaftServer, source: RaftSource, tmp_path: Path
) -> None:
    first, second = list(source.list()), list(source.list())

    assert {entry.name for entry in first}.isdisjoint(entry.name for entry in second)
    for entries in (first, second):
        with assembled((found for found in source.read(entries) if found), tmp_path / "work") as whole:
            assert whole.about == about_of(source, entries)


def test_what_is_read_is_what_the_server_gave(
    server: RaftServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(server, tmp_path)
    given: list[bytes] = []
    download = source._vault.download

    class Noting:
        def __enter__(self) -> Iterator[bytes]:
            self.inner = download("sys/storage/raft/snapshot")
            return (given.append(chunk) or chunk for chunk in self.inner.__enter__())

        def __exit__(self, *why: object) -> None:
            self.inner.__exit__(None, None, None)

    monkeypatch.setattr(source._vault, "download", lambda *path: Noting())
    entries = list(source.list())

    assert b"".join(map(content_of, source.read(entries[:-1]))) == b"".join(given)


def test_new_unseal_keys_are_another_generation_and_a_rotated_key_is_not(tmp_path: Path) -> None:
    with RaftServer() as server:
        server.initialise()
        source = source_of(server, tmp_path)
        before = about_of(source, list(source.list()))
        server.call("POST", "sys/rotate", {})
        rotated = about_of(source, list(source.list()))
        rekey(server, shares=3, threshold=2)
        after = about_of(source, list(source.list()))

    assert before.key_term is not None
    assert rotated.key_term == before.key_term + 1
    assert rotated.unseal_generation == before.unseal_generation != ""
    assert after.unseal_generation not in ("", before.unseal_generation)
    assert (after.shares, after.threshold) == (3, 2)


# -- the stage ---------------------------------------------------------------


def test_no_part_lies_in_the_clear_on_the_stage(server: RaftServer, tmp_path: Path) -> None:
    stage = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    stage.prepare()
    source = source_of(server, tmp_path, spool=stage)
    snapshot = b"".join(map(content_of, source.read(list(source.list())[:-1])))

    files = [path for path in (tmp_path / "stage").rglob("*") if path.is_file()]
    assert len(files) > 3
    for start in range(0, len(snapshot) - 64, 4096):
        piece = snapshot[start : start + 64]
        assert not any(piece in path.read_bytes() for path in files[:3])
    assert not any(b"cluster_name" in path.read_bytes() for path in files)


def test_another_process_with_the_same_key_reads_what_was_listed(
    server: RaftServer, source: RaftSource, tmp_path: Path
) -> None:
    stage, key = DirectoryTarget(tmp_path / "stage", name="stage", region="local"), os.urandom(32)
    stage.prepare()
    lister, reader = (source_of(server, tmp_path, spool=stage, key=key) for _ in range(2))
    entries = list(lister.list())
    expected = [content_of(secret) for secret in lister.read(entries)]

    assert in_a_child(lambda: [content_of(found) for found in reader.read(entries)] == expected)
    assert [content_of(found) for found in reader.read(entries[::-1])] == expected[::-1]


def test_an_instance_that_was_used_survives_a_fork(source: RaftSource) -> None:
    list(source.list())
    assert in_a_child(lambda: len(list(source.list())) > 2)
    assert len(list(source.list())) > 2


@pytest.mark.parametrize("harm", ["changed", "swapped", "other key"])
def test_a_part_that_was_changed_on_the_stage_is_refused(
    server: RaftServer, tmp_path: Path, harm: str
) -> None:
    stage, key = MemoryTarget(), os.urandom(32)
    source = source_of(server, tmp_path, spool=stage, key=key)
    entries = list(source.list())
    names = sorted(stage._objects)
    if harm == "changed":
        stage._objects[names[0]] = stage._objects[names[0]][:-1] + b"x"
    elif harm == "swapped":
        stage._objects[names[0]] = stage._objects[names[1]]
    reader = source_of(server, tmp_path, spool=stage, key=os.urandom(32)) if harm == "other key" else source

    with pytest.raises(SourceError, match="changed on the stage") as caught:
        list(reader.read(entries[:1]))
    assert not caught.value.transient


def test_a_part_that_was_listed_and_is_gone_fails_the_run_and_is_not_left_out(
    server: RaftServer, tmp_path: Path
) -> None:
    stage = MemoryTarget()
    source = source_of(server, tmp_path, spool=stage)
    entries = list(source.list())
    stage.delete(sorted(stage._objects)[1])

    with pytest.raises(SourceError, match="no longer on the stage") as caught:
        list(source.read(entries))
    assert not caught.value.transient
    assert list(source.read([ListedSecret(entries[1].name, 0)])) == [None], "nobody listed this"


@pytest.mark.parametrize(
    "name",
    [
        *("", "x", "raft-snapshot/", "raft-snapshot/../x/00000", "secret/app", "a\udcff", "x" * 5_000),
        *("raft-snapshot/20260101T000000Z-00000000/00000", "raft-snapshot/20260101T000000Z-00000000/about"),
        "raft-snapshot/20260101T000000Z-00000000/000000",
    ],
)
def test_an_odd_name_that_is_not_there_reads_as_none(source: RaftSource, name: str) -> None:
    assert list(source.read([ListedSecret(name, 0)])) == [None]


def test_old_snapshots_leave_the_stage_with_the_next_listing_and_young_ones_stay(
    server: RaftServer, tmp_path: Path
) -> None:
    stage, key = MemoryTarget(), os.urandom(32)
    source = source_of(server, tmp_path, spool=stage, key=key)
    other = RaftSource(Vault(server.connection(tmp_path)), name="other", spool=stage, key=key)
    entries, others = list(source.list()), list(other.list())
    for name in list(stage._objects):  # as if that had been long ago
        if name.startswith("snapshots/raft/"):
            stage._objects[name.replace("/20", "/19", 1)] = stage._objects[name]

    again = list(source.list())

    held = {name.split("/")[2] for name in stage._objects if name.startswith("snapshots/raft/")}
    assert held == {entries[0].name.split("/")[1], again[0].name.split("/")[1]}
    assert None not in list(source.read(entries))
    assert None not in list(other.read(others))


def test_a_stage_without_room_is_said_and_nothing_stays_there(server: RaftServer, tmp_path: Path) -> None:
    stage = MemoryTarget(capacity=2 * PART)
    source = source_of(server, tmp_path, spool=stage)

    with pytest.raises(SourceError, match="stage") as caught:
        list(source.list())
    assert "room" in caught.value.hint
    assert stage._objects == {}


# -- as a backup like any other -------------------------------------------------


def test_a_snapshot_is_placed_on_every_target_and_put_together_again_from_each(
    server: RaftServer, tmp_path: Path
) -> None:
    world = make_world(tmp_path)
    source = source_of(server, tmp_path, "raft-snapshot", spool=world.stage, key=world.work_key)
    world = world.with_spec(source="raft", container_bytes=PART)
    services = world.services(sources={"raft": source})

    run = world.back_up(services)

    assert run.state is RunState.DONE
    for target in world.targets.values():
        backup = open_backup(
            target, run.id, identities=[world.identity], trusted=services.signer_fingerprints
        )
        assert backup.manifest.not_contained == source.not_contained()
        assert run.facts["plan"]["pieces"] > 1
        with assembled(backup.secrets(), tmp_path / "work") as whole:
            assert b"".join(whole.chunks())
            assert whole.about.index > 0
    assert list((tmp_path / "work").iterdir()) == []


def test_a_backup_that_lacks_a_part_is_refused(
    server: RaftServer, source: RaftSource, tmp_path: Path
) -> None:
    entries = list(source.list())
    secrets = [secret for secret in source.read(entries) if secret]
    del secrets[1]
    with pytest.raises(MissingPiece, match="part 1"), assembled(secrets, tmp_path / "work"):
        pass


def test_a_snapshot_in_memory_is_bounded_by_its_parts(server: RaftServer, tmp_path: Path) -> None:
    stage = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    stage.prepare()
    source = source_of(server, tmp_path, spool=stage)
    size = len(snapshot_of(server, tmp_path))
    list(source.list())
    tracemalloc.start()
    try:
        entries = list(source.list())
        for _ in source.read(entries):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 3 * PART
    assert peak < 8 * PART
