"""Step six: an incident for the leaked keys, from its beginning to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from strongroom.cli.commands.recovery.child import Ran, Shown
from strongroom.cli.commands.recovery.desk import Desk
from strongroom.operations.archive.recoveries import Step
from strongroom.operations.errors import ConfirmationRequired, StepIncomplete

INCIDENT = "incident"
STEPS = ("isolate", "readers", "reseal", "rotate", "report")
OPENING = ("isolate", "readers", "reseal")
"""What 'incident open' does at once."""
SETTLED = ("done", "waived", "not needed")


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
    desk.know_backups(Step.ROTATE)
    ran = _open(desk, scope.leaked)
    incident = str(ran.document.get("incident", ""))
    if not incident:
        return ran.shown("Do what the lines above say, then try again.")
    for step in STEPS:
        if step == "rotate" and _state(ran, step) == "open" and not _may_change(desk):
            said = "The answer was no, so no secret got a new value. The incident stays open."
            return Shown(error=ConfirmationRequired(said, hint=""))
        _take(desk, incident, step, ran)
    return _close(desk, incident)


def _may_change(desk: Desk) -> bool:
    """Ask before values change: services go on with the old ones until somebody hands them the new ones."""
    question = "Give the secrets in those backups new values now, by the rotators of the configuration?"
    return desk.dialogue.confirm("rotate", question)


def _close(desk: Desk, incident: str) -> Shown:
    reason = f"recovery {desk.recovery.id}"
    ran = desk.run(Step.ROTATE, "incident", "close", incident, "--reason", reason)
    for one in ran.document.get("steps", ()):
        desk.left(*one["outcome"]["left"])
    return Shown() if ran.document.get("closed_at") else ran.shown("Put that right, then try again.")


def _is_closed(desk: Desk) -> bool:
    """Tell whether the incident that this recovery opened is closed: it is not opened again."""
    proofs = desk.recovery.steps[Step.ROTATE].proofs
    known = next((proof.of for proof in proofs if proof.check == INCIDENT), None)
    if known is None:
        return False
    status = desk.run(Step.ROTATE, "incident", "status", known)
    return any(one["closed_at"] for one in status.document.get("incidents", ()))


def _open(desk: Desk, leaked: tuple[str, ...]) -> Ran:
    """Open the incident. Repeated with the same words, the same one goes on."""
    keys = [word for key in leaked for word in ("--key", key)]
    reason = desk.recovery.reason or f"recovery {desk.recovery.id}"
    ran = desk.run(Step.ROTATE, "incident", "open", *keys, "--reason", reason, "--force", *desk.keys())
    if incident := str(ran.document.get("incident", "")):
        desk.prove(Step.ROTATE, INCIDENT, "it was opened by this recovery", of=incident)
    desk.say(*(f"  {line}" for line in _standing(ran.document)))
    return ran


def _standing(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield how each step of an incident stands."""
    for one in document.get("steps", ()):
        counts = "; ".join(f"{what}: {count:,}" for what, count in one["outcome"]["counts"].items())
        yield f"{one['step']}: {one['state']}" + (f" ({counts})" if counts else "")


def _take(desk: Desk, incident: str, step: str, opened: Ran) -> None:
    """Do one step of the incident, until it is done or waived.

    Args:
        opened: what opening it came to, which was the first try of some steps. How the others stand is of
            an earlier time, and people may have changed secrets since.
    """
    tried = step in OPENING or _state(opened, step) in SETTLED
    ran = opened if tried and _state(opened, step) != "open" else _try(desk, incident, step)
    while _state(ran, step) not in SETTLED:
        reason = desk.after_failure(f"{Step.ROTATE}.{step}", _incomplete(ran, step, incident))
        if reason is None:
            ran = _try(desk, incident, step)
        else:
            desk.left(f"Incident {incident}, step {step}: waived ({reason}).")
            ran = desk.run(Step.ROTATE, "incident", "waive", incident, step, "--reason", reason)
    desk.say(f"  {step}: {_state(ran, step)}")


def _incomplete(ran: Ran, step: str, incident: str) -> Shown:
    """Return what is missing of a step, and the command that does it by hand."""
    by_hand = f"By hand: 'strongroom incident {step} {incident}'."
    for one in ran.document.get("steps", ()):
        if one["step"] == step and (missing := one["outcome"]["missing"]):
            what, why = next(iter(missing.items()))
            more = f" And {len(missing) - 1:,} more." if len(missing) > 1 else ""
            said = f"Step '{step}' of the incident is not done: {what}: {why}.{more}"
            return Shown(
                error=StepIncomplete(said, hint=f"Put that right, or skip it with a reason. {by_hand}")
            )
    return ran.shown(by_hand)


def _try(desk: Desk, incident: str, step: str) -> Ran:
    keys = [*desk.keys()] if step in ("reseal", "rotate") else []
    if step != "rotate":
        return desk.run(Step.ROTATE, "incident", step, incident, *keys, of=step)
    names = _names_file(desk)
    ran = desk.run(Step.ROTATE, "incident", step, incident, "--secrets", str(names), *keys, of=step)
    if _state(ran, step) not in SETTLED and names.exists():
        desk.say(f"  The secrets that need a new value are in {names}. Change each at its source.")
    return ran


def _state(ran: Ran, step: str) -> str:
    found = (str(one["state"]) for one in ran.document.get("steps", ()) if one["step"] == step)
    return next(found, "open")


def _names_file(desk: Desk) -> Path:
    file = desk.here.state_dir / "recoveries" / "plans" / f"{desk.recovery.id}-to-change.json"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    return file
