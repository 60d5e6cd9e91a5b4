"""A token of NSS, the second implementation of PKCS#11: made for one test run."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from strongroom.keys.pkcs11.session import Pin, PinFile, Token
from tests.live.softhsm import file_with
from tests.patience import PATIENCE
from tests.process import ServerUnavailable

PIN = "CANARY-nss-1"
LABEL = "NSS Certificate DB"
_PLACES = (
    "/usr/lib/*/libsoftokn3.so",
    "/usr/lib/*/nss/libsoftokn3.so",
    "/usr/lib64/libsoftokn3.so",
    "/opt/homebrew/opt/nss/lib/libsoftokn3.dylib",
)


def module() -> Path:
    """Return the library; it has to be installed."""
    for place in _PLACES:
        for found in Path("/").glob(place[1:]):
            return found
    raise ServerUnavailable("NSS is missing: 'make services' installs it")


class Nss:
    """A database of keys, which NSS shows as a token. Ask :func:`shared` for it.

    The library opens one database in a process, and stays with it.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sr-nss-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.pin_file = file_with(self.folder / "pin", f"{PIN}\n")
        database = self.folder / "db"
        database.mkdir()
        command = ["certutil", "-N", "-d", f"sql:{database}", "-f", str(self.pin_file)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        # The library would otherwise open the person's own database.
        self.env = {"NSS_LIB_PARAMS": f"configDir=sql:{database}"}
        os.environ.update(self.env)

    def token(self, *, pin: Pin | None = None) -> Token:
        """Return the product's own token object."""
        return Token(module=module(), label=LABEL, pin=pin or PinFile(self.pin_file))


@cache
def shared() -> Nss:
    """Return this process's database. Who makes keys in it takes versions of their own."""
    return Nss()
