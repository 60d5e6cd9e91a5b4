"""What seals the way back of a restore of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from strongroom.cli.shared import identities, recipients
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.manifest import Manifest
from strongroom.keys import Opener
from strongroom.keys.roles import load_or_create_role
from strongroom.model import Role
from strongroom.operations.restore.undo import UndoSealer


def undo_sealer(
    openers: Sequence[Opener], manifest: Manifest | None, output: Output, place: InstallationPlace
) -> UndoSealer:
    """Return it: for the keys at hand, and the backup's other recipients that this host knows."""
    return UndoSealer(
        identities.without_questions(openers),
        load_or_create_role(place.role_keys, Role.RECOVER),
        manifest=manifest,
        others=partial(recipients.configured_without_questions, output, place),
    )
