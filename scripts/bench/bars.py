"""What Strongroom has to reach, and whether it did. A missed bar is printed, never an error:
a busy machine must not turn a build red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scripts.bench.rounds import Results
from scripts.bench.tools import Job

PEAK_MIB = 150.0
SEAL_GB_PER_SECOND = 1.0
ONE_SECRET_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Bar:
    """``job`` of ours, in ``layout``, takes at most ``most`` times what the peer takes."""

    what: str
    job: str
    layout: str
    peer: str
    peer_layout: str
    most: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One bar, judged. ``met`` is ``None`` if one side was not at hand."""

    what: str
    bar: str
    reached: str
    met: bool | None


BARS = (
    Bar(
        what="full encrypted backup of the tree, read back",
        job="backup",
        layout="tree",
        peer="restic",
        peer_layout="tree",
        most=0.5,
    ),
    Bar(
        what="full encrypted backup of JSONL, read back",
        job="backup",
        layout="jsonl",
        peer="borg",
        peer_layout="jsonl",
        most=1.5,
    ),
    Bar(
        what="verify by opening everything",
        job="verify",
        layout="tree",
        peer="restic",
        peer_layout="tree",
        most=0.5,
    ),
    Bar(
        what="one secret by name, with a passphrase",
        job="one",
        layout="tree",
        peer="restic",
        peer_layout="tree",
        most=0.4,
    ),
    Bar(
        what="full restore into the local store",
        job="restore",
        layout="tree",
        peer="restic",
        peer_layout="tree",
        most=1.0,
    ),
)


def _find(results: Results, job: str, tool: str, layout: str) -> Job | None:
    for found in results.runs:
        if (found.job, found.tool, found.layout) == (job, tool, layout) and results.runs[found]:
            return found
    return None


def _time_verdict(bar: Bar, results: Results) -> Verdict:
    ours = _find(results, bar.job, "strongroom", bar.layout)
    peer = _find(results, bar.job, bar.peer, bar.peer_layout)
    limit = f"at most {bar.most:.1f} × {bar.peer} {bar.peer_layout}"
    if ours is None or peer is None:
        return Verdict(what=bar.what, bar=limit, reached="not measured", met=None)
    ratio = results.seconds(ours) / results.seconds(peer)
    return Verdict(what=bar.what, bar=limit, reached=f"{ratio:.2f} ×", met=ratio <= bar.most)


def time_verdicts(results: Results) -> list[Verdict]:
    """Judge every bar on time."""
    return [_time_verdict(bar, results) for bar in BARS]


def peak_verdict(results: Results, secrets: int) -> Verdict:
    """Judge the largest process of ours over all jobs."""
    peaks = [results.peak(job) for job in results.runs if job.tool == "strongroom"]
    what, bar = f"peak memory of any process, {secrets:,} secrets", f"at most {PEAK_MIB:.0f} MiB"
    if not peaks:
        return Verdict(what=what, bar=bar, reached="not measured", met=None)
    return Verdict(what=what, bar=bar, reached=f"{max(peaks):.0f} MiB", met=max(peaks) <= PEAK_MIB)


def number_verdict(
    what: str, bar: str, value: float | None, unit: str, holds: Callable[[float], bool]
) -> Verdict:
    """Judge a plain number, or say that there is none."""
    if value is None:
        return Verdict(what=what, bar=bar, reached="not measured", met=None)
    return Verdict(what=what, bar=bar, reached=f"{value:,.2f} {unit}", met=holds(value))
