"""drill local: rehearse a recovery on this machine, from a file or a target, and say how long it took.

It is the drill that a cluster makes, driven in this process: with no database, broker or configuration where
it is from a file, as a recovery has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from strongroom.cli.commands.restore.arguments import RehearseRecovery
from strongroom.cli.shared import backup_selection, restore_source, sources
from strongroom.cli.shared.restore_source import SourceQuery
from strongroom.cli.terminal import failures, place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, encode
from strongroom.cli.terminal.screen import counting
from strongroom.cli.terminal.stopping import Terminated
from strongroom.errors import StrongroomError, UsageError, by_name, meaning_of, name_of
from strongroom.model import Depth, Selection
from strongroom.operations.drills.facts import LOCAL, DrillOptions
from strongroom.operations.drills.job import LoneDrill, drill_alone
from strongroom.operations.drills.report import CANCELLED, LACKING, LATE, REPORT, STEP_WORDS
from strongroom.operations.drills.work import AttendedDrill
from strongroom.operations.engine import run_log
from strongroom.operations.restore.scratch import FOLDER, OBJECTIVES, DrillScope
from strongroom.state.records import RunState, RunStep
from strongroom.system.files import refuse_existing, write_whole


def rehearse_recovery(given: RehearseRecovery, output: Output) -> Answer:
    selection = given.selected.selection()
    _refuse_ignored(given, selection)
    if given.report is not None:
        _check_report(given.report, given)
    scope, installation = _scope(given, selection), place.find()
    asked = DrillOptions(
        drill=scope,
        objective_seconds=given.objective or OBJECTIVES[scope],
        into=given.to if given.dry_run else LOCAL,
        only_open=given.dry_run,
    )
    ended: BaseException | None = None
    with ExitStack() as around:
        query = SourceQuery(
            selection=selection, name=given.secret_name or "", source=given.to, dry=given.dry_run
        )
        opening = restore_source.open_restore_source(given.origin, query, output, installation)
        drill = AttendedDrill(
            lambda: around.enter_context(opening),
            given.scratch or installation.state_dir / FOLDER,
            sources.destination_of(given.to, installation),
            selection=selection,
            name=given.secret_name,
            told=lambda lacking: backup_selection.report_shortfall(lacking, output),
            counting=lambda: counting(output, "rehearsing", None),
        )

        def watch(step: RunStep) -> None:
            if output.lively and step.kind.value in STEP_WORDS:
                output.say(f"{STEP_WORDS[step.kind.value]} …")

        lone = drill_alone(drill, asked, state_dir=installation.state_dir, watch=watch)
        try:
            with around.pop_all():  # it names the keys that would open, where none of these did
                if (failed := lone.error or _failure(lone)) is not None:
                    raise failed
        except BaseException as error:  # noqa: BLE001 - the report is written at any end
            ended = error
    return _answer(_Rehearsed(given, scope, selection, drill, lone, ended), output)


def _refuse_ignored(given: RehearseRecovery, selection: Selection) -> None:
    if given.secret_name is not None and selection != Selection():
        raise UsageError("--secret-name and a filter contradict each other.", hint="Give one of the two.")
    if given.dry_run and given.scratch is not None:
        raise UsageError("A dry run has no scratch store: --scratch does not go with --dry-run.")
    if given.force and given.report is None:
        raise UsageError("--force replaces a report: it goes with --report alone.")


def _check_report(report: Path, given: RehearseRecovery) -> None:
    """Refuse before anything begins what could not be written in the end.

    Raises:
        WouldOverwrite: there is such a file, and it was not said that it may be replaced.
        UsageError: it has no folder, or would take the place of the backup.
    """
    file = given.origin.where.backup_file
    refuse_existing(report, replace=given.force)
    if not report.absolute().parent.is_dir():
        raise UsageError(f"'{report.parent}' is no directory to write a report into.", hint=_CHECK)
    if file is not None and report.exists() and file.exists() and report.samefile(file):
        raise UsageError("The report would take the place of the backup.", hint="Give it another name.")


_CHECK = "Nothing was begun. Check the path."


def _scope(given: RehearseRecovery, selection: Selection) -> DrillScope:
    if given.secret_name is not None:
        return DrillScope.SINGLE
    return DrillScope.FULL if selection == Selection() else DrillScope.CATEGORY


def _failure(lone: LoneDrill) -> StrongroomError | None:
    """Return what kept anything from coming back, where no step raised it."""
    return run_log.failure_of(lone.run) if lone.run.state is RunState.FAILED else None


def _answer(rehearsed: _Rehearsed, output: Output) -> Answer:
    """Write the report, of a failure too, and tell what came of it; of a backup that did not open its error
    alone."""
    ended, report = rehearsed.ended, rehearsed.lone.report
    for note in () if isinstance(ended, KeyboardInterrupt) else getattr(ended, "__notes__", ()):
        output.warn(note)
    document = rehearsed.document()
    file, replace = rehearsed.given.report, rehearsed.given.force
    try:
        if file is not None:
            write_whole(file, encode(document), replace=replace)
    except StrongroomError as error:
        if ended is None:
            raise
        output.warn(f"there is no report: {error.message}")  # the failure counts for more
    if ended is not None and (not isinstance(ended, StrongroomError) or not report.secrets):
        raise ended
    lacks = run_log.failure_of(rehearsed.lone.run) if report.outcome in (LATE, LACKING) else None
    return Answer(record=document, sheet=REPORT.sheet(report), error=ended or lacks)


class _Rehearsed(NamedTuple):
    """What a rehearsed recovery came to, as a report that may be handed on.

    No value is in it and no secret's name, which can be sensitive: an error that names one is shown to
    whoever typed the command, and stands in the report by its class alone.
    """

    given: RehearseRecovery
    scope: DrillScope
    selection: Selection
    drill: AttendedDrill
    lone: LoneDrill
    ended: BaseException | None

    def document(self) -> dict[str, Any]:
        given, report = self.given, self.lone.report
        came_back = report.objective_met is not None
        depth = Depth.OPENED if given.dry_run else Depth.COMPARED
        spent = dict(self._spent())
        return {
            "strongroom": report.strongroom,
            "from": str(given.origin.where),
            "backup": report.backup or None,
            "created_at": report.backup_made or None,
            "source": report.source or None,
            "began_at": report.began,
            "ended_at": report.ended,
            "dry_run": given.dry_run,
            "scope": {"kind": self.scope, **self._filter()},
            "depth": depth if came_back else None,
            "counts": self._counts(sure=came_back),
            "would": self._would(),
            "seconds": {**spent, "total": round(sum(spent.values()), 3)},
            "least_seconds": report.least / 1000 or None,
            "objective_seconds": report.objective / 1000,
            "objective_of": "the command line" if given.objective is not None else self.scope,
            "shortfall": self._shortfall(),
            "outcome": _OUTCOMES.get(report.outcome, report.outcome),
            "problems": list(self._problems()),
        }

    def _filter(self) -> dict[str, object]:
        """Return what was filtered by: patterns are names, or nearly, and only counted."""
        if self.scope is not DrillScope.CATEGORY:
            return {}
        patterns = len(self.selection.include) + len(self.selection.exclude)
        return {"tags": dict(self.selection.tags), "patterns": patterns}

    def _counts(self, *, sure: bool) -> dict[str, int | None]:
        """Return how much was rehearsed, once that is sure, and how much the manifest says there is."""
        count = self.drill.count
        manifest = self.drill.backup.manifest if self.drill.backup is not None else None
        return {
            "secrets": count.secrets if sure else None,
            "versions": count.versions if sure else None,
            "manifest_secrets": manifest.counts.secrets if manifest else None,
            "manifest_versions": manifest.counts.versions if manifest else None,
        }

    def _would(self) -> dict[str, object] | None:
        if (would := self.lone.report.would) is None:
            return None
        counts = {"created": would.created, "changed": would.changed, "left": would.unchanged}
        return {"to": self.given.to, **counts}

    def _spent(self) -> Iterator[tuple[str, float]]:
        """Yield how many seconds each phase took, those included that ended in an error."""
        took = {step.step: step.milliseconds / 1000 for step in self.lone.report.steps if step.began}
        yield "open", round(took.get("plan", 0.0) + took.get("drill-prove", 0.0), 3)
        words = {"drill-restore": "read" if self.given.dry_run else "restore", **_PHASES}
        yield from ((word, took[step]) for step, word in words.items() if step in took)

    def _shortfall(self) -> dict[str, object] | None:
        """Return what the backup lacks of those before it, without a name."""
        if self.drill.lacks is None:
            return None
        groups, findings = list(self.drill.lacks.groups), list(self.drill.lacks.findings)
        return {"missing": self.drill.lacks.missing, "groups": groups, "findings": findings}

    def _problems(self) -> Iterator[dict[str, object]]:
        """Yield what went wrong, or fell short, without its words, which may name a secret."""
        if isinstance(self.ended, KeyboardInterrupt):
            ended = failures.TERMINATED if isinstance(self.ended, Terminated) else failures.INTERRUPTED
            means = "It was asked to end before it was done."
            yield {"code": name_of(self.ended), "exit_code": ended, "means": means}
            return
        error = failures.from_os(self.ended) if isinstance(self.ended, OSError) else self.ended
        codes = [name_of(error)] if error is not None else []
        for code in dict.fromkeys([*codes, *(problem.code for problem in self.lone.report.problems)]):
            kind = by_name(code)
            means = meaning_of(kind) if kind is not None else "A fault of Strongroom's own."
            exit_code = kind.exit_code if kind is not None else failures.UNEXPECTED
            yield {"code": code, "exit_code": exit_code, "means": means}


_OUTCOMES = {CANCELLED: "interrupted", LACKING: "less"}
_PHASES = {"drill-compare": "compare", "drill-teardown": "teardown"}
