"""restore and restore-secret: from a file or a target into the local store, or another source.

Needs no configuration and no broker, so that it works on the day when nothing else does.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from strongroom.cli.commands.restore.perform import Job
from strongroom.cli.shared import restore_source as origins
from strongroom.cli.shared import sources
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output
from strongroom.errors import UsageError
from strongroom.model import Selection
from strongroom.operations.errors import NothingSelected
from strongroom.operations.restore.restore import plan_restore
from strongroom.system.errors import WouldOverwrite

_DRY = "change nothing; name each secret, what would happen to it, and which rights are missing"
_ALL_NAMES = "name every secret, however many (--json always does)"


def _to_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        metavar="SOURCE",
        default=sources.LOCAL,
        help="where to restore into: 'local' (the default), or the name of a configured source",
    )


def _arguments(parser: ArgumentParser) -> None:
    origins.add_arguments(parser)
    sources.add_selection_arguments(parser)
    parser.add_argument(
        "--full-restore", action="store_true", help="restore everything, but for what --exclude names"
    )
    _to_argument(parser)
    parser.add_argument(
        "--overwrite-existing", action="store_true", help="also replace what differs (a way back is kept)"
    )
    parser.add_argument(
        "--verify-after-restore", action="store_true", help="at the end, compare all of it once more"
    )
    parser.add_argument("--dry-run", action="store_true", help=_DRY)
    parser.add_argument("--all-names", action="store_true", help=_ALL_NAMES)
    parser.add_argument(
        "--force",
        action="store_true",
        help="do not ask before writing into another source than the local store",
    )


def _one_arguments(parser: ArgumentParser) -> None:
    origins.add_arguments(parser)
    _to_argument(parser)
    parser.add_argument("--secret-name", metavar="NAME", required=True, help="the secret to restore")
    parser.add_argument(
        "--confirm-overwrite", action="store_true", help="replace it if it is there and differs"
    )
    parser.add_argument("--dry-run", action="store_true", help=_DRY)


def _restore(arguments: Namespace, output: Output) -> None:
    selection = sources.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    _check_what(arguments, selection)
    here = place.find()
    if arguments.to != sources.LOCAL and not arguments.dry_run:
        prompts.confirm(f"Secrets will be written into '{arguments.to}'", force=arguments.force)
    with origins.chosen_from(arguments, output, here) as origin:
        job = Job(arguments, output, here, origin, overwrite=arguments.overwrite_existing)
        job.do(lambda: origin.select(selection))
        if job.stopped is None and not job.done.total:
            raise NothingSelected(
                "The filter matches no secret of the backup; nothing was restored.", hint=_FILTER
            )
        if arguments.verify_after_restore and not job.dry:
            job.verify(lambda: origin.select(selection))
        job.answer()


def _restore_one(arguments: Namespace, output: Output) -> None:
    here = place.find()
    with origins.chosen_from(arguments, output, here) as origin:
        job = Job(arguments, output, here, origin, overwrite=arguments.confirm_overwrite)
        secret = origin.find(arguments.secret_name)
        if (
            not (arguments.confirm_overwrite or arguments.dry_run)
            and plan_restore(lambda: [secret], job.destination, overwrite=False).left
        ):
            raise WouldOverwrite(
                f"'{arguments.to}' has another value or other metadata for '{secret.name}'.",
                hint="Nothing was changed. With --confirm-overwrite it is replaced, and kept as a version.",
            )
        job.do(lambda: [secret])
        job.answer()


def _check_what(arguments: Namespace, selection: Selection) -> None:
    if arguments.full_restore and (selection.include or selection.tags):
        raise UsageError(
            "--full-restore contradicts --include and --filter-tag.",
            hint="Give one of the two. --exclude goes with both.",
        )
    if not arguments.full_restore and selection == Selection():
        raise UsageError(
            "What is to be restored?",
            hint="Everything: --full-restore. A part: --filter-tag, --include, --exclude.",
        )


_FILTER = "Check the filter: 'strongroom get NAME --backup-file FILE' shows a secret's tags."

COMMANDS = {
    "restore": Command(
        _arguments,
        _restore,
        "Only a backup of a trusted signer is restored: this installation's own, one under trust.signers\n"
        "in the configuration, or --signer. Every secret is read back and compared; what is overwritten\n"
        "is kept. A secret that cannot be restored is named at the end, and the others are restored.",
    ),
    "restore-secret": Command(_one_arguments, _restore_one),
}
