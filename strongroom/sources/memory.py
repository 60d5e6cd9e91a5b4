"""Secrets in memory, and a folder of a destination seen as a destination of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from strongroom.model import ListedSecret, Secret, SecretVersion
from strongroom.sources import Destination, Refuse, SecretChange
from strongroom.sources.batches import Refusing, check_expected, check_writable, on_top

# -- Secrets in memory: the source and destination that tests and rehearsals use ----------------


BATCH = 1_000


class MemoryStore(Destination):
    """A :class:`~strongroom.sources.Destination` that a process forgets when it ends.

    Given two secrets of one name it lists both, as a careless source would.
    """

    def __init__(self, secrets: Iterable[Secret] = (), *, name: str = "memory") -> None:
        self.name = name
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Secret, ...]] = {}
        for secret in secrets:
            self._held[secret.name] = (*self._held.get(secret.name, ()), secret)

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        for secrets in list(self._held.values()):
            for secret in secrets:
                yield ListedSecret(
                    secret.name,
                    len(secret.name) + sum(map(_value_size, secret.versions)),
                    (),
                    dict(secret.tags) if with_tags else None,
                )

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        for entry in entries:
            secrets = self._held.get(entry.name)
            yield secrets[-1] if secrets else None

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        with self._lock:
            return {name: self._held[name][-1].current.number for name in names if name in self._held}

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        """Write in batches, each whole or not at all."""
        written = 0
        batch: list[SecretChange] = []
        for change in changes:
            batch.append(change)
            if len(batch) == BATCH:
                written += self._commit(batch, refuse)
                batch = []
        return written + self._commit(batch, refuse)

    def delete(self, names: Iterable[str]) -> int:
        with self._lock:
            return sum(self._held.pop(name, None) is not None for name in names)

    def _commit(self, batch: Sequence[SecretChange], refuse: Refuse | None) -> int:
        written = 0
        with self._lock:
            merged: dict[str, Secret] = {}
            for change in batch:
                with Refusing(change.secret.name, refuse):
                    check_writable(change.secret)
                    secrets = self._held.get(change.secret.name)
                    merged[change.secret.name] = _merge(
                        merged.get(change.secret.name) or (secrets[-1] if secrets else None), change
                    )
                    written += 1
            self._held.update((name, (secret,)) for name, secret in merged.items())
        return written


def _merge(old: Secret | None, change: SecretChange) -> Secret:
    check_expected(change, old.current.number if old else None)
    if old is None:
        return change.secret
    added = on_top(change.secret.versions, old.current.number)
    return replace(change.secret, versions=(*old.versions, *added))


def _value_size(version: SecretVersion) -> int:
    return len(version.value) if version.value is not None else 0


# -- A folder of a destination, seen as a destination of its own --------------------------------


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
        for entry in self._inner.list(with_tags=with_tags):
            if entry.name.startswith(self._folder):
                yield replace(entry, name=entry.name.removeprefix(self._folder))

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        below = [replace(entry, name=self._folder + entry.name) for entry in entries]
        for entry, secret in zip(entries, self._inner.read(below), strict=True):
            yield secret and replace(secret, name=entry.name)

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        found = self._inner.heads([self._folder + name for name in names])
        return {name.removeprefix(self._folder): number for name, number in found.items()}

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        below = (
            replace(change, secret=replace(change.secret, name=self._folder + change.secret.name))
            for change in changes
        )
        return self._inner.write(
            below, refuse=refuse and (lambda name, error: refuse(name.removeprefix(self._folder), error))
        )

    def delete(self, names: Iterable[str]) -> int:
        return self._inner.delete(self._folder + name for name in names)

    def losses(self) -> tuple[str, ...]:
        return self._inner.losses()

    def kept(self, secret: Secret) -> Secret:
        return self._inner.kept(secret)
