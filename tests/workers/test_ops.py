"""What is shipped for operations fits the code: compose file, image, units."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from ctypes.util import find_library
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from strongroom.config import load_settings
from strongroom.schedule import next_slot
from workers import names

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "ops" / "systemd"
COMMON = SYSTEMD / "strongroom-.service.d" / "strongroom.conf"


def compose(*arguments: str) -> str:
    """Run docker-compose (or the plugin of that name) on our file."""
    program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if shutil.which(program[0]) is None:
        pytest.skip("no docker-compose on the path; 'make services' installs it")
    command = [*program, "--file", str(ROOT / "docker-compose.yml"), "--profile", "*", "config", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(compose("--format", "json"))["services"]
    return found


def test_the_compose_file_is_valid() -> None:
    assert compose("--quiet") == ""


def test_every_pool_runs_and_recover_is_normally_stopped(services: dict[str, Any]) -> None:
    roles = {service["command"][0] for service in services.values() if service.get("image") == "strongroom"}

    assert roles == {*names.QUEUES, names.BEAT, names.WATCH, names.METRICS, names.PAGE}
    assert [name for name, service in services.items() if service.get("profiles")] == ["recover"]


def test_only_what_people_look_at_is_reachable_and_from_this_host_alone(
    services: dict[str, Any],
) -> None:
    ports = {name: service["ports"] for name, service in services.items() if service.get("ports")}

    assert set(ports) == {"flower", "metrics", "page"}
    assert {port["host_ip"] for each in ports.values() for port in each} == {"127.0.0.1"}


def test_no_container_gets_a_password_in_its_environment_or_command(services: dict[str, Any]) -> None:
    for service in services.values():
        for name in service.get("environment") or {}:
            assert "PASSWORD" not in name or name.endswith("_FILE")


def test_the_database_password_reaches_who_uses_the_database(services: dict[str, Any]) -> None:
    having = {
        name
        for name, service in services.items()
        if any(secret["source"] == "postgres_password" for secret in service.get("secrets", []))
    }

    assert having == {"postgres", *names.QUEUES, names.BEAT, names.METRICS, names.PAGE}


def test_the_pools_reach_vault_and_targets_and_the_servers_reach_nothing(services: dict[str, Any]) -> None:
    outside = {name for name, service in services.items() if "outside" in service["networks"]}

    assert outside == {*names.QUEUES, names.BEAT, "flower", names.METRICS, names.PAGE}


def test_a_configuration_that_is_missing_is_refused_and_not_made_as_a_folder(
    services: dict[str, Any],
) -> None:
    for name in (*names.QUEUES, names.BEAT, "flower", names.METRICS, names.PAGE):
        (config,) = [one for one in services[name]["volumes"] if one["target"].endswith("strongroom.toml")]
        assert config["bind"].get("create_host_path", False) is False, name


def test_passwords_are_made_once_and_private(tmp_path: Path) -> None:
    script = Path(shutil.copy(ROOT / "ops" / "compose" / "make-secrets", tmp_path))

    subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=60)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=60)

    assert set(made) == {
        "redis_password",
        "postgres_password",
        "flower_password",
        "metrics_token",
        "page_password",
    }
    assert all(len(password) == 32 for password in made.values())
    for file in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() == made[file.name]


def test_the_example_configuration_is_right(tmp_path: Path) -> None:
    settings = load_settings(
        {"STRONGROOM_STATE_DIR": str(tmp_path)}, ROOT / "ops" / "compose" / "strongroom.toml.example"
    )

    assert set(settings.targets) == {"region-a", "region-b", "region-c"}


def test_every_unit_starts_again_what_exits() -> None:
    units = [unit for unit in sorted(SYSTEMD.glob("*.service")) if "Type=oneshot" not in unit.read_text()]

    assert len(units) == 5
    for unit in units:
        text = unit.read_text()
        for line in ("Restart=always", "KillMode=mixed", "PartOf=strongroom.target"):
            assert line in text, (unit.name, line)


def test_what_all_units_have_in_common_stands_in_one_file() -> None:
    common = {line for line in COMMON.read_text().splitlines() if "=" in line and not line.startswith("#")}
    assert {"LimitCORE=0", "LimitMEMLOCK=infinity", "MemorySwapMax=0", "User=strongroom"} <= common
    for unit in SYSTEMD.glob("*.service"):
        assert unit.name.startswith(COMMON.parent.name.removesuffix(".service.d"))
        assert not common & set(unit.read_text().splitlines()), unit.name


@pytest.mark.platform
def test_no_unit_exposes_more_than_it_needs(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on the path")
    shutil.copytree(SYSTEMD, tmp_path / "etc" / "systemd" / "system")
    for unit in SYSTEMD.glob("*.service"):
        words = ["systemd-analyze", "security", "--offline=true", f"--root={tmp_path}", "--threshold=20"]
        told = subprocess.run(
            [*words, "--no-pager", unit.name], capture_output=True, text=True, timeout=60, check=False
        )
        assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.platform
def test_a_cluster_and_a_restore_need_no_system_call_that_the_units_forbid() -> None:
    if shutil.which("systemd-analyze") is None or not find_library("seccomp"):
        pytest.skip("no systemd-analyze on the path, or no libseccomp")
    words = [sys.executable, "-m", "tests.workers.system_calls", str(COMMON), "strongroom", "demo"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert "All of it held" in told.stdout, told.stderr


def test_the_look_for_alerts_is_begun_by_time_alone() -> None:
    text = (SYSTEMD / "strongroom-alerts.service").read_text()
    for line in ("Type=oneshot", "strongroom alerts send"):
        assert line in text
    assert "PartOf=strongroom.target" not in text, "it looks though Strongroom is stopped"
    assert "WantedBy=timers.target" in (SYSTEMD / "strongroom-alerts.timer").read_text()


def test_cron_and_kubernetes_make_the_same_check_from_outside() -> None:
    cron = (ROOT / "ops" / "cron" / "strongroom-alerts").read_text().splitlines()[-1].split()
    job, claim = yaml.safe_load_all((ROOT / "ops" / "kubernetes" / "strongroom-alerts.yaml").read_text())
    schedule, pod = job["spec"]["schedule"], job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container], [beside] = pod["containers"], pod["initContainers"]
    assert " ".join(cron[:5]) == schedule
    assert next_slot(schedule, 0.0, "UTC") == 1800.0
    assert (Path(cron[6]).name, *cron[7:]) == (*container["command"], "--quiet", ">/dev/null")
    assert container["command"] == ["strongroom", "alerts", "send"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    used = {mount["name"] for one in (container, beside) for mount in one["volumeMounts"]}
    assert used == volumes
    kept = next(volume for volume in pod["volumes"] if volume["name"] == "state")
    assert kept["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in (container, beside))


def test_cron_mails_nobody_when_nothing_is_wrong() -> None:
    places = (ROOT / "docs" / "how-to").glob("*.md"), (ROOT / "ops" / "cron").iterdir()
    lines = [
        line for file in chain(*places) for line in file.read_text().splitlines() if line.startswith("*/")
    ]
    assert len(lines) == 3
    assert all(line.endswith(">/dev/null") for line in lines), lines


@pytest.mark.platform
def test_the_units_are_well_formed() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on the path")
    units = [str(unit) for unit in SYSTEMD.iterdir() if unit.is_file()]
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in told.stderr.splitlines() if "is not executable" not in line]

    assert said == []
