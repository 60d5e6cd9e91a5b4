"""Which secrets a selection means, streams cut into batches of bounded size, and what every destination
holds to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from msgspec.structs import replace

from strongroom.container.errors import VerificationFailed
from strongroom.errors import SourceError, StrongroomError
from strongroom.model import ListedSecret, Media, Secret, SecretBytes, SecretVersion, Selection, VersionState
from strongroom.sources import Refuse, SecretChange
from strongroom.sources.errors import SourceChanged, SourceClosed
from strongroom.system.errors import Conflict

# -- Cuts streams into batches, so that memory is bounded by bytes and not by counts ------------


BATCH = 8_192
BATCH_BYTES = 16 << 20
WINDOW_BYTES = 8 << 20
_VERSION = 64  # what a version takes at least, however short its value

T = TypeVar("T")


def batched_secrets(
    items: Iterable[T], *, by: Callable[[T], Secret], most: int | None = None, most_bytes: int | None = None
) -> Iterator[list[T]]:
    """Yield ``items`` in batches that hold each secret's name once."""
    batch: list[T] = []
    names: set[str] = set()
    size = 0
    for item in items:
        secret = by(item)
        if len(batch) == (most or BATCH) or size >= (most_bytes or BATCH_BYTES) or secret.name in names:
            yield batch
            batch, names, size = [], set(), 0
        batch.append(item)
        names.add(secret.name)
        size += _size(secret)
    if batch:
        yield batch


def windows(entries: Sequence[ListedSecret]) -> Iterator[Sequence[ListedSecret]]:
    """Yield runs of ``entries`` whose secrets fit into memory together."""
    start = size = 0
    for end, entry in enumerate(entries):
        if size and size + entry.size > WINDOW_BYTES:
            yield entries[start:end]
            start, size = end, 0
        size += entry.size
    if start < len(entries):
        yield entries[start:]


def _size(secret: Secret) -> int:
    size = 0
    for version in secret.versions:
        size += _VERSION + (0 if version.value is None else len(version.value))
    return size


# -- Which secrets a selection means: patterns on the name, and tags ----------------------------


def matches(selection: Selection, item: ListedSecret | Secret) -> bool:
    """Say whether ``selection`` means ``item``.

    Raises:
        ValueError: the selection has tags, and the entry was listed without them. Taking
            that for "no match" would leave secrets out of a backup in silence.
    """
    return is_named(item.name, selection.include, selection.exclude) and _is_tagged(selection, item)


def is_named(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Say whether a name is like one of some patterns, if there are any, and like none of others."""
    if include and not any(fnmatchcase(name, pattern) for pattern in include):
        return False
    return not any(fnmatchcase(name, pattern) for pattern in exclude)


def _is_tagged(selection: Selection, item: ListedSecret | Secret) -> bool:
    if not selection.tags:
        return True
    if item.tags is None:
        raise ValueError("a selection by tags needs entries that were listed with their tags")
    tags = item.tags
    return all(tags.get(key) == value for key, value in selection.tags.items())


# -- What every destination holds to when it writes a secret ------------------------------------


def concerns_one(error: StrongroomError) -> bool:
    """Say whether an error is about one secret, so that others can still be read and written."""
    if isinstance(error, SourceError):
        return isinstance(error, SourceChanged) or not (error.transient or isinstance(error, SourceClosed))
    return isinstance(error, Conflict | VerificationFailed)


class Refusing:
    """Hands an error about one secret to ``refuse``, if there is one; lets any other pass."""

    def __init__(self, name: str, refuse: Refuse | None) -> None:
        self._name = name
        self._refuse = refuse

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if self._refuse is None or not isinstance(error, StrongroomError) or not concerns_one(error):
            return False
        self._refuse(self._name, error)
        return True


def check_writable(secret: Secret) -> None:
    """Refuse what could not be read back as it was: no version, no order, no value, no name."""
    check_name(secret.name)
    if not secret.versions:
        raise SourceError(f"secret {secret.name!r} has no version to write")
    last = -1
    for version in secret.versions:
        if version.number <= last:
            raise SourceError(f"the versions of secret {secret.name!r} do not ascend")
        if version.value is None and version.state is VersionState.LIVE:
            raise SourceError(
                f"version {version.number} of secret {secret.name!r} has no value to write",
                hint="A metadata-only backup holds no values. Restore from a full one.",
            )
        last = version.number


def check_name(name: str) -> None:
    """Refuse a name that is empty or that not every store can keep."""
    if not name or "\x00" in name or not is_text(name):
        raise SourceError(f"{name!r} cannot be the name of a secret", hint="Use printable text.")


def is_text(name: str) -> bool:
    """Say whether a string is Unicode text, and not undecoded bytes in disguise."""
    try:
        return name.isascii() or bool(name.encode())
    except UnicodeEncodeError:
        return False


def media_of(value: bytes) -> Media:
    """Say how a value's bytes are to be read when nobody said so."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return Media.BINARY
    return Media.TEXT


def only(name: str, value: bytes) -> Secret:
    """Make a secret of mere bytes: one version, and nothing else known of it."""
    return Secret(
        name=name, versions=(SecretVersion(number=1, value=SecretBytes(value), media=media_of(value)),)
    )


def check_expected(change: SecretChange, actual: int | None) -> None:
    """Refuse a change whose writer saw another version than there is now."""
    if change.expected != actual:
        saw, have = (
            "no version" if number is None else f"version {number}" for number in (change.expected, actual)
        )
        raise Conflict(f"secret {change.secret.name!r} has {have}, but the writer expected {saw}")


def on_top(versions: tuple[SecretVersion, ...], head: int) -> tuple[SecretVersion, ...]:
    """Renumber ``versions`` so that they follow version ``head``."""
    return tuple(replace(version, number=head + step) for step, version in enumerate(versions, 1))
