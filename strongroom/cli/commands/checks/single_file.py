"""Whether this machine could restore one file: without configuration, state, or the clients of services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from strongroom.cli.commands.checks.arguments import CheckMachine
from strongroom.cli.shared import admission, opening, sources
from strongroom.cli.shared.identities import identities_of
from strongroom.cli.shared.opening import kind_of
from strongroom.cli.shared.options import TrustOptions
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.failures import from_os
from strongroom.cli.terminal.output import Output, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import MissingPiece
from strongroom.container.kinds import FileKind
from strongroom.container.manifest import SignedManifest
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys.passphrase import unasked
from strongroom.model import Depth
from strongroom.operations.archive.coverage import ESCROW
from strongroom.operations.archive.open import Objects, ReadBackKeys, read_back
from strongroom.operations.archive.reading import Maker, maker_of_backup
from strongroom.operations.checks import machine
from strongroom.operations.checks.backups import BACKUP, OPENS, SIGNERS, opens
from strongroom.operations.engine.findings import Finding, FindingState, attempted, good, remark, wrong
from strongroom.sheet import Lines, Mood, Sheet, Table

# -- What check machine answers: each check, what to do, and whether this machine could recover ---


def answer(findings: Sequence[Finding], file: Path | None) -> Answer:
    """Answer with what was found, and with what keeps this machine from recovering."""
    error = _error(findings)
    code = 0 if error is None else error.exit_code
    counts = {state: sum(finding.state.value == state for finding in findings) for state in _STATES}
    rows = [
        (finding.check, finding.state.value, _about(finding), _in_line(finding.what)) for finding in findings
    ]
    to_do = [
        (
            finding.state.value,
            " ".join(filter(None, (finding.check, _about(finding, none="")))),
            _in_line(finding.to_do),
        )
        for finding in sorted(findings, key=lambda finding: finding.state is not FindingState.WRONG)
        if finding.to_do and finding.state is not FindingState.GOOD
    ]
    return Answer(
        record={"ready": code == 0, "checks": findings, "counts": counts, "exit_code": code},
        sheet=Sheet(
            verdict=_verdict(findings, file),
            mood=Mood.GOOD if error is None else Mood.BAD,
            parts=[
                Table(("Check", "State", "About", "What"), rows),
                Lines([": ".join(words) for words in to_do], "To do", style="list"),
            ],
        ),
        error=error,
    )


def _error(findings: Sequence[Finding]) -> StrongroomError | None:
    """Return the error of the first check that is wrong, or that there is no backup to recover from."""
    wrong = next((finding.error for finding in findings if finding.error is not None), None)
    if wrong is not None or any(finding.check == OPENS for finding in findings):
        return wrong
    return MissingPiece(
        "No backup was found that a recovery could start from.",
        hint="Check that the configuration names the targets that hold backups, or make a backup first.",
    )


def _verdict(findings: Sequence[Finding], file: Path | None) -> str:
    wrong = sum(finding.state is FindingState.WRONG for finding in findings)
    remarks = plural(sum(finding.state is FindingState.REMARK for finding in findings), "remark")
    what = f"restore {file}" if file else "recover"
    if wrong:
        return f"This machine could not {what} now: {wrong:,} wrong, {remarks}."
    if any(finding.check == OPENS for finding in findings):
        return f"This machine could {what} now: nothing is wrong, {remarks}."
    return f"Nothing can be recovered here: no backup was found that a recovery could start from; {remarks}."


def _about(finding: Finding, none: str = "-") -> str:
    return ", ".join(filter(None, (finding.policy, finding.target, finding.backup))) or none


def _in_line(text: str) -> str:
    return " ".join(text.split())


_STATES = ("wrong", "remark", "good")


# -- Whether this machine could restore one file: without configuration, state, or the clients of services


DESTINATION = "destination"


def check_with_file(given: CheckMachine, output: Output) -> Answer:
    """Answer with a finding for each thing that restoring a file needs here."""
    file, installation = given.backup_file, place.find()
    assert file is not None  # as the parameters choose
    findings = [
        *machine_alone(machine.CORE),
        *run_guarded(DESTINATION, lambda: _destination(installation)),
        *run_guarded(BACKUP, lambda: _file(file, given, output, installation)),
    ]
    return answer(findings, file)


def machine_alone(libraries: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what depends on no backup."""
    yield from machine.python()
    yield from machine.libraries(libraries)
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
    file: Path, given: CheckMachine, output: Output, installation: InstallationPlace
) -> Iterator[Finding]:
    kind = FileKind.BUNDLE if file.is_dir() else kind_of(file)
    if kind is FileKind.METADATA:
        raise UsageError("it holds no values, so nothing can be restored from it", hint=_FULL)
    if kind is FileKind.LEGACY:
        yield from room(installation, file.stat().st_size)
        yield remark(OPENS, "an old Fernet file: opens for its passphrase alone, with --legacy", _LEGACY)
        return
    with opening.open_objects(file) as objects:
        known, said = believed(installation, given.trust, objects)
        signed = opening.signed_manifest(objects, known=known, anybody=True)
        maker = maker_of_backup(signed, known)
        yield from _manifest(objects, signed, installation)
        yield from said or run_guarded(SIGNERS, lambda: _signer(maker))
        yield from run_guarded(BACKUP, lambda: _aside(signed, objects, maker.pins(known), installation))
        openers = identities_of(given.opening, output, installation, ask=False)
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


def _signer(maker: Maker) -> Iterator[Finding]:
    if maker.refusal is not None:
        raise admission.explained(maker.refusal, ("signer",))
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
    installation: InstallationPlace, trust: TrustOptions, objects: Objects | None = None
) -> tuple[Signers, list[Finding]]:
    """Return whose signature counts here; where the list of them cannot be read, nobody's, and why."""
    try:
        if objects is not None:
            return admission.signers_on(objects, trust, installation), []
        return admission.trusted_signers(installation, trust.signer), []
    except StrongroomError as error:
        return Signers(()), [wrong(SIGNERS, error)]


_FULL = "Restore from a full one (made with --include-values)."
_LEGACY = "'strongroom backups verify --opens FILE --legacy' tries it."
