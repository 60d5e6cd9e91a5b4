"""Putting a snapshot of a whole server back: gathered and checked here, then sent, then awaited.

Everything in the server is replaced. So nothing is sent before the snapshot was found whole, a
person has named the server and the moment, and what is there now is kept.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from strongroom.container.errors import VerificationFailed
from strongroom.errors import SourceError
from strongroom.model import Secret, prepare
from strongroom.operations.errors import ConfirmationRequired
from strongroom.operations.restore.restore import Undo
from strongroom.sources import Source
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.raft import RaftSource
from strongroom.sources.raft.snapshot import SnapshotHeader
from strongroom.sources.raft.source import Spool, WholeSnapshot, gather
from strongroom.system.errors import WouldOverwrite
from strongroom.system.lazy import batched
from strongroom.targets.directory import DirectoryTarget
from strongroom.vault.answers import (
    Ambiguous,
    Denied,
    LoginRefused,
    Unavailable,
    VaultError,
    VaultRefused,
    VaultSealed,
)
from strongroom.vault.client import Vault

TAKES_SECONDS = 1800.0
POLL_SECONDS = 0.25
UNDO_BATCH = 24
"""Parts in one file of the way back, which is sealed in memory."""


class Server(Struct, frozen=True):
    """A server before its restore."""

    cluster_name: str = ""
    cluster_id: str = ""
    sealed: bool = True


class SnapshotRestoreResult(Struct, frozen=True, kw_only=True):
    """What came of it.

    ``sealed``: the server holds the snapshot, and somebody has to unseal it with the keys of
    the snapshot's time. ``matches``: it was read back that its cluster is the snapshot's.
    """

    sealed: bool
    matches: bool


prepare(Server)
_SERVER = msgspec.json.Decoder(Server)


@contextmanager
def assembled(secrets: Iterable[Secret], folder: Path) -> Iterator[WholeSnapshot]:
    """Gather a snapshot in a new directory below ``folder`` and check it; remove it in the end.

    It lies there sealed under a key of this process's memory alone, and takes as much room as
    it is large.

    Raises:
        NotABackup, MissingPiece, Tampered, Truncated, Malformed: it is none, or not whole.
    """
    with _room(folder) as place:
        yield gather(secrets, Spool(place, folder="restore", key=os.urandom(32)))


def look(vault: Vault) -> Server:
    """Ask which server that is. Raises SourceError if it is sealed: such a one takes no snapshot."""
    try:
        server: Server = vault.system().read_seal_status().read(_SERVER)
    except VaultSealed:  # so it answers no login either
        server = Server()
    except VaultError as error:
        raise _typed(error, "say which cluster it is") from None
    if server.sealed:
        raise SourceError("The server is sealed, or not initialised.", hint=_INITIALISE)
    return server


def confirmation(server: Server, about: SnapshotHeader) -> str:
    """Return what a person has to type: the cluster that is overwritten, and with which moment."""
    return f"{server.cluster_name}@{about.index}"


def keep(vault: Vault, folder: Path, undo_of: Callable[[Source], Undo]) -> None:
    """Take a snapshot of the server as it is, and have all of it kept, some parts at a time."""
    with _room(folder) as place:
        source = RaftSource(vault, name="undo", spool=place, key=os.urandom(32))
        undo = undo_of(source)
        names = (entry.name for entry in source.list())
        for batch in batched(names, UNDO_BATCH):
            undo(batch)


def restore_snapshot(
    whole: WholeSnapshot,
    vault: Vault,
    *,
    confirmed: str,
    foreign: bool = False,
    undo: Callable[[], None] | None = None,
    forget: Callable[[], None] | None = None,
    takes_seconds: float = TAKES_SECONDS,
) -> SnapshotRestoreResult:
    """Replace everything in a server by a snapshot, and wait until it has.

    Args:
        whole: from :func:`assembled`, so it was checked.
        confirmed: what a person typed; has to be :func:`confirmation`.
        foreign: the snapshot is another cluster's, or of other unseal keys.
        undo: keeps what is there; called before anything is sent.
        forget: removes what ``undo`` kept; called if the server did not take the snapshot.
        takes_seconds: how long the server may take.

    Raises:
        ConfirmationRequired: something else was typed.
        WouldOverwrite: the snapshot is another cluster's, and ``foreign`` was not said.
        SourceError: the server refused, and is as it was; or SourceUnavailable: it is not known.
        VerificationFailed: the server holds something else afterwards.
    """
    about, server = whole.about, look(vault)
    _refuse_unconfirmed(confirmed, confirmation(server, about))
    _refuse_other(server, about, foreign=foreign)
    if undo is not None:
        undo()
    try:
        marker = _mark(vault)
        _send(whole, vault, foreign=foreign)
    except SourceError as error:
        if forget is not None and not error.transient:
            forget()
        raise
    return _awaited(vault, marker, about, time.monotonic() + takes_seconds)


def _refuse_unconfirmed(confirmed: str, wanted: str) -> None:
    if confirmed != wanted:
        raise ConfirmationRequired(
            f"Everything in the server would be replaced, and what was typed is not {wanted!r}.",
            hint="Nothing was changed. Cluster and index have to be typed: no option goes without that.",
        )


def _refuse_other(server: Server, about: SnapshotHeader, *, foreign: bool) -> None:
    if server.cluster_id != about.cluster_id and not foreign:
        raise WouldOverwrite(
            f"The snapshot is of cluster '{about.cluster_name}', and the server is '{server.cluster_name}'.",
            hint=f"Nothing was changed. If that is meant, say --foreign-keys. The server is sealed then "
            f"and needs {about.keys_in_words()}.",
        )


def _mark(vault: Vault) -> str:
    """Leave a mark that no earlier snapshot holds: once it is gone, the snapshot is in place.

    The server answers before it has begun, and says nowhere that it is done. While it is at it,
    it lets no request through, so what is answered after the mark is gone comes from the new state.
    """
    marker = f"strongroom-restore-{os.urandom(8).hex()}"
    with _explained("take a mark"):
        vault.post("cubbyhole", marker, body={"before": "restore"}, repeatable=True)
    return marker


def _send(whole: WholeSnapshot, vault: Vault, *, foreign: bool) -> None:
    path = "sys/storage/raft/snapshot-force" if foreign else "sys/storage/raft/snapshot"
    try:
        vault.upload(path, content=whole.chunks, size=whole.about.size)
    except Ambiguous:
        return  # it may have it: the mark tells
    except VaultRefused as error:
        hint = _LOG if foreign else _OTHER_KEYS
        raise SourceError(f"The server did not take the snapshot: {error.message}.", hint=hint) from None
    except VaultError as error:
        raise _typed(error, "take the snapshot") from None


def _awaited(vault: Vault, marker: str, about: SnapshotHeader, deadline: float) -> SnapshotRestoreResult:
    while True:
        try:
            if not vault.get("cubbyhole", marker).found:
                return _unsealed(vault, about)
        except VaultSealed:
            return SnapshotRestoreResult(sealed=True, matches=False)
        except (Denied, LoginRefused):  # the token is younger than the snapshot
            return _unsealed(vault, about)
        except Unavailable:
            pass
        if time.monotonic() > deadline:
            raise SourceUnavailable(
                "The server took the snapshot and does not say that it is done.", hint=_LOG
            )
        time.sleep(POLL_SECONDS)


def _unsealed(vault: Vault, about: SnapshotHeader) -> SnapshotRestoreResult:
    with _explained("say which cluster it is now"):
        server = vault.system().read_seal_status().read(_SERVER)
    if not server.sealed and server.cluster_id != about.cluster_id:
        raise VerificationFailed(
            f"The server says that it is cluster '{server.cluster_name}' and not the snapshot's.", hint=_LOG
        )
    return SnapshotRestoreResult(sealed=server.sealed, matches=not server.sealed)


@contextmanager
def _room(folder: Path) -> Iterator[DirectoryTarget]:
    """Give a directory of our own, and remove it in the end."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="snapshot-", dir=folder))
    place = DirectoryTarget(path, name="snapshot", region="local")
    try:
        place.prepare()
        yield place
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    try:
        yield
    except VaultError as error:
        raise _typed(error, doing) from None


def _typed(error: VaultError, doing: str) -> SourceError:
    kind = SourceUnavailable if error.transient else SourceError
    hint = _RIGHTS if isinstance(error, Denied) else error.hint or _UNTOUCHED
    return kind(f"The server did not {doing}: {error.message}.", hint=hint)


_UNTOUCHED = "Nothing was sent, and the server is as it was."
_RIGHTS = (
    "The server is as it was. The token needs what 'strongroom cluster rules vault --role restore-snapshot' "
    "prints, and the policy 'default'."
)
_LOG = "Look into the server's log. What was there before is in the undo files."
_OTHER_KEYS = (
    "The server is as it was. If the snapshot is from before its keys were made again, say --foreign-keys: "
    "the server is sealed then, and needs the unseal keys of that time."
)
_INITIALISE = (
    "Nothing was sent. A new server is initialised and unsealed first, with keys that count only until the "
    "snapshot is in place."
)
