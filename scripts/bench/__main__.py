"""Run the benchmark and write what it found."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.bench import bars, find, pipeline, reads, regions, report, restores, rounds, vault
from scripts.bench.machine import describe
from scripts.bench.session import Memory, Session
from scripts.bench.tools import PASSPHRASE, TOOLS, Place, Tool, at_hand, base_env, jobs

GENERATOR = "STRONGROOM_BENCH_GENERATOR"
DOCUMENT = Path("scripts/bench/results/latest.md")


def make_data(out: Path, count: int, *, layout: str = "both") -> str:
    """Make the secrets in a process of its own; return what made them."""
    given = os.environ.get(GENERATOR)
    print(f"making {count:,} secrets", file=sys.stderr)
    if given and layout == "both":
        subprocess.run([sys.executable, given, str(out), str(count)], check=True, stdout=subprocess.DEVNULL)
        return f"by the generator that `{GENERATOR}` names"
    own = [sys.executable, "-m", "scripts.bench.gen", str(out), str(count), "--layout", layout]
    subprocess.run(own, check=True)
    return "by `scripts/bench/gen.py`"


def _some_name(jsonl: Path) -> str:
    """Return the name of a secret from the middle of the file."""
    with jsonl.open("rb") as handle:
        handle.seek(jsonl.stat().st_size // 2)
        handle.readline()
        return str(json.loads(handle.readline())["name"])


def make_place(root: Path, data: Path) -> Place:
    """Lay out a scratch folder for one series of measurements."""
    (root / "home").mkdir(parents=True, exist_ok=True)
    place = Place(data=data, scratch=root, one=_some_name(data / "secrets.jsonl"))
    place.passphrase_file.write_text(PASSPHRASE + "\n")
    place.passphrase_file.chmod(0o600)
    return place


def seal_rate() -> float | None:
    """Return GB/s of sealing alone, or ``None`` if it could not be measured."""
    command = [sys.executable, "-m", "scripts.bench.micro"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(json.loads(done.stdout)["seal_gb_per_second"]) if done.returncode == 0 else None


def _reads_of_one(place: Place, tools: dict[str, Tool], layout: str) -> reads.Reads | None:
    if "strongroom" not in tools:
        return None
    job = next(job for job in jobs() if (job.tool, job.job, job.layout) == ("strongroom", "one", layout))
    kept = next(
        job.keeps for job in jobs() if (job.tool, job.job, job.layout) == ("strongroom", "backup", layout)
    )
    env = base_env(place) | dict(tools["strongroom"].env(place))
    return reads.count(job.command(place), place.scratch / str(kept), env=env, scratch=place.scratch)


def _memory(scratch: Path, tools: dict[str, Tool], count: int) -> Memory:
    data = scratch / "many"
    make_data(data, count, layout="jsonl")
    place = make_place(scratch / "many-work", data)
    ours = {"strongroom": tools["strongroom"]}
    chosen = [job for job in jobs() if (job.tool, job.layout) == ("strongroom", "jsonl")]
    results = rounds.measure(chosen, ours, place, repeat=1)
    return Memory(secrets=count, results=results, reads=_reads_of_one(place, ours, "jsonl"))


def _compare(session: Session, place: Place, tools: dict[str, Tool], arguments: argparse.Namespace) -> None:
    chosen = [job for job in jobs() if not arguments.bars or bars.needs(job)]
    session.results = rounds.measure(chosen, tools, place, repeat=arguments.repeat)
    session.reads = _reads_of_one(place, tools, "tree")
    session.seal_rate = seal_rate()
    if arguments.many and "strongroom" in tools:
        session.memory = _memory(place.scratch, tools, arguments.many)


def run(arguments: argparse.Namespace, scratch: Path) -> Session:
    """Make the data, measure all that was asked for, and judge it."""
    versions = {tool.name: version for tool in TOOLS if (version := at_hand(tool))}
    tools = {tool.name: tool for tool in TOOLS if tool.name in versions}
    session = Session(
        secrets=arguments.secrets,
        repeat=arguments.repeat,
        generator="",
        machine=describe(scratch),
        versions=versions,
        results=rounds.Results(),
    )
    parts = _parts(arguments)
    if not parts <= {"vault", "find", "restores"}:
        session.generator = make_data(scratch / "data", arguments.secrets)
        _on_data(session, make_place(scratch / "work", scratch / "data"), tools, arguments)
    if "vault" in parts:
        session.vault = vault.measure(secrets=vault.SECRETS, repeat=arguments.repeat)
    if "find" in parts:
        session.finds = find.run(repeat=arguments.repeat, scratch=arguments.scratch)
    if "restores" in parts:
        session.restores = restores.measure(repeat=min(arguments.repeat, 3))
    session.verdicts = bars.judge(session)
    return session


def _on_data(session: Session, place: Place, tools: dict[str, Tool], arguments: argparse.Namespace) -> None:
    parts = _parts(arguments)
    if "peers" in parts:
        _compare(session, place, tools, arguments)
    if "pipeline" in parts:
        session.pipeline = pipeline.measure(place, repeat=arguments.repeat)
    if "regions" in parts:
        session.regions = regions.measure(place, repeat=arguments.repeat)


PARTS = {
    "peers": "what is compared with restic, borg and age",
    "pipeline": "the pipeline on Celery",
    "regions": "uploads to three S3 regions ('make live' first)",
    "vault": "reading 10,000 secrets of a live OpenBao",
    "find": "finding names in 100 backups of 1,000,000 secrets",
    "restores": "restoring 1, 1,000 and 10,000 secrets into a live OpenBao by Celery",
}


def _parts(arguments: argparse.Namespace) -> set[str]:
    """Return the parts that were asked for; all of them, if none was."""
    return {part for part in PARTS if getattr(arguments, part)} or set(PARTS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Measure beside restic, borg and age. Parts that are named are measured alone; "
        "without the peers the document is printed and not written.",
    )
    for part, what in PARTS.items():
        parser.add_argument(f"--{part}", action="store_true", help=f"measure {what}")
    parser.add_argument("--secrets", type=int, default=100_000, help="how many to compare with (%(default)s)")
    parser.add_argument(
        "--repeat", type=int, default=5, help="measured rounds after the warm-up (%(default)s)"
    )
    parser.add_argument(
        "--many", type=int, default=0, metavar="N", help="also measure our memory at N, say 1000000"
    )
    parser.add_argument("--bars", action="store_true", help="of the peers only what the bars compare")
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="where the document goes (%(default)s)")
    parser.add_argument(
        "--scratch", type=Path, help="a folder on the disk to measure (default: the temporary one)"
    )
    return parser.parse_args()


def main() -> int:
    if not sys.platform.startswith("linux"):
        print("The benchmark reads /proc, so it runs on Linux only.", file=sys.stderr)
        return 2
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-", dir=arguments.scratch) as scratch:
        session = run(arguments, Path(scratch))
    document = report.markdown(session)
    if "peers" in _parts(arguments):
        arguments.output.write_text(document)
    print(document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
