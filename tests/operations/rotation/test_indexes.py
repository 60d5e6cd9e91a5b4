"""Rotation and the indexes of names: afterwards they open for the new key, and for the old one no more."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from strongroom.container.name_index import IndexHead, write_name_index
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import read_outer
from strongroom.container.wrapping import Recipient, WrappingKey
from strongroom.keys import Identity
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.operations.archive.envelopes import KEYS
from strongroom.operations.archive.find import SecretQuery
from strongroom.operations.archive.history import NameIndexes
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.archive.removal import remove_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.layout import INDEXES, index_name
from strongroom.operations.engine.services import Pinned, Services
from strongroom.operations.rotation.job import results
from strongroom.sources import SecretChange
from strongroom.state.records import RunState
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from tests.operations.rotation.rotating import Rotated
from tests.operations.rotation.test_rotate import rotate


@pytest.fixture
def at(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


def back_up(at: Rotated, *, index: Sequence[Recipient] = ()) -> str:
    """Make a backup for the old key, with an index for these."""
    recipient = at.old.recipient()
    pinned = Pinned(
        spec=at.world.spec, recipients=(recipient,), index_recipients=tuple(index) or (recipient,)
    )
    run = at.world.back_up(at.world.services(pinned=lambda _: pinned))
    assert run.error is None
    return run.id


def change(at: Rotated, name: str) -> None:
    value = SecretBytes(b"CANARY-NEW")
    at.world.source.write(
        [
            SecretChange(
                secret=Secret(name=name, versions=(SecretVersion(number=1, value=value),)), expected=None
            )
        ]
    )


def nights(at: Rotated, count: int = 3, *, index: Sequence[Recipient] = ()) -> list[str]:
    made = []
    for night in range(count):
        change(at, f"new/{night}")
        made.append(back_up(at, index=index))
    return made


def services(
    at: Rotated, *identities: Identity, index: Sequence[Recipient] = (), **changed: object
) -> Services:
    """Return a process whose policy names the new key, for values and for names, or others for these."""
    return at.services(*identities, index=tuple(index) or (at.recipient,), **changed)


class Found:
    """What a key finds in the indexes of a target alone."""

    def __init__(self, at: Rotated, key: Identity, target: str = "eu") -> None:
        place, self.told = at.world.targets[target], dict[str, str]()
        manifests = {
            backup: read_manifest(place, backup, trusted=at.trusted)
            for backup in (info.name[10:-5] for info in place.list("manifests/"))
        }
        indexes = NameIndexes(
            {target: place}, (key,), told=lambda name, error: self.told.update({name: error.code})
        )
        periods, self.backups = indexes.search(SecretQuery(), manifests, trusted=at.trusted)
        self.names = {period.facts.name for period in periods}


def test_the_new_key_finds_in_every_index_and_the_old_one_in_none(at: Rotated) -> None:
    made = nights(at)
    assert Found(at, at.old).backups == set(made)
    run = rotate(services(at, at.old, at.new))
    assert run.state is RunState.DONE, run.error
    for target in at.world.targets:
        new, old = Found(at, at.new, target), Found(at, at.old, target)
        assert new.backups == set(made)
        assert "new/2" in new.names
        assert (old.backups, old.names, set(old.told.values())) == (frozenset(), set(), {"WrongKey"})


def test_what_was_rotated_counts_the_keys_of_the_indexes(at: Rotated) -> None:
    made = nights(at)
    own = services(at, at.old, at.new)
    told = results(own.store, rotate(own).id)
    assert [(one["backup"], len(one["indexes"])) for one in told] == [(name, 1) for name in made]
    assert all(key["made"] and key["opened_by"] for one in told for key in one["indexes"])
    again = results(own.store, rotate(own).id)
    assert not any(key["made"] for one in again for key in one["indexes"])


def test_an_index_whose_backup_is_gone_is_rotated_with_the_next_that_needs_it(at: Rotated) -> None:
    made = nights(at)
    for gone in made[:2]:
        for target in at.world.targets.values():
            remove_backup(target, gone, (), trusted=at.trusted)
            at.services().store.drop_replica(gone, target.name)
    assert rotate(services(at, at.old, at.new)).state is RunState.DONE
    assert Found(at, at.new).backups == {made[2]}
    assert Found(at, at.old).backups == frozenset()


def test_names_alone_are_re_wrapped_for_who_may_learn_names_and_for_nobody_else(at: Rotated) -> None:
    operators, next_operators = KeyFileIdentity(b"\1" * 32), KeyFileIdentity(b"\2" * 32)
    made = nights(at, index=[operators.recipient()])
    own = services(at, at.old, at.new, operators, index=[next_operators.recipient()])
    assert rotate(own).state is RunState.DONE
    assert Found(at, next_operators).backups == set(made)
    for key in (at.old, at.new, operators):
        assert Found(at, key).backups == frozenset()
    assert at.opened(made[0], at.world.targets["eu"], at.new) == 31


def test_an_index_that_no_key_here_opens_leaves_the_backups_rotated_and_is_said(at: Rotated) -> None:
    operators, next_operators = KeyFileIdentity(b"\1" * 32), KeyFileIdentity(b"\2" * 32)
    made = nights(at, index=[operators.recipient()])
    run = rotate(services(at, at.old, at.new, index=[next_operators.recipient()]))
    assert run.state is RunState.DEGRADED
    assert "the indexes of names of 3 backups open as before (WrongKey" in str(run.error)
    assert at.opened(made[0], at.world.targets["eu"], at.new) == 31
    assert Found(at, operators).backups == set(made)


def test_a_stolen_seal_key_has_no_other_policys_record_re_wrapped(at: Rotated) -> None:
    """The record is public, in the other's containers; the key that opens it may be here."""
    [made] = nights(at, 1)
    target = at.world.targets["eu"]
    others = WrappingKey.create([at.old.recipient()])
    content = bytearray()
    head = IndexHead(source="vault", containers="0" * 64, previous=None, blocks=())
    write_name_index(
        content.extend,
        head,
        lambda _: b"",
        backup_id=made,
        policy="weekly",
        created_at="2026-11-25T02:45:01Z",
        wrapping_key=others,
        signer=at.world.signers["seal"],
    )
    [own] = indexes_on(target)
    put(target, index_name(made, made, sha256(content).hexdigest()), bytes(content))
    target.delete(own)
    put(target, own, bytes(content))
    assert rotate(services(at, at.old, at.new)).state is RunState.DONE
    assert not list(target.list(f"{KEYS}{others.id}/"))


