"""compliance-check: what frameworks demand of backups, held against what is configured and on record."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import to_builtins

from strongroom.cli.shared.health_areas import check_areas
from strongroom.cli.shared.report_files import refuse_files, said_of_files, write_files
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.operations.errors import RequirementUnmet
from strongroom.operations.evidence.compliance import Assessed, Framework, Verdict, assess
from strongroom.operations.evidence.compliance_report import REPORT, csv_of, page_of, report_of
from strongroom.operations.evidence.ledger import verify_chain
from strongroom.operations.findings import State, worst_error
from strongroom.operations.signed_report import PAGE, TABLE
from strongroom.wiring.compliance import evidence

Answer = Mapping[Framework, Sequence[Assessed]]


def check_compliance(arguments: Namespace, output: Output) -> None:
    file: Path | None = arguments.output
    refuse_files(file, replace=arguments.force)
    settings, now = load_settings(), time.time()
    findings = list(evidence(settings, check_areas(settings, days=30, now=now)[0], now=now))
    answer = {one: assess(one, findings) for one in arguments.framework or Framework}
    if file is not None:
        _write(answer, file, now=now, replace=arguments.force)
    output.answer(_document(answer), _lines(answer, file))
    unmet = [one for every in answer.values() for one in every if one.verdict in _BAD]
    if unmet:
        worst = worst_error(each for one in unmet for each in one.findings)
        raise worst or RequirementUnmet(f"{plural(len(unmet), 'control')} not met.")


def _write(answer: Answer, file: Path, *, now: float, replace: bool) -> None:
    services = open_services()
    report = report_of(answer, last=verify_chain(services.store).head, now=now)
    files = {PAGE: page_of(report), TABLE: csv_of(report)}
    write_files(REPORT, report, files, services.signers("control"), file, replace=replace)


# -- for people and machines -------------------------------------------------------


_BAD = (Verdict.UNMET, Verdict.UNKNOWN)
_SHOWN = 3
"""Findings of a control that are shown; --json has all."""


def _document(answer: Answer) -> dict[str, object]:
    return {"frameworks": {framework.value: to_builtins(controls) for framework, controls in answer.items()}}


def _lines(answer: Answer, file: Path | None) -> Iterator[str]:
    for framework, controls in answer.items():
        yield f"{framework}"
        wide = max(14, *(len(control.number) + 2 for control in controls))
        for control in controls:
            yield f"  {control.number:<{wide}}{control.verdict.value:<19}{control.demands}"
            yield from (f"  {'':<{wide}}{line}" for line in _because(control))
        yield ""
    every = [control for controls in answer.values() for control in controls]
    counted = [(verdict, sum(one.verdict is verdict for one in every)) for verdict in Verdict]
    said = "; ".join(f"{many} {verdict.value}" for verdict, many in counted if many)
    yield f"{plural(len(every), 'control')}: {said}."
    yield "This is what can be seen from here: evidence for an auditor, and no certificate."
    if file is not None:
        yield said_of_files(file)


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
