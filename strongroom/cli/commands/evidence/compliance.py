"""compliance-check: what a framework demands of backups, held against what is configured and on record."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence

from msgspec import to_builtins

from strongroom.cli.shared.health_areas import check_areas
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import Settings, load_settings
from strongroom.operations.errors import RequirementUnmet
from strongroom.operations.evidence.compliance import Assessed, Framework, Verdict, assess
from strongroom.operations.evidence.controls import Demands, require
from strongroom.operations.findings import Finding, State, attempted, unknown, worst_error
from strongroom.operations.health.ledger import RECORD, record
from strongroom.state.errors import RecordRefused, StateError
from strongroom.wiring.read_only import looking_services

_UNYIELDING = frozenset({"compliance", "locked"})
Answer = Mapping[Framework, Sequence[Assessed]]


def check_compliance(arguments: Namespace, output: Output) -> None:
    findings = list(_findings(load_settings()))
    answer = {one: assess(one, findings) for one in arguments.framework or Framework}
    output.answer(_document(answer), _lines(answer))
    unmet = [one for every in answer.values() for one in every if one.verdict in _BAD]
    if unmet:
        worst = worst_error(each for one in unmet for each in one.findings)
        raise worst or RequirementUnmet(f"{plural(len(unmet), 'control')} not met.")


def _findings(settings: Settings) -> Iterator[Finding]:
    """Yield all that the controls rest on: of the configuration, of the installation, of the record."""
    now = time.time()
    yield from require(_demands(settings), told=len(settings.alerts.email))
    yield from check_areas(settings, days=30, now=now)[0]
    try:
        services = looking_services(settings)
    except (StateError, RecordRefused) as error:
        yield unknown(RECORD, error)
        return
    yield from attempted(RECORD, lambda: record(services, settings.online, now=now), unknown)


def _demands(settings: Settings) -> Iterator[Demands]:
    for name, policy in settings.policies.items():
        locks = {target: getattr(settings.targets[target], "lock", "none") for target in policy.targets}
        yield Demands(
            name=name,
            values=policy.kind == "full",
            sealed=policy.sealed,
            schedule=policy.schedule,
            offline=policy.offline,
            erasable=policy.erasable,
            quorum=policy.quorum,
            regions=policy.regions,
            locking=tuple(one for one, lock in locks.items() if lock != "none"),
            unyielding=tuple(one for one, lock in locks.items() if lock in _UNYIELDING),
            minimum_retention_days=policy.minimum_retention_days,
            why_short=policy.short_retention_reason,
            keys={key: settings.keys[key].kind for key in policy.recipients},
        )


# -- for people and machines -------------------------------------------------------


_BAD = (Verdict.UNMET, Verdict.UNKNOWN)
_SHOWN = 3
"""Findings of a control that are shown; --json has all."""


def _document(answer: Answer) -> dict[str, object]:
    return {"frameworks": {framework.value: to_builtins(controls) for framework, controls in answer.items()}}


def _lines(answer: Answer) -> Iterator[str]:
    for framework, controls in answer.items():
        yield f"{framework}"
        for control in controls:
            yield f"  {control.number:<14}{control.verdict.value:<19}{control.demands}"
            yield from (f"  {'':<14}{line}" for line in _because(control))
        yield ""
    every = [control for controls in answer.values() for control in controls]
    counted = [(verdict, sum(one.verdict is verdict for one in every)) for verdict in Verdict]
    said = "; ".join(f"{many} {verdict.value}" for verdict, many in counted if many)
    yield f"{plural(len(every), 'control')}: {said}."
    yield "This is what can be seen from here: evidence for an auditor, and no certificate."


def _because(control: Assessed) -> Iterator[str]:
    """Yield what keeps a control from being met, and what nobody can tell from here."""
    bad = (one for one in control.findings if one.state is not State.GOOD)
    lacking = list(dict.fromkeys((one.what, one.to_do) for one in bad))
    for what, to_do in lacking[:_SHOWN]:
        yield f"- {what.rstrip('.')}." + (f" {to_do}" if to_do else "")
    if len(lacking) > _SHOWN:
        yield f"- and {len(lacking) - _SHOWN} more (--json)"
    if control.beyond:
        yield f"- yours to show: {control.beyond}"
