"""Podman of a checkout's own: its images and containers are under build/containers, no others are touched.

No registry is asked. What images start from is made of Debian's packages (``scripts/make-base-image``), and
what they install comes from the index that pip is told of here.
"""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.patience import PATIENCE, until
from tests.process import ends_with_this

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "containers"
BASE = "localhost/strongroom-base:latest"
SERVERS = "localhost/strongroom-servers:latest"
PACKAGES = ("redis-server", "postgresql", "prometheus", "prometheus-alertmanager", "nodejs", "passwd")
NEEDED = ("podman", "runc", "mmdebstrap", "nft", "catatonit", "docker-compose")


class Podman:
    """Podman with a store of its own, by a runtime that any Linux with control groups can use."""

    def __init__(self) -> None:
        missing = [program for program in NEEDED if shutil.which(program) is None]
        if missing or os.getuid() != 0:
            pytest.skip(
                f"it takes root and {', '.join(missing or NEEDED)}: sh scripts/install-test-services podman"
            )
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.words = ["podman", "--root", str(FOLDER / "store"), "--runroot", str(FOLDER / "run")]
        self.words += ["--storage-driver", "overlay", "--runtime", "runc"]
        self.env = os.environ | {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1", "PODMAN": " ".join(self.words)}

    def run(self, *words: str | Path, check: bool = True, seconds: float = 120) -> str:
        """Run one command of it; return what it said."""
        told = subprocess.run(
            [*self.words, *map(str, words)],
            env=self.env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert told.returncode == 0 or not check, f"podman {words}\n{told.stdout[-3000:]}"
        return told.stdout.strip()

    def succeeds(self, *words: str) -> bool:
        """Tell whether a command of it does what it is to."""
        told = subprocess.run(
            [*self.words, *words], env=self.env, capture_output=True, check=False, timeout=PATIENCE
        )
        return told.returncode == 0

    def make_base(self, name: str = BASE, *packages: str) -> str:
        """Make what images start from, once a checkout; return its name."""
        with _alone():
            if not self.succeeds("image", "exists", name):
                command = ["sh", "scripts/make-base-image", name, *packages]
                subprocess.run(command, env=self.env, cwd=ROOT, check=True, timeout=600, capture_output=True)
        return name

    def build(self, dockerfile: str, tag: str, *options: str) -> str:
        """Build an image of this checkout; return its name."""
        self.make_base()
        with _alone():
            (FOLDER / "pip.conf").write_text(_pip_configuration())
            limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
            allowed = {name: resource.getrlimit(which)[1] for name, which in limits.items()}
            words = [word for name, most in allowed.items() for word in ("--ulimit", f"{name}={most}:{most}")]
            # The index may be on this host, or behind an authority that this host knows.
            words += ["--network", "host", "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
            words += ["--secret", f"id=pip.conf,src={FOLDER / 'pip.conf'}", "--build-arg", f"BASE={BASE}"]
            words += ["--format", "docker", "--file", dockerfile, "--tag", tag, *options, "."]
            self.run("build", *words, seconds=900)
        return tag

    def megabytes(self, image: str) -> int:
        """Return how large an image is, with what it starts from."""
        return int(self.run("image", "inspect", "--format", "{{.Size}}", image)) // 10**6

    @contextmanager
    def service(self) -> Iterator[dict[str, str]]:
        """Serve Docker's interface; give the environment of who uses it. Health is asked for meanwhile, which
        systemd's timers do elsewhere."""
        socket = FOLDER / "podman.sock"
        words = [*ends_with_this(), *self.words, "system", "service", "--time", "0", f"unix://{socket}"]
        serving = subprocess.Popen(words, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done = threading.Event()
        asking = threading.Thread(target=self._ask_for_health, args=(done,))
        try:
            until(socket.exists, what="Podman's service")
            asking.start()
            yield self.env | {"DOCKER_HOST": f"unix://{socket}"}
        finally:
            done.set()
            asking.join()
            serving.kill()
            serving.wait()
            socket.unlink(missing_ok=True)

    def _ask_for_health(self, done: threading.Event) -> None:
        while not done.wait(1.0):
            for name in self.run("ps", "--format", "{{.Names}}", check=False).split():
                self.run("healthcheck", "run", name, check=False)


@contextmanager
def _alone() -> Iterator[None]:
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pip_configuration() -> str:
    """Return how pip finds packages here, without what is a file of this host."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    ).stdout
    settings = {}
    for line in told.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"")
    for of_this_host in ("find-links", "constraint", "require-virtualenv"):
        settings.pop(of_this_host, None)
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
