"""The same backup in one process, and as Celery tasks on one and on two sealing processes.

The product measures its own steps, for only it knows where they begin and end; each command
below prints one JSON object on its last line of output:

    {"seconds": 12.3, "steps": {"capture": 8.1, "upload": 3.0, ...}}

``seconds`` from submission to the last verification, ``steps`` the work of each kind added up
over all its tasks.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from scripts.bench.tools import Place, base_env

ALONE = "in process, no broker"
ONE = "Celery, one sealing process"
WAYS = {
    ALONE: ("--in-process",),
    ONE: ("--seal-processes", "1"),
    "Celery, two sealing processes": ("--seal-processes", "2"),
}


def _command(way: tuple[str, ...], place: Place) -> list[str]:
    return [sys.executable, "-m", "scripts.bench.one_pipeline", str(place.jsonl), *way]


@dataclass(frozen=True, kw_only=True)
class PipelineRun:
    """The medians of one way. ``share`` is Celery's: what of ``seconds`` the same work took
    less in one process; ``None`` where that says nothing."""

    label: str
    seconds: float
    steps: dict[str, float]
    share: float | None


def _once(way: tuple[str, ...], place: Place) -> dict[str, Any] | None:
    state = place.scratch / "pipeline"
    shutil.rmtree(state, ignore_errors=True)
    env = base_env(place) | {"STRONGROOM_STATE_DIR": str(state)}
    done = subprocess.run(_command(way, place), env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  pipeline {way}: {done.stderr[-500:]}", file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _medians(runs: list[dict[str, Any]]) -> tuple[float, dict[str, float]]:
    steps = {
        step: statistics.median(run["steps"].get(step, 0.0) for run in runs) for step in runs[0]["steps"]
    }
    return statistics.median(run["seconds"] for run in runs), steps


def measure(place: Place, *, repeat: int) -> list[PipelineRun]:
    """Run each way ``repeat`` times, in turns; leave out a way that failed."""
    runs: dict[str, list[dict[str, Any]]] = {label: [] for label in WAYS}
    for _ in range(repeat):
        for label, way in WAYS.items():
            if (found := _once(way, place)) is not None:
                runs[label].append(found)
    medians = {label: _medians(found) for label, found in runs.items() if found}
    alone = medians[ALONE][0] if ALONE in medians else None
    return [
        PipelineRun(label=label, seconds=seconds, steps=steps, share=_share(label, seconds, alone))
        for label, (seconds, steps) in medians.items()
    ]


def _share(label: str, seconds: float, alone: float | None) -> float | None:
    # With two sealing processes the work overlaps, so the difference would not be Celery's.
    if alone is None or label != ONE:
        return None
    return max(0.0, 1 - alone / seconds)
