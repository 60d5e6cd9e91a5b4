"""Bad input: a message of what happened and what to do, the exit code of its family, no trace."""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from strongroom.config.schema import ConfigProblems
from strongroom.container.errors import (
    DuplicateSecret,
    LegacyFormat,
    MissingPiece,
    NotABackup,
    Tampered,
    Truncated,
    UntrustedSigner,
    WrongKey,
)
from strongroom.errors import SourceError, StrongroomError, TargetError, UsageError
from strongroom.operations.errors import NothingSelected, QuorumNotMet
from strongroom.sources.errors import EmptySource
from strongroom.system.errors import TargetFull, TargetReadOnly, WouldOverwrite
from strongroom.targets.directory import DirectoryTarget
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import PASSPHRASE, Done, Machine, command
from tests.patience import PATIENCE
from tests.targets.disks import read_only

SEALED = ("--include-values", "--force")
KINDS = pytest.mark.parametrize("options", [("--metadata-only",), SEALED], ids=["metadata", "sealed"])


def refused(done: Done, kind: type[StrongroomError]) -> bool:
    """Tell whether an error is of this class, says all three things, and nothing it must not."""
    parts = ("What happened", "What it means", "What to do")
    said = all(part in done.err for part in parts)
    assert said, done
    assert "Traceback" not in done.err
    assert "CANARY" not in done.err
    return done.failed_with(kind) and done.out == ""


@contextmanager
def nothing_left(machine: Machine) -> Iterator[None]:
    """Hold that a block leaves every file of the working directory as it was, and no stage."""
    before = {path: path.read_bytes() for path in machine.home.iterdir() if path.is_file()}
    yield
    after = {path: path.read_bytes() for path in machine.home.iterdir() if path.is_file()}
    assert after == before
    assert machine.staged() == []


def back_up(machine: Machine, name: str, *options: str) -> Done:
    return machine.run("backup", name, *options, STRONGROOM_PASSPHRASE=PASSPHRASE)


def old_file(path: Path, secrets: object, passphrase: str) -> None:
    salt = os.urandom(16)
    key = PBKDF2HMAC(SHA256(), 32, salt, 100_000).derive(passphrase.encode())
    token = Fernet(base64.urlsafe_b64encode(key)).encrypt(json.dumps(secrets).encode())
    path.write_bytes(salt + token)


def lose_one(machine: Machine) -> None:
    """Back everything up into ``full.sr``, and delete a secret."""
    machine.seal()
    machine.ok("secrets", "delete", "JWT_SECRET_KEY", "--force")


without_one = furnished(stock, lose_one)


# -- what cannot be opened -------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("backups", "verify", "--opens", "full.sr"),
        ("backups", "verify", "full.sr", "--depth", "opened"),
        ("get", "JWT_SECRET_KEY", "--show-value", "--backup-file", "full.sr"),
        ("restore", "--backup-file", "full.sr", "--full-restore", "--overwrite-existing"),
        ("restore", "--backup-file", "full.sr", "--secret-name", "JWT_SECRET_KEY"),
    ],
)
def test_a_wrong_passphrase_opens_nothing(without_one: Machine, words: tuple[str, ...]) -> None:
    with nothing_left(without_one):
        assert refused(without_one.run(*words, STRONGROOM_PASSPHRASE="CANARY-WRONG"), WrongKey)
    assert "JWT_SECRET_KEY" not in without_one.ok("list").out


def test_without_any_key_the_error_says_what_to_give(sealed: Machine) -> None:
    done = sealed.run("backups", "verify", "--opens", "full.sr")
    assert refused(done, WrongKey)
    assert "--passphrase-file" in done.err


