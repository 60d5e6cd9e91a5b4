"""What is put down of runs and steps: log lines, traces, and failures as they are recorded."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from strongroom.container.errors import FormatError
from strongroom.errors import StrongroomError, by_name, name_of, public_class
from strongroom.operations.errors import NOTHING_YET, RunFailed
from strongroom.state.records import Run, RunState, RunStep, StepConsequence, StepKind, StepRow, StepState

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


# -- Failures as a run records them, and back: typed errors for whoever waits for the run -------


_RECORDED = re.compile(r"^(?:\S+: )?(?P<code>[A-Za-z]+): (?P<message>.*)$", re.DOTALL)
_TO_DO = "\nWhat to do: "


def error_text(error: StrongroomError) -> str:
    """Return what a run records of an error beside its code: what happened, and what to do where the class
    of that code does not say it."""
    return joined(error.message, "" if error.hint == public_class(type(error)).default_hint else error.hint)


def joined(happened: str, to_do: str) -> str:
    """Return what happened and what to do as one text, which :func:`apart` takes apart."""
    return happened + (f"{_TO_DO}{to_do}" if to_do else "")


def code_of(text: str) -> str:
    """Return the code that a step's recorded error begins with; empty if it is none of ours."""
    code = text.partition(":")[0]
    return code if by_name(code) else ""


def apart(text: str | None) -> tuple[str, str]:
    """Return what happened and what to do, of what a run recorded."""
    happened, _, hint = (text or "").partition(_TO_DO)
    return happened, hint


def parse_error(text: str | None) -> StrongroomError | None:
    """Return the error that a run recorded as ``step: Code: message``, if it is one of ours."""
    happened, hint = apart(text)
    match = _RECORDED.match(happened)
    kind = by_name(match["code"]) if match else None
    return kind(match["message"], hint=hint or None) if match and kind else None


def class_in(text: str | None) -> str:
    """Return the class of a recorded error; empty if it has none. It is all that is told of one where names
    of secrets may not go."""
    error = parse_error(text)
    return error.code if error else code_of(text or "")


NOTHING_YET_IN_WORDS: Final = "nothing to back up yet"


def found_nothing_yet(run: Run) -> bool:
    """Tell whether a backup ended without one for there is nothing to back up, and never was: that is no
    failure, and is shown and counted as none."""
    return run.state is RunState.FAILED and class_in(run.error) in NOTHING_YET


def loss_of(run: Run) -> StrongroomError | None:
    """Return the error of a run that made something of a damaged backup: the class of the first loss."""
    happened, hint = apart(run.error)
    kind = by_name(code_of(happened))
    if kind is None or not issubclass(kind, FormatError):
        return None
    return kind(f"run {run.id}: {happened.partition(': ')[2]}", hint=hint or None)


def failure_of(run: Run) -> StrongroomError:
    """Return the error of a run that made nothing: the one that it recorded, or that it failed. What it says
    to type names the run."""
    error = parse_error(run.error)
    if error is None:
        happened, to_do = apart(run.error)
        reason = f": {happened}" if happened else ""
        error = RunFailed(f"run {run.id} {run.state.value}{reason}", hint=to_do or None)
    return type(error)(error.message, hint=error.hint.replace(" RUN'", f" {run.id}'"))


# -- Logs what became of steps and runs: a fixed name for each event, and fields that identify it ---
#
# One line for each run that ended, at the level it deserves. A run that fails is told by the process that
# decided it, with the exception, so that an error tracker has its stack. A command line shows none of this:
# it has its own words. What went wrong is told by its class: its words may name a secret, and logs go far.


log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

REPORT = StepKind.REPORT.value


def begun(run: Run, *, slot: str = "") -> None:
    """Tell of a run that was put on record: for which entry of the calendar, or since somebody asked."""
    log.info("run-begun", extra=_run_fields(run, "", "") | {"slot": slot})


def attempt_failed(run: Run, step: RunStep, error: Exception, *, again: bool) -> None:
    """Tell of a failed attempt; ``again``: the step will be tried once more."""
    unexpected = not isinstance(error, StrongroomError)
    fields = _run_fields(run, str(step), name_of(error)) | {"again": again}
    if not unexpected:
        log.warning("step-failed", extra=fields)
    else:  # of a run that fails it is told once, when that is
        level = logging.WARNING if again or run.closing or _is_cause(run, step) else logging.ERROR
        log.log(level, "step-crashed", exc_info=error, extra=fields)


