"""Flower asks for a login, shows no arguments, and changes nothing."""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.config import Settings, load_settings
from strongroom.errors import ConfigError
from tests.live.certificates import make_certificate
from tests.patience import PATIENCE, until
from tests.workers.cluster import RunningCluster, is_alive
from tests.workers.test_worker_refuses import shell
from workers import flower, paths

CANARY = "CANARY-policy-name"


def fetch(cluster: RunningCluster, path: str, *, login: bool = True, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{cluster.port}{path}", method=method)
    if login:
        password = (paths.run_folder(cluster.state_dir) / flower.GENERATED).read_text().strip()
        token = base64.b64encode(f"strongroom:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""
    except OSError:
        return 0, ""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """A cluster whose processes show what a person's show of their start."""
    running = RunningCluster(tmp_path_factory.mktemp("cluster") / "state", "--flower", "--started")
    try:
        running.start()
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def watched(started: RunningCluster) -> RunningCluster:
    """A cluster whose Flower answers and has seen a task."""
    until(lambda: fetch(started, "/api/workers?refresh=1")[1].count("@") >= 5, what="the workers")
    until(lambda: "strongroom.reconcile" in fetch(started, "/api/tasks")[1], what="events")
    shell(
        started,
        "from workers.app import app; "
        f"app.send_task('strongroom.backup.full', kwargs={{'policy': '{CANARY}'}}, queue='control')",
    )
    until(lambda: "strongroom.backup.full" in fetch(started, "/api/tasks")[1], what="the task")
    return started


@pytest.mark.parametrize("path", ["/", "/workers", "/tasks", "/api/tasks", "/api/workers", "/metrics"])
def test_nothing_is_shown_without_a_login(watched: RunningCluster, path: str) -> None:
    assert fetch(watched, path, login=False)[0] == 401


def test_metrics_are_given_to_who_logs_in(watched: RunningCluster) -> None:
    status, text = fetch(watched, "/metrics")

    assert status == 200
    assert "flower_events_total" in text


def test_a_task_is_shown_without_its_arguments_and_result(watched: RunningCluster) -> None:
    tasks = json.loads(fetch(watched, "/api/tasks")[1]).values()

    (asked,) = [task for task in tasks if task["name"] == "strongroom.backup.full"]
    assert (asked["args"], asked["kwargs"]) == ("(hidden)", "(hidden)")
    said = ("exception", "traceback")  # our own message, which names the policy
    assert CANARY not in json.dumps([{k: v for k, v in task.items() if k not in said} for task in tasks])


def test_workers_answer_flowers_signed_questions(watched: RunningCluster) -> None:
    def answers() -> str:
        """Flower waits for a second: on a busy machine not all of them have answered by then."""
        return fetch(watched, "/api/workers?refresh=1")[1]

    until(lambda: '"name": "seal"' in (said := answers()) and "active_queues" in said, what="the answers")


@pytest.mark.parametrize("path", ["shutdown", "pool/restart", "pool/grow"])
def test_it_changes_nothing(watched: RunningCluster, path: str) -> None:
    worker = watched.pid("control")
    status, _ = fetch(watched, f"/api/worker/{path}/control@{socket.gethostname()}", method="POST")

    assert status == 403
    assert worker is not None
    assert is_alive(worker)


def test_its_password_is_neither_on_a_command_line_nor_in_an_environment(watched: RunningCluster) -> None:
    password = (paths.run_folder(watched.state_dir) / flower.GENERATED).read_text().strip()

    for pid in watched.note():
        if is_alive(pid):
            for name in ("cmdline", "environ"):
                assert password not in (Path("/proc") / str(pid) / name).read_text(errors="replace")


def test_a_generated_password_is_kept_in_a_private_file(tmp_path: Path) -> None:
    settings = load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)})

    first = flower.password(settings)

    file = paths.run_folder(tmp_path) / flower.GENERATED
    assert len(first) >= 24
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert flower.password(settings) == first


@pytest.mark.parametrize(("content", "why"), [("", "is empty"), ("two,logins", "comma")])
def test_a_password_that_flower_would_misread_is_refused(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text(content)
    settings = load_settings(
        {"STRONGROOM_STATE_DIR": str(tmp_path), "STRONGROOM_FLOWER__PASSWORD_FILE": str(file)}
    )

    with pytest.raises(ConfigError, match=why):
        flower.password(settings)


def with_certificate(state_dir: Path, certificate: Path, key: Path) -> Settings:
    return load_settings(
        {
            "STRONGROOM_STATE_DIR": str(state_dir),
            "STRONGROOM_LISTEN__CERTIFICATE_FILE": str(certificate),
            "STRONGROOM_LISTEN__KEY_FILE": str(key),
        }
    )


def test_flower_takes_our_certificate_for_tls(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    key.chmod(0o600)
    asked = (
        "from flower.command import apply_env_options, extract_settings, settings\n"
        "apply_env_options(); extract_settings(); print(settings['ssl_options'])"
    )
    given = {**os.environ, **flower.environment(with_certificate(tmp_path, certificate, key))}
    done = subprocess.run(
        [sys.executable, "-c", asked], env=given, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str({"certfile": str(certificate), "keyfile": str(key)})


def test_a_certificate_that_is_none_is_told_before_flower_starts(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    key.chmod(0o600)
    settings = with_certificate(tmp_path, certificate, key)
    certificate.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"listen\.certificate_file"):
        flower.environment(settings)
