"""Whoever verifies, restores or lists judges a file by the same rules, on every machine."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.errors import UntrustedSigner, WrongKey
from strongroom.container.manifest import parse_manifest
from strongroom.container.wrapping import open_detached, write_detached
from strongroom.errors import UsageError
from strongroom.keys import roles
from strongroom.operations.archive.envelopes import envelope_name, wrapping_keys
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.errors import LeftAside
from strongroom.targets.single_file import BundleReader, BundleWriter
from tests.certified import certified
from tests.cli.conftest import stock
from tests.cli.program import PASSPHRASE, ROOT, Done, Machine

Change = Callable[[dict[str, bytes], "Rotated"], None]


class Rotated:
    """A file that was rotated from ``old.key`` to ``new.key``, and the line that was noted before."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.ok("keys", "new", "--output", "old.key")
        machine.ok("keys", "new", "--output", "new.key")
        words = ("--include-values", "--force", "--recipient", "old.key.pub")
        made = machine.ok("backup", "f.sr", *words, "--json").document
        self.pinned, self.backup = made["signer"], made["backup"]
        done = machine.ok("keys", "replace", "f.sr", "--current-key", "old.key", "--new-key", "new.key")
        assert self.pinned in done.out
        with BundleReader(machine.path("f.sr")) as file:
            self.objects = {info.name: b"".join(file.read(info.name)) for info in file.list()}
        manifest = parse_manifest(self.objects[manifest_name(self.backup)], trusted=None)
        self.key = next(iter(wrapping_keys(manifest)))
        self.second = envelope_name(self.key, 2)

    def changed(self, path: Path, change: Change) -> Path:
        """Write the file's objects anew, as somebody can who may write it."""
        objects = dict(self.objects)
        change(objects, self)
        with BundleWriter(path) as new:
            for name, content in objects.items():
                new.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
            new.close(commit=True)
        return path

    def key_of(self, name: str) -> Path:
        return self.machine.path(f"{name}.key")


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Rotated:
    return Rotated(stock(Machine(tmp_path_factory.mktemp("rotated") / "machine")))


def verify(machine: Machine, file: Path, key: Path, *words: str) -> Done:
    return machine.run("backups", "verify", file, "--identity", key, *words)


def restore(machine: Machine, file: Path, key: Path, *words: str) -> Done:
    where = ("restore", "--backup-file", file, "--full-restore", "--dry-run")
    return machine.run(*where, "--identity", key, *words)


def listing(machine: Machine, file: Path, key: Path, *words: str) -> Done:
    return machine.run("list", "--backup-file", file, "--identity", key, *words)


COMMANDS = (verify, restore, listing)


def test_after_a_rotation_the_one_line_of_before_opens_the_file_on_another_machine(
    rotated: Rotated, other: Machine
) -> None:
    """B2: the envelope's signer was another key than the one that a person was told to note."""
    file = rotated.machine.path("f.sr")
    for command in COMMANDS:
        assert command(other, file, rotated.key_of("new"), "--signer", rotated.pinned).code == 0
        assert command(other, file, rotated.key_of("old"), "--signer", rotated.pinned).failed_with(WrongKey)
    program = [sys.executable, str(ROOT / "ops/recover/recover.py"), str(file), "--list"]
    recovered = run(other, *program, "--private-key", str(rotated.key_of("new")), "--signer", rotated.pinned)
    assert recovered.code == 0, recovered


def run(machine: Machine, *command: str) -> Done:
    done = subprocess.run(
        command, cwd=machine.home, env=machine.env, capture_output=True, text=True, check=False
    )
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


# -- what is left aside ----------------------------------------------------------------


def damage(objects: dict[str, bytes], file: Rotated) -> None:
    content = bytearray(objects[file.second])
    content[80] ^= 1
    objects[file.second] = bytes(content)


def sign_by_a_stranger(objects: dict[str, bytes], file: Rotated) -> None:
    record = open_detached(objects[file.second], trusted=None).record
    objects[file.second] = write_detached(record, certified("recover"))


def sign_by_another_role(objects: dict[str, bytes], file: Rotated) -> None:
    record = open_detached(objects[file.second], trusted=None).record
    control = roles.load_role(file.machine.state / "keys" / "roles", "control")
    objects[file.second] = write_detached(record, control)


def add_a_strangers_third(objects: dict[str, bytes], file: Rotated) -> None:
    record = replace(open_detached(objects[file.second], trusted=None).record, generation=3)
    objects[envelope_name(file.key, 3)] = write_detached(record, certified("recover"))


OPENS = {damage: "old", sign_by_a_stranger: "old", sign_by_another_role: "old", add_a_strangers_third: "new"}


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("pinned", ["known", "signer", "nobody"])
@pytest.mark.parametrize("change", OPENS)
def test_an_envelope_that_does_not_count_is_said_and_is_not_exit_0(
    rotated: Rotated, other: Machine, tmp_path: Path, change: Change, pinned: str
) -> None:
    """B3, B4: verify was silent, or went by a stranger's envelope where restore did not."""
    file = rotated.changed(tmp_path / "f.sr", change)
    machine = rotated.machine if pinned == "known" else other
    words = {"signer": ("--signer", rotated.pinned), "nobody": ("--any-signer",), "known": ()}[pinned]
    opens = OPENS[change]
    shut = {"old": "new", "new": "old"}[opens]
    for command in COMMANDS:
        done = command(machine, file, rotated.key_of(opens), *words)
        assert done.failed_with(LeftAside), done
        assert f"keys/{rotated.key}/" in done.err, done
        assert command(machine, file, rotated.key_of(shut), *words).failed_with(WrongKey)


