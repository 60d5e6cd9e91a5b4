"""recover --status and --check: how far recoveries are, and whether a report is as it was signed."""

from __future__ import annotations

import hashlib
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from msgspec import to_builtins

from strongroom.cli.commands.recovery.opening import open_places
from strongroom.cli.shared import trust
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output, table
from strongroom.container.errors import Tampered
from strongroom.operations.recovery import words
from strongroom.operations.recovery.decide import took_seconds
from strongroom.operations.recovery.record import Recovery
from strongroom.operations.recovery.report import MOST, RecoveryReport, parse


def show_status(arguments: Namespace, output: Output) -> None:
    known = list(open_places(arguments, place.find()).recoveries().values())
    lines = [line for recovery in known for line in _status(recovery)]
    output.answer({"recoveries": to_builtins(known)}, lines or ["No recovery is on record here."])


def _status(recovery: Recovery) -> Iterator[str]:
    took = words.length(took_seconds(recovery, time.time()))
    opened = f"opened {words.moment(recovery.opened_at)} by {recovery.by}"
    yield f"{recovery.id}, {opened}: {words.outcome(recovery)} ({took})"
    rows = [
        (words.STEPS[record.step], words.step_state(record), record.by, record.reason)
        for record in recovery.steps.values()
    ]
    yield from (f"  {line}" for line in table(("STEP", "STATE", "BY", "WHY"), rows))
    yield from (f"  left to do: {line}" for line in recovery.left)
    if not recovery.closed_at:
        yield f"  This goes on: strongroom recover --resume {recovery.id}"


def check_report(arguments: Namespace, output: Output) -> None:
    file: Path = arguments.check
    with file.open("rb") as opened:
        content = opened.read(MOST + 1)
    report = parse(content, trusted=trust.trusted_signers(place.find(), arguments.signer))
    page = file.with_suffix(".html")
    if page.is_file() and hashlib.sha256(page.read_bytes()).hexdigest() != report.page_sha256:
        raise Tampered(f"'{page}' is not the page of this report.", hint="Trust the signed file alone.")
    output.answer({**to_builtins(report), "page_checked": page.is_file()}, _said(report, page))


def _said(report: RecoveryReport, page: Path) -> Iterator[str]:
    yield f"Recovery {report.recovery}, closed {words.moment(report.closed_at)}: {report.outcome}."
    yield from (f"  left to do: {line}" for line in report.left_to_do)
    yield "The report is signed" + (", and vouches for its page." if page.is_file() else ".")
