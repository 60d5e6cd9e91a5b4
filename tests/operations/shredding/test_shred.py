"""Shredding: said only of what nobody opens any more, and refused where others would lose with it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from strongroom.container.errors import MissingPiece
from strongroom.container.wrapping import Stanza
from strongroom.errors import UsageError
from strongroom.keys.destroying.services import FileDestroyer
from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.operations.archive import holds
from strongroom.operations.archive.key_versions import ErasurePolicy
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.archive.shredding import INTENT, Intent, events, shredded_backups, sign, write
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.repair import degraded, submit_repair
from strongroom.operations.backup.verify import newest
from strongroom.operations.engine.layout import index_name
from strongroom.operations.errors import BackupShredded, KeyShared, NotErasable, NothingSelected, OnLegalHold
from strongroom.operations.keys.shred import advance, begin, note_lost
from strongroom.operations.keys.shred_plan import make_plan
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Replica
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.certified import certified
from tests.operations.shredding.worlds import KeyService, Locked, Vault, Waiting
from tests.operations.world import POLICY, names_on


@pytest.fixture
def at(tmp_path: Path) -> Vault:
    return Vault(tmp_path)


def left_of(at: Vault, backup: str) -> list[str]:
    return [name for target in at.world.targets.values() for name in names_on(target) if backup in name]


def test_the_index_that_tells_the_names_of_a_shredded_backup_goes_too(at: Vault) -> None:
    backup = at.back_up()
    at.current = "k2"
    at.back_up()
    for target in at.world.targets.values():
        for told in (backup, "another"):
            name = index_name(backup, told, "0" * 64)
            target.put(name, [b"x"], size=1, sha256=hashlib.sha256(b"x").digest())
    at.shred(backup)
    assert left_of(at, backup) == []


def test_the_key_is_destroyed_nothing_is_left_and_the_proof_says_so(at: Vault) -> None:
    backup = at.back_up()
    at.current = "k2"
    kept = at.back_up()
    found = at.shred(backup)[backup]
    assert (found.judged.verdict, found.judged.reasons) == ("shredded", ())
    assert not (at.folder / "k1").exists()
    assert left_of(at, backup) == []
    assert at.opens(kept, at.world.targets["eu"])
    services = at.services()
    assert services.store.backup(backup) is None
    kinds = [event.kind for event in events(services.store)]
    assert (kinds[0], kinds[1], kinds[-1]) == ("shred.intent", "shred.key", "shred.verdict")
    [now] = at.record().now.values()
    assert (now.fate, now.proven, now.tried) == ("gone", True, "KeyFileUnreadable")


def test_a_key_that_also_opens_what_was_not_asked_for_is_kept_and_those_are_named(at: Vault) -> None:
    first, second = at.back_up(), at.back_up()
    at.current = "k2"
    with pytest.raises(KeyShared, match=second):
        at.shred(first)
    assert (at.folder / "k1").exists()
    assert list(events(at.services().store)) == []
    assert at.opens(first, at.world.targets["eu"])


def test_what_is_rotated_first_is_kept_and_the_other_goes(at: Vault) -> None:
    first, second = at.back_up(), at.back_up()
    at.current = "k2"
    at.rotate(second)
    assert at.shred(first)[first].done
    assert at.opens(second, at.world.targets["eu"])


def test_every_generation_of_a_rotated_backup_has_its_key_destroyed(at: Vault) -> None:
    backup = at.back_up()
    at.current = "k2"
    at.rotate(backup)
    at.current = "k3"
    found = at.shred(backup)[backup]
    assert found.done
    assert not (at.folder / "k1").exists(), "its containers' own envelope was under that"
    assert not (at.folder / "k2").exists()


# -- refusals ------------------------------------------------------------------------------


def test_an_immutable_policy_and_one_on_legal_hold_are_refused(at: Vault) -> None:
    backup = at.back_up()
    at.current = "k2"
    services = at.services()
    immutable = at.scope(policies={POLICY: ErasurePolicy(erasable=False)})
    with pytest.raises(NotErasable, match="immutable"):
        make_plan(services, immutable, policy=POLICY)
    at.hold = "case 4711"
    with pytest.raises(OnLegalHold, match="case 4711"):
        at.shred(backup)
    assert at.opens(backup, at.world.targets["eu"])
    assert list(events(services.store)) == []


def test_a_key_that_the_policy_still_seals_for_is_kept(at: Vault) -> None:
    backup = at.back_up()
    with pytest.raises(KeyShared, match="still seals to 'k1'"):
        at.shred(backup)
    assert (at.folder / "k1").exists()


def test_while_a_backup_is_being_made_no_key_goes(at: Vault) -> None:
    backup = at.back_up()
    submit_backup(at.services(), policy=POLICY)
    at.current = "k2"
    with pytest.raises(KeyShared, match="is going on"):
        at.shred(backup)


def test_a_backup_that_nobody_could_look_at_may_need_the_key(at: Vault) -> None:
    first, second = at.back_up(), at.back_up()
    at.current = "k2"
    at.rotate(second)
    for target in at.world.targets.values():
        target.delete(f"manifests/{second}.json")
    with pytest.raises(KeyShared, match="could not be read"):
        at.shred(first)


def test_what_came_since_the_plan_stops_it(at: Vault) -> None:
    backup = at.back_up()
    at.current = "k2"
    services = at.services()
    plan = make_plan(services, at.scope(), policy=POLICY, backups=[backup])
    at.rotate(backup)
    at.current = "k3"
    with pytest.raises(KeyShared, match="Something changed"):
        begin(services, at.scope(), plan, by="test")
    assert list(events(services.store)) == []


def test_what_is_not_there_cannot_be_asked_for(at: Vault) -> None:
    backup = at.back_up()
    at.current = "k2"
    with pytest.raises(MissingPiece):
        at.shred("20000101T000000Z-00000000")
    with pytest.raises(NothingSelected):
        make_plan(at.services(), at.scope(), policy=POLICY, before="2001-01-01T00:00:00Z")
    at.shred(backup)
    with pytest.raises(NothingSelected):
        at.shred(backup)


def test_an_intent_that_somebody_wrote_into_the_database_destroys_nothing(at: Vault) -> None:
    backup = at.back_up()
    at.current = "k2"
    services = at.services()
    plan = make_plan(services, at.scope(), policy=POLICY, backups=[backup])
    fields = {"shred": "x", "policy": POLICY, "at": "2026-11-26T00:00:00Z", "by": "mallory"}
    intent = Intent(keys=plan.keys, backups=plan.backups, **fields)
    strangers = [at.world.signers["control"], at.world.signers["seal"], certified("recover")]
    for signer in strangers:
        write(services.store, INTENT, sign(intent, signer))
    good = sign(intent, at.world.signers["recover"])
    changed = msgspec.structs.replace(intent, backups=())
    write(services.store, INTENT, msgspec.structs.replace(good, intent=changed))
    services.store.event(INTENT, nonsense=True)
    assert at.go_on() == {}
    assert len(at.record().refused) == 5
    assert (at.folder / "k1").exists()
    assert at.opens(backup, at.world.targets["eu"])


def test_an_edited_catalog_does_not_make_an_immutable_backup_erasable(at: Vault) -> None:
    at.back_up()
    at.current = "k2"
    services = at.services()
    other = at.scope(policies={"other": at.scope().policies[POLICY]})
    [entry] = services.store.backups()
    services.store.put_backup(msgspec.structs.replace(entry, policy="other"))
    with pytest.raises(RecordRefused, match="is one of policy 'weekly'"):
        make_plan(services, other, policy="other")


# -- pending -------------------------------------------------------------------------------


class Away(MemoryTarget):
    """A target that is dead for a time."""

    dead = False

    def list(self, prefix: str = ""):  # type: ignore[no-untyped-def]
        if self.dead:
            raise TargetUnavailable("nobody answers there")
        return super().list(prefix)


def test_with_a_target_away_it_is_pending_and_finished_when_that_is_back(at: Vault) -> None:
    away = Away(name="ap", region="ap")
    at.with_target("ap", away)
    backup = at.back_up()
    at.current = "k2"
    away.dead = True
    found = at.shred(backup)[backup]
    assert (found.judged.verdict, found.judged.until) == ("pending", "")
    assert any("target 'ap': it does not answer" in reason for reason in found.judged.reasons)
    assert not (at.folder / "k1").exists(), "what can be done is done"
    away.dead = False
    found = at.go_on()[backup]
    assert found.done
    assert left_of(at, backup) == []


def test_an_envelope_for_another_key_on_a_target_that_was_away_is_no_surprise(at: Vault) -> None:
    """Generation 2 lies on one target alone, under a key that nobody meant to destroy."""
    away = Away(name="ap", region="ap")
    at.with_target("ap", away)
    backup = at.back_up()
    at.current = "k2"
    at.rotate(backup)
    for name in ("eu", "us"):
        for info in list(at.world.targets[name].list("keys/")):
            at.world.targets[name].delete(info.name)
    at.current = "k3"
    away.dead = True
    found = at.shred(backup)[backup]
    assert not found.done, "what opens on the dead target is not known"
    assert (at.folder / "k2").exists()
    away.dead = False
    at.go_on()
    assert at.record().backups[backup].done
    assert names_on(away) == []


def test_under_a_lock_it_is_shredded_by_its_key(at: Vault) -> None:
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current, locked.locked = "k2", True
    found = at.shred(backup)[backup]
    assert found.done
    assert not at.opens(backup, locked)
    assert names_on(locked), "the locked copy lies there, and nobody opens it"
    assert at.services().store.backup(backup) is None, "it is no backup any more"
    locked.locked = False
    at.go_on()
    assert names_on(locked) == [], "and it goes once the lock has ended"


def test_the_drill_takes_the_newest_backup_that_is_kept(at: Vault) -> None:
    away = Away(name="ap", region="ap")
    at.with_target("ap", away)
    older, newer = at.back_up(), at.back_up()
    at.current = "k2"
    at.rotate(older)
    away.dead = True
    assert not at.shred(newer)[newer].done
    assert newest(at.services(), POLICY) == older


class Hiding(MemoryTarget):
    """Keeps what is deleted where this credential cannot reach it."""

    left: int | None = 3

    def purge(self, prefix: str) -> int | None:
        return self.left if prefix.startswith("keys/") else 0


@pytest.mark.parametrize("hidden", [3, None], ids=["hides some", "does not say"])
def test_what_a_delete_only_hides_is_not_gone_and_opens_for_nobody_all_the_same(
    at: Vault, tmp_path: Path, hidden: int | None
) -> None:
    hiding = Hiding(name="ap", region="ap")
    hiding.left = hidden
    at.with_target("ap", hiding)
    backup = at.back_up()
    at.current = "k2"
    assert at.shred(backup)[backup].done, "its key is proven to be gone"
    files = Vault(tmp_path / "files", key_service=FileDestroyer)
    files.with_target("ap", hiding)
    other = files.back_up()
    files.current = "k2"
    found = files.shred(other)[other]
    assert (found.done, found.targets["ap"].gone, found.targets["eu"].gone) == (False, False, True)


def test_an_envelope_that_was_removed_may_be_hidden_and_open_for_another_key(at: Vault) -> None:
    """Rotations remove generations between the first and the last: a bucket may still have them."""
    hiding = Hiding(name="ap", region="ap")
    at.with_target("ap", hiding)
    backup = at.back_up()
    for at.current in ("k2", "k3"):
        at.rotate(backup)
    at.current = "k1"
    at.rotate(backup)
    at.current = "k2"
    found = at.shred(backup)[backup]
    assert not found.done
    assert any("an older envelope was removed there" in reason for reason in found.judged.reasons)
    hiding.left = 0
    assert at.go_on()[backup].done


def test_an_envelope_that_a_delete_only_hid_still_opens_for_its_key(at: Vault) -> None:
    hiding = Hiding(name="ap", region="ap")
    at.with_target("ap", hiding)
    backup = at.back_up()
    at.current = "k2"
    at.rotate(backup)
    del at.keys["k2"]
    at.current = "k3"
    assert not at.shred(backup)[backup].done
    found = at.go_on()[backup]
    assert (found.done, found.targets["ap"].opens) == (False, ("k2",))
    hiding.left = 0
    assert at.go_on()[backup].done


def test_an_envelope_of_an_unknown_signer_destroys_no_key_and_is_removed(at: Vault) -> None:
    """Whoever may write to a target could name any key in one."""
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    [key] = {info.name.split("/")[1] for info in locked.list("keys/")} or {wrapping_key_of(at, backup)}
    put(locked, f"keys/{key}/00000007", b"not an envelope")
    at.current, locked.locked = "k2", True
    found = at.shred(backup)[backup]
    assert (at.folder / "k2").exists()
    assert not found.done
    assert any("00000007" in reason for reason in found.judged.reasons)
    locked.locked = False
    assert at.go_on()[backup].done
    assert names_on(locked) == []


def wrapping_key_of(at: Vault, backup: str) -> str:
    trusted = at.services().signer_fingerprints
    return read_manifest(at.world.targets["eu"], backup, trusted=trusted).containers[0].wrapping_key


def put(target: MemoryTarget, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def test_a_backup_under_a_key_that_cannot_be_destroyed_is_shredded_by_deletion_alone(at: Vault) -> None:
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current = "k2"
    at.rotate(backup)
    del at.keys["k2"]
    at.current, locked.locked = "k3", True
    plan = make_plan(at.services(), at.scope(), policy=POLICY, backups=[backup])
    assert [key.name for key in plan.keys] == ["k1"]
    found = at.shred(backup)[backup]
    assert (found.done, found.judged.until) == (False, "2027-01-01T00:00:00Z")
    assert any("also opens for k2" in reason for reason in found.judged.reasons)
    locked.locked = False
    assert at.go_on()[backup].done


def test_the_containers_own_envelope_counts_although_a_rotation_replaced_it(at: Vault) -> None:
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current = "k2"
    at.rotate(backup)
    del at.keys["k1"]
    at.current, locked.locked = "k3", True
    found = at.shred(backup)[backup]
    assert not (at.folder / "k2").exists()
    assert (found.done, found.judged.until) == (False, "2027-01-01T00:00:00Z")
    assert any("'k1' opens it, and cannot be destroyed" in reason for reason in found.judged.reasons)


def test_an_empty_medium_in_the_place_of_the_one_that_held_it_proves_nothing(at: Vault) -> None:
    backup = at.back_up()
    at.current = "k2"
    held = at.world.targets["ap"]
    at.with_target("ap", MemoryTarget(name="ap", region="ap"))
    found = at.shred(backup)[backup]
    assert not found.done
    assert any("another medium" in reason for reason in found.judged.reasons)
    at.with_target("ap", held)
    assert at.go_on()[backup].done
    assert left_of(at, backup) == []


def test_a_medium_that_is_said_to_be_destroyed_is_not_believed_while_it_speaks(at: Vault) -> None:
    away = Away(name="ap", region="ap")
    at.with_target("ap", away)
    backup = at.back_up()
    at.current, away.dead = "k2", True
    at.shred(backup)
    services = at.services()
    away.dead = False
    with pytest.raises(UsageError, match="is there, and holds"):
        note_lost(services, at.scope(), "ap", by="ops", reason="burnt")
    away.dead = True
    note_lost(services, at.scope(), "ap", by="ops", reason="burnt")
    found = at.go_on()[backup]
    assert (found.done, found.judged.reasons) == (
        True,
        ("target 'ap' is destroyed, by the word of ops: burnt",),
    )


def test_a_word_about_a_medium_does_not_cover_what_takes_its_name_later(at: Vault) -> None:
    away = Away(name="ap", region="ap")
    at.with_target("ap", away)
    first = at.back_up()
    at.current, away.dead = "k2", True
    at.shred(first)
    note_lost(at.services(), at.scope(), "ap", by="ops", reason="burnt")
    assert at.go_on()[first].done
    away.dead = False
    second = at.back_up()
    at.current, away.dead = "k3", True
    assert not at.shred(second)[second].done


def test_a_key_file_is_never_proven_so_a_lock_keeps_it_pending_until_it_ends(tmp_path: Path) -> None:
    at = Vault(tmp_path, key_service=FileDestroyer)
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current, locked.locked = "k2", True
    found = at.shred(backup)[backup]
    assert (found.judged.verdict, found.judged.until) == ("pending", "2027-01-01T00:00:00Z")
    assert not (tmp_path / "k1").exists()
    locked.locked = False
    assert at.go_on()[backup].done


def test_a_key_service_that_deletes_on_a_day_makes_it_pending_until_then(tmp_path: Path) -> None:
    at = Vault(tmp_path, key_service=Waiting)
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current, locked.locked = "k2", True
    found = at.shred(backup)[backup]
    assert (found.judged.verdict, found.judged.until) == ("pending", Waiting.day)
    key_service = at.keys["k1"]
    assert isinstance(key_service, Waiting)
    key_service.day_comes()
    early = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    found = at.go_on(now=early)[backup]
    assert not found.done, "gone before its day: that may be another account that answers"
    assert at.go_on(now=datetime(2026, 12, 4, tzinfo=UTC).timestamp())[backup].done


def test_a_key_service_that_only_says_so_is_not_believed(tmp_path: Path) -> None:
    class Liar(FileDestroyer):
        def destroy(self, version: int) -> None:
            del version

    at = Vault(tmp_path, key_service=Liar)
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current, locked.locked = "k2", True
    found = at.shred(backup)[backup]
    assert not found.done
    assert any("still has it" in reason and "it still opens" in reason for reason in found.judged.reasons)


def test_another_key_service_of_the_same_name_proves_nothing(at: Vault, tmp_path: Path) -> None:
    """A token or account that never had the key says as truly that it is not there."""
    locked = Locked(name="ap", region="ap")
    at.with_target("ap", locked)
    backup = at.back_up()
    at.current, locked.locked = "k2", True
    at.begin(backup)
    right, at.keys["k1"] = at.keys["k1"], at.key_service("k1", tmp_path / "elsewhere" / "k1")
    found = at.go_on()[backup]
    assert not found.done
    assert any("another key service answered" in reason for reason in found.judged.reasons)
    at.keys["k1"] = right
    assert at.go_on()[backup].done


def test_what_was_seen_of_a_key_while_it_was_there_stays_on_record(at: Vault) -> None:
    backup = at.back_up()
    at.current = "k2"
    services = at.services()
    plan = make_plan(services, at.scope(), policy=POLICY, backups=[backup])
    [key] = plan.keys
    later = msgspec.structs.replace(key, seen=False, where="nowhere")
    for one in (key, later):
        fields = {"shred": "x", "policy": POLICY, "at": "2026-11-26T00:00:00Z", "by": "ops"}
        intent = Intent(keys=(one,), backups=plan.backups, **fields)
        write(services.store, INTENT, sign(intent, at.world.signers["recover"]))
    assert at.record().keys == {key.epoch: key}


def test_with_a_key_service_away_nothing_is_planned_without_it(at: Vault) -> None:
    class Unplugged(KeyService):
        def owns(self, stanza: Stanza) -> bool:
            raise KeyServiceUnavailable(f"nobody knows whose a {stanza.type} stanza is")

    backup = at.back_up()
    at.current = "k2"
    at.keys["k1"] = at.key_service("k1", at.folder / "k1", kind=Unplugged)
    with pytest.raises(KeyServiceUnavailable):
        at.shred(backup)


def test_a_legal_hold_that_comes_later_stops_what_is_left(at: Vault) -> None:
    away = Away(name="ap", region="ap")
    at.with_target("ap", away)
    backup = at.back_up()
    at.current, away.dead = "k2", True
    at.shred(backup)
    away.dead, at.hold = False, "case 4711"
    found = at.go_on()[backup]
    assert (found.done, found.judged.until) == (False, "")
    assert "case 4711" in found.judged.reasons[0]
    assert names_on(away), "nothing was touched"
    at.hold = ""
    assert at.go_on()[backup].done


def test_a_hold_on_one_backup_refuses_it_and_keeps_the_key_that_others_share_with_it(at: Vault) -> None:
    held, other = at.back_up(), at.back_up()
    at.current = "k2"
    services = at.services()
    plan = make_plan(services, at.scope(), policy=POLICY, backups=[held, other])
    begin(services, at.scope(), plan, by="test")
    holds.hold(services, "backup", held, reason="case 4711", by="test")
    found = at.go_on()
    assert (found[held].done, found[other].done) == (False, True)
    assert "case 4711" in found[held].judged.reasons[0]
    assert (at.folder / "k1").exists()
    assert at.opens(held, at.world.targets["eu"])
    with pytest.raises(OnLegalHold, match="case 4711"):
        make_plan(services, at.scope(), policy=POLICY, backups=[held])


def test_what_needs_the_key_since_stops_its_destruction(tmp_path: Path) -> None:
    """Killed after the intent; before it is taken up again, the key is in use once more."""
    at = Vault(tmp_path)
    backup = at.back_up()
    at.current = "k2"
    services = at.services()
    plan = make_plan(services, at.scope(), policy=POLICY, backups=[backup])
    begin(services, at.scope(), plan, by="test")
    at.current = "k1"
    other = at.back_up()
    at.current = "k2"
    found = at.go_on()[backup]
    assert (at.folder / "k1").exists()
    assert at.opens(other, at.world.targets["eu"])
    assert found.done, "nothing of it is left on any target, so it is gone all the same"


# -- nothing brings it back ----------------------------------------------------------------


def test_neither_repair_nor_restore_nor_rotation_brings_it_back(at: Vault) -> None:
    away = Away(name="ap", region="ap")
    at.with_target("ap", away)
    backup = at.back_up()
    at.current, away.dead = "k2", True
    at.shred(backup)
    away.dead = False
    services = at.services()
    services.store.set_replica(
        Replica(backup=backup, target="ap", good=False, verified=None, verified_at=None)
    )
    assert backup not in degraded(services)
    with pytest.raises(BackupShredded, match="is being shredded"):
        submit_repair(services, backup=backup)
    other = at.back_up()
    assert at.rotate().facts["backups"] == [other]
    at.go_on()
    with pytest.raises(BackupShredded, match="was shredded"):
        submit_restore(services, backup=backup, options=RestoreOptions(destination="vault"))
    assert shredded_backups(services.store, at.confirmers) == {backup}
    assert "BackupShredded" in str(at.rotate(backup).error)


def test_a_second_pass_changes_nothing_and_writes_nothing(at: Vault) -> None:
    away = Away(name="ap", region="ap")
    at.with_target("ap", away)
    backup = at.back_up()
    at.current, away.dead = "k2", True
    at.shred(backup)
    services = at.services()
    before = [event.id for event in events(services.store)]
    assert [one.meant.backup for one in advance(services, at.scope())] == [backup]
    assert [event.id for event in events(services.store)] == before
    assert not [event for event in events(services.store) if "app/0" in str(event.detail)], "no secret's name"
