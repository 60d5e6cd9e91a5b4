"""What the commands of this room take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom import times
from strongroom.cli.parameters import Command, Nothing, UnreadableWord, argument, option
from strongroom.cli.shared import options
from strongroom.keys import roles

LONGEST = 30 * 86_400

HostName = Annotated[str | None, option("what this host is called (default: its own name)", metavar="NAME")]


def _span(word: str) -> int:
    try:
        seconds = int(times.parse(word))
    except ValueError:
        seconds = 0
    if not 60 <= seconds <= LONGEST:
        raise UnreadableWord("takes a length of time from 1m to 30d, such as 1h")
    return seconds


class BeginCluster(Struct, frozen=True, kw_only=True):
    """What the first host is called, and which roles' keys it gets."""

    name: HostName = None
    role: Annotated[
        tuple[str, ...],
        option(
            "a role that works on this host (default: all); repeatable", metavar="ROLE", choices=roles.ROLES
        ),
    ] = ()
    certifier: options.InstallationKeyOptions = options.InstallationKeyOptions()


class MakeToken(Struct, frozen=True, kw_only=True):
    """What a token grants, and for how long."""

    role: Annotated[
        tuple[str, ...],
        option("a role that the host gets; repeatable", metavar="ROLE", choices=roles.ROLES),
    ] = ()
    seconds: Annotated[
        int, option("how long it can be used (default: 1h)", name="--for", metavar="TIME", read=_span)
    ] = 3600

    def __post_init__(self) -> None:
        if not self.role:
            raise UnreadableWord("Which roles? Give --role, once for each that works on the next host")


class JoinCluster(Struct, frozen=True, kw_only=True):
    """The token, and how this host gets its certificates."""

    token: Annotated[
        str | None, argument("what 'cluster token' printed; - reads it from stdin", metavar="TOKEN")
    ] = None
    name: HostName = None
    answer: Annotated[
        Path | None,
        option("the file that 'cluster certify --to' wrote, where the installation key is", metavar="FILE"),
    ] = None
    no_wait: Annotated[bool, option("write the request and end; the same command goes on later")] = False


class CertifyHosts(Struct, frozen=True, kw_only=True):
    """Whose request is certified, and with which key."""

    request: Annotated[
        Path | None,
        argument(
            "the file that 'cluster join' wrote (default: all that wait in the database)", metavar="FILE"
        ),
    ] = None
    to: Annotated[Path | None, option("write the answer into this file", metavar="FILE")] = None
    late: Annotated[bool, option("also those that came after their token was over")] = False
    certifier: options.InstallationKeyOptions = options.InstallationKeyOptions()
    force: Annotated[bool, option("do not ask first")] = False

    def __post_init__(self) -> None:
        if self.to is not None and self.request is None:
            raise UnreadableWord("--to is for the answer to one request: name its FILE")


class RemoveHost(Struct, frozen=True, kw_only=True):
    """Which host is thrown out, and whether somebody may have its keys."""

    host: Annotated[str, argument("its name, as 'cluster hosts' shows it", metavar="HOST")]
    reason: Annotated[str, option("why, for the record", metavar="TEXT")]
    leaked: Annotated[
        bool, option("somebody may have its keys: distrust them, and what they signed before, too")
    ] = False
    certifier: options.InstallationKeyOptions = options.InstallationKeyOptions()
    force: Annotated[bool, option("do not ask first")] = False


class PrintRules(Struct, frozen=True, kw_only=True):
    """Whose rules are printed, for which server."""

    where: Annotated[
        str,
        argument(
            "the server: redis, postgres, vault (or OpenBao), aws or azure",
            metavar="SERVER",
            choices=("redis", "postgres", "vault", "aws", "azure"),
        ),
    ]
    role: Annotated[
        str | None,
        option(
            "only those of this role, as the document that the server takes; 'operator' does all that a host "
            "needs which runs every role; a person's errands are undo, rebuild, rebuild-undo, "
            "restore-snapshot, read-backups, retention, shred and rearm",
            metavar="ROLE",
        ),
    ] = None
    prefix: Annotated[
        str, option("what the name of each user or policy begins with (default: strongroom-)", metavar="TEXT")
    ] = "strongroom-"
    passwords: Annotated[
        Path | None,
        option(
            "redis, postgres: take each role's password from this folder, and make those that are missing",
            metavar="DIR",
        ),
    ] = None
    server: Annotated[
        str | None, option("vault: of this configured server, if there are several", metavar="NAME")
    ] = None
    kv1: Annotated[
        tuple[str, ...], option("vault: a source's mount that is KV version 1; repeatable", metavar="MOUNT")
    ] = ()
    target: Annotated[
        str | None,
        option(
            "aws, azure: print how the bucket or container of this target is set up instead",
            metavar="NAME",
        ),
    ] = None


COMMANDS = {
    "cluster init": Command(
        BeginCluster,
        "begin:begin_cluster",
        "Names this host and signs the first host list, which the state database carries to the others.\n"
        "The broker and the state database have to be ones that other hosts reach (broker.url, state.url).\n"
        "Repeat it with --role for a role that this host is to have too.",
    ),
    "cluster token": Command(
        MakeToken,
        "begin:make_token",
        "The token is shown once. Anyone who has it and reaches the database can join with these roles,\n"
        "until it is used or over: send it like a password. The database gets a digest of it, and what the\n"
        "next host needs, sealed to it: keys for stage and digests, the lists of keys and hosts, and this\n"
        "host's configuration without 'state_dir', [listen] and [workers]. No password is in it.",
    ),
    "cluster join": Command(
        JoinCluster,
        "join:join_cluster",
        "Makes this host's keys, which never leave it, and waits until the installation key certified them:\n"
        "at once if a process runs on the host where that key is, else 'cluster certify' does it there. It\n"
        "may be stopped and repeated, without the token. Needs the database's password where that host has\n"
        "one: in ~/.pgpass, or by STRONGROOM_STATE__PASSWORD_FILE.",
    ),
    "cluster certify": Command(
        CertifyHosts,
        "begin:certify_hosts",
        "For hosts that wait while no process runs where the installation key is, or where that key is kept\n"
        "offline. With FILE and --to it needs no database: the answer is a signed list, which 'cluster join\n"
        "--answer FILE' takes on the host that asked.",
    ),
    "cluster remove": Command(
        RemoveHost,
        "hosts:remove_host",
        "Signs a list without the host. Every other host refuses what it sends as soon as it has that list,\n"
        "within a minute. What it signed before stays good, unless --leaked. It still knows the passwords\n"
        "of broker and database, and the keys for stage and digests: the answer says what to change.",
    ),
    "cluster rules": Command(
        PrintRules,
        "rules:print_rules",
        "Printed from the configuration, ready to be piped; no password and no token is in it:\n"
        "  vault, aws, azure: lines for sh; with --role the policy itself\n"
        "  postgres: a script for psql; redis: a file of users (ACL LOAD)\n"
        "With --json the same as documents, for Terraform and others: docs/how-to/grant-rights.md.",
    ),
    "cluster hosts": Command(
        Nothing,
        "hosts:list_hosts",
        "Each process reports itself every ten seconds. One that was not heard of for a minute is shown as\n"
        "silent. Where hosts run different versions, it says so: see docs/how-to/upgrade.md.",
    ),
}
