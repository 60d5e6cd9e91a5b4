"""A whole backup to three live regions of which one misbehaves.

The backup is made by the other two, the one is said to lack it, and a repair brings it up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from strongroom.model import Depth
from strongroom.operations.archive.open import open_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted
from strongroom.state.records import Run, RunState
from strongroom.targets import Target
from tests.live.certificates import server_context
from tests.live.ministack import MiniStack
from tests.live.proxy import (
    Answer,
    Call,
    Fault,
    FaultyProxy,
    FlipReply,
    FlipRequest,
    Hold,
    LoseReply,
    Reset,
    Truncate,
    When,
    always,
)
from tests.live.regions import SLOW_SECONDS, Region, azure_region, s3_region
from tests.operations.world import World, made_up, make_world, names_on

SECRETS = 6
FAULTY = "us"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault that stays for the whole of a backup, and which requests it meets."""

    fault: Callable[[Region], Fault]
    when: Callable[[Region], When] = lambda _: always


STAYING = {
    "answers-503": Case(fault=lambda _: Answer(503)),
    "resets": Case(fault=lambda _: Reset()),
    "never-answers": Case(fault=lambda _: Hold()),
    "cuts-answers-short": Case(fault=lambda _: Truncate(0), when=lambda region: region.reads),
    "flips-a-bit-there": Case(fault=lambda _: FlipRequest(9), when=lambda region: region.sends),
    "flips-a-bit-back": Case(fault=lambda _: FlipReply(9), when=lambda region: region.reads),
    "is-full": Case(fault=lambda region: region.full, when=lambda region: region.sends),
    "takes-all-and-keeps-nothing": Case(
        fault=lambda _: Answer(201, {"ETag": '"kept"'}), when=lambda region: region.sends
    ),
    "answers-with-other-bytes": Case(
        fault=lambda _: Answer(200, {"Content-Range": "bytes 0-4/5"}, b"other"),
        when=lambda region: region.reads,
    ),
    "refuses-the-clock": Case(fault=lambda region: region.skewed),
}


@pytest.fixture(params=["s3", "azure"])
def region(request: pytest.FixtureRequest, tmp_path: Path) -> Region:
    """The region that is going to misbehave."""
    if request.param == "s3":
        return s3_region(request.getfixturevalue("third_ministack"), tmp_path, name=FAULTY)
    return azure_region(request.getfixturevalue("azurite"), tmp_path, name=FAULTY)


@pytest.fixture
def others(ministack: MiniStack, other_ministack: MiniStack, tmp_path: Path) -> dict[str, Region]:
    return {
        "eu": s3_region(ministack, tmp_path, name="eu"),
        "ap": s3_region(other_ministack, tmp_path, name="ap"),
    }


class Fleet:
    """An installation over live regions; each :meth:`targets` is what a fresh process would have."""

    def __init__(self, folder: Path, regions: Mapping[str, Region], url: str, **options: object) -> None:
        self._regions = regions
        self._url = url
        self.options = options
        built = make_world(folder, secrets=made_up(SECRETS), pieces=1)
        self.world: World = built.with_targets(self.targets())

    def targets(self) -> dict[str, Target]:
        return {
            name: region.target(self._url, **self.options) if name == FAULTY else region.target()
            for name, region in self._regions.items()
        }

    def process(self) -> Services:
        return self.world.services(targets=self.targets())


def finish(submitted: Submitted, services: Services) -> Run:
    run, tickets = submitted
    return drive(run, tickets, services, processes=1)


def good(services: Services, backup: str) -> set[str]:
    return {replica.target for replica in services.store.replicas(backup) if replica.good}


def check_brought_up(fleet: Fleet, backup: str) -> None:
    """Repair, verify every value on every target, and open the once missing replica alone."""
    services = fleet.process()
    repaired = finish(submit_repair(services, backup=backup), services)
    assert repaired.state is RunState.DONE, repaired.error
    verified = finish(submit_verify(services, backup=backup, depth=Depth.COMPARED), services)
    assert verified.state is RunState.DONE, verified.error
    assert good(services, backup) == {"eu", "ap", FAULTY}
    us = services.target(FAULTY)
    assert names_on(us) == names_on(services.target("eu"))
    opened = open_backup(us, identities=[fleet.world.identity], trusted=services.signer_fingerprints)
    assert sorted(secret.name for secret in opened.secrets()) == [s.name for s in made_up(SECRETS)]


