"""Snapshots to take apart: real ones, and ones put together wrongly."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from strongroom.model import ListedSecret, Secret
from strongroom.operations.restore.vault_snapshot import (
    SnapshotRestoreResult,
    assembled,
    confirmation,
    look,
    restore_snapshot,
)
from strongroom.sources.raft import RaftSource, SnapshotHeader
from strongroom.sources.raft.source import SpoolStore
from strongroom.targets.memory import MemoryTarget
from strongroom.vault.client import Vault
from tests.live.openbao import OpenBao, RaftServer
from tests.live.vault_parts import shipped as printed

MEMBERS = ("meta.json", "state.bin", "SHA256SUMS", "SHA256SUMS.sealed")


def shipped(server: OpenBao, name: str) -> str:
    """Write a policy that is printed; return its name."""
    server.policy(name, printed(name))
    return name


@contextmanager
def running_server() -> Iterator[RaftServer]:
    """Run a server with a snapshot of some parts, and the policy that takes it."""
    with RaftServer() as running:
        running.initialise(shares=3, threshold=2)
        for number in range(20):
            running.put("secret/", f"app/CANARY-name-{number}", {"password": os.urandom(80_000).hex()})
        shipped(running, "raft-snapshot")
        yield running


def source_of(
    server: OpenBao, folder: Path, *policies: str, spool: SpoolStore | None = None, key: bytes | None = None
) -> RaftSource:
    """Return a source with a token of these policies, or with the root token."""
    folder.mkdir(exist_ok=True)
    vault = Vault(server.connection(folder, *policies))
    return RaftSource(vault, name="raft", spool=spool or MemoryTarget(), key=key or os.urandom(32))


def about_of(source: RaftSource, entries: list[ListedSecret]) -> SnapshotHeader:
    (secret,) = source.read(entries[-1:])
    assert secret is not None
    return msgspec.json.decode(content_of(secret), type=SnapshotHeader)


def content_of(secret: Secret | None) -> bytes:
    assert secret is not None
    assert secret.current.value is not None
    return secret.current.value.reveal()


def snapshot_of(server: OpenBao, folder: Path) -> bytes:
    """Take a snapshot as anybody may."""
    vault = Vault(server.connection(folder))
    with vault.download("sys/storage/raft/snapshot") as chunks:
        return b"".join(chunks)


def members_of(snapshot: bytes) -> dict[str, bytes]:
    """Take a snapshot apart."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(snapshot))) as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
        return {name: content.read() for name, content in found.items() if content is not None}


def packed(members: Iterable[tuple[str, bytes]], *, after: bytes = b"") -> bytes:
    """Put a snapshot together."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(out.getvalue() + after)


def summed(members: dict[str, bytes], **changed: bytes) -> bytes:
    """Put one together with other members, and with sums and sizes that fit them."""
    held = members | {name.replace("_", "."): content for name, content in changed.items()}
    meta = json.loads(held["meta.json"]) | {"Size": len(held["state.bin"])}
    held["meta.json"] = json.dumps(meta).encode()
    sums = (f"{hashlib.sha256(held[name]).hexdigest()}  {name}\n" for name in ("meta.json", "state.bin"))
    held["SHA256SUMS"] = "".join(sums).encode()
    return packed(held.items())


def varint(number: int) -> bytes:
    """Spell a number as protobuf does."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def entry(key: bytes, value: bytes) -> bytes:
    """Return one entry of a state."""
    message = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(value)) + value
    return varint(len(message)) + message


def rekey(server: RaftServer, *, shares: int, threshold: int) -> None:
    """Make new unseal keys."""
    asked = {"secret_shares": shares, "secret_threshold": threshold}
    nonce = server.call("POST", "sys/rotate/root/init", asked)["data"]["nonce"]
    for key in server.keys:
        done = server.call("POST", "sys/rotate/root/update", {"key": key, "nonce": nonce})["data"]
        if done.get("complete"):
            server.keys = done["keys_base64"]
            return


@pytest.fixture(scope="session")
def seeded_raft() -> Iterator[RaftServer]:
    """A server with a few things in it and the policy that puts a snapshot back: leave it unsealed."""
    with RaftServer() as running:
        running.initialise(shares=3, threshold=2)
        seeded(running)
        shipped(running, "raft-restore")
        yield running


# -- a server to bring back --------------------------------------------------------


def seeded(server: RaftServer) -> None:
    """Put a few things into it."""
    for number in range(10):
        for version in range(3):
            server.put("secret/", f"app/{number}", {"password": f"CANARY-{number}-{version}"})
    server.call("DELETE", "secret/data/app/9")
    server.mount("kv1", version=1)
    server.call("POST", "kv1/old", {"password": "CANARY-old"})
    server.call("POST", "sys/mounts/transit", {"type": "transit"})
    server.call("POST", "transit/keys/app", {})
    server.policy("app", 'path "secret/data/app/*" { capabilities = ["read"] }')


def everything(server: RaftServer) -> object:
    """What the API returns of all that was seeded."""
    secrets = [server.call("GET", f"secret/metadata/app/{number}")["data"] for number in range(10)] + [
        server.call("GET", f"secret/data/app/{number}?version={v}")["data"]
        for number in range(9)
        for v in (1, 2, 3)
    ]
    return [
        secrets,
        server.call("GET", "secret/metadata/app?list=true")["data"],
        server.call("GET", "kv1/old")["data"],
        server.call("GET", "transit/keys/app")["data"],
        server.call("GET", "sys/policies/acl/app")["data"],
        server.call("GET", "sys/mounts")["data"].keys(),
    ]


def taken(server: RaftServer, folder: Path) -> list[Secret]:
    """Take a snapshot, as a backup holds it."""
    source = source_of(server, folder)
    return [secret for secret in source.read(list(source.list())) if secret]


def restored(
    secrets: Sequence[Secret],
    server: OpenBao,
    folder: Path,
    *policies: str,
    vault: Vault | None = None,
    **options: object,
) -> SnapshotRestoreResult:
    """Put it back, having typed what is asked for."""
    folder.mkdir(exist_ok=True)
    vault = vault or Vault(server.connection(folder, *policies))
    with assembled(secrets, folder / "work") as whole:
        given = {"confirmed": confirmation(look(vault), whole.about)} | options
        return restore_snapshot(whole, vault, **given)  # type: ignore[arg-type]
