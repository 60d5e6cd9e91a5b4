"""Run the benchmark, and write what it found as it finds it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from scripts.bench import measure, ours, peers, report, rows
from scripts.bench.rows import JSONL, US, Journal, Measured, Origin, Row, Session
from scripts.bench.tools import TOOLS, WITH_PASSPHRASE, Job, Place, Tool, at_hand

RESULTS, ELSEWHERE = Path("scripts/bench/results"), Path("build/bench")
SECRETS, MANY, SIZES = 100_000, 1_000_000, (1_000, 10_000)
SMALL_SECRETS, SMALL_MANY, SMALL_SIZES = 100, 200, (50,)
PARTS: Mapping[str, str] = {
    "peers": "each job beside restic, borg and age, as a tree and as one file",
    "first": "the commands that a person waits for",
    "million": "the same jobs at 1,000,000, and what lies on a target at both sizes",
    "sizes": "the same jobs at 1,000 and 10,000, for the chart",
    "vault": "reading a live OpenBao",
    "restore": "restoring into a live OpenBao",
    "celery": "1,000,000 secrets through Celery to three targets",
    "record": "the run record with thousands of runs, and years of them",
    "regions": "uploads to three S3 regions",
    "find": "names in 30 backups of 1,000,000 secrets",
    "rotation": "a backup sealed anew, on one core and on all",
}
LONG = ("million", "celery", "record")
"""Parts that take longer than all others together: each is measured if its name is said."""
PATIENCE, LONG_PATIENCE = 300.0, 1_800.0
BUDGET, LONG_BUDGET = 420.0, 900.0
"""Seconds after which no further round of a comparison begins, so that a slow machine ends too."""
PROGRAMS = {
    "vault": "vault",
    "restore": "restores",
    "celery": "celery",
    "record": "record",
    "regions": "regions",
    "find": "find",
}
"""Parts that are programs of their own: each prints a row a line as soon as it is measured."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the parts share."""

    journal: Journal
    scratch: Path
    tools: Mapping[str, Tool]
    rounds: int
    small: bool

    @property
    def session(self) -> Session:
        return self.journal.session

    def place(self, secrets: int, layout: str, *, name: str = "") -> Place:
        """Return a scratch folder with so many secrets, which are made if they are not there."""
        data = self.scratch / f"data-{secrets}"
        if not data.exists():
            peers.make_data(data, secrets, seed=self.session.seed, layout=layout)
        return peers.make_place(self.scratch / f"work-{secrets}{name}", data)

    def peers(self) -> None:
        secrets = self.session.secrets
        place = self.place(secrets, "both")
        self._compare(place, "peers", secrets, warm_up=True)
        self._count_reads(place, "peers", secrets)

    def first(self) -> None:
        place = self.place(1_000 if not self.small else 50, "both", name="-first")
        ours.first_second(self.journal, place, rounds=2 if self.small else 10)

    def rotation(self) -> None:
        secrets = self.session.secrets
        ours.rotation(
            self.journal,
            self.place(secrets, "both", name="-rotation"),
            secrets=secrets,
            rounds=1 if self.small else 2,
        )

    def million(self) -> None:
        many = self.session.many
        place = self.place(many, JSONL)
        self._compare(
            place, "million", many, layouts=(JSONL,), rounds=lambda job: 1 if job.job == "restore" else 3
        )
        self._count_reads(place, "million", many)
        for secrets in (self.session.secrets, many):
            at = self.place(secrets, "both" if secrets != many else JSONL, name="-target")
            ours.on_targets(self.journal, at, secrets=secrets, rounds=1 if self.small else 2)

    def sizes(self) -> None:
        for secrets in SMALL_SIZES if self.small else SIZES:
            self._compare(self.place(secrets, "both"), "sizes", secrets, rounds=lambda job: 2)

    def _compare(
        self,
        place: Place,
        part: str,
        secrets: int,
        *,
        layouts: tuple[str, ...] = ("tree", "jsonl"),
        rounds: Callable[[Job], int] | None = None,
        warm_up: bool = False,
    ) -> None:
        most = self.rounds
        peers.compare(
            self.journal,
            place,
            self.tools,
            part=part,
            secrets=secrets,
            layouts=layouts,
            rounds=lambda job: min(most, (rounds or (lambda job: peers.rounds_of(job, most=most)))(job)),
            warm_up=warm_up,
            until=time.monotonic() + (LONG_BUDGET if part in LONG else BUDGET),
        )

    def _count_reads(self, place: Place, part: str, secrets: int) -> None:
        peers.count_reads(self.journal, place, self.tools[US], part=part, layout=JSONL, secrets=secrets)

    def program(self, part: str) -> None:
        """Run a part that is a program of its own, and note its rows as they come."""
        home = self.scratch / part
        home.mkdir()
        words = [PROGRAMS[part], "--seed", str(self.session.seed), *(["--small"] if self.small else [])]
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "LC_ALL": "C.UTF-8"}
        command = [sys.executable, "-m", f"scripts.bench.{words[0]}", *words[1:]]
        with (home / "errors").open("wb") as errors:
            program = subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
            # One that hangs must not keep the parts after it from being measured.
            most = LONG_PATIENCE if part in LONG else PATIENCE
            patience = threading.Timer(most, os.killpg, (program.pid, signal.SIGKILL))
            patience.start()
            try:
                for line in program.stdout or ():
                    note(self.journal, part, line)
                code = program.wait()
            finally:
                patience.cancel()
        if code:
            said = (home / "errors").read_text(errors="replace")[-400:]
            raise RuntimeError(f"it was ended after {most:.0f} s" if code < 0 else said)


