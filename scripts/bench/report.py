"""Turn what was measured into the pages that show it; ``make bench BENCH=--report`` does that alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from scripts.bench import bars, chart, rows
from scripts.bench.rows import US, Origin, Row, Session

PAGE = Path("scripts/bench/results/latest.md")
CHART = Path("docs/explanation/time-by-secrets.svg")
BLOCKS = {Path("README.md"): "peers", Path("docs/explanation/performance.md"): "bars"}
"""Pages with a part that is made from the results, between two marks."""
BEGIN, END = "<!-- from the results of make bench: {} -->", "<!-- end of the results -->"

HOW = """\
Each number is the median of whole processes, start-up, key derivation and exit included; *rounds* says
of how many. The tools take turns, so that a busy moment falls on all of them; *others* is the share of
the machine that everything else used meanwhile, the kernel's writing to disk included. *Processor s* are
user and system seconds of the process and its children. Memory is that of the largest single process,
children included.
"""
PARTS = {
    "peers": (
        "Beside other tools",
        """\
All are used their usual way: Strongroom sealed to a key pair, restic and borg with a passphrase,
age (with `tar` for the tree) with a key file. Restic and borg derive their key from the passphrase
at each start; *strongroom, passphrase* does too (scrypt, 128 MiB). Strongroom's backup times
contain reading back and opening what was written, the others' do not. Age and tar keep no index and
check no stored copy: *one secret* there reads everything, and so does every tool on JSONL but
Strongroom, since one file is all that the others see. Restores write files for the peers, and a
sealed local store and an undo file for Strongroom. What a bar names is measured most often. rustic
and kopia are in no package source of Debian, so they are not here.""",
    ),
    "million": ("The same with a million, in one file of JSON lines", ""),
    "targets": (
        "On a target",
        """\
Backups by a policy to a directory, sealed to a key pair, with an index of names; the second after
one secret in a hundred got another value. *One core* is the same command held to one.""",
    ),
    "first": (
        "The first second",
        """\
What a person waits for, on a machine with a configuration and one backup.""",
    ),
    "sizes": ("Few secrets", ""),
    "vault": (
        "Reading Vault",
        """\
KV v2 secrets in a live OpenBao on this machine. *hvac* asks for metadata and data of each secret,
the plain clients for data only; Strongroom has both. Client and server share the processors, so it
is read again through a link that takes its time, as a Vault elsewhere does.""",
    ),
    "restore": (
        "Restoring",
        """\
Through Celery where a cluster is named, from submission to the end: planned, written with check-
and-set, read back, and all compared with the backup once more. Server, broker, workers and client
share this machine.""",
    ),
    "celery": (
        "Through Celery",
        """\
To three targets, with a real Redis and PostgreSQL.""",
    ),
    "record": ("The run record", ""),
    "regions": (
        "Three regions",
        """\
One S3 server a region, each behind a link of 4 MB/s and 5, 50 or 100 ms: on one machine they share its
processors, and a backup to far regions waits for wires. Seconds from the first upload's start to
the last one's end, read back included.""",
    ),
    "rotation": (
        "Rotation",
        """\
A backup by a policy, opened and sealed anew under new keys, compared with the one before, and that one
removed. *One core* is the same command held to one.""",
    ),
    "find": (
        "Finding names",
        """\
Many backups on one target; one secret in a hundred changes from one to the next. Manifests and
indexes are real; the containers have the right size and no content, since none is opened. *Secrets*
counts those of all backups.""",
    ),
}


def sessions(folder: Path) -> list[Session]:
    """Return the sessions of a folder, one a seed."""
    files = sorted(folder.glob("seed-*.json"), key=lambda file: int(file.stem.partition("-")[2]))
    return [rows.read(file) for file in files]


def write_pages(root: Path) -> None:
    """Write the report, the chart, and the parts of other pages that are made from the results."""
    for file, text in pages(root).items():
        file.write_text(text)


