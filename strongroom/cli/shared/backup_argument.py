"""What a person means by a backup: a file of some kind, a directory, a configured target."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import MissingPiece
from strongroom.container.kinds import HEAD, FileKind, sniff
from strongroom.container.ranges import RangeReader
from strongroom.errors import TargetError, UsageError
from strongroom.operations.archive.open import Objects
from strongroom.system.file_reader import LocalFileReader
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.single_file import BundleReader
from strongroom.words import nearest

if TYPE_CHECKING:
    from strongroom.targets import Target
    from strongroom.targets.directory import DirectoryTarget

DEFAULTS = ("region-a", "region-b", "region-c")
"""The targets of an installation that names none, under the state directory."""


@contextmanager
def open_file(path: Path) -> Iterator[RangeReader]:
    """Open a file for reading by range; what cannot be read is a typed error.

    Raises:
        MissingPiece: there is no such file, or it may not be read.
    """
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        if not regular:
            raise UsageError(
                f"'{path}' is not a file.", hint="Name a backup file, or give a directory with --from-target."
            )
        reader = LocalFileReader(path)
    except OSError as error:
        raise MissingPiece(f"'{path}' cannot be read: {error.strerror}.", hint="Check the path.") from None
    with reader:
        yield reader


def kind_of(path: Path) -> FileKind:
    """Return what a file claims to be.

    A changed first byte hides that, so the ends are looked at too: what still ends as one
    of ours is read as that, and found altered.
    """
    with open_file(path) as reader:
        found = sniff(reader.read(0, HEAD))
        if found is not FileKind.UNKNOWN:
            return found
        tail = reader.read(max(0, reader.size - HEAD), HEAD)
    return next((kind for ending, kind in _ENDINGS if ending in tail), FileKind.UNKNOWN)


_ENDINGS = (
    (b"SRBFEND", FileKind.BUNDLE),
    (b"SRCTEND", FileKind.CONTAINER),
    (b',\n"length":"', FileKind.METADATA),
)


MOST_NAMED = 5
"""Files that a message names: more would hide what it says."""


def refuse_folder_of_files(path: Path, command: str = "") -> None:
    """Say which files to name, where a folder of them is named: what a restore overwrote lies in one.

    Args:
        command: what to type before each of them, if there is not more to it.
    """
    if not path.is_dir() or _is_target(path) or not (files := sorted(path.glob("*.strongroom"))):
        return
    named = ", ".join(f"{command} {quote(str(file))}".lstrip() for file in files[:MOST_NAMED])
    more = f", and {len(files) - MOST_NAMED} more there" if len(files) > MOST_NAMED else ""
    raise UsageError(
        f"'{path}' is a folder of backup files, not one backup.",
        hint=f"Nothing was changed. Name its files, each with a command of its own: {named}{more}",
    )


@contextmanager
def open_objects(file: Path) -> Iterator[Objects]:
    """Open a single-file backup, or a directory that is a target."""
    if file.is_dir():
        yield directory_target(file)
        return
    with BundleReader(file) as reader:
        yield reader


def configured_target(path: Path, place: InstallationPlace) -> Target | None:
    """Return the configured target that a word means which was taken for a path, by name or by directory."""
    word, folders = str(path), _target_folders(place)
    if word in folders and not path.exists():
        return target_of(word, place)
    found = next((name for name, folder in folders.items() if path.absolute() == folder), None)
    return None if found is None else target_of(found, place)


def target_of(word: str, place: InstallationPlace) -> Target:
    """Return the target that a person means: a configured name, or a directory.

    A directory that is configured goes by its configured name. Only other kinds need the
    whole configuration to be sound. On a new machine a copy of a target is often named as one of the targets
    that there are by default (region-a): where such a copy lies here, it is meant.

    Raises:
        TargetError: it is neither.
    """
    folders = _target_folders(place)
    for name, path in folders.items():
        only_default = name not in place.section("targets") and _is_target(Path(word))
        if path is None or only_default:
            continue
        if word == name or Path(word).absolute() == path:
            return directory_target(path, name=name)
    if word in place.section("targets"):
        return _configured_remote(word)
    if Path(word).is_dir():
        return directory_target(Path(word))
    known = nearest(word, {*folders, *place.section("targets")})
    raise TargetError(
        f"There is no target '{word}'.", hint=f"Name a directory, or a configured target. {known}"
    )


def _target_folders(place: InstallationPlace) -> dict[str, Path | None]:
    """Return where each configured target lies, of those that lie in a directory."""
    tables = place.section("targets")
    if not tables:
        return {name: place.state_dir / "targets" / name for name in DEFAULTS}
    return {name: place.path(table.get("path")) for name, table in tables.items()}


def _configured_remote(name: str) -> Target:
    from strongroom.config import load_settings
    from strongroom.wiring import adapters

    return adapters.target(name, load_settings(), prepare=False)


def directory_target(path: Path, *, name: str | None = None) -> DirectoryTarget:
    """Return a directory as a target.

    Raises:
        TargetUnavailable: it is none, or its disk is not mounted.
    """
    from strongroom.targets.directory import MARKER, DirectoryTarget

    if not _is_target(path):
        raise TargetUnavailable(
            f"'{path}' has no {MARKER} in it, so it is no target, or its disk is not mounted.",
            hint=f"Mount it. If it is a copy of a target, say so: touch {quote(str(path / MARKER))}",
        )
    return DirectoryTarget(path, name=name or path.name or "target", region="")


def _is_target(path: Path) -> bool:
    from strongroom.targets.directory import MARKER

    return (path / MARKER).exists()
