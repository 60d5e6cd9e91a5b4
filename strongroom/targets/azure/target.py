"""The target itself: what each method asks of the service, and in which order.

An object is a block blob. Its blocks are staged, which shows nothing under its name, and
then committed in one request that succeeds only if there is no such blob.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobClient, ContainerClient, ImmutabilityPolicy
from msgspec import Struct

from strongroom.config import AzureTargetSettings, Settings
from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import ObjectInfo
from strongroom.system.process import PerProcess
from strongroom.targets import (
    HiddenVersion,
    ProbeCheck,
    ProbeResult,
    Target,
    TargetIdentity,
    canonical_prefix,
    check_name,
    check_prefix,
    is_name,
)
from strongroom.targets.azure.account import (
    BLOCK_BYTES,
    NOT_AZURE,
    RAISED,
    AzureAccount,
    code_of,
    status_of,
    typed,
)
from strongroom.targets.errors import TargetLocked, TargetUnavailable
from strongroom.targets.probing import may, stamped
from strongroom.targets.reading import checked
from strongroom.words import plural

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties


# -- How large the blocks of a blob have to be --------------------------------------------------


MOST_BLOCKS = 50_000
"""Of one blob, as the service allows."""


# -- How blobs come to be, if there is none of the name, and how staged blocks go again ---------


_CHANGED = frozenset({304, 412})


def put_blocks(blob: BlobClient, blocks: Iterable[bytes], options: dict[str, Any]) -> bool:
    """Stage blocks and commit them in one request; say whether this made the blob.

    A small object goes the same way: where another writer's blocks are staged, a service may
    take a blob for one that is there when it is put whole (seen on an emulator).
    """
    # Of one length everywhere, as the service demands of one blob's blocks, and never
    # those of another writer, whose blocks of this name lie in the same place.
    writer = secrets.token_hex(8)
    staged = []
    for number, piece in enumerate(blocks):
        block_id = f"{writer}-{number:08}"
        blob.stage_block(block_id, piece, len(piece), validate_content="md5")
        staged.append(BlobBlock(block_id))
    try:
        blob.commit_block_list(
            staged, match_condition=MatchConditions.IfMissing, validate_content=True, **options
        )
    except ResourceExistsError as error:
        # ``False``, the answer of a put that came second, unless it is another conflict.
        if code_of(error) != "BlobAlreadyExists":
            raise error
        return False
    return True


def staged_names(container: ContainerClient, prefix: str) -> Iterator[str]:
    """Yield the names of blobs that may be staged only: listed as empty."""
    for blob in container.list_blobs(name_starts_with=prefix, include=["uncommittedblobs"]):
        if not blob.size:
            yield blob.name


def drop_staged(blob: BlobClient) -> bool:
    """Drop a blob's staged blocks unless it was committed; say whether there were any."""
    try:
        blob.get_blob_properties()
    except ResourceNotFoundError:
        pass
    else:
        return False
    try:  # conditional: it may be committed at this very moment
        blob.delete_blob(match_condition=MatchConditions.IfMissing)
    except ResourceNotFoundError:
        return False
    except HttpResponseError as error:
        if error.status_code in _CHANGED:
            return False
        raise
    return True


# -- Old versions of blobs: earlier ones, and those that soft deletion still holds --------------


def old_versions(container: ContainerClient, prefix: str, *, locks: bool) -> Iterable[BlobProperties]:
    """List what is under a prefix and is no current blob.

    Args:
        locks: whether to ask for locks too, which an account without them may refuse.
    """
    include = ["versions", "deleted", *(["immutabilitypolicy"] if locks else [])]
    listed = container.list_blobs(name_starts_with=prefix, include=include)
    return (blob for blob in listed if blob.deleted or (blob.version_id and not blob.is_current_version))


def hidden_version(name: str, blob: BlobProperties, *, locks: bool, now: datetime) -> HiddenVersion:
    """Say what is known of an old version.

    Soft deletion tells its days. What a lifecycle policy of the account removes is set in the
    resource manager, which a credential for blobs does not reach: that is not known.
    """
    locked: datetime | None = blob.immutability_policy.expiry_time
    days = blob.remaining_retention_days
    return HiddenVersion(
        name=name,
        size=int(blob.size or 0),
        locked_until=locked.astimezone(UTC) if locked is not None and locked > now else None,
        expires=now + timedelta(days=days) if blob.deleted and days is not None else None,
        lock_known=locks,
        rule_known=bool(blob.deleted and days is not None),
    )


