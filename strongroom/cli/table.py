"""The commands, each with its summary and its room: the package in ``strongroom.cli.commands`` that holds it.

``strongroom --help`` needs this module alone. A command first imports what its room takes (``arguments``),
and only after parsing what it does. A command of two words belongs to a subject, which stands in the help.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Final, NamedTuple

from strongroom.errors import UsageError
from strongroom.words import did_you_mean

PROGRAM = "strongroom"
COMPLETE: Final = "__complete"
"""What a completion script types, and nobody else: the names of a kind, one a line."""
OF_EVERY_COMMAND: Final = frozenset({"--json", "-q", "--quiet"})
INTRODUCTION = "Sealed, replicated, drilled backups of the secrets that a company runs on."
ENDING = """\
Every command takes --help and --json. Errors say what happened, what it means and what to do;
docs/reference/exit-codes.md lists the exit codes. Settings: STRONGROOM_CONFIG, STRONGROOM_STATE_DIR.
Passphrase: a prompt, --passphrase-file, STRONGROOM_PASSPHRASE_FILE or STRONGROOM_PASSPHRASE.
"""


class CommandEntry(NamedTuple):
    """A command in the table: the room that holds it and what it does, in one line."""

    room: str
    summary: str


GROUPS: Final[dict[str, dict[str, CommandEntry]]] = {
    "In an emergency": {
        "recover": CommandEntry("recovery", "lead through a recovery: six steps, on record, at any hour"),
        "incident": CommandEntry("incident", "lead an incident from suspicion to closure, on record"),
    },
    "Back up and bring back": {
        "backup": CommandEntry("backup", "back secrets up, into a file or by a policy"),
        "restore": CommandEntry("restore", "restore secrets into the local store, another source, or a file"),
        "restore undo": CommandEntry("restore", "undo a restore that is on record"),
        "restore snapshot": CommandEntry("restore", "replace a whole Vault server by a snapshot of it"),
        "drill": CommandEntry(
            "restore", "rehearse a recovery on record, with a signed report; list the reports"
        ),
        "drill local": CommandEntry("restore", "rehearse a recovery on this machine, and time it"),
        "emergency backup": CommandEntry("backup", "back up onto a medium for the safe, with what opens it"),
        "emergency kit": CommandEntry(
            "backup", "write a page to print: who opens what, where it is, what to type"
        ),
        "emergency escrow": CommandEntry(
            "backup", "seal this installation's keys and configuration to a recipient"
        ),
    },
    "Backups": {
        "backups list": CommandEntry("backups", "list the backups, newest first"),
        "backups replicas": CommandEntry(
            "backups", "show where each backup is stored and how deep it was verified"
        ),
        "backups show": CommandEntry("backups", "show what a backup is, without any key"),
        "backups verify": CommandEntry("backups", "read a backup back and say how deep it is sound"),
        "backups find": CommandEntry(
            "backups", "show which backups hold which version of a secret, and where"
        ),
        "backups history": CommandEntry("backups", "show what became of a secret from backup to backup"),
        "backups diff": CommandEntry(
            "backups", "show what differs between two backups, or a backup and its source now"
        ),
        "backups repair": CommandEntry("runs", "restore bad or missing replicas from a good one"),
        "backups rebuild": CommandEntry("backups", "add every backup on a target to the catalog"),
        "backups prune": CommandEntry(
            "backups", "delete backups that no retention rule keeps, days after they were marked"
        ),
        "backups undelete": CommandEntry("backups", "keep a backup that is marked to be deleted"),
        "backups hold": CommandEntry(
            "backups", "hold backups, so that nothing removes them; list and lift holds"
        ),
        "backups gone": CommandEntry("keys", "record that the file of a backup is gone for good"),
    },
    "Secrets": {
        "list": CommandEntry("secrets", "list the secrets, never their values"),
        "get": CommandEntry("secrets", "show one secret, from the store or from a backup"),
        "set": CommandEntry("secrets", "store a secret; its value comes from stdin or a hidden prompt"),
        "secrets import": CommandEntry("secrets", "store the secrets of a file or directory"),
        "secrets delete": CommandEntry("secrets", "remove secrets from the store"),
        "secrets rotate": CommandEntry("secrets", "give secrets new values, after a leak or in good time"),
    },
    "Keys": {
        "keys new": CommandEntry("keys", "make a key pair: the public half seals, the private half opens"),
        "keys list": CommandEntry("keys", "show what each key opens, and what is lost without it"),
        "keys retire": CommandEntry(
            "keys", "record that a configured key is no longer used, if nothing needs it"
        ),
        "keys prove": CommandEntry(
            "keys", "have the holder of a key that is kept elsewhere prove that it opens"
        ),
        "keys rotate": CommandEntry("keys", "rotate backups to the recipients that their policies name now"),
        "keys replace": CommandEntry("keys", "replace a key by a new one in all backups"),
        "keys shred": CommandEntry("keys", "destroy the keys of an erasable policy's backups, and prove it"),
        "keys signers": CommandEntry(
            "keys", "show, rotate or distrust the keys that sign backups and messages"
        ),
        "keys hsm": CommandEntry("keys", "make and list keys in an HSM, also after a wrong PIN"),
        "keys quorum": CommandEntry("keys", "split a key among custodians, any few of whom open together"),
    },
    "Watch": {
        "check": CommandEntry("checks", "check the whole installation, or one part of it"),
        "check all": CommandEntry("checks", "make every look, one after the other, with one verdict"),
        "check storage": CommandEntry("setup", "prove each target with a real write, read and refusal"),
        "check rights": CommandEntry("setup", "say which rights are missing, and which are too many"),
        "check machine": CommandEntry("checks", "check whether this machine could recover now"),
        "check keys": CommandEntry("keys", "try every key by itself, and on a backup of each class"),
        "check backups": CommandEntry("checks", "check that backups are there, sound and well sealed"),
        "check secrets": CommandEntry("checks", "check the live secrets, and compare them with a backup"),
        "check config": CommandEntry(
            "setup", "report every problem of the configuration, with the right value"
        ),
        "check controls": CommandEntry("reports", "check the backups against what frameworks demand"),
        "alerts": CommandEntry("alerts", "list what is wrong with the backups, and notify nobody"),
        "alerts send": CommandEntry("alerts", "report what is wrong with the backups, and notify people"),
        "alerts ack": CommandEntry("alerts", "say that you work on an alert, so that it is not repeated"),
        "alerts silence": CommandEntry("alerts", "silence alerts for a time; list and end silences"),
        "metrics": CommandEntry("alerts", "hand out metrics for Prometheus"),
    },
    "Cluster and runs": {
        "up": CommandEntry("runs", "run the whole cluster on this machine"),
        "cluster init": CommandEntry("cluster", "make this host the first of several"),
        "cluster token": CommandEntry("cluster", "make a token with which another host joins, once"),
        "cluster join": CommandEntry("cluster", "have this host join, by a token"),
        "cluster certify": CommandEntry(
            "cluster", "certify hosts that wait to join, by the installation key"
        ),
        "cluster remove": CommandEntry("cluster", "throw a host out: nothing that it sends counts any more"),
        "cluster rules": CommandEntry(
            "cluster", "print what each role needs of Redis, PostgreSQL, Vault, AWS or Azure"
        ),
        "cluster hosts": CommandEntry(
            "cluster", "show which hosts there are, which version, when last heard"
        ),
        "runs": CommandEntry("runs", "list the runs and how each policy stands, or watch all that happens"),
        "runs show": CommandEntry("runs", "show a run, or follow it to its end"),
        "runs cancel": CommandEntry("runs", "end a run and remove what it staged"),
        "runs retry": CommandEntry("runs", "start a failed run again, or continue a killed one"),
        "schedule": CommandEntry("runs", "show what is due when, run, pause or resume it"),
        "approvals": CommandEntry(
            "approval", "list what waited for approval in the last 30 days, and the outcome"
        ),
        "approvals show": CommandEntry("approval", "show a request, who signed it, and what was refused"),
        "approvals approve": CommandEntry(
            "approval", "approve with your SSH key what somebody else asked for"
        ),
        "approvals reject": CommandEntry("approval", "reject a request, however many people approved it"),
        "approvals add": CommandEntry("approval", "add a signature that was made elsewhere"),
    },
    "Evidence": {
        "reports audit": CommandEntry("reports", "report what the record says of a span of time, signed"),
        "reports review": CommandEntry(
            "reports", "write the yearly security review, signed, with a page to sign"
        ),
        "reports check": CommandEntry("reports", "check a signed report of any kind, its page and its table"),
        "ledger": CommandEntry(
            "reports", "search the record of events, show its head, or check it by a printed one"
        ),
    },
    "Set up": {
        "init": CommandEntry("setup", "set this machine up: write a configuration, and say what is next"),
        "demo": CommandEntry("setup", "show everything on 1,000 made-up secrets in under a minute"),
        "config reference": CommandEntry("setup", "print every setting with its meaning, as Markdown"),
        "config schema": CommandEntry(
            "setup", "print the JSON Schema of the configuration, by which editors complete it"
        ),
        "bench": CommandEntry("setup", "measure sealing and each target, on made-up secrets"),
        "completion": CommandEntry("setup", "print a completion script for bash, zsh or fish"),
    },
}

SUBJECTS: Final = {
    "emergency": "a backup onto a medium for the safe, and what opens it",
    "backups": "list, verify, compare, repair, hold and delete backups",
    "secrets": "store, import, delete and rotate secrets",
    "keys": "make, list, prove, rotate, retire and destroy keys",
    "reports": "write signed reports for an auditor, and check them",
    "config": "check and explain the configuration",
    "cluster": "have several hosts work as one: add, show and remove them",
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

COMMANDS: Final[dict[str, CommandEntry]] = {
    name: entry for group in GROUPS.values() for name, entry in group.items()
}


def words_of(subject: str) -> dict[str, CommandEntry]:
    """Return the commands of a subject by their second word, with those that also belong to another."""
    names = {name: name for name in COMMANDS} | ALSO
    return {
        name.removeprefix(f"{subject} "): COMMANDS[command]
        for name, command in names.items()
        if name.startswith(f"{subject} ")
    }


def command_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command that a line begins with, by whichever of its names, and the words behind it.

    The name is empty if there is no such command.
    """
    first, *rest = words or [""]
    if first in PROCEDURES:
        return command_of([*PROCEDURES[first].split(), *rest])
    leading = list(takewhile(OF_EVERY_COMMAND.__contains__, rest))
    second, *behind = [*rest[len(leading) :], ""]
    name = ALSO.get(f"{first} {second}", f"{first} {second}")
    if name in COMMANDS:
        return name, [*leading, *behind[:-1]]
    return (first, rest) if first in COMMANDS else ("", [first, *rest])


