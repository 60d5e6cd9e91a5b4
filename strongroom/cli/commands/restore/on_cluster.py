"""restore --cluster and restore undo --cluster: the recover workers restore into a configured source."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from strongroom.cli.shared.options import LOCAL, pairs, refuse_beside
from strongroom.cli.shared.runs import answer_submission, known_backup, known_policy
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import Settings, load_settings
from strongroom.errors import UsageError
from strongroom.operations.restore.job import START
from strongroom.operations.restore.plan import parse_relocation
from strongroom.system import process
from strongroom.words import nearest

_OPENING = ("identity", "quorum", "share", "passphrase_file", "signer")
_OF_THIS_HOST = (
    *("backup_file", "from_target", "at", "partial", "use_quarantined", "any_signer", "legacy"),
    *("version", "exclude", "fill_from_earlier", "to_file", "recipient", "plan", "plan_out"),
    *("plan_recipient", "verify_after_restore", "dry_run", "all_names", *_OPENING),
)
_PARTS = ("secret_name", "include", "filter_tag")


def restore_there(arguments: Namespace, output: Output) -> None:
    task, asked = task_of(arguments, load_settings())
    _submit(task, asked, output, wait=arguments.follow)


def task_of(arguments: Namespace, settings: Settings) -> tuple[Any, dict[str, Any]]:
    """Return the task that does what is asked for, and what it is given."""
    refuse_beside(arguments, _OF_THIS_HOST, "--cluster")
    if arguments.to == LOCAL:
        raise UsageError(
            "Where is it to be restored into? Nothing was submitted.",
            hint=f"Say --to SOURCE. {nearest('', settings.sources)}",
        )
    if arguments.validate:
        return _recovery(arguments, settings)
    if arguments.backup is None or arguments.policy is not None:
        raise UsageError(
            "Which backup is to be restored? Nothing was submitted.",
            hint="Say --backup ID; 'strongroom backups list' shows them.",
        )
    if arguments.full_restore:
        refuse_beside(arguments, _PARTS, "--full-restore")
    names = [*arguments.include, *([arguments.secret_name] if arguments.secret_name else [])]
    if not (names or arguments.filter_tag or arguments.full_restore or arguments.relocate):
        raise UsageError(
            "What is to be restored? Nothing was submitted.",
            hint="Everything: --full-restore. A part: --secret-name, --filter-tag, --include.",
        )
    parse_relocation(arguments.relocate)  # what is wrong with it is told before anything is submitted
    from tasks.restore import restore_backup

    return restore_backup, {
        "backup": known_backup(arguments.backup, settings),
        "to": arguments.to,
        "include": names,
        "filter_tag": pairs(arguments.filter_tag, "--filter-tag"),
        "overwrite_existing": arguments.overwrite_existing,
        "relocate": arguments.relocate or "",
        "requester": process.who(),
    }


def _recovery(arguments: Namespace, settings: Settings) -> tuple[Any, dict[str, Any]]:
    refuse_beside(arguments, (*_PARTS, "relocate"), "--validate")
    if (arguments.backup is None) == (arguments.policy is None):
        raise UsageError(
            "Which backup is to be restored? Nothing was submitted.",
            hint="Say --backup ID, or --policy NAME for its newest.",
        )
    if arguments.policy is not None:
        known_policy(arguments.policy, settings)
    from tasks.restore import recover_backup

    return recover_backup, {
        "backup": arguments.policy or known_backup(arguments.backup, settings),
        "to": arguments.to,
        "overwrite_existing": arguments.overwrite_existing,
        "requester": process.who(),
    }


_NOT_OF_AN_UNDO = ("list", "exclude", "dry_run", "all_names", *_OPENING)


def undo_there(arguments: Namespace, output: Output) -> None:
    refuse_beside(arguments, _NOT_OF_AN_UNDO, "--cluster")
    if arguments.restored is None:
        raise UsageError("Which run?", hint="See them with 'strongroom runs'.")
    from tasks.restore import undo_restore

    asked = {
        "run": arguments.restored,
        "include": arguments.include,
        "filter_tag": pairs(arguments.filter_tag, "--filter-tag"),
        "requester": process.who(),
    }
    _submit(undo_restore, asked, output, wait=arguments.follow)


def _submit(task: Any, asked: dict[str, Any], output: Output, *, wait: bool) -> Answer:
    output.note(f"The recover workers do this, and normally do not run: '{START}'.")
    return answer_submission(task.delay(**asked), output, wait=wait)
