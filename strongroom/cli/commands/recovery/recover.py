"""recover: leads through the six steps of a recovery, and goes on where one was left."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec import to_builtins

from strongroom.cli.commands.recovery import restoring, rotating, secure, steps, validating
from strongroom.cli.commands.recovery.desk import Desk
from strongroom.cli.commands.recovery.dialogue import Dialogue, answers_of
from strongroom.cli.commands.recovery.forked_step import Shown
from strongroom.cli.commands.recovery.notifying import notify_others
from strongroom.cli.commands.recovery.opening import open_places, opened
from strongroom.cli.commands.recovery.plan import read_plan
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.stopping import leaving
from strongroom.config import Settings
from strongroom.operations.archive.recoveries import FOLDER, STEPS, About, Step
from strongroom.operations.errors import RunDegraded
from strongroom.operations.recovery import words
from strongroom.operations.recovery.decide import next_step, took_seconds, why_unneeded
from strongroom.operations.recovery.places import REPORTS
from strongroom.operations.recovery.report import RecoveryReport, report_of
from strongroom.timestamps import readable

PERFORM: Final[Mapping[Step, Callable[[Desk], Shown]]] = {
    Step.ASSESS: steps.assess,
    Step.SECURE: secure.secure,
    Step.LOCATE: steps.locate,
    Step.RESTORE: restoring.restore,
    Step.VALIDATE: validating.validate,
    Step.ROTATE: rotating.rotate,
}


def recover(arguments: Namespace, output: Output) -> None:
    here = place.find()
    dialogue = Dialogue(answers_of(arguments), output)
    plan, settings = read_plan(output)
    places = open_places(arguments, here)
    recovery = opened(arguments, places, output)
    desk = Desk(arguments, output, here, places=places, plan=plan, dialogue=dialogue, recovery=recovery)
    with leaving(f"what was done stays. This goes on: {desk.goes_on}"):
        _lead(desk, settings)


def _lead(desk: Desk, settings: Settings | None) -> None:
    _greet(desk)
    if desk.arguments.assess and desk.recovery.scope is not None:
        desk.note(About.BEGAN, Step.ASSESS)
    while (step := next_step(desk.recovery, host=desk.host)) is not None:
        if why := why_unneeded(step, desk.recovery):
            desk.note(About.UNNEEDED, step, reason=why)
            _head(desk, step)
            desk.say(f"  Not needed: {why}")
            continue
        _take(desk, step, settings)
    _close(desk, settings)


def _greet(desk: Desk) -> None:
    recovery = desk.recovery
    desk.say(
        f"Recovery {recovery.id}, opened {readable(recovery.opened_at)} by {recovery.by}.",
        "Take your time: nothing is overwritten without a yes, and Enter always takes the safe answer.",
        f"Ctrl-C stops. This goes on, here or on another host: {desk.goes_on}",
    )
    desk.call("primary", "secondary")


def _head(desk: Desk, step: Step) -> None:
    took = words.length(took_seconds(desk.recovery, time.time()))
    objective = words.length(desk.plan.objective)
    number = STEPS.index(step) + 1
    desk.headline(f"Step {number} of {len(STEPS)}: {words.STEPS[step]}   ({took} of {objective})")


def _take(desk: Desk, step: Step, settings: Settings | None) -> None:
    """Take one step, until its checks end well, or somebody passes it over and says why."""
    _head(desk, step)
    while True:
        desk.note(About.BEGAN, step)
        shown = PERFORM[step](desk)
        if shown.error is None:
            desk.note(About.DONE, step)
            desk.say("  Done.")
            notify_others(desk, settings)
            return
        desk.note(About.STOPPED, step, reason=shown.error.code)
        notify_others(desk, settings)  # that it is late must not wait for an answer
        can_wait = step in (Step.SECURE, Step.VALIDATE)
        reason = desk.after_failure(step, shown, may_skip=step is not Step.ASSESS, goes_on=can_wait)
        if reason is not None:
            desk.note(About.WAIVED, step, reason=reason)
            desk.left(f"{words.STEPS[step]}: skipped ({reason}).")
            return


# -- the end ------------------------------------------------------------------------------


def _close(desk: Desk, settings: Settings | None) -> None:
    if not desk.recovery.closed_at:  # else it was killed before its report was written
        desk.note(About.CLOSED)
    notify_others(desk, settings)
    report = report_of(desk.recovery, objective=desk.plan.objective)
    desk.places.put_report(report)
    desk.output.answer(
        {**to_builtins(report), "record_on": desk.places.targets, "record_missed": desk.places.missed},
        _lines(desk, report),
    )
    if report.outcome == words.LACKING:
        said = "The recovery is over, and something is left to do."
        desk.output.end_with(RunDegraded(said, hint="The lines above, and the report, say what."))


def _lines(desk: Desk, report: RecoveryReport) -> Iterator[str]:
    met = "in time" if report.in_time else f"later than the objective of {words.length(report.objective)}"
    yield f"Recovery {report.recovery}: {words.outcome(desk.recovery)}."
    yield f"  It took {words.length(report.took)}, {met}."
    yield from (f"  left to do: {line}" for line in report.left_to_do)
    file = desk.here.state_dir / FOLDER / REPORTS / f"{report.recovery}.html"
    on = ", ".join(desk.places.targets) or "no target"
    yield f"  The signed report is {file.with_suffix('.json')}, and its page {file}; also on {on}."
    yield from (f"  not on {name}: {why}" for name, why in desk.places.missed.items())