# -- Locks on blobs: version-level immutability policies, where the account has them ------------


class BlobLock(Struct, frozen=True, kw_only=True):
    """How long an object cannot be changed or deleted.

    ``days`` count from when it is put, ``most_days`` cap every extension. A ``final`` lock
    can be shortened by nobody; another one by who holds that right.
    """

    days: int = 7
    most_days: int = 3_650
    final: bool = False

    @property
    def mode(self) -> str:
        """The service's name for it."""
        return "Locked" if self.final else "Unlocked"

    def capped(self, until: datetime) -> datetime:
        """Return ``until``, or the latest moment that a lock may be set to now."""
        return min(until, datetime.now(UTC) + timedelta(days=self.most_days))


def can_lock(container: ContainerClient) -> bool:
    """Ask whether single blobs of a container can be locked."""
    return bool(container.get_container_properties().immutable_storage_with_versioning_enabled)


def end_of(blob: BlobClient) -> datetime | None:
    """Return when a blob's lock ends (UTC); ``None`` if it has none, or had one."""
    until: datetime | None = blob.get_blob_properties().immutability_policy.expiry_time
    return until if until is not None and until > datetime.now(UTC) else None


def extend(blob: BlobClient, lock: BlobLock, until: datetime) -> datetime:
    """Lock a blob until then at least, within the cap; return when its lock ends now."""
    now, wanted = end_of(blob), lock.capped(until)
    if now is not None and now >= wanted:
        return now
    blob.set_immutability_policy(ImmutabilityPolicy(expiry_time=wanted, policy_mode=lock.mode))
    return wanted


# -- What a blob container has to refuse, asked of the service itself on an object of the caller's own
#
# Where the account has no version-level immutability (and on the emulator) nothing of locks
# can be shown. What a credential may do is read off a SAS token, which states it; what a role
# grants to an identity is not shown here.


NEEDED = "rl"
"""Rights of a SAS token (letters of its ``sp``) that everybody needs: read, list."""
USEFUL = "cwdi"
"""Create, write (for blocks), delete, set immutability: needed by some, no harm to locked blobs."""
_LETTERS = {
    "a": "add",
    "c": "create",
    "d": "delete",
    "e": "execute",
    "f": "filter by tags",
    "i": "set immutability",
    "l": "list",
    "m": "move",
    "o": "change owners",
    "p": "change permissions",
    "r": "read",
    "t": "tags",
    "w": "write",
    "x": "delete versions",
    "y": "delete for good",
}
_PROBE_REFUSED = frozenset({403, 409, 412})


def overwriting(blob: BlobClient) -> ProbeCheck:
    """Put an object over one that is there, under the condition that there is none."""
    return _tried("write over an object", lambda: blob.upload_blob(b"", overwrite=False), _OVERWRITTEN)


def ending_a_lock(blob: BlobClient) -> Iterator[ProbeCheck]:
    """Shorten and lift an object's lock, and remove the version that it holds."""
    soon = ImmutabilityPolicy(expiry_time=datetime.now(UTC) + timedelta(minutes=1), policy_mode="Unlocked")
    yield _tried("shorten a lock", lambda: blob.set_immutability_policy(soon), _LOCK_IS_NONE)
    yield _tried("lift a lock", blob.delete_immutability_policy, _LOCK_IS_NONE)
    yield _tried("remove a locked object", blob.delete_blob, _LOCK_IS_NONE)


def locking(container: ContainerClient, *, wanted: bool) -> ProbeCheck:
    """Look whether single blobs can be locked."""
    what = "the container has version-level immutability"
    try:
        there = bool(container.get_container_properties().immutable_storage_with_versioning_enabled)
    except (AzureError, *NOT_AZURE) as error:
        return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=_said(error))
    if there:
        return ProbeCheck(what=what)
    return ProbeCheck(
        what=what, outcome=ProbeResult.MISSING if wanted else ProbeResult.ADVICE, detail=_UNLOCKED
    )