READERS = ("backups verify", "backups verify --structure", "backups verify --opens")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kept", [1, 20, 0.5, -1])
def test_a_truncated_file_is_called_truncated(
    sealed: Machine, tmp_path: Path, reader: str, kept: float
) -> None:
    whole = sealed.path("full.sr").read_bytes()
    cut = int(kept * len(whole)) if isinstance(kept, float) else kept
    bad = tmp_path / "cut.sr"
    bad.write_bytes(whole[:cut])
    assert refused(sealed.run(reader, bad, STRONGROOM_PASSPHRASE=PASSPHRASE), Truncated)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("place", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
def test_a_flipped_bit_is_called_tampering(
    sealed: Machine, tmp_path: Path, reader: str, place: float
) -> None:
    content = bytearray(sealed.path("full.sr").read_bytes())
    content[int(place * len(content))] ^= 1
    bad = tmp_path / "bad.sr"
    bad.write_bytes(content)
    assert refused(sealed.run(reader, bad, STRONGROOM_PASSPHRASE=PASSPHRASE), Tampered)


def test_a_flipped_bit_in_a_metadata_file_is_called_tampering(stocked: Machine) -> None:
    stocked.ok("backup", "meta.json")
    content = bytearray(stocked.path("meta.json").read_bytes())
    content[content.index(b"JWT")] ^= 1
    stocked.path("bad.json").write_bytes(content)
    assert refused(stocked.run("backups", "verify", "bad.json"), Tampered)


@pytest.mark.parametrize("reader", [*READERS, "backups show"])
@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip file", b'{"a": "CANARY"}', b"\x89PNG\r\n\x1a\n" * 99])
def test_a_file_of_another_kind_is_no_backup(machine: Machine, reader: str, content: bytes) -> None:
    machine.path("other").write_bytes(content)
    assert refused(machine.run(reader, "other"), NotABackup)


def test_a_missing_file_is_missing(machine: Machine) -> None:
    assert refused(machine.run("backups", "verify", "nowhere.sr"), MissingPiece)


@pytest.mark.parametrize("reader", ["backups verify", "backups show", "backups verify --structure"])
def test_the_name_of_a_backup_is_no_file_and_what_to_type_instead_works(
    stocked: Machine, reader: str
) -> None:
    stocked.ok("init", "--single-recipient-reason", "a test")
    stocked.ok("keys", "new", "--output", "recovery.key")
    stocked.ok("backup", "--policy", "daily-metadata", "--force")
    [backup] = stocked.ok("backups", "list", "--json").document["backups"]
    done = stocked.run(*reader.split(), backup["backup"], "--json")
    assert done.failed_with(UsageError)
    typed = done.document["error"]["hint"].partition(": strongroom ")[2]
    assert stocked.ok(*typed.split(), "--json").document["backup"] == backup["backup"]


def test_the_name_of_a_target_that_was_mistyped_is_asked_for(machine: Machine) -> None:
    machine.path("strongroom.toml").write_text(
        '[targets.office]\nkind = "directory"\npath = "office"\nregion = "here"\n'
    )
    done = machine.run("backups", "verify", "offic")
    assert refused(done, MissingPiece)
    assert "Did you mean 'office'?" in done.err


def test_an_old_file_needs_its_flag(machine: Machine) -> None:
    old_file(machine.path("old.json"), {"API_KEY": "CANARY-OLD"}, PASSPHRASE)
    given = {"STRONGROOM_PASSPHRASE": PASSPHRASE}
    done = machine.run("backups", "verify", "--opens", "old.json", **given)
    assert refused(done, LegacyFormat)
    assert "--legacy" in done.err
    assert machine.run("backups", "verify", "--opens", "old.json", "--legacy", **given).code == 0
    wrong = machine.run(
        "backups", "verify", "--opens", "old.json", "--legacy", STRONGROOM_PASSPHRASE="CANARY-WRONG"
    )
    assert refused(wrong, WrongKey)
    restored = machine.run("restore", "--backup-file", "old.json", "--full-restore", "--legacy", **given)
    assert restored.code == 0, restored
    assert machine.ok("get", "API_KEY", "--show-value").out == "CANARY-OLD"


def test_an_unknown_signer_is_named_and_not_believed(sealed: Machine, other: Machine) -> None:
    file = sealed.path("full.sr")
    signer = sealed.ok("backups", "show", file, "--json").document["signer"]
    words = ("restore", "--backup-file", file, "--full-restore")
    done = other.run(*words, STRONGROOM_PASSPHRASE=PASSPHRASE)
    assert refused(done, UntrustedSigner)
    assert f"--signer {signer}" in done.err
    assert "0 secrets" in other.ok("list").out or "no secret" in other.ok("list").out
    other.ok(*words, "--signer", signer, STRONGROOM_PASSPHRASE=PASSPHRASE)
    assert other.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-JWT"


# -- what cannot be backed up ----------------------------------------------------------------


@KINDS
def test_a_filter_that_matches_nothing_makes_no_backup(stocked: Machine, options: tuple[str, ...]) -> None:
    with nothing_left(stocked):
        assert refused(back_up(stocked, "new.sr", "--filter-tag", "priority=none", *options), NothingSelected)


def test_a_filter_that_matches_nothing_restores_nothing(sealed: Machine) -> None:
    words = ("restore", "--backup-file", "full.sr", "--filter-tag", "priority=none")
    assert refused(sealed.run(*words, STRONGROOM_PASSPHRASE=PASSPHRASE), NothingSelected)


@KINDS
def test_an_empty_source_makes_no_backup(machine: Machine, options: tuple[str, ...]) -> None:
    machine.ok("list")
    with nothing_left(machine):
        assert refused(back_up(machine, "new.sr", *options), EmptySource)


@KINDS
def test_two_secrets_of_one_name_make_no_backup(machine: Machine, options: tuple[str, ...]) -> None:
    line = '{"name": "TWICE", "value": "CANARY"}\n'
    machine.path("twice.jsonl").write_text(line * 2)
    with nothing_left(machine):
        assert refused(back_up(machine, "new.sr", "--source", "files:twice.jsonl", *options), DuplicateSecret)


@KINDS
def test_a_missing_source_makes_no_backup(machine: Machine, options: tuple[str, ...]) -> None:
    with nothing_left(machine):
        assert refused(back_up(machine, "new.sr", "--source", "files:nowhere.jsonl", *options), SourceError)


@KINDS
def test_where_the_local_store_holds_nothing_the_configured_sources_are_named(
    machine: Machine, options: tuple[str, ...]
) -> None:
    machine.path("strongroom.toml").write_text('[sources.app]\nkind = "files"\npath = "app.env"\n')
    machine.path("app.env").write_text("A=CANARY-A\n")
    done = back_up(machine, "new.sr", *options)
    assert refused(done, EmptySource)
    assert "To take another one: --source app" in " ".join(done.err.split())
    assert back_up(machine, "new.sr", "--source", "app", *options).code == 0


@KINDS
def test_a_missing_directory_is_told(stocked: Machine, options: tuple[str, ...]) -> None:
    with nothing_left(stocked):
        done = back_up(stocked, "nowhere/new.sr", *options)
        assert refused(done, TargetError)
        assert "Check that the directory is there" in done.err


def test_a_key_for_which_the_disk_has_no_room_is_no_fault_of_its_path(machine: Machine) -> None:
    done = subprocess.run(
        command("keys", "new", "--output", "recovery.key"),
        cwd=machine.home,
        env=machine.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)),
    )
    assert refused(Done(code=done.returncode, out=done.stdout, err=done.stderr), TargetFull)
    assert not machine.path("recovery.key").exists()


