"""Ctrl-C at a terminal, which asks every process of a command at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from strongroom.cli.terminal import failures
from strongroom.errors import UsageError
from strongroom.operations.engine.process_lock import FOLDER
from tests.cli.late import interrupted_at
from tests.cli.program import ROOT, Machine
from tests.patience import PATIENCE


def run(program: str, *words: str) -> tuple[int, str, str]:
    """Run a program, and return its exit code, its output and what it said."""
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout, done.stderr


POOLED = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from strongroom.cli.terminal.stopping import in_order
from strongroom.operations.engine.drive import _begin_forked
from strongroom.system.process import uninterrupted

begin = {"initializer": _begin_forked, "initargs": (os.getpid(),)}
with in_order(), ProcessPoolExecutor(2, mp_context=get_context("fork"), **begin) as pool:
    with uninterrupted():
        waiting = pool.submit(os.getpid)
    waiting.result()
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("handed back")
"""


def test_forked_processes_end_by_the_signal_itself_and_print_no_stack() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", POOLED],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "handed back\n", "")


DROPPED = """
import os, signal, time
from strongroom.cli.terminal.stopping import in_order

class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        list(range(1000))

with in_order():
    try:
        Closing()
        time.sleep(60)
        print("went on")
    except KeyboardInterrupt as stopped:
        print(type(stopped).__name__)
"""


def test_an_interruption_that_comes_where_nothing_can_be_raised_interrupts_all_the_same() -> None:
    assert run(DROPPED) == (0, "Terminated\n", "")


ENTERED = """
import os, signal, sys, time
from strongroom.cli.terminal.stopping import in_order

class Held:
    def __enter__(self):
        os.kill(os.getpid(), signal.SIGTERM)

    def __exit__(self, *_):
        print("let go")

class Open:
    def close(self):
        os.kill(os.getpid(), signal.SIGTERM)
        print("closed")

with in_order():
    try:
        if sys.argv[1:]:
            Open().close()
            time.sleep(60)
        with Held():
            time.sleep(60)
            print("went on")
    except KeyboardInterrupt as stopped:
        print(type(stopped).__name__)
"""


def test_what_is_entered_as_an_interruption_comes_is_left_too() -> None:
    """A transaction that nobody left kept its lock, and what took back what was begun waited for that."""
    assert run(ENTERED) == (0, "let go\nTerminated\n", "")
    assert run(ENTERED, "close") == (0, "closed\nTerminated\n", "")


FORKED = """
import os, signal
from strongroom.cli.terminal.stopping import in_order
from strongroom.system.process import uninterrupted

class Held:
    def __enter__(self):
        os.kill(os.getpid(), signal.SIGINT)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def __exit__(self, *_):
        pass

with in_order():
    try:
        with Held(), uninterrupted():
            os.kill(os.getpid(), signal.SIGALRM)  # as the timer would have it, which was put off here
            print("forked")
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_an_interruption_that_was_put_off_does_not_come_during_a_fork() -> None:
    """It kept the lock of the log from being let go, which Python holds while it forks."""
    assert run(FORKED) == (0, "forked\ninterrupted\n", "")


LEFT = """
import os, signal
from contextlib import suppress
from strongroom.cli.terminal.stopping import in_order

class Last:
    def __enter__(self):
        pass

    def __exit__(self, *_):
        os.kill(os.getpid(), signal.SIGTERM)

with suppress(KeyboardInterrupt), in_order():  # on a busy machine it comes before the end
    with Last():
        pass
print(signal.getitimer(signal.ITIMER_REAL))
"""


def test_an_interruption_at_the_very_end_kills_nothing_later() -> None:
    assert run(LEFT) == (0, "(0.0, 0.0)\n", "")


TOLD = """
import os, signal, sys
from strongroom.cli import main
from strongroom.cli.shared import access_log
from strongroom.cli.terminal import failures

def interrupted(_):
    os.kill(os.getpid(), signal.SIGINT)
    print("asked")

failures.debug = interrupted
access_log.record_outcomes = interrupted
sys.exit(main.main(sys.argv[1:]))
"""


def test_nothing_interrupts_telling_how_a_command_ended() -> None:
    code, out, err = run(TOLD, "get")
    assert (code, out) == (UsageError.exit_code, "asked\nasked\n")
    assert err.splitlines()[0] == "strongroom: UsageError"
    code, out, err = run(TOLD, "--version")
    assert (code, out.count("asked"), err) == (0, 1, "")


HANGS = """
import os, signal, sys, threading
from strongroom.cli import main

def hang():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()

def run(words, output):
    output.left = hang
    os.kill(os.getpid(), signal.SIGINT)

main._run = run
sys.exit(main.main())
"""


def test_a_record_that_hangs_is_asked_what_is_left_until_somebody_interrupts_again() -> None:
    code, _, err = run(HANGS)
    assert code == failures.INTERRUPTED
    assert "interrupted; what it left, the record could not say." in err


TWICE = """
import os, signal, sys, time
from strongroom.cli.terminal.stopping import in_order

class Again:
    def write(self, text):
        raise RuntimeError("reentrant call")

with in_order():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        sys.stderr = Again()
        os.kill(os.getpid(), signal.SIGINT)
        sys.stderr = sys.__stderr__
        print("took back")
