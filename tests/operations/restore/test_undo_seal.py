"""Whom the way back of a restore is sealed for: the key that opened, and whoever else opens and answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.errors import WrongKey
from strongroom.container.manifest import Manifest, ManifestRecipient
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys import Identity, Opener, Recipient
from strongroom.keys.allof import AllOfIdentity, AllOfRecipient
from strongroom.keys.errors import KeyDisabled, KeyNotFound, KeyServiceUnavailable
from strongroom.keys.hpke import HpkeIdentity, HpkeRecipient
from strongroom.keys.keyfile import KeyFileIdentity, KeyFileRecipient
from strongroom.keys.passphrase import PassphraseIdentity, PassphraseRecipient
from strongroom.operations.archive.open import open_backup, read_manifest
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_recipient
from strongroom.operations.engine.services import Pinned
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions, UndoOptions
from strongroom.operations.restore.undo import UndoSealer
from strongroom.operations.restore.undo_job import submit_undo
from strongroom.operations.rotation.job import submit_rotation
from strongroom.sources.batches import only
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import RunState
from strongroom.targets.single_file import BundleReader
from tests.certified import certified
from tests.operations.backup.test_omitted_recipients import KeyService
from tests.operations.rotation.rotating import Rotated
from tests.operations.world import POLICY, make_world

ALICE, BOB = HpkeIdentity.generate(), HpkeIdentity.generate()
PAPER = KeyFileIdentity(bytes(31) + b"1")
WORDS = "CANARY six words nobody would guess"


def named(name: str, recipient: Recipient) -> ManifestRecipient:
    return ManifestRecipient(
        name=name,
        type=recipient.type,
        fingerprint=recipient.fingerprint,
        post_quantum=recipient.post_quantum,
        describes=recipient.describe(),
    )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Any manifest: each test says who could open its backup."""
    world = make_world(tmp_path_factory.mktemp("world"), pieces=1)
    return read_manifest(world.targets["eu"], world.back_up().id, trusted=None)


def sealed(
    folder: Path, manifest: Manifest, at_hand: Sequence[Opener], others: Iterable[Recipient] = ()
) -> tuple[Path, UndoSealer]:
    given = list(others)
    sealer = UndoSealer(at_hand, certified("recover"), manifest=manifest, others=lambda: given)
    path = folder / f"{len(list(folder.iterdir())):04}.strongroom"
    sealer.seal(path, MemoryStore([only("A", b"CANARY-A")], name="there"), ["A"])
    return path, sealer


def opens(path: Path, *identities: Identity) -> bool:
    with BundleReader(path) as bundle:
        try:
            return len(list(open_backup(bundle, identities=identities, trusted=None).secrets())) == 1
        except WrongKey:
            return False


def names_in(path: Path) -> list[str]:
    with BundleReader(path) as bundle:
        return [one.name for one in read_manifest(bundle, trusted=None).recipients]


def test_who_opened_and_the_other_recipients_open_it_and_nobody_else(
    tmp_path: Path, manifest: Manifest
) -> None:
    of_alice, of_bob = HpkeRecipient(ALICE.public, label="alice"), HpkeRecipient(BOB.public, label="bob")
    could = replace(manifest, recipients=(named("alice", of_alice), named("bob", of_bob)))
    stranger = HpkeIdentity.generate()
    path, sealer = sealed(tmp_path, could, [ALICE, PAPER], [of_alice, of_bob, stranger.recipient()])
    assert (names_in(path), dict(sealer.absent)) == (["alice", "bob"], {})
    assert opens(path, ALICE)
    assert opens(path, BOB)
    assert not opens(path, PAPER)
    assert not opens(path, stranger)


@pytest.mark.parametrize("why", [KeyNotFound, KeyDisabled, KeyServiceUnavailable, ConfigError])
def test_a_recipient_that_is_lost_is_left_out_and_named(
    tmp_path: Path, manifest: Manifest, why: type[StrongroomError]
) -> None:
    lost = KeyService("lost", away=True)
    lost.why = why
    could = replace(manifest, recipients=(named("alice", ALICE.recipient()), named("lost", lost)))
    path, sealer = sealed(tmp_path, could, [ALICE], [lost])
    assert (names_in(path), list(sealer.absent)) == (["alice"], ["lost"])
    assert opens(path, ALICE)


def test_a_passphrase_that_was_typed_opens_beside_a_key_that_fits_by_name(
    tmp_path: Path, manifest: Manifest
) -> None:
    of_words = PassphraseRecipient(WORDS, label="break-glass", iterations=100_000)
    could = replace(manifest, recipients=(named("break-glass", of_words), named("bob", BOB.recipient())))
    path, _ = sealed(tmp_path, could, [PassphraseIdentity(WORDS)], [BOB.recipient()])
    assert names_in(path) == ["break-glass", "bob"]
    assert opens(path, PassphraseIdentity(WORDS))
    assert opens(path, BOB)


