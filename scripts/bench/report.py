"""Turn what was measured into ``scripts/bench/results/latest.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from scripts.bench.bars import Verdict
from scripts.bench.regions import DELAY, RATE
from scripts.bench.rounds import ORDER, Results
from scripts.bench.tools import Job
from scripts.bench.vault import DELAY as WIRE

if TYPE_CHECKING:
    from scripts.bench.session import Session

TITLES = {
    "backup": "Backup",
    "verify": "Verify everything",
    "one": "One secret by name",
    "restore": "Restore everything",
}

METHOD = """\
Each number is the median of {repeat} whole processes, start-up, key derivation and exit included, after one
warm-up round. The tools take turns, so that a busy moment falls on all of them; *others* is the share of
the machine that everything else used meanwhile, the kernel's writing to disk included. Memory is that of the
largest single process, children included.

All are used their usual way: restic and borg with a passphrase, age (with `tar` for the tree) with a key
file. Strongroom is sealed to a passphrase (scrypt, 128 MiB); its backup times contain reading back
and opening what was written, the others' do not. Age and tar keep no index and check no stored copy: *one
secret* there reads everything, and so does every tool on JSONL but Strongroom, since one file is all that
the others see. Restores write files for the peers, and a sealed local store for Strongroom.
"""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], *, text: int = 1) -> Iterator[str]:
    """Yield a table whose first ``text`` columns are words and whose others are numbers."""
    columns = list(head)
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "|".join(" --- " if at < text else " ---: " for at in range(len(columns))) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _peer_of(job: Job, results: Results) -> Job | None:
    for other in results.runs:
        if (other.job, other.layout, other.tool) == (job.job, job.layout, "strongroom"):
            return other
    return None


def _spread(job: Job, results: Results) -> str:
    times = [one.seconds for one in results.runs[job]]
    return f"{min(times):.2f} – {max(times):.2f}"


def _job_rows(name: str, results: Results) -> Iterator[list[str]]:
    for job in sorted((job for job in results.runs if job.job == name), key=lambda job: job.layout != "tree"):
        ours = _peer_of(job, results)
        ratio = f"{results.seconds(ours) / results.seconds(job):.2f} ×" if ours and ours is not job else ""
        stored = f"{results.sizes[job] / 1e6:.1f}" if job in results.sizes else ""
        seconds, spread = f"{results.seconds(job):.2f}", _spread(job, results)
        peak, others = f"{results.peak(job):.0f}", f"{results.others(job):.0%}"
        yield [job.label, seconds, spread, ratio, peak, stored, others]


def _jobs(results: Results) -> Iterator[str]:
    head = ["", "median s", "range s", "Strongroom / it", "peak MiB", "stored MB", "others"]
    for name in ORDER:
        rows = list(_job_rows(name, results))
        if rows:
            yield f"### {TITLES[name]}"
            yield ""
            yield from _table(head, rows)


def _verdicts(verdicts: Iterable[Verdict]) -> Iterator[str]:
    words = {True: "met", False: "**missed**", None: "–"}
    yield from _table(
        ["what", "bar", "reached", ""], [[v.what, v.bar, v.reached, words[v.met]] for v in verdicts]
    )


def _failed(results: Results) -> Iterator[str]:
    if results.failed:
        yield "Not measured:"
        yield ""
        yield from (f"- {job.job}, {job.label}: it failed" for job in results.failed)
        yield ""


def _memory(session: Session) -> Iterator[str]:
    if session.memory is None:
        return
    yield f"## {session.memory.secrets:,} secrets"
    yield ""
    yield "Run once, for memory and reads; JSONL, Strongroom alone."
    yield ""
    results = session.memory.results
    rows = [
        [TITLES[job.job], f"{results.seconds(job):.2f}", f"{results.peak(job):.0f}"] for job in results.runs
    ]
    yield from _table(["", "seconds", "peak MiB"], rows)


def _reads(session: Session) -> Iterator[str]:
    found = [(session.secrets, session.reads)]
    if session.memory:
        found.append((session.memory.secrets, session.memory.reads))
    rows = [
        [f"{secrets:,}", str(of.calls), "mapped" if of.mapped else f"{of.bytes / 1024:,.0f}"]
        for secrets, of in found
        if of is not None
    ]
    if rows:
        yield "## Reads for one secret"
        yield ""
        yield from _table(["secrets in the file", "reads", "KiB in all"], rows)


def _pipeline(session: Session) -> Iterator[str]:
    if not session.pipeline:
        return
    yield "## The pipeline on Celery"
    yield ""
    yield "Three directory targets, a real Redis. Celery's share is what the same steps take less when"
    yield "one process performs them in a loop, without a broker. No bar: it is here to be watched."
    yield ""
    rows = [
        [run.label, f"{run.seconds:.2f}", "–" if run.share is None else f"{run.share:.0%}"]
        for run in session.pipeline
    ]
    yield from _table(["", "seconds", "Celery's share"], rows)
    steps = [[run.label, step, f"{took:.2f}"] for run in session.pipeline for step, took in run.steps.items()]
    yield from _table(["", "step", "seconds in all"], steps)


def _regions(session: Session) -> Iterator[str]:
    if session.regions is None:
        return
    yield "## Three regions"
    yield ""
    yield f"One S3 server a region, each behind a link of {RATE / 1e6:.0f} MB/s and {DELAY * 1000:.0f} ms:"
    yield "on one machine the servers share its processors, and a backup to far regions waits for wires."
    yield "Seconds from the first upload's start to the last one's end, on the cluster, read back included."
    yield ""
    rows = [[name, f"{seconds:.2f}"] for name, seconds in session.regions.alone.items()]
    yield from _table(["", "seconds"], [*rows, ["all three at once", f"{session.regions.together:.2f}"]])


def _vault(session: Session) -> Iterator[str]:
    found = session.vault
    if found is None:
        return
    yield "## Reading Vault"
    yield ""
    yield f"{found.secrets:,} KV v2 secrets of one version in a live OpenBao on this machine, read in turns,"
    yield f"{found.in_flight} requests in flight. *hvac* asks for metadata and data of each secret, the plain"
    yield "clients for data only; Strongroom has both. Without a wire, client and server share the"
    yield "processors, and many in flight gain little; so all but hvac read it again through a link of"
    yield f"{WIRE * 1000:.0f} ms each way, as a Vault elsewhere has."
    yield ""
    head = ["", "requests/s", "requests a secret", "secrets/s", "requests/s through the link"]
    rows = [
        [
            way,
            f"{rate:,.0f}",
            f"{found.requests[way]:.3f}",
            f"{found.secret_rate(way):,.0f}",
            f"{found.far[way]:,.0f}" if way in found.far else "–",
        ]
        for way, rate in found.near.items()
    ]
    yield from _table(head, rows)
    yield "In secrets, without a wire and with all that is known of them, Strongroom reaches"
    yield f"{found.beside_hvac:.1f} × hvac."
    yield ""


def _finds(session: Session) -> Iterator[str]:
    found = session.finds
    if found is None:
        return
    yield "## Finding names"
    yield ""
    yield f"{found.backups} backups of {found.secrets:,} secrets on one target; one in a hundred changes from"
    yield f"one to the next. Their indexes of names have {found.index_mib:.0f} MiB. Manifests and indexes"
    yield "are real; the containers have the right size and no content, since none is opened."
    yield f"Peak memory of any process: {found.peak_mib:.0f} MiB."
    yield ""
    rows = [[f"`{words}`", f"{seconds:.2f}"] for words, seconds in found.seconds.items()]
    yield from _table(["", "seconds"], rows)


def _restores(session: Session) -> Iterator[str]:
    found = session.restores
    if found is None:
        return
    yield "## Restoring into Vault"
    yield ""
    yield "From submission to the end of the run, through Celery: planned, written with"
    yield "check-and-set, read back, and all compared with the backup once more. Server, broker, workers and"
    yield f"client share this machine, whose load was {found.load:.1f} before."
    yield ""
    rows = [
        [f"{size:,}", f"{seconds:.1f}", f"{size / seconds:,.0f}"] for size, seconds in found.seconds.items()
    ]
    yield from _table(["secrets", "seconds", "secrets/s"], rows)


def _machine(session: Session) -> Iterator[str]:
    yield from _table(["", ""], [[label, value] for label, value in session.machine.items()], text=2)
    yield from _table(["tool", "version"], [list(pair) for pair in session.versions.items()], text=2)


def _noise(session: Session) -> str:
    runs = [one for runs in session.results.runs.values() for one in runs]
    if not runs:
        return ""
    share = sum(one.others * one.seconds for one in runs) / sum(one.seconds for one in runs)
    return (
        f"In this session other work took {share:.0%} of the machine while these ran. "
        "Ratios are to be trusted more than seconds."
    )


def _parts(session: Session) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield f"Written by `make bench`: {session.secrets:,} made-up secrets of about 620 bytes, made"
    yield f"{session.generator}, as a tree of one file each and as one JSONL file."
    yield ""
    yield METHOD.format(repeat=session.repeat)
    yield _noise(session)
    yield ""
    yield "## The machine"
    yield ""
    yield from _machine(session)
    yield "## Bars"
    yield ""
    yield from _verdicts(session.verdicts)
    yield f"## {session.secrets:,} secrets"
    yield ""
    yield from _jobs(session.results)
    yield from _failed(session.results)
    yield from _memory(session)
    yield from _reads(session)
    yield from _pipeline(session)
    yield from _regions(session)
    yield from _vault(session)
    yield from _finds(session)
    yield from _restores(session)


def _excerpt(session: Session) -> Iterator[str]:
    yield from _machine(session)
    yield from _verdicts(verdict for verdict in session.verdicts if verdict.met is not None)
    yield from _pipeline(session)
    yield from _regions(session)
    yield from _vault(session)
    yield from _finds(session)
    yield from _restores(session)


def markdown(session: Session) -> str:
    """Return the whole document; of a session without the peers, what it measured."""
    parts = _parts if session.results.runs or session.results.failed else _excerpt
    return "\n".join(parts(session)).rstrip() + "\n"