@pytest.mark.sampled(every=8)
@pytest.mark.parametrize("case", STAYING.values(), ids=STAYING.keys())
def test_one_region_s_fault_degrades_a_backup_and_repair_brings_it_up(
    tmp_path: Path, region: Region, others: dict[str, Region], case: Case
) -> None:
    with FaultyProxy(region.port) as proxy:
        rule = proxy.fail(case.fault(region), when=case.when(region), times=None)
        waits = {"seconds": SLOW_SECONDS} if isinstance(rule.fault, Hold) else {}
        fleet = Fleet(tmp_path, {**others, FAULTY: region}, proxy.url, **waits)

        services = fleet.process()
        run = fleet.world.back_up(services)

        assert rule.met
        assert run.state is RunState.DEGRADED, run.error
        assert FAULTY in (run.error or "")
        assert good(services, run.id) == {"eu", "ap"}
        if isinstance(rule.fault, Hold):
            rule.fault.release()
        proxy.heal()
        fleet.options.clear()  # it answers, as fast as this machine lets it
        check_brought_up(fleet, run.id)


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
def test_a_region_that_loses_its_replies_to_puts_holds_the_backup_all_the_same(
    tmp_path: Path, region: Region, others: dict[str, Region], times: int | None
) -> None:
    with FaultyProxy(region.port) as proxy:
        fleet = Fleet(tmp_path, {**others, FAULTY: region}, proxy.url)
        rule = proxy.fail(LoseReply(), when=region.makes_visible, times=times)

        services = fleet.process()
        run = fleet.world.back_up(services)

        assert rule.met
        assert run.state is RunState.DONE, run.error
        assert good(services, run.id) == {"eu", "ap", FAULTY}
        assert names_on(services.target(FAULTY)) == names_on(services.target("eu"))


@pytest.mark.sampled(every=2)
def test_a_region_whose_certificate_expired_degrades_a_backup_and_hears_nothing(
    tmp_path: Path, region: Region, others: dict[str, Region]
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    expired, old = server_context(tmp_path / "old", expired=True)
    renewed, new = server_context(tmp_path / "new")
    authorities = tmp_path / "both.pem"
    authorities.write_bytes(old.read_bytes() + new.read_bytes())
    regions = {**others, FAULTY: region}
    with FaultyProxy(region.port, tls=expired) as proxy:
        fleet = Fleet(tmp_path, regions, proxy.url, ca_bundle=authorities)
        services = fleet.process()
        run = fleet.world.back_up(services)
        assert (run.state, proxy.requests) == (RunState.DEGRADED, [])
        assert good(services, run.id) == {"eu", "ap"}
        port = proxy.port
    with FaultyProxy(region.port, tls=renewed, port=port):
        check_brought_up(fleet, run.id)


def test_a_region_that_is_killed_during_the_upload_and_back_later_is_brought_up(
    tmp_path: Path, own_ministack: MiniStack, others: dict[str, Region]
) -> None:
    region = s3_region(own_ministack, tmp_path, name=FAULTY)
    with FaultyProxy(region.port) as proxy:
        fleet = Fleet(tmp_path, {**others, FAULTY: region}, proxy.url)
        before = fleet.world.back_up(fleet.process())
        assert before.state is RunState.DONE, before.error
        proxy.fail(Call(lambda _: own_ministack.kill()), when=region.makes_visible)

        services = fleet.process()
        run = fleet.world.back_up(services)

        assert run.state is RunState.DEGRADED, run.error
        assert good(services, before.id) == {"eu", "ap", FAULTY}
        assert good(services, run.id) == {"eu", "ap"}
        own_ministack.start()
        check_brought_up(fleet, run.id)


def test_two_regions_at_fault_make_no_backup_and_leave_nothing_that_looks_like_one(
    tmp_path: Path, region: Region, others: dict[str, Region]
) -> None:
    with FaultyProxy(region.port) as proxy, FaultyProxy(others["ap"].port) as second:
        fleet = Fleet(tmp_path, {**others, FAULTY: region}, proxy.url, pause=1.0)
        for one in (proxy, second):
            one.fail(Answer(503), times=None)
        targets = {**fleet.targets(), "ap": others["ap"].target(second.url, pause=1.0)}
        world = fleet.world.with_targets(targets)

        run = world.back_up(world.services())

        assert run.state is RunState.FAILED
        assert not any(name.startswith("manifests/") for name in names_on(others["eu"].target()))
