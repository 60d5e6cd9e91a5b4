"""A restore plan, made by a look at both sides, and kept in a signed file."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from msgspec.structs import replace

from strongroom.container import canonical, document
from strongroom.container.document import LENGTH_TAIL, MAX_DOCUMENT, DocumentKind
from strongroom.container.errors import Malformed, NotABackup, Tampered, Truncated
from strongroom.container.manifest import Manifest
from strongroom.container.signing import CertifiedSigner, require_in_time
from strongroom.keys import Identity, Recipient
from strongroom.model import Role
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.archive.shortfall import MissingSecret
from strongroom.operations.restore.batch import Choose
from strongroom.operations.restore.plan import (
    FIRST,
    TELLS,
    EarlierBackup,
    Note,
    PlanEntry,
    RestoreAction,
    RestorePlan,
    decode_entry,
    encode_entry,
    manifest_digest,
)
from strongroom.operations.restore.record import spelled
from strongroom.operations.restore.restorable import Restorable
from strongroom.operations.restore.restore import plan_restore
from strongroom.operations.restore.undo import seal_to_file
from strongroom.sources import Destination
from strongroom.sources.batches import only
from strongroom.sources.memory import MemoryStore
from strongroom.targets.single_file import BundleReader

# -- A restore plan in a file: its entries, one a line, and at the end its head, signed ---------
#
# The head comes last, as a backup's manifest does: a file that was cut off has none. A sealed plan is a
# single-file backup whose secrets are such a file in parts.


PLAN: Final = DocumentKind("restore-plan", "restore plan", (Role.RECOVER,))
POLICY: Final = "(plan)"
"""What stands in the place of a policy's name in a sealed plan."""
PART: Final = 1 << 20
_BLOCK: Final = 1 << 20
_ENTRY: Final = b'{"name":'


def sign_head(head: RestorePlan, signer: CertifiedSigner) -> bytes:
    """Return what ends a plan's file."""
    return document.write(PLAN, canonical.encode(head), signer)


