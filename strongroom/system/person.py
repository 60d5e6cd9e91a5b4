"""Who asks for something: what goes on record beside a reason, and who cannot approve what they asked for."""

from __future__ import annotations

import getpass
import os
import socket


def who() -> str:
    """Return the user and the host. Somebody who became another user by sudo is still themselves."""
    return f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}"
