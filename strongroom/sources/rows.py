"""The local store's rows: fetched, opened, and written a batch at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import Tampered
from strongroom.model import ListedSecret, Secret, SecretVersion, prepare
from strongroom.sources import Refuse, SecretChange
from strongroom.sources.history import Refusing, check_expected, check_writable, is_text, on_top
from strongroom.sources.sealing import HINT, Sealer, Seals, bound_to
from strongroom.sources.stored import HEAD, OLDER, pack_head, pack_older, unpack_head, unpack_older

# Every query is put together of constants; keys are parameters.

Older = dict[int, list[tuple[int, bytes]]]
COLUMNS = "id, name, head, older, size, sealed"


class StoredRow(Struct, frozen=True, array_like=True, gc=False):
    """A secret as stored: its current version number, how many older versions there are,
    and roughly how many bytes all of it takes."""

    id: int
    name: str
    head: int
    older: int
    size: int
    sealed: bytes


prepare(StoredRow)


def by_id(connection: sqlite3.Connection, ids: Collection[int]) -> dict[str, StoredRow]:
    """Return the rows of these ids, by name."""
    return _rows(connection, "id", list(ids))


def by_name(connection: sqlite3.Connection, names: Collection[str]) -> dict[str, StoredRow]:
    """Return the rows of these names, by name."""
    return _rows(connection, "name", list(names))


def heads(connection: sqlite3.Connection, names: Collection[str]) -> dict[str, int]:
    """Return the current version numbers of these names."""
    query = f"SELECT name, head FROM secrets WHERE name IN ({_LISTED})"
    return dict(connection.execute(query, (_listed(list(names)),)))


def places(connection: sqlite3.Connection, names: Collection[str]) -> dict[str, ListedSecret]:
    """Return where these names are and how large they are, without their values."""
    query = f"SELECT id, name, size FROM secrets WHERE name IN ({_LISTED})"
    return {entry.name: entry for entry in map(entry_of, connection.execute(query, (_listed(list(names)),)))}


def key_check(connection: sqlite3.Connection) -> bytes:
    """Return what the database was marked with for its master key."""
    marks = connection.execute("SELECT key_check FROM about").fetchall()
    if len(marks) != 1 or not isinstance(marks[0][0], bytes):
        raise Tampered("the mark of the local store was altered or removed", hint=HINT)
    return marks[0][0]


def older_of(connection: sqlite3.Connection, rows: Iterable[StoredRow]) -> Older:
    """Return the sealed older versions of these rows, ascending, by the secret's id."""
    found: Older = {row.id: [] for row in rows if row.older}
    if found:
        query = f"SELECT id, number, sealed FROM history WHERE id IN ({_LISTED}) ORDER BY id, number"
        for id_, number, sealed in connection.execute(query, (_listed(list(found)),)):
            found[id_].append((number, sealed))
    return found


def open_head(seals: Seals, row: StoredRow) -> Secret:
    """Return a secret with its current version alone."""
    plain = seals.open(row.sealed, bound_to(HEAD, row.name, row.head), row.name)
    secret, older = unpack_head(plain, row.name, row.head)
    if older != row.older:
        raise _cut(row)
    return secret


def open_secret(seals: Seals, row: StoredRow, older: Sequence[tuple[int, bytes]]) -> Secret:
    """Return a secret with all its versions.

    Raises:
        Tampered: a row was altered, exchanged or removed.
    """
    secret = open_head(seals, row)
    if not row.older and not older:
        return secret
    if len(older) != row.older:
        raise _cut(row)
    versions = [_open_older(seals, row.name, number, sealed) for number, sealed in older]
    return replace(secret, versions=(*versions, *secret.versions))


def write_batch(
    connection: sqlite3.Connection,
    seals: Seals,
    changes: Sequence[SecretChange],
    *,
    refuse: Refuse | None = None,
) -> int:
    """Write changes of distinct names inside the caller's transaction; return how many were written.

    Raises:
        Conflict: one of them expected another version than there is, and ``refuse`` was left out.
    """
    rows = by_name(connection, [change.secret.name for change in changes])
    writer = _RowWriter(connection, seals)
    written = 0
    for change in sorted(changes, key=_name):  # kinder to the index than a random order
        with Refusing(change.secret.name, refuse):
            check_writable(change.secret)
            row = rows.get(change.secret.name)
            check_expected(change, row.head if row else None)
            writer.add(change.secret, row)
            written += 1
    writer.flush()
    return written