def recorded(
    run: Run,
    step: RunStep,
    store: RunStore,
    *,
    verdict: StepConsequence | None = None,
    error: Exception | None = None,
) -> None:
    """Log what became of the run by a recorded outcome, if anything did.

    Args:
        run: the run as it is after the outcome was recorded.
        verdict: what was decided on it; ``None`` if nothing was.
        error: what the step failed of.
    """
    by_verdict = verdict is not None and verdict.state is RunState.FAILED
    if by_verdict or (verdict is None and error is not None and _is_cause(run, step)):
        failed(run, str(step), None if by_verdict else error)
    elif run.state.final:
        _tell_ended(run, store)


def failed(run: Run, step: str, error: Exception | None = None) -> None:
    """Log that a run fails, and why. The process that decided it calls this, once a run."""
    error = error or _raise_recorded(run)
    log.error("run-failed", exc_info=error, extra=_run_fields(run, step, name_of(error)))


def failed_unattended(run: Run) -> None:
    """Tell that a run fails since its workers died or nothing was left to do."""
    step, _, _ = (run.error or "").partition(": ")
    kinds = {kind.value for kind in StepKind}
    failed(run, step if step.partition("/")[0] in kinds else REPORT)


def _is_cause(run: Run, step: RunStep) -> bool:
    """Tell whether it is this step that the run fails of."""
    return (run.closing or run.state is RunState.FAILED) and (run.error or "").startswith(f"{step}: ")


def _tell_ended(run: Run, store: RunStore) -> None:
    fields = _run_fields(run, REPORT, "") | {"seconds": round((run.finished_at or 0.0) - run.created_at, 3)}
    if run.state is RunState.DEGRADED:
        log.warning("run-degraded", extra=fields | _missed_step_fields(run, store))
    else:  # that a run fails was told when it was decided
        log.info("run-ended" if run.state is RunState.FAILED else f"run-{run.state.value}", extra=fields)


def _missed_step_fields(run: Run, store: RunStore) -> dict[str, Any]:
    """Return the fields of the first step that a degraded run gave up, if it gave one up."""
    rows = store.rows(run.id)
    row: StepRow | None = next((row for row in rows if row.state is StepState.MISSED and row.error), None)
    if row is None:
        return {"error_class": "RunDegraded"}
    return _run_fields(run, str(row.step), code_of(row.error or "") or "RunDegraded")


def _run_fields(run: Run, step: str, error_class: str) -> dict[str, Any]:
    kind, *rest = step.split("/")
    piece = next((part for part in rest if part.isdecimal()), None)
    return {
        "run": run.id,
        "policy": run.spec.policy,
        "kind": run.spec.kind.value,
        "step": kind,
        "target": next((part for part in rest if part != piece), ""),
        "error_class": error_class,
    } | ({"piece": int(piece)} if piece is not None else {})


def _raise_recorded(run: Run) -> Exception:
    """Return an error for a failure that raised none, with this place as its origin."""
    try:
        raise parse_error(run.error) or RunFailed(apart(run.error)[0] or "it failed")
    except StrongroomError as error:
        return error


# -- A run as a trace of OpenTelemetry: a span for the run and one for each of its steps, by whichever
# process
#
# It is made from the record when the run has ended. So no message carries anything for it, a process that
# was killed leaves no gap, and told twice it is the same trace, for its ids come from the run. The form is
# OTLP in JSON (opentelemetry.io/docs/specs/otlp).


MOST: Final = 2000
"""Steps of a run that become spans: those of the largest runs are hundreds of thousands, and all alike."""
INTERNAL, OK, ERROR = 1, 1, 2

Span = dict[str, Any]
About = dict[str, str | int]


