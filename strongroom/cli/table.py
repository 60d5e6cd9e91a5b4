"""The commands, each with its summary and its room: the package in ``strongroom.cli.commands`` that holds it.

``strongroom --help`` needs this table alone. A command first imports what its room takes (``arguments``), and
only after parsing what it does. A command of two words belongs to a subject, which stands in the help.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """A command in the table: the room that holds it and what it does, in one line."""

    room: str
    summary: str


GROUPS: Final[dict[str, dict[str, Entry]]] = {
    "In an emergency": {
        "recover": Entry("recovery", "lead through a recovery: six steps, on record, at any hour"),
        "incident": Entry("incident", "lead an incident from suspicion to closure, on record"),
    },
    "Back up and bring back": {
        "backup": Entry("backup", "back secrets up, into a file or by a policy"),
        "restore": Entry("restore", "restore secrets into the local store, another source, or a file"),
        "restore undo": Entry("restore", "undo a restore that is on record"),
        "restore snapshot": Entry("restore", "replace a whole Vault server by a snapshot of it"),
        "drill": Entry("rehearsal", "rehearse a recovery on record, with a signed report; list the reports"),
        "drill local": Entry("rehearsal", "rehearse a recovery on this machine, and time it"),
        "emergency backup": Entry("emergency", "back up onto a medium for the safe, with what opens it"),
        "emergency kit": Entry(
            "emergency", "write a page to print: who opens what, where it is, what to type"
        ),
        "emergency escrow": Entry(
            "emergency", "seal this installation's keys and configuration to a recipient"
        ),
    },
    "Backups": {
        "backups list": Entry("inspect", "list the backups, newest first"),
        "backups replicas": Entry("inspect", "show where each backup is stored and how deep it was verified"),
        "backups show": Entry("inspect", "show what a backup is, without any key"),
        "backups verify": Entry("inspect", "read a backup back and say how deep it is sound"),
        "backups find": Entry("find", "show which backups hold which version of a secret, and where"),
        "backups history": Entry("find", "show what became of a secret from backup to backup"),
        "backups diff": Entry(
            "find", "show what differs between two backups, or a backup and its source now"
        ),
        "backups repair": Entry("runs", "restore bad or missing replicas from a good one"),
        "backups rebuild": Entry("inspect", "add every backup on a target to the catalog"),
        "backups prune": Entry(
            "retention", "delete backups that no retention rule keeps, days after they were marked"
        ),
        "backups undelete": Entry("retention", "keep a backup that is marked to be deleted"),
        "backups hold": Entry("retention", "hold backups, so that nothing removes them; list and lift holds"),
        "backups gone": Entry("keys", "record that the file of a backup is gone for good"),
    },
    "Secrets": {
        "list": Entry("store", "list the secrets, never their values"),
        "get": Entry("store", "show one secret, from the store or from a backup"),
        "set": Entry("store", "store a secret; its value comes from stdin or a hidden prompt"),
        "secrets import": Entry("store", "store the secrets of a file or directory"),
        "secrets delete": Entry("store", "remove secrets from the store"),
        "secrets rotate": Entry("rotators", "give secrets new values, after a leak or in good time"),
    },
    "Keys": {
        "keys new": Entry("keys", "make a key pair: the public half seals, the private half opens"),
        "keys list": Entry("keys", "show what each key opens, and what is lost without it"),
        "keys retire": Entry("keys", "record that a configured key is no longer used, if nothing needs it"),
        "keys prove": Entry("keys", "have the holder of a key that is kept elsewhere prove that it opens"),
        "keys rotate": Entry("rotation", "rotate backups to the recipients that their policies name now"),
        "keys replace": Entry("rotation", "replace a key by a new one in all backups"),
        "keys shred": Entry("shredding", "destroy the keys of an erasable policy's backups, and prove it"),
        "keys signers": Entry("keys", "show, rotate or distrust the keys that sign backups and messages"),
        "keys hsm": Entry("keys", "make and list keys in an HSM, log in after a wrong PIN"),
        "keys quorum": Entry("keys", "split a key among custodians, any few of whom open together"),
    },
    "Watch": {
        "check": Entry("health", "check the whole installation, or one part of it"),
        "check all": Entry("health", "make every look, one after the other, with one verdict"),
        "check storage": Entry("setup", "prove each target with a real write, read and refusal"),
        "check rights": Entry("setup", "say which rights are missing, and which are too many"),
        "check machine": Entry("readiness", "check whether this machine could recover now"),
        "check keys": Entry("keys", "try every key by itself, and on a backup of each class"),
        "check backups": Entry("health", "check that backups are there, sound and well sealed"),
        "check secrets": Entry("validation", "check the live secrets, and compare them with a backup"),
        "check config": Entry("setup", "report every problem of the configuration, with the right value"),
        "check controls": Entry("evidence", "check the backups against what frameworks demand"),
        "alerts": Entry("alerts", "list what is wrong with the backups, and notify nobody"),
        "alerts send": Entry("alerts", "report what is wrong with the backups, and notify people"),
        "alerts ack": Entry("alerts", "say that you work on an alert, so that it is not repeated"),
        "alerts silence": Entry(
            "alerts", "have nobody notified of some alerts for a time; list and end silences"
        ),
        "metrics": Entry("metrics", "hand out metrics for Prometheus"),
    },
    "Cluster and runs": {
        "up": Entry("runs", "run the whole cluster on this machine"),
        "runs": Entry("runs", "list the runs and how each policy stands, or watch all that happens"),
        "runs show": Entry("runs", "show a run, or follow it to its end"),
        "runs cancel": Entry("runs", "end a run and remove what it staged"),
        "runs retry": Entry("runs", "start a failed run again, or continue a killed one"),
        "schedule": Entry("runs", "show what is due when, run, pause or resume it"),
        "approvals": Entry("approval", "list what waited for approval in the last 30 days, and the outcome"),
        "approvals show": Entry("approval", "show a request, who signed it, and what was refused"),
        "approvals approve": Entry("approval", "approve with your SSH key what somebody else asked for"),
        "approvals reject": Entry("approval", "reject a request, however many people approved it"),
        "approvals add": Entry("approval", "add a signature that was made elsewhere"),
    },
    "Evidence": {
        "reports audit": Entry("evidence", "report what the record says of a span of time, signed"),
        "reports review": Entry("evidence", "write the yearly security review, signed, with a page to sign"),
        "reports check": Entry("evidence", "check a signed report of any kind, its page and its table"),
        "ledger": Entry(
            "evidence", "search the record of events, show its head, or check it by a printed one"
        ),
    },
    "Set up": {
        "init": Entry("setup", "set this machine up: write a configuration, and say what is next"),
        "demo": Entry("setup", "show everything on 1,000 made-up secrets in under a minute"),
        "config reference": Entry("setup", "print every setting with its meaning, as Markdown"),
        "bench": Entry("setup", "measure sealing and each target, on made-up secrets"),
        "completion": Entry("setup", "print a completion script for bash or zsh"),
    },
}

SUBJECTS: Final = {
    "emergency": "a backup onto a medium for the safe, and what opens it",
    "backups": "list, verify, compare, repair, hold and delete backups",
    "secrets": "store, import, delete and rotate secrets",
    "keys": "make, list, prove, rotate, retire and destroy keys",
    "reports": "write signed reports for an auditor, and check them",
    "config": "check and explain the configuration",
}
"""What stands in the help for the commands of a subject that is no command by itself."""

ALSO: Final = {
    "alerts list": "alerts",
    "approvals list": "approvals",
    "runs list": "runs",
    "secrets list": "list",
    "secrets get": "get",
    "secrets set": "set",
    "reports controls": "check controls",
    "config check": "check config",
}
"""The second names of commands: of those that belong to two subjects, and of lists that are asked for."""

PROCEDURES: Final = {
    "backup-alerts": "alerts send",
    "backup-audit-report": "reports audit",
    "backup-health-check": "check backups",
    "backup-info": "backups show",
    "benchmark-backup": "bench",
    "check-backup-permissions": "check rights",
    "check-recovery-environment": "check machine",
    "compliance-check": "check controls",
    "diagnose-backup-encryption": "check keys --no-backups",
    "generate-backup-key": "keys new --algorithm AES256",
    "health-advanced": "check",
    "restore-secret": "restore",
    "rotate-backup-key": "keys replace",
    "test-backup-storage": "check storage",
    "test-decrypt": "backups verify --opens",
    "test-recovery": "drill local",
    "validate": "check secrets",
    "validate-backup-format": "backups verify --structure",
    "verify-backup": "backups verify",
}
"""The names that the backup and recovery procedures give to commands, each with what it stands for."""

FORMER: Final = {
    "catalog": "backups list",
    "export": "backup FILE --include-values",
    "keygen": "keys new",
    "key-health": "keys prove",
    "emergency-backup": "emergency backup",
    "recovery-kit": "emergency kit",
    "report": "reports check",
    "rotate": "keys rotate",
    "rotate-secret": "secrets rotate",
    "restore-snapshot": "restore snapshot",
    "security-review": "reports review",
    "status": "runs",
    "submit": "backup --policy NAME --cluster",
}
"""Words for commands that are no name of one: what is answered to whoever types one."""

COMMANDS: Final[dict[str, Entry]] = {
    name: entry for group in GROUPS.values() for name, entry in group.items()
}


def words_of(subject: str) -> dict[str, Entry]:
    """Return the commands of a subject by their second word, with those that also belong to another."""
    names = {name: name for name in COMMANDS} | ALSO
    return {
        name.removeprefix(f"{subject} "): COMMANDS[command]
        for name, command in names.items()
        if name.startswith(f"{subject} ")
    }
