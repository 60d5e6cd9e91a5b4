"""What a person means by a backup: a file of some kind, a directory, a configured target."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.place import Place
from strongroom.container.bundle import BundleReader
from strongroom.container.kinds import HEAD, FileKind, sniff
from strongroom.container.ranges import FileReader, RangeReader
from strongroom.errors import MissingPiece, TargetError, UsageError
from strongroom.operations.open import Objects


@contextmanager
def opened(path: Path) -> Iterator[RangeReader]:
    """Open a file for reading by range; what cannot be read is a typed error.

    Raises:
        MissingPiece: there is no such file, or it may not be read.
    """
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        if not regular:
            raise UsageError(f"{path} is not a file.", hint="Name a backup file, or give a directory with --from-target.")
        reader = FileReader(path)
    except OSError as error:
        raise MissingPiece(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from None
    with reader:
        yield reader


def kind_of(path: Path) -> FileKind:
    """Return what a file claims to be.

    A changed first byte hides that, so the ends are looked at too: what still ends as one
    of ours is read as that, and found altered.
    """
    with opened(path) as reader:
        found = sniff(reader.read(0, HEAD))
        if found is not FileKind.UNKNOWN:
            return found
        tail = reader.read(max(0, reader.size - HEAD), HEAD)
    return next((kind for ending, kind in _ENDINGS if ending in tail), FileKind.UNKNOWN)


_ENDINGS = (
    (b"SRBFEND", FileKind.BUNDLE),
    (b',\n"length":"', FileKind.METADATA),
)


@contextmanager
def objects_in(file: Path) -> Iterator[Objects]:
    """Open a single-file backup, or a directory that is a target."""
    if file.is_dir():
        yield directory(file)
        return
    with BundleReader(file) as reader:
        yield reader


@contextmanager
def objects_of(target: str, place: Place) -> Iterator[Objects]:
    """Open a target for reading: a directory, or one that the configuration names."""
    table = place.section("targets").get(target)
    if table is not None:
        path = place.path(table.get("path"))
        if path is None:
            raise TargetError(f"targets.{target} in {place.file} cannot be used.")
        yield directory(path)
    elif Path(target).is_dir():
        yield directory(Path(target))
    elif (place.state_dir / "targets" / target).is_dir() and not place.section("targets"):
        yield directory(place.state_dir / "targets" / target)
    else:
        raise TargetError(f"There is no target '{target}'.", hint=_known(place))


def directory(path: Path) -> Objects:
    """Return a directory as a target."""
    from strongroom.targets.directory import DirectoryTarget  # noqa: PLC0415 - a file needs it not

    return DirectoryTarget(path, name=path.name or "target", region="")


def _known(place: Place) -> str:
    names = ", ".join(place.section("targets")) or "none"
    return f"Name a directory, or a configured target (known: {names})."


