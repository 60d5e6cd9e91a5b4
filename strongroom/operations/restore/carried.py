"""The record of a restore, carried on the stage, so that any host goes on with it, and undoes it.

On a host it is a folder (:mod:`~strongroom.operations.restore.journal`). Where a run has a stage that several
hosts reach, what changed in that folder is sealed and put there before the destination is written to: a host
that is lost takes no way back along. Each entry names the digest of the one before it, so that none can be
left out between two others; which is the last, the record of the run says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.model import prepare
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.stage import WAYS_BACK, Stage, stage_of
from strongroom.operations.restore.journal import (
    DONE,
    JOURNAL,
    LOCK,
    LOSSES,
    PARTIAL,
    RUN,
    STOPPED,
    Journal,
    Restored,
    begin_run,
    note_undone,
)
from strongroom.operations.restore.staged import facts_of
from strongroom.state.errors import RecordRefused, RunNotFound
from strongroom.state.records import Run, RunKind, RunState, StepKind
from strongroom.system.files import write_whole
from strongroom.targets import is_segment
from strongroom.targets.errors import StageDiffers
from strongroom.times import rfc3339

WHOLE: Final = "whole"
"""The part of a record that is in one folder: that of the undoing of a restore."""
_UNDONE: Final = "undone-by"
_REPLACED: Final = frozenset({JOURNAL, LOSSES})
_FINAL: Final = (".strongroom", ".key")
"""How the files end that never change: what was overwritten, sealed, and the key of a record's digests."""
_OWN: Final = frozenset({LOCK, RUN})
"""What is of this host alone: who is at work here, and the record of a run that no database has."""


class _Change(Struct, frozen=True, array_like=True):
    """What a file has from ``offset`` on; nothing that stood there before remains."""

    file: str
    offset: int
    content: bytes


class _Entry(Struct, frozen=True, array_like=True):
    before: str
    changes: tuple[_Change, ...]


prepare(_Entry)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Entry).decode


class CarriedRecord:
    """One folder of a record, and what the stage has of it.

    Args:
        part: which part of the run's record it is.
        folder: where it is on this host.
    """

    def __init__(self, stage: Stage, run: str, part: str, folder: Path) -> None:
        self._stage, self._folder = stage, folder
        self._prefix = f"{WAYS_BACK}{run}/{part}/"
        self._count, self._head = 0, ""
        self._sent: dict[str, tuple[int, str]] = {}

    @property
    def head(self) -> str:
        """What tells this record from any other: how many entries it has, and the digest of the last."""
        return f"{self._count}:{self._head}" if self._count else ""

    def bring(self) -> None:
        """Have in the folder what the stage has, beside what only this host has so far.

        Raises:
            StageDiffers: the entries do not follow on one another.
        """
        there: dict[str, bytes] = {}
        self._sent, another_host = {}, False
        for entry in self._entries():
            for change in entry.changes:
                kept = there.get(change.file, b"")
                if len(kept) < change.offset or not is_segment(change.file):
                    raise self._differs()
                whole = kept[: change.offset] + change.content
                self._sent[change.file] = _size_and_digest(whole)
                if not change.file.endswith(_FINAL):
                    there[change.file] = whole
                elif self._here(change.file) != whole:  # written at once: it may be large, and is not held
                    another_host = True
                    self._put(change.file, whole)
        # Another host went on with the record if it lacks something here: what is only appended to begins
        # here with all that the stage has. What that host left counts then.
        appended = [file for file in there if file not in _REPLACED]
        another_host = another_host or not all(
            (self._folder / file).exists() and self._here(file).startswith(there[file]) for file in appended
        )
        for file, content in there.items():
            if another_host or not (self._folder / file).exists():
                self._put(file, content)

    def send(self) -> None:
        """Have the stage hold all that is in the folder by now, and read it back.

        Raises:
            StageDiffers: another host went on with this record meanwhile; nothing may be written any more.
        """
        changes = tuple(self._changes())
        if not any(change.file not in _REPLACED for change in changes) and not self._ended(changes):
            return
        content = _encode(_Entry(self._head, changes))
        name, context = self._name(self._count + 1)
        self._stage.seal_as(name, content, context=context)
        if self._stage.open_as(name, context=context) != content:
            raise StageDiffers(
                f"another host went on with {self._prefix.rstrip('/')} meanwhile",
                hint="It is tried again with what that one put on record.",
            )
        self._count, self._head = self._count + 1, hashlib.sha256(content).hexdigest()
        self._sent |= {change.file: _size_and_digest(self._here(change.file)) for change in changes}

    def _ended(self, changes: tuple[_Change, ...]) -> bool:
        """Tell whether what was begun on the stage has come to its end: of nothing else alone it is told."""
        with suppress(msgspec.MsgspecError):
            journals = [change.content for change in changes if change.file == JOURNAL and self._count]
            return any(msgspec.json.decode(journal, type=Journal).ended for journal in journals)
        return False

    def _changes(self) -> Iterator[_Change]:
        for path in sorted(self._folder.glob("[!.]*")):
            if path.name in _OWN or not path.is_file():
                continue
            size, digest = self._sent.get(path.name, (0, ""))
            if path.name.endswith(_FINAL) and size == path.stat().st_size:
                continue
            content = path.read_bytes()
            if path.name in _REPLACED or _size_and_digest(content[:size]) != (size, digest):
                size = 0
            if _size_and_digest(content) != self._sent.get(path.name):
                yield _Change(path.name, size, content[size:])

    def _entries(self) -> Iterator[_Entry]:
        self._count, self._head = 0, ""
        while True:
            name, context = self._name(self._count + 1)
            content = self._stage.open_as(name, context=context)
            if content is None:
                return
            try:
                entry = _decode(content)
            except msgspec.MsgspecError:
                raise self._differs() from None
            if entry.before != self._head:
                raise self._differs()
            self._count, self._head = self._count + 1, hashlib.sha256(content).hexdigest()
            yield entry

    def _put(self, file: str, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._folder / file, content, replace=True)

    def _here(self, file: str) -> bytes:
        try:
            return (self._folder / file).read_bytes()
        except FileNotFoundError:
            return b""

    def _name(self, number: int) -> tuple[str, bytes]:
        name = f"{self._prefix}{number:06}"
        return name, b"strongroom/v1/way-back/" + name.encode()

    def _differs(self) -> StageDiffers:
        return StageDiffers(f"what the stage has under {self._prefix} is not what was put there")


