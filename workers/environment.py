"""What a child process finds in its environment: what its role needs, and nothing else.

Settings hold no secrets, only the names of files that do, so those pass. Secrets that a
person gave by environment variable reach the roles that use them; credentials of sources
and targets likewise. On one machine with one user this keeps honest processes apart, not
hostile ones: a process may read its neighbour's files. Fences need users or hosts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from strongroom.model import Role
from strongroom.operations.rights.needs import READS_SOURCES
from workers import names

EVERYONE: Final = frozenset(
    {
        "HOME",
        "LANG",
        "PATH",
        "PYTHONHASHSEED",
        "PYTHONPATH",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
        "XDG_RUNTIME_DIR",
        "XDG_STATE_HOME",
    }
)
EVERYONE_PREFIXES: Final = ("LC_", "STRONGROOM_")

PASSPHRASES: Final = frozenset({"STRONGROOM_PASSPHRASE", "STRONGROOM_PASSPHRASE_FILE"})
OPENERS: Final = frozenset({names.SEAL, names.VERIFY, names.DRILL, names.RECOVER})
"""Sealing to a passphrase takes the passphrase; sealing to a public key does not."""

SOURCE_PREFIXES: Final = ("VAULT_", "BAO_")
READERS: Final = READS_SOURCES - {Role.OPERATOR}

TARGET_PREFIXES: Final = ("AWS_", "AZURE_", "PG")
WRITERS: Final = frozenset({*names.QUEUES, names.METRICS, names.PAGE})
"""Metrics and the page are made from a look at the targets, too."""

BROKER: Final = "broker"


def for_role(role: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that a role's process gets."""
    if role == BROKER:
        wanted = {name: environment[name] for name in ("PATH", "PYTHONPATH", "TMPDIR") if name in environment}
        return wanted | _safe_path(environment)
    allowed = {name: value for name, value in environment.items() if _may_have(role, name)}
    return allowed | _safe_path(environment) | {"STRONGROOM_ROLE": role}


def _safe_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what keeps the current directory off Python's import path, also for what a process starts."""
    given = environment.get("PYTHONPATH", "").split(os.pathsep)
    named = os.pathsep.join(entry for entry in given if entry)  # an empty entry means the current directory
    return {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": named} if "PYTHONPATH" in environment else {})


def _may_have(role: str, name: str) -> bool:
    if name in PASSPHRASES:
        return role in OPENERS
    if name.startswith(SOURCE_PREFIXES):
        return role in READERS
    if name.startswith(TARGET_PREFIXES):
        return role in WRITERS
    return name in EVERYONE or name.startswith(EVERYONE_PREFIXES)
