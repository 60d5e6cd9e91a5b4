"""Writes down every command that Redis is sent: events and replies to control leave no key."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.patience import PATIENCE


class Wiretap:
    """Listens (``MONITOR``) on a Redis' socket inside the block."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._heard = bytearray()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    @property
    def heard(self) -> bytes:
        """All commands with their arguments so far, one a line."""
        return bytes(self._heard)

    def __enter__(self) -> Self:
        self._socket.sendall(b"MONITOR\r\n")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._socket.close()

    def _listen(self) -> None:
        while said := self._socket.recv(65536):
            self._heard += said
