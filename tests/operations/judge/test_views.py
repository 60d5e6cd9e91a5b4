"""One text for one thing, and one count in every view, whatever the facts are."""

from __future__ import annotations

from collections import Counter
from html import unescape
from itertools import chain
from random import Random
from typing import Any

import pytest
from msgspec.structs import fields, replace

from strongroom.alert_kinds import KINDS, Severity
from strongroom.operations.engine.findings import Finding, FindingState
from strongroom.operations.engine.muted import Muted, Silence
from strongroom.operations.judge.fact_records import AlertLimits, InstallationFacts
from strongroom.operations.judge.judgement import judge
from strongroom.operations.judge.kinds import alerts_of
from strongroom.operations.judge.metrics import MEASURES, Observed
from strongroom.operations.notify.message import tell
from strongroom.operations.show.frame import PageFacts, alerts_in_words
from strongroom.operations.show.overview import alerts as page_of_alerts
from strongroom.words import plural
from tests.operations.judge.test_rules import CASES, GRAVE

ALL = [facts for _, quiet, loud in (*CASES, *GRAVE) for facts in (quiet, loud)]


def mixed(seed: int) -> InstallationFacts:
    """Return facts of which each part is that of one of the rules' cases, by lot."""
    chance = Random(seed)
    parts: dict[str, Any] = {
        field.name: getattr(chance.choice(ALL), field.name)
        for field in fields(InstallationFacts)
        if field.name != "now"
    }
    parts["policies"] = tuple(
        {policy.name: policy for one in chance.sample(ALL, 3) for policy in one.policies}.values()
    )
    parts["state"] = None if chance.random() < 0.9 else parts["state"]
    return InstallationFacts(now=ALL[0].now, **parts)


def measured(facts: InstallationFacts, alerts: tuple[Finding, ...]) -> Counter[tuple[str, ...]]:
    seen = Observed(facts=facts, limits=AlertLimits(), version="1", look=facts, alerts=alerts)
    [measure] = [one for one in MEASURES if one.name == "strongroom_alerts"]
    return +Counter({labels: int(value or 0) for labels, value in measure.samples(seen)})


@pytest.mark.parametrize("seed", range(150))
def test_every_view_counts_the_same(seed: int) -> None:
    facts = mixed(seed)
    findings = judge(facts, AlertLimits())
    alerts = alerts_of(findings)
    by_state = Counter(one.state for one in findings)
    critical = sum(one.severity is Severity.CRITICAL for one in alerts)
    assert (by_state[FindingState.WRONG], by_state[FindingState.WARNING]) == (
        critical,
        len(alerts) - critical,
    )

    counted = Counter((one.kind, one.severity.value) for one in alerts)
    assert measured(facts, alerts) == counted
    telling = tell(alerts, (), repeat=1.0, now=facts.now)
    assert Counter((one.alert.kind, one.alert.severity.value) for one in telling.items) == counted
    shown = PageFacts(facts=facts, limits=AlertLimits(), alerts=alerts, version="1")
    page = unescape(page_of_alerts(shown).decode())
    assert all(one.what in page for one in alerts)
    if critical:
        assert alerts_in_words(alerts, Muted()).startswith(plural(critical, "critical alert"))


@pytest.mark.parametrize("seed", range(150))
def test_a_thing_is_judged_once(seed: int) -> None:
    findings = judge(mixed(seed), AlertLimits())
    bad = Counter((one.kind, one.subject) for one in findings if one.is_alert)
    assert [key for key, many in bad.items() if many > 1] == []
    said = Counter(one.what for one in findings)
    assert [what for what, many in said.items() if many > 1] == []


def test_no_kind_has_two_texts_or_hints() -> None:
    found = list(chain.from_iterable(judge(facts, AlertLimits()) for facts in ALL))
    alerts = [one for one in found if one.is_alert]
    assert {one.kind for one in alerts} == set(KINDS)
    for one in alerts:
        kind = KINDS[one.kind]
        assert (one.means, one.to_do) == (kind.means, kind.do.format(subject=one.subject))
        assert (one.check, one.severity in kind.severities) == (kind.area, True)
    assert (
        len({kind.means for kind in KINDS.values()})
        == len({kind.do for kind in KINDS.values()})
        == len(KINDS)
    )


@pytest.mark.parametrize("seed", range(40))
def test_what_is_silenced_is_so_for_every_message_and_stays_on_every_look(seed: int) -> None:
    alerts = alerts_of(judge(mixed(seed), AlertLimits()))
    for one in alerts:
        silence = Silence(id="s", pattern=one.key, since=0.0, until=9e9, by="ann", reason="known")
        told = tell(alerts, (), repeat=1.0, now=0.0, muted=Muted(silences=(silence,)))
        left = Counter(other.key for other in alerts if not silence.covers(other.key))
        assert Counter(item.alert.key for item in told.items) == left


def test_a_good_thing_is_said_too() -> None:
    quiet = replace(ALL[0], beat_age=10.0)
    assert {one.state for one in judge(quiet, AlertLimits())} >= {FindingState.GOOD}
