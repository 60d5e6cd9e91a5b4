"""The target itself: what each method asks of the service, and in which order.

An object is a block blob. Its blocks are staged, which shows nothing under its name, and
then committed in one request that succeeds only if there is no such blob.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar

from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError, TargetError
from strongroom.targets import ObjectInfo
from strongroom.targets.azure import locks, probing
from strongroom.targets.azure.account import BLOCK_BYTES, AzureAccount, AzureClient, canonical_prefix
from strongroom.targets.azure.blocks import block_size
from strongroom.targets.azure.locks import BlobLock
from strongroom.targets.azure.refusals import RAISED, status_of, typed
from strongroom.targets.azure.versions import hidden_version, old_versions
from strongroom.targets.azure.writing import drop_staged, put_blocks, staged_names
from strongroom.targets.blocks import checked
from strongroom.targets.clock import stamped
from strongroom.targets.errors import TargetLocked, TargetUnavailable
from strongroom.targets.hidden import HiddenVersion, may
from strongroom.targets.identity import Identified, TargetIdentity
from strongroom.targets.names import check_name, check_prefix, check_range, is_name
from strongroom.targets.probing import ProbeCheck
from strongroom.words import plural

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobProperties

T = TypeVar("T")


class AzureTarget(Identified):
    """A :class:`~strongroom.targets.Target` in a container of Azure Blob Storage.

    It is :class:`~strongroom.targets.Locking` too, for accounts that have version-level
    immutability.

    Args:
        account: which account and container, and how to reach it.
        name: what the configuration calls this target.
        region: where the account's primary copy lies.
        provider: who runs it.
        prefix: stands before every object's name, so that one container serves several.
        lock: locks each object as it is made. Where the account cannot, putting is refused
            rather than left open.
        block_bytes: how much is sent in one request; below 4 MiB only for tests.
    """

    def __init__(
        self,
        account: AzureAccount,
        *,
        name: str,
        region: str,
        provider: str = "azure",
        prefix: str = "",
        lock: BlobLock | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self._account = account
        self._client = AzureClient(account)
        self._prefix = canonical_prefix(prefix)
        address = f"{account.endpoint()}/{account.container}/{self._prefix}".rstrip("/")
        super().__init__(TargetIdentity(name=name, region=region, provider=provider, address=address))
        self._lock = lock
        self._can_lock = False
        self._block_bytes = block_bytes

    def close(self) -> None:
        """Close this process's connections; the next call opens new ones."""
        self._client.close()

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        """Store an object once; see :meth:`strongroom.targets.Target.put`."""
        if self.stat(name) is not None:
            return False
        options = self._lock_options()
        block = block_size(size, at_least=self._block_bytes)
        blocks = checked(name, chunks, size=size, sha256=sha256, block=block)
        try:
            return self._ask(f"write {name}", lambda: self._put(name, blocks, options), writing=True)
        except TargetUnavailable:
            # Whoever commits first drops every other writer's blocks of that name; and of a
            # reply that was lost, the request may have been served.
            if self._is_there(name):
                return False
            raise

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range in chunks of at most 1 MiB; each one's MD5 is compared."""
        check_name(name)
        check_range(offset, length)
        return self._read(name, offset, length)

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``; staged blocks are nothing yet."""
        check_name(name)
        try:
            return self._ask(f"look at {name}", lambda: self._info(name))
        except MissingPiece:
            return None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield objects ascending by name; blobs of other names are passed over."""
        check_prefix(prefix)
        return self._list(prefix)

    def delete(self, name: str) -> None:
        """Remove an object; a missing one is fine."""
        check_name(name)
        with contextlib.suppress(MissingPiece):
            self._ask(f"delete {name}", lambda: self._delete(name), writing=True)

    def purge(self, prefix: str) -> None:
        """Say that it cannot be told what a deletion leaves: versions and soft deletion are the
        account's settings, which a credential for one container does not see."""

    def hidden(self, prefix: str) -> Sequence[HiddenVersion]:
        """Return the old versions under a prefix; see :class:`strongroom.targets.hidden.KeepsVersions`."""
        check_prefix(prefix)
        return self._ask(f"list old versions of {prefix or 'everything'}", lambda: self._hidden(prefix))

    def telling(self) -> Iterator[ProbeCheck]:
        """Try what that needs."""
        yield may("list old versions", lambda: self.hidden("probes/"))

    def time(self) -> float:
        """Return the time by the service's clock; see :class:`strongroom.targets.clock.Clocked`."""
        return stamped(self._ask("tell what time it is there", self._date), str(self.place))

    def abort_incomplete(self, prefix: str) -> int:
        """Drop the staged blocks of blobs that were never committed; return of how many.

        A put that is under way loses its blocks too, fails and can be tried again. The
        service itself drops them a week after the last one was staged.
        """
        check_prefix(prefix)
        return self._ask(f"sweep {prefix or 'everything'}", lambda: self._sweep(prefix), writing=True)

    def can_lock(self) -> bool:
        """Ask whether the container can lock single objects (version-level immutability)."""
        return self._ask("tell what its container can do", lambda: locks.can_lock(self._client.get()))

    @property
    def locks(self) -> bool:
        """Whether what is put here is locked."""
        return self._lock is not None

    def extend_lock(self, name: str, until: datetime) -> datetime:
        """Lock an object for longer; see :meth:`strongroom.targets.Locking.extend_lock`."""
        check_name(name)
        lock = self._lock or BlobLock()
        return self._ask(f"lock {name}", lambda: locks.extend(self._blob(name), lock, until), writing=True)

    def locked_until(self, name: str) -> datetime | None:
        """Return when an object's lock ends (UTC), or ``None`` if nothing holds it."""
        check_name(name)
        return self._ask(f"look at {name}", lambda: locks.end_of(self._blob(name)))

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        """Ask for what has to be refused; see :class:`strongroom.targets.probing.Probed`."""
        blob = self._blob(check_name(name))
        yield probing.overwriting(blob)
        if self._lock is not None:
            yield from probing.ending_a_lock(blob)

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        """Look at what the credential has no need of."""
        check_name(name)
        yield from probing.of_credential(self._account.credential())

    def settings(self) -> Iterator[ProbeCheck]:
        """Look at how the container is set up."""
        yield probing.locking(self._client.get(), wanted=self._lock is not None)

    # -- writing -------------------------------------------------------------

    def _put(self, name: str, blocks: Iterator[bytes], options: dict[str, Any]) -> bool:
        return put_blocks(self._blob(name), blocks, options)

    def _delete(self, name: str) -> None:
        blob = self._blob(name)
        until = locks.end_of(blob) if self._lock is not None else None
        if until is not None:  # with versions kept, the service would hide it and call that deleted
            raise TargetLocked(f"{self.place}: {name} is locked until {until.isoformat()}")
        blob.delete_blob()

    def _is_there(self, name: str) -> bool:
        with contextlib.suppress(TargetError):
            return self.stat(name) is not None
        return False

    def _lock_options(self) -> dict[str, Any]:
        if self._lock is None:
            return {}
        # Asked for, because a service that does not know the header leaves the blob open.
        self._can_lock = self._can_lock or self.can_lock()
        if not self._can_lock:
            raise TargetError(f"{self.place} cannot lock objects, and its settings demand it", hint=_LOCK)
        return locks.at_put(self._lock)

    def _sweep(self, prefix: str) -> int:
        staged = staged_names(self._client.get(), self._prefix + prefix)
        found = [blob.removeprefix(self._prefix) for blob in staged]
        return sum(drop_staged(self._blob(name)) for name in found if is_name(name))

    # -- reading -------------------------------------------------------------

    def _read(self, name: str, offset: int, length: int | None) -> Iterator[bytes]:
        object_info = self.stat(name)
        if object_info is None:
            raise MissingPiece(f"{self.place} does not hold {name}")
        end = object_info.size if length is None else min(object_info.size, offset + length)
        if offset >= end:
            return
        left = end - offset
        for piece in self._each(f"read {name}", lambda: self._download(name, offset, end - offset)):
            left -= len(piece)
            yield piece
        if left:
            raise TargetUnavailable(f"{self.place} cut {name} short by {plural(left, 'byte')}")

    def _download(self, name: str, offset: int, length: int) -> Iterator[bytes]:
        blob = self._blob(name)
        return blob.download_blob(
            offset=offset, length=length, max_concurrency=1, validate_content="md5"
        ).chunks()

    def _info(self, name: str) -> ObjectInfo:
        return ObjectInfo(name=name, size=index(self._blob(name).get_blob_properties().size))

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        last = ""
        for blob in self._each(f"list {prefix or 'everything'}", lambda: self._listed(prefix)):
            name = blob.name.removeprefix(self._prefix)
            if not is_name(name):
                continue
            if name <= last:
                raise TargetError(f"{self.place} does not list in order", hint=_ORDER)
            last = name
            yield ObjectInfo(name=name, size=blob.size)

    def _listed(self, prefix: str) -> Iterable[BlobProperties]:
        return self._client.get().list_blobs(name_starts_with=self._prefix + prefix)

    def _date(self) -> str | None:
        """Return the date of a reply, to the one request that every credential here may make."""
        dates: list[str | None] = []
        listed = self._client.get().list_blobs(
            name_starts_with=f"{self._prefix}probes/",
            results_per_page=1,
            raw_response_hook=lambda reply: dates.append(reply.http_response.headers.get("Date")),
        )
        next(iter(listed), None)
        return dates[0] if dates else None

    def _hidden(self, prefix: str) -> Sequence[HiddenVersion]:
        now, locks = datetime.now(UTC), self._lock is not None
        blobs = old_versions(self._client.get(), self._prefix + prefix, locks=locks)
        named = [(blob.name.removeprefix(self._prefix), blob) for blob in blobs]
        return [hidden_version(name, blob, locks=locks, now=now) for name, blob in named if is_name(name)]

    # -- the container and its errors ----------------------------------------

    def _blob(self, name: str) -> BlobClient:
        return self._client.get().get_blob_client(self._prefix + name)

    def _ask(self, doing: str, call: Callable[[], T], *, writing: bool = False) -> T:
        """Call the service; what it refuses becomes an error of ours."""
        try:
            return call()
        except RAISED as error:
            found = self._refused(error, doing, writing=writing)
        raise found  # outside of the handler, and of any "with": what was caught may quote a token

    def _each(self, doing: str, call: Callable[[], Iterable[T]]) -> Iterator[T]:
        """Yield what the service gives, page by page."""
        try:
            yield from call()
            return
        except RAISED as error:
            found = self._refused(error, doing, writing=False)
        raise found

    def _refused(self, error: Exception, doing: str, *, writing: bool) -> StrongroomError:
        if status_of(error) in _REFUSED:
            self._client.forget()  # the file may hold a newer credential by now
        return typed(error, titled=str(self.place), doing=doing, writing=writing)


_REFUSED = frozenset({401, 403})
_LOCK = (
    "Turn on version-level immutability for the container, or remove 'lock' from the target: see "
    "docs/how-to/store-backups-in-s3-or-azure.md."
)
_ORDER = "An account with a hierarchical namespace does that. Use one without."
