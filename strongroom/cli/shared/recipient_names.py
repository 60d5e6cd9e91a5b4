"""Who can open a backup, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.container.manifest import ManifestRecipient
    from strongroom.state.records import RecipientPin

    Readers = Sequence[ManifestRecipient] | Sequence[RecipientPin]


def describe_recipients(readers: Readers) -> str:
    """Say who can open: any one of them does."""
    return "; or ".join(reader.describes for reader in readers)


def recipient_fields(readers: Readers) -> Iterator[tuple[str, str]]:
    """Yield who can open, and whether a copy that is taken today withstands a quantum computer."""
    if readers:
        yield "opens for", describe_recipients(readers)
        yield "quantum", _quantum_safety(readers)


def _quantum_safety(readers: Readers) -> str:
    falls = [reader.name or reader.type for reader in readers if not reader.post_quantum]
    if not falls:
        return "withstands a quantum computer"
    return f"would fall to a quantum computer, by {', '.join(falls)}"
