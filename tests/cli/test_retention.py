"""prune --dry-run and hold, as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import structs

from strongroom.container.errors import MissingPiece
from strongroom.container.manifest import parse_manifest, sign_manifest
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import roles
from strongroom.times import rfc3339
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import REGIONS, Machine

CONFIG = """
[policies.names]
kind = "metadata"
targets = ["frankfurt", "dublin", "toronto"]
minimum_retention_days = 7
minimum_retention_count = 1
keep = { last = 1 }
[policies.forever]
kind = "metadata"
targets = ["frankfurt"]
quorum = 1
regions = 1
"""


def configure(machine: Machine) -> None:
    """Make an old backup of either policy and a new one of ``names``."""
    targets = "".join(
        f'[targets.{name}]\nkind = "directory"\npath = "regions/{name}"\nregion = "{name}"\ncreate = true\n'
        for name in REGIONS
    )
    machine.path("strongroom.toml").write_text(targets + CONFIG)
    for policy in ("forever", "names"):
        machine.ok("backup", "--policy", policy, "--force")
    for entry in machine.ok("backups", "list", "--json").document["backups"]:
        make_older(machine, entry["backup"], days=30)
    machine.ok("backup", "--policy", "names", "--force")


def make_older(machine: Machine, backup: str, *, days: int) -> None:
    """Sign a backup's manifest again as if it had been made earlier."""
    signer = roles.load_or_create_role(machine.state / "keys" / "roles", "control")
    for path in machine.home.glob(f"regions/*/manifests/{backup}.json"):
        manifest = parse_manifest(path.read_bytes(), trusted=None)
        earlier = rfc3339(datetime.now(UTC) - timedelta(days=days))
        path.chmod(0o600)
        path.write_bytes(sign_manifest(structs.replace(manifest, created_at=earlier), signer))


house = furnished(stock, configure)


def by_policy(machine: Machine) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in machine.ok("backups", "list", "--json").document["backups"]:
        found.setdefault(entry["policy"], []).append(entry["backup"])
    return found


def verdicts(machine: Machine, *words: str) -> dict[str, tuple[bool, str]]:
    document = machine.ok("backups", "prune", "--dry-run", *words, "--json").document
    return {
        one["backup"]: (one["judgement"]["keeps"], one["judgement"]["rule"]) for one in document["backups"]
    }


def test_a_dry_run_names_for_each_backup_the_rule_that_keeps_or_drops_it(house: Machine) -> None:
    backups = by_policy(house)
    new, old = backups["names"]
    [forever] = backups["forever"]
    assert verdicts(house) == {
        new: (True, "newest-verified"),
        old: (False, "superseded"),
        forever: (True, "no-rules"),
    }
    assert verdicts(house, "--policy", "forever").keys() == {forever}
    shown = house.ok("backups", "prune", "--dry-run").out
    assert f"no rule keeps it, and {new} covers it" in shown
    assert "1 backup of 3 would be removed." in shown
    assert shown.count("would be free") == 3
    assert "No keep rules, so everything stays: forever." in shown
    assert len(list(house.home.glob(f"regions/*/manifests/{old}.json"))) == 3
    assert house.run("backups", "prune", "--dry-run", "--policy", "name").failed_with(ConfigError)
    assert house.run("backups", "prune", "--policy", "name").failed_with(ConfigError)


def test_a_prune_marks_what_the_dry_run_named_and_undelete_takes_it_back(house: Machine) -> None:
    _, old = by_policy(house)["names"]
    shown = house.ok("backups", "prune").out
    assert f"{old} is marked: no rule keeps it" in shown
    assert "No keep rules, so everything stays: forever." in shown
    assert "2 backups kept, 1 marked earlier and not due yet." in house.ok("backups", "prune").out
    house.ok("backups", "undelete", old, "--reason", "the audit needs it")
    assert verdicts(house)[old] == (True, "hold")
    assert "2 backups kept" not in house.ok("backups", "prune").out


def test_a_target_that_is_away_is_told(house: Machine) -> None:
    house.path("regions/toronto").rename(house.path("gone"))
    configuration = house.path("strongroom.toml")
    configuration.write_text(configuration.read_text().replace("create = true\n", ""))
    done = house.run("backups", "prune", "--dry-run", "--json")
    assert "toronto" in done.document["away"]
    assert set(done.document["freed"]) == {"frankfurt", "dublin"}
    assert "target 'toronto' does not answer, so nothing there would be removed" in done.err


