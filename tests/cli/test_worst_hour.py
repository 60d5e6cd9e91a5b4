"""A reader at the worst hour goes on: every way gives the same secrets from the same damage."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import pytest

import strongroom
from strongroom.container.errors import MissingPiece, Tampered
from strongroom.operations.errors import TargetUnsound
from strongroom.targets.directory import MARKER
from tests.cli.program import Done, Machine
from tests.cli.test_right_backup import words_of
from tests.recover.damaged import HELD, NEWEST, OLDER, OLDEST, Damaged, make, value
from tests.recover.test_damage import CASES, WHOLE, Held, changed, expected, flip
from tests.recover.test_recover import run
from tests.vectors import material as m
from tests.vectors.bundling import bundle, index_of

ON = [
    "--from-target", "copy", "--identity", "recovery.key", "--signer", m.INSTALLATION.fingerprint,
]  # fmt: skip
SOME = (
    "1 values of container 0", "2 rows of container 1", "index of container 0", "container 1 gone",
    "all containers gone", "two backups in a row, the same names",
)  # fmt: skip


def lay(machine: Machine, made: Damaged) -> None:
    """Put the backups into a folder of the machine, and the key beside it."""
    for name, content in {**made.objects, MARKER: b""}.items():
        path = machine.path("copy") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
    line = f"strongroom-key-1 AES256 {m.KEY_FILE.hex()}"
    key = machine.path("recovery.key")
    key.write_text(f"{line} {hashlib.sha256(line.encode()).hexdigest()[:8]}\n")
    key.chmod(0o600)


def damaged(machine: Machine, case: str) -> Damaged:
    made = make()
    CASES[case](made)
    lay(machine, made)
    return made


def store(machine: Machine) -> Held:
    """Return what the local store has."""
    names = [one["name"] for one in machine.ok("list", "--json").document["secrets"]]
    return {name: machine.ok("get", name, "--show-value").out.strip() for name in names}


def from_older(made: Damaged) -> dict[str, str]:
    """Return the secrets that come from another backup than the newest, with that backup."""
    found = {name: next(b for b in HELD if got == value(name, b)) for name, got in expected(made).items()}
    return {name: backup for name, backup in found.items() if backup != NEWEST}


def ends_by_the_loss(done: Done) -> None:
    assert done.code in {Tampered.exit_code, MissingPiece.exit_code}, done
    said = words_of(done)
    assert f"of backup {NEWEST} cannot be read" in said
    assert "Traceback" not in done.err
    assert "--from-target TARGET" in said


@pytest.mark.parametrize("case", SOME)
def test_a_restore_brings_what_is_sound_and_the_rest_from_the_backup_before(
    machine: Machine, case: str
) -> None:
    made = damaged(machine, case)
    words = ["restore", "--full-restore", *ON]
    dry = machine.run(*words, "--dry-run", "--json")
    ends_by_the_loss(dry)
    planned = {one["name"]: one["backup"] for one in dry.document["secrets"] if one["action"] != "missing"}
    assert planned == {name: from_older(made).get(name, "") for name in expected(made)}
    done = machine.run(*words, "--verify-after-restore", "--json")
    ends_by_the_loss(done)
    assert store(machine) == expected(made)
    assert done.document["verified"] == len(expected(made))
    lost = done.document["lost"]
    assert (lost["backup"], sum(one["secrets"] for one in lost["taken"])) == (NEWEST, len(from_older(made)))
    program = run(machine.path("copy"), "--key-file", machine.path("recovery.key"), *ON[-2:], "--jsonl")
    told = {one["name"]: one["versions"][-1]["value"] for one in map(json.loads, program.stdout.splitlines())}
    assert (told, program.returncode) == (expected(made), done.code)


def test_what_is_lost_is_said_with_how_many_from_when_and_what_to_type(machine: Machine) -> None:
    made = damaged(machine, "container 1 gone")
    done = machine.run("restore", "--full-restore", *ON)
    assert done.failed_with(MissingPiece)
    said = words_of(done)
    assert f"11 secrets of backup {NEWEST} cannot be read." in said
    many = len(from_older(made))
    assert f"{many} secrets as in backup {OLDER}, made 2026-11-24T02:45:01Z" in said
    assert "container 1 (11 secrets): MissingPiece" in said


def test_the_values_of_a_segment_alone_are_lost_by_name(machine: Machine) -> None:
    made = make()
    for backup in HELD:
        for number, piece in enumerate(made.pieces[backup]):
            for place in [one for one in piece.places if one.endswith("values")]:
                flip(place, number, backup)(made)
    lay(machine, made)
    plan = machine.run("restore", "--full-restore", *ON, "--dry-run", "--json")
    assert plan.failed_with(Tampered)
    assert sorted(plan.document["lost"]["names"]) == sorted(HELD[NEWEST])
    planned = {one["name"] for one in plan.document["secrets"] if one["action"] == "lost"}
    assert planned == set(HELD[NEWEST])
    done = machine.run("restore", "--full-restore", *ON)
    assert done.failed_with(Tampered)
    assert "22 are lost" in words_of(done)
    assert "lost: app/00" in words_of(done)


@pytest.mark.parametrize("case", SOME[:4])
def test_a_plan_names_each_secret_with_its_backup_and_does_just_that(machine: Machine, case: str) -> None:
    made = damaged(machine, case)
    ends_by_the_loss(machine.run("restore", "--full-restore", *ON, "--plan-out", "p.json"))
    lines = machine.path("p.json").read_bytes().split(b'{"format":')[0].splitlines()
    planned = [one for one in map(json.loads, lines) if one["action"] != "missing"]
    entries = {one["name"]: one for one in planned}
    assert {name: one["backup"] for name, one in entries.items() if one["backup"]} == from_older(made)
    assert all(one["why"] == "its part of the backup is damaged" for one in entries.values() if one["backup"])
    ends_by_the_loss(machine.run("restore", "--plan", "p.json", *ON))
    assert store(machine) == expected(made)


def test_what_rots_after_the_plan_was_made_is_not_taken_from_elsewhere_unasked(machine: Machine) -> None:
    """Somebody agreed to the newest values: older ones are another plan."""
    made = make()
    lay(machine, made)
    machine.ok("restore", "--full-restore", *ON, "--plan-out", "p.json")
    changed(WHOLE["gone"], 1)(made)
    machine.path(
        "copy",
    ).joinpath(made.pieces[NEWEST][1].name).unlink()
    done = machine.run("restore", "--plan", "p.json", *ON, "--json")
    assert done.failed_with(MissingPiece)
    sound = {name: got for name, got in expected(made).items() if got.endswith(NEWEST)}
    assert store(machine) == sound
    assert done.document["not_done"] == len(HELD[NEWEST]) - len(sound)
    again = machine.run("restore", "--full-restore", *ON, "--json")
    assert again.failed_with(MissingPiece)
    assert store(machine) == expected(made)


@pytest.mark.parametrize("case", SOME[:4])
def test_one_secret_is_found_past_a_damaged_part_and_said_to_be_older(machine: Machine, case: str) -> None:
    made = damaged(machine, case)
    older = from_older(made)
    name = next(iter(sorted(older)))
    got = machine.run("get", name, "--show-value", *ON)
    ends_by_the_loss(got)
    assert got.out.strip() == value(name, older[name])
    assert older[name] in words_of(got)
    brought = machine.run("restore", "--secret-name", name, *ON)
    ends_by_the_loss(brought)
    assert store(machine) == {name: value(name, older[name])}
    sound = next(name for name, held in expected(made).items() if held.endswith(NEWEST))
    assert machine.run("get", sound, "--show-value", *ON).out.strip() == value(sound, NEWEST)


def test_a_secret_that_no_backup_gives_any_more_is_told_as_lost_and_not_as_unknown(machine: Machine) -> None:
    damaged(machine, "all containers gone")
    for words in (["get", "new/0"], ["restore", "--secret-name", "new/0"]):
        done = machine.run(*words, *ON)
        assert done.failed_with(MissingPiece)
        assert "1 is lost" in words_of(done)


def test_the_names_in_a_damaged_backup_are_listed(machine: Machine) -> None:
    made = damaged(machine, "2 rows of container 1")
    done = machine.run("list", *ON, "--json")
    ends_by_the_loss(done)
    assert {one["name"] for one in done.document["secrets"]} == set(expected(made))


def test_a_backup_named_by_its_id_is_completed_from_those_before_it_alone(machine: Machine) -> None:
    made = make()
    changed(WHOLE["gone"], 0, OLDER)(made)
    lay(machine, made)
    done = machine.run("restore", "--full-restore", *ON, "--backup", OLDER)
    assert done.failed_with(MissingPiece)
    held = store(machine)
    assert {got[-len(OLDER) :] for got in held.values()} == {OLDER, OLDEST}


@pytest.mark.parametrize("case", SOME[:4])
def test_a_program_gets_the_same_secrets_and_is_warned(
    machine: Machine, case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = damaged(machine, case)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STRONGROOM_STATE_DIR", str(tmp_path / "none"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with strongroom.open(
            machine.path("copy"), identity=machine.path("recovery.key"), signer=m.INSTALLATION.fingerprint
        ) as backup:
            found = {one.name: (one.reveal().decode(), one.backup) for one in backup.secrets()}
            assert backup.lost is not None
            assert backup.lost.backup == NEWEST
            name = next(iter(from_older(made)))
            assert backup[name].as_of.startswith("2026-11-24")
    assert {name: got for name, (got, _) in found.items()} == expected(made)
    assert {name: b for name, (_, b) in found.items() if b != NEWEST} == from_older(made)
    assert [one for one in told if one.category is strongroom.LostPartWarning]


# -- in a file ------------------------------------------------------------------------------


def file_of(machine: Machine, made: Damaged, *backups: str) -> Path:
    """Put backups into one file, and have it damaged as they are by now."""
    names = [
        name
        for backup in backups
        for name in (*(piece.name for piece in made.pieces[backup]), f"manifests/{backup}.json")
    ]
    path, sound = machine.path("file.strongroom"), make().objects
    index = index_of([(name, sound[name]) for name in names])
    path.write_bytes(bundle([(name, made.objects[name]) for name in names], index))
    return path


@pytest.mark.parametrize("case", ["1 values of container 0", "2 rows of container 1", "index of container 0"])
@pytest.mark.parametrize("backups", [(NEWEST,), (OLDER, NEWEST)], ids=["alone", "joined"])
def test_a_file_is_read_past_damage_and_what_another_backup_in_it_has_stands_in(
    machine: Machine, case: str, backups: tuple[str, ...]
) -> None:
    made = damaged(machine, case)
    path = file_of(machine, made, *backups)
    words = ["restore", "--full-restore", "--backup-file", path, *ON[2:]]
    done = machine.run(*words)
    assert done.failed_with(Tampered)
    wanted = {name: got for name, got in expected(made).items() if got.endswith(NEWEST) or OLDER in backups}
    assert store(machine) == wanted
    program = run(path, "--key-file", machine.path("recovery.key"), *ON[-2:], "--jsonl")
    told = {one["name"]: one["versions"][-1]["value"] for one in map(json.loads, program.stdout.splitlines())}
    assert (told, program.returncode) == (wanted, done.code)


def test_a_container_alone_with_a_damaged_segment_gives_the_others(machine: Machine) -> None:
    made = damaged(machine, "1 values of container 0")
    path = machine.path("container")
    path.write_bytes(made.objects[made.pieces[NEWEST][0].name])
    done = machine.run("restore", "--full-restore", "--backup-file", path, *ON[2:])
    assert done.failed_with(Tampered)
    program = run(path, "--key-file", machine.path("recovery.key"), *ON[-2:], "--jsonl")
    told = {one["name"]: one["versions"][-1]["value"] for one in map(json.loads, program.stdout.splitlines())}
    assert told
    assert (store(machine), program.returncode) == (told, done.code)


def test_what_is_damaged_on_one_target_comes_from_another_and_is_no_loss(machine: Machine) -> None:
    """The same container is damaged on both, in different places."""
    made = damaged(machine, "1 values of container 0")
    second = machine.path("other")
    shutil.copytree(machine.path("copy"), second)
    piece = made.pieces[NEWEST][0]
    again = make()
    again.flip(again.pieces[NEWEST][0], "2 rows")
    (second / piece.name).write_bytes(again.objects[piece.name])
    done = machine.run("restore", "--full-restore", *ON, "--from-target", "other")
    assert store(machine) == {name: value(name, NEWEST) for name in HELD[NEWEST]}
    assert done.failed_with(TargetUnsound)
