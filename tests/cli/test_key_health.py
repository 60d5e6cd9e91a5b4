"""check keys and keys prove, as a person runs it on two machines."""

from __future__ import annotations

from strongroom.errors import UsageError
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import Machine

CONFIG = """
[keys.here]
kind = "hpke"
public_key_file = "{home}/here.key.pub"
identity_file = "{home}/here.key"

[keys.offline]
kind = "hpke"
public_key_file = "{home}/offline.key.pub"

[policies.all]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["here", "offline"]
"""


def keep_house(machine: Machine) -> None:
    for name in ("here", "offline"):
        machine.ok("keys", "new", "--output", f"{name}.key")
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home))
    machine.ok("backup", "--policy", "all", "--force")


house = furnished(stock, keep_house)


def test_a_key_elsewhere_is_not_yet_proven_until_it_answers(house: Machine, other: Machine) -> None:
    done = house.ok("check", "keys", "--json")
    assert {one["label"]: one["outcome"] for one in done.document["tried"]} == {
        "here": "opened",
        "offline": "away",
    }
    assert [(one["label"], one["state"], one["overdue"]) for one in done.document["due"]] == [
        ("offline", "not yet proven", False)
    ]
    assert "offline: not yet proven; it has to be by 2" in house.ok("check", "keys").out
    house.ok("keys", "prove", "challenge", "offline", "--output", "question.json")
    for name in ("question.json", "offline.key"):
        house.path(name).rename(other.path(name))
    answer = other.ok(
        "keys", "prove", "answer", "question.json", "--identity", "offline.key", "--json"
    ).document
    assert house.run("keys", "prove", "confirm", "offline", "AAAAA AAAAA AAAAA AAAAA").failed_with(UsageError)
    house.ok("keys", "prove", "confirm", "offline", answer["code"])
    assert house.ok("check", "keys", "--json").document["due"] == []


def test_without_a_backup_no_key_is_needed(stocked: Machine) -> None:
    assert "no key is needed" in stocked.ok("check", "keys").out
