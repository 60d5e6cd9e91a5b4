"""The catalog, events and heartbeats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any
from unittest.mock import Mock

import pytest
from msgspec import structs
from sqlalchemy import create_engine, event, text, update

from strongroom.model import Depth
from strongroom.state import catalog, codec, sql, tables
from strongroom.state.errors import StateError
from strongroom.state.records import CatalogEntry, ContainerCheck, Replica
from strongroom.state.store import RunStore
from tests.state.pipeline import let_pass, new_run


def entry(
    backup: str,
    *,
    created_at: str = "2026-11-25T02:45:01Z",
    policy: str = "weekly",
    secrets: int = 1_000_000,
) -> CatalogEntry:
    return CatalogEntry(
        backup=backup,
        policy=policy,
        source="local",
        created_at=created_at,
        values=True,
        secrets=secrets,
        size=5 * 2**32,
        containers=20,
        manifest_sha256="ab" * 32,
    )


def replica(backup: str, target: str, *, good: bool = True, verified: Depth | None = None) -> Replica:
    return Replica(
        backup=backup,
        target=target,
        good=good,
        verified=verified,
        verified_at=None if verified is None else 1.5,
    )


def test_a_backup_is_read_back_as_it_was_put(store: RunStore) -> None:
    store.put_backup(entry("b1"), [replica("b1", "b", verified=Depth.OPENED), replica("b1", "a", good=False)])
    assert store.backup("b1") == entry("b1")
    assert store.replicas("b1") == [
        replica("b1", "a", good=False),
        replica("b1", "b", verified=Depth.OPENED),
    ]
    assert store.backup("b2") is None
    assert store.replicas("b2") == []


def test_the_names_of_a_policy_s_backups_come_newest_first(store: RunStore) -> None:
    store.put_backup(entry("b1", created_at="2026-11-26T02:45:01Z"))
    for name, policy in (("b2", "weekly"), ("b3", "weekly"), ("b4", "daily")):
        store.put_backup(entry(name, policy=policy))
    assert store.names("weekly") == ["b1", "b3", "b2"]
    assert store.names("hourly") == []


def test_what_is_known_of_manifests_is_read_for_many_backups_at_once(store: RunStore) -> None:
    store.put_backup(entry("b1"))
    assert store.digests(["b1", "b2"]) == {"b1": "ab" * 32}


def test_putting_a_backup_again_replaces_what_was_known(store: RunStore) -> None:
    store.put_backup(entry("b1", policy="daily"), [replica("b1", "a")])
    store.put_backup(entry("b1"), [replica("b1", "a", verified=Depth.LIVE), replica("b1", "b")])
    store.put_backup(entry("b1"))
    assert store.backups() == [entry("b1")]
    assert store.replicas("b1") == [replica("b1", "a", verified=Depth.LIVE), replica("b1", "b")]


def test_the_most_secrets_of_late_are_those_of_the_same_policy_and_not_forgotten_too_soon(
    store: RunStore,
) -> None:
    def most(since: str) -> int:
        return store.most_secrets("weekly", since=since, besides="now")

    assert most("2026-11-01T00:00:00Z") == 0
    store.put_backup(entry("old", created_at="2026-10-01T00:00:00Z", secrets=90))
    store.put_backup(entry("many", created_at="2026-11-02T00:00:00Z", secrets=70))
    store.put_backup(entry("few", created_at="2026-11-03T00:00:00Z", secrets=5))
    store.put_backup(entry("now", created_at="2026-11-04T00:00:00Z", secrets=80))
    store.put_backup(entry("other", created_at="2026-11-03T00:00:00Z", secrets=99, policy="daily"))
    assert most("2026-11-01T00:00:00Z") == 70
    assert most("2026-11-02T12:00:00Z") == 5
    assert most("2027-01-01T00:00:00Z") == 5, "with none of late, the newest counts"
    assert most("2026-01-01T00:00:00Z") == 90


def test_a_replica_is_updated_alone(store: RunStore) -> None:
    store.put_backup(entry("b1"), [replica("b1", "a"), replica("b1", "b")])
    store.set_replica(replica("b1", "a", good=False, verified=Depth.DIGEST))
    assert store.replicas("b1") == [replica("b1", "a", good=False, verified=Depth.DIGEST), replica("b1", "b")]


def test_a_replica_of_no_backup_is_refused(store: RunStore) -> None:
    with pytest.raises(StateError):
        store.set_replica(replica("nothing", "a"))


def test_backups_are_listed_newest_first_and_by_policy(store: RunStore) -> None:
    for name, day, policy in (("b1", 1, "weekly"), ("b3", 3, "daily"), ("b2", 2, "weekly")):
        store.put_backup(entry(name, created_at=f"2026-11-0{day}T00:00:00Z", policy=policy))
    assert [found.backup for found in store.backups()] == ["b3", "b2", "b1"]
    assert [found.backup for found in store.backups(policy="weekly", limit=1)] == ["b2"]


def test_a_replica_whose_row_is_unreadable_is_not_known_to_be_good(store: RunStore) -> None:
    store.put_backup(entry("b1"), [replica("b1", "a", verified=Depth.OPENED)])
    with store._database.writing() as conn:
        conn.execute(update(tables.replicas).values(verified="sworn"))
    assert [(one.target, one.good, one.verified) for one in store.replicas("b1")] == [("a", False, None)]


def test_a_backup_whose_row_is_unreadable_is_left_out_of_lists_and_named(store: RunStore) -> None:
    store.put_backup(entry("b1"))
    store.put_backup(entry("b2"))
    with store._database.writing() as conn:
        conn.execute(update(tables.catalog).where(tables.catalog.c.backup == "b1").values(size=-1))
    assert [one.backup for one in store.backups()] == ["b2"]
    assert store.unreadable() == ["the state database holds an unreadable backup b1"]
    with pytest.raises(StateError, match="backup b1"):
        store.backup("b1")


def test_names_and_digests_that_are_no_text_are_a_state_error() -> None:
    row = next(iter(create_engine("sqlite://").connect().execute(text("SELECT 'b1', NULL"))))
    assert codec.texts_of(["b1"], "name") == ["b1"]
    with pytest.raises(StateError, match="an unreadable digest"):
        codec.pairs_of([row], "digest")
    with pytest.raises(StateError, match="an unreadable name"):
        codec.texts_of([None], "name")


def test_events_are_kept_in_order_with_ascending_ids(store: RunStore) -> None:
    run = new_run(store)
    store.event("message.refused", queue="seal", reason="unsigned")
    store.event("drill.late", run.id, seconds=1.5)
    created, refused, late = store.events()
    assert (created.kind, created.run) == ("run.created", run.id)
    assert (refused.kind, refused.run) == ("message.refused", None)
    assert refused.detail == {"queue": "seal", "reason": "unsigned"}
    assert created.id < refused.id < late.id
    assert created.at <= refused.at <= late.at
    assert abs(late.at - run.created_at) < 60


def test_events_are_found_by_run_by_kind_and_by_what_was_read_before(store: RunStore) -> None:
    run = new_run(store)
    for number in range(3):
        store.event("tick", number=number)
    assert [event.kind for event in store.events(run=run.id)] == ["run.created"]
    first, second, third = store.events(kind="tick")
    assert store.events(kind="tick", after=first.id) == [second, third]
    assert store.events(kind="tick", limit=2) == [first, second]


def test_the_age_of_a_heartbeat_is_known(store: RunStore) -> None:
    store.heartbeat("beat")
    store.heartbeat("reconcile")
    let_pass(store, 100)
    store.heartbeat("beat")
    ages = store.heartbeats()
    assert set(ages) == {"beat", "reconcile"}
    assert ages["beat"] < 50
    assert 100 <= ages["reconcile"] < 150


def test_a_backup_is_forgotten_with_its_last_replica(store: RunStore) -> None:
    replicas = [
        Replica(backup="b1", target=target, good=True, verified=None, verified_at=None)
        for target in ("eu", "us")
    ]
    store.put_backup(entry("b1"), replicas)
    assert not store.drop_replica("b1", "eu")
    assert [replica.target for replica in store.replicas("b1")] == ["us"]
    assert not store.drop_replica("b1", "eu")
    assert store.drop_replica("b1", "us")
    assert store.backup("b1") is None


def check(backup: str, target: str, piece: int, *, at: float, depth: Depth = Depth.DIGEST) -> ContainerCheck:
    return ContainerCheck(backup=backup, target=target, piece=piece, depth=depth, checked_at=at)


def test_the_last_check_of_a_container_counts(store: RunStore) -> None:
    store.put_checks([check("b1", "eu", -1, at=1.0), check("b1", "eu", 0, at=1.0)])
    store.put_checks([check("b1", "eu", 0, at=2.0, depth=Depth.COMPARED)])
    assert sorted(store.checks(), key=lambda one: one.piece) == [
        check("b1", "eu", -1, at=1.0),
        check("b1", "eu", 0, at=2.0, depth=Depth.COMPARED),
    ]


def test_what_was_once_read_deeper_keeps_that_depth_since_its_bytes_are_the_same(store: RunStore) -> None:
    store.put_checks([check("b1", "eu", 0, at=1.0, depth=Depth.COMPARED), check("b1", "us", 0, at=1.0)])
    store.put_checks([check("b1", "eu", 0, at=2.0), check("b1", "us", 0, at=2.0)])
    assert sorted(store.checks(), key=lambda one: one.target) == [
        check("b1", "eu", 0, at=2.0, depth=Depth.COMPARED),
        check("b1", "us", 0, at=2.0),
    ]


def test_checks_go_with_the_replica_that_they_are_of(store: RunStore) -> None:
    store.put_backup(entry("b1"), [replica("b1", "eu"), replica("b1", "us")])
    store.put_checks([check("b1", "eu", 0, at=1.0), check("b1", "us", 0, at=1.0)])
    store.drop_replica("b1", "eu")
    assert store.checks() == [check("b1", "us", 0, at=1.0)]


def test_a_check_whose_row_is_unreadable_counts_as_none(store: RunStore) -> None:
    store.put_checks([check("b1", "eu", 0, at=1.0), check("b1", "eu", 1, at=1.0)])
    with store._database.writing() as conn:
        conn.execute(
            update(tables.container_checks)
            .where(tables.container_checks.c.piece == 0)
            .values(depth="deepest", checked_at=-5.0)
        )
    assert store.checks() == [check("b1", "eu", 1, at=1.0)]


@contextmanager
def rows_of_checks(store: RunStore) -> Iterator[list[int]]:
    """Give how many rows of container checks each transaction writes."""
    written = [0]

    def executed(_conn: object, cursor: Any, statement: str, *_more: object) -> None:
        if statement.startswith(("INSERT INTO container_checks", "DELETE FROM container_checks")):
            written[-1] += max(cursor.rowcount, 0)

    engine = store._database.engine
    event.listen(engine, "after_cursor_execute", executed)
    event.listen(engine, "begin", begun := lambda _conn: written.append(0))
    try:
        yield written
    finally:
        event.remove(engine, "after_cursor_execute", executed)
        event.remove(engine, "begin", begun)


def test_no_transaction_about_a_replica_of_very_many_containers_is_longer_than_a_slice(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "SLICE", 4)
    store.put_backup(entry("b1"), [replica("b1", target) for target in ("ap", "eu", "us")])
    every = [check("b1", target, piece, at=1.0) for target in ("ap", "eu", "us") for piece in range(-1, 10)]
    with rows_of_checks(store) as written:
        store.put_checks(every)
        assert sorted(store.checks(), key=attrgetter("target", "piece")) == every
        store.set_replica(replica("b1", "eu", good=False), damaged=range(7))
        assert [one.piece for one in store.checks() if one.target == "eu"] == [-1, 7, 8, 9]
        store.set_replica(replica("b1", "eu", good=False))
        store.drop_replica("b1", "us")
    assert store.checks() == every[:11]
    assert sum(written) == 33 + 11 + 11
    assert max(written) == 4


def test_a_replica_counts_as_bad_only_once_what_is_damaged_counts_as_never_read(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who repairs it would take what is damaged for whole."""
    monkeypatch.setattr(sql, "SLICE", 4)
    monkeypatch.setattr(catalog, "put_replica", Mock(side_effect=KeyboardInterrupt))
    store.put_backup(entry("b1"), [replica("b1", "eu")])
    store.put_checks([check("b1", "eu", piece, at=1.0) for piece in range(-1, 10)])
    with pytest.raises(KeyboardInterrupt):
        store.set_replica(replica("b1", "eu", good=False))
    assert store.replicas("b1") == [replica("b1", "eu")]
    assert store.checks() == []


def test_only_good_replicas_are_given_as_such(store: RunStore) -> None:
    store.put_backup(entry("b1"), [replica("b1", "eu"), replica("b1", "us", good=False)])
    [held] = store.held_replicas()
    assert (held.backup, held.target) == ("b1", "eu")


@pytest.mark.parametrize("meanwhile", ["nothing", "damaged", "gone"])
def test_what_became_known_of_a_replica_meanwhile_is_not_written_over(
    store: RunStore, meanwhile: str
) -> None:
    before, bad = replica("b1", "eu"), replica("b1", "eu", good=False)
    store.put_backup(entry("b1"), [before, replica("b1", "us")])
    if meanwhile == "damaged":
        store.set_replica(bad)
    elif meanwhile == "gone":
        store.drop_replica("b1", "eu")
    now = structs.replace(before, verified=Depth.COMPARED, verified_at=5.0)
    store.refresh_replica(before, now)
    known = [each for each in store.replicas("b1") if each.target == "eu"]
    assert known == {"nothing": [now], "damaged": [bad], "gone": []}[meanwhile]
