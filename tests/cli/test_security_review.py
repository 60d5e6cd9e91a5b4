"""security-review: the yearly document, the page to sign beside it, and what is said of both later."""

from __future__ import annotations

import csv
import io
import json

from strongroom.errors import UsageError
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import Machine

SIGNS = "<A. Person>, security officer"


def test_the_review_is_written_signed_with_a_page_that_has_a_place_for_each_name(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    said = configured.ok("reports", "review", "--output", "review.json", "--reviewer", SIGNS).out
    assert "Backup encryption assessment" in said
    file, page = configured.path("review.json"), configured.path("review.html")
    body = json.loads(file.read_bytes())["body"]
    titles = [part["title"] for part in body["parts"]]
    assert titles[:2] == ["Backup encryption assessment", "Access control validation"]
    assert {title.partition(":")[0] for title in titles[3:]} == {"Compliance audit"}
    assert [key["opens"] for key in body["keys"]] == [1]
    assert body["outcomes"] == {"backup": {"done": 1}}
    assert "&lt;A. Person&gt;, security officer" in page.read_text()
    assert SIGNS not in page.read_text()
    assert {one.stat().st_mode & 0o777 for one in (file, page)} == {0o600}
    assert b"CANARY" not in file.read_bytes() + page.read_bytes()
    assert configured.run("reports", "review", "--output", "review.json").failed_with(WouldOverwrite)


def test_the_table_has_what_was_found_and_each_question(configured: Machine) -> None:
    configured.ok("reports", "review", "--output", "review.json")
    rows = list(csv.DictReader(io.StringIO(configured.path("review.csv").read_text())))
    body = json.loads(configured.path("review.json").read_bytes())["body"]
    assert len(rows) == sum(len(part["lines"]) + len(part["yours"]) for part in body["parts"])
    assert {row["state"] for row in rows} > {"yours to answer", "not met"}


def test_a_file_of_another_form_is_refused_before_anything_is_looked_at(configured: Machine) -> None:
    assert configured.run("reports", "review", "--output", "review.pdf").failed_with(UsageError)
