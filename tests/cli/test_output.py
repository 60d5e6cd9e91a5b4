"""What comes out: one JSON document for machines, clean text for people, never a secret."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from strongroom.cli.table import COMMANDS
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.errors import UsageError
from strongroom.sheet import Sheet
from tests.cli.program import PASSPHRASE, ROOT, Machine, command
from tests.patience import PATIENCE

ANSWERS = [
    ("list",),
    ("get", "JWT_SECRET_KEY"),
    ("get", "JWT_SECRET_KEY", "--show-value"),
    ("backups", "show", "full.sr"),
    ("backups", "verify", "full.sr"),
    ("backups", "verify", "--structure", "full.sr"),
    ("backups", "verify", "--opens", "full.sr"),
    ("restore", "--backup-file", "full.sr", "--full-restore", "--dry-run"),
    ("restore", "--backup-file", "full.sr", "--secret-name", "JWT_SECRET_KEY", "--dry-run"),
    ("runs",),
    ("backups", "list"),
    ("backups", "replicas"),
    ("backups", "repair"),
    ("check", "config"),
    ("config", "reference"),
    ("completion", "bash"),
]
ERRORS = [
    ("get", "NOBODY"),
    ("backups", "verify", "nowhere"),
    ("nonsense",),
    ("restore", "--backup-file", "full.sr"),
    ("runs", "show", "nobody"),
    ("backup", "--cluster", "--policy", "nobody"),
]
_KEY_AWAY = """
[vaults.keys]
address = "http://127.0.0.1:9"
token_file = "token"

