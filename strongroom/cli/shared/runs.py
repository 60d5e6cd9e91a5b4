"""Runs that a command drives, follows or waits for, and the cluster that performs them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from logging import LogRecord
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from strongroom.cli.shared import identities, recipients, render_run
from strongroom.cli.shared.opening import read_signer
from strongroom.cli.shared.render_run import waiting_of, waits_for_people
from strongroom.cli.shared.services import open_services, run_store
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line, plural, size
from strongroom.cli.terminal.screen import bars, pace_words
from strongroom.cli.terminal.stopping import leaving
from strongroom.config import PolicySettings, Settings, load_settings
from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, StrongroomError
from strongroom.operations.backup import outcome
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.engine import run_log
from strongroom.operations.engine.drive import drive, ended_if_interrupted, is_abandoned
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted
from strongroom.operations.errors import RunDegraded
from strongroom.operations.judge.fact_records import ENDED, pace_of
from strongroom.sheet import Lines, Pairs, Sheet
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run, RunState, StepKind, Ticket
from strongroom.state.store import RunStore
from strongroom.system.lazy import lazy
from strongroom.system.process import loading
from strongroom.words import nearest
from workers.logs import JsonLines
from workers.paths import private_folder
from workers.process import KEPT, LIMIT
from workers.status import read

if TYPE_CHECKING:
    from strongroom.api.client import Submission

_rotating_file = lazy("logging.handlers:RotatingFileHandler")


# -- Live progress of a run: one bar a kind of step, on stderr, if somebody looks ---------------


Watch = Callable[[str], None]
SHOWN = (
    StepKind.PLAN,
    StepKind.CAPTURE,
    StepKind.UPLOAD,
    StepKind.COMMIT,
    StepKind.VERIFY,
    StepKind.REPAIR,
    StepKind.RECOVERY_CHECK,
    StepKind.RESTORE_PLAN,
    StepKind.APPROVE,
    StepKind.RESTORE,
    StepKind.RESTORE_COMPARE,
    StepKind.RECOVERY_VALIDATE,
    StepKind.REWRAP,
    StepKind.ROTATE,
    StepKind.MARK,
    StepKind.DELETE,
    StepKind.ROTATE_SECRET_PLAN,
    StepKind.ROTATE_SECRET,
    StepKind.DRILL_PROVE,
    StepKind.DRILL_RESTORE,
    StepKind.DRILL_COMPARE,
    StepKind.DRILL_TEARDOWN,
    StepKind.DRILL_LIVE,
)


@contextmanager
def showing_progress(output: Output, store: RunStore) -> Iterator[Watch | None]:
    """Yield what to call with a run's id to draw it anew; ``None`` if nobody looks."""
    if not output.lively:
        yield None
        return
    with bars() as progress:
        display = Display(progress, store)
        yield display.show


def by_ticket(watch: Watch | None) -> Callable[[Ticket], None] | None:
    """Return what the driver calls after each step."""
    return None if watch is None else lambda ticket: watch(ticket.run)


class Display:
    """The bars of one run, drawn from what the run record says."""

    def __init__(self, progress: Any, store: RunStore) -> None:
        self._progress = progress
        self._store = store
        self._bars: dict[str, Any] = {}

    def show(self, run: str) -> None:
        """Draw the run as it stands now."""
        tally = self._store.tally(run)
        for kind in SHOWN:
            due = tally.of(kind)
            if due:
                self._draw(kind.value, due, tally.of(kind, states=ENDED))
        self._draw_pace(run)

    def _draw_pace(self, run: str) -> None:
        """Draw how far all of it is, as the facts say: how fast it goes, and how long the rest takes."""
        pace = pace_of(self._store.load(run), self._store, now=time.time())
        if pace.rate is not None and pace.left is not None:
            words = pace_words(pace.rate, pace.left)
            self._draw(f"all {pace.unit}s", pace.total, pace.done, words)

    def _draw(self, name: str, due: int, over: int, pace: str = "") -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=due, pace=pace)
        self._progress.update(self._bars[name], total=due, completed=over, pace=pace)


# -- Driving runs in this process, and what their end means for the command ---------------------


_GOOD = (RunState.DONE, RunState.DEGRADED)


def end_abandoned(policy: str, services: Services, output: Output) -> None:
    """Bring to their end backups of a policy whose process was killed, and say so."""
    for run in outcome.end_abandoned(services, policy=policy):
        output.note(f"run {run.id} was abandoned, for its process is gone; it is {run.state.value} now")


def finish(begin: Callable[[], Submitted], services: Services, output: Output) -> Answer:
    """Begin a run, drive it to its end here, and answer with what came of it.

    Raises:
        StrongroomError: what the run failed of.
    """
    run = drive_here(begin, services, output)
    lack = lack_of(run)
    return replace(render_run.answer_run(run, render_run.rows_of(services.store, run)), error=lack)


