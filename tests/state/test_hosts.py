"""What hosts leave for each other in the database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text

from strongroom.state.migrations import HEAD
from strongroom.state.store import RunStore


def test_a_process_is_heard_of_until_it_is_silent(store: RunStore) -> None:
    store.report_process("ada", "seal", version="0.1.0")
    store.report_process("ada", "beat", version="0.1.0")
    store.report_process("bob", "seal", version="0.2.0", schema="0014")
    with store._database.writing() as conn:
        conn.execute(
            text("UPDATE processes SET heard_at = heard_at - 61 WHERE host = 'ada' AND role = 'seal'")
        )
    beat, sealing, newer = store.processes()
    assert (beat.host, beat.role, beat.schema, beat.lives) == ("ada", "beat", HEAD, True)
    assert (sealing.role, sealing.lives) == ("seal", False)
    assert (newer.host, newer.version, newer.schema) == ("bob", "0.2.0", "0014")


def test_a_host_that_nobody_has_to_remove_is_forgotten_a_day_after_it_was_last_heard(store: RunStore) -> None:
    for host in ("ada", "pod-1", "pod-2"):
        store.report_process(host, "seal", version="0.1.0")
    with store._database.writing() as conn:
        conn.execute(text("UPDATE processes SET heard_at = heard_at - 86000 WHERE host = 'pod-2'"))
        conn.execute(text("UPDATE processes SET heard_at = heard_at - 86500 WHERE host <> 'pod-2'"))
    store.forget_silent(listed={"ada"})
    assert [process.host for process in store.processes()] == ["ada", "pod-2"]
    store.forget_silent(listed=())
    assert [process.host for process in store.processes()] == ["pod-2"]


def test_of_two_hosts_with_one_token_one_gets_it(store: RunStore) -> None:
    store.put_join("t", digest="d", parcel=b"sealed", seconds=60)
    with ThreadPoolExecutor(8) as threads:
        used = list(
            threads.map(lambda n: store.use_join("t", digest="d", host=f"h{n}", request=f"r{n}"), range(8))
        )
    [winner] = [record for record in used if record is not None]
    assert store.use_join("t", digest="d", host=str(winner.used_by), request=str(winner.request)) == winner
    assert [event.detail["host"] for event in store.events(kind="cluster.token-used")] == [winner.used_by]
    assert [request.used_by for request in store.requests()] == [winner.used_by]
    store.end_join("t")
    assert store.requests() == []


def test_a_token_that_is_over_or_of_another_secret_is_not_used(store: RunStore) -> None:
    store.put_join("over", digest="d", parcel=b"sealed", seconds=-1)
    store.put_join("good", digest="d", parcel=b"sealed", seconds=60)
    assert store.use_join("over", digest="d", host="h", request="r") is None
    assert store.use_join("good", digest="x", host="h", request="r") is None
    assert store.use_join("none", digest="d", host="h", request="r") is None
    assert store.events(kind="cluster.token-used") == []


def test_lists_are_read_from_the_highest_down(store: RunStore) -> None:
    for number in (3, 1, 2):
        store.put_list("hosts", number, b"list %d" % number)
    store.put_list("hosts", 3, b"list 3")
    store.put_list("trust", 9, b"other")
    assert store.newest_lists("hosts", after=2) == [b"list 3", b"list 2"]
