"""Strongroom: sealed, replicated, drilled backups of a company's secrets.

What is named here is the public Python interface: docs/python.md. Everything else may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strongroom.client import Client
    from strongroom.errors import StrongroomError
    from strongroom.opened import LeftAsideWarning, OpenedBackup, OpenedSecret, open  # noqa: A004
    from strongroom.submission import Outcome, Submission

__version__ = "0.1.0"

__all__ = [
    "Client",
    "LeftAsideWarning",
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
    "Client": "strongroom.client",
    "LeftAsideWarning": "strongroom.opened",
    "OpenedBackup": "strongroom.opened",
    "OpenedSecret": "strongroom.opened",
    "Outcome": "strongroom.submission",
    "StrongroomError": "strongroom.errors",
    "Submission": "strongroom.submission",
    "open": "strongroom.opened",
}


def __getattr__(name: str) -> Any:
    """Load a public name from where it is made."""
    if name not in _HOMES:
        raise AttributeError(f"module 'strongroom' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
