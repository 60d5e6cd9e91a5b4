"""A job that waits for people's approval."""

from __future__ import annotations

from strongroom.operations.approval.require import end_approval
from strongroom.operations.runs.job import Ending, Job
from strongroom.operations.services import Services
from strongroom.state.records import Run


class ApprovedJob(Job):
    """A job whose run uses an approval until it ends."""

    def conclude(self, run: Run, ending: Ending, services: Services) -> Ending:
        """Let nobody use the run's approval again, though somebody make it active again in the database."""
        end_approval(services, run.id)
        return ending
