"""Shredding with real key services: OpenBao's transit, KMS, an HSM; and buckets that keep what is deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.keys import Opener, Recipient
from strongroom.keys.allof import AllOfIdentity, AllOfRecipient
from strongroom.keys.destroying import Destroyer, Fate
from strongroom.keys.destroying.services import FileDestroyer, HsmDestroyer, KmsDestroyer, TransitDestroyer
from strongroom.keys.ec import EcRecipient
from strongroom.keys.errors import KeyDenied
from strongroom.keys.kms import KmsIdentity, KmsRecipient
from strongroom.keys.pkcs11.session import Token
from strongroom.keys.pkcs11.token_keys import (
    HsmAesKey,
    Pkcs11AesIdentity,
    Pkcs11AesRecipient,
    Pkcs11EcIdentity,
    generate_aes,
    generate_ec,
)
from strongroom.keys.transit import TransitIdentity, TransitKey, TransitRecipient
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.errors import KeyShared
from strongroom.targets.s3 import S3Target
from strongroom.vault.client import Vault as Server
from tests.live.keys.test_kms import actions_of, as_user, make_key, of
from tests.live.keys.test_transit import Transit
from tests.live.ministack import MiniStack
from tests.live.moto import Moto
from tests.live.nss import shared
from tests.live.openbao import OpenBao, RaftServer
from tests.live.rotation_kinds import quorum
from tests.live.softhsm import SoftHsm
from tests.live.test_s3_locks import locked_target
from tests.live.vault_parts import shipped
from tests.operations.shredding.worlds import Locked, Vault
from tests.operations.world import names_on

Kept = tuple[Recipient, Opener, Destroyer]


class Site(Vault):
    """A world whose keys lie with real key services; the first one seals."""

    def __init__(self, folder: Path, kept: dict[str, Kept]) -> None:
        super().__init__(folder)
        self.kept: dict[str, Kept] = {}
        self.keys = {}
        for name, one in reversed(kept.items()):
            self.keep(name, one)
        self.openers: Callable[[], Sequence[Opener]] = lambda: [opener for _, opener, _ in self.kept.values()]

    def keep(self, name: str, kept: Kept) -> None:
        """Configure a key, for which the policy seals from now on."""
        self.kept[name] = kept
        self.keys[name] = kept[2]  # type: ignore[assignment]
        self.current = name

    def recipient(self, name: str) -> Recipient:  # type: ignore[override]
        return self.kept[name][0]

    def identities(self) -> Sequence[Opener]:  # type: ignore[override]
        return self.openers()

    def eu(self, backup: str) -> bool:
        return self.opens(backup, self.world.targets["eu"])


# -- transit -------------------------------------------------------------------------------


def of_transit(key: TransitKey, name: str = "bao") -> Kept:
    return TransitRecipient(key, label=name), TransitIdentity(key), TransitDestroyer(name, key)


@pytest.fixture
def transit(openbao: OpenBao, tmp_path: Path) -> Transit:
    return Transit(openbao, tmp_path)


def shredding_key(transit: Transit) -> TransitKey:
    """Return the key under the shipped policies and no others."""
    text = shipped("transit-shred")
    transit.server.policy(f"{transit.mount}-shred", text.replace('"transit/', f'"{transit.mount}/'))
    return transit.key("open", "seal", "shred")


def test_transit_versions_are_trimmed_under_the_shipped_policy_and_later_backups_open(
    transit: Transit, tmp_path: Path
) -> None:
    at = Site(tmp_path, {"bao": of_transit(shredding_key(transit))})
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    first = at.back_up()
    at.rotate(first)
    transit.tell("POST", "keys/strongroom/rotate", {})
    at.rotate(first, renew=True, keep_older=True)
    locked.locked = True
    found = at.shred(first)[first]
    assert found.done, found.judged
    later = at.back_up()
    assert (at.eu(later), at.opens(first, locked)) == (True, False)
    assert names_on(locked), "it lies there, under its lock, and is closed"
    versions = {epoch.version: now for epoch, now in at.record().now.items()}
    assert set(versions) == {1, 2}, "every generation"
    assert versions[2].answer["min_available_version"] == 3
    assert {now.tried for now in versions.values()} == {"KeyVersionTooOld"}


def test_a_transit_version_that_another_backup_needs_is_kept_until_that_is_renewed(
    transit: Transit, tmp_path: Path
) -> None:
    at = Site(tmp_path, {"bao": of_transit(transit.key())})
    first, second = at.back_up(), at.back_up()
    with pytest.raises(KeyShared, match=second):
        at.shred(first)
    transit.tell("POST", "keys/strongroom/rotate", {})
    at.rotate(second, renew=True)
    assert at.shred(first)[first].done
    assert at.eu(second)


def test_trimming_takes_all_older_versions_so_what_is_under_those_is_not_forgotten(
    transit: Transit, tmp_path: Path
) -> None:
    at = Site(tmp_path, {"bao": of_transit(transit.key())})
    older = at.back_up()
    transit.tell("POST", "keys/strongroom/rotate", {})
    newer = at.back_up()
    with pytest.raises(KeyShared, match=older):
        at.shred(newer)
    assert at.shred(older)[older].done
    assert at.eu(newer)


def test_a_version_that_only_refuses_is_not_taken_for_destroyed(transit: Transit) -> None:
    key = transit.key()
    TransitRecipient(key).wrap(bytes(32), context=b"x")
    transit.tell("POST", "keys/strongroom/rotate", {})
    transit.tell("POST", "keys/strongroom/config", {"min_decryption_version": 2})
    assert TransitDestroyer("bao", key).look(1).fate is Fate.THERE


def test_a_key_that_could_be_exported_is_destroyed_and_not_proven(transit: Transit, tmp_path: Path) -> None:
    transit.tell("POST", "keys/strongroom/config", {"exportable": True})
    at = Site(tmp_path, {"bao": of_transit(transit.key())})
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    locked.locked = True
    found = at.shred(backup)[backup]
    assert not at.opens(backup, locked)
    assert (found.done, found.judged.until) == (False, "2027-01-01T00:00:00Z")
    assert any("may have been exported" in reason for reason in found.judged.reasons)


def test_with_vault_sealed_it_is_pending_and_finished_once_it_is_unsealed(
    raft_server: RaftServer, tmp_path: Path
) -> None:
    raft_server.call("POST", "sys/mounts/transit", {"type": "transit"})
    raft_server.call("POST", "transit/keys/k", {"type": "aes256-gcm96"})
    connection = raft_server.connection(tmp_path, patience_seconds=1.0)
    key = TransitKey(Server(connection), key="k", server="keys")
    at = Site(tmp_path, {"bao": of_transit(key)})
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    locked.locked = True
    at.begin(backup)
    raft_server.seal()
    found = at.go_on()[backup]
    assert (found.done, found.judged.until) == (False, "2027-01-01T00:00:00Z")
    assert any("KeyServiceUnavailable" in reason for reason in found.judged.reasons)
    raft_server.unseal()
    assert at.go_on()[backup].done


# -- KMS -----------------------------------------------------------------------------------


def of_kms(server: Moto, arn: str, name: str) -> Kept:
    kms = of(server, arn)
    return KmsRecipient(kms, label=name), KmsIdentity(kms), KmsDestroyer(name, kms)


def test_a_kms_key_is_pending_until_the_day_that_kms_tells_and_then_gone(moto: Moto, tmp_path: Path) -> None:
    at = Site(tmp_path, {name: of_kms(moto, make_key(moto), name) for name in ("k1", "k2")})
    locked = Locked(name="ap", region="ap")
    locked.until = datetime.now(UTC) + timedelta(days=300)
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current, locked.locked = "k2", True
    found = at.shred(backup)[backup]
    day = datetime.fromisoformat(found.judged.until)
    wait = day - datetime.now(UTC)
    assert (found.judged.verdict, timedelta(days=6) < wait <= timedelta(days=7)) == ("pending", True)
    again = at.go_on()[backup]
    assert again.judged == found.judged, "asking again asks for nothing twice"
    moto.reset()  # what the day does: the key is not known any more
    assert not at.go_on(now=(day - timedelta(days=1)).timestamp())[backup].done, "too early to be believed"
    found = at.go_on(now=(day + timedelta(minutes=1)).timestamp())[backup]
    assert found.done, found.judged
    assert not at.opens(backup, locked)


def test_a_key_that_nobody_ever_saw_there_is_not_called_destroyed(moto: Moto, tmp_path: Path) -> None:
    at = Site(tmp_path, {"k1": of_kms(moto, make_key(moto), "k1")})
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    locked.locked = True
    moto.reset()  # or the wrong account
    at.keep("k2", of_kms(moto, make_key(moto), "k2"))
    found = at.shred(backup)[backup]
    assert not found.done
    assert any("was not there before either" in reason for reason in found.judged.reasons)


def test_a_cancelled_deletion_is_asked_for_again(moto: Moto, tmp_path: Path) -> None:
    arn = make_key(moto)
    at = Site(tmp_path, {"k1": of_kms(moto, arn, "k1"), "k2": of_kms(moto, make_key(moto), "k2")})
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current, locked.locked = "k2", True
    at.shred(backup)
    client = moto.client("kms")
    client.cancel_key_deletion(KeyId=arn.rpartition("/")[2])
    assert at.go_on()[backup].judged.verdict == "pending"
    assert client.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_the_shipped_policy_schedules_and_the_one_that_opens_does_not(
    own_moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = make_key(own_moto)
    as_user(own_moto, actions_of("verify"), monkeypatch)
    with pytest.raises(KeyDenied):
        KmsDestroyer("k1", of(own_moto, arn)).destroy(0)
    as_user(own_moto, actions_of("shred"), monkeypatch)
    destroyer = KmsDestroyer("k1", of(own_moto, arn))
    destroyer.destroy(0)
    assert destroyer.look(0).fate is Fate.PENDING


def test_without_a_lock_nothing_waits_for_kms(moto: Moto, tmp_path: Path) -> None:
    at = Site(tmp_path, {name: of_kms(moto, make_key(moto), name) for name in ("k1", "k2")})
    backup = at.back_up()
    at.current = "k2"
    assert at.shred(backup)[backup].done, "every replica is gone"


# -- HSM -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hsm() -> Iterator[SoftHsm]:
    with SoftHsm() as made:
        made.make_token("shred")
        yield made


def of_hsm(hsm: SoftHsm, name: str, version: int, *, aes: bool = False) -> Kept:
    return of_token(hsm.token("shred"), name, version, aes=aes)


def of_token(token: Token, name: str, version: int, *, aes: bool = False) -> Kept:
    if aes:
        key = HsmAesKey(token, key="b", version=version, key_id=generate_aes(token, key="b", version=version))
        recipient: Recipient = Pkcs11AesRecipient(key, label=name)
        opener: Opener = Pkcs11AesIdentity(key)
    else:
        public = generate_ec(token, key="b", version=version)
        recipient = EcRecipient(public, key="b", version=version, label=name)
        opener = Pkcs11EcIdentity(token, key="b", version=version, public=public)
    fingerprint = recipient.fingerprint
    return recipient, opener, HsmDestroyer(name, token, label="b", public=lambda: fingerprint, opener=opener)


@pytest.mark.parametrize(("aes", "base"), [(False, 10), (True, 20)], ids=["ec", "aes"])
def test_an_hsm_key_is_removed_from_the_token_and_its_next_version_stays(
    hsm: SoftHsm, tmp_path: Path, aes: bool, base: int
) -> None:
    at = Site(tmp_path, {f"v{n}": of_hsm(hsm, f"v{n}", base + n, aes=aes) for n in (1, 2)})
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current = "v2"
    later = at.back_up()
    locked.locked = True
    found = at.shred(backup)[backup]
    assert found.done, found.judged
    assert not at.opens(backup, locked)
    assert at.eu(later)
    [now] = at.record().now.values()
    assert (now.answer["keys"], now.tried, now.proven) == (0, "KeyNotFound", True)


def test_an_hsm_leg_beside_a_quorum_shreds_for_all_custodians_together(hsm: SoftHsm, tmp_path: Path) -> None:
    first, second = of_hsm(hsm, "v1", 31), of_hsm(hsm, "v2", 32)
    board = quorum(1)

    def both(kept: Kept, name: str) -> Kept:
        made = AllOfRecipient([[kept[0]], [board.recipient]], label=name)
        return made, AllOfIdentity([kept[1], board.identity]), kept[2]

    at = Site(tmp_path, {"v1": both(first, "v1"), "v2": both(second, "v2")})
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    assert at.opens(backup, locked)
    at.current, locked.locked = "v2", True
    found = at.shred(backup)[backup]
    assert found.done, found.judged
    assert not at.opens(backup, locked)


def test_with_the_token_unplugged_it_is_pending_and_finished_when_it_is_back(
    hsm: SoftHsm, tmp_path: Path
) -> None:
    at = Site(tmp_path, {f"v{n}": of_hsm(hsm, f"v{n}", 40 + n) for n in (1, 2)})
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current, locked.locked = "v2", True
    at.begin(backup)
    plug = hsm.unplug()
    try:
        assert not at.go_on()[backup].done
    finally:
        plug()
    assert at.go_on()[backup].done


def test_a_token_that_does_not_say_where_its_keys_were_made_proves_nothing(tmp_path: Path) -> None:
    """NSS keeps keys in a file, and does not set CKA_LOCAL."""
    at = Site(tmp_path, {f"v{n}": of_token(shared().token(), f"v{n}", 60 + n) for n in (1, 2)})
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current, locked.locked = "v2", True
    found = at.shred(backup)[backup]
    assert not at.opens(backup, locked)
    assert (found.done, found.judged.until) == (False, "2027-01-01T00:00:00Z")
    assert any("was not made in the token" in reason for reason in found.judged.reasons)
    locked.locked = False
    assert at.go_on()[backup].done


# -- buckets: dead for a time, and keeping what is deleted ---------------------------------


def test_a_region_that_is_dead_keeps_it_pending_until_it_is_back(
    own_ministack: MiniStack, transit: Transit, aws_credentials: None, tmp_path: Path
) -> None:
    at = Site(tmp_path, {"bao": of_transit(transit.key())})
    bucket = own_ministack.make_bucket("shred-dead")
    options = own_ministack.options(bucket, max_attempts=1, connect_timeout=2.0)
    at.world = at.world.with_targets(at.world.targets | {"ap": S3Target(options, name="ap")})
    backup = at.back_up()
    assert at.opens(backup, at.world.targets["ap"])
    own_ministack.kill()
    found = at.shred(backup)[backup]
    assert (found.done, found.judged.until) == (False, "")
    assert [name for name, now in found.targets.items() if not now.gone] == ["ap"]
    own_ministack.start()
    assert at.go_on()[backup].done
    left = own_ministack.client().list_objects_v2(Bucket=bucket).get("Contents", [])
    assert {one["Key"].partition("/")[0] for one in left} <= {"ledger"}, "heads of the record alone"


def test_under_a_real_lock_it_is_pending_until_the_lock_ends_and_a_proven_key_does_not_wait(
    ministack: MiniStack, transit: Transit, aws_credentials: None, tmp_path: Path
) -> None:
    target = locked_target(ministack, tmp_path)

    def alone(at: Vault) -> Vault:
        at.world = replace(at.world, targets={"eu": target}).with_spec(
            targets=(pin_target("eu", target),), quorum=1, regions=1, minimum_retention_days=30
        )
        return at

    by_file = alone(Vault(tmp_path / "files", key_service=FileDestroyer))
    backup = by_file.back_up()
    by_file.current = "k2"
    judged = by_file.shred(backup)[backup].judged
    wait = datetime.fromisoformat(judged.until) - datetime.now(UTC)
    assert (judged.verdict, timedelta(days=29) < wait < timedelta(days=31)) == ("pending", True)
    by_key = alone(Site(tmp_path / "keys", {"bao": of_transit(transit.key())}))
    backup = by_key.back_up()
    assert by_key.shred(backup)[backup].done
    assert [name for name in names_on(target) if backup in name], "closed, and there until the lock ends"


def test_hidden_versions_are_purged(ministack: MiniStack, moto: Moto, tmp_path: Path) -> None:
    at = Site(tmp_path, {name: of_kms(moto, make_key(moto), name) for name in ("k1", "k2")})
    bucket = ministack.make_bucket(f"shred-{tmp_path.name.replace('_', '-')[:40].lower()}", versioned=True)
    target = S3Target(ministack.options(bucket), name="eu")
    at.world = replace(at.world, targets={"eu": target}).with_spec(
        targets=(pin_target("eu", target),), quorum=1, regions=1
    )
    backup = at.back_up()
    at.current = "k2"
    client = ministack.client()

    def versions() -> int:
        found = client.list_object_versions(Bucket=bucket)
        return len([one for one in found.get("Versions", ()) if backup in one["Key"]])

    assert versions() > 0
    assert at.shred(backup)[backup].done
    assert versions() == 0
