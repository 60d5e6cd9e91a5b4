"""Live progress of a run: one bar a kind of step, on stderr, if somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.progress import bars
from strongroom.state.records import StepKind, StepState, Ticket

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
    StepKind.RESTORE_PLAN,
    StepKind.RESTORE,
    StepKind.RESTORE_COMPARE,
    StepKind.REWRAP,
    StepKind.ROTATE,
    StepKind.MARK,
    StepKind.DELETE,
    StepKind.ROTATE_SECRET,
    StepKind.DRILL_PROVE,
    StepKind.DRILL_RESTORE,
    StepKind.DRILL_COMPARE,
    StepKind.DRILL_TEARDOWN,
    StepKind.DRILL_LIVE,
)
ENDED = (StepState.DONE, StepState.MISSED, StepState.POISONED)


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
        self._bars: dict[StepKind, Any] = {}

    def show(self, run: str) -> None:
        """Draw the run as it stands now."""
        tally = self._store.tally(run)
        for kind in SHOWN:
            due = tally.of(kind)
            if due:
                self._draw(kind, due, tally.of(kind, states=ENDED))

    def _draw(self, kind: StepKind, due: int, over: int) -> None:
        if kind not in self._bars:
            self._bars[kind] = self._progress.add_task(kind.value, total=due)
        self._progress.update(self._bars[kind], total=due, completed=over)
