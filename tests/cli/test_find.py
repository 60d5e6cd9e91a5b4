"""find, history and diff: which backup has which version of a secret, and what differs; no value is shown."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strongroom.cli.shared.identities import load_key
from strongroom.cli.shared.sources import way_into
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import Tampered, UntrustedSigner, WrongKey
from strongroom.errors import UsageError
from strongroom.keys import roles
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.errors import NotAllRead, SetAside
from strongroom.sources.errors import SecretNotFound
from strongroom.targets.directory import DirectoryTarget
from tests.cli.furnished import furnished
from tests.cli.program import Done, Machine
from tests.operations.find.lying import plant

CONFIG = """
[targets.east]
kind = "directory"
path = "{home}/regions/east"
region = "eu-central"
create = true
[targets.west]
kind = "directory"
path = "{home}/regions/west"
region = "eu-west"
create = true
[sources.local]
kind = "local"
[keys.recovery]
kind = "hpke"
public_key_file = "{home}/recovery.key.pub"
identity_file = "{home}/recovery.key"
[policies.nightly]
kind = "full"
targets = ["east", "west"]
recipients = ["recovery"]
[policies.names]
kind = "metadata"
targets = ["east", "west"]
"""


def keep_house(machine: Machine) -> list[str]:
    """Four nights: a secret is made, changed, tagged, and one is gone; then a list of names is kept."""
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home))
    machine.set("db/password", "CANARY-ONE", "--tag", "env=prod")
    machine.set("db/old", "CANARY-OLD")
    nights = [_backup(machine)]
    machine.set("db/password", "CANARY-TWO", "--tag", "env=prod")
    nights.append(_backup(machine))
    machine.set("api/key", "CANARY-KEY", "--expires", "2020-01-01")
    machine.ok("secrets", "delete", "db/old", "--force")
    nights += [_backup(machine), _backup(machine, "names")]
    return nights


def _backup(machine: Machine, policy: str = "nightly") -> str:
    machine.ok("backup", "--policy", policy, "--force")
    return str(machine.ok("backups", "list", "--json").document["backups"][0]["backup"])


house = furnished(keep_house)


@pytest.fixture
def nights(house: Machine) -> list[str]:
    """Return the backups, the oldest first."""
    found = house.ok("backups", "list", "--json").document["backups"]
    return [one["backup"] for one in reversed(found)]


def found(done: Done) -> list[dict[str, Any]]:
    return list(done.document["secrets"])


def backups_of(version: dict[str, Any]) -> list[str]:
    return [one["backup"] for one in version["backups"]]


def test_one_name_is_found_in_each_version_with_backups_places_and_verification(
    house: Machine, nights: list[str]
) -> None:
    [one] = found(house.ok("backups", "find", "db/password", "--json"))
    assert (one["name"], one["source"], one["tags"]) == ("db/password", "local", {"env": "prod"})
    told = [(v["version"], v["has_value"], backups_of(v)) for v in one["versions"]]
    assert told == [
        (2, False, [nights[3]]),
        (2, True, [nights[2], nights[1]]),
        (1, True, [nights[0]]),
    ]
    places = one["versions"][1]["backups"][0]["targets"]
    assert [(at["name"], at["verified"], bool(at["verified_at"])) for at in places] == [
        ("east", "digest", True),
        ("west", "digest", True),
    ]


def told_command(done: Done) -> list[str]:
    """Return the words of the command that brings the newest value back."""
    [words] = re.findall(r"^To bring version \d+ back: strongroom (.*)$", done.out, re.MULTILINE)
    return shlex.split(words)


def test_a_person_is_told_how_to_bring_the_newest_value_back(house: Machine, nights: list[str]) -> None:
    done = house.ok("backups", "find", "db/password")
    assert f"--secret-name db/password --backup {nights[2]}" in done.out
    words = told_command(done)
    house.ok("secrets", "delete", "db/password", "--force")
    house.ok(*words)
    assert house.ok("get", "db/password", "--show-value").out == "CANARY-TWO"


def test_on_another_machine_the_command_told_brings_it_back(
    house: Machine, other: Machine, nights: list[str]
) -> None:
    signer = house.ok("backups", "list", "--from-target", "east", "--json").document["backups"][0]["signer"]
    shutil.copytree(house.path("regions/east"), other.path("my copy"))
    shutil.copy(house.path("recovery.key"), other.path("recovery.key"))
    given = ("--from-target", "my copy", "--identity", "recovery.key", "--signer", signer)
    done = other.ok("backups", "find", "db/password", *given)
    assert "not on record here" in done.out
    other.ok(*told_command(done))
    assert other.ok("get", "db/password", "--show-value").out == "CANARY-TWO"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["db/*"], ["db/old", "db/password"]),
        (["--filter-tag", "env=prod"], ["db/password"]),
        (["*", "--policy", "names"], ["api/key", "db/password"]),
    ],
)
def test_a_pattern_a_tag_and_a_policy_say_what_is_meant(
    house: Machine, words: list[str], names: list[str]
) -> None:
    assert [one["name"] for one in found(house.ok("backups", "find", *words, "--json"))] == names


def test_what_was_made_later_is_not_looked_into(house: Machine) -> None:
    assert house.run("backups", "find", "db/password", "--at", "2020-01-01").failed_with(SecretNotFound)


def test_a_name_that_no_backup_holds_is_said_with_how_many_were_read(house: Machine) -> None:
    done = house.run("backups", "find", "db/passwort")
    assert done.failed_with(SecretNotFound)
    assert "None of the 4 backups read holds 'db/passwort'" in " ".join(done.err.split())


def test_a_mistyped_name_is_asked_about_wherever_a_backup_is_looked_into(house: Machine) -> None:
    for words in (
        ["backups", "find", "db/passwort"],
        ["backups", "history", "db/passwort"],
        ["restore", "--secret-name", "db/passwort"],
        ["get", "db/passwort", "--from-target", "east"],
    ):
        done = house.run(*words)
        assert done.failed_with(SecretNotFound), done
        assert "Did you mean 'db/password'?" in done.err


def test_where_nothing_could_be_read_no_name_is_called_unknown(house: Machine) -> None:
    for manifest in house.path("regions").glob("*/manifests/*"):
        damage(manifest)
    for words in (["backups", "find", "db/password"], ["backups", "history", "db/password"]):
        done = house.run(*words)
        assert done.failed_with(Tampered), done


def test_where_some_could_not_be_read_they_may_hold_the_name(house: Machine, nights: list[str]) -> None:
    for manifest in house.path("regions").glob(f"*/manifests/*{nights[0]}*"):
        damage(manifest)
    for command in ("backups find", "backups history"):
        done = house.run(command, "nobody/has/it")
        assert done.failed_with(NotAllRead), done
        assert "1 backup could not be read, and may" in " ".join(done.err.split())


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("", "--to kv "),
        ("[sources.writes]\nkind = 'vault'\nvault = 'writer'\ndestination = true\n", "--to writes "),
        ("[sources.writes]\nkind = 'vault'\nvault = 'else'\ndestination = true\n", "--to kv "),
    ],
)
def test_a_secret_goes_back_to_where_it_was(tmp_path: Path, more: str, words: str) -> None:
    vaults = {name: {"address": "https://a"} for name in ("reader", "writer")} | {"else": {"address": "b"}}
    tables = tomllib.loads("[sources.kv]\nkind = 'vault'\nvault = 'reader'\n" + more) | {"vaults": vaults}
    assert f"--to {way_into('kv', InstallationPlace(tmp_path, tables))} " == words
    assert way_into("other", InstallationPlace(tmp_path, tables)) == ""
    assert way_into("local", InstallationPlace(tmp_path, tables)) == "local"


def test_a_secret_of_a_source_that_is_not_here_is_put_nowhere_else(house: Machine) -> None:
    house.path("app.env").write_text("TOKEN=CANARY-TOKEN\nOTHER=CANARY-OTHER\n")
    file = house.path("strongroom.toml")
    section = f'[sources.app]\nkind = "files"\npath = "{house.path("app.env")}"\n'
    file.write_text(file.read_text().replace('kind = "full"', 'kind = "full"\nsource = "app"') + section)
    _backup(house)
    said = house.ok("backups", "find", "TOKEN").out
    assert "nothing here writes into 'app'" in said
    assert said.rstrip().endswith("--to SOURCE")


def test_without_a_key_it_is_said_which_one_is_needed(house: Machine) -> None:
    house.path("recovery.key").unlink()
    done = house.run("backups", "find", "db/password", "--policy", "nightly")
    assert done.failed_with(WrongKey)
    assert "Sealed to" in done.err


def test_a_backup_that_no_key_opens_is_named_and_hides_nothing_of_the_others(
    house: Machine, nights: list[str]
) -> None:
    house.ok("keys", "new", "--output", "other.key")
    text = house.path("strongroom.toml").read_text()
    house.path("strongroom.toml").write_text(text.replace("/recovery.key", "/other.key"))
    _backup(house)
    done = house.run("backups", "find", "db/password", "--json")
    assert done.failed_with(NotAllRead)
    assert all(f"not read: {backup}" in done.err for backup in nights[:3])
    assert (done.document["backups_read"], done.document["backups_not_read"]) == (2, 3)


def test_a_target_that_is_damaged_costs_no_answer_and_is_told(house: Machine, nights: list[str]) -> None:
    shutil.rmtree(house.path("regions/east/containers") / nights[2])
    done = house.run("backups", "find", "db/password", "--json")
    assert done.code != 0
    assert "'east'" in done.err
    version = found(done)[0]["versions"][1]
    assert [at["name"] for at in version["backups"][0]["targets"]] == ["west"]


def test_each_look_goes_on_record(house: Machine, nights: list[str]) -> None:
    house.ok("backups", "find", "db/password", "--policy", "nightly")
    log = (house.state / "accesses.jsonl").read_text()
    assert all(f'"{backup}"' in log for backup in nights[:3])
    assert '"command":"backups find"' in log


def test_a_history_says_since_when_what_was_otherwise(house: Machine, nights: list[str]) -> None:
    [source] = house.ok("backups", "history", "db/password", "--json").document["sources"]
    told = [(one["since"]["backup"], one["until"]["backup"], one["what"]) for one in source["periods"]]
    assert told == [
        (nights[0], nights[0], ["first seen"]),
        (nights[1], nights[3], ["version 1 to 2"]),
    ]


def test_a_history_says_when_a_secret_was_gone_and_back_again(house: Machine, nights: list[str]) -> None:
    house.set("db/old", "CANARY-AGAIN")
    last = _backup(house)
    [source] = house.ok("backups", "history", "db/old", "--json").document["sources"]
    told = [(one["since"]["backup"], one["present"], one["what"]) for one in source["periods"]]
    assert told == [
        (nights[0], True, ["first seen"]),
        (nights[2], False, ["gone"]),
        (last, True, ["back again"]),
    ]


def test_tags_and_expiry_that_changed_are_told(house: Machine, nights: list[str]) -> None:
    house.set("db/password", "CANARY-TWO", "--tag", "env=test", "--expires", "2031-01-31")
    _backup(house)
    [source] = house.ok("backups", "history", "db/password", "--json").document["sources"]
    assert source["periods"][-1]["what"] == [
        "version 2 to 3",
        "tag env: prod to test",
        "expires 2031-01-31T00:00:00Z (before: never)",
    ]


def names_of(document: dict[str, Any]) -> dict[str, list[Any]]:
    changed = [(one["name"], one["what"]) for one in document["changed"]]
    return {key: document[key] for key in ("added", "removed", "expired")} | {"changed": changed}


def test_two_backups_differ_by_what_was_added_changed_and_removed(house: Machine, nights: list[str]) -> None:
    document = house.ok("backups", "diff", nights[0], nights[2], "--json").document
    assert names_of(document) == {
        "added": ["api/key"],
        "changed": [("db/password", ["version 1 to 2"])],
        "removed": ["db/old"],
        "expired": [],
    }
    assert document["values_compared"]


def test_a_backup_is_compared_with_its_source_now(house: Machine) -> None:
    assert names_of(house.ok("backups", "diff", "--json").document) == {
        "added": [],
        "changed": [],
        "removed": [],
        "expired": [],
    }
    house.set("db/password", "CANARY-THREE", "--tag", "env=prod")
    house.set("new", "CANARY-NEW")
    house.ok("secrets", "delete", "api/key", "--force")
    done = house.ok("backups", "diff", "--json")
    assert names_of(done.document) == {
        "added": ["new"],
        "changed": [("db/password", ["version 2 to 3"])],
        "removed": ["api/key"],
        "expired": [],
    }
    assert "CANARY" not in done.out + done.err + house.ok("backups", "diff").out


def test_backups_of_two_keys_of_digests_are_compared_by_their_values(
    house: Machine, nights: list[str]
) -> None:
    [key] = house.state.rglob("digest.key")
    key.unlink()
    later = _backup(house)
    document = house.ok("backups", "diff", nights[2], later, "--json").document
    assert (document["changed"], document["same"]) == ([], 2)
    [source] = house.ok("backups", "history", "db/password", "--json").document["sources"]
    assert [one["since"]["backup"] for one in source["periods"]] == nights[:2]


def test_a_history_goes_on_where_a_value_cannot_be_compared(house: Machine, nights: list[str]) -> None:
    [key] = house.state.rglob("digest.key")
    key.unlink()
    last = _backup(house)
    for container in house.path("regions").glob(f"*/containers/{last}/*"):
        damage(container)
    done = house.run("backups", "history", "db/password", "--json")
    assert done.failed_with(NotAllRead), done
    [source] = done.document["sources"]
    assert [one["since"]["backup"] for one in source["periods"]] == [nights[0], nights[1], last]
    assert "could not be compared" in source["periods"][-1]["what"][0]


def test_where_one_side_has_no_values_names_and_versions_are_compared(
    house: Machine, nights: list[str]
) -> None:
    done = house.ok("backups", "diff", nights[0], nights[3], "--json")
    assert names_of(done.document)["changed"] == [("db/password", ["version 1 to 2"])]
    assert not done.document["values_compared"]
    assert "holds no values" in done.err


@pytest.mark.usefixtures("nights")
def test_a_stranger_s_backups_are_looked_into_where_anybody_s_will_do_and_that_is_said(
    house: Machine, other: Machine
) -> None:
    """They were where nobody is trusted, too: on the very machine that knows nothing."""
    words = lost(house, other)
    assert other.run("backups", "find", "db/password", *words).failed_with(UntrustedSigner)
    done = other.ok("backups", "find", "db/password", *words, "--any-signer", "--json")
    assert len(found(done)[0]["versions"]) == 3
    assert done.err.count("nobody knows who made this") == 1


def test_a_stranger_s_backups_are_refused_where_others_are_trusted_with_what_to_type(
    house: Machine, other: Machine
) -> None:
    other.set("x", "CANARY-X")
    other.seal()  # which makes an installation here
    done = other.run("backups", "find", "db/password", *lost(house, other))
    assert done.failed_with(UntrustedSigner)
    [fingerprint] = re.findall(r"--signer (sr1:[0-9a-f]{64})", done.err)
    assert other.ok("backups", "find", "db/password", *lost(house, other), "--signer", fingerprint).out


def lost(house: Machine, other: Machine) -> list[str]:
    """Give another machine a copy of a target, and the key; return the words that read them."""
    shutil.copytree(house.path("regions/east"), other.path("copy"), dirs_exist_ok=True)
    shutil.copy(house.path("recovery.key"), other.path("recovery.key"))
    return ["--from-target", "copy", "--identity", "recovery.key"]


def test_a_name_forges_no_line_of_the_answer(house: Machine) -> None:
    house.set("a\nTo bring version 9 back: rm -r /", "CANARY-ODD")
    _backup(house)
    house.ok("secrets", "delete", "a\nTo bring version 9 back: rm -r /", "--force")
    for words in (["backups", "find", "a?To*"], ["backups", "diff"]):
        assert not any(line.startswith("To bring version 9") for line in house.ok(*words).out.splitlines())


def test_a_server_as_a_whole_is_not_snapshotted_for_a_comparison(house: Machine) -> None:
    text = house.path("strongroom.toml").read_text()
    house.path("strongroom.toml").write_text(text + '[sources.server]\nkind = "raft"\n')
    done = house.run("backups", "diff", "--source", "server")
    assert done.failed_with(UsageError)
    assert "server as a whole" in done.err


def test_what_is_in_quarantine_is_found_and_said_to_be(house: Machine, nights: list[str]) -> None:
    words = ("--reason", "a key leaked", "--quarantine-only", "--force", "--output", "incident.json")
    house.ok("incident", "open", "--backup", nights[2], *words)
    [one] = found(done := house.run("backups", "find", "db/password", "--json"))
    assert done.failed_with(SetAside)
    told = {backup["backup"]: backup["quarantine"] for v in one["versions"] for backup in v["backups"]}
    assert "a key leaked" in str(told[nights[2]])
    assert told[nights[1]] is None
    said = house.run("backups", "find", "db/password").out
    assert f"{nights[2]} (quarantine)" in said
    assert f"--backup {nights[1]}\n" in said


@pytest.mark.parametrize(
    "words",
    [["live", "live"], ["a", "b", "c"], ["a", "--policy", "nightly"], ["a", "b", "--source", "local"]],
)
def test_words_that_name_no_two_sides_are_refused(house: Machine, words: list[str]) -> None:
    assert house.run("backups", "diff", *words).failed_with(UsageError)


def test_after_a_rotation_the_new_key_finds_by_the_indexes_and_the_old_one_by_nothing(
    house: Machine, nights: list[str]
) -> None:
    house.ok("keys", "new", "--output", "next.key")
    told = house.ok("keys", "replace", "--current-key", "recovery.key", "--new-key", "next.key")
    assert told.out.count("2 keys re-wrapped, 1 of them of an index of names (opened with the new key)") == 3
    again = house.ok("keys", "replace", "--current-key", "recovery.key", "--new-key", "next.key")
    assert again.out.count("nothing to do") == 3
    file = house.path("strongroom.toml")
    file.write_text(file.read_text().replace("identity_file", "# "))
    for pattern in ("db/password", "db/*"):
        done = house.ok("backups", "find", pattern, "--json", "--identity", "next.key", "--policy", "nightly")
        assert "not used" not in done.err
        told_of = {one for secret in found(done) for v in secret["versions"] for one in backups_of(v)}
        assert told_of == set(nights[:3])
        old = house.run("backups", "find", pattern, "--identity", "recovery.key", "--policy", "nightly")
        assert old.failed_with(WrongKey)
    assert "not used" not in house.ok("backups", "history", "db/password", "--identity", "next.key").err


def test_a_key_that_is_for_names_alone_is_rotated_alone(house: Machine, nights: list[str]) -> None:
    for name in ("operators", "next"):
        house.ok("keys", "new", "--output", f"{name}.key")
    file = house.path("strongroom.toml")
    keys = "".join(
        f'[keys.{name}]\nkind = "hpke"\npublic_key_file = "{house.home}/{name}.key.pub"\n'
        for name in ("operators", "next")
    )
    file.write_text(f'{file.read_text()}{keys}[index]\nrecipients = ["operators"]\n')
    newest = _backup(house)
    told = house.ok("keys", "replace", "--current-key", "operators.key", "--new-key", "next.key")
    assert f"the index of names of backup {newest} on east, until it is deleted" in told.out
    assert f"  backup {newest} on" not in told.out, "no value opens with it"
    done = house.run("backups", "find", "db/*", "--identity", "next.key", "--json")
    told = {one for secret in found(done) for v in secret["versions"] for one in backups_of(v)}
    assert newest in told


def lie(machine: Machine, backup: str, *names: str, frame: Callable[[bytes], bytes] = bytes) -> None:
    """Have the index of a backup say that it has these names alone."""
    folders = [machine.path(f"regions/{name}") for name in ("east", "west")]
    targets = [DirectoryTarget(folder, name=folder.name, region=folder.name) for folder in folders]
    identity = load_key(machine.path("recovery.key"))
    manifest = read_manifest(targets[0], backup, trusted=None)
    plant(
        targets,
        manifest,
        identity.recipient(),
        lambda role: roles.load_role(machine.state / "keys" / "roles", role),
        names=names,
        frame=frame,
    )


def test_that_the_newest_backup_lacks_a_name_no_index_is_believed(house: Machine, nights: list[str]) -> None:
    expected = found(house.ok("backups", "find", "api/key", "--policy", "nightly", "--json", "--no-index"))
    lie(house, nights[2], "db/password")
    done = house.ok("backups", "find", "api/key", "--policy", "nightly", "--json")
    assert found(done) == expected
    assert f"not believed: the index of names of {nights[2]}" in done.err
    told = house.ok("backups", "history", "api/key", "--policy", "nightly", "--json").document["sources"]
    assert [period["present"] for period in told[0]["periods"]] == [True]


def test_a_name_that_is_not_there_costs_one_look_and_no_note(house: Machine, nights: list[str]) -> None:
    done = house.run("backups", "find", "db/nothing", "--policy", "nightly")
    assert done.failed_with(SecretNotFound)
    assert "not " not in done.err.partition("strongroom:")[0]


def test_who_may_learn_names_alone_is_told_that_the_index_alone_was_asked(
    house: Machine, nights: list[str]
) -> None:
    house.ok("keys", "new", "--output", "operators.key")
    file = house.path("strongroom.toml")
    key = f'[keys.operators]\nkind = "hpke"\npublic_key_file = "{house.home}/operators.key.pub"\n'
    without = file.read_text().replace("identity_file", "# ")
    file.write_text(f'{without}{key}[index]\nrecipients = ["operators"]\n')
    newest = _backup(house)
    asked = ("--policy", "nightly", "--identity", "operators.key")
    done = house.run("backups", "find", "db/nothing", *asked)
    assert f"not checked: {newest}: no key here opens it" in done.err
    assert newest in house.run("backups", "find", "db/password", *asked).out


@pytest.mark.parametrize(
    "frame",
    [
        lambda frame: b"\0" * len(frame),
        lambda frame: frame[:-1],
        lambda frame: b"",
        lambda frame: b"CANARY-JUNK",
        lambda frame: frame + frame,
    ],
    ids=["zeros", "cut", "empty", "junk", "twice"],
)
def test_a_block_that_is_none_costs_time_and_is_no_answer(
    house: Machine, nights: list[str], frame: Callable[[bytes], bytes]
) -> None:
    expected = {
        command: house.ok(*command, "--policy", "nightly", "--json", "--no-index").document
        for command in (
            ("backups", "find", "db/*"),
            ("backups", "find", "db/password"),
            ("backups", "history", "db/password"),
        )
    }
    lie(house, nights[2], "db/password", frame=frame)
    for command, document in expected.items():
        done = house.ok(*command, "--policy", "nightly", "--json")
        assert done.document == document
        assert "not used: index/" in done.err
