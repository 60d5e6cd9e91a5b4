"""list and get: the names, or one secret, of the local store, another source or a backup."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.cli.commands.readiness import clean
from strongroom.cli.commands.store import render_secret
from strongroom.cli.shared import access_log, backup_options, identities, legacy, opening, sources, trust
from strongroom.cli.shared.backup_argument import kind_of, opened
from strongroom.cli.terminal import place
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output, plural, table
from strongroom.cli.terminal.place import Place
from strongroom.container.kinds import FileKind
from strongroom.errors import UsageError
from strongroom.model import Entry, Secret, Selection
from strongroom.operations.evidence import access_log as evidence_access_log
from strongroom.sources.errors import SecretNotFound
from strongroom.words import did_you_mean

if TYPE_CHECKING:
    from strongroom.operations.archive.failover import Replicated
    from strongroom.operations.archive.open import Backup


def _list_arguments(parser: ArgumentParser) -> None:
    sources.add_selection_arguments(parser)
    sources.add_source_argument(parser)
    parser.add_argument(
        "--verify-clean",
        action="store_true",
        help="succeed only if there is no secret, and nothing half-made of an earlier recovery",
    )
    _add_backup_arguments(parser)


def _add_backup_arguments(parser: ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--backup-file", metavar="FILE", type=Path, help="look in this backup, not in the store"
    )
    backup_options.add_where_argument(where)
    backup_options.add_arguments(parser)
    identities.add_arguments(parser)
    trust.add_signer_argument(parser)
    legacy.add_argument(parser)


def _list(arguments: Namespace, output: Output) -> None:
    from strongroom.sources.select import matches  # noqa: PLC0415

    selection = sources.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    here = place.find()
    listed = (e for e in _listed(arguments, output, here) if matches(selection, e))
    if arguments.verify_clean:
        clean.verify(arguments.source, sum(1 for _ in listed), here, output)
        return
    found = sorted((e.name, e.tags or {}) for e in listed)
    rows = [
        (name, ", ".join(f"{key}={value}" for key, value in sorted(tags.items()))) for name, tags in found
    ]
    words = [plural(len(found), "secret") if found else _nothing(arguments)]
    head = table(("NAME", "TAGS"), rows) if rows else []
    output.answer({"secrets": [{"name": name, "tags": tags} for name, tags in found]}, [*head, *words])


def _nothing(arguments: Namespace) -> str:
    if _names_backup(arguments):
        return "The backup holds no such secret."
    filtered = arguments.filter_tag or arguments.include or arguments.exclude
    return "No secret fits the filter." if filtered else "The store is clean: it holds no secret."


def _names_backup(arguments: Namespace) -> bool:
    return arguments.backup_file is not None or arguments.from_target is not None


def _listed(arguments: Namespace, output: Output, here: Place) -> Iterator[Entry]:
    """Yield what is listed: of a source, or of a backup, where no value is read."""
    if not _names_backup(arguments):
        counted = arguments.verify_clean
        source = (sources.destination_of if counted else sources.source_of)(arguments.source, here)
        yield from source.list(with_tags=bool(arguments.filter_tag) or not counted)
        return
    if arguments.source != sources.LOCAL or arguments.verify_clean:
        raise UsageError("A backup is listed, or a source: --source and --verify-clean are for sources.")
    old = _in_old_kinds(arguments.backup_file, arguments, output)
    if old is not None:
        yield from (Entry(secret.name, 0, tags=secret.tags) for secret in old)
        return
    selection = sources.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    with _backup(arguments, output, here, values=False, selection=selection) as backup:
        yield from (Entry(row.name, 0, tags=row.tags) for row in backup.rows())


@contextmanager
def _backup(
    arguments: Namespace,
    output: Output,
    here: Place,
    *,
    values: bool,
    name: str = "",
    selection: Selection = Selection(),
) -> Iterator[Backup | Replicated]:
    """Open the file, or the backup on targets, that is to be looked into."""
    if arguments.backup_file is not None:
        with opening.backup_to_look(arguments, output, here) as backup, opening.telling_keys():
            yield backup
        return
    from strongroom.cli.shared import backup_selection, open_for_inspection  # noqa: PLC0415 - a file needs neither

    asked = backup_selection.asked_of(arguments, values=values, selection=selection, name=name)
    with (
        open_for_inspection.backup_on_targets(arguments, asked, output, here) as found,
        opening.telling_keys(),
    ):
        yield found


def _get_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the secret")
    parser.add_argument("--show-value", action="store_true", help="print the value, and nothing else")
    _add_backup_arguments(parser)


def _get(arguments: Namespace, output: Output) -> None:
    here = place.find()
    secret = _wanted(arguments, output, here)
    value = secret.current.value
    if arguments.show_value and value is None:
        raise UsageError(
            f"There is no value of '{secret.name}' to show: its newest version is {secret.current.state}"
            " or was backed up without values."
        )
    if arguments.show_value and not _names_backup(arguments):
        access_log.noted(evidence_access_log.SHOWN, arguments, output, here)
    if arguments.show_value and not output.json and value is not None:
        output.raw(value.reveal())
        return
    output.answer(
        render_secret.as_document(secret, value=arguments.show_value), render_secret.lines_of(secret)
    )


def _wanted(arguments: Namespace, output: Output, here: Place) -> Secret:
    if not _names_backup(arguments):
        return _of_store(arguments.name, here)
    old = _in_old_kinds(arguments.backup_file, arguments, output)
    if old is not None:
        return _named(arguments.name, old, str(arguments.backup_file))
    return _in_backup(arguments, output, here)


def _of_store(name: str, here: Place) -> Secret:
    store = sources.local_store(here)
    try:
        return store.get(name)
    except SecretNotFound as error:
        hint = did_you_mean(name, (entry.name for entry in store.list())) + error.hint
        raise SecretNotFound(error.message, hint=hint) from None


def _in_backup(arguments: Namespace, output: Output, here: Place) -> Secret:
    with _backup(arguments, output, here, values=arguments.show_value, name=arguments.name) as backup:
        found = backup.find(arguments.name)
    return found or _missing(arguments.name, f"backup {backup.manifest.backup_id}")


def _in_old_kinds(file: Path | None, arguments: Namespace, output: Output) -> list[Secret] | None:
    """Return what a file holds that is no sealed backup."""
    kind = None if file is None or file.is_dir() else kind_of(file)
    if file is not None and kind is FileKind.METADATA:
        from strongroom.container.metadata import read_document  # noqa: PLC0415

        with opened(file) as reader:
            return list(read_document(reader))
    if file is not None and kind is FileKind.LEGACY:
        return legacy.secrets_of(file, arguments, output)
    return None


def _named(name: str, secrets: list[Secret], where: str) -> Secret:
    return next((secret for secret in secrets if secret.name == name), None) or _missing(name, where)


def _missing(name: str, where: str) -> Secret:
    raise SecretNotFound(
        f"There is no secret '{name}' in {where}.", hint="Names are case-sensitive, and complete."
    )


COMMANDS = {"list": Command(_list_arguments, _list), "get": Command(_get_arguments, _get)}
