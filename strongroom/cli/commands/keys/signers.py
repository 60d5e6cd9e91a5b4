"""signers: the installation's fingerprint, the roles' keys that it certifies, and what to do about a leak."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.cli.errors import SignersUnsettled
from strongroom.cli.parser import Parser
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output, plural, table
from strongroom.container.certificate import Certificate
from strongroom.container.errors import MissingPiece
from strongroom.container.signing import fingerprint
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import roles
from strongroom.keys.rolelist import RoleKey, read

if TYPE_CHECKING:
    from strongroom.operations.incident.re_sign import Resigned, Rests

YEAR = timedelta(days=365)
FINGERPRINT = re.compile(r"sr1:[0-9a-f]{64}")
PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")
_ROLES = f"one of {', '.join(roles.ROLES)}"
_ESCROW = "Make a new escrow and print the recovery kit anew: both still have the old keys."

_UNSETTLED = (
    "What is signed anew stays. Bring the targets and files back, or say of a file that it is gone for good "
    "('strongroom keys --gone BACKUP'), then repeat. What was made by a command can be made anew."
)


class Known(NamedTuple):
    """A role's key, and how it stands."""

    role: str
    key: RoleKey
    state: str
    old: bool


def known(now: datetime) -> list[Known]:
    """Return every version of every role's key that this host knows."""
    listed = read(place.find().role_keys)
    return [
        Known(role, key, _state(key), _old(key, now))
        for role, keys in sorted(listed.roles.items())
        for key in keys
    ]


def _state(key: RoleKey) -> str:
    if key.distrusted:
        return f"distrusted since {key.distrusted}: {key.reason}"
    if key.announced:
        return "announced, does not sign yet"
    return f"retired, counts for what was made until {key.until}" if key.until else "signs"


def _old(key: RoleKey, now: datetime) -> bool:
    return key.signs and bool(key.since) and now - datetime.fromisoformat(key.since) > YEAR


def lines(found: list[Known]) -> Iterator[str]:
    """Yield the table of signers, and which of them are due for rotation."""
    if not found:
        yield "There is no signing key yet: nothing was signed here."
        return
    yield from (f"Installation: {fingerprint}" for fingerprint in pinned(found))
    yield "That line is what others pin (--signer, trust.signers). It certifies the keys of the roles:"
    yield ""
    head = ("ROLE", "VERSION", "STATE", "SINCE", "KEY")
    rows = [(one.role, one.key.version, one.state, one.key.since[:10], one.key.fingerprint) for one in found]
    yield from table(head, rows)
    yield from (
        f"'{one.role}' has signed with one key for over a year: rotate it." for one in found if one.old
    )


def pinned(found: Iterable[Known]) -> list[str]:
    """Return what a recovery elsewhere has to pin: this installation's fingerprint, once it has one."""
    return list(dict.fromkeys(one.key.certificate.fingerprint for one in found))


def as_document(one: Known) -> dict[str, Any]:
    """Return a signer for machines."""
    from msgspec.structs import asdict  # noqa: PLC0415

    fields = {name: value for name, value in asdict(one.key).items() if name != "certificate"}
    plain = {name: value for name, value in fields.items() if value not in ("", False)}
    plain["public"] = one.key.certificate.key
    return {"role": one.role, "fingerprint": one.key.fingerprint, "state": one.state, "old": one.old, **plain}


