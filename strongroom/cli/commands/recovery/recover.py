"""recover: leads through the six steps of a recovery, and goes on where one was left."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, cast

from msgspec.structs import asdict, replace

from strongroom.cli.commands.recovery import assess, restoring, rotating, secure
from strongroom.cli.commands.recovery.arguments import Recover, RecoverFrom
from strongroom.cli.commands.recovery.forked_step import Apart
from strongroom.cli.commands.recovery.tools import (
    Dialogue,
    RecoveryScreen,
    RecoveryTools,
    answers_of,
    going_on,
    notify_others,
    read_plan,
)
from strongroom.cli.shared import admission, backup_selection
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.cli.terminal.stopping import leaving
from strongroom.config import Settings
from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError
from strongroom.keys.roles import load_or_create_role
from strongroom.model import Role
from strongroom.operations.archive.recoveries import (
    FOLDER,
    STEPS,
    Recovery,
    RecoveryEntry,
    RecoveryEntryKind,
    RecoveryStep,
)
from strongroom.operations.errors import RunDegraded
from strongroom.operations.procedures import recovery as words
from strongroom.operations.procedures.account import together
from strongroom.operations.procedures.perform import AfterFailure, Guide, Procedure, lead
from strongroom.operations.procedures.recovery import next_step, took_seconds, why_unneeded
from strongroom.operations.procedures.recovery_report import (
    REPORTS,
    RecordPlaces,
    RecoveryJournal,
    account_of,
    report_of,
    status_of,
)
from strongroom.sheet import Lines, Sheet
from strongroom.system.process import who
from strongroom.targets import Target
from strongroom.times import measured, readable, rfc3339, unique

# -- Which recovery is gone on with, and where its record lies ----------------------------------


def open_places(given: Recover, here: InstallationPlace) -> RecordPlaces:
    """Return the places of the record: this machine, and every target that answers.

    Raises:
        UsageError: no target is configured, and none is named.
    """
    signer = load_or_create_role(here.role_keys, Role.RECOVER)
    trusted = admission.trusted_signers(here, given.trust.signer)
    chooser = backup_selection.make_chooser(given.origin.from_target, here, trusted)
    targets = {name: cast("Target", listing.objects) for name, listing in chooser.listings.items()}
    return RecordPlaces(here.state_dir, targets, trusted=chooser.trusted, signer=signer)


def _here_alone(given: Recover, here: InstallationPlace) -> RecordPlaces:
    trusted = admission.trusted_signers(here, given.trust.signer)
    signer = load_or_create_role(here.role_keys, Role.RECOVER)
    return RecordPlaces(here.state_dir, {}, trusted=trusted, signer=signer)


def opened(given: Recover, places: RecordPlaces, output: Output) -> Recovery:
    """Return the recovery to go on with: the named one, else one that is open, else a new one.

    Raises:
        MissingPiece: no place has the one that is named.
    """
    known = places.recoveries()
    if given.which.resume is not None:
        return _named(given.which.resume, known)
    still_open = [recovery for recovery in known.values() if not recovery.closed_at]
    if still_open and not given.which.new:
        newest = still_open[-1]
        output.note(
            f"A recovery is open since {readable(newest.opened_at)}: going on with it. (Another: --new)"
        )
        return newest
    now = time.time()
    return places.add(
        RecoveryEntry(
            case=unique(now),
            number=1,
            at=rfc3339(now),
            by=who(),
            about=RecoveryEntryKind.OPENED,
            reason=(given.reason or "").strip()[:1000],
        )
    )


def _named(name: str, known: Mapping[str, Recovery]) -> Recovery:
    if name not in known:
        raise MissingPiece(
            f"No recovery '{name}' is on record here, or on a target that answers.",
            hint="See them with 'strongroom recover --status'. One that began on a machine with a signer of "
            "its own needs that signer: --signer sr1:…",
        )
    return known[name]


# -- recover: leads through the six steps of a recovery, and goes on where one was left ---------


PERFORM: Final[Mapping[RecoveryStep, Callable[[RecoveryTools], StrongroomError | None]]] = {
    RecoveryStep.ASSESS: assess.assess,
    RecoveryStep.SECURE: secure.secure,
    RecoveryStep.LOCATE: assess.locate,
    RecoveryStep.RESTORE: restoring.restore,
    RecoveryStep.VALIDATE: rotating.validate,
    RecoveryStep.ROTATE: rotating.rotate,
}


def recover(given: Recover, output: Output) -> Answer:
    here = place.find()
    given = _from_anywhere(given, here)
    dialogue = Dialogue(answers_of(given), output)
    plan, settings = read_plan(output)
    places = open_places(given, here)
    recovery = opened(given, places, output)
    passphrase = prompts.hidden("Passphrase: ") if given.ask_passphrase else ""
    at = RecoveryTools(
        here=here,
        plan=plan,
        given=given,
        screen=RecoveryScreen(output, plan.contacts),
        ask=dialogue,
        record=RecoveryJournal(places, recovery),
        apart=Apart(given.opening, output, passphrase=passphrase),
    )
    dialogue.goes_on = at.goes_on
    with leaving(f"what was done stays. This goes on: {at.goes_on}"):
        at.screen.say(
            f"Recovery {recovery.id}, opened {readable(recovery.opened_at)} by {recovery.by}.",
            "Take your time: nothing is overwritten without a yes, and Enter always takes the safe answer.",
            f"Ctrl-C stops. This goes on, here or on another host: {at.goes_on}",
        )
        at.screen.call("primary", "secondary")
        if given.assess and recovery.scope is not None:
            at.record.note(RecoveryEntryKind.BEGAN, RecoveryStep.ASSESS)
        lead(_Recovery(at), _LeadingRecovery(at, settings))
        return _close(at, settings)


def _from_anywhere(given: Recover, here: InstallationPlace) -> Recover:
    """Return what was given as it can be typed again in any folder: a folder that is a target by its path."""
    configured = here.section("targets")
    places = (
        str(Path(word).absolute()) if word not in configured and Path(word).is_dir() else word
        for word in given.origin.from_target
    )
    return replace(given, origin=replace(given.origin, from_target=tuple(places)))


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
        took = measured(took_seconds(self._tools.record.recovery, time.time()))
        objective = measured(self._tools.plan.objective)
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


def _close(at: RecoveryTools, settings: Settings | None) -> Answer:
    if not at.record.recovery.closed_at:  # else it was killed before its report was written
        at.record.note(RecoveryEntryKind.CLOSED)
    notify_others(at, settings)
    report = report_of(at.record.recovery, objective=at.plan.objective)
    at.record.places.put_report(report)
    places = at.record.places
    file = at.here.state_dir / FOLDER / REPORTS / f"{report.recovery}.html"
    on = ", ".join(places.targets) or "no target"
    where = [f"The signed report is {file.with_suffix('.json')}, and its page {file}; also on {on}."]
    where += [f"It is not on {name}: {why}" for name, why in places.missed.items()]
    said = "The recovery is over, and something is left to do."
    return Answer(
        record={**asdict(report), "record_on": places.targets, "record_missed": places.missed},
        sheet=account_of(report).status(Lines(where, "Its report")),
        error=RunDegraded(said, hint="The lines above, and the report, say what.")
        if report.outcome == words.LACKING
        else None,
    )


# -- recover --status: how far recoveries are ---------------------------------------------------


def show_status(given: Recover, output: Output) -> Answer:
    now, here, (plan, _) = time.time(), place.find(), read_plan(output)
    given = _from_anywhere(given, here)
    if not given.origin.from_target and not backup_selection.target_names(here):
        output.note("note: no target is configured, or named by --from-target: only this host was asked.")
        places, given = _here_alone(given, here), replace(given, origin=RecoverFrom(from_target=("TARGET",)))
    else:
        places = open_places(given, here)
    standing = [
        status_of(case, objective=plan.objective, now=now, goes_on=going_on(case.id, given))
        for case in places.recoveries().values()
    ]
    parts = list(together(map(account_of, standing)))
    return Answer(
        record={"recoveries": standing},
        sheet=Sheet(parts=parts or [Lines(["No recovery is on record here."])]),
    )