def of_credential(credential: object) -> Iterator[ProbeCheck]:
    """Compare what a credential may do with what is needed, as far as it states that."""
    what = "rights of the credential"
    if isinstance(credential, dict):
        yield ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=_ACCOUNT_KEY)
    elif isinstance(credential, str):
        yield from _of_token(what, set(parse_qs(credential).get("sp", [""])[0]))
    else:
        yield ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=_IDENTITY)


def _of_token(what: str, has: set[str]) -> Iterator[ProbeCheck]:
    missing = sorted(set(NEEDED) - has)
    excess = sorted(has - set(NEEDED) - set(USEFUL))
    if missing:
        yield ProbeCheck(what=what, outcome=ProbeResult.MISSING, detail=_rights_in_words(missing))
    if excess:
        yield ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=_rights_in_words(excess))
    if not missing and not excess:
        yield ProbeCheck(what=what)


def _rights_in_words(letters: list[str]) -> str:
    return ", ".join(f"{_LETTERS.get(letter, 'unknown')} ({letter})" for letter in letters)


def _tried(what: str, attempt: Callable[[], object], otherwise: str) -> ProbeCheck:
    try:
        attempt()
    except (AzureError, *NOT_AZURE) as error:
        if status_of(error) in _PROBE_REFUSED:
            return ProbeCheck(what=what)
        return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=_said(error))
    except StrongroomError as error:
        return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=error.message)
    return ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=otherwise)


def _said(error: Exception) -> str:
    """Only status and code: the library's own text can quote a token."""
    return f"the service answered {status_of(error) or 'nothing'} {code_of(error)}".rstrip()


_OVERWRITTEN = "the service does not hold to If-None-Match"
_LOCK_IS_NONE = "the lock does not hold: anyone with this credential can destroy backups"
_UNLOCKED = (
    "turn on versioning and version-level immutability: 'strongroom cluster rules azure --target NAME' "
    "prints how"
)
_ACCOUNT_KEY = "an account key may do everything, change locks included; use a SAS token or an identity"
_IDENTITY = (
    "what a role grants to an identity is not stated here; compare it with 'strongroom cluster rules azure'"
)


# -- The target itself: what each method asks of the service, and in which order ----------------
#
# An object is a block blob. Its blocks are staged, which shows nothing under its name, and
# then committed in one request that succeeds only if there is no such blob.


T = TypeVar("T")