"""


def test_a_second_interruption_is_answered_in_the_middle_of_any_output() -> None:
    code, out, err = run(TWICE)
    assert (code, out) == (0, "took back\n")
    assert "Once more stops it at once." in err


INTERRUPTED = """
import os, signal, sys
from strongroom.cli.main import main
from strongroom.operations.engine import run_log
from strongroom.operations.engine.jobs import job_of
from strongroom.state.records import RunKind, StepKind

def interrupt(*_):
    os.killpg(0, signal.SIGINT)

kind, step, *words = sys.argv[1:]
if step:
    actions = job_of(RunKind(kind)).actions
    actions[StepKind(step)] = actions[StepKind(step)]._replace(perform=interrupt)
else:
    run_log.begun = interrupt
sys.exit(main(words))
"""


def interrupted(machine: Machine, *words: str, kind: str, step: str = "") -> list[str]:
    """Run a command line that is interrupted as a kind of step begins, or else as a run was put on record.

    Returns:
        how its runs stand.
    """
    before = len(machine.ok("runs", "--json").document["runs"])
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, kind, step, *words],
        cwd=machine.home,
        env=machine.env | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == failures.INTERRUPTED, done
    assert "nothing half-written was left" in done.stderr
    assert machine.staged() == []
    assert not list((machine.state / FOLDER).iterdir())
    runs = machine.ok("runs", "--json").document["runs"]
    return [run["state"] for run in runs[: len(runs) - before]]


BACKUP = ("backup", "--policy", "full", "--force")


def test_a_run_is_ended_that_was_interrupted_before_its_first_step(configured: Machine) -> None:
    assert interrupted(configured, *BACKUP, kind="backup") == ["cancelled"]


def test_a_rotation_a_repair_and_what_the_calendar_began_are_ended(configured: Machine) -> None:
    config = configured.path("strongroom.toml")
    key = 'public_key_file = "recovery.key.pub"'
    config.write_text(config.read_text().replace(key, f'{key}\nidentity_file = "recovery.key"'))
    made = configured.ok(*BACKUP, "--json").document["id"]
    rotation = ("keys", "rotate", "full", "--renew")
    assert interrupted(configured, *rotation, kind="rotate", step="rewrap") == ["cancelled"]
    repair = ("backups", "repair", made)
    assert interrupted(configured, *repair, kind="repair", step="plan") == ["cancelled"]
    assert interrupted(configured, "schedule", "run", "verification", kind="verify") == ["cancelled"]


@pytest.mark.parametrize(
    "called",
    ["strongroom.operations.engine.drive:fold_old_steps", "strongroom.cli.shared.render_run:answer_run"],
)
def test_an_interruption_that_comes_too_late_says_that_the_run_is_done(
    configured: Machine, called: str
) -> None:
    code, said = interrupted_at(configured, called, *BACKUP)
    [run] = configured.ok("runs", "--json").document["runs"]
    assert (code, run["state"]) == (failures.INTERRUPTED, "done")
    assert f"interrupted; run {run['id']} is done: 'strongroom runs show {run['id']}'" in said


def test_an_interruption_that_comes_once_the_file_is_there_says_so(machine: Machine) -> None:
    machine.set("A", "CANARY-A")
    machine.ok("keys", "new", "--output", "recovery.key")
    words = ("backup", "out.sealed", "--recipient", "recovery.key.pub")
    code, said = interrupted_at(machine, "strongroom.cli.shared.runs:read_signer", *words)
    assert code == failures.INTERRUPTED
    assert "interrupted; 'out.sealed' was written, and read back whole." in said
    assert machine.path("out.sealed").exists()


HEARD = """
import os, signal, threading, time
from strongroom.cli.terminal.stopping import in_order

told, tells = os.pipe()
os.set_blocking(tells, False)
signal.set_wakeup_fd(tells)
said, says = os.pipe()
os.set_blocking(says, False)
try:
    while True:
        os.write(says, bytes(4096))
except BlockingIOError:
    os.set_blocking(says, True)
os.dup2(says, 2)

def read_once_the_alarm_came():
    heard = []
    while heard.count(signal.SIGINT) < 2 or heard[-1] != signal.SIGALRM:
        heard += os.read(told, 1)
    while os.read(said, 4096):
        pass

class Held:
    def __enter__(self):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    def __exit__(self, *_):
        print("let go")

with in_order():
    threading.Thread(target=read_once_the_alarm_came, daemon=True).start()
    try:
        with Held():
            time.sleep(600)
    except KeyboardInterrupt as stopped:
        print(type(stopped).__name__)
"""


def test_what_is_put_off_does_not_come_while_the_next_signal_is_heard() -> None:
    assert run(HEARD)[:2] == (0, "let go\nKeyboardInterrupt\n")


THIRD = """
import os, signal, time
from strongroom.cli.terminal.stopping import in_order

class Held:
    def __enter__(self):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    def __exit__(self, *_):
        pass

with in_order():
    try:
        with Held():
            pass
    except KeyboardInterrupt as stopped:
        print(type(stopped).__name__)
"""


def test_the_third_is_put_off_by_nothing() -> None:
    code, out, err = run(THIRD)
    assert (code, out) == (0, "Abandoned\n")
    assert err.count("taking back what was begun") == 1
