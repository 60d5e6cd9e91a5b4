"""Estimates how large secrets are that nobody has read yet.

The server tells no size, and a plan needs one: containers are cut by it. So some secrets are
read while listing, the first ones and then one in many, and the others are taken to be as large
as those were. Pieces are cut by hash, so that large and small ones mix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from strongroom.model import Secret
from strongroom.sources.vault.ordered import ordered

FIRST = 32
EVERY = 64
UNKNOWN = 1_024
"""Bytes of a secret where none could be read."""
_BESIDE = 256  # bytes of a secret's metadata, about


class Sizes:
    """The sizes of one mount's secrets."""

    def __init__(self, threads: ThreadPoolExecutor, *, in_flight: int) -> None:
        self._threads = threads
        self._in_flight = in_flight
        self._seen = self._sampled = self._bytes = 0

    def of(self, items: Sequence[str], read: Callable[[str], Secret | None]) -> list[int]:
        """Return a size for each, in order. ``read`` is called for some of them, in threads."""
        places = [at for at in range(len(items)) if self._is_sampled(self._seen + at)]
        secrets = ordered(
            self._threads,
            read,
            [items[at] for at in places],
            in_flight=self._in_flight,
            weigh=size_of,
        )
        exact = {at: size_of(secret) for at, secret in zip(places, secrets, strict=True) if secret}
        self._seen += len(items)
        self._sampled += len(exact)
        self._bytes += sum(exact.values())
        mean = self._bytes // self._sampled if self._sampled else UNKNOWN
        return [exact.get(at, mean) for at in range(len(items))]

    def _is_sampled(self, number: int) -> bool:
        return number < FIRST or number % EVERY == 0


def size_of(secret: Secret | None) -> int:
    """Return about how many bytes a secret takes."""
    if secret is None:
        return 0
    values = sum(len(version.value) for version in secret.versions if version.value is not None)
    return values + _BESIDE + len(secret.name)
