"""Where a whole copy goes when a damaged one cannot be replaced: beside it, under a name of its own.

A locked object can be neither removed nor written over. So its repair is a new object,
``NAME.r1`` (then ``.r2`` …), and a reader takes the first of them whose digest is right. The
digest comes from a signed manifest, so it does not matter who put an object there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from strongroom.errors import MissingPiece, VerificationFailed
from strongroom.targets import Target

LIMIT = 9
"""Copies of one object that are repaired under locks; who needs more has another trouble."""


def repair_names(name: str) -> Iterator[str]:
    """Yield the names under which repairs of an object may lie, in order."""
    return (f"{name}.r{number}" for number in range(1, LIMIT + 1))


def original_name(name: str) -> str:
    """Return the name of the object that ``name`` is, or is a repair of."""
    stem, dot, ending = name.rpartition(".r")
    return stem if dot and ending in {str(number) for number in range(1, LIMIT + 1)} else name


def whole_copy(target: Target, name: str, *, sha256: bytes) -> str | None:
    """Return the name of the first copy of an object that is whole, or ``None``.

    Reads the object, and then its repairs as far as there are any.
    """
    there = {info.name for info in target.list(name)}
    return next(
        (one for one in (name, *repair_names(name)) if one in there and _is(target, one, sha256)), None
    )


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
            target.put(candidate, content(), size=size, sha256=sha256)
        if _is(target, candidate, sha256):
            return candidate
    raise VerificationFailed(f"target '{target.name}' holds {LIMIT} repairs of {name}, and none is whole")


def _is(target: Target, name: str, sha256: bytes) -> bool:
    digest = hashlib.sha256()
    try:
        for chunk in target.read(name):
            digest.update(chunk)
    except MissingPiece:
        return False
    return digest.digest() == sha256
