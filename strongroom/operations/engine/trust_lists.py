"""Trust lists: who counts by those that places hold, and how they get to every other place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from strongroom.container.marks import TRUST_LIST, SignedTrustList, TrustList, number_in, with_lists
from strongroom.container.signing import Certificate, Signers, require_listed
from strongroom.errors import StrongroomError
from strongroom.keys import rolelist
from strongroom.operations.engine.statements import AT_ONCE, Counting, StatementsOn
from strongroom.targets.reading import ManifestListing, Objects

STATING = 8
"""Newest backups of a place, of those whose manifest counts, that are asked which list is the newest."""


class FoundList(NamedTuple):
    """A trust list as it lies on a place."""

    content: bytes
    signed: SignedTrustList


def believed_on(
    pins: Signers,
    places: Sequence[ManifestListing],
    *,
    folder: Path | None = None,
    strict: bool = True,
    strangers: bool = False,
) -> Signers:
    """Return whose signatures count on some places, by the trust lists there and those that are kept here.

    Args:
        pins: the installations that are believed, and what is known here of their keys.
        folder: where this host keeps its role keys: it keeps the lists too.
        strict: whether it ends where a list is missing; whoever takes anybody's backup goes on.
        strangers: whether it is also asked what others than the pinned say there of their own keys.

    Raises:
        TrustListMissing: a manifest that counts states a newer list than any that was found.
    """
    found = [trust_list for each in _at_once(pins, places) for trust_list in each]
    if folder is not None:
        adopt(folder, found)
    kept = [] if folder is None else rolelist.read_kept_list(folder)
    known = with_lists(pins, [*kept, *(trust_list.signed for trust_list in found)])
    if strangers:
        known |= strangers_on(places, known)
    if not strict:
        return unasked(known)
    for place in places:
        require_stated(place, known)
    return known


def unasked(known: Signers) -> Signers:
    """Return who counts, whatever number of a list is stated."""
    return Signers(
        known,
        retired=known.retired,
        distrusted=known.distrusted,
        lifted=known.lifted,
        strangers=known.strangers,
    )


def strangers_on(places: Sequence[ManifestListing], known: Signers) -> Signers:
    """Return nobody, and what each installation that is not known says on some places of its own keys."""
    found = [trust_list.signed for each in _at_once(None, places) for trust_list in each]
    makers = {signed_index.fingerprint for signed_index in found} - known
    return Signers(strangers={maker: with_lists(Signers([maker]), found) for maker in makers})


def require_stated(place: ManifestListing, known: Signers) -> None:
    """Raise TrustListMissing if a place's newest manifests state a newer list than any that was found."""
    for certificate, stated in _stated(place, known):
        require_listed(certificate, stated, known)


def adopt(folder: Path, found: Iterable[FoundList]) -> bool:
    """Keep the lists that were found, where there is an installation to keep them; tell if any was new."""
    with suppress(StrongroomError):  # a process that may not write there believes them all the same
        return folder.is_dir() and rolelist.keep(folder, [trust_list.content for trust_list in found])
    return False


def _at_once(pins: Signers | None, places: Sequence[ManifestListing]) -> Iterator[list[FoundList]]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(lambda place: _if_there(place.objects, pins), places)


def _if_there(objects: Objects, pins: Iterable[str] | None) -> list[FoundList]:
    try:
        return list(_downwards(_listed(objects), None)) if pins is None else lists_on(objects, pins)
    except StrongroomError:  # whoever reads the place for more is told
        return []


def _listed(objects: Objects) -> StatementsOn[TrustList]:
    return StatementsOn(objects, TRUST_LIST, trusted=None)


def lists_on(objects: Objects, pins: Iterable[str]) -> list[FoundList]:
    """Return the highest lists of each pinned installation on a place, and of those that follow it.

    Raises:
        TargetError: the place does not answer.
    """
    there = _listed(objects)
    pinned = Signers(pins)
    while True:
        there.trusted = frozenset(pinned)
        found = list(_downwards(there, pinned))
        following = with_lists(pinned, [trust_list.signed for trust_list in found])
        if following <= pinned:
            return found
        pinned = following


def _downwards(there: StatementsOn[TrustList], pinned: frozenset[str] | None) -> Iterator[FoundList]:
    """Yield each installation's lists of its highest number, read on through what anybody put above."""
    done: set[str] = set()
    for _, same in groupby(there.fitting(""), key=lambda info: number_in(info.name)):
        counting = [counted for info in same if isinstance(counted := there.read(info), Counting)]
        found = [FoundList(statement.content, statement.signed) for statement in counting]
        yield from (trust_list for trust_list in found if trust_list.signed.fingerprint not in done)
        done |= {trust_list.signed.fingerprint for trust_list in found}
        if pinned is not None and pinned <= done:
            return


def _stated(place: ManifestListing, known: Signers) -> Iterator[tuple[Certificate, int]]:
    """Yield the numbers that the newest manifests of a place state, of those that count."""
    counting = unasked(known)

    def read() -> Iterator[tuple[Certificate, int]]:
        for backup in reversed(place.backups):
            with suppress(StrongroomError):
                signed = place.read(backup, trusted=counting, receipts=False)
                yield signed.certificate, signed.manifest.trust

    return islice(read(), STATING)