def pages(root: Path) -> dict[Path, str]:
    """Return every page that is made from the results, as it has to be."""
    found = sessions(root / PAGE.parent)
    made = {root / PAGE: markdown(found), root / CHART: chart.svg(found[0])}
    made_of = {"peers": lambda: _beside(found[0]), "bars": lambda: _bars(found)}
    for page, name in BLOCKS.items():
        before, begin, rest = (root / page).read_text().partition(BEGIN.format(name))
        _, end, after = rest.partition(END)
        block = "\n".join(made_of[name]()).strip()
        made[root / page] = f"{before}{begin}\n\n{block}\n\n{end}{after}"
    return made


def markdown(found: Sequence[Session]) -> str:
    """Return the whole report: the bars of every session, and the tables of the first."""
    return "\n".join(_document(found)).rstrip() + "\n"


def _document(found: Sequence[Session]) -> Iterator[str]:
    first = found[0]
    yield "# Benchmarks"
    yield ""
    yield "Written by `make bench`. Nobody else publishes secrets a second; here they are, with all that it"
    yield "takes to repeat them. The same numbers for programs are in the JSON files beside this page."
    yield ""
    yield HOW
    yield "## The runs"
    yield ""
    yield from _runs(found)
    yield "## Bars"
    yield ""
    yield "A multiple is of two medians in the same run; what misses its bar says so."
    yield ""
    yield from _bars(found)
    yield f"The tables below are of seed {first.seed}."
    yield ""
    for part, (title, said) in PARTS.items():
        measured = list(first.of(part))
        if measured:
            yield f"## {title}"
            yield ""
            if said:
                yield said
                yield ""
            yield from _part(measured)
    yield from _failures(found)


def _table(head: Iterable[str], lines: Iterable[Iterable[str]], *, text: int = 1) -> Iterator[str]:
    """Yield a table whose first ``text`` columns are words and whose others are numbers."""
    columns = list(head)
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "|".join(" --- " if at < text else " ---: " for at in range(len(columns))) + "|"
    for line in lines:
        yield "| " + " | ".join(line) + " |"
    yield ""


def _runs(found: Sequence[Session]) -> Iterator[str]:
    for session in found:
        busy = [one for row in session.rows for one in row.rounds if one.others is not None]
        spent = sum(one.seconds for one in busy) or 1.0
        share = sum((one.others or 0.0) * one.seconds for one in busy) / spent
        facts = {
            "Begun": session.began,
            **session.machine,
            "Other work": f"took {share:.0%} of the machine while the processes ran",
            "Versions": ", ".join(" ".join(pair) for pair in session.versions.items()),
            "Parts, s": ", ".join(f"{part} {took:.0f}" for part, took in session.took.items()),
            **{f"Measured apart: {part}": _apart(origin, session) for part, origin in session.apart.items()},
        }
        yield from _table([f"seed {session.seed}", ""], (list(pair) for pair in facts.items()), text=2)


def _apart(origin: Origin, session: Session) -> str:
    """Say when a part was measured, and what was otherwise then. The load is otherwise each time."""
    before = session.machine | session.versions
    changed = {
        name: fact
        for name, fact in {**origin.machine, **origin.versions}.items()
        if before.get(name) != fact or name == "Load before"
    }
    return ", ".join([origin.began, *(f"{name} {fact}" for name, fact in changed.items())])


def _bars(found: Sequence[Session]) -> Iterator[str]:
    judged = [bars.judge(session) for session in found]
    head = ["what", "bar", *(f"seed {session.seed}" for session in found)]
    lines = [
        [*verdicts[0].bar.texts(found[0]), *(verdict.text for verdict in verdicts)]
        for verdicts in zip(*judged, strict=True)
    ]
    yield from _table(head, lines)


# -- the tables of one session: a column is there if a row has something to say in it -------

Cell = Callable[[Row], str]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _precise(seconds: float) -> str:
    return f"{seconds:.3f}" if seconds < 1 else f"{seconds:.2f}"


