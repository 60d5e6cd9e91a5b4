"""A target: one SQLite file."""

import hashlib
import sqlite3
from contextlib import closing
from typing import Annotated, ClassVar, Literal
from uuid import uuid4

from msgspec import Meta

from strongroom.plugins import (
    AbsolutePath,
    MissingPiece,
    ObjectInfo,
    Target,
    TargetIdentity,
    TargetKind,
    TargetUnavailable,
    VerificationFailed,
    check_name,
    check_prefix,
    check_range,
)

MIB = 1024 * 1024
TABLES = """
CREATE TABLE IF NOT EXISTS objects (name TEXT PRIMARY KEY, upload TEXT NOT NULL, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pieces (
    upload TEXT, name TEXT NOT NULL, number INTEGER, content BLOB NOT NULL, PRIMARY KEY (upload, number)
);
"""
WHOLE = """
INSERT OR IGNORE INTO objects
SELECT ?, ?, ? WHERE (SELECT coalesce(sum(length(content)), 0) FROM pieces WHERE upload = ?) = ?
"""


class Drawer(TargetKind, frozen=True, kw_only=True):
    """A drawer of Acme's: one file that holds every object."""

    PLUGIN_API: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "acme_strongroom.drawer:make"
    REMOTE: ClassVar[bool] = False

    kind: Annotated[Literal["drawer"], Meta(description="Which kind of target this is.")]
    path: Annotated[AbsolutePath, Meta(description="The drawer's file.", examples=["/mnt/acme/drawer.db"])]
    region: Annotated[str, Meta(description="Where the drawer is.", examples=["office"])]
    provider: Annotated[str, Meta(description="Whose it is.", examples=["acme"])] = "acme"

    @property
    def folder(self):
        """Where it lies on this machine: no key and no live secret is stored there."""
        return self.path


def make(name, own, settings):
    """Make a target of its name in the configuration, of its own settings, and of all settings."""
    return DrawerTarget(name, own)


class DrawerTarget(Target):
    def __init__(self, name, own):
        self._path = own.path
        super().__init__(
            TargetIdentity(name=name, region=own.region, provider=own.provider, address=str(own.path))
        )

    def _open(self):
        """Open a connection of this call's own, so that an instance survives a fork and serves threads.

        A file that is missing is not made: its disk may not be mounted.
        """
        database = sqlite3.connect(f"{self._path.as_uri()}?mode=rw", uri=True, timeout=30)
        database.executescript(TABLES)
        return database

    def _ask(self, statement, *values):
        try:
            with closing(self._open()) as database, database:
                found = database.execute(statement, values)
                return found.fetchall() if found.description else found.rowcount
        except sqlite3.Error as error:
            raise TargetUnavailable(f"{self.place} could not be asked: {error}") from None

    def put(self, name, chunks, *, size, sha256):
        """Put the pieces first, each by itself; the object is there with its row in ``objects``."""
        check_name(name)
        if self.stat(name) is not None:
            return False
        upload, digest, length = uuid4().hex, hashlib.sha256(), 0
        try:
            for number, piece in enumerate(_pieces(chunks)):
                digest.update(piece)
                length += len(piece)
                if length > size:
                    raise VerificationFailed(f"{name} is longer than announced")
                self._ask("INSERT INTO pieces VALUES (?, ?, ?, ?)", upload, name, number, piece)
            if length != size or digest.digest() != sha256:
                raise VerificationFailed(f"{name} is not what was announced")
            return self._ask(WHOLE, name, upload, size, upload, size) == 1
        finally:
            self._ask(
                "DELETE FROM pieces WHERE upload = ? AND upload NOT IN (SELECT upload FROM objects)", upload
            )

    def read(self, name, *, offset=0, length=None):
        check_name(name)
        check_range(offset, length)
        return self._read(name, offset, length)

    def _read(self, name, offset, length):
        found = self._ask("SELECT upload, size FROM objects WHERE name = ?", name)
        if not found:
            raise MissingPiece(f"{self.place} does not hold {name}")
        [(upload, size)] = found
        end = size if length is None else min(size, offset + length)
        begun = 0  # of a piece, in the object
        for number, held in self._ask(
            "SELECT number, length(content) FROM pieces WHERE upload = ? ORDER BY number", upload
        ):
            for at in range(max(offset, begun), min(end, begun + held), MIB):
                many = min(MIB, end - at, begun + held - at)
                [(piece,)] = self._ask(
                    "SELECT substr(content, ?, ?) FROM pieces WHERE upload = ? AND number = ?",
                    *(at - begun + 1, many, upload, number),
                )
                yield piece
            begun += held
        if begun < size:
            raise MissingPiece(f"{self.place} does not hold all of {name}")

    def stat(self, name):
        check_name(name)
        found = self._ask("SELECT size FROM objects WHERE name = ?", name)
        return ObjectInfo(name=name, size=found[0][0]) if found else None

    def list(self, prefix=""):
        check_prefix(prefix)
        found = self._ask(
            "SELECT name, size FROM objects WHERE substr(name, 1, ?) = ? ORDER BY name",
            *(len(prefix), prefix),
        )
        return iter([ObjectInfo(name=name, size=size) for name, size in found])

    def delete(self, name):
        check_name(name)
        self._ask("DELETE FROM pieces WHERE upload = (SELECT upload FROM objects WHERE name = ?)", name)
        self._ask("DELETE FROM objects WHERE name = ?", name)

    def abort_incomplete(self, prefix):
        """Remove the pieces of puts that never ended. One that still runs then ends with an error."""
        check_prefix(prefix)
        left = "substr(name, 1, ?) = ? AND upload NOT IN (SELECT upload FROM objects)"
        values = (len(prefix), prefix)
        [(many,)] = self._ask(f"SELECT count(DISTINCT upload) FROM pieces WHERE {left}", *values)
        self._ask(f"DELETE FROM pieces WHERE {left}", *values)
        return many


def _pieces(chunks):
    """Cut what comes in chunks of any size into pieces of about 1 MiB."""
    piece = bytearray()
    for chunk in chunks:
        piece += chunk
        if len(piece) >= MIB:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
