"""Opening a backup to look into it: an unknown signer is said, and not refused."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from strongroom.cli.shared import access_log, backup_selection, trust
from strongroom.cli.shared.identities import identities_of
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import Place
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.select_backup import Choice, Chooser
from strongroom.operations.errors import NotCovered


@contextmanager
def backup_on_targets(
    arguments: Namespace, asked: Asked, output: Output, installation: Place
) -> Iterator[Replicated]:
    """Open the backup on targets that a command is to look into."""
    known = trust.trusted_signers(installation, arguments.signer)
    chooser = backup_selection.make_chooser(arguments, installation, known, strangers=True)
    choice = _choice(chooser, asked, output)
    if doubt := trust.doubt_about(choice.signed, known):
        output.note(f"note: {doubt}")
    access_log.record_opening(
        arguments, output, installation, choice.manifest.backup_id, quarantine=choice.quarantine
    )
    pins = backup_selection.report_unlisted(choice, known, output, installation)
    with backup_selection.reporting_damage(chooser, output, installation):
        yield Replicated(
            choice, identities_of(arguments, output, installation), trusted=pins, told=chooser.note
        )


def _choice(chooser: Chooser, asked: Asked, output: Output) -> Choice:
    """Choose what to look into. Where none covers all that is asked for, what there is may be looked at."""
    try:
        return backup_selection.choose_backup(chooser, asked, output)
    except NotCovered:
        if asked.partial or asked.backup:
            raise
    chooser.passed.clear()
    return backup_selection.choose_backup(chooser, replace(asked, partial=True), output)