def unknown_command(words: Sequence[str]) -> UsageError:
    """Return the error for a line that begins with no command; it repeats nothing that may be a value."""
    name = words[0] if words else ""
    if not name:
        return UsageError("No command was given.", hint=f"See '{PROGRAM} --help'.")
    if name in SUBJECTS:
        what = f"'{PROGRAM} {name}' has no command of that name." if words[1:] else "Which command?"
        near = did_you_mean(words[1], words_of(name)).strip() if words[1:] else ""
        return UsageError(what, hint=near or f"It has: {', '.join(words_of(name))}.")
    if now := FORMER.get(name) or next((command for command in COMMANDS if command.endswith(f" {name}")), ""):
        hint = f"It is '{PROGRAM} {now}'."
    else:
        hint = did_you_mean(name, {**COMMANDS, **PROCEDURES}).strip() or f"See '{PROGRAM} --help'."
    shown = name if name.isprintable() and len(name) < 40 else "of that name"
    return UsageError(f"There is no command {shown!r}.", hint=hint)


def summaries() -> dict[str, str]:
    """Return what a line may begin with, but for the procedures' names, and what it is about."""
    return {name: summary for group in GROUPS for name, summary in summaries_of(group).items()}


def summaries_of(group: str) -> dict[str, str]:
    """Return the commands of a group by their first word."""
    firsts = dict.fromkeys(name.partition(" ")[0] for name in GROUPS[group])
    return {first: COMMANDS[first].summary if first in COMMANDS else SUBJECTS[first] for first in firsts}


def overview() -> str:
    """Return the help of the whole."""
    width = max(map(len, PROCEDURES)) + 2
    lines = [f"usage: {PROGRAM} COMMAND ...", "", INTRODUCTION]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}{summary}" for name, summary in summaries_of(group).items()]
    lines += ["", "Names from the procedures:"]
    lines += [f"  {name:<{width}}{words}" for name, words in PROCEDURES.items()]
    return "\n".join([*lines, "", ENDING])


def help_of_subject(subject: str) -> str:
    """Return the help of what has commands and is none."""
    rows = listed({word: entry.summary for word, entry in words_of(subject).items()})
    return "\n".join(
        [f"usage: {PROGRAM} {subject} COMMAND ...", "", sentence(SUBJECTS[subject]), "", *rows, ""]
    )


def listed(summaries: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each command with what it is about."""
    width = max(map(len, summaries)) + 2
    return (f"  {name:<{width}}{summary}" for name, summary in summaries.items())


def sentence(summary: str) -> str:
    """Return a summary as a sentence by itself."""
    return f"{summary[:1].upper()}{summary[1:]}."
