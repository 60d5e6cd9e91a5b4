"""A process that ends while a thread is still at work in a SQLite database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

pytestmark = pytest.mark.durable

PROGRAM = """
import sys, threading
from pathlib import Path
from strongroom.system import files

files.EXIT_WAITS = 0.1
path = Path(sys.argv[1])
files.create(path)
began = threading.Event()

def work():
    with files.in_use():
        connection = files.connect(path, timeout=1)
        connection.create_function("began", 0, lambda: began.set() or 1)
        endless = "WITH RECURSIVE n(x) AS (SELECT began() UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
        connection.execute(endless).fetchall()

threading.Thread(target=work, daemon=True).start()
began.wait()
"""


def test_a_process_ends_though_a_thread_is_in_the_middle_of_a_statement(tmp_path: Path) -> None:
    """Closing the connection under the thread would crash the process, or wait for the statement."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "state.db")],
        cwd=Path(__file__).parents[2],
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0
