"""reseal: what somebody else's key opens is sealed again under new keys, the most exposed first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from strongroom.errors import StrongroomError
from strongroom.operations import recorded_errors
from strongroom.operations.archive.incidents import Incident, Outcome, Step
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
_BY_COMMAND = "no policy names their recipients: 'strongroom rotate-backup-key' re-encrypts these files"
_UNREAD = "it could not be read: bring it back, then open the incident again with the same words"


def reseal(services: Services, incident: Incident, *, driven_by: Drive | None = None) -> Outcome:
    """Seal again what is not yet, policy by policy. What an earlier process did is found, and not done again.

    ``done`` says what each backup is now. One policy that fails keeps no other from its turn.
    """
    perform = driven_by or (lambda run, tickets: drive(run, tickets, services))
    done = dict(sealed_anew(incident))
    missing: dict[str, str] = {}
    still: list[Mapping[str, Any]] = []
    for policy, backups in incident.policies.items():
        if not (left := [backup for backup in backups if backup not in done]):
            continue
        try:
            rotated, short = _policy(services, policy, left, perform)
        except StrongroomError as error:  # the others go on
            missing[f"policy {policy}"] = f"{error.code}: {error.message}"
            continue
        done |= {one["backup"]: one["new"] for one in rotated if one.get("new")}
        still += [one for result in rotated for one in result.get("still", ())]
        missing |= {f"policy {policy}": short} if short else {}
    missing |= dict(_not_sealed(incident))
    return Outcome(
        counts={"sealed again": len(done), "copies still open": len(still)},
        done=done,
        missing=missing,
        left=tuple(_left(incident, still)),
    )


def sealed_anew(incident: Incident) -> Mapping[str, str]:
    """Return what each backup is now that was sealed again, as far as that is on record."""
    entry = incident.last(Step.RESEAL)
    return entry.outcome.done if entry is not None and entry.outcome is not None else {}


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


def _left(incident: Incident, still: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if incident.files:
        yield (
            "Re-encrypt the backup files: strongroom rotate-backup-key --current-key FILE --new-key FILE "
            "--re-encrypt-backups; a file that only a passphrase opens has to be written again, under "
            f"another passphrase. They are: {', '.join(incident.files)}."
        )
    if incident.superseded:
        yield f"Delete the originals of what is re-encrypted already: {', '.join(incident.superseded)}."
    for policy in incident.policies:
        yield (
            "After the incident is closed, delete the old copies once their locks have ended: "
            f"strongroom rotate {policy} --re-encrypt --remove-replaced"
        )
    yield from describe_still_open(still)


def describe_still_open(still: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say of each target how many copies the key opens there, and until when they are locked or hidden."""
    for target in sorted({one["target"] for one in still}):
        there = [one for one in still if one["target"] == target]
        until = max(one["until"] for one in there)
        lock = f", locked until {until}" if until else ""
        yield f"On {target} the key still opens {plural(len(there), 'backup')}{lock}."
        hidden = [one["old_versions"] for one in there if one["old_versions"]["count"]]
        if hidden:
            day = max(one["until"] or one["locked_until"] for one in hidden)
            ends = f"until {day}" if day else "until somebody removes them: deleting only hides"
            yield f"On {target} old versions of {plural(len(hidden), 'backup')} are hidden, {ends}."
