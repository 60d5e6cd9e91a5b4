"""ledger search: who did what, when, and from where, by the record of events."""

from __future__ import annotations

from argparse import Namespace
from collections import deque

from strongroom.cli.shared.services import existing_run_store
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.operations.evidence import access_log
from strongroom.operations.evidence.search import Question, happened_at, origin_of, search, who_of
from strongroom.sheet import Lines, Sheet
from strongroom.state.errors import StateError
from strongroom.state.records import Event
from strongroom.timestamps import rfc3339

MOST = 1000
"""Events that are shown: the newest that fit."""
_TOLD = (
    "how",
    "what",
    "file",
    "odd",
    "backup",
    "backups",
    "where",
    "why",
    "log",
    "times",
    "command",
    "error",
    "reason",
)


def search_ledger(arguments: Namespace, output: Output) -> Answer:
    settings = load_settings()
    if (store := existing_run_store(settings)) is None:
        raise StateError(
            f"There is no state database in {settings.state_dir}: no record of events.",
            hint="Look at STRONGROOM_STATE_DIR and 'state_dir'.",
        )
    access_log.take(settings.state_dir, store)
    times = {name: at for name in ("since", "until") if (at := getattr(arguments, name)) is not None}
    question = Question(who=arguments.who, what=arguments.what, origin=arguments.origin, **times)
    found: deque[Event] = deque(maxlen=MOST)
    count = 0
    for event in search(store, question):
        found.append(event)
        count += 1
    lines = [_line(event) for event in found] or ["Nothing on record fits."]
    if count > MOST:
        lines.append(
            f"These are the newest {MOST:,} of {plural(count, 'event')}: narrow it down with --since."
        )
    return Answer(record={"events": list(found), "found": count}, sheet=Sheet(parts=[Lines(lines)]))


def _line(event: Event) -> str:
    told = [f"{name} {_said(event, name)}" for name in _TOLD if event.detail.get(name)]
    run = [f"run {event.run}"] if event.run else []
    words = [f"by {who}" for who in [who_of(event)] if who] + [
        f"from {origin}" for origin in [origin_of(event)] if origin
    ]
    return f"{event.id}  {rfc3339(happened_at(event))}  {event.kind}: {', '.join(words + told + run)}"


def _said(event: Event, name: str) -> str:
    said = event.detail[name]
    return " ".join(map(str, said)) if isinstance(said, list) else str(said)
