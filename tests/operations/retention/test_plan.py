"""What would be removed where, by what targets show."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from strongroom.container.manifest import (
    ContainerEntry,
    Manifest,
    parse_manifest,
    receipt_of,
    sign_manifest,
)
from strongroom.container.signing import Signer, sign_receipt
from strongroom.model import Depth, ObjectInfo, Selection
from strongroom.operations.archive import holds
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.archive.quarantine import quarantine
from strongroom.operations.archive.shredding import INTENT, Intent, MeantBackup, sign, write
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.layout import containers_prefix, manifest_name
from strongroom.operations.engine.services import ConfiguredPolicy, KeepRules, Services
from strongroom.operations.retention.plan import RetentionPlan, plan_retention
from strongroom.operations.retention.rules import RetentionRule
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.certified import certified
from tests.operations.shredding.worlds import Locked
from tests.operations.world import POLICY, World, made_up, make_world

LATER = 10 * 86_400.0
ONE = KeepRules(last=1, minimum_days=1, minimum_count=1)
"""Rules that keep one backup."""


class Leaving(MemoryTarget):
    """Answers nothing while it is away."""

    away = False

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if self.away:
            raise TargetUnavailable(f"target '{self.name}' does not answer")
        return super().list(prefix)


@pytest.fixture
def world(tmp_path: Path) -> World:
    targets: dict[str, Target] = {name: Leaving(name=name, region=name) for name in ("eu", "us", "ap")}
    return replace(make_world(tmp_path, secrets=made_up(6), pieces=1), keep=ONE).with_targets(targets)


def plan(world: World, services: Services | None = None) -> RetentionPlan:
    return plan_retention(services or world.services(), now=time.time() + LATER)


def rules(found: RetentionPlan) -> dict[str, str]:
    return {one.backup: one.judgement.rule.value for one in found.backups}


def remove(target: Target, prefix: str) -> None:
    for info in list(target.list(prefix)):
        target.delete(info.name)


def overwrite(target: Target, name: str, content: bytes) -> None:
    target.delete(name)
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def sign_again(world: World, backup: str, **changed: str) -> None:
    """Have a backup's manifest say something else on every target."""
    trusted = frozenset({world.installation.fingerprint})
    for target in world.targets.values():
        manifest = parse_manifest(manifest_bytes(target, backup, trusted=trusted), trusted=trusted)
        content = sign_manifest(structs.replace(manifest, **changed), world.signers["control"])
        overwrite(target, manifest_name(backup), content)


def test_a_plan_frees_on_each_target_what_the_backup_takes_there_and_changes_nothing(world: World) -> None:
    old, new = world.back_up().id, world.back_up().id
    before = {
        name: {info.name: info.size for info in target.list()} for name, target in world.targets.items()
    }
    found = plan(world)
    assert rules(found) == {new: "newest-verified", old: "superseded"}
    sizes = {
        name: sum(size for each, size in objects.items() if old in each) for name, objects in before.items()
    }
    assert found.freed() == sizes
    assert all(sizes.values())
    after = {name: {info.name: info.size for info in target.list()} for name, target in world.targets.items()}
    assert after == before


def test_a_target_without_the_successor_keeps_what_it_has(world: World) -> None:
    old, new = world.back_up().id, world.back_up().id
    remove(world.targets["ap"], containers_prefix(new))
    [dropped] = plan(world).dropped
    left = {removal.target: removal.left for removal in dropped.removals}
    assert dropped.backup == old
    assert left == {"eu": "", "us": "", "ap": f"{new} is not whole there"}
    assert plan(world).freed().keys() == {"eu", "us"}


def test_one_good_replica_out_of_three_replaces_nothing(world: World) -> None:
    old, new = world.back_up().id, world.back_up().id
    for name in ("us", "ap"):
        remove(world.targets[name], containers_prefix(new))
    assert rules(plan(world)) == {new: "minimum-count", old: "newest-verified"}


def test_a_target_that_is_away_is_told_and_what_only_it_vouches_for_stays(world: World) -> None:
    old, new = world.back_up().id, world.back_up().id
    world.targets["ap"].away = True  # type: ignore[attr-defined]
    found = plan(world)
    assert found.away.keys() == {"ap"}
    assert found.freed().keys() == {"eu", "us"}
    world.targets["us"].away = True  # type: ignore[attr-defined]
    assert rules(plan(world)) == {new: "minimum-count", old: "minimum-count"}
    world.targets["eu"].away = True  # type: ignore[attr-defined]
    with pytest.raises(TargetUnavailable):
        plan(world)


def test_after_the_database_was_lost_nothing_is_removed_until_it_was_verified(
    world: World, tmp_path: Path
) -> None:
    old, new = world.back_up().id, world.back_up().id
    lost = world.services(store=RunStore(f"sqlite:///{tmp_path / 'new.db'}"))
    assert rules(plan(world, lost)) == {new: "minimum-count", old: "minimum-count"}


