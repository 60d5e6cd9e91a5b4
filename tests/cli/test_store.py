"""The local store by command line: set, get, list, import, export, delete, escrow."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import termios
from pathlib import Path

import pytest

from strongroom.container.errors import UntrustedSigner, WrongKey
from strongroom.errors import ConfigError, UsageError
from strongroom.operations.errors import ConfirmationRequired, NotCovered, RunDegraded
from strongroom.sources.errors import SecretNotFound
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import PASSPHRASE, Done, Machine, command
from tests.patience import PATIENCE

PASS = {"STRONGROOM_PASSPHRASE": PASSPHRASE}


def on_a_terminal(machine: Machine, *words: str, typed: bytes, **env: str) -> tuple[int, str]:
    """Run a command on a terminal of its own and type; return its exit code and what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*words),
        cwd=machine.home,
        env=machine.env | {"TERM": "xterm"} | env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread
    )
    os.close(theirs)
    shown = b""
    answers = typed.splitlines(keepends=True)
    try:
        while block := os.read(ours, 4096):
            shown += block
            if answers and shown.endswith((b": ", b"[y/N] ")):
                os.write(ours, answers.pop(0))
                shown += b"\n"
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(timeout=PATIENCE), shown.decode(errors="replace")


def test_a_value_typed_at_the_prompt_is_not_shown(machine: Machine) -> None:
    code, shown = on_a_terminal(machine, "set", "TYPED", typed=b"CANARY-TYPED\nCANARY-TYPED\n")
    assert code == 0, shown
    assert "CANARY" not in shown
    assert machine.ok("get", "TYPED", "--show-value").out == "CANARY-TYPED"


def test_a_slip_at_the_prompt_stores_nothing(machine: Machine) -> None:
    code, shown = on_a_terminal(machine, "set", "TYPED", typed=b"CANARY-A\nCANARY-B\n")
    assert code == UsageError.exit_code
    assert "CANARY" not in shown
    assert "no secret" in machine.ok("list").out


def test_a_full_backup_on_a_terminal_asks_and_takes_no_for_an_answer(stocked: Machine) -> None:
    words = ("backup", "full.sr", "--include-values")
    code, _ = on_a_terminal(stocked, *words, typed=b"n\n", **PASS)
    assert code == ConfirmationRequired.exit_code
    assert not stocked.path("full.sr").exists()
    code, shown = on_a_terminal(stocked, *words, typed=b"yes\n", **PASS)
    assert code == 0, shown
    assert stocked.path("full.sr").exists()


def test_a_passphrase_is_asked_twice_for_sealing_and_once_for_opening(stocked: Machine) -> None:
    words = ("backup", "full.sr", "--include-values")
    answer = f"{PASSPHRASE}\n".encode()
    code, shown = on_a_terminal(stocked, *words, typed=b"y\n" + answer * 2)
    assert code == 0, shown
    code, shown = on_a_terminal(stocked, "backups", "verify", "--opens", "full.sr", typed=answer)
    assert code == 0, shown
    assert "CANARY" not in shown


def test_versions_are_kept_and_metadata_stays(machine: Machine) -> None:
    machine.set("KEY", "CANARY-1", "--type", "api_key", "--tag", "a=b", "--rotate-every", "12w")
    machine.set("KEY", "CANARY-2")
    document = machine.ok("get", "KEY", "--json").document
    assert document["version"] == 2
    assert [version["number"] for version in document["versions"]] == [1, 2]
    assert (document["type"], document["tags"], document["rotation"]["days"]) == ("api_key", {"a": "b"}, 84)


@pytest.mark.parametrize(
    "words",
    [
        ("--expires", "tomorrow"),
        ("--expires", "2027-02-30"),
        ("--expires", "2027-01-31T12:00:00"),
        ("--rotate-every", "0d"),
        ("--rotate-every", "soon"),
        ("--tag", "novalue"),
        ("--tag", "a=b", "--tag", "a=c"),
    ],
    ids=" ".join,
)
def test_what_is_no_date_period_or_tag_is_refused(machine: Machine, words: tuple[str, ...]) -> None:
    done = machine.run("set", "KEY", *words, stdin="CANARY")
    assert done.failed_with(UsageError)
    assert "CANARY" not in done.err
    assert "no secret" in machine.ok("list").out


def test_one_line_feed_at_the_end_is_not_part_of_the_value(machine: Machine) -> None:
    machine.set("A", "CANARY\n\n")
    machine.set("B", "CANARY\n", "--exact")
    assert machine.ok("get", "A", "--show-value").out == "CANARY\n"
    assert machine.ok("get", "B", "--show-value").out == "CANARY\n"


