"""SoftHSM tokens of a test run's own. The library reads where they lie from the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from strongroom.keys.pkcs11.session import Pin, PinFile, Token
from tests.patience import PATIENCE
from tests.process import ServerUnavailable

PIN = "CANARY-2468"
OFFICER = "CANARY-13579"
_PLACES = ("/usr/lib/softhsm", "/usr/lib64/pkcs11", "/usr/lib/*/softhsm", "/opt/homebrew/lib/softhsm")


def module() -> Path:
    """Return the library; it has to be installed."""
    for place in _PLACES:
        for found in Path("/").glob(f"{place[1:]}/libsofthsm2.so"):
            return found
    raise ServerUnavailable("SoftHSM is missing: 'make services' installs it")


def file_with(path: Path, content: str) -> Path:
    """Make a file that its owner alone may read."""
    path.write_text(content)
    path.chmod(0o600)
    return path


class SoftHsm:
    """Tokens in a folder. One such object a process: there is one library in it."""

    def __init__(self, tokens: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sr-hsm-"))
        self.tokens = tokens or self.folder / "tokens"
        self.tokens.mkdir(exist_ok=True)
        settings = self.folder / "softhsm2.conf"
        settings.write_text(f"directories.tokendir = {self.tokens}\nlog.level = ERROR\n")
        self.env = {"SOFTHSM2_CONF": str(settings)}
        self.pin_file = file_with(self.folder / "pin", f"{PIN}\n")

    def make_token(self, label: str, *, pin: str = PIN) -> None:
        """Initialize a further token."""
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin]
        done = subprocess.run(
            [*command, "--so-pin", OFFICER],
            env=os.environ | self.env,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr

    def token(self, label: str, *, pin: Pin | None = None) -> Token:
        """Return the product's own token object."""
        return Token(module=module(), label=label, pin=pin or PinFile(self.pin_file))

    def import_key(self, label: str, pem: bytes, *, key: str, version: int) -> None:
        """Put a private key that was made elsewhere into a token (PKCS#8 PEM)."""
        path = file_with(self.folder / "import.pem", pem.decode())
        command = ["softhsm2-util", "--import", path, "--token", label, "--label", key, "--pin", PIN]
        done = subprocess.run(
            [*command, "--id", f"{version:04x}"],
            env=os.environ | self.env,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr

    def unplug(self) -> Callable[[], None]:
        """Take every token away; return what plugs them in again."""
        away = self.tokens.with_name("away")
        self.tokens.rename(away)
        self.tokens.mkdir()

        def plug() -> None:
            self.tokens.rmdir()
            away.rename(self.tokens)

        return plug

    def __enter__(self) -> Self:
        self._before = os.environ.get("SOFTHSM2_CONF")
        os.environ.update(self.env)
        return self

    def __exit__(self, *_: object) -> None:
        del os.environ["SOFTHSM2_CONF"]
        if self._before is not None:
            os.environ["SOFTHSM2_CONF"] = self._before
        shutil.rmtree(self.folder, ignore_errors=True)
