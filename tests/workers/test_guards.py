"""Celery's own command line starts no worker, and no beat, in a role that is not its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from strongroom.errors import ConfigError
from tests.patience import PATIENCE
from tests.process import free_port
from tests.redis_server import RedisServer


def celery(state_dir: Path, *words: str, role: str | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "STRONGROOM_STATE_DIR": str(state_dir)}
    environment.pop("STRONGROOM_ROLE", None)
    if role is not None:
        environment["STRONGROOM_ROLE"] = role
    command = [sys.executable, "-m", "celery", "-A", "workers.app", *words]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("role", [None, "submit", "beat", "control"])
def test_a_worker_of_a_queue_that_is_not_its_roles_does_not_start(tmp_path: Path, role: str | None) -> None:
    told = celery(tmp_path / "state", "worker", "-Q", "seal", role=role)

    assert told.returncode == ConfigError.exit_code
    assert f"role '{role or 'submit'}'" in told.stderr
    assert "No message was taken. Start it with 'python -P -m workers seal'." in told.stderr
    assert "Traceback" not in told.stderr


def test_a_beat_that_would_not_sign_as_beat_does_not_start(tmp_path: Path) -> None:
    told = celery(tmp_path / "state", "beat", role=None)

    assert told.returncode == ConfigError.exit_code
    assert "Start it with 'python -P -m workers beat'." in told.stderr
    assert "Traceback" not in told.stderr


def test_a_worker_that_cannot_go_on_ends_with_a_status_that_says_so(tmp_path: Path) -> None:
    with RedisServer(port=free_port()) as server, Redis(unix_socket_path=str(server.socket)) as owner:
        owner.execute_command("ACL", "SETUSER", "default", "-sadd")
        environment = {
            **os.environ,
            "STRONGROOM_STATE_DIR": str(tmp_path / "state"),
            "STRONGROOM_BROKER__URL": server.broker_url,
        }
        command = [sys.executable, "-P", "-m", "workers", "transfer"]
        told = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    assert told.returncode == 1
    assert "Unrecoverable error" in told.stderr
