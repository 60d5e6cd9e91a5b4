"""A million inputs through the whole way in, guided by the branches that they reach."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 1_000_000
SEEDS = (
    b"{}",
    b"[[],{},{}]",
    rb'"\ud800"',
    b"1e999",
    b"[" * 300,
    b"9" * 300,
    b'{"__type__":"datetime","__value__":"x"}',
    b'{"compression":"gzip"}',
    b'{"method":"ping","arguments":{},"clock":1}',
)


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.platform
def test_a_million_inputs_are_each_taken_or_refused_once_and_raise_nothing(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for this platform")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        for kind in range(6):
            (corpus / f"{number}-{kind}").write_bytes(b"\1" + seed + bytes([number, kind, 100, kind, number]))
    options = [f"-runs={RUNS}", "-len_control=0", "-max_len=500", f"-artifact_prefix={tmp_path}/"]

    told = subprocess.run(
        [sys.executable, "-m", "tests.workers.fuzz_way_in", str(tmp_path / "keys"), str(corpus), *options],
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stderr[-3000:]
    assert f"Done {RUNS} runs" in told.stderr
