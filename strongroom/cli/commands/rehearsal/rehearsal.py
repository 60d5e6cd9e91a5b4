"""drill local: rehearse a recovery on this machine, from a file or a target, and say how long it took.

Needs no state, broker or configuration when it is from a file, as a recovery does not.
"""

from __future__ import annotations

from argparse import Namespace
from contextlib import ExitStack

from strongroom.cli.commands.rehearsal.report import RehearsalRecord, reporting
from strongroom.cli.shared import backup_selection, estimate, options, sources
from strongroom.cli.shared import restore_source as origins
from strongroom.cli.shared.restore_source import RestoreSource
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.cli.terminal.progress import counting
from strongroom.errors import UsageError
from strongroom.model import Depth, Selection
from strongroom.operations.errors import RunDegraded
from strongroom.operations.recovery_objective import DrillScope, objective_missed
from strongroom.operations.rehearsal.local import Count, Phase, Phases, RehearsedPart, look_through, rehearse
from strongroom.operations.rehearsal.scratch import FOLDER
from strongroom.operations.restore.journal import Restored
from strongroom.sources import Destination


def rehearse_recovery(arguments: Namespace, output: Output) -> None:
    selection = options.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    _refuse_ignored(arguments, selection)
    phases = Phases(lambda phase: output.say(f"{_DOING[phase]} …") if output.lively else None)
    record = RehearsalRecord(arguments, _scope(arguments, selection), selection, phases)
    with reporting(record, arguments, output):
        late = _rehearsed(arguments, selection, record, output)
    output.answer(record.document(), record.lines())
    if late is not None:
        raise late


def _refuse_ignored(arguments: Namespace, selection: Selection) -> None:
    if arguments.secret_name is not None and selection != Selection():
        raise UsageError("--secret-name and a filter contradict each other.", hint="Give one of the two.")
    if arguments.dry_run and arguments.scratch is not None:
        raise UsageError("A dry run has no scratch store: --scratch does not go with --dry-run.")
    if arguments.force and arguments.report is None:
        raise UsageError("--force replaces a report: it goes with --report alone.")


def _scope(arguments: Namespace, selection: Selection) -> DrillScope:
    if arguments.secret_name is not None:
        return DrillScope.SINGLE
    return DrillScope.FULL if selection == Selection() else DrillScope.CATEGORY


def _rehearsed(
    arguments: Namespace, selection: Selection, record: RehearsalRecord, output: Output
) -> RunDegraded | None:
    """Rehearse; return what to say of a recovery that would take too long."""
    installation = place.find()
    destination = sources.destination_of(arguments.to, installation)
    with ExitStack() as around:
        with record.phases.phase(Phase.OPEN):
            origin = around.enter_context(origins.open_restore_source(arguments, output, installation))
            record.origin = origin
            origin.unlock()
        if origin.earlier is not None:
            record.shortfall = origin.earlier.shortfall()
            backup_selection.report_shortfall(record.shortfall, output)
        record.part = _part(arguments, origin, selection)
        if arguments.dry_run:
            with record.phases.phase(Phase.READ):
                record.done = look_through(record.part, destination)
        else:
            record.done = _restored(arguments, record, record.part, installation, output)
    record.depth = Depth.OPENED if arguments.dry_run else Depth.COMPARED
    return _judged(record, destination)


def _part(arguments: Namespace, origin: RestoreSource, selection: Selection) -> RehearsedPart:
    if (name := arguments.secret_name) is not None:
        return RehearsedPart(lambda: [origin.find(name)])
    # All of it is read, so that the counts of the manifest are compared whatever the filter means.
    everything = Selection()
    return RehearsedPart(
        lambda: origin.select(everything),
        selection=selection,
        whole=Count(secrets=origin.total, versions=origin.versions),
    )


def _restored(
    arguments: Namespace,
    record: RehearsalRecord,
    part: RehearsedPart,
    installation: InstallationPlace,
    output: Output,
) -> Restored:
    with counting(output, "rehearsing", None) as advance:
        return rehearse(
            part, arguments.scratch or installation.state_dir / FOLDER, record.phases, progress=advance
        )


def _judged(record: RehearsalRecord, destination: Destination) -> RunDegraded | None:
    """Hold a rehearsal in which everything came back to its objective, as a drill is."""
    done, took = record.done, record.ended()
    assert done is not None  # it came to its end
    written = done.created + done.changed
    least = estimate.least_seconds(destination, secrets=written, versions=done.versions)
    record.least = least
    slow = objective_missed(took, least=least or 0.0, objective=record.objective)
    if slow is None:
        return None
    late = RunDegraded(f"{record.came_back}, but {slow}", hint=_LATE)
    record.add(late)
    return late


_DOING = {
    Phase.OPEN: "opening the backup",
    Phase.READ: "reading all of it",
    Phase.RESTORE: "restoring into a scratch store",
    Phase.COMPARE: "comparing with the backup",
    Phase.TEARDOWN: "removing the scratch store",
}
_LATE = (
    "Nothing is wrong with the backup. Look at which phase took long: 'open' waits for keys and people, the "
    "others for this machine and for where the backup lies. Rehearse where a recovery would be, or agree "
    "on another objective."
)
