"""What submitting returns: a run on record, and how to wait for its end."""

from __future__ import annotations

import time
from typing import Final

from msgspec import Struct

from strongroom.operations import recorded_errors
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.errors import NotYetSeen, RunDegraded
from strongroom.operations.runs.job import job_of
from strongroom.state.records import Run, RunState
from strongroom.state.store import RunStore

LOOK_SECONDS: Final = 0.25
"""The database announces nothing, so whoever waits looks again and again."""

UNATTENDED_SECONDS: Final = 60.0
BEAT: Final = "beat"


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run ended.

    ``backup`` is the backup that it made, or was about; empty where it was about none, or about several.
    ``shortfall`` is what that lacks of those before it, without a name, after a restore or a drill.
    """

    run: str
    kind: str
    policy: str
    state: str
    backup: str
    shortfall: Shortfall | None = None


class Submission:
    """A request that has its run on record: it stands, whatever becomes of broker and workers.

    Args:
        id: the request's id; ``strongroom runs show ID`` finds the run by it.
        run: the run's id.
        store: where to look.
    """

    def __init__(self, *, id: str, run: str, store: RunStore) -> None:  # noqa: A002 - what Celery calls it, too
        self.id = id
        self.run = run
        self._store = store

    def __repr__(self) -> str:
        return f"<Submission {self.id} of run {self.run}>"

    @property
    def state(self) -> str:
        """``active``, ``done``, ``degraded``, ``failed`` or ``cancelled``, as the record has it now."""
        return self._store.load(self.run).state.value

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait for the run's end and return what came of it.

        Raises:
            StrongroomError: what the run failed of. If it restored a damaged backup, all else is restored,
                and this is of the class of the first loss, such as Tampered.
            RunDegraded: it made less than it was to make; its ``backup`` and ``shortfall`` are those of the
                outcome.
            NotYetSeen: no cluster takes it up. It stays on record.
            TimeoutError: it has not ended within ``timeout`` seconds. It goes on.
        """
        began = time.monotonic()
        while not (run := self._store.load(self.run)).state.final:
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                raise TimeoutError(f"run {self.run} has not ended within {timeout:g} s; it goes on")
            if waited > UNATTENDED_SECONDS:
                self._require_a_cluster()
            time.sleep(LOOK_SECONDS)
        return _outcome(run)

    get = wait

    def _require_a_cluster(self) -> None:
        age = self._store.heartbeats().get(BEAT)
        started = any(row.started_at is not None for row in self._store.rows(self.run))
        if not started and (age is None or age > UNATTENDED_SECONDS):
            raise NotYetSeen(
                f"run {self.run} is on record, and no cluster has taken it up",
                hint="Start one with 'strongroom up': it takes the run up. 'strongroom runs cancel' ends "
                "the run.",
            )


def _outcome(run: Run) -> Outcome:
    job = job_of(run.spec.kind)
    backup, shortfall = job.backup_of(run), job.shortfall_of(run)
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        raise recorded_errors.failure_of(run)
    if run.state is RunState.DEGRADED:
        happened, hint = recorded_errors.apart(run.error)
        if (loss := recorded_errors.loss_of(run)) is not None:
            raise loss
        said = f"run {run.id} is degraded: {happened}"
        raise RunDegraded(said, hint=hint or None, backup=backup, shortfall=shortfall)
    return Outcome(
        run=run.id,
        kind=run.spec.kind.value,
        policy=run.spec.policy,
        state=run.state.value,
        backup=backup,
        shortfall=shortfall,
    )
