"""Version ids, which AWS has, and version numbers, which Strongroom has.

AWS knows a version by an id of 32 to 64 characters that whoever wrote it chose (a UUID, mostly).
Numbers come from the order: by the moment of creation, and the one labelled AWSCURRENT last, since
that is what a reader gets. The metadata keeps each number's id and labels, so nothing is lost.

Versions that Strongroom itself writes for want of an id carry their number, and how the value is to
be read, in an id of its own::

    strongroom-<number, 16 digits>-<t, j or b>-<32 hex digits>
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from strongroom.model import Media

CURRENT, PREVIOUS, PENDING = "AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"
_LETTERS = {Media.TEXT: "t", Media.JSON: "j", Media.BINARY: "b"}
_MEDIA = {letter: media for media, letter in _LETTERS.items()}
_OWN = re.compile(r"strongroom-(\d{16})-([tjb])-[0-9a-f]{32}")


class ListedVersion(Struct, frozen=True, gc=False):
    """A version as the service lists it. ``created`` is RFC 3339 in UTC, so it sorts as text."""

    id: str
    stages: tuple[str, ...] = ()
    created: str | None = None
    valued: bool = True


def own_id(name: str, number: int, media: Media, *, salt: str = "") -> str:
    """Make an id; the same one for the same arguments.

    Nothing of the value goes in: a digest of a weak one could be guessed from the id.
    """
    place = "\0".join((name, str(number), salt)).encode()
    return f"strongroom-{number:016d}-{_LETTERS[media]}-{hashlib.sha256(place).hexdigest()[:32]}"


def media_of(id_: str) -> Media | None:
    """Return how a value is to be read, if its id says so."""
    match = _OWN.fullmatch(id_)
    return _MEDIA[match[2]] if match else None


def in_order(held: Iterable[ListedVersion]) -> list[ListedVersion]:
    """Sort versions: older first, what is current last. Of one moment, as the service listed them."""
    return sorted(held, key=lambda version: (CURRENT in version.stages, version.created or ""))


def numbered(ids: Sequence[str]) -> list[int]:
    """Give ascending numbers to ids in order: their own where they carry one that ascends."""
    numbers: list[int] = []
    for id_ in ids:
        match = _OWN.fullmatch(id_)
        last = numbers[-1] if numbers else 0
        numbers.append(max(last + 1, int(match[1]) if match else 0))
    return numbers


def holders(stages: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Turn labels by id into ids by label: a label is on one version at a time."""
    return {stage: id_ for id_, labels in stages.items() for stage in labels}