@pytest.mark.parametrize("verified", [None, Depth.PRESENT])
def test_a_successor_that_was_only_seen_to_be_there_replaces_nothing(
    verified: Depth | None, world: World
) -> None:
    services = world.services()
    old, new = world.back_up().id, world.back_up().id
    for replica in services.store.replicas(new):
        services.store.set_replica(structs.replace(replica, verified=verified))
    assert rules(plan(world)) == {new: "minimum-count", old: "newest-verified"}


def test_where_verification_has_stopped_nothing_is_removed(world: World) -> None:
    old, new = world.back_up().id, world.back_up().id
    services = world.services()
    later = time.time() + services.read_within + 60
    found = plan_retention(services, now=later)
    assert (rules(found), found.dropped) == ({new: "newest-verified", old: "minimum-count"}, ())
    checks = services.store.checks([new])
    lately = [
        structs.replace(one, checked_at=later - 60)
        for one in checks
        if one.target in ("eu", "us") and one.piece >= 0
    ]
    services.store.put_checks(lately[1:])
    assert plan_retention(services, now=later).dropped == ()
    services.store.put_checks(lately)  # a quorum, each container of it
    assert [one.backup for one in plan_retention(services, now=later).dropped] == [old]


def test_replicas_count_that_are_good_whole_and_read_back_each_by_itself(world: World) -> None:
    services = world.services()
    old, new = world.back_up().id, world.back_up().id
    remove(world.targets["ap"], containers_prefix(new))  # of eu, us and ap the last is not whole now
    for replica in services.store.replicas(new):
        bad = structs.replace(replica, good=False)
        services.store.set_replica(bad if replica.target == "us" else replica)
    assert rules(plan(world)) == {new: "minimum-count", old: "newest-verified"}


def test_a_damaged_manifest_is_kept_and_told_and_replaces_nothing(world: World) -> None:
    old, new = world.back_up().id, world.back_up().id
    for target in world.targets.values():
        overwrite(target, manifest_name(new), b"junk")
    found = {one.backup: one for one in plan(world).backups}
    assert found[new].judgement.rule is RetentionRule.UNREADABLE
    assert found[new].targets == ("eu", "us", "ap")
    assert found[old].judgement.keeps


def test_another_installations_backups_are_kept_though_it_is_trusted_and_replace_none_of_ours(
    world: World, tmp_path: Path
) -> None:
    ours = world.back_up().id
    (tmp_path / "other").mkdir()
    other = replace(
        make_world(tmp_path / "other", secrets=made_up(6), pieces=1), installation=Signer.generate()
    )
    roles = {
        role: certified(role, installation=other.installation) for role in ("control", "seal", "recover")
    }
    theirs = replace(other, signers=roles).with_targets(world.targets).back_up().id
    assert rules(plan(world))[theirs] == "foreign"
    both = frozenset({world.installation.fingerprint, other.installation.fingerprint})
    trusting = plan(world, world.services(signer_fingerprints=both))
    assert rules(trusting) == {theirs: "foreign", ours: "newest-verified"}
    assert other.installation.fingerprint in next(iter(trusting.backups)).judgement.why


def test_backups_of_a_policy_that_is_no_more_are_kept(world: World) -> None:
    old, new = world.back_up().id, world.back_up().id
    renamed = {"other": ConfiguredPolicy(spec=world.spec, keep=ONE)}
    assert rules(plan(world, world.services(retention=lambda: renamed))) == {new: "foreign", old: "foreign"}


def test_a_policy_that_moved_to_other_targets_lets_its_old_ones_be_emptied(world: World) -> None:
    world = replace(world, keep=structs.replace(ONE, last=2))
    old, kept = world.back_up().id, world.back_up().id
    moved: dict[str, Target] = {name: MemoryTarget(name=name, region=name) for name in ("north", "south")}
    now = replace(world.with_targets(moved), targets={**world.targets, **moved})
    new = now.back_up().id
    found = plan(now)
    assert rules(found) == {new: "newest-verified", kept: "last", old: "superseded"}
    [dropped] = found.dropped
    assert dropped.judgement.successor == new
    assert {removal.target: removal.left for removal in dropped.removals} == {"eu": "", "us": "", "ap": ""}


def test_holds_legal_holds_quarantine_and_runs_keep_a_backup(world: World) -> None:
    services = world.services()
    held, aside, _ = world.back_up().id, world.back_up().id, world.back_up().id
    holds.hold(services, "backup", held, reason="case 4711", by="anna")
    quarantine(services, [aside], incident="leak", reason="seen abroad")
    found = {one.backup: one.judgement for one in plan(world).backups}
    assert (found[held].rule, "case 4711" in found[held].why) == (RetentionRule.HOLD, True)
    assert (found[aside].rule, "seen abroad" in found[aside].why) == (RetentionRule.NEEDED, True)
    policy = ConfiguredPolicy(spec=world.spec, keep=ONE, legal_hold="audit of 2027")
    frozen = plan(world, world.services(retention=lambda: {POLICY: policy}))
    assert set(rules(frozen).values()) == {"hold"}
    assert not frozen.dropped


