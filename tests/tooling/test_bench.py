from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from scripts.bench import bars, find, gen, measure, reads, report, restores, rounds, vault
from scripts.bench.link import Link
from scripts.bench.regions import RegionRun
from scripts.bench.restores import RestoreTimes
from scripts.bench.session import Session
from scripts.bench.tools import TOOLS, Job, Place, Tool, jobs
from scripts.bench.vault import HVAC, OURS, POOLED, SINGLE, VaultReads

ENV = {"PATH": os.environ["PATH"]}


def session(results: rounds.Results) -> Session:
    return Session(
        secrets=1000, repeat=5, generator="by hand", machine={"Python": "3"}, versions={}, results=results
    )


def results(**seconds: float) -> rounds.Results:
    """Results of the tree's backup, one run for each tool."""
    found = rounds.Results()
    for tool, took in seconds.items():
        job = next(job for job in jobs() if (job.tool, job.job, job.layout) == (tool, "backup", "tree"))
        found.runs[job] = [measure.Measured(seconds=took, cpu_seconds=took, peak_mib=100, others=0.0)]
        found.peaks[job] = 100.0
    return found


def verdict(found: rounds.Results) -> bars.Verdict:
    return next(
        v for v in bars.judge(session(found)) if v.what.startswith("full encrypted backup of the tree")
    )


def test_the_same_seed_makes_the_same_secrets() -> None:
    assert list(gen.lines(7, 50)) == list(gen.lines(7, 50))
    assert list(gen.lines(7, 50)) != list(gen.lines(8, 50))


def test_secrets_are_about_620_bytes_and_no_two_share_a_name() -> None:
    made = list(gen.lines(1, 2000))
    assert len({name for name, _ in made}) == 2000
    assert 600 < sum(len(line) for _, line in made) / len(made) < 640


def test_both_layouts_hold_the_same_secrets(tmp_path: Path) -> None:
    gen.write(tmp_path, 100, seed=1, layout="both")
    from_tree = {file.read_bytes() for file in (tmp_path / "tree").rglob("*.json")}
    assert from_tree == set((tmp_path / "secrets.jsonl").read_bytes().splitlines(keepends=True))


def test_memory_is_that_of_the_largest_process_even_one_that_nobody_waited_for() -> None:
    big = "import time; held = bytearray(120 << 20); time.sleep(0.4)"
    launch = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {big!r}]); time.sleep(0.5)"
    )
    assert measure.run([sys.executable, "-c", launch], env=ENV).peak_mib > 120


def test_the_time_is_the_whole_process() -> None:
    took = measure.run([sys.executable, "-c", "import time; time.sleep(0.2)"], env=ENV).seconds
    assert 0.2 < took < 5


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(measure.CommandFailed, match="ended with 3: said why"):
        measure.run(
            [sys.executable, "-c", "import sys; print('said why', file=sys.stderr); sys.exit(3)"], env=ENV
        )


def test_a_command_that_does_not_show_the_secret_is_no_measurement(tmp_path: Path) -> None:
    tool = Tool(name="liar", version=("true",))
    job = Job(
        job="one", tool="liar", layout="tree", command=lambda place: ["echo", "something else"], shows=True
    )
    with pytest.raises(measure.CommandFailed, match="did not show"):
        rounds.measure_once(job, tool, Place(data=tmp_path, scratch=tmp_path, one="a/b"), memory=False)


def test_a_bar_is_met_at_its_ratio_and_missed_above_it() -> None:
    assert verdict(results(strongroom=1.0, restic=2.0)).met is True
    assert verdict(results(strongroom=1.1, restic=2.0)).met is False


def test_a_bar_without_its_peer_is_neither_met_nor_missed() -> None:
    assert verdict(results(strongroom=1.0)).met is None


def test_the_report_prints_ratios_and_misses() -> None:
    found = session(results(strongroom=3.0, restic=2.0))
    found.verdicts = bars.judge(found)
    text = report.markdown(found)
    assert "1.50 ×" in text
    assert "**missed**" in text


def test_reads_are_counted_as_the_kernel_returned_them() -> None:
    trace = '7 read(3, "ab"..., 4096) = 100\n7 pread64(3, "cd"..., 77, 3) = 77\n8 read(3, "", 9) = 0\n'
    assert reads.parse(trace) == reads.Reads(calls=2, bytes=177, mapped=False)


