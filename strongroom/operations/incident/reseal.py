"""reseal: what somebody else's key opens is sealed again under new keys, the most exposed first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from strongroom.errors import StrongroomError
from strongroom.operations import recorded_errors
from strongroom.operations.archive.incidents import Incident, IncidentStep, StepOutcome
from strongroom.operations.archive.old_versions import UNKNOWN
from strongroom.operations.errors import RunFailed
from strongroom.operations.rotation.outcome import results
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.operations.rotation.submit import submit_rotation
from strongroom.operations.runs.drive import drive
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunState, Ticket
from strongroom.words import plural

Drive = Callable[[str, list[Ticket]], Run]
"""What brings a run to its end."""
_BY_COMMAND = "no policy names their recipients: 'strongroom keys replace' re-encrypts these files"
_UNREAD = "it could not be read: bring it back, then open the incident again with the same words"


def reseal(services: Services, incident: Incident, *, driven_by: Drive | None = None) -> StepOutcome:
    """Seal again what is not yet, policy by policy. What an earlier process did is found, and not done again.

    ``done`` says what each backup is now. One policy that fails keeps no other from its turn.
    """
    perform = driven_by or (lambda run, tickets: drive(run, tickets, services))
    before = _before(incident)
    done, counts = dict(before.done), dict(before.counts)
    left = {line.partition(":")[0]: line for line in before.left}
    missing: dict[str, str] = {}
    for policy, backups in incident.policies.items():
        if all(backup in done for backup in backups) and _key(policy) not in before.missing:
            continue
        try:
            rotated, short = _policy(services, policy, backups, perform)
        except StrongroomError as error:  # the others go on
            missing[_key(policy)] = f"{error.code}: {error.message}"
            continue
        done |= {result["backup"]: result["new"] for result in rotated if result.get("new")}
        still = [copy for result in rotated for copy in result.get("still", ())]
        counts[f"copies of {_key(policy)} still open"] = len(still)
        left[f"Old copies of {_key(policy)}"] = _to_delete(policy, still)
        missing |= {_key(policy): short} if short else {}
    left |= dict(_files(incident))
    return StepOutcome(
        counts={**counts, "sealed again": len(done)},
        done=done,
        missing={**missing, **dict(_not_sealed(incident))},
        left=tuple(left.values()),
    )


def _key(policy: str) -> str:
    return f"policy {policy}"


def _before(incident: Incident) -> StepOutcome:
    entry = incident.last(IncidentStep.RESEAL)
    return entry.outcome if entry is not None and entry.outcome is not None else StepOutcome()


def sealed_anew(incident: Incident) -> Mapping[str, str]:
    """Return what each backup is now that was sealed again, as far as that is on record."""
    return _before(incident).done


def _policy(
    services: Services, policy: str, backups: Sequence[str], perform: Drive
) -> tuple[list[Mapping[str, Any]], str]:
    """Return what each backup of a policy is now, and what the run fell short of."""
    options = RotateOptions(reencrypt=True, renew=True, backups=tuple(backups))
    run = perform(*submit_rotation(services, policy=policy, options=options, take_over=True))
    if run.state not in (RunState.DONE, RunState.DEGRADED):
        raise RunFailed(recorded_errors.apart(run.error)[0] or f"run {run.id} is {run.state.value}")
    short = recorded_errors.apart(run.error)[0] if run.state is RunState.DEGRADED else ""
    return results(services.store, run.id), short


def _not_sealed(incident: Incident) -> Iterator[tuple[str, str]]:
    if incident.files:
        yield plural(len(incident.files), "file"), _BY_COMMAND
    for backup in incident.opening.unread:
        yield f"backup {backup}", _UNREAD


def _files(incident: Incident) -> Iterator[tuple[str, str]]:
    """Yield what is left to do with the files of commands, each with its beginning, up to the colon."""
    if incident.files:
        words = (
            "Files: re-encrypt them with 'strongroom keys replace --current-key FILE --new-key FILE "
            "--re-encrypt-backups'; one that only a passphrase opens has to be written again, under another "
            f"passphrase. They are: {', '.join(incident.files)}."
        )
        yield "Files", words
    if incident.superseded:
        files = ", ".join(incident.superseded)
        yield "Originals", f"Originals: delete those of what is re-encrypted already: {files}."


def _to_delete(policy: str, still: Sequence[Mapping[str, Any]]) -> str:
    """Say which old copies are left to delete; its beginning, up to the colon, is its own."""
    copies = "; ".join(describe_copies(still)) or "none is known"
    return (
        f"Old copies of {_key(policy)}: delete them once the incident is closed and their locks have ended: "
        f"strongroom keys rotate {policy} --re-encrypt --remove-replaced. Until then the suspected key "
        f"opens them ({copies})."
    )


def describe_copies(still: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say of each target how many copies a key opens there, and until when they are locked, or hidden."""
    for target in sorted({copy["target"] for copy in still}):
        there = [copy for copy in still if copy["target"] == target]
        until = _latest(copy["until"] for copy in there)
        yield f"{plural(len(there), 'backup')} on {target}" + (f", locked until {until}" if until else "")
        hidden = [copy["old_versions"] for copy in there if copy["old_versions"]["count"]]
        if hidden:
            day = _latest(old_versions["until"] or old_versions["locked_until"] for old_versions in hidden)
            ends = f"until {day}" if day else "until somebody removes them, for deleting only hides"
            yield f"hidden versions of {plural(len(hidden), 'backup')} on {target}, {ends}"


def _latest(moments: Iterable[str]) -> str:
    """Return the last of some moments; a target may not tell one."""
    found = set(moments)
    return "a time that the target does not tell" if UNKNOWN in found else max(found, default="")
