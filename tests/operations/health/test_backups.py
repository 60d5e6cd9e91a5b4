"""The health of backups, each thing that can be wrong with them provoked, on real parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.container.errors import MissingPiece
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.keys.hpke import HpkeIdentity, HpkeRecipient, Kem
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.passphrase import PassphraseRecipient
from strongroom.model import Depth
from strongroom.operations.archive.quarantine import quarantine
from strongroom.operations.engine.findings import Finding, FindingState, worst_error
from strongroom.operations.engine.integrity import pin_recipient
from strongroom.operations.engine.services import ConfiguredPolicy, Pinned, Services
from strongroom.operations.errors import BackupQuarantined, KeysOutOfPolicy
from strongroom.operations.judge.fact_records import AlertLimits
from strongroom.operations.judge.inspection import check, newest_of, nothing_seen, retained_backups
from strongroom.operations.judge.replicas import ACCESS, CHECKS, ENCRYPTION, INTEGRITY, CheckingMeans
from strongroom.operations.judge.sealed_for import History, judge_ages
from strongroom.operations.keys.health import FAILED, PROVEN, QUARTER, ProofsOnRecord
from strongroom.operations.keys.usage import pinned_key
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import RunStep, StepKind
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget
from tests.operations.archive.test_locks import Bucket
from tests.operations.backup.test_not_verified import Region
from tests.operations.backup.test_repair_and_drill import damage, first_container
from tests.operations.rotation.rotating import Rotated
from tests.operations.rotation.test_rotate import rotate
from tests.operations.world import POLICY, REGIONS, World, made_up, make_world


@pytest.fixture
def regions() -> dict[str, Region]:
    return {name: Region(name=name, region=name) for name in REGIONS}


@pytest.fixture
def world(tmp_path: Path, regions: dict[str, Region]) -> World:
    return make_world(tmp_path).with_targets(regions)


@pytest.fixture
def backup(world: World) -> str:
    return world.back_up().id


class Entered:
    """Takes down what would go on record of replicas."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def __call__(self, target: Target, manifest: Manifest, depth: Depth) -> AbstractContextManager[None]:
        del manifest
        return self._entering(target.name, depth)

    @contextmanager
    def _entering(self, name: str, depth: Depth) -> Iterator[None]:
        try:
            yield
        except StrongroomError as error:
            self.said.append((name, error.code))
            raise
        self.said.append((name, depth.value))


def looked(
    world: World,
    *checks: str,
    depth: Depth = Depth.DIGEST,
    policy: ConfiguredPolicy | None = None,
    services: Services | None = None,
    entered: Entered | None = None,
    every: bool = False,
    caps: dict[str, int] | None = None,
) -> list[Finding]:
    built = services or world.services()
    means = CheckingMeans(
        services=built,
        checks=frozenset(checks or CHECKS),
        depth=depth,
        entering=entered or Entered(),
        identities=tuple(built.identities()),
        caps=caps or {},
    )
    all_of_them = retained_backups(built)
    chosen = all_of_them if every else newest_of(all_of_them)
    return check(means, chosen, {POLICY: policy or ConfiguredPolicy(spec=world.spec)}, every=all_of_them)


def loud(findings: list[Finding]) -> set[tuple[str, str, str, str]]:
    return {
        (one.check, one.state.value, one.target, one.code)
        for one in findings
        if one.state in (FindingState.WRONG, FindingState.UNKNOWN)
    }


def test_a_whole_backup_is_good_in_every_way(world: World, backup: str) -> None:
    entered = Entered()
    found = looked(world, entered=entered)
    assert (loud(found), worst_error(found)) == (set(), None)
    assert {(one.check, one.target) for one in found if one.state is FindingState.GOOD and one.target} == {
        (name, region) for name in CHECKS for region in REGIONS
    }
    assert {one.backup for one in found if one.target} == {backup}
    assert sorted(entered.said) == sorted((name, "digest") for name in REGIONS)
    assert not any("CANARY" in f"{one.what}{one.to_do}" for one in found)


