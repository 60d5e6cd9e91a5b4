"""OpenSSH's server with its own keys, on a free port, for one login by key."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

from strongroom.targets.sftp import SftpServer, SftpTarget
from tests.patience import until
from tests.process import free_port, listens
from tests.workers.cluster import descendants

PROGRAM = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/login.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
"""


class Sshd:
    """A server below ``folder``; it serves the files of this machine as whoever runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        for name in ("host", "login"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        public = (folder / "host.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")
        (folder / "sshd_config").write_text(_CONFIG.format(port=self.port, folder=folder))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        assert PROGRAM is not None
        command = [PROGRAM, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
            process = self._process
        until(lambda: listens(self.port) or process.poll() is not None, what="the SSH server")
        assert process.poll() is None, (self.folder / "log").read_text()

    def hang(self) -> None:
        """Have it answer nobody until it is ended."""
        self._signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End it, and each session of it."""
        self._signal(signal.SIGKILL)
        process, self._process = self._process, None
        if process is not None:
            process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            for pid in (*descendants(self._process.pid), self._process.pid):  # each session is a process
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def server(self, **other: object) -> SftpServer:
        """Return where it is, and the login by its key."""
        settings: dict[str, object] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "known_hosts_file": self.folder / "known_hosts",
            "key_file": self.folder / "login",
        }
        return SftpServer(**(settings | other))  # type: ignore[arg-type]

    def target(self, path: Path, *, create: bool = True, **other: object) -> SftpTarget:
        """Return a target below a directory of this machine."""
        return SftpTarget(
            self.server(**other), str(path), name="sftp", region="office", provider="sftp", create=create
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
