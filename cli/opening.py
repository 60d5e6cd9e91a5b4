"""Opening a backup for a command: the file or target, the trust, the identities."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cli import accessed, inputs, trust
from cli.identities import identities_of
from cli.output import Output
from cli.place import Place
from strongroom.container.manifest import SignedManifest, open_manifest
from strongroom.errors import FormatError, WrongKey
from strongroom.keys import Identity
from strongroom.operations.open import Backup, Objects, manifest_bytes, read_manifest
from strongroom.operations.readers_now import readers_now


def signed_manifest(
    objects: Objects, backup: str | None = None, *, known: frozenset[str] = frozenset()
) -> SignedManifest:
    """Return a backup's manifest with its signer: one of those known, if one of its copies has such.

    Its recipients are those whom the envelopes open for that would be opened.
    """
    wanted = read_manifest(objects, backup, trusted=None).backup_id
    try:
        content = manifest_bytes(objects, wanted, trusted=known)
    except FormatError:
        content = manifest_bytes(objects, wanted, trusted=None)
    signed = open_manifest(content, trusted=None)
    # Of a stranger's backup every envelope is opened, as every signature is told: so it is here.
    trusted = known if signed.fingerprint in known else None
    return SignedManifest(readers_now(objects, signed.manifest, trusted=trusted), signed.certificate)


@contextmanager
def objects_named(arguments: Namespace, place: Place) -> Iterator[Objects]:
    """Open what ``--backup-file`` or ``--from-target`` names."""
    if getattr(arguments, "from_target", None) is not None:
        with inputs.objects_of(arguments.from_target, place) as objects:
            yield objects
    else:
        inputs.refuse_folder_of_files(arguments.backup_file)
        with inputs.objects_in(arguments.backup_file) as objects:
            yield objects


def open_trusted(
    objects: Objects, arguments: Namespace, output: Output, openers: Sequence[Identity], place: Place
) -> Backup:
    """Open a backup that is to be written somewhere: only one whose signer counts here. It goes on record.

    Raises:
        UntrustedSigner: says which fingerprint it is, and how to go on.
    """
    known = trust.trusted(place, arguments.signer)
    found = signed_manifest(objects, getattr(arguments, "backup", None), known=known)
    trust.require(found, known)
    accessed.opened(arguments, output, place, found.manifest.backup_id)
    return Backup(objects, found.manifest, openers, trusted=known)


def open_to_look(objects: Objects, arguments: Namespace, output: Output, place: Place) -> Backup:
    """Open a backup to look into; an unknown signer is said, not refused. It goes on record."""
    known = trust.trusted(place, getattr(arguments, "signer", ()))
    found = signed_manifest(objects, getattr(arguments, "backup", None), known=known)
    if doubt := trust.doubt(found, known):
        output.note(f"note: {doubt}")
    accessed.opened(arguments, output, place, found.manifest.backup_id)
    return Backup(objects, found.manifest, identities_of(arguments, output, place))


def explained(error: WrongKey) -> WrongKey:
    """Return the error with what to try, if nothing was tried at all."""
    if not error.message.endswith("tried nothing."):
        return error
    return WrongKey(
        error.message,
        hint="Nothing was damaged. Give --passphrase-file or --identity FILE, or set "
        "STRONGROOM_PASSPHRASE_FILE. On a terminal you are asked.",
    )


def signer_in_file(path: Path) -> str:
    """Return the fingerprint of whoever signed a single-file backup."""
    with inputs.objects_in(path) as objects:
        return signed_manifest(objects).fingerprint
