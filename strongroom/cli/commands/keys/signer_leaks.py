"""signers distrust, uses and re-sign: what to do about a key that leaked."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from strongroom.cli.commands.keys.signers import REPEAT_ESCROW, approve_signers, lack_of_spread
from strongroom.cli.errors import SignersUnsettled
from strongroom.cli.shared.installation_key import given_key
from strongroom.cli.shared.services import configured_targets, open_services, run_store
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import roles
from strongroom.operations.incident.re_sign import ReSigned, Rests, re_sign_backup, rests_on
from strongroom.operations.trust_lists.spread import learn_lists, spread
from strongroom.sheet import Lines, Sheet, Table
from strongroom.targets import Target

FINGERPRINT = re.compile(r"sr1:[0-9a-f]{64}")


_UNSETTLED = (
    "What is signed again stays so. Bring the targets and files back, or record that a file is gone for good "
    "('strongroom backups gone BACKUP'). Then repeat. A backup that a command made can be made again."
)


def distrust_key(arguments: Namespace, output: Output) -> Answer:
    folder = place.find().role_keys
    approve_signers("distrust", [arguments.fingerprint], f"distrust the key {arguments.fingerprint}")
    prompts.confirm("Nothing that this key ever signed will be believed here", force=arguments.force)
    targets = configured_targets()
    learn_lists(folder, targets)  # the next one is numbered after those that other hosts made
    role, key, number = roles.distrust(
        folder,
        arguments.fingerprint,
        reason=arguments.reason,
        installation_key=given_key(arguments, folder, output),
    )
    now = {name: public for name, public in roles.trusted(folder).items() if name == role}
    missed = spread(targets, roles.known_lists(folder)[1]) if number else {}
    run_store().event(
        "signer.distrusted", role=role, fingerprint=key.fingerprint, reason=key.reason, list=number
    )
    said = f"Version {key.version} of role '{role}' is distrusted. {_successor(role, found=bool(now))}"
    advice = _advice(role, folder / roles.TRUSTED, replaced=bool(now))
    unlisted = SignersUnsettled(
        "No trust list was made, since the installation key is not on this host. Other hosts and "
        "recover.py believe the key until there is one.",
        hint="Repeat the command with --installation-key FILE, or where that key is.",
    )
    return Answer(
        record={
            "role": role,
            "distrusted": key.fingerprint,
            "replaced": bool(now),
            "list": number,
            "missed": missed,
        },
        sheet=Sheet(verdict=said, parts=[Lines([*_told(number, targets, missed), *advice])]),
        error=lack_of_spread(number, missed) if number else unlisted,
    )


def _told(number: int, targets: Mapping[str, Target], missed: Mapping[str, str]) -> Iterator[str]:
    """Say who learns of it."""
    if not number:
        return
    there = [name for name in targets if name not in missed]
    if there:
        yield f"Trust list {number} says so on {', '.join(there)}. Who reads there, believes the key no more:"
        yield "every host of this installation, and recover.py with the installation's fingerprint."
    else:
        yield f"Trust list {number} is made. No target is configured here that it could lie on."
    yield from (f"  not yet on {name}: {why}" for name, why in missed.items())


def _successor(role: str, *, found: bool) -> str:
    if found:
        return "Another key signs now."
    return f"No other key signs yet: run 'strongroom keys signers rotate {role}' on the role's host."


def _advice(role: str, path: object, *, replaced: bool) -> Iterator[str]:
    if replaced:
        yield f"Where roles work on other hosts, copy {path} there: they know the new key by it."
    if role in roles.MANIFEST_SIGNERS:
        yield "Backups that it signed are refused from now on. Make a new one first. Then sign again what was"
        yield "made before the leak: strongroom keys signers re-sign --before TIME."
        yield "The catalog's digests decide; compare them with a printed recovery kit."
    elif role == "seal":
        yield "Backups stay good: a manifest counts by its own signer, who checked each container. Somebody"
        yield "with this key and the state database could have swapped containers: compare backups made since"
        yield "with their source (strongroom backups verify BACKUP --cluster --depth live)."
    yield REPEAT_ESCROW


def show_uses(arguments: Namespace, output: Output) -> Answer:
    if not FINGERPRINT.fullmatch(arguments.fingerprint):
        raise UsageError(
            "That is no signer's fingerprint.",
            hint="It is 'sr1:' and 64 hexadecimal digits, whole: see 'strongroom keys signers list'.",
        )
    services = open_services()
    found: list[Rests] = []
    unread: dict[str, str] = {}
    for entry in services.store.backups():
        try:
            rests = rests_on(services, entry, arguments.fingerprint)
        except StrongroomError as error:
            unread[entry.backup] = f"{error.code}: {error.message}"
            continue
        found += [resting for resting in rests if resting.manifest or resting.containers or resting.envelopes]
    lost = MissingPiece(
        f"{plural(len(unread), 'backup')} could not be read and may bear that signature.",
        hint="Bring back what is named, or record that a file is gone for good "
        "('strongroom backups gone BACKUP'). Then repeat.",
    )
    return Answer(
        record={"uses": found, "unread": unread},
        sheet=_used(found, unread),
        error=lost if unread else None,
    )


def _used(found: list[Rests], unread: dict[str, str]) -> Sheet:
    head = ("Backup", "Made", "Manifest", "Containers", "Envelopes", "File")
    rows = [(o.backup, o.created_at, o.manifest or "", o.containers, o.envelopes, o.file) for o in found]
    which = "No backup that could be read" if unread else "No backup"
    table = Table(head, rows, nothing=f"{which} bears a signature of that signer.")
    return Sheet(parts=[table, Lines([f"{backup}: not read: {why}" for backup, why in unread.items()])])


def re_sign(arguments: Namespace, output: Output) -> Answer:
    before = _moment(arguments.before) if arguments.before else None
    services = open_services()
    entries = [
        entry
        for entry in services.store.backups()
        if (not arguments.backup or entry.backup in arguments.backup)
        and (before is None or datetime.fromisoformat(entry.created_at) < before)
    ]
    approve_signers(
        "re-sign",
        sorted(entry.backup for entry in entries),
        f"sign {plural(len(entries), 'backup')} again as the catalog has them",
    )
    prompts.confirm(
        f"This vouches for {plural(len(entries), 'backup')} as the catalog has them", force=arguments.force
    )
    done, failed = [], {}
    for entry in entries:
        try:
            done.append(re_sign_backup(services, entry))
        except StrongroomError as error:
            failed[entry.backup] = f"{error.code}: {error.message}"
    unsettled = SignersUnsettled("Not everything could be signed again.", hint=_UNSETTLED)
    return Answer(
        record={"re_signed": done, "failed": failed},
        sheet=Sheet(parts=[Lines(list(_re_signed(done, failed)))]),
        error=unsettled if failed or any(resigned.missed for resigned in done) else None,
    )


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError("--before needs a time such as 2026-11-26T08:00:00Z.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _re_signed(done: list[ReSigned], failed: dict[str, str]) -> Iterator[str]:
    changed = [re_signed for re_signed in done if re_signed.manifest or re_signed.envelopes]
    yield f"{plural(len(changed), 'backup')} signed again, {len(done) - len(changed)} needed nothing."
    for resigned in done:
        yield from (f"  {resigned.backup} on {name}: not yet: {why}" for name, why in resigned.missed.items())
    yield from (f"  {backup}: not vouched for: {why}" for backup, why in failed.items())
