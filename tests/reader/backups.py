"""Random backups by the product's own writer, for three readers to agree on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, derive_private_key
from msgspec.structs import replace

from strongroom import freeform
from strongroom.container import document, writer
from strongroom.container.about import ContainerHeader
from strongroom.container.cobblestone import name_hash
from strongroom.container.manifest import MANIFEST, ContainerEntry, sign_manifest
from strongroom.container.metadata import DocumentAbout, write_document
from strongroom.container.segment import bare
from strongroom.container.signing import CertifiedSigner, Receipt, sign_receipt
from strongroom.container.wrapping import Identity, Recipient, WrappingKey, write_detached
from strongroom.keys.allof import AllOfRecipient
from strongroom.keys.hpke import HpkeIdentity
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.operations.engine.layout import container_entry, container_name, sealed_receipt
from tests.keys.software import EcIdentity
from tests.vectors import good
from tests.vectors import material as m
from tests.vectors.spelling import metadata_text
from tests.vectors.targets import STRANGERS_CONTROL, STRANGERS_RECOVER, with_entries

KEYS: dict[str, Identity] = {
    "keyfile": KeyFileIdentity(m.KEY_FILE),
    "other": KeyFileIdentity(m.fixed("another key file")),
    "x25519": m.X25519,
    "xwing": m.XWING,
    "p256": EcIdentity(derive_private_key(int.from_bytes(m.fixed("p256")) >> 1, SECP256R1()), version=3),
    "p384": EcIdentity(
        derive_private_key(int.from_bytes(m.fixed("p384", 48)) >> 1, SECP384R1()), version=65_535
    ),
}
LETTERS = "abyz/._- 'éß鍵😀\u0301\u202e\x00\x1f\n\x7f\"\\"


@dataclass(frozen=True)
class Made:
    """A backup: its objects, its secrets as they must come out, and the key that must open it now."""

    objects: dict[str, bytes]
    secrets: list[Secret]
    key: str
    sealed: bool
    odd: str
    """Which object was changed, if any was."""


class Maker:
    """Makes a backup of whatever a seed says."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        self.key = self.r.choice(list(KEYS))

    def make(self) -> Made:
        r = self.r
        sealed = r.random() < 0.92
        values = sealed and r.random() < 0.9
        secrets = list(
            {s.name: s for s in (self.secret() for _ in range(r.choice((0, 1, 2, 3, 5, 9))))}.values()
        )
        self.whose = {"source": self.text(), "policy": self.text()}
        name_key = r.randbytes(32)
        ordered = sorted(secrets, key=lambda s: name_hash(name_key, s.name))
        pieces = self.cut(ordered)
        objects: dict[str, bytes] = {}
        if sealed:
            entries = self.seal(pieces, objects, values=values, name_key=name_key)
            kept = pieces if values else [[bare(s) for s in piece] for piece in pieces]
        else:
            entries = self.document(pieces, objects)
            kept = pieces
        manifest = with_entries(good.manifest_record(), *entries)
        manifest = replace(manifest, sealed=sealed, values=values, not_contained=(), **self.whose)
        signer = r.choice((m.CONTROL, m.RECOVER))
        objects[f"manifests/{m.BACKUP}.json"] = sign_manifest(manifest, signer)
        odd = self.damage(objects) if r.random() < 0.3 else ""
        return Made(objects, [s for piece in kept for s in piece], self.key, sealed, odd)

    # -- secrets --

    def text(self, most: int = 12) -> str:
        return "".join(self.r.choice(LETTERS) for _ in range(self.r.randint(0, most)))

    def maybe(self, make: Callable[[], str]) -> str | None:
        return make() if self.r.random() < 0.3 else None

    def secret(self) -> Secret:
        r = self.r
        numbers = sorted(
            {
                r.choice((r.randrange(9), r.randrange(2**64), 2**63, 2**64 - 1))
                for _ in range(r.choice((1, 1, 1, 2, 4)))
            }
        )
        rotation = RotationSchedule(days=r.choice((0, 1, 90, 2**31, 2**64 - 1)), enabled=r.random() < 0.5)
        return Secret(
            name=self.text(),
            type=self.text(),
            versions=tuple(self.version(number) for number in numbers),
            tags={self.text(): self.text() for _ in range(r.choice((0, 0, 1, 3)))},
            created_at=self.maybe(self.text),
            updated_at=self.maybe(self.text),
            expires_at=self.maybe(self.text),
            rotation=rotation if r.random() < 0.3 else None,
            metadata=freeform.parse(metadata_text(r)) if r.random() < 0.4 else {},
        )

    def version(self, number: int) -> SecretVersion:
        r = self.r
        state = r.choice((VersionState.LIVE, *VersionState))
        size = r.choice((0, 1, 9, 40, 300, r.randrange(2000), r.choice((1, 1, 16_384, 40_000))))
        value = SecretBytes(r.randbytes(size)) if state is VersionState.LIVE and r.random() < 0.9 else None
        return SecretVersion(
            number=number,
            value=value,
            media=r.choice(list(Media)),
            state=state,
            created_at=self.maybe(self.text),
        )

    def cut(self, ordered: list[Secret]) -> list[list[Secret]]:
        """Cut into pieces; one of them may be empty."""
        places = sorted(self.r.randint(0, len(ordered)) for _ in range(self.r.choice((0, 0, 1, 2))))
        return [ordered[a:b] for a, b in zip([0, *places], [*places, len(ordered)], strict=True)]

    # -- objects --

    def recipients(self, key: str) -> list[Recipient]:
        """Return recipients of which the key is one, alone or as one leg of two."""
        r, own = self.r, _recipient(key)
        others = [
            _recipient(name) for name in r.sample([n for n in KEYS if n != key], r.choice((0, 0, 1, 2)))
        ]
        if others and r.random() < 0.2:
            own = AllOfRecipient([[own], [*others, own]], label="both", random=r.randbytes)
            others = []
        found = [own, *others]
        r.shuffle(found)
        return found

    def seal(
        self, pieces: list[list[Secret]], objects: dict[str, bytes], *, values: bool, name_key: bytes
    ) -> list[ContainerEntry]:
        r, entries = self.r, []
        keys = [
            WrappingKey.create(self.recipients(self.key), _random=r.randbytes)
            for _ in range(r.choice((1, 1, 2)))
        ]
        for number, piece in enumerate(pieces):
            about = ContainerHeader(
                backup_id=m.BACKUP, piece=number, pieces=len(pieces), **self.whose,
                values=values, created_at=self.text(), name_key=name_key,
            )  # fmt: skip
            with limits(r):
                signer = r.choice((m.SEAL, m.RECOVER))
                data, sealed = m.piece(r.randbytes, piece, about, r.choice(keys), signer=signer)
            receipt = sealed_receipt(about, sealed)
            objects[container_name(m.BACKUP, sealed.hexdigest)] = data
            entries.append(container_entry(receipt, sign_receipt(receipt, signer), signer.public))
        self.rotate(keys, objects)
        return entries

    def rotate(self, keys: list[WrappingKey], objects: dict[str, bytes]) -> None:
        """Rotate every wrapping key a few times, all to the same key in the end."""
        r = self.r
        for _ in range(r.choice((0, 0, 0, 1, 2))):
            self.key = r.choice(list(KEYS))
            keys[:] = [key.rewrap(self.recipients(self.key)) for key in keys]
            for key in keys:
                name = f"keys/{key.id}/{key.record.generation:08}"
                objects[name] = write_detached(key.record, m.RECOVER)
                if r.random() < 0.1:
                    objects[f"{name}.r{r.randint(1, 9)}"] = objects[name]
                if r.random() < 0.1:
                    later = f"{name[:-1]}{r.randint(7, 9)}"
                    objects[later] = write_detached(key.record, r.choice((m.RECOVER, STRANGERS_RECOVER)))

    def document(self, pieces: list[list[Secret]], objects: dict[str, bytes]) -> list[ContainerEntry]:
        entries = []
        for number, piece in enumerate(pieces):
            parts: list[bytes] = []
            about = DocumentAbout(
                backup_id=m.BACKUP, piece=number, pieces=len(pieces), **self.whose,
                created_at=self.text(),
            )  # fmt: skip
            written = write_document(parts.append, piece, about=about)
            objects[container_name(m.BACKUP, written.hexdigest)] = b"".join(parts)
            receipt = Receipt(
                run=m.BACKUP, piece=number, sha256=written.hexdigest, size=written.size,
                secrets=written.secrets, versions=written.versions, first="", last="", wrapping_key="",
                container_signature="",
            )  # fmt: skip
            entries.append(container_entry(receipt, sign_receipt(receipt, m.SEAL), m.SEAL.public))
        return entries

    # -- damage --

    def damage(self, objects: dict[str, bytes]) -> str:
        """Change, cut, lengthen, drop or exchange one object; return its name."""
        r = self.r
        name = r.choice(sorted(objects))
        content = objects[name]
        what = r.choice(("flip", "flip", "flip", "cut", "add", "drop", "sign"))
        if what == "flip" and content:
            at = r.randrange(len(content))
            objects[name] = content[:at] + bytes([content[at] ^ 1 << r.randrange(8)]) + content[at + 1 :]
        elif what == "cut":
            objects[name] = content[: r.randrange(len(content) + 1)]
        elif what == "add":
            objects[name] = content + r.randbytes(r.choice((1, 9, 5000)))
        elif what == "drop":
            del objects[name]
        elif name.startswith("manifests/"):
            objects[name] = _re_signed(content, STRANGERS_CONTROL)
        else:
            return ""
        return name


def _re_signed(content: bytes, signer: CertifiedSigner) -> bytes:
    return document.write(MANIFEST, content.split(b"\n")[1][7:-1], signer)


def _recipient(name: str) -> Recipient:
    key = KEYS[name]
    assert isinstance(key, KeyFileIdentity | HpkeIdentity | EcIdentity)
    return key.recipient()


@contextmanager
def limits(r: random.Random) -> Iterator[None]:
    """Have segments be full after a few secrets or bytes."""
    few = r.choice((1, 2, 3, 1024))
    with (
        patch.object(writer, "SEGMENT_SECRETS", few),
        patch.object(writer, "BATCH", min(few, 64)),
        patch.object(writer, "SEGMENT_VALUES", r.choice((100, 1000, 256 * 1024))),
    ):
        yield
