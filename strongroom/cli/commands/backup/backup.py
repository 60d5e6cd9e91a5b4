"""backup and export: secrets into a file, or by a policy to its targets, without a broker."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.cli.shared import key_separation, recipient_names, recipients, sources
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output, fields, plural, size
from strongroom.cli.terminal.place import Place
from strongroom.errors import UsageError

if TYPE_CHECKING:
    from strongroom.container.manifest import Manifest
    from strongroom.container.metadata import Written


def _arguments(parser: ArgumentParser) -> None:
    where = parser.add_argument_group("where to")
    where.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the file to write")
    where.add_argument("--output", metavar="FILE", type=Path, help="the same, as an option")
    where.add_argument(
        "--policy", metavar="NAME", help="instead: what this policy says, to its targets, in this process"
    )
    what = parser.add_argument_group("what")
    kind = what.add_mutually_exclusive_group()
    kind.add_argument(
        "--metadata-only", action="store_true", help="names, types, tags and dates (the default)"
    )
    kind.add_argument("--include-values", action="store_true", help="values too; always sealed")
    what.add_argument("--encrypt-backup", action="store_true", help="seal a metadata-only backup too")
    for option in ("--include-metadata", "--include-expiration", "--include-rotation-schedule"):
        what.add_argument(option, action="store_true", help="accepted; it is always included")
    sources.add_source_argument(what)
    sources.add_selection_arguments(parser)
    recipients.add_arguments(parser)
    parser.add_argument("--force", action="store_true", help="do not ask, and replace the file if it exists")


def _backup(arguments: Namespace, output: Output) -> None:
    if arguments.policy is not None:
        from strongroom.cli.shared.drive_run import back_up  # noqa: PLC0415 - the run store, which a plain file needs not

        back_up(arguments, output)
        return
    path = _path(arguments)
    if (
        arguments.include_values
        or arguments.encrypt_backup
        or arguments.recipient
        or arguments.passphrase_file
    ):
        _seal(path, arguments, output, values=arguments.include_values)
    else:
        _write_metadata(path, arguments, output)


def _path(arguments: Namespace) -> Path:
    given = {path for path in (arguments.file, arguments.output) if path is not None}
    if len(given) != 1:
        what = "Two files are named" if given else "Where should the backup go?"
        raise UsageError(what, hint="Name one file, or a policy with --policy.")
    return Path(given.pop())


def _write_metadata(path: Path, arguments: Namespace, output: Output) -> None:
    from strongroom.operations.backup.metadata_file import write_metadata_file  # noqa: PLC0415

    if arguments.include_metadata:
        output.note(
            "note: free-form metadata can hold secrets; only a sealed backup has it (--encrypt-backup)."
        )
    source = sources.source_of(arguments.source, place.find())
    selection = sources.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    written = write_metadata_file(path, source, selection=selection, replace=arguments.force)
    output.answer(_written_document(path, written), _written_lines(path, written))


def _seal(path: Path, arguments: Namespace, output: Output, *, values: bool) -> None:
    from strongroom.operations.backup.parallel_listing import listed_ahead  # noqa: PLC0415
    from strongroom.system.atomic_file import refuse_existing  # noqa: PLC0415
    from strongroom.system.gc_pause import loading  # noqa: PLC0415

    here = place.find()
    selection = sources.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    source = sources.source_of(arguments.source, here)
    refuse_existing(path, replace=arguments.force)
    if values:
        prompts.confirm(
            f"This puts every value that is selected from '{source.name}', sealed, into {path}",
            force=arguments.force,
        )
    found = recipients.recipients_of(arguments, output, here)
    recipients.warn_of_no_spare(found, output)
    with listed_ahead(source, selection) as ahead:  # its processes start before this one imports the rest
        from strongroom.operations.backup.derive_ahead import sealed_ahead  # noqa: PLC0415

        with sealed_ahead(found) as sealed:
            with loading():
                from strongroom.cli.shared.follow_run import by_ticket, watching  # noqa: PLC0415
                from strongroom.cli.shared.settings import services  # noqa: PLC0415 - the run store: a plain file needs none
                from strongroom.operations.backup.single_file import backup_to_file  # noqa: PLC0415

                key_separation.warn_of_keys_beside(path, output)
                built = services()
            with watching(output, built.store) as watch:
                manifest = backup_to_file(
                    path,
                    source=source,
                    recipients=found,
                    services=built,
                    selection=selection,
                    values=values,
                    replace_existing=arguments.force,
                    ahead=ahead,
                    sealed=sealed,
                    watch=by_ticket(watch),
                )
    output.answer(*_sealed(path, manifest, here))


def _sealed(path: Path, manifest: Manifest, here: Place) -> tuple[dict[str, object], Iterator[str]]:
    from strongroom.cli.shared.opening import signer_in_file  # noqa: PLC0415

    signer = signer_in_file(path)
    document: dict[str, object] = {
        "file": str(path),
        "backup": manifest.backup_id,
        "source": manifest.source,
        "sealed": True,
        "values": manifest.values,
        "secrets": manifest.counts.secrets,
        "versions": manifest.counts.versions,
        "size": path.stat().st_size,
        "recipients": [recipient.describes for recipient in manifest.recipients],
        "post_quantum": all(recipient.post_quantum for recipient in manifest.recipients),
        "signer": signer,
        "verified": "digest",
    }
    return document, _sealed_lines(path, manifest, signer)


def _sealed_lines(path: Path, manifest: Manifest, signer: str) -> Iterator[str]:
    yield f"{path}: read back whole, every byte as it was sealed (depth: digest)."
    kind = "with values" if manifest.values else "without values"
    holds = f"{plural(manifest.counts.secrets, 'secret')} of '{manifest.source}', {kind}"
    pairs = (
        ("backup", manifest.backup_id),
        ("holds", f"{holds}, {size(path.stat().st_size)}"),
        *recipient_names.pairs(manifest.recipients),
        ("installation", signer),
    )
    yield from (f"  {line}" for line in fields(pairs))
    yield "Note the installation's fingerprint once: restoring elsewhere asks for it (--signer)."


def _written_document(path: Path, written: Written) -> dict[str, object]:
    return {
        "file": str(path),
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


def _written_lines(path: Path, written: Written) -> list[str]:
    return [
        f"{path}: metadata of {plural(written.secrets, 'secret')}, {size(written.size)}.",
        "It holds no value and is not sealed; it was read back and agrees with its digest.",
    ]


def _export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to write")
    sources.add_selection_arguments(parser)
    recipients.add_arguments(parser)
    parser.add_argument("--force", action="store_true", help="do not ask, and replace the file if it exists")


def _export(arguments: Namespace, output: Output) -> None:
    arguments.source = sources.LOCAL
    _seal(arguments.file, arguments, output, values=True)


COMMANDS = {
    "backup": Command(
        _arguments,
        _backup,
        "Without --include-values only metadata is written, as plain JSON with a digest. Values are always\n"
        "sealed: there is no way to write them in plain text. Full backups ask first; --force answers yes.",
    ),
    "export": Command(
        _export_arguments, _export, "It is a full backup of the local store: sealed, and read back."
    ),
}
