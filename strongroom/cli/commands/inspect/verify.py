"""backups verify and backups show: looking, never writing.

Each takes a file of any kind that Strongroom ever wrote, or a directory that is a target.
None of them needs state, configuration or a broker.
"""

from __future__ import annotations

from argparse import Namespace

from strongroom.cli.commands.inspect.render import answer_inspection
from strongroom.cli.shared import identities, inspection
from strongroom.cli.shared.backup_argument import kind_of
from strongroom.cli.shared.inspect_options import InspectOptions
from strongroom.cli.shared.inspection import Inspection
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.container.errors import LegacyFormat
from strongroom.container.kinds import FileKind
from strongroom.model import Depth
from strongroom.operations.archive.maker import UNKNOWN


def verify_backup(arguments: Namespace, output: Output) -> Answer:
    installation = place.find()
    keys = identities.identities_of(
        arguments, output, installation, ask=arguments.depth in (Depth.OPENED, Depth.COMPARED, Depth.LIVE)
    )
    depth = arguments.depth or (Depth.OPENED if keys else Depth.DIGEST)
    found = inspection.inspect_backup(
        arguments, InspectOptions(depth, output, installation, keys, entering=True)
    )
    return answer_inspection(found, _verified(found, arguments))


def show_info(arguments: Namespace, output: Output) -> Answer:
    found = inspection.inspect_backup(
        arguments, InspectOptions(Depth.PRESENT, output, place.find(), shows=True)
    )
    return answer_inspection(found, f"{arguments.file}")


def check_format(arguments: Namespace, output: Output) -> Answer:
    found = inspection.inspect_backup(
        arguments, InspectOptions(Depth.DIGEST, output, place.find(), shows=True)
    )
    return answer_inspection(found, f"The format is valid: {arguments.file}")


def test_decrypt(arguments: Namespace, output: Output) -> Answer:
    installation = place.find()
    given = identities.typed_only(arguments, output, installation)
    keys = [
        identities.CountingIdentity(opener)
        for opener in given or identities.identities_of(arguments, output, installation)
    ]
    if arguments.file.is_file() and kind_of(arguments.file) is FileKind.LEGACY and not arguments.legacy:
        raise LegacyFormat(f"'{arguments.file}' is an old Fernet file.")
    found = inspection.inspect_backup(arguments, InspectOptions(Depth.OPENED, output, installation, keys))
    opened = [identity.describe() for identity in keys if identity.opened]
    by = f" with {', '.join(opened)}" if opened else ""
    whose = f"{UNKNOWN} " if found.signer_known is False else ""
    said = f"{whose}It opens{by}: {arguments.file}. Nothing was written."
    return answer_inspection(found, said, opened_with=opened)


def _verified(found: Inspection, arguments: Namespace) -> str:
    """Say what verifying came to: only what somebody trusted here signed is verified."""
    if found.signer_known:
        return f"Verified: {arguments.file}"
    return f"{UNKNOWN if found.signer else 'Intact. Nobody signed it.'} {arguments.file}"