def test_what_is_not_asked_for_is_not_looked_at(world: World, backup: str) -> None:
    entered = Entered()
    found = looked(world, ENCRYPTION, entered=entered)
    assert {one.check for one in found} == {ENCRYPTION}
    assert entered.said == []
    assert {one.check for one in looked(world, ACCESS, entered=entered)} == {ACCESS}
    assert {depth for _, depth in entered.said} == {"present"}


def test_a_lost_container_is_missed_and_not_called_sound(world: World, backup: str) -> None:
    world.targets["us"].delete(first_container(world.targets["us"]))  # type: ignore[arg-type]
    found = looked(world)
    assert {one for one in loud(found) if one[0] != ENCRYPTION} == {
        (ACCESS, "wrong", "us", "MissingPiece"),
        (INTEGRITY, "wrong", "us", "MissingPiece"),
    }
    assert isinstance(worst_error(found), MissingPiece)
    assert any(f"strongroom backups repair {backup}" in one.to_do for one in found)


def test_a_flipped_byte_is_there_and_not_sound(world: World, backup: str) -> None:
    damage(world.targets["ap"], first_container(world.targets["ap"]))  # type: ignore[arg-type]
    entered = Entered()
    found = looked(world, ACCESS, INTEGRITY, entered=entered)
    assert loud(found) == {(INTEGRITY, "wrong", "ap", "Tampered")}
    assert sorted(entered.said) == [("ap", "Tampered"), ("eu", "digest"), ("us", "digest")]


@pytest.mark.parametrize("cut", [True, False])
def test_a_manifest_that_is_cut_or_gone_is_found_though_the_catalog_has_it(
    world: World, backup: str, *, cut: bool
) -> None:
    target, name = world.targets["eu"], f"manifests/{backup}.json"
    assert isinstance(target, MemoryTarget)
    content = target._objects.pop(name)
    if cut:
        target._objects[name] = content[:-40]
    assert loud(looked(world, ACCESS, INTEGRITY)) == {
        (check, "wrong", "eu", "Tampered" if cut else "MissingPiece") for check in (ACCESS, INTEGRITY)
    }


def test_a_target_that_is_away_hides_nobody_and_breaks_no_quorum(
    world: World, backup: str, regions: dict[str, Region]
) -> None:
    regions["us"].away = True
    found = looked(world)
    assert loud(found) == {
        (ACCESS, "wrong", "us", "TargetUnavailable"),
        (INTEGRITY, "could not look", "us", "TargetUnavailable"),
        (ENCRYPTION, "could not look", "us", "TargetUnavailable"),
    }
    assert [
        one.what for one in found if one.check == ACCESS and one.state is FindingState.GOOD and not one.target
    ] == ["2 targets have it whole: the policy's quorum holds"]


def test_a_quorum_that_is_lost_since_is_wrong(world: World, backup: str, regions: dict[str, Region]) -> None:
    regions["us"].away = regions["eu"].away = True
    assert (ACCESS, "wrong", "", "QuorumNotMet") in loud(looked(world, ACCESS))


def test_regions_count_as_the_policy_demands_them_today(world: World, backup: str) -> None:
    wanted = world.with_spec(regions=4)
    assert (ACCESS, "wrong", "", "QuorumNotMet") in loud(looked(wanted, ACCESS))


def test_a_medium_in_the_safe_is_no_alarm(world: World, backup: str, regions: dict[str, Region]) -> None:
    for region in regions.values():
        region.away = True
    found = looked(world, policy=ConfiguredPolicy(spec=world.spec, offline=True))
    assert loud(found) == set()
    assert any("the medium is not mounted" in one.what and one.state is FindingState.REMARK for one in found)


