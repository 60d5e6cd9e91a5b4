"""On the worst day the right backup is taken by default, and what is said of the choice is so."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from strongroom.container.errors import MissingPiece
from strongroom.operations.errors import LeftAside, NewestUnseen, NotCovered, TargetUnsound
from strongroom.sources.errors import SecretNotFound
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import Done, Machine
from tests.cli.test_emergency import blocks, typed

CONFIG = """
[targets.east]
kind = "directory"
path = "{home}/regions/east"
region = "east"
create = true
[targets.west]
kind = "directory"
path = "{home}/regions/west"
region = "west"
create = true
[sources.local]
kind = "local"
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
[policies.monthly-full]
kind = "full"
targets = ["east", "west"]
recipients = ["recovery"]
[policies.weekly-critical]
kind = "full"
targets = ["east", "west"]
recipients = ["recovery"]
tags = {{ priority = "critical" }}
[policies.daily-metadata]
kind = "metadata"
targets = ["east", "west"]
"""
NAMES = ["DATABASE_PASSWORD", "JWT_SECRET_KEY", "REDIS_PASSWORD"]


def keep_house(machine: Machine) -> None:
    """A machine with the three policies of a fresh installation, each run once: the nightly one last."""
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home))
    for policy in ("monthly-full", "weekly-critical", "daily-metadata"):
        machine.ok("backup", "--policy", policy, "--force")


house = furnished(stock, keep_house)


@pytest.fixture
def lost(house: Machine, other: Machine) -> Machine:
    """Another machine, with copies of the two targets and the recovery key: the first is gone."""
    shutil.copytree(house.path("regions"), other.path("copy"))
    shutil.copy(house.path("recovery.key"), other.path("recovery.key"))
    return other


def signer(house: Machine) -> str:
    found = house.run("backups", "list", "--from-target", "east", "--json").document["backups"]
    return str(found[0]["signer"])  # 70 where one of them is in quarantine


def words_of(done: Done) -> str:
    """What was said on stderr, without its line breaks."""
    return " ".join(done.err.split())


def ids(house: Machine) -> dict[str, str]:
    """Return the newest backup of each policy."""
    found = house.ok("backups", "list", "--json").document["backups"]
    return {one["policy"]: one["backup"] for one in reversed(found)}


def names(machine: Machine) -> list[str]:
    return [one["name"] for one in machine.ok("list", "--json").document["secrets"]]


def key(machine: Machine, house: Machine) -> list[str | Path]:
    return ["--identity", machine.path("recovery.key"), "--signer", signer(house)]


def everything(machine: Machine, house: Machine, *words: str) -> Done:
    return machine.run("restore", "--full-restore", *words, *key(machine, house))


def test_the_runbooks_line_brings_everything_back_though_newer_backups_hold_less(
    house: Machine, lost: Machine
) -> None:
    done = everything(lost, house, "--from-target", "copy/east")
    assert (done.code, names(lost)) == (0, NAMES)
    found = ids(house)
    assert f"from backup {found['monthly-full']} of policy 'monthly-full', made " in words_of(done)
    assert f"skipped: {found['daily-metadata']} of policy 'daily-metadata'" in words_of(done)
    assert "it holds no values" in words_of(done)
    assert "it holds only secrets tagged priority=critical" in words_of(done)


def test_without_a_target_all_configured_ones_are_looked_at(house: Machine) -> None:
    for name in NAMES:
        house.ok("secrets", "delete", name, "--force")
    done = house.ok("restore", "--full-restore", "--identity", "recovery.key")
    assert (names(house), "on 'east', 'west'" in words_of(done)) == (NAMES, True)


def test_a_category_comes_from_the_newest_backup_that_was_made_of_it(house: Machine, lost: Machine) -> None:
    found = ids(house)
    words = ["restore", "--from-target", "copy/east", *key(lost, house)]
    critical = lost.ok(*words, "--filter-tag", "priority=critical")
    assert f"from backup {found['weekly-critical']}" in words_of(critical)
    database = lost.ok(*words, "--filter-tag", "category=database")
    assert f"from backup {found['monthly-full']}" in words_of(database)
    assert names(lost) == NAMES


def test_a_filtered_backup_restores_everything_only_on_request_and_says_what_it_lacks(
    house: Machine, lost: Machine
) -> None:
    words = ["--from-target", "copy/east", "--policy", "weekly-critical"]
    refused = everything(lost, house, *words)
    assert refused.failed_with(NotCovered)
    assert "--partial" in words_of(refused)
    assert lost.run("list").out.startswith("The store is clean")
    done = everything(lost, house, *words, "--partial")
    assert (done.code, names(lost)) == (0, ["DATABASE_PASSWORD", "JWT_SECRET_KEY"])
    assert "it brings back no others" in words_of(done)


def test_a_backup_of_names_alone_is_refused_by_the_name_of_one_that_will_do(
    house: Machine, lost: Machine
) -> None:
    found = ids(house)
    refused = everything(lost, house, "--from-target", "copy/east", "--backup", found["daily-metadata"])
    assert refused.failed_with(NotCovered)
    assert "it holds no values" in words_of(refused)
    assert found["monthly-full"] in words_of(refused)


def test_a_date_chooses_the_newest_that_was_made_by_then(house: Machine, lost: Machine) -> None:
    early = everything(lost, house, "--from-target", "copy/east", "--at", "2020-01-01")
    assert early.failed_with(NotCovered)
    assert "No backup there covers" in words_of(early)
    assert everything(lost, house, "--from-target", "copy/east", "--at", "2999-01-01").code == 0


def test_one_secret_is_found_in_an_older_backup_that_has_it(house: Machine, lost: Machine) -> None:
    found = ids(house)
    words = ["restore", "--from-target", "copy/east", *key(lost, house)]
    done = lost.ok(*words, "--secret-name", "REDIS_PASSWORD")
    assert names(lost) == ["REDIS_PASSWORD"]
    assert f"{found['weekly-critical']} of policy 'weekly-critical'" in words_of(done)
    assert "it does not hold 'REDIS_PASSWORD'" in words_of(done)
    missing = lost.run(*words, "--secret-name", "NO_SUCH")
    assert missing.failed_with(SecretNotFound)
    assert "neither do the 1 before it" in words_of(missing)


def test_what_lies_on_a_target_is_listed_without_database_and_configuration(
    house: Machine, lost: Machine
) -> None:
    listed = lost.ok("backups", "list", "--from-target", "copy/west")
    rows = {line.split()[1]: line for line in listed.out.splitlines() if line.startswith("20")}
    assert sorted(rows) == ["daily-metadata", "monthly-full", "weekly-critical"]
    assert ("tagged priority=critical" in rows["weekly-critical"], "everything" in rows["monthly-full"]) == (
        True,
        True,
    )
    assert "(unknown)" in rows["monthly-full"]
    assert not (lost.state / "state.db").exists()


def test_the_names_in_a_backup_of_names_alone_are_listed(house: Machine, lost: Machine) -> None:
    done = lost.ok("list", "--from-target", "copy/east", "--signer", signer(house), "--json")
    assert [one["name"] for one in done.document["secrets"]] == NAMES
    assert f"from backup {ids(house)['daily-metadata']}" in words_of(done)


def damage(folder: Path, backup: str) -> None:
    for file in (folder / "containers" / backup).iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))


def test_a_damaged_target_costs_nothing_where_another_is_whole_and_is_named_at_the_end(
    house: Machine, lost: Machine
) -> None:
    damage(lost.path("copy/east"), ids(house)["monthly-full"])
    done = everything(lost, house, "--from-target", "copy/east", "--from-target", "copy/west")
    assert done.failed_with(TargetUnsound)
    assert names(lost) == NAMES
    assert "'copy/east': Tampered" in words_of(done)
    assert "strongroom backups repair --all" in words_of(done)


@pytest.mark.parametrize("what", ["containers", "manifests", "region"])
def test_an_emptied_target_costs_nothing_where_another_is_whole_and_is_named_at_the_end(
    house: Machine, lost: Machine, what: str
) -> None:
    east = lost.path("copy/east")
    shutil.rmtree(east if what == "region" else east / what)
    done = everything(lost, house, "--from-target", "copy/west")
    assert done.code == 0
    config = CONFIG.format(home=house.home).replace(str(house.path("regions")), str(lost.path("copy")))
    lost.path("strongroom.toml").write_text(config.replace("create = true", ""))
    lost.path("recovery.key.pub").write_text(house.path("recovery.key.pub").read_text())
    done = everything(lost, house)
    assert done.failed_with(TargetUnsound)
    assert "'east': " in words_of(done)


def test_when_nothing_is_left_of_the_only_backup_that_is_said_and_nothing_is_written(
    house: Machine, lost: Machine
) -> None:
    backup = ids(house)["monthly-full"]
    for region in ("east", "west"):
        shutil.rmtree(lost.path(f"copy/{region}/containers/{backup}"))
    done = everything(lost, house, "--from-target", "copy/east", "--from-target", "copy/west")
    assert done.failed_with(MissingPiece)
    assert f"3 secrets of backup {backup} cannot be read. 3 are lost." in words_of(done)
    assert names(lost) == []


def test_junk_and_a_strangers_backup_are_passed_over_in_a_word(
    house: Machine, lost: Machine, tmp_path: Path
) -> None:
    stranger = Machine(tmp_path / "stranger")
    stranger.set("EVIL", "CANARY-EVIL")
    stranger.ok("keys", "new", "--output", "recovery.key")
    stranger.path("strongroom.toml").write_text(CONFIG.format(home=stranger.home))
    stranger.ok("backup", "--policy", "monthly-full", "--force")
    shutil.copytree(stranger.path("regions/east"), lost.path("copy/east"), dirs_exist_ok=True)
    manifests = lost.path("copy/east/manifests")
    for number in range(500):
        (manifests / f"20991231T000000Z-{number:08x}.json").write_text("junk")
    done = everything(lost, house, "--from-target", "copy/east")
    assert done.failed_with(LeftAside)
    assert names(lost) == NAMES
    assert "and 499 more like it" in words_of(done)
    assert "UntrustedSigner" in words_of(done)


def test_a_rehearsal_says_which_backup_and_that_it_holds_everything(house: Machine, lost: Machine) -> None:
    done = lost.ok("drill", "local", "--from-target", "copy/east", *key(lost, house), "--json")
    assert (done.document["backup"], done.document["counts"]["secrets"]) == (
        ids(house)["monthly-full"],
        len(NAMES),
    )


def test_what_lives_now_is_compared_with_a_backup_that_covers_it(house: Machine) -> None:
    done = house.ok("check", "secrets", "--from-target", "east", "--identity", "recovery.key", "--json")
    assert f"from backup {ids(house)['monthly-full']}" in words_of(done)
    assert json.loads(done.out)


def test_the_kits_lines_for_a_policy_of_some_secrets_bring_back_what_it_holds(
    house: Machine, lost: Machine
) -> None:
    house.ok("emergency", "kit", "--output", "kit.html")
    lines = blocks(house.path("kit.html"))["policy 'weekly-critical', from a copy of a target 'east'"]
    key_file = str(lost.path("recovery.key"))
    typed(lost, lost.home, [re.sub(r"/path/to/recovery\b(\.key)?", key_file, line) for line in lines])
    assert names(lost) == ["DATABASE_PASSWORD", "JWT_SECRET_KEY"]


def test_a_target_whose_newest_manifest_is_damaged_is_not_verified_as_if_there_were_none(
    house: Machine, lost: Machine
) -> None:
    newest = max(lost.path("copy/east/manifests").iterdir())
    newest.write_bytes(newest.read_bytes().replace(b'"created_at":"2', b'"created_at":"3'))

    done = lost.run("backups", "verify", "copy/east", *key(lost, house))

    assert done.failed_with(NewestUnseen)  # a signed head there names it
    assert f"manifests/{newest.name} does not count (Tampered)" in words_of(done)
    assert f"strongroom backups repair {newest.stem}" in words_of(done)
    older = min(lost.path("copy/east/manifests").iterdir()).stem
    named = ("backups", "verify", "copy/east", "--backup", older, *key(lost, house))
    assert lost.run(*named).code == 0  # what was named was not chosen


def test_a_newer_backup_of_another_installation_is_named_where_a_target_is_verified(
    house: Machine, other: Machine
) -> None:
    other.ok("keys", "new", "--output", "recovery.key")
    other.path("strongroom.toml").write_text(CONFIG.format(home=other.home))
    other.ok("set", "NAME", stdin="CANARY-other")
    other.ok("backup", "--policy", "daily-metadata", "--force")
    strangers = other.path("regions/east/manifests")
    shutil.copytree(strangers, house.path("regions/east/manifests"), dirs_exist_ok=True)

    done = house.run("backups", "verify", "east", "--identity", "recovery.key")

    assert done.code == LeftAside.exit_code
    [name] = [one.name for one in strangers.iterdir()]
    assert f"manifests/{name} (UntrustedSigner" in words_of(done)


MEDIUM = """
[targets.medium]
kind = "directory"
path = "{home}/regions/medium"
region = "the-safe"
create = true
[policies.emergency]
kind = "full"
targets = ["medium"]
recipients = ["recovery"]
offline = true
quorum = 1
regions = 1
"""


def test_a_target_that_was_never_to_hold_a_backup_lacks_nothing_of_it(house: Machine) -> None:
    with house.path("strongroom.toml").open("a") as config:
        config.write(MEDIUM.format(home=house.home))
    house.ok("backup", "--policy", "emergency", "--force")
    newest = ids(house)["emergency"]
    done = house.ok("restore", "--full-restore", "--dry-run", "--identity", "recovery.key")
    assert f"from backup {newest} of policy 'emergency'" in words_of(done)
    assert "on 'medium'" in words_of(done)
