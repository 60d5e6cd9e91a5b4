"""Live progress of a run: one bar a kind of step, on stderr, if somebody looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.progress import bars, pace_words
from strongroom.operations.facts.pace import ENDED, pace_of
from strongroom.state.records import StepKind, Ticket

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

Watch = Callable[[str], None]
SHOWN = (
    StepKind.PLAN,
    StepKind.CAPTURE,
    StepKind.UPLOAD,
    StepKind.COMMIT,
    StepKind.VERIFY,
    StepKind.REPAIR,
    StepKind.RECOVERY_CHECK,
    StepKind.RESTORE_PLAN,
    StepKind.APPROVE,
    StepKind.RESTORE,
    StepKind.RESTORE_COMPARE,
    StepKind.RECOVERY_VALIDATE,
    StepKind.REWRAP,
    StepKind.ROTATE,
    StepKind.MARK,
    StepKind.DELETE,
    StepKind.ROTATE_SECRET_PLAN,
    StepKind.ROTATE_SECRET,
    StepKind.DRILL_PROVE,
    StepKind.DRILL_RESTORE,
    StepKind.DRILL_COMPARE,
    StepKind.DRILL_TEARDOWN,
    StepKind.DRILL_LIVE,
)


@contextmanager
def showing_progress(output: Output, store: RunStore) -> Iterator[Watch | None]:
    """Yield what to call with a run's id to draw it anew; ``None`` if nobody looks."""
    if not output.lively:
        yield None
        return
    with bars() as progress:
        display = Display(progress, store)
        yield display.show


def by_ticket(watch: Watch | None) -> Callable[[Ticket], None] | None:
    """Return what the driver calls after each step."""
    return None if watch is None else lambda ticket: watch(ticket.run)


class Display:
    """The bars of one run, drawn from what the run record says."""

    def __init__(self, progress: Any, store: RunStore) -> None:
        self._progress = progress
        self._store = store
        self._bars: dict[str, Any] = {}

    def show(self, run: str) -> None:
        """Draw the run as it stands now."""
        tally = self._store.tally(run)
        for kind in SHOWN:
            due = tally.of(kind)
            if due:
                self._draw(kind.value, due, tally.of(kind, states=ENDED))
        self._draw_pace(run)

    def _draw_pace(self, run: str) -> None:
        """Draw how far all of it is, as the facts say: how fast it goes, and how long the rest takes."""
        pace = pace_of(self._store.load(run), self._store, now=time.time())
        if pace.rate is not None and pace.left is not None:
            words = pace_words(pace.rate, pace.left)
            self._draw(f"all {pace.unit}s", pace.total, pace.done, words)

    def _draw(self, name: str, due: int, over: int, pace: str = "") -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=due, pace=pace)
        self._progress.update(self._bars[name], total=due, completed=over, pace=pace)
