"""A run as a trace of OpenTelemetry: a span for the run and one for each of its steps, by whichever process.

It is made from the record when the run has ended. So no message carries anything for it, a process that was
killed leaves no gap, and told twice it is the same trace, for its ids come from the run. The form is OTLP in
JSON (opentelemetry.io/docs/specs/otlp).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from strongroom.operations import recorded_errors
from strongroom.state.records import Run, RunState, StepRow, StepState

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
    error = recorded_errors.parse_error(run.error)
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
        "status": _status(recorded_errors.code_of(row.error or ""), failed=failed),
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
