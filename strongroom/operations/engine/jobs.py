"""The jobs, and what one is: what a kind of run does, decides, and how it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import structs

from strongroom.errors import StrongroomError
from strongroom.model import COMMAND
from strongroom.operations.engine import run_log
from strongroom.operations.engine.approving import end_approval
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.services import Services
from strongroom.state.errors import RecordRefused, StateUnavailable
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
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

if TYPE_CHECKING:
    from strongroom.operations.archive.shortfall import Shortfall

log = logging.getLogger(__name__)


# -- The jobs: for each kind of run the module that holds its ``JOB``, which loads on first use ---
#
# A new job is a module with a ``JOB`` (:class:`strongroom.operations.engine.jobs.Job`) and a line here.


JOBS: Final[dict[RunKind, str]] = {
    RunKind.BACKUP: "strongroom.operations.backup.job",
    RunKind.VERIFY: "strongroom.operations.backup.verify_job",
    RunKind.REPAIR: "strongroom.operations.backup.repair",
    RunKind.RESTORE: "strongroom.operations.restore.job",
    RunKind.RECOVERY: "strongroom.operations.procedures.recovery_job",
    RunKind.UNDO: "strongroom.operations.restore.undo_job",
    RunKind.DRILL: "strongroom.operations.drills.job",
    RunKind.SCRUB: "strongroom.operations.backup.scrub",
    RunKind.ROTATE: "strongroom.operations.rotation.job",
    RunKind.CHECK: "strongroom.operations.checks.check_job",
    RunKind.DRIFT: "strongroom.operations.checks.drift_job",
    RunKind.PRUNE: "strongroom.operations.retention.prune",
    RunKind.ROTATE_SECRET: "strongroom.operations.rotation.secrets_job",
}


# -- A job: what one kind of run does, what it decides, and how it ends -------------------------
#
# The engine claims steps, performs them, records what came of them and inserts what follows. It knows no job
# by name: it asks :func:`job_of`. Each room holds its own (``backup/job.py``, ``restore/job.py``, ...).
#
# What a step returns, and what a run's facts are, are records. The state database keeps them as JSON: they
# become JSON where the engine records them, and records again in :func:`read_result` and :func:`read_facts`.
# Rows can be edited, so what does not fit its record is refused.


R = TypeVar("R", bound=msgspec.Struct)

Result = msgspec.Struct | None
"""What a step returned; ``None`` if it was given up."""


class Where(Enum):
    """Where the in-process driver performs a step when several are due."""

    HERE = "here"
    FORKED = "forked"
    """In a process of its own: the step computes, and shares nothing with its siblings."""
    FORKED_AFTER_FIRST = "forked after the first"
    """In a process of its own once one of its kind was done here. Whatever a person is asked for, a PIN or
    a passphrase, is asked in this process then. The forked ones have it from here and ask nobody."""
    THREAD = "thread"
    """In a thread: the step waits for others. One by one, three regions take as long as their sum."""


class StepAction(NamedTuple, Generic[R]):
    """What a kind of step does, the record that it returns, who performs it, and how the engine treats it.

    ``pool``: the workers that perform it, and nobody else. Queues and rights are computed from this
    (``steps.pools``), so every job that has this kind of step names the same pool. ``tolerated``: the run can
    do without the step. If it fails for good, it is MISSED and the job decides on; otherwise it is POISONED
    and the run fails. ``waits_for``: errors that pass by themselves. The step waits for that, if the process
    is patient, instead of using up its attempts.
    """

    perform: Callable[[Run, RunStep, Services], R]
    result: type[R]
    pool: Pool
    tolerated: bool = False
    waits_for: tuple[type[StrongroomError], ...] = ()
    where: Where = Where.HERE


class Ending(NamedTuple):
    """How a run ends: its final state, and what keeps it from being a good one."""

    state: RunState
    error: str | None = None


class ReportFacts(NamedTuple):
    """What a job adds to its run's report.

    ``kept`` names the targets on which the run left a whole backup although its record has none. ``swept``
    names earlier runs whose leftovers are gone now. ``fewer`` is how many secrets a backup lacks. ``started``
    are runs that this one put on record.
    """

    kept: Sequence[str] = ()
    swept: Sequence[str] = ()
    fewer: int = 0
    started: Sequence[str] = ()


class RunAccount(NamedTuple):
    """What a job tells of a run besides what any run has: in pairs for people, and by key for machines."""

    pairs: Sequence[tuple[str, object]] = ()
    document: Mapping[str, Any] = MappingProxyType({})


class Job(Protocol):
    """What the engine asks of a job. Whatever has a body here is optional.

    A job whose first step is a PLAN has its run signed: what the plan returns becomes the run's facts, and
    no later step is performed unless the record is the one that was signed. ``terms`` are the fields of the
    spec that must be as this process's own configuration has them before the run is planned. ``reads`` says
    that it goes by what backups hold: it ends where a target withholds a trust list. ``carries`` are steps
    that seal or carry, and judge no signature on a target. ``seals`` says that it seals something to the
    policy's recipients, and ``opens`` that it opens backups, or may.

    ``in_turn`` says that a cluster begins only so many of its runs at once, and ``apart`` that of a policy it
    begins one at a time.

    ``keeps_steps`` says that later runs read what its steps did, however long ago. Those of any other are
    folded some time after its end (:mod:`strongroom.state.folding`).

    ``subject`` is what a person calls that which a run is about, ``states`` say more of a state than its own
    word, and ``swept_again`` says when it is tried again to remove what a run could not remove.
    """

    first: ClassVar[RunStep]
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]]
    terms: ClassVar[Sequence[str]] = ()
    reads: ClassVar[bool] = False
    carries: ClassVar[frozenset[StepKind]] = frozenset()
    seals: ClassVar[bool] = False
    opens: ClassVar[bool] = False
    in_turn: ClassVar[bool] = False
    apart: ClassVar[bool] = False
    keeps_steps: ClassVar[bool] = False
    subject: ClassVar[str] = "policy"
    states: ClassVar[Mapping[RunState, str]] = MappingProxyType({})
    swept_again: ClassVar[str] = "a later backup of the policy tries again"

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        """Decide what follows from a step. Pure: it is called in the transaction that records the outcome.

        What a PLAN returned becomes the run's facts by itself.
        """
        ...

    def outcome(self, run: Run, services: Services) -> Ending:
        """Judge a run whose steps are all settled. One that failed or was cancelled is not judged."""
        ...

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        """Say what it means for the data that nobody works on a run any more."""
        ...

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:
        """Tell of a run what only its job knows. Its rows may be left out, where many runs are told of."""
        return RunAccount()

    def again(self, run: Run) -> str:
        """Say how a failed run is done again, once its cause is gone."""
        return "repeat the command" if run.spec.policy == COMMAND else f"'strongroom runs retry {run.id}'"

    def record(self, run: Run, services: Services) -> Sequence[str]:
        """Record what the run read back, however it ends; return the targets with a good replica."""
        return ()

    def asked(self, run: Run) -> Sequence[str]:
        """Return the targets that are asked which keys are distrusted, before anything of the run is done."""
        return [pin.name for pin in run.spec.targets]

    def must_wait(self, run: Run, tally: Tally, step: RunStep) -> bool:
        """Tell whether the run fails without this tolerated step, so that it waits for a passing error."""
        return False

    def worth_a_pause(self, run: Run, tally: Tally, step: RunStep) -> bool:
        """Tell whether to wait for a target that asks to be left alone. Otherwise its step is given up."""
        return False

    def after_step(self, run: Run, step: RunStep, services: Services) -> None:
        """Tidy up after an attempt at a step, whatever came of it."""
        return

    def take_back(self, run: Run, step: RunStep, result: Result, services: Services) -> None:
        """Take back what a step did that another worker was faster to record, or that nobody wants."""
        return

    def sweep(self, run: Run, services: Services) -> dict[str, str]:
        """Remove what the run left outside the stage; return the places that still hold some, and why."""
        return {}

    def report_facts(self, run: Run, services: Services) -> ReportFacts:
        """Return what the report says besides."""
        return ReportFacts()

    def conclude(self, run: Run, ending: Ending, services: Services) -> Ending:
        """Do what is due once it is known how the run ends, and return how it ends then."""
        return ending

    def check_retry(self, run: Run, services: Services) -> None:
        """Refuse to take a failed run up again if that would do harm, with a UsageError."""
        return

    def backup_of(self, run: Run) -> str:
        """Return the backup that a run made, or was about; empty if there is none."""
        return run.spec.backup

    def shortfall_of(self, run: Run) -> Shortfall | None:
        """Return what the backup that a run restored lacks of those before it, without a name."""
        return None

    def entry_name(self, spec: Spec, slot: str) -> str:
        """Return the calendar's entry whose hooks a run has: that of its slot, or of its subject's."""
        return slot.partition(" ")[0]

    def scheduled_entries(self, entry: Scheduled, services: Services) -> Iterable[Scheduled]:
        """Return an entry of the calendar, or one in its place for each thing that has slots of its own."""
        return (entry,)

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return what an entry's slot (epoch seconds) runs; nothing if there is nothing to do yet."""
        return None