def _spread(row: Row) -> str:
    if len(row.rounds) < 2:
        return ""
    low, high = row.range
    return f"{_precise(low)} – {_precise(high)}"


def _columns(measured: Sequence[Row]) -> dict[str, Cell]:
    ours = {(row.what, row.layout, row.secrets): row for row in measured if row.who == US}

    def beside(number: Callable[[Row], float | None]) -> Cell:
        def cell(row: Row) -> str:
            own = ours.get((row.what, row.layout, row.secrets))
            if own is None or own is row:
                return ""
            mine, theirs = number(own), number(row)
            return f"{mine / theirs:.2f} ×" if mine and theirs else ""

        return cell

    return {
        "what": lambda row: row.what,
        "who": lambda row: " ".join(filter(None, (row.who, row.layout))),
        "secrets": lambda row: _number(row.secrets or None, ","),
        "rounds": lambda row: str(len(row.rounds)),
        "median s": lambda row: _precise(row.seconds),
        "range s": _spread,
        "secrets/s": lambda row: f"{row.rate:,.0f}" if row.secrets and row.what != "one secret" else "",
        "Strongroom / it": beside(lambda row: row.seconds),
        "processor s": lambda row: _number(row.median("cpu_seconds"), ".2f"),
        "Strongroom / it, processor": beside(lambda row: row.median("cpu_seconds")),
        "peak MiB": lambda row: _number(row.peak_mib, ".0f"),
        "stored MB": lambda row: _number(row.stored_bytes and row.stored_bytes / 1e6, ".1f"),
        "others": lambda row: _number(row.median("others"), ".0%"),
    }


def _part(measured: Sequence[Row]) -> Iterator[str]:
    columns = {
        name: cell
        for name, cell in _columns(measured).items()
        if name in ("what", "who") or any(cell(row) for row in measured)
    }
    ordered = sorted(measured, key=lambda row: [other.what for other in measured].index(row.what))
    yield from _table(columns, ([cell(row) for cell in columns.values()] for row in ordered), text=2)
    yield from _facts([row for row in ordered if row.facts])


def _facts(measured: Sequence[Row]) -> Iterator[str]:
    """The further numbers: a line for each of them where few rows have any, or else a line for each row."""
    names = list(dict.fromkeys(name for row in measured for name in row.facts))
    labels = [", ".join(filter(None, (row.what, row.who * (row.who != US), row.layout))) for row in measured]
    cells = {name: [_number(row.fact(name), ",.6g") for row in measured] for name in names}
    if len(measured) <= 3 and measured:
        yield from _table(["further", *labels], ([name, *found] for name, found in cells.items()))
    elif measured:
        lines = zip(labels, (f"{row.secrets:,}" for row in measured), *cells.values(), strict=True)
        yield from _table(["further", "secrets", *names], lines)


def _beside(session: Session) -> Iterator[str]:
    """The table of the README: our seconds and theirs at the two sizes."""
    tools = [tool for tool in chart.WHO if any(row.who == tool for row in session.of("peers"))]
    wanted = [("tree", session.secrets), ("jsonl", session.many)]
    lines = []
    for layout, secrets in wanted:
        for job, title in chart.TITLES.items():
            own = session.row(job, layout=layout, secrets=secrets)
            if own is None:
                continue
            found = [session.row(job, tool, layout=layout, secrets=secrets) for tool in tools]
            kind = "files" if layout == "tree" else "lines"
            rate = f"{own.rate:,.0f}" if job != "one secret" else ""
            times = [f"{row.seconds:.2f}" if row else "" for row in found]
            lines.append([f"{title}, {secrets:,} {kind}", *times, rate])
    yield from _table(["seconds", *(chart.WHO[tool] for tool in tools), "secrets/s"], lines)


def _failures(found: Sequence[Session]) -> Iterator[str]:
    if any(session.failed for session in found):
        yield "## Not measured"
        yield ""
    for session in found:
        for failure in session.failed:
            why = " ".join(failure.why.split())
            yield f"- seed {session.seed}, {failure.part}: {failure.what}: {why}"
