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


class QuarantineRule(Enum):
    """What a command does with a backup in quarantine."""

    REFUSES = "4, and where none was named the one before it; `--use-quarantined` takes it"
    REFUSES_ALWAYS = "4, or names it as skipped"
    SHOWS = "shows it, says so, and ends with 70"
    TENDS = "looks after it as after any other: it is evidence, and what is not tended is lost"


class Reading(NamedTuple):
    """What a command asks before it believes a backup."""

    trust: Trust
    aside: QuarantineRule


_RESTORES = Reading(Trust.ASKS, QuarantineRule.REFUSES)
_LOOKS = Reading(Trust.ASKS, QuarantineRule.SHOWS)
_SHOWS = Reading(Trust.SHOWS, QuarantineRule.SHOWS)
_NAMED = Reading(Trust.ASKS_FOR_A_NAME, QuarantineRule.REFUSES_ALWAYS)
_OWN = Reading(Trust.OWN, QuarantineRule.REFUSES_ALWAYS)
_TENDS = Reading(Trust.OWN, QuarantineRule.TENDS)

READS: Final[dict[str, Reading]] = {
    **dict.fromkeys(("backups verify", "list", "get", "backups diff"), _RESTORES),
    **dict.fromkeys(("restore", "restore snapshot", "check secrets", "drill local"), _RESTORES),
    **dict.fromkeys(("backups find", "backups history"), _LOOKS),
    **dict.fromkeys(("backups show", "backups list"), _SHOWS),
    "backups rebuild": Reading(Trust.ASKS_FOR_A_NAME, QuarantineRule.SHOWS),
    **dict.fromkeys(("recover", "check machine", "emergency escrow"), _NAMED),
    "keys replace": Reading(Trust.ASKS_FOR_A_NAME, QuarantineRule.TENDS),
    **dict.fromkeys(("drill", "restore undo", "check backups", "check", "check all", "runs retry"), _OWN),
    **dict.fromkeys(("up", "schedule", "alerts", "alerts send", "metrics"), _OWN),
    **dict.fromkeys(
        (
            "backups repair",
            "keys rotate",
            "backups prune",
            "backups undelete",
            "backups hold",
            "keys shred",
            "check keys",
        ),
        _TENDS,
    ),
    **dict.fromkeys(("incident", "keys signers", "emergency kit", "emergency backup", "backup"), _TENDS),
    "strongroom.open": _RESTORES,
    "strongroom.Client": _OWN,
}

READ_NONE: Final[dict[str, tuple[str, ...]]] = {
    "what is on record, and no backup": (
        *(
            "backups replicas",
            "runs",
            "runs cancel",
            "runs show",
            *("cluster hosts", "cluster init", "cluster token", "cluster join", "cluster certify"),
            "cluster remove",
            "approvals",
            "approvals approve",
            "approvals show",
            "approvals add",
            "approvals reject",
            "alerts ack",
            "alerts silence",
        ),
        *(
            "reports audit",
            "check controls",
            "reports review",
            "ledger",
            "keys list",
            "keys retire",
            "backups gone",
        ),
    ),
    "reports, whose signatures count as those of backups do": ("reports check",),
    "the local store, or the sources": ("set", "secrets import", "secrets delete", "secrets rotate"),
    "made-up secrets": ("demo", "bench", "check storage"),
    "keys and their services": (
        "keys new",
        "keys hsm",
        "keys quorum",
        "keys prove",
    ),
    "the configuration": (
        "init",
        "check config",
        "config reference",
        "config schema",
        "check rights",
        "cluster rules",
        "completion",
    ),
}
"""Commands that read no backup, by the reason."""
