"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import Command, group, limit, option
from strongroom.cli.shared import options
from strongroom.errors import UsageError
from strongroom.model import Depth

# -- arguments


DEPTHS = (Depth.DIGEST, Depth.OPENED, Depth.COMPARED)


CHECKS = {
    "accessibility": "targets answer, and hold all of it in as many places and as long as the policy demands",
    "integrity": "every byte is the one that a trusted signer wrote; no fewer secrets than before",
    "encryption": "sealed to exactly the policy's recipients of now; no key withdrawn, unproven or too old",
}


def _backups_arguments(parser: ArgumentParser) -> None:
    for name, what in CHECKS.items():
        parser.add_argument(
            f"--check-{name}", dest="checks", action="append_const", const=name, default=[], help=what
        )
    parser.add_argument(
        "--policy", metavar="NAME", action="append", default=[], help="only of this policy; repeatable"
    )
    parser.add_argument(
        "--target", metavar="NAME", action="append", default=[], help="only on this target; repeatable"
    )
    parser.add_argument(
        "--all", action="store_true", help="every backup that is kept, files too, not only the newest"
    )
    parser.add_argument(
        "--depth",
        type=Depth,
        choices=DEPTHS,
        metavar="DEPTH",
        default=Depth.DIGEST,
        help="how deep --check-integrity reads: digest (the default; no key), opened, compared",
    )
    options.add_further_opening_arguments(parser)


def _installation_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--days", metavar="N", type=limit, default=30, help="the window of the key metrics (default: 30)"
    )


def _no_arguments(_: ArgumentParser) -> None:
    """Take nothing."""


# -- arguments


def _check_recovery_environment_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--backup-file",
        metavar="FILE",
        type=Path,
        help="check whether this file could be restored here, whatever is configured",
    )
    parser.add_argument(
        "--to",
        metavar="SOURCE",
        help="check whether this configured source could be restored into (default: those with "
        "'destination = true', otherwise those that are backed up)",
    )
    options.add_opening_arguments(parser)
    options.add_signer_argument(parser)


def _readiness_work(arguments: Namespace) -> str:
    """Choose: what is needed to recover from one file needs no configuration and no catalog."""
    file = arguments.backup_file is not None
    return "single_file:check_with_file" if file else "configured:check_configured"


# -- arguments


_COMPARED = "a backup to compare values with"


class ComparedPlace(options.FileOrTargets, frozen=True, kw_only=True):
    """Where the backup lies that secrets are compared with; without one, they are looked at alone."""

    from_target: options.FromTarget = ()


class ComparedWith(options.RestoreFrom, frozen=True, kw_only=True):
    """The backup that secrets are compared with, and what opens it."""

    where: Annotated[ComparedPlace, group(_COMPARED)] = ComparedPlace()
    choice: Annotated[options.CoveringBackupOptions, group(_COMPARED)] = options.CoveringBackupOptions()


class CheckSecrets(Struct, frozen=True, kw_only=True):
    """Check the live secrets, and compare them with a backup."""

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


def _secrets_work(given: CheckSecrets) -> str:
    """Choose, once the words go together: --production needs the configuration and the catalog."""
    filtered = given.selected != options.SelectionOptions()
    if given.secrets and filtered:
        raise UsageError("--secrets and a filter contradict each other.", hint="Give one of the two.")
    elsewhere = given.origin.where != ComparedPlace() or given.source != options.LOCAL
    if given.production and (given.secrets or filtered or elsewhere):
        raise UsageError(
            "--production checks all sources that policies name, so it takes no secrets, filter, source or "
            "backup.",
            hint="Leave it out to check some of them.",
        )
    return "validate:validate_production" if given.production else "validate:validate_source"


COMMANDS = {
    "check all": Command(
        _no_arguments,
        "everything:check_all",
        "It reads the newest backups whole and the live secrets, and writes a test object on each target:\n"
        "before a drill or an audit, not each night. What needs a passphrase asks for it. The exit code is\n"
        "that of the first look that is not well.",
    ),
    "check backups": Command(
        _backups_arguments,
        "health:check_backups",
        "Checks the newest backup of each policy, on all targets at once, without a broker. Without\n"
        "--check-… it runs all three checks. It records the result for each replica, as backups verify\n"
        "does, and writes nothing else. Exit code 0: nothing is wrong and everything could be checked.\n"
        "Otherwise it is that of the worst finding.",
    ),
    "check": Command(
        _installation_arguments,
        "health:check_installation",
        "Checks configuration, state, ledger, store, cluster, targets, runs, slots, backups, drills, keys,\n"
        "media, disks, files and clock. It asks each target whether it answers, reads no container and\n"
        "writes nothing. Exit code 0: nothing is wrong and everything could be checked. Otherwise it is\n"
        "that of the worst finding.",
    ),
    "check machine": Command(
        _check_recovery_environment_arguments,
        _readiness_work,
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
