"""Who types a command: what goes on record beside a reason."""

from __future__ import annotations

import getpass
import socket


def who() -> str:
    """Return the user and the host."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
