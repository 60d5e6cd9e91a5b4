"""A folder of a destination, seen as a destination of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from strongroom.model import ListedSecret, Secret
from strongroom.sources import Destination, Refuse, SecretChange


class Below(Destination):
    """A :class:`~strongroom.sources.Destination` in which every name lies below a folder of another one.

    Args:
        inner: one that cannot keep all of a secret, as servers do.
        folder: what is put before each name; it ends with a slash.
    """

    written_at_once = 100

    def __init__(self, inner: Destination, folder: str) -> None:
        self.name = inner.name
        self._inner = inner
        self._folder = folder

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield what lies in the folder."""
        for entry in self._inner.list(with_tags=with_tags):
            if entry.name.startswith(self._folder):
                yield replace(entry, name=entry.name.removeprefix(self._folder))

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each secret."""
        below = [replace(entry, name=self._folder + entry.name) for entry in entries]
        for entry, secret in zip(entries, self._inner.read(below), strict=True):
            yield secret and replace(secret, name=entry.name)

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        """Return the current version number of each name that exists."""
        found = self._inner.heads([self._folder + name for name in names])
        return {name.removeprefix(self._folder): number for name, number in found.items()}

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        """Write each secret."""
        below = (replace(change, secret=self._below(change.secret)) for change in changes)
        return self._inner.write(below, refuse=refuse and self._refusing(refuse))

    def delete(self, names: Iterable[str]) -> int:
        """Remove secrets."""
        return self._inner.delete(self._folder + name for name in names)

    def losses(self) -> tuple[str, ...]:
        """Return what writes could not reproduce."""
        return self._inner.losses()

    def kept(self, secret: Secret) -> Secret:
        """Return what of a secret can be kept."""
        return self._inner.kept(secret)

    def _below(self, secret: Secret) -> Secret:
        return replace(secret, name=self._folder + secret.name)

    def _refusing(self, refuse: Refuse) -> Refuse:
        return lambda name, error: refuse(name.removeprefix(self._folder), error)
