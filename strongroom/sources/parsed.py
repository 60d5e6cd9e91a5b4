"""Files that are parsed as a whole, each of bounded size: a listing and a read both walk over them.

What a read holds in memory is one file and the secrets that were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from strongroom.container.errors import DuplicateSecret
from strongroom.model import ListedSecret, Secret
from strongroom.sources import Source
from strongroom.sources.errors import EmptySource

Parse = Callable[[], Iterator[Secret]]


class ParsedFiles(Source):
    """The source over whatever ``parse`` yields.

    Args:
        parse: yields every secret; raises SourceError that names file and line.
        nothing: what to say if there is no secret.
    """

    def __init__(self, parse: Parse, *, name: str, nothing: str) -> None:
        self._parse = parse
        self.name = name
        self._nothing = nothing

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield an entry for every secret; a name that is there twice, twice.

        Raises:
            EmptySource: there is none, which is nearly always a mistake.
            SourceError: a file is missing, unreadable or broken; names file and line.
        """
        empty = True
        for secret in self._parse():
            empty = False
            yield ListedSecret(secret.name, _size(secret), (), secret.tags if with_tags else None)
        if empty:
            raise EmptySource(self._nothing)

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each secret, or ``None`` if it is not there (any more).

        Raises:
            DuplicateSecret: there are two of one name.
        """
        if not entries:
            return
        found: dict[str, Secret | None] = {entry.name: None for entry in entries}
        for secret in self._parse():
            if secret.name not in found:
                continue
            if found[secret.name] is not None:
                raise DuplicateSecret(f"source '{self.name}' has two secrets of the name {secret.name!r}")
            found[secret.name] = secret
        yield from (found[entry.name] for entry in entries)


def _size(secret: Secret) -> int:
    value = secret.current.value
    return len(secret.name) + (0 if value is None else len(value))