def test_a_lock_has_to_reach_as_far_as_the_policy_keeps(tmp_path: Path) -> None:
    bucket = Bucket()
    plain = make_world(tmp_path)
    world = plain.with_targets({**plain.targets, "us": bucket}).with_spec(minimum_retention_days=400)
    backup = world.back_up().id
    assert loud(looked(world, ACCESS)) == set()
    for name in (f"manifests/{backup}.json", first_container(bucket)):
        until = bucket.until.pop(name)
        assert loud(looked(world, ACCESS)) == {(ACCESS, "wrong", "us", "RunDegraded")}
        bucket.until[name] = until - timedelta(days=30)
        assert loud(looked(world, ACCESS)) == {(ACCESS, "wrong", "us", "RunDegraded")}
        assert loud(looked(world, ACCESS, caps={"us": 300})) == set()
        bucket.until[name] = until


def test_backups_that_only_a_target_knows_are_said(world: World, backup: str, tmp_path: Path) -> None:
    lost = replace(world, database=f"sqlite:///{tmp_path / 'other.db'}")
    lost.back_up()
    found = looked(lost, ACCESS)
    assert loud(found) == set()
    [words] = {one.what for one in found if one.state is FindingState.REMARK}
    assert backup in words


def test_a_backup_that_is_being_made_is_no_strange_one(world: World, backup: str) -> None:
    services = world.services()
    run = services.store.create(world.spec, first=(RunStep(StepKind.PLAN),))
    assert run is not None
    target = world.targets["eu"]
    assert isinstance(target, MemoryTarget)
    target._objects[f"manifests/{run.id}.json"] = b"{}"
    assert [one for one in looked(world, ACCESS, services=services) if one.state is FindingState.REMARK] == []


def test_a_replica_on_a_target_that_is_configured_no_more_is_not_passed_over(
    world: World, backup: str
) -> None:
    services = world.services(targets={name: world.targets[name] for name in ("eu", "us")})
    spec = world.with_spec(targets=world.spec.targets[:2]).spec
    found = looked(world, ACCESS, services=services, policy=ConfiguredPolicy(spec=spec))
    assert loud(found) == set()
    assert [one.what for one in found if one.state is FindingState.REMARK and "on record on ap" in one.what]


def test_where_nothing_is_there_to_look_at_nothing_is_well(world: World) -> None:
    assert loud(nothing_seen(looked(world), ACCESS)) == {(ACCESS, "wrong", "", "MissingPiece")}
    world.back_up()
    assert nothing_seen(looked(world), ACCESS) == []


def test_a_backup_in_quarantine_is_not_sound(world: World, backup: str) -> None:
    services = world.services()
    quarantine(services, [backup], incident="i-1", reason="test")
    found = looked(world, INTEGRITY, services=services)
    assert (INTEGRITY, "wrong", "", BackupQuarantined.__name__) in loud(found)


def test_fewer_secrets_than_before_are_an_alarm_for_the_later_backup_alone(world: World, backup: str) -> None:
    emptier = replace(world, source=MemoryStore(made_up(10), name="vault"))
    fewer = emptier.back_up().id
    found = [one for one in looked(emptier, INTEGRITY, every=True) if one.state is FindingState.WRONG]
    assert [(one.backup, one.code) for one in found] == [(fewer, "RunDegraded")]


def test_a_stranger_signed_it(world: World, backup: str) -> None:
    services = replace(world.services(), signer_fingerprints=frozenset({"sr1:" + "0" * 64}))
    assert {(one[0], one[3]) for one in loud(looked(world, INTEGRITY, services=services))} == {
        (INTEGRITY, "UntrustedSigner")
    }


def test_opened_needs_a_key_and_says_so(world: World, backup: str) -> None:
    assert loud(looked(world, INTEGRITY, depth=Depth.OPENED)) == set()
    sealing, entered = replace(world.services(), identities=tuple), Entered()
    found = loud(looked(world, INTEGRITY, depth=Depth.OPENED, services=sealing, entered=entered))
    assert {(state, code) for _, state, _, code in found} == {("could not look", "NothingOpens")}
    assert {depth for _, depth in entered.said} == {"digest"}
    other = replace(world.services(), identities=lambda: (KeyFileIdentity(b"\7" * 32),))
    found = loud(looked(world, INTEGRITY, depth=Depth.OPENED, services=other))
    assert {(state, code) for _, state, _, code in found} == {("could not look", "WrongKey")}


