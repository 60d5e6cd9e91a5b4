"""What a restore did so far, and each secret that it did not restore, with the reason.

It is told as the restore goes on, so that whatever ends that can be answered. Where it has a folder it is
put on record there after each slice: after kill -9 the next restore reads what this one did, and lost.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import VerificationFailed
from strongroom.errors import StrongroomError
from strongroom.model import prepare
from strongroom.operations.restore.record import Recorder, key_file, records, spelled
from strongroom.system import files
from strongroom.system.errors import Conflict
from strongroom.words import plural, verb

MOST = 10_000
"""Names that are held in memory of each kind; the file has all of them."""
JOURNAL, NAMES, LOSSES, LOCK = "restore.json", "not-restored.jsonl", "losses.json", "restore.lock"
RUN: Final = "run.json"
"""The record of the run, where no database has it."""
LEFT: Final = "left"
MOVED: Final = "moved"


class Restored(Struct, frozen=True, kw_only=True):
    """What a restore did (or, as a plan, would do), in numbers of secrets.

    ``left`` exist already and were not to be overwritten. ``compared`` were read back and
    are equal to what the backup holds. ``versions`` is how many versions with a value the
    created and the changed ones have. ``not_done`` could not be restored. ``removed`` are those that
    an undo took away again. ``moved`` are no longer as the restore plan found them, and were left.
    """

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    left: int = 0
    compared: int = 0
    versions: int = 0
    not_done: int = 0
    removed: int = 0
    moved: int = 0

    def plus(self, other: Restored) -> Restored:
        """Add two counts."""
        return Restored(
            **{name: getattr(self, name) + getattr(other, name) for name in Restored.__struct_fields__}
        )

    @property
    def total(self) -> int:
        """All secrets that were looked at."""
        return self.written + self.unchanged + self.left + self.moved + self.not_done

    @property
    def written(self) -> int:
        """All secrets that are otherwise now than before."""
        return self.created + self.changed + self.removed


class NotDone(Struct, frozen=True, kw_only=True):
    """A secret that was not restored: the class of the error, and its words.

    ``tried`` says whether it was being written, so that half of it may be there.
    """

    name: str
    code: str
    why: str
    tried: bool = False


class Journal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a restore leaves in its undo folder. ``ended`` is empty as long as it is at work.

    ``writing`` are the names of the slice that was being written: what these lost is not known yet.
    ``continued_by`` is the folder of the restore that went on and told all of this. ``undone_by`` are the
    folders of the runs that undid it; ``undoes`` is what such a run undid. ``seconds`` is how long it was at
    work so far, ``writing_seconds`` how long of this it wrote and read back.
    """

    started_at: str
    backup: str
    to: str
    goes_on: str
    ended: str = ""
    counts: Restored = Restored()
    not_done: dict[str, int] = {}
    writing: tuple[str, ...] = ()
    continued_by: str = ""
    undone_by: tuple[str, ...] = ()
    undoes: str = ""
    seconds: float = 0.0
    writing_seconds: float = 0.0


prepare(Restored, NotDone, Journal)
_NAMED = msgspec.json.Encoder()
T = TypeVar("T")


