"""The benchmark: what it runs, what it keeps, and that its pages say what was measured and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from scripts.bench import bars, chart, gen, measure, ours, peers, report, rows
from scripts.bench.__main__ import LONG, PARTS, argument_parser, begin, note, parts_of
from scripts.bench.link import Link
from scripts.bench.rows import Journal, Measured, Row, Session
from scripts.bench.tools import TOOLS, Job, Place, Tool, at_hand, jobs
from tests.patience import PATIENCE

ENV = {"PATH": os.environ["PATH"]}
ROOT = Path(__file__).parents[2]


def row(what: str, who: str = "strongroom", *, layout: str = "tree", secrets: int = 1000, took: float) -> Row:
    one = Measured(seconds=took, cpu_seconds=took, peak_mib=100.0, others=0.0)
    part = "peers" if secrets == 1000 else "million"
    return Row(part=part, what=what, who=who, layout=layout, secrets=secrets, peak_mib=100.0, rounds=[one])


def session(*measured: Row) -> Session:
    return Session(seed=1, secrets=1000, many=10_000, began="today", rows=list(measured))


def verdict(found: Session, what: str) -> bars.Verdict:
    return next(one for one in bars.judge(found) if one.bar.what == what)


def test_the_same_seed_makes_the_same_secrets() -> None:
    assert list(gen.lines(7, range(50))) == list(gen.lines(7, range(50)))
    assert list(gen.lines(7, range(50))) != list(gen.lines(8, range(50)))


def test_secrets_are_about_620_bytes_and_no_two_share_a_name() -> None:
    made = list(gen.lines(1, range(2000)))
    assert len({name for name, _ in made}) == 2000
    assert 600 < sum(len(line) for _, line in made) / len(made) < 640


def test_both_layouts_hold_the_same_secrets_however_many_processes_made_them(tmp_path: Path) -> None:
    gen.write(tmp_path, 100, seed=1, layout="both")
    written = (tmp_path / "secrets.jsonl").read_bytes().splitlines(keepends=True)
    assert written == [line for _, line in gen.lines(1, range(100))]
    assert {file.read_bytes() for file in (tmp_path / "tree").rglob("*.json")} == set(written)


def test_memory_is_that_of_the_largest_process_even_one_that_nobody_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(gate := tmp_path / "gate")
    big = "held = bytearray(120 << 20); print(1, flush=True); input()"
    launch = (
        "import os, select, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {big!r}], stdin=-1, stdout=-1)\n"
        f"child.stdout.readline(); gate = os.open({str(gate)!r}, os.O_RDONLY | os.O_NONBLOCK)\n"
        f"select.select([gate], [], [], {PATIENCE})"
    )
    look = measure._high_water_kib

    def lets_it_end(process: Path) -> int:
        found = look(process)
        if found > 120 << 10 and gate.exists():
            gate.open("wb").close()
            gate.unlink()
        return found

    monkeypatch.setattr(measure, "_high_water_kib", lets_it_end)
    assert (measure.run([sys.executable, "-c", launch], env=ENV).peak_mib or 0) > 120


def test_the_time_is_the_whole_process() -> None:
    took = measure.run([sys.executable, "-c", "import time; time.sleep(0.2)"], env=ENV).seconds
    assert took >= 0.2


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(measure.CommandFailed, match="ended with 3: said why"):
        measure.run(
            [sys.executable, "-c", "import sys; print('said why', file=sys.stderr); sys.exit(3)"], env=ENV
        )


def test_a_command_that_does_not_show_the_secret_is_no_measurement(tmp_path: Path) -> None:
    tool = Tool(name="liar", version=("true",))
    job = Job(
        job="one secret", tool="liar", layout="tree", command=lambda place: ["echo", "other"], shows=True
    )
    with pytest.raises(measure.CommandFailed, match="did not show"):
        peers.measure_once(job, tool, Place(data=tmp_path, scratch=tmp_path, one="a/b"), memory=False)


def test_reads_are_counted_as_the_kernel_returned_them() -> None:
    trace = '7 read(3, "ab"..., 4096) = 100\n7 pread64(3, "cd"..., 924, 3) = 924\n8 read(3, "", 9) = 0\n'
    assert measure.reads_in(trace) == {"reads": 2, "KiB read": 1.0}
    assert measure.reads_in(trace + "8 mmap(NULL, 9, 1, 1, 3, 0) = 0x7f\n") is None


def test_a_link_carries_both_ways_at_its_rate_and_after_its_delay() -> None:
    link = Link(upstream=0, rate=1000.0, delay=0.5, monotonic=lambda: 7.0)

    assert link._turn(100) == pytest.approx(7.6)
    assert link._turn(100) == pytest.approx(7.7)


# -- what is kept ---------------------------------------------------------------------------


def test_what_was_measured_is_in_the_file_as_soon_as_it_is_measured(tmp_path: Path) -> None:
    journal = Journal(session(), tmp_path / "seed-1.json")
    key = Row(part="peers", what="backup", secrets=1000)

    journal.add(key, Measured(seconds=9.0, peak_mib=200.0), warm_up=True)
    assert rows.read(tmp_path / "seed-1.json").rows[0].rounds == []
    for took in (1.0, 3.0, 2.0):
        journal.add(msgspec.structs.replace(key), Measured(seconds=took, peak_mib=100.0), facts={"n": took})

    (kept,) = rows.read(tmp_path / "seed-1.json").rows
    assert (kept.seconds, kept.range, kept.rate, kept.fact("n")) == (2.0, (1.0, 3.0), 500.0, 2.0)
    assert kept.peak_mib == 200.0


def test_a_line_of_a_program_is_a_row_and_anything_else_is_passed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(session(), tmp_path / "seed-1.json")
    line = {"what": "restore", "who": "strongroom", "secrets": 10, "seconds": 2.0, "facts": {"requests": 3}}

    for printed in (json.dumps(line), json.dumps(line | {"seconds": 4.0}), "no row\n", '{"what": "half"}\n'):
        note(journal, "restore", printed)

    (kept,) = journal.session.rows
    assert (kept.seconds, kept.secrets, kept.fact("requests")) == (3.0, 10, 3)
    assert "no row" in capsys.readouterr().err


def test_a_part_measured_later_stands_beside_the_others_and_says_when_it_was(tmp_path: Path) -> None:
    file = tmp_path / "seed-1.json"
    before = session(row("backup", took=1.0), row("backup", secrets=10_000, took=9.0))
    before.rows.append(Row(part="targets", what="find", rounds=[Measured(seconds=1.0)]))
    before.failed = [rows.Failure(part="million", what="restore", why="no room")]
    before.took = {"peers": 5.0, "million": 50.0}
    Journal(before, file)
    given = argument_parser().parse_args(["--million", "--merge", "--secrets=1000", "--many=10000"])

    merged = begin(given, file, {"restic": "2.0"}, tmp_path)
    assert [kept.part for kept in merged.rows] == ["peers"]
    assert (merged.began, merged.took, merged.failed) == ("today", {"peers": 5.0}, [])
    assert list(merged.apart) == ["million"]
    assert f"| Measured apart: million | {merged.apart['million'].began}, " in report.markdown([merged])

    given.merge = False
    assert begin(given, file, {}, tmp_path).rows == []
    given.merge, given.many = True, 20_000
    with pytest.raises(SystemExit, match="other numbers of secrets"):
        begin(given, file, {}, tmp_path)


def test_all_parts_are_those_that_end_soon_and_a_long_one_is_measured_by_its_name() -> None:
    chosen = {words: parts_of(argument_parser().parse_args(words.split())) for words in ("--all", "--record")}
    assert chosen == {"--all": [part for part in PARTS if part not in LONG], "--record": ["record"]}


def test_no_round_begins_after_the_time_that_a_comparison_has(tmp_path: Path) -> None:
    gen.write(tmp_path / "data", 10, seed=1, layout="jsonl")
    journal = Journal(session(), tmp_path / "seed-1.json")
    place = peers.make_place(tmp_path / "work", tmp_path / "data")
    peers.compare(
        journal,
        place,
        {"strongroom": TOOLS[0]},
        part="peers",
        secrets=10,
        layouts=["jsonl"],
        rounds=lambda job: 3,
        warm_up=False,
        until=0.0,
    )
    assert {len(measured.rounds) for measured in journal.session.rows} == {1}


def test_a_part_that_fails_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Without tools, what is measured beside others fails at once; what comes after it is measured."""
    command = [sys.executable, "-m", "scripts.bench", "--small", "--peers", "--find", f"--results={tmp_path}"]
    bare = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(command, env=bare, cwd=ROOT, capture_output=True, text=True, check=False)

    kept = rows.read(tmp_path / "seed-1.json")
    assert done.returncode == 0, done.stderr
    assert [failure.part for failure in kept.failed] == ["peers", "find"]
    assert set(kept.took) == {"peers", "find"}
    assert "## Not measured" in done.stdout


