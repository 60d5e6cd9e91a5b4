"""Signed heads on the targets tell what nobody printed: a record that was cut, edited, or made anew."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy import create_engine, text

from strongroom.container.errors import MissingPiece
from strongroom.container.marks import HEAD, LedgerHead
from strongroom.operations.archive.heads import TRIED
from strongroom.operations.engine.services import Services
from strongroom.operations.evidence import ledger_heads
from strongroom.operations.evidence.access_log import FILE
from strongroom.operations.evidence.audit import audit
from strongroom.operations.evidence.ledger import check, verify_chain
from strongroom.operations.evidence.ledger_heads import PublishedHead, TargetLedger, compare_with_heads
from strongroom.state.catalog import digest
from strongroom.state.errors import LedgerChanged, LedgerCut
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from strongroom.times import rfc3339
from tests.certified import certified
from tests.operations.archive.test_locks import Bucket
from tests.operations.world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def services(world: World) -> Services:
    made = world.services()
    happen(made, 5)
    return made


def names_on(target: Target) -> list[str]:
    return [info.name for info in target.list(HEAD.prefix)]


def happen(services: Services, times: int) -> None:
    for number in range(times):
        services.store.event("key.proven", key=f"k{number}")


def edit(world: World, *statements: str) -> None:
    """Write to the database as somebody with its password does."""
    engine = create_engine(world.database)
    with engine.begin() as connection:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount >= 1
    engine.dispose()


def make_anew(world: World, store: RunStore) -> None:
    """Make the whole chain anew, as whoever may write to the database can."""
    chain = ""
    for link in store.links(after=0):
        chain = digest(chain, at=link.at, kind=link.kind, run=link.run, detail=link.detail)
        edit(world, f"UPDATE events SET chain = '{chain}' WHERE id = {link.id}")


def published_on(services: Services) -> PublishedHead:
    return ledger_heads.publish(services, list(services.targets))


def held_on(services: Services, known: Sequence[str] = ()) -> tuple[TargetLedger, ...]:
    return compare_with_heads(services, list(services.targets), known=known)


def published(services: Services) -> LedgerHead:
    done = published_on(services)
    assert done.head is not None
    assert done.missed == {}
    return done.head


def test_a_head_lies_signed_on_every_target_and_the_record_leads_on_from_it(
    world: World, services: Services
) -> None:
    head = published(services)
    happen(services, 3)

    for name, target in world.targets.items():
        [where] = names_on(target)
        content = b"".join(target.read(where))
        assert HEAD.parse(content, trusted=services.signer_fingerprints) == head, name
        assert where == HEAD.name_of(head, b"")
    assert [(one.agree, one.newest, one.foreign) for one in held_on(services)] == [(1, head, 0)] * 3
    newer = published(services)
    assert newer.event == head.event + 3
    assert [(one.agree, one.newest) for one in held_on(services)] == [(2, newer)] * 3


def test_a_head_that_is_there_is_not_put_again(services: Services) -> None:
    assert [place.new for place in published_on(services).places] == [True] * 3
    assert [place.new for place in published_on(services).places] == [False] * 3


def test_a_head_whose_lock_was_not_extended_is_locked_the_next_time(services: Services) -> None:
    bucket = Bucket(refuses="ledger/")
    there = replace(services, targets={**services.targets, "us": bucket})
    assert published_on(there).missed == {"us": "this credential may not lock objects"}
    assert published_on(there).missed == {"us": "this credential may not lock objects"}
    bucket.refuses = "none"
    done = published_on(there)
    assert done.missed == {}
    assert list(bucket.until) == names_on(bucket)


def test_where_nothing_happened_nothing_is_put(world: World) -> None:
    assert published_on(world.services()).head is None
    assert held_on(world.services())[0].newest is None


@pytest.mark.parametrize("act", [published_on, held_on])
def test_newest_events_that_were_cut_off_are_told_without_any_paper(
    world: World, services: Services, act: object
) -> None:
    published(services)
    edit(world, "DELETE FROM events WHERE id > 3")
    with pytest.raises(LedgerCut):
        act(services)  # type: ignore[operator]


@pytest.mark.parametrize("act", [published_on, held_on])
def test_a_chain_that_was_made_anew_is_told_without_any_paper(
    world: World, services: Services, act: object
) -> None:
    published(services)
    edit(world, "UPDATE events SET kind = 'key.failed' WHERE id = 2")
    make_anew(world, services.store)
    with pytest.raises(LedgerChanged):
        act(services)  # type: ignore[operator]


def test_what_was_edited_after_the_head_is_told_before_another_one_is_signed(
    world: World, services: Services
) -> None:
    published(services)
    happen(services, 2)
    edit(world, "UPDATE events SET kind = 'key.failed' WHERE id = 6")
    with pytest.raises(LedgerChanged, match="Event 6 is not what was appended"):
        published_on(services)
    assert [len(names_on(target)) for target in world.targets.values()] == [1, 1, 1]


def test_one_target_that_kept_its_head_is_enough(world: World, services: Services) -> None:
    head = published(services)
    for name in ("eu", "us"):
        world.targets[name].delete(HEAD.name_of(head, b""))
    edit(world, "DELETE FROM events WHERE id > 3")
    with pytest.raises(LedgerCut, match="on target 'ap' is of event 5"):
        held_on(services)


def test_a_record_made_anew_from_its_first_event_on_is_told_by_its_own_times(
    world: World, services: Services
) -> None:
    head = published(services)
    edit(world, "UPDATE events SET at = at - 3600", "UPDATE events SET kind = 'key.failed' WHERE id = 1")
    make_anew(world, services.store)
    with pytest.raises(LedgerChanged, match="has a signed head of another one") as refused:
        held_on(services)
    assert f"--known {head.ledger}" in refused.value.hint
    assert [one.others for one in held_on(services, known=[head.ledger])] == [(head,)] * 3


def test_a_database_that_was_lost_begins_anew_and_that_is_told_once(world: World, services: Services) -> None:
    head = published(services)
    edit(world, "DELETE FROM events")
    happen(services, 1)
    edit(world, "UPDATE events SET at = at + 7200")
    make_anew(world, services.store)

    assert [place.follows for place in published_on(services).places] == [head] * 3
    assert [place.follows for place in published_on(services).places] == [None] * 3
    assert [one.others for one in held_on(services)] == [(head,)] * 3


def forged(world: World, content: bytes, head: LedgerHead) -> None:
    target = world.targets["us"]
    name = HEAD.name_of(head, b"")
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def test_what_somebody_else_signed_or_renamed_neither_alarms_nor_counts(
    world: World, services: Services
) -> None:
    head = published(services)
    later = structs.replace(head, event=900, sha256="ab" * 32)
    forged(world, HEAD.sign(later, certified("control")), later)
    other = structs.replace(head, event=901, sha256="cd" * 32)
    forged(world, HEAD.sign(head, services.signers("control")), other)

    assert {one.target: (one.newest, one.foreign) for one in held_on(services)} == {
        "eu": (head, 0),
        "us": (head, 2),
        "ap": (head, 0),
    }
    happen(services, 1)
    published(services)


def test_junk_without_end_is_not_read_without_end(world: World, services: Services) -> None:
    head = published(services)
    for number in range(TRIED + 50):
        one = structs.replace(head, event=1000 + number, sha256="ab" * 32)
        forged(world, b"junk", one)
    counted = Counted(world.targets["us"])
    there = replace(services, targets={**services.targets, "us": counted})
    said = {one.target: one.doubt for one in held_on(there)}
    assert "there are more" in said.pop("us")
    assert set(said.values()) == {""}
    assert counted.reads <= TRIED + 1


def junk(world: World, like: LedgerHead, *, ledger: str) -> None:
    """Leave more names that sort before every head than are read in vain, as whoever may write there can."""
    for target in world.targets.values():
        for number in range(TRIED + 1):
            name = f"ledger/{ledger[:16]}/{like.made_at[:7]}/{10**12 - 1 - number}-{'0' * 16}.json"
            target.put(name, [b"junk"], size=4, sha256=hashlib.sha256(b"junk").digest())


def test_junk_hides_no_head_that_the_record_does_not_lead_to(world: World, services: Services) -> None:
    head = published(services)
    edit(world, "DELETE FROM events WHERE id > 3")
    junk(world, head, ledger=head.ledger)
    assert all("there are more" in one.doubt for one in held_on(services))
    places = published_on(services).places
    assert all(one.new and "there are more" in one.doubt for one in places)


def test_junk_hides_no_other_record_that_this_one_was_made_anew_beside(
    world: World, services: Services
) -> None:
    head = published(services)
    edit(world, "UPDATE events SET at = at - 3600", "UPDATE events SET kind = 'key.failed' WHERE id = 1")
    make_anew(world, services.store)
    junk(world, head, ledger="f" * 16)
    assert all(f"--known {'f' * 16}" in one.doubt for one in held_on(services))
    with pytest.raises(LedgerChanged, match="has a signed head of another one"):
        held_on(services, known=["f" * 16])


def test_what_lies_under_the_name_of_a_head_already_is_no_head(world: World, services: Services) -> None:
    first = services.store.links(limit=1)[0]
    newest = services.store.newest_link()
    assert newest is not None
    month = rfc3339(time.time())[:7]
    name = f"ledger/{first.chain[:16]}/{month}/{newest.id:012}-{newest.chain[:16]}.json"
    world.targets["us"].put(name, [b"junk"], size=4, sha256=hashlib.sha256(b"junk").digest())
    done = published_on(services)
    assert list(done.missed) == ["us"]
    assert "nobody signed it" in done.missed["us"]


@pytest.mark.parametrize("to", ["at = 1e300", "at = 'x'", "kind = x'ff'", "chain = 'zz'"])
@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_row_that_no_program_writes_keeps_no_alarm_from_being_told(
    world: World, services: Services, to: str, number: int
) -> None:
    published(services)
    happen(services, 1 if number != 5 else 0)
    edit(world, f"UPDATE events SET {to} WHERE id = {number}")
    with pytest.raises(LedgerChanged, match=f"Event {number} "):
        check(services.store)
    if number != 3:
        with pytest.raises(LedgerChanged):
            published_on(services)
    assert audit(services.store, since=0, until=time.time() + 60, now=time.time()).broken == number


def test_a_report_up_to_a_made_up_row_says_so_each_time_alike(world: World, services: Services) -> None:
    edit(world, "UPDATE events SET at = 1e300 WHERE id = 3")
    assert verify_chain(services.store) == verify_chain(services.store)


def test_heads_are_put_although_what_was_opened_cannot_be_taken(services: Services) -> None:
    (services.state_dir / FILE).mkdir()
    done = published_on(services)
    assert (done.missed, all(one.new for one in done.places)) == ({}, True)
    assert FILE in done.untaken


class Counted(MemoryTarget):
    """Another target's content, and how often it was read."""

    def __init__(self, other: Target) -> None:
        super().__init__(name=other.name)
        self.reads = 0
        for name in names_on(other):
            content = b"".join(other.read(name))
            self.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())

    def read(self, name, *, offset=0, length=None):  # type: ignore[no-untyped-def]
        self.reads += 1
        return super().read(name, offset=offset, length=length)


class Away(MemoryTarget):
    def list(self, prefix: str = ""):  # type: ignore[no-untyped-def]  # noqa: ARG002
        raise TargetUnavailable("region us does not answer")


def test_a_target_that_is_away_is_named_and_holds_up_no_other(world: World, services: Services) -> None:
    there = replace(services, targets={**services.targets, "us": Away(name="us")})
    done = published_on(there)
    assert done.missed == {"us": "region us does not answer"}
    assert {one.target: one.agree for one in held_on(there)} == {"eu": 1, "us": 0, "ap": 1}
    assert {one.target: one.missed for one in held_on(there)}["us"] == "region us does not answer"
    with pytest.raises(MissingPiece):
        next(world.targets["us"].read(HEAD.name_of(done.head, b"")))  # type: ignore[arg-type]
