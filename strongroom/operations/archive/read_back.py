"""Reading a backup back from wherever it lies, with nothing but its bytes and a key.

What a run's verify step does with a record, a target and a configuration, this does for a
file on somebody's desk. The result names the depth that was reached (invariant 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from strongroom.container.check import scrub
from strongroom.container.digests import value_digester
from strongroom.container.errors import VerificationFailed
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.container.metadata import ManifestPlace, check_document
from strongroom.container.reader import Container
from strongroom.container.signing import ever_trusted
from strongroom.keys import Identity
from strongroom.model import Depth
from strongroom.operations.archive.open import (
    Backup,
    ObjectReader,
    Objects,
    readable_container,
    require_digest,
    require_size,
)
from strongroom.words import plural

ORDER = (Depth.PRESENT, Depth.DIGEST, Depth.OPENED, Depth.COMPARED)
Progress = Callable[[int], object]


class ReadBackKeys(Struct, frozen=True, kw_only=True):
    """What verifying may use: identities that open, the key of the values' digests, and whose
    detached envelopes count (``None``: anybody's)."""

    identities: Sequence[Identity] = ()
    digest_key: bytes | None = None
    trusted: frozenset[str] | None = None


def read_back(
    objects: Objects,
    manifest: Manifest,
    depth: Depth,
    keys: ReadBackKeys,
    *,
    progress: Progress | None = None,
) -> int:
    """Read every container back to ``depth``; return how many secrets they hold.

    Raises:
        MissingPiece, Truncated, Tampered, WrongKey, VerificationFailed: the first thing
            that is wrong, and in which container.
    """
    backup = Backup(objects, manifest, keys.identities, trusted=keys.trusted)
    for entry in manifest.containers:
        _read_container(objects, backup, entry, depth, keys)
        if progress is not None:
            progress(entry.secrets)
    return manifest.counts.secrets


def _read_container(
    objects: Objects, backup: Backup, entry: ContainerEntry, depth: Depth, keys: ReadBackKeys
) -> None:
    """Read one container back to ``depth``."""
    manifest = backup.manifest
    name = readable_container(objects, manifest.backup_id, entry)
    require_size(objects, name, entry)
    if depth is Depth.PRESENT:
        return
    require_digest(objects, name, entry)
    if not manifest.sealed:
        check_document(ObjectReader(objects, name), place=ManifestPlace(manifest, entry))
    elif depth is Depth.DIGEST:
        scrub(ObjectReader(objects, name), trusted=_ever(keys), entry=entry)
    else:
        container = backup.container(entry)
        seen = open_all(container, digest_key=keys.digest_key if depth is Depth.COMPARED else None)
        if seen != entry.secrets:
            held = plural(seen, "secret")
            raise VerificationFailed(f"container {entry.piece} holds {held}, not {entry.secrets}")


def _ever(keys: ReadBackKeys) -> frozenset[str] | None:
    return None if keys.trusted is None else ever_trusted(keys.trusted)


def open_all(container: Container, *, digest_key: bytes | None) -> int:
    """Decrypt every secret of a container, and compare each value if there is a digest key."""
    if digest_key is None:
        return sum(1 for _ in container.secrets())
    return _compare_all(container, digest_key)


def _compare_all(container: Container, key: bytes) -> int:
    compute = value_digester(key, container.about.source)
    recorded = container.digests()
    seen = 0
    for secret in container.secrets():
        seen += 1
        stored = [(v.number, v.value.reveal()) for v in secret.versions if v.value is not None]
        for number, value in stored:
            if next(recorded, None) != (secret.name, number, compute(secret.name, number, value)):
                raise VerificationFailed(
                    f"secret '{secret.name}' version {number} is not the value that was captured"
                )
    if next(recorded, None) is not None:
        raise VerificationFailed(f"container {container.about.piece} lacks a value that was captured")
    return seen
