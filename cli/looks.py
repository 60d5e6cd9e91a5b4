"""One look at a backup of any kind, to a depth, as a record that people and machines read."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from cli import inputs, legacy, opening, trust
from cli.inputs import kind_of
from cli.output import Output
from cli.place import Place
from cli.progress import counting
from strongroom.container.kinds import FileKind
from strongroom.container.manifest import ManifestRecipient, SignedManifest
from strongroom.errors import ConfigError, NotABackup, WrongKey
from strongroom.keys import Identity
from strongroom.model import Depth
from strongroom.operations.open import Objects
from strongroom.operations.read_back import Keys, open_all, read_back


class Look(Struct, frozen=True, kw_only=True):
    """What was found. ``depth`` is how deep it was looked; ``signer_known`` whether this
    installation trusts the signer (``None``: nothing is signed)."""

    kind: str
    depth: Depth
    backup: str
    policy: str
    source: str
    created_at: str
    sealed: bool
    values: bool
    secrets: int | None
    versions: int | None
    containers: int
    size: int
    recipients: Sequence[ManifestRecipient] = ()
    signer: str | None = None
    signer_known: bool | None = None


def look(
    arguments: Namespace, output: Output, place: Place, depth: Depth, keys: Sequence[Identity]
) -> Look:
    """Look at what the arguments name.

    Raises:
        FormatError, MissingPiece, VerificationFailed: what is wrong with it.
    """
    path: Path = arguments.file
    kind = FileKind.BUNDLE if path.is_dir() else kind_of(path)
    match kind:
        case FileKind.METADATA:
            return _document(path)
        case FileKind.CONTAINER:
            return _container(path, depth, keys, place)
        case FileKind.LEGACY:
            return legacy.look(arguments, output, depth)
        case FileKind.MANIFEST | FileKind.ENVELOPE:
            raise NotABackup(f"{path} is a {kind} alone.", hint="Name the directory that is the target.")
    with inputs.objects_in(path) as objects:
        return _backup(objects, arguments, output, place, depth, keys)


def _backup(
    objects: Objects,
    arguments: Namespace,
    output: Output,
    place: Place,
    depth: Depth,
    keys: Sequence[Identity],
) -> Look:
    signed = opening.signed_manifest(objects, arguments.backup)
    manifest = signed.manifest
    tools = Keys(identities=keys, digest_key=digest_key(place) if depth is Depth.COMPARED else None)
    try:
        with counting(output, "reading back", manifest.counts.secrets) as advance:
            read_back(objects, manifest, depth, tools, progress=advance)
    except WrongKey as error:
        raise opening.explained(error) from None
    return _of_manifest(signed, place, depth, typed=getattr(arguments, "signer", ()))


def digest_key(place: Place) -> bytes:
    """Return the key of the values' digests, which only the sealing installation has."""
    from strongroom.keys import clusterkeys  # noqa: PLC0415 - only this depth needs it

    folder = place.state_dir / "keys"
    if not (folder / "digest.key").exists():
        raise ConfigError(
            "Only the installation that made a backup can compare values: the key of their digests is not here.",
            hint="Verify with --depth opened, which proves that nothing was changed since it was sealed.",
        )
    return clusterkeys.load_or_create(folder, "digest")


def _of_manifest(signed: SignedManifest, place: Place, depth: Depth, *, typed: Sequence[str]) -> Look:
    manifest = signed.manifest
    return Look(
        kind="backup",
        depth=depth,
        backup=manifest.backup_id,
        policy=manifest.policy,
        source=manifest.source,
        created_at=manifest.created_at,
        sealed=manifest.sealed,
        values=manifest.values,
        secrets=manifest.counts.secrets,
        versions=manifest.counts.versions,
        containers=len(manifest.containers),
        size=manifest.counts.size,
        recipients=manifest.recipients,
        signer=signed.fingerprint,
        signer_known=signed.fingerprint in trust.trusted(place, typed),
    )


def _document(path: Path) -> Look:
    from strongroom.container.metadata import check_document  # noqa: PLC0415

    with inputs.opened(path) as reader:
        written = check_document(reader)
    return Look(
        kind="metadata document",
        depth=Depth.OPENED,
        backup=written.about.backup_id,
        policy=written.about.policy,
        source=written.about.source,
        created_at=written.about.created_at,
        sealed=False,
        values=False,
        secrets=written.secrets,
        versions=written.versions,
        containers=1,
        size=written.size,
    )


def _container(path: Path, depth: Depth, keys: Sequence[Identity], place: Place) -> Look:
    from strongroom.container.check import scrub  # noqa: PLC0415
    from strongroom.container.reader import Container  # noqa: PLC0415

    with inputs.opened(path) as reader:
        scrubbed = scrub(reader)
        look = Look(
            kind="container",
            depth=Depth.DIGEST,
            backup="",
            policy="",
            source="",
            created_at="",
            sealed=True,
            values=True,
            secrets=None,
            versions=None,
            containers=1,
            size=scrubbed.size,
            signer=scrubbed.signer,
            signer_known=scrubbed.signer in trust.trusted(place),
        )
        if depth in (Depth.PRESENT, Depth.DIGEST):
            return look
        return _opened(look, Container.open(reader, keys, trusted=None), depth, place)


def _opened(look: Look, container: object, depth: Depth, place: Place) -> Look:
    from msgspec.structs import replace  # noqa: PLC0415

    from strongroom.container.reader import Container  # noqa: PLC0415

    assert isinstance(container, Container)
    seen = open_all(container, digest_key=digest_key(place) if depth is Depth.COMPARED else None)
    about = container.about
    return replace(
        look,
        depth=depth,
        backup=about.backup_id,
        policy=about.policy,
        source=about.source,
        created_at=about.created_at,
        values=about.values,
        secrets=seen,
        versions=container.versions_count,
    )