[keys.away]
kind = "transit"
vault = "keys"
key = "backup"
"""


@pytest.mark.parametrize("words", ANSWERS, ids=" ".join)
def test_an_answer_in_json_is_one_document(sealed: Machine, words: tuple[str, ...]) -> None:
    done = sealed.ok(*words, "--json", STRONGROOM_PASSPHRASE=PASSPHRASE)
    assert done.document["error"] is None


@pytest.mark.parametrize("words", ERRORS, ids=" ".join)
def test_an_error_in_json_is_one_document(sealed: Machine, words: tuple[str, ...]) -> None:
    done = sealed.run(*words, "--json", STRONGROOM_PASSPHRASE=PASSPHRASE)
    error = done.document["error"]
    assert (error["exit_code"], error["code"]) == (done.code, done.named)
    assert all(error[key] for key in ("family", "message", "means", "hint"))


FOUND = [
    ("check backups", "findings"),
    ("check controls", "frameworks"),
    ("check machine", "checks"),
    ("check keys --no-backups", "keys"),
]


@pytest.mark.parametrize(("name", "answer"), FOUND)
def test_a_check_that_finds_something_gives_its_answer_and_an_error(
    sealed: Machine, name: str, answer: str
) -> None:
    sealed.path("strongroom.toml").write_text(_KEY_AWAY)
    sealed.path("token").touch(mode=0o600)
    sealed.path("token").write_text("CANARY-TOKEN")
    done = sealed.run(name, "--json")
    error = done.document["error"]
    assert (error["exit_code"], error["code"]) == (done.code, done.named)
    assert all(error[key] for key in ("family", "message", "means", "hint"))
    assert done.document[answer]
    assert sealed.run(name).named == done.named


def test_a_file_whose_name_is_no_utf8_is_named_in_json_all_the_same(sealed: Machine) -> None:
    name = os.fsdecode(b"n\xff.sr")
    shutil.copyfile(sealed.path("full.sr"), sealed.path(name))
    found = sealed.ok("drill", "local", "--backup-file", name, "--json", STRONGROOM_PASSPHRASE=PASSPHRASE)
    assert found.document["from"] == "n\\udcff.sr"
    assert sealed.run("backups", "verify", f"{name}x", "--json").document["error"]["code"] == "MissingPiece"


def test_json_may_stand_in_front(sealed: Machine) -> None:
    assert sealed.ok("--json", "list").document == sealed.ok("list", "--json").document


@pytest.mark.parametrize("words", [*ANSWERS, *ERRORS], ids=" ".join)
def test_no_value_is_shown_unless_asked_for(sealed: Machine, words: tuple[str, ...]) -> None:
    for format_ in ((), ("--json",)):
        done = sealed.run(*words, *format_, STRONGROOM_PASSPHRASE=PASSPHRASE)
        assert ("CANARY" in done.out) == ("--show-value" in words)
        assert "CANARY" not in done.err
        assert "Traceback" not in done.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(machine: Machine, name: str) -> None:
    done = machine.run(name, "--help", STRONGROOM_PASSPHRASE="CANARY-PASS")
    assert done.code == 0
    assert done.out.startswith(f"usage: strongroom {name}")
    assert "--json" in done.out
    assert "CANARY" not in done.out


def test_a_value_on_the_command_line_is_refused_and_not_repeated(machine: Machine) -> None:
    for words in (("set", "NAME", "CANARY-TYPED"), ("set", "NAME", "--value=CANARY-TYPED")):
        done = machine.run(*words)
        assert done.failed_with(UsageError)
        assert "CANARY" not in done.err
        assert "no secret" in machine.ok("list").out


def test_control_characters_in_names_reach_no_terminal(machine: Machine) -> None:
    machine.set("EVIL\x1b[2J\u202eNAME", "CANARY")
    out = machine.ok("list").out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "EVIL" in out


def test_a_value_is_printed_byte_for_byte(machine: Machine) -> None:
    value = bytes(range(256)) + b"\n"
    machine.ok("set", "BINARY", "--exact", stdin=value)
    done = subprocess.run(
        command("get", "BINARY", "--show-value"),
        env=machine.env,
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout == value
    document = machine.ok("get", "BINARY", "--show-value", "--json").document
    assert document["encoding"] == "base64"


def test_a_reader_that_goes_away_is_no_error(sealed: Machine) -> None:
    line = " ".join(map(str, command("config", "reference"))) + " | head -c 10"
    done = subprocess.run(
        ["sh", "-c", line], env=sealed.env, capture_output=True, check=False, timeout=PATIENCE
    )
    assert done.stderr == b""


def test_a_fault_of_our_own_shows_no_traceback_and_no_text(machine: Machine) -> None:
    code = (
        "import sys\n"
        "from strongroom.cli import main\n"
        "from strongroom.cli.commands.secrets import store\n"
        "def broken(*_): raise RuntimeError('CANARY-INSIDE')\n"
        "store.list_in_store = broken\n"
        "sys.exit(main.main(['list']))"
    )
    env = machine.env | {"PYTHONPATH": str(ROOT)}
    for debug in ({}, {"STRONGROOM_DEBUG": "1"}):
        done = subprocess.run(
            [*command()[:1], "-c", code],
            env=env | debug,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 1
        assert "RuntimeError" in done.stderr
        assert "CANARY" not in done.stderr + done.stdout
        assert ("Traceback" in done.stderr) == bool(debug)


@pytest.mark.parametrize(
    ("raised", "code", "named"),
    [("KeyboardInterrupt", 130, "Interrupted"), ("RuntimeError", 1, "RuntimeError")],
)
def test_what_ends_a_command_and_is_no_error_of_ours_stands_in_the_document_beside_the_answer(
    machine: Machine, raised: str, code: int, named: str
) -> None:
    program = (
        "import sys\n"
        "from strongroom.cli import main\n"
        "from strongroom.cli.commands.secrets import store\n"
        "from strongroom.cli.terminal.answer import Answer\n"
        "from strongroom.sheet import Sheet\n"
        "def broken(given, output):\n"
        "    output.give(Answer(record={'found': 1}, sheet=Sheet()))\n"
        f"    raise {raised}('CANARY-INSIDE')\n"
        "store.list_in_store = broken\n"
        "sys.exit(main.main(['list', '--json']))"
    )
    done = subprocess.run(
        [*command()[:1], "-c", program],
        env=machine.env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    document = json.loads(done.stdout)
    assert (done.returncode, document["found"]) == (code, 1)
    assert (document["error"]["code"], document["error"]["exit_code"]) == (named, code)
    assert "CANARY" not in done.stdout + done.stderr


def test_a_command_that_goes_on_running_gives_its_document_once_and_at_once(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    output = Output(json=True)
    output.give(Answer(record={"ready": True}, sheet=Sheet()))
    output.settle()
    assert json.loads(capfdbinary.readouterr().out) == {"ready": True, "error": None}
    output.settle({"code": "TargetUnavailable"})
    assert capfdbinary.readouterr().out == b""
