"""Keys tried on what they are for, proofs that grow old, and challenges to keys that lie elsewhere."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest
from msgspec import structs
from sqlalchemy import update

from strongroom.container.errors import Malformed, WrongKey
from strongroom.container.wrapping import Stanza, WrappingKey
from strongroom.errors import UsageError
from strongroom.keys.allof import recipient_key
from strongroom.keys.errors import KeyServiceUnavailable, KeyVersionTooOld
from strongroom.keys.hpke import HpkeIdentity
from strongroom.keys.keyfile import KeyFileIdentity, KeyFileRecipient
from strongroom.operations.keys.health import (
    CHALLENGE_HOLDS,
    DAY,
    FAILED,
    PROVEN,
    QUARTER,
    RETIRED,
    WARNING,
    KeyTrialResult,
    ProofState,
    answer_challenge,
    check,
    confirm,
    make_challenge,
    read_proofs,
    record_proofs,
    try_keys,
)
from strongroom.operations.keys.usage import Opens, look_all
from strongroom.state import tables
from strongroom.times import rfc3339
from tests.operations.rotation.rotating import Rotated
from tests.operations.rotation.test_rotate import rotate


@pytest.fixture
def at(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


def found(at: Rotated) -> list[Opens]:
    services = at.services(at.old, at.new)
    looked = look_all(services, services.store.backups())
    assert looked.unread == {}
    return looked.found


class Unplugged(KeyFileIdentity):
    """A key whose key service does not answer."""

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:  # noqa: ARG002
        raise KeyServiceUnavailable("the token is not there")


def test_a_key_is_tried_once_a_class_on_its_newest_backup(at: Rotated) -> None:
    backups = [at.back_up() for _ in range(3)]
    [tried] = try_keys(found(at), [at.old])
    assert (tried.outcome, tried.backups, tried.by) == (KeyTrialResult.OPENED, 3, at.old.describe())
    assert tried.backup in backups


def test_after_a_rotation_the_new_key_is_the_one_that_counts(at: Rotated) -> None:
    at.back_up()
    rotate(at.services(at.old, at.new))
    [tried] = try_keys(found(at), [at.old])
    assert (tried.label, tried.outcome) == ("new", KeyTrialResult.AWAY)
    [tried] = try_keys(found(at), [at.old, at.new])
    assert tried.outcome is KeyTrialResult.OPENED


def test_a_key_service_that_does_not_answer_is_a_failure_with_its_reason(at: Rotated) -> None:
    at.back_up()
    [tried] = try_keys(found(at), [Unplugged(os.urandom(32))])
    assert (tried.outcome, tried.why) == (
        KeyTrialResult.FAILED,
        "KeyServiceUnavailable: the token is not there",
    )


class Versioned(KeyFileRecipient):
    """A key of a key service: each stanza names the version that wrapped."""

    version = 1

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        stanza = super().wrap(key, context=context)
        return structs.replace(stanza, args={**stanza.args, "version": self.version})


class Forgetful(KeyFileIdentity):
    """A key service that has the newest version of its key, and no longer the one before."""

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        args = dict(stanza.args)
        if args.pop("version") == 1:
            raise KeyVersionTooOld("version 1 is gone")
        return super().unwrap(structs.replace(stanza, args=args), context=context)


def test_a_version_that_a_key_service_lost_is_found_though_the_newest_still_opens(at: Rotated) -> None:
    secret = os.urandom(32)
    recipient, opened = Versioned(secret), list[Opens]()
    for recipient.version in (1, 2):
        record = WrappingKey.create([recipient]).record
        name = f"b{recipient.version}"
        opened.append(Opens(backup=name, policy="p", created_at=name, records=(record,), first=frozenset()))
    tried = try_keys(opened, [Forgetful(secret)])
    assert {one.backup: one.outcome for one in tried} == {
        "b1": KeyTrialResult.FAILED,
        "b2": KeyTrialResult.OPENED,
    }
    services = at.services(at.old)
    record_proofs(services, tried)
    now = time.time()
    assert read_proofs(services.store).of(tried[0].key, "k", since=now, now=now).proof is ProofState.FAILED


@pytest.mark.parametrize(
    ("order", "proof"), [((PROVEN, FAILED), ProofState.FAILED), ((FAILED, PROVEN), ProofState.PROVEN)]
)
def test_of_a_proof_and_a_failure_of_one_moment_the_later_one_counts(
    at: Rotated, order: tuple[str, str], proof: ProofState
) -> None:
    store, now = at.services(at.old).store, time.time()
    for kind in order:
        store.event(kind, key="k", how="opened", why="it is gone", backup="b1")
    with store._database.writing() as conn:
        conn.execute(update(tables.events).values(at=now))
    assert read_proofs(store).of("k", "k", since=now, now=now).proof is proof


def test_a_record_that_names_a_key_but_holds_another_is_a_failure(at: Rotated) -> None:
    record = WrappingKey.create([at.old.recipient()]).record
    other = WrappingKey.create([at.old.recipient()]).record
    swapped = type(record)(id=record.id, generation=1, stanzas=record.stanzas, mac=other.mac)
    opens = Opens(backup="b", policy="p", created_at="", records=(swapped,), first=frozenset())
    [tried] = try_keys([opens], [at.old])
    assert tried.outcome is KeyTrialResult.FAILED
    assert tried.why.startswith("Tampered")


def test_a_key_has_a_quarter_to_be_proven_and_warns_before_it_ends(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old)
    [tried] = try_keys(found(at), [at.old])
    made = time.time()

    def judged(after: float) -> ProofState:
        return read_proofs(services.store).of(tried.key, "old", since=made, now=made + after).proof

    days = (0.0, QUARTER - DAY, QUARTER + DAY)
    assert [judged(after) for after in days] == [ProofState.NOT_YET, ProofState.NOT_YET, ProofState.OVERDUE]
    record_proofs(services, [tried])
    days = (DAY, QUARTER - WARNING + DAY, QUARTER + DAY)
    assert [judged(after) for after in days] == [ProofState.PROVEN, ProofState.DUE_AGAIN, ProofState.OVERDUE]
    services.store.event(FAILED, key=tried.key, why="WrongKey: test", backup=tried.backup)
    assert judged(DAY) is ProofState.FAILED


def test_a_key_that_lies_elsewhere_is_asked_for_by_a_date_that_stays(at: Rotated) -> None:
    at.back_up()
    services = at.services()
    first = check(services)
    [offline] = first.due
    assert (offline.proof, first.bad) == (ProofState.NOT_YET, [])
    assert f"not yet proven; it has to be by {rfc3339(offline.by)[:10]}" in offline.words
    [oldest] = services.store.backups()
    at.back_up()
    for replica in services.store.replicas(oldest.backup):
        services.store.drop_replica(oldest.backup, replica.target)
    assert oldest.backup not in {one.backup for one in services.store.backups()}
    assert [one.by for one in check(services).due] == [offline.by], "from the first backup, though it is gone"


def test_a_retired_key_is_asked_for_nothing(at: Rotated) -> None:
    at.back_up()
    services = at.services()
    [offline] = check(services).due
    services.store.event(RETIRED, key=offline.key, name="old")
    assert check(services).due == ()


# -- challenges ----------------------------------------------------------------


def test_a_key_that_lies_elsewhere_is_proven_by_its_answer(at: Rotated) -> None:
    services, offline = at.services(), HpkeIdentity.generate()
    file = make_challenge(services, offline.recipient(), name="board", created_at="2026-11-25T00:00:00Z")
    challenge, code = answer_challenge(file, [at.old, offline])
    assert challenge.name == "board"
    key = confirm(services, name="board", code=f"{code[:5]} {code[5:].lower()}")
    assert key == recipient_key(offline.recipient())
    assert key in read_proofs(services.store).proven


def test_a_wrong_answer_and_an_old_one_prove_nothing(at: Rotated) -> None:
    services, offline = at.services(), HpkeIdentity.generate()
    first = make_challenge(services, offline.recipient(), name="board", created_at="")
    _, old_code = answer_challenge(first, [offline])
    make_challenge(services, offline.recipient(), name="board", created_at="")
    with pytest.raises(UsageError, match="not the answer"):
        confirm(services, name="board", code=old_code)
    with pytest.raises(UsageError, match="Nobody asked"):
        confirm(services, name="other", code=old_code)
    third = make_challenge(services, offline.recipient(), name="board", created_at="")
    _, code = answer_challenge(third, [offline])
    with pytest.raises(UsageError, match="too old"):
        confirm(services, name="board", code=code, now=time.time() + CHALLENGE_HOLDS + DAY)
    assert read_proofs(services.store).proven == {}


def test_nobody_else_can_answer(at: Rotated) -> None:
    file = make_challenge(at.services(), HpkeIdentity.generate().recipient(), name="board", created_at="")
    with pytest.raises(WrongKey, match="board"):
        answer_challenge(file, [at.old, HpkeIdentity.generate()])


def test_what_opens_a_backup_is_no_challenge(at: Rotated) -> None:
    """A host that asked a key service to answer with a backup's own stanza would learn its wrapping key."""
    services = at.services()
    record = WrappingKey.create([at.old.recipient()]).record
    file = make_challenge(services, at.old.recipient(), name="board", created_at="")
    challenge, _ = answer_challenge(file, [at.old])
    forged = msgspec.structs.replace(challenge, nonce=record.id, stanza=record.stanzas[0])
    with pytest.raises(WrongKey):
        answer_challenge(msgspec.json.encode(forged), [at.old])


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"format":"x"}'])
def test_what_is_no_challenge_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(Malformed):
        answer_challenge(content, [])
