"""emergency-backup and escrow: what lies in a safe, with all that opens and explains it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

from strongroom.cli.commands.backup.arguments import EmergencyBackup, EscrowKeys
from strongroom.cli.commands.backup.kit import configuration, quorum_files, render_kit
from strongroom.cli.shared import access_log, identities, recipients, render_run
from strongroom.cli.shared.installation_key import installation_fingerprints, list_role_keys
from strongroom.cli.shared.opening import explain_wrong_key, open_objects, open_trusted, read_signer
from strongroom.cli.shared.options import BackupSource, RecipientOptions
from strongroom.cli.shared.runs import drive_here, end_abandoned, lack_of, require_good
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import PolicySettings, Settings, load_settings
from strongroom.container.errors import WrongKey
from strongroom.errors import ConfigError, StrongroomError, UsageError
from strongroom.model import ApprovalAction
from strongroom.operations.archive.coverage import limits_of
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.medium import (
    LOCKED,
    WHEELS,
    MediumState,
    MediumStatus,
    Wheels,
    absent,
    furnish,
    medium_status,
    recovery_files,
    remind,
    runbook,
    wheels_of,
)
from strongroom.operations.backup.recovery_kit import gather, put_back
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import BackupOverdue, RunDegraded
from strongroom.sheet import Lines, Sheet
from strongroom.state.records import Run
from strongroom.system.files import refuse_existing
from strongroom.targets.errors import TargetUnavailable
from strongroom.times import for_people, if_any
from strongroom.words import nearest

# -- emergency-backup: onto a medium that lies in a safe, with all that opens and explains it ---


LOOK = 2.0
"""Seconds between looks for the medium: nothing announces that a disk was mounted."""


def make_emergency_backup(given: EmergencyBackup, output: Output) -> Answer:
    settings = load_settings()
    policy = _policy(given.policy, settings)
    wheels = None
    if given.with_wheels is not None:
        wheels = wheels_of(given.with_wheels, recovery_files().get(LOCKED, b"").decode())
    services = open_services(settings, output=None if given.status else output)
    if given.status:
        return _answer_standing(_standing(given.policy, settings, services), services)
    if policy.kind == "full":
        where = ", ".join(policy.targets)
        prompts.confirm(
            f"This puts every value that '{given.policy}' selects, sealed, on {where}",
            force=given.force,
        )
        access_log.require_medium_approved(place.find(), given.policy, policy.targets, services)
    _check_complete(settings, services)
    _await_media(given, settings, services, output)
    run = _back_up(given.policy, services, output)
    names = _furnish_or_explain(run, settings, services, wheels)
    rows = render_run.rows_of(services.store, run)
    record = {**render_run.as_document(run, rows), "beside": names}
    parts = [*render_run.parts_of(run, rows), Lines(list(_lines(names)))]
    return Answer(record=record, sheet=Sheet(parts=parts), error=lack_of(run))


def _policy(name: str, settings: Settings) -> PolicySettings:
    policy = settings.policies.get(name)
    if policy is None:
        raise ConfigError(f"There is no policy '{name}'.", hint=nearest(name, settings.policies))
    if not policy.sealed:
        raise UsageError(f"Policy '{name}' does not seal: what lies in a safe has to.", hint="")
    if not policy.offline:
        raise ConfigError(
            f"Policy '{name}' is not one of offline media: its targets are in everyday use, so the files "
            "next to an emergency backup would be stored there, and no medium would be in the safe.",
            hint=f"Where its targets are media for a safe, set policies.{name}.offline = true; or back up "
            f"with 'strongroom backup --policy {name}'. Nothing was captured.",
        )
    return policy


def _standing(name: str, settings: Settings, services: Services) -> MediumStatus:
    policy = settings.policies[name]
    zone = settings.calendar.zone_of(policy.time_zone)
    return medium_status(services, policy=name, schedule=policy.schedule, time_zone=zone)


def _answer_standing(status: MediumStatus, services: Services) -> Answer:
    remind(services, status)
    late = f"The emergency backup '{status.policy}' is overdue since {for_people(status.due_at or 0)}."
    return Answer(
        record={
            "policy": status.policy,
            "state": status.state,
            "due_at": if_any(status.due_at),
            "newest": status.backup or None,
            "absent": status.absent,
        },
        sheet=Sheet(parts=[Lines(list(_standing_lines(status)))]),
        error=BackupOverdue(late) if status.state is MediumState.OVERDUE else None,
    )


def _standing_lines(status: MediumStatus) -> Iterator[str]:
    word = "on" if status.state is MediumState.COMING else "since"
    due = f", due {word} {for_people(status.due_at)}" if status.due_at and status.state != "done" else ""
    yield f"emergency policy '{status.policy}': {status.state}{due}"
    yield f"  newest backup: {status.backup or 'none yet'}"
    yield from (f"  medium '{name}' is not mounted: {why}" for name, why in status.absent.items())
    if status.can_run:
        yield f"  every medium is there: run 'strongroom emergency backup {status.policy}'"


def _await_media(given: EmergencyBackup, settings: Settings, services: Services, output: Output) -> None:
    told: dict[str, str] = {}
    while away := absent(services, given.policy):
        if not given.wait:
            name, why = next(iter(away.items()))
            raise TargetUnavailable(
                f"The medium '{name}' is not mounted: {why}",
                hint="Nothing was captured. Bring it, or give --wait.",
            )
        if away != told:
            output.note(f"waiting for {', '.join(away)}; nothing is captured until then")
            told = away
        remind(services, _standing(given.policy, settings, services))
        time.sleep(LOOK)


def _back_up(policy: str, services: Services, output: Output) -> Run:
    end_abandoned(policy, services, output)
    run = drive_here(partial(submit_backup, services, policy=policy), services, output)
    require_good(run)
    return run


def _check_complete(settings: Settings, services: Services) -> None:
    """Refuse, before anything is written, what could not be put beside the backup afterwards."""
    try:
        _beside(settings, recovery_files())
        _kit(settings, services)
    except StrongroomError as error:
        raise type(error)(error.message, hint=f"{error.hint} Nothing was captured.".strip()) from None


def _furnish_or_explain(run: Run, settings: Settings, services: Services, wheels: Wheels | None) -> list[str]:
    try:
        return _furnish(run, settings, services, wheels)
    except StrongroomError as error:
        raise RunDegraded(
            f"The backup {run.id} is whole on its media, but what explains it could not be put beside it: "
            f"{error.message}",
            hint=f"Run 'strongroom emergency backup {run.spec.policy}' again before the medium goes into the "
            "safe. Until then this backup opens with its key and Strongroom alone.",
        ) from None


def _beside(settings: Settings, files: Mapping[str, bytes]) -> dict[str, bytes]:
    text = configuration(settings)
    toml = {"strongroom.toml": text.encode()} if text else {}
    return {**files, **quorum_files(settings), **toml}


def _kit(settings: Settings, services: Services) -> bytes:
    return render_kit(settings, services).encode()


def _furnish(run: Run, settings: Settings, services: Services, wheels: Wheels | None) -> list[str]:
    """Put tool, format, runbook, kit and quorum files beside the backup, on each medium."""
    quorums = quorum_files(settings)
    files = {**_beside(settings, recovery_files()), "kit.html": _kit(settings, services)}
    files |= {f"{WHEELS}/{name}": content for name, content in (wheels.files if wheels else {}).items()}
    names: list[str] = []
    for pin in run.spec.targets:
        target = services.target(pin.name)
        manifest = read_manifest(target, run.id, trusted=services.signer_fingerprints)
        files["RUNBOOK.md"] = runbook(
            backup=run.id,
            medium=pin.name,
            signers=tuple(installation_fingerprints(list_role_keys(datetime.now(UTC)))),
            opens_for=tuple(recipient.describes for recipient in manifest.recipients),
            quorums=tuple(quorums),
            configured="strongroom.toml" in files,
            part=bool(limits_of(manifest)),
            systems=wheels.systems if wheels else (),
        )
        names += [f"{pin.name}: {name}" for name in furnish(target, manifest, files)]
    return names


def _lines(names: list[str]) -> Iterator[str]:
    yield f"Next to it there are {plural(len(names), 'file')}:"
    yield from (f"  {name}" for name in names)
    yield "Print kit.html, unmount the medium, and put both into the safe, apart from the HSM and its PIN."


# -- escrow: the installation's own keys and configuration, sealed to a recipient, and back -----


def seal_or_open(given: EscrowKeys, output: Output) -> Answer:
    return _open(given, output) if given.open else _seal(given, output)


def _seal(given: EscrowKeys, output: Output) -> Answer:
    installation = place.find()
    refuse_existing(given.file, replace=given.force)
    allowed = load_settings().approvals.allowed_signers
    source = gather(installation.state_dir, installation.file, allowed_signers=allowed)
    found = recipients.recipients_of(
        RecipientOptions(recipient=given.recipient, passphrase_file=given.opening.passphrase_file),
        output,
        installation,
    )
    access_log.require_approved(
        installation,
        ApprovalAction.EXPORT,
        {
            "escrow": str(given.file.absolute()),
            "for": sorted(recipient.fingerprint for recipient in found),
        },
        lines=(
            f"this installation's own keys and configuration, into {given.file.absolute()}",
            *(f"for {recipient.describe()}" for recipient in found),
        ),
    )
    manifest = backup_to_file(
        given.file,
        source=source,
        recipients=found,
        services=open_services(),
        replace_existing=given.force,
    )
    signer = read_signer(given.file)
    kept = sorted(entry.name for entry in source.list())
    opens = "; ".join(recipient.describes for recipient in manifest.recipients)
    said = f"{given.file} holds {plural(len(kept), 'file')} of this installation, sealed to {opens}"
    keep = "Keep it apart from this machine, with that line. It holds the keys, not the store's database."
    return Answer(
        record={"file": given.file, "holds": kept, "signer": signer, "opens_for": opens},
        sheet=Sheet(parts=[Lines(kept, said, style="list"), Lines([f"Installation: {signer}", keep])]),
    )


def _open(given: EscrowKeys, output: Output) -> Answer:
    installation = place.find()
    with open_objects(given.file) as objects:
        openers = identities.identities_of(given.opening, output, installation)
        source = BackupSource(opening=given.opening, trust=given.trust)
        backup = open_trusted(objects, source, output, lambda: openers, installation, file=given.file)
        try:
            written = put_back(backup.secrets(), installation.state_dir)
        except WrongKey as error:
            raise explain_wrong_key(error) from None
    said = f"{plural(len(written), 'file')} brought back under {installation.state_dir}"
    sheet = Sheet(parts=[Lines(written, said, style="list")])
    return Answer(record={"written": written}, sheet=sheet)