# -- what is said of it ---------------------------------------------------------------------


def test_a_bar_is_met_at_its_ratio_and_missed_above_it() -> None:
    peer = row("backup", "restic", took=10.0)
    met = verdict(session(row("backup", took=4.0), peer), "backup of a tree, read back")
    missed = verdict(session(row("backup", took=4.1), peer), "backup of a tree, read back")
    assert (met.met, met.text) == (True, "0.40 ×")
    assert (missed.met, missed.text) == (False, "0.41 × **missed**")


def test_a_bar_without_its_peer_is_neither_met_nor_missed() -> None:
    alone = verdict(session(row("backup", took=1.0)), "backup of a tree, read back")
    assert (alone.met, alone.text) == (None, "not measured")


def test_the_cost_of_a_secret_is_held_against_that_of_a_tenth_of_them() -> None:
    few = row("backup", layout="jsonl", took=1.0)
    many = row("backup", layout="jsonl", secrets=10_000, took=12.0)
    found = verdict(session(few, many), "cost a secret at {many:,}: backup")
    assert found.text == "1.20 × **missed**"
    texts = ("cost a secret at 10,000: backup", "at most 1.1 × that of 1,000")
    assert found.bar.texts(session()) == texts


def test_three_regions_are_held_against_the_slowest_one_alone() -> None:
    def measured(who: str, took: float) -> Row:
        return Row(part="regions", what="upload to a region", who=who, rounds=[Measured(seconds=took)])

    found = session(measured("eu", 4.0), measured("us", 5.0), measured("all three at once", 6.0))
    assert verdict(found, "upload to three regions").reached == pytest.approx(1.2)


