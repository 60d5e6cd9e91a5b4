"""What ``docs/how-to/kubernetes.md`` says to write fits together: configuration, rights, Secrets, values."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from strongroom.config import load_settings
from tests.cli.program import Machine
from tests.helm.chart import ON_THIS, faults, of_kind, pods, render, unconfined
from tests.live.certificates import Authority
from tests.patience import PATIENCE
from tests.process import ROOT
from workers import names

pytestmark = ON_THIS
PAGE = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The person's folder, once the page's files are in it."""
    [config] = blocks("toml")
    (tmp_path / "strongroom.toml").write_text(config)
    (tmp_path / "ca.pem").write_text(Authority(tmp_path / "authority").ca.read_text())
    return tmp_path


@pytest.fixture
def person(folder: Path) -> Machine:
    env = {
        "STRONGROOM_STATE_DIR": str(folder / "installation"),
        "STRONGROOM_CONFIG": str(folder / "strongroom.toml"),
    }
    machine = Machine(home=folder, env=env)
    machine.ok("keys", "new", "--output", "recovery.key", STRONGROOM_CONFIG="")
    return machine


def test_the_commands_of_the_page_make_what_its_secrets_are_made_of(person: Machine, folder: Path) -> None:
    person.ok("check", "config")
    person.ok("init", "--installation-key-to", str(folder / "installation.key"))
    passwords = str(folder / "passwords")
    for words in (
        ("redis", "--passwords", passwords),
        ("redis", "--role", "page", "--passwords", passwords),
        ("postgres", "--passwords", passwords),
        ("vault",),
        ("aws",),
    ):
        assert person.ok("cluster", "rules", *words).out
    loops = re.findall(r"^for role in ([\w ]+); do\n(.*?)^done", PAGE, re.MULTILINE | re.DOTALL)
    made = [
        path.replace("$role", role)
        for roles, body in loops
        for role in roles.split()
        for path in re.findall(r"--from-file=(?:\w+=)?(\S+)", body)
    ]
    acts = PAGE.partition("### Let people act on it")[2].partition("\n## ")[0]
    made += re.findall(r"--from-file=(?:\w+=)?(\S+)", acts)
    assert len(made) > 50
    by_hand = re.compile(r"s3/\w+|passwords/(page|metrics)")
    missing = [path for path in made if not by_hand.fullmatch(path) and not (folder / path).is_file()]
    assert missing == []


def test_the_values_of_the_page_fit_its_configuration(person: Machine, folder: Path) -> None:
    [values] = map(yaml.safe_load, blocks("yaml"))
    beside = {name: (folder / name).read_text() for name in ("ca.pem", "recovery.key.pub")}
    documents = render({**values, "config": blocks("toml")[0], "files": beside})
    assert faults(documents) == []
    laid = folder / "etc"
    laid.mkdir()
    [map_] = of_kind(documents, "ConfigMap").values()
    for name, text in map_["data"].items():
        (laid / name).write_text(text)
    for role, pod in pods(documents).items():
        assert unconfined(pod) == []
        given = {v["name"]: v["value"] for v in pod["containers"][0]["env"]}
        settings = load_settings({**given, "STRONGROOM_STATE_DIR": str(folder)}, laid / "strongroom.toml")
        name = "submit" if role == "shell" else role
        assert settings.broker.url == f"rediss://strongroom-{name}@redis.strongroom.svc:6379/0"
        assert settings.vaults["main"].role == f"strongroom-{name}"
        assert f"strongroom-{name}" in str(settings.state.url)
        [own] = [v["secret"]["secretName"] for v in pod["volumes"] if v["name"] == "role"]
        assert own == f"strongroom-{name}", "the Secret that the page makes"


def test_the_page_names_what_there_is() -> None:
    documents = render({"config": "x"})
    deployments = set(of_kind(documents, "Deployment"))
    assert set(re.findall(r"deploy/(strongroom-\w+)", PAGE)) <= deployments
    [bound] = re.findall(r"for role in ([\w ]+); do\n  bao write", PAGE)
    assert set(bound.split()) == {names.CONTROL, names.SEAL, names.VERIFY, names.RECOVER}


@pytest.mark.parametrize(
    ("name", "missing"),
    [("seal", "work.key"), ("seal", "seal.key"), ("seal", ""), ("page", "page.key"), ("page", "")],
)
def test_a_pod_begins_with_what_it_needs_or_says_what_its_secret_lacks(
    name: str, missing: str, tmp_path: Path
) -> None:
    """The init container's script, run by sh with folders of this test in place of the pod's."""
    pod = pods(render({"config": "x", "secrets": ["shared"], "page": {"act": True}}))[name]
    script = pod["initContainers"][0]["command"][2]
    script = re.sub(r"/(var/lib|run/secrets|secret)/", rf"{tmp_path}/\1/", script)
    shared_keys = {"work.key": "CANARY-w", "digest.key": "CANARY-d"} if name == "seal" else {}
    given = {**shared_keys, f"{name}.key": "CANARY-own", "trusted.json": "{}", "s3": "CANARY-3"}
    role, shared = tmp_path / "secret" / "role", tmp_path / "secret" / "shared"
    real = role / "..data"
    real.mkdir(parents=True)
    shared.mkdir()
    (shared / "ca.crt").write_text("CANARY-ca")
    for file in set(given) - {missing}:
        (real / file).write_text(given[file])
        (role / file).symlink_to(Path("..data", file))  # as the kubelet does
    (tmp_path / "var/lib/strongroom/keys").mkdir(parents=True)
    done = subprocess.run(
        ["sh", "-ceu", script], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if missing:
        assert (done.returncode, done.stderr) == (1, f"The Secret strongroom-{name} has no {missing}.\n")
        return
    assert done.returncode == 0, done.stderr
    laid = {
        str(path.relative_to(tmp_path)): path.read_text()
        for where in ("run", "var")
        for path in (tmp_path / where).rglob("*")
        if path.is_file()
    }
    keys = "var/lib/strongroom/keys"
    assert laid == {
        **{f"{keys}/{file}": text for file, text in shared_keys.items()},
        f"{keys}/roles/{name}.key": "CANARY-own",
        f"{keys}/roles/trusted.json": "{}",
        "run/secrets/role/s3": "CANARY-3",
        "run/secrets/shared/ca.crt": "CANARY-ca",
    }
    assert all((tmp_path / path).stat().st_mode & 0o077 == 0 for path in laid)
