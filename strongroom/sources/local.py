"""The local store: secrets in SQLite under the state directory, sealed under its own key."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from strongroom.container.errors import DuplicateSecret, WrongKey
from strongroom.model import ListedSecret, Media, RotationSchedule, Secret, SecretBytes, SecretVersion
from strongroom.sources import Destination, Refuse, SecretChange, masterkey, rows
from strongroom.sources.batches import batched_secrets, windows
from strongroom.sources.database import StoreDatabase
from strongroom.sources.errors import SecretNotFound
from strongroom.sources.history import check_name, media_of
from strongroom.sources.rows import StoredRow
from strongroom.sources.sealing import Seals
from strongroom.system.batches import batched
from strongroom.system.errors import WouldOverwrite

LOOKED_UP = 8_192


class LocalStore(Destination):
    """A :class:`~strongroom.sources.Destination` on this machine.

    Args:
        state_dir: where ``store/secrets.db`` and ``keys/store.key`` are or will be made.
        name: what the source is called in digests and manifests.

    Raises, on use:
        WrongKey: the master key is gone or is not the one this store was made with.
        Tampered: a row is not what was sealed there.
    """

    kind = "local"

    def __init__(self, state_dir: str | os.PathLike[str], *, name: str = "local") -> None:
        self.name = name
        self._key_path = Path(state_dir) / "keys" / "store.key"
        self._path = Path(state_dir) / "store" / "secrets.db"
        self._database = StoreDatabase(self._path, key_check=self._new_key_check)
        self._unlocked: Seals | None = None

    @property
    def master_key_path(self) -> Path:
        """Where the master key lies: who has it and the database has the secrets."""
        return self._key_path

    @property
    def address(self) -> str:
        """Where the database lies."""
        return str(self._path.absolute())

    @property
    def made(self) -> bool:
        """Whether there is a store yet: the first write makes it."""
        return self._unlocked is not None or self._database.is_made()

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield an entry for every secret, all as of one moment. Looking makes no store."""
        if not self.made:
            return
        seals = self._seals()
        columns = rows.COLUMNS if with_tags else "id, name, size"
        with closing(self._database.connect()) as connection, self._database.explained():
            for found in connection.execute(f"SELECT {columns} FROM secrets"):
                if with_tags:
                    yield _tagged(seals, rows.row_of(found))
                else:
                    yield rows.entry_of(found)

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each secret with all its versions, or ``None`` for one that is gone."""
        if not self.made:
            yield from (None for _ in entries)
            return
        seals = self._seals()
        for some in batched(entries, LOOKED_UP):
            for window in windows(self._located(some)):
                found, older = self._fetch(window)
                for entry in window:
                    row = found.get(entry.name)
                    yield rows.open_secret(seals, row, older.get(row.id, ())) if row else None

    def get(self, name: str) -> Secret:
        """Return one secret.

        Raises:
            SecretNotFound: there is none of that name.
        """
        (secret,) = self.read([ListedSecret(name, 0)])
        if secret is None:
            raise SecretNotFound(f"the local store has no secret {name!r}")
        return secret

    def set(
        self,
        name: str,
        value: SecretBytes,
        *,
        type: str | None = None,  # noqa: A002 - what a person calls it
        tags: Mapping[str, str] | None = None,
        expires_at: str | None = None,
        rotation: RotationSchedule | None = None,
        metadata: Mapping[str, Any] | None = None,
        media: Media | None = None,
    ) -> int:
        """Add a version and return its number; what is left out stays as it was."""
        check_name(name)
        now = _now()
        version = SecretVersion(
            number=1, value=value, media=media or media_of(value.reveal()), created_at=now
        )
        given = {
            "type": type,
            "tags": dict(tags) if tags is not None else None,
            "expires_at": expires_at,
            "rotation": rotation,
            "metadata": dict(metadata) if metadata is not None else None,
        }
        return self._add(name, version, {field: new for field, new in given.items() if new is not None})

    def import_(self, secrets: Iterable[Secret], *, overwrite: bool = False) -> int:
        """Write all of ``secrets`` or none; return how many.

        Raises:
            WouldOverwrite: one exists, and ``overwrite`` was not given. With it, what is
                imported becomes new versions on top.
            DuplicateSecret: two of them have one name.
        """
        seals = self._seals()
        written = 0
        seen: set[str] = set()
        with self._database.writing() as connection:
            for batch in batched_secrets(secrets, by=lambda secret: secret):
                heads = rows.heads(connection, [secret.name for secret in batch])
                _check_import(batch, heads, seen, overwrite=overwrite)
                seen.update(secret.name for secret in batch)
                changes = [SecretChange(secret=secret, expected=heads.get(secret.name)) for secret in batch]
                rows.write_batch(connection, seals, changes)
                written += len(batch)
        return written

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        """Return the current version number of each name that exists."""
        if not self.made:
            return {}
        self._seals()
        with self._database.reading() as connection:
            return rows.heads(connection, names)

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        """Write each secret, a batch a transaction; see :class:`~strongroom.sources.Destination`."""
        seals = self._seals()
        written = 0
        for batch in batched_secrets(changes, by=lambda change: change.secret):
            with self._database.writing() as connection:
                written += rows.write_batch(connection, seals, batch, refuse=refuse)
        return written

    def delete(self, names: Iterable[str]) -> int:
        """Remove secrets with all their versions; return how many there were."""
        self._seals()
        with self._database.writing() as connection:
            deleted = rows.delete(connection, set(names))
        self._database.empty_journal()  # it still holds what was just overwritten
        return deleted

    def delete_unchanged(self, heads: Mapping[str, int]) -> Sequence[str]:
        """Remove those of which the current version is still this one, with all their versions."""
        self._seals()
        with self._database.writing() as connection:
            now = rows.heads(connection, list(heads))
            same = [name for name, head in heads.items() if now.get(name) == head]
            rows.delete(connection, same)
        self._database.empty_journal()
        return same

    def losses(self) -> tuple[str, ...]:
        """Return nothing: all of a secret is kept."""
        return ()

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        self._database.close()

    def _add(self, name: str, version: SecretVersion, given: dict[str, Any]) -> int:
        seals = self._seals()
        with self._database.writing() as connection:
            row = rows.by_name(connection, [name]).get(name)
            fresh = Secret(name=name, versions=(version,), created_at=version.created_at)
            old = rows.open_head(seals, row) if row else fresh
            new = replace(old, versions=(version,), updated_at=version.created_at, **given)
            head = row.head if row else None
            rows.write_batch(connection, seals, [SecretChange(secret=new, expected=head)])
        return (head or 0) + 1

    def _located(self, entries: Sequence[ListedSecret]) -> Sequence[ListedSecret]:
        """Give each entry a row and a size; those that have none are looked up by name."""
        missing = [entry.name for entry in entries if not entry.locator]
        if not missing:
            return entries
        with self._database.reading() as connection:
            found = rows.places(connection, missing)
        return [entry if entry.locator else found.get(entry.name, entry) for entry in entries]

    def _fetch(self, window: Sequence[ListedSecret]) -> tuple[dict[str, StoredRow], rows.Older]:
        with self._database.reading() as connection:
            found = rows.by_id(connection, [entry.locator[0] for entry in window if entry.locator])
            moved = [entry.name for entry in window if entry.name not in found]
            if moved:
                found.update(rows.by_name(connection, moved))
            return found, rows.older_of(connection, found.values())

    def _seals(self) -> Seals:
        if self._unlocked is None:
            with self._database.reading() as connection:  # first: a new database makes its key
                check = rows.key_check(connection)
            self._unlocked = self._unlock(check)
        return self._unlocked

    def _unlock(self, key_check: bytes) -> Seals:
        seals = Seals(masterkey.load(self._key_path))
        if seals.check() != key_check:
            raise WrongKey(
                f"'{self._key_path}' is not the master key of '{self._path}'", hint=masterkey.ESCROW
            )
        return seals

    def _new_key_check(self) -> bytes:
        return Seals(masterkey.load_or_create(self._key_path)).check()


def _check_import(
    batch: Sequence[Secret], heads: Mapping[str, int], seen: set[str], *, overwrite: bool
) -> None:
    for secret in batch:
        if secret.name in seen:
            raise DuplicateSecret(f"two secrets to import are named {secret.name!r}")
        if secret.name in heads and not overwrite:
            raise WouldOverwrite(
                f"the local store has a secret {secret.name!r} already",
                hint="Nothing was changed. --overwrite-existing adds versions on top of what is there.",
            )


def _tagged(seals: Seals, row: StoredRow) -> ListedSecret:
    return ListedSecret(row.name, row.size, (row.id,), rows.open_head(seals, row).tags)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
