"""The whole server as a source: listing it takes one snapshot, and reading gives that one's parts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
from msgspec import Struct

from strongroom.container import cobblestone
from strongroom.container.errors import FormatError, Malformed, MissingPiece, NotABackup, Tampered, Truncated
from strongroom.errors import ConfigError, SourceError, TargetError
from strongroom.model import ListedSecret, Media, ObjectInfo, Secret, SecretBytes, SecretVersion, prepare
from strongroom.sources import Source
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.raft.snapshot import (
    ABOUT,
    TYPE,
    Chunked,
    SnapshotFacts,
    SnapshotHeader,
    check_archive,
    encode_about,
    parse_about,
    part_name,
    split_name,
)
from strongroom.system.attempts import on_failure
from strongroom.targets import put_whole
from strongroom.times import compact, unique
from strongroom.vault.answers import Denied, VaultError
from strongroom.vault.client import Vault, rights
from strongroom.vault.rights import PathRights, of_snapshot

# -- Parts of a snapshot, sealed, in a place that several processes reach: the stage ------------
#
# Listing takes the snapshot, in one process; capture reads its parts, in others. A snapshot is
# encrypted by the server's barrier, but its keys, the names of secrets, are not; so no part of it
# lies anywhere in the clear.


PART = 1 << 20
"""Bytes of a part: small beside a container, so that containers come out even."""


class SpoolStore(Protocol):
    """What of a target a spool needs."""

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool: ...

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]: ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]: ...

    def delete(self, name: str) -> None: ...

    def abort_incomplete(self, prefix: str) -> int: ...


class Spool:
    """The parts of one source's snapshots.

    Args:
        place: where they lie.
        folder: below which name; one source's own.
        key: 32 bytes; each part is sealed with it, bound to its place (Cobblestone-256).
    """

    def __init__(self, place: SpoolStore, *, folder: str, key: bytes) -> None:
        self._place = place
        self._folder = folder
        self._key = key

    def put(self, snapshot: str, part: int | None, content: bytes) -> None:
        """Keep a part."""
        name = self._name(snapshot, part)
        sealed = cobblestone.seal(self._key, content, context=_context(name))
        put_whole(self._place, name, sealed)

    def get(self, snapshot: str, part: int | None) -> bytes | None:
        """Return a part, or ``None`` if it is not there. Raises Tampered if it is another."""
        name = self._name(snapshot, part)
        try:
            sealed = b"".join(self._place.read(name))
        except MissingPiece:
            return None
        return cobblestone.open_(self._key, sealed, context=_context(name))

    def forget(self, snapshot: str) -> None:
        """Remove all of a snapshot."""
        prefix = f"{self._folder}/{snapshot}/"
        self._place.abort_incomplete(prefix)
        for name in [info.name for info in self._place.list(prefix)]:
            self._place.delete(name)

    def forget_older(self, seconds: float) -> None:
        """Remove the snapshots that were taken longer ago than this, whole or not."""
        before = compact(time.time() - seconds)
        names = (info.name for info in self._place.list(f"{self._folder}/"))
        for snapshot in sorted({name.removeprefix(f"{self._folder}/").partition("/")[0] for name in names}):
            if snapshot < before:
                self.forget(snapshot)

    def _name(self, snapshot: str, part: int | None) -> str:
        return f"{self._folder}/{snapshot}/{ABOUT if part is None else f'{part:05}'}"


class Spooling(Chunked):
    """Reads a stream, and keeps it, part by part."""

    def __init__(self, chunks: Iterator[bytes], spool: Spool, snapshot: str) -> None:
        super().__init__(chunks)
        self._held = bytearray()
        self._spool = spool
        self._snapshot = snapshot
        self.parts = 0

    def finish(self) -> None:
        """Keep the last part. All of the stream has to have been read."""
        if self._held or not self.parts:
            self._put(bytes(self._held))
            self._held.clear()

    def _went_by(self, chunk: memoryview) -> None:
        super()._went_by(chunk)
        self._held += chunk
        while len(self._held) >= PART:
            self._put(bytes(self._held[:PART]))
            del self._held[:PART]

    def _put(self, part: bytes) -> None:
        self._spool.put(self._snapshot, self.parts, part)
        self.parts += 1


def _context(name: str) -> bytes:
    return b"strongroom/v1/raft-spool/" + name.encode()


# -- The whole server as a source: listing it takes one snapshot, and reading gives that one's parts


SNAPSHOT = ("sys/storage/raft/snapshot",)
KEEP_SECONDS = 24 * 3600.0


class _SealStatus(Struct, frozen=True):
    cluster_name: str = ""
    cluster_id: str = ""
    version: str = ""


class _KeyStatus(Struct, frozen=True):
    term: int | None = None


prepare(_SealStatus, _KeyStatus)
_STATUS = msgspec.json.Decoder(_SealStatus)
_KEY_STATUS = msgspec.json.Decoder(_KeyStatus)


class RaftSource(Source):
    """A :class:`~strongroom.sources.Source` of one server's snapshots.

    Every listing takes a snapshot of its own, checks it offline before the first entry is given,
    and keeps it sealed on the stage for the captures that follow, so that a backup is of one
    moment. What reads as a secret is a part of the snapshot: encrypted by the server's barrier.

    Args:
        vault: the server, in its root namespace.
        name: what the configuration calls this source.
        spool: the stage, or another target that all workers reach. It takes the size of a
            snapshot for every listing of the last ``keep_seconds``.
        key: 32 bytes that all workers share; the cluster's work key.
        keep_seconds: how long parts are kept for captures that are late.
    """

    def __init__(
        self, vault: Vault, *, name: str, spool: SpoolStore, key: bytes, keep_seconds: float = KEEP_SECONDS
    ) -> None:
        self._vault = vault
        self.name = name
        self._spool = Spool(spool, folder=f"snapshots/{name}", key=key)
        self._keep = keep_seconds

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Take a snapshot, and yield an entry for each of its parts and one about them."""
        try:
            self._spool.forget_older(self._keep)
            about = self._take(unique(time.time()))
        except VaultError as error:
            raise self._refused(error) from None
        except TargetError as error:
            raise self._no_room(error) from None
        tags: dict[str, str] | None = {} if with_tags else None
        for part in range(about.parts):
            size = min(PART, about.size - part * PART)
            yield ListedSecret(part_name(about.snapshot, part), size, (part, about.parts), tags)
        yield ListedSecret(part_name(about.snapshot, None), len(encode_about(about)), (about.parts,), tags)

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield the parts. One that was listed and is gone is an error: without it all is worthless."""
        for entry in entries:
            yield self._read(entry)

    def not_contained(self) -> tuple[str, ...]:
        """Say what a restored server needs that no snapshot holds."""
        return (
            "the unseal or recovery keys, and the HSM or KMS key of an automatic unseal",
            "the server's configuration file, its TLS certificates and plugins' programs",
            "audit logs, and the secrets that dynamic engines left in other systems",
        )

    def home(self) -> str:
        return self._vault.cluster()

    def rights(self) -> tuple[PathRights, ...]:
        """Compare what the token may do with what taking a snapshot needs."""
        try:
            return rights(self._vault, of_snapshot())
        except VaultError as error:
            raise self._refused(error) from None

    def _read(self, entry: ListedSecret) -> Secret | None:
        found = split_name(entry.name)
        try:
            content = None if found is None else self._spool.get(*found)
        except FormatError as error:
            raise SourceError(
                f"source '{self.name}': a part of the snapshot was changed on the stage: {error.message}",
                hint="No backup was made. Find out who writes there, then start a new run.",
            ) from None
        except TargetError as error:
            raise self._no_room(error) from None
        if found is not None and content is not None:
            media = Media.JSON if (found[1] is None) else Media.BINARY
            return Secret(
                name=entry.name,
                versions=(SecretVersion(number=1, value=SecretBytes(content), media=media),),
                type=TYPE,
            )
        if entry.locator:  # it was listed
            raise SourceError(
                f"source '{self.name}': the snapshot {found[0] if found else '?'} is no longer on the stage",
                hint="No backup was made, and the last good one is untouched. Start a new run.",
            )
        return None

    def _take(self, snapshot: str) -> SnapshotHeader:
        if self._vault.connection.namespace:
            raise ConfigError(
                f"source '{self.name}': a snapshot is of the whole server, not of a namespace",
                hint="Name a server under [vaults] without 'namespace' for this source.",
            )
        with on_failure(lambda: self._forget(snapshot)):
            with self._vault.download(*SNAPSHOT) as chunks:
                spooling = Spooling(chunks, self._spool, snapshot)
                facts = self._checked(spooling)
            spooling.finish()
            about = self._about(snapshot, spooling, facts)
            self._spool.put(snapshot, None, encode_about(about))
        return about

    def _forget(self, snapshot: str) -> None:
        with suppress(TargetError):
            self._spool.forget(snapshot)

    def _checked(self, spooling: Spooling) -> SnapshotFacts:
        try:
            return check_archive(spooling.stream())
        except FormatError as error:
            kind = SourceUnavailable if isinstance(error, Truncated) else SourceError
            raise kind(
                f"source '{self.name}' gave a snapshot that is not whole: {error.message}", hint=_NOT_WHOLE
            ) from None

    def _about(self, snapshot: str, spooling: Spooling, facts: SnapshotFacts) -> SnapshotHeader:
        status = self._vault.system().read_seal_status().read(_STATUS)
        return SnapshotHeader(
            snapshot=snapshot,
            taken_at=snapshot.partition("-")[0],
            parts=spooling.parts,
            size=spooling.size,
            sha256=spooling.sha256,
            index=facts.index,
            term=facts.term,
            entries=facts.state.entries,
            logical=facts.state.logical,
            cluster_name=status.cluster_name,
            cluster_id=status.cluster_id,
            server_version=status.version,
            seal_type=facts.state.seal_type,
            shares=facts.state.shares,
            threshold=facts.state.threshold,
            unseal_generation=facts.state.unseal_generation,
            key_term=self._key_term(),
        )

    def _key_term(self) -> int | None:
        try:
            answer = self._vault.system().get_encryption_key_status()
        except Denied:
            return None
        return answer.read(_KEY_STATUS).term if answer.found else None

    def _refused(self, error: VaultError) -> SourceError:
        kind = SourceUnavailable if error.transient else SourceError
        hint = _RIGHTS if isinstance(error, Denied) else error.hint
        return kind(f"source '{self.name}' gave no snapshot: {error.message}", hint=hint)

    def _no_room(self, error: TargetError) -> SourceError:
        kind = SourceUnavailable if error.transient else SourceError
        return kind(
            f"source '{self.name}' could not keep its snapshot on the stage: {error.message}",
            hint="No backup was made. The stage needs room for the snapshots of one day. " + error.hint,
        )


_RIGHTS = "Compare the token's policies with what 'strongroom cluster rules vault --role control' prints."
_NOT_WHOLE = "No backup was made; the last good one is untouched. The server's log says why it broke off."


# -- A snapshot put together again from the parts that a backup holds, in whatever order they come ---


class WholeSnapshot:
    """A snapshot that was checked from its first byte to its last, and lies sealed in a spool."""

    def __init__(self, about: SnapshotHeader, spool: Spool) -> None:
        self.about = about
        self._spool = spool

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, in order."""
        for part in range(self.about.parts):
            content = self._spool.get(self.about.snapshot, part)
            if content is None:
                raise MissingPiece(
                    f"The backup lacks part {part} of {self.about.parts} of the snapshot.", hint=_OTHER
                )
            yield content