@pytest.mark.platform
def test_the_peers_do_what_the_table_says(tmp_path: Path) -> None:
    """With ten secrets, each installed peer runs each of its jobs."""
    peers = {tool.name: tool for tool in TOOLS if tool.name != "strongroom" and shutil.which(tool.name)}
    if not peers:
        pytest.skip("neither restic, borg nor age is installed")
    gen.write(tmp_path / "data", 10, seed=1, layout="both")
    one = json.loads((tmp_path / "data" / "secrets.jsonl").read_text().splitlines()[5])["name"]
    place = Place(data=tmp_path / "data", scratch=tmp_path, one=one)
    place.passphrase_file.write_text("made up")
    done = rounds.measure(jobs(), peers, place, repeat=0)
    assert done.failed == {}


def test_three_regions_are_held_against_the_slowest_one_alone() -> None:
    found = session(results())
    found.regions = RegionRun(alone={"eu": 4.0, "us": 5.0, "ap": 4.5}, together=6.0)
    judged = {verdict.what: verdict for verdict in bars.judge(found)}

    assert judged["upload to three regions"].reached == "1.2 ×"
    assert judged["upload to three regions"].met is True
    found.regions = RegionRun(alone={"eu": 4.0, "us": 5.0, "ap": 4.5}, together=7.0)
    assert {v.what: v for v in bars.judge(found)}["upload to three regions"].met is False
    assert "all three at once" in report.markdown(found)


def read_at(ours: float, ours_far: float) -> VaultReads:
    return VaultReads(
        secrets=10,
        in_flight=2,
        near={POOLED: 2000.0, OURS: ours, SINGLE: 900.0, HVAC: 600.0},
        far={POOLED: 900.0, OURS: ours_far, SINGLE: 90.0},
        requests={POOLED: 1.0, OURS: 1.0, SINGLE: 1.0, HVAC: 2.0},
    )


def test_reading_vault_is_held_against_a_pooled_client_and_one_at_a_time() -> None:
    found = session(results())
    found.vault = read_at(1700.0, 450.0)
    judged = {verdict.what: verdict for verdict in bars.judge(found)}
    assert judged["requests a second to Vault"].reached == "0.85 ×"
    assert judged["requests a second to Vault"].met is True
    assert judged["requests a second to a Vault that is 10 ms away"].met is True
    found.vault = read_at(1600.0, 440.0)
    judged = {verdict.what: verdict for verdict in bars.judge(found)}
    assert judged["requests a second to Vault"].met is False
    assert judged["requests a second to a Vault that is 10 ms away"].met is False
    assert "5.3 × hvac" in report.markdown(found)


def test_restores_by_celery_are_held_against_a_time_for_each_size() -> None:
    found = session(results())
    found.restores = RestoreTimes(seconds={1: 0.4, 1_000: 20.0, 10_000: 121.0}, load=5.5)
    judged = {verdict.what: verdict for verdict in bars.judge(found)}
    what = "restore into Vault by Celery, "
    assert judged[f"{what}1 secret"].met is True
    assert judged[f"{what}1,000 secrets"].met is True
    assert judged[f"{what}10,000 secrets"].met is False
    assert "whose load was 5.5 before" in report.markdown(found)


@pytest.mark.long
def test_a_restore_by_celery_is_timed_on_a_live_server() -> None:
    found = restores.measure(repeat=1, sizes=(1, 20))
    assert found is not None
    assert set(found.seconds) == {1, 20}
    assert all(seconds > 0 for seconds in found.seconds.values())


def test_a_part_that_is_measured_alone_is_shown_alone() -> None:
    found = session(rounds.Results())
    found.vault = read_at(1700.0, 450.0)
    found.verdicts = bars.judge(found)
    text = report.markdown(found)
    assert "## Reading Vault" in text
    assert "restic" not in text
    assert text.count("| met |") == 2


def test_reading_a_live_server_in_each_way_counts_every_request() -> None:
    found = vault.measure(secrets=40, repeat=1)
    assert found is not None
    assert all(rate > 0 for rate in (*found.near.values(), *found.far.values()))
    assert 1.0 < found.requests[OURS] < 2.0
    assert found.far[SINGLE] < 1 / (2 * vault.DELAY)


def test_a_link_carries_both_ways_at_its_rate_and_after_its_delay() -> None:
    link = Link(upstream=0, rate=1000.0, delay=0.5, monotonic=lambda: 7.0)

    assert link._turn(100) == pytest.approx(0.6)
    assert link._turn(100) == pytest.approx(0.7)


def test_the_finds_are_measured_on_backups_that_are_all_read_by_their_indexes(tmp_path: Path) -> None:
    found = find.run(repeat=1, secrets=300, backups=4, scratch=tmp_path)
    assert len(found.seconds) == 4
    assert 0 < found.slowest < 60
    assert found.index_mib > 0
    measured = session(rounds.Results())
    measured.finds = found
    assert "## Finding names" in report.markdown(measured)
    assert any(verdict.what.startswith("a pattern, a tag") for verdict in bars.judge(measured))
