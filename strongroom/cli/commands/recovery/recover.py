"""recover: leads through the six steps of a recovery, and goes on where one was left."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from msgspec import to_builtins

from strongroom.cli.commands.recovery import restoring, rotating, secure, steps, validating
from strongroom.cli.commands.recovery.dialogue import Dialogue, answers_of
from strongroom.cli.commands.recovery.forked_step import Apart
from strongroom.cli.commands.recovery.notifying import notify_others
from strongroom.cli.commands.recovery.opening import open_places, opened
from strongroom.cli.commands.recovery.plan import read_plan
from strongroom.cli.commands.recovery.tools import Given, RecoveryScreen, RecoveryTools
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.stopping import leaving
from strongroom.config import Settings
from strongroom.errors import StrongroomError
from strongroom.operations.archive.recoveries import FOLDER, STEPS, RecoveryEntryKind, RecoveryStep
from strongroom.operations.errors import RunDegraded
from strongroom.operations.procedure import AfterFailure, Guide, Procedure, lead
from strongroom.operations.recovery import words
from strongroom.operations.recovery.decide import next_step, took_seconds, why_unneeded
from strongroom.operations.recovery.places import REPORTS, RecoveryJournal
from strongroom.operations.recovery.report import RecoveryReport, report_of
from strongroom.timestamps import readable

PERFORM: Final[Mapping[RecoveryStep, Callable[[RecoveryTools], StrongroomError | None]]] = {
    RecoveryStep.ASSESS: steps.assess,
    RecoveryStep.SECURE: secure.secure,
    RecoveryStep.LOCATE: steps.locate,
    RecoveryStep.RESTORE: restoring.restore,
    RecoveryStep.VALIDATE: validating.validate,
    RecoveryStep.ROTATE: rotating.rotate,
}


def recover(arguments: Namespace, output: Output) -> None:
    here = place.find()
    dialogue = Dialogue(answers_of(arguments), output)
    plan, settings = read_plan(output)
    places = open_places(arguments, here)
    at = RecoveryTools(
        here=here,
        plan=plan,
        given=Given(arguments, here),
        screen=RecoveryScreen(output, plan.contacts),
        ask=dialogue,
        record=RecoveryJournal(places, opened(arguments, places, output)),
        apart=Apart(arguments, output, passphrase=_passphrase(arguments)),
    )
    dialogue.goes_on = at.goes_on
    with leaving(f"what was done stays. This goes on: {at.goes_on}"):
        _greet(at)
        if arguments.assess and at.record.recovery.scope is not None:
            at.record.note(RecoveryEntryKind.BEGAN, RecoveryStep.ASSESS)
        lead(_Recovery(at), _LeadingRecovery(at, settings))
        _close(at, settings)


def _passphrase(arguments: Namespace) -> str:
    return prompts.hidden("Passphrase: ") if arguments.ask_passphrase else ""


def _greet(at: RecoveryTools) -> None:
    recovery = at.record.recovery
    at.screen.say(
        f"Recovery {recovery.id}, opened {readable(recovery.opened_at)} by {recovery.by}.",
        "Take your time: nothing is overwritten without a yes, and Enter always takes the safe answer.",
        f"Ctrl-C stops. This goes on, here or on another host: {at.goes_on}",
    )
    at.screen.call("primary", "secondary")


class _Recovery(Procedure[RecoveryStep]):
    """The steps of a recovery, by its record."""

    def __init__(self, at: RecoveryTools) -> None:
        self._tools, self._record = at, at.record

    def next_step(self, left: Collection[RecoveryStep]) -> RecoveryStep | None:
        return next_step(self._record.recovery, host=self._tools.host)

    def why_needless(self, step: RecoveryStep) -> str:
        return why_unneeded(step, self._record.recovery)

    def pass_over(self, step: RecoveryStep, why: str) -> None:
        self._record.note(RecoveryEntryKind.UNNEEDED, step, reason=why)

    def perform(self, step: RecoveryStep) -> StrongroomError | None:
        self._record.note(RecoveryEntryKind.BEGAN, step)
        error = PERFORM[step](self._tools)
        if error is None:
            self._record.note(RecoveryEntryKind.DONE, step)
        else:
            self._record.note(RecoveryEntryKind.STOPPED, step, reason=error.code)
        return error

    def waive(self, step: RecoveryStep, reason: str) -> None:
        self._record.note(RecoveryEntryKind.WAIVED, step, reason=reason)
        self._record.left(f"{words.STEPS[step]}: skipped ({reason}).")


class _LeadingRecovery(Guide[RecoveryStep]):
    """Leads whoever recovers through the steps, and notifies others."""

    def __init__(self, at: RecoveryTools, settings: Settings | None) -> None:
        self._tools, self._screen, self._settings = at, at.screen, settings

    def begins(self, step: RecoveryStep) -> None:
        took = words.length(took_seconds(self._tools.record.recovery, time.time()))
        objective = words.length(self._tools.plan.objective)
        number = STEPS.index(step) + 1
        self._screen.headline(f"Step {number} of {len(STEPS)}: {words.STEPS[step]}   ({took} of {objective})")

    def needless(self, step: RecoveryStep, why: str) -> None:
        self._screen.say(f"  Not needed: {why}")

    def ended(self, step: RecoveryStep, error: StrongroomError | None) -> None:
        if error is None:
            self._screen.say("  Done.")
        notify_others(self._tools, self._settings)  # that it is late must not wait for an answer

    def after_failure(self, step: RecoveryStep, error: StrongroomError) -> AfterFailure:
        return self._tools.ask.after_failure(
            step,
            error,
            self._screen.call,
            may_skip=step is not RecoveryStep.ASSESS,
            goes_on=step in (RecoveryStep.SECURE, RecoveryStep.VALIDATE),
        )


# -- the end ------------------------------------------------------------------------------


def _close(at: RecoveryTools, settings: Settings | None) -> None:
    if not at.record.recovery.closed_at:  # else it was killed before its report was written
        at.record.note(RecoveryEntryKind.CLOSED)
    notify_others(at, settings)
    report = report_of(at.record.recovery, objective=at.plan.objective)
    at.record.places.put_report(report)
    at.screen.output.answer(
        {
            **to_builtins(report),
            "record_on": at.record.places.targets,
            "record_missed": at.record.places.missed,
        },
        _lines(at, report),
    )
    if report.outcome == words.LACKING:
        said = "The recovery is over, and something is left to do."
        at.screen.output.end_with(RunDegraded(said, hint="The lines above, and the report, say what."))


def _lines(at: RecoveryTools, report: RecoveryReport) -> Iterator[str]:
    met = "in time" if report.in_time else f"later than the objective of {words.length(report.objective)}"
    yield f"Recovery {report.recovery}: {words.outcome(at.record.recovery)}."
    yield f"  It took {words.length(report.took)}, {met}."
    yield from (f"  left to do: {line}" for line in report.left_to_do)
    file = at.here.state_dir / FOLDER / REPORTS / f"{report.recovery}.html"
    on = ", ".join(at.record.places.targets) or "no target"
    yield f"  The signed report is {file.with_suffix('.json')}, and its page {file}; also on {on}."
    yield from (f"  not on {name}: {why}" for name, why in at.record.places.missed.items())