def test_files_are_imported_whole_or_not_at_all(machine: Machine) -> None:
    machine.path("app.env").write_text("A=CANARY-A\nB='CANARY B'\n")
    assert machine.ok("secrets", "import", "app.env", "--json").document == {
        "imported": 2,
        "compared": 2,
        "error": None,
    }
    assert machine.ok("get", "B", "--show-value").out == "CANARY B"
    machine.path("more.json").write_text('{"C": "CANARY-C", "A": "CANARY-OTHER"}')
    done = machine.run("secrets", "import", "more.json")
    assert done.failed_with(WouldOverwrite)
    assert "'A'" in done.err
    assert machine.run("get", "C").failed_with(SecretNotFound)
    machine.ok("secrets", "import", "more.json", "--overwrite-existing")
    assert machine.ok("get", "A", "--show-value").out == "CANARY-OTHER"


def test_deleting_asks_and_removes_all_or_none(stocked: Machine) -> None:
    assert stocked.run("secrets", "delete", "JWT_SECRET_KEY").failed_with(ConfirmationRequired)
    assert stocked.run("secrets", "delete", "JWT_SECRET_KEY", "NOBODY", "--force").failed_with(SecretNotFound)
    assert stocked.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-JWT"
    stocked.ok("secrets", "delete", "JWT_SECRET_KEY", "--force")
    assert stocked.run("get", "JWT_SECRET_KEY").failed_with(SecretNotFound)


def test_an_export_is_sealed_and_restores_elsewhere(stocked: Machine, other: Machine) -> None:
    stocked.ok("backup", "--include-values", "out.sr", "--force", **PASS)
    content = stocked.path("out.sr").read_bytes()
    assert b"CANARY" not in content
    assert b"JWT_SECRET" not in content
    signer = stocked.ok("backups", "show", "out.sr", "--json").document["signer"]
    words = ("restore", "--backup-file", stocked.path("out.sr"), "--full-restore", "--signer", signer)
    done = other.ok(*words, "--json", **PASS).document
    assert (done["created"], done["compared"]) == (3, 3)


def test_an_overwriting_restore_can_be_undone(stocked: Machine) -> None:
    stocked.seal()
    stocked.set("JWT_SECRET_KEY", "CANARY-NEWER")
    words = ("restore", "--backup-file", "full.sr", "--full-restore")
    leaving = stocked.run(*words, "--json", **PASS)
    left = leaving.document
    assert leaving.failed_with(RunDegraded)
    assert left["left"] == 1
    assert left["unchanged"] == 2
    assert left["undo"] is None
    assert left["left_names"] == ["JWT_SECRET_KEY"]
    planned = stocked.ok(*words, "--overwrite-existing", "--dry-run", "--json", **PASS).document
    assert planned["changed"] == 1
    assert stocked.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-NEWER"
    done = stocked.ok(*words, "--overwrite-existing", "--json", **PASS).document
    assert stocked.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-JWT"
    [undo] = Path(done["undo"]).glob("*.strongroom")
    words = ("restore", "--backup-file", undo, "--full-restore", "--overwrite-existing")
    stocked.ok(*words, **PASS)
    assert stocked.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-NEWER"


def test_one_secret_is_not_replaced_unless_told_to(stocked: Machine) -> None:
    stocked.seal()
    stocked.set("JWT_SECRET_KEY", "CANARY-NEWER")
    words = ("restore", "--backup-file", "full.sr", "--secret-name", "JWT_SECRET_KEY")
    assert stocked.run(*words, **PASS).failed_with(WouldOverwrite)
    assert stocked.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-NEWER"
    assert stocked.run(*words[:-1], "NOBODY", **PASS).failed_with(SecretNotFound)


def test_whoever_has_one_of_the_keys_opens(stocked: Machine) -> None:
    stocked.ok("keys", "new", "--algorithm", "AES256", "--output", "backup.key")
    pair = stocked.ok("keys", "new", "--output", "recovery.key", "--json").document
    small = stocked.ok("keys", "new", "--output", "small.key", "--algorithm", "x25519", "--json").document
    words = (
        "--recipient",
        "backup.key",
        "--recipient",
        "recovery.key.pub",
        "--recipient",
        small["public_key"],
    )
    sealed = stocked.ok("backup", "full.sr", "--include-values", "--force", *words, "--json").document
    assert len(sealed["recipients"]) == 3
    assert (pair["post_quantum"], small["post_quantum"]) == (True, False)
    for key in ("backup.key", "recovery.key", "small.key"):
        assert stocked.run("backups", "verify", "--opens", "full.sr", "--identity", key).code == 0
    stocked.ok("keys", "new", "--output", "stranger.key")
    assert stocked.run("backups", "verify", "--opens", "full.sr", "--identity", "stranger.key").failed_with(
        WrongKey
    )
    assert stocked.run(
        "backups", "verify", "--opens", "full.sr", "--identity", "recovery.key.pub"
    ).failed_with(UsageError)


def test_the_private_half_is_refused_for_sealing(stocked: Machine) -> None:
    stocked.ok("keys", "new", "--output", "recovery.key")
    words = ("backup", "full.sr", "--include-values", "--force", "--recipient", "recovery.key")
    done = stocked.run(*words)
    assert done.failed_with(UsageError)
    assert "private half" in done.err