def test_every_bar_reads_from_rows_that_are_not_there() -> None:
    assert all(one.met is None for one in bars.judge(session()))


def test_the_report_has_ratios_rates_ranges_and_misses() -> None:
    own = row("backup", took=3.0)
    own.rounds.append(Measured(seconds=5.0, cpu_seconds=3.0))
    text = report.markdown([session(own, row("backup", "restic", took=2.0))])
    assert "2.00 ×" in text
    assert "3.00 – 5.00" in text
    assert "| 250 |" in text
    assert "**missed**" in text


def test_the_chart_has_a_mark_for_each_number_and_moves_with_it() -> None:
    found = session(
        *(
            row("backup", who, secrets=n, took=n / 1000)
            for who in ("strongroom", "restic")
            for n in (1000, 10_000)
        )
    )
    drawn = chart.svg(found)
    assert ET.fromstring(drawn).tag.endswith("svg")
    # Of each tool one mark is in the legend, and two are numbers.
    assert len(re.findall(r'<circle class="strongroom"', drawn)) == 3
    assert len(re.findall(r'<rect class="restic"', drawn)) == 3
    found.rows[0].rounds = [Measured(seconds=2.5)]
    assert chart.svg(found) != drawn


def test_a_power_of_ten_is_as_far_from_the_next_as_that_from_the_one_after() -> None:
    scale = chart.Scale.over([2.0, 500.0], start=10.0, length=30.0)
    assert [scale.at(power) for power in scale.powers()] == pytest.approx([10.0, 20.0, 30.0, 40.0])


def test_the_pages_are_what_the_results_say() -> None:
    """No number in the report, the chart, the README or the page on performance is written by hand."""
    for file, text in report.pages(ROOT).items():
        assert file.read_text() == text, f"{file}: make bench BENCH=--report writes it anew"


# -- that it works --------------------------------------------------------------------------


@pytest.mark.platform
def test_every_tool_does_what_the_table_says(tmp_path: Path) -> None:
    """With ten secrets, Strongroom and each installed peer run each of their jobs."""
    tools = {tool.name: tool for tool in TOOLS if at_hand(tool)}
    gen.write(tmp_path / "data", 10, seed=1, layout="both")
    journal = Journal(session(), tmp_path / "seed-1.json")
    place = peers.make_place(tmp_path / "work", tmp_path / "data")
    peers.compare(journal, place, tools, part="peers", secrets=10, rounds=lambda job: 1, warm_up=False)
    assert journal.session.failed == []
    assert len(journal.session.rows) == sum(job.tool in tools for job in jobs())


def test_work_on_a_target_is_measured_on_one_core_and_on_all(tmp_path: Path) -> None:
    gen.write(tmp_path / "data", 200, seed=1, layout="jsonl")
    journal = Journal(session(), tmp_path / "seed-1.json")
    ours.on_targets(journal, peers.make_place(tmp_path / "work", tmp_path / "data"), secrets=200, rounds=1)
    assert journal.session.failed == []
    assert {row.what for row in journal.session.rows if row.who == ours.ONE_CORE} == {
        ours.VERIFY,
        ours.FIND_EACH,
        ours.DIFF,
    }


def test_a_rotation_is_measured_on_one_core_and_on_all(tmp_path: Path) -> None:
    gen.write(tmp_path / "data", 20, seed=1, layout="jsonl")
    journal = Journal(session(), tmp_path / "seed-1.json")
    ours.rotation(journal, peers.make_place(tmp_path / "work", tmp_path / "data"), secrets=20, rounds=1)
    assert [(measured.who, len(measured.rounds)) for measured in journal.session.rows] == [
        ("strongroom", 1),
        (ours.ONE_CORE, 1),
    ]


@pytest.mark.parametrize(
    "program", ["find", pytest.param("regions", marks=pytest.mark.long)], ids=lambda program: program
)
def test_a_part_that_is_a_program_prints_rows(program: str, tmp_path: Path) -> None:
    env = ENV | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", f"scripts.bench.{program}", "--small", "--seed", "2"]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    journal = Journal(session(), tmp_path / "seed-1.json")
    for line in done.stdout.splitlines(keepends=True):
        note(journal, program, line)
    assert len(journal.session.rows) == 4
    assert all(row.seconds > 0 for row in journal.session.rows)
