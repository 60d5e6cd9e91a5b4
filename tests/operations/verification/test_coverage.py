"""How much was read within the span, and what was not for longest."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from strongroom.model import COMMAND, Depth
from strongroom.operations.backup import order
from strongroom.operations.backup.order import MANIFEST, OVERHEAD, DueContainer, Terms, due_checks, refresh
from strongroom.operations.backup.verified_share import (
    VerificationScope,
    by_target,
    coverage,
    items_on_record,
    replicas_on_record,
    standing,
)
from strongroom.state import tables
from strongroom.state.records import CatalogEntry, ContainerCheck, Replica
from strongroom.state.store import RunStore
from strongroom.times import rfc3339
from tests.state.test_speed import Work

DAY, HOUR = 86_400.0, 3600.0
NOW = 1_800_000_000.0
TERMS = Terms(span=30 * DAY, interval=HOUR)
SCOPE = VerificationScope(span=30 * DAY, interval=HOUR)
ITEM = DueContainer(backup="b1", target="eu", piece=0, size=1, made_at=NOW - 40 * DAY)


def entry(backup: str, *, policy: str = "weekly", containers: int = 2) -> CatalogEntry:
    return CatalogEntry(
        backup=backup,
        policy=policy,
        source="vault",
        created_at=rfc3339(NOW - 5 * DAY),
        values=True,
        secrets=1,
        size=2000,
        containers=containers,
        manifest_sha256="ab" * 32,
    )


def every_item(store: RunStore, *without: str) -> list[DueContainer]:
    """Return what is on record of each container by itself."""
    replicas = replicas_on_record(store, without=frozenset(without))
    return items_on_record(store, replicas, now=NOW, apart=10**9)


def replica(backup: str, target: str, *, good: bool = True) -> Replica:
    return Replica(backup=backup, target=target, good=good, verified=None, verified_at=None)


def test_what_was_read_within_the_span_is_covered_and_the_rest_is_named() -> None:
    late = replace(ITEM, piece=1, checked_at=NOW - 31 * DAY, depth=Depth.OPENED)
    fresh = replace(ITEM, piece=2, checked_at=NOW - 29 * DAY, depth=Depth.COMPARED)
    found = coverage([ITEM, late, fresh], TERMS, now=NOW)
    assert (found.containers, found.read, found.never) == (3, 1, 1)
    assert found.share == 1 / 3
    assert found.depths == {Depth.COMPARED: 1}
    assert (found.oldest, found.oldest_since) == (ITEM, NOW - 40 * DAY)


def test_a_check_that_a_wrong_clock_dated_ahead_covers_nothing() -> None:
    assert coverage([replace(ITEM, checked_at=NOW + 30 * DAY)], TERMS, now=NOW).never == 1


def test_nothing_to_read_is_covered() -> None:
    found = coverage([], TERMS, now=NOW)
    assert (found.share, found.oldest, found.ends_at) == (1.0, None, None)


def test_the_end_is_when_the_slowest_target_is_through() -> None:
    slow = replace(TERMS, rate=2 * (OVERHEAD + 1) / HOUR)
    late = [replace(ITEM, piece=piece) for piece in range(5)]
    assert coverage(late, slow, now=NOW).ends_at == NOW + 3 * HOUR
    other = [replace(ITEM, target="us", piece=piece) for piece in range(7)]
    assert coverage([*late, *other], slow, now=NOW).ends_at == NOW + 4 * HOUR
    fresh = [replace(one, checked_at=NOW) for one in late]
    assert coverage(fresh, slow, now=NOW).ends_at is None


def test_every_container_of_every_good_replica_is_there_to_be_read_and_its_manifest(store: RunStore) -> None:
    store.put_backup(entry("b1"), [replica("b1", "eu"), replica("b1", "us", good=False)])
    check = ContainerCheck(backup="b1", target="eu", piece=1, depth=Depth.OPENED, checked_at=NOW)
    store.put_checks([check, replace(check, piece=7), replace(check, target="us")])
    found = every_item(store)
    made = datetime.fromtimestamp(NOW - 5 * DAY, UTC).timestamp()
    assert [(one.piece, one.size, one.checked_at) for one in found] == [
        (MANIFEST, 0, None),
        (0, 1000, None),
        (1, 1000, NOW),
    ]
    assert {(one.target, one.made_at) for one in found} == {("eu", made)}


def test_files_of_commands_media_in_a_safe_and_what_is_to_go_are_not_counted(store: RunStore) -> None:
    for backup, policy in (("b1", COMMAND), ("b2", "emergency"), ("b3", "weekly"), ("b4", "weekly")):
        store.put_backup(entry(backup, policy=policy), [replica(backup, "eu")])
    assert {one.backup for one in every_item(store, "b3")} == {"b2", "b4"}
    found = standing(store, replace(SCOPE, offline=("emergency",)), now=NOW, gone=frozenset({"b3"}))
    assert (found.all.containers, found.offline) == (3, 3)


def test_items_are_told_apart_by_target() -> None:
    us = replace(ITEM, target="us")
    assert by_target([us, ITEM]) == {"eu": [ITEM], "us": [us]}


# -- by the record, many containers at once ----------------------------------------------------------------


def put_read(store: RunStore, replica: Replica, containers: int, checks: list[ContainerCheck]) -> None:
    """Record what was read of a replica, as a slice does."""
    store.put_checks(checks)
    store.set_replica(refresh(replica, containers, checks, now=NOW))


def fill_at_random(store: RunStore, chance: random.Random) -> None:
    """Record backups of which replicas were read whole, in part, long ago, by a wrong clock, or never."""
    for number in range(40):
        made, backup, containers = NOW - chance.random() * 90 * DAY, f"b{number:02}", chance.randrange(5)
        here = replace(entry(backup, containers=containers), created_at=rfc3339(made))
        copies = [replica(backup, target, good=chance.random() < 0.9) for target in ("eu", "us")]
        store.put_backup(here, copies)
        for copy in copies:
            oldest, lacks = chance.choice([-2, 2, 29, 31, 60]) * DAY, chance.choice([0, 0, 0.5, 1])
            again = chance.choice([0, 0, 0.5])
            checks = [
                ContainerCheck(
                    backup=backup,
                    target=copy.target,
                    piece=piece,
                    depth=Depth.DIGEST
                    if piece == MANIFEST
                    else chance.choice([Depth.OPENED, Depth.COMPARED]),
                    checked_at=NOW - (1 - chance.random() / 2) * (DAY if chance.random() < again else oldest),
                )
                for piece in range(MANIFEST, containers)
                if chance.random() >= lacks
            ]
            put_read(store, copy, containers, checks)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_known_of_many_at_once_is_what_is_known_of_each(store: RunStore, seed: int) -> None:
    fill_at_random(store, random.Random(seed))
    found = standing(store, SCOPE, now=NOW, gone=frozenset({"b03", "b07"}))
    items = every_item(store, "b03", "b07")
    for name, mine in {"": items, **by_target(items)}.items():
        together, apart = found.targets[name] if name else found.all, coverage(mine, SCOPE, now=NOW)
        shallow = dict.fromkeys(Depth, 0) | dict(together.depths)
        assert sum(together.depths.values()) == sum(apart.depths.values()) == together.read
        assert shallow[Depth.COMPARED] <= apart.depths.get(Depth.COMPARED, 0), (
            "a replica is as deep as its least"
        )
        assert together.oldest is not None
        assert apart.oldest is not None
        for found_oldest in ("backup", "piece"):
            assert getattr(together.oldest, found_oldest) == getattr(apart.oldest, found_oldest)
        assert together.oldest.read_at(NOW) == apart.oldest.read_at(NOW)
        assert replace(together, depths=apart.depths, oldest=apart.oldest) == apart


def test_a_replica_that_was_only_seen_to_be_there_was_not_read(store: RunStore) -> None:
    seen = replace(replica("b1", "eu"), verified=Depth.PRESENT, verified_at=NOW)
    store.put_backup(entry("b1"), [seen, replace(seen, target="us", verified=None)])
    found = standing(store, SCOPE, now=NOW).all
    assert (found.containers, found.read, found.never) == (6, 0, 6)


def test_odd_rows_prove_nothing_and_hide_no_other(store: RunStore) -> None:
    for backup in ("b1", "b2", "b3"):
        store.put_backup(entry(backup), [replica(backup, "eu")])
        checks = [
            ContainerCheck(backup=backup, target="eu", piece=piece, depth=Depth.DIGEST, checked_at=NOW)
            for piece in (-1, 0, 1)
        ]
        put_read(store, replica(backup, "eu"), 2, checks)
    with store._database.writing() as conn:
        of, checks_of = tables.replicas.c, tables.container_checks.c
        conn.execute(update(tables.replicas).where(of.backup == "b1").values(verified="sworn"))
        conn.execute(update(tables.replicas).where(of.backup == "b2").values(verified_at=None))
        odd = update(tables.container_checks).where(checks_of.backup == "b2")
        conn.execute(odd.where(checks_of.piece == 0).values(depth="sworn"))
        conn.execute(odd.where(checks_of.piece == 1).values(checked_at=-5.0))
    found = standing(store, SCOPE, now=NOW).all
    assert (found.containers, found.read, found.never) == (6, 4, 2)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_read_next_is_chosen_as_if_each_container_had_been_looked_at(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(order, "MOST", 8)
    fill_at_random(store, random.Random(seed))
    few = items_on_record(store, replicas_on_record(store), now=NOW, apart=8)
    assert sum(item.count for item in few) == len(every_item(store)) > len(few)
    for slow in (1, 50, 10**9):
        terms = replace(TERMS, rate=(OVERHEAD + 400) / HOUR * slow)
        chosen = [due_checks(items, terms, now=NOW, draw=lambda: 1.0) for items in (few, every_item(store))]
        places = [[(one.target, one.read_at(NOW)) for one in some] for some in chosen]
        assert places[0] == places[1]
        assert all(one.count == 1 for one in chosen[0])


def test_how_verification_stands_and_what_is_next_cost_no_more_where_backups_have_more_containers(
    tmp_path: Path,
) -> None:
    def costs(containers: int) -> list[int]:
        store = RunStore(f"sqlite:///{tmp_path}/{containers}.db")
        for number in range(20):
            # Of those that were not read for longest, the containers are looked at.
            backup, many, at = f"b{number}", containers if number > 1 else 5, NOW - 20 + number
            store.put_backup(entry(backup, containers=many), [replica(backup, "eu")])
            checks = [
                ContainerCheck(backup=backup, target="eu", piece=piece, depth=Depth.COMPARED, checked_at=at)
                for piece in range(MANIFEST, many)
            ]
            put_read(store, replica(backup, "eu"), many, checks)
        work = Work(store)
        spent = [
            work.of(lambda: standing(store, SCOPE, now=NOW)),
            work.of(lambda: items_on_record(store, replicas_on_record(store), now=NOW, apart=10)),
        ]
        store.close()
        return spent

    assert all(few <= many <= few + 100 for few, many in zip(costs(5), costs(500), strict=True))
