"""The steps of an incident as a procedure: what each does, and when it counts as done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Generic, TypeVar

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.operations.archive.cases import STEPS, Incident, IncidentStep, StepOutcome, steps_of
from strongroom.operations.engine.drive import Watch
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import StepIncomplete
from strongroom.operations.procedures import incident, incident_exposure, incident_opening
from strongroom.operations.procedures.incident import record_outcome, waive
from strongroom.operations.procedures.incident_exposure import Unchanged
from strongroom.operations.procedures.incident_report import write_report

# -- A guided procedure: named steps in their order, each done by a function, proven, waived or needless
#
# A recovery and an incident are two lists of steps. How they are led through is the same, and stands here:
# what is next is asked of the record, so that whoever was killed, or another host, goes on where it
# stopped; what fails is tried again, waived with a reason, or left; and nothing counts as done but what its
# checks proved.


S = TypeVar("S", bound=StrEnum)


class AfterFailure(Struct, frozen=True, kw_only=True):
    """What is done about a step that failed: it is tried ``again``, waived for a ``reason``, or left open."""

    again: bool = False
    reason: str = ""


class Procedure(Generic[S]):
    """The steps of one case, by its record."""

    def next_step(self, left: Collection[S]) -> S | None:
        """Return the step that is next, but for those that were left open; ``None`` once there is none."""
        raise NotImplementedError

    def why_needless(self, step: S) -> str:
        """Say why a step has nothing to do; empty if it has, or if the record says so already."""
        return ""

    def pass_over(self, step: S, why: str) -> None:
        """Put on record that a step has nothing to do."""

    def perform(self, step: S) -> StrongroomError | None:
        """Do a step, and put on record what came of it; return what it is not done for."""
        raise NotImplementedError

    def waive(self, step: S, reason: str) -> None:
        """Put on record that a step is left as it is, and why."""
        raise NotImplementedError


class Guide(Generic[S]):
    """Whoever leads through the steps: it says what happens, and decides about what fails. This one says
    nothing, and leaves what fails open."""

    def begins(self, step: S) -> None: ...

    def needless(self, step: S, why: str) -> None: ...

    def ended(self, step: S, error: StrongroomError | None) -> None: ...

    def after_failure(self, step: S, error: StrongroomError) -> AfterFailure:
        return AfterFailure()


def lead(procedure: Procedure[S], guide: Guide[S]) -> None:
    """Lead through all steps, each until it is done, waived, or left."""
    left: set[S] = set()
    while (step := procedure.next_step(left)) is not None:
        guide.begins(step)
        if why := procedure.why_needless(step):
            procedure.pass_over(step, why)
            guide.needless(step, why)
        elif not _take(procedure, guide, step):
            left.add(step)


def _take(procedure: Procedure[S], guide: Guide[S], step: S) -> bool:
    """Try a step until it is done or waived; tell whether it is."""
    while True:
        error = procedure.perform(step)
        guide.ended(step, error)
        if error is None:
            return True
        decided = guide.after_failure(step, error)
        if not decided.again:
            if decided.reason:
                procedure.waive(step, decided.reason)
            return bool(decided.reason)


# -- The steps of an incident as a procedure: what each does, and when it counts as done --------


_TOLD = 2
"""Things not done that an error names; what it stands under names all."""


class IncidentSteps(Procedure[IncidentStep]):
    """The steps of an incident on this host. ``missed`` says which targets lack its newest entry, and why.

    Args:
        steps: those that are led through, in their order.
        driven_by: what brings a run to its end; by default this process.
        watching: yields what shows how far a rotation is.
        exposed: which secrets others may know, if that was just found out.
    """

    def __init__(
        self,
        services: Services,
        incident: Incident,
        *,
        by: str,
        steps: Sequence[IncidentStep] = STEPS,
        driven_by: incident.Drive | None = None,
        watching: Callable[[], AbstractContextManager[Watch | None]] = nullcontext,
        exposed: Unchanged | None = None,
        missed: Mapping[str, str] | None = None,
    ) -> None:
        self.services, self.incident = services, incident
        self.missed: Mapping[str, str] = missed or {}
        self.rotation: incident_exposure.RotationStep | None = None
        self._by, self._steps, self._driven_by = by, steps, driven_by
        self._watching, self._exposed = watching, exposed

    @property
    def unchanged(self) -> frozenset[str] | None:
        """The secrets that still have a value that others may know; ``None`` if nobody asked."""
        if self.rotation is None:
            return None
        return frozenset(name for names in self.rotation.unchanged.names.values() for name in names)

    def next_step(self, left: Collection[IncidentStep]) -> IncidentStep | None:
        """Return the next one that is neither done nor waived, nor has nothing to do."""
        still = (standing.step for standing in steps_of(self.incident) if not standing.settled)
        return next((step for step in still if step in self._steps and step not in left), None)

    def perform(self, step: IncidentStep) -> StrongroomError | None:
        """Do a step and put on record what came of it; return what it is not done for."""
        try:
            outcome = self._outcome(step)
            recorded = record_outcome(self.services, self.incident, step, outcome, by=self._by)
        except StrongroomError as error:
            return error
        self.incident, self.missed = recorded.incident, recorded.missed
        if step is IncidentStep.REPORT:
            self.missed = {**self.missed, **write_report(self.services, self.incident).stored.missed}
        return incomplete(outcome.missing)

    def waive(self, step: IncidentStep, reason: str) -> None:
        recorded = waive(self.services, self.incident, step, reason=reason, by=self._by)
        self.incident, self.missed = recorded.incident, recorded.missed

    def _outcome(self, step: IncidentStep) -> StepOutcome:
        match step:
            case IncidentStep.ISOLATE:
                return incident.isolate(self.services, self.incident, by=self._by)
            case IncidentStep.READERS:
                return incident_opening.find_readers(self.services, self.incident)
            case IncidentStep.RESEAL:
                return incident.reseal(self.services, self.incident, driven_by=self._driven_by)
            case IncidentStep.ROTATE:
                with self._watching() as watch:
                    self.rotation = incident_exposure.rotate(
                        self.services, self.incident, by=self._by, exposed=self._exposed, progress=watch
                    )
                return self.rotation.outcome
            case _:
                return StepOutcome()  # the report says of itself that it was made


def incomplete(missing: Mapping[str, str]) -> StepIncomplete | None:
    """Return what a step that did not do all that it should is not done for."""
    if not missing:
        return None
    told = "; ".join(f"{what}: {why.rstrip('.')}" for what, why in list(missing.items())[:_TOLD])
    more = f" And {len(missing) - _TOLD:,} more." if len(missing) > _TOLD else ""
    return StepIncomplete(f"Not done: {told}.{more}")
