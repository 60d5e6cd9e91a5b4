"""What the commands of this room take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import Command, Nothing, UnreadableWord, group, limit, option
from strongroom.cli.shared import options
from strongroom.model import Depth


class BackupChecks(Struct, frozen=True, kw_only=True):
    """Which checks are made of backups; all three if none is named."""

    check_accessibility: Annotated[
        bool,
        option(
            "targets answer, and hold all of it in as many places and as long as the policy demands",
        ),
    ] = False
    check_integrity: Annotated[
        bool, option("every byte is the one that a trusted signer wrote; no fewer secrets than before")
    ] = False
    check_encryption: Annotated[
        bool,
        option("sealed to exactly the policy's recipients of now; no key withdrawn, unproven or too old"),
    ] = False

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        asked = {field.removeprefix("check_"): getattr(self, field) for field in self.__struct_fields__}
        return tuple(name for name, wanted in asked.items() if wanted) or tuple(asked)


class CheckBackups(Struct, frozen=True, kw_only=True):
    """Which backups are checked, on which targets, and how deep."""

    checks: BackupChecks = BackupChecks()
    policy: Annotated[tuple[str, ...], option("only of this policy; repeatable", metavar="NAME")] = ()
    target: Annotated[tuple[str, ...], option("only on this target; repeatable", metavar="NAME")] = ()
    all: Annotated[bool, option("every backup that is kept, files too, not only the newest")] = False
    depth: Annotated[
        Depth,
        option(
            "how deep --check-integrity reads: digest (the default; no key), opened, compared",
            metavar="DEPTH",
            choices=(Depth.DIGEST, Depth.OPENED, Depth.COMPARED),
        ),
    ] = Depth.DIGEST
    opening: options.FurtherOpeningOptions = options.FurtherOpeningOptions()

    def __post_init__(self) -> None:
        if self.depth is not Depth.DIGEST and "integrity" not in self.checks.names:
            raise UnreadableWord("--depth says how deep --check-integrity reads, and that was not asked for")


class CheckInstallation(Struct, frozen=True, kw_only=True):
    """Of how many days key metrics are told."""

    days: Annotated[int, option("the window of the key metrics (default: 30)", metavar="N", read=limit)] = 30


class CheckMachine(Struct, frozen=True, kw_only=True):
    """What could be recovered here, from what, into what and with what."""

    backup_file: Annotated[
        Path | None,
        option("check whether this file could be restored here, whatever is configured", metavar="FILE"),
    ] = None
    to: Annotated[
        str | None,
        option(
            "check whether this configured source could be restored into (default: those with "
            "'destination = true', otherwise those that are backed up)",
            metavar="SOURCE",
        ),
    ] = None
    opening: options.OpeningOptions = options.OpeningOptions()
    trust: options.TrustOptions = options.TrustOptions()


def _machine_work(given: CheckMachine) -> str:
    """Choose: what is needed to recover from one file needs no configuration and no catalog."""
    return "configured:check_configured" if given.backup_file is None else "single_file:check_with_file"


_COMPARED = "a backup to compare values with"


class ComparedPlace(options.FileOrTargets, frozen=True, kw_only=True):
    """Where the backup lies that secrets are compared with; without one, they are looked at alone."""

    from_target: options.FromTarget = ()


class ComparedWith(options.RestoreFrom, frozen=True, kw_only=True):
    """The backup that secrets are compared with, and what opens it."""

    where: Annotated[ComparedPlace, group(_COMPARED)] = ComparedPlace()
    choice: Annotated[options.CoveringBackupOptions, group(_COMPARED)] = options.CoveringBackupOptions()


class CheckSecrets(Struct, frozen=True, kw_only=True):
    """Which live secrets are checked, and what they are compared with."""

    secrets: Annotated[
        tuple[str, ...], option("these secrets, each of which has to exist", metavar="NAME", many=True)
    ] = ()
    production: Annotated[
        bool,
        option(
            "check every source that a policy names, and compare with the backup that a restore would use"
        ),
    ] = False
    selected: options.SelectionOptions = options.SelectionOptions()
    source: options.SourceName = options.LOCAL
    origin: ComparedWith = ComparedWith()

    def __post_init__(self) -> None:
        filtered = self.selected != options.SelectionOptions()
        if self.secrets and filtered:
            raise UnreadableWord("--secrets and a filter contradict each other")
        elsewhere = self.origin.where != ComparedPlace() or self.source != options.LOCAL
        if self.production and (self.secrets or filtered or elsewhere):
            raise UnreadableWord(
                "--production checks all sources that policies name, so it takes no secrets, filter, source "
                "or backup"
            )


def _secrets_work(given: CheckSecrets) -> str:
    """Choose: --production needs the configuration and the catalog."""
    return "validate:validate_production" if given.production else "validate:validate_source"


COMMANDS = {
    "check all": Command(
        Nothing,
        "everything:check_all",
        "It reads the newest backups whole and the live secrets, and writes a test object on each target:\n"
        "before a drill or an audit, not each night. What needs a passphrase asks for it. The exit code is\n"
        "that of the first look that is not well.",
    ),
    "check backups": Command(
        CheckBackups,
        "health:check_backups",
        "Checks the newest backup of each policy, on all targets at once, without a broker. Without\n"
        "--check-… it runs all three checks. It records the result for each replica, as backups verify\n"
        "does, and writes nothing else. Exit code 0: nothing is wrong and everything could be checked.\n"
        "Otherwise it is that of the worst finding.",
    ),
    "check": Command(
        CheckInstallation,
        "health:check_installation",
        "Checks configuration, state, ledger, store, cluster, targets, runs, slots, backups, drills, keys,\n"
        "media, disks, files and clock. It asks each target whether it answers, reads no container and\n"
        "writes nothing. Exit code 0: nothing is wrong and everything could be checked. Otherwise it is\n"
        "that of the worst finding.",
    ),
    "check machine": Command(
        CheckMachine,
        _machine_work,
        "Tries everything that needs no writing. It seals and opens with every kind of key, reads the\n"
        "newest backups of every target, opens each with the available keys, and asks sources whether they\n"
        "may be written to. If a second target or key would help out, the finding is only a remark. The\n"
        "exit code is that of the first thing that is wrong. Each answer may take 20 seconds. No PIN is\n"
        "asked for.",
    ),
    "check secrets": Command(
        CheckSecrets,
        _secrets_work,
        "Reads the live secrets and writes nothing. Checks that each exists, can be read, is not empty,\n"
        "not expired and no placeholder, and has the form of its type (PEM, JSON, URL). No value is ever\n"
        "shown. Without names or a filter it checks the whole local store. Exit code 12: only missing\n"
        "secrets. Exit code 11: anything else is wrong. Remarks do not change exit code 0.",
    ),
}
