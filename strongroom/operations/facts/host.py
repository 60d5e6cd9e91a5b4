"""What can be seen on this host alone: how full its file systems are, and when certificates end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography import x509

from strongroom.operations.facts.records import Dated, Room

MOST_BYTES: Final = 1024 * 1024
BUNDLE: Final = 10
"""A file of more certificates is a bundle of public authorities, of which some have always ended."""


def rooms(paths: Mapping[str, Path]) -> tuple[Room, ...]:
    """Return how much room there is, once for each file system; what is not mounted has none to tell of."""
    found: dict[int, Room] = {}
    for name, path in paths.items():
        with suppress(OSError):
            usage = shutil.disk_usage(path)
            found.setdefault(path.stat().st_dev, Room(name=name, free=usage.free, total=usage.total))
    return tuple(found.values())


def certificates(paths: Mapping[str, Path]) -> tuple[Dated, ...]:
    """Return when the first certificate of each file ends. A file that cannot be read is another's alarm."""
    return tuple(Dated(name=name, at=end) for name, path in paths.items() for end in _ends(path))


def _ends(path: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):
        with path.open("rb") as file:
            found = x509.load_pem_x509_certificates(file.read(MOST_BYTES))
        if len(found) <= BUNDLE:
            yield min(certificate.not_valid_after_utc.timestamp() for certificate in found)
