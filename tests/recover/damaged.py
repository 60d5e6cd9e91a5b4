"""Three backups of one source, one after another, and what may happen to the newest of them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from unittest.mock import patch

from msgspec.structs import replace

from strongroom.container import writer
from strongroom.container.cobblestone import name_hash
from strongroom.container.manifest import ManifestSelection, sign_manifest
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container
from strongroom.container.signing import sign_receipt
from strongroom.container.wrapping import WrappingKey, write_detached
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.engine.layout import container_entry, container_name, sealed_receipt
from tests.vectors import good
from tests.vectors import material as m
from tests.vectors.targets import with_entries

OLDEST, OLDER, NEWEST = (f"2026112{day}T024501Z-0000000{day}" for day in (3, 4, 6))
NAMES = [f"app/{number:02}" for number in range(18)]
HELD = {
    OLDEST: [*NAMES, *(f"gone/first/{n}" for n in range(4))],
    OLDER: [*NAMES, *(f"gone/second/{n}" for n in range(4))],
    NEWEST: [*NAMES, *(f"new/{n}" for n in range(4))],
}
"""What each of them has: between any two, some secrets were deleted and, at the end, some are new."""
Objects = dict[str, bytes]


def value(name: str, backup: str) -> str:
    return f"CANARY-{name}-{backup}"


def key_file() -> KeyFileIdentity:
    return KeyFileIdentity(m.KEY_FILE)


@dataclass(frozen=True)
class Piece:
    """A container: its object's name, and where its parts lie."""

    name: str
    data: bytes

    @property
    def places(self) -> dict[str, int]:
        """A byte of each part; of each segment its number and ``values`` or ``rows``."""
        d, i, e = struct.unpack(">III", self.data[-28:-16])
        start = len(self.data) - 124 - d - i - e
        at, found = 80, {"header": 20}
        for number, (values, rows, *_) in enumerate(
            struct.iter_unpack(">II32s32s", self.data[start : start + d])
        ):
            found |= {f"{number} values": at + values // 2, f"{number} rows": at + values + rows // 2}
            at += values + rows
        found |= {"directory": start + 5, "index": start + d + 5, "envelope": start + d + i + 5}
        return found | {"signature": len(self.data) - 60, "length": len(self.data) - 10}

    @property
    def wrapping_key(self) -> str:
        """The id of the wrapping key that it is sealed under."""
        envelope = int.from_bytes(self.data[-20:-16], "big")
        found: str = json.loads(self.data[-124 - envelope : -124])["wrapping_key"]["id"]
        return found

    @property
    def opened(self) -> Container:
        """It as the product reads it; only of what was not rotated."""
        return Container.open(BytesReader(self.data), [key_file()], trusted=None)


@dataclass(frozen=True)
class Damaged:
    """The backups, by now maybe damaged, and how the newest was."""

    objects: Objects
    pieces: Mapping[str, list[Piece]]
    rotated: bool

    def flip(self, piece: Piece, place: str) -> None:
        content = bytearray(self.objects[piece.name])
        content[piece.places[place]] ^= 1
        self.objects[piece.name] = bytes(content)


def make(*, rotated: bool = False) -> Damaged:
    """Make them anew, the same each time.

    Args:
        rotated: each container has a wrapping key of its own, and was rotated to the key file since.
    """
    objects: Objects = {}
    pieces = {
        backup: _backup(backup, cut, objects, rotated=rotated)
        for backup, cut in ((OLDEST, 9), (OLDER, 13), (NEWEST, 11))
    }
    return Damaged(objects, pieces, rotated)


def _backup(backup: str, cut: int, objects: Objects, *, rotated: bool) -> list[Piece]:
    random, name_key = m.stream(f"damaged/{backup}"), m.fixed(f"name key of {backup}")
    first = [m.hpke(m.X25519, "before")] if rotated else [m.key_file(random)]
    held = [m.secret(name, value(name, backup).encode()) for name in HELD[backup]]
    held.sort(key=lambda secret: name_hash(name_key, secret.name))
    entries, found = [], []
    for number, part in enumerate((held[:cut], held[cut:])):
        key = WrappingKey.create(first, _random=random)
        about = replace(m.about(piece=number, pieces=2), backup_id=backup, name_key=name_key)
        with patch.object(writer, "SEGMENT_SECRETS", 3), patch.object(writer, "BATCH", 3):
            data, sealed = m.piece(random, part, about, key)
        receipt = sealed_receipt(about, sealed)
        found.append(Piece(container_name(backup, sealed.hexdigest), data))
        objects[found[-1].name] = data
        entries.append(container_entry(receipt, sign_receipt(receipt, m.SEAL), m.SEAL.public))
        if rotated:
            newer = key.rewrap([m.key_file(random)])
            objects[f"keys/{key.id}/{newer.record.generation:08}"] = write_detached(newer.record, m.RECOVER)
    manifest = replace(
        with_entries(good.manifest_record(), *entries),
        backup_id=backup, created_at=f"2026-11-{backup[6:8]}T02:45:01Z", previous=None,
        selection=ManifestSelection(), not_contained=(),
    )  # fmt: skip
    objects[f"manifests/{backup}.json"] = sign_manifest(manifest, m.CONTROL)
    return found
