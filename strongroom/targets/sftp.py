"""A directory on an SFTP server as a target: OpenSSH's, or any that can make hard links.

An object is written under a provisional name, made durable, and then linked to its real one, which fails if
that is taken: so it is visible whole or not at all, and never replaced. (SFTP's own rename may replace.)

The protocol is version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions ``hardlink``, ``fsync`` and
``statvfs`` (its file PROTOCOL). The server's key has to be known beforehand, and the login is by a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncssh
from asyncssh import FILEXFER_TYPE_DIRECTORY, FILEXFER_TYPE_REGULAR, SFTPAttrs, SFTPClient, SFTPClientFile
from msgspec import Struct

from strongroom.config import Settings, SftpTargetSettings
from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, TargetError
from strongroom.model import ObjectInfo
from strongroom.system import files
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.system.process import PerProcess
from strongroom.targets import (
    ProbeCheck,
    ProbeResult,
    Target,
    TargetIdentity,
    check_name,
    check_prefix,
    is_segment,
)
from strongroom.targets.directory import MARKER, MARKER_TEXT
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.probing import mode_check
from strongroom.targets.reading import checked
from strongroom.words import plural

BLOCK: Final = 1024 * 1024
"""Bytes that one request reads or writes."""
_DESCENTS: Final = 100
"""How often the directories above an object are made anew while deletes beside it remove empty ones."""
_NO_OBJECT: Final = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)
_LOST: Final = (asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost, asyncssh.DisconnectError, OSError)

T = TypeVar("T")

asyncssh.set_log_level("WARNING")  # each login would be five lines of a worker's log


class SftpServer(Struct, frozen=True, kw_only=True):
    """Where the server is, and who logs in.

    Args:
        known_hosts_file: the server's public keys, in OpenSSH's format; no other server is spoken to.
        key_file: the private key of the login, which nobody else may read.
        seconds: the longest that one request, or the login, may take.
    """

    host: str
    port: int
    user: str
    known_hosts_file: Path
    key_file: Path
    seconds: float = 60.0


class SftpTarget(Target):
    """A :class:`~strongroom.targets.Target` below a directory of an SFTP server.

    The directory must carry a marker, as a directory of this machine does: where a disk of the server is not
    mounted, backups would otherwise go to the empty mount point.

    Args:
        path: the directory, absolute on the server.
        create: whether to make and mark the directory if it is missing.
    """

    def __init__(
        self, server: SftpServer, path: str, *, name: str, region: str, provider: str, create: bool = False
    ) -> None:
        self._path = posixpath.normpath(path)
        address = f"sftp://{server.user}@{server.host}:{server.port}{self._path}"
        super().__init__(TargetIdentity(name=name, region=region, provider=provider, address=address))
        self._server, self._create = server, create
        self._session = PerProcess(lambda: _Session(server))

    # -- writing -----------------------------------------------------------------------------

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        """Store an object once; see :meth:`strongroom.targets.Target.put`."""
        check_name(name)
        if self.stat(name) is not None:
            return False
        self.require_room(size)
        provisional = posixpath.join(
            self._path, posixpath.dirname(name), files.provisional_name(posixpath.basename(name))
        )
        file = self._ask(f"write {name}", lambda client: self._begin(client, provisional), writing=True)
        try:
            for block in checked(name, chunks, size=size, sha256=sha256, block=BLOCK):
                self._ask(f"write {name}", partial(_append, file, block), writing=True)
            return self._ask(
                f"publish {name}", lambda client: self._publish(client, file, provisional, name), writing=True
            )
        finally:
            with contextlib.suppress(TargetError):  # what stays is invisible, and is swept
                self._ask(f"finish {name}", lambda client: _discard(client, file, provisional))

    async def _begin(self, client: SFTPClient, provisional: str) -> SFTPClientFile:
        await self._require_marker(client)
        for _ in range(_DESCENTS):
            await self._make_directories(client, posixpath.dirname(provisional))
            with contextlib.suppress(*_NO_OBJECT):
                return await client.open(provisional, "xb", SFTPAttrs(permissions=0o600), encoding=None)
        raise TargetUnavailable(f"{self.place}: its directories vanish while an object is written")

    async def _make_directories(self, client: SFTPClient, path: str) -> None:
        if path == self._path or await client.isdir(path):
            return
        await self._make_directories(client, posixpath.dirname(path))
        try:
            await client.mkdir(path, SFTPAttrs(permissions=0o700))
        except asyncssh.SFTPFailure:  # also what version 3 has for "it is there already"
            if not await client.isdir(path):
                raise
        except _NO_OBJECT:
            pass  # the one above was removed as empty: whoever asks begins again

    async def _publish(self, client: SFTPClient, file: SFTPClientFile, provisional: str, name: str) -> bool:
        """Give the durable file its real name, or say that the name is taken."""
        await _sync(file)
        try:
            await client.link(provisional, posixpath.join(self._path, name))
        except asyncssh.SFTPFailure:  # all that version 3 has for "it is there already"
            if await self._info(client, name) is None:
                raise
            return False
        await _sync(file)  # a directory cannot be made durable by itself: this does both
        return True

    def delete(self, name: str) -> None:
        """Remove an object, and directories that this leaves empty."""
        check_name(name)

        async def remove(client: SFTPClient) -> None:
            with contextlib.suppress(*_NO_OBJECT):
                if await self._info(client, name) is not None:
                    await client.remove(posixpath.join(self._path, name))
            above = posixpath.dirname(name)
            with contextlib.suppress(asyncssh.SFTPError):  # not empty, or somebody else was faster
                while above:
                    await client.rmdir(posixpath.join(self._path, above))
                    above = posixpath.dirname(above)

        self._ask(f"delete {name}", remove, writing=True)

    def abort_incomplete(self, prefix: str) -> int:
        """Remove provisional files under ``prefix``; return how many there were.

        The server does not say whether one's writer still lives. A writer that does fails, and starts over.
        """
        check_prefix(prefix)
        names = [path for path, _ in self._walk(prefix, files.name_of_provisional)]
        for path in names:
            self._ask(f"sweep {prefix}", partial(_remove, path), writing=True)
        return len(names)

    def require_room(self, size: int) -> None:
        """Raise TargetFull if an object of so many bytes does not fit now, where the server tells."""

        async def free(client: SFTPClient) -> int | None:
            with contextlib.suppress(asyncssh.SFTPOpUnsupported):
                try:
                    room = await client.statvfs(self._path)
                except asyncssh.SFTPNoSuchFile:  # a stage is asked for room before anything is put there
                    await self._require_marker(client)
                    room = await client.statvfs(self._path)
                return int(room.bavail * room.frsize)
            return None

        room = self._ask("look for room", free)
        if room is not None and room < size:
            raise TargetFull(f"{self.place} has {plural(room, 'byte')} free and needs {size:,}")

    # -- reading -----------------------------------------------------------------------------

    def _read(self, name: str, offset: int, length: int | None) -> Iterator[bytes]:
        """Stream a range in chunks of at most 1 MiB."""

        async def begin(client: SFTPClient) -> tuple[SFTPClientFile, int]:
            if (info := await self._info(client, name)) is None:
                raise MissingPiece(f"{self.place} does not hold {name}")
            return await client.open(posixpath.join(self._path, name), "rb", encoding=None), info.size

        file, size = self._ask(f"read {name}", begin)
        end = size if length is None else min(size, offset + length)
        try:
            while offset < end:
                most = min(BLOCK, end - offset)
                chunk = self._ask(f"read {name}", partial(_cut, file, most, offset))
                if not chunk:
                    return
                offset += len(chunk)
                yield chunk
        finally:
            with contextlib.suppress(TargetError):
                self._ask(f"finish {name}", lambda _: file.close())

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``; a link or a directory is no object."""
        check_name(name)
        return self._ask(f"look at {name}", lambda client: self._info(client, name))

    async def _info(self, client: SFTPClient, name: str) -> ObjectInfo | None:
        try:
            found = await client.lstat(posixpath.join(self._path, name))
        except _NO_OBJECT:
            await self._require_marker(client)
            return None
        is_file = found.type == FILEXFER_TYPE_REGULAR and found.size is not None
        return ObjectInfo(name=name, size=found.size or 0) if is_file else None

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield objects ascending by name; provisional and foreign files are passed over."""
        found = self._walk(prefix, lambda leaf: leaf if is_segment(leaf) else None)
        return (info for _, info in found)

    def _walk(
        self, prefix: str, object_leaf: Callable[[str], str | None]
    ) -> Iterator[tuple[str, ObjectInfo]]:
        """Yield the path of each file whose object's name starts with ``prefix``, and the object."""
        above, slash, _ = prefix.rpartition("/")
        yield from self._below(above + slash, prefix, object_leaf)

    def _below(
        self, above: str, prefix: str, object_leaf: Callable[[str], str | None]
    ) -> Iterator[tuple[str, ObjectInfo]]:
        path = posixpath.join(self._path, above)
        found: list[tuple[str, str, int]] = []
        for leaf, attributes in self._ask(f"list {prefix or 'everything'}", partial(self._entries, path)):
            name = None
            if attributes.type == FILEXFER_TYPE_DIRECTORY:
                # A directory's name carries its slash, so that "a-b" < "a/b" < "a0" as in a plain sort.
                name = f"{above}{leaf}/" if is_segment(leaf) else None
            elif attributes.type == FILEXFER_TYPE_REGULAR and (own := object_leaf(leaf)):
                name = above + own
            if name and (name.startswith(prefix) or (name.endswith("/") and prefix.startswith(name))):
                found.append((name, leaf, attributes.size or 0))
        for name, leaf, size in sorted(found):
            if name.endswith("/"):
                yield from self._below(name, prefix, object_leaf)
            else:
                yield posixpath.join(path, leaf), ObjectInfo(name=name, size=size)

    async def _entries(self, path: str, client: SFTPClient) -> Sequence[tuple[str, SFTPAttrs]]:
        """Return the names in a directory, each with what it is; none if it is not there."""
        try:
            names = await client.readdir(path.encode())
        except _NO_OBJECT:
            await self._require_marker(client)
            return []
        return [(os.fsdecode(name.filename), name.attrs) for name in names]

    # -- what a probe asks -------------------------------------------------------------------

    def excess(self, name: str) -> Iterator[ProbeCheck]:  # noqa: ARG002
        """Look who else may use the directory on the server."""
        found = self._ask("look at its directory", lambda client: client.stat(self._path))
        yield mode_check(found.permissions or 0)

    def settings(self) -> Iterator[ProbeCheck]:
        """Tell whether what the server says it has stored outlives a loss of its power."""
        what = "the server makes durable what it took"

        async def sync(client: SFTPClient) -> None:
            async with client.open(posixpath.join(self._path, MARKER), "rb", encoding=None) as file:
                await file.fsync()

        try:
            self._ask("sync its marker", sync)
        except TargetError as error:
            yield ProbeCheck(what=what, outcome=ProbeResult.ADVICE, detail=error.message)
        else:
            yield ProbeCheck(what=what)

    # -- the session and its errors ----------------------------------------------------------

    def _ask(self, doing: str, work: Callable[[SFTPClient], Awaitable[T]], *, writing: bool = False) -> T:
        session = self._session.get()
        try:
            return session.run(work)
        except (TargetError, MissingPiece, ConfigError):
            raise
        except TimeoutError:
            session.drop()
            raise TargetUnavailable(
                f"{self.place} gave no answer in {self._server.seconds:g} s to {doing}"
            ) from None
        except (asyncssh.Error, OSError, ValueError) as error:
            if isinstance(error, _LOST):
                session.drop()
            raise self._explained(error, doing, writing=writing) from error

    def _explained(self, error: Exception, doing: str, *, writing: bool) -> TargetError:
        """Return the error that a failure is to us; a server's words are its own, and are not repeated."""
        could_not = f"{self.place} could not {doing}"
        match error:
            case asyncssh.HostKeyNotVerifiable():
                hint = f"Compare it with {self._server.known_hosts_file}. Do not go on if it changed unasked."
                return TargetError(f"{self.place}: the server's key is not the known one", hint=hint)
            case asyncssh.PermissionDenied():
                hint = (
                    f"Check the user, and that the server knows the public half of {self._server.key_file}."
                )
                return TargetError(f"{self.place}: the server refused the login", hint=hint)
            case asyncssh.SFTPPermissionDenied() | asyncssh.SFTPWriteProtect():
                kind = TargetReadOnly if writing else TargetError
                return kind(f"{could_not}: permission denied")
            case asyncssh.SFTPNoSpaceOnFilesystem() | asyncssh.SFTPQuotaExceeded():
                return TargetFull(f"{could_not}: no room")
            case asyncssh.SFTPOpUnsupported():
                return TargetError(
                    f"{could_not}: the server does not offer it", hint="Use OpenSSH's server (sftp-server)."
                )
        return TargetUnavailable(f"{could_not}: {type(error).__name__}")

    async def _require_marker(self, client: SFTPClient) -> None:
        marker = posixpath.join(self._path, MARKER)
        if await client.exists(marker):
            return
        if not self._create:
            raise TargetUnavailable(
                f"{self.place} has no {MARKER} in it",
                hint="Mount its disk on the server, or correct the path. 'create = true' makes and marks it.",
            )
        await client.makedirs(self._path, SFTPAttrs(permissions=0o700), exist_ok=True)
        async with client.open(marker, "wb", SFTPAttrs(permissions=0o600), encoding=None) as file:
            await file.write(MARKER_TEXT)
            await _sync(file)


