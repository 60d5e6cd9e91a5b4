"""cluster rules: what each role needs of a server, in the form that the server takes, ready to be piped."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from strongroom.cli.commands.cluster.arguments import PrintRules
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import AzureTargetSettings, S3TargetSettings, Settings, load_settings
from strongroom.errors import ConfigError, UsageError
from strongroom.model import Role
from strongroom.operations.rights import aws_policies, azure_roles, database, vault_policies
from strongroom.operations.rights.needs import GRANTED, Errand
from strongroom.sheet import Sheet
from strongroom.system import files
from strongroom.words import nearest
from workers import names, rights


class Printed(NamedTuple):
    """What is printed: text for the tool, the same as a record, and what to say beside."""

    text: str
    record: dict[str, Any]
    remarks: Sequence[str] = ()


def print_rules(given: PrintRules, output: Output) -> Answer | None:
    settings = load_settings()
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,32}", given.prefix):
        raise UsageError("--prefix takes letters, digits, '-' and '_', 32 at most.")
    if given.target is not None:
        printed = _of_place(settings, given.where, given.target)
    else:
        printed = _PRINTS[given.where](settings, given)
    if output.json:
        return Answer(record=printed.record, sheet=Sheet())
    output.raw(printed.text.encode())
    for remark in printed.remarks:
        output.note(remark)
    return None


def _roles(given: PrintRules, known: Sequence[str], beside: Sequence[str] = ()) -> tuple[str, ...]:
    """Return whose rules are asked for: of one, or of all that always run."""
    if given.role is None:
        return tuple(known)
    if given.role not in (*known, *beside):
        raise UsageError(
            f"{given.where} knows no user '{given.role}'.", hint=nearest(given.role, (*known, *beside))
        )
    return (given.role,)


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


# -- Stores and servers of keys -----------------------------------------------------------------


_ALSO: Final = (Role.OPERATOR, *Errand)
_NAME_MOUNTS: Final = (
    "A source names no mounts, so its login reads every KV mount of version 2. sources.NAME.mounts narrows "
    "it; --kv1 MOUNT adds one of version 1."
)
_HOST: Final = (
    "Give each policy to the login of its role's host alone; 'operator' is for one host that does all."
)


def _vault(settings: Settings, given: PrintRules) -> Printed:
    if not settings.vaults:
        raise ConfigError(
            "no Vault is configured", hint="Name one under 'vaults': see 'strongroom config reference'."
        )
    if given.server is not None and given.server not in settings.vaults:
        raise UsageError(f"There is no server '{given.server}'.", hint=nearest(given.server, settings.vaults))
    found = vault_policies.vault_policies(settings, _roles(given, GRANTED, _ALSO), kv1=given.kv1)
    found = {name: each for name, each in found.items() if given.server in (None, name)}
    documents = {
        server: {
            f"{given.prefix}{role}": vault_policies.policy_document(policy)
            for role, policy in policies.items()
        }
        for server, policies in found.items()
    }
    if given.role is None:
        text = _joined(vault_policies.policy_lines(settings, found, given.prefix))
    else:
        if len(found) > 1:
            raise UsageError(
                f"'{given.role}' needs rights on {len(found)} servers.",
                hint=f"Name one with --server: {', '.join(found)}.",
            )
        text = "".join(vault_policies.policy_text(each[given.role]) for each in found.values())
    open_ended = any("+/data/*" in policy for each in found.values() for policy in each.values())
    return Printed(text, {"policies": documents}, (_HOST, *([_NAME_MOUNTS] if open_ended else ())))


def _aws(settings: Settings, given: PrintRules) -> Printed:
    found = aws_policies.aws_policies(settings, _roles(given, GRANTED, _ALSO))
    if given.role is None:
        text = _joined(aws_policies.aws_lines(found, given.prefix))
    else:
        text = aws_policies.policy_text(found[given.role]) if found else ""
    named = {f"{given.prefix}{role}": policy for role, policy in found.items()}
    return Printed(text, {"policies": named}, (_HOST,) if found else (_NOTHING,))


def _azure(settings: Settings, given: PrintRules) -> Printed:
    found = azure_roles.azure_grants(settings, _roles(given, GRANTED, _ALSO))
    named = {
        f"{given.prefix}{role}-{target}": {
            "account": grant.account,
            "container": grant.container,
            "sas": grant.letters,
            "definition": grant.definition(f"{given.prefix}{role}-{target}"),
        }
        for role, grants in found.items()
        for target, grant in grants.items()
    }
    remark = "Each token is written into a file of its own; have credential_file of its role's host name it."
    text = _joined(azure_roles.azure_lines(found, given.prefix))
    return Printed(text, {"roles": named}, (remark,) if found else (_NOTHING,))


_NOTHING: Final = "Nothing that is configured needs rights there."


def _of_place(settings: Settings, where: str, name: str) -> Printed:
    """Return how the bucket or the container of a target is set up."""
    target = settings.targets.get(name)
    if target is None:
        raise UsageError(f"There is no target '{name}'.", hint=nearest(name, settings.targets))
    match where, target:
        case "aws", S3TargetSettings():
            set_up = aws_policies.bucket_settings(target)
            record: dict[str, Any] = {"bucket": target.bucket, "settings": set_up}
            return Printed(_joined(aws_policies.bucket_lines(target)), record)
        case "azure", AzureTargetSettings():
            record = {"container": target.container, "lifecycle": azure_roles.LIFECYCLE}
            return Printed(_joined(azure_roles.container_lines(target)), record)
        case _:
            raise UsageError(
                f"Target '{name}' is no {'bucket' if where == 'aws' else 'container'}.",
                hint="--target goes with 'aws' and one of kind s3, or with 'azure' and one of kind azure.",
            )


# -- Broker and database ------------------------------------------------------------------------


_UNPROVEN: Final = (
    "No password stands in it, so the server refuses the file as it is. --passwords DIR takes those in DIR, "
    "and makes those that are missing."
)
_PASSWORDS: Final = (
    "The password of each is in {folder}/{where}-ROLE. Bring it to the host of its role alone, and have "
    "{setting}.password_file name it there."
)
_OWNER: Final = (
    "Run it as a superuser, or as the owner of the database who may create roles: psql -d DATABASE."
)


def _redis(settings: Settings, given: PrintRules) -> Printed:
    users = {user.role: user for user in rights.broker_users(settings.broker)}
    in_use = names.roles_in_use(page_acts=settings.page.act)
    chosen = _roles(given, in_use, [role for role in users if role not in in_use])
    passwords = dict(_passwords(given, chosen))
    lines = [] if given.role else ["user default off sanitize-payload resetchannels -@all"]
    for role in chosen:
        proof = f"SHA-256-OF-THE-PASSWORD-OF-{role.upper()}"
        if role in passwords:
            proof = hashlib.sha256(passwords[role].encode()).hexdigest()
        lines.append(f"user {given.prefix}{role} #{proof} {' '.join(users[role].rules)}")
    record = {"users": {f"{given.prefix}{role}": users[role].rules for role in chosen}}
    return Printed(_joined(lines), record, (_said(given, "broker"),))


def _postgres(settings: Settings, given: PrintRules) -> Printed:
    users = {user.role: user for user in database.database_users()}
    chosen = _roles(given, tuple(users))
    passwords = {f"{given.prefix}{role}": password for role, password in _passwords(given, chosen)}
    named = {f"{given.prefix}{role}": users[role] for role in chosen}
    url = settings.database_url
    if not url.startswith("postgresql"):
        raise ConfigError(
            "the state is in no PostgreSQL database", hint="Give state.url, as postgresql://USER@HOST/NAME."
        )
    text = database.database_script(url, named, passwords)
    record = {"users": {name: user.tables for name, user in named.items()}}
    remarks = (_OWNER, _said(given, "state") if given.passwords else _BY_CERTIFICATE)
    return Printed(text, record, remarks)


_BY_CERTIFICATE: Final = (
    "No password stands in it: these users come in by a client certificate of their name. --passwords DIR "
    "gives them those in DIR, and makes those that are missing."
)


def _said(given: PrintRules, setting: str) -> str:
    if given.passwords is None:
        return _UNPROVEN
    return _PASSWORDS.format(folder=given.passwords, where=given.where, setting=setting)


def _passwords(given: PrintRules, roles: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each role's password, made if it is missing: what is printed is never the password itself."""
    if (folder := given.passwords) is None:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for role in roles:
        path: Path = folder / f"{given.where}-{role}"
        if not path.exists():
            files.write_whole(path, f"{secrets.token_urlsafe(32)}\n".encode())
        yield role, files.read_private(path).strip()


_PRINTS: Final[dict[str, Callable[[Settings, PrintRules], Printed]]] = {
    "redis": _redis,
    "postgres": _postgres,
    "vault": _vault,
    "aws": _aws,
    "azure": _azure,
}
