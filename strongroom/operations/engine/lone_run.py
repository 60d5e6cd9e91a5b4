"""A run that one process drives from its beginning to its end, with no database, broker or configuration.

A recovery must not depend on what may have been lost with everything else. So what a person brings back, or
takes back, from a command line is a run of the same job that the cluster performs; its record lies in memory,
and in the folder in which the run puts on record what it does, as long as there is such a folder.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.signing import CertifiedSigner, Signer
from strongroom.errors import ConfigError, StrongroomError
from strongroom.model import Role
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.services import Pinned, RunLimits, Services
from strongroom.operations.engine.steps import perform_step
from strongroom.state.errors import RunNotFound
from strongroom.state.records import (
    Claim,
    Decide,
    Run,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
    Ticket,
)
from strongroom.system.files import write_whole
from strongroom.targets.memory import MemoryTarget
from strongroom.times import stamp

RECORD: Final = "run.json"
"""The file with the record of the run, in the folder where the run puts on record what it does."""
_REPORT: Final = RunStep(StepKind.REPORT)
_UNSETTLED: Final = (StepState.READY, StepState.SENT, StepState.RUNNING)


class LoneRecord(Struct, frozen=True, kw_only=True):
    """A run and its steps, as they stand in a file."""

    run: Run
    steps: tuple[StepRow, ...]


class LoneStore:
    """The record of one run, which nobody else sees: what the engine asks of a run store, and no more.

    ``tests/operations/runs/test_lone_run.py`` holds it to the store of an installation.

    Args:
        folder: gives the folder of the run by its id. It is not made here: where there is none, the record
            lies in memory alone.
    """

    def __init__(self, folder: Callable[[str], Path | None] = lambda run: None) -> None:
        self._folder = folder
        self._run: Run | None = None
        self._rows: dict[RunStep, StepRow] = {}
        self._dispatch = 0
        self._ending = RunState.FAILED

    def create(self, spec: Spec, *, first: Sequence[RunStep], request_id: str | None = None) -> Run:
        """Begin the record of the run."""
        now = time.time()
        self._run = Run(
            id=f"{stamp(now)}-{secrets.token_hex(4)}",
            spec=spec,
            state=RunState.ACTIVE,
            request_id=request_id,
            created_at=now,
            finished_at=None,
            error=None,
            facts={},
        )
        self._insert(first)
        return self._run

    # -- what is asked of it -----------------------------------------------------------

    def load(self, run: str) -> Run:
        """Return the run. Raises RunNotFound."""
        if self._run is None or self._run.id != run:
            raise RunNotFound(f"there is no run {run} here")
        return self._run

    def rows(self, run: str, kind: StepKind | None = None) -> list[StepRow]:
        """Return the steps of the run, or those of a kind."""
        return [row for step, row in sorted(self._rows.items()) if kind in (None, step.kind)]

    def row(self, run: str, step: RunStep) -> StepRow:
        """Return a step."""
        return self._rows[step]

    def tally(self, run: str) -> Tally:
        """Count the steps."""
        return Tally(Counter((row.step.kind, row.step.target, row.state) for row in self._rows.values()))

    def clock(self) -> float:
        """Return the time (epoch seconds)."""
        return time.time()

    def event(self, kind: str, run: str | None = None, **detail: Any) -> None:
        """Note nothing: whoever drives the run tells what came of it."""

    # -- giving out and claiming ---------------------------------------------------------

    def take_ready(self, run: str, *, window: int) -> list[Ticket]:
        """Give out what is due."""
        return [self._send(step) for step, row in sorted(self._rows.items()) if row.state is StepState.READY]

    def forsake(self, run: str) -> None:
        """Take back what was given out and not begun."""
        for step in [step for step, row in self._rows.items() if row.state is StepState.SENT]:
            self._change(step, state=StepState.READY)

    def _send(self, step: RunStep) -> Ticket:
        self._dispatch += 1
        self._change(step, state=StepState.SENT)
        return Ticket(self._known.id, step, self._dispatch)

    def claim(self, ticket: Ticket, *, owner: str, lease: float | None = None) -> Claim | None:
        """Start a step."""
        row = self._rows[ticket.step]
        wanted = not self._known.state.final and (not self._known.closing or ticket.step == _REPORT)
        if row.state is not StepState.SENT or not wanted:
            return None
        attempt = row.attempts + 1
        self._change(
            ticket.step, state=StepState.RUNNING, attempts=attempt, owner=owner, started_at=time.time()
        )
        return Claim(ticket=ticket, run=self._known, owner=owner, fence=attempt, attempt=attempt)

    def renew(self, claim: Claim, *, lease: float | None = None) -> bool:
        """Tell that the claim holds: there is nobody who could take it over."""
        return True

    # -- outcomes --------------------------------------------------------------------------

    def finish(
        self, claim: Claim, result: Mapping[str, Any], decide: Decide, *, window: int
    ) -> tuple[Run, list[Ticket]]:
        """Record a step's result and what follows from it, and give out what is due."""
        run, _ = self._settle(claim.ticket.step, StepState.DONE, decide, result=result)
        return run, self.take_ready(run.id, window=window)

    def fail(
        self,
        claim: Claim,
        error: str,
        *,
        settle: StepState | None = None,
        decide: Decide,
        retry_in: float | None = None,
        unless: object = None,
    ) -> tuple[Run, Tally]:
        """Record that a step failed. None is tried again: whoever sits before it can.

        One that is handed back was interrupted, and its run ends as cancelled.
        """
        self._ending = RunState.CANCELLED if retry_in is not None else self._ending
        return self._settle(claim.ticket.step, settle or StepState.POISONED, decide, error=error)

    def wait(self, claim: Claim, error: str, *, pause: float, patience: float) -> bool:
        """Let no step wait: whoever sits before it is told at once."""
        return False

    def _settle(self, step: RunStep, state: StepState, decide: Decide, **outcome: Any) -> tuple[Run, Tally]:
        self._change(step, state=state, finished_at=time.time(), **outcome)
        tally = self.tally(self._known.id)
        if state is StepState.POISONED:
            error = f"{step}: {outcome['error']}"
            if step == _REPORT:
                self._end(RunState.FAILED, error)
            else:
                self._close(error)
        else:
            self._apply(step, decide(self._known, tally, step))
        self._save()
        return self._known, tally

    def _apply(self, step: RunStep, verdict: StepConsequence) -> None:
        self._run = replace(self._known, facts={**self._known.facts, **verdict.facts})
        if self._run.closing and step != _REPORT:
            self._insert([_REPORT])
        elif self._run.closing:
            self._end(self._ending, self._run.error)
        elif verdict.state is None:
            self._insert(verdict.follow)
        elif verdict.state is RunState.FAILED and step != _REPORT:
            self._close(verdict.error or "")
        else:
            self._end(verdict.state, verdict.error)

    def _close(self, error: str) -> None:
        """Begin to end the run early: what has not begun does not, and its report tells."""
        if not self._known.closing:
            facts = {**self._known.facts, "ending": self._ending.value, "error": error}
            self._run = replace(self._known, closing=True, error=error, facts=facts)
        for step, row in self._rows.items():
            if row.state in _UNSETTLED and step != _REPORT:
                self._change(step, state=StepState.MISSED, error=error)
        self._insert([_REPORT])

    def _end(self, state: RunState, error: str | None) -> None:
        self._run = replace(self._known, state=state, error=error, finished_at=time.time())

    def _insert(self, steps: Sequence[RunStep]) -> None:
        for step in steps:
            new = StepRow(
                step=step,
                state=StepState.READY,
                attempts=0,
                result=None,
                error=None,
                started_at=None,
                finished_at=None,
            )
            self._rows.setdefault(step, new)

    def _change(self, step: RunStep, **fields: Any) -> None:
        self._rows[step] = replace(self._rows[step], **fields)

    @property
    def _known(self) -> Run:
        assert self._run is not None
        return self._run

    def _save(self) -> None:
        """Put the record beside what the run did. A full disk costs the record, never the run."""
        folder = self._folder(self._known.id)
        if folder is not None and folder.is_dir():
            record = LoneRecord(run=self._known, steps=tuple(self._rows.values()))
            with suppress(StrongroomError):  # what the file system refuses is translated
                write_whole(folder / RECORD, msgspec.json.encode(record), replace=True)


