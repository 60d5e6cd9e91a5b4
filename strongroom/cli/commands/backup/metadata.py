"""backup without values: names and dates as plain JSON with a digest, without a database."""

from __future__ import annotations

from strongroom.cli.commands.backup.arguments import MakeBackup
from strongroom.cli.shared import sources
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, size
from strongroom.operations.backup.metadata_file import write_metadata_file
from strongroom.sheet import Sheet


def write_metadata(given: MakeBackup, output: Output) -> Answer:
    path = given.where.path
    if given.what.include_metadata:
        output.note(
            "note: free-form metadata can hold secrets; only a sealed backup has it (--encrypt-backup)."
        )
    here, selection = place.find(), given.selection.selection()
    source = sources.source_of(given.what.source, here)
    with sources.naming_others(given.what.source, here):
        written = write_metadata_file(path, source, selection=selection, replace=given.force)
    record = {
        "file": path,
        "backup": written.about.backup_id,
        "source": written.about.source,
        "sealed": False,
        "values": False,
        "secrets": written.secrets,
        "versions": written.versions,
        "size": written.size,
        "sha256": written.sha256.hex(),
        "verified": "digest",
    }
    said = (
        f"{path}: metadata of {plural(written.secrets, 'secret')} of '{source.name}', {size(written.size)}."
    )
    about = "It holds no value and is not sealed; it was read back and agrees with its digest."
    return Answer(record=record, sheet=Sheet(verdict=said, about=about))