class RestoreAccount:
    """Counts, and names; told by one restore. Threads may refuse at once.

    Args:
        folder: where it is put on record; nowhere, if left out.
        journal: what is on record from the start; with ``folder``.
        earlier: the interrupted restores that this one goes on with: what they lost is told too.
        recorder: puts each secret on record that is written, so that this can be undone.
        carry: brings what is on record to where other hosts find it; where that cannot be, nothing is
            written.
    """

    def __init__(
        self,
        folder: Path | None = None,
        journal: Journal | None = None,
        *,
        earlier: Iterable[Interrupted] = (),
        recorder: Recorder | None = None,
        carry: Callable[[], None] | None = None,
    ) -> None:
        self.folder = folder
        self._carry = carry
        self._journal = journal
        self._lock = threading.Lock()
        self._running: int | None = None
        self._new: list[NotDone] = []
        self._by_code: Counter[str] = Counter()
        self._losses: tuple[str, ...] = ()
        self._earlier = tuple(
            dict.fromkeys(line for earlier_restore in earlier for line in earlier_restore.losses)
        )
        self._lost_on_record: tuple[str, ...] = ()
        self._writing: tuple[str, ...] = ()
        self._recorder = recorder
        self._began = time.monotonic()
        self._writing_since = 0.0
        self._writing_seconds = 0.0
        self._stays: dict[str, list[str]] = {}
        self.tried = frozenset[str]()
        self.counts = Restored()
        self.left: list[str] = []
        self.moved: list[str] = []
        self.not_done: list[NotDone] = []
        self.worst: StrongroomError | None = None

    # -- what a restore tells ------------------------------------------------------

    def plan(self, counts: Restored, *, left: Sequence[str], moved: Sequence[str] = ()) -> None:
        """Note what a batch finds as it should be, and what it leaves as it is."""
        self.counts = self.counts.plus(
            Restored(unchanged=counts.unchanged, left=counts.left, moved=counts.moved)
        )
        self.left += left[: max(0, MOST - len(self.left))]
        self.moved += moved[: max(0, MOST - len(self.moved))]
        with self._lock:
            self._new += (NotDone(name=name, code=LEFT, why="differs from the backup") for name in left)
            self._new += (NotDone(name=name, code=MOVED, why="changed since the plan") for name in moved)
        self._save()

    @property
    def recorder(self) -> Recorder | None:
        """What is told of each secret that is written; ``None`` where nothing is recorded."""
        return self._recorder if self.folder is not None else None

    def writing(self, names: Sequence[str], intended: Iterable[bytes] = ()) -> None:
        """Put on record which secrets are being written from now on, and the recorder's line of each."""
        if self.recorder is not None:
            self.recorder.intend(intended)
        self._writing = tuple(names)
        self._writing_since = time.monotonic()
        self._save_elsewhere()

    def found(self, lines: Iterable[bytes]) -> None:
        """Note what is there after a write, by the recorder's line of each."""
        if self.recorder is not None:
            self.recorder.left(lines)

    def removed(self, names: Sequence[str]) -> None:
        """Note secrets that were removed, and are gone."""
        if self.recorder is not None:
            self.recorder.removed(names)
        self.counts = self.counts.plus(Restored(removed=len(names)))
        self._writing = ()
        self._save_elsewhere()

    def refuse(self, name: str, error: StrongroomError, *, tried: bool = False) -> None:
        """Note a secret that is not restored."""
        noted = NotDone(name=name, code=error.code, why=error.message, tried=tried)
        with self._lock:
            self._by_code[error.code] += 1
            self._new.append(noted)
            if len(self.not_done) < MOST:
                self.not_done.append(noted)
            self.counts = self.counts.plus(Restored(not_done=1))
            if self.worst is None or _weight(error) > _weight(self.worst):
                self.worst = error

    def stay(self, name: str, why: str) -> None:
        """Note what an undo leaves by design."""
        self._stays.setdefault(why, []).append(name)

    def written(self, counts: Restored) -> None:
        """Note secrets that were written, read back and found equal."""
        self.counts = self.counts.plus(counts).plus(Restored(compared=counts.created + counts.changed))
        self._writing = ()

    def lost(self, losses: Sequence[str]) -> None:
        """Note all that the destination says it could not reproduce so far; put everything on record."""
        if self._writing_since:
            self._writing_seconds += time.monotonic() - self._writing_since
            self._writing_since = 0.0
        self._losses = tuple(losses)
        self._save_elsewhere()

    def wrote_before(self, counts: Restored) -> None:
        """Count as written what a killed attempt at the same piece wrote, and this one found in place."""
        same = Restored(unchanged=-counts.written, compared=counts.written)
        self.counts = self.counts.plus(counts).plus(same)

    # -- what is asked of it -------------------------------------------------------

    @property
    def losses(self) -> tuple[str, ...]:
        """Losses of this restore, after those of the interrupted ones that it goes on with."""
        return tuple(dict.fromkeys((*self._earlier, *self._losses)))

    @property
    def stays(self) -> Mapping[str, Sequence[str]]:
        """What an undo left by design, by the reason."""
        return self._stays

    @property
    def stayed(self) -> tuple[str, ...]:
        """The same in words, a line for each reason."""
        return tuple(
            f"{plural(len(names), 'thing')} that the restore made {verb(len(names), 'stay')}: {why}"
            for why, names in self._stays.items()
        )

    @property
    def by_code(self) -> dict[str, int]:
        """How many secrets were not restored for each class of error, the most first."""
        return dict(self._by_code.most_common())

    @property
    def names_file(self) -> Path | None:
        """The file with every secret that was left or not restored; ``None`` where nothing is recorded."""
        counts = self.counts
        some = self.folder is not None and (counts.left or counts.moved or counts.not_done)
        return self.folder / NAMES if some and self.folder is not None else None

    # -- the record ----------------------------------------------------------------

    def begin(self) -> None:
        """Make the folder, and show by a lock that this process is at work.

        An attempt of another process in the same folder is waited for: it may be late, and still alive.
        Only then it is known, in ``tried``, what that one was writing if it was killed.
        Where that cannot be, the restore is not put on record, and ``folder`` is ``None``.
        """
        if self.folder is None:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._running = files.open_locked(self.folder / LOCK, os.O_CREAT | os.O_RDWR)
            if (before := _decoded(self.folder / JOURNAL, Journal)) is not None:
                self.tried = Interrupted(folder=self.folder, journal=before).tried
            self._record(self.folder)
        except OSError:
            self.folder = None

    def end(self, how: str) -> None:
        """Put on record how it ended. A restore that left nothing to tell leaves no folder."""
        if self.folder is None or self._journal is None:
            return
        self._journal = replace(self._journal, ended=how)
        self._save()
        if self._running is not None:
            (self.folder / LOCK).unlink(missing_ok=True)
            os.close(self._running)
            self._running = None
        kept = self.counts.left or self.counts.moved or self.counts.written or self.losses or how != DONE
        earlier = any(record.stat().st_size for record in records(self.folder))
        if not kept and not earlier and not any(self.folder.glob("*.strongroom")):
            self._remove(self.folder)

    def _remove(self, folder: Path) -> None:
        with suppress(OSError):
            for record in records(folder):
                key_file(record).unlink(missing_ok=True)
                record.unlink()
            for name in (JOURNAL, NAMES, LOSSES, RUN, LOCK):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()

    def _save_elsewhere(self) -> None:
        self._save()
        if self._carry is not None and self.folder is not None:
            self._carry()

    def _save(self) -> None:
        """A full disk costs the record, never the restore."""
        if self.folder is not None:
            with suppress(OSError):
                self._record(self.folder)

    def _record(self, folder: Path) -> None:
        assert self._journal is not None
        if self._recorder is not None:
            self._recorder.save()
        self._record_names(folder / NAMES)
        if (losses := self.losses) != self._lost_on_record:
            _write(folder / LOSSES, msgspec.json.encode(losses))
            self._lost_on_record = losses
        journal = replace(
            self._journal,
            counts=self.counts,
            not_done=dict(self._by_code),
            writing=self._writing,
            seconds=time.monotonic() - self._began,
            writing_seconds=self._writing_seconds,
        )
        _write(folder / JOURNAL, msgspec.json.encode(journal))

    def _record_names(self, path: Path) -> None:
        with self._lock:
            new, self._new = self._new, []
        if new:
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(b"".join(map(_line, new)))


