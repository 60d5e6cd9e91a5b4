"""keys replace: from one key to another, over every backup that this installation knows."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from strongroom.cli.commands.rotation.render import RotationDone
from strongroom.cli.shared import approval, passphrases, recipients, trust
from strongroom.cli.shared.follow_run import by_ticket, showing_progress
from strongroom.cli.shared.identities import load_key
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.config import Settings, load_settings
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Opener, Recipient
from strongroom.keys.hpke import HpkeRecipient
from strongroom.keys.keyfile import generate_key_file
from strongroom.keys.passphrase import PassphraseRecipient
from strongroom.model import ApprovalAction
from strongroom.operations.key_management.replacement import Swap, swapped
from strongroom.operations.rotation.outcome import results
from strongroom.operations.rotation.rewrap import RewrapOrder
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.operations.rotation.single_file import (
    FileRotated,
    file_manifest,
    reencrypt_file,
    require_same_passphrases,
    rewrap_file,
    written_files,
)
from strongroom.operations.rotation.submit import submit_rotation
from strongroom.operations.runs.drive import drive
from strongroom.operations.services import Services
from strongroom.state.records import Run
from strongroom.words import nearest


def rotate_key(arguments: Namespace, output: Output) -> Answer:
    _check(arguments)
    installation, settings = place.find(), load_settings()
    made = _make_new(arguments.new_key)
    swap = _swap(arguments, output, installation)
    services = open_services(settings)
    _require_approved(arguments, swap, services, installation)
    trusted = trust.trusted_signers(installation, arguments.signer) | services.signer_fingerprints
    policies = list(_policies(arguments, settings, services, swap))
    runs = [_run(name, arguments, services, swap, output) for name in policies]
    files, failed = _files(_Job(arguments, services, swap, trusted))
    done = RotationDone(
        old=arguments.current_key,
        new=arguments.new_key,
        made=made,
        anew=arguments.re_encrypt_backups,
        runs=runs,
        backups=[result for run in runs for result in results(services.store, run.id)],
        files=files,
        failed=failed,
        installation=services.signers("recover").certificate.fingerprint,
    )
    return done.answer()


def _check(arguments: Namespace) -> None:
    if arguments.remove_old_files and not arguments.re_encrypt_backups:
        raise UsageError("--remove-old-files goes with --re-encrypt-backups: re-wrapping keeps no old file.")
    both = (arguments.current_key, arguments.new_key)
    if all(path.exists() for path in both) and both[0].samefile(both[1]):
        raise UsageError("--current-key and --new-key are one file.")


def _require_approved(
    arguments: Namespace, swap: Swap, services: Services, installation: InstallationPlace
) -> None:
    """Ask for approvals where the configuration wants them: files are given to another key. Backups on
    targets go to the recipients of their policies, and new ones of those are asked for by themselves."""
    files = {str(path.absolute()) for path in (*arguments.file, *written_files(services))}
    if files:
        approval.require_approved(
            installation,
            ApprovalAction.EXPORT,
            {"files": sorted(files), "for": swap.new.fingerprint},
            lines=(*(f"rotate {file}" for file in sorted(files)), f"for {swap.new.describe()}"),
        )


def _make_new(path: Path) -> bool:
    """Make the new key if there is none; one that is there is never touched."""
    if path.exists():
        return False
    generate_key_file(path)
    return True


def _swap(arguments: Namespace, output: Output, installation: InstallationPlace) -> Swap:
    others = [recipients.recipient_of(word, output, installation) for word in arguments.recipient]
    for name in installation.section("keys"):
        with suppress(StrongroomError, OSError):  # one that is broken is of no use here, and no hindrance
            others.append(recipients.recipient_of(name, output, installation))
    passphrase = passphrases.read_given(arguments, output)
    if passphrase is not None:
        others.append(PassphraseRecipient(passphrase))
    current = load_key(arguments.current_key)
    with arguments.new_key.open("rb") as file:
        public = file.read(5) == b"srpub"
    opener = None if public else load_key(arguments.new_key)
    path = arguments.new_key.absolute()  # never taken for the name of a configured key
    new = _named(opener, path) or recipients.recipient_of(str(path), output, installation)
    return Swap(current=current, new=new, opener=opener, others=tuple(others))


def _named(opener: Opener | None, path: Path) -> Recipient | None:
    """Return a private key's public half under the name that sealing for ``FILE.pub`` gives it."""
    sealing = opener.recipient() if opener is not None else None
    return HpkeRecipient(sealing.public, label=path.name) if isinstance(sealing, HpkeRecipient) else None


# -- policies ------------------------------------------------------------------


def _policies(arguments: Namespace, settings: Settings, services: Services, swap: Swap) -> Iterator[str]:
    for name, policy in settings.policies.items():
        if arguments.policy and name not in arguments.policy:
            continue
        pinned = services.pinned(name)
        readers = [recipient.fingerprint for recipient in pinned.spec.recipients]
        readers += [recipient.fingerprint for recipient in pinned.index_recipients]
        if policy.sealed and swap.concerns(readers):
            yield name
        elif name in arguments.policy:
            raise UsageError(f"Policy '{name}' is sealed to neither of the two keys.", hint="")
    if unknown := sorted(set(arguments.policy) - set(settings.policies)):
        raise UsageError(f"There is no policy '{unknown[0]}'.", hint=nearest(unknown[0], settings.policies))


def _run(name: str, arguments: Namespace, services: Services, swap: Swap, output: Output) -> Run:
    own = swapped(services, swap)
    options = RotateOptions(reencrypt=arguments.re_encrypt_backups, rate=arguments.rate)
    run, tickets = submit_rotation(own, policy=name, options=options, take_over=True)
    with showing_progress(output, services.store) as watch:
        return drive(run, tickets, own, watch=by_ticket(watch))


# -- files ---------------------------------------------------------------------


class _Job(NamedTuple):
    """What every file is rotated by."""

    arguments: Namespace
    built: Services
    swap: Swap
    trusted: frozenset[str]


def _files(job: _Job) -> tuple[list[FileRotated], list[tuple[Path, StrongroomError]]]:
    done: list[FileRotated] = []
    failed: list[tuple[Path, StrongroomError]] = []
    named = [path.absolute() for path in job.arguments.file]
    for path in dict.fromkeys((*named, *written_files(job.built))):
        try:
            manifest = file_manifest(path, trusted=job.trusted)
            if path in named or job.swap.concerns(recipient.fingerprint for recipient in manifest.recipients):
                done.append(_file(path, job.swap.applied(manifest.recipients), job))
        except StrongroomError as error:
            failed.append((path, error))
    return done, failed


def _file(path: Path, recipients: Sequence[Recipient], job: _Job) -> FileRotated:
    rotation = RewrapOrder(
        recipients=recipients,
        identities=job.swap.openers,
        signer=job.built.signers("recover"),
        trusted=job.trusted,
    )
    require_same_passphrases(path, recipients, trusted=job.trusted)
    if not job.arguments.re_encrypt_backups:
        return rewrap_file(path, rotation)
    remove = job.arguments.remove_old_files
    return reencrypt_file(path, rotation, digest_key=job.built.digest_key, remove=remove)
