"""Ctrl-C at a terminal, which asks every process of a command at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.cli.program import ROOT

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
    out, err = process.communicate(timeout=30)
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
    done = subprocess.run(
        [sys.executable, "-c", DROPPED], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Terminated\n", "")