def put(target: Target, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=sha256(content).digest())


class _Away:
    """A target that does not answer."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def __getattr__(self, name: str) -> object:
        if name in ("put", "read", "stat", "list", "delete"):
            raise TargetUnavailable("CANARY-AWAY does not answer")
        return getattr(self._target, name)


def test_a_target_that_was_away_gets_the_envelopes_of_indexes_by_a_repair(at: Rotated) -> None:
    [made] = nights(at, 1)
    away = {name: _Away(one) if name == "us" else one for name, one in at.world.targets.items()}
    assert rotate(services(at, at.old, at.new, targets=away)).state is RunState.DEGRADED
    assert Found(at, at.old, "us").backups == {made}
    own = services(at, at.old, at.new)
    run, tickets = submit_repair(own, backup=made)
    drive(run, tickets, own, processes=1)
    assert Found(at, at.new, "us").backups == {made}
    assert Found(at, at.old, "us").backups == frozenset()


def test_a_target_that_gets_an_index_with_the_next_backup_gets_its_envelope(at: Rotated) -> None:
    nights(at, 1)
    target = at.world.targets["us"]
    rotate(services(at, at.old, at.new))
    there = [info.name for info in target.list(INDEXES)]
    for name in there + envelopes_of(keys_of_indexes(target), target):
        target.delete(name)
    back_up(at)  # for the old key, by an older configuration, so that the chain goes on
    assert len(indexes_on(target)) == 2
    assert len(envelopes_of(keys_of_indexes(target), target)) == 1
    assert Found(at, at.old, "us").backups == frozenset()


def indexes_on(target: Target) -> list[str]:
    return [info.name for info in target.list(INDEXES) if not info.name.endswith(".json")]


def keys_of_indexes(target: Target) -> set[str]:
    """Return the wrapping keys of a target's indexes."""
    outers = (
        read_outer(BytesReader(b"".join(target.read(name))), trusted=None) for name in indexes_on(target)
    )
    return {outer.envelope.wrapping_key.id for outer in outers}


def envelopes_of(keys: set[str], target: Target) -> list[str]:
    return [info.name for info in target.list(KEYS) if info.name.split("/")[1] in keys]


def test_the_envelopes_go_with_the_last_backup_that_a_chain_tells_of(at: Rotated) -> None:
    made = nights(at, 2)
    rotate(services(at, at.old, at.new))
    target = at.world.targets["eu"]
    keys = keys_of_indexes(target)
    assert len(envelopes_of(keys, target)) == 2
    remove_backup(target, made[0], (), trusted=at.trusted)
    assert len(envelopes_of(keys, target)) == 2, "the other one needs them"
    remove_backup(target, made[1], (), trusted=at.trusted)
    assert not list(target.list(INDEXES))
    assert envelopes_of(keys, target) == []


def test_no_index_shares_its_wrapping_key_with_a_container(at: Rotated) -> None:
    """Else the readers of names alone could be let into values, or the other way round."""
    [made] = nights(at, 1)
    target = at.world.targets["eu"]
    containers = read_manifest(target, made, trusted=at.trusted).containers
    assert keys_of_indexes(target).isdisjoint(entry.wrapping_key for entry in containers)
