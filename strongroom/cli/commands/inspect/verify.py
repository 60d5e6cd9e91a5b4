"""verify-backup, backup-info, validate-backup-format, test-decrypt: looking, never writing.

Each takes a file of any kind that Strongroom ever wrote, or a directory that is a target.
None of them needs state, configuration or a broker.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from msgspec import to_builtins

from strongroom.cli.commands.inspect.render import lines_of
from strongroom.cli.shared import identities, inspection, legacy, trust
from strongroom.cli.shared.backup_argument import kind_of
from strongroom.cli.shared.inspection import Means
from strongroom.cli.terminal import place
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output
from strongroom.container.errors import LegacyFormat
from strongroom.container.kinds import FileKind
from strongroom.model import Depth

DEPTHS = (Depth.PRESENT, Depth.DIGEST, Depth.OPENED, Depth.COMPARED)


def _file(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help="a backup file, a directory that is a target, or the name of a configured target",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--backup", metavar="ID", help="which backup of a target (default: the newest)")
    which.add_argument("--policy", metavar="NAME", help="the newest backup of this policy")


def _openable(parser: ArgumentParser) -> None:
    _file(parser)
    identities.add_arguments(parser)
    trust.add_signer_argument(parser)
    legacy.add_argument(parser)


def _verify_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--depth",
        type=Depth,
        choices=DEPTHS,
        metavar="DEPTH",
        help="present (there, right size), digest (checksums and signatures; no key), opened "
        "(decrypted), compared (each value with its digest at capture); default: opened with a key at hand, "
        "else digest",
    )
    _openable(parser)


def _verify(arguments: Namespace, output: Output) -> None:
    here = place.find()
    keys = identities.identities_of(
        arguments, output, here, ask=arguments.depth in (Depth.OPENED, Depth.COMPARED)
    )
    depth = arguments.depth or (Depth.OPENED if keys else Depth.DIGEST)
    found = inspection.look(arguments, Means(depth, output, here, keys, arguments.signer, entering=True))
    output.answer(found, lines_of(found, f"Verified: {arguments.file}"))


def _info(arguments: Namespace, output: Output) -> None:
    found = inspection.look(arguments, Means(Depth.PRESENT, output, place.find()))
    output.answer(found, lines_of(found, f"{arguments.file}"))


def _validate(arguments: Namespace, output: Output) -> None:
    found = inspection.look(arguments, Means(Depth.DIGEST, output, place.find()))
    output.answer(found, lines_of(found, f"The format is valid: {arguments.file}"))


def _test_decrypt(arguments: Namespace, output: Output) -> None:
    here = place.find()
    given = identities.typed_only(arguments, output, here)
    keys = [identities.Noting(one) for one in given or identities.identities_of(arguments, output, here)]
    if arguments.file.is_file() and kind_of(arguments.file) is FileKind.LEGACY and not arguments.legacy:
        raise LegacyFormat(f"'{arguments.file}' is an old Fernet file.")
    found = inspection.look(arguments, Means(Depth.OPENED, output, here, keys, arguments.signer))
    opened = [one.describe() for one in keys if one.opened]
    by = f" with {', '.join(opened)}" if opened else ""
    document = {**to_builtins(found, enc_hook=str), "opened_with": opened}
    output.answer(document, lines_of(found, f"It opens{by}: {arguments.file}. Nothing was written."))


COMMANDS = {
    "verify-backup": Command(
        _verify_arguments,
        _verify,
        "The answer names the depth: nothing is called sound beyond it. Of a configured target the catalog\n"
        "is told what was found, as by a verification on the cluster ('strongroom replicas').",
    ),
    "backup-info": Command(_file, _info),
    "validate-backup-format": Command(_file, _validate),
    "test-decrypt": Command(_openable, _test_decrypt),
}
