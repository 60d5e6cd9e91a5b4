"""A snapshot put together again from the parts that a backup holds, in whatever order they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from strongroom.container.errors import Malformed, MissingPiece, NotABackup, Tampered
from strongroom.model import Secret
from strongroom.sources.raft.snapshot import (
    Chunked,
    SnapshotHeader,
    check_archive,
    parse_about,
    split_name,
)
from strongroom.sources.raft.source import Spool


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