def _line(noted: NotDone) -> bytes:
    return _NAMED.encode(replace(noted, name=spelled(noted.name))) + b"\n"


def _write(path: Path, content: bytes) -> None:
    provisional = path.with_name(f".{path.name}.new")
    descriptor = os.open(provisional, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)
    provisional.rename(path)


def _weight(error: StrongroomError) -> tuple[bool, bool]:
    """What reads back differently is worst; then what was refused; then what others changed meanwhile."""
    return isinstance(error, VerificationFailed), not isinstance(error, Conflict)


# -- restores that were interrupted ------------------------------------------------


class Interrupted(Struct, frozen=True, kw_only=True):
    """A restore that did not come to its end, and where its record lies."""

    folder: Path
    journal: Journal

    @property
    def killed(self) -> bool:
        """Whether it had no time to say so."""
        return not self.journal.ended

    @property
    def losses(self) -> tuple[str, ...]:
        """What it could not reproduce, as far as it came to say so."""
        told = (_decoded(folder / LOSSES, tuple[str, ...]) or () for folder in parts_of(self.folder))
        return tuple(dict.fromkeys(loss for losses in told for loss in losses))

    @property
    def tried(self) -> frozenset[str]:
        """The names of secrets that it was writing when it ended, or had begun and could not finish."""
        names = set(self.journal.writing)
        for folder in parts_of(self.folder):
            with suppress(OSError, msgspec.MsgspecError), (folder / NAMES).open("rb") as lines:
                secrets = (msgspec.json.decode(line, type=NotDone) for line in lines)
                names.update(secret.name for secret in secrets if secret.tried)
        return frozenset(names)