@KINDS
def test_a_read_only_directory_is_told(stocked: Machine, options: tuple[str, ...]) -> None:
    closed = stocked.path("closed")
    closed.mkdir()
    with nothing_left(stocked), read_only(closed):
        assert refused(back_up(stocked, "closed/new.sr", *options), TargetReadOnly)
    assert list(closed.iterdir()) == []


@KINDS
def test_a_full_disk_leaves_nothing_and_the_last_backup_whole(
    machine: Machine, options: tuple[str, ...]
) -> None:
    line = '{"name": "N%06d", "value": "CANARY-%s"}\n'
    machine.path("many.jsonl").write_text("".join(line % (n, os.urandom(60).hex()) for n in range(12_000)))
    source = ("--source", "files:many.jsonl")
    assert back_up(machine, "last.sr", *source, *options).code == 0

    def small() -> None:  # a write past this size fails as on a full disk, whoever runs it
        # Below what either kind of backup has, and well above the log of the state database, whose being full
        # is another error.
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    with nothing_left(machine):
        done = subprocess.run(
            command("backup", "last.sr", *source, *options, "--force"),
            cwd=machine.home,
            env=machine.env | {"STRONGROOM_PASSPHRASE": PASSPHRASE},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            preexec_fn=small,
        )
        assert refused(Done(code=done.returncode, out=done.stdout, err=done.stderr), TargetFull)
    assert machine.run("backups", "verify", "last.sr", STRONGROOM_PASSPHRASE=PASSPHRASE).code == 0


