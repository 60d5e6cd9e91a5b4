"""What a file is, by its first bytes; and whether it was cut or altered."""

from __future__ import annotations

from enum import StrEnum

from strongroom.container import bundle, layout, legacy, metadata
from strongroom.container.manifest import MANIFEST
from strongroom.container.wrapping import DETACHED

HEAD = 64
"""How many bytes :func:`sniff` needs."""


class FileKind(StrEnum):
    """What a file claims to be."""

    BUNDLE = "backup file"
    CONTAINER = "container"
    MANIFEST = "manifest"
    ENVELOPE = "detached envelope"
    METADATA = "metadata document"
    LEGACY = "old Fernet file"
    UNKNOWN = "unknown"


_OPENINGS = (
    (bundle.MAGIC, FileKind.BUNDLE),
    (layout.MAGIC, FileKind.CONTAINER),
    (MANIFEST.family, FileKind.MANIFEST),
    (DETACHED.family, FileKind.ENVELOPE),
    (metadata.METADATA.family, FileKind.METADATA),
)


def sniff(head: bytes) -> FileKind:
    """Return what the first bytes say; it is for the parsers to believe it or not.

    A file that is cut within its first bytes is one of ours, too: the parser finds it truncated.
    """
    for opening, kind in _OPENINGS:
        if head.startswith(opening) or opening.startswith(head):
            return kind
    return FileKind.LEGACY if legacy.is_legacy(head) else FileKind.UNKNOWN