def drive_here(begin: Callable[[], Submitted], services: Services, output: Output) -> Run:
    """Begin a run, drive it to its end here, and return it.

    Ctrl-C cancels it first, so that nothing half-made stays on stage or target.
    """
    with ended_if_interrupted(services) as driven:
        run_id, tickets = begin()
        driven.append(run_id)
        output.left = partial(_left, run_id, services.store, output.left)
        with showing_progress(output, services.store) as watch:
            return drive(run_id, tickets, services, watch=by_ticket(watch))


def _left(run_id: str, store: RunStore, before: Callable[[], str]) -> str:
    """Say what became of a run of an interrupted command, which may have ended in the last instant."""
    state = store.load(run_id).state
    if state is RunState.CANCELLED:
        return before()
    is_there = f"run {run_id} is {state.value}: 'strongroom runs show {run_id}' shows it."
    return f"{is_there} Of what came after it, nothing half-written was left."


def require_good(run: Run) -> None:
    """Return if a run made what it was to make; raise what stopped it otherwise."""
    if run.state in _GOOD:
        return
    raise run_log.failure_of(run)


def lack_of_all(runs: Sequence[Run], *, failed: Sequence[StrongroomError] = ()) -> StrongroomError | None:
    """Return what runs fall short of, for an answer to end with; a failure, of a run or of what else
    ``failed``, weighs more than what lacks."""
    bad = [run_log.failure_of(run) for run in runs if run.state not in _GOOD]
    lacks = [lack_of(run) for run in runs if run.state in _GOOD]
    return next(filter(None, (*bad, *failed, *lacks)), None)


def lack_of(run: Run) -> StrongroomError | None:
    """Return what a run falls short of, for an answer to end with; raise what stopped it if it failed.

    Who only looks at the exit code has to learn, too, that a backup holds less than expected or lacks a
    replica.
    """
    require_good(run)
    if run.state is not RunState.DEGRADED:
        return None
    happened, hint = run_log.apart(run.error)
    degraded = RunDegraded(f"run {run.id} is degraded: {happened}", hint=hint or None)
    return run_log.loss_of(run) or degraded


# -- Waiting for the end of a run, whether a cluster drives it or a process ---------------------


_POLL_SECONDS = 0.25
_LOOK_SECONDS = 3.0
_GOES_ON = (
    "nobody looks at run {run} any more, and it goes on. To look again: 'strongroom runs show {run} "
    "--follow'. "
    "To end it: 'strongroom runs cancel {run}'."
)


def follow(output: Output, name: str, *, patience: float = 15.0) -> Run:
    """Wait for a run's end, showing how far it is; one just submitted may still be queued, and one that
    nobody works on has no end to wait for.

    Args:
        patience: how many seconds to wait for the run to come into being.
    """
    store = run_store()
    run = _begun(store, name, patience)
    waits = WaitReporter(output, store)
    with leaving(_GOES_ON.format(run=run.id)), showing_progress(output, store) as watch:
        while not run.state.final and (cluster_runs(load_settings()) or not nobody_drives(run, store)):
            if watch is not None:
                watch(run.id)
            waits.tell(run)
            time.sleep(_POLL_SECONDS)  # the database announces nothing
            run = store.load(run.id)
    return run


