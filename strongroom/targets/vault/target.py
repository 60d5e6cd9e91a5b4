"""The target itself: chunks first, the head last, with check-and-set; destroyed the other way round."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import Struct, structs

from strongroom.container.errors import MissingPiece
from strongroom.errors import TargetError
from strongroom.model import ObjectInfo, prepare
from strongroom.system.attempts import on_failure
from strongroom.targets import (
    ProbeCheck,
    ProbeResult,
    Target,
    TargetIdentity,
    check_name,
    check_prefix,
    is_name,
)
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.probing import must_be_refused
from strongroom.targets.reading import checked
from strongroom.targets.vault.chunks import (
    CHUNKS,
    MOST_CHUNKS,
    OBJECTS,
    SMALL_AHEAD,
    ChunkedHead,
    Chunks,
    Entries,
    ForeignEntry,
    Occupied,
    Transit,
    chunk_count,
    in_base64,
    in_order,
    new_attempt,
    parse_head,
    split_folder,
)
from strongroom.vault import answers
from strongroom.vault.answers import Denied
from strongroom.vault.client import Vault, rights
from strongroom.vault.rights import USES, of_target

# -- What a Vault mount has to refuse, what a token has too much of, and how the mount is set up ---
#
# The server tells what a token may do; nothing is tried out for that. Who may write, and who
# may delete, depends on the process: that is tried by whoever probes.


class _Config(Struct):
    cas_required: bool = False
    delete_version_after: str = "0s"


class _MountConfigAnswer(Struct):
    data: _Config


prepare(_MountConfigAnswer)
_CONFIG = msgspec.json.Decoder(_MountConfigAnswer)


def overwriting(entries: Entries, path: str) -> ProbeCheck:
    """Write over an entry as somebody would who does not ask what is there."""
    return must_be_refused(
        "write over an object",
        lambda: entries.overwrite(path, doing="probe"),
        Occupied,
        otherwise=_OVERWRITTEN,
    )


def excess(entries: Entries, *, transit: str | None) -> Iterator[ProbeCheck]:
    """Compare what the token may do with what any process of a target needs."""
    what = "rights of the token"
    with entries.explained("ask what the token may do", writing=False):
        needs = of_target(answers.folder(entries.mount), answers.folder(entries.folder), transit or "", USES)
        found = [right for right in rights(entries.vault, needs) if right.excess]
    for right in found:
        yield ProbeCheck(
            what=f"{what}: {right.path}", outcome=ProbeResult.EXCESS, detail=", ".join(right.excess)
        )
    if not found:
        yield ProbeCheck(what=what)


def settings(entries: Entries) -> Iterator[ProbeCheck]:
    """Look at the mount's own settings, if the token may."""
    what = "the mount keeps what it holds"
    try:
        answer = entries.vault.get(entries.mount, "config")
    except Denied:
        yield ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=_CONFIG_UNSEEN)
        return
    config = answer.read(_CONFIG).data if answer.found else _Config()
    forgets = config.delete_version_after not in ("", "0s")
    yield ProbeCheck(
        what=what, outcome=ProbeResult.EXCESS if forgets else ProbeResult.FINE, detail=_FORGETS * forgets
    )
    if not config.cas_required:
        yield ProbeCheck(what="the mount demands check-and-set", outcome=ProbeResult.ADVICE, detail=_CAS)


_OVERWRITTEN = "the token's policy has 'update' on data: anyone who steals it can overwrite backups"
_CONFIG_UNSEEN = "the token may not read the mount's config; a put finds out if it deletes by itself"
_FORGETS = "delete_version_after is set: backups would be deleted automatically"
_CAS = "with cas_required=true no other client can write over anything by mistake"


# -- The target itself: chunks first, the head last, with check-and-set; destroyed the other way round


CHUNK_BYTES = 256 * 1024


