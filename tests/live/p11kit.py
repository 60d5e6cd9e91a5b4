"""A token behind a server of p11-kit: an HSM that can be unplugged, and that lacks AES key wrap."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Self

from strongroom.keys.pkcs11.session import PinFile, Token
from tests.live.softhsm import SoftHsm, module
from tests.patience import PATIENCE
from tests.process import ServerUnavailable

_CLIENTS = ("/usr/lib/*/pkcs11/p11-kit-client.so", "/usr/lib64/pkcs11/p11-kit-client.so")


def client() -> Path:
    """Return the library that speaks to the server."""
    for place in _CLIENTS:
        for found in Path("/").glob(place[1:]):
            return found
    raise ServerUnavailable("p11-kit's modules are missing: 'make services' installs them")


class P11Kit:
    """Serves one token of a SoftHSM on a socket."""

    def __init__(self, hsm: SoftHsm, label: str) -> None:
        self._hsm = hsm
        self._label = label
        self._socket = hsm.folder / "p11-kit"
        self._process: subprocess.Popen[bytes] | None = None

    def plug(self) -> None:
        """Start the server; return once it listens."""
        token = f"pkcs11:token={self._label}"
        process = subprocess.Popen(
            ["p11-kit", "server", "-f", "-n", self._socket, "--provider", module(), token],
            env=os.environ | self._hsm.env,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        # It prints where it listens once it does.
        assert b"P11_KIT_SERVER_ADDRESS" in process.stdout.readline()
        self._process = process

    def unplug(self) -> None:
        """Kill the server and the child that holds our session."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._socket.unlink(missing_ok=True)
        self._process = None

    def token(self) -> Token:
        """Return the product's own token object."""
        return Token(module=client(), label=self._label, pin=PinFile(self._hsm.pin_file))

    def __enter__(self) -> Self:
        os.environ["P11_KIT_SERVER_ADDRESS"] = f"unix:path={self._socket}"
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.unplug()
        del os.environ["P11_KIT_SERVER_ADDRESS"]
