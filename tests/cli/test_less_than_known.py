"""Less is never taken for all: each command says what is missing, which backup has it, and what to type."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import strongroom
from strongroom.container.errors import Tampered, WrongKey
from strongroom.operations.errors import (
    ConfirmationRequired,
    LeakedValue,
    LessThanKnown,
    NewestUnseen,
    NothingSelected,
)
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import Done, Machine
from tests.cli.test_right_backup import CONFIG, signer, words_of

COUNT = 20
NAMES = [f"app/{number:02}" for number in range(COUNT)]


def shrink(machine: Machine) -> None:
    """A machine whose newest backup was made after 15 of its 20 secrets were deleted, and one was changed."""
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home))
    for name in [one["name"] for one in machine.ok("list", "--json").document["secrets"]]:
        machine.ok("secrets", "delete", name, "--force")
    for name in NAMES:
        machine.ok("set", name, stdin=f"CANARY-{name}")
    machine.ok("backup", "--policy", "monthly-full", "--force")
    for name in NAMES[:15]:
        machine.ok("secrets", "delete", name, "--force")
    machine.ok("set", NAMES[-1], stdin="CANARY-newer")
    assert machine.run("backup", "--policy", "monthly-full", "--force").code == 70


house = furnished(stock, shrink)


def backups(machine: Machine) -> list[str]:
    """Return the backups, the oldest first."""
    return sorted(one["backup"] for one in machine.ok("backups", "list", "--json").document["backups"])


def made(machine: Machine, backup: str) -> str:
    found = machine.ok("backups", "list", "--json").document["backups"]
    return next(str(one["created_at"]) for one in found if one["backup"] == backup)


def held(machine: Machine) -> list[str]:
    return [one["name"] for one in machine.ok("list", "--json").document["secrets"]]


def empty(machine: Machine) -> None:
    for name in held(machine):
        machine.ok("secrets", "delete", name, "--force")


@pytest.fixture
def bare(house: Machine, other: Machine) -> tuple[Machine, list[str]]:
    """Another machine with copies of the targets and the recovery key, and how it opens one of them."""
    shutil.copytree(house.path("regions"), other.path("copy"))
    shutil.copy(house.path("recovery.key"), other.path("recovery.key"))
    return other, ["--from-target", "copy/east", "--identity", "recovery.key", "--signer", signer(house)]


def says_what_is_missing(done: Done, house: Machine) -> None:
    assert done.failed_with(LessThanKnown), done
    said = words_of(done)
    assert "it holds 5 secrets where 20 were expected" in said
    assert "15 secrets that earlier ones have are not in it: 'app/00', 'app/01'" in said
    assert f"15 of them are in backup {backups(house)[0]} of policy 'monthly-full'" in said
    assert "--fill-from-earlier" in said


def test_a_restore_of_everything_after_a_mass_deletion_says_what_is_missing(house: Machine) -> None:
    done = house.run("restore", "--full-restore", "--identity", "recovery.key", "--json")
    says_what_is_missing(done, house)
    found = done.document["shortfall"]
    assert (found["missing"], found["sound"]) == (15, backups(house)[0])
    assert [one["name"] for one in found["names"]] == NAMES[:15]
    assert house.run("restore", "--full-restore", "--identity", "recovery.key").failed_with(LessThanKnown)


def test_a_dry_run_on_a_bare_machine_says_the_same_and_names_each(
    house: Machine, bare: tuple[Machine, list[str]]
) -> None:
    machine, words = bare
    done = machine.run("restore", "--full-restore", "--dry-run", *words)
    says_what_is_missing(done, house)
    assert "15 secrets not in it, and in earlier backups" in done.out
    assert f"app/03: in backup {backups(house)[0]}" in done.out


def test_what_is_missing_is_restored_from_earlier_ones_and_what_is_newer_stays(
    house: Machine, bare: tuple[Machine, list[str]]
) -> None:
    machine, words = bare
    done = machine.ok(
        "restore", "--full-restore", "--fill-from-earlier", "--verify-after-restore", *words, "--json"
    )
    assert (done.document["created"], done.document["verified"]) == (COUNT, COUNT)
    assert held(machine) == NAMES
    assert machine.ok("get", NAMES[-1], "--show-value").out.strip() == "CANARY-newer"
    assert machine.ok("get", NAMES[0], "--show-value").out.strip() == f"CANARY-{NAMES[0]}"
    assert done.document["shortfall"]["filled"] is True


def test_a_plan_has_each_secret_with_its_backup_and_does_just_that(house: Machine) -> None:
    first, newest = backups(house)
    empty(house)
    words = ["--identity", "recovery.key"]
    done = house.ok("restore", "--full-restore", "--fill-from-earlier", "--plan-out", "p.json", *words)
    assert "20 secrets would be created" in done.out
    entries = [json.loads(line) for line in house.path("p.json").read_bytes().splitlines()[:COUNT]]
    assert {one["name"]: one["backup"] for one in entries} == {
        name: first if name in NAMES[:15] else "" for name in NAMES
    }
    assert all(one["written_at"] for one in entries)
    house.ok("restore", "--plan", "p.json", *words)
    assert held(house) == NAMES
    assert newest in words_of(done)


def test_a_plan_without_them_names_all_that_is_missing(house: Machine) -> None:
    words = ["--identity", "recovery.key"]
    done = house.run("restore", "--full-restore", "--plan-out", "p.json", *words)
    assert done.failed_with(LessThanKnown)
    entries = [json.loads(line) for line in house.path("p.json").read_bytes().splitlines()[:COUNT]]
    missing = {one["name"] for one in entries if one["action"] == "missing"}
    assert missing == set(NAMES[:15])
    assert house.ok("restore", "--plan", "p.json", *words)
    assert len(held(house)) == 5


def test_one_deleted_secret_is_a_remark(house: Machine) -> None:
    house.ok("restore", "--full-restore", "--fill-from-earlier", "--identity", "recovery.key")
    house.ok("secrets", "delete", NAMES[3], "--force")
    house.ok("backup", "--policy", "monthly-full", "--force")
    done = house.ok("restore", "--full-restore", "--identity", "recovery.key")
    assert "1 secret that earlier ones have is not in it: deleted since" in words_of(done)


def test_a_rehearsal_says_it_too(house: Machine) -> None:
    says_what_is_missing(house.run("drill", "local", "--identity", "recovery.key"), house)


def test_what_is_gone_from_a_shrunken_backup_is_found_with_the_reason(house: Machine) -> None:
    older, newest = backups(house)
    words = ["--identity", "recovery.key"]
    said = house.ok("backups", "find", NAMES[0], *words).out
    reason = "it holds 5 secrets where 20 were expected"
    assert f"'{NAMES[0]}' is not in backup {newest}, the newest of source 'local': {reason}" in said
    assert f"restore --secret-name {NAMES[0]} --backup {older}" in said
    said = house.ok("backups", "find", "app/*", *words).out
    assert f"15 secrets are not in backup {newest}, the newest of source 'local': {reason}" in said
    [gone] = house.ok("backups", "find", "app/*", "--no-index", *words, "--json").document["gone"]
    assert (gone["backup"], gone["names"]) == (newest, NAMES[:15])
    assert house.ok("backups", "find", NAMES[-1], *words, "--json").document["gone"] == []
    assert (
        house.ok("backups", "find", NAMES[0], "--at", made(house, older), *words, "--json").document["gone"]
        == []
    )


def test_what_somebody_deleted_or_a_part_does_not_mean_is_found_without_a_remark(house: Machine) -> None:
    house.ok("restore", "--full-restore", "--fill-from-earlier", "--identity", "recovery.key")
    house.ok("set", "crit", "--tag", "priority=critical", stdin="CANARY-crit")
    house.ok("secrets", "delete", NAMES[3], "--force")
    house.ok("backup", "--policy", "monthly-full", "--force")
    house.ok("backup", "--policy", "weekly-critical", "--force")
    words = ["--identity", "recovery.key", "--json"]
    assert house.ok("backups", "find", NAMES[3], *words).document["gone"] == []
    assert house.ok("backups", "find", NAMES[0], *words).document["gone"] == []


# -- a newest backup that is gone --------------------------------------------------------


def remove(house: Machine, *regions: str) -> None:
    for region in regions:
        Path(house.path("regions"), region, "manifests", f"{backups(house)[-1]}.json").unlink()


READING = (
    ["backups", "find", "app/19"],
    ["backups", "history", "app/19"],
    ["get", "app/19", "--from-target", "east"],
    ["list", "--from-target", "east"],
    ["drill", "local"],
)


@pytest.mark.parametrize("command", READING, ids=[one[0] for one in READING])
def test_a_newest_backup_that_is_gone_is_told_by_what_reads(house: Machine, command: list[str]) -> None:
    remove(house, "east", "west")
    for _ in range(2):  # also once it is on record
        done = house.run(*command, "--identity", "recovery.key")
        assert done.failed_with(NewestUnseen), done
        assert backups(house)[-1] in words_of(done)
    house.run("backups", "verify", "east", "--identity", "recovery.key")


@pytest.mark.parametrize("words", [[], ["--from-target", "east"]], ids=["all", "one"])
def test_a_newest_backup_that_is_gone_is_not_replaced_by_an_older_one_unasked(
    house: Machine, words: list[str]
) -> None:
    remove(house, "east", *([] if words else ["west"]))
    older, newest = backups(house)
    for command in (
        ["restore", "--full-restore", "--overwrite-existing"],
        ["restore", "--full-restore", "--dry-run"],
        ["restore", "--secret-name", NAMES[-1], "--overwrite-existing"],
    ):
        done = house.run(*command, *words, "--identity", "recovery.key")
        assert done.failed_with(NewestUnseen), done
        assert newest in words_of(done)
        assert f"--backup {older}" in words_of(done)
        assert house.ok("get", NAMES[-1], "--show-value").out.strip() == "CANARY-newer"
    named = ["--backup", older, "--overwrite-existing"]
    house.ok("restore", "--full-restore", *named, *words, "--identity", "recovery.key")


def test_two_backups_that_are_compared_by_default_are_not_all_where_the_newest_is_gone(
    house: Machine,
) -> None:
    remove(house, "east", "west")
    older, newest = backups(house)
    for words in ([], ["live"], ["--policy", "monthly-full"]):
        done = house.run("backups", "diff", *words, "--identity", "recovery.key")
        assert done.failed_with(NewestUnseen), done
        assert newest in words_of(done)
        assert older in done.out
    house.ok("backups", "diff", older, "live", "--identity", "recovery.key")


def test_where_all_targets_are_away_each_is_named(house: Machine) -> None:
    for region in ("east", "west"):
        shutil.move(house.path("regions") / region, house.path(f"{region}-away"))
    for command in (["restore", "--full-restore"], ["backups", "find", "app/19"], ["drill", "local"]):
        done = house.run(*command, "--identity", "recovery.key")
        assert done.code == 40, done
        said = words_of(done)
        assert "None of the 2 targets that were asked answers" in said
        assert "'east': " in said
        assert "'west': " in said
    ready = house.run("check", "machine", "--identity", "recovery.key")
    assert ready.code not in (0, 70), ready
    assert "no target that answers shows a backup of it" in ready.out
    assert "no backup yet" not in ready.out


def test_the_newest_on_another_target_is_taken_and_the_target_told(house: Machine) -> None:
    remove(house, "east")
    done = house.run("restore", "--full-restore", "--dry-run", "--identity", "recovery.key")
    assert done.code == 70
    assert f"from backup {backups(house)[-1]}" in words_of(done)


def test_without_a_record_the_other_configured_targets_tell(house: Machine) -> None:
    remove(house, "east")
    newest = backups(house)[-1]
    for file in house.state.glob("state.db*"):
        file.unlink()
    done = house.run("restore", "--full-restore", "--from-target", "east", "--identity", "recovery.key")
    assert done.failed_with(NewestUnseen), done
    assert newest in words_of(done)


def test_a_newest_backup_that_no_place_gives_whole_names_the_one_before_it(house: Machine) -> None:
    older, newest = backups(house)
    for region in ("east", "west"):
        for file in Path(house.path("regions"), region, "containers", newest).iterdir():
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.chmod(0o600)
            file.write_bytes(content)
    empty(house)
    done = house.run("restore", "--full-restore", "--identity", "recovery.key")
    assert done.failed_with(Tampered), done
    assert f"--backup {older}" in words_of(done)
    assert f"--backup {older}" in done.out or "This goes on" not in done.out


# -- what does not cover what is asked for -----------------------------------------------


def test_one_secret_comes_from_an_older_backup_whatever_its_source_and_the_destination(
    house: Machine,
) -> None:
    """The newest backup is of the critical secrets alone, and the destination is no source of any backup."""
    with house.path("strongroom.toml").open("a") as file:
        file.write('[sources.elsewhere]\nkind = "local"\npath = "{}"\n'.format(house.path("elsewhere")))
    house.ok("set", "crit", "--tag", "priority=critical", stdin="CANARY-crit")
    house.ok("backup", "--policy", "weekly-critical", "--force")
    words = ["--secret-name", NAMES[0], "--identity", "recovery.key"]
    for target in ([], ["--from-target", "east"]):
        done = house.ok("restore", *words, *target, "--to", "elsewhere", "--dry-run")
        assert f"From backup {backups(house)[0]}" in done.out
    got = house.ok("get", NAMES[0], "--from-target", "east", "--identity", "recovery.key", "--show-value")
    assert got.out.strip() == f"CANARY-{NAMES[0]}"


def test_python_opens_the_backup_of_everything_and_warns(
    house: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.ok("set", "crit", "--tag", "priority=critical", stdin="CANARY-crit")
    house.ok("backup", "--policy", "weekly-critical", "--force")
    monkeypatch.chdir(house.home)
    for name, value in house.env.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.warns(strongroom.LessThanKnownWarning, match="holds 5 secrets where 20 were expected") as told,
        strongroom.open("east", identity="recovery.key") as backup,
    ):
        assert (backup.policy, backup.names()) == ("monthly-full", NAMES[15:])
    assert "weekly-critical" in str(told[0].message)
    remove(house, "east", "west")  # the newest of that policy, which is its only one
    with (
        pytest.raises(NewestUnseen, match=backups(house)[-1]),
        strongroom.open("east", policy="weekly-critical", partial=True, identity="recovery.key"),
    ):
        pass


# -- a value that others know ------------------------------------------------------------


def test_a_value_that_an_incident_has_as_known_to_others_is_said_before_it_comes_back(
    house: Machine, bare: tuple[Machine, list[str]]
) -> None:
    opened = house.run(
        *("incident", "open", "--secret", NAMES[-1], "--reason", "on a wiki", "--force"),
        *("--identity", "recovery.key"),
    )
    assert opened.code in (0, 70), opened
    house.ok("set", NAMES[-1], stdin="CANARY-changed")
    words = ["--secret-name", NAMES[-1], "--identity", "recovery.key", "--overwrite-existing"]
    asked = house.run("restore", *words)
    assert asked.failed_with(ConfirmationRequired), asked
    assert f"as known to others: '{NAMES[-1]}'" in words_of(asked)
    assert house.ok("get", NAMES[-1], "--show-value").out.strip() == "CANARY-changed"
    dry = house.run("restore", *words, "--dry-run")
    assert dry.failed_with(LeakedValue)
    assert "Nothing was restored yet." in words_of(dry)
    assert "was restored stays" not in words_of(dry)
    done = house.run("restore", *words, "--force")
    assert done.failed_with(LeakedValue)
    assert "What was restored stays." in words_of(done)
    other = ["--secret-name", NAMES[-2], "--identity", "recovery.key"]
    house.ok("restore", *other)
    machine, there = bare
    shutil.rmtree(machine.path("copy"))
    shutil.copytree(house.path("regions"), machine.path("copy"))
    told = machine.run("restore", "--full-restore", "--dry-run", *there)
    assert "known to others" in words_of(told)


# -- several policies and sources side by side -------------------------------------------


def test_a_part_that_was_asked_for_lacks_only_what_belongs_to_it(house: Machine) -> None:
    """A backup of a category never held the others: they are neither missing from it nor deleted."""
    house.ok("set", "crit", "--tag", "priority=critical", stdin="CANARY-crit")
    house.ok("set", "gone", "--tag", "priority=critical", stdin="CANARY-gone")
    house.ok("backup", "--policy", "weekly-critical", "--force")
    house.ok("secrets", "delete", "gone", "--force")
    assert house.run("backup", "--policy", "weekly-critical", "--force").code in (0, 70)
    words = ["--policy", "weekly-critical", "--partial", "--identity", "recovery.key", "--json"]
    done = house.run("restore", "--full-restore", "--dry-run", *words)
    assert [one["name"] for one in done.document["shortfall"]["names"]] == ["gone"]


def test_a_filter_that_only_an_earlier_backup_meets_says_so(house: Machine) -> None:
    words = ["--include", "app/0[0-4]", "--identity", "recovery.key"]
    done = house.run("restore", *words)
    assert done.failed_with(NothingSelected), done
    assert "and 5 of earlier ones" in words_of(done)
    assert "--fill-from-earlier" in done.err.partition("What to do")[2]
    house.ok("restore", *words, "--fill-from-earlier")
    assert NAMES[0] in held(house)


def test_a_secret_of_long_ago_is_told_of_by_the_backup_that_has_it_alone(house: Machine) -> None:
    """Each backup that was looked in besides is one line at most."""
    for number in range(3):
        house.ok("set", NAMES[-1], stdin=f"CANARY-{number}")
        house.run("backup", "--policy", "monthly-full", "--force")
    words = ["--identity", "recovery.key"]
    done = house.ok("restore", "--secret-name", NAMES[0], *words, "--dry-run")
    assert f"From backup {backups(house)[0]}" in done.out
    got = house.ok("get", NAMES[0], *words, "--from-target", "east", "--show-value")
    assert got.out.strip() == f"CANARY-{NAMES[0]}"
    for one in (done, got):  # the newest that may hold it, and the one that does
        assert words_of(one).count("from backup") == 2


def test_what_a_rehearsal_advises_is_about_a_restore(house: Machine) -> None:
    done = house.run("drill", "local", "--identity", "recovery.key")
    assert "'strongroom restore --full-restore' brings it back too with --fill-from-earlier" in words_of(done)


def test_a_date_after_a_backup_that_is_gone_is_no_choice_of_an_older_one(house: Machine) -> None:
    older, newest = backups(house)
    remove(house, "east", "west")
    words = ["restore", "--full-restore", "--dry-run", "--identity", "recovery.key"]
    done = house.run(*words, "--at", "2999-01-01")
    assert done.failed_with(NewestUnseen), done
    assert newest in words_of(done)
    before = f"{older[:4]}-{older[4:6]}-{older[6:11]}:{older[11:13]}:{older[13:15]}.9Z"
    assert house.ok(*words, "--at", before)


def test_what_cannot_be_told_a_backup_does_not_advise_to(house: Machine) -> None:
    remove(house, "east", "west")
    for command in ("backups find", "backups history"):
        assert "--backup" not in words_of(house.run(command, NAMES[-1], "--identity", "recovery.key"))


def test_a_lost_backup_of_another_source_keeps_no_source_from_coming_back(house: Machine) -> None:
    with house.path("strongroom.toml").open("a") as file:
        file.write(f'[sources.other]\nkind = "local"\npath = "{house.path("elsewhere")}"\n')
        file.write('[policies.other-full]\nkind = "full"\nsource = "other"\ntargets = ["east", "west"]\n')
        file.write('recipients = ["recovery"]\n')
    words = ["restore", "--full-restore", "--identity", "recovery.key"]
    house.run(*words, "--to", "other", "--force")
    for _ in range(2):
        house.ok("backup", "--policy", "other-full", "--force")
    remove(house, "east", "west")
    assert house.run(*words, "--dry-run", "--to", "other").failed_with(NewestUnseen)
    assert house.run(*words, "--dry-run", "--to", "local").failed_with(LessThanKnown)


def test_a_name_that_no_backup_has_is_told_with_all_that_were_looked_in(house: Machine) -> None:
    done = house.run("get", "nothing", "--from-target", "east", "--identity", "recovery.key")
    assert "nor in the 1 before it" in words_of(done)


def test_a_source_that_is_only_read_is_not_called_unknown(house: Machine) -> None:
    with house.path("strongroom.toml").open("a") as file:
        file.write(f'[sources.mounted]\nkind = "files"\npath = "{house.path("mounted")}"\nformat = "tree"\n')
    done = house.run("restore", "--full-restore", "--to", "mounted", "--identity", "recovery.key", "--force")
    assert "'mounted': it is only read" in words_of(done)


def test_a_name_or_version_that_no_backup_has_begins_nothing(house: Machine) -> None:
    words = ["--secret-name", "nothing", "--overwrite-existing", "--identity", "recovery.key"]
    for done in (
        house.run("restore", *words),
        house.run("restore", *words[:1], NAMES[-1], *words[2:], "--version", "9"),
    ):
        assert done.code == 12, done
        assert "This goes on" not in done.out
    assert not list((house.state / "undo").glob("*"))


def test_a_key_that_an_earlier_backup_needs_is_asked_for_by_the_backup_that_needs_it(house: Machine) -> None:
    """The key was rotated between the two: what opens the newest opens none before it."""
    first = backups(house)[0]
    house.ok("keys", "new", "--output", "new.key")
    file = house.path("strongroom.toml")
    file.write_text(file.read_text().replace('"recovery.key.pub"', '"new.key.pub"'))
    house.run("backup", "--policy", "monthly-full", "--force")
    words = ["restore", "--full-restore", "--identity", "new.key"]
    done = house.run(*words, "--dry-run")
    assert done.failed_with(LessThanKnown), done
    assert "Which, is not known: WrongKey: Earlier backup" in words_of(done)
    done = house.run(*words, "--fill-from-earlier")
    assert done.failed_with(WrongKey), done
    assert "Earlier backup" in words_of(done)
    assert "--identity is repeatable" in words_of(done)
    both = [*words, "--identity", "recovery.key", "--fill-from-earlier"]
    house.ok(*both, "--plan-out", "p.json")
    done = house.run("restore", "--plan", "p.json", "--identity", "new.key")
    assert f"Earlier backup {first}" in words_of(done)
    assert not list((house.state / "undo").glob("*"))
    house.ok(*both)
    assert held(house) == NAMES


def test_a_policy_of_another_name_makes_no_mass_deletion_a_remark(house: Machine) -> None:
    file = house.path("strongroom.toml")
    file.write_text(file.read_text().replace("[policies.monthly-full]", "[policies.everything]"))
    house.ok("backup", "--policy", "everything", "--force")
    done = house.run("restore", "--full-restore", "--dry-run", "--identity", "recovery.key")
    says_what_is_missing(done, house)
