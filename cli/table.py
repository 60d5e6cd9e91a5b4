"""The commands, each with its summary and the module that holds it, which loads on use.

``strongroom --help`` needs this table alone; a command imports its own module and no other.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """A command in the table: where it is and what it does, in one line."""

    module: str
    summary: str


GROUPS: Final[dict[str, dict[str, Entry]]] = {
    "Back up": {
        "backup": Entry("cli.backup", "back secrets up, into a file or by a policy"),
        "emergency-backup": Entry("cli.emergency", "back up onto a medium for the safe, with what opens it"),
        "recovery-kit": Entry("cli.kit", "write a page to print: who opens what, where it is, what to type"),
        "escrow": Entry("cli.escrow", "seal this installation's keys and configuration to a recipient"),
    },
    "Look into a backup": {
        "verify-backup": Entry("cli.reading", "read a backup back and say to which depth it is sound"),
        "backup-info": Entry("cli.reading", "show what a backup is, without any key"),
        "validate-backup-format": Entry("cli.reading", "check a file's structure, without any key"),
        "test-decrypt": Entry("cli.reading", "open a whole backup and write nothing"),
    },
    "Bring back": {
        "restore": Entry("cli.restoring", "restore secrets into the local store, or another source"),
        "restore-secret": Entry("cli.restoring", "restore one secret"),
        "validate": Entry("cli.validate", "look at secrets as they live now, and compare them with a backup"),
        "check-recovery-environment": Entry("cli.environment", "say whether this machine could recover now"),
        "restore-snapshot": Entry("cli.snapshot", "replace a whole Vault server by a snapshot of it"),
        "test-recovery": Entry("cli.rehearsal", "rehearse a recovery on this machine, and time it"),
    },
    "Local store": {
        "list": Entry("cli.store", "list the secrets, never their values"),
        "get": Entry("cli.store", "show one secret, from the store or from a backup"),
        "set": Entry("cli.store_write", "store a secret; its value comes from stdin or a hidden prompt"),
        "import": Entry("cli.store_write", "store the secrets of a file or directory"),
        "export": Entry("cli.backup", "seal the local store into a file"),
        "delete": Entry("cli.store_write", "remove secrets from the store"),
    },
    "Keys": {
        "generate-backup-key": Entry("cli.keys", "make a key file that seals and opens"),
        "keys": Entry("cli.keys_list", "show what each key opens and what would be lost without it"),
        "incident": Entry("cli.incident", "quarantine and seal anew what a leaked key opens, on record"),
        "key-health": Entry("cli.key_health", "try every key that backups depend on; challenge those away"),
        "rotate": Entry("cli.rotate_policy", "bring backups to the recipients that their policies name now"),
        "rotate-backup-key": Entry("cli.rotate", "put a new key in the place of one, over all backups"),
        "shred": Entry("cli.shred", "destroy the keys of an erasable policy's backups, and prove it"),
        "keygen": Entry("cli.keys", "make a key pair: the public half seals, the private half opens"),
        "diagnose-backup-encryption": Entry("cli.diagnose", "try every key with a real wrap and unwrap"),
        "signers": Entry("cli.signers", "show, rotate or distrust the keys that sign backups and messages"),
        "hsm": Entry("cli.hsm", "make keys in an HSM, list them, log in by hand after a wrong PIN"),
        "quorum": Entry("cli.quorum", "split a key among custodians, any few of whom open together"),
    },
    "Cluster and runs": {
        "up": Entry("cli.cluster", "run the whole cluster on this machine"),
        "demo": Entry("cli.demo", "show the whole of it on 1,000 made-up secrets in under a minute"),
        "submit": Entry("cli.submit", "hand a policy's backup to the cluster"),
        "status": Entry("cli.runs", "show runs, or follow one"),
        "cancel": Entry("cli.runs", "end a run; what it staged is removed"),
        "retry": Entry("cli.runs", "take a failed run up again"),
        "repair": Entry("cli.repair", "bring bad or missing replicas up again, from a good one"),
    },
    "Catalog": {
        "catalog": Entry("cli.catalog", "list the backups, or rebuild the list from a target"),
        "backup-audit-report": Entry("cli.audit", "say what is on record of a span of time, signed"),
        "compliance-check": Entry("cli.compliance", "hold what frameworks demand of backups against what is"),
        "ledger": Entry("cli.ledger", "show the head of the record of events, or check it by a printed one"),
        "replicas": Entry("cli.catalog", "show where each backup lies and how deep it was verified"),
    },
    "Watch": {
        "backup-health-check": Entry("cli.health", "look whether backups are there, sound and well sealed"),
        "health-advanced": Entry("cli.health", "look at the whole installation at once"),
        "backup-alerts": Entry("cli.alerts", "say what is wrong with the backups, and tell it by mail"),
    },
    "Set up": {
        "config": Entry("cli.configuring", "check, begin or explain the configuration"),
        "test-backup-storage": Entry("cli.probe", "prove each target with a real write, read and refusal"),
        "check-backup-permissions": Entry("cli.probe", "say which rights are missing, and which too many"),
        "benchmark-backup": Entry("cli.benchmark", "measure sealing and each target, on made-up secrets"),
        "completion": Entry("cli.completion", "print a completion script for bash or zsh"),
    },
}

COMMANDS: Final[dict[str, Entry]] = {
    name: entry for group in GROUPS.values() for name, entry in group.items()
}
