"""The local store's file: its tables, its rows, and what a row seals."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Raw, Struct
from msgspec.structs import replace

from strongroom import freeform
from strongroom.container.errors import Tampered, UnsupportedVersion
from strongroom.errors import SourceError, StrongroomError
from strongroom.model import (
    ListedSecret,
    Media,
    RotationSchedule,
    Secret,
    SecretBytes,
    SecretVersion,
    VersionState,
    prepare,
)
from strongroom.sources import Refuse, SealedRow, SecretChange
from strongroom.sources.batches import Refusing, check_expected, check_writable, is_text, on_top
from strongroom.sources.errors import SourceUnavailable
from strongroom.system import files
from strongroom.system.errors import Conflict, TargetFull

# -- What the local store seals: a secret's attributes with its current version, and, each on its own, its
# older versions. Plaintext is ``length(4) | JSON | value``


HEAD = b"head"
OLDER = b"older"


class _Older(Struct, frozen=True, array_like=True, gc=False):
    """An older version; ``valued`` tells an empty value from none."""

    media: Media
    state: VersionState
    created_at: str | None
    valued: bool


class _Head(Struct, frozen=True, array_like=True, gc=False):
    """The current version, how many older ones there are (so that one cut off is missed),
    and the secret's attributes."""

    media: Media
    state: VersionState
    version_created_at: str | None
    valued: bool
    older: int
    type: str
    tags: dict[str, str]
    created_at: str | None
    updated_at: str | None
    expires_at: str | None
    rotation: RotationSchedule | None
    metadata: dict[str, Any]


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head, float_hook=freeform.number).decode
_decode_older = msgspec.json.Decoder(_Older).decode


def pack_head(secret: Secret, current: SecretVersion, older: int) -> bytes:
    """Return the plaintext of a secret's row: all but its older versions."""
    head = _Head(
        current.media,
        current.state,
        current.created_at,
        current.value is not None,
        older,
        secret.type,
        secret.tags,
        secret.created_at,
        secret.updated_at,
        secret.expires_at,
        secret.rotation,
        secret.metadata,
    )
    return _pack(_encode(head), current.value)


def pack_older(version: SecretVersion) -> bytes:
    """Return the plaintext of an older version's row."""
    about = _Older(version.media, version.state, version.created_at, version.value is not None)
    return _pack(_encode(about), version.value)


def unpack_head(plain: bytes, name: str, number: int) -> tuple[Secret, int]:
    """Return a secret with its current version alone, and how many older ones it has."""
    end = 4 + int.from_bytes(plain[:4], "big")
    head = _decode_head(plain[4:end])
    current = SecretVersion(
        number=number,
        value=SecretBytes(plain[end:]) if head.valued else None,
        media=head.media,
        state=head.state,
        created_at=head.version_created_at,
    )
    secret = Secret(
        name=name,
        versions=(current,),
        type=head.type,
        tags=head.tags,
        created_at=head.created_at,
        updated_at=head.updated_at,
        expires_at=head.expires_at,
        rotation=head.rotation,
        metadata=_metadata(plain[4:end], head),
    )
    return secret, head.older


def _metadata(about: bytes, head: _Head) -> dict[str, Any]:
    """Return the metadata with its numbers as they were written."""
    if not freeform.may_lose_a_sign(about):
        return head.metadata
    found: dict[str, Any] = freeform.decode(msgspec.json.decode(about, type=list[Raw])[-1])
    return found


def unpack_older(plain: bytes, number: int) -> SecretVersion:
    """Return an older version."""
    end = 4 + int.from_bytes(plain[:4], "big")
    older = _decode_older(plain[4:end])
    return SecretVersion(
        number=number,
        value=SecretBytes(plain[end:]) if older.valued else None,
        media=older.media,
        state=older.state,
        created_at=older.created_at,
    )


def _pack(about: bytes, value: SecretBytes | None) -> bytes:
    return len(about).to_bytes(4, "big") + about + (b"" if value is None else value.reveal())


# -- The local store's SQLite database: connections, schema, and errors put into words ----------
#
# Every value in it is sealed before SQLite sees it. Names are in the clear, so they stay out
# of temporary files too, and what is deleted is overwritten.


