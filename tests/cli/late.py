"""A command that is interrupted as it calls a named function: after that it had little left to do."""

from __future__ import annotations

import subprocess
import sys

from tests.cli.program import ROOT, Machine
from tests.patience import PATIENCE

_PROGRAM = """
import importlib, os, signal, sys
from strongroom.cli.main import main

def interrupt(*_, **__):
    os.kill(os.getpid(), signal.SIGINT)

module, name, *words = sys.argv[1:]
setattr(importlib.import_module(module), name, interrupt)
sys.exit(main(words))
"""


def interrupted_at(machine: Machine, called: str, *words: str) -> tuple[int, str]:
    """Run a command line, interrupted at ``module:function``; return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *called.split(":"), *words],
        cwd=machine.home,
        env=machine.env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stderr
