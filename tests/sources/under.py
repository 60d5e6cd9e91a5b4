"""A source seen from below a prefix: for adapters whose names have parts of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from strongroom.model import ListedSecret, Secret
from strongroom.sources import Source


@dataclass(frozen=True)
class Under(Source):
    """Takes the prefix off every name, and puts it on again to ask."""

    inner: Source
    prefix: str

    @property
    def name(self) -> str:
        return self.inner.name

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        for entry in self.inner.list(with_tags=with_tags):
            assert entry.name.startswith(self.prefix)
            yield ListedSecret(entry.name.removeprefix(self.prefix), entry.size, entry.locator, entry.tags)

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        asked = [ListedSecret(self.prefix + entry.name, entry.size, entry.locator) for entry in entries]
        for held in self.inner.read(asked):
            yield held and replace(held, name=held.name.removeprefix(self.prefix))
