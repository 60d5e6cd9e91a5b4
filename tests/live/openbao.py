"""A real OpenBao of a test's own: a dev server in memory, or one on raft with a seal of its own."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from strongroom.vault.tokens import AppRole, TokenFile
from strongroom.vault.transport import VaultConnection
from tests.patience import PATIENCE, until
from tests.process import (
    ServerProcess,
    ServerUnavailable,
    beside_python,
    free_port,
)

ROOT_TOKEN = "CANARY-root-token"
INSTALL = "the OpenBao server is missing: install the project with its extra 'dev' on Linux"
_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Answered(Exception):
    """The server refused what a test asked of it directly."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"status {status}: {body[:300]}")
        self.status = status


def program() -> Path | None:
    """Return the server's program, if it is installed."""
    return beside_python("bao") or (Path(found) if (found := shutil.which("bao")) else None)


class OpenBao:
    """What a test does with a server besides what it tests: raw requests, policies, roles, quotas."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.token = ROOT_TOKEN

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.process.port}"

    def call(
        self, method: str, path: str, body: object = None, *, namespace: str = "", token: str | None = None
    ) -> Any:
        """Send one request, with the root token unless told otherwise; return the parsed answer."""
        request = urllib.request.Request(
            f"{self.address}/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Vault-Token": self.token if token is None else token}
            | ({"X-Vault-Namespace": namespace} if namespace else {}),
        )
        try:
            with _WITHOUT_PROXY.open(request, timeout=PATIENCE) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise Answered(error.code, error.read().decode(errors="replace")) from None
        return json.loads(content) if content else None

    def data(self, path: str, *, namespace: str = "") -> Any:
        """Return the ``data`` of what is read."""
        return self.call("GET", path, namespace=namespace)["data"]

    def mount(self, path: str, *, version: int = 2, namespace: str = "", **settings: object) -> str:
        """Make a KV mount; return its path with a slash."""
        options = {"version": str(version)}
        self.call(
            "POST",
            f"sys/mounts/{path.strip('/')}",
            {"type": "kv", "options": options} | settings,
            namespace=namespace,
        )
        mount = f"{path.strip('/')}/"
        if version == 2:  # for a moment it refuses everything: it is being upgraded
            until(lambda: self._answers(f"{mount}config", namespace), what=f"the mount {path}")
        return mount

    def _answers(self, path: str, namespace: str) -> bool:
        try:
            return bool(self.data(path, namespace=namespace))
        except Answered:
            return False

    def unmount(self, path: str, *, namespace: str = "") -> None:
        """Remove a mount with all that it holds."""
        self.call("DELETE", f"sys/mounts/{path.strip('/')}", namespace=namespace)

    def put(self, mount: str, path: str, data: Mapping[str, object], *, namespace: str = "") -> int:
        """Write a new version into KV v2."""
        found = self.call("POST", f"{mount}data/{path}", {"data": data}, namespace=namespace)
        return int(found["data"]["version"])

    def policy(self, name: str, text: str) -> None:
        """Write an ACL policy."""
        self.call("POST", f"sys/policies/acl/{name}", {"policy": text})

    def new_token(self, *policies: str, **settings: object) -> str:
        """Make a token."""
        found = self.call("POST", "auth/token/create", {"policies": list(policies)} | settings)
        return str(found["auth"]["client_token"])

    def token_file(self, folder: Path, *policies: str, **settings: object) -> TokenFile:
        """Make a token, or take the root token if there are no policies, and put it into a file."""
        token = self.new_token(*policies, **settings) if policies else self.token
        path = folder / "token"
        path.write_text(token)
        path.chmod(0o600)
        return TokenFile(path=path)

    def app_role(self, folder: Path, name: str, policies: Sequence[str], **settings: object) -> AppRole:
        """Make an AppRole, and put its secret id into a file."""
        if "approle/" not in self.data("sys/auth"):
            self.call("POST", "sys/auth/approle", {"type": "approle"})
        self.call("POST", f"auth/approle/role/{name}", {"token_policies": list(policies)} | settings)
        role_id = self.data(f"auth/approle/role/{name}/role-id")["role_id"]
        secret_id = self.call("POST", f"auth/approle/role/{name}/secret-id", {})["data"]["secret_id"]
        path = folder / f"secret-id-{name}"
        path.write_text(secret_id)
        path.chmod(0o600)
        return AppRole(role_id=role_id, secret_id_file=path)

    def namespace(self, path: str) -> str:
        """Make a namespace, parents first; return its path with a slash."""
        parent, _, name = path.strip("/").rpartition("/")
        self.call("POST", f"sys/namespaces/{name}", {}, namespace=parent)
        return f"{path.strip('/')}/"

    def quota(self, name: str, rate: float, path: str = "") -> None:
        """Allow so many requests a second; a rate of 0 lifts the quota. Answers say when to come back."""
        if not rate:
            self.call("DELETE", f"sys/quotas/rate-limit/{name}")
            return
        self.call("POST", "sys/quotas/config", {"enable_rate_limit_response_headers": True})
        self.call("POST", f"sys/quotas/rate-limit/{name}", {"rate": rate, "path": path})

    def connection(self, folder: Path, *policies: str, **settings: Any) -> VaultConnection:
        """Return a connection with a token of these policies, or with the root token."""
        login = settings.pop("login", None) or self.token_file(folder, *policies)
        return VaultConnection(address=self.address, login=login, **settings)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()

    def start(self) -> Self:
        """Start it, or start it again on what is there."""
        self.process.start()
        return self

    def close(self) -> None:
        """End it and remove what it held."""
        self.process.close()

    def __enter__(self) -> Self:
        self.process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _found() -> Path:
    path = program()
    if path is None:
        raise ServerUnavailable(INSTALL)
    return path


def _answers(port: int) -> bool:
    try:
        with _WITHOUT_PROXY.open(f"http://127.0.0.1:{port}/v1/sys/seal-status", timeout=PATIENCE) as answer:
            return bool(json.load(answer))
    except (OSError, ValueError):
        return False


def dev_server(*, audit_file: Path | None = None) -> OpenBao:
    """Return a dev server, not yet started: unsealed, in memory, with ``secret/`` as KV v2.

    Args:
        audit_file: where it writes down each request and answer.
    """
    port = free_port()
    process = ServerProcess(
        lambda folder: [
            _found(),
            "server",
            "-dev",
            "-dev-no-store-token",
            f"-dev-root-token-id={ROOT_TOKEN}",
            f"-dev-listen-address=127.0.0.1:{port}",
            *([f"-config={_audit(folder, audit_file)}"] if audit_file else []),
        ],
        port=port,
        ready=lambda: is_up(port),
        prefix="sr-bao-",
    )
    return OpenBao(process)


def _audit(folder: Path, file: Path) -> Path:
    """Write the settings of an audit device: the server takes none over its interface."""
    settings = folder / "audit.hcl"
    settings.write_text(f'audit "file" "readers" {{\n  options {{\n    file_path = "{file}"\n  }}\n}}\n')
    return settings


def is_up(port: int) -> bool:
    """Tell whether a dev server can be used: it listens before it is unsealed and has made its mount."""
    return _answers(port) and _has_secret(port)


def _has_secret(port: int) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/secret/config", headers={"X-Vault-Token": ROOT_TOKEN}
    )
    try:
        with _WITHOUT_PROXY.open(request, timeout=PATIENCE):
            return True
    except OSError:
        return False


_RAFT = """
disable_mlock = true
ui = false
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster}"
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable = true
}}
storage "raft" {{
  path = "{folder}/data"
  node_id = "node-{port}"
  performance_multiplier = 1
  {join}
}}
"""


class RaftServer(OpenBao):
    """A server whose data outlives it, and which comes back sealed."""

    def __init__(self, *, joins: RaftServer | None = None) -> None:
        port, cluster = free_port(), free_port()
        join = f'retry_join {{ leader_api_addr = "{joins.address}" }}' if joins else ""

        def command(folder: Path) -> Sequence[str | Path]:
            (folder / "data").mkdir(exist_ok=True)
            settings = folder / "server.hcl"
            settings.write_text(_RAFT.format(port=port, cluster=cluster, folder=folder, join=join))
            return [_found(), "server", f"-config={settings}"]

        super().__init__(ServerProcess(command, port=port, ready=lambda: _answers(port), prefix="sr-raft-"))
        self.keys: list[str] = []

    def initialise(self, *, shares: int = 1, threshold: int = 1) -> Self:
        """Make keys and root token, unseal, and mount ``secret/`` as KV v2."""
        made = self.call(
            "POST", "sys/init", {"secret_shares": shares, "secret_threshold": threshold}, token=""
        )
        self.keys, self.token = made["keys_base64"], made["root_token"]
        self.unseal()
        self.mount("secret")
        return self

    def unseal(self) -> None:
        """Unseal, and return once it is active."""
        for key in self.keys:
            if not self.call("POST", "sys/unseal", {"key": key}, token="")["sealed"]:
                break
        until(self._is_active, what=f"{self.address} to be active")

    def joined(self) -> bool:
        """Unseal it as a further node of a cluster; return whether that went well by now."""
        try:
            if not self.call("GET", "sys/seal-status", token="")["initialized"]:
                return False  # it has not found the others yet
            self.call("POST", "sys/unseal", {"key": self.keys[0]}, token="")
        except Answered:
            return False
        return self.health() == 429

    def seal(self) -> None:
        """Seal it."""
        self.call("POST", "sys/seal", {})

    def _is_active(self) -> bool:
        return self.health() == 200

    def health(self) -> int:
        """Return what it says of itself: 200 active, 429 standby, other numbers not yet; 0 if it is gone."""
        try:
            self.call("GET", "sys/health", token="")
        except Answered as answered:
            return answered.status
        except OSError:
            return 0
        return 200


class RaftCluster:
    """Three servers on raft that make one of them their leader."""

    def __init__(self) -> None:
        first = RaftServer()
        self.nodes = [first, *(RaftServer(joins=first) for _ in range(2))]

    @property
    def leader(self) -> RaftServer:
        """The node that is active now, which is waited for."""
        return until(lambda: self._one_that_is(200), what="a leader")

    @property
    def standby(self) -> RaftServer:
        """A node that answers, and is not active."""
        return until(lambda: self._one_that_is(429), what="a standby")

    def _one_that_is(self, status: int) -> RaftServer | None:
        return next((node for node in self.nodes if node.health() == status), None)

    @property
    def hosts(self) -> frozenset[str]:
        """Where redirects may lead to."""
        return frozenset(node.address.removeprefix("http://") for node in self.nodes)

    def step_down(self) -> None:
        """Have the leader give up: for some ten seconds there is none."""
        self.leader.call("POST", "sys/step-down", {})

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        first = self.nodes[0].initialise()
        for node in self.nodes[1:]:
            node.keys, node.token = first.keys, first.token
            until(node.joined, what=f"{node.address} to join")
        until(lambda: sorted(node.health() for node in self.nodes) == [200, 429, 429], what="three nodes")
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.close()
