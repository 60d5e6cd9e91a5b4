"""A snapshot that is not whole, or not meant, never gets to the server."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.errors import FormatError, Malformed, MissingPiece, NotABackup, Tampered
from strongroom.errors import SourceError, StrongroomError
from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.operations.errors import ConfirmationRequired
from strongroom.operations.restore.vault_snapshot import assembled
from strongroom.sources.raft.snapshot import SnapshotHeader, part_name
from strongroom.sources.raft.source import PART
from strongroom.system.errors import WouldOverwrite
from strongroom.vault.client import Vault
from tests.live.openbao import RaftServer
from tests.live.proxy import FaultyProxy, method
from tests.live.raft_parts import restored, taken

POSTED = method("POST", path="/sys/storage/raft/snapshot")


@pytest.fixture
def server(seeded_raft: RaftServer) -> RaftServer:
    return seeded_raft


# -- not whole: nothing is sent ------------------------------------------------


def remade(
    secrets: Sequence[Secret], change: Callable[[bytes], bytes], *, honest: bool = False
) -> list[Secret]:
    """Change the snapshot, cut it again, and, to be cunning, say sums that fit."""
    about = json.loads(value(secrets[-1]))
    content = change(b"".join(value(secret) for secret in secrets[:-1]))
    if not honest:
        about |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    parts = [content[start : start + PART] for start in range(0, len(content), PART)] or [b""]
    about["parts"] = len(parts)
    found = [with_value(part_name(about["snapshot"], number), part) for number, part in enumerate(parts)]
    return [*found, with_value(secrets[-1].name, json.dumps(about).encode())]


def value(secret: Secret) -> bytes:
    assert secret.current.value is not None
    return secret.current.value.reveal()


def with_value(name: str, content: bytes) -> Secret:
    return Secret(name=name, versions=(SecretVersion(number=1, value=SecretBytes(content)),))


def flip(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


def repacked(content: bytes) -> bytes:
    """The same snapshot, compressed anew: whole, and not the one that was taken."""
    return gzip.compress(gzip.decompress(content), compresslevel=1)


@pytest.mark.parametrize("honest", [True, False], ids=["sums of before", "sums that fit"])
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[: len(content) // 2],
        flip,
        lambda content: b"",
        lambda content: gzip.compress(b"x"),
    ],
    ids=["cut", "flipped", "empty", "something else"],
)
def test_a_snapshot_that_is_not_whole_is_refused_before_anything_is_sent(
    server: RaftServer, tmp_path: Path, change: Callable[[bytes], bytes], honest: bool
) -> None:
    secrets = remade(taken(server, tmp_path), change, honest=honest)
    with FaultyProxy(server.process.port) as proxy:
        vault = Vault(replace(server.connection(tmp_path), address=proxy.url))
        with pytest.raises(FormatError):
            restored(secrets, server, tmp_path, vault=vault)
        assert proxy.seen(method("POST")) == []


def test_one_that_was_taken_apart_and_put_together_is_not_the_one_that_was_taken(
    server: RaftServer, tmp_path: Path
) -> None:
    secrets = remade(taken(server, tmp_path), repacked, honest=True)
    with pytest.raises(Tampered, match="not the snapshot"), assembled(secrets, tmp_path / "work"):
        pass


@pytest.mark.parametrize("field", ["index", "term", "entries", "unseal_generation"])
def test_what_is_said_about_it_has_to_be_true(server: RaftServer, tmp_path: Path, field: str) -> None:
    *parts, about = taken(server, tmp_path)
    said = json.loads(value(about))
    said[field] = "00ff00ff00ff00ff" if field == "unseal_generation" else said[field] + 1
    told = with_value(about.name, json.dumps(said).encode())
    with pytest.raises(Tampered, match="not the snapshot"), assembled([*parts, told], tmp_path / "work"):
        pass


def test_a_backup_of_something_else_is_no_snapshot(server: RaftServer, tmp_path: Path) -> None:
    *parts, about = taken(server, tmp_path)
    other = taken(server, tmp_path)
    without = Secret(name=about.name, versions=(SecretVersion(number=1),), type="metadata only")
    unlike = with_value(about.name, b"{}")
    cases: list[tuple[list[Secret], type[StrongroomError]]] = [
        ([with_value("app/password", b"CANARY")], NotABackup),
        ([], NotABackup),
        (parts, NotABackup),
        ([without], NotABackup),
        ([*parts, unlike], Malformed),
        ([*parts, about, *other], Malformed),
        ([*parts, with_value(about.name, value(other[-1]))], Malformed),
        ([*parts[1:], about], MissingPiece),
    ]
    for secrets, kind in cases:
        with pytest.raises(kind), assembled(secrets, tmp_path / "work"):
            pass
    assert list((tmp_path / "work").iterdir()) == []


# -- not meant: nothing is sent --------------------------------------------------


@pytest.mark.parametrize("typed", ["", "yes", "y", "CLUSTER", "CLUSTER@0", "other@INDEX"])
def test_nothing_is_sent_before_cluster_and_moment_were_typed(
    server: RaftServer, tmp_path: Path, typed: str
) -> None:
    secrets = taken(server, tmp_path)
    about = SnapshotHeader(**json.loads(value(secrets[-1])))
    typed = typed.replace("CLUSTER", about.cluster_name).replace("INDEX", str(about.index))
    undone: list[str] = []
    with FaultyProxy(server.process.port) as proxy:
        vault = Vault(replace(server.connection(tmp_path), address=proxy.url))
        with pytest.raises(ConfirmationRequired) as caught:
            restored(
                secrets, server, tmp_path, vault=vault, confirmed=typed, undo=lambda: undone.append("kept")
            )
        assert proxy.seen(method("POST")) == []
    assert about.cluster_name in caught.value.message
    assert "--force" not in caught.value.hint
    assert undone == []


def test_another_clusters_snapshot_has_to_be_meant(server: RaftServer, tmp_path: Path) -> None:
    secrets = taken(server, tmp_path)
    with RaftServer() as new:
        new.initialise()
        with pytest.raises(WouldOverwrite) as caught:
            restored(secrets, new, tmp_path / "new")
        new.put("secret/", "still", {"there": "CANARY"})
    assert "2 of the 3 unseal keys of generation" in caught.value.hint


def test_without_a_way_back_nothing_is_sent(server: RaftServer, tmp_path: Path) -> None:
    def failing() -> None:
        raise SourceError("no room")

    with FaultyProxy(server.process.port) as proxy:
        vault = Vault(replace(server.connection(tmp_path), address=proxy.url))
        with pytest.raises(SourceError, match="no room"):
            restored(taken(server, tmp_path), server, tmp_path, vault=vault, undo=failing)
        assert proxy.seen(method("POST")) == []


def test_a_sealed_server_takes_none(server: RaftServer, tmp_path: Path) -> None:
    secrets = taken(server, tmp_path)
    server.seal()
    try:
        with pytest.raises(SourceError, match="sealed"):
            restored(secrets, server, tmp_path)
    finally:
        server.unseal()
