"""What the commands of this room take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from msgspec import Struct

from strongroom.cli.parameters import Command, Nothing, UnreadableWord, argument, limit, option
from strongroom.cli.table import PROGRAM
from strongroom.config.kinds import OwnSource
from strongroom.config.text import SOURCES, TARGETS, OwnTarget, parse_source, parse_target
from strongroom.model import Role
from strongroom.state.records import Pool

T = TypeVar("T")


def _read_by(parse: Callable[[str], T]) -> Callable[[str], T]:
    def read(word: str) -> T:
        try:
            return parse(word)
        except ValueError as error:
            raise UnreadableWord(str(error)) from None

    return read


class NewInstallation(Struct, frozen=True, kw_only=True):
    """What a new configuration says in place of its examples, and where keys are made and kept."""

    output: Annotated[
        Path | None,
        option("only write the configuration, into this file, for another place or host", metavar="FILE"),
    ] = None
    force: Annotated[bool, option("with --output: replace the file if it exists")] = False
    public_key: Annotated[
        tuple[str, ...],
        option(
            "seal to this public key (text or file, see 'keys new'); repeatable: any one of them opens",
            metavar="KEY",
        ),
    ] = ()
    single_recipient_reason: Annotated[
        str | None,
        option(
            "where the spare of a single key is, so that one loss does not close the backups", metavar="TEXT"
        ),
    ] = None
    mail: Annotated[
        tuple[str, ...],
        option("who gets mail when something is wrong; repeatable, and needs --mail-host", metavar="ADDRESS"),
    ] = ()
    mail_host: Annotated[str | None, option("the server that takes that mail", metavar="HOST")] = None
    source: Annotated[
        OwnSource | None,
        option(f"where the secrets are: {SOURCES} (default: local)", read=_read_by(parse_source)),
    ] = None
    target: Annotated[
        tuple[OwnTarget, ...],
        option(
            f"where backups go: {TARGETS}; repeatable, in two regions at least (default: examples)",
            read=_read_by(parse_target),
        ),
    ] = ()
    installation_key_to: Annotated[
        Path | None,
        option(
            "make the signing keys, and keep the installation's private key in this file alone, on a medium",
            metavar="FILE",
        ),
    ] = None
    spare_key_to: Annotated[
        Path | None,
        option(
            "make a spare installation key too, keep it in this file alone, and pin it in the configuration",
            metavar="FILE",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.output is None and self.force:
            raise UnreadableWord("--force goes with --output: a configuration that is in use stays as it is")
        if self.output is not None and (self.installation_key_to or self.spare_key_to):
            raise UnreadableWord(
                "--installation-key-to and --spare-key-to contradict --output: keys are made where they are "
                "used"
            )
        if bool(self.mail) != bool(self.mail_host):
            raise UnreadableWord(
                "--mail says who gets mail, and --mail-host which server takes it: give both"
            )


def _init_work(given: NewInstallation) -> str:
    """Choose: only to write a file needs nothing that runs."""
    return "init:set_up" if given.output is None else "init:write_config"


class CheckStorage(Struct, frozen=True, kw_only=True):
    """Which targets and stages are tried."""

    target: Annotated[
        tuple[str, ...], argument("configured targets and stages (default: all)", metavar="TARGET")
    ] = ()


_ON_TARGETS = (Role.OPERATOR, *(Role(pool) for pool in Pool if pool is not Pool.SEAL))
"""The roles that have to do with targets."""


class CheckRights(Struct, frozen=True, kw_only=True):
    """Whose rights are compared with what they need."""

    name: Annotated[
        tuple[str, ...], argument("configured targets and sources (default: all)", metavar="NAME")
    ] = ()
    role: Annotated[
        Role,
        option(
            "the role whose needs the targets' credentials are compared with (default: all roles)",
            choices=_ON_TARGETS,
        ),
    ] = Role.OPERATOR


class MeasureSpeed(Struct, frozen=True, kw_only=True):
    """What is measured, and on how many secrets."""

    secret_count: Annotated[
        int, option("how many secrets to make up (default: 1000)", metavar="N", read=limit)
    ] = 1000
    measure_encryption_time: Annotated[bool, option("measure sealing; alone, it needs no target")] = False
    measure_upload_time: Annotated[bool, option("measure the targets (default: both of the two)")] = False
    target: Annotated[
        tuple[str, ...],
        option("a configured target to measure; repeatable (default: all)", metavar="NAME"),
    ] = ()

    def __post_init__(self) -> None:
        if self.target and self.measure_encryption_time and not self.measure_upload_time:
            raise UnreadableWord("--target is for --measure-upload-time, which was not asked for")


class ShowDemo(Struct, frozen=True, kw_only=True):
    """Where the demo works, and with how many secrets."""

    keep: Annotated[Path | None, option("work in this directory, and leave it there", metavar="DIR")] = None
    secrets: Annotated[int, option("how many (default: 1000)", metavar="N")] = 1000


class PrintCompletion(Struct, frozen=True, kw_only=True):
    """For which shell commands are completed."""

    shell: Annotated[str, argument("bash, zsh or fish", metavar="SHELL", choices=("bash", "zsh", "fish"))]


COMMANDS = {
    "init": Command(
        NewInstallation,
        _init_work,
        "Writes the usual policies into strongroom.toml in the state directory (or where STRONGROOM_CONFIG\n"
        "says), and shows what the calendar does with it, what is off and why, and the next commands. A\n"
        "configuration that is there stays as it is.",
    ),
    "check config": Command(Nothing, "configuration:check_config"),
    "config reference": Command(Nothing, "configuration:print_reference"),
    "config schema": Command(
        Nothing,
        "configuration:print_schema",
        "Editors that know TOML complete, explain and check a file by it:\n"
        "  strongroom config schema > strongroom.schema.json\n"
        "and as the first line of strongroom.toml:\n"
        "  #:schema ./strongroom.schema.json",
    ),
    "check storage": Command(
        CheckStorage,
        "probe:test_storage",
        "Puts a test object under 'probes/' on each target, reads it back, and tries what the server has\n"
        "to refuse. A locked test object stays until its lock ends.",
    ),
    "check rights": Command(
        CheckRights,
        "probe:check_permissions",
        "Lists each source to its end and reads one secret, whose value is dropped. Compares each\n"
        "credential with what it needs: to read, or for a source with 'destination = true' to write too.\n"
        "If a server cannot show a right, the answer says so.",
    ),
    "bench": Command(
        MeasureSpeed,
        "probe:run_benchmark",
        "Seals made-up secrets as a backup does, to a key that nobody keeps. Each container is put on each\n"
        "target under 'probes/', read back and deleted. A target that locks its objects is refused.\n"
        "Without a --measure option both are measured.",
    ),
    "demo": Command(
        ShowDemo,
        "demo:run_demo",
        "It succeeds only if every step did, and every value came back.",
    ),
    "completion": Command(
        PrintCompletion,
        "completion:print_completion",
        "Completes commands, options, files, and the names of policies, targets, sources, keys, backups and\n"
        "runs of the installation that the shell's environment names.\n"
        f"  bash:  {PROGRAM} completion bash > ~/.local/share/bash-completion/completions/{PROGRAM}\n"
        f"  zsh:   {PROGRAM} completion zsh > a directory of $fpath, as _{PROGRAM}\n"
        f"  fish:  {PROGRAM} completion fish > ~/.config/fish/completions/{PROGRAM}.fish",
    ),
}
