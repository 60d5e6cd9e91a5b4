"""Opening a backup for a command: the file or target, the trust, the identities."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.cli.shared import access_log, admission, backup_argument, trust
from strongroom.cli.shared.identities import identities_of
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import WrongKey
from strongroom.container.keyless import read_outer
from strongroom.container.kinds import FileKind
from strongroom.container.manifest import SignedManifest
from strongroom.container.signing import Signers
from strongroom.keys import Identity
from strongroom.operations.archive.current_recipients import readers_now
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.maker import maker_of_backup, manifest_of
from strongroom.operations.archive.open import Backup, Objects
from strongroom.operations.archive.salvage import before_in
from strongroom.operations.archive.unlisted_objects import look_beside

if TYPE_CHECKING:
    from strongroom.operations.archive.single_container import LoneContainer

Openers = Callable[[], Sequence[Identity]]
"""What gives the keys once a backup may be opened: nobody is asked for a passphrase before."""


def signed_manifest(
    objects: Objects,
    backup: str | None = None,
    *,
    known: Signers,
    policy: str | None = None,
    anybody: bool = False,
) -> SignedManifest:
    """Return a backup's manifest with its signer; its recipients are those for whom it opens now.

    Raises:
        UntrustedSigner: nobody known signed it, and a stranger's will not do.
    """
    signed = manifest_of(objects, backup, known, anybody=anybody, policy=policy)
    pins = maker_of_backup(signed, known).pins(known)
    return SignedManifest(readers_now(objects, signed.manifest, trusted=pins), signed.certificate)


def report_unlisted(
    objects: Objects, signed: SignedManifest, known: Signers, output: Output, *, newest: bool = False
) -> frozenset[str]:
    """Say what lies beside a backup and does not count; return whose containers and envelopes do.

    Args:
        newest: it was taken as the newest there, not named.
    """
    pins = maker_of_backup(signed, known).pins(known)
    beside = look_beside(objects, signed.manifest, trusted=pins, newest=newest)
    for envelope in beside.repaired:
        output.note(f"note: {envelope.name} does not count ({envelope.code}); a copy beside it does")
    if beside.others:
        output.note(f"note: the file also holds {', '.join(beside.others)}; name it with --backup")
    output.end_with(beside.error)
    return pins


SHOWN = 4


def _more(found: Sequence[object]) -> str:
    return f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""


@contextmanager
def objects_in_file(file: Path) -> Iterator[Objects]:
    """Open what ``--backup-file`` names."""
    backup_argument.refuse_folder_of_files(file)
    with backup_argument.open_objects(file) as objects:
        yield objects


def open_trusted(
    objects: Objects, arguments: Namespace, output: Output, openers: Openers, place: InstallationPlace
) -> Backup:
    """Open a backup: only one whose signer counts here, and that nobody set aside. It goes on record.

    Raises:
        UntrustedSigner: says which fingerprint it is.
        BackupQuarantined: it is in quarantine.
    """
    known = trust.signers_on(objects, arguments, place)
    backup = getattr(arguments, "backup", None)
    signed = signed_manifest(objects, backup, known=known, anybody=trust.anybody(arguments))
    admitted = admission.admit(signed, objects, arguments, output, place)
    access_log.record_opening(
        arguments, output, place, signed.manifest.backup_id, quarantine=admitted.quarantine
    )
    pins = report_unlisted(objects, signed, known, output, newest=not backup)
    return Backup(objects, signed.manifest, openers(), trusted=pins)


@contextmanager
def backup_trusted(
    arguments: Namespace, output: Output, openers: Openers, place: InstallationPlace
) -> Iterator[Backup]:
    """Open what ``--backup-file`` names: see :func:`open_trusted`. A lone container counts by its own
    certificate."""
    if not is_container(arguments):
        with objects_in_file(arguments.backup_file) as objects:
            yield open_trusted(objects, arguments, output, openers, place)
        return
    from strongroom.operations.archive.single_container import LoneContainer

    with backup_argument.open_file(arguments.backup_file) as reader:
        certificate = read_outer(reader, trusted=None).envelope.certificate
        maker = admission.admit_container(certificate, arguments, output, place).maker
        pins = maker.pins(trust.trusted_signers(place, arguments.signer))
        lone = LoneContainer.open(reader, openers(), trusted=pins)
        yield _report_container(lone, arguments, output, place)


@contextmanager
def backup_for_inspection(arguments: Namespace, output: Output, place: InstallationPlace) -> Iterator[Backup]:
    """Open what ``--backup-file`` names with what the command line gives: see :func:`backup_trusted`."""
    openers = partial(identities_of, arguments, output, place)
    with backup_trusted(arguments, output, openers, place) as backup:
        yield backup


def is_container(arguments: Namespace) -> bool:
    """Tell whether ``--backup-file`` names one container alone."""
    file = arguments.backup_file
    return file is not None and not file.is_dir() and backup_argument.kind_of(file) is FileKind.CONTAINER


def _report_container(
    lone: LoneContainer, arguments: Namespace, output: Output, place: InstallationPlace
) -> LoneContainer:
    output.note(f"note: this is {lone.described}; it holds no secret of the others")
    access_log.record_opening(arguments, output, place, lone.manifest.backup_id)
    return lone


def before_in_file(backup: Backup, arguments: Namespace, place: InstallationPlace) -> Iterator[Replicated]:
    """Open the earlier backups in a file, as they are asked for: it may hold two."""
    if not is_container(arguments):
        known = trust.signers_on(backup.objects, arguments, place)
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
        return manifest_of(objects, None, Signers(), anybody=True).fingerprint
