"""Against a real HTTP sink: a fault of the command line's own is reported, and no value."""

from __future__ import annotations

import subprocess
import sys

from strongroom.cli.terminal.failures import UNEXPECTED
from strongroom.sources.errors import SecretNotFound
from tests.cli.program import ROOT, Machine
from tests.patience import PATIENCE
from tests.workers.test_telemetry import Sink, sink

__all__ = ["sink"]

BROKEN = f"""
import sys
from strongroom.cli import main
from strongroom.cli.commands.secrets import store
from strongroom.cli.terminal import failures
failures.FLUSH_SECONDS = {PATIENCE}
def broken(*_):
    inside = "CANARY-LOCAL"
    raise RuntimeError("CANARY-TEXT " + inside)
store.list_in_store = broken
sys.exit(main.main(sys.argv[1:]))
"""


def run(machine: Machine, sink: Sink, *words: str) -> int:
    env = machine.env | {"PYTHONPATH": str(ROOT), "STRONGROOM_SENTRY__DSN": sink.dsn}
    line = [sys.executable, "-c", BROKEN, *words]
    return subprocess.run(line, env=env, capture_output=True, check=False, timeout=PATIENCE).returncode


def test_a_fault_is_reported_without_text_or_values(machine: Machine, sink: Sink) -> None:
    assert run(machine, sink, "list") == UNEXPECTED
    assert "RuntimeError" in sink.text
    assert '"cli"' in sink.text
    assert "CANARY" not in sink.text


def test_an_expected_error_is_not_reported(machine: Machine, sink: Sink) -> None:
    assert run(machine, sink, "get", "NOBODY") == SecretNotFound.exit_code
    assert sink.text == ""


def test_a_sink_that_is_gone_changes_nothing(machine: Machine, sink: Sink) -> None:
    sink.close()
    assert run(machine, sink, "list") == UNEXPECTED


def test_a_fault_is_told_where_the_package_of_the_sink_is_not_installed(machine: Machine, sink: Sink) -> None:
    without = f"import sys\nsys.modules['sentry_sdk'] = None\n{BROKEN}"
    env = machine.env | {"PYTHONPATH": str(ROOT), "STRONGROOM_SENTRY__DSN": sink.dsn}
    words = [sys.executable, "-c", without, "list"]
    told = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert told.returncode == UNEXPECTED
    assert "a fault of its own (RuntimeError" in told.stderr
    assert "sentry_sdk" not in told.stderr
