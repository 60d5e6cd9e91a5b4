"""One run with kills in every phase; ``make test-long`` has a run more for every kind of process.

``make chaos-kills`` makes as many as wanted, of large backups.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from strongroom.config import load_settings
from strongroom.model import Secret
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.layout import container_name
from strongroom.operations.engine.stage import staged_name
from strongroom.state.records import Replica, Run, RunState
from strongroom.state.store import RunStore
from strongroom.wiring.services import build_services
from tests.chaos.attempt import Outcome, attempt
from tests.chaos.monkey import Killed
from tests.chaos.place import POLICY, made_up, make_place
from tests.chaos.plan import LEAST, Kill, Phase, Victim, plan
from tests.chaos.table import line, summary, unshown
from tests.chaos.verdict import broken
from tests.redis_server import server_program

SEEDS = (22, 20, 21)
CONTAINERS = 24


@pytest.mark.timeout(1800)
@pytest.mark.skipif(server_program() is None, reason="no redis-server on the path; 'make services'")
@pytest.mark.parametrize(
    "seed", [SEEDS[0], *(pytest.param(seed, marks=pytest.mark.long) for seed in SEEDS[1:])]
)
def test_a_backup_ends_whole_verified_and_without_a_trace_whatever_is_killed(
    seed: int, tmp_path: Path
) -> None:
    assert list(attempt(seed, tmp_path / "machine", containers=CONTAINERS).violations) == []


# -- the plan -----------------------------------------------------------------------


def test_the_same_seed_plans_the_same_kills() -> None:
    assert [plan(seed) for seed in range(50)] == [plan(seed) for seed in range(50)]


def test_the_few_seeds_plan_every_phase_and_every_victim_and_the_first_alone_every_phase() -> None:
    kills = [kill for seed in SEEDS for kill in plan(seed)]
    assert {kill.victim for kill in kills} == set(Victim)
    assert {kill.phase for kill in plan(SEEDS[0])} == set(Phase)
    assert {kill.phase for kill in kills} == set(Phase)


def test_no_run_has_fewer_than_three_kills_before_its_commit_nor_two_of_one_kind() -> None:
    for seed in range(500):
        early = [kill.victim for kill in plan(seed) if kill.phase is not Phase.COMMIT]
        assert len(early) >= LEAST
        assert len(set(early)) == len(early)


def test_runs_that_show_too_little_are_told_apart_from_good_ones() -> None:
    kills = tuple(
        Killed(kill=Kill(victim=victim, phase=phase), at=0.0, processes=1)
        for victim in Victim
        for phase in Phase
    )
    outcome = Outcome(
        seed=1, seconds=1.0, pieces=2, captures=2, kills=kills, reconciled=1, stall=0.5, violations=()
    )
    idle = structs.replace(outcome, reconciled=0)
    calm = structs.replace(outcome, kills=kills[:2])

    assert list(unshown([outcome, *[idle] * 4])) == []
    assert list(unshown([outcome, *[idle] * 5])) == ["reconcile had to act in 1 of 6 runs only"]
    assert "no redis was killed" in list(unshown([calm]))
    assert "BROKEN" in line(structs.replace(outcome, violations=("odd",)))
    assert "1 broken" in summary([outcome, structs.replace(outcome, violations=("odd",))])


# -- the verdict: it finds each promise broken -------------------------------------------


class Ended:
    """A run that ended well, on a machine without a cluster."""

    def __init__(self, root: Path) -> None:
        self.secrets = made_up(2, seed=1)
        self.place = make_place(root, self.secrets)
        services = build_services(load_settings(dict(self.place.environment)), role="operator")
        run, tickets = submit_backup(services, policy=POLICY)
        self.run = drive(run, tickets, services, processes=1)
        self.store = services.store

    def broken(self, **changed: Any) -> list[str]:
        given: dict[str, Any] = {"run": self.run, "secrets": self.secrets, "killed": []}
        return broken(self.place, self.store, **(given | changed))

    def container(self) -> str:
        found = next(self.place.target("region-b").list("containers/"))
        return found.name


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Ended]:
    made = Ended(tmp_path / "machine")
    with closing(made.store):
        yield made


def test_a_run_that_kept_every_promise_is_found_good(ended: Ended) -> None:
    assert ended.broken() == []


def test_a_run_that_did_not_end_well_is_found(ended: Ended) -> None:
    assert ended.broken(run=structs.replace(ended.run, state=RunState.DEGRADED)) == ["ended degraded: None"]


def test_a_replica_that_nobody_verified_is_found(ended: Ended) -> None:
    unread = Replica(backup=ended.run.id, target="region-a", good=True, verified=None, verified_at=None)
    ended.store.set_replica(unread)
    assert any("region-a is not verified" in words for words in ended.broken())


@pytest.mark.parametrize(
    "name",
    [
        staged_name("run", 0, "ab" * 32),
        "runs/.left.part",
    ],
)
def test_anything_left_on_the_stage_is_found(ended: Ended, name: str) -> None:
    write(ended.place.stage / name)
    assert any("left on the stage" in words for words in ended.broken())


@pytest.mark.parametrize(
    "name",
    [
        container_name("20000101T000000Z-00000000", "ab" * 32),
        "manifests/20000101T000000Z-00000000.json",
        "containers/.ab.part",
    ],
)
def test_an_orphan_a_second_manifest_and_a_provisional_file_are_found(ended: Ended, name: str) -> None:
    write(ended.place.region("region-c") / name)
    assert any(words.startswith("region-c has") for words in ended.broken())


def test_a_missing_container_is_found(ended: Ended) -> None:
    (ended.place.region("region-b") / ended.container()).unlink()
    assert any(words.startswith("region-b cannot be opened") for words in ended.broken())


def test_a_damaged_container_is_found(ended: Ended) -> None:
    path = ended.place.region("region-b") / ended.container()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert any(words.startswith("region-b cannot be opened") for words in ended.broken())


def test_other_secrets_than_were_put_in_are_found(ended: Ended) -> None:
    other: list[Secret] = made_up(2, seed=2)
    assert sum("other secrets" in words for words in ended.broken(secrets=other)) == 3


def test_more_captures_than_pieces_and_kills_are_found(ended: Ended) -> None:
    again(ended.store, ended.run)
    kill = Killed(kill=Kill(victim=Victim.BEAT, phase=Phase.CAPTURE), at=0.0, processes=1)
    assert ended.broken(killed=[kill]) == []
    assert ended.broken() == ["3 captures of 2 pieces after 0 kills"]


@pytest.mark.parametrize(
    ("line", "is_crash"),
    [
        ('{"event": "process-exited", "child": "transfer", "status": -11}', True),
        ('Process "ForkPoolWorker-2" pid:7 exited with "signal 6 (SIGABRT)"', True),
        ('{"event": "process-exited", "child": "transfer", "status": -9}', False),
        ('{"event": "process-exited", "child": "beat", "status": 1}', False),
        ('Process "ForkPoolWorker-2" pid:7 exited with "signal 9 (SIGKILL)"', False),
    ],
)
def test_a_process_that_crashed_by_itself_is_found(ended: Ended, line: str, is_crash: bool) -> None:
    write(ended.place.state / "logs" / "transfer.log", f"{line}\n".encode())
    assert any("a process crashed" in words for words in ended.broken()) is is_crash


def again(store: RunStore, run: Run) -> None:
    """Note one more start of a capture than there was."""
    with store._database.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE steps SET attempts = 2 WHERE run = ? AND kind = 'capture' AND piece = 0", (run.id,)
        )


def write(path: Path, content: bytes = b"left over") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
