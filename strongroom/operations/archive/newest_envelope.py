"""Which detached envelope counts, over one place and over several: an older one put back is a rollback."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from strongroom.container.errors import Stale, WrongKey
from strongroom.container.wrapping import WrappingKeyRecord
from strongroom.errors import TargetError
from strongroom.operations.archive.envelopes import (
    EnvelopePlace,
    PlacedEnvelopes,
    UnreadableEnvelope,
    find_newest,
)


class Newest:
    """The newest envelope of each wrapping key on one place, looked up once a key."""

    def __init__(
        self,
        place: EnvelopePlace,
        *,
        trusted: frozenset[str] | None,
        known: Callable[[str], int] | None = None,
    ) -> None:
        self._place = place
        self._trusted = trusted
        self._known = known
        self._found: dict[str, PlacedEnvelopes] = {}

    def of(self, key: str) -> WrappingKeyRecord | None:
        """Return the record that counts; raise Stale if a newer one is known from elsewhere."""
        if key not in self._found:
            self._found[key] = find_newest(self._place, key, trusted=self._trusted)
        newest = self._found[key].newest
        have, known = (newest.generation if newest else 1), (self._known(key) if self._known else 0)
        if have < known:
            raise Stale(
                f"wrapping key {key} is at generation {have} here, and at {known} elsewhere: "
                "an older envelope was put back, or a rotation has not reached this copy"
            )
        return newest

    @property
    def aside(self) -> tuple[UnreadableEnvelope, ...]:
        """What was left aside with nothing in its place, of the keys that were looked up."""
        return tuple(envelope for found in self._found.values() for envelope in found.doubtful)

    def explained(self, key: str, error: WrongKey) -> WrongKey:
        """Return the error with what was left aside: it may be why no key fits."""
        aside = self._found[key].aside if key in self._found else ()
        if not aside:
            return error
        said = "; ".join(f"{envelope.name} ({envelope.code}: {envelope.reason})" for envelope in aside)
        return WrongKey(
            f"{error.message} Ignored: {said}",
            hint="If a rotation wrote it, take another replica, or trust its signer with --signer.",
        )


class Elsewhere:
    """Tells the newest generation of a wrapping key over several places; those away tell nothing."""

    def __init__(self, places: Iterable[EnvelopePlace], *, trusted: frozenset[str]) -> None:
        self._places = list(places)
        self._trusted = trusted
        self._known: dict[str, int] = {}

    def __call__(self, key: str) -> int:
        if key not in self._known:
            self._known[key] = max(map(partial(self._at, key), self._places), default=0)
        return self._known[key]

    def _at(self, key: str, readable: EnvelopePlace) -> int:
        with suppress(TargetError):
            newest = find_newest(readable, key, trusted=self._trusted).newest
            return newest.generation if newest else 0
        return 0