def repair_beside(objects: dict[str, bytes], file: Rotated) -> None:
    objects[f"{file.second}.r1"] = objects[file.second]
    damage(objects, file)
    manifest = manifest_name(file.backup)
    objects[f"{manifest}.r1"] = objects[manifest]
    objects[manifest] = objects[manifest][:-1]


def test_a_damaged_copy_with_a_sound_one_beside_it_is_said_and_is_no_failure(
    rotated: Rotated, tmp_path: Path
) -> None:
    file = rotated.changed(tmp_path / "f.sr", repair_beside)
    for command in COMMANDS:
        done = command(rotated.machine, file, rotated.key_of("new"))
        assert (done.code, done.err.count("does not count")) == (0, 2), done


# -- what the manifest says of its containers ---------------------------------------------


def test_two_backups_in_one_file_are_told(rotated: Rotated, tmp_path: Path) -> None:
    """B9: the newest was taken without a word."""
    words = ("--include-values", "--force", "--recipient", "old.key.pub", "--json")
    made = rotated.machine.ok("backup", "g.sr", *words).document
    with BundleReader(rotated.machine.path("g.sr")) as other:
        more = {info.name: b"".join(other.read(info.name)) for info in other.list()}
    file = rotated.changed(tmp_path / "f.sr", lambda objects, _: objects.update(more))
    for command in COMMANDS:
        done = command(rotated.machine, file, rotated.key_of("old"))
        assert (done.code, f"also holds {rotated.backup}" in done.err) == (0, True), done
    assert made["backup"] > rotated.backup

    def broken(objects: dict[str, bytes], _: Rotated) -> None:
        objects.update(more)
        objects[manifest_name(made["backup"])] = objects[manifest_name(made["backup"])][:-1]

    file = rotated.changed(tmp_path / "g.sr", broken)
    for command in COMMANDS:
        done = command(rotated.machine, file, rotated.key_of("new"))
        assert done.failed_with(LeftAside), done
        assert manifest_name(made["backup"]) in done.err, done


# -- one container alone -------------------------------------------------------------------


@pytest.fixture
def lone(rotated: Rotated, tmp_path: Path) -> Path:
    [content] = [content for name, content in rotated.objects.items() if name.startswith("containers/")]
    path = tmp_path / "c.srct"
    path.write_bytes(content)
    return path


def test_a_lone_container_is_restored_listed_and_verified_with_the_one_fingerprint(
    rotated: Rotated, other: Machine, lone: Path
) -> None:
    """B6: it verified, and could not be restored."""
    for command in COMMANDS:
        for machine, words in ((rotated.machine, ()), (other, ("--signer", rotated.pinned))):
            done = command(machine, lone, rotated.key_of("old"), *words)
            assert done.code == 0, done
            assert "unknown" not in done.out
            assert "1 of the 1 of backup" in done.err or "container 1 of 1" in done.out
            assert "3 secrets" in done.out or "JWT_SECRET_KEY" in done.out
    other.ok(
        *("restore", "--backup-file", lone, "--secret-name", "JWT_SECRET_KEY"),
        *("--identity", rotated.key_of("old"), "--signer", rotated.pinned),
    )
    refused = restore(other, lone, rotated.key_of("old"))
    assert refused.failed_with(UntrustedSigner)
    assert rotated.pinned in refused.err


# -- a passphrase without a name ---------------------------------------------------------------


def test_a_file_with_an_unnamed_passphrase_is_rotated_with_that_passphrase_and_keeps_it(
    stocked: Machine,
) -> None:
    """B7: the advice was to name a key that has no name."""
    stocked.ok("keys", "new", "--output", "k.key")
    stocked.ok("keys", "new", "--output", "n.key")
    for name, words in (("pass", PASSPHRASE), ("slip", f"{PASSPHRASE}!")):
        stocked.path(name).write_text(words)
        stocked.path(name).chmod(0o600)
    stocked.ok(
        *("backup", "f.sr", "--include-values", "--force", "--recipient", "k.key.pub"),
        *("--passphrase-file", "pass"),
    )
    rotate = ("keys", "replace", "f.sr", "--current-key", "k.key", "--new-key", "n.key")
    without = stocked.run(*rotate)
    assert without.failed_with(UsageError), without
    assert "--passphrase-file" in without.err, without
    slip = stocked.run(*rotate, "--passphrase-file", "slip")
    assert slip.failed_with(UsageError), slip
    assert "does not open" in " ".join(slip.err.split()), slip
    stocked.ok(*rotate, "--passphrase-file", "pass")
    assert stocked.ok("backups", "verify", "--opens", "f.sr", "--identity", "n.key").code == 0
    assert stocked.ok("backups", "verify", "--opens", "f.sr", "--passphrase-file", "pass").code == 0
    assert stocked.run("backups", "verify", "--opens", "f.sr", "--identity", "k.key").failed_with(WrongKey)
    stocked.ok(*rotate, "--passphrase-file", "pass", "--re-encrypt-backups", "--remove-old-files")
    assert stocked.ok("backups", "verify", "--opens", "f.sr", "--passphrase-file", "pass").code == 0
