"""How objects are read: at a rate, once, in blocks; and where a whole copy of a damaged one lies."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from strongroom.container.errors import FormatError, MissingPiece, NotABackup, Tampered, VerificationFailed
from strongroom.container.manifest import SignedManifest, open_manifest
from strongroom.model import ObjectInfo
from strongroom.targets import Target
from strongroom.targets.resilient import Afresh
from strongroom.words import plural

# -- Where a whole copy goes when a damaged one cannot be replaced: beside it, under a name of its own
#
# A locked object can be neither removed nor written over. So its repair is a new object,
# ``NAME.r1`` (then ``.r2`` …), and a reader takes the first of them whose digest is right. The
# digest comes from a signed manifest, so it does not matter who put an object there.
# Repairs are named in this one module: writers come through :func:`put_beside`, readers
# through :func:`readable_copy`, and who lists takes :func:`original_name`.


T = TypeVar("T")

LIMIT = 9
"""Copies of one object that are repaired under locks; who needs more has another trouble."""


MOST_BYTES = 64 * 1024 * 1024
"""Of a document that is read whole into memory: as many as the format allows."""

_BEGINS = b'{"format":"strongroom-'


class Objects(Protocol):
    """The read side of a target; a single-file backup has it too."""

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]: ...

    def stat(self, name: str) -> ObjectInfo | None: ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]: ...


def repair_names(name: str) -> Iterator[str]:
    """Yield the names under which repairs of an object may lie, in order."""
    return (f"{name}.r{number}" for number in range(1, LIMIT + 1))


def original_name(name: str) -> str:
    """Return the name of the object that ``name`` is, or is a repair of."""
    stem, dot, ending = name.rpartition(".r")
    return stem if dot and ending in {str(number) for number in range(1, LIMIT + 1)} else name


def copies(objects: Objects, name: str) -> list[str]:
    """Return under which names an object and its repairs are there, in order; one listing."""
    there = {info.name for info in objects.list(name)}
    if there <= {name}:  # nearly always
        return list(there)
    return [copy_name for copy_name in (name, *repair_names(name)) if copy_name in there]


def whole_copy(objects: Objects, name: str, *, sha256: bytes, most: int = MOST_BYTES) -> str | None:
    """Return the name of the first copy of an object that is whole, or ``None``.

    Reads the object, and then its repairs as far as there are any.

    Args:
        most: how many bytes the object has, or may have at most. Nothing is read beyond that: a sparse
            file of a terabyte in its place costs no more than the object itself.
    """
    return next(
        (copy_name for copy_name in copies(objects, name) if _is(objects, copy_name, sha256, most)), None
    )


def readable_copy(objects: Objects, name: str, *, sha256: bytes, most: int = MOST_BYTES) -> str:
    """Return the name that a reader takes: the object's own, unless it was repaired.

    An object without repairs is not read for that: whoever reads it finds what is wrong with it.
    One with repairs was damaged once, and is read whole to find the copy that is not. If none is whole, the
    first tells what is wrong: a repair whose original is gone is damaged, and not missing.
    """
    there = copies(objects, name)
    if there in ([], [name]):
        return name
    return whole_copy(objects, name, sha256=sha256, most=most) or there[0]


def sound_copy(
    objects: Objects, name: str, parse: Callable[[bytes], T], *, names: Sequence[str] | None = None
) -> T:
    """Return what ``parse`` makes of the first copy of a document that it does not refuse.

    Repairs are looked for only if the object itself will not do: a listing takes as long as a read.

    Args:
        names: the copies, where a listing has told them already. Who looks at many objects lists once:
            a listing for each costs the square of what a stranger put there.

    Raises:
        FormatError: what ``parse`` says of the first copy, if it refuses all of them.
        MissingPiece: there is none.
    """
    refusals: list[FormatError] = []
    for copy in _by_and_by(objects, name) if names is None else names:
        try:
            if (content := _taken(objects, copy)) is not None:
                return parse(content)
        except FormatError as error:
            # Say of which object it is: who has several replicas has to know which bytes to distrust.
            if isinstance(error, Tampered) and copy not in error.message:
                error.args = (f"'{copy}': {error.message}", *error.args[1:])
                error.message = error.args[0]
            refusals.append(error)
    raise refusals[0] if refusals else MissingPiece(f"'{name}' is not there")


def _by_and_by(objects: Objects, name: str) -> Iterator[str]:
    yield name
    yield from (copy for copy in copies(objects, name) if copy != name)


def _taken(objects: Objects, name: str) -> bytes | None:
    """Read a document whole, but no more than one may be: who fills a target must not fill a reader too.

    What does not begin as a document of ours is read no further than its first chunk.
    ``None`` if there is none, which says nothing of the other copies.
    """
    taken = bytearray()
    try:
        for chunk in objects.read(name):
            taken += chunk
            if len(taken) > MOST_BYTES:
                raise NotABackup(
                    f"'{name}' has more than {MOST_BYTES:,} bytes, which nothing of its kind has"
                )
            if not taken.startswith(_BEGINS[: len(taken)]):
                break
    except MissingPiece:
        return None
    return bytes(taken)


def put_beside(
    target: Target,
    name: str,
    content: Callable[[], Iterable[bytes | memoryview]],
    *,
    size: int,
    sha256: bytes,
) -> str:
    """Put a whole copy beside a damaged one that cannot be replaced, and read it back.

    Args:
        content: gives the chunks, anew each time.

    Returns:
        The name that it lies under; an earlier repair's, if that is whole.

    Raises:
        VerificationFailed: every name for a repair holds something else.
    """
    for candidate in repair_names(name):
        if target.stat(candidate) is None:
            target.put(candidate, Afresh(content), size=size, sha256=sha256)
        if _is(target, candidate, sha256, size):
            return candidate
    raise VerificationFailed(f"target '{target.name}' holds {LIMIT} repairs of {name}, and none is whole")


def _is(objects: Objects, name: str, sha256: bytes, most: int) -> bool:
    digest, seen = hashlib.sha256(), 0
    try:
        for chunk in objects.read(name, length=most + 1):
            digest.update(chunk)
            seen += len(chunk)
    except MissingPiece:
        return False
    return seen <= most and digest.digest() == sha256


# -- The manifests that a place shows, by one listing -------------------------------------------
#
# Whoever may write to a target may put thousands of objects there. Who looks through manifests therefore
# lists them once, and reads of each no more than tells that it is none of ours.


MANIFESTS = "manifests/"
_NAME = re.compile(r"manifests/([^/]+)\.json(?:\.r[1-9])?")
"""A manifest's name, or a copy's (FORMAT.md, 7). What else lies there is none, and nothing of ours."""


class ManifestListing:
    """The backups that a place shows. Raises TargetError, when it is made, if the place does not answer."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._copies: dict[str, list[str]] = {}
        for info in objects.list(MANIFESTS):
            if match := _NAME.fullmatch(info.name):
                self._copies.setdefault(match[1], []).append(info.name)

    def __contains__(self, backup: object) -> bool:
        return backup in self._copies

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def backups(self) -> list[str]:
        """Their ids, oldest first: they begin with the time."""
        # Sorted without the suffix: what was sealed anew (ID-r1) comes after what it replaces.
        return sorted(self._copies)

    def read(self, backup: str, *, trusted: frozenset[str] | None, receipts: bool = True) -> SignedManifest:
        """Return the first copy of a backup's manifest that is sound.

        Args:
            receipts: whether its containers' receipts are checked, as
                :func:`~strongroom.container.manifest.open_manifest` does.

        Raises:
            FormatError: why the first copy is not.
        """
        return self.parsed(
            backup, lambda content: held_to_name(content, backup, trusted=trusted, receipts=receipts)
        )

    def parsed(self, backup: str, parse: Callable[[bytes], T]) -> T:
        """Return what ``parse`` makes of the first copy that it does not refuse."""
        return sound_copy(
            self.objects, f"{MANIFESTS}{backup}.json", parse, names=self._copies.get(backup, ())
        )


