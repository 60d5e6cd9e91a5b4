"""Azurite, Microsoft's emulator of Azure Blob Storage: a server process over HTTP.

It has no versioning, no immutability, no legal hold and no undelete, and says so (501). What
only an account with these does is not shown by tests against it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.process import ServerProcess, free_port, installed

ACCOUNT = "strongroomtest"
WANTED = "azurite-blob is not installed; 'make live' installs it"


class Azurite:
    """A blob service with one account, whose key is made up for each server."""

    def __init__(self) -> None:
        program = installed("azurite", "node_modules", ".bin", "azurite-blob")
        if program is None:
            pytest.skip(WANTED)
        self._program = program
        self.key = base64.b64encode(os.urandom(64)).decode()
        self.server = ServerProcess(
            self._command, port=free_port(), env={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{self.key}"}
        )

    @property
    def account_url(self) -> str:
        return self.url_on(self.server.port)

    def url_on(self, port: int) -> str:
        """Return the account's address behind another port, such as a proxy's."""
        return f"http://127.0.0.1:{port}/{ACCOUNT}"

    def connection_string(self, url: str | None = None) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={self.key};"
            f"BlobEndpoint={url or self.account_url};"
        )

    def key_file(self, path: Path, content: str | None = None) -> Path:
        """Write a credential as a target reads it: a file of its owner's."""
        path.write_text(self.key if content is None else content)
        path.chmod(0o600)
        return path

    def _command(self, folder: Path) -> Sequence[str | Path]:
        return (
            *(self._program, "--blobHost", "127.0.0.1", "--blobPort", str(self.server.port)),
            *("-l", folder / "data", "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
        )
