"""A home of gpg with made-up keys, and an agent of its own that ends with it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

KEY = "canary@example.org"


@contextmanager
def gpg_home(keys: Mapping[str, str]) -> Iterator[Path]:
    """Make a home that holds a key for each address, under the passphrase given (which may be empty)."""
    if shutil.which("gpg") is None:
        pytest.skip("there is no gpg here")
    with tempfile.TemporaryDirectory(prefix="sr-gpg-") as folder:  # an agent's socket has a short path
        home = Path(folder)
        try:
            for address, passphrase in keys.items():
                making = ("--quick-gen-key", address, "future-default", "default", "never")
                gpg(home, "--passphrase", passphrase, *making)
            end_agent(home)  # what it remembers of passphrases ends with it
            yield home
        finally:
            end_agent(home)


def end_agent(home: Path) -> None:
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=False)


def gpg(home: Path, *words: str, said: bytes = b"") -> bytes:
    """Run gpg, which asks nobody; return what it says."""
    command = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--quiet", *words]
    return subprocess.run(command, input=said, check=True, capture_output=True).stdout


def fingerprint(home: Path, address: str) -> str:
    """Return a key's fingerprint."""
    listed = gpg(home, "--with-colons", "--list-keys", address).decode().splitlines()
    return next(line.split(":")[9] for line in listed if line.startswith("fpr:"))
