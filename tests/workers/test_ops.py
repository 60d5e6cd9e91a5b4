"""What is shipped for operations fits the code: compose file, image, units."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from ctypes.util import find_library
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from strongroom.config import load_settings
from tests.patience import PATIENCE
from workers import names, paths
from workers.status import SILENT_AFTER

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
SYSTEMD = ROOT / "ops" / "systemd"
COMMON = SYSTEMD / "strongroom-.service.d" / "strongroom.conf"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """What docker-compose, or the plugin of that name, makes of our file."""
    program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if shutil.which(program[0]) is None:
        pytest.skip("no docker-compose on the path; 'make services' installs it")
    command = [*program, "--file", str(COMPOSE), "--profile", "*", "config", "--format", "json"]
    written = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout
    found: dict[str, Any] = json.loads(written)["services"]
    return found


OURS = {*names.QUEUES, names.BEAT, "flower", names.METRICS, names.PAGE}
"""The services that run a process of ours."""


def test_every_pool_runs_and_recover_is_normally_stopped(services: dict[str, Any]) -> None:
    assert services.keys() >= OURS
    assert {services[name]["command"][0] for name in OURS} == {
        *names.QUEUES,
        names.BEAT,
        names.WATCH,
        names.METRICS,
        names.PAGE,
    }
    of_a_profile = {
        name for name, service in services.items() if service.get("profiles", ["demo"]) != ["demo"]
    }
    assert of_a_profile == {"recover", "cli"}


def test_only_what_people_look_at_is_reachable_and_from_this_host_alone(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    shown = {name for name in ports if not services[name].get("profiles")}

    assert shown == {"flower", "metrics", "page"}
    assert {port["host_ip"] for each in ports.values() for port in each} == {"127.0.0.1"}


def test_no_container_gets_a_password_in_its_environment_or_command(services: dict[str, Any]) -> None:
    for service in services.values():
        for name in service.get("environment") or {}:
            assert "PASSWORD" not in name or name.endswith("_FILE")


def test_each_process_logs_in_as_its_role_behind_tls(services: dict[str, Any]) -> None:
    for name in OURS:
        given = services[name]["environment"]
        role = services[name]["command"][0]
        assert given["STRONGROOM_STATE__URL"] == f"postgresql://strongroom-{role}@postgres/strongroom"
        assert given["STRONGROOM_STATE__PASSWORD_FILE"].endswith(f"/postgres-{role}")
        if name != names.METRICS:  # which sends no message
            assert given["STRONGROOM_BROKER__URL"] == f"rediss://strongroom-{role}@redis:6379/0"
            assert given["STRONGROOM_BROKER__PASSWORD_FILE"].endswith(f"/redis-{role}")
        assert not {"STRONGROOM_BROKER__PLAIN", "STRONGROOM_STATE__PLAIN"} & given.keys()


@pytest.mark.parametrize("acts", [False, True])
def test_the_page_has_a_key_and_a_user_of_the_broker_only_where_people_may_act_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, services: dict[str, Any], acts: bool
) -> None:
    """What the service ``secrets`` does, with folders of this test for its volumes."""
    monkeypatch.syspath_prepend(ROOT / "ops" / "compose")
    setup = importlib.import_module("setup")
    config, folder, state = tmp_path / "strongroom.toml", tmp_path / "secrets", tmp_path / "state"
    config.write_text(f"[page]\nact = {str(acts).lower()}\n")
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(setup, "CONFIG", config)
    monkeypatch.setattr(setup, "FOLDER", folder)
    monkeypatch.setattr(setup, "PASSWORDS", folder / "passwords")
    for name, value in services["secrets"]["environment"].items():
        monkeypatch.setenv(name, value.replace("/run/strongroom", str(folder)))
    monkeypatch.setenv("STRONGROOM_CONFIG", str(config))
    monkeypatch.setenv("STRONGROOM_STATE_DIR", str(state))

    setup.make_secrets()

    users = [line.split()[1] for line in (folder / "users.acl").read_text().splitlines()]
    used = {f"strongroom-{role}" for role in names.ROLES if acts or role != names.PAGE}
    assert set(users) == {"default", *used}
    keys = {path.stem for path in paths.role_keys(state).glob("*.key")} - {"installation"}
    assert {f"strongroom-{role}" for role in keys} == used


def test_each_process_is_confined_bounded_and_looked_after(services: dict[str, Any]) -> None:
    for name in OURS:
        service = services[name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["healthcheck"]["test"] == ["CMD", "python", "-P", "-m", "workers", "--healthy"]
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    for name in ("redis", "postgres"):
        assert "healthcheck" in services[name]
        assert {"mem_limit", "cpus", "pids_limit"} <= services[name].keys()


def test_the_pools_reach_vault_and_targets_and_the_servers_reach_nothing(services: dict[str, Any]) -> None:
    of_the_demo = {name for name, service in services.items() if service.get("profiles") == ["demo"]}
    outside = {name for name, service in services.items() if "outside" in service["networks"]}

    assert outside - of_the_demo == {*OURS, "cli"}


def test_a_configuration_that_is_missing_is_refused_and_not_made_as_a_folder(
    services: dict[str, Any],
) -> None:
    for name in OURS:
        (config,) = [one for one in services[name]["volumes"] if one["target"] == "/etc/strongroom"]
        assert config["bind"].get("create_host_path", False) is False, name


def test_what_the_demo_names_is_there(services: dict[str, Any]) -> None:
    demo = ROOT / "ops" / "compose" / "demo"
    scraped = yaml.safe_load((demo / "prometheus.yml").read_text())
    (told,) = scraped["alerting"]["alertmanagers"]
    hosts = [
        target for job in (*scraped["scrape_configs"], told) for target in job["static_configs"][0]["targets"]
    ]
    (source,) = yaml.safe_load((demo / "grafana/datasources/prometheus.yml").read_text())["datasources"]
    (mail,) = yaml.safe_load((demo / "alertmanager.yml").read_text())["receivers"][0]["email_configs"]

    assert {host.split(":")[0] for host in (*hosts, source["url"].split("//")[1], mail["smarthost"])} <= set(
        services
    )
    (boards,) = yaml.safe_load((demo / "grafana/dashboards/strongroom.yml").read_text())["providers"]
    mounts = {one["target"]: one["source"] for one in services["grafana"]["volumes"]}
    assert list(Path(mounts[boards["options"]["path"]]).glob("*.json"))
    assert scraped["rule_files"] == ["/etc/strongroom/prometheus/strongroom.rules.yml"]
    assert Path(mounts["/etc/strongroom/prometheus"], "strongroom.rules.yml").exists()


def test_each_unit_reads_the_settings_that_its_role_alone_may_have() -> None:
    """On one of several hosts those are its users of broker and database."""
    texts = [unit.read_text() for unit in SYSTEMD.glob("*.service")]
    roles = [re.findall(r"^ExecStart=.* -m workers (\S+)$", text, re.MULTILINE) for text in texts]
    assert sum(map(len, roles)) == 5
    for text, role in zip(texts, roles, strict=True):
        assert all(f"EnvironmentFile=-/etc/strongroom/{one}.env\n" in text for one in role), role


def test_every_unit_starts_again_what_exits() -> None:
    units = [unit for unit in sorted(SYSTEMD.glob("*.service")) if "Type=oneshot" not in unit.read_text()]

    assert len(units) == 5
    for unit in units:
        text = unit.read_text()
        for line in ("Restart=always", "KillMode=mixed", "PartOf=strongroom.target"):
            assert line in text, (unit.name, line)
        # A process that hangs is started again, too: it tells that it works in the time that its pulse has.
        assert "Type=notify" in text
        assert f"WatchdogSec={SILENT_AFTER:.0f}\n" in text


def test_every_setting_that_a_credential_is_for_takes_a_file_and_its_credential_is_loaded(
    tmp_path: Path,
) -> None:
    (tmp_path / "secret").write_text("CANARY-credential")
    (tmp_path / "secret").chmod(0o400)
    lines = [
        line.removeprefix("#")
        for file in chain(SYSTEMD.glob("*.service"), [SYSTEMD / "passwords.conf"])
        for line in file.read_text().splitlines()
        if not line.startswith("# ")
    ]
    loaded = {line.split("=")[1].split(":")[0] for line in lines if line.startswith("LoadCredential")}
    given = dict(line.split("=")[1:] for line in lines if line.startswith("Environment=") and "%d/" in line)

    assert {value.removeprefix("%d/") for value in given.values()} == loaded
    assert len(given) == 6
    env = {name: str(tmp_path / "secret") for name in given if name != "STRONGROOM_PASSPHRASE_FILE"}
    load_settings({**env, "STRONGROOM_STATE_DIR": str(tmp_path)}, None)


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
            [*words, "--no-pager", unit.name], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.platform
def test_a_cluster_and_a_restore_need_no_system_call_that_the_units_forbid() -> None:
    if shutil.which("systemd-analyze") is None or not find_library("seccomp"):
        pytest.skip("no systemd-analyze on the path, or no libseccomp")
    words = [sys.executable, "-m", "tests.workers.system_calls", str(COMMON), "strongroom", "demo"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "All of it held" in told.stdout, told.stderr


def test_the_look_for_alerts_is_begun_by_time_alone() -> None:
    text = (SYSTEMD / "strongroom-alerts.service").read_text()
    for line in ("Type=oneshot", "strongroom alerts send"):
        assert line in text
    assert "PartOf=strongroom.target" not in text, "it looks though Strongroom is stopped"
    assert "WantedBy=timers.target" in (SYSTEMD / "strongroom-alerts.timer").read_text()


def test_cron_mails_nobody_when_nothing_is_wrong() -> None:
    places = (ROOT / "docs" / "how-to").glob("*.md"), (ROOT / "ops" / "cron").iterdir()
    lines = [
        line for file in chain(*places) for line in file.read_text().splitlines() if line.startswith("*/")
    ]
    assert len(lines) == 3
    assert all(line.endswith(">/dev/null") for line in lines), lines
