"""Operations run in threads: nothing that msgspec does only once may be left to a first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE

RACE = """
import sys, threading
import msgspec
from {module} import {record}

sys.setswitchinterval(1e-6)
gate = threading.Barrier(8)

def read():
    gate.wait()
    try:
        msgspec.convert({data}, {record})
    except msgspec.ValidationError:
        pass

threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize(
    ("record", "data"),
    [
        (
            "strongroom.operations.engine.integrity.SignedRun",
            {"receipt": {"run": "", "piece": 0}, "signature": ""},
        ),
        ("strongroom.container.manifest.Manifest", {"counts": {}, "containers": [{}], "previous": ""}),
        ("strongroom.container.wrapping.Envelope", {"file_key": {}, "wrapping_key": {"stanzas": [{}]}}),
    ],
)
def test_eight_threads_that_read_a_record_first_do_not_end_the_process(
    record: str, data: dict[str, Any]
) -> None:
    module, _, name = record.rpartition(".")
    program = RACE.format(module=module, record=name, data=data)
    for _ in range(3):
        assert subprocess.run([sys.executable, "-c", program], check=False, timeout=PATIENCE).returncode == 0


def test_no_record_is_left_to_be_prepared_in_the_middle_of_work(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.operations.first_use", str(tmp_path / "machine")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (told.returncode, told.stdout) == (0, ""), told.stderr
