"""backup and export: secrets sealed into a file.

Child processes list the source, and a thread derives the passphrase's key, while this process imports the run
store and what drives runs (:mod:`strongroom.cli.shared.seal_file`): that is a third of the time that a
backup of many small secrets takes.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from strongroom.cli.commands.backup.arguments import named_file
from strongroom.cli.shared import options, recipients, sources
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.output import Output
from strongroom.operations.backup.derive_ahead import sealed_ahead
from strongroom.operations.backup.parallel_listing import listed_ahead
from strongroom.system.atomic_file import refuse_existing
from strongroom.system.gc_pause import loading
from strongroom.system.lazy import resolve


def back_up_to_file(arguments: Namespace, output: Output) -> None:
    _seal(named_file(arguments), arguments, output, values=arguments.include_values)


def export_store(arguments: Namespace, output: Output) -> None:
    arguments.source = options.LOCAL
    _seal(arguments.file, arguments, output, values=True)


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
