"""A lost server comes back from a backup of its snapshot; what is not whole or not meant never gets there."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.bundle import BundleReader
from strongroom.container.signing import Signer
from strongroom.errors import (
    ConfirmationRequired,
    FormatError,
    Malformed,
    MissingPiece,
    NotABackup,
    SourceError,
    SourceUnavailable,
    StrongroomError,
    Tampered,
    WouldOverwrite,
)
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Secret, SecretBytes, Version
from strongroom.operations.open import open_backup
from strongroom.operations.snapshot import Outcome, assembled, confirmation, keep, look, restore_snapshot
from strongroom.operations.undo import undo_into
from strongroom.sources.raft.about import About, part_name
from strongroom.sources.raft.spool import PART
from strongroom.vault.client import Vault
from strongroom.vault.connection import Connection
from strongroom.vault.login import TokenFile
from tests.live.openbao import Answered, OpenBao, RaftServer
from tests.live.proxy import Answer, FaultyProxy, LoseReply, method
from tests.live.raft_parts import rekey, shipped, source_of

POSTED = method("POST", path="/sys/storage/raft/snapshot")


def seeded(server: RaftServer) -> None:
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


@pytest.fixture(scope="module")
def server() -> Iterator[RaftServer]:
    with RaftServer() as running:
        running.initialise(shares=3, threshold=2)
        seeded(running)
        shipped(running, "raft-restore")
        yield running


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
) -> Outcome:
    """Put it back, having typed what is asked for."""
    folder.mkdir(exist_ok=True)
    vault = vault or Vault(server.connection(folder, *policies))
    with assembled(secrets, folder / "work") as whole:
        given = {"confirmed": confirmation(look(vault), whole.about)} | options
        return restore_snapshot(whole, vault, **given)  # type: ignore[arg-type]


# -- the way back ------------------------------------------------------------


def test_a_server_goes_back_to_the_moment_of_its_snapshot(server: RaftServer, tmp_path: Path) -> None:
    before = everything(server)
    secrets = taken(server, tmp_path)
    server.put("secret/", "app/1", {"password": "CANARY-later"})
    server.put("secret/", "later", {"password": "CANARY-later"})
    server.call("DELETE", "secret/metadata/app/2")
    server.unmount("kv1")

    outcome = restored(secrets[::-1], server, tmp_path, "raft-restore", "default")

    assert outcome == Outcome(sealed=False, matches=True)
    assert everything(server) == before
    with pytest.raises(Answered):
        server.data("secret/data/later")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_lost_server_comes_back_on_a_new_one_with_the_old_keys(server: RaftServer, tmp_path: Path) -> None:
    before = everything(server)
    secrets = taken(server, tmp_path)
    with RaftServer() as new:
        new.initialise()
        outcome = restored(secrets, new, tmp_path / "new", foreign=True)
        assert outcome == Outcome(sealed=True, matches=False)

        new.kill()  # it expects the number of keys that it was initialised with until it is restarted
        new.start()
        new.keys, new.token = server.keys[1:], server.token
        new.unseal()
        assert everything(new) == before


def test_after_new_unseal_keys_the_old_snapshot_needs_the_old_ones(tmp_path: Path) -> None:
    with RaftServer() as server:
        server.initialise()
        seeded(server)
        before, secrets, old = everything(server), taken(server, tmp_path), server.keys
        rekey(server, shares=1, threshold=1)
        server.put("secret/", "app/1", {"password": "CANARY-later"})

        with pytest.raises(SourceError) as caught:
            restored(secrets, server, tmp_path)
        assert "--foreign-keys" in caught.value.hint
        assert server.data("secret/data/app/1")["data"] == {"password": "CANARY-later"}

        # It goes on with the root key in its memory; the next time it starts, it needs the old keys.
        assert restored(secrets, server, tmp_path, foreign=True) == Outcome(sealed=False, matches=True)
        assert everything(server) == before
        server.kill()
        server.start()
        with pytest.raises(Answered):
            server.unseal()
        server.keys = old
        server.unseal()
        assert everything(server) == before


def test_what_was_there_is_kept_and_brings_it_back(server: RaftServer, tmp_path: Path) -> None:
    secrets = taken(server, tmp_path)
    server.put("secret/", "app/1", {"password": "CANARY-worth keeping"})
    before = everything(server)
    identity, signer = KeyFileIdentity(bytes(32)), Signer.generate()
    vault = Vault(server.connection(tmp_path, "raft-restore", "default"))
    undo = tmp_path / "undo"

    def keeping() -> None:
        keep(vault, tmp_path / "work", lambda source: undo_into(undo, source, [identity], signer))  # type: ignore[arg-type]

    restored(secrets, server, tmp_path, vault=vault, undo=keeping)
    assert everything(server) != before

    kept = [secret for file in sorted(undo.iterdir()) for secret in in_file(file, identity, signer)]
    restored(kept, server, tmp_path)
    assert everything(server) == before


def in_file(file: Path, identity: KeyFileIdentity, signer: Signer) -> list[Secret]:
    with BundleReader(file) as bundle:
        trusted = frozenset({signer.fingerprint})
        return list(open_backup(bundle, identities=[identity], trusted=trusted).secrets())


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
    return Secret(name=name, versions=(Version(number=1, value=SecretBytes(content)),))


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
    without = Secret(name=about.name, versions=(Version(number=1),), type="metadata only")
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
    about = About(**json.loads(value(secrets[-1])))
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


# -- a server or a way between that fails ----------------------------------------


@pytest.fixture
def proxy(server: RaftServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.process.port) as running:
        yield running


def test_a_lost_reply_is_not_taken_for_a_failure(
    proxy: FaultyProxy, server: RaftServer, tmp_path: Path
) -> None:
    before, secrets = everything(server), taken(server, tmp_path)
    server.put("secret/", "later", {"password": "CANARY-later"})
    lost = proxy.fail(LoseReply(), when=POSTED)
    vault = Vault(replace(server.connection(tmp_path), address=proxy.url))

    assert restored(secrets, server, tmp_path, vault=vault).matches
    assert lost.met == 1
    assert everything(server) == before


def test_a_restore_that_never_began_is_not_called_done(
    proxy: FaultyProxy, server: RaftServer, tmp_path: Path
) -> None:
    secrets = taken(server, tmp_path)
    server.put("secret/", "kept", {"password": "CANARY"})
    proxy.fail(Answer(204), when=POSTED)
    vault = Vault(replace(server.connection(tmp_path), address=proxy.url))

    with pytest.raises(SourceUnavailable, match="does not say that it is done"):
        restored(secrets, server, tmp_path, vault=vault, takes_seconds=1.0)
    assert server.data("secret/data/kept")["data"] == {"password": "CANARY"}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Answer(400), SourceError), (Answer(503), SourceUnavailable), (Answer(413), SourceError)],
)
def test_a_refusal_leaves_the_server_as_it_was_and_says_so(
    proxy: FaultyProxy, server: RaftServer, tmp_path: Path, fault: Answer, kind: type[SourceError]
) -> None:
    secrets = taken(server, tmp_path)
    proxy.fail(fault, when=POSTED)
    vault = Vault(replace(server.connection(tmp_path), address=proxy.url))

    with pytest.raises(SourceError, match="did not take the snapshot") as caught:
        restored(secrets, server, tmp_path, vault=vault)
    assert type(caught.value) is kind
    assert "server is as it was" in caught.value.hint


def test_a_standby_redirects_and_the_snapshot_is_sent_again_from_its_start(
    proxy: FaultyProxy, server: RaftServer, tmp_path: Path
) -> None:
    before, secrets = everything(server), taken(server, tmp_path)
    server.put("secret/", "later", {"password": "CANARY-later"})
    active = f"{server.address}/v1/sys/storage/raft/snapshot"
    proxy.fail(Answer(307, {"Location": active}), when=POSTED)
    connection = replace(
        server.connection(tmp_path),
        address=proxy.url,
        redirect_hosts=frozenset({server.address.removeprefix("http://")}),
    )

    assert restored(secrets, server, tmp_path, vault=Vault(connection)).matches
    assert everything(server) == before


# -- rights ------------------------------------------------------------------


def test_without_the_right_nothing_happens_and_the_policy_is_named(
    server: RaftServer, tmp_path: Path
) -> None:
    secrets = taken(server, tmp_path)
    shipped(server, "raft-snapshot")
    with pytest.raises(SourceError, match="may not") as caught:
        restored(secrets, server, tmp_path, "raft-snapshot", "default")
    assert "raft-restore.hcl" in caught.value.hint


def test_a_token_that_cannot_leave_a_mark_is_refused_before_anything_is_sent(
    server: RaftServer, tmp_path: Path
) -> None:
    secrets = taken(server, tmp_path)
    folder = tmp_path / "bare"
    folder.mkdir()
    server.token_file(folder)
    server.policy("look", 'path "auth/token/lookup-self" { capabilities = ["read"] }')
    token = server.new_token("raft-restore", "look", no_default_policy=True)
    (folder / "token").write_text(token)
    with FaultyProxy(server.process.port) as proxy:
        vault = Vault(Connection(address=proxy.url, login=TokenFile(path=folder / "token")))
        with pytest.raises(SourceError, match="mark") as caught:
            restored(secrets, server, tmp_path, vault=vault)
        assert proxy.seen(POSTED) == []
    assert "default" in caught.value.hint