SCHEMA = 1
BUSY_SECONDS = 10.0
_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cache_size = -16000",
    "PRAGMA wal_autocheckpoint = 8000",
)
_TABLES = (
    "CREATE TABLE about (key_check BLOB NOT NULL)",
    """CREATE TABLE secrets (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        head INTEGER NOT NULL,
        older INTEGER NOT NULL,
        size INTEGER NOT NULL,
        sealed BLOB NOT NULL)""",
    """CREATE TABLE history (
        id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (id, number)) WITHOUT ROWID""",
)


class StoreDatabase:
    """Gives each thread of each process its own connection, opened on use.

    Args:
        path: the database's file; its directory is made if need be.
        key_check: called once, for a new database: what to mark it with.
    """

    def __init__(self, path: Path, *, key_check: Callable[[], bytes]) -> None:
        self._path = path
        self._key_check = key_check
        self._local = threading.local()
        self._kept: list[sqlite3.Connection] = []
        files.close_before_fork(self)

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        connections: list[sqlite3.Connection] | None = getattr(self._local, "kept", None)
        if connections is not self._kept:  # the first use, or the first since a fork
            self._local.connection = self.connect()
            self._local.kept = self._kept
            self._kept.append(self._local.connection)
        return cast("sqlite3.Connection", self._local.connection)

    def close_idle(self) -> None:
        """Close every thread's connection before a fork; each opens another on its next use."""
        connections, self._kept = self._kept, []
        for connection in connections:
            if not connection.in_transaction:
                connection.close()

    def connect(self) -> sqlite3.Connection:
        """Return a further connection, which the caller closes."""
        with self.explained():
            if not self._path.exists():
                self._create()
            connection = self._raw()
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:  # its maker died, or is at it
            connection.close()
            self._create()
            return self.connect()
        if version != SCHEMA:
            connection.close()
            raise UnsupportedVersion(f"'{self._path}' has schema {version}, which this version does not know")
        return connection

    def is_made(self) -> bool:
        """Tell whether there is a database, and a whole one; asking makes none."""
        with self.explained():
            if not self._path.exists():
                return False
            with closing(self._raw()) as connection:
                return bool(connection.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Close this thread's connection."""
        if getattr(self._local, "kept", None) is self._kept:
            self._kept.remove(self._local.connection)
            self._local.connection.close()
            del self._local.kept

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction: all of it is kept, durably, or nothing."""
        with files.in_use():
            connection = self.connection()
            with self.explained():
                connection.execute("BEGIN IMMEDIATE")
            try:
                with self.explained():
                    yield connection
                    connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Let the statements of a block see one and the same state."""
        with files.in_use(), self.explained():
            connection = self.connection()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")

    def empty_journal(self) -> None:
        """Write the journal back and cut it off, unless somebody is reading from it.

        It is not waited for: the next to write, or the last to close, does it then.
        """
        with files.in_use(), self.explained():
            connection = self.connection()
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what SQLite and the operating system refuse into typed errors."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._typed(error) from None

    def _typed(self, error: sqlite3.Error | OSError) -> StrongroomError:
        # The primary result code is the low byte (sqlite.org/rescode.html).
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return SourceUnavailable(f"the local store '{self._path}' stayed locked", hint="Try again.")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return SourceError(
                f"the local store '{self._path}' is damaged",
                hint=f"Move it away ('{self._path}', and the same with -wal and -shm). Then restore into a "
                "new one: 'strongroom restore --from-target TARGET --full-restore'.",
            )
        if _is_full(error):
            return TargetFull(
                f"the local store '{self._path}' has no room left",
                hint="What was written before this is kept. Free space, then repeat.",
            )
        said = os.strerror(error.errno or 0) if isinstance(error, OSError) else error
        return SourceError(
            f"the local store '{self._path}' could not be used: {said}",
            hint="Check the owner and mode of that path, and its disk. To read it, it must be writable too.",
        )

    def _raw(self) -> sqlite3.Connection:
        # A listing may be dropped, and its connection closed, by another thread's garbage collector.
        connection = files.connect(self._path, timeout=BUSY_SECONDS)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        return connection

    def _create(self) -> None:
        """Make the database, alone: SQLite does not wait when two switch to WAL at once."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.explained(), files.locked(self._path.with_suffix(".lock")):
            files.create(self._path)
            connection = self._raw()
            try:
                if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                    check = self._key_check()
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("BEGIN IMMEDIATE")
                    for table in _TABLES:
                        connection.execute(table)
                    connection.execute("INSERT INTO about VALUES (?)", (check,))
                    connection.execute(f"PRAGMA user_version = {SCHEMA}")
                    connection.execute("COMMIT")
            finally:
                connection.close()


def _is_full(error: sqlite3.Error | OSError) -> bool:
    """Tell whether a disk had no room: where even a reader has no room for its index, SQLite says SHMSIZE."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


# -- How the local store seals what it keeps ----------------------------------------------------
#
# AES-256-GCM with random 96-bit nonces. NIST SP 800-38D, section 8.3, allows 2^32 of those
# under one key; a store that lives for years must not have to count. So the master key seals
# nothing itself: each batch of writes draws a fresh 32-byte salt, and seals under
# HKDF-SHA-512(master key, salt), at most :data:`LIMIT` values, where two nonces are equal with
# a probability under 2^-56. A key for each value would do as well, but costs ten times the
# sealing itself.
#
# A sealed value is ``salt(32) | nonce(12) | ciphertext and tag``. What it belongs to (its
# kind, its secret's name and version number) is authenticated with it, so no row can be put
# in another's place.


LIMIT = 2**20
SALT = 32
NONCE = 12
_HEAD = SALT + NONCE
_DOMAIN = b"strongroom/store/v1/"

Sealer = Callable[[bytes, bytes], bytes]


class Seals:
    """Seals and opens under one master key."""

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._key_of = lru_cache(maxsize=1024)(self._derive_key)

    def check(self) -> bytes:
        """Return 16 bytes that tell this master key from another and give nothing away."""
        return self._derive(b"", b"key-check", 16)

    def batch(self) -> Sealer:
        """Return what seals the values of one batch, each with what it belongs to."""
        return _SealedBatch(self._derive_key).seal

    def open(self, sealed: bytes, bound: bytes, name: str) -> bytes:
        """Return a sealed value; ``name`` is the secret's, for the error.

        Raises:
            Tampered: these are not the bytes that were sealed for this place.
        """
        try:
            return self._key_of(sealed[:SALT]).decrypt(sealed[SALT:_HEAD], sealed[_HEAD:], bound)
        except (InvalidTag, ValueError):
            raise Tampered(
                f"secret {name!r} in the local store is not what was sealed there", hint=HINT
            ) from None

    def _derive_key(self, salt: bytes) -> AESGCM:
        return AESGCM(self._derive(salt, b"values", 32))

    def _derive(self, salt: bytes, purpose: bytes, length: int) -> bytes:
        return HKDF(SHA512(), length, salt, _DOMAIN + purpose).derive(self._master)


HINT = "Keep the store as evidence and restore this secret from a backup."


class _SealedBatch:
    def __init__(self, key_of: Callable[[bytes], AESGCM]) -> None:
        self._key_of = key_of
        self._left = 0

    def seal(self, value: bytes, bound: bytes) -> bytes:
        if self._left == 0:
            self._salt = os.urandom(SALT)
            self._encrypt = self._key_of(self._salt).encrypt
            self._left = LIMIT
        self._left -= 1
        nonce = os.urandom(NONCE)
        return self._salt + nonce + self._encrypt(nonce, value, bound)


def bound_to(kind: bytes, name: str, number: int) -> bytes:
    """Return the authenticated statement of what a sealed value belongs to."""
    return b"%s%s/%d/%s" % (_DOMAIN, kind, number, name.encode())


# -- The local store's rows: fetched, opened, and written a batch at a time. Every query is put together of
# constants; keys are parameters.


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
    versions = [
        unpack_older(seals.open(sealed, bound_to(OLDER, row.name, number), row.name), number)
        for number, sealed in older
    ]
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
    for change in sorted(
        changes, key=lambda change: change.secret.name
    ):  # kinder to the index than a random order
        with Refusing(change.secret.name, refuse):
            check_writable(change.secret)
            row = rows.get(change.secret.name)
            check_expected(change, row.head if row else None)
            writer.add(change.secret, row)
            written += 1
    writer.flush()
    return written


def seal_row(seal: Sealer, secret: Secret) -> SealedRow:
    """Return the row of a secret that the store does not have."""
    name, (*past, current) = secret.name, secret.versions
    sealed = seal(pack_head(secret, current, len(past)), bound_to(HEAD, name, current.number))
    older = tuple([(v.number, seal(pack_older(v), bound_to(OLDER, name, v.number))) for v in past])
    return SealedRow(name, current.number, len(sealed) + sum(len(kept) for _, kept in older), sealed, older)


def open_row(seals: Seals, row: SealedRow) -> Secret:
    """Return the secret of a sealed row, opened as one that was read."""
    return open_secret(
        seals, StoredRow(0, row.name, row.head, len(row.older), row.size, row.sealed), row.older
    )


def insert(connection: sqlite3.Connection, seals: Seals, rows: Sequence[SealedRow]) -> None:
    """Insert sealed rows inside the caller's transaction. Raises Conflict: one of the names is there."""
    writer = _RowWriter(connection, seals)
    for row in sorted(rows, key=lambda row: row.name):  # kinder to the index than a random order
        writer.add_sealed(row)
    try:
        writer.flush()
    except sqlite3.IntegrityError:
        raise Conflict("somebody wrote one of these secrets into the local store meanwhile") from None


def unlike(connection: sqlite3.Connection, rows: Sequence[SealedRow]) -> dict[str, int | None]:
    """Return which of these rows are not there byte for byte, with the version that is."""
    names = _listed([row.name for row in rows])
    query = f"SELECT name, head, size, sealed, older FROM secrets WHERE name IN ({_LISTED})"
    there = {found[0]: found for found in connection.execute(query, (names,))}
    history: dict[str, list[tuple[int, bytes]]] = {row.name: [] for row in rows if row.older}
    if history:
        query = (
            "SELECT name, number, history.sealed FROM history JOIN secrets USING (id) "
            f"WHERE name IN ({_LISTED}) ORDER BY name, number"
        )
        for name, number, sealed in connection.execute(query, (_listed(list(history)),)):
            history[name].append((number, sealed))
    return {
        row.name: there[row.name][1] if row.name in there else None
        for row in rows
        if there.get(row.name) != (row.name, row.head, row.size, row.sealed, len(row.older))
        or (row.older and tuple(history[row.name]) != row.older)
    }


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
        found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'secrets'").fetchone()
        self._next_id = (int(found[0]) if found else 0) + 1
        self._new: list[tuple[int, str, int, int, int, bytes]] = []
        self._changed: list[tuple[int, int, int, bytes, int]] = []
        self._older: list[tuple[int, int, bytes]] = []

    def add(self, secret: Secret, row: StoredRow | None) -> None:
        if row is None:
            self.add_sealed(seal_row(self._seal, secret))
        else:
            self._put_on_top(secret, row)

    def add_sealed(self, row: SealedRow) -> None:
        id_, self._next_id = self._next_id, self._next_id + 1
        self._new.append((id_, row.name, row.head, len(row.older), row.size, row.sealed))
        self._older += [(id_, number, sealed) for number, sealed in row.older]

    def flush(self) -> None:
        self._connection.executemany("INSERT INTO secrets VALUES (?, ?, ?, ?, ?, ?)", self._new)
        self._connection.executemany(
            "UPDATE secrets SET head = ?, older = ?, size = ?, sealed = ? WHERE id = ?", self._changed
        )
        self._connection.executemany("INSERT INTO history VALUES (?, ?, ?)", self._older)

    def _put_on_top(self, secret: Secret, row: StoredRow) -> None:
        replaced = open_head(self._seals, row).current
        *past, current = on_top(secret.versions, row.head)
        older = row.older + len(secret.versions)
        bound = bound_to(HEAD, secret.name, current.number)
        sealed = self._seal(pack_head(secret, current, older), bound)
        size = row.size - len(row.sealed) + len(sealed)
        for version in (replaced, *past):
            kept = self._seal(pack_older(version), bound_to(OLDER, row.name, version.number))
            self._older.append((row.id, version.number, kept))
            size += len(kept)
        self._changed.append((current.number, older, size, sealed, row.id))


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


def _cut(row: StoredRow) -> Tampered:
    return Tampered(f"secret {row.name!r} in the local store has lost or gained versions", hint=HINT)
