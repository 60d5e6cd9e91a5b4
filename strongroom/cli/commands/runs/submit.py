"""submit: hand work to the cluster, by a signed message."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from strongroom.cli.shared import render_run
from strongroom.cli.shared.settings import run_store, settings
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output
from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, UsageError
from strongroom.model import Depth
from strongroom.words import nearest

if TYPE_CHECKING:
    from strongroom.config import PolicySettings, Settings


def _arguments(parser: ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("policy", metavar="POLICY", nargs="?", help="back up by this policy")
    what.add_argument("--verify", metavar="BACKUP", help="read a backup back from every target")
    what.add_argument("--repair", metavar="BACKUP", help="bring a backup's bad replicas up again")
    what.add_argument("--drill", metavar="POLICY", help="rehearse the recovery of a policy's newest backup")
    parser.add_argument(
        "--depth",
        type=Depth,
        choices=tuple(Depth),
        metavar="DEPTH",
        help="of --verify: present, digest (the default), opened, compared (each value with its digest at "
        "capture), live (with what the source has now)",
    )
    parser.add_argument("--follow", action="store_true", help="wait until it has ended, and show it live")


def _submit(arguments: Namespace, output: Output) -> None:
    if arguments.depth is not None and arguments.verify is None:
        raise UsageError("--depth goes with --verify alone: a policy says itself how deep it verifies.")
    task, asked = _task(arguments, settings())
    submitted = task.delay(**asked)
    request: str = submitted.id
    if not arguments.follow:
        words = [
            f"Submitted: run {submitted.run} is on record.",
            f"Follow it: strongroom status {request} --follow",
        ]
        output.answer({"id": request, "run": submitted.run}, words)
        return
    from strongroom.cli.commands.runs.runs import follow  # noqa: PLC0415
    from strongroom.cli.shared.drive_run import require_whole  # noqa: PLC0415

    run = follow(output, request)
    rows = render_run.rows_of(run_store(), run)
    output.answer(render_run.as_document(run, rows), render_run.lines_of(run, rows))
    require_whole(run)


def _task(arguments: Namespace, found: Settings) -> tuple[Any, dict[str, str]]:
    if arguments.verify is not None:
        from tasks.verify import verify_backup  # noqa: PLC0415

        depth = arguments.depth or Depth.DIGEST
        return verify_backup, {"backup": _known(arguments.verify, found), "depth": depth.value}
    if arguments.repair is not None:
        from tasks.repair import repair_backup  # noqa: PLC0415

        return repair_backup, {"backup": _known(arguments.repair, found)}
    if arguments.drill is not None:
        return _drill(arguments.drill, found)
    return _backup(arguments.policy, found)


def _known(backup: str, found: Settings) -> str:
    """Return a backup that the catalog has, of a policy: of any other no run would ever come into being."""
    entry = run_store().backup(backup)
    if entry is None:
        raise MissingPiece(
            f"The catalog has no backup '{backup}'; nothing was submitted.",
            hint="See 'strongroom catalog list'.",
        )
    if entry.policy not in found.policies:
        raise ConfigError(
            f"No policy here made backup {backup}, so none says on which targets it lies. "
            "Nothing was submitted.",
            hint="A file or a target can be looked at by itself: 'strongroom verify-backup'.",
        )
    return backup


def _drill(name: str, found: Settings) -> tuple[Any, dict[str, str]]:
    from tasks.drill import recovery_drill  # noqa: PLC0415

    _policy(name, found)
    if not run_store().backups(policy=name, limit=1):
        raise MissingPiece(
            f"There is no backup of policy '{name}' yet; nothing was submitted.",
            hint=f"Make one: 'strongroom submit {name}'.",
        )
    return recovery_drill, {"policy": name}


def _backup(name: str, found: Settings) -> tuple[Any, dict[str, str]]:
    from tasks.backup import full_backup, metadata_backup  # noqa: PLC0415

    policy = _policy(name, found)
    return (full_backup if policy.kind == "full" else metadata_backup), {"policy": name}


def _policy(name: str, found: Settings) -> PolicySettings:
    policy = found.policies.get(name)
    if policy is None:
        known = nearest(name, found.policies)
        raise ConfigError(f"There is no policy '{name}'; nothing was submitted.", hint=known)
    return policy


COMMANDS = {
    "submit": Command(
        _arguments,
        _submit,
        "Exit code 0 means that the run is on record: it is performed even if the broker loses its\n"
        "messages. Where this machine does not reach the state database, the cluster has to answer; if it\n"
        "does not within 15 s, the exit code is 70. Fails within seconds if the broker is down.\n"
        "From Python:\n"
        '  from tasks.backup import full_backup; full_backup.delay(policy="weekly-critical").wait()',
    )
}
