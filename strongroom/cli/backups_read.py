"""The commands that read backups, and what each asks before it believes one.

Every command stands here once, and what is public in Python too. "Verified" is said only of what somebody
trusted here signed. Who adds a command that reads backups has it ask as the others do. A test holds this
table against the commands, tries them, and holds it against every place that reads without asking.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Trust(Enum):
    """What a command does with a backup that nobody trusted here signed. A distrusted key's is always 13."""

    ASKS = "13; `--signer` trusts its maker, `--any-signer` takes it with its maker unknown"
    ASKS_FOR_A_NAME = "13; `--signer` trusts its maker"
    OWN = "13, or named as not believed: whom the configuration trusts counts alone"
    SHOWS = "shows what it claims, and that its maker is unknown"


class Aside(Enum):
    """What a command does with a backup in quarantine."""

    REFUSES = "4, and where none was named the one before it; `--use-quarantined` takes it"
    REFUSES_ALWAYS = "4, or names it as skipped"
    SHOWS = "shows it, says so, and ends with 70"
    TENDS = "looks after it as after any other: it is evidence, and what is not tended is lost"


class Reading(NamedTuple):
    """What a command asks before it believes a backup."""

    trust: Trust
    aside: Aside


_RESTORES = Reading(Trust.ASKS, Aside.REFUSES)
_LOOKS = Reading(Trust.ASKS, Aside.SHOWS)
_SHOWS = Reading(Trust.SHOWS, Aside.SHOWS)
_NAMED = Reading(Trust.ASKS_FOR_A_NAME, Aside.REFUSES_ALWAYS)
_OWN = Reading(Trust.OWN, Aside.REFUSES_ALWAYS)
_TENDS = Reading(Trust.OWN, Aside.TENDS)

READS: Final[dict[str, Reading]] = {
    **dict.fromkeys(("verify-backup", "test-decrypt", "list", "get", "diff"), _RESTORES),
    **dict.fromkeys(
        ("restore", "restore-secret", "restore-snapshot", "validate", "test-recovery"), _RESTORES
    ),
    **dict.fromkeys(("find", "history"), _LOOKS),
    **dict.fromkeys(("backup-info", "validate-backup-format", "catalog"), _SHOWS),
    **dict.fromkeys(("recover", "check-recovery-environment", "escrow"), _NAMED),
    "rotate-backup-key": Reading(Trust.ASKS_FOR_A_NAME, Aside.TENDS),
    **dict.fromkeys(("drill", "backup-health-check", "health-advanced", "submit", "retry"), _OWN),
    **dict.fromkeys(("up", "schedule", "backup-alerts", "metrics"), _OWN),
    **dict.fromkeys(("repair", "rotate", "prune", "undelete", "hold", "shred", "key-health"), _TENDS),
    **dict.fromkeys(("incident", "signers", "recovery-kit", "emergency-backup", "backup"), _TENDS),
    "strongroom.open": _RESTORES,
    "strongroom.Client": _OWN,
}

READ_NONE: Final[dict[str, tuple[str, ...]]] = {
    "what is on record, and no backup": (
        *("replicas", "status", "cancel", "approve", "approvals", "ack", "silence"),
        *("backup-audit-report", "compliance-check", "security-review", "ledger", "keys"),
    ),
    "reports, whose signatures count as those of backups do": ("report",),
    "the local store, or the sources": ("set", "import", "delete", "export", "rotate-secret"),
    "made-up secrets": ("demo", "benchmark-backup", "test-backup-storage"),
    "keys and their services": (
        "keygen",
        "generate-backup-key",
        "hsm",
        "quorum",
        "diagnose-backup-encryption",
    ),
    "the configuration": ("init", "config", "check-backup-permissions", "completion"),
}
"""Commands that read no backup, by the reason."""
