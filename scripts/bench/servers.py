"""S3 servers of several regions for the benchmark, each behind a link of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongroom.targets.s3 import S3Options
from strongroom.targets.s3.client import make_client

PROGRAM = Path("build/live/ministack/bin/ministack")
START_SECONDS = 60.0
CREDENTIALS = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench"}


@dataclass(frozen=True, kw_only=True)
class Server:
    """One region: its server, and the link that the backup reaches it through."""

    region: str
    port: int
    link: int

    def client(self) -> Any:
        options = S3Options(
            bucket="any-bucket", region=self.region, endpoint_url=f"http://127.0.0.1:{self.port}"
        )
        return make_client(options, **CREDENTIALS)


def at_hand() -> bool:
    """Tell whether ``make live`` has installed the server."""
    return PROGRAM.exists()


@contextlib.contextmanager
def running(region: str, *, rate: float, delay: float) -> Iterator[Server]:
    """Run a region: a server, and a link of ``rate`` bytes and ``delay`` seconds before it."""
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-s3-") as folder:
        port = _free_port()
        settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "IOT_MTLS_ENABLED": "0"}
        place = {"MINISTACK_REGION": region, "S3_DATA_DIR": folder, "STATE_DIR": folder, "HOME": folder}
        command = [str(PROGRAM.resolve())]
        env = {"PATH": os.environ["PATH"]} | settings | place
        with _process(command, env=env, cwd=folder), linked(port, rate=rate, delay=delay) as link:
            _await(port)
            yield Server(region=region, port=port, link=link)


@contextlib.contextmanager
def _process(command: list[str], **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | how
    with subprocess.Popen(command, stdin=subprocess.PIPE, **quiet) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def linked(port: int, *, rate: float, delay: float) -> Iterator[int]:
    """Put a link of ``rate`` bytes a second and ``delay`` seconds each way before a port; yield its own."""
    command = [sys.executable, "-m", "scripts.bench.link", str(port), str(rate), str(delay)]
    with _process(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"the S3 server on port {port} did not start")
