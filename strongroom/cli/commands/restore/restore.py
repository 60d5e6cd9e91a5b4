"""restore and restore-secret: from a file or a target into the local store, or another source.

Needs no configuration and no broker, so that it works on the day when nothing else does.
"""

from __future__ import annotations

from argparse import Namespace

from strongroom.cli.commands.restore.perform import RestoreJob
from strongroom.cli.shared import options
from strongroom.cli.shared import restore_source as origins
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.output import Output
from strongroom.errors import UsageError
from strongroom.model import Selection
from strongroom.operations.errors import NothingSelected
from strongroom.operations.restore.restore import plan_restore
from strongroom.system.errors import WouldOverwrite


def restore_secrets(arguments: Namespace, output: Output) -> None:
    selection = options.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    _check_what(arguments, selection)
    installation = place.find()
    if arguments.to != options.LOCAL and not arguments.dry_run:
        prompts.confirm(f"Secrets will be written into '{arguments.to}'", force=arguments.force)
    with origins.open_restore_source(arguments, output, installation) as origin:
        job = RestoreJob(arguments, output, installation, origin, overwrite=arguments.overwrite_existing)
        job.do(lambda: origin.select(selection))
        if job.stopped is None and not job.done.total:
            raise NothingSelected(
                "The filter matches no secret of the backup; nothing was restored.", hint=_FILTER
            )
        if arguments.verify_after_restore and not job.dry:
            job.verify(lambda: origin.select(selection))
        job.answer()


def restore_secret(arguments: Namespace, output: Output) -> None:
    installation = place.find()
    with origins.open_restore_source(arguments, output, installation) as origin:
        job = RestoreJob(arguments, output, installation, origin, overwrite=arguments.confirm_overwrite)
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
