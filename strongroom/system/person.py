"""Who asks for something: what goes on record beside a reason, and who cannot approve what they asked for."""

from __future__ import annotations

import os
import pwd
import socket


def who() -> str:
    """Return the user and the host. Somebody who became another user by sudo is still themselves."""
    return f"{os.environ.get('SUDO_USER') or _user(os.getuid())}@{socket.gethostname()}"


def _user(uid: int) -> str:
    """Return a user's name; a container may run as a number that no user has. LOGNAME could say anybody."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
