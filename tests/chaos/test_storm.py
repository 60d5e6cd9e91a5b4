"""That the plan and the verdict of ``make chaos`` are what they say; in ``make test-long`` one storm too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from strongroom.config import load_settings
from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine.drive import drive
from strongroom.sources.local import LocalStore
from strongroom.state.records import Run, RunState
from strongroom.wiring.services import build_services
from tests.chaos import clear_sky, errands
from tests.chaos.place import POLICY, made_up, make_place
from tests.chaos.series import line, may_mount, storm, summary, unshown
from tests.chaos.storm import Result
from tests.chaos.weather import NAMES, plan
from tests.redis_server import server_program

SEED = 2


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(server_program() is None, reason="no redis-server on the path; 'make services'")
def test_a_backup_asked_for_in_a_storm_ends_and_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    assert storm(SEED, tmp_path, 8, mounts=may_mount()).broken == ()


def test_the_same_seed_plans_the_same_storm() -> None:
    assert [plan(seed, postgresql=True, mounts=True) for seed in range(50)] == [
        plan(seed, postgresql=True, mounts=True) for seed in range(50)
    ]


def test_a_hundred_seeds_plan_every_action() -> None:
    planned = {
        action.name for seed in range(100) for action in plan(seed, postgresql=bool(seed % 2), mounts=True)
    }
    assert planned == set(NAMES)


def test_a_hundred_seeds_plan_every_errand_and_the_same_seed_the_same() -> None:
    planned = [errands.plan(seed, clock=True) for seed in range(100)]
    assert planned == [errands.plan(seed, clock=True) for seed in range(100)]
    assert {name for one in planned for name in one.names} | {"undo"} == set(errands.NAMES)
    assert not any(errands.plan(seed, clock=False).prune for seed in range(100))


def test_where_nothing_can_be_mounted_no_disk_fills() -> None:
    planned = {action.name for seed in range(100) for action in plan(seed, postgresql=True, mounts=False)}
    assert not [name for name in planned if "full" in name or "read-only" in name]


def result(**changed: Any) -> Result:
    plain = Result(
        seed=1, database="sqlite", seconds=1.0, actions=("beat killed@1%",), ended="done", said="", broken=()
    )
    return structs.replace(plain, **changed)


def test_a_series_tells_what_was_broken_and_what_it_did_not_show() -> None:
    assert "BROKEN" in line(result(broken=("odd",)))
    told = summary([result(), result(seconds=7.0), result(seconds=4.0, broken=("odd",))])
    assert "1 broken" in told
    assert "seconds a storm: 1 to 7, median 4" in told
    missing = unshown([result()], mounts=True)
    assert "no storm had 'stage full'" in missing
    assert not any("beat killed" in words for words in missing)
    assert not any("full" in words for words in unshown([result()], mounts=False))


def test_a_storm_that_gives_no_answer_is_broken(tmp_path: Path) -> None:
    taken = tmp_path / str(SEED)
    taken.write_text("no folder")
    assert "the harness ended with 1" in storm(SEED, tmp_path, 8, mounts=False).broken[0]


# -- the verdict: it finds each rule broken ------------------------------------------


class Ended:
    """A backup that ended well, on a machine without a cluster."""

    def __init__(self, root: Path) -> None:
        self.secrets = made_up(2, seed=1)
        self.place = make_place(root, self.secrets, opens=True)
        services = build_services(load_settings(dict(self.place.environment)), role="operator")
        run, tickets = submit_backup(services, policy=POLICY)
        self.run = drive(run, tickets, services, processes=1)
        self.store = services.store
        self.site: Any = SimpleNamespace(
            place=self.place,
            secrets=self.secrets,
            store=self.store,
            postgres=None,
            cli=lambda *_: (0, {}, ""),
            older=(self.run.id,),
        )


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Ended]:
    made = Ended(tmp_path / "machine")
    with closing(made.store):
        yield made


def test_a_good_end_breaks_no_rule(ended: Ended) -> None:
    assert list(clear_sky._ended(ended.site, ended.run)) == []
    assert list(clear_sky._places(ended.site)) == []
    assert list(clear_sky._record(ended.site)) == []


def swept(ended: Ended) -> None:
    for name in ("region-a", "region-b", "region-c"):
        for found in list(ended.place.target(name).list("containers/")):
            ended.place.target(name).delete(found.name)


def other_values(ended: Ended) -> None:
    ended.site.secrets = made_up(2, seed=2)


def refused(ended: Ended) -> None:
    ended.site.cli = lambda *_: (15, {}, "tampered")


@pytest.mark.parametrize(
    ("harm", "said"),
    [(swept, "does not open"), (other_values, "other values"), (refused, "backups verify ends with 15")],
)
def test_a_replica_that_is_falsely_said_to_be_good_is_found(
    ended: Ended, harm: Callable[[Ended], None], said: str
) -> None:
    harm(ended)
    assert any(said in words for words in clear_sky._ended(ended.site, ended.run))


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.DEGRADED])
def test_a_run_that_does_not_say_why_is_found(ended: Ended, state: RunState) -> None:
    silent: Run = structs.replace(ended.run, state=state)
    assert any("does not say why" in words for words in clear_sky._ended(ended.site, silent))


@pytest.mark.parametrize(
    "place", ["regions/region-b/containers/x/y", "state/stage/runs/x", "regions/region-a/manifests/x.json"]
)
def test_whatever_was_left_is_found(ended: Ended, place: str) -> None:
    left = ended.place.root / place
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"left")
    assert list(clear_sky._places(ended.site))


def test_a_backup_that_was_swept_is_found(ended: Ended) -> None:
    swept(ended)
    assert any("lacks ['containers" in words for words in clear_sky._places(ended.site))


def test_a_submission_that_was_lost_is_found(ended: Ended) -> None:
    found = clear_sky.broken(ended.site, SimpleNamespace(accepted=["backup", "backup"]), [ended.run])  # type: ignore[arg-type]
    assert next(iter(found)) == "2 submissions were accepted, and 1 are on record"


# -- the judge of what was asked for besides ------------------------------------------


def test_an_earlier_backup_that_is_gone_without_a_successor_is_found(ended: Ended) -> None:
    assert list(errands.judge_older(ended.site)) == []
    region = ended.place.region("region-b")
    (region / "manifests" / f"{ended.run.id}.json").unlink()
    (region / errands.DELETED / ended.run.id).mkdir(parents=True)
    assert errands.pruned(ended.site) == 1
    assert any("where nothing newer is whole" in words for words in errands.judge_older(ended.site))


def test_an_earlier_backup_of_which_a_part_is_gone_is_found(ended: Ended) -> None:
    swept(ended)
    assert sum("does not open" in words for words in errands.judge_older(ended.site)) == 3


def test_a_restore_and_an_undo_that_left_other_values_are_found(ended: Ended) -> None:
    errands.arrange(ended.place, errands.Errands(restore=True))
    assert list(errands.judge_undo(ended.site)) == []
    assert list(errands.judge_restore(ended.site)) == []
    store = LocalStore(ended.place.root / errands.SPARE, name=errands.SPARE)
    versions = (SecretVersion(number=1, value=SecretBytes(b"CANARY-odd")),)
    store.import_([Secret(name="app/00001", versions=versions)])
    assert any("never had" in words for words in errands.judge_restore(ended.site))
    assert any("1 secrets are not as" in words for words in errands.judge_undo(ended.site))
