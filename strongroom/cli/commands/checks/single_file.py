"""Whether this machine could restore one file: without configuration, state, or the clients of services."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from strongroom.cli.commands.readiness import render
from strongroom.cli.shared import admission, backup_argument, opening, sources, trust
from strongroom.cli.shared.backup_argument import kind_of
from strongroom.cli.shared.identities import identities_of
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.failures import from_os
from strongroom.cli.terminal.output import Output, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.kinds import FileKind
from strongroom.container.manifest import SignedManifest
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys.prompting import unasked
from strongroom.model import Depth
from strongroom.operations.archive.coverage import ESCROW
from strongroom.operations.archive.maker import Maker, maker_of_backup
from strongroom.operations.archive.open import Objects
from strongroom.operations.archive.read_back import ReadBackKeys, read_back
from strongroom.operations.findings import Finding, attempted, good, remark, wrong
from strongroom.operations.readiness import libraries as installed
from strongroom.operations.readiness import machine
from strongroom.operations.readiness.backups import BACKUP, OPENS, SIGNERS, opens

DESTINATION = "destination"


def check_with_file(arguments: Namespace, output: Output) -> Answer:
    findings = list(_findings(arguments, output, place.find()))
    return render.answer(findings, arguments.backup_file)


def _findings(arguments: Namespace, output: Output, installation: InstallationPlace) -> Iterator[Finding]:
    """Yield a finding for each thing that restoring a file needs here."""
    yield from machine_alone(installed.CORE)
    yield from run_guarded(DESTINATION, lambda: _destination(installation))
    file: Path = arguments.backup_file
    yield from run_guarded(BACKUP, lambda: _file(file, arguments, output, installation))


def machine_alone(libraries: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what depends on no backup."""
    yield from installed.python()
    yield from installed.libraries(libraries)
    yield from machine.algorithms()
    yield from machine.randomness()
    yield from machine.cores()
    yield from machine.swap()


def run_guarded(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what a look finds; what stops it, be it the operating system, is a finding and stops no other."""
    try:
        yield from attempted(check, look, wrong)
    except OSError as error:
        yield wrong(check, from_os(error))


def room(installation: InstallationPlace, size: int) -> Iterator[Finding]:
    """Look whether a restore of a backup of so many bytes has room in the state directory."""
    return run_guarded(machine.DISK, lambda: machine.disk(installation.state_dir, size))


def _destination(installation: InstallationPlace) -> Iterator[Finding]:
    """The local store, if there is one, opens under its key."""
    store = sources.local_store(installation)
    if not store.made:
        yield good(DESTINATION, "there is no local store yet; a restore makes it")
        return
    next(iter(store.list()), None)
    yield good(DESTINATION, "the local store opens")


def _file(
    file: Path, arguments: Namespace, output: Output, installation: InstallationPlace
) -> Iterator[Finding]:
    kind = FileKind.BUNDLE if file.is_dir() else kind_of(file)
    if kind is FileKind.METADATA:
        raise UsageError("it holds no values, so nothing can be restored from it", hint=_FULL)
    if kind is FileKind.LEGACY:
        yield from room(installation, file.stat().st_size)
        yield remark(OPENS, "an old Fernet file: opens for its passphrase alone, with --legacy", _LEGACY)
        return
    with backup_argument.open_objects(file) as objects:
        known, said = believed(installation, arguments, objects)
        signed = opening.signed_manifest(objects, known=known, anybody=True)
        maker = maker_of_backup(signed, known)
        yield from _manifest(objects, signed, installation)
        yield from said or run_guarded(SIGNERS, lambda: _signer(maker, arguments))
        yield from run_guarded(BACKUP, lambda: _aside(signed, objects, maker.pins(known), installation))
        openers = identities_of(arguments, output, installation, ask=False)
        trusted = maker.pins(known)
        with unasked():
            yield from run_guarded(OPENS, lambda: [opens(objects, signed.manifest, openers, trusted=trusted)])


def _manifest(objects: Objects, signed: SignedManifest, installation: InstallationPlace) -> Iterator[Finding]:
    manifest = signed.manifest
    if manifest.source == ESCROW:
        raise UsageError(
            "it is an escrow, not a backup of secrets", hint="'strongroom emergency escrow FILE --open'."
        )
    if not manifest.values:
        raise UsageError("it holds no values, so nothing can be restored from it", hint=_FULL)
    read_back(objects, manifest, Depth.PRESENT, ReadBackKeys())
    secrets = plural(manifest.counts.secrets, "secret")
    words = f"of {manifest.created_at}, {secrets}, all of it there in its right size"
    yield good(BACKUP, words).on(backup=manifest.backup_id)
    yield from room(installation, manifest.counts.size)
    yield from machine.clock({manifest.backup_id: manifest.created_at})


def _signer(maker: Maker, arguments: Namespace) -> Iterator[Finding]:
    if maker.refusal is not None:
        raise trust.explained(maker.refusal, arguments)
    yield good(SIGNERS, f"signed by {maker.fingerprint}, which is believed here")


def _aside(
    signed: SignedManifest, objects: Objects, pins: Signers, installation: InstallationPlace
) -> Iterator[Finding]:
    backup = signed.manifest.backup_id
    looked = admission.look_at(objects, backup, pins, installation)
    if looked.why_quarantined(backup):
        raise looked.refusal(backup)
    yield from ()


def believed(
    installation: InstallationPlace, arguments: Namespace, objects: Objects | None = None
) -> tuple[Signers, list[Finding]]:
    """Return whose signature counts here; where the list of them cannot be read, nobody's, and why."""
    try:
        if objects is not None:
            return trust.signers_on(objects, arguments, installation), []
        return trust.trusted_signers(installation, arguments.signer), []
    except StrongroomError as error:
        return Signers(()), [wrong(SIGNERS, error)]


_FULL = "Restore from a full one (made with --include-values)."
_LEGACY = "'strongroom backups verify --opens FILE --legacy' tries it."
