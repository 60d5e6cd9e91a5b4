"""Tab in real shells: commands, options, files, and the names of what this installation has."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from strongroom.cli.commands.setup.completion import NAMES
from strongroom.cli.table import COMMANDS, PROCEDURES
from tests.cli.program import Machine
from tests.patience import PATIENCE

CONFIG = """
[keys.recovery]
kind = "passphrase"
file = "nowhere"
[targets.near]
kind = "directory"
path = "near"
region = "near"
create = true
[policies.nightly]
kind = "metadata"
targets = ["near"]
quorum = 1
regions = 1
[policies."$(touch CANARY)"]
kind = "full"
"""
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with one backup, and the script of each shell."""
    machine = Machine(tmp_path_factory.mktemp("completion") / "home")
    right, _, _ = CONFIG.partition('[policies."$')
    machine.path("strongroom.toml").write_text(right)
    machine.ok("set", "NAME", stdin="CANARY-value")
    machine.ok("backup", "--policy", "nightly", "--force")
    machine.path("strongroom.toml").write_text(CONFIG)
    for shell in SHELLS:
        machine.path(f"completion.{shell}").write_text(machine.ok("completion", shell).out)
    return machine


def newest(machine: Machine) -> str:
    return machine.ok("__complete", "backups").out.split()[0]


def complete(machine: Machine, shell: str, line: str) -> list[str]:
    """Return what a shell offers for the last word of a line; of zsh, the line that Tab makes of it."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    return {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}[shell](machine, line)


def in_bash(machine: Machine, line: str) -> list[str]:
    words = line.split(" ")
    script = (
        f"source completion.bash; COMP_WORDS=({' '.join(word or chr(34) * 2 for word in words)}); "
        f"COMP_CWORD={len(words) - 1}; "
        "$(complete -p strongroom | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); echo ${COMPREPLY[@]}"
    )
    return run(machine, "bash", "--norc", "-c", script).split()


def in_fish(machine: Machine, line: str) -> list[str]:
    script = f"source completion.fish; complete --do-complete '{line}'"
    return [row.partition("\t")[0] for row in run(machine, "fish", "--no-config", "-c", script).splitlines()]


def run(machine: Machine, *words: str) -> str:
    done = subprocess.run(
        words, cwd=machine.home, env=machine.env, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return done.stdout


def in_zsh(machine: Machine, line: str) -> list[str]:
    """Type into a zsh on a terminal, press Tab and Enter, and return the words that the program was given."""
    script = machine.path("rc")
    said = machine.path("typed")
    said.unlink(missing_ok=True)
    script.write_text(
        f"fpath=({machine.home}/zsh $fpath); autoload -Uz compinit; compinit -u -D; PS1='ready> '\n"
        f'unsetopt beep; strongroom() {{ print -l -- "$@" > {said}.new; mv {said}.new {said}; }}\n'
    )
    machine.path("zsh").mkdir(exist_ok=True)
    shutil.copy(machine.path("completion.zsh"), machine.path("zsh") / "_strongroom")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(machine.home)
        os.execvpe("zsh", ["zsh", "-f", "-i"], machine.env | {"TERM": "dumb"})
    try:
        send(terminal, f"source {script}\n", until=b"ready> ")
        send(terminal, f"{line}\t", until=b"")
        send(terminal, "\n", until=b"ready> ")
        return said.read_text().split()
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def send(terminal: int, text: str, *, until: bytes) -> None:
    os.write(terminal, text.encode())
    shown, deadline = b"", time.monotonic() + PATIENCE
    while until not in shown and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 65536)
    assert until in shown, shown


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_command(furnished: Machine, shell: str) -> None:
    script = furnished.path(f"completion.{shell}").read_text()
    assert all(word in script for name in (*COMMANDS, *PROCEDURES) for word in name.split())
    assert "include-values" in script


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_a_command(furnished: Machine, shell: str) -> None:
    assert complete(furnished, shell, "strongroom verify-b")[-1] == "verify-backup"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("strongroom backup --policy nig", "nightly"),
        ("strongroom emergency backup nig", "nightly"),
        ("strongroom restore --from-target ne", "near"),
        ("strongroom keys retire rec", "recovery"),
    ],
)
def test_a_shell_completes_the_names_of_the_configuration(
    furnished: Machine, shell: str, line: str, name: str
) -> None:
    assert complete(furnished, shell, line)[-1] == name


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("line", ["strongroom backups replicas {}", "strongroom restore --backup {}"])
def test_a_shell_completes_the_names_of_backups(furnished: Machine, shell: str, line: str) -> None:
    name = newest(furnished)
    assert complete(furnished, shell, line.format(name[:9]))[-1] == name


def test_a_name_that_a_shell_would_run_is_not_offered(furnished: Machine) -> None:
    assert furnished.ok("__complete", "policies").out.split() == ["nightly"]
    complete(furnished, "bash", "strongroom backup --policy ")
    assert not furnished.path("CANARY").exists()


@pytest.mark.parametrize("kind", [*NAMES, "nothing", ""])
@pytest.mark.parametrize("broken", ["configuration", "database", "both"])
def test_where_something_is_broken_no_name_is_known_and_nothing_is_said(
    tmp_path: Path, kind: str, broken: str
) -> None:
    machine = Machine(tmp_path / "home")
    machine.state.mkdir()
    if broken != "database":
        machine.path("strongroom.toml").write_text("[[[CANARY")
    if broken != "configuration":
        (machine.state / "state.db").write_text("CANARY")
    done = machine.run("__complete", kind)
    assert (done.code, done.err) == (0, "")
    assert "CANARY" not in done.out
    assert [path.name for path in machine.state.iterdir()] == ["state.db"] * (broken != "configuration")


def test_names_are_told_without_what_takes_long_to_load(furnished: Machine) -> None:
    script = (
        "import sys; from strongroom.cli.main import main; main(['__complete', 'backups'])\n"
        "print([name for name in ('msgspec', 'argparse', 'shtab', 'sqlalchemy', 'rich', 'ssl')"
        " if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        ["python", "-c", script],
        cwd=furnished.home,
        env=furnished.env,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stderr.strip() == "[]"
    assert done.stdout.split()
