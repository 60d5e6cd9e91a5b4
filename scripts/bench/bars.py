"""What Strongroom has to reach, and whether it did. A missed bar is printed, never an error:
a busy machine must not turn a build red."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.bench.restores import MOST_SECONDS
from scripts.bench.rounds import Results
from scripts.bench.tools import Job
from strongroom.words import plural

if TYPE_CHECKING:
    from scripts.bench.session import Session

PEAK_MIB = 250
"""Of which a passphrase takes 128 for a moment, by scrypt."""
SEAL_GB_PER_SECOND = 1.0
REGIONS = 1.3
FIND_SECONDS = 5
BESIDE_POOLED = 0.85
BESIDE_SINGLE = 5.0


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
        most=1.0,
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


def needs(job: Job) -> bool:
    """Tell whether a job decides a bar, or comes before one that does."""
    if job.tool == "strongroom":
        return True
    return any(
        (job.tool, job.layout) == (bar.peer, bar.peer_layout) and job.job in (bar.job, "backup")
        for bar in BARS
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


def _peak_verdict(results: Results | None, what: str) -> Verdict:
    peaks = [results.peak(job) for job in results.runs if job.tool == "strongroom"] if results else []
    return _number(
        what, f"at most {PEAK_MIB} MiB", max(peaks, default=None), "MiB", lambda peak: peak <= PEAK_MIB
    )


def _number(
    what: str,
    bar: str,
    value: float | None,
    unit: str,
    holds: Callable[[float], bool],
    *,
    digits: int = 1,
) -> Verdict:
    if value is None:
        return Verdict(what=what, bar=bar, reached="not measured", met=None)
    return Verdict(what=what, bar=bar, reached=f"{value:,.{digits}f} {unit}", met=holds(value))


def _reads_verdicts(session: Session) -> Iterator[Verdict]:
    memory = session.memory
    few, many = session.reads, memory.reads if memory else None
    kib = None if many is None or many.mapped else many.bytes / 1024
    yield _number("one secret of many: bytes read", "under 1,024 KiB", kib, "KiB", lambda size: size < 1024)
    calls = None if few is None or many is None else float(many.calls - few.calls)
    yield _number("one secret of many: more reads", "none", calls, "more", lambda more: more <= 0)


def _vault_verdicts(session: Session) -> Iterator[Verdict]:
    found = session.vault
    yield _number(
        "requests a second to Vault",
        f"at least {BESIDE_POOLED} × a plain pooled client",
        found.beside_pooled if found else None,
        "×",
        lambda ratio: ratio >= BESIDE_POOLED,
        digits=2,
    )
    yield _number(
        "requests a second to a Vault that is 10 ms away",
        f"at least {BESIDE_SINGLE:.0f} × one at a time",
        found.beside_single if found else None,
        "×",
        lambda ratio: ratio >= BESIDE_SINGLE,
    )


def _find_verdicts(session: Session) -> Iterator[Verdict]:
    found = session.finds
    yield _number(
        "a pattern, a tag or a history in 100 backups of 1,000,000 secrets",
        f"under {FIND_SECONDS} s",
        found.slowest if found else None,
        "s",
        lambda seconds: seconds < FIND_SECONDS,
    )


def _restore_verdicts(session: Session) -> Iterator[Verdict]:
    found = session.restores.seconds if session.restores else {}
    for size, most in MOST_SECONDS.items():
        yield _number(
            f"restore into Vault by Celery, {plural(size, 'secret')}",
            f"at most {most:.0f} s",
            found.get(size),
            "s",
            lambda seconds, most=most: seconds <= most,  # type: ignore[misc]
        )


def judge(session: Session) -> list[Verdict]:
    """Hold all that was measured against the bars."""
    many = session.memory.results if session.memory else None
    rate = session.seal_rate
    return [
        *(_time_verdict(bar, session.results) for bar in BARS),
        _peak_verdict(session.results, f"peak memory of any process, {session.secrets:,} secrets"),
        _peak_verdict(many, "peak memory of any process, many secrets"),
        *_reads_verdicts(session),
        *_vault_verdicts(session),
        *_find_verdicts(session),
        *_restore_verdicts(session),
        _number(
            "upload to three regions",
            f"at most {REGIONS} × the slowest one alone",
            session.regions.ratio if session.regions else None,
            "×",
            lambda ratio: ratio <= REGIONS,
        ),
        _number(
            "sealing on one core", "at least 1 GB/s", rate, "GB/s", lambda found: found >= SEAL_GB_PER_SECOND
        ),
    ]
