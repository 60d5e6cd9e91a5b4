"""What can be seen on this host alone: how full its file systems are, and when certificates end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography import x509

from strongroom.operations.facts.records import Dated, Policy, Room
from strongroom.operations.facts.watched import WatchedRoom

LEAST: Final = 64 * 1024 * 1024
"""Bytes without which nothing goes on, whatever is written."""
MOST_BYTES: Final = 1024 * 1024
BUNDLE: Final = 10
"""A file of more certificates is a bundle of public authorities, of which some have always ended."""


def rooms(watched: Iterable[WatchedRoom], policies: Sequence[Policy] = ()) -> tuple[Room, ...]:
    """Return how much room there is, once for each file system; what is not mounted has none to tell of.

    Args:
        policies: the next backup takes about as much as the newest one did.
    """
    found: dict[int, Room] = {}
    for watched_room in watched:
        with suppress(OSError):
            usage, device = shutil.disk_usage(watched_room.path), watched_room.path.stat().st_dev
            read_only = os.statvfs(watched_room.path).f_flag & os.ST_RDONLY or not os.access(
                watched_room.path, os.W_OK
            )
            before = found.get(device)
            found[device] = Room(
                name=before.name if before else watched_room.name,
                free=usage.free,
                total=usage.total,
                least=max(
                    before.least if before else 0,
                    LEAST + watched_room.least,
                    LEAST + _size_on(watched_room.target, policies),
                ),
                writable=not read_only and (before is None or before.writable),
            )
    return tuple(found.values())


def _size_on(target: str, policies: Sequence[Policy]) -> int:
    return max(
        (policy.held[0].size for policy in policies if policy.held and target in policy.targets), default=0
    )


def certificates(paths: Mapping[str, Path]) -> tuple[Dated, ...]:
    """Return when the first certificate of each file ends. A file that cannot be read is another's alarm."""
    return tuple(Dated(name=name, at=end) for name, path in paths.items() for end in _ends(path))


def _ends(path: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):
        with path.open("rb") as file:
            found = x509.load_pem_x509_certificates(file.read(MOST_BYTES))
        if len(found) <= BUNDLE:
            yield min(certificate.not_valid_after_utc.timestamp() for certificate in found)