def test_what_several_keys_opened_together_needs_several_also_where_a_spare_is_lost(
    tmp_path: Path, manifest: Manifest
) -> None:
    lost = KeyService("lost", away=True)
    both = AllOfRecipient([[ALICE.recipient()], [PAPER.recipient(), lost]], label="both")
    could = replace(manifest, recipients=(named("both", both),))
    together: list[Opener] = [ALICE, PAPER]
    path, sealer = sealed(tmp_path, could, [*together, AllOfIdentity(together)], [both])
    assert "both" in sealer.absent
    assert not opens(path, ALICE)
    assert not opens(path, PAPER)
    assert opens(path, ALICE, PAPER, AllOfIdentity(together))


def test_a_key_that_goes_away_midway_is_left_out_from_then_on(tmp_path: Path, manifest: Manifest) -> None:
    going = KeyService("going")
    could = replace(manifest, recipients=(named("alice", ALICE.recipient()), named("going", going)))
    path, sealer = sealed(tmp_path, could, [ALICE], [going])
    assert names_in(path) == ["alice", "going"]
    going.away = True
    later = tmp_path / "later.strongroom"
    sealer.seal(later, MemoryStore([only("A", b"CANARY-A")], name="there"), ["A"])
    assert (names_in(later), list(sealer.absent)) == (["alice"], ["going"])


def test_with_nobody_to_seal_for_the_reason_is_raised(tmp_path: Path, manifest: Manifest) -> None:
    lost = KeyService("lost", away=True)
    lost.why = KeyDisabled
    could = replace(manifest, recipients=(named("lost", lost),))
    with pytest.raises(KeyDisabled):
        sealed(tmp_path, could, [], [lost])
    with pytest.raises(ConfigError, match="No key is on this host"):
        sealed(tmp_path, could, [])


def test_a_run_seals_for_its_policy_s_recipients_so_that_another_host_s_key_undoes_it(
    tmp_path: Path,
) -> None:
    world = make_world(tmp_path, pieces=1)
    theirs, lost = KeyService("theirs"), KeyService("lost", away=True)
    colleague = KeyFileIdentity(theirs._key.reveal())
    mine = KeyFileRecipient(world.identity._key.reveal(), label="mine")
    recipients = (mine, theirs, lost)
    pins = tuple(pin_recipient(one.label, one) for one in recipients)
    world = world.with_spec(recipients=pins)
    there = MemoryStore(name="there")
    services = world.services(
        pinned=lambda _: Pinned(spec=world.spec, recipients=recipients), destinations={"there": there}
    )
    backup = world.back_up(services).id
    options = RestoreOptions(destination="there")
    run = drive(*submit_restore(services, backup=backup, options=options), services, processes=1)
    assert (run.state, run.error) == (RunState.DONE, None)
    [key] = (tmp_path / "undo" / run.id).glob("*/*.key")
    assert opens(key, colleague)
    elsewhere = world.services(
        pinned=lambda _: Pinned(spec=world.spec, recipients=recipients),
        destinations={"there": there},
        identities=lambda: (colleague,),
    )
    undone = drive(*submit_undo(elsewhere, options=UndoOptions(undoes=run.id)), elsewhere, processes=1)
    assert (undone.state, undone.error, list(there.list())) == (RunState.DONE, None, [])


def test_a_run_that_nobody_could_undo_writes_nothing_and_says_so(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=1)
    backup, there = world.back_up().id, MemoryStore(name="there")

    class OpensOnly:
        """A key that this host may open with, and not seal to."""

        def describe(self) -> str:
            return "a key that opens"

        unwrap = world.identity.unwrap

        def recipient(self) -> Recipient:
            raise KeyDisabled("it may not be sealed to")

    services = world.services(
        identities=lambda: (OpensOnly(),),
        destinations={"there": there},
        pinned=lambda _: Pinned(spec=world.spec),
    )
    options = RestoreOptions(destination="there")
    run = drive(*submit_restore(services, backup=backup, options=options), services, processes=1)
    assert run.state is RunState.FAILED
    assert "could not be undone: it may not be sealed to" in str(run.error)
    assert list(there.list()) == []


def test_it_is_sealed_to_who_can_open_the_backup_now_and_not_to_the_key_before_the_rotation(
    tmp_path: Path,
) -> None:
    rotated = Rotated(tmp_path, pieces=1)
    backup, there = rotated.back_up(), MemoryStore(name="there")
    services = rotated.services(rotated.old, rotated.new, destinations={"there": there})
    assert drive(*submit_rotation(services, policy=POLICY), services, processes=1).state is RunState.DONE
    options = RestoreOptions(destination="there")
    run = drive(*submit_restore(services, backup=backup, options=options), services, processes=1)
    assert run.state is RunState.DONE
    [key] = (tmp_path / "undo" / run.id).glob("*/*.key")
    assert names_in(key) == ["new"]
    assert opens(key, rotated.new)
    assert not opens(key, rotated.old)
