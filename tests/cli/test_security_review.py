"""security-review: the yearly document, the page to sign beside it, and what is said of both later."""

from __future__ import annotations

import json

from strongroom.container.errors import Tampered
from strongroom.errors import UsageError
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import Machine

SIGNS = "<A. Person>, security officer"


def test_the_review_is_written_signed_with_a_page_that_has_a_place_for_each_name(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    said = configured.ok("security-review", "--output", "review.json", "--reviewer", SIGNS).out
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
    assert configured.run("security-review", "--output", "review.json").failed_with(WouldOverwrite)


def test_a_page_or_file_that_was_changed_afterwards_is_refused(configured: Machine) -> None:
    configured.ok("security-review", "--output", "review.json")
    assert (
        "is the one that was written with it"
        in configured.ok("security-review", "--check", "review.json").out
    )
    file, page = configured.path("review.json"), configured.path("review.html")
    page.write_bytes(page.read_bytes().replace(b"not met", b"met"))
    assert configured.run("security-review", "--check", "review.json").failed_with(Tampered)
    page.unlink()
    configured.ok("security-review", "--check", "review.json")
    file.write_bytes(file.read_bytes().replace(b'"not met"', b'"notmet!"'[:9]))
    assert configured.run("security-review", "--check", "review.json").failed_with(Tampered)


def test_a_file_of_another_form_is_refused_before_anything_is_looked_at(configured: Machine) -> None:
    for words in (("--output", "review.pdf"), ("--check", "x.json", "--reviewer", "somebody")):
        assert configured.run("security-review", *words).failed_with(UsageError)