def lone_record(folder: Path) -> LoneRecord | None:
    """Return the record of a lone run that lies in a folder; ``None`` if there is none that can be read."""
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=LoneRecord)
    return None


def lone_services(store: LoneStore, spec: Spec, *, state_dir: Path, **more: Any) -> Services:
    """Return what the steps of a lone run work with: no target, no source, no rule but those given.

    The record of such a run never leaves this process: what signs it is made for it, and forgotten with it.
    """
    own, now = Signer.generate(), datetime.now(UTC)
    signer = CertifiedSigner.issued(own, installation=Signer.generate(), role=Role.CONTROL, issued_at=now)
    return Services(
        owner=f"{socket.gethostname()}:{os.getpid()}:alone",
        state_dir=state_dir,
        store=cast("Any", store),  # all that the engine asks of a store for one run
        stage=MemoryTarget(name="stage"),
        targets={},
        sources={},
        pinned=lambda policy: Pinned(spec=spec),
        signers=lambda role: signer,
        trusted=lambda role, _: (signer.public,),
        signer_fingerprints=frozenset(),
        identities=_no_key,
        work_key=secrets.token_bytes(32),
        digest_key=b"",
        limits=RunLimits(attempts=1),
        **more,
    )


def _no_key() -> Sequence[Any]:
    raise ConfigError("A lone run has no key but those that it was given.")


def drive_alone(
    store: LoneStore,
    spec: Spec,
    services: Services,
    *,
    watch: Callable[[RunStep], object] = lambda _: None,
) -> tuple[Run, BaseException | None]:
    """Perform a lone run to its end; return it, and what it failed of, or who ended it.

    Args:
        watch: is told of each step before it begins.
    """
    run = store.create(spec, first=(job_of(spec.kind).first,))
    services.known_lists[run.id] = services.signer_fingerprints  # whoever opened the backup asked who counts
    due = store.take_ready(run.id, window=1)
    error: BaseException | None = None
    while due:
        ticket = due.pop(0)
        watch(ticket.step)
        try:
            following, outcome = perform_step(ticket, services)
        except KeyboardInterrupt as interrupt:  # what it left is taken away, and the record says how it ended
            error = error or interrupt
            store.forsake(run.id)
            due = store.take_ready(run.id, window=1)
            continue
        due += following
        failed = outcome.error if outcome is not None else None
        if error is not None and isinstance(failed, StrongroomError):
            error.add_note(f"{failed.message}. {failed.hint}")
        error = error or failed
    return store.load(run.id), error
