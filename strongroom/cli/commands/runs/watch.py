"""status --watch: the installation at a glance, drawn again whenever something has changed."""

from __future__ import annotations

import time
from argparse import Namespace
from contextlib import suppress
from typing import Final, NamedTuple

from strongroom.cli.commands.runs import glance
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.screen import Screen, can_draw
from strongroom.cli.terminal.stopping import Terminated
from strongroom.config import load_settings
from strongroom.errors import UsageError
from strongroom.operations.facts.gather import gather
from strongroom.operations.facts.records import AlertLimits, InstallationFacts
from strongroom.operations.facts.watched import WatchedInstallation
from strongroom.operations.findings import Finding
from strongroom.operations.judge.judgement import alerts
from strongroom.operations.muted import Muted, read_muted
from strongroom.state.errors import StateError
from strongroom.timestamps import for_people
from strongroom.wiring.alerts import limits, watched

SECONDS: Final = 1.0
"""Between two looks at the record, which announces nothing."""


class WatchedState(NamedTuple):
    """What one look found."""

    facts: InstallationFacts
    alerts: tuple[Finding, ...]
    muted: Muted


def watch_installation(arguments: Namespace, output: Output) -> None:
    """Show the installation until somebody types ``q`` or Ctrl-C: both are how a person ends this."""
    if output.json:
        raise UsageError(
            "--watch shows all of the installation, to people.",
            hint="One run: 'strongroom runs show ID --follow'. For machines: 'strongroom runs --json' or "
            "'strongroom metrics'.",
        )
    settings = load_settings()
    looking = Looking(watched(settings), limits(settings))
    try:
        _draw(looking) if can_draw() else _tell(looking)
    except KeyboardInterrupt as stopped:
        if isinstance(stopped, Terminated):
            raise


class Looking:
    """Looks at the record, as often as asked. That it does not answer is shown, and ends nothing."""

    def __init__(self, seen: WatchedInstallation, bounds: AlertLimits) -> None:
        self.bounds = bounds
        self._watched = seen

    def look(self) -> WatchedState:
        now = time.time()
        facts = gather(self._watched, self.bounds, now=now, look=False)
        muted = Muted() if facts.state is not None else read_muted(self._watched.store(), now=now)
        return WatchedState(facts, alerts(facts, self.bounds), muted)

    def end_of(self, about_it: str) -> str:
        """Say how something ended: a run has a state."""
        with suppress(StateError):
            if about_it.startswith(glance.RUN):
                return self._watched.store().load(about_it.removeprefix(glance.RUN)).state.value
        return glance.OVER


def _draw(looking: Looking) -> None:
    with Screen() as screen:
        while True:
            seen = looking.look()
            head = f"{for_people(seen.facts.now)}, by the record. q ends this look; the runs go on."
            screen.draw([head, "", *glance.lines_of(*seen, limits=looking.bounds, width=screen.size[0])])
            if screen.asked_to_leave(SECONDS):
                return


def _tell(looking: Looking) -> None:
    """Say each change in a line: what is shown goes into a pipe, or onto a terminal that only prints."""
    before: dict[str, str] = {}
    while True:
        seen = looking.look()
        now = glance.changes_of(*seen)
        for about_it, words in glance.said_of(before, now):
            how = looking.end_of(about_it) if words == glance.OVER else words
            print(f"{for_people(seen.facts.now)}  {about_it}: {how}", flush=True)
        before = now
        time.sleep(SECONDS)
