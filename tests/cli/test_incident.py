"""incident, as a person runs it on a bad day."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from strongroom.container.errors import Tampered, WrongKey
from strongroom.operations.errors import (
    BackupQuarantined,
    ConfirmationRequired,
    IncidentClosed,
    KeyStillSeals,
    LeakedValue,
    RunDegraded,
    SetAside,
    StepIncomplete,
    StepsOpen,
)
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import Machine
from tests.cli.test_keys_list import configure


def keep_house(machine: Machine) -> None:
    for name in ("old", "new"):
        machine.ok("keys", "new", "--output", f"{name}.key")
    configure(machine, "old")
    machine.ok("backup", "--policy", "all", "--force")


house = furnished(stock, keep_house)

WORDS = ("incident", "open", "--key", "old", "--reason", "lost laptop", "--output", "record.json", "--force")
SECRETS = ["DATABASE_PASSWORD", "JWT_SECRET_KEY", "REDIS_PASSWORD"]


def body(path: Path) -> dict[str, Any]:
    """Return what a signed report says."""
    found: dict[str, Any] = json.loads(path.read_text())["body"]
    return found


def states(house: Machine, name: str = "") -> dict[str, str]:
    [shown] = house.ok("incident", "status", *([name] if name else []), "--json").document["incidents"]
    return {one["step"]: one["state"] for one in shown["steps"]}


def sealed_as(house: Machine) -> dict[str, str]:
    return {one["backup"]: one["now"] for one in body(house.path("record.json"))["affected"]}


def test_a_key_that_policies_still_seal_for_is_refused(house: Machine) -> None:
    refused = house.run(*WORDS)
    assert refused.failed_with(KeyStillSeals)
    assert not house.path("record.json").exists()
    assert house.ok("incident", "list", "--json").document["incidents"] == []


def test_one_command_sets_aside_seals_anew_and_writes_it_down(house: Machine) -> None:
    configure(house, "new")
    done = house.ok(*WORDS, "--secrets", "names.json")
    names = house.path("names.json")
    assert (sorted(json.loads(names.read_text())), names.stat().st_mode & 0o777) == (SECRETS, 0o600)
    [(old, new)] = sealed_as(house).items()
    assert body(house.path("record.json"))["reason"] == "lost laptop"
    assert list(house.ok("incident", "list", "--json").document["quarantined"]) == [old]
    words = ["restore", "--from-target", "region-a", "--full-restore", "--dry-run", "--identity", "new.key"]
    dry = house.run(*words, "--backup", new)
    assert dry.failed_with(LeakedValue)  # it opens, and holds what others know
    assert "3 secrets already as in the backup" in dry.out
    assert "Written\n  3 secrets to change: names.json names them.\n" in done.out
    assert "Next\n    strongroom incident rotate" in done.out
    house.ok("incident", "release", old, "--reason", "deleted by hand")
    assert house.ok("incident", "list", "--json").document["quarantined"] == {}


def test_one_that_did_not_reach_a_target_is_recorded_and_told_by_its_exit_code(house: Machine) -> None:
    configure(house, "new")
    here = house.state / "targets" / "region-c"
    here.rename(house.path("away"))
    here.write_text("no directory")
    assert house.run(*WORDS).failed_with(StepIncomplete)
    assert house.path("record.json").exists()
    assert states(house)["isolate"] == "partly"
    here.unlink()
    house.path("away").rename(here)
    house.ok("incident", "isolate")
    house.ok("incident", "status")
    assert states(house)["isolate"] == "done"
    assert len(list((here / "incidents").rglob("*-*.json"))) >= 4


def test_to_set_aside_alone_seals_nothing(house: Machine) -> None:
    configure(house, "new")
    house.ok(*WORDS, "--quarantine-only")
    assert set(sealed_as(house).values()) == {""}
    assert states(house)["reseal"] == "open"


def test_nothing_is_done_without_a_yes(house: Machine) -> None:
    configure(house, "new")
    done = house.run(*(word for word in WORDS if word != "--force"))
    assert done.failed_with(ConfirmationRequired)
    assert house.ok("incident", "list", "--json").document["quarantined"] == {}


def test_an_incident_is_led_to_its_end_by_the_commands_that_it_names(house: Machine) -> None:
    configure(house, "new")
    house.ok(*WORDS)
    [old] = house.ok("incident", "list", "--json").document["quarantined"]
    refused = house.run("incident", "close")
    assert refused.failed_with(StepsOpen)
    assert "rotate (open), report (open)" in refused.err
    left = house.run("incident", "rotate", "--force", "--identity", "new.key", "--secrets", "left.json")
    assert left.failed_with(StepIncomplete)
    assert sorted(json.loads(house.path("left.json").read_text())) == SECRETS
    for name in SECRETS:
        house.set(name, f"CANARY-NEW-{name}")
    house.ok("incident", "rotate", "--force", "--identity", "new.key")
    house.ok("incident", "report", "--output", "interim.json")
    words = ("--reason", "found the laptop", "--output", "final.json", "--identity", "new.key")
    house.ok("incident", "close", *words)
    [shown] = house.ok("incident", "list", "--json").document["incidents"]
    assert (bool(shown["closed_at"]), shown["next"]) == (True, "")
    assert house.run("incident", "isolate", shown["incident"]).failed_with(IncidentClosed)
    document = house.ok("reports", "check", "final.json", "--json").document
    checked = document["report"]
    assert (document["checked"], checked["closing"]) == (["final.html"], "found the laptop")
    line = next(one for step in checked["steps"] for one in step["left"] if "--remove-replaced" in one)
    house.ok(*line.partition("strongroom ")[2].partition(".")[0].split())
    listed = house.ok("incident", "list", "--json").document
    assert (list(listed["quarantined"]), listed["deleted"]) == ([old], [old])


def test_one_is_not_closed_over_a_leaked_value_that_was_brought_back(house: Machine) -> None:
    configure(house, "new")
    house.ok(*WORDS)
    [(_, now)] = sealed_as(house).items()
    for name in SECRETS:
        house.set(name, f"CANARY-NEW-{name}")
    house.ok("incident", "rotate", "--force", "--identity", "new.key")
    house.ok("incident", "report")

    house.path("old.key").rename(house.path("away.key"))
    unseen = house.run("incident", "close")
    house.path("away.key").rename(house.path("old.key"))
    assert unseen.failed_with(StepsOpen)
    assert "--identity" in unseen.err
    assert states(house)["rotate"] == "done"

    words = ("--secret-name", SECRETS[1], "--backup", now, "--identity", "new.key")
    back = house.run("restore", *words, "--overwrite-existing", "--force")
    assert back.failed_with(LeakedValue)  # it is done, and said to be what others know
    refused = house.run("incident", "close", "--identity", "new.key")
    assert refused.failed_with(StepsOpen)
    assert "1 secret: their source still has the value" in " ".join(refused.err.split())
    assert states(house)["rotate"] == "partly"
    planned = house.ok("incident", "rotate", "--dry-run", "--identity", "new.key", "--json").document
    assert [[one["name"] for one in plan["secrets"]] for plan in planned["plans"]] == [[SECRETS[1]]]

    house.set(SECRETS[1], "CANARY-NEWER")
    house.ok("incident", "rotate", "--identity", "new.key")  # nothing gets a new value, so nothing is asked
    house.ok("incident", "close", "--identity", "new.key")


def test_what_is_lost_while_an_incident_is_open_is_recovered_and_said_to_be_known_to_others(
    house: Machine,
) -> None:
    """The worst night: a key leaked, everything it opens is known to others, and then the source is lost."""
    configure(house, "new")
    house.path("old.key").rename(house.path("away.key"))
    assert house.run(*WORDS).failed_with(StepIncomplete)  # nothing opens, so nothing is sealed anew
    house.path("away.key").rename(house.path("old.key"))
    shutil.rmtree(house.state / "store")
    (house.state / "keys" / "store.key").unlink()
    words = ("recover", "--identity", "new.key", "--answer", "restore=yes", "--json")
    aside = house.run(*words)
    assert aside.failed_with(BackupQuarantined), aside
    assert "incident reseal" in aside.err
    house.ok("incident", "reseal", "--identity", "old.key")

    done = house.run(*words)
    assert done.code == RunDegraded.exit_code, done
    assert [step["ended"] for step in done.document["steps"][:5]] == ["done"] * 5, done
    assert "known to others" in done.err[: done.err.index("Write into")]
    assert any("incident rotate" in line for line in done.document["left_to_do"])
    assert house.ok("get", SECRETS[0], "--show-value").out


def test_new_values_are_given_after_a_yes_alone(house: Machine) -> None:
    rotator = '[rotators.all]\nkind = "random"\ninclude = ["*"]\n'
    configure(house, "new")
    config = house.path("strongroom.toml")
    config.write_text(config.read_text() + rotator)
    house.ok(*WORDS)
    before = values(house)
    dry = house.ok("incident", "rotate", "--dry-run", "--identity", "new.key")
    assert "3 secrets of 'local' would get a new value" in dry.out
    assert states(house)["rotate"] == "open"
    asked = house.run("incident", "rotate", "--identity", "new.key")
    assert asked.failed_with(ConfirmationRequired)
    assert "This gives 3 secrets of 'local' a new value" in " ".join(asked.err.split())
    assert values(house) == before
    house.ok("incident", "rotate", "--force", "--identity", "new.key")
    assert not {*values(house)} & {*before}


def values(house: Machine) -> list[str]:
    return [house.ok("get", name, "--show-value").out for name in SECRETS]


def test_the_file_of_what_to_change_is_never_an_empty_word(house: Machine) -> None:
    configure(house, "new")
    house.path("names.json").write_text("CANARY")
    kept = house.run(*(word for word in WORDS if word != "--force"), "--secrets", "names.json")
    assert "give --force to replace it" in kept.err
    house.path("old.key").rename(house.path("away.key"))
    blind = house.run(*WORDS, "--quarantine-only", "--secrets", "n.json")
    assert blind.failed_with(WrongKey)
    assert "no file was written" in blind.err
    assert not house.path("n.json").exists()
    house.path("away.key").rename(house.path("old.key"))
    words = ("--force", "--identity", "old.key", "--secrets", "names.json")
    replaced = house.run("incident", "rotate", *words)
    assert replaced.failed_with(StepIncomplete)
    assert sorted(json.loads(house.path("names.json").read_text())) == SECRETS


def test_nothing_of_an_open_incident_is_deleted(house: Machine) -> None:
    configure(house, "new")
    house.ok(*WORDS)
    house.run("keys", "rotate", "all", "--re-encrypt", "--remove-replaced")
    assert house.ok("incident", "list", "--json").document["deleted"] == []


def test_a_page_that_was_altered_is_refused(house: Machine) -> None:
    configure(house, "new")
    house.ok(*WORDS)
    page = house.path("record.html")
    page.write_text(page.read_text().replace("lost laptop", "found laptop"))
    assert house.run("reports", "check", "record.json").failed_with(Tampered)
    page.unlink()
    house.ok("reports", "check", "record.json")


def test_another_host_goes_on_by_what_the_targets_hold(house: Machine) -> None:
    configure(house, "new")
    house.ok(*WORDS, "--quarantine-only")
    for path in house.state.glob("state.db*"):  # as a host of the installation that was just set up
        path.unlink()
    assert house.run("backups", "rebuild", "--from", "region-b").failed_with(SetAside)
    assert list(states(house).values()) == ["done", "done", "open", "open", "open"]
    house.ok("incident", "reseal", "--identity", "old.key")
    assert states(house)["reseal"] == "done"


def test_a_medium_that_lies_in_the_safe_keeps_no_step_from_its_end(house: Machine) -> None:
    configure(house, "new")
    config = house.path("strongroom.toml")
    medium = '[targets.medium]\nkind = "directory"\npath = "medium"\nregion = "safe"\n'
    policy = '[policies.safe]\nkind = "full"\ntargets = ["medium"]\nrecipients = ["new"]\noffline = true\n'
    regions = "".join(
        f'[targets.{name}]\nkind = "directory"\npath = "{house.state}/targets/{name}"\nregion = "{name}"\n'
        for name in ("region-a", "region-b", "region-c")
    )
    config.write_text(f"{config.read_text()}\n{regions}{medium}{policy}quorum = 1\nregions = 1\n")
    house.ok(*WORDS, "--quarantine-only")
    assert states(house)["readers"] == "done"
    config.write_text(config.read_text().replace('region = "safe"', 'region = "safe"\ncreate = true'))
    house.ok("incident", "status")
    assert list(house.path("medium/incidents").rglob("*.json"))


def test_it_says_whom_to_call_while_it_is_open(house: Machine) -> None:
    configure(house, "new")
    config = house.path("strongroom.toml")
    config.write_text(config.read_text() + '[contacts]\nescalation = { who = "CTO", phone = "+49 30 1" }\n')
    assert "Call\n  escalation  CTO, +49 30 1" in house.ok(*WORDS).out
    assert "Call\n  escalation  CTO, +49 30 1" in house.ok("incident", "status").out
    [shown] = house.ok("incident", "list", "--json").document["incidents"]
    for step in ("rotate", "report"):
        house.ok("incident", "waive", shown["incident"], step, "--reason", "test data")
    house.ok("incident", "close")
    assert "Call" not in house.ok("incident", "status", shown["incident"]).out


def test_a_waiver_needs_a_reason_and_says_whose_it_is(house: Machine) -> None:
    configure(house, "new")
    house.ok(*WORDS)
    [shown] = house.ok("incident", "status", "--json").document["incidents"]
    assert house.run("incident", "waive", shown["incident"], "rotate").code == 2
    house.ok("incident", "waive", shown["incident"], "rotate", "--reason", "the values were test data")
    [shown] = house.ok("incident", "status", "--json").document["incidents"]
    [step] = [one for one in shown["steps"] if one["step"] == "rotate"]
    assert (step["state"], step["said"]) == ("waived", "the values were test data")
    assert "@" in step["by"]


def test_an_incident_about_secrets_keeps_their_names_from_the_targets(house: Machine) -> None:
    house.path("names.txt").write_text("JWT_SECRET_KEY\n\nREDIS_PASSWORD\n")
    opening = ("incident", "open", "--secret-list", "names.txt", "--reason", "pasted into a chat", "--force")
    house.ok(*opening)
    assert states(house)["isolate"] == "not needed"
    for path in (house.state / "targets").rglob("incidents/**/*.json"):
        assert "JWT_SECRET_KEY" not in path.read_text()
    left = house.run("incident", "rotate", "--force", "--identity", "old.key", "--secrets", "left.json")
    assert left.failed_with(StepIncomplete)
    assert list(json.loads(house.path("left.json").read_text())) == ["JWT_SECRET_KEY", "REDIS_PASSWORD"]
    for name in ("JWT_SECRET_KEY", "REDIS_PASSWORD"):
        house.set(name, f"CANARY-NEW-{name}")
    house.ok("incident", "rotate", "--force", "--identity", "old.key")
