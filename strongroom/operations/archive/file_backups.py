"""Backups that a command wrote into a file: where they lie now, and what was said of those that do not.

They have no target: the record of their run has the path. A file that is not there may have been
moved, and whoever has it and a key opens it. So it counts as not looked at, until a person says
that it is gone; one that comes back counts again, whatever was said.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from glob import escape
from pathlib import Path
from stat import S_ISREG

from strongroom.container.errors import MissingPiece, NotABackup
from strongroom.container.manifest import Manifest
from strongroom.errors import UsageError
from strongroom.model import COMMAND
from strongroom.operations.archive.open import backup_ids, read_manifest
from strongroom.operations.services import Services
from strongroom.state.errors import RunNotFound
from strongroom.state.records import CatalogEntry
from strongroom.targets.single_file import BundleReader

SUPERSEDED = ".superseded"
"""How the name of a file ends that was sealed anew in its place and kept beside that."""

SAID_GONE = "backup.gone"
_PAGE = 1000


def in_a_file(entry: CatalogEntry) -> bool:
    """Tell whether a command wrote this backup into a file."""
    return entry.policy == COMMAND


def path_of(services: Services, backup: str) -> Path:
    """Return where a backup's file was written.

    Raises:
        MissingPiece: there is no record of its run.
    """
    try:
        run = services.store.load(backup)
    except RunNotFound:
        raise MissingPiece(
            f"a command made it, and no run on record says in which file; if that is gone for good: "
            f"'strongroom backups gone {backup}'"
        ) from None
    return Path(run.spec.targets[0].address)


def made_by_a_command(services: Services, run: str) -> UsageError:
    """Return why nothing is done to such a backup: no policy says where it belongs."""
    path = path_of(services, run)
    return UsageError(
        f"Run {run} was made by a command, for the file {path}: no policy says where it belongs.",
        hint=f"Nothing was changed. Type that command to make it again. If {path.name} is there, "
        f"'strongroom backups verify {path}' says whether it is whole.",
    )


def lying(services: Services, backup: str) -> list[tuple[Path, str]]:
    """Return the files of a backup, each with the id that it bears there: as it was written, as it
    was sealed anew in its place, and what that kept beside it. Nothing, if none is there.

    Raises:
        StrongroomError: what lies there cannot be read, or nobody knows where that would be.
    """
    path = path_of(services, backup)
    kept = sorted(path.parent.glob(f"{escape(path.name)}.*{SUPERSEDED}"))
    return [
        (file, name)
        for file in (path, *kept)
        for name in _ids(file)
        if name == backup or name.startswith(f"{backup}-r")
    ]


def _ids(path: Path) -> list[str]:
    if not _may_be_there(path):
        return []
    try:
        with BundleReader(path) as reader:
            return backup_ids(reader)
    except NotABackup:  # something else has the name now
        return []


def _may_be_there(path: Path) -> bool:
    """Tell whether a file has the name. A pipe that somebody put there would be read for ever."""
    try:
        return S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # it cannot be told: reading says why


def opened_files(services: Services, backup: str) -> Iterator[tuple[BundleReader, Manifest]]:
    """Yield each file of a backup, open until the next is asked for, with its manifest.

    Raises:
        MissingPiece: no file of it is where it was written.
        StrongroomError: one cannot be read, or is of a signer that is not trusted.
    """
    files = lying(services, backup)
    if not files:
        raise away(services, backup)
    for path, name in files:
        with BundleReader(path) as reader:
            yield reader, read_manifest(reader, name, trusted=services.signer_fingerprints)


def away(services: Services, backup: str) -> MissingPiece:
    """Return the error that tells of a file that is not where it was written."""
    return MissingPiece(
        f"its file is no longer at {path_of(services, backup)}: it was moved, deleted or written over. "
        f"Put it back there; if it is gone for good: 'strongroom backups gone {backup}'",
        hint="",
    )


# -- gone for good -------------------------------------------------------------


def said_gone(services: Services) -> frozenset[str]:
    """Return the backups whose files a person said are gone for good."""
    return frozenset(str(event.detail["backup"]) for event in services.store.each_event(SAID_GONE))


def is_gone(services: Services, backup: str, said: frozenset[str]) -> bool:
    """Tell whether a file is said to be gone, and is: one that came back counts again."""
    return backup in said and not _there(services, backup)


def lost_at(services: Services, path: Path) -> list[str]:
    """Return the backups that commands wrote at a path and that are not there any more: one a night, where
    the same file is written over each night."""
    found: list[str] = []
    for backup in services.store.names(COMMAND):
        with suppress(MissingPiece):
            if path_of(services, backup) == path and not lying(services, backup):
                found.append(backup)
    return found


def say_gone(services: Services, backup: str) -> None:
    """Put on record that a backup's file is gone for good. The catalog keeps the backup.

    Raises:
        MissingPiece: the catalog does not know it.
        UsageError: no command made it, or its file is there.
    """
    entry = services.store.backup(backup)
    if entry is None:
        raise MissingPiece(f"the catalog has no backup '{backup}'", hint="See 'strongroom backups list'.")
    if not in_a_file(entry):
        raise UsageError(
            f"Backup {backup} was made by a policy and lies on targets, not in a file.",
            hint=f"If a target lost it: 'strongroom backups repair {backup}'. Nothing was recorded.",
        )
    if there := _there(services, backup):
        raise UsageError(
            f"Backup {backup} is not gone: it is in {there}.",
            hint="Nothing was recorded. Delete the file first, if it is not to be kept.",
        )
    services.store.event(SAID_GONE, backup=backup)


def _there(services: Services, backup: str) -> str:
    try:
        path_of(services, backup)
    except MissingPiece:
        return ""  # nobody knows where it would be, so a person's word is all there is
    return ", ".join(str(path) for path, _ in lying(services, backup))