def test_the_newest_backup_in_quarantine_replaces_nothing(world: World) -> None:
    old, new = world.back_up().id, world.back_up().id
    quarantine(world.services(), [new], incident="leak", reason="seen abroad")
    assert rules(plan(world)) == {new: "needed", old: "newest-verified"}


def test_a_policy_that_was_narrowed_keeps_the_newest_backup_of_all_that_it_meant(world: World) -> None:
    first, second = world.back_up().id, world.back_up().id
    narrow = world.with_spec(selection=Selection(tags={"parity": "even"}))
    third, fourth = narrow.back_up().id, narrow.back_up().id
    assert rules(plan(narrow)) == {
        fourth: "newest-verified",
        third: "superseded",
        second: "not-covered",
        first: "superseded",
    }


def test_a_source_that_lost_secrets_keeps_the_newest_backup_that_has_them(world: World) -> None:
    whole = world.back_up().id
    world.source.delete([entry.name for entry in world.source.list()][:3])
    fewer = world.back_up().id
    found = {one.backup: one.judgement for one in plan(world).backups}
    assert (found[whole].rule, found[fewer].keeps) == (RetentionRule.NOT_COVERED, True)
    assert "6 secrets" in found[whole].why


def test_what_is_locked_is_planned_and_said_to_stay_until_then(tmp_path: Path) -> None:
    targets: dict[str, Target] = {name: Locked(name=name, region=name) for name in ("eu", "us")}
    world = replace(make_world(tmp_path, secrets=made_up(6), pieces=1), keep=ONE).with_targets(targets)
    world.back_up()
    world.back_up()
    targets["us"].locked = True  # type: ignore[attr-defined]
    [dropped] = plan(world).dropped
    assert {removal.target: removal.left for removal in dropped.removals} == {
        "eu": "",
        "us": "locked until 2027-01-01T00:00:00Z",
    }


def test_a_backup_that_was_made_while_a_clock_was_put_back_is_no_old_one(world: World) -> None:
    before, made = world.back_up().id, world.back_up().id
    sign_again(world, made, created_at="2020-01-01T00:00:00Z")
    found = {one.backup: one.judgement for one in plan(world).backups}
    assert (found[made].keeps, found[made].rule) == (True, RetentionRule.MISDATED)
    assert before in found[made].why


def test_a_signed_manifest_of_the_future_is_kept_and_replaces_nothing(world: World) -> None:
    ours = world.back_up().id
    made = world.back_up().id
    sign_again(world, made, created_at="2100-01-01T00:00:00Z")
    assert rules(plan(world)) == {made: "misdated", ours: "newest-verified"}


def shred(services: Services, backup: str) -> None:
    """Put on record that a backup is to be shredded."""
    intent = Intent(
        shred="s",
        policy=POLICY,
        at="2026-11-27T00:00:00Z",
        by="anna",
        keys=(),
        backups=(
            MeantBackup(
                backup=backup,
                created_at="2026-11-27T00:00:00Z",
                secrets=30,
                wrapping_keys=(),
                epochs=(),
                stays=(),
                gaps=False,
                targets=(),
                expected=(),
            ),
        ),
    )
    write(services.store, INTENT, sign(intent, services.signers("recover")))


def test_what_is_being_shredded_replaces_nothing_and_is_left_to_that(world: World) -> None:
    old, new = world.back_up().id, world.back_up().id
    shred(world.services(), new)
    assert rules(plan(world)) == {old: "newest-verified"}


def test_a_run_keeps_the_backup_that_it_reads(world: World) -> None:
    services = world.services()
    old, _ = world.back_up().id, world.back_up().id
    submit_verify(services, backup=old, depth=Depth.DIGEST)
    assert rules(plan(world))[old] == "needed"


def test_an_envelope_that_another_backup_needs_too_belongs_to_neither(world: World) -> None:
    backups = [world.back_up().id, world.back_up().id]
    assert all(one.keys for one in plan(world).backups)
    trusted = frozenset({world.installation.fingerprint})
    eu = world.targets["eu"]
    first = parse_manifest(manifest_bytes(eu, backups[0], trusted=trusted), trusted=trusted)
    shared = {entry.wrapping_key for entry in first.containers}
    twin = structs.replace(first, backup_id=f"{backups[0]}-r1", containers=receipted(first, world))
    overwrite(eu, manifest_name(twin.backup_id), sign_manifest(twin, world.signers["control"]))
    keys = {one.backup: set(one.keys) for one in plan(world).backups}
    assert not shared & (keys[backups[0]] | keys[twin.backup_id])
    assert keys[backups[1]]


def receipted(manifest: Manifest, world: World) -> tuple[ContainerEntry, ...]:
    """Return a backup's containers with the receipts of its replacement."""
    twin = structs.replace(manifest, backup_id=f"{manifest.backup_id}-r1")
    return tuple(
        structs.replace(entry, signature=sign_receipt(receipt_of(twin, entry), world.signers["seal"]))
        for entry in twin.containers
    )
