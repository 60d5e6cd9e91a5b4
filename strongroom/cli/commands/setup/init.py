"""init: set a machine up: the configuration at its place, what the calendar does, and what to type next."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from strongroom.cli.commands.setup.config import text_of
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output, fields, in_line, table
from strongroom.config import Settings, load_settings
from strongroom.config.keys import PassphraseKey
from strongroom.errors import TargetError
from strongroom.keys import rolelist
from strongroom.operations.health.calendar import EntryStatus, planned
from strongroom.schedule import by_the_clock_of
from strongroom.system.atomic_file import write_whole
from strongroom.targets.directory import DirectoryTarget
from strongroom.timestamps import if_any
from strongroom.wiring import adapters
from strongroom.wiring.calendar import calendar


def set_up(arguments: Namespace, output: Output) -> None:
    rolelist.require_certificates(place.find().state_dir)
    found = place.find().file
    written = found is None or not found.exists()
    file = _write(found, arguments) if found is None or written else found
    settings = load_settings(path=file)
    made = list(_mark_directories(settings)) if written else []
    marks = made if arguments.target else []  # nobody named the default ones
    entries = planned(calendar(settings), now=time.time())
    output.answer(
        {"file": str(file), "written": written, "entries": [_as_document(one) for one in entries]},
        [*_said(file, written=written), *marks, "", *_calendar(entries), "", *_next(settings)],
    )


def _write(named: Path | None, arguments: Namespace) -> Path:
    """Write the configuration where every command finds it: where the environment says, or in the state
    directory."""
    file = named or place.find().state_dir / place.FILE_NAME
    text = text_of(arguments)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(file, text.encode())
    file.chmod(0o644)
    return file


def _said(file: Path, *, written: bool) -> Iterator[str]:
    if written:
        yield f"{file} is written. It says what each setting is for."
    else:
        yield f"{file} is there already, and stays as it is."


def _mark_directories(settings: Settings) -> Iterator[str]:
    """Make and mark the directories that a person named just now, or the default ones; later, a directory
    without the mark is a disk that is not mounted."""
    for name in settings.targets:
        target = adapters.target(name, settings, prepare=False)
        if isinstance(target, DirectoryTarget):
            try:
                target.prepare()
                yield f"{target.address} is marked as the directory of target '{name}'."
            except TargetError as error:
                yield f"{in_line(error.message)}: target '{name}' takes no backup until that is mended."


def _calendar(entries: Sequence[EntryStatus]) -> Iterator[str]:
    on, off = [one for one in entries if not one.why], [one for one in entries if one.why]
    yield from table(("entry", "next time", "what it does"), map(_row, on))
    yield "At its first start 'strongroom up' does all but the drills once; then each comes at these times."
    if off:
        yield from ("", "Off, and what is missing:")
        yield from (f"  {one.entry.name}: {in_line(one.why)}" for one in off)


def _row(found: EntryStatus) -> tuple[str, str, str]:
    moment = by_the_clock_of(found.entry.time_zone, found.next_due) if found.next_due else "never"
    return found.entry.name, moment, found.entry.reason


def _next(settings: Settings) -> Iterator[str]:
    """Say which commands come next."""
    steps = [("strongroom set NAME", "store a secret; 'strongroom import FILE' stores many")]
    steps += [
        (f"strongroom set NAME {' '.join(tags)}", f"store one that '{name}' is for: it backs up no others")
        for name, policy in settings.policies.items()
        if (tags := [f"--tag {key}={value}" for key, value in policy.tags.items()])
    ]
    if any(isinstance(key, PassphraseKey) and key.file is None for key in settings.keys.values()):
        words = "name a file, mode 0600, with the passphrase that seals and opens"
        steps.append(("export STRONGROOM_PASSPHRASE_FILE=FILE", words))
    steps += [
        ("strongroom config check", "after each change of the configuration"),
        ("strongroom up", "run the workers and the calendar"),
        ("strongroom schedule", "see what is due, what was done and what is overdue"),
    ]
    yield "Next:"
    yield from (f"  {line}" for line in fields(steps))


def _as_document(found: EntryStatus) -> dict[str, Any]:
    entry = found.entry
    return {
        "name": entry.name,
        "on": not found.why,
        "missing": found.why or None,
        "reason": entry.reason,
        "schedule": entry.schedule,
        "time_zone": entry.time_zone,
        "next_due": if_any(found.next_due),
    }