def _size_and_digest(content: bytes) -> tuple[int, str]:
    return len(content), hashlib.sha256(content).hexdigest()


# -- Whose record is carried, and how that of a run is brought to a host --------------------------------


def carried(run: Run, folder: Path, services: Services, *, part: str = "") -> CarriedRecord | None:
    """Return what carries a folder of a run's record; ``None`` on a single host."""
    if run.spec.stage is None:
        return None
    return CarriedRecord(stage_of(run, services), run.id, part or folder.name, folder)


def bring_run(run: Run, services: Services, *, besides: str = "") -> dict[str, str]:
    """Bring the parts of a run's record to this host, and of what undid it; return the head of each.

    Args:
        besides: how the parts are called that are not meant, nor those that are here already, nor what undid
            the run: what other hosts are at work on is theirs.
    """
    if run.spec.stage is None:
        return {}
    stage, undo, heads = stage_of(run, services), services.state_dir / "undo", {}
    folder, prefix = undo / run.id, f"{WAYS_BACK}{run.id}/"
    names = [info.name.removeprefix(prefix).split("/") for info in stage.place.list(prefix)]
    for part in sorted({name[0] for name in names if name[0] != _UNDONE}):
        at = folder if part == WHOLE else folder / part
        if not besides or not (part.startswith(besides) or at.exists()):
            record = CarriedRecord(stage, run.id, part, at)
            record.bring()
            heads[part] = record.head
    if heads and WHOLE not in heads:
        journal = Journal(
            started_at=rfc3339(run.created_at),
            backup=run.spec.backup,
            to=str(run.spec.options.get("destination", "")),
            goes_on=f"strongroom runs retry {run.id}",
        )
        begin_run(folder, journal)
    for by in (name[1] for name in names if not besides and name[0] == _UNDONE and len(name) == 2):
        with suppress(RunNotFound):
            bring_run(services.store.load(by), services)
        note_undone(folder, by)
    return heads


def carried_journals(services: Services) -> Iterator[tuple[str, Journal, tuple[str, ...]]]:
    """Yield the runs whose ways back lie on the stages, as the record has them, with the machines that worked
    on each. What is not on record is left out."""
    found: dict[str, set[str]] = {}
    for place in services.stages.values():
        for info in place.list(WAYS_BACK):
            name, part, *rest = info.name.removeprefix(WAYS_BACK).split("/")
            found.setdefault(name, set()).update(rest if part == _UNDONE else ())
    for name, undone_by in found.items():
        with suppress(RunNotFound, RecordRefused):
            run, rows = services.store.load(name), services.store.rows(name, StepKind.RESTORE)
            ended, options = {RunState.DONE: DONE, RunState.DEGRADED: PARTIAL}, run.spec.options
            undoes = f"undo of {options.get('undoes')}"
            journal = Journal(
                started_at=rfc3339(run.created_at),
                backup=undoes if run.spec.kind is RunKind.UNDO else run.spec.backup,
                to=str(options.get("destination", "")),
                goes_on="",
                ended=ended.get(run.state, STOPPED) if run.state.final else "",
                counts=facts_of(run).restore or Restored(),
                undone_by=tuple(sorted(undone_by)),
            )
            yield name, journal, tuple(sorted({row.owner.partition(":")[0] for row in rows if row.owner}))


def note_undone_by(undone: Run, by: str, services: Services) -> None:
    """Have the stage say that a run undoes another, so that whatever host undoes that too knows."""
    if undone.spec.stage is not None:
        name = f"{WAYS_BACK}{undone.id}/{_UNDONE}/{by}"
        stage_of(undone, services).seal_as(name, b"", context=b"strongroom/v1/undone-by/" + name.encode())
