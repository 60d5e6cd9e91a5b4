"""``strongroom demo`` and ``strongroom up``: the real cluster, and nothing left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from strongroom.cli.commands.setup import demo
from strongroom.errors import UsageError
from tests.cli.program import Machine, command
from tests.patience import PATIENCE
from tests.workers.cluster import up


@pytest.fixture
def near() -> Iterator[Machine]:
    """A machine whose paths are short enough for the broker's socket."""
    with TemporaryDirectory(prefix="sr-") as place:
        yield Machine(Path(place))


def running(place: Path) -> list[str]:
    """Name every process that works in or on ``place``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(place) in told and int(process.name) != os.getpid():
            found.append((process / "cmdline").read_bytes().decode().replace("\0", " "))
    return found


def test_the_demo_data_is_the_same_every_time_and_has_no_two_of_a_name() -> None:
    secrets = list(demo.secrets(300))
    assert secrets == list(demo.secrets(300))
    assert len({secret.name for secret in secrets}) == 300
    assert len({secret.type for secret in secrets}) == 8


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("by", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_demo_stops_in_order(near: Machine, by: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        command("demo"),
        cwd=near.home,
        env=near.env | {"TMPDIR": str(near.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Start the cluster" in line:
            break
    process.send_signal(by)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "Traceback" not in err
    assert [path.name for path in near.home.iterdir() if path.name.startswith("strongroom-demo")] == []
    assert running(near.home) == []


@pytest.mark.timeout(900)
def test_a_backup_is_submitted_followed_and_the_cluster_stopped(near: Machine) -> None:
    near.set("A", "CANARY-A")
    near.ok("keys", "new", "--output", "recovery.key")
    near.path("strongroom.toml").write_text("""
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
[policies.full]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["recovery"]
""")
    with up(near, "--json", wait=False, forked=True) as cluster:
        cluster.await_ready("\n}\n")
        assert json.loads(cluster.answer())["ready"]
        assert near.run("up").failed_with(UsageError)
        submitted = near.ok("backup", "--cluster", "--policy", "full", "--follow", "--json").document
        assert (submitted["state"], submitted["secrets"]) == ("done", 1)
        again = near.ok("backup", "--cluster", "--policy", "full", "--json").document
        followed = near.ok("runs", "show", again["id"], "--follow", "--json").document
        assert (followed["state"], followed["request_id"]) == ("done", again["id"])
        assert "CANARY" not in json.dumps([submitted, followed])
        assert cluster.stop() == 0
    assert running(near.home) == []
