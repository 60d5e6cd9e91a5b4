"""Step six: an incident for the leaked keys, from its beginning to its end."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from strongroom.cli.commands.incident import incident as incidents
from strongroom.cli.commands.incident import report
from strongroom.cli.commands.incident import steps as incident_steps
from strongroom.cli.commands.recovery.backups import know_backups
from strongroom.cli.commands.recovery.desk import Desk
from strongroom.cli.commands.recovery.forked_step import Ended, Shown
from strongroom.cli.shared import identity_options
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, in_line, plural
from strongroom.errors import StrongroomError
from strongroom.operations.archive.incidents import STEPS, Incident, StepStanding, steps_of
from strongroom.operations.archive.incidents import Step as Of
from strongroom.operations.archive.recoveries import Step
from strongroom.operations.errors import ConfirmationRequired, StepIncomplete
from strongroom.operations.incident.exposed import compromised_names
from strongroom.operations.incident.steps import find_incident

INCIDENT: Final = "incident"
OPENING: Final = (Of.ISOLATE, Of.READERS, Of.RESEAL)
"""What 'incident open' does at once."""
NAMED: Final = 8


def rotate(desk: Desk) -> Shown:
    """Isolate what the leaked keys open, find who read it, seal it anew, change the secrets, and close."""
    scope = desk.recovery.scope
    assert scope is not None
    if _is_closed(desk):
        return Shown()
    named = ", ".join(scope.leaked)
    question = f"Put each backup that opens with {named} into quarantine, and seal it again?"
    tried = bool(desk.recovery.steps[Step.ROTATE].proofs)  # somebody said yes to that
    if not tried and not desk.dialogue.confirm("quarantine", question):
        error = ConfirmationRequired("The answer was no, so nothing was put into quarantine.", hint="")
        return Shown(error=error)
    know_backups(desk, Step.ROTATE)
    done = _open(desk, scope.leaked)
    if done.answer is None:
        return done.shown("Do what the lines above say, then try again.")
    standing = steps_of(done.answer)
    for step in STEPS:
        if step is Of.ROTATE and _of(standing, step).state == "open" and not _may_change(desk, done.answer):
            said = "The answer was no, so no secret got a new value. The incident stays open."
            return Shown(error=ConfirmationRequired(said, hint=""))
        _take(desk, done.answer.id, step, done)
    return _close(desk, done.answer.id)


def _may_change(desk: Desk, incident: Incident) -> bool:
    """Ask before values change: services go on with the old ones until somebody hands them the new ones."""
    words = ["incident", "status", incident.id]
    exposed = desk.look(words, partial(_exposed, keys=desk.arguments), Exposed).answer
    if exposed is not None and exposed.names:
        more = f" and {exposed.count - NAMED:,} more" if exposed.count > NAMED else ""
        said = f"{plural(exposed.count, 'secret')}: {', '.join(map(in_line, exposed.names))}{more}"
        desk.say(f"  Anyone who has those keys may know the values of {said}.")
    question = "Give the secrets in those backups new values now, by the rotators of the configuration?"
    return desk.dialogue.confirm("rotate", question)


class Exposed(Struct, frozen=True, kw_only=True):
    """How many secrets others may know, and the names of the first few."""

    count: int
    names: tuple[str, ...]


def _exposed(arguments: Namespace, output: Output, *, keys: Namespace) -> Exposed:
    services = identity_options.with_identities(open_services(), keys, output)
    names = list(compromised_names(services, find_incident(services, arguments.incident)).names)
    return Exposed(count=len(names), names=tuple(names[:NAMED]))


def _close(desk: Desk, incident: str) -> Shown:
    words = ["incident", "close", incident, "--reason", f"recovery {desk.recovery.id}", *desk.keys()]
    done = desk.do(Step.ROTATE, words, _work(report.close_incident), Incident)
    if done.answer is None or done.answer.closed is None:
        return done.shown("Put that right, then try again.")
    for one in steps_of(done.answer):
        desk.left(*one.outcome.left)
    return Shown()


def _is_closed(desk: Desk) -> bool:
    """Tell whether the incident that this recovery opened is closed: it is not opened again."""
    proofs = desk.recovery.steps[Step.ROTATE].proofs
    known = next((proof.of for proof in proofs if proof.check == INCIDENT), None)
    if known is None:
        return False
    words = ["incident", "status", known]
    done = desk.do(Step.ROTATE, words, _work(incident_steps.show_status), Incident)
    return done.answer is not None and done.answer.closed is not None


def _open(desk: Desk, leaked: tuple[str, ...]) -> Ended[Incident]:
    """Open the incident. Repeated with the same words, the same one goes on."""
    keys = [word for key in leaked for word in ("--key", key)]
    reason = desk.recovery.reason or f"recovery {desk.recovery.id}"
    words = ["incident", "open", *keys, "--reason", reason, "--force", *desk.keys()]
    done = desk.do(Step.ROTATE, words, _begin, Incident)
    if done.answer is not None:
        desk.prove(Step.ROTATE, INCIDENT, "it was opened by this recovery", of=done.answer.id)
        desk.say(*(f"  {line}" for line in _lines(steps_of(done.answer))))
    return done


def _lines(standing: tuple[StepStanding, ...]) -> Iterator[str]:
    """Yield how each step of an incident stands."""
    for one in standing:
        counts = "; ".join(f"{what}: {count:,}" for what, count in one.outcome.counts.items())
        yield f"{one.step}: {one.state}" + (f" ({counts})" if counts else "")


def _take(desk: Desk, incident: str, step: Of, opened: Ended[Incident]) -> None:
    """Do one step of the incident, until it is done or waived.

    Args:
        opened: what opening it came to, which was the first try of some steps. How the others stand is of
            an earlier time, and people may have changed secrets since.
    """
    tried = step in OPENING or _standing(opened, step).settled
    ran = opened if tried and _standing(opened, step).state != "open" else _try(desk, incident, step)
    while not _standing(ran, step).settled:
        reason = desk.after_failure(f"{Step.ROTATE}.{step}", _incomplete(ran, step, incident))
        if reason is None:
            ran = _try(desk, incident, step)
        else:
            desk.left(f"Incident {incident}, step {step}: waived ({reason}).")
            words = ["incident", "waive", incident, step, "--reason", reason]
            ran = desk.do(Step.ROTATE, words, _work(incident_steps.waive_step), Incident)
    desk.say(f"  {step}: {_standing(ran, step).state}")


def _incomplete(ran: Ended[Incident], step: Of, incident: str) -> Shown:
    """Return what is missing of a step, and the command that does it by hand."""
    by_hand = f"By hand: 'strongroom incident {step} {incident}'."
    if missing := _standing(ran, step).outcome.missing:
        what, why = next(iter(missing.items()))
        more = f" And {len(missing) - 1:,} more." if len(missing) > 1 else ""
        said = f"Step '{step}' of the incident is not done: {what}: {why}.{more}"
        hint = f"Put that right, or skip it with a reason. {by_hand}"
        return Shown(error=StepIncomplete(said, hint=hint))
    if ran.error is None:
        said = f"Step '{step}' of the incident is not done yet."
        return Shown(error=StepIncomplete(said, hint=by_hand))
    return ran.shown(by_hand)


def _try(desk: Desk, incident: str, step: Of) -> Ended[Incident]:
    keys = [*desk.keys()] if step in (Of.RESEAL, Of.ROTATE) else []
    words = ["incident", step.value, incident]
    if step is not Of.ROTATE:
        return desk.do(Step.ROTATE, [*words, *keys], _work(_BY_STEP[step]), Incident, of=step)
    names = _names_file(desk)
    words += ["--force", "--secrets", str(names), *keys]  # it was asked already: see _may_change
    ran = desk.do(Step.ROTATE, words, _work(_BY_STEP[step]), Incident, of=step)
    if not _standing(ran, step).settled and names.exists():
        desk.say(f"  The secrets that need a new value are in {names}. Change each at its source.")
    return ran


def _standing(ran: Ended[Incident], step: Of) -> StepStanding:
    if ran.answer is None:
        return StepStanding(step=step, state="open", said="")
    return _of(steps_of(ran.answer), step)


def _of(standing: tuple[StepStanding, ...], step: Of) -> StepStanding:
    return next(one for one in standing if one.step is step)


def _names_file(desk: Desk) -> Path:
    file = desk.here.state_dir / "recoveries" / "plans" / f"{desk.recovery.id}-to-change.json"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    return file


# -- apart --------------------------------------------------------------------------------


def _begin(arguments: Namespace, output: Output) -> Incident:
    performing = incidents.begin(arguments, output)
    try:
        incidents.require_all_seen(performing.incident, None)
        performing.require_complete()
    except StrongroomError as error:
        output.end_with(error)
    return performing.incident


def _work(act: Callable[[Namespace, Output], None]) -> Callable[[Namespace, Output], Incident]:
    """Return work that does something about an incident; its record then says how it stands."""

    def work(arguments: Namespace, output: Output) -> Incident:
        try:
            act(arguments, output)
        except StrongroomError as error:
            output.end_with(error)
        return find_incident(open_services(), arguments.incident)

    return work


_BY_STEP: Mapping[Of, Callable[[Namespace, Output], None]] = {
    Of.ISOLATE: incident_steps.isolate_backups,
    Of.READERS: incident_steps.find_readers,
    Of.RESEAL: incident_steps.reseal_backups,
    Of.ROTATE: incident_steps.rotate_secrets,
    Of.REPORT: report.make_report,
}
