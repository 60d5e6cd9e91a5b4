"""A restore plan in a file: its entries, one a line, and at the end its head, signed.

The head comes last, as a backup's manifest does: a file that was cut off has none. A sealed plan is a
single-file backup whose secrets are such a file in parts.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from strongroom.container import canonical, document
from strongroom.container.certificate import CertifiedSigner, require_in_time
from strongroom.container.document import LENGTH_TAIL, MAX_DOCUMENT, DocumentKind
from strongroom.container.errors import Malformed, NotABackup, Tampered, Truncated
from strongroom.keys import Identity, Recipient
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.restore.plan import PlanEntry, RestorePlan, decode_entry
from strongroom.operations.restore.undo import seal_to_file
from strongroom.sources.history import only
from strongroom.sources.memory import MemoryStore
from strongroom.targets.single_file import BundleReader

PLAN: Final = DocumentKind("restore-plan", "restore plan", ("recover",))
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