def _arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    commands.add_parser(
        "list", help="show the installation's fingerprint and every version of every role's key"
    )
    create = commands.add_parser("create", help="make and certify the first key of a role")
    create.add_argument("role", metavar="ROLE", choices=roles.ROLES, help=_ROLES)
    request = commands.add_parser(
        "request", help="make a role's key here, for the host that has the installation key to certify"
    )
    request.add_argument("role", metavar="ROLE", choices=roles.ROLES, help=_ROLES)
    certify = commands.add_parser("certify", help="certify a key that another host requested")
    certify.add_argument("role", metavar="ROLE", choices=roles.ROLES, help=_ROLES)
    certify.add_argument("key", metavar="KEY", help="the public key that 'signers request' printed there")
    replace = commands.add_parser("replace", help="give a role whose private key is lost another one")
    replace.add_argument("role", metavar="ROLE", choices=roles.ROLES, help=_ROLES)
    rotate = commands.add_parser("rotate", help="have roles sign with new keys from now on; once a year")
    rotate.add_argument("role", metavar="ROLE", nargs="*", help="which (default: all whose keys lie here)")
    rotate.add_argument(
        "--announce", action="store_true", help="only make and list the next keys, for the other hosts' lists"
    )
    rotate.add_argument(
        "--grace",
        metavar="HOURS",
        type=float,
        default=roles.GRACE / timedelta(hours=1),
        help="how long what the old key signs is accepted as new: runs on their way (default: %(default)g)",
    )
    distrust = commands.add_parser("distrust", help="have nothing count any more that a leaked key signed")
    distrust.add_argument("fingerprint", metavar="FINGERPRINT")
    distrust.add_argument("--reason", metavar="TEXT", required=True, help="what is known; it goes on record")
    distrust.add_argument("--force", action="store_true", help="do not ask first")
    uses = commands.add_parser("uses", help="show which backups bear a signer's signature")
    uses.add_argument("fingerprint", metavar="FINGERPRINT")
    again = commands.add_parser("resign", help="sign anew what a distrusted key signed and the catalog knows")
    again.add_argument("--backup", metavar="ID", action="append", default=[], help="only this; repeatable")
    again.add_argument("--before", metavar="TIME", help="only what was made before this time, RFC 3339")
    again.add_argument("--force", action="store_true", help="do not ask first")
    for certifying in (create, certify, replace, rotate, distrust):
        certifying.add_argument(
            "--installation-key",
            metavar="FILE",
            type=Path,
            help="where the installation's private key lies, if it is kept offline",
        )


def _signers(arguments: Namespace, output: Output) -> None:
    does: dict[str, Callable[[Namespace, Output], None]] = {
        "list": _list,
        "create": _create,
        "request": _request,
        "certify": _certify,
        "replace": _replace,
        "rotate": _rotate,
        "distrust": _distrust,
        "uses": _uses,
        "resign": _resign,
    }
    does[arguments.action](arguments, output)


def _list(arguments: Namespace, output: Output) -> None:
    found = known(datetime.now(UTC))
    installation = next(iter(pinned(found)), None)
    document = {"installation": installation, "signers": [as_document(one) for one in found]}
    output.answer(document, lines(found))


# -- making and certifying -----------------------------------------------------


def _create(arguments: Namespace, output: Output) -> None:
    folder, role = place.find().role_keys, arguments.role
    signer = roles.load_or_create_role(folder, role, installation_key=arguments.installation_key)
    words = [f"{role}: signs: {signer.fingerprint}", f"Installation: {signer.certificate.fingerprint}"]
    output.answer(_made(role, signer.certificate), words)


def _request(arguments: Namespace, output: Output) -> None:
    folder, role = place.find().role_keys, arguments.role
    public = roles.request(folder, role)
    words = [
        f"The next key of role '{role}' is made. It signs nothing before it is certified.",
        "Where the installation key is kept, run:",
        f"  strongroom signers certify {role} {public.hex()}",
        f"Then copy {roles.TRUSTED} from there to {folder / roles.TRUSTED}.",
    ]
    output.answer({"role": role, "public": public.hex(), "fingerprint": fingerprint(public)}, words)


def _certify(arguments: Namespace, output: Output) -> None:
    folder = place.find().role_keys
    if not PUBLIC_KEY.fullmatch(arguments.key):
        raise UsageError(
            "That is no public key.", hint="It is the 64 digits that 'strongroom signers request' printed."
        )
    key = roles.certify_key(
        folder, arguments.role, bytes.fromhex(arguments.key), installation_key=arguments.installation_key
    )
    _record("signer.certified", arguments.role, key)
    words = [
        f"{arguments.role}: version {key.version} is certified: {key.fingerprint}",
        f"Copy {folder / roles.TRUSTED} to the host that made the key, and to every other host.",
    ]
    output.answer(_made(arguments.role, key.certificate), words)


