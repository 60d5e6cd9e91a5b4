"""Entries of a KV version 2 mount: made once, read, listed, destroyed, a few at once; never overwritten."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TypeVar

import msgspec
from msgspec import Struct

from strongroom.errors import TargetError
from strongroom.model import prepare
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.targets import NAME_LIMIT
from strongroom.targets.errors import TargetUnavailable
from strongroom.vault import answers
from strongroom.vault.answers import (
    NO_SPACE,
    TOO_LARGE,
    Ambiguous,
    Denied,
    LoginRefused,
    NotVault,
    ServerAnswer,
    Unconfirmed,
    VaultError,
    VaultRefused,
    VaultSealed,
)
from strongroom.vault.client import Vault

# -- What a Vault server refuses, as errors of a target -----------------------------------------
#
# The server's own words are not repeated: they may quote what it was sent.


def typed(error: VaultError, *, titled: str, doing: str, writing: bool) -> TargetError:
    """Return the error of ours that says what happened and what to do next."""
    start = f"{titled} could not {doing}: {error.message}"
    if error.reason == TOO_LARGE or error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TargetError(f"{titled} could not {doing}: the entry is too large for it", hint=_CHUNK)
    if error.reason == NO_SPACE or error.status == HTTPStatus.INSUFFICIENT_STORAGE:
        return TargetFull(f"{titled} could not {doing}: its storage has no room left")
    if isinstance(error, Denied):
        return (TargetReadOnly if writing else TargetError)(f"{start} (status 403)", hint=_RIGHTS)
    if isinstance(error, LoginRefused | NotVault):
        return TargetError(start, hint=error.hint)
    if error.transient or isinstance(error, Unconfirmed):
        hint = _SEALED if isinstance(error, VaultSealed) else error.hint
        said = error.headers.get("retry-after", "")
        return TargetUnavailable(start, hint=hint, retry_after=float(said) if said.isdecimal() else None)
    return TargetError(start, hint=error.hint)


_CHUNK = (
    "Nothing half-written was left. Lower 'chunk_bytes' of this target: the server's storage limits one "
    "entry (1 MiB on Raft, 512 KiB on Consul), and text takes a third more than the bytes."
)
_RIGHTS = "Compare the token's policies with ops/vault/kv-target.hcl."
_SEALED = "The backups there are safe. Unseal the server, then run 'strongroom runs retry'."


# -- Entries of a KV version 2 mount: made once, read, listed, destroyed. Nothing is ever overwritten


Fields = Mapping[str, str]


class _Written(Struct):
    version: int = 0
    deletion_time: str = ""


class _WrittenAnswer(Struct):
    data: _Written | None = None


class _KvEntry(Struct):
    data: dict[str, str] | None = None


class _HeldAnswer(Struct):
    data: _KvEntry


class _EntryNames(Struct):
    keys: list[str] = []


class _EntryNamesAnswer(Struct):
    data: _EntryNames


prepare(_WrittenAnswer, _HeldAnswer, _EntryNamesAnswer)
_WRITTEN = msgspec.json.Decoder(_WrittenAnswer)
_HELD = msgspec.json.Decoder(_HeldAnswer)
_KEYS = msgspec.json.Decoder(_EntryNamesAnswer)


class Occupied(TargetError):
    """An entry is there, and was not written over."""


class Entries:
    """What lies below one folder of a mount. Paths are relative to that folder.

    Errors are :class:`~strongroom.errors.TargetError`.
    """

    def __init__(self, vault: Vault, *, mount: str, folder: str, titled: str) -> None:
        self.vault = vault
        self.titled = titled
        self.mount = mount
        self.folder = answers.folder(folder)

    def create(self, path: str, fields: Fields, *, doing: str) -> bool:
        """Write an entry unless there is one; say whether what lies there now is this one.

        Check-and-set makes it safe to ask again: after a reply that was lost the server says
        that there is an entry, and then the two are compared.
        """
        body = {"data": fields, "options": {"cas": 0}}
        found: Fields | None = None
        failure: VaultError | None = None

        def happened() -> bool:
            nonlocal found
            found = self.get(path, doing=doing)
            return found is not None

        try:
            answer = self.vault.post(self.mount, "data", self.folder + path, body=body, happened=happened)
        except (Ambiguous, VaultRefused, Denied) as error:
            failure = error
            happened()
        except VaultError as error:
            raise typed(error, titled=self.titled, doing=doing, writing=True) from None
        else:
            if found is None:
                self._check_written(answer, path)
                return True
        if found is not None:
            return found == fields
        assert failure is not None  # else there was an answer, or an entry
        if self._was_deleted(path, doing=doing):
            raise TargetError(f"{self.titled} could not {doing}: a deleted entry is there", hint=_IN_THE_WAY)
        raise typed(failure, titled=self.titled, doing=doing, writing=True)

    def get(self, path: str, *, doing: str) -> Fields | None:
        """Return an entry, or ``None`` if there is none, or if it was deleted or destroyed."""
        with self.explained(doing, writing=False):
            answer = self.vault.get(self.mount, "data", self.folder + path)
            return answer.read(_HELD).data.data if answer.found else None

    def keys(self, folder: str, *, doing: str) -> list[str]:
        """Return what lies directly in a folder, ascending; a folder's name ends with a slash."""
        with self.explained(doing, writing=False):
            answer = self.vault.list(self.mount, "metadata", self.folder + folder)
            return sorted(set(answer.read(_KEYS).data.keys)) if answer.found else []

    def walk(self, root: str, prefix: str, *, doing: str) -> Iterator[str]:
        """Yield the paths below ``root`` that start with ``prefix``, ascending, without ``root``.

        A folder sorts with its slash, which is where the names in it belong.
        """
        yield from self._walk(root, prefix[: prefix.rfind("/") + 1], prefix, doing)

    def destroy(self, path: str, *, doing: str) -> None:
        """Remove an entry with all its versions; a missing one is fine."""
        with self.explained(doing, writing=True):
            self.vault.delete(self.mount, "metadata", self.folder + path)

    def overwrite(self, path: str, *, doing: str) -> None:
        """Write what an entry holds over it, without check-and-set, for a probe of its own object.

        Raises Occupied, as it should.
        """
        fields = self.get(path, doing=doing) or {}
        try:
            self.vault.post(self.mount, "data", self.folder + path, body={"data": fields})
        except (Denied, VaultRefused):
            raise Occupied(f"{self.titled} lets nothing be written over") from None
        except VaultError as error:
            raise typed(error, titled=self.titled, doing=doing, writing=True) from None

    @contextmanager
    def explained(self, doing: str, *, writing: bool) -> Iterator[None]:
        """Make errors of a target of what the server refuses."""
        try:
            yield
        except VaultError as error:
            raise typed(error, titled=self.titled, doing=doing, writing=writing) from None

    def _walk(self, root: str, folder: str, prefix: str, doing: str) -> Iterator[str]:
        for key in self.keys(root + folder, doing=doing):
            path = folder + key
            if not path.startswith(prefix) or len(path) > 2 * NAME_LIMIT:  # no end: a server that lies
                continue
            if key.endswith("/"):
                yield from self._walk(root, path, prefix, doing)
            else:
                yield path

    def _was_deleted(self, path: str, *, doing: str) -> bool:
        with self.explained(doing, writing=False):
            answer = self.vault.get(self.mount, "data", self.folder + path)
            return not answer.found and b'"metadata":{' in answer.body

    def _check_written(self, answer: ServerAnswer, path: str) -> None:
        """Refuse a mount that would overwrite, or forget by itself."""
        written = answer.read(_WRITTEN).data if answer.body else None
        if written is None or written.version != 1:
            with suppress(VaultError):  # in a mount of version 1 it lies there under this very path
                self.vault.delete(self.mount, "data", self.folder + path)
            raise TargetError(f"{self.titled} does not keep its entries apart by version", hint=_VERSION_2)
        if written.deletion_time:
            self.destroy(path, doing="take back what it would forget")
            raise TargetError(f"{self.titled} deletes entries after a while", hint=_FOREVER)


_VERSION_2 = "No backup was made there. The mount has to be KV version 2, and its paths nobody else's."
_FOREVER = (
    "Nothing was left there. Set 'delete_version_after' of the mount to 0s: backups are kept by policy."
)
_IN_THE_WAY = (
    "Somebody deleted it by hand, and its history is in the way. Remove that with 'kv metadata delete', "
    "then run 'strongroom runs retry'."
)


# -- A few requests in flight, answers in order, memory bounded ---------------------------------


A = TypeVar("A")
B = TypeVar("B")


def in_order(
    threads: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], *, ahead: int
) -> Iterator[B]:
    """Yield ``work(item)`` for each of ``items``, in order, taking ``ahead`` at once at most.

    When it ends, however it ends, nothing is under way any more: what comes after may remove what
    was written.
    """
    running: deque[Future[B]] = deque()
    try:
        for item in items:
            running.append(threads.submit(work, item))
            if len(running) >= ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            if not future.cancel():
                future.exception()