class PlanFile:
    """A plan that was read and found whole: signed by a trusted installation, its entries unaltered.

    Args:
        file: stays open; entries are read from it as they are asked for.
        trusted: the installations whose plans count.

    Raises:
        NotABackup, Truncated, Tampered, UnsupportedVersion, UntrustedSigner: as documents do.
    """

    def __init__(self, file: BinaryIO, *, trusted: frozenset[str]) -> None:
        self._file = file
        try:
            self._end, data = _split(file)
            parsed = document.parse(PLAN, data, trusted=trusted)
            self.head = canonical.decode(parsed.body, RestorePlan, "The restore plan")
            require_in_time(parsed.certificate, self.head.made_at, trusted)
            if self._digest() != self.head.entries:
                raise Tampered("The entries of the restore plan were altered.")
        except (NotABackup, Truncated, Tampered, Malformed) as error:
            raise type(error)(error.message, hint=_ANOTHER) from None

    def entries(self) -> Iterator[PlanEntry]:
        """Yield the entries in their order; several may go through them at once. Raises Malformed."""
        at = 0
        while at < self._end:
            self._file.seek(at)
            line = self._file.readline()
            at += len(line)
            yield decode_entry(line)

    def _digest(self) -> str:
        digest, left = hashlib.sha256(), self._end
        self._file.seek(0)
        while left and (block := self._file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
        return digest.hexdigest()


def _split(file: BinaryIO) -> tuple[int, bytes]:
    """Return where the head begins, and the head."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - LENGTH_TAIL))
    length = document.length_at_end(file.read())
    if length is None or not LENGTH_TAIL <= length <= min(size, MAX_DOCUMENT):
        file.seek(0)
        if file.read(len(_ENTRY)) == _ENTRY:
            raise Truncated("The restore plan ends too early, or its end was altered.")
        raise NotABackup("This is no restore plan.")
    file.seek(size - length)
    return size - length, file.read()


def seal_plan(
    path: Path,
    content: bytes,
    *,
    recipients: Sequence[Recipient],
    signer: CertifiedSigner,
    replace: bool = False,
) -> None:
    """Seal what would be a plan's file. All of it is held in memory, so that no name touches the disk."""
    parts = [content[start : start + PART] for start in range(0, len(content), PART)]
    source = MemoryStore([only(_part(number), part) for number, part in enumerate(parts)], name="plan")
    names = [entry.name for entry in source.list()]
    seal_to_file(path, source, names, recipients=recipients, signer=signer, policy=POLICY, replace=replace)


def open_sealed(path: Path, *, identities: Sequence[Identity], trusted: frozenset[str]) -> BinaryIO:
    """Return what is sealed in a plan's file, in memory.

    Raises:
        NotABackup: it is a backup, and no plan.
    """
    with BundleReader(path) as bundle:
        backup = open_backup(bundle, identities=identities, trusted=trusted)
        if backup.manifest.policy != POLICY:
            raise NotABackup(f"'{path}' is a backup, and no restore plan.")
        return io.BytesIO(b"".join(_parts(backup)))


def _parts(backup: Backup) -> Iterator[bytes]:
    for secret in sorted(backup.secrets(), key=lambda changed_secret: changed_secret.name):
        assert secret.current.value is not None
        yield secret.current.value.reveal()


def _part(number: int) -> str:
    return f"part-{number:08}"


_ANOTHER = (
    "Nothing was changed, and no backup is affected. Ask who wrote to the file, and make another plan with "
    "'strongroom restore --plan-out FILE'."
)


# -- make_plan: look at a backup and a destination, and write down what a restore will do. Reads only


STANDS_IN = "its part of the backup is damaged"
"""Why a plan takes a secret from an earlier backup that the planned one would give were it whole."""


def _missing(missing_secret: MissingSecret, asked: RestorePlan) -> PlanEntry:
    return PlanEntry(
        name=spelled(missing_secret.name),
        to=spelled(asked.relocation.there(missing_secret.name)),
        action=RestoreAction.MISSING,
        version=missing_secret.version,
        written_at=missing_secret.written_at or missing_secret.created_at,
        backup=missing_secret.backup,
    )


def _lost(name: str, asked: RestorePlan) -> PlanEntry:
    return PlanEntry(name=spelled(name), to=spelled(asked.relocation.there(name)), action=RestoreAction.LOST)


def make_plan(
    asked: RestorePlan,
    choose: Choose,
    destination: Destination,
    *,
    note: Note,
    first: Sequence[str] = FIRST,
    origin: Restorable | None = None,
    missing: Iterable[MissingSecret] = (),
) -> RestorePlan:
    """Give ``note`` each entry in the order in which it will be done, and return the plan's head.

    Args:
        asked: the head as far as it is known before: its ``totals`` and ``entries`` are filled in.
        choose: gives what is asked for, under the backup's own names.
        first: tags of the secrets that come before the others.
        origin: what ``choose`` reads. It tells what came from earlier backups instead, and what is lost.
        missing: what it lacks and is not taken from another one.
    """
    origin = origin or Restorable(asked.backup, (), None)
    entries = hashlib.sha256()

    def keep(entry: PlanEntry) -> None:
        if entry.action not in TELLS:
            why = entry.why or (STANDS_IN if origin.stands_in(entry.name) else "")
            entry = replace(entry, backup=origin.backup_of(entry.name), why=why)
        entries.update(encode_entry(entry))
        note(entry)

    totals = plan_restore(
        choose,
        destination,
        overwrite=asked.overwrite,
        relocation=asked.relocation,
        first=first,
        note=keep,
        newest_only=asked.secret_version is not None,
    )
    for missing_secret in missing:
        if asked.relocation.covers(missing_secret.name):
            keep(_missing(missing_secret, asked))
    lost = origin.lost
    for name in lost.names if lost is not None else ():
        if asked.relocation.covers(name):
            keep(_lost(name, asked))
    return replace(
        asked,
        totals=totals,
        entries=entries.hexdigest(),
        earlier=tuple(map(_earlier, origin.taken_from())),
        lost=lost,
    )


def _earlier(manifest: Manifest) -> EarlierBackup:
    return EarlierBackup(
        backup=manifest.backup_id, manifest=manifest_digest(manifest), created_at=manifest.created_at
    )