async def _sync(file: SFTPClientFile) -> None:
    """Make a file durable, where the server can; 'check storage' says if it cannot."""
    with contextlib.suppress(asyncssh.SFTPOpUnsupported):
        await file.fsync()


async def _discard(client: SFTPClient, file: SFTPClientFile, provisional: str) -> None:
    with contextlib.suppress(asyncssh.SFTPError):
        await file.close()
    await _remove(provisional, client)


async def _append(file: SFTPClientFile, data: bytes, _client: SFTPClient) -> None:
    await file.write(data)


async def _cut(file: SFTPClientFile, most: int, offset: int, _client: SFTPClient) -> bytes:
    chunk: Any = await file.read(most, offset)  # of a file that is opened as bytes; the types know text alone
    return bytes(chunk)


async def _remove(path: str, client: SFTPClient) -> None:
    with contextlib.suppress(*_NO_OBJECT):
        await client.remove(path)


class _Session:
    """This process's connection: a loop in a thread of its own, which any thread may ask."""

    def __init__(self, server: SftpServer) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._client: SFTPClient | None = None
        self._connection: asyncssh.SSHClientConnection | None = None
        self._connecting: asyncio.Lock | None = None
        threading.Thread(target=self._loop.run_forever, name=f"sftp:{server.host}", daemon=True).start()

    def run(self, work: Callable[[SFTPClient], Awaitable[T]]) -> T:
        """Do work over the connection, which is made if there is none.

        Raises:
            TimeoutError: it took too long.
        """

        async def bounded() -> T:
            async with asyncio.timeout(self._server.seconds):
                return await work(await self._connected())

        return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()

    def drop(self) -> None:
        """Give the connection up: the next request makes another."""

        def abort() -> None:
            connection, self._connection, self._client = self._connection, None, None
            if connection is not None:
                connection.abort()

        self._loop.call_soon_threadsafe(abort)

    async def _connected(self) -> SFTPClient:
        if self._connecting is None:
            self._connecting = asyncio.Lock()
        async with self._connecting:
            if self._client is None:
                self._connection = await asyncssh.connect(
                    self._server.host,
                    self._server.port,
                    username=self._server.user,
                    client_keys=[_key(self._server.key_file)],
                    known_hosts=_known_hosts(self._server.known_hosts_file),
                    # Nothing of the person's own files, agent or passwords: the settings say all.
                    config=None,
                    agent_path=None,
                    preferred_auth="publickey",
                    keepalive_interval=15,
                )
                self._client = await self._connection.start_sftp_client()
            return self._client


def _key(file: Path) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(files.read_private(file))
    except asyncssh.KeyImportError:
        hint = "Make one that has no passphrase, for this login alone: ssh-keygen -t ed25519 -N ''."
        raise ConfigError(f"{file} is no private key of SSH, or needs a passphrase.", hint=hint) from None


def _known_hosts(file: Path) -> Any:
    try:
        return asyncssh.read_known_hosts(str(file))
    except (OSError, ValueError):
        hint = "Write it with 'ssh-keyscan HOST', and compare the key with the server's own."
        raise ConfigError(f"{file} has no known hosts in it.", hint=hint) from None


# -- Made from its settings ----------------------------------------------------------------------


def make(name: str, target: SftpTargetSettings, settings: Settings) -> Target:
    """Return a directory on an SFTP server."""
    server = SftpServer(
        host=target.host,
        port=target.port,
        user=target.user,
        known_hosts_file=target.known_hosts_file,
        key_file=target.key_file,
    )
    return SftpTarget(
        server,
        str(target.path),
        name=name,
        region=target.region,
        provider=target.provider,
        create=target.create,
    )
