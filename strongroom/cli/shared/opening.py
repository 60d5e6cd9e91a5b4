"""Opening a backup for a command: the file or target, the trust, the identities."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.cli.shared import access_log, backup_argument, trust
from strongroom.cli.shared.identities import identities_of
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import Place
from strongroom.container.errors import FormatError, MissingPiece, UntrustedSigner, WrongKey
from strongroom.container.keyless import read_outer
from strongroom.container.kinds import FileKind
from strongroom.container.manifest import SignedManifest, open_manifest
from strongroom.container.signing import Signers
from strongroom.keys import Identity
from strongroom.operations.archive.current_recipients import readers_now
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.open import Backup, Objects, backup_ids, manifest_bytes, read_manifest
from strongroom.operations.archive.salvage import before_in
from strongroom.operations.archive.unlisted_objects import look_beside

if TYPE_CHECKING:
    from strongroom.operations.archive.single_container import LoneContainer


def signed_manifest(
    objects: Objects,
    backup: str | None = None,
    *,
    known: frozenset[str] = frozenset(),
    policy: str | None = None,
) -> SignedManifest:
    """Return a backup's manifest with its signer: one of those known, if one of its copies has such.

    Its recipients are those whom the envelopes open for that would be opened.
    """
    wanted = backup or (newest_backup_of(policy, objects, known) if policy else newest_backup(objects, known))
    try:
        content = manifest_bytes(objects, wanted, trusted=known)
    except FormatError:
        content = manifest_bytes(objects, wanted, trusted=None)
    signed = open_manifest(content, trusted=None)
    pins = trust.signers_to_accept(signed, known if isinstance(known, Signers) else Signers(known))
    return SignedManifest(readers_now(objects, signed.manifest, trusted=pins), signed.certificate)


def report_unlisted(
    objects: Objects, signed: SignedManifest, known: Signers, output: Output, *, newest: bool = False
) -> frozenset[str]:
    """Say what lies beside a backup and does not count; return whose containers and envelopes do.

    Args:
        newest: it was taken as the newest there, not named.
    """
    pins = trust.signers_to_accept(signed, known)
    beside = look_beside(objects, signed.manifest, trusted=pins, newest=newest)
    for one in beside.repaired:
        output.note(f"note: {one.name} does not count ({one.code}); a copy beside it does")
    if beside.others:
        output.note(f"note: the file also holds {', '.join(beside.others)}; name it with --backup")
    output.end_with(beside.error)
    return pins


SHOWN = 4


def _more(found: Sequence[object]) -> str:
    return f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""


def newest_backup(objects: Objects, known: frozenset[str]) -> str:
    """Return the newest backup of a known signer; of anybody, where none is of a known one."""
    try:
        return read_manifest(objects, trusted=known).backup_id
    except FormatError:
        return read_manifest(objects, trusted=None).backup_id


def newest_backup_of(policy: str, objects: Objects, known: frozenset[str]) -> str:
    """Return the newest backup of a policy by a known signer; by anybody, where none is by a known one."""
    for trusted in (known, None):
        for backup in reversed(backup_ids(objects)):
            with suppress(FormatError):
                if read_manifest(objects, backup, trusted=trusted).policy == policy:
                    return backup
    raise MissingPiece(
        f"there is no backup of policy '{policy}' here",
        hint="See which there are with 'strongroom catalog list --from-target TARGET'.",
    )


@contextmanager
def objects_in_file(file: Path) -> Iterator[Objects]:
    """Open what ``--backup-file`` names."""
    backup_argument.refuse_folder_of_files(file)
    with backup_argument.open_objects(file) as objects:
        yield objects


def open_trusted(
    objects: Objects, arguments: Namespace, output: Output, openers: Sequence[Identity], place: Place
) -> Backup:
    """Open a backup that is to be written somewhere: only one whose signer counts here. It goes on record.

    Raises:
        UntrustedSigner: says which fingerprint it is, and how to go on.
    """
    known = trust.trusted_signers(place, arguments.signer)
    backup = getattr(arguments, "backup", None)
    signed = signed_manifest(objects, backup, known=known)
    trust.require_trust(signed, known)
    access_log.record_opening(arguments, output, place, signed.manifest.backup_id)
    pins = report_unlisted(objects, signed, known, output, newest=not backup)
    return Backup(objects, signed.manifest, openers, trusted=pins)


def open_for_inspection(objects: Objects, arguments: Namespace, output: Output, place: Place) -> Backup:
    """Open a backup to look into; an unknown signer is said, and refused only if another was typed. It goes
    on record."""
    known = trust.trusted_signers(place, getattr(arguments, "signer", ()))
    backup = getattr(arguments, "backup", None)
    signed = signed_manifest(objects, backup, known=known)
    if getattr(arguments, "signer", ()):
        trust.require_trust(signed, known)
    if doubt := trust.doubt_about(signed, known):
        output.note(f"note: {doubt}")
    access_log.record_opening(arguments, output, place, signed.manifest.backup_id)
    pins = report_unlisted(objects, signed, known, output, newest=not backup)
    return Backup(objects, signed.manifest, identities_of(arguments, output, place), trusted=pins)


@contextmanager
def backup_trusted(
    arguments: Namespace, output: Output, openers: Sequence[Identity], place: Place
) -> Iterator[Backup]:
    """Open what ``--backup-file`` names, to be written somewhere: see
    :func:`open_trusted`. A lone container counts by its own certificate."""
    if not is_container(arguments):
        with objects_in_file(arguments.backup_file) as objects:
            yield open_trusted(objects, arguments, output, openers, place)
        return
    from strongroom.operations.archive.single_container import LoneContainer

    with backup_argument.open_file(arguments.backup_file) as reader:
        try:
            lone = LoneContainer.open(reader, openers, trusted=trust.trusted_signers(place, arguments.signer))
        except UntrustedSigner as error:
            raise trust.explain_unknown_signer(error) from None
        yield _report_container(lone, arguments, output, place)


@contextmanager
def backup_for_inspection(arguments: Namespace, output: Output, place: Place) -> Iterator[Backup]:
    """Open what ``--backup-file`` names, to look into: see :func:`open_for_inspection`."""
    if not is_container(arguments):
        with objects_in_file(arguments.backup_file) as objects:
            yield open_for_inspection(objects, arguments, output, place)
        return
    from strongroom.operations.archive.single_container import LoneContainer

    with backup_argument.open_file(arguments.backup_file) as reader:
        certificate = read_outer(reader, trusted=None).envelope.certificate
        typed = getattr(arguments, "signer", ())
        if doubt := trust.doubt_about_certificate(certificate, trust.trusted_signers(place, typed)):
            if typed:
                raise trust.explain_unknown_signer(UntrustedSigner(doubt))
            output.note(f"note: {doubt}")
        lone = LoneContainer.open(reader, identities_of(arguments, output, place), trusted=None)
        yield _report_container(lone, arguments, output, place)


def is_container(arguments: Namespace) -> bool:
    """Tell whether ``--backup-file`` names one container alone."""
    file = arguments.backup_file
    return file is not None and not file.is_dir() and backup_argument.kind_of(file) is FileKind.CONTAINER


def _report_container(
    lone: LoneContainer, arguments: Namespace, output: Output, place: Place
) -> LoneContainer:
    output.note(f"note: this is {lone.described}; it holds no secret of the others")
    access_log.record_opening(arguments, output, place, lone.manifest.backup_id)
    return lone


def before_in_file(backup: Backup, arguments: Namespace, place: Place) -> Iterator[Replicated]:
    """Open the earlier backups in a file, as they are asked for: it may hold two."""
    if not is_container(arguments):
        known = trust.trusted_signers(place, getattr(arguments, "signer", ()))
        yield from before_in(backup, trusted=known)


@contextmanager
def explaining_keys() -> Iterator[None]:
    """Have an error that no key opens a backup say what to try, if nothing was tried at all."""
    try:
        yield
    except WrongKey as error:
        raise explain_wrong_key(error) from None


def explain_wrong_key(error: WrongKey) -> WrongKey:
    """Return the error with what to try, if nothing was tried at all."""
    if not error.nothing_tried:
        return error
    return WrongKey(
        error.message,
        hint="Nothing was damaged. Give --passphrase-file or --identity FILE, or set "
        "STRONGROOM_PASSPHRASE_FILE. On a terminal you are asked.",
    )


def read_signer(path: Path) -> str:
    """Return the fingerprint of whoever signed a single-file backup."""
    with backup_argument.open_objects(path) as objects:
        return signed_manifest(objects).fingerprint
