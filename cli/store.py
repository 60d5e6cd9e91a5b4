"""list and get: reading the local store, or one secret out of a backup."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from cli import identities, legacy, opening, place, shown, sources, trust
from cli.command import Command
from cli.inputs import kind_of, opened
from cli.output import Output, plural, table
from cli.place import Place
from strongroom.container.kinds import FileKind
from strongroom.errors import SecretNotFound, UsageError, WouldOverwrite, WrongKey
from strongroom.model import Secret


def _list_arguments(parser: ArgumentParser) -> None:
    sources.add_selection_arguments(parser)
    sources.add_source_argument(parser)
    parser.add_argument(
        "--verify-clean", action="store_true", help="succeed only if there is no secret, as before a recovery"
    )


def _list(arguments: Namespace, output: Output) -> None:
    from strongroom.sources.select import matches  # noqa: PLC0415

    source = sources.source_of(arguments.source, place.find())
    selection = sources.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    found = sorted((e.name, e.tags or {}) for e in source.list(with_tags=True) if matches(selection, e))
    if arguments.verify_clean and found:
        raise WouldOverwrite(
            f"The store is not clean: it holds {plural(len(found), 'secret')}.",
            hint="'strongroom list' shows it. Restoring leaves what is there, unless told to overwrite.",
        )
    rows = [
        (name, ", ".join(f"{key}={value}" for key, value in sorted(tags.items()))) for name, tags in found
    ]
    words = [plural(len(found), "secret") if found else "The store is clean: it holds no secret."]
    head = table(("NAME", "TAGS"), rows) if rows else []
    output.answer({"secrets": [{"name": name, "tags": tags} for name, tags in found]}, [*head, *words])


def _get_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the secret")
    parser.add_argument("--show-value", action="store_true", help="print the value, and nothing else")
    parser.add_argument(
        "--backup-file", metavar="FILE", type=Path, help="look in this backup, not in the store"
    )
    parser.add_argument("--from-target", metavar="TARGET", help="look in a backup on this target")
    parser.add_argument("--backup", metavar="ID", help="which backup of a target (default: the newest)")
    identities.add_arguments(parser)
    trust.add_signer_argument(parser)
    legacy.add_argument(parser)


def _get(arguments: Namespace, output: Output) -> None:
    here = place.find()
    secret = _wanted(arguments, output, here)
    value = secret.current.value
    if arguments.show_value and value is None:
        raise UsageError(
            f"There is no value of '{secret.name}' to show: its newest version is {secret.current.state}"
            " or was backed up without values."
        )
    if arguments.show_value and not output.json and value is not None:
        output.raw(value.reveal())
        return
    output.answer(shown.as_document(secret, value=arguments.show_value), shown.lines_of(secret))


def _wanted(arguments: Namespace, output: Output, here: Place) -> Secret:
    file: Path | None = arguments.backup_file
    if file is None and arguments.from_target is None:
        return sources.local_store(here).get(arguments.name)
    found = _in_old_kinds(file, arguments, output) if file is not None and not file.is_dir() else None
    return found or _in_backup(arguments, output, here)


def _in_backup(arguments: Namespace, output: Output, here: Place) -> Secret:
    with opening.objects_named(arguments, here) as objects:
        backup = opening.open_to_look(objects, arguments, output, here)
        try:
            found = backup.find(arguments.name)
        except WrongKey as error:
            raise opening.explained(error) from None
        return found or _missing(arguments.name, f"backup {backup.manifest.backup_id}")


def _in_old_kinds(file: Path, arguments: Namespace, output: Output) -> Secret | None:
    kind = kind_of(file)
    if kind is FileKind.METADATA:
        from strongroom.container.metadata import read_document  # noqa: PLC0415

        with opened(file) as reader:
            return _named(arguments.name, list(read_document(reader)), str(file))
    if kind is FileKind.LEGACY:
        return _named(arguments.name, legacy.secrets_of(file, arguments, output), str(file))
    return None


def _named(name: str, secrets: list[Secret], where: str) -> Secret:
    return next((secret for secret in secrets if secret.name == name), None) or _missing(name, where)


def _missing(name: str, where: str) -> Secret:
    raise SecretNotFound(
        f"There is no secret '{name}' in {where}.", hint="Names are case-sensitive, and complete."
    )


COMMANDS = {"list": Command(_list_arguments, _list), "get": Command(_get_arguments, _get)}
