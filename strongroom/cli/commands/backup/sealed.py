"""backup with values: secrets sealed into a file.

Child processes list the source, and a thread derives the passphrase's key, while this process imports the run
store and what drives runs (:mod:`strongroom.cli.shared.seal_file`): that is a third of the time that a
backup of many small secrets takes.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from strongroom.cli.commands.backup.arguments import named_file
from strongroom.cli.shared import approval, options, recipients, sources
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.keys import Recipient
from strongroom.model import ApprovalAction, Selection
from strongroom.operations.backup.derive_ahead import sealed_ahead
from strongroom.operations.backup.parallel_listing import listed_ahead
from strongroom.system.atomic_file import refuse_existing
from strongroom.system.gc_pause import loading
from strongroom.system.lazy import resolve


def back_up_to_file(arguments: Namespace, output: Output) -> None:
    _seal(named_file(arguments), arguments, output, values=arguments.include_values)


def _require_approved(
    path: Path,
    source: str,
    selection: Selection,
    sealed_for: Sequence[Recipient],
    installation: InstallationPlace,
) -> None:
    """Ask for approvals where the configuration wants them: values leave for keys that somebody chose."""
    approval.require_approved(
        installation,
        ApprovalAction.EXPORT,
        {
            "file": str(path.absolute()),
            "source": source,
            "selection": selection,
            "for": sorted(recipient.fingerprint for recipient in sealed_for),
        },
        lines=(
            f"{approval.how_much(selection)} of '{source}' into {path.absolute()}",
            *(f"for {recipient.describe()}" for recipient in sealed_for),
        ),
    )


def _seal(path: Path, arguments: Namespace, output: Output, *, values: bool) -> None:
    installation = place.find()
    selection = options.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    source = sources.source_of(arguments.source, installation)
    refuse_existing(path, replace=arguments.force)
    if values:
        prompts.confirm(
            f"This puts every value that is selected from '{source.name}', sealed, into {path}",
            force=arguments.force,
        )
    sealed_for = recipients.recipients_of(arguments, output, installation)
    recipients.warn_of_no_spare(sealed_for, output)
    if values:
        _require_approved(path, source.name, selection, sealed_for, installation)
    with listed_ahead(source, selection) as listing, sealed_ahead(sealed_for) as derived:
        with loading():
            seal_file = resolve("strongroom.cli.shared.seal_file:seal_file")
        seal_file(
            path,
            output,
            source=source,
            recipients=sealed_for,
            selection=selection,
            values=values,
            replace_existing=arguments.force,
            ahead=listing,
            sealed=derived,
        )
