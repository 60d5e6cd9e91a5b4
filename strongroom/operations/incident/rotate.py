"""rotate: every secret that others may know gets another value, and its source is asked whether it has one.

What has a rotator is rotated; the rest a person changes at its source. Either way the source tells whether a
value that an affected backup holds is still the current one. So the step may be repeated until none is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.operations.archive.incidents import Incident, IncidentStep, StepOutcome
from strongroom.operations.errors import StepsOpen
from strongroom.operations.incident.exposed import Unchanged, find_unchanged
from strongroom.operations.incident.steps import record_outcome
from strongroom.operations.rotators.plan import MOST, plan_rotation
from strongroom.operations.rotators.records import (
    Rotated,
    RotatedSecret,
    SecretRotationPlan,
    SecretRotationResult,
)
from strongroom.operations.rotators.rotate import rotate_secrets
from strongroom.operations.runs.drive import Watch
from strongroom.operations.services import Services
from strongroom.system.batches import batched
from strongroom.words import plural, told_alike, verb


class RotationStep(Struct, frozen=True, kw_only=True):
    """What came of the step. ``outcome`` names no secret; ``unchanged`` and ``to_do``, for the person at the
    terminal alone, do."""

    outcome: StepOutcome
    unchanged: Unchanged
    to_do: Sequence[str] = ()


def plan(
    services: Services, incident: Incident, exposed: Unchanged
) -> tuple[list[SecretRotationPlan], dict[str, str]]:
    """Return which secrets of each source :func:`rotate` would give another value, and by which rotator; and
    of which sources nobody can tell, as of one that cannot be written. Reads only."""
    plans, failed = list[SecretRotationPlan](), dict(exposed.unknown)
    for source, names in exposed.names.items():
        try:
            for some in batched(names, MOST):
                plans.append(plan_rotation(services, some, source=source, incident=incident.id))
        except StrongroomError as error:  # the other sources go on
            failed[f"source {source}"] = f"{error.code}: {error.message}"
    return plans, failed


def rotate(
    services: Services,
    incident: Incident,
    *,
    by: str,
    exposed: Unchanged | None = None,
    progress: Watch | None = None,
) -> RotationStep:
    """Give every secret that others may know another value, as far as it has a rotator.

    Args:
        exposed: which these are, if that was just found out.
    """
    before = find_unchanged(services, incident) if exposed is None else exposed
    failed: dict[str, str] = {}
    rotated: list[Rotated] = []
    for source, names in before.names.items():
        try:
            rotated += _source(services, incident, source, names, by=by, progress=progress)
        except StrongroomError as error:  # the other sources go on
            failed[f"source {source}"] = f"{error.code}: {error.message} {error.hint}".rstrip()
    left = find_unchanged(services, incident) if rotated else before
    to_do = tuple(line for rotated_backup in rotated for line in _to_do(rotated_backup))
    outcome = _outcome(incident, left, rotated, {**failed, **dict(_waiting(rotated))})
    return RotationStep(outcome=outcome, unchanged=left, to_do=to_do)


def look_again(services: Services, incident: Incident, *, by: str) -> None:
    """Ask the sources once more before an incident is closed: a restore may have brought a value back.

    Returns if none has a value that others may know, or if a person waived the step.

    Raises:
        StepsOpen: one has, or could not be asked. The step is open again then, and on record as such.
    """
    step = incident.last(IncidentStep.ROTATE)
    if step is None or step.state != "done":
        return
    left = find_unchanged(services, incident)
    outcome = _outcome(incident, left, (), {})
    if not outcome.missing:
        return
    if left.count:
        record_outcome(services, incident, IncidentStep.ROTATE, outcome, by=by)
    why = "; ".join(f"{what}: {why}" for what, why in outcome.missing.items())
    raise StepsOpen(
        f"Incident {incident.id} cannot be closed. The sources were asked again: {why}",
        hint=_AGAIN.format(incident.id) if left.count else _UNASKED.format(incident.id),
    )


_AGAIN = (
    "Nothing was closed, and step 'rotate' is open again: a restore or a person brought former values back. "
    "Which: 'strongroom incident rotate {0} --dry-run'. Then 'strongroom incident rotate {0}', and close it."
)
_UNASKED = (
    "Nothing was closed: a value that others know may be back, and nobody looked. Give what opens the "
    "backups (--identity, --passphrase-file), or bring the source back. If neither can be: 'strongroom "
    "incident waive {0} rotate --reason WHY'."
)


def _outcome(
    incident: Incident, left: Unchanged, rotated: Sequence[Rotated], failed: Mapping[str, str]
) -> StepOutcome:
    counts = {
        "secrets looked at": left.looked_at,
        "rotated": _rotated_before(incident)
        + sum(secret.result is SecretRotationResult.DONE for secret in _each(rotated)),
        "not changed yet": left.count,
        "gone from the source": left.gone,
    }
    missing = {**failed, **left.unknown, **dict(_not_changed(left))}
    return StepOutcome(counts=counts, missing=missing, left=tuple(_left(left)))


def _left(unchanged: Unchanged) -> Iterator[str]:
    if unchanged.gone:
        gone = f"{plural(unchanged.gone, 'secret')} {verb(unchanged.gone, 'are')} gone from the source"
        yield f"{gone}: see that nothing takes the former values any more."
    if unchanged.settings:
        what = plural(unchanged.settings, "setting")
        yield f"{what} of a server (mounts, policies, roles) hold no value, and were left as they are."


def _rotated_before(incident: Incident) -> int:
    entry = incident.last(IncidentStep.ROTATE)
    return entry.outcome.counts.get("rotated", 0) if entry is not None and entry.outcome is not None else 0


def _each(rotated: Sequence[Rotated]) -> Iterator[RotatedSecret]:
    return (secret for rotated_backup in rotated for secret in rotated_backup.secrets)


def _source(
    services: Services,
    incident: Incident,
    source: str,
    names: Sequence[str],
    *,
    by: str,
    progress: Watch | None,
) -> Iterator[Rotated]:
    reason = f"incident {incident.id}: {incident.reason}"
    for some in batched(names, MOST):
        yield rotate_secrets(
            services, some, source=source, reason=reason, incident=incident.id, by=by, progress=progress
        )


def _to_do(rotated: Rotated) -> Iterator[str]:
    """Yield what failed, and what a rotated secret still needs; for the rest the source is asked again."""
    failed = [
        rotated_secret
        for rotated_secret in rotated.secrets
        if rotated_secret.result is SecretRotationResult.FAILED
    ]
    yield from told_alike((rotated_secret.name, rotated_secret.why) for rotated_secret in failed)
    yield from told_alike(
        (rotated_secret.name, line) for rotated_secret in failed for line in rotated_secret.to_do
    )
    for secret in rotated.secrets:
        if secret not in failed and secret.name not in rotated.no_rotator:
            yield from (f"{secret.name}: {line}" for line in secret.to_do)


def _waiting(rotated: Sequence[Rotated]) -> Iterator[tuple[str, str]]:
    """Yield the runs that have not ended, such as those that people have to approve."""
    for this_rotated in rotated:
        if waits := sum(secret.result is SecretRotationResult.WAITS for secret in this_rotated.secrets):
            said = f"{plural(waits, 'secret')} not rotated yet: see 'strongroom runs show {this_rotated.run}'"
            yield f"run {this_rotated.run}", said


def _not_changed(left: Unchanged) -> Iterator[tuple[str, str]]:
    if left.count:
        said = "their source still has the value: change each there, or give it a rotator, then repeat"
        yield plural(left.count, "secret"), said
