"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from strongroom.cli import parameters
from strongroom.cli.parameters import Command
from strongroom.cli.shared import options
from strongroom.cli.table import PROGRAM
from strongroom.config.own_places import SOURCES, TARGETS, parse_source, parse_target
from strongroom.errors import UsageError
from strongroom.model import Role
from strongroom.state.records import Pool

T = TypeVar("T")


def _no_arguments(_: ArgumentParser) -> None:
    """Take nothing."""


def _init_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="only write the configuration, into this file, for another place or host",
    )
    parser.add_argument("--force", action="store_true", help="with --output: replace the file if it exists")
    _add_places(parser)
    parser.add_argument(
        "--installation-key-to",
        metavar="FILE",
        type=Path,
        help="make the signing keys, and keep the installation's private key in this file alone, on a medium",
    )
    parser.add_argument(
        "--spare-key-to",
        metavar="FILE",
        type=Path,
        help="make a spare installation key too, keep it in this file alone, and pin it in the configuration",
    )


def _init_work(arguments: Namespace) -> str:
    """Choose: only to write a file needs nothing that runs."""
    if arguments.output is None:
        if arguments.force:
            raise UsageError("--force goes with --output: a configuration that is in use stays as it is.")
        return "init:set_up"
    apart = ("installation_key_to", "spare_key_to")
    options.refuse_beside(arguments, apart, "--output", why=": keys are made where they are used")
    return "init:write_config"


def _add_places(parser: ArgumentParser) -> None:
    """Add what the configuration file is to say instead of its examples."""
    parser.add_argument(
        "--public-key",
        metavar="KEY",
        action="append",
        default=[],
        help="seal to this public key (text or file, see 'keys new'); repeatable: any one of them opens",
    )
    parser.add_argument(
        "--single-recipient-reason",
        metavar="TEXT",
        help="where the spare of a single key is, so that one loss does not close the backups",
    )
    parser.add_argument(
        "--mail",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="who gets mail when something is wrong; repeatable, and needs --mail-host",
    )
    parser.add_argument("--mail-host", metavar="HOST", help="the server that takes that mail")
    parser.add_argument(
        "--source", type=_read_by(parse_source), help=f"where the secrets are: {SOURCES} (default: local)"
    )
    parser.add_argument(
        "--target",
        type=_read_by(parse_target),
        action="append",
        default=[],
        help=f"where backups go: {TARGETS}; repeatable, in two regions at least (default: examples)",
    )


def _read_by(parse: Callable[[str], T]) -> Callable[[str], T]:
    def read(word: str) -> T:
        try:
            return parse(word)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return read


ROLES = (Role.OPERATOR, *(Role(pool) for pool in Pool if pool is not Pool.SEAL))


def _storage_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", nargs="*", help="configured targets (default: all)")


def _rights_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", nargs="*", help="configured targets and sources (default: all)"
    )
    parser.add_argument(
        "--role",
        choices=ROLES,
        default=Role.OPERATOR,
        help="the role whose needs the targets' credentials are compared with (default: all roles)",
    )


COUNT = 1000


def _bench_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--secret-count",
        metavar="N",
        type=parameters.limit,
        default=COUNT,
        help=f"how many secrets to make up (default: {COUNT})",
    )
    parser.add_argument(
        "--measure-encryption-time", action="store_true", help="measure sealing; alone, it needs no target"
    )
    parser.add_argument(
        "--measure-upload-time", action="store_true", help="measure the targets (default: both of the two)"
    )
    parser.add_argument(
        "--target",
        metavar="NAME",
        action="append",
        default=[],
        help="a configured target to measure; repeatable (default: all)",
    )


def _demo_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--keep", metavar="DIR", type=Path, help="work in this directory, and leave it there")
    parser.add_argument("--secrets", metavar="N", type=int, default=1000, help="how many (default: 1000)")


SHELLS = ("bash", "zsh")


def _completion_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash or zsh")


COMMANDS = {
    "init": Command(
        _init_arguments,
        _init_work,
        "Writes the usual policies into strongroom.toml in the state directory (or where STRONGROOM_CONFIG\n"
        "says), and shows what the calendar does with it, what is off and why, and the next commands. A\n"
        "configuration that is there stays as it is.",
    ),
    "check config": Command(_no_arguments, "init:check_config"),
    "config reference": Command(_no_arguments, "init:print_reference"),
    "check storage": Command(
        _storage_arguments,
        "probe:test_storage",
        "Puts a test object under 'probes/' on each target, reads it back, and tries what the server has\n"
        "to refuse. A locked test object stays until its lock ends.",
    ),
    "check rights": Command(
        _rights_arguments,
        "probe:check_permissions",
        "Lists each source to its end and reads one secret, whose value is dropped. Compares each\n"
        "credential with what it needs: to read, or for a source with 'destination = true' to write too.\n"
        "If a server cannot show a right, the answer says so.",
    ),
    "bench": Command(
        _bench_arguments,
        "probe:run_benchmark",
        "Seals made-up secrets as a backup does, to a key that nobody keeps. Each container is put on each\n"
        "target under 'probes/', read back and deleted. A target that locks its objects is refused.\n"
        "Without a --measure option both are measured.",
    ),
    "demo": Command(
        _demo_arguments,
        "demo:run_demo",
        "It succeeds only if every step did, and every value came back.",
    ),
    "completion": Command(
        _completion_arguments,
        "init:print_completion",
        f"  bash:  {PROGRAM} completion bash > ~/.local/share/bash-completion/completions/{PROGRAM}\n"
        f"  zsh:   {PROGRAM} completion zsh > a directory of $fpath, as _{PROGRAM}",
    ),
}