class VaultTarget(Target):
    """A :class:`~strongroom.targets.Target` in a KV version 2 mount.

    Args:
        vault: the server, and as whom.
        mount: the mount, its own and nobody else's; a source must leave it out.
        name: what the configuration calls this target.
        region: where the server lies.
        provider: who runs it.
        prefix: stands before every path, so that one mount serves several.
        chunk_bytes: how much of an object goes into one entry, before it becomes text, which
            takes a third more. Raft takes entries of 1 MiB, Consul of 512 KiB.
        transit: a transit key of the same server, ``MOUNT/NAME``, that chunks are encrypted with
            besides: a second lock on what is sealed already, and none against the operator of the server.
    """

    def __init__(
        self,
        vault: Vault,
        *,
        mount: str,
        name: str,
        region: str,
        provider: str = "vault",
        prefix: str = "",
        chunk_bytes: int = CHUNK_BYTES,
        transit: str | None = None,
    ) -> None:
        self._vault = vault
        connection = vault.connection
        place = answers.folder(connection.namespace) + answers.folder(mount) + answers.folder(prefix)
        address = f"vault:{connection.address.rstrip('/')}/{place.rstrip('/')}"
        super().__init__(TargetIdentity(name=name, region=region, provider=provider, address=address))
        self._chunk_bytes = chunk_bytes
        self._entries = Entries(vault, mount=mount, folder=prefix, titled=str(self.place))
        self._transit = Transit(transit, self._entries) if transit else None
        self._chunks = Chunks(self._entries, transit=self._transit)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        """Store an object once; see :meth:`strongroom.targets.Target.put`.

        One whose chunks are gone is no object: it is removed and put anew.
        """
        check_name(name)
        if chunk_count(size, self._chunk_bytes) > MOST_CHUNKS:
            raise TargetError(
                f"{self.place}: {size:,} bytes are over {MOST_CHUNKS:,} chunks of {self._chunk_bytes:,}",
                hint="Nothing was written. Raise 'chunk_bytes' of this target.",
            )
        if (head := self._head(name)) is not None:
            if self._chunks.are_there(name, head):
                return False
            self._remove(name, head)
        attempt = new_attempt()
        with on_failure(lambda: self._discard(name, attempt)):
            digests = self._chunks.write(
                name, attempt, checked(name, chunks, size=size, sha256=sha256, block=self._chunk_bytes)
            )
        return self._publish(
            name,
            ChunkedHead(
                size=str(size),
                sha256=sha256.hex(),
                chunk_bytes=str(self._chunk_bytes),
                attempt=attempt,
                digests=in_base64(digests),
                transit=self._transit.key if self._transit else "",
            ),
        )

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``; chunks without a head are nothing yet."""
        head = self._head(check_name(name))
        return None if head is None else ObjectInfo(name=name, size=head.total)

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield objects ascending by name; entries of other names are passed over."""
        names = self._entries.walk(OBJECTS, prefix, doing=f"list {prefix or 'everything'}")
        objects = in_order(
            self._entries.vault.threads,
            self.stat,
            (name for name in names if is_name(name)),
            ahead=SMALL_AHEAD,
        )
        return (info for info in objects if info is not None)

    def delete(self, name: str) -> None:
        """Destroy an object, its head first; a missing one is fine."""
        check_name(name)
        try:
            head = self._head(name)
        except ForeignEntry:  # whatever it is, it goes
            head = None
        self._remove(name, head)

    def abort_incomplete(self, prefix: str) -> int:
        """Destroy chunks that no head names; return of how many puts.

        A put that is under way loses its chunks too, finds that out, and can be tried again.
        """
        check_prefix(prefix)
        return sum(self._abandon(name, attempt) for name, attempt in self._attempts(prefix))

    def home(self) -> str:
        return self._vault.cluster()

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        yield overwriting(self._entries, OBJECTS + check_name(name))

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        check_name(name)
        return excess(self._entries, transit=self._transit.key if self._transit else None)

    def settings(self) -> Iterator[ProbeCheck]:
        return settings(self._entries)

    # -- writing -------------------------------------------------------------

    def _publish(self, name: str, head: ChunkedHead) -> bool:
        """Make an object visible, unless another attempt did.

        If the server is gone by now the chunks stay: the head may have been written all the same.
        """
        try:
            created = self._entries.create(OBJECTS + name, structs.asdict(head), doing=f"write {name}")
        except TargetUnavailable:
            raise
        except TargetError:
            self._discard(name, head.attempt)
            raise
        if not created:
            self._discard(name, head.attempt)
        elif not self._chunks.are_there(name, head):
            # A sweep that began before the head was there took the chunks. Whichever of the two
            # comes second sees the other's work, so no broken object stays.
            self._remove(name, head)
            raise TargetUnavailable(f"{self.place}: a sweep took {name} for abandoned while it was written")
        return created

    def _remove(self, name: str, head: ChunkedHead | None) -> None:
        self._entries.destroy(OBJECTS + name, doing=f"delete {name}")
        if head is not None:
            self._chunks.destroy(name, head.attempt)

    def _discard(self, name: str, attempt: str) -> None:
        """Take back what a put wrote that came to nothing; what cannot be reached, a sweep will."""
        with contextlib.suppress(TargetError):
            self._chunks.destroy(name, attempt)

    # -- sweeping ------------------------------------------------------------

    def _attempts(self, prefix: str) -> Sequence[tuple[str, str]]:
        doing = f"sweep {prefix or 'everything'}"
        found = map(split_folder, self._entries.walk(CHUNKS, prefix, doing=doing))
        ours = {(name, attempt) for name, attempt, _ in found if is_name(name) and name.startswith(prefix)}
        return sorted(ours)

    def _abandon(self, name: str, attempt: str) -> bool:
        if self._names(name, attempt):
            return False
        self._chunks.destroy(name, attempt)
        if self._names(name, attempt):  # its writer came in between: see _publish
            self._entries.destroy(OBJECTS + name, doing=f"sweep {name}")
        return True

    def _names(self, name: str, attempt: str) -> bool:
        head = self._head(name)
        return head is not None and head.attempt == attempt

    # -- reading -------------------------------------------------------------

    def _head(self, name: str) -> ChunkedHead | None:
        fields = self._entries.get(OBJECTS + name, doing=f"look at {name}")
        return None if fields is None else parse_head(fields, name)

    def _read(self, name: str, offset: int, length: int | None) -> Iterator[bytes]:
        """Stream a range, reading only the chunks that it touches; each one's SHA-256 is compared."""
        head = self._head(name)
        if head is None:
            raise MissingPiece(f"{self.place} does not hold {name}")
        end = head.total if length is None else min(head.total, offset + length)
        if offset >= end:
            return
        first, last = head.chunk_of(offset), head.chunk_of(end - 1)
        skipped = first * int(head.chunk_bytes)
        numbers = range(first, last + 1)
        for number, piece in zip(numbers, self._chunks.read(name, head, numbers), strict=True):
            start = max(0, offset - skipped) if number == first else 0
            stop = end - number * int(head.chunk_bytes) if number == last else None
            if found := piece[start:stop]:
                yield found
