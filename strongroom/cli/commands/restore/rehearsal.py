"""drill local: rehearse a recovery on this machine, from a file or a target, and say how long it took.

Needs no state, broker or configuration when it is from a file, as a recovery does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from strongroom import __version__, times
from strongroom.cli.commands.restore.arguments import RehearseRecovery
from strongroom.cli.shared import backup_selection, restore_source, sources
from strongroom.cli.shared.restore_source import RestoreSource, SourceQuery
from strongroom.cli.terminal import failures, place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, encode, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.cli.terminal.screen import counting
from strongroom.cli.terminal.stopping import Terminated
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError, UsageError, name_of
from strongroom.model import Depth, Selection
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.drills.local import Count, Phase, Phases, RehearsedPart, look_through, rehearse
from strongroom.operations.errors import RunDegraded
from strongroom.operations.restore.journal import Restored
from strongroom.operations.restore.scratch import FOLDER, OBJECTIVES, DrillScope, objective_missed
from strongroom.sheet import Pairs, Sheet
from strongroom.sources import Destination
from strongroom.system.files import refuse_existing, write_whole
from strongroom.times import measured, rfc3339

# -- What a rehearsed recovery came to: for people, for machines, and as a report that may be handed on
#
# No value is in it and no secret's name, which can be sensitive: an error that names one is shown to
# whoever typed the command, and stands in the report by its class alone.


class RehearsalRecord:
    """What is known of a rehearsal so far. A failed one is reported up to where it failed."""

    def __init__(
        self, given: RehearseRecovery, scope: DrillScope, selection: Selection, phases: Phases
    ) -> None:
        self.dry: bool = given.dry_run
        self.to: str = given.to
        self.objective: float = given.objective or OBJECTIVES[scope]
        self.phases = phases
        self.origin: RestoreSource | None = None
        self.part: RehearsedPart | None = None
        self.done: Restored | None = None
        self.depth: Depth | None = None
        self.least: float | None = None
        self.shortfall: Shortfall | None = None
        self._where = str(given.origin.where)
        self._given = given.objective is not None
        self._scope = scope
        self._selection = selection
        self._began = time.time()
        self._took: float | None = None
        self._problems: list[dict[str, object]] = []
        self._outcome = "passed"

    @property
    def came_back(self) -> str:
        """What can be said of the data, as deep as it was looked."""
        if self.less:
            return "all of it opens" if self.dry else "all of it came back"
        return "everything opens" if self.dry else "everything came back"

    @property
    def less(self) -> bool:
        """Whether the backup is less than is known to have been there."""
        return self.shortfall is not None and self.shortfall.error() is not None

    def ended(self) -> float:
        """Stop the clock, once; return how many seconds all of it took."""
        if self._took is None:
            self._took = self.phases.total
        return self._took

    def add(self, error: BaseException) -> None:
        """Note what went wrong, or fell short."""
        self._outcome, problem = _problem(error)
        if problem not in self._problems:
            self._problems.append(problem)

    def document(self) -> dict[str, Any]:
        """Return all of it for machines."""
        manifest = self.origin.manifest if self.origin is not None else None
        took = self.ended()
        return {
            "strongroom": __version__,
            "from": self._where,
            "backup": manifest and manifest.backup_id,
            "created_at": manifest and manifest.created_at,
            "source": manifest and manifest.source,
            "began_at": rfc3339(self._began),
            "ended_at": rfc3339(self._began + took),
            "dry_run": self.dry,
            "scope": {"kind": self._scope, **self._filter()},
            "depth": self.depth,
            "counts": self._counts(manifest),
            "would": self._would(),
            "seconds": {name: round(spent, 3) for name, spent in self._spent(took)},
            "least_seconds": self.least,
            "objective_seconds": self.objective,
            "objective_of": "the command line" if self._given else self._scope,
            "shortfall": self._shortfall(),
            "outcome": "less" if self.less and self._outcome == "passed" else self._outcome,
            "problems": self._problems,
        }

    def _shortfall(self) -> dict[str, object] | None:
        """Return what the backup lacks of those before it, without a name."""
        if (found := self.shortfall) is None:
            return None
        return {
            "missing": found.missing,
            "groups": list(found.groups),
            "findings": list(found.findings),
        }

    def _filter(self) -> dict[str, object]:
        """Return what was filtered by: patterns are names, or nearly, and only counted."""
        if self._scope is not DrillScope.CATEGORY:
            return {}
        patterns = len(self._selection.include) + len(self._selection.exclude)
        return {"tags": dict(self._selection.tags), "patterns": patterns}

    def _counts(self, manifest: Manifest | None) -> dict[str, int | None]:
        """Return how much was rehearsed, once that is sure, and how much the manifest says there is."""
        sure = self.part.count if self.part is not None and self.depth is not None else None
        return {
            "secrets": sure.secrets if sure else None,
            "versions": sure.versions if sure else None,
            "manifest_secrets": manifest.counts.secrets if manifest else None,
            "manifest_versions": manifest.counts.versions if manifest else None,
        }

    def _would(self) -> dict[str, object] | None:
        if not self.dry or self.done is None:
            return None
        done = self.done
        return {"to": self.to, "created": done.created, "changed": done.changed, "left": done.unchanged}

    def _spent(self, took: float) -> Iterator[tuple[str, float]]:
        yield from self.phases.seconds.items()
        yield "total", took

    def sheet(self) -> Sheet:
        """Return what came of one that reached its end, for people."""
        assert self.origin is not None
        assert self.part is not None
        late = ", but not in time" if self._problems else ""
        late += ", and it is not all that is known" if self.less else ""
        after = "Nothing was written." if self.dry else "The scratch store is gone; nothing live was touched."
        verdict = f"Rehearsed from {self.origin.name}: {self.came_back}{late}. {after}"
        return Sheet(verdict=verdict, parts=[Pairs(list(self._pairs(self.part)))])

    def _pairs(self, part: RehearsedPart) -> Iterator[tuple[str, object]]:
        assert self.origin is not None
        if (manifest := self.origin.manifest) is not None:
            yield "made", f"{manifest.created_at}, of '{manifest.source}'"
        yield "scope", f"{_SCOPES[self._scope]}: {part.count}"
        yield "depth", _DEPTHS[self.dry]
        if self._scope is not DrillScope.SINGLE:
            yield "counts", "the backup holds what its manifest says" if manifest is not None else None
        yield from self._would_pairs()
        spent = ", ".join(f"{name} {measured(seconds)}" for name, seconds in self.phases.seconds.items())
        yield "took", f"{measured(self.ended())}: {spent}"
        if self.least is not None:
            yield "at least", f"'{self.to}' takes {times.at_least(self.least)} for so much"
        whose = "as given" if self._given else f"for {_SCOPES[self._scope]}"
        yield "objective", f"{self.objective:g} s ({whose}): {'missed' if self._problems else 'met'}"

    def _would_pairs(self) -> Iterator[tuple[str, object]]:
        if self.dry and (done := self.done) is not None:
            yield f"into '{self.to}'", f"a restore would create {plural(done.created, 'secret')}"
            yield "differ", f"{done.changed:,}, replaced with --overwrite-existing alone"
            yield "equal", f"{done.unchanged:,}, left as they are"


_SCOPES = {DrillScope.SINGLE: "one secret", DrillScope.CATEGORY: "a category", DrillScope.FULL: "everything"}
_DEPTHS = {
    False: "compared: every version of every secret equals the backup, which was read a second time",
    True: "opened: everything was decrypted, authenticated and decoded in memory",
}


def _problem(error: BaseException) -> tuple[str, dict[str, object]]:
    """Return what a rehearsal that ends so is, and the error without its words, which may name a secret."""
    if isinstance(error, OSError):
        error = failures.from_os(error)
    match error:
        case StrongroomError():
            code, means = error.exit_code, failures.meaning(error)
            outcome = "late" if isinstance(error, RunDegraded) else "failed"
        case KeyboardInterrupt():
            code = failures.TERMINATED if isinstance(error, Terminated) else failures.INTERRUPTED
            outcome, means = "interrupted", "It was asked to end before it was done."
        case _:
            code, outcome, means = failures.UNEXPECTED, "failed", "A fault of Strongroom's own."
    return outcome, {"code": name_of(error), "exit_code": code, "means": means}


@contextmanager
def reporting(record: RehearsalRecord, given: RehearseRecovery, output: Output) -> Iterator[None]:
    """Write the report in the end, of a failure too. That it cannot be written shows before anything begins.

    Raises:
        WouldOverwrite: there is such a file, and it was not said that it may be replaced.
        UsageError: it has no folder, or would take the place of the backup.
    """
    if given.report is not None:
        _check_report(given)
    try:
        yield
    except BaseException as error:
        record.add(error)
        for note in () if isinstance(error, KeyboardInterrupt) else getattr(error, "__notes__", ()):
            output.warn(note)
        _write_after(record, given, output)
        raise
    _write(record, given)


def _check_report(given: RehearseRecovery) -> None:
    report, file = given.report, given.origin.where.backup_file
    refuse_existing(report, replace=given.force)
    if not report.absolute().parent.is_dir():
        raise UsageError(f"'{report.parent}' is no directory to write a report into.", hint=_CHECK)
    if file is not None and report.exists() and file.exists() and report.samefile(file):
        raise UsageError("The report would take the place of the backup.", hint="Give it another name.")


def _write_after(record: RehearsalRecord, given: RehearseRecovery, output: Output) -> None:
    """Write it after a failure, which counts for more than a report that cannot be written."""
    try:
        _write(record, given)
    except StrongroomError as error:
        output.warn(f"there is no report: {error.message}")


def _write(record: RehearsalRecord, given: RehearseRecovery) -> None:
    if given.report is not None:
        write_whole(given.report, encode(record.document()), replace=given.force)


_CHECK = "Nothing was begun. Check the path."


# -- drill local: rehearse a recovery on this machine, from a file or a target, and say how long it took
#
# Needs no state, broker or configuration when it is from a file, as a recovery does not.


def rehearse_recovery(given: RehearseRecovery, output: Output) -> Answer:
    selection = given.selected.selection()
    _refuse_ignored(given, selection)
    phases = Phases(lambda phase: output.say(f"{_DOING[phase]} …") if output.lively else None)
    record = RehearsalRecord(given, _scope(given, selection), selection, phases)
    with reporting(record, given, output):
        late = _rehearsed(given, selection, record, output)
    return Answer(record=record.document(), sheet=record.sheet(), error=late)


def _refuse_ignored(given: RehearseRecovery, selection: Selection) -> None:
    if given.secret_name is not None and selection != Selection():
        raise UsageError("--secret-name and a filter contradict each other.", hint="Give one of the two.")
    if given.dry_run and given.scratch is not None:
        raise UsageError("A dry run has no scratch store: --scratch does not go with --dry-run.")
    if given.force and given.report is None:
        raise UsageError("--force replaces a report: it goes with --report alone.")


def _scope(given: RehearseRecovery, selection: Selection) -> DrillScope:
    if given.secret_name is not None:
        return DrillScope.SINGLE
    return DrillScope.FULL if selection == Selection() else DrillScope.CATEGORY


def _rehearsed(
    given: RehearseRecovery, selection: Selection, record: RehearsalRecord, output: Output
) -> RunDegraded | None:
    """Rehearse; return what to say of a recovery that would take too long."""
    installation = place.find()
    destination = sources.destination_of(given.to, installation)
    with ExitStack() as around:
        with record.phases.phase(Phase.OPEN):
            origin = around.enter_context(
                restore_source.open_restore_source(
                    given.origin,
                    SourceQuery(
                        selection=selection,
                        name=given.secret_name or "",
                        source=given.to,
                        dry=given.dry_run,
                    ),
                    output,
                    installation,
                )
            )
            record.origin = origin
            origin.unlock()
        if origin.earlier is not None:
            record.shortfall = origin.earlier.shortfall()
            backup_selection.report_shortfall(record.shortfall, output)
        record.part = _part(given, origin, selection)
        if given.dry_run:
            with record.phases.phase(Phase.READ):
                record.done = look_through(record.part, destination)
        else:
            record.done = _restored(given, record, record.part, installation, output)
    record.depth = Depth.OPENED if given.dry_run else Depth.COMPARED
    return _judged(record, destination)


def _part(given: RehearseRecovery, origin: RestoreSource, selection: Selection) -> RehearsedPart:
    if (name := given.secret_name) is not None:
        return RehearsedPart(lambda: [origin.find(name)])
    # All of it is read, so that the counts of the manifest are compared whatever the filter means.
    everything = Selection()
    return RehearsedPart(
        lambda: origin.select(everything),
        selection=selection,
        whole=Count(secrets=origin.total, versions=origin.versions),
    )


def _restored(
    given: RehearseRecovery,
    record: RehearsalRecord,
    part: RehearsedPart,
    installation: InstallationPlace,
    output: Output,
) -> Restored:
    with counting(output, "rehearsing", None) as advance:
        return rehearse(
            part, given.scratch or installation.state_dir / FOLDER, record.phases, progress=advance
        )


def _judged(record: RehearsalRecord, destination: Destination) -> RunDegraded | None:
    """Hold a rehearsal in which everything came back to its objective, as a drill is."""
    done, took = record.done, record.ended()
    assert done is not None  # it came to its end
    written = done.created + done.changed
    least = restore_source.least_seconds(destination, secrets=written, versions=done.versions)
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