DONE: Final = "done"
PARTIAL: Final = "partial"
STOPPED: Final = "stopped"


def interrupted(undo: Path, *, to: str, backup: str, run: str = "") -> Iterator[Interrupted]:
    """Yield the restores of a backup into one destination that ended early, oldest first.

    Args:
        run: the run that goes on with them; its own attempts at pieces are among them, each by itself.
    """
    for folder, journal in journals(undo):
        if (journal.to, journal.backup) != (to, backup):
            continue
        if run and run == folder.name:
            yield from _interrupted_pieces(folder)
        elif _ended_early(journal, run) and not is_running(folder):
            yield Interrupted(folder=folder, journal=journal)


def _interrupted_pieces(run: Path) -> Iterator[Interrupted]:
    for folder, journal in _each_journal(run):
        if journal.ended != DONE and not is_running(folder):
            yield Interrupted(folder=folder, journal=journal)


def _ended_early(journal: Journal, run: str) -> bool:
    """Say whether a restore is still to be gone on with; another piece of ``run`` may have begun that."""
    return journal.ended != DONE and journal.continued_by in ("", run)


def unfinished(undo: Path) -> Iterator[tuple[Path, Journal]]:
    """Yield the restores that have not ended well, and that none went on with, oldest first."""
    for folder, journal in journals(undo):
        if journal.ended != DONE and not journal.continued_by:
            yield folder, journal