def test_a_hold_keeps_a_backup_until_it_is_lifted_also_without_the_database(house: Machine) -> None:
    _, old = by_policy(house)["names"]
    for words in (("--backup", old), ("--policy", "names"), ("--tag", "team=payments")):
        placed = house.ok(
            "backups", "hold", "add", *words, "--reason", "case 4711", "--until", "2100-01-01", "--json"
        )
        assert (old in placed.document["backups"], placed.document["written"]) == (True, sorted(REGIONS))
        assert verdicts(house)[old] == (True, "hold")
        [held] = house.ok("backups", "hold", "list", "--json").document["holds"]
        assert (held["reason"], held["until"]) == ("case 4711", "2100-01-01T23:59:59Z")
        shown = house.ok("backups", "hold", "list").out
        assert "case 4711" in shown
        house.ok("backups", "hold", "release", *words, "--reason", "settled")
        assert verdicts(house)[old] == (False, "superseded")
    assert house.ok("backups", "hold", "list").out == "Nothing is held.\n"
    house.ok("backups", "hold", "add", "--backup", old, "--reason", "case 4712")
    for path in house.state.glob("state.db*"):
        path.unlink()
    assert "case 4712" in house.ok("backups", "hold", "list").out


def test_a_legal_hold_in_the_configuration_is_listed_and_keeps_too(house: Machine) -> None:
    configuration = house.path("strongroom.toml")
    text = configuration.read_text().replace("[policies.names]", '[policies.names]\nlegal_hold = "case 4713"')
    configuration.write_text(text)
    assert house.ok("backups", "hold", "list", "--json").document["legal_hold"] == {"names": "case 4713"}
    assert "case 4713" in house.ok("backups", "hold", "list").out
    assert {rule for _, rule in verdicts(house, "--policy", "names").values()} == {"hold"}


def test_what_means_no_hold_is_refused(house: Machine) -> None:
    reason = ("--reason", "case 4711")
    for empty in ("--backup", "--policy"):
        assert house.run("backups", "hold", "add", empty, "", *reason).failed_with(UsageError)
    for mistyped in (("--backup", "20261127T000000Z-aaaa"), ("--policy", "name")):
        assert house.run("backups", "hold", "add", *mistyped, *reason).failed_with(MissingPiece)
    assert house.run("backups", "hold", "release", "--policy", "names", *reason).failed_with(UsageError)
    for tag in ("team", "=payments", "", "team=pay\nments", f"team={'x' * 1_000}"):
        assert house.run("backups", "hold", "add", "--tag", tag, *reason).failed_with(UsageError), tag
    assert house.run(
        "backups", "hold", "add", "--policy", "names", *reason, "--until", "2020-01-01"
    ).failed_with(UsageError)
    assert house.run("backups", "hold", "add", "--policy", "names", *reason, "--until", "soon").failed_with(
        UsageError
    )
    assert house.run("backups", "hold", "add", "--policy", "names", "--reason", " ").failed_with(UsageError)
    assert house.ok("backups", "hold", "list").out == "Nothing is held.\n"


def test_what_was_marked_long_enough_ago_is_deleted_and_the_bytes_are_told(house: Machine) -> None:
    config = house.path("strongroom.toml")
    config.write_text(config.read_text() + "[prune]\ngrace_days = 0\n")
    new, old = by_policy(house)["names"]
    house.ok("backups", "prune")
    targets = house.ok("backups", "prune", "--json").document["targets"]
    assert {name: one["deleted"] for name, one in targets.items()} == {name: [old] for name in REGIONS}
    for name, one in targets.items():
        files = [path for path in house.home.glob(f"regions/{name}/**/*") if path.is_file()]
        assert one["after"] == sum(path.stat().st_size for path in files if not path.name.startswith("."))
        assert one["freed"] > 0
        assert one["before"] > one["after"] > 0
    assert by_policy(house)["names"] == [new]
    gone = house.run("backups", "undelete", old, "--reason", "too late")
    assert gone.failed_with(MissingPiece)
    assert "was deleted on purpose" in gone.err


def test_a_dry_run_names_what_a_dead_run_left_and_until_when_a_mark_can_be_taken_back(house: Machine) -> None:
    dead = "20200101T000000000000Z-00000000"
    left = house.path("regions/dublin/containers") / dead / ("ab" * 32)
    left.parent.mkdir()
    left.write_bytes(b"CANARY-left")
    _, old = by_policy(house)["names"]
    house.ok("backups", "prune")
    found = house.ok("backups", "prune", "--dry-run", "--json").document
    assert [(one["backup"], one["targets"]) for one in found["orphans"]] == [(dead, ["dublin"])]
    assert list(found["marked"]) == [old]
    shown = house.ok("backups", "prune", "--dry-run").out
    assert f"{old} is marked, and is deleted after {found['marked'][old]}" in shown
    assert f"Objects of {dead} on dublin would be removed too: a run left it that made no backup." in shown
