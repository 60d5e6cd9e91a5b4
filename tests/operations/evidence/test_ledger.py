"""The ledger: what was printed tells later whether anything before it changed, and so does each event."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from strongroom.operations.evidence.audit import audit
from strongroom.operations.evidence.ledger import LedgerPosition, check, verify_chain
from strongroom.state.catalog import digest
from strongroom.state.errors import LedgerChanged, LedgerCut
from strongroom.state.store import RunStore
from tests.postgres import PostgresServer
from tests.postgres import postgres_server as postgres_server  # noqa: PLC0414  # a fixture is found by name
from tests.state.pipeline import new_run


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def store(url: str) -> Iterator[RunStore]:
    made = RunStore(url)
    for number in range(5):
        made.event("key.proven", key=f"k{number}", when={"b": 1, "a": 2})
    yield made
    made.close()


def printed(store: RunStore) -> LedgerPosition:
    head = check(store).head
    assert head is not None
    return head


def edit(url: str, *statements: str) -> None:
    """Write to the database as somebody with its password does."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount >= 1
    engine.dispose()


def test_a_head_is_found_again_after_more_has_happened(store: RunStore) -> None:
    head = printed(store)
    store.event("key.failed", key="k9")
    later = check(store, number=head.id, sha256=head.sha256)
    assert (later.printed, later.events) == (head, 6)
    assert later.head is not None
    assert later.head.id > head.id


CHANGES = [
    "UPDATE events SET kind = 'key.failed' WHERE id = 2",
    "UPDATE events SET at = at + 1 WHERE id = 3",
    "UPDATE events SET run = 'x' WHERE id = 3",
    "UPDATE events SET detail = '{}' WHERE id = 5",
    "DELETE FROM events WHERE id = 1",
    "DELETE FROM events WHERE id = 3",
    "INSERT INTO events (id, at, kind, detail) VALUES (0, 1, 'key.proven', '{}')",
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_was_changed_shows_against_what_was_printed_and_without_it(
    store: RunStore, url: str, change: str
) -> None:
    head = printed(store)
    edit(url, change)
    with pytest.raises(LedgerChanged, match=f"Up to event {head.id} the record leads to"):
        check(store, number=head.id, sha256=head.sha256)
    with pytest.raises(LedgerChanged, match="is not what was appended"):
        check(store)


def test_whoever_makes_the_whole_chain_anew_is_told_by_what_was_printed_alone(
    store: RunStore, url: str
) -> None:
    head = printed(store)
    edit(url, "UPDATE events SET kind = 'key.failed' WHERE id = 2")
    chain = ""
    for link in store.links(after=0):
        chain = digest(chain, at=link.at, kind=link.kind, run=link.run, detail=link.detail)
        edit(url, f"UPDATE events SET chain = '{chain}' WHERE id = {link.id}")
    assert check(store).events == 5
    with pytest.raises(LedgerChanged):
        check(store, number=head.id, sha256=head.sha256)


def test_the_printed_event_itself_being_gone_is_told(store: RunStore, url: str) -> None:
    head = printed(store)
    store.event("key.failed", key="k9")
    edit(url, f"DELETE FROM events WHERE id = {head.id}")
    with pytest.raises(LedgerChanged, match=f"event {head.id} is gone"):
        check(store, number=head.id, sha256=head.sha256)


def test_newest_events_that_were_cut_off_are_told_by_what_was_printed_alone(
    store: RunStore, url: str
) -> None:
    head = printed(store)
    edit(url, "DELETE FROM events WHERE id > 3")
    assert check(store).events == 3, "nothing in it tells"
    with pytest.raises(LedgerCut, match="ends with event 3"):
        check(store, number=head.id, sha256=head.sha256)
    store.event("key.failed", key="k9")
    with pytest.raises((LedgerChanged, LedgerCut)):
        check(store, number=head.id, sha256=head.sha256)


def test_a_change_after_the_printed_one_says_that_up_to_there_nothing_changed(
    store: RunStore, url: str
) -> None:
    head = printed(store)
    store.event("key.failed", key="k9")
    edit(url, f"UPDATE events SET kind = 'key.proven' WHERE id > {head.id}")
    with pytest.raises(LedgerChanged, match=f"Up to event {head.id}, which was printed, nothing changed"):
        check(store, number=head.id, sha256=head.sha256)
    assert verify_chain(store).broken == head.id + 1, "who only looks, as the kit does, is not refused"


def test_where_nothing_happened_there_is_no_head(url: str) -> None:
    empty = RunStore(url)
    assert verify_chain(empty).head is None
    with pytest.raises(LedgerCut, match="before it begins"):
        check(empty, number=1, sha256="0" * 64)
    empty.close()


@pytest.mark.parametrize("later", [False, True], ids=["nothing", "something"])
def test_a_record_whose_events_are_gone_while_runs_are_there_is_not_what_was_appended(
    store: RunStore, url: str, later: bool
) -> None:
    new_run(store)
    assert check(store).broken is None
    edit(url, "DELETE FROM events")
    if later:
        store.event("later")
    assert verify_chain(store).broken is not None
    with pytest.raises(LedgerChanged):
        check(store)
    assert audit(store, since=0, until=time.time() + 9, now=time.time()).broken is not None
