"""The local store: secrets in SQLite under the state directory, sealed under its own key."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from strongroom.container.errors import DuplicateSecret, WrongKey
from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media, RotationSchedule, Secret, SecretBytes, SecretVersion
from strongroom.sources import Destination, Refuse, SealedRow, SecretChange, database
from strongroom.sources.batches import batched_secrets, check_name, check_writable, media_of, windows
from strongroom.sources.database import Seals, StoreDatabase, StoredRow
from strongroom.sources.errors import SecretNotFound
from strongroom.system import files
from strongroom.system.errors import WouldOverwrite
from strongroom.system.lazy import batched

# -- The local store's master key: 32 random bytes in a file of its own, made on first use ------


SIZE = 32


def load_or_create(path: Path) -> bytes:
    """Return the master key, making it if there is none.

    If another first user is faster, that one's key counts.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        try:
            with suppress(FileExistsError), files.atomic(path, replace=False) as file:
                file.write(secrets.token_bytes(SIZE))
        except OSError as error:
            raise SourceError(f"the master key '{path}' could not be made: {error.strerror}") from None
    return load(path)


def load(path: Path) -> bytes:
    """Return the master key.

    Raises:
        WrongKey: there is none, or it is not a key.
        SourceError: others may read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(SIZE + 1)
    except FileNotFoundError:
        raise WrongKey(f"the store's master key '{path}' is gone", hint=ESCROW) from None
    except OSError as error:
        raise SourceError(
            f"the store's master key '{path}' could not be read: {error.strerror}",
            hint="Check the owner and mode of that path, and its disk.",
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise SourceError(f"others may read the store's master key '{path}'", hint=f"chmod 600 '{path}'")
    if len(key) != SIZE:
        raise WrongKey(f"'{path}' is not a master key: it is not {SIZE} bytes long", hint=ESCROW)
    return key


ESCROW = (
    "Bring the master key back from its escrow ('strongroom emergency escrow FILE --open'). Without an "
    "escrow, move "
    "the store's database away, and restore the secrets into a new one from a backup."
)


# -- The local store: secrets in SQLite under the state directory, sealed under its own key -----


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
    seals = True

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
        columns = database.COLUMNS if with_tags else "id, name, size"
        with closing(self._database.connect()) as connection, self._database.explained():
            for found in connection.execute(f"SELECT {columns} FROM secrets"):
                if with_tags:
                    yield _tagged(seals, database.row_of(found))
                else:
                    yield database.entry_of(found)

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
                    yield database.open_secret(seals, row, older.get(row.id, ())) if row else None

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
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
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
                heads = database.heads(connection, [secret.name for secret in batch])
                _check_import(batch, heads, seen, overwrite=overwrite)
                seen.update(secret.name for secret in batch)
                changes = [SecretChange(secret=secret, expected=heads.get(secret.name)) for secret in batch]
                database.write_batch(connection, seals, changes)
                written += len(batch)
        return written

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        if not self.made:
            return {}
        self._seals()
        with self._database.reading() as connection:
            return database.heads(connection, names)

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        """Write each secret, a batch a transaction; see :class:`~strongroom.sources.Destination`."""
        seals = self._seals()
        written = 0
        for batch in batched_secrets(changes, by=lambda change: change.secret):
            with self._database.writing() as connection:
                written += database.write_batch(connection, seals, batch, refuse=refuse)
        return written

    def seal(self, secrets: Iterable[Secret]) -> Iterator[tuple[SealedRow, Secret]]:
        seals = self._seals()
        seal = seals.batch()
        for secret in secrets:
            check_writable(secret)
            row = database.seal_row(seal, secret)
            yield row, database.open_row(seals, row)

    def write_sealed(self, rows: Sequence[SealedRow]) -> None:
        seals = self._seals()
        with self._database.writing() as connection:
            database.insert(connection, seals, rows)

    def unlike(self, rows: Sequence[SealedRow]) -> dict[str, int | None]:
        with self._database.reading() as connection:
            return database.unlike(connection, rows)

    def delete(self, names: Iterable[str]) -> int:
        """Remove secrets with all their versions; return how many there were."""
        self._seals()
        with self._database.writing() as connection:
            deleted = database.delete(connection, set(names))
        self._database.empty_journal()  # it still holds what was just overwritten
        return deleted

    def delete_unchanged(self, heads: Mapping[str, int]) -> Sequence[str]:
        """Remove those of which the current version is still this one, with all their versions."""
        self._seals()
        with self._database.writing() as connection:
            now = database.heads(connection, list(heads))
            same = [name for name, head in heads.items() if now.get(name) == head]
            database.delete(connection, same)
        self._database.empty_journal()
        return same

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        self._database.close()

    def _add(self, name: str, version: SecretVersion, given: dict[str, Any]) -> int:
        seals = self._seals()
        with self._database.writing() as connection:
            row = database.by_name(connection, [name]).get(name)
            fresh = Secret(name=name, versions=(version,), created_at=version.created_at)
            old = database.open_head(seals, row) if row else fresh
            new = replace(old, versions=(version,), updated_at=version.created_at, **given)
            head = row.head if row else None
            database.write_batch(connection, seals, [SecretChange(secret=new, expected=head)])
        return (head or 0) + 1

    def _located(self, entries: Sequence[ListedSecret]) -> Sequence[ListedSecret]:
        """Give each entry a row and a size; those that have none are looked up by name."""
        missing = [entry.name for entry in entries if not entry.locator]
        if not missing:
            return entries
        with self._database.reading() as connection:
            found = database.places(connection, missing)
        return [entry if entry.locator else found.get(entry.name, entry) for entry in entries]

    def _fetch(self, window: Sequence[ListedSecret]) -> tuple[dict[str, StoredRow], database.Older]:
        with self._database.reading() as connection:
            found = database.by_id(connection, [entry.locator[0] for entry in window if entry.locator])
            moved = [entry.name for entry in window if entry.name not in found]
            if moved:
                found.update(database.by_name(connection, moved))
            return found, database.older_of(connection, found.values())

    def _seals(self) -> Seals:
        if self._unlocked is None:
            with self._database.reading() as connection:  # first: a new database makes its key
                check = database.key_check(connection)
            seals = Seals(load(self._key_path))
            if seals.check() != check:
                raise WrongKey(f"'{self._key_path}' is not the master key of '{self._path}'", hint=ESCROW)
            self._unlocked = seals
        return self._unlocked

    def _new_key_check(self) -> bytes:
        return Seals(load_or_create(self._key_path)).check()


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
    return ListedSecret(row.name, row.size, (row.id,), database.open_head(seals, row).tags)
