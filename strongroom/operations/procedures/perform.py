"""The steps of an incident as a procedure: what each does, and when it counts as done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from strongroom.errors import StrongroomError
from strongroom.operations.archive.incidents import STEPS, Incident, IncidentStep, StepOutcome, steps_of
from strongroom.operations.errors import StepIncomplete
from strongroom.operations.incident import isolate, readers, reseal, rotate
from strongroom.operations.incident.exposed import Unchanged
from strongroom.operations.incident.report import write_report
from strongroom.operations.incident.steps import record_outcome, waive
from strongroom.operations.procedure import Procedure
from strongroom.operations.runs.drive import Watch
from strongroom.operations.services import Services

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
        driven_by: reseal.Drive | None = None,
        watching: Callable[[], AbstractContextManager[Watch | None]] = nullcontext,
        exposed: Unchanged | None = None,
        missed: Mapping[str, str] | None = None,
    ) -> None:
        self.services, self.incident = services, incident
        self.missed: Mapping[str, str] = missed or {}
        self.rotation: rotate.RotationStep | None = None
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
                return isolate.isolate(self.services, self.incident, by=self._by)
            case IncidentStep.READERS:
                return readers.find_readers(self.services, self.incident)
            case IncidentStep.RESEAL:
                return reseal.reseal(self.services, self.incident, driven_by=self._driven_by)
            case IncidentStep.ROTATE:
                with self._watching() as watch:
                    self.rotation = rotate.rotate(
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
