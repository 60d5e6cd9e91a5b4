"""Opening a backup on targets to look into it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from msgspec.structs import replace

from strongroom.cli.shared import access_log, admission, backup_selection, trust
from strongroom.cli.shared.identities import identities_of
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.keys import Identity
from strongroom.operations.archive.choice import BackupChoice
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.maker import maker_of_backup
from strongroom.operations.archive.salvage import Before, Salvaged
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.errors import NotCovered

MOST = 21
"""Backups that are opened to find one secret: names are sealed, so looking takes the key."""

Opened = tuple[Salvaged, Callable[[], None]]
"""A backup, and what says that it is the one that is read."""


@contextmanager
def backup_on_targets(
    arguments: Namespace, asked: Asked, output: Output, installation: InstallationPlace
) -> Iterator[Salvaged]:
    """Open the backup on targets that a command is to look into."""
    with backups_on_targets(arguments, asked, output, installation) as backups:
        backup, tell = next(backups)
        tell()
        yield backup


@contextmanager
def backups_on_targets(
    arguments: Namespace, asked: Asked, output: Output, installation: InstallationPlace
) -> Iterator[Iterator[Opened]]:
    """Open backups on targets, the newest first, as long as one more is asked for: at least one."""
    known = trust.trusted_signers(installation, arguments.signer)
    chooser = backup_selection.make_chooser(arguments, installation, known)
    known = chooser.trusted
    identities = identities_of(arguments, output, installation)
    read: list[Salvaged] = []

    def opened() -> Iterator[Opened]:
        for number, choice in enumerate(_choices(chooser, asked)):
            if number == MOST:
                output.warn(f"only the newest {MOST} that may hold it were opened; older: --at DATE")
                return
            admission.admit_maker(maker_of_backup(choice.signed, known), arguments, output)
            access_log.record_opening(
                arguments, output, installation, choice.manifest.backup_id, quarantine=choice.quarantine
            )
            pins = backup_selection.report_unlisted(choice, known, output, installation)
            before = _before(choice, chooser, asked, identities, pins)
            backup = Salvaged(Replicated(choice, identities, trusted=pins, told=chooser.note), before)
            read.append(backup)
            yield backup, partial(backup_selection.report_choice, choice, chooser, asked, output)
            if asked.name:
                chooser.pass_over(choice.manifest, f"it does not hold '{asked.name}'")

    with (
        backup_selection.reporting_damage(chooser, output, installation),
        backup_selection.telling_losses(read, output),
    ):
        yield opened()


def _before(
    choice: BackupChoice, chooser: Chooser, asked: Asked, identities: Sequence[Identity], pins: frozenset[str]
) -> Before:
    """Give the backups that tell of what is lost of one, as they are asked for."""
    earlier = chooser.before(choice.manifest, asked)
    return (
        Replicated(backup_choice, identities, trusted=pins, told=chooser.note) for backup_choice in earlier
    )


def _choices(chooser: Chooser, asked: Asked) -> Iterator[BackupChoice]:
    """Choose what to look into. Where none covers all that is asked for, what there is may be looked at."""
    found = chooser.choices(asked)
    try:
        first = next(found, None) or chooser.choose(asked)
    except NotCovered:
        if asked.partial or asked.backup:
            raise
        chooser.passed.clear()
        found = chooser.choices(replace(asked, partial=True))
        first = next(found, None) or chooser.choose(replace(asked, partial=True))
    yield first
    yield from found
