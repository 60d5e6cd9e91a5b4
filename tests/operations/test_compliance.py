"""What frameworks demand: each requirement met and unmet, and each control no better than its worst check."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine, text

from strongroom.errors import RequirementUnmet, TargetUnavailable
from strongroom.operations import health_catalog, health_runs, ledger_heads, requirements
from strongroom.operations.compliance import FRAMEWORKS, Assessed, Framework, Verdict, assess
from strongroom.operations.health import Finding, State, good, remark, unknown, wrong
from strongroom.operations.health_record import RECORD, YOUNG, record
from strongroom.operations.requirements import Demands, require
from tests.operations.world import World, make_world

FULL = Demands(
    name="weekly",
    values=True,
    sealed=True,
    schedule="0 2 * * 0",
    offline=False,
    erasable=True,
    quorum=2,
    regions=frozenset({"eu", "us"}),
    locking=("eu",),
    keep_days=365,
    why_short=None,
    keys={"hsm": "pkcs11"},
)
SAFE = replace(FULL, name="safe", offline=True, quorum=1, regions=frozenset({"safe"}))


def states(*policies: Demands, told: int = 1) -> dict[str, State]:
    """Return the worst state of each check."""
    order, found = list(State), dict[str, State]()
    for one in require(policies, told=told):
        found[one.check] = min(found.get(one.check, State.GOOD), one.state, key=order.index)
    return found


def test_an_installation_that_has_it_all_meets_everything() -> None:
    found = states(FULL, SAFE)
    assert set(found.values()) == {State.GOOD}
    assert found.keys() == {
        *("copies", "custody", "erasure", "locks", "monitoring"),
        *("offline", "retention", "schedule", "sealing"),
    }


@pytest.mark.parametrize(
    ("changed", "check", "state"),
    [
        ({"quorum": 1}, "copies", State.WRONG),
        ({"regions": frozenset({"eu"})}, "copies", State.WRONG),
        ({"keys": {"words": "passphrase", "file": "keyfile", "pair": "hpke"}}, "custody", State.WRONG),
        ({"keys": {"hsm": "pkcs11", "words": "passphrase"}}, "custody", State.REMARK),
        ({"keys": {"board": "quorum"}}, "custody", State.GOOD),
        ({"keep_days": 364}, "retention", State.WRONG),
        ({"keep_days": 90, "why_short": "contract"}, "retention", State.REMARK),
        ({"schedule": None}, "schedule", State.WRONG),
        ({"locking": ()}, "locks", State.REMARK),
        ({"erasable": False}, "erasure", State.REMARK),
    ],
)
def test_what_a_policy_lacks_is_told_under_its_own_check(
    changed: dict[str, Any], check: str, state: State
) -> None:
    one = replace(FULL, **changed)
    found = states(one)
    assert found.pop(check) is state
    found.pop("offline")
    found.pop("erasure", None)
    assert set(found.values()) == {State.GOOD}


def test_nothing_offline_and_nobody_told_are_found() -> None:
    assert states(FULL)["offline"] is State.REMARK
    assert states(FULL, told=0)["monitoring"] is State.WRONG


def test_names_alone_are_no_backup() -> None:
    plain = replace(FULL, values=False, sealed=False)
    found = states(plain)
    assert [found[check] for check in ("copies", "custody", "retention", "schedule", "sealing")] == [
        State.WRONG
    ] * 5


EVERY = sorted({check for controls in FRAMEWORKS.values() for one in controls for check in one.checks})


def test_every_check_that_a_control_rests_on_is_one_that_somebody_makes() -> None:
    made = {
        *(RECORD, health_catalog.BACKUPS, health_catalog.REPLICAS),
        *(health_runs.SLOTS, health_runs.DRILLS, health_runs.KEYS),
        *(value for name, value in vars(requirements).items() if name.isupper() and isinstance(value, str)),
    }
    assert set(EVERY) <= made


def of(findings: list[Finding], number: str, framework: Framework = Framework.SOC2) -> Assessed:
    [one] = [control for control in assess(framework, findings) if control.number == number]
    return one


ALL_GOOD = [good(check, "fine") for check in EVERY]


def test_everything_good_meets_every_control_but_those_that_nobody_can_see() -> None:
    for framework in Framework:
        for control in assess(framework, ALL_GOOD):
            assert control.verdict is (Verdict.MET if control.findings else Verdict.YOURS)
            assert control.findings or control.beyond


@pytest.mark.parametrize("check", EVERY)
@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (lambda check: wrong(check, RequirementUnmet("lacking")), Verdict.UNMET),
        (lambda check: unknown(check, TargetUnavailable("away")), Verdict.UNKNOWN),
        (lambda check: None, Verdict.UNKNOWN),
    ],
)
def test_a_control_is_no_better_than_any_of_its_checks(check: str, finding: Any, verdict: Verdict) -> None:
    others = [one for one in ALL_GOOD if one.check != check]
    findings = others + [one for one in (finding(check),) if one]
    for framework, controls in FRAMEWORKS.items():
        for control, assessed in zip(controls, assess(framework, findings), strict=True):
            if check in control.checks:
                assert assessed.verdict is verdict


def test_a_remark_is_met_but_where_a_recovery_has_to_be_tested() -> None:
    assert of([*ALL_GOOD, remark("locks", "none")], "C1.1").verdict is Verdict.REMARKED
    never = [one for one in ALL_GOOD if one.check != "drills"] + [remark("drills", "never rehearsed")]
    assert of(never, "A1.3").verdict is Verdict.UNMET


# -- the record as evidence ------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def of_record(world: World, *, now: float | None = None) -> list[tuple[State, str]]:
    services = world.services()
    moment = time.time() if now is None else now
    return [(one.state, one.what) for one in record(services, list(services.targets), now=moment)]


def test_a_record_whose_head_lies_signed_on_targets_is_evidence_until_that_is_old(world: World) -> None:
    services = world.services()
    services.store.event("key.proven", key="k")
    assert [state for state, _ in of_record(world)] == [State.GOOD, State.WRONG]
    ledger_heads.publish(services, list(services.targets))
    assert [state for state, _ in of_record(world)] == [State.GOOD, State.GOOD]
    assert [state for state, _ in of_record(world, now=time.time() + YOUNG + 60)] == [
        State.GOOD,
        State.WRONG,
    ]


def test_a_record_that_was_edited_is_none(world: World) -> None:
    services = world.services()
    services.store.event("key.proven", key="k")
    ledger_heads.publish(services, list(services.targets))
    engine = create_engine(world.database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE events SET kind = 'key.failed'"))
    engine.dispose()
    assert [state for state, _ in of_record(world)] == [State.WRONG]
