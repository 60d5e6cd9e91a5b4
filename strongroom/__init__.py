"""Strongroom: sealed, replicated, drilled backups of a company's secrets.

What is named here is the public Python interface: docs/reference/python.md. Everything else may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strongroom.api.client import Client, Outcome, Submission
    from strongroom.api.opened_backup import (
        LeftAsideWarning,
        LessThanKnownWarning,
        LostPartWarning,
        OpenedBackup,
        OpenedSecret,
        open,  # noqa: A004
    )
    from strongroom.container.errors import MissingPiece, Tampered, UntrustedSigner, WrongKey
    from strongroom.errors import ConfigError, StrongroomError, UsageError
    from strongroom.operations.archive.shortfall import Shortfall
    from strongroom.operations.errors import (
        ApprovalNeeded,
        BackupQuarantined,
        LessThanKnown,
        NewestUnseen,
        NotYetSeen,
        RunDegraded,
        RunFailed,
    )
    from strongroom.sources.errors import SecretNotFound
    from strongroom.state.errors import StateUnavailable

__version__ = "0.1.0"

__all__ = [
    "ApprovalNeeded",
    "BackupQuarantined",
    "Client",
    "ConfigError",
    "LeftAsideWarning",
    "LessThanKnown",
    "LessThanKnownWarning",
    "LostPartWarning",
    "MissingPiece",
    "NewestUnseen",
    "NotYetSeen",
    "OpenedBackup",
    "OpenedSecret",
    "Outcome",
    "RunDegraded",
    "RunFailed",
    "SecretNotFound",
    "Shortfall",
    "StateUnavailable",
    "StrongroomError",
    "Submission",
    "Tampered",
    "UntrustedSigner",
    "UsageError",
    "WrongKey",
    "__version__",
    "open",
]

# Loaded on first use: whoever wants the version, or one room, does not wait for all of them.
_HOMES = {
    "ApprovalNeeded": "strongroom.operations.errors",
    "BackupQuarantined": "strongroom.operations.errors",
    "Client": "strongroom.api.client",
    "ConfigError": "strongroom.errors",
    "LeftAsideWarning": "strongroom.api.opened_backup",
    "LessThanKnown": "strongroom.operations.errors",
    "LessThanKnownWarning": "strongroom.api.opened_backup",
    "LostPartWarning": "strongroom.api.opened_backup",
    "MissingPiece": "strongroom.container.errors",
    "NewestUnseen": "strongroom.operations.errors",
    "NotYetSeen": "strongroom.operations.errors",
    "OpenedBackup": "strongroom.api.opened_backup",
    "OpenedSecret": "strongroom.api.opened_backup",
    "Outcome": "strongroom.api.client",
    "RunDegraded": "strongroom.operations.errors",
    "RunFailed": "strongroom.operations.errors",
    "SecretNotFound": "strongroom.sources.errors",
    "Shortfall": "strongroom.operations.archive.shortfall",
    "StateUnavailable": "strongroom.state.errors",
    "StrongroomError": "strongroom.errors",
    "Submission": "strongroom.api.client",
    "Tampered": "strongroom.container.errors",
    "UntrustedSigner": "strongroom.container.errors",
    "UsageError": "strongroom.errors",
    "WrongKey": "strongroom.container.errors",
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