def held_to_name(
    content: bytes, backup: str, *, trusted: frozenset[str] | None, receipts: bool = True
) -> SignedManifest:
    """Parse a manifest and hold it to its name: an old one under a new name would pass for a new backup."""
    signed = open_manifest(content, trusted=trusted, receipts=receipts)
    if signed.manifest.backup_id != backup:
        raise MissingPiece(f"the manifest named '{backup}' belongs to backup '{signed.manifest.backup_id}'")
    return signed


def backup_of(name: str) -> str:
    """Return the backup that a manifest's name is of."""
    return original_name(name).removeprefix(MANIFESTS).removesuffix(".json")


# -- How a target is read: no faster than a rate, each object once, streams cut into blocks -----


# -- A target that is read no faster than a rate: whoever reads all of it must not keep others from it


class Paced:
    """The read side of a target, for one reader.

    By the time that so many bytes were given, at least so many ``1 / rate`` seconds have gone by. So the rate
    holds over any number of readers, one after the other.

    Args:
        rate: bytes a second; ``None`` for as fast as it goes.
    """

    def __init__(
        self,
        name: str,
        objects: Objects,
        rate: float | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._objects = objects
        self._seconds = 1 / rate if rate else 0.0
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = 0.0

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range, each chunk when its time has come."""
        for chunk in self._objects.read(name, offset=offset, length=length):
            now = self._monotonic()
            self._next = max(self._next, now) + len(chunk) * self._seconds
            self._sleep(self._next - now)
            yield chunk

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``."""
        return self._objects.stat(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield objects ascending by name."""
        return self._objects.list(prefix)


# -- An object that is read whole and then in ranges is fetched once: each byte of a far target costs money


class ReadOnce:
    """The read side of a target, for a short while: what was read whole is remembered.

    Only the last such object, and none that is larger than ``most`` bytes. So what is compared by its digest
    and then opened is one and the same: nobody can change it in between.
    """

    def __init__(self, objects: Objects, *, most: int) -> None:
        self._objects = objects
        self._most = most
        self._name = ""
        self._content = b""

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range, from memory if the object was read whole before."""
        if name == self._name:
            end = None if length is None else offset + length
            return iter((self._content[offset:end],))
        if offset == 0 and length is not None:
            return self._whole(name, length)
        return self._objects.read(name, offset=offset, length=length)

    def _whole(self, name: str, length: int) -> Iterator[bytes]:
        """Stream an object from its beginning, and remember it if it ends before ``length``."""
        kept, size = list[bytes](), 0
        for chunk in self._objects.read(name, length=length):
            size += len(chunk)
            if size <= self._most:
                kept.append(bytes(chunk))
            yield chunk
        if size < length and size <= self._most:
            self._name, self._content = name, b"".join(kept)

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``."""
        return self._objects.stat(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield objects ascending by name."""
        return self._objects.list(prefix)


# -- Cuts a stream into blocks, and lets the last one go only once the whole is what was announced ---


def checked(
    name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes, block: int
) -> Iterator[bytes]:
    """Yield blocks of ``block`` bytes, the last one shorter; an empty stream is one empty block.

    Raises:
        VerificationFailed: the content has another size or SHA-256 than announced. The last
            block was not handed out then, so what was sent can never be made a whole.
    """
    digest = hashlib.sha256()
    held = bytearray()
    seen = 0
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        seen += view.nbytes
        if seen > size:
            announced = plural(size, "byte")
            raise VerificationFailed(f"{name} is longer than the {announced} announced; nothing was kept")
        digest.update(view)
        while view:
            if len(held) == block:  # never before there is more: the last block waits for the check
                yield bytes(held)
                held = bytearray()
            room = block - len(held)
            held += view[:room]
            view = view[room:]
    if seen != size or digest.digest() != sha256:
        raise VerificationFailed(f"{name} is not the content that was announced; nothing was kept")
    yield bytes(held)
