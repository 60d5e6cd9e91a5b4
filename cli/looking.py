"""Opening a backup to look into it: an unknown signer is said, and not refused."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from cli import accessed, choosing, trust
from cli.identities import identities_of
from cli.output import Output
from cli.place import Place
from strongroom.errors import NotCovered
from strongroom.operations.choosing import Choice, Chooser
from strongroom.operations.covering import Asked
from strongroom.operations.failover import Replicated


@contextmanager
def backup_on_targets(
    arguments: Namespace, asked: Asked, output: Output, here: Place
) -> Iterator[Replicated]:
    """Open the backup on targets that a command is to look into."""
    known = trust.trusted(here, arguments.signer)
    found = choosing.chooser(arguments, here, known, strangers=True)
    choice = _choice(found, asked, output)
    if doubt := trust.doubt(choice.signed, known):
        output.note(f"note: {doubt}")
    accessed.opened(arguments, output, here, choice.manifest.backup_id, quarantine=choice.quarantine)
    pins = choosing.say_beside(choice, known, output, here)
    with choosing.telling(found, output, here):
        yield Replicated(choice, identities_of(arguments, output, here), trusted=pins, told=found.note)


def _choice(found: Chooser, asked: Asked, output: Output) -> Choice:
    """Choose what to look into. Where none covers all that is asked for, what there is may be looked at."""
    try:
        return choosing.take(found, asked, output)
    except NotCovered:
        if asked.partial or asked.backup:
            raise
    found.passed.clear()
    return choosing.take(found, replace(asked, partial=True), output)
