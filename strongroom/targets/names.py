"""The names of objects, by one strict grammar, and what a target tells of itself."""

from __future__ import annotations

import re

from msgspec import Struct

from strongroom.errors import TargetError

# -- The names of objects: one strict grammar for every target ----------------------------------
#
# A name can come out of a manifest or a row that somebody edited, so nothing but this
# grammar reaches a file system or a request: no ``..``, no absolute path, no hidden file,
# no control character, and nothing that two stores would spell differently.


SEGMENT_LIMIT = 200  # leaves room in a 255-byte file name for a provisional one's ends
NAME_LIMIT = 900  # S3 takes 1,024 bytes, and a target may put its own prefix in front

_ONE = rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{SEGMENT_LIMIT - 1}}}"
_SEGMENT = re.compile(_ONE)
_NAME = re.compile(f"{_ONE}(?:/{_ONE})*")


def is_segment(text: str) -> bool:
    """Say whether ``text`` may stand between two slashes of a name."""
    return _SEGMENT.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Say whether ``text`` is a whole object name."""
    return len(text) <= NAME_LIMIT and _NAME.fullmatch(text) is not None


def check_name(name: str) -> str:
    """Return ``name``; raise :class:`~strongroom.errors.TargetError` if it is none."""
    if not is_name(name):
        raise TargetError(f"{name[:100]!r} is not the name of an object", hint=_HINT)
    return name


def check_prefix(prefix: str) -> str:
    """Return ``prefix``; raise unless some object's name could start with it."""
    if prefix and not is_name(prefix) and not is_name(prefix + "x"):
        raise TargetError(f"{prefix[:100]!r} cannot begin the name of an object", hint=_HINT)
    return prefix


def check_range(offset: int, length: int | None) -> None:
    """Refuse a range that points before the object or has a negative length."""
    if offset < 0 or (length is not None and length < 0):
        raise TargetError(
            f"there is no range at {offset} of length {length}", hint="Do not trust what gave this range."
        )


_HINT = "Names are '/'-separated, of A-Z a-z 0-9 . _ - with no segment starting with a dot."


# -- Which target this is: what every target tells of itself, said once -------------------------


class TargetIdentity(Struct, frozen=True, kw_only=True):
    """What a target is called, where it lies, who runs it, and its canonical address."""

    name: str
    region: str
    provider: str
    address: str

    def __str__(self) -> str:
        return f"target '{self.name}' ({self.address})"
