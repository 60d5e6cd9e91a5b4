"""incident: quarantine what a leaked key opens, seal it anew in order of exposure, write it down."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from strongroom.cli.shared import identity_options
from strongroom.cli.shared.drive_run import require_all_whole, require_good
from strongroom.cli.shared.follow_run import by_ticket, showing_progress
from strongroom.cli.shared.person import who
from strongroom.cli.shared.remaining_copies import describe_remaining
from strongroom.cli.shared.services import open_services
from strongroom.cli.shared.settings import asking
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output, encode, plural
from strongroom.config import load_settings
from strongroom.container.errors import MissingPiece, WrongKey
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import COMMAND
from strongroom.operations.archive.quarantine import Unmarked, all_quarantined, release
from strongroom.operations.errors import RunDegraded, RunFailed
from strongroom.operations.incident.incident import (
    Incident,
    open_incident,
    record,
    secrets_of,
    submit_reencryption,
)
from strongroom.operations.key_management.usage import pinned_key
from strongroom.operations.rotation.outcome import results as results_of
from strongroom.operations.runs.drive import drive
from strongroom.operations.services import Services
from strongroom.state.records import Run
from strongroom.system.atomic_file import refuse_existing, write_whole
from strongroom.targets.manifest_listing import ManifestListing
from strongroom.timestamps import rfc3339, unique
from strongroom.wiring.keys import pin

_REPEAT = (
    "They are in quarantine, but the key still opens them. The record is written and says why. Files: "
    "'strongroom rotate-backup-key' with --re-encrypt-backups, or make them again. Policies: see "
    "'strongroom status', then 'strongroom rotate'."
)
_BY_COMMAND = "no policy names their recipients: 'strongroom rotate-backup-key' re-encrypts these files"


def respond_to_leak(arguments: Namespace, output: Output) -> None:
    for path in filter(None, (arguments.output, arguments.secrets)):
        refuse_existing(path, replace=False)
    if arguments.key_version is not None and not arguments.key:
        raise UsageError("--key-version goes with --key.")
    settings = load_settings()
    services = identity_options.with_identities(open_services(settings), arguments, output)
    prompts.confirm("This quarantines backups and re-encrypts them", force=arguments.force)
    made = open_incident(
        services,
        name=unique(time.time()),
        by=who(),
        reason=arguments.reason,
        key=_key(arguments.key, settings) if arguments.key else "",
        version=arguments.key_version,
        backups=arguments.backup,
    )
    runs, failed = ([], {}) if arguments.quarantine_only else _reencrypt(made, services, output)
    results = [one for run in runs for one in results_of(services.store, run.id)]
    names, unlisted = secrets_of(services, made) if arguments.secrets else ({}, {})
    document = record(made, results, closed_at=rfc3339(time.time()), failed=failed, unlisted=unlisted)
    write_whole(arguments.output, encode(document))
    if arguments.secrets:
        write_whole(arguments.secrets, encode(names))
    services.store.event("incident.recorded", incident=made.id, sealed_anew=len(document["sealed_anew"]))
    output.answer(document, _lines(made, document, arguments.output))
    for run in runs:
        require_good(run)
    _require_done(made, failed, unlisted)
    _require_marked(made.unmarked)
    require_all_whole(runs)


def _reencrypt(made: Incident, services: Services, output: Output) -> tuple[list[Run], dict[str, str]]:
    """Re-encrypt each policy's backups; return the runs, and why the others could not be re-encrypted."""
    runs: list[Run] = []
    failed: dict[str, str] = {}
    for policy in made.policies:
        try:
            runs.append(_run(policy, made, services, output))
        except StrongroomError as error:  # the others go on, and the record is written in any case
            failed[policy] = f"{error.code}: {error.message}"
    if made.files:
        failed[COMMAND] = _BY_COMMAND
    return runs, failed


