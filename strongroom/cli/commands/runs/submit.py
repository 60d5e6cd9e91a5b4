"""submit: hand work to the cluster, by a signed message."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from strongroom.cli.shared import render_run
from strongroom.cli.shared.await_run import follow
from strongroom.cli.shared.drive_run import require_whole
from strongroom.cli.shared.options import pairs
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal.output import Output
from strongroom.config import PolicySettings, Settings, load_settings
from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, UsageError
from strongroom.model import Depth
from strongroom.operations.restore.account import START
from strongroom.operations.restore.plan import parse_relocation
from strongroom.system import person
from strongroom.words import nearest

if TYPE_CHECKING:
    from strongroom.api.submission import Submission


def submit_run(arguments: Namespace, output: Output) -> None:
    _refuse_strays(arguments)
    if arguments.depth is not None and arguments.verify is None:
        raise UsageError("--depth goes with --verify alone: a policy says itself how deep it verifies.")
    task, asked = task_of(arguments, load_settings())
    if not (arguments.restore is arguments.recovery is arguments.undo is None):
        output.note(f"The recover workers do this, and normally do not run: '{START}'.")
    answer_submission(task.delay(**asked), output, wait=arguments.follow)


def _refuse_strays(arguments: Namespace) -> None:
    if arguments.restore is not None:
        return
    if arguments.relocate:
        raise UsageError("--relocate goes with --restore alone.")
    if arguments.undo is None and (arguments.secret_name or arguments.filter_tag):
        raise UsageError("--secret-name and --filter-tag go with --restore and --undo alone.")
    if arguments.recovery is None and (arguments.to or arguments.overwrite_existing):
        raise UsageError("--to and --overwrite-existing go with --restore and --recovery alone.")


def answer_submission(submitted: Submission, output: Output, *, wait: bool) -> None:
    """Say how to follow a run that was handed to the cluster, or wait for its end and tell that."""
    if not wait:
        words = [
            f"Submitted: run {submitted.run} is on record.",
            f"Follow it: strongroom status {submitted.run} --follow",
        ]
        output.answer({"id": submitted.id, "run": submitted.run}, words)
        return
    run = follow(output, submitted.run)
    rows = render_run.rows_of(run_store(), run)
    output.answer(render_run.as_document(run, rows), render_run.lines_of(run, rows))
    require_whole(run)


def task_of(arguments: Namespace, settings: Settings) -> tuple[Any, dict[str, Any]]:
    """Return the task that does what is asked for, and what it is given."""
    if arguments.verify is not None:
        depth = arguments.depth or Depth.DIGEST
        from tasks.verify import verify_backup

        return verify_backup, {"backup": _known(arguments.verify, settings), "depth": depth.value}
    if arguments.repair is not None:
        from tasks.repair import repair_backup

        return repair_backup, {"backup": _known(arguments.repair, settings)}
    if not (arguments.restore is arguments.recovery is None):
        return _restore(arguments, settings)
    if arguments.undo is not None:
        from tasks.restore import undo_restore

        return undo_restore, {
            "run": arguments.undo,
            "include": arguments.secret_name,
            "filter_tag": pairs(arguments.filter_tag, "--filter-tag"),
            "requester": person.who(),
        }
    if arguments.drill is not None:
        return _drill(arguments.drill, settings)
    return _backup(arguments.policy, settings)


def _known(backup: str, settings: Settings) -> str:
    """Return a backup that the catalog has, of a policy: of any other no run would ever come into being."""
    entry = run_store().backup(backup)
    if entry is None:
        raise MissingPiece(
            f"The catalog has no backup '{backup}'; nothing was submitted.",
            hint="See 'strongroom catalog list'.",
        )
    if entry.policy not in settings.policies:
        raise ConfigError(
            f"No policy here made backup {backup}, so none says which targets have it. "
            "Nothing was submitted.",
            hint="To check a file or a target by itself: 'strongroom verify-backup'.",
        )
    return backup


def _restore(arguments: Namespace, settings: Settings) -> tuple[Any, dict[str, Any]]:
    if not arguments.to:
        raise UsageError(
            "Where is it to be restored into? Nothing was submitted.",
            hint=f"Say --to SOURCE. {nearest('', settings.sources)}",
        )
    if arguments.recovery is not None:
        return _recovery(arguments, settings)
    parse_relocation(arguments.relocate)  # what is wrong with it is told before anything is submitted
    from tasks.restore import restore_backup

    return restore_backup, {
        "backup": _known(arguments.restore, settings),
        "to": arguments.to,
        "include": arguments.secret_name,
        "filter_tag": pairs(arguments.filter_tag, "--filter-tag"),
        "overwrite_existing": arguments.overwrite_existing,
        "relocate": arguments.relocate,
        "requester": person.who(),
    }


def _recovery(arguments: Namespace, settings: Settings) -> tuple[Any, dict[str, Any]]:
    named = arguments.recovery
    from tasks.restore import recover_backup

    return recover_backup, {
        "backup": named if named in settings.policies else _known(named, settings),
        "to": arguments.to,
        "overwrite_existing": arguments.overwrite_existing,
        "requester": person.who(),
    }


def _drill(name: str, settings: Settings) -> tuple[Any, dict[str, str]]:
    _policy(name, settings)
    if not run_store().backups(policy=name, limit=1):
        raise MissingPiece(
            f"There is no backup of policy '{name}' yet; nothing was submitted.",
            hint=f"Make one: 'strongroom submit {name}'.",
        )
    from tasks.drill import recovery_drill

    return recovery_drill, {"policy": name}


def _backup(name: str, settings: Settings) -> tuple[Any, dict[str, str]]:
    policy = _policy(name, settings)
    from tasks.backup import full_backup, metadata_backup

    return (full_backup if policy.kind == "full" else metadata_backup), {"policy": name}


def _policy(name: str, settings: Settings) -> PolicySettings:
    policy = settings.policies.get(name)
    if policy is None:
        known = nearest(name, settings.policies)
        raise ConfigError(f"There is no policy '{name}'; nothing was submitted.", hint=known)
    return policy
