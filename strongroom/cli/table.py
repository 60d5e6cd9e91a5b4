"""The commands, each with its summary and its room: the package in ``strongroom.cli.commands`` that holds it.

``strongroom --help`` needs this table alone. A command first imports what its room takes (``arguments``), and
only after parsing what it does.
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
        "rotate-secret": Entry("rotators", "give secrets new values, after a leak or in good time"),
    },
    "Back up": {
        "backup": Entry("backup", "back secrets up, into a file or by a policy"),
        "emergency-backup": Entry(
            "emergency",
            "back up onto a medium for the safe, with what opens it",
        ),
        "recovery-kit": Entry(
            "emergency",
            "write a page to print: who opens what, where it is, what to type",
        ),
        "escrow": Entry(
            "emergency",
            "seal this installation's keys and configuration to a recipient",
        ),
    },
    "Look at backups": {
        "catalog": Entry("inspect", "list the backups, or rebuild the list from a target"),
        "replicas": Entry(
            "inspect",
            "show where each backup is stored and how deep it was verified",
        ),
        "verify-backup": Entry("inspect", "read a backup back and say how deep it is sound"),
        "backup-info": Entry("inspect", "show what a backup is, without any key"),
        "validate-backup-format": Entry("inspect", "check a file's structure, without any key"),
        "test-decrypt": Entry("inspect", "open a whole backup and write nothing"),
        "find": Entry("find", "show which backups hold which version of a secret, and where"),
        "history": Entry("find", "show what became of a secret from backup to backup"),
        "diff": Entry("find", "show what differs between two backups, or a backup and its source now"),
    },
    "Bring back": {
        "restore": Entry(
            "restore",
            "restore secrets into the local store, another source, or a file",
        ),
        "restore-secret": Entry("restore", "restore one secret"),
        "validate": Entry(
            "validation",
            "check the live secrets, and compare them with a backup",
        ),
        "check-recovery-environment": Entry("readiness", "check whether this machine could recover now"),
        "restore-snapshot": Entry("restore", "replace a whole Vault server by a snapshot of it"),
        "test-recovery": Entry("rehearsal", "rehearse a recovery on this machine, and time it"),
        "drill": Entry("rehearsal", "rehearse a recovery on record, with a signed report; list the reports"),
    },
    "Local store": {
        "list": Entry("store", "list the secrets, never their values"),
        "get": Entry("store", "show one secret, from the store or from a backup"),
        "set": Entry(
            "store",
            "store a secret; its value comes from stdin or a hidden prompt",
        ),
        "import": Entry("store", "store the secrets of a file or directory"),
        "export": Entry("backup", "seal the local store into a file"),
        "delete": Entry("store", "remove secrets from the store"),
    },
    "Keys": {
        "keygen": Entry(
            "keys",
            "make a key pair: the public half seals, the private half opens",
        ),
        "generate-backup-key": Entry("keys", "make a key file that seals and opens"),
        "keys": Entry(
            "keys",
            "show what each key opens, and what is lost without it",
        ),
        "key-health": Entry(
            "keys",
            "try every key that backups need; challenge those kept elsewhere",
        ),
        "diagnose-backup-encryption": Entry("keys", "try every key with a real wrap and unwrap"),
        "rotate": Entry(
            "rotation",
            "rotate backups to the recipients that their policies name now",
        ),
        "rotate-backup-key": Entry(
            "rotation",
            "replace a key by a new one in all backups",
        ),
        "shred": Entry(
            "shredding",
            "destroy the keys of an erasable policy's backups, and prove it",
        ),
        "signers": Entry(
            "keys",
            "show, rotate or distrust the keys that sign backups and messages",
        ),
        "hsm": Entry(
            "keys",
            "make and list keys in an HSM, log in after a wrong PIN",
        ),
        "quorum": Entry(
            "keys",
            "split a key among custodians, any few of whom open together",
        ),
    },
    "Cluster and runs": {
        "up": Entry("runs", "run the whole cluster on this machine"),
        "submit": Entry("runs", "have the cluster back up, verify, repair, restore or rehearse"),
        "schedule": Entry("runs", "show what is due when, run, pause or resume it"),
        "status": Entry("runs", "show runs, follow one, or watch all that happens"),
        "cancel": Entry("runs", "end a run and remove what it staged"),
        "retry": Entry("runs", "start a failed run again, or continue a killed one"),
        "repair": Entry("runs", "restore bad or missing replicas from a good one"),
    },
    "Keep and remove": {
        "prune": Entry(
            "retention", "delete backups that no retention rule keeps, days after they were marked"
        ),
        "undelete": Entry("retention", "keep a backup that is marked to be deleted"),
        "hold": Entry("retention", "hold backups, so that nothing removes them; list and lift holds"),
    },
    "Approve": {
        "approve": Entry("approval", "approve with your SSH key what somebody else asked for"),
        "approvals": Entry("approval", "list what waits for approval, and what became of it; reject it"),
    },
    "Watch": {
        "backup-health-check": Entry("health", "check that backups are there, sound and well sealed"),
        "health-advanced": Entry("health", "check the whole installation at once"),
        "backup-alerts": Entry("alerts", "report what is wrong with the backups, and notify people"),
        "ack": Entry("alerts", "say that you work on an alert, so that it is not repeated"),
        "silence": Entry("alerts", "have nobody notified of some alerts for a time; list and end silences"),
        "metrics": Entry("metrics", "hand out metrics for Prometheus"),
    },
    "Evidence": {
        "backup-audit-report": Entry("evidence", "report what the record says of a span of time, signed"),
        "compliance-check": Entry(
            "evidence",
            "check the backups against what frameworks demand",
        ),
        "security-review": Entry("evidence", "write the yearly security review, signed, with a page to sign"),
        "report": Entry("evidence", "check a signed report of any kind, its page and its table"),
        "ledger": Entry(
            "evidence",
            "search the record of events, show its head, or check it by a printed one",
        ),
    },
    "Set up": {
        "init": Entry("setup", "set this machine up: write a configuration, and say what is next"),
        "demo": Entry("setup", "show everything on 1,000 made-up secrets in under a minute"),
        "config": Entry("setup", "check, begin or explain the configuration"),
        "test-backup-storage": Entry("setup", "prove each target with a real write, read and refusal"),
        "check-backup-permissions": Entry("setup", "say which rights are missing, and which are too many"),
        "benchmark-backup": Entry("setup", "measure sealing and each target, on made-up secrets"),
        "completion": Entry("setup", "print a completion script for bash or zsh"),
    },
}

COMMANDS: Final[dict[str, Entry]] = {
    name: entry for group in GROUPS.values() for name, entry in group.items()
}