def _require_done(made: Incident, failed: Mapping[str, str], unlisted: Mapping[str, str]) -> None:
    """Return if nothing of an incident is left open here; the record is written in any case."""
    if made.unread:
        raise MissingPiece(
            f"{plural(len(made.unread), 'backup')} could not be read; the key may open them.",
            hint="They count as affected and are in quarantine. Bring them back, as the record says. "
            "Then open the incident again.",
        )
    if unlisted:
        raise WrongKey(
            f"The secrets in {plural(len(unlisted), 'backup')} could not be listed: they are not in the "
            "file of what has to be changed.",
            hint="The record names them (secrets_not_listed). Give what opens them (--identity, "
            "--passphrase-file), then open the incident again.",
        )
    if failed:
        kind = RunDegraded if set(failed) == {COMMAND} else RunFailed
        raise kind(f"Not re-encrypted: {'; '.join(_unsealed(failed))}.", hint=_REPEAT)


def _unsealed(failed: Iterable[str]) -> Iterator[str]:
    for policy in failed:
        yield "what commands wrote into files" if policy == COMMAND else f"the backups of '{policy}'"


def _key(word: str, found: Any) -> str:
    if word in found.keys:
        return pinned_key(pin(word, found, asking()))
    if ":" not in word:
        known = ", ".join(found.keys) or "none"
        raise UsageError(f"There is no key '{word}'.", hint=f"Configured: {known}. Others: 'keys --json'.")
    return word


def _run(policy: str, made: Incident, services: Services, output: Output) -> Run:
    run, tickets = submit_reencryption(services, made, policy, take_over=True)
    with showing_progress(output, services.store) as watch:
        return drive(run, tickets, services, watch=by_ticket(watch))


def _lines(made: Incident, document: Mapping[str, Any], path: Path) -> Iterator[str]:
    yield f"incident {made.id}: {plural(len(made.affected), 'backup')} in quarantine"
    yield from (f"  {one.backup} is in {one.file}" for one in made.affected if one.file)
    for one in document["sealed_anew"]:
        yield f"  {one['backup']} is re-encrypted as {one['new']} (verified: {one['verified']})"
    for one in document["still_open"]:
        yield f"  {one['backup']} on {one['target']} is still open, {describe_remaining(one)}"
    yield from (f"  {backup}: not read: {why}" for backup, why in made.unread.items())
    yield from (f"  {backup}: somebody said that its file is gone" for backup in made.gone)
    for backup, why in document["secrets_not_listed"].items():
        if backup not in made.unread:
            yield f"  {backup}: its secrets are not listed: {why}"
    for policy, why in document["not_sealed_anew"].items():
        yield f"  {next(_unsealed([policy]))} are not re-encrypted: {why}"
    yield from document["left_to_do"]
    yield f"The record is in {path}."


def list_quarantined(arguments: Namespace, output: Output) -> None:
    services = open_services()
    found = all_quarantined(services)
    gone = _deleted(found, services)
    words = [
        f"{backup}  {why}" + ("; since deleted: no target has it any more" if backup in gone else "")
        for backup, why in sorted(found.items())
    ]
    output.answer({"quarantined": found, "deleted": gone}, words or ["Nothing is in quarantine."])


def _deleted(backups: Iterable[str], services: Services) -> list[str]:
    """Return those that the catalog has no more and no target shows, as after 'rotate --remove-replaced'.

    Where a target does not answer, nobody knows: then none is called deleted.
    """
    forgotten = [backup for backup in backups if services.store.backup(backup) is None]
    try:
        listings = [ManifestListing(target) for target in services.targets.values()] if forgotten else []
    except StrongroomError:
        return []
    return sorted(one for one in forgotten if not any(one in listing for listing in listings))


def release_backups(arguments: Namespace, output: Output) -> None:
    services = open_services()
    held = all_quarantined(services)
    if unknown := [backup for backup in arguments.backup if backup not in held]:
        raise UsageError(f"Backup {unknown[0]} is not in quarantine.", hint="See 'strongroom incident list'.")
    unmarked = release(services, arguments.backup, reason=arguments.reason, by=who())
    output.answer(
        {"released": arguments.backup, "not_marked": unmarked},
        [f"{one} is released." for one in arguments.backup],
    )
    _require_marked(unmarked)


def _require_marked(unmarked: Unmarked) -> None:
    """Return if every target has the mark: other hosts go by it."""
    if unmarked:
        told = "; ".join(f"{n}: {why}" for failed in unmarked.values() for n, why in failed.items())
        raise RunDegraded(
            f"The mark of {plural(len(unmarked), 'backup')} could not be written everywhere: {told}",
            hint="It is on record here. Bring those targets back, then repeat.",
        )
