"""A question to a person stands on a line of its own, whatever is being counted."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios

from tests.patience import PATIENCE

PROGRAM = """
import time
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.screen import counting
with counting(Output(), "secrets", 10) as advance:
    advance(3)
    prompts.hidden("PIN of the HSM: ")
    advance(7)
print("over")
"""


def test_a_prompt_does_not_stand_on_the_line_of_the_progress_bar() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    said = b""
    while b"PIN of the HSM: " not in said:
        said += os.read(ours, 4096)
    os.write(ours, b"1234\n")
    while b"over" not in said:
        said += os.read(ours, 4096)
    process.wait(PATIENCE)
    os.close(ours)
    before = said.partition(b"PIN of the HSM: ")[0]
    # The bar's line was erased, and the cursor is at its beginning.
    assert b"secrets" in before
    assert before.rstrip(b"\x1b[?25h").endswith((b"\x1b[2K", b"\n"))