def as_trace(run: Run, rows: Sequence[StepRow], *, version: str) -> dict[str, Any]:
    """Return a run that has ended, with its steps, as OTLP has it.

    No name of a secret is in it: of an error its class, and of a step its number and target.
    """
    began = sorted((row for row in rows if row.started_at), key=lambda row: row.started_at or 0.0)
    shown = sorted(began[:MOST], key=_owner)
    by_process = [(owner, [_of_step(run, row) for row in mine]) for owner, mine in groupby(shown, key=_owner)]
    root = ("", [_of_run(run, left_out=len(began) - len(shown))])
    return {"resourceSpans": [_of_process(owner, spans, version) for owner, spans in (root, *by_process)]}


def trace_id(run: str) -> str:
    """Return the id of a run's trace, in hex."""
    return hashlib.sha256(f"strongroom:trace:{run}".encode()).hexdigest()[:32]


def _span_id(run: str, step: str = "") -> str:
    return hashlib.sha256(f"strongroom:span:{run}:{step}".encode()).hexdigest()[:16]


def _owner(row: StepRow) -> str:
    return row.owner or ""


def _of_process(owner: str, spans: list[Span], version: str) -> dict[str, Any]:
    """Return the spans of one process. ``owner`` is its host, process id and pool."""
    about: About = {"service.name": "strongroom", "service.version": version}
    host, pid, pool = (*owner.split(":", 2), "", "", "")[:3]
    about |= {"service.instance.id": owner, "host.name": host, "strongroom.pool": pool} if pool else {}
    about |= {"process.pid": int(pid)} if pid.isdecimal() else {}
    scope = {"scope": {"name": "strongroom", "version": version}, "spans": spans}
    return {"resource": {"attributes": _attributes(about)}, "scopeSpans": [scope]}


def _of_run(run: Run, *, left_out: int) -> Span:
    about: About = {"strongroom.kind": run.spec.kind.value, "strongroom.policy": run.spec.policy}
    about |= {f"strongroom.{name}": count for name, count in _counts(run)}
    about |= {"strongroom.steps_left_out": left_out} if left_out else {}
    error = parse_error(run.error)
    return {
        **_span(run, f"{run.spec.kind.value} {run.spec.policy}", run.created_at, run.finished_at),
        "spanId": _span_id(run.id),
        "attributes": _attributes(about | {"strongroom.run": run.id, "strongroom.state": run.state.value}),
        "status": _status(error.code if error else "", failed=run.state is RunState.FAILED),
    }


def _counts(run: Run) -> Iterator[tuple[str, int]]:
    """Yield how much a backup holds, where its run says so."""
    said = run.facts.get("counts")
    counts = said if isinstance(said, Mapping) else {}
    yield from ((name, counts[name]) for name in ("secrets", "size") if isinstance(counts.get(name), int))


def _of_step(run: Run, row: StepRow) -> Span:
    about: About = {"strongroom.run": run.id, "strongroom.state": row.state.value}
    about |= {"strongroom.attempts": row.attempts}
    about |= {"strongroom.piece": row.step.piece} if row.step.piece >= 0 else {}
    about |= {"strongroom.target": row.step.target} if row.step.target else {}
    failed = row.state in (StepState.MISSED, StepState.POISONED)
    return {
        **_span(run, row.step.kind.value, row.started_at or 0.0, row.finished_at or run.finished_at),
        "spanId": _span_id(run.id, str(row.step)),
        "parentSpanId": _span_id(run.id),
        "attributes": _attributes(about),
        "status": _status(code_of(row.error or ""), failed=failed),
    }


def _span(run: Run, name: str, began: float, ended: float | None) -> Span:
    return {
        "traceId": trace_id(run.id),
        "name": name,
        "kind": INTERNAL,
        "startTimeUnixNano": _nanoseconds(began),
        "endTimeUnixNano": _nanoseconds(max(began, ended or began)),
    }


def _nanoseconds(moment: float) -> str:
    return str(int(moment * 1e9))


def _status(code: str, *, failed: bool) -> dict[str, Any]:
    return {"code": ERROR, "message": code} if failed else {"code": OK}


def _attributes(about: About) -> list[dict[str, Any]]:
    """Return attributes as OTLP has them: whole numbers are written as text."""
    kinds = {key: "intValue" if isinstance(value, int) else "stringValue" for key, value in about.items()}
    return [{"key": key, "value": {kinds[key]: str(value)}} for key, value in about.items()]
