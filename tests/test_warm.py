"""A program that is forked does what the same program does that is started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.patience import PATIENCE

PROGRAMS = {
    "arguments, folder and environment": "import os, sys; print(sys.argv, os.getcwd(), sorted(os.environ))",
    "what it is and imports": "import sys; print(__name__, __file__, sys.modules['__main__'].__doc__)",
    "streams": "import sys; print(sys.stdin.read(), sys.stdout.isatty(), sys.stdin.encoding)",
    "a number as its ending": "raise SystemExit(3)",
    "a number too large": "raise SystemExit(259)",
    "words as its ending": "raise SystemExit('It failed.')",
    "an error": "import os; os.stat('CANARY-missing')",
    "an interruption": "raise KeyboardInterrupt",
    "a signal": "import os; os.kill(os.getpid(), 9)",
    "no ending at all": "import os; os._exit(7)",
    "what it does at its end": "import atexit; atexit.register(print, 'last')",
    "a thread that goes on": "import threading; threading.Timer(0.05, print, ['late']).start()",
    "signals": "import signal; print([(n, str(signal.getsignal(n))) for n in (2, 13, 15, 17)])",
    "open files": "import os; print(sorted(os.listdir('/proc/self/fd'))[:3])",
    "a process of its own": "import os; os.chdir('/'); os.umask(0); os.environ['LEFT'] = 'behind'",
    "a folder for what is temporary": "import tempfile; print(tempfile.gettempdir())",
    "the time zone": "import time; print(time.localtime(0).tm_hour)",
    "chance": "import random, sys; sys.exit(random.random() == 0.5)",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_a_forked_program_does_what_a_started_one_does(tmp_path: Path, program: str) -> None:
    words = [_written(tmp_path, program), "one", "--two"]
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "TZ": "Asia/Tokyo"}
    env |= {"LANG": os.environ["LANG"]} if "LANG" in os.environ else {}
    started = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=env, input=b"given", capture_output=True, check=False
    )
    forked = warm.run(words, cwd=tmp_path, env=env, stdin=b"given", timeout=PATIENCE)
    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


def test_a_program_does_not_wait_for_another(tmp_path: Path) -> None:
    waiting = [sys.executable, _written(tmp_path, "import sys; print(sys.stdin.read())")]
    pipe = subprocess.PIPE
    with warm.Popen(waiting, cwd=tmp_path, env=_env(), stdin=pipe, stdout=pipe) as process:
        assert warm.run(waiting[1:], cwd=tmp_path, env=_env(), timeout=PATIENCE).returncode == 0
        assert process.poll() is None
        assert process.communicate(b"heard")[0] == b"heard\n"
    assert process.returncode == 0


def test_a_program_that_does_not_end_can_be_ended(tmp_path: Path) -> None:
    words = [sys.executable, _written(tmp_path, "import signal; print('ready', flush=True); signal.pause()")]
    with warm.Popen(words, cwd=tmp_path, env=_env(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL


def test_a_server_that_ends_is_an_error_and_no_good_ending_of_a_program(tmp_path: Path) -> None:
    program = _written(tmp_path, "import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
    with pytest.raises(warm.ServerEndedError):
        warm.run([program], cwd=tmp_path, env=_env(), timeout=PATIENCE)
    next_one = [_written(tmp_path, "raise SystemExit(3)")]
    assert warm.run(next_one, cwd=tmp_path, env=_env(), timeout=PATIENCE).returncode == 3


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "LC_ALL", "OPENSSL_CONF"])
def test_a_variable_that_is_read_at_the_start_makes_it_a_process_started(tmp_path: Path, name: str) -> None:
    program = _written(tmp_path, "import sys; print('strongroom.errors' in sys.modules)")
    assert warm.run([program], cwd=tmp_path, env=_env(), timeout=PATIENCE).stdout == b"True\n"
    env = _env() | {name: {"PYTHONHASHSEED": "1", "LC_ALL": "C", "OPENSSL_CONF": "/dev/null"}[name]}
    assert warm.run([program], cwd=tmp_path, env=env, timeout=PATIENCE).stdout == b"False\n"


def _written(folder: Path, program: str) -> str:
    path = folder / "program.py"
    path.write_text(program)
    return str(path)


def _env() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
