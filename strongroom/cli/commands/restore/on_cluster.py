"""restore --cluster and restore undo --cluster: the recover workers restore into a configured source."""

from __future__ import annotations

from typing import Any

from strongroom.cli.commands.restore.arguments import Restore, RestoreUndo
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


def restore_there(given: Restore, output: Output) -> Answer:
    task, asked = task_of(given, load_settings())
    return _submit(task, asked, output, wait=given.way.follow)


def task_of(given: Restore, settings: Settings) -> tuple[Any, dict[str, Any]]:
    """Return the task that does what is asked for, and what it is given."""
    refuse_beside(given, _OF_THIS_HOST, "--cluster")
    if given.into.to == LOCAL:
        others = [name for name in settings.sources if name != LOCAL]
        raise UsageError(
            "Where is it to be restored into? The cluster restores into no machine's 'local'. "
            "Nothing was submitted.",
            hint=f"Say --to SOURCE, or restore here, without --cluster. {nearest('', others)}",
        )
    if given.validate:
        return _recovery(given, settings)
    backup = given.origin.choice.backup
    if backup is None or given.origin.choice.policy is not None:
        raise UsageError(
            "Which backup is to be restored? Nothing was submitted.",
            hint="Say --backup ID; 'strongroom backups list' shows them.",
        )
    if given.full_restore:
        refuse_beside(given, _PARTS, "--full-restore")
    names = [*given.selected.include, *([given.secret_name] if given.secret_name else [])]
    if not (names or given.selected.filter_tag or given.full_restore or given.into.relocate):
        raise UsageError(
            "What is to be restored? Nothing was submitted.",
            hint="Everything: --full-restore. A part: --secret-name, --filter-tag, --include.",
        )
    parse_relocation(given.into.relocate)  # what is wrong with it is told before anything is submitted
    from tasks.restore import restore_backup

    return restore_backup, {
        "backup": known_backup(backup, settings),
        "to": given.into.to,
        "include": names,
        "filter_tag": pairs(given.selected.filter_tag, "--filter-tag"),
        "overwrite_existing": given.overwrite_existing,
        "relocate": given.into.relocate or "",
        "requester": process.who(),
    }


def _recovery(given: Restore, settings: Settings) -> tuple[Any, dict[str, Any]]:
    refuse_beside(given, (*_PARTS, "relocate"), "--validate")
    backup, policy = given.origin.choice.backup, given.origin.choice.policy
    if (backup is None) == (policy is None):
        raise UsageError(
            "Which backup is to be restored? Nothing was submitted.",
            hint="Say --backup ID, or --policy NAME for its newest.",
        )
    if policy is not None:
        known_policy(policy, settings)
    from tasks.restore import recover_backup

    return recover_backup, {
        "backup": policy or known_backup(backup or "", settings),
        "to": given.into.to,
        "overwrite_existing": given.overwrite_existing,
        "requester": process.who(),
    }


_NOT_OF_AN_UNDO = ("list", "exclude", "dry_run", "all_names", *_OPENING)


def undo_there(given: RestoreUndo, output: Output) -> Answer:
    refuse_beside(given, _NOT_OF_AN_UNDO, "--cluster")
    if given.restored is None:
        raise UsageError("Which run?", hint="See them with 'strongroom runs'.")
    from tasks.restore import undo_restore

    asked = {
        "run": given.restored,
        "include": list(given.selected.include),
        "filter_tag": pairs(given.selected.filter_tag, "--filter-tag"),
        "requester": process.who(),
    }
    return _submit(undo_restore, asked, output, wait=given.way.follow)


def _submit(task: Any, asked: dict[str, Any], output: Output, *, wait: bool) -> Answer:
    output.note(f"The recover workers do this, and normally do not run: '{START}'.")
    return answer_submission(task.delay(**asked), output, wait=wait)