# -- keys ----------------------------------------------------------------------


def test_other_recipients_than_the_policy_names_now_are_told_both_ways(world: World, backup: str) -> None:
    new = pin_recipient("new", KeyFileIdentity(b"\7" * 32).recipient())
    found = looked(world, ENCRYPTION, policy=ConfiguredPolicy(spec=world.with_spec(recipients=(new,)).spec))
    wrong = [one for one in found if one.state is FindingState.WRONG]
    assert {one.code for one in wrong} == {KeysOutOfPolicy.__name__}
    assert len({one.what for one in wrong}) == 2
    assert {one.target for one in wrong} == {*REGIONS}
    assert all("strongroom keys rotate weekly" in one.to_do for one in wrong)


def test_a_key_service_that_is_away_leaves_a_question_open(world: World, backup: str) -> None:
    spec = world.with_spec(recipients=()).spec
    label = world.identity.recipient().label or pinned_key(world.spec.recipients[0])[:24]
    policy = ConfiguredPolicy(spec=spec, unpinned={label: StrongroomError("the token is not there")})
    assert {state for _, state, _, _ in loud(looked(world, ENCRYPTION, policy=policy))} == {"could not look"}


@pytest.mark.parametrize("kind", ["key.retired", "incident.opened"])
def test_a_key_that_was_done_with_opens_nothing_any_more(world: World, backup: str, kind: str) -> None:
    services = world.services()
    key = pinned_key(world.spec.recipients[0])
    services.store.event(kind, key=key, name="recovery", incident="i-1", version=None)
    found = looked(world, ENCRYPTION, services=services)
    assert {one.code for one in found if one.state is FindingState.WRONG} == {KeysOutOfPolicy.__name__}


def test_an_envelope_that_a_rotation_missed_is_stale_there(tmp_path: Path) -> None:
    at = Rotated(tmp_path)
    at.back_up()
    services = at.services(at.old, at.new)
    rotate(services)
    [missed, *_] = services.targets.values()
    for name in [info.name for info in missed.list("keys/")]:
        missed.delete(name)
    means = CheckingMeans(
        services=services, checks=frozenset({INTEGRITY}), depth=Depth.DIGEST, entering=Entered()
    )
    entries = retained_backups(services)
    spec = services.pinned(entries[0].policy).spec
    found = check(means, entries, {entries[0].policy: ConfiguredPolicy(spec=spec)}, every=entries)
    assert {(one.target, one.code) for one in found if one.state is FindingState.WRONG} == {
        (missed.name, "Stale")
    }


def test_what_a_rotation_takes_away_still_opens_copies_and_that_is_said(tmp_path: Path) -> None:
    at = Rotated(tmp_path)
    at.back_up()
    services = at.services(at.old, at.new)
    rotate(services)
    [words] = {one.what for one in of_rotated(services) if one.state is FindingState.REMARK and one.target}
    assert "by its containers' own envelopes" in words
    key = pinned_key(at.world.spec.recipients[0])
    services.store.event("incident.opened", key=key, incident="i-1", version=None)
    assert {one.code for one in of_rotated(services) if one.target} == {"", KeysOutOfPolicy.__name__}


def of_rotated(services: Services) -> list[Finding]:
    means = CheckingMeans(
        services=services, checks=frozenset({ENCRYPTION}), depth=Depth.DIGEST, entering=Entered()
    )
    entries = retained_backups(services)
    policy = ConfiguredPolicy(spec=services.pinned(entries[0].policy).spec)
    return check(means, entries, {entries[0].policy: policy}, every=entries)


