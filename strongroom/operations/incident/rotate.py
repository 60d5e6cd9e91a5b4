"""rotate: every secret that others may know gets another value, and its source is asked whether it has one.

What has a rotator is rotated; the rest a person changes at its source. Either way the source tells whether a
value that an affected backup holds is still the current one. So the step may be repeated until none is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.operations.archive.incidents import Incident, Outcome, Step
from strongroom.operations.incident.exposed import Unchanged, find_unchanged
from strongroom.operations.rotators.plan import MOST
from strongroom.operations.rotators.records import Result, Rotated, RotatedSecret
from strongroom.operations.rotators.rotate import rotate_secrets
from strongroom.operations.runs.drive import Watch
from strongroom.operations.services import Services
from strongroom.words import plural, verb


class Rotation(Struct, frozen=True, kw_only=True):
    """What came of the step. ``outcome`` names no secret; ``unchanged`` and ``to_do``, for the person at the
    terminal alone, do."""

    outcome: Outcome
    unchanged: Unchanged
    to_do: Sequence[str] = ()


def rotate(services: Services, incident: Incident, *, by: str, progress: Watch | None = None) -> Rotation:
    """Give every secret that others may know another value, as far as it has a rotator."""
    before = find_unchanged(services, incident)
    failed: dict[str, str] = {}
    rotated: list[Rotated] = []
    for source, names in before.names.items():
        try:
            rotated += _source(services, incident, source, names, by=by, progress=progress)
        except StrongroomError as error:  # the other sources go on
            failed[f"source {source}"] = f"{error.code}: {error.message} {error.hint}".rstrip()
    left = find_unchanged(services, incident) if rotated else before
    counts = {
        "secrets looked at": left.looked_at,
        "rotated": _rotated_before(incident) + sum(one.result is Result.DONE for one in _each(rotated)),
        "not changed yet": left.count,
        "gone from the source": left.gone,
    }
    missing = {**failed, **dict(_waiting(rotated)), **left.unknown, **dict(_not_changed(left))}
    to_do = tuple(line for one in rotated for line in _to_do(one))
    outcome = Outcome(counts=counts, missing=missing, left=tuple(_left(left)))
    return Rotation(outcome=outcome, unchanged=left, to_do=to_do)


def _left(unchanged: Unchanged) -> Iterator[str]:
    if unchanged.gone:
        gone = f"{plural(unchanged.gone, 'secret')} {verb(unchanged.gone, 'are')} gone from the source"
        yield f"{gone}: see that nothing takes the former values any more."


def _rotated_before(incident: Incident) -> int:
    entry = incident.last(Step.ROTATE)
    return entry.outcome.counts.get("rotated", 0) if entry is not None and entry.outcome is not None else 0


def _each(rotated: Sequence[Rotated]) -> Iterator[RotatedSecret]:
    return (secret for one in rotated for secret in one.secrets)


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
    for start in range(0, len(names), MOST):
        some = names[start : start + MOST]
        yield rotate_secrets(
            services, some, source=source, reason=reason, incident=incident.id, by=by, progress=progress
        )


def _to_do(rotated: Rotated) -> Iterator[str]:
    """Yield what failed, and what a rotated secret still needs; for the rest the source is asked again."""
    for one in rotated.secrets:
        if one.result is Result.FAILED:
            yield f"{one.name}: {one.why}"
        if one.name not in rotated.no_rotator:
            yield from (f"{one.name}: {line}" for line in one.to_do)


def _waiting(rotated: Sequence[Rotated]) -> Iterator[tuple[str, str]]:
    """Yield the runs that have not ended, such as those that people have to approve."""
    for one in rotated:
        if waits := sum(secret.result is Result.WAITS for secret in one.secrets):
            said = f"{plural(waits, 'secret')} not rotated yet: see 'strongroom status {one.run}'"
            yield f"run {one.run}", said


def _not_changed(left: Unchanged) -> Iterator[tuple[str, str]]:
    if left.count:
        said = "their source still has the value: change each there, or give it a rotator, then repeat"
        yield plural(left.count, "secret"), said