def begin_run(folder: Path, journal: Journal) -> Path:
    """Make the folder of a run, below which each of its pieces has one, and give it a journal."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / JOURNAL).exists():
            _write(folder / JOURNAL, msgspec.json.encode(replace(journal, ended=DONE)))
    return folder


def journals(undo: Path) -> Iterator[tuple[Path, Journal]]:
    """Yield what every restore left, oldest first; of a run in pieces what they did together."""
    for folder, journal in _each_journal(undo):
        pieces = [piece for _, piece in _each_journal(folder)]
        yield folder, _together(journal, pieces) if pieces else journal


def _each_journal(parent: Path) -> Iterator[tuple[Path, Journal]]:
    for path in sorted(parent.glob(f"*/{JOURNAL}")):
        journal = _decoded(path, Journal)
        if journal is not None:
            yield path.parent, journal


def _together(run: Journal, pieces: Sequence[Journal]) -> Journal:
    """Add up the pieces of a run. How it ended is how the worst of them did: none of them knows the rest."""
    counts, not_done = Restored(), Counter[str]()
    for piece in pieces:
        counts = counts.plus(piece.counts)
        not_done.update(piece.not_done)
    ends = {piece.ended for piece in pieces}
    took, wrote = sum(piece.seconds for piece in pieces), sum(piece.writing_seconds for piece in pieces)
    whole = _from_first_to_last(pieces)
    return replace(
        run,
        seconds=whole,
        writing_seconds=whole * wrote / took if took else 0.0,
        ended=next(how for how in ("", STOPPED, PARTIAL, DONE) if how in ends),
        counts=counts,
        not_done=dict(not_done),
        writing=tuple(name for piece in pieces for name in piece.writing),
    )


def _from_first_to_last(pieces: Sequence[Journal]) -> float:
    """Return how long pieces took, of which several are done at once."""
    began = [datetime.fromisoformat(piece.started_at).timestamp() for piece in pieces]
    ended = [start + piece.seconds for start, piece in zip(began, pieces, strict=True)]
    return max(ended) - min(began)


def parts_of(folder: Path) -> list[Path]:
    """Return the folders in which a restore is on record: its own, and those of its pieces in their order."""
    return [folder, *(path.parent for path in sorted(folder.glob(f"*/{JOURNAL}")))]


def continue_with(earlier: Iterable[Interrupted], folder: Path) -> None:
    """Note in each record which restore went on and told what the earlier ones did."""
    for attempt in earlier:
        with suppress(OSError):
            content = msgspec.json.encode(replace(attempt.journal, continued_by=folder.name))
            _write(attempt.folder / JOURNAL, content)


def note_undone(folder: Path, by: str) -> None:
    """Note in a restore's record which run undoes it."""
    journal = _decoded(folder / JOURNAL, Journal)
    if journal is not None and by not in journal.undone_by:
        with suppress(OSError):
            undone = replace(journal, undone_by=(*journal.undone_by, by))
            _write(folder / JOURNAL, msgspec.json.encode(undone))


def _decoded(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def is_running(folder: Path) -> bool:
    """Say whether a restore that has this folder is at work now."""
    return any(_is_locked(part / LOCK) for part in parts_of(folder))


def _is_locked(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            return files.is_locked(file.fileno())
    except OSError:
        return False


# -- How fast earlier restores into a destination were: by the records that they left in the state directory


RECENT: Final = 10
"""Restores that count: servers and networks change."""
ENOUGH: Final = 20
"""Secrets that were written in these; of fewer, what is not the writing itself would count for too much."""


class Rate(Struct, frozen=True, kw_only=True):
    """What was measured.

    Args:
        restores: how many of them tell it; ``secrets``: how many they wrote.
        looking: seconds that a secret took to be read on both sides and compared.
        writing: seconds that it took beside, to be written and read back.
    """

    restores: int
    secrets: int
    looking: float
    writing: float

    def seconds(self, planned: Restored) -> float:
        """Return how long a restore of so much takes at these rates."""
        return planned.total * self.looking + planned.written * self.writing


def measured_rate(undo: Path, to: str) -> Rate | None:
    """Return the rate of the newest restores into a destination; ``None`` if too few are on record."""
    newest = (journal for _, journal in reversed(list(journals(undo))) if _tells(journal, to))
    told = list(islice(newest, RECENT))
    counts = [journal.counts for journal in told]
    written = sum(count.written for count in counts)
    if written < ENOUGH:
        return None
    writing = sum(journal.writing_seconds for journal in told)
    looking = sum(journal.seconds for journal in told) - writing
    return Rate(
        restores=len(told),
        secrets=written,
        looking=max(0.0, looking) / sum(count.total for count in counts),
        writing=writing / written,
    )


def _tells(journal: Journal, to: str) -> bool:
    return journal.to == to and not journal.undoes and journal.seconds > 0 and journal.counts.written > 0
