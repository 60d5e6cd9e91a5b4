"""No process of a cluster executes a file because it lies where a person typed a command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.patience import PATIENCE, until
from tests.process import free_port
from tests.workers.cluster import descendants

SCRIPT = Path(sys.executable).parent / "strongroom"
ROOT = Path(__file__).resolve().parents[2]
STRAY = (
    "tasks.py",
    "workers.py",
    "cli.py",
    "strongroom.py",
    "beat_schedule.py",
    "celeryconfig.py",
    "flowerconfig.py",
    "sitecustomize.py",
    "redis.py",
    "logging.py",
    "tornado.py",
)


def lay_traps(folder: Path) -> Path:
    """Put files into a folder that leave their name in another file when one is executed."""
    folder.mkdir()
    caught = folder.parent / "caught"
    for name in STRAY:
        (folder / name).write_text(
            f"open({str(caught)!r}, 'a').write({name!r} + '\\n')\nraise SystemExit(9)\n"
        )
    return caught


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize(
    "command", [[str(SCRIPT)], [sys.executable, str(ROOT / "scripts" / "secrets_cli.py")]]
)
def test_a_cluster_executes_nothing_that_lies_where_up_is_typed(tmp_path: Path, command: list[str]) -> None:
    caught, port = lay_traps(tmp_path / "here"), free_port()
    environment = {
        **os.environ,
        "STRONGROOM_STATE_DIR": "../state",
        "STRONGROOM_FLOWER__PORT": str(port),
        "PYTHONPATH": "",
    }
    up = subprocess.Popen(
        [*command, "up", "--flower", "--json"],
        cwd=tmp_path / "here",
        env=environment,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    try:
        assert up.stdout is not None
        assert any(b'"ready"' in line for line in up.stdout)
        until(lambda: answers(port), what="Flower")
        folders = {Path(f"/proc/{pid}/cwd").resolve() for pid in descendants(up.pid)}
        up.send_signal(signal.SIGINT)
        up.wait(PATIENCE)
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGINT)
            up.wait(PATIENCE)
        if up.stdout is not None:
            up.stdout.close()

    assert not caught.exists(), caught.read_text()
    assert tmp_path / "here" not in folders


def test_the_settings_that_lie_where_up_is_typed_are_read_all_the_same(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "strongroom.toml").write_text(
        'state_dir = "../state"\n[targets.only-here]\nkind = "directory"\npath = "x"\nregion = "x"\n'
    )
    command = [sys.executable, "-P", "-c", "from workers.app import app; print(list(app.settings.targets))"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}

    told = subprocess.run(
        command, cwd=here, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True
    )

    assert told.stdout == "['only-here']\n"


def test_every_unit_and_the_image_keep_the_current_directory_off_the_path() -> None:
    units = [*(ROOT / "ops" / "systemd").glob("*.service"), ROOT / "ops" / "Dockerfile"]
    started = [
        line
        for unit in units
        for line in unit.read_text().splitlines()
        if "workers" in line and "python" in line
    ]
    begins = [line for line in started if line.startswith(("ExecStart", "ENTRYPOINT"))]

    assert len(begins) == len(units) - 1, "all but the check from outside, which is a command"
    assert all("python -P -m workers" in line.replace('", "', " ") for line in begins)
