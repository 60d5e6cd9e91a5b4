"""The ways by which a value, or what opens one, can leave, and what people approve of each.

Every command stands here once, and what is public in Python too. Who adds one says which rule it asks, or why
it asks none; a test holds this table against the commands and against every place that reveals a value.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from strongroom.model import ApprovalAction

_RESTORE, _UNDO, _EXPORT = ApprovalAction.RESTORE, ApprovalAction.UNDO, ApprovalAction.EXPORT
_RECIPIENTS, _ROTATE = ApprovalAction.RECIPIENTS, ApprovalAction.ROTATE_SECRET


class Way(NamedTuple):
    """What a rule has to name for this to be asked for, and what of it that is about."""

    asks: tuple[ApprovalAction, ...]
    what: str


WAYS: Final[dict[str, Way]] = {
    "restore": Way(
        (_RESTORE, _EXPORT), "a restore, by its plan; `--to-file`; with `--cluster` the run waits"
    ),
    "restore undo": Way((_UNDO,), "what an undo writes back; with `--cluster` the run waits"),
    "restore snapshot": Way((_RESTORE,), "the replacing of a server"),
    "recover": Way((_RESTORE, _ROTATE), "its restores and its new values, as those commands do"),
    "get": Way((_EXPORT,), "`--show-value`, from the local store, a backup file or targets"),
    "backup": Way((_EXPORT, _RECIPIENTS), "a file with values; a policy of offline media; a new recipient"),
    "emergency backup": Way((_EXPORT, _RECIPIENTS), "the values that go onto a medium; a new recipient"),
    "emergency escrow": Way((_EXPORT,), "the installation's keys, sealed to somebody"),
    "keys replace": Way((_EXPORT, _RECIPIENTS), "files that another key will open; a policy's new recipient"),
    "keys rotate": Way((_RECIPIENTS,), "a policy's new recipient"),
    "incident": Way((_RECIPIENTS, _ROTATE), "`reseal` and `rotate`, as those commands do"),
    "secrets rotate": Way((_ROTATE,), "the new values, which programs are given"),
    "runs retry": Way((_RESTORE, _UNDO, _RECIPIENTS), "what the run was to do: its steps ask again"),
    "up": Way(
        (_RESTORE, _UNDO, _RECIPIENTS, _ROTATE), "what its workers do: each asks its own configuration"
    ),
    "schedule": Way((_RECIPIENTS,), "`run`, where it begins a backup for a new recipient"),
    "strongroom.open": Way((_EXPORT,), "the first value that is revealed: once for each opening"),
    "strongroom.Client": Way((_RESTORE, _UNDO, _RECIPIENTS), "its runs, which wait"),
}

GIVE_NONE: Final[dict[str, tuple[str, ...]]] = {
    "names, tags and dates alone are read": (
        "list",
        "backups find",
        "backups history",
        "backups list",
        "backups replicas",
        "backups show",
    ),
    "values are compared in the process, and what differs is said without them": (
        "backups diff",
        "check secrets",
    ),
    "a backup is read, and nothing of it is shown or written": (
        *("backups verify", "check machine"),
        *("check backups", "check", "check all", "check keys"),
    ),
    "what it restores goes with the place that it makes, and where that stays it ends with an error": (
        *("drill local", "drill"),
    ),
    "sealed bytes are copied, moved or removed": (
        "backups repair",
        "backups prune",
        "backups undelete",
        "backups hold",
        "backups rebuild",
        "keys shred",
    ),
    "values come in": ("set", "secrets import", "secrets delete"),
    "made-up secrets": ("demo", "bench", "check storage"),
    "keys are made, listed, split or signed with, and no backup is opened": (
        *(
            "keys new",
            "keys list",
            "keys retire",
            "keys prove",
            "backups gone",
            "keys hsm",
            "keys quorum",
            "keys signers",
            *("cluster init", "cluster token", "cluster join", "cluster certify", "cluster remove"),
        ),
    ),
    "what is on record, and no backup": (
        *(
            "runs",
            "runs show",
            "runs cancel",
            "approvals",
            "approvals approve",
            "approvals show",
            "approvals add",
            "approvals reject",
            "alerts",
            "alerts send",
            "alerts ack",
            "alerts silence",
            "metrics",
            "reports check",
        ),
        *("reports audit", "check controls", "reports review", "ledger", "emergency kit", "cluster hosts"),
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
"""Commands that give no value out, by the reason."""
