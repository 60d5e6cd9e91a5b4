"""What frameworks demand: each requirement met and unmet, and each control no better than its worst check."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine, text

from strongroom.alert_kinds import KINDS, UNCOVERED
from strongroom.container.marks import HEAD, LedgerHead
from strongroom.operations.engine.findings import Finding, FindingState, good, remark, unknown, wrong
from strongroom.operations.errors import RequirementUnmet
from strongroom.operations.evidence import compliance as evidence_controls
from strongroom.operations.evidence import ledger_heads
from strongroom.operations.evidence.compliance import (
    FRAMEWORKS,
    TEXTS,
    Assessed,
    ControlState,
    Demands,
    Framework,
    assess,
    require,
)
from strongroom.operations.evidence.reports import report_of, sheet_of_compliance
from strongroom.operations.judge.fact_records import AlertLimits, InstallationFacts, WatchedInstallation
from strongroom.operations.judge.facts_on_record import signs
from strongroom.operations.judge.judgement import ledger
from strongroom.targets.errors import TargetUnavailable
from strongroom.times import rfc3339
from tests.operations.evidence.test_ledger_heads import junk
from tests.operations.world import REGIONS, World, make_world

FULL = Demands(
    name="weekly",
    values=True,
    sealed=True,
    schedule="0 2 * * 0",
    offline=False,
    erasable=True,
    quorum=2,
    regions=2,
    locking=("eu",),
    unyielding=("eu",),
    minimum_retention_days=365,
    why_short=None,
    keys={"hsm": "pkcs11"},
)
SAFE = replace(FULL, name="safe", offline=True, quorum=1, regions=1)


def states(*policies: Demands, told: int = 1) -> dict[str, FindingState]:
    """Return the worst state of each check."""
    order, found = list(FindingState), dict[str, FindingState]()
    for one in require(policies, told=told):
        found[one.check] = min(found.get(one.check, FindingState.GOOD), one.state, key=order.index)
    return found


def test_an_installation_that_has_it_all_meets_everything() -> None:
    found = states(FULL, SAFE)
    assert set(found.values()) == {FindingState.GOOD}
    assert found.keys() == {
        *("copies", "custody", "erasure", "locks", "monitoring"),
        *("offline", "retention", "schedule", "sealing"),
    }


@pytest.mark.parametrize(
    ("changed", "check", "state"),
    [
        ({"quorum": 1}, "copies", FindingState.WRONG),
        ({"regions": 1}, "copies", FindingState.WRONG),
        ({"keys": {"words": "passphrase", "file": "keyfile", "pair": "hpke"}}, "custody", FindingState.WRONG),
        ({"keys": {"hsm": "pkcs11", "words": "passphrase"}}, "custody", FindingState.REMARK),
        ({"keys": {"board": "quorum"}}, "custody", FindingState.GOOD),
        ({"minimum_retention_days": 364}, "retention", FindingState.WRONG),
        ({"minimum_retention_days": 90, "why_short": "contract"}, "retention", FindingState.REMARK),
        ({"schedule": None}, "schedule", FindingState.WRONG),
        ({"locking": (), "unyielding": ()}, "locks", FindingState.REMARK),
        ({"erasable": False}, "erasure", FindingState.REMARK),
    ],
)
def test_what_a_policy_lacks_is_told_under_its_own_check(
    changed: dict[str, Any], check: str, state: FindingState
) -> None:
    one = replace(FULL, **changed)
    found = states(one)
    assert found.pop(check) is state
    found.pop("offline")
    found.pop("erasure", None)
    assert set(found.values()) == {FindingState.GOOD}


def test_nothing_offline_and_nobody_told_are_found() -> None:
    assert states(FULL)["offline"] is FindingState.REMARK
    assert states(FULL, told=0)["monitoring"] is FindingState.WRONG


def test_names_alone_are_no_backup() -> None:
    plain = replace(FULL, values=False, sealed=False)
    found = states(plain)
    assert [found[check] for check in ("copies", "custody", "retention", "schedule", "sealing")] == [
        FindingState.WRONG
    ] * 5


EVERY = sorted({check for controls in FRAMEWORKS.values() for one in controls for check in one.checks})


def test_every_check_that_a_control_rests_on_is_one_that_somebody_makes() -> None:
    made = {
        *(kind.area for kind in KINDS.values()),
        *(
            value
            for name, value in vars(evidence_controls).items()
            if name.isupper() and isinstance(value, str)
        ),
    }
    assert set(EVERY) <= made


def of(findings: list[Finding], number: str, framework: Framework = Framework.SOC2) -> Assessed:
    [one] = [control for control in assess(framework, findings) if control.number == number]
    return one


ALL_GOOD = [good(check, "fine") for check in EVERY]


def test_everything_good_meets_every_control_but_those_that_nobody_can_see() -> None:
    for framework in Framework:
        for control in assess(framework, ALL_GOOD):
            met = ControlState.SEEN if control.beyond else ControlState.MET
            assert control.verdict is (met if control.findings else ControlState.YOURS)
            assert control.findings or control.beyond


@pytest.mark.parametrize("check", EVERY)
@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (lambda check: wrong(check, RequirementUnmet("lacking")), ControlState.UNMET),
        (lambda check: unknown(check, TargetUnavailable("away")), ControlState.UNKNOWN),
        (lambda check: None, ControlState.UNKNOWN),
    ],
)
def test_a_control_is_no_better_than_any_of_its_checks(
    check: str, finding: Any, verdict: ControlState
) -> None:
    others = [one for one in ALL_GOOD if one.check != check]
    findings = others + [one for one in (finding(check),) if one]
    for framework, controls in FRAMEWORKS.items():
        for control, assessed in zip(controls, assess(framework, findings), strict=True):
            if check in control.checks:
                assert assessed.verdict is verdict


def test_a_remark_is_met_but_where_a_recovery_has_to_be_tested() -> None:
    assert of([*ALL_GOOD, remark("locks", "none")], "C1.1").verdict is ControlState.REMARKED
    never = [one for one in ALL_GOOD if one.check != "drills"] + [remark("drills", "never rehearsed")]
    assert of(never, "A1.3").verdict is ControlState.UNMET


def test_where_no_one_may_hold_a_whole_key_or_remove_a_record_a_remark_is_not_met() -> None:
    alone = [*ALL_GOOD, remark("custody", "one person with 'words' can open its backups alone")]
    assert of(alone, "3.7.6", Framework.PCI_DSS).verdict is ControlState.UNMET
    assert of(alone, "3.6.1", Framework.PCI_DSS).verdict is ControlState.REMARKED
    loose = [*ALL_GOOD, remark("locks", "anyone who may delete on its targets can remove it")]
    assert of(loose, "A.5.33", Framework.ISO27001).verdict is ControlState.UNMET


def test_keeping_for_long_is_no_deletion() -> None:
    short = [*ALL_GOOD, wrong("retention", RequirementUnmet("kept for 30 days"))]
    assert of(short, "A.8.10", Framework.ISO27001).verdict is ControlState.SEEN


def test_of_a_lock_that_a_right_ends_nobody_says_that_nobody_can() -> None:
    def said(policy: Demands) -> str:
        [one] = [one for one in require([policy], told=1) if one.check == "locks"]
        return one.what

    assert "nobody can remove it" in said(FULL)
    assert "without the right to end a lock" in said(replace(FULL, unyielding=()))


# -- the record as evidence ------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def of_record(
    world: World, *, now: float | None = None, targets: Sequence[str] = REGIONS
) -> list[tuple[FindingState, str]]:
    services, moment = world.services(), time.time() if now is None else now
    watched = WatchedInstallation(
        store=lambda: services.store,
        targets=services.targets,
        trusted=services.signer_fingerprints,
        policies=(),
        hold_ledger=lambda: ledger_heads.compare_with_heads(services, targets),
    )
    facts = InstallationFacts(now=moment, signs=signs(services.store, watched, now=moment))
    return [(finding.state, finding.what) for finding in ledger(facts, AlertLimits())]


def test_a_record_whose_head_lies_signed_on_targets_is_evidence_until_more_is_old(world: World) -> None:
    services = world.services()
    services.store.event("key.proven", key="k")
    later = time.time() + UNCOVERED + 60
    assert [state for state, _ in of_record(world)] == [FindingState.GOOD, FindingState.REMARK]
    assert [state for state, _ in of_record(world, now=later)] == [FindingState.GOOD, FindingState.WARNING]
    ledger_heads.publish(services, list(services.targets))
    assert [state for state, _ in of_record(world)] == [FindingState.GOOD, FindingState.GOOD]
    assert [state for state, _ in of_record(world, now=later)] == [FindingState.GOOD, FindingState.GOOD]
    services.store.event("key.proven", key="k")
    assert [state for state, _ in of_record(world)] == [FindingState.GOOD, FindingState.GOOD]
    assert [state for state, _ in of_record(world, now=later)] == [FindingState.GOOD, FindingState.WARNING]


def test_a_head_of_a_clock_that_went_ahead_makes_no_later_event_safe(world: World) -> None:
    services = world.services()
    services.store.event("key.proven", key="k")
    [link] = services.store.links()
    head = LedgerHead(
        ledger=link.chain,
        event=1,
        at=rfc3339(link.at),
        sha256=link.chain,
        made_at="2999-01-01T00:00:00Z",
        trust=0,
    )
    signer, trusted = services.signers("control"), services.signer_fingerprints
    ledger_heads.put(services.target("eu"), head, HEAD.sign(head, signer), trusted)
    services.store.event("key.proven", key="k")
    assert of_record(world, now=time.time() + UNCOVERED + 60)[1][0] is FindingState.WARNING
    ledger_heads.publish(services, list(services.targets))
    assert "event 2" in of_record(world, now=time.time() + UNCOVERED + 60)[1][1]


def test_a_record_that_was_held_against_nothing_is_no_evidence(world: World) -> None:
    services = world.services()
    services.store.event("key.proven", key="k")
    found = of_record(world, now=time.time() + UNCOVERED + 60, targets=())
    assert [state for state, _ in found] == [FindingState.GOOD, FindingState.WARNING]


def test_a_target_that_was_not_looked_through_is_not_known(world: World) -> None:
    services = world.services()
    services.store.event("key.proven", key="k")
    done = ledger_heads.publish(services, list(services.targets))
    assert done.head is not None
    junk(world, done.head, ledger=done.head.ledger)
    states = [state for state, _ in of_record(world)]
    assert states == [FindingState.GOOD, *[FindingState.UNKNOWN] * 3]


def test_another_record_on_a_target_is_remarked_on(world: World) -> None:
    services = world.services()
    services.store.event("key.proven", key="k")
    services.store.event("key.proven", key="k")
    ledger_heads.publish(services, ["eu"])
    engine = create_engine(world.database)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM events"))
    engine.dispose()
    services.store.event("key.proven", key="k")
    ledger_heads.publish(services, list(services.targets))
    assert [state for state, _ in of_record(world)] == [
        FindingState.GOOD,
        FindingState.GOOD,
        FindingState.REMARK,
    ]


def test_a_record_that_was_edited_is_none(world: World) -> None:
    services = world.services()
    services.store.event("key.proven", key="k")
    ledger_heads.publish(services, list(services.targets))
    engine = create_engine(world.database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE events SET kind = 'key.failed'"))
    engine.dispose()
    assert [state for state, _ in of_record(world)] == [FindingState.WRONG]


# -- what each framework says ------------------------------------------------------------


def test_every_framework_names_its_text_and_each_control_once() -> None:
    assert FRAMEWORKS.keys() == TEXTS.keys() == set(Framework)
    for controls in FRAMEWORKS.values():
        numbers = [one.number for one in controls]
        assert len(numbers) == len(set(numbers))
        assert all(one.checks or one.beyond for one in controls), (
            "each says what it rests on, or that it is yours"
        )


@pytest.mark.parametrize(
    ("framework", "number"),
    [
        (Framework.HIPAA, "§ 164.308(a)(7)(ii)(A)"),
        (Framework.DORA, "Art. 12(2)"),
        (Framework.NIS2, "Art. 21(2)(c)"),
        (Framework.NIST_CSF, "PR.DS-11"),
    ],
)
def test_each_frameworks_control_of_backups_is_not_met_without_a_good_backup(
    framework: Framework, number: str
) -> None:
    def verdict(backups: Finding) -> ControlState:
        checks = {check for one in FRAMEWORKS[framework] for check in one.checks} - {"backups"}
        findings = [backups, *(good(check, "well") for check in checks)]
        [one] = (one for one in assess(framework, findings) if one.number == number)
        return one.verdict

    assert verdict(good("backups", "well")) in (ControlState.MET, ControlState.SEEN)
    assert verdict(wrong("backups", RequirementUnmet("there is none"))) is ControlState.UNMET


def test_the_report_holds_each_finding_with_its_check_and_what_is_yours_to_show() -> None:
    answer = {Framework.DORA: assess(Framework.DORA, [wrong("drills", RequirementUnmet("<none> rehearsed"))])}
    report = report_of(answer, last=None, now=0)
    page, table = sheet_of_compliance(report).html().decode(), sheet_of_compliance(report).csv().decode()
    assert "&lt;none&gt; rehearsed" in page
    assert "Yours to show: the reports." in page
    assert TEXTS[Framework.DORA] in page
    rows = list(csv.DictReader(io.StringIO(table)))
    assert {row["control"] for row in rows} == {one.number for one in FRAMEWORKS[Framework.DORA]}
    [yearly] = (row for row in rows if row["control"] == "Art. 11(6)(a)")
    assert (yearly["verdict"], yearly["check"], yearly["found"]) == ("not met", "drills", "<none> rehearsed")
