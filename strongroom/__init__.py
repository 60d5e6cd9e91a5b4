"""Strongroom: sealed, replicated, drilled backups of a company's secrets.

What is named here is the public Python interface: docs/reference/python.md. Everything else may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strongroom.api.client import Client
    from strongroom.api.opened_backup import (
        LeftAsideWarning,
        LessThanKnownWarning,
        OpenedBackup,
        OpenedSecret,
        open,  # noqa: A004
    )
    from strongroom.api.submission import Outcome, Submission
    from strongroom.errors import StrongroomError

__version__ = "0.1.0"

__all__ = [
    "Client",
    "LeftAsideWarning",
    "LessThanKnownWarning",
    "OpenedBackup",
    "OpenedSecret",
    "Outcome",
    "StrongroomError",
    "Submission",
    "__version__",
    "open",
]

# Loaded on first use: whoever wants the version, or one room, does not wait for all of them.
_HOMES = {
    "Client": "strongroom.api.client",
    "LeftAsideWarning": "strongroom.api.opened_backup",
    "LessThanKnownWarning": "strongroom.api.opened_backup",
    "OpenedBackup": "strongroom.api.opened_backup",
    "OpenedSecret": "strongroom.api.opened_backup",
    "Outcome": "strongroom.api.submission",
    "StrongroomError": "strongroom.errors",
    "Submission": "strongroom.api.submission",
    "open": "strongroom.api.opened_backup",
}


if not TYPE_CHECKING:  # else a type checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        """Load a public name from where it is made."""
        if name not in _HOMES:
            raise AttributeError(f"module 'strongroom' has no attribute '{name}'")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