def test_the_weakest_keys_are_named(world: World) -> None:
    classic = HpkeIdentity.generate(kem=Kem.X25519)
    recipients = (
        HpkeRecipient(classic.public, label="classic"),
        PassphraseRecipient("CANARY six words", label="words", iterations=100_000),
    )
    pins = tuple(pin_recipient(one.label, one) for one in recipients)
    weak = world.with_spec(recipients=pins, depth=Depth.DIGEST)
    services = weak.services(pinned=lambda _: Pinned(spec=weak.spec, recipients=recipients))
    weak.back_up(services)
    found = looked(weak, ENCRYPTION, services=services)
    assert loud(found) == set()
    said = " ".join(sorted({one.what for one in found if one.state is FindingState.REMARK and one.target}))
    assert "quantum computer, by classic" in said
    assert "after 100,000 rounds" in said


def test_what_is_plain_holds_no_value_and_is_sealed_where_the_policy_says_so(world: World) -> None:
    plain = world.with_spec(values=False, sealed=False, recipients=(), depth=Depth.DIGEST)
    plain.back_up()
    assert loud(looked(plain)) == set()
    sealed = ConfiguredPolicy(spec=world.with_spec(values=False).spec)
    found = looked(plain, ENCRYPTION, policy=sealed)
    assert {one[3] for one in loud(found)} == {KeysOutOfPolicy.__name__}


def test_a_document_is_read_back_no_deeper_than_it_opens(world: World) -> None:
    plain = world.with_spec(values=False, sealed=False, recipients=(), depth=Depth.DIGEST)
    plain.back_up()
    entered = Entered()
    looked(plain, INTEGRITY, depth=Depth.COMPARED, entered=entered)
    assert {depth for _, depth in entered.said} == {"opened"}


def known(
    used: Mapping[str, float] | None = None,
    proven: Mapping[str, float] | None = None,
    failed: Mapping[str, tuple[float, str]] | None = None,
    retired: Mapping[str, float] | None = None,
) -> History:
    proofs = ProofsOnRecord(proven=proven or {}, failed=failed or {}, retired=retired or {})
    return History(used=used or {}, leaked=(), proofs=proofs)


def test_keys_are_proven_each_quarter_and_rotated_each_year() -> None:
    now = 2e9
    cases = {
        FindingState.GOOD: known(used={"k": now - 100}, proven={"k": now - 50}),
        FindingState.REMARK: known(used={"k": now - 100}),
    }
    for state, history in cases.items():
        [one] = judge_ages(ENCRYPTION, {"k": "key"}, history, AlertLimits(), now=now)
        assert one.state is state
    [retired] = judge_ages(ENCRYPTION, {"k": "key"}, known(retired={"k": now - 50}), AlertLimits(), now=now)
    assert (retired.state, retired.what) == (FindingState.GOOD, "key: retired, so nobody has to prove it")
    for history, code in (
        (known(used={"k": now - QUARTER - 1}), "KeyUnproven"),
        (known(used={"k": now - QUARTER}, proven={"k": now - QUARTER - 1}), "KeyUnproven"),
        (known(proven={"k": now - 50}, failed={"k": (now - 10, "MissingPiece: gone")}), "KeyUnproven"),
        (known(used={"k": now - AlertLimits().key_age - 1}, proven={"k": now}), "KeysOutOfPolicy"),
    ):
        [one] = judge_ages(ENCRYPTION, {"k": "key"}, history, AlertLimits(), now=now)
        assert (one.state, one.code) == (FindingState.WRONG, code)


def test_proofs_and_failures_are_read_from_the_record(world: World, backup: str) -> None:
    services, key = world.services(), pinned_key(world.spec.recipients[0])
    services.store.event(FAILED, key=key, why="WrongKey: test", backup=backup)
    assert any(one.code == "KeyUnproven" for one in looked(world, ENCRYPTION, services=services))
    services.store.event(PROVEN, key=key, how="opened", backup=backup)
    assert loud(looked(world, ENCRYPTION, services=services)) == set()