class AzureTarget(Target):
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
        self._client = PerProcess(account.connect)
        self._prefix = canonical_prefix(prefix)
        address = f"{account.endpoint()}/{account.container}/{self._prefix}".rstrip("/")
        super().__init__(TargetIdentity(name=name, region=region, provider=provider, address=address))
        self._lock = lock
        self._can_lock = False
        self._block_bytes = block_bytes

    def close(self) -> None:
        """Close this process's connections; the next call opens new ones."""
        if (client := self._client.forget()) is not None:
            client.close()

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        if self.stat(name) is not None:
            return False
        options = self._lock_options()
        # How large blocks must be for ``size`` bytes to fit into one blob.
        block = max(self._block_bytes, -(-size // MOST_BLOCKS))
        blocks = checked(name, chunks, size=size, sha256=sha256, block=block)
        try:
            return self._ask(
                f"write {name}", lambda: put_blocks(self._blob(name), blocks, options), writing=True
            )
        except TargetUnavailable:
            # Whoever commits first drops every other writer's blocks of that name; and of a
            # reply that was lost, the request may have been served.
            if self._is_there(name):
                return False
            raise

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``; staged blocks are nothing yet."""
        check_name(name)
        try:
            return self._ask(
                f"look at {name}",
                lambda: ObjectInfo(name=name, size=index(self._blob(name).get_blob_properties().size)),
            )
        except MissingPiece:
            return None

    def delete(self, name: str) -> None:
        check_name(name)
        with contextlib.suppress(MissingPiece):
            self._ask(f"delete {name}", lambda: self._delete(name), writing=True)

    def purge(self, prefix: str) -> None:
        """Say that it cannot be told what a deletion leaves: versions and soft deletion are the
        account's settings, which a credential for one container does not see."""

    def hidden(self, prefix: str) -> Sequence[HiddenVersion]:
        check_prefix(prefix)
        return self._ask(f"list old versions of {prefix or 'everything'}", lambda: self._hidden(prefix))

    def telling(self) -> Iterator[ProbeCheck]:
        yield may("list old versions", lambda: self.hidden("probes/"))

    def time(self) -> float:
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
        return self._ask("tell what its container can do", lambda: can_lock(self._client.get()))

    @property
    def locks(self) -> bool:
        return self._lock is not None

    def extend_lock(self, name: str, until: datetime) -> datetime:
        check_name(name)
        lock = self._lock or BlobLock()
        return self._ask(f"lock {name}", lambda: extend(self._blob(name), lock, until), writing=True)

    def locked_until(self, name: str) -> datetime | None:
        check_name(name)
        return self._ask(f"look at {name}", lambda: end_of(self._blob(name)))

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        blob = self._blob(check_name(name))
        yield overwriting(blob)
        if self._lock is not None:
            yield from ending_a_lock(blob)

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        check_name(name)
        yield from of_credential(self._account.credential())

    def settings(self) -> Iterator[ProbeCheck]:
        yield locking(self._client.get(), wanted=self._lock is not None)

    # -- writing -------------------------------------------------------------

    def _delete(self, name: str) -> None:
        blob = self._blob(name)
        until = end_of(blob) if self._lock is not None else None
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
        # The options that lock a blob in the request that creates it.
        until = self._lock.capped(datetime.now(UTC) + timedelta(days=self._lock.days))
        return {"immutability_policy": ImmutabilityPolicy(expiry_time=until, policy_mode=self._lock.mode)}

    def _sweep(self, prefix: str) -> int:
        staged = staged_names(self._client.get(), self._prefix + prefix)
        found = [blob.removeprefix(self._prefix) for blob in staged]
        return sum(drop_staged(self._blob(name)) for name in found if is_name(name))

    # -- reading -------------------------------------------------------------

    def _read(self, name: str, offset: int, length: int | None) -> Iterator[bytes]:
        """Stream a range in chunks of at most 1 MiB; each one's MD5 is compared."""
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

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield objects ascending by name; blobs of other names are passed over."""
        last = ""
        for blob in self._each(
            f"list {prefix or 'everything'}",
            lambda: self._client.get().list_blobs(name_starts_with=self._prefix + prefix),
        ):
            name = blob.name.removeprefix(self._prefix)
            if not is_name(name):
                continue
            if name <= last:
                raise TargetError(f"{self.place} does not list in order", hint=_ORDER)
            last = name
            yield ObjectInfo(name=name, size=blob.size)

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
            refusal = self._refused(error, doing, writing=writing)
        raise refusal  # outside of the handler, and of any "with": what was caught may quote a token

    def _each(self, doing: str, call: Callable[[], Iterable[T]]) -> Iterator[T]:
        """Yield what the service gives, page by page."""
        try:
            yield from call()
            return
        except RAISED as error:
            refusal = self._refused(error, doing, writing=False)
        raise refusal

    def _refused(self, error: Exception, doing: str, *, writing: bool) -> StrongroomError:
        if status_of(error) in _REFUSED:
            self._client.forget()  # the file may hold a newer credential by now
        return typed(error, titled=str(self.place), doing=doing, writing=writing)


_REFUSED = frozenset({401, 403})
_LOCK = (
    "Turn on version-level immutability for the container, or remove 'lock' from the target: see "
    "docs/how-to/store-backups.md."
)
_ORDER = "An account with a hierarchical namespace does that. Use one without."


# -- Made from its settings ----------------------------------------------------------------------


def make(name: str, target: AzureTargetSettings, settings: Settings) -> Target:
    """Return a container of Azure Blob Storage."""
    lock = None
    if target.lock != "none":
        lock = BlobLock(days=target.lock_days, most_days=target.max_lock_days, final=target.lock == "locked")
    account = AzureAccount(
        url=target.account_url,
        container=target.container,
        credential_file=target.credential_file,
        api_version=target.api_version,
        ca_file=target.ca_file,
    )
    return AzureTarget(
        account, name=name, region=target.region, provider=target.provider, prefix=target.prefix, lock=lock
    )