def delete(connection: sqlite3.Connection, names: Collection[str]) -> int:
    """Delete the secrets of these names with their histories; return how many there were."""
    ids = _listed([row.id for row in by_name(connection, names).values()])
    connection.execute(f"DELETE FROM history WHERE id IN ({_LISTED})", (ids,))
    return connection.execute(f"DELETE FROM secrets WHERE id IN ({_LISTED})", (ids,)).rowcount


class _RowWriter:
    """Collects what a batch inserts and updates, so that SQLite gets it in three calls."""

    def __init__(self, connection: sqlite3.Connection, seals: Seals) -> None:
        self._connection = connection
        self._seals = seals
        self._seal: Sealer = seals.batch()
        self._next_id = _last_id(connection) + 1
        self._new: list[tuple[int, str, int, int, int, bytes]] = []
        self._changed: list[tuple[int, int, int, bytes, int]] = []
        self._older: list[tuple[int, int, bytes]] = []

    def add(self, secret: Secret, row: StoredRow | None) -> None:
        if row is None:
            self._insert(secret)
        else:
            self._put_on_top(secret, row)

    def flush(self) -> None:
        self._connection.executemany("INSERT INTO secrets VALUES (?, ?, ?, ?, ?, ?)", self._new)
        self._connection.executemany(
            "UPDATE secrets SET head = ?, older = ?, size = ?, sealed = ? WHERE id = ?", self._changed
        )
        self._connection.executemany("INSERT INTO history VALUES (?, ?, ?)", self._older)

    def _insert(self, secret: Secret) -> None:
        id_, self._next_id = self._next_id, self._next_id + 1
        *past, current = secret.versions
        sealed = self._head(secret, current, len(past))
        size = len(sealed)
        for version in past:
            size += self._keep(id_, secret.name, version)
        self._new.append((id_, secret.name, current.number, len(past), size, sealed))

    def _put_on_top(self, secret: Secret, row: StoredRow) -> None:
        replaced = open_head(self._seals, row).current
        *past, current = on_top(secret.versions, row.head)
        older = row.older + len(secret.versions)
        sealed = self._head(secret, current, older)
        size = row.size - len(row.sealed) + len(sealed)
        for version in (replaced, *past):
            size += self._keep(row.id, row.name, version)
        self._changed.append((current.number, older, size, sealed, row.id))

    def _head(self, secret: Secret, current: SecretVersion, older: int) -> bytes:
        return self._seal(pack_head(secret, current, older), bound_to(HEAD, secret.name, current.number))

    def _keep(self, id_: int, name: str, version: SecretVersion) -> int:
        sealed = self._seal(pack_older(version), bound_to(OLDER, name, version.number))
        self._older.append((id_, version.number, sealed))
        return len(sealed)


def _name(change: SecretChange) -> str:
    return change.secret.name


# One parameter for any number of keys; SQLite unpacks it in memory.
_LISTED = "SELECT value FROM json_each(?)"


def _listed(keys: Sequence[int] | Sequence[str]) -> str:
    try:
        return msgspec.json.encode(keys).decode()
    except UnicodeEncodeError:  # a name that is not text is certainly not there
        return msgspec.json.encode([key for key in keys if is_text(str(key))]).decode()


def _rows(
    connection: sqlite3.Connection, column: str, keys: Sequence[int] | Sequence[str]
) -> dict[str, StoredRow]:
    query = f"SELECT {COLUMNS} FROM secrets WHERE {column} IN ({_LISTED})"
    return {found[1]: row_of(found) for found in connection.execute(query, (_listed(keys),))}


def entry_of(found: Sequence[object]) -> ListedSecret:
    """Return a secret's id, name and size as an entry."""
    id_, name, size = found
    if not isinstance(id_, int) or not isinstance(name, str) or not isinstance(size, int):
        raise _altered()
    return ListedSecret(name, size, (id_,))


def _altered() -> Tampered:
    return Tampered("a row of the local store was altered", hint=HINT)


def row_of(found: Sequence[object]) -> StoredRow:
    """Return a row as it was fetched. SQLite keeps text where a number was, if somebody puts it there."""
    try:
        return msgspec.convert(found, StoredRow)
    except msgspec.ValidationError:
        raise _altered() from None


def _last_id(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'secrets'").fetchone()
    return int(found[0]) if found else 0


def _open_older(seals: Seals, name: str, number: int, sealed: bytes) -> SecretVersion:
    return unpack_older(seals.open(sealed, bound_to(OLDER, name, number), name), number)


def _cut(row: StoredRow) -> Tampered:
    return Tampered(f"secret {row.name!r} in the local store has lost or gained versions", hint=HINT)
