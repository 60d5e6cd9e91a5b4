"""validate: whether secrets that live now are there, hold, and are what a backup holds."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from strongroom.cli.commands.validation.render import answer
from strongroom.cli.shared import options, sources
from strongroom.cli.shared import restore_source as origins
from strongroom.cli.shared.restore_source import RestoreSource
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.progress import counting
from strongroom.model import ListedSecret, Selection
from strongroom.operations.archive.live_comparison import selected
from strongroom.operations.errors import NothingSelected
from strongroom.operations.validation import live as validate
from strongroom.operations.validation.live import LiveComparison, Validated
from strongroom.operations.validation.value_checks import SecretFinding
from strongroom.sources import Source
from strongroom.sources.errors import EmptySource


def validate_source(arguments: Namespace, output: Output) -> Answer:
    return answer([look_at_source(arguments, output)], [])


def _names_backup(arguments: Namespace) -> bool:
    return arguments.backup_file is not None or arguments.from_target is not None


# -- one source --------------------------------------------------------------------


def look_at_source(arguments: Namespace, output: Output) -> Validated:
    """Look at the secrets of one source, and hold them against the backup that was named."""
    installation = place.find()
    selection = options.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    sources.refuse_whole_server(arguments.source, installation)
    source = sources.source_of(arguments.source, installation)
    names = list(dict.fromkeys(arguments.secrets))
    entries = [ListedSecret(name, 0) for name in names] or selected(source, selection)
    with counting(output, "looking at", len(names) or None) as advance:
        validated = validate.values(
            source, entries, now=datetime.now(UTC), demanded=bool(names), progress=advance
        )
    if not _names_backup(arguments):
        _require_some(validated, selection)
        return validated
    with origins.open_restore_source(arguments, output, installation) as origin:
        counts, more = _against(source, names, selection, origin)
    return replace(validated, findings=(*validated.findings, *more), compared=counts)


def _against(
    source: Source, names: Sequence[str], selection: Selection, origin: RestoreSource
) -> tuple[LiveComparison, list[SecretFinding]]:
    if not names:
        return validate.against(source, selection, origin.select(Selection()), strict=True)
    return validate.by_names(source, names, origin.find_or_none)


def _require_some(validated: Validated, selection: Selection) -> None:
    if validated.secrets:
        return
    if selection != Selection():
        raise NothingSelected("The filter matches no secret, so nothing was validated.")
    raise EmptySource(
        f"'{validated.source}' holds no secret, so there is nothing to validate.",
        hint="If it was to be restored, it was not: 'strongroom restore --full-restore'.",
    )