def _replace(arguments: Namespace, output: Output) -> None:
    folder = place.find().role_keys
    key = roles.replace(folder, arguments.role, installation_key=arguments.installation_key)
    _record("signer.replaced", arguments.role, key)
    words = [
        f"{arguments.role}: version {key.version} signs: {key.fingerprint}",
        "The installation's fingerprint is the same, so nobody elsewhere has to do anything.",
        "What the lost key signed stays good. If somebody may have it: strongroom signers distrust KEY",
        f"Where roles work on other hosts, copy {folder / roles.TRUSTED} there now.",
        _ESCROW,
    ]
    output.answer(_made(arguments.role, key.certificate), words)


def _record(kind: str, role: str, key: RoleKey) -> None:
    from strongroom.cli.shared.settings import run_store  # noqa: PLC0415 - the run store

    run_store().event(kind, role=role, version=key.version, fingerprint=key.fingerprint)


def _made(role: str, certificate: Certificate) -> dict[str, str]:
    return {
        "role": role,
        "fingerprint": certificate.key_fingerprint,
        "installation": certificate.fingerprint,
    }


# -- rotating ------------------------------------------------------------------


def _rotate(arguments: Namespace, output: Output) -> None:
    from strongroom.cli.shared.settings import run_store  # noqa: PLC0415 - the run store

    folder = place.find().role_keys
    if arguments.grace < 0:
        raise UsageError("--grace is a number of hours, not below zero.")
    here = [role for role in roles.ROLES if (folder / f"{role}.key").exists()]
    if not (chosen := arguments.role or here):
        raise UsageError(
            "No role's private key lies here.", hint="Rotate it on the host where its role works."
        )
    store, made = run_store(), []
    for role in chosen:
        key = (
            roles.announce(folder, role, installation_key=arguments.installation_key)
            if arguments.announce
            else roles.rotate(
                folder,
                role,
                grace=timedelta(hours=arguments.grace),
                installation_key=arguments.installation_key,
            )
        )
        kind = "signer.announced" if arguments.announce else "signer.rotated"
        store.event(kind, role=role, version=key.version, fingerprint=key.fingerprint)
        made.append((role, key))
    document = {"made": [{"role": r, "version": k.version, "fingerprint": k.fingerprint} for r, k in made]}
    output.answer(document, _rotated(made, folder / roles.TRUSTED, announced=arguments.announce))


def _rotated(made: list[tuple[str, RoleKey]], path: object, *, announced: bool) -> Iterator[str]:
    for role, key in made:
        yield f"{role}: version {key.version} {'is announced' if announced else 'signs'}: {key.fingerprint}"
    if announced:
        yield f"Copy {path} to every other host, then repeat without --announce."
        return
    yield "Running workers notice by themselves. What the old keys signed stays good."
    yield f"Where roles work on other hosts, copy {path} there now: they refuse the new keys until then."
    yield _ESCROW


# -- leaks ---------------------------------------------------------------------


def _distrust(arguments: Namespace, output: Output) -> None:
    from strongroom.cli.shared.settings import run_store  # noqa: PLC0415 - the run store

    folder = place.find().role_keys
    prompts.confirm("Nothing that this key ever signed will be believed here", force=arguments.force)
    role, key = roles.distrust(
        folder,
        arguments.fingerprint,
        reason=arguments.reason,
        installation_key=arguments.installation_key,
    )
    now = {name: public for name, public in roles.trusted(folder).items() if name == role}
    run_store().event("signer.distrusted", role=role, fingerprint=key.fingerprint, reason=key.reason)
    words = [f"Version {key.version} of role '{role}' is distrusted. {_successor(role, found=bool(now))}"]
    words += _advice(role, folder / roles.TRUSTED)
    output.answer({"role": role, "distrusted": key.fingerprint, "replaced": bool(now)}, words)


def _successor(role: str, *, found: bool) -> str:
    if found:
        return "Another key signs now."
    return f"No other key signs yet: run 'strongroom signers rotate {role}' on the role's host."


def _advice(role: str, path: object) -> Iterator[str]:
    yield f"Copy {path} to every other host: they believe the key until then."
    if role in roles.MANIFEST_SIGNERS:
        yield (
            "Backups that it signed are refused from now on. Make a new one first. Then sign anew what was\n"
            "made before the leak: strongroom signers resign --before TIME. The catalog's digests decide;\n"
            "compare them with a printed recovery kit."
        )
    elif role == "seal":
        yield (
            "Backups stay good: a manifest counts by its own signer, who checked each container. Whoever\n"
            "had this key and the state database could have swapped containers: compare backups made since\n"
            "with their source (strongroom submit --verify BACKUP --depth live)."
        )
    yield _ESCROW