def test_a_path_that_no_record_can_hold_is_refused_before_anything_is_read(stocked: Machine) -> None:
    with nothing_left(stocked):
        name = os.fsdecode(b"weekly\xff.sr")
        assert refused(stocked.run("backup", name, *SEALED, STRONGROOM_PASSPHRASE=PASSPHRASE), UsageError)
    pair = os.fsdecode(b"pair\xff.key")
    stocked.ok("keys", "new", "--output", pair)
    stocked.ok("backup", "weekly.sr", *SEALED, "--recipient", f"{pair}.pub")
    stocked.ok("backups", "verify", "weekly.sr", "--identity", pair)


@KINDS
def test_an_existing_file_is_kept_without_force(stocked: Machine, options: tuple[str, ...]) -> None:
    stocked.path("mine.txt").write_text("mine")
    without = [option for option in options if option != "--force"]
    with nothing_left(stocked):
        assert refused(back_up(stocked, "mine.txt", *without), WouldOverwrite)
    assert back_up(stocked, "mine.txt", *without, "--force").code == 0
    assert stocked.path("mine.txt").read_bytes() != b"mine"


def test_values_for_nobody_make_no_backup(stocked: Machine) -> None:
    with nothing_left(stocked):
        assert refused(stocked.run("backup", "new.sr", *SEALED), UsageError)


def test_a_weak_passphrase_is_warned_of(stocked: Machine) -> None:
    done = stocked.run("backup", "new.sr", *SEALED, STRONGROOM_PASSPHRASE="password1")
    assert done.code == 0
    assert "weak" in done.err
    assert "password1" not in done.err


# -- what is set up wrongly ------------------------------------------------------------------


def test_every_problem_of_the_configuration_is_told_at_once(machine: Machine) -> None:
    machine.path("strongroom.toml").write_text(
        'colour = "red"\n[policies.x]\nkind = "fool"\ntargets = ["t"]\n'
    )
    done = machine.run("check", "config")
    assert refused(done, ConfigProblems)
    assert "colour" in done.err
    assert "policies.x.kind" in done.err


@pytest.mark.parametrize(
    "text",
    ["this is not [ TOML", f"x = {'[' * 30_000}{']' * 30_000}", f"x = {'9' * 5000}"],
    ids=["no TOML", "nested without end", "a number beyond all measure"],
)
def test_a_broken_configuration_does_not_stop_a_restore_from_a_file(without_one: Machine, text: str) -> None:
    without_one.path("strongroom.toml").write_text(text)
    words = ("restore", "--backup-file", "full.sr", "--full-restore")
    done = without_one.ok(*words, STRONGROOM_PASSPHRASE=PASSPHRASE)
    assert "ignored" in done.err
    assert without_one.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-JWT"


@contextmanager
def missing(target: Path) -> Iterator[None]:
    gone = target.rename(target.with_suffix(".gone"))
    yield
    gone.rename(target)


def test_targets_that_fail_make_no_backup_and_leave_the_last_one(stocked: Machine) -> None:
    stocked.ok("keys", "new", "--algorithm", "AES256", "--output", "backup.key")
    targets = [stocked.path(f"target-{name}") for name in "ab"]
    stocked.path("strongroom.toml").write_text(_policy(targets, stocked.path("backup.key")))
    for target in targets:
        _marked(target)
    first = stocked.ok("backup", "--policy", "full", "--force", "--json").document
    for failing in (read_only, missing):
        with failing(targets[1]):
            done = stocked.run("backup", "--policy", "full", "--force")
        assert refused(done, QuorumNotMet)
        assert stocked.staged() == []
        ids = [path.stem for path in (targets[0] / "manifests").iterdir()]
        assert ids == [first["backup"]]
    words = ("backups", "verify", targets[0], "--depth", "opened", "--identity", "backup.key")
    assert stocked.run(*words).code == 0


def _policy(targets: list[Path], key: Path) -> str:
    places = "".join(
        f'[targets.{target.name}]\nkind = "directory"\npath = "{target}"\nregion = "{target.name}"\n'
        for target in targets
    )
    names = json.dumps([target.name for target in targets])
    return f"""{places}
[sources.local]
kind = "local"
[keys.backup]
kind = "keyfile"
file = "{key}"
[policies.full]
kind = "full"
targets = {names}
recipients = ["backup"]
quorum = 2
regions = 2
"""


def _marked(target: Path) -> None:
    DirectoryTarget(target, name=target.name, region="r").prepare()
