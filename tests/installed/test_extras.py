"""The wheel without its extras: it works with files, and each thing that needs more says which extra."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.system.errors import PackageMissing
from strongroom.system.lazy import EXTRAS
from tests.installed.environment import Installed, build_wheel, install
from workers.errors import ProcessNotStarted

CONFIG = """
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"

[targets.near]
kind = "directory"
path = "near"
region = "near"
create = true

[policies.files]
kind = "full"
targets = ["near"]
recipients = ["recovery"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
"""
BUCKET = """
[targets.far]
kind = "s3"
bucket = "bucket"
region = "far"
endpoint_url = "http://127.0.0.1:1"
"""
CONTAINER = """
[targets.far]
kind = "azure"
account_url = "http://127.0.0.1:1/account"
container = "container"
region = "far"
"""
VAULT = """
[sources.local]
kind = "local"
[vaults.there]
address = "http://127.0.0.1:1"
token_file = "token"
[sources.there]
kind = "vault"
vault = "there"
"""
NEEDED = {
    "aws": (BUCKET, ("check", "storage"), {}),
    "azure": (CONTAINER, ("check", "storage"), {}),
    "vault": (VAULT, ("list", "--source", "there"), {}),
    "flower": ("", ("up", "--flower"), {}),
    "sentry": ("[sentry]\ndsn = 'http://key@127.0.0.1:1/1'", ("up",), {}),
    "postgres": ("", ("runs",), {"STRONGROOM_STATE__URL": "postgresql://me@127.0.0.1:1/state"}),
}
"""What is configured, what is typed and what the environment has besides, by the extra that it needs."""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A machine with Strongroom and none of its extras."""
    folder = tmp_path_factory.mktemp("bare")
    machine = Installed(install(build_wheel(folder), folder / "venv"), folder / "home")
    machine.ok("strongroom", "keys", "new", "--output", "recovery.key")
    (machine.home / "token").touch(0o600)
    return machine


def configure(machine: Installed, more: str = "") -> None:
    (machine.home / "strongroom.toml").write_text(CONFIG + more)


def test_none_of_the_packages_of_the_extras_is_there(bare: Installed) -> None:
    found = bare.python(
        f"from importlib.util import find_spec; print(list(filter(find_spec, {list(EXTRAS)})))"
    )
    assert found.strip() == "[]"


def test_secrets_are_backed_up_verified_and_restored(bare: Installed) -> None:
    configure(bare)
    bare.ok("strongroom", "set", "NAME", text="CANARY-bare")
    bare.ok("strongroom", "backup", "--policy", "files", "--force")
    bare.ok("strongroom", "backups", "verify", "near", "--depth", "compared", "--identity", "recovery.key")
    bare.ok("strongroom", "secrets", "delete", "NAME", "--force")
    bare.ok("strongroom", "restore", "--backup-file", "near", "--full-restore", "--identity", "recovery.key")
    assert bare.ok("strongroom", "get", "NAME", "--show-value").strip() == "CANARY-bare"


def test_the_demo_goes_through_a_whole_cluster(bare: Installed) -> None:
    assert "All of it held" in bare.ok("strongroom", "demo")


@pytest.mark.parametrize("extra", NEEDED)
def test_what_needs_an_extra_names_it_before_anything_is_done(bare: Installed, extra: str) -> None:
    more, words, environment = NEEDED[extra]
    configure(bare, more)
    done = bare.run("env", *(f"{name}={value}" for name, value in environment.items()), "strongroom", *words)
    assert (done.returncode, PackageMissing.__name__ in done.stderr) == (PackageMissing.exit_code, True), done
    assert f"strongroom[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_look_at_a_machine_names_the_extra_of_each_library_that_lacks(bare: Installed) -> None:
    configure(bare, BUCKET + VAULT)
    done = bare.run("strongroom", "check", "machine")
    for library, extra in (("boto3", "aws"), ("hvac", "vault")):
        assert f"{library}>=" in done.stdout
        assert f"Install strongroom[{extra}] into the environment" in done.stdout


def test_a_demo_whose_processes_cannot_start_ends_and_says_of_what(tmp_path: Path) -> None:
    machine = Installed(install(build_wheel(tmp_path), tmp_path / "venv"), tmp_path / "home")
    next((tmp_path / "venv").rglob("workers/consumer.py")).unlink()
    done = machine.run("strongroom", "demo")
    assert (done.returncode, ProcessNotStarted.__name__ in done.stderr) == (ProcessNotStarted.exit_code, True)
    assert "workers.consumer" in done.stderr