class WaitReporter:
    """Says what a run waits for, approvals, room, or a place that does not answer, and what it tries again.
    Each thing once."""

    def __init__(self, output: Output, store: RunStore) -> None:
        self._output = output
        self._store = store
        self._said: set[str] = set()
        self._look_at = 0.0

    def tell(self, run: Run) -> None:
        needed = waits_for_people(self._store.rows(run.id, StepKind.APPROVE))
        if needed is not None:
            self._say(needed.message, f"Run {run.id} waits: {needed.message} {needed.hint}")
        elif time.monotonic() >= self._look_at:  # all rows of a large run are many to read so often
            self._look_at = time.monotonic() + _LOOK_SECONDS
            rows = self._store.rows(run.id)
            if waiting := waiting_of(rows):
                words = f"Run {run.id} waits ({waiting['step']}): {waiting['error']}. {waiting['to_do']}"
                self._say(waiting["error"], words.rstrip())
            for row in rows:
                if row.error and not row.waits_since and not row.state.settled:
                    happened, to_do = run_log.apart(row.error)
                    self._say(
                        happened, f"Run {run.id} tries again ({row.step}): {happened}. {to_do}".rstrip()
                    )

    def _say(self, what: str, words: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._output.note(words)


def _begun(store: RunStore, name: str, patience: float) -> Run:
    until = time.monotonic() + patience
    while True:
        try:
            return store.find(name)
        except RunNotFound:
            if time.monotonic() > until:
                raise
        time.sleep(_POLL_SECONDS)


def nobody_drives(run: Run, store: RunStore) -> bool:
    """Tell whether the process that drove a run is gone, and the run has not ended."""
    return not run.state.final and is_abandoned(run, store, load_settings().state_dir)


def cluster_runs(settings: Settings) -> bool:
    """Tell whether a cluster would take up what is due: one is configured, or runs here."""
    return bool(settings.broker.url) or read(settings.state_dir) is not None


# -- The log of a cluster that a command runs: in a file, and to a person what matters ----------


def log_to(folder: Path, output: Output | None) -> None:
    """Log in ``folder``, as the processes do; what a person should know is said as well."""
    file = _rotating_file(private_folder(folder) / "up.log", maxBytes=LIMIT, backupCount=KEPT)
    file.setFormatter(JsonLines("up"))
    handlers: list[logging.Handler] = [file]
    if output is not None:
        said = logging.Handler(logging.INFO)
        said.emit = lambda record: _say(record, output)  # type: ignore[method-assign]
        handlers.append(said)
    logging.raiseExceptions = False  # a disk that is full is told, and not by the traceback of each line
    logging.basicConfig(handlers=handlers, level=logging.INFO, force=True)


def _say(record: LogRecord, output: Output) -> None:
    found = record.__dict__
    if record.levelno >= logging.WARNING:
        output.warn(_in_words(record))
    elif record.getMessage() == "process-started" and found["start"] > 1:
        output.note(f"the process '{found['child']}' runs again (start {found['start']})")


def _in_words(record: LogRecord) -> str:
    found = record.__dict__
    if (child := found.get("child")) is None:
        return record.getMessage()
    why = f": {in_line(found['why'])}" if found["why"] else ""
    often = f", {found['in_a_row']} times in a row" if found["in_a_row"] > 1 else ""
    return (
        f"the process '{child}' exited (status {found['status']}{often}) and is started again "
        f"in {found['again_in']:g} s{why}"
    )


# -- Seals a source into a file, and says what it holds: the half of that which needs the run store ---


def seal_file(path: Path, output: Output, **options: Any) -> None:
    """Seal a source into a file and print what it holds; for the options see :func:`backup_to_file`."""
    with loading():
        recipients.warn_of_keys_beside(path, output)
        services = open_services()
    output.left = partial(_file_left, path, _file_id(path), output.left)
    with showing_progress(output, services.store) as watch:
        manifest = backup_to_file(path, services=services, watch=by_ticket(watch), **options)
    counts, signer, written = manifest.counts, read_signer(path), path.stat().st_size
    record = {
        "file": path,
        "backup": manifest.backup_id,
        "source": manifest.source,
        "sealed": True,
        "values": manifest.values,
        "secrets": counts.secrets,
        "versions": counts.versions,
        "size": written,
        "recipients": [recipient.describes for recipient in manifest.recipients],
        "post_quantum": all(recipient.post_quantum for recipient in manifest.recipients),
        "signer": signer,
        "verified": "digest",
    }
    kind = "with values" if manifest.values else "without values"
    pairs = [
        ("backup", manifest.backup_id),
        ("holds", f"{plural(counts.secrets, 'secret')} of '{manifest.source}', {kind}, {size(written)}"),
        *identities.recipient_fields(manifest.recipients),
        ("installation", signer),
    ]
    said = f"{path}: read back whole, every byte as it was sealed (depth: digest)."
    note = "Note the installation's fingerprint once: restoring elsewhere asks for it (--signer)."
    output.give(Answer(record=record, sheet=Sheet(parts=[Pairs(pairs, said), Lines([note])])))


def _file_left(path: Path, file_id: int, before: Callable[[], str]) -> str:
    """Say of an interrupted command that its file is there: it gets its name once it is whole."""
    return before() if _file_id(path) == file_id else f"'{path}' was written, and read back whole."


def _file_id(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_ino
    return 0


# -- Handing a run to the cluster by a signed message (``--cluster``), and what is refused before that


def answer_submission(submitted: Submission, output: Output, *, wait: bool) -> Answer:
    """Say how to follow a run that was handed to the cluster, or wait for its end and tell that."""
    if wait:
        run = follow(output, submitted.run)
        return replace(
            render_run.answer_run(run, render_run.rows_of(run_store(), run)), error=lack_of_all([run])
        )
    said = f"Submitted: run {submitted.run} is on record."
    how = Lines([f"Follow it: strongroom runs show {submitted.run} --follow"])
    record = {"id": submitted.id, "run": submitted.run}
    return Answer(record=record, sheet=Sheet(verdict=said, parts=[how]))


def known_backup(backup: str, settings: Settings) -> str:
    """Return a backup that the catalog has, of a policy: of any other no run would ever come into being."""
    entry = run_store().backup(backup)
    if entry is None:
        raise MissingPiece(
            f"The catalog has no backup '{backup}'; nothing was submitted.",
            hint="See 'strongroom backups list'.",
        )
    if entry.policy not in settings.policies:
        raise ConfigError(
            f"No policy here made backup {backup}, so none says which targets have it. "
            "Nothing was submitted.",
            hint="To check a file or a target by itself: 'strongroom backups verify'.",
        )
    return backup


def known_policy(name: str, settings: Settings) -> PolicySettings:
    """Return a policy's settings. Raises ConfigError."""
    policy = settings.policies.get(name)
    if policy is None:
        known = nearest(name, settings.policies)
        raise ConfigError(f"There is no policy '{name}'; nothing was submitted.", hint=known)
    return policy
