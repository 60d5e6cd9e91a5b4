"""repair: bring missing or damaged replicas up again, from any good one."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from msgspec.structs import replace

from strongroom.cli.shared import options, render_run
from strongroom.cli.shared.drive_run import lack_of_all
from strongroom.cli.shared.follow_run import by_ticket, showing_progress
from strongroom.cli.shared.services import open_services
from strongroom.cli.shared.submission import answer_submission, known_backup
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.archive.inventory import LostReplica, look_over, put_on_record
from strongroom.operations.backup.repair_job import degraded, submit_repair
from strongroom.operations.runs.drive import drive
from strongroom.operations.services import Services
from strongroom.operations.shredding.record import shredded_backups
from strongroom.sheet import Sheet
from strongroom.state.records import Run

NOTHING = (
    "Nothing to repair: no replica is on record as bad, and every target that answers shows the manifests "
    "that it was given. 'strongroom backups repair --all' also looks at what lies behind them; 'strongroom "
    "backups repair "
    "BACKUP' reads it."
)
NOTHING_AT_ALL = (
    "Nothing to repair: every manifest is the one on record, and every container is there in its size. "
    "'strongroom backups repair BACKUP' reads what is in them."
)
SHOWN = 20


def repair_backups(arguments: Namespace, output: Output) -> Answer:
    if arguments.backup and (arguments.target or arguments.all):
        raise UsageError("BACKUP names one backup, --target and --all mean all there is: give one of them.")
    services = open_services()
    wanted = [arguments.backup] if arguments.backup else _wanting(arguments, services, output)
    runs = [_one(backup, services, output) for backup in wanted]
    if not runs:
        nothing = NOTHING_AT_ALL if arguments.target or arguments.all else NOTHING
        return Answer(record={"runs": []}, sheet=Sheet(verdict=nothing))
    return replace(render_run.answer_runs(runs, services.store), error=lack_of_all(runs))


def repair_there(arguments: Namespace, output: Output) -> Answer:
    """Have the cluster restore a backup's bad replicas."""
    options.refuse_beside(arguments, ("target", "all"), "--cluster")
    if arguments.backup is None:
        raise UsageError("Which backup?", hint="See 'strongroom backups replicas'.")
    backup = known_backup(arguments.backup, load_settings())
    from tasks.repair import repair_backup

    return answer_submission(repair_backup.delay(backup=backup), output, wait=arguments.follow)


def _wanting(arguments: Namespace, services: Services, output: Output) -> list[str]:
    """Look at targets, put on record what they lack, and return the backups that lack something.

    Raises:
        TargetError: a target that was named does not answer.
    """
    names = arguments.target or list(services.targets)
    deep = bool(arguments.target or arguments.all)
    for name in names:
        try:
            _look_over(name, services, output, deep=deep)
        except StrongroomError as error:
            if arguments.target:
                raise
            output.note(f"not looked at: '{name}': {error.message}")
    wanted = degraded(services)
    if not arguments.target:
        return wanted
    bad = services.store.replicas_of(wanted)
    return [backup for backup in wanted if any(not r.good and r.target in names for r in bad.get(backup, ()))]


def _look_over(name: str, services: Services, output: Output, *, deep: bool) -> None:
    trusted = services.signer_fingerprints
    gone = frozenset(shredded_backups(services.store, trusted))
    lost = look_over(services.store, services.target(name), trusted=trusted, gone=gone, deep=deep)
    put_on_record(services.store, lost)
    _say(name, lost, output)


def _say(name: str, lost: Sequence[LostReplica], output: Output) -> None:
    for replica in lost[:SHOWN]:
        output.note(f"'{name}' does not have {replica.replica.backup} as is on record: {replica.why}")
    if len(lost) > SHOWN:
        output.note(f"'{name}': and {plural(len(lost) - SHOWN, 'more backup')}")


def _one(backup: str, services: Services, output: Output) -> Run:
    run, tickets = submit_repair(services, backup=backup)
    with showing_progress(output, services.store) as watch:
        return drive(run, tickets, services, watch=by_ticket(watch))
