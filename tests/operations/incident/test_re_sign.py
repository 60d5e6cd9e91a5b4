"""What a distrusted signer signed, signed anew where it is the very thing that was recorded."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from strongroom.container.errors import MissingPiece, UntrustedSigner, VerificationFailed, WrongKey
from strongroom.container.manifest import sign_manifest
from strongroom.container.signing import Signer, Signers
from strongroom.model import Depth
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.backup.outcome import sweep_targets
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.procedures.re_sign import re_sign_backup, rests_on
from strongroom.operations.rotation.job import submit_rotation
from strongroom.state.records import CatalogEntry, RunState
from strongroom.targets.errors import TargetUnavailable
from tests.certified import certified
from tests.operations.rotation.rotating import Rotated
from tests.operations.world import POLICY, names_on


class Leaked:
    """A backup, rotated once, whose signers leaked; another signs as both roles now."""

    def __init__(self, folder: Path) -> None:
        self.at = Rotated(folder)
        self.backup = self.at.back_up()
        services = self.at.services(self.at.old, self.at.new)
        run, tickets = submit_rotation(services, policy=POLICY)
        assert drive(run, tickets, services, processes=1).state is RunState.DONE
        self.leaked = self.at.world.signers
        self.old = {role: signer.fingerprint for role, signer in self.leaked.items()}
        installation = self.at.world.installation
        self.new = {role: certified(role, installation=installation) for role in ("control", "recover")}
        signers = {**self.at.world.signers, **self.new}
        self.at.world = replace(self.at.world, signers=signers)
        distrusted = {self.old[role]: "2026-11-26T08:00:00+00:00: leak" for role in ("control", "recover")}
        self.trusted = Signers({installation.fingerprint}, distrusted=distrusted)
        self.at.trusted = self.trusted

    def services(self, **changed: object) -> Services:
        return self.at.services(self.at.old, self.at.new, **changed)

    def entry(self) -> CatalogEntry:
        found = self.services().store.backup(self.backup)
        assert found is not None
        return found


@pytest.fixture
def leaked(tmp_path: Path) -> Leaked:
    return Leaked(tmp_path)


def test_nothing_of_a_distrusted_signer_is_believed(leaked: Leaked) -> None:
    for target in leaked.at.all_targets():
        with pytest.raises(UntrustedSigner, match="distrusted here since"):
            read_manifest(target, leaked.backup, trusted=leaked.trusted)


def test_what_bears_a_signature_is_told(leaked: Leaked) -> None:
    [found] = rests_on(leaked.services(), leaked.entry(), leaked.old["control"])
    assert (found.manifest, found.containers, found.envelopes) == (True, 0, 0)
    [found] = rests_on(leaked.services(), leaked.entry(), leaked.old["recover"])
    assert (found.manifest, found.containers, found.envelopes) == (False, 0, 1)
    containers = len(leaked_manifest(leaked).containers)
    [found] = rests_on(leaked.services(), leaked.entry(), leaked.old["seal"])
    assert found.containers == containers


def leaked_manifest(leaked: Leaked):  # type: ignore[no-untyped-def]
    return read_manifest(leaked.at.world.targets["eu"], leaked.backup, trusted=None)


def test_signed_anew_it_opens_on_every_target_for_the_keys_it_was_rotated_to(leaked: Leaked) -> None:
    before = {target.name: set(names_on(target)) for target in leaked.at.all_targets()}
    done = re_sign_backup(leaked.services(), leaked.entry())
    assert (done.manifest, done.envelopes, done.missed) == (True, 3, {})
    for target in leaked.at.all_targets():
        assert leaked.at.opened(leaked.backup, target, leaked.at.new) == 30
        with pytest.raises(WrongKey):
            leaked.at.opened(leaked.backup, target, leaked.at.old)
        assert before[target.name] < set(names_on(target))  # beside, not in the place of what was there


def test_it_may_be_done_again_and_verifies(leaked: Leaked) -> None:
    re_sign_backup(leaked.services(), leaked.entry())
    names = {target.name: names_on(target) for target in leaked.at.all_targets()}
    again = re_sign_backup(leaked.services(), leaked.entry())
    assert (again.manifest, again.envelopes) == (False, 0)
    assert {target.name: names_on(target) for target in leaked.at.all_targets()} == names
    services = leaked.services()
    run, tickets = submit_verify(services, backup=leaked.backup, depth=Depth.OPENED)
    done = drive(run, tickets, services, processes=1)
    assert (done.state, done.error) == (RunState.DONE, None)


def test_a_process_that_died_before_the_catalog_knew_is_followed_by_one_that_finishes(
    leaked: Leaked, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = leaked.services()
    with monkeypatch.context() as patched:
        patched.setattr(type(services.store), "put_backup", _die)
        with pytest.raises(KeyboardInterrupt):
            re_sign_backup(services, leaked.entry())
    done = re_sign_backup(leaked.services(), leaked.entry())
    assert done.manifest
    content = b"".join(leaked.at.world.targets["eu"].read(f"{manifest_name(leaked.backup)}.r1"))
    assert leaked.entry().manifest_sha256 == hashlib.sha256(content).hexdigest()


def _die(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_forgery_by_the_leaked_key_is_not_vouched_for(leaked: Leaked) -> None:
    """Whoever has the key signs another manifest of the same name; the catalog knows the true one."""
    forged = sign_manifest(
        msgspec.structs.replace(leaked_manifest(leaked), source="elsewhere"), leaked.leaked["control"]
    )
    for target in leaked.at.all_targets():
        target.delete(manifest_name(leaked.backup))
        sha256 = hashlib.sha256(forged).digest()
        target.put(manifest_name(leaked.backup), [forged], size=len(forged), sha256=sha256)
    with pytest.raises(MissingPiece, match="that was recorded"):
        re_sign_backup(leaked.services(), leaked.entry())


def test_a_signer_that_was_never_ours_is_not_vouched_for(leaked: Leaked) -> None:
    leaked.at.trusted = Signers({Signer.generate().fingerprint})
    with pytest.raises(UntrustedSigner):
        re_sign_backup(leaked.services(), leaked.entry())


def test_a_target_that_is_away_is_named_and_repaired_later(
    leaked: Leaked, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = leaked.services()
    us = services.target("us")
    with monkeypatch.context() as patched:
        patched.setattr(us, "stat", _away)
        done = re_sign_backup(services, leaked.entry())
    assert list(done.missed) == ["us"]
    assert {replica.target for replica in services.store.replicas(leaked.backup) if replica.good} == {
        "eu",
        "us",
        "ap",
    }
    with pytest.raises(UntrustedSigner):
        read_manifest(us, leaked.backup, trusted=leaked.trusted)
    run, tickets = submit_repair(services, backup=leaked.backup)
    done_run = drive(run, tickets, services, processes=1)
    assert (done_run.state, done_run.error) == (RunState.DONE, None)
    assert read_manifest(us, leaked.backup, trusted=leaked.trusted).backup_id == leaked.backup
    assert leaked.at.opened(leaked.backup, us, leaked.at.new) == 30


def test_once_it_is_back_the_same_command_brings_it_what_it_lacks(
    leaked: Leaked, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = leaked.services()
    us = services.target("us")
    with monkeypatch.context() as patched:
        patched.setattr(us, "stat", _away)
        re_sign_backup(services, leaked.entry())
    again = re_sign_backup(services, leaked.entry())
    assert (again.manifest, again.envelopes, again.missed) == (True, 1, {})
    assert leaked.at.opened(leaked.backup, us, leaked.at.new) == 30
    third = re_sign_backup(services, leaked.entry())
    assert (third.manifest, third.envelopes) == (False, 0)


def test_one_that_gives_wrong_bytes_is_known_to_be_bad(
    leaked: Leaked, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = leaked.services()
    with monkeypatch.context() as patched:
        patched.setattr(services.target("us"), "put", _lies)
        done = re_sign_backup(services, leaked.entry())
    assert "VerificationFailed" in done.missed["us"]
    assert [one.target for one in services.store.replicas(leaked.backup) if not one.good] == ["us"]


def _lies(*arguments: object, **options: object) -> None:
    raise VerificationFailed("what was read back is not what was written")


def _away(*arguments: object, **options: object) -> None:
    raise TargetUnavailable("the target is away")


def test_an_envelope_that_nobody_at_hand_opens_is_not_vouched_for_until_somebody_does(leaked: Leaked) -> None:
    done = re_sign_backup(leaked.at.services(leaked.at.old), leaked.entry())
    assert set(done.missed) == {"eu", "us", "ap"}
    assert all("WrongKey" in why for why in done.missed.values())
    done = re_sign_backup(leaked.services(), leaked.entry())
    assert (done.envelopes, done.missed) == (3, {})
    assert leaked.at.opened(leaked.backup, leaked.at.all_targets()[0], leaked.at.new) == 30


def test_where_no_target_takes_it_the_record_stays_as_it_is(
    leaked: Leaked, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, before = leaked.services(), leaked.entry()
    with monkeypatch.context() as patched:
        for target in leaked.at.all_targets():
            patched.setattr(target, "put", _away)
        assert set(re_sign_backup(services, before).missed) == {"eu", "us", "ap"}
    assert leaked.entry() == before
    assert re_sign_backup(leaked.services(), leaked.entry()).missed == {}


def test_the_sweep_of_a_run_keeps_what_a_distrusted_signer_names(leaked: Leaked) -> None:
    """Distrust comes after the fact: it must never delete a backup."""
    services = leaked.services()
    run = services.store.load(leaked.backup)
    edited = msgspec.structs.replace(run, facts={k: v for k, v in run.facts.items() if k != "manifest"})
    before = {target.name: names_on(target) for target in leaked.at.all_targets()}
    sweep_targets(edited, services)
    assert {target.name: names_on(target) for target in leaked.at.all_targets()} == before