def note(journal: Journal, part: str, line: str) -> None:
    """Note a line that a program printed; what is no row is passed on."""
    try:
        found = json.loads(line)
        row = Row(
            part=part,
            what=found["what"],
            who=found.get("who", US),
            layout=found.get("layout", ""),
            secrets=found.get("secrets", 0),
        )
        measured = msgspec.convert(found, Measured)
    except (ValueError, KeyError, TypeError, msgspec.ValidationError):
        print(line, end="", file=sys.stderr)
        return
    journal.add(row, measured, facts=found.get("facts"))


def begin(arguments: argparse.Namespace, file: Path, versions: Mapping[str, str], scratch: Path) -> Session:
    """Return the session that grows: a new one, or with ``--merge`` the one that the file has."""
    session = Session(
        seed=arguments.seed,
        secrets=SMALL_SECRETS if arguments.small else arguments.secrets,
        many=SMALL_MANY if arguments.small else arguments.many,
        began=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=measure.machine(scratch),
        versions={name: version for name, version in versions.items() if name != WITH_PASSPHRASE},
    )
    if not arguments.merge or not file.exists():
        return session
    known = rows.read(file)
    if (known.secrets, known.many) != (session.secrets, session.many):
        raise SystemExit(f"{file} has other numbers of secrets: {known.secrets:,} and {known.many:,}.")
    origin = Origin(began=session.began, machine=session.machine, versions=session.versions)
    for part in parts_of(arguments):
        known.forget(part)
        known.apart[part] = origin
    return known


def parts_of(arguments: argparse.Namespace) -> list[str]:
    """Return the parts that were asked for."""
    return [part for part in PARTS if getattr(arguments, part) or (arguments.all and part not in LONG)]


def run(arguments: argparse.Namespace, file: Path, scratch: Path) -> Session:
    """Measure all that was asked for; a part that fails is named, and the rest goes on."""
    versions = {tool.name: version for tool in TOOLS if (version := at_hand(tool))}
    session = begin(arguments, file, versions, scratch)
    bench = Bench(
        journal=Journal(session, file),
        scratch=scratch,
        tools={tool.name: tool for tool in TOOLS if tool.name in versions},
        rounds=1 if arguments.small else arguments.rounds,
        small=arguments.small,
    )
    for part in parts_of(arguments):
        began = time.monotonic()
        print(f"== {part}: {PARTS[part]}", file=sys.stderr)
        try:
            bench.program(part) if part in PROGRAMS else getattr(bench, part)()
        except (Exception, SystemExit) as problem:  # noqa: BLE001 - what was measured before has to stand
            bench.journal.failed(part, "the part", problem)
            print(f"  {part}: {problem}", file=sys.stderr)
        session.took[part] = round(time.monotonic() - began, 1)
        bench.journal.write()
    return session


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Measure Strongroom beside restic, borg and age. With --all the results are written into "
        f"{RESULTS} and into the pages that show them; parts alone go to {ELSEWHERE}, or with --merge beside "
        "what the results of that seed have of the other parts.",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"measure all parts but the long ones ({', '.join(LONG)}); about 15 minutes",
    )
    for part, what in PARTS.items():
        parser.add_argument(f"--{part}", action="store_true", help=f"measure {what}")
    parser.add_argument(
        "--merge", action="store_true", help="keep what the results have of parts that are not measured now"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the made-up secrets (%(default)s)")
    parser.add_argument("--secrets", type=int, default=SECRETS, help="the smaller size (%(default)s)")
    parser.add_argument("--many", type=int, default=MANY, help="the larger size (%(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=4, help="at most so many, after a warm-up (%(default)s)"
    )
    parser.add_argument("--small", action="store_true", help="few secrets, to see that it works")
    parser.add_argument("--results", type=Path, help="where the results go")
    parser.add_argument("--scratch", type=Path, help="a folder on the disk to measure")
    parser.add_argument("--report", action="store_true", help="measure nothing: write the pages anew")
    return parser


def main() -> int:
    if not sys.platform.startswith("linux"):
        print("The benchmark reads /proc, so it runs on Linux only.", file=sys.stderr)
        return 2
    arguments = argument_parser().parse_args()
    arguments.all = arguments.all or not any(getattr(arguments, part) for part in (*PARTS, "report"))
    for_pages = (arguments.all or arguments.merge) and not arguments.small
    results = arguments.results or (RESULTS if for_pages or arguments.report else ELSEWHERE)
    if arguments.report:
        found = report.sessions(results)
    else:
        with tempfile.TemporaryDirectory(prefix="strongroom-bench-", dir=arguments.scratch) as scratch:
            # PostgreSQL runs as another user, and has to reach its folder below.
            Path(scratch).chmod(0o711)
            found = [run(arguments, results / f"seed-{arguments.seed}.json", Path(scratch))]
    if results == RESULTS:
        report.write_pages(Path())
    print(report.markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