def _uses(arguments: Namespace, output: Output) -> None:
    from msgspec import to_builtins  # noqa: PLC0415

    from strongroom.cli.shared.settings import services  # noqa: PLC0415 - the run store
    from strongroom.operations.incident.re_sign import rests_on  # noqa: PLC0415

    if not FINGERPRINT.fullmatch(arguments.fingerprint):
        raise UsageError(
            "That is no signer's fingerprint.",
            hint="It is 'sr1:' and 64 hexadecimal digits, whole: see 'strongroom signers list'.",
        )
    built = services()
    found: list[Rests] = []
    unread: dict[str, str] = {}
    for entry in built.store.backups():
        try:
            rests = rests_on(built, entry, arguments.fingerprint)
        except StrongroomError as error:
            unread[entry.backup] = f"{error.code}: {error.message}"
            continue
        found += [one for one in rests if one.manifest or one.containers or one.envelopes]
    output.answer({"uses": to_builtins(found), "unread": unread}, _used(found, unread))
    if unread:
        raise MissingPiece(
            f"{plural(len(unread), 'backup')} could not be looked at, and may bear that signature.",
            hint="Bring back what is named, or say of a file that it is gone for good "
            "('strongroom keys --gone BACKUP'), then repeat.",
        )


def _used(found: list[Rests], unread: dict[str, str]) -> Iterator[str]:
    head = ("BACKUP", "MADE", "MANIFEST", "CONTAINERS", "ENVELOPES", "FILE")
    rows = [
        (o.backup, o.created_at, "yes" if o.manifest else "", o.containers, o.envelopes, o.file)
        for o in found
    ]
    which = "No backup that could be looked at" if unread else "No backup"
    yield from table(head, rows) if rows else [f"{which} bears a signature of that signer."]
    yield from (f"{backup}: not looked at: {why}" for backup, why in unread.items())


def _resign(arguments: Namespace, output: Output) -> None:
    from msgspec import to_builtins  # noqa: PLC0415

    from strongroom.cli.shared.settings import services  # noqa: PLC0415 - the run store
    from strongroom.operations.incident.re_sign import resign_backup  # noqa: PLC0415

    before = _moment(arguments.before) if arguments.before else None
    built = services()
    entries = [
        entry
        for entry in built.store.backups()
        if (not arguments.backup or entry.backup in arguments.backup)
        and (before is None or datetime.fromisoformat(entry.created_at) < before)
    ]
    prompts.confirm(
        f"This vouches for {plural(len(entries), 'backup')} as the catalog has them", force=arguments.force
    )
    done, failed = [], {}
    for entry in entries:
        try:
            done.append(resign_backup(built, entry))
        except StrongroomError as error:
            failed[entry.backup] = f"{error.code}: {error.message}"
    output.answer({"resigned": to_builtins(done), "failed": failed}, _resigned(done, failed))
    if failed or any(one.missed for one in done):
        raise SignersUnsettled("Not everything could be signed anew.", hint=_UNSETTLED)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError("--before needs a time such as 2026-11-26T08:00:00Z.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _resigned(done: list[Resigned], failed: dict[str, str]) -> Iterator[str]:
    changed = [one for one in done if one.manifest or one.envelopes]
    yield f"{plural(len(changed), 'backup')} signed anew, {len(done) - len(changed)} needed nothing."
    for one in done:
        yield from (f"  {one.backup} on {name}: not yet: {why}" for name, why in one.missed.items())
    yield from (f"  {backup}: not vouched for: {why}" for backup, why in failed.items())


COMMANDS = {
    "signers": Command(
        _arguments,
        _signers,
        "People pin the installation's fingerprint, once: it certifies the keys of the roles, old and new.\n"
        "Its private key (installation.key) is needed only to certify, and may be kept offline.\n"
        "What a retired key signed stays good for what was made in its time. A key that leaked is\n"
        "distrusted: what it signed is refused until it is signed anew.",
    )
}