def job_of(kind: RunKind) -> Job:
    """Return the job of a kind of run, and load it on first use."""
    job: Job = import_module(JOBS[kind]).JOB
    return job


def action_of(run: Run, step: RunStep) -> StepAction[Any]:
    """Return what a step does; refuse one that a job of this kind does not have."""
    try:
        return job_of(run.spec.kind).actions[step.kind]
    except KeyError:
        raise RecordRefused(f"run {run.id} is a {run.spec.kind.value}, which has no step {step}") from None


def read_result(run: Run, step: RunStep, result: Mapping[str, Any] | None, kind: type[R]) -> R:
    """Return the result in a step's row as its record."""
    try:
        return msgspec.convert(result, kind)
    except msgspec.ValidationError:
        raise RecordRefused(f"the result of step {step} of run {run.id} is not one of such a step") from None


def read_facts(run: Run, kind: type[R]) -> R:
    """Return the facts of a run as the record of its job. Facts that the record lacks are left out."""
    try:
        return msgspec.convert(run.facts, kind)
    except msgspec.ValidationError:
        raise RecordRefused(f"the facts of run {run.id} are not those of a {run.spec.kind.value}") from None


def read_options(run: Run, kind: type[R], of: str) -> R:
    """Return the options of a run as a record. ``of``: what has such options, as "a drill"."""
    try:
        return msgspec.convert(run.spec.options, kind)
    except msgspec.ValidationError:
        raise RecordRefused(f"the options of run {run.id} are not those of {of}") from None


