"""The stage: what a run keeps there between its steps goes with the run."""

from __future__ import annotations

from strongroom.errors import StrongroomError
from strongroom.operations.layout import staged_prefix
from strongroom.operations.services import Services
from strongroom.state.records import Run


def sweep_stage(run: Run, services: Services) -> bool:
    """Remove all that a run staged; tell whether the stage was reached."""
    prefix = staged_prefix(run.id)
    try:
        services.stage.abort_incomplete(prefix)
        for name in [info.name for info in services.stage.list(prefix)]:
            services.stage.delete(name)
    except StrongroomError:
        return False
    return True
