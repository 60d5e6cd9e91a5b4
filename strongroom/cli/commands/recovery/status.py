"""recover --status: how far recoveries are."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator

from msgspec import to_builtins

from strongroom.cli.commands.recovery.opening import open_places
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output, table
from strongroom.operations.archive.recoveries import Recovery
from strongroom.operations.recovery import words
from strongroom.operations.recovery.decide import took_seconds
from strongroom.timestamps import readable


def show_status(arguments: Namespace, output: Output) -> None:
    known = list(open_places(arguments, place.find()).recoveries().values())
    lines = [line for recovery in known for line in _status(recovery)]
    output.answer({"recoveries": to_builtins(known)}, lines or ["No recovery is on record here."])


def _status(recovery: Recovery) -> Iterator[str]:
    took = words.length(took_seconds(recovery, time.time()))
    opened = f"opened {readable(recovery.opened_at)} by {recovery.by}"
    yield f"{recovery.id}, {opened}: {words.outcome(recovery)} ({took})"
    rows = [
        (words.STEPS[record.step], words.step_state(record), record.by, record.reason)
        for record in recovery.steps.values()
    ]
    yield from (f"  {line}" for line in table(("STEP", "STATE", "BY", "WHY"), rows))
    yield from (f"  left to do: {line}" for line in recovery.left)
    if not recovery.closed_at:
        yield f"  This goes on: strongroom recover --resume {recovery.id}"
