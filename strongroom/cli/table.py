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
        "backup": Entry(
            "strongroom.cli.commands.backup.backup", "back secrets up, into a file or by a policy"
        ),
        "emergency-backup": Entry(
            "strongroom.cli.commands.emergency.emergency",
            "back up onto a medium for the safe, with what opens it",
        ),
        "recovery-kit": Entry(
            "strongroom.cli.commands.emergency.kit",
            "write a page to print: who opens what, where it is, what to type",
        ),
        "escrow": Entry(
            "strongroom.cli.commands.emergency.escrow",
            "seal this installation's keys and configuration to a recipient",
        ),
    },
    "Look into a backup": {
        "verify-backup": Entry(
            "strongroom.cli.commands.inspect.verify", "read a backup back and say to which depth it is sound"
        ),
        "backup-info": Entry(
            "strongroom.cli.commands.inspect.verify", "show what a backup is, without any key"
        ),
        "validate-backup-format": Entry(
            "strongroom.cli.commands.inspect.verify", "check a file's structure, without any key"
        ),
        "test-decrypt": Entry(
            "strongroom.cli.commands.inspect.verify", "open a whole backup and write nothing"
        ),
    },
    "Bring back": {
        "restore": Entry(
            "strongroom.cli.commands.restore.restore",
            "restore secrets into the local store, or another source",
        ),
        "restore-secret": Entry("strongroom.cli.commands.restore.restore", "restore one secret"),
        "validate": Entry(
            "strongroom.cli.commands.validation.validate",
            "look at secrets as they live now, and compare them with a backup",
        ),
        "check-recovery-environment": Entry(
            "strongroom.cli.commands.readiness.environment", "say whether this machine could recover now"
        ),
        "restore-snapshot": Entry(
            "strongroom.cli.commands.restore.snapshot", "replace a whole Vault server by a snapshot of it"
        ),
        "test-recovery": Entry(
            "strongroom.cli.commands.rehearsal.rehearsal", "rehearse a recovery on this machine, and time it"
        ),
    },
    "Local store": {
        "list": Entry("strongroom.cli.commands.store.read", "list the secrets, never their values"),
        "get": Entry(
            "strongroom.cli.commands.store.read", "show one secret, from the store or from a backup"
        ),
        "set": Entry(
            "strongroom.cli.commands.store.write",
            "store a secret; its value comes from stdin or a hidden prompt",
        ),
        "import": Entry("strongroom.cli.commands.store.write", "store the secrets of a file or directory"),
        "export": Entry("strongroom.cli.commands.backup.backup", "seal the local store into a file"),
        "delete": Entry("strongroom.cli.commands.store.write", "remove secrets from the store"),
    },
    "Keys": {
        "generate-backup-key": Entry(
            "strongroom.cli.commands.keys.generate", "make a key file that seals and opens"
        ),
        "keys": Entry(
            "strongroom.cli.commands.keys.list_keys",
            "show what each key opens and what would be lost without it",
        ),
        "incident": Entry(
            "strongroom.cli.commands.rotation.incident",
            "quarantine and seal anew what a leaked key opens, on record",
        ),
        "key-health": Entry(
            "strongroom.cli.commands.keys.health",
            "try every key that backups depend on; challenge those away",
        ),
        "rotate": Entry(
            "strongroom.cli.commands.rotation.rotate_policy",
            "bring backups to the recipients that their policies name now",
        ),
        "rotate-backup-key": Entry(
            "strongroom.cli.commands.rotation.rotate_key",
            "put a new key in the place of one, over all backups",
        ),
        "shred": Entry(
            "strongroom.cli.commands.rotation.shred",
            "destroy the keys of an erasable policy's backups, and prove it",
        ),
        "keygen": Entry(
            "strongroom.cli.commands.keys.generate",
            "make a key pair: the public half seals, the private half opens",
        ),
        "diagnose-backup-encryption": Entry(
            "strongroom.cli.commands.keys.diagnose", "try every key with a real wrap and unwrap"
        ),
        "signers": Entry(
            "strongroom.cli.commands.keys.signers",
            "show, rotate or distrust the keys that sign backups and messages",
        ),
        "hsm": Entry(
            "strongroom.cli.commands.keys.hsm",
            "make keys in an HSM, list them, log in by hand after a wrong PIN",
        ),
        "quorum": Entry(
            "strongroom.cli.commands.keys.quorum",
            "split a key among custodians, any few of whom open together",
        ),
    },
    "Cluster and runs": {
        "up": Entry("strongroom.cli.commands.runs.up", "run the whole cluster on this machine"),
        "demo": Entry(
            "strongroom.cli.commands.setup.demo",
            "show the whole of it on 1,000 made-up secrets in under a minute",
        ),
        "submit": Entry("strongroom.cli.commands.runs.submit", "hand a policy's backup to the cluster"),
        "status": Entry("strongroom.cli.commands.runs.runs", "show runs, or follow one"),
        "cancel": Entry("strongroom.cli.commands.runs.runs", "end a run; what it staged is removed"),
        "retry": Entry("strongroom.cli.commands.runs.runs", "take a failed run up again"),
        "repair": Entry(
            "strongroom.cli.commands.runs.repair", "bring bad or missing replicas up again, from a good one"
        ),
    },
    "Catalog": {
        "catalog": Entry(
            "strongroom.cli.commands.inspect.catalog", "list the backups, or rebuild the list from a target"
        ),
        "backup-audit-report": Entry(
            "strongroom.cli.commands.evidence.audit", "say what is on record of a span of time, signed"
        ),
        "compliance-check": Entry(
            "strongroom.cli.commands.evidence.compliance",
            "hold what frameworks demand of backups against what is",
        ),
        "ledger": Entry(
            "strongroom.cli.commands.evidence.ledger",
            "show the head of the record of events, or check it by a printed one",
        ),
        "replicas": Entry(
            "strongroom.cli.commands.inspect.catalog",
            "show where each backup lies and how deep it was verified",
        ),
    },
    "Watch": {
        "backup-health-check": Entry(
            "strongroom.cli.commands.health.health", "look whether backups are there, sound and well sealed"
        ),
        "health-advanced": Entry(
            "strongroom.cli.commands.health.health", "look at the whole installation at once"
        ),
        "backup-alerts": Entry(
            "strongroom.cli.commands.health.alerts", "say what is wrong with the backups, and tell it by mail"
        ),
    },
    "Set up": {
        "config": Entry("strongroom.cli.commands.setup.config", "check, begin or explain the configuration"),
        "test-backup-storage": Entry(
            "strongroom.cli.commands.setup.probe", "prove each target with a real write, read and refusal"
        ),
        "check-backup-permissions": Entry(
            "strongroom.cli.commands.setup.probe", "say which rights are missing, and which too many"
        ),
        "benchmark-backup": Entry(
            "strongroom.cli.commands.setup.benchmark", "measure sealing and each target, on made-up secrets"
        ),
        "completion": Entry(
            "strongroom.cli.commands.setup.completion", "print a completion script for bash or zsh"
        ),
    },
}

COMMANDS: Final[dict[str, Entry]] = {
    name: entry for group in GROUPS.values() for name, entry in group.items()
}
