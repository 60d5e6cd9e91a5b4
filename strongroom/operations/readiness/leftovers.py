"""What an earlier recovery left half-made, in the place where the next one works.

Whole undo files are no such thing: they are the way back of a restore that is over, and are counted apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from strongroom.operations.rehearsal.scratch import FOLDER, dead
from strongroom.operations.runs import process_lock
from strongroom.system.files import is_being_written

if TYPE_CHECKING:
    from strongroom.state.records import Run
    from strongroom.state.store import RunStore

UNDO, DRILLS, TEMPORARY = "undo", "drills", "tmp"


class Leftover(Struct, frozen=True, kw_only=True):
    """One thing that was left, in words: what it is, and what to do with it. Names no secret."""

    what: str
    where: str
    to_do: str


def on_disk(state_dir: Path, *, active: Sequence[str] = ()) -> Iterator[Leftover]:
    """Yield what lies under a state directory. Creates nothing, and changes nothing.

    Args:
        active: runs on record that have not ended: a drill's scratch store is still in use by one.
    """
    for path in _matching(state_dir / UNDO, "*/.*.part"):
        if not is_being_written(path):
            yield Leftover(what="an undo file that is not whole", where=str(path), to_do=_UNLINK)
    for path in _matching(state_dir / DRILLS, "*"):
        if path.name not in active and not process_lock.status(state_dir, path.name).alive:
            yield Leftover(
                what="the scratch store of a drill that was killed", where=str(path), to_do=_REMOVE
            )
    for path in dead(state_dir / FOLDER):
        yield Leftover(what="the scratch store of a rehearsal that was killed", where=str(path), to_do=_NEXT)
    for path in _matching(state_dir / TEMPORARY, "snapshot-*"):
        yield Leftover(what="a snapshot that was being put together", where=str(path), to_do=_IN_USE)


def in_runs(store: RunStore, state_dir: Path) -> Iterator[Leftover]:
    """Yield the runs on record that died, and the restores and drills that have not ended."""
    from strongroom.operations.runs.abandoned import is_abandoned

    for run in store.active():
        if is_abandoned(run, store, state_dir):
            yield _of(
                run,
                "whose process was killed",
                f"'strongroom runs cancel {run.id}', or 'strongroom runs retry'",
            )
        elif run.spec.kind in ("restore", "drill"):
            yield _of(run, "that has not ended", f"wait for it: 'strongroom runs show {run.id} --follow'")


def ways_back(state_dir: Path) -> int:
    """Count the folders that hold what earlier restores overwrote."""
    return len({path.parent for path in _matching(state_dir / UNDO, "*/*.strongroom")})


def _of(run: Run, what: str, to_do: str) -> Leftover:
    return Leftover(what=f"a {run.spec.kind.value} {what}", where=f"run {run.id}", to_do=to_do)


def _matching(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


_UNLINK = "delete it: it is not whole, and nothing can be restored from it"
_REMOVE = "remove it: its secrets are those of a backup, sealed under a key that lies in it"
_NEXT = "the next 'strongroom drill local' without --dry-run removes it"
_IN_USE = "remove it, unless 'strongroom restore snapshot' is at work just now"