def test_a_lost_machine_is_rebuilt_from_its_escrow(stocked: Machine, other: Machine) -> None:
    stocked.ok("keys", "new", "--output", "recovery.key")
    escrow = stocked.ok(
        "emergency", "escrow", "escrow.sr", "--recipient", "recovery.key.pub", "--json"
    ).document
    assert "keys/store.key" in escrow["holds"]
    # The store's database came back from somewhere; alone it is of no use to anybody.
    (other.state / "store").mkdir(parents=True)
    for part in (stocked.state / "store").iterdir():
        (other.state / "store" / part.name).write_bytes(part.read_bytes())
    assert other.run("get", "JWT_SECRET_KEY").failed_with(WrongKey)
    words = (
        "emergency",
        "escrow",
        "--open",
        stocked.path("escrow.sr"),
        "--identity",
        stocked.path("recovery.key"),
    )
    assert other.run(*words).failed_with(UntrustedSigner)
    other.ok(*words, "--signer", escrow["signer"])
    assert other.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-JWT"
    assert (other.state / "keys" / "store.key").stat().st_mode & 0o777 == 0o600


def test_an_escrow_replaces_nothing(stocked: Machine, other: Machine) -> None:
    other.set("OWN", "CANARY-OWN")
    stocked.ok("emergency", "escrow", "escrow.sr", **PASS)
    signer = stocked.ok("backups", "show", "escrow.sr", "--json").document["signer"]
    done = other.run("emergency", "escrow", "--open", stocked.path("escrow.sr"), "--signer", signer, **PASS)
    assert done.failed_with(WouldOverwrite)
    assert other.ok("get", "OWN", "--show-value").out == "CANARY-OWN"
    assert stocked.run("restore", "--backup-file", "escrow.sr", "--full-restore", **PASS).failed_with(
        UsageError
    )


def test_values_are_compared_with_their_digests_where_they_were_sealed(
    sealed: Machine, other: Machine
) -> None:
    words = ("backups", "verify", sealed.path("full.sr"), "--depth", "compared")
    assert "compared: every value equals" in sealed.ok(*words, **PASS).out
    assert other.run(*words, "--any-signer", **PASS).failed_with(ConfigError)


def test_a_metadata_file_shows_a_secret_without_its_value(stocked: Machine) -> None:
    stocked.ok("backup", "meta.json")
    document = stocked.ok("get", "REDIS_PASSWORD", "--backup-file", "meta.json", "--json").document
    assert document["expires_at"] == "2027-01-31T00:00:00Z"
    assert "value" not in document
    assert stocked.run("get", "REDIS_PASSWORD", "--show-value", "--backup-file", "meta.json").failed_with(
        UsageError
    )


def test_a_sealed_metadata_backup_holds_no_value(stocked: Machine) -> None:
    sealed = stocked.ok("backup", "meta.sr", "--encrypt-backup", "--force", "--json", **PASS).document
    assert (sealed["sealed"], sealed["values"]) == (True, False)
    assert b"JWT_SECRET" not in stocked.path("meta.sr").read_bytes()
    assert "JWT_SECRET_KEY" in stocked.ok("get", "JWT_SECRET_KEY", "--backup-file", "meta.sr", **PASS).out
    done = stocked.run("restore", "--backup-file", "meta.sr", "--full-restore", **PASS)
    assert done.failed_with(NotCovered)
    assert "no values" in done.err


def listed(done: Done) -> list[str]:
    return [secret["name"] for secret in done.document["secrets"]]


def test_the_names_in_a_backup_are_listed_without_its_values(configured: Machine, other: Machine) -> None:
    names = listed(configured.ok("list", "--json"))
    file = configured.seal()
    configured.ok("backup", "--policy", "full", "--force")
    configured.ok("backup", "plain.json", "--metadata-only")
    opens = {"STRONGROOM_PASSPHRASE": PASSPHRASE}
    assert listed(configured.ok("list", "--backup-file", file, "--json", **opens)) == names
    assert listed(configured.ok("list", "--backup-file", "plain.json", "--json")) == names
    target = ("list", "--from-target", "dublin", "--identity", "recovery.key")
    assert listed(configured.ok(*target, "--json")) == names
    assert listed(configured.ok(*target, "--filter-tag", "category=database", "--json")) == [
        "DATABASE_PASSWORD",
        "REDIS_PASSWORD",
    ]
    assert "holds no such secret" in configured.ok(*target, "--include", "NONE*").out
    assert configured.run("list", "--backup-file", file, STRONGROOM_PASSPHRASE="another one").failed_with(
        WrongKey
    )
    assert other.ok("list", "--json").document["secrets"] == []


def test_a_backup_and_a_source_are_not_listed_at_once(configured: Machine) -> None:
    for words in (("--source", "files:x.env"), ("--verify-clean",), ("--from-target", "dublin")):
        assert configured.run("list", "--backup-file", "x", *words).failed_with(UsageError)
