"""What earlier comparisons of a policy leave to the next: the backup to judge by, and what was accepted."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from msgspec import Struct

from strongroom.model import prepare
from strongroom.operations.drift.comparison import Drift
from strongroom.operations.drift.freeze import Frozen, was_released
from strongroom.operations.drift.mass_change import MassChangeLimits, is_alarming, is_mass_change
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunKind, RunStep

TURNS = 20
"""Runs that are looked through for the newest that compared anything."""


class DriftBaseline(Struct, frozen=True, kw_only=True):
    """``since`` is the backup that a mass change is judged by, empty for the newest. ``accepted`` is the
    sample of the mass change that a person released the hold for."""

    since: str = ""
    accepted: tuple[int, ...] = ()


class DriftFacts(DriftBaseline, frozen=True, kw_only=True):
    """What is known of a comparison, from step to step."""

    drift: Drift | None = None
    frozen: Frozen | None = None


prepare(DriftBaseline, DriftFacts)


def plan(run: Run, step: RunStep, services: Services) -> DriftBaseline:
    """Go on from the newest comparison of the policy."""
    for earlier in services.store.runs_of(run.spec.policy, RunKind.DRIFT, limit=TURNS):
        with suppress(RecordRefused):  # a row that somebody edited keeps no other from being gone by
            facts = facts_of(earlier)
            if earlier.id != run.id and facts.drift is not None:
                return _following(facts, facts.drift, limits_of(earlier), run.spec.policy, services)
    return DriftBaseline()


def facts_of(run: Run) -> DriftFacts:
    """Return what a run recorded."""
    return read_facts(run, DriftFacts)


def limits_of(run: Run) -> MassChangeLimits:
    """Return from when on a run takes a change for a mass change."""
    try:
        return msgspec.convert(run.spec.options, MassChangeLimits)
    except msgspec.ValidationError:
        raise RecordRefused(f"run {run.id} does not say what a mass change is") from None


def _following(
    facts: DriftFacts, drift: Drift, limits: MassChangeLimits, policy: str, services: Services
) -> DriftBaseline:
    """Judge by the same backup until the newest one is sound: like its source, and like the one before it.

    An alarm stays one until a person has released the hold that it placed. Only then is that change accepted.
    """
    since = drift.since.backup
    if is_alarming(drift, facts.accepted, limits):
        held = facts.frozen is not None and facts.frozen.ours
        return DriftBaseline(
            since=since, accepted=drift.sample if held and was_released(services, policy) else ()
        )
    if is_mass_change(drift.newest, limits):
        return DriftBaseline(since=since, accepted=facts.accepted)
    return DriftBaseline(since=drift.newest.backup)
