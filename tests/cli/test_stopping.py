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

with in_order(), ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
    pool.submit(os.getpid).result()
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("handed back")
"""


def test_forked_processes_that_wait_for_work_print_no_stack() -> None:
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
