"""metrics: printed, and written into a file for node_exporter."""

from __future__ import annotations

import os
import stat

from prometheus_client.parser import text_string_to_metric_families

from strongroom.errors import UsageError
from tests.cli.program import Machine


def values(text: str, name: str) -> dict[str, float]:
    return {
        sample.labels["policy"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_metrics_are_printed_and_written_whole_for_all_to_read(configured: Machine) -> None:
    configured.ok("backup", "--policy", "metadata", "--force")
    printed = configured.ok("metrics").out
    assert values(printed, "strongroom_backup_replicas")["metadata"] > 0
    assert "strongroom_targets_checked_timestamp_seconds" in printed
    assert 'strongroom_verification_covered_ratio{target="dublin"} 1.0' in printed
    file = configured.path("strongroom.prom")
    before = os.umask(0o077)
    try:
        for _ in range(2):  # the second time it is replaced
            configured.ok("metrics", "--textfile", str(file))
    finally:
        os.umask(before)
    assert values(file.read_text(), "strongroom_backup_replicas") == values(
        printed, "strongroom_backup_replicas"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert "CANARY" not in printed


def test_a_file_that_node_exporter_would_not_read_is_refused(configured: Machine) -> None:
    done = configured.run("metrics", "--textfile", "metrics.txt")
    assert done.code == UsageError.exit_code
    assert ".prom" in done.err
    assert not configured.path("metrics.txt").exists()


def test_a_folder_that_is_not_there_is_told(configured: Machine) -> None:
    done = configured.run("metrics", "--textfile", str(configured.path("gone") / "strongroom.prom"))
    assert done.code == UsageError.exit_code
    said = " ".join(done.err.split())
    assert f"There is no directory '{configured.path('gone')}'" in said
    assert "Nothing was written" in said


def test_metrics_make_nothing(configured: Machine) -> None:
    before = sorted(configured.home.rglob("*"))
    assert "strongroom_record_up 0.0" in configured.ok("metrics").out
    assert sorted(configured.home.rglob("*")) == before