def to_facts(record: msgspec.Struct, *names: str) -> dict[str, Any]:
    """Return these fields of a record as facts, or all of them."""
    facts: dict[str, Any] = msgspec.to_builtins(record)
    return {name: facts[name] for name in names} if names else facts


def is_signed(job: Job) -> bool:
    """Tell whether a job's runs have a signed record: whatever is planned has."""
    return StepKind.PLAN in job.actions


# -- Whose turn it is. What a person waits for in an emergency never waits for a turn: no restore does ----


def waits_its_turn(services: Services, kind: RunKind) -> bool:
    """Tell whether runs of a kind wait for their turn here: not where the process drives what it begins."""
    return services.limits.at_once > 0 and job_of(kind).in_turn


def begin_next(services: Services, only: RunKind | None = None) -> list[Ticket]:
    """Begin the runs whose turn has come, of one kind or of all, and return what is due of them.

    Where the database does not answer for that, it is done when it is asked again. Who asks has put something
    else on record just now, or taken what is to be sent, and neither is to be lost for it.
    """
    limits = services.limits
    if not limits.at_once or (only is not None and not job_of(only).in_turn):
        return []
    begun: list[Ticket] = []
    try:
        for kind in services.store.queued_kinds():
            if only in (None, kind):
                begun += services.store.begin_next(
                    kind, most=limits.at_once, window=limits.window, apart=job_of(kind).apart
                )
    except StateUnavailable as error:
        log.warning("next-not-begun", extra={"why": error.message})
    return begun


FOLDS_SECONDS = 2.0
"""How long old steps are folded at once: a check that comes every half minute has others to make."""


def fold_old_steps(services: Services, *, seconds: float = FOLDS_SECONDS) -> int:
    """Put a few records in the place of the steps of runs that ended long ago; return how many steps went."""
    return services.store.fold(
        keeps=lambda: [kind for kind in JOBS if job_of(kind).keeps_steps], seconds=seconds
    )


# -- A job that waits for people's approval -----------------------------------------------------


class ApprovedJob(Job):
    """A job whose run uses an approval until it ends."""

    def conclude(self, run: Run, ending: Ending, services: Services) -> Ending:
        """Let nobody use the run's approval again, though somebody make it active again in the database."""
        end_approval(services, run.id)
        return ending


# -- What comes next: pure decisions, called inside the transaction that records an outcome -----


def exhausted(run: Run, step: RunStep) -> StepState:
    """Say what becomes of a step that was started too often without an outcome."""
    return StepState.MISSED if is_tolerated(run, step) else StepState.POISONED


def is_tolerated(run: Run, step: RunStep) -> bool:
    """Tell whether a run can do without a step."""
    action = job_of(run.spec.kind).actions.get(step.kind)
    return action is not None and action.tolerated


def decide_given_up(run: Run, tally: Tally, step: RunStep) -> StepConsequence:
    """Decide after a step was given up that the run can do without (MISSED)."""
    return decide(run, tally, step, {})


def decide(run: Run, tally: Tally, step: RunStep, result: Mapping[str, Any]) -> StepConsequence:
    """Decide what follows from a recorded outcome.

    A record that does not fit ends the run. It is not raised: that would undo the transaction each time,
    and the run would never end.
    """
    if step.kind is StepKind.REPORT:
        return StepConsequence(
            state=RunState(result["state"]), error=result["error"], facts={"report": dict(result)}
        )
    if step.kind is StepKind.HOOK:
        return StepConsequence(follow=(job_of(run.spec.kind).first,))
    try:
        verdict = job_of(run.spec.kind).decide(run, tally, step, _typed(run, step, result))
    except RecordRefused as error:
        return StepConsequence(state=RunState.FAILED, error=f"{error.code}: {run_log.error_text(error)}")
    return structs.replace(verdict, facts=result) if step.kind is StepKind.PLAN else verdict


def _typed(run: Run, step: RunStep, result: Mapping[str, Any]) -> Result:
    action = action_of(run, step)
    return None if action.tolerated and not result else read_result(run, step, result, action.result)
