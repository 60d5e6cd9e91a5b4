"""report check: one command for every signed report, by somebody who has the files and a fingerprint."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from strongroom.container.errors import NotABackup, Tampered, UntrustedSigner
from strongroom.errors import UsageError
from tests.cli.program import Machine

WRITERS = {
    "audit-report": ("reports", "audit"),
    "compliance-report": ("check", "controls", "--framework", "DORA"),
    "security-review": ("reports", "review"),
}


def write(machine: Machine, kind: str) -> Path:
    machine.run(*WRITERS[kind], "--output", "report.json")
    return machine.path("report.json")


def installation(machine: Machine) -> str:
    return re.findall(r"sr1:[0-9a-f]{64}", machine.ok("keys", "signers", "list").out)[0]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_stranger_with_the_fingerprint_checks_a_report_and_what_lies_beside_it(
    configured: Machine, kind: str
) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    file = write(configured, kind)
    page, table = file.with_suffix(".html"), file.with_suffix(".csv")
    assert b"CANARY" not in file.read_bytes() + page.read_bytes() + table.read_bytes()
    assert "<script" not in page.read_text()
    auditor = Machine(configured.path("auditor"))
    known = ("reports", "check", file, "--signer", installation(configured))
    document = auditor.ok(*known, "--json").document
    assert (document["kind"], document["checked"]) == (kind, ["report.html", "report.csv"])
    assert document["signed_by"]["role"] == "control"
    for other in (page, table):
        kept = other.read_bytes()
        other.write_bytes(kept.replace(b"e", b"3", 1))
        refused = auditor.run(*known)
        assert refused.failed_with(Tampered)
        assert other.name in refused.err
        other.write_bytes(kept)
    configured.ok("reports", "check", file, "--ledger")


def test_a_report_of_another_installation_is_refused_with_its_fingerprint(configured: Machine) -> None:
    file = write(configured, "audit-report")
    auditor = Machine(configured.path("auditor"))
    refused = auditor.run("reports", "check", file)
    assert refused.failed_with(UntrustedSigner)
    assert f"--signer {installation(configured)}" in refused.err
    assert "This report is of the installation" in refused.err
    assert auditor.run("reports", "check", file, "--signer", f"sr1:{'0' * 64}").failed_with(UntrustedSigner)


def test_a_figure_that_was_changed_is_refused_and_so_is_what_is_no_report(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    file = write(configured, "audit-report")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"done"', b'"dune"'))
    assert configured.run("reports", "check", file).failed_with(Tampered)
    file.write_bytes(whole.replace(b"strongroom-audit-report/1", b"strongroom-drill-report/1"))
    assert configured.run("reports", "check", file).failed_with(Tampered)
    assert configured.run("reports", "check", file.with_suffix(".html")).failed_with(NotABackup)


def test_a_drill_names_no_event_to_compare_the_ledger_with(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    run = configured.run("drill", "single", "--json").document["run"]
    configured.ok("drill", "show", run, "--output", "drill.json")
    assert "Recovery of one secret" in configured.ok("reports", "check", "drill.json").out
    assert configured.run("reports", "check", "drill.json", "--ledger").failed_with(UsageError)


def test_a_page_or_table_that_is_there_is_not_replaced_without_a_word(configured: Machine) -> None:
    configured.path("report.csv").write_text("mine")
    assert configured.run("reports", "audit", "--output", "report.json").code != 0
    assert configured.path("report.csv").read_text() == "mine"
    assert not any(configured.path(f"report.{ending}").exists() for ending in ("json", "html"))


def test_the_audit_names_the_run_event_or_report_that_each_figure_rests_on(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    drill = configured.run("drill", "single", "--json").document["run"]
    file = write(configured, "audit-report")
    body = json.loads(file.read_bytes())["body"]
    [backup] = (one["run"] for one in body["operations"] if one["kind"] == "backup")
    page = file.with_suffix(".html").read_text()
    assert f"<title>{body['operations'][0]['began'][:10]}: 1 done ({backup})</title>" in page
    assert f"drills/{drill}.json" in page
    assert "failed: nothing came back; objective 15.0 min" in page
    rows = list(csv.DictReader(io.StringIO(file.with_suffix(".csv").read_text())))
    assert all(row["evidence"] for row in rows)
    assert {row["what"] for row in rows} >= {"run", "backup", "replica", "drill", "key", "event"}
    assert [row["evidence"] for row in rows if row["what"] == "drill"] == [f"drills/{drill}.json"]
    assert f"run {backup}" in {row["evidence"] for row in rows if row["kind"] == "opens backups"}
