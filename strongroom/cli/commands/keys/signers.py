"""signers: the installation's key and the roles' keys, made, kept, certified, and what to do about one
that leaked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from strongroom.cli.commands.keys.arguments import (
    CertifyRoleKey,
    CreateRoleKey,
    DistrustSigner,
    HandOver,
    RotateRoleKeys,
    SignAgain,
    TakeOffline,
)
from strongroom.cli.errors import SignersUnsettled
from strongroom.cli.parameters import Nothing
from strongroom.cli.shared import access_log
from strongroom.cli.shared.installation_key import (
    RoleKeyStatus,
    given_key,
    installation_fingerprints,
    keep,
    key_of_files,
    key_of_words,
    list_role_keys,
    spare_lines,
)
from strongroom.cli.shared.services import configured_targets, open_services, run_store
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.container.errors import MissingPiece
from strongroom.container.signing import Certificate, Signer, fingerprint
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import rolelist, roles
from strongroom.keys.rolelist import RoleKey
from strongroom.model import ApprovalAction, Role
from strongroom.operations.engine.membership import exchange
from strongroom.operations.engine.spread import learn_lists, spread
from strongroom.operations.procedures.re_sign import ReSigned, Rests, re_sign_backup, rests_on
from strongroom.sheet import Lines, Part, Sheet, Table
from strongroom.targets import Target

# -- signers list: the installation's fingerprint, and the roles' keys that it certifies --------


REPEAT_ESCROW = "Make a new escrow and print the recovery kit again: both still have the old keys."


def signer_parts(keys: list[RoleKeyStatus], heading: str = "") -> Iterator[Part]:
    """Yield the table of signers, and which of them are due for rotation."""
    installations = [f"Installation: {fingerprint}" for fingerprint in installation_fingerprints(keys)]
    pinned = "That line is what others pin (--signer, trust.signers). It certifies the keys of the roles:"
    nothing = "There is no signing key yet: nothing was signed here."
    yield Lines([*installations, pinned] if keys else [nothing], heading)
    rows = [
        (
            role_key.role,
            role_key.key.version,
            role_key.state,
            role_key.key.since[:10],
            role_key.key.fingerprint,
        )
        for role_key in keys
    ]
    yield Table(("Role", "Version", "State", "Since", "Key"), rows)
    yield Lines(
        [
            f"'{role_key.role}' has signed with one key for over a year: rotate it."
            for role_key in keys
            if role_key.old
        ]
    )


def signer_document(role_key: RoleKeyStatus) -> dict[str, Any]:
    """Return a signer for machines."""
    fields = {name: value for name, value in asdict(role_key.key).items() if name != "certificate"}
    plain = {name: value for name, value in fields.items() if value not in ("", False)}
    plain["public"] = role_key.key.certificate.key
    return {
        "role": role_key.role,
        "fingerprint": role_key.key.fingerprint,
        "state": role_key.state,
        "old": role_key.old,
        **plain,
    }


def list_signers(given: Nothing, output: Output) -> Answer:
    keys = list_role_keys(datetime.now(UTC))
    installation = next(iter(installation_fingerprints(keys)), None)
    record = {"installation": installation, "signers": [signer_document(role_key) for role_key in keys]}
    return Answer(record=record, sheet=Sheet(parts=list(signer_parts(keys))))


def approve_signers(action: str, what: Sequence[str], line: str) -> None:
    """Ask for approvals, where the configuration wants them, before it is changed whose signatures count."""
    access_log.require_approved(
        place.find(), ApprovalAction.SIGNERS, {"action": action, "what": what}, lines=(line,)
    )


def lack_of_spread(number: int, missed: Iterable[str]) -> SignersUnsettled | None:
    """Return what lacks a new trust list; the media in a safe get it with the next backup onto them."""
    online = load_settings().online
    if lacking := [name for name in missed if name in online]:
        return SignersUnsettled(
            f"Trust list {number} is not yet on {', '.join(lacking)}.",
            hint="The next backup or ledger head there puts it there too.",
        )
    return None


# -- signers create, certify and rotate: making the roles' keys ---------------


PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")


def create_key(given: CreateRoleKey, output: Output) -> Answer:
    folder, role = place.find().role_keys, given.role
    if given.need.request:
        return _request_key(given, folder)
    if given.need.lost:
        return _replace_key(given, folder, output)
    signer = roles.load_or_create_role(
        folder, role, installation_key=given_key(given.certifier, folder, output), given=True
    )
    lines = [f"{role}: signs: {signer.fingerprint}", f"Installation: {signer.certificate.fingerprint}"]
    return _made(role, signer.certificate, *lines)


def _request_key(given: CreateRoleKey, folder: Path) -> Answer:
    role = given.role
    public = roles.request(folder, role)
    host = rolelist.this_host(folder)
    then = (
        "This host takes the certificate over by itself, within ten seconds."
        if host
        else f"Then copy {roles.TRUSTED} from there to {folder / roles.TRUSTED}."
    )
    lines = [
        f"The next key of role '{role}' is made. It signs nothing before it is certified.",
        "Where the installation key is kept, run:",
        f"  strongroom keys signers certify {role} {public.hex()}{f' --host {host}' if host else ''}",
        then,
    ]
    record = {"role": role, "public": public.hex(), "fingerprint": fingerprint(public)}
    return Answer(record=record, sheet=Sheet(parts=[Lines(lines)]))


def certify_key(given: CertifyRoleKey, output: Output) -> Answer:
    folder = place.find().role_keys
    if not PUBLIC_KEY.fullmatch(given.key):
        raise UsageError(
            "That is no public key.",
            hint="It is the 64 digits that 'strongroom keys signers create ROLE --request' printed.",
        )
    approve_signers(
        "certify",
        [given.role, given.key],
        f"certify the key {given.key} of role {given.role}",
    )
    certifier = given_key(given.certifier, folder, output)
    host = given.host or rolelist.this_host(folder)
    key = roles.certify_key(
        folder, given.role, bytes.fromhex(given.key), host=host, installation_key=certifier
    )
    _record("signer.certified", given.role, key)
    lines = [
        f"{given.role}: version {key.version} is certified: {key.fingerprint}",
        *_reaches_others(folder, f"Copy {folder / roles.TRUSTED} to the host that made the key."),
    ]
    return _made(given.role, key.certificate, *lines)


def _replace_key(given: CreateRoleKey, folder: Path, output: Output) -> Answer:
    approve_signers("replace", [given.role], f"replace the lost key of role {given.role}")
    key = roles.replace(folder, given.role, installation_key=given_key(given.certifier, folder, output))
    _record("signer.replaced", given.role, key)
    lines = [
        f"{given.role}: version {key.version} signs: {key.fingerprint}",
        "The installation's fingerprint is the same, so nobody elsewhere has to do anything.",
        "What the lost key signed stays good. If somebody may have it: strongroom keys signers distrust KEY",
        *_reaches_others(folder),
        REPEAT_ESCROW,
    ]
    return _made(given.role, key.certificate, *lines)


def _reaches_others(folder: Path, alone: str = "") -> Iterator[str]:
    """Leave the lists for the other hosts, if there are any, and say how they learn of it."""
    if rolelist.this_host(folder):
        exchange(folder, run_store())
        yield "The other hosts take it over by themselves, within a minute."
    elif alone:
        yield alone


def _record(kind: str, role: str, key: RoleKey) -> None:
    run_store().event(kind, role=role, version=key.version, fingerprint=key.fingerprint)


def _made(role: str, certificate: Certificate, *lines: str) -> Answer:
    record = {
        "role": role,
        "fingerprint": certificate.key_fingerprint,
        "installation": certificate.fingerprint,
    }
    return Answer(record=record, sheet=Sheet(parts=[Lines(lines)]))


def rotate_keys(given: RotateRoleKeys, output: Output) -> Answer:
    folder = place.find().role_keys
    here = [role for role in roles.ROLES if (folder / f"{role}.key").exists()]
    if not (chosen := given.role or here):
        raise UsageError(
            "No role's private key lies here.", hint="Rotate it on the host where its role works."
        )
    step = "announce" if given.announce else "rotate"
    approve_signers(step, sorted(chosen), f"{step} the keys of {', '.join(sorted(chosen))}")
    store, made = run_store(), []
    certifier = given_key(given.certifier, folder, output)
    for role in chosen:
        key = (
            roles.announce(folder, role, installation_key=certifier)
            if given.announce
            else roles.rotate(
                folder,
                role,
                grace=timedelta(hours=given.grace),
                installation_key=certifier,
            )
        )
        kind = "signer.announced" if given.announce else "signer.rotated"
        store.event(kind, role=role, version=key.version, fingerprint=key.fingerprint)
        made.append((role, key))
    record = {"made": [{"role": r, "version": k.version, "fingerprint": k.fingerprint} for r, k in made]}
    lines = list(_rotated(made, announced=given.announce))
    lines[-1:-1] = _reaches_others(folder)
    return Answer(record=record, sheet=Sheet(parts=[Lines(lines)]))


def _rotated(made: list[tuple[str, RoleKey]], *, announced: bool) -> Iterator[str]:
    for role, key in made:
        yield f"{role}: version {key.version} {'is announced' if announced else 'signs'}: {key.fingerprint}"
    if announced:
        yield "Repeat it later without --announce, and the next keys sign."
        return
    yield "Running workers notice by themselves. What the old keys signed stays good."
    yield REPEAT_ESCROW


# -- signers distrust and re-sign: what to do about a key that leaked ---------------------


FINGERPRINT = re.compile(r"sr1:[0-9a-f]{64}")


_UNSETTLED = (
    "What is signed again stays so. Bring the targets and files back, or record that a file is gone for good "
    "('strongroom backups gone BACKUP'). Then repeat. A backup that a command made can be made again."
)


def distrust_key(given: DistrustSigner, output: Output) -> Answer:
    if given.dry_run or given.reason is None:
        return _show_uses(given.fingerprint)
    folder = place.find().role_keys
    approve_signers("distrust", [given.fingerprint], f"distrust the key {given.fingerprint}")
    prompts.confirm("Nothing that this key ever signed will be believed here", force=given.force)
    targets = configured_targets()
    learn_lists(folder, targets)  # the next one is numbered after those that other hosts made
    role, key, number = roles.distrust(
        folder,
        given.fingerprint,
        reason=given.reason,
        installation_key=given_key(given.certifier, folder, output),
    )
    now = {name: public for name, public in roles.trusted(folder).items() if name == role}
    missed = spread(targets, roles.known_lists(folder)[1]) if number else {}
    run_store().event(
        "signer.distrusted", role=role, fingerprint=key.fingerprint, reason=key.reason, list=number
    )
    said = f"Version {key.version} of role '{role}' is distrusted. {_successor(role, found=bool(now))}"
    advice = [*(_reaches_others(folder) if number else ()), *_advice(role)]
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


def _advice(role: str) -> Iterator[str]:
    if role in roles.MANIFEST_SIGNERS:
        yield "Backups that it signed are refused from now on. Make a new one first. Then sign again what was"
        yield "made before the leak: strongroom keys signers re-sign --before TIME."
        yield "The catalog's digests decide; compare them with a printed recovery kit."
    elif role == Role.SEAL:
        yield "Backups stay good: a manifest counts by its own signer, who checked each container. Somebody"
        yield "with this key and the state database could have swapped containers: compare backups made since"
        yield "with their source (strongroom backups verify BACKUP --cluster --depth live)."
    yield REPEAT_ESCROW


def _show_uses(fingerprint: str) -> Answer:
    if not FINGERPRINT.fullmatch(fingerprint):
        raise UsageError(
            "That is no signer's fingerprint.",
            hint="It is 'sr1:' and 64 hexadecimal digits, whole: see 'strongroom keys signers list'.",
        )
    services = open_services()
    found: list[Rests] = []
    unread: dict[str, str] = {}
    for entry in services.store.backups():
        try:
            rests = rests_on(services, entry, fingerprint)
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


def re_sign(given: SignAgain, output: Output) -> Answer:
    services = open_services()
    entries = [
        entry
        for entry in services.store.backups()
        if (not given.backup or entry.backup in given.backup)
        and (given.before is None or datetime.fromisoformat(entry.created_at).timestamp() < given.before)
    ]
    approve_signers(
        "re-sign",
        sorted(entry.backup for entry in entries),
        f"sign {plural(len(entries), 'backup')} again as the catalog has them",
    )
    prompts.confirm(
        f"This vouches for {plural(len(entries), 'backup')} as the catalog has them", force=given.force
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


def _re_signed(done: list[ReSigned], failed: dict[str, str]) -> Iterator[str]:
    changed = [re_signed for re_signed in done if re_signed.manifest or re_signed.envelopes]
    yield f"{plural(len(changed), 'backup')} signed again, {len(done) - len(changed)} needed nothing."
    for resigned in done:
        yield from (f"  {resigned.backup} on {name}: not yet: {why}" for name, why in resigned.missed.items())
    yield from (f"  {backup}: not vouched for: {why}" for backup, why in failed.items())


# -- signers offline and hand-over: where the installation key is kept, and which one certifies


def take_offline(given: TakeOffline, output: Output) -> Answer:
    if given.spare:
        key = Signer.generate()
        where = keep(key, given.paper, output)
        sheet = Sheet(parts=[Lines(list(spare_lines(key, where)))])
        return Answer(record={"spare": key.fingerprint, "kept": where}, sheet=sheet)
    folder = place.find().role_keys
    certifier = given_key(given.certifier, folder, output)
    key = roles.make_all(folder) if certifier is None else roles.installation_signer(folder, certifier)
    where = keep(key, given.paper, output)
    removed = roles.remove_installation_key(folder)
    run_store().event("installation.offline", fingerprint=key.fingerprint)
    said = f"The private installation key is kept {where}, and was read back from there."
    gone = f"It is gone from {folder}." if removed else f"It was not in {folder}."
    asks = "What certifies a key asks for it: --installation-key FILE, or its words."
    return Answer(
        record={"installation": key.fingerprint, "kept": where, "removed": removed},
        sheet=Sheet(verdict=said, about=f"{gone} {asks}"),
    )


def hand_over(given: HandOver, output: Output) -> Answer:
    folder = place.find().role_keys
    approve_signers("hand-over", [], "have another installation key certify")
    targets = configured_targets()
    learn_lists(folder, targets)
    successor = _successor_key(given, folder, output)
    old = roles.installation_fingerprint(folder)
    prompts.confirm(
        f"{successor.fingerprint} certifies this installation's keys from now on", force=given.force
    )
    certifier = given_key(given.certifier, folder, output)
    number = roles.hand_over(folder, successor, installation_key=certifier, now=datetime.now(UTC))
    _settle_key(folder, successor, offline=bool(given.successor or given.successor_share))
    missed = spread(targets, roles.known_lists(folder)[1])
    run_store().event("installation.handed_over", before=old, now=successor.fingerprint, list=number)
    there = [name for name in targets if name not in missed]
    lines = [
        f"Before: {old}. That line stays good: trust list {number} leads on from it.",
        f"The list is on {', '.join(there) or 'no target: none is configured here'}.",
        *(f"  not yet on {name}: {why}" for name, why in missed.items()),
        *_reaches_others(folder),
        REPEAT_ESCROW,
    ]
    return Answer(
        record={"installation": successor.fingerprint, "before": old, "list": number, "missed": missed},
        sheet=Sheet(verdict=f"Installation: {successor.fingerprint}", parts=[Lines(lines)]),
        error=lack_of_spread(number, missed),
    )


def _successor_key(given: HandOver, folder: Path, output: Output) -> Signer:
    """Return the key that follows: one that was given, or a new one that lies here until it is taken off."""
    if given.successor_share:
        return key_of_files(given.successor_share)
    if given.successor is not None:
        return roles.read_installation_key(given.successor)
    if given.spare:
        found = key_of_words("The words of the spare key, or its first share", output)
        if found is None:
            raise UsageError("No spare key was given.", hint="Without --spare a new key is made.")
        return found
    path = folder / NEXT
    if not path.exists():
        roles.write_installation_key(path, Signer.generate())
    return roles.read_installation_key(path)


NEXT = "installation.next.key"


def _settle_key(folder: Path, successor: Signer, *, offline: bool) -> None:
    """Leave the present private key beside the role keys, or none: the one before certifies nothing more."""
    path = folder / NEXT
    if path.exists() and not offline and roles.read_installation_key(path).public == successor.public:
        path.replace(folder / roles.INSTALLATION)
        return
    present = folder / roles.INSTALLATION
    if not present.exists() or roles.read_installation_key(present).public != successor.public:
        roles.remove_installation_key(folder)
