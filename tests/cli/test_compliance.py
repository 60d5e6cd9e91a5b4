"""check controls, as the procedures document has it."""

from __future__ import annotations

import json
import shutil

from strongroom.errors import UsageError
from tests.cli.program import Machine


def test_the_documents_line_says_what_is_not_met_and_what_to_do(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    done = configured.run("check", "controls", "--framework", "SOC2", "--backup-requirements")
    assert done.code != 0
    assert "A1.3 not met" in done.out
    assert "no recovery was ever rehearsed" in done.out
    assert "no certificate" in done.out


def test_what_is_put_right_is_met_afterwards(configured: Machine) -> None:
    def verdict(number: str) -> str:
        found = configured.run("check", "controls", "--framework", "ISO27001", "--json")
        [framework] = json.loads(found.out)["frameworks"]
        [one] = [control for control in framework["controls"] if control["number"] == number]
        return str(one["verdict"])

    configured.ok("backup", "--policy", "full", "--force")
    heads = list(configured.home.glob("regions/*/ledger"))
    assert heads, "a backup puts heads of the record where it lies"
    for folder in heads:
        shutil.rmtree(folder)
    assert verdict("A.8.15") == "not met"
    configured.ok("ledger", "publish")
    assert verdict("A.8.15") == "met"


def test_without_a_framework_all_of_them_are_told_and_another_is_refused(configured: Machine) -> None:
    frameworks = json.loads(configured.run("check", "controls", "--json").out)["frameworks"]
    assert [one["framework"] for one in frameworks] == [
        "SOC2",
        "ISO27001",
        "GDPR",
        "PCI-DSS",
        "HIPAA",
        "DORA",
        "NIS2",
        "NIST-CSF",
    ]
    assert configured.run("check", "controls", "--framework", "FISMA").failed_with(UsageError)


def test_looking_makes_nothing(machine: Machine) -> None:
    done = machine.run("check", "controls", "--framework", "GDPR")
    assert done.code != 0
    assert "could not tell" in done.out
    assert not machine.state.exists()
