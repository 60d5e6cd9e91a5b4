"""A lost server comes back from a backup of its snapshot, whatever fails meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.signing import CertifiedSigner
from strongroom.errors import SourceError
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Secret
from strongroom.operations.archive.open import open_backup
from strongroom.operations.restore.undo import UndoSealer, undo_into
from strongroom.operations.restore.vault_snapshot import SnapshotRestoreResult, keep
from strongroom.sources.errors import SourceUnavailable
from strongroom.targets.single_file import BundleReader
from strongroom.vault.client import Vault
from strongroom.vault.tokens import TokenFile
from strongroom.vault.transport import VaultConnection
from tests.certified import certified
from tests.live.openbao import Answered, RaftServer
from tests.live.proxy import Answer, FaultyProxy, LoseReply, method
from tests.live.raft_parts import everything, rekey, restored, seeded, shipped, taken

POSTED = method("POST", path="/sys/storage/raft/snapshot")


@pytest.fixture
def server(seeded_raft: RaftServer) -> RaftServer:
    return seeded_raft


# -- the way back ------------------------------------------------------------


def test_a_server_goes_back_to_the_moment_of_its_snapshot(server: RaftServer, tmp_path: Path) -> None:
    before = everything(server)
    secrets = taken(server, tmp_path)
    server.put("secret/", "app/1", {"password": "CANARY-later"})
    server.put("secret/", "later", {"password": "CANARY-later"})
    server.call("DELETE", "secret/metadata/app/2")
    server.unmount("kv1")

    outcome = restored(secrets[::-1], server, tmp_path, "raft-restore", "default")

    assert outcome == SnapshotRestoreResult(sealed=False, matches=True)
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
        assert outcome == SnapshotRestoreResult(sealed=True, matches=False)

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
        assert restored(secrets, server, tmp_path, foreign=True) == SnapshotRestoreResult(
            sealed=False, matches=True
        )
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
    identity, signer = KeyFileIdentity(bytes(32)), certified("recover")
    vault = Vault(server.connection(tmp_path, "raft-restore", "default"))
    undo, sealer = tmp_path / "undo", UndoSealer([identity], signer)

    def keeping() -> None:
        keep(vault, tmp_path / "work", lambda source: undo_into(undo, source, sealer))

    restored(secrets, server, tmp_path, vault=vault, undo=keeping)
    assert everything(server) != before

    kept = [secret for file in sorted(undo.iterdir()) for secret in in_file(file, identity, signer)]
    restored(kept, server, tmp_path)
    assert everything(server) == before


def in_file(file: Path, identity: KeyFileIdentity, signer: CertifiedSigner) -> list[Secret]:
    with BundleReader(file) as bundle:
        trusted = frozenset({signer.certificate.fingerprint})
        return list(open_backup(bundle, identities=[identity], trusted=trusted).secrets())


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


def test_a_refusal_leaves_the_server_as_it_was_and_says_so(
    proxy: FaultyProxy, server: RaftServer, tmp_path: Path
) -> None:
    secrets = taken(server, tmp_path)
    server.put("secret/", "kept", {"password": "CANARY"})
    vault = Vault(replace(server.connection(tmp_path), address=proxy.url))

    for status, kind in ((400, SourceError), (503, SourceUnavailable), (413, SourceError)):
        rule = proxy.fail(Answer(status), when=POSTED)
        with pytest.raises(SourceError, match="did not take the snapshot") as caught:
            restored(secrets, server, tmp_path, vault=vault)
        assert (type(caught.value), rule.met) == (kind, 1)
        assert "server is as it was" in caught.value.hint
        assert server.data("secret/data/kept")["data"] == {"password": "CANARY"}


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
    assert "restore-snapshot" in caught.value.hint


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
        vault = Vault(VaultConnection(address=proxy.url, login=TokenFile(path=folder / "token")))
        with pytest.raises(SourceError, match="mark") as caught:
            restored(secrets, server, tmp_path, vault=vault)
        assert proxy.seen(POSTED) == []
    assert "default" in caught.value.hint