def gather(secrets: Iterable[Secret], spool: Spool) -> WholeSnapshot:
    """Keep the parts of a backup in a spool, and check that they are one whole snapshot.

    Args:
        secrets: what the backup holds; memory is bounded by one of them.

    Raises:
        NotABackup: it holds something else.
        MissingPiece: a part is not there.
        Tampered, Truncated, Malformed: the parts are not the snapshot that was taken.
    """
    about: SnapshotHeader | None = None
    for secret in secrets:
        found = split_name(secret.name)
        if found is None:
            raise NotABackup("The backup holds secrets, and no snapshot of a server.", hint=_SECRETS)
        snapshot, part = found
        value = secret.current.value
        if value is None:
            raise NotABackup("The backup holds the snapshot's names without its content.", hint=_SNAPSHOT)
        content = value.reveal()
        if about is not None and about.snapshot != snapshot:
            raise _mixed()
        if part is None:
            about = parse_about(content)
            if about.snapshot != snapshot:
                raise _mixed()
        spool.put(snapshot, part, content)
    if about is None:
        raise NotABackup("The backup says nothing about a snapshot of a server.", hint=_SNAPSHOT)
    whole_snapshot = WholeSnapshot(about, spool)
    _check(whole_snapshot)
    return whole_snapshot


def _check(snapshot: WholeSnapshot) -> None:
    hashing = Chunked(snapshot.chunks())
    facts = check_archive(hashing.stream())
    about = snapshot.about
    if (hashing.size, hashing.sha256) != (about.size, about.sha256) or (
        facts.index,
        facts.term,
        facts.state.entries,
        facts.state.unseal_generation,
    ) != (
        about.index,
        about.term,
        about.entries,
        about.unseal_generation,
    ):
        raise Tampered("The parts are not the snapshot that the backup says it holds.", hint=_OTHER)


def _mixed() -> Malformed:
    return Malformed("The backup holds parts of more than one snapshot.", hint=_OTHER)


_OTHER = "Nothing was sent, and the server is as it was. Restore from another replica or backup."
_SECRETS = "Restore secrets with 'strongroom restore'."
_SNAPSHOT = "Name a backup of a source of kind 'raft', made with values."
