"""The wheel without its extras: it works with files, and each thing that needs more says which extra."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from strongroom.system.errors import NameTaken, PackageMissing
from strongroom.system.lazy import EXTRAS
from tests.cli.test_demo import running
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
CLOUD = """
[targets.far]
kind = "gcs"
bucket = "bucket"
region = "far"
endpoint_url = "http://127.0.0.1:1"
"""
NEEDED = {
    "aws": (BUCKET, ("check", "storage"), {}),
    "azure": (CONTAINER, ("check", "storage"), {}),
    "gcs": (CLOUD, ("check", "storage"), {}),
    "vault": (VAULT, ("list", "--source", "there"), {}),
    "flower": ("", ("up", "--flower"), {}),
    "sentry": ("[sentry]\ndsn = 'http://key@127.0.0.1:1/1'", ("up",), {}),
    "postgres": ("", ("runs",), {"STRONGROOM_STATE__URL": "postgresql://me@127.0.0.1:1/state"}),
}
"""What is configured, what is typed and what the environment has besides, by the extra that it needs."""


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with Strongroom and none of its extras."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    install(build_wheel(), folder)
    return folder


@pytest.fixture(scope="module")
def bare(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A machine that has nothing else."""
    machine = Installed(venv / "bin", tmp_path_factory.mktemp("bare") / "home")
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


def test_the_demo_goes_through_a_whole_cluster_holds_what_it_promises_and_leaves_nothing(
    bare: Installed,
) -> None:
    with TemporaryDirectory(prefix="sr-") as place:  # a path that is short enough for the broker's socket
        state = Path(place, "state")
        given = (f"TMPDIR={place}", f"STRONGROOM_STATE_DIR={state}", "STRONGROOM_PASSPHRASE=CANARY")
        report = json.loads(bare.ok("env", *given, "strongroom", "demo", "--json"))
        left = [path.name for path in Path(place).iterdir() if path.name.startswith("strongroom-demo")]
        assert (left, running(Path(place)), state.exists()) == ([], [], False)
    assert report["secrets"] == report["compared"] == 1000
    assert [(r["good"], r["verified"]) for r in report["regions"]] == [(True, "digest")] * 3
    assert report["post_quantum"]
    assert "recovery" in report["recipients"][0]
    assert {"Lose the machine", "Restore on a new machine"} <= {took["stage"] for took in report["stages"]}


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


@contextmanager
def away(file: Path) -> Iterator[None]:
    """Have a file of the environment, which all tests share, away for a while."""
    kept = file.rename(file.with_suffix(".kept"))
    yield
    kept.replace(file)


def test_a_demo_whose_processes_cannot_start_ends_and_says_of_what(venv: Path, tmp_path: Path) -> None:
    machine = Installed(venv / "bin", tmp_path / "home")
    with away(next(venv.rglob("workers/consumer.py"))):
        done = machine.run("strongroom", "demo")
    assert (done.returncode, ProcessNotStarted.__name__ in done.stderr) == (ProcessNotStarted.exit_code, True)
    assert "workers.consumer" in done.stderr


# -- another package that has taken the name of one of ours ------------------------------------------

THEIRS = "import pathlib; pathlib.Path('ran').touch()\n"


@pytest.fixture(scope="module", params=["before ours on the path", "written over ours"])
def shared(
    request: pytest.FixtureRequest, venv: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    """A machine in whose environment another package has a module called ``tasks``."""
    tmp_path = tmp_path_factory.mktemp("shared")
    machine = Installed(venv / "bin", tmp_path / "home")
    with ExitStack() as stack:
        if request.param == "written over ours":
            ours = next(venv.rglob("tasks/__init__.py"))
            stack.enter_context(away(ours))
            ours.write_text(THEIRS)
        else:
            (tmp_path / "theirs").mkdir()
            (tmp_path / "theirs" / "tasks.py").write_text(THEIRS)
            machine.environment["PYTHONPATH"] = str(tmp_path / "theirs")
        machine.ok("strongroom", "keys", "new", "--output", "recovery.key")
        configure(machine)
        yield machine


def test_another_package_of_the_same_name_is_named_and_not_run(shared: Installed) -> None:
    done = shared.run("strongroom", "backup", "--cluster", "--policy", "files")
    assert (done.returncode, NameTaken.__name__ in done.stderr) == (NameTaken.exit_code, True), done
    assert "'tasks'" in done.stderr
    role = shared.run("python", "-P", "-m", "workers", "control")
    assert (role.returncode, NameTaken.__name__ in role.stderr) == (NameTaken.exit_code, True), role
    assert not (shared.home / "ran").exists()


def test_what_needs_no_cluster_works_beside_it(shared: Installed) -> None:
    shared.ok("strongroom", "set", "NAME", text="CANARY-beside")
    shared.ok("strongroom", "backup", "--policy", "files", "--force")
    shared.ok("strongroom", "backups", "verify", "near", "--depth", "opened", "--identity", "recovery.key")
    assert not (shared.home / "ran").exists()
