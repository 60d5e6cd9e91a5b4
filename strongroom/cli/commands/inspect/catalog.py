"""catalog and replicas: which backups there are, where, and how deep they were verified."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.cli.parser import Parser
from strongroom.cli.shared import backup_options, trust
from strongroom.cli.shared.backup_argument import target_of
from strongroom.cli.shared.settings import run_store
from strongroom.cli.terminal import place
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.numbers import limit
from strongroom.cli.terminal.output import Output, plural, size, table
from strongroom.container.errors import MissingPiece, UntrustedSigner
from strongroom.operations.errors import LeftAside
from strongroom.state.records import CatalogEntry, Replica
from strongroom.timestamps import for_people, if_any

if TYPE_CHECKING:
    from strongroom.operations.archive.catalog import Rebuilt


SHOWN = 5
LISTED = 50
Unlocked = Mapping[str, Mapping[str, str]]


def _arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser)
    parser.set_defaults(action="list", policy=None, from_target=None, signer=[], limit=LISTED)
    listing = commands.add_parser("list", help="list the backups, newest first")
    listing.add_argument("--policy", metavar="NAME", help="only of this policy")
    backup_options.add_where_argument(listing, default=" (default: the catalog of this installation)")
    trust.add_signer_argument(listing)
    listing.add_argument("--limit", metavar="N", type=limit, default=LISTED, help="how many (default: 50)")
    again = commands.add_parser("rebuild", help="enter every backup of a target into the catalog")
    again.add_argument(
        "--from", metavar="TARGET", dest="target", required=True, help="its directory or configured name"
    )
    trust.add_signer_argument(again)


def _catalog(arguments: Namespace, output: Output) -> None:
    if arguments.action == "rebuild":
        _rebuild(arguments, output)
        return
    if arguments.from_target:
        from strongroom.cli.commands.inspect.catalog_on_target import list_there  # noqa: PLC0415 - the catalog needs no target

        list_there(arguments, output)
        return
    store = run_store()
    found = store.backups(policy=arguments.policy, limit=arguments.limit)
    replicas = {entry.backup: store.replicas(entry.backup) for entry in found}
    head = ("BACKUP", "POLICY", "SECRETS", "SIZE", "VALUES", "REPLICAS")
    rows = [_row(entry, replicas[entry.backup]) for entry in found]
    document = {"backups": [_document(entry, replicas[entry.backup]) for entry in found]}
    output.answer(document, table(head, rows) if rows else [_nothing(arguments.policy)])


def _nothing(policy: str | None) -> str:
    return f"The catalog has no backup of policy '{policy}'." if policy else "The catalog is empty."


def _row(entry: CatalogEntry, replicas: list[Replica]) -> tuple[object, ...]:
    good = sum(replica.good for replica in replicas)
    values = "yes" if entry.values else "no"
    return (
        entry.backup,
        entry.policy,
        entry.secrets,
        size(entry.size),
        values,
        f"{good} of {len(replicas)} good",
    )


def _document(entry: CatalogEntry, replicas: list[Replica]) -> dict[str, Any]:
    return {**msgspec.to_builtins(entry), "replicas": [_replica(one) for one in replicas]}


def _replica(one: Replica) -> dict[str, Any]:
    return {**msgspec.to_builtins(one), "verified_at": if_any(one.verified_at)}


def _rebuild(arguments: Namespace, output: Output) -> None:
    from strongroom.operations.archive.catalog import rebuild  # noqa: PLC0415 - the run store

    here = place.find()
    target = target_of(arguments.target, here)
    store = run_store()
    store.examine()  # what is entered into a damaged file is lost with it
    done = rebuild(store, target, trusted=trust.trusted(here, arguments.signer))
    if not done.backups:
        _explain_nothing(done, arguments.target)
    if done.refused:
        refused = f"{plural(len(done.refused), 'manifest')} on '{arguments.target}' did not count"
        output.end_with(LeftAside(f"{refused}: {', '.join(one.backup for one in done.refused[:SHOWN])}"))
    output.answer(done, _rebuilt_lines(done))


def _explain_nothing(done: Rebuilt, target: str) -> None:
    for refused in done.refused:
        if refused.code == "UntrustedSigner":
            raise trust.explained(UntrustedSigner(refused.reason))
    why = f" ({done.refused[0].reason})" if done.refused else ""
    raise MissingPiece(
        f"There is no backup on '{target}' that could be entered{why}.", hint="Check the target."
    )


def _rebuilt_lines(done: Rebuilt) -> list[str]:
    lines = [f"{plural(len(done.backups), 'backup')} entered into the catalog."]
    lines += [f"  incomplete: {backup} (run 'strongroom repair {backup}')" for backup in done.incomplete]
    return lines + [f"  not believed: {refused.backup}: {refused.reason}" for refused in done.refused]


def _replicas_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("backup", metavar="BACKUP", nargs="?", help="only of this backup")


def _replicas(arguments: Namespace, output: Output) -> None:
    from strongroom.operations.archive.locks import left_unlocked  # noqa: PLC0415 - what drives runs

    store = run_store()
    backups = [arguments.backup] if arguments.backup else [entry.backup for entry in store.backups(limit=50)]
    found = [replica for backup in backups for replica in store.replicas(backup)]
    if arguments.backup and not found:
        raise MissingPiece(
            f"The catalog has no backup '{arguments.backup}'.", hint="See 'strongroom catalog list'."
        )
    unlocked = {name: where for name, where in left_unlocked(store).items() if name in backups}
    lines = _matrix(found, unlocked) or ["The catalog is empty."]
    output.answer({"replicas": [_replica(one) for one in found], "unlocked": unlocked}, lines)


def _matrix(found: list[Replica], unlocked: Unlocked) -> list[str]:
    """Return a line for each backup and a column for each target."""
    targets = list(dict.fromkeys(replica.target for replica in found))
    cells = {(one.backup, one.target): _cell(one, unlocked.get(one.backup, {})) for one in found}
    backups = dict.fromkeys(replica.backup for replica in found)
    rows = [(backup, *(cells.get((backup, target), "-") for target in targets)) for backup in backups]
    return list(table(("BACKUP", *targets), rows)) if rows else []


def _cell(replica: Replica, unlocked: Mapping[str, str]) -> str:
    if not replica.good:
        return "BAD"
    lacks = ", NOT LOCKED" if replica.target in unlocked else ""
    if not replica.verified_at:
        return f"good, never verified{lacks}"
    return f"{replica.verified} {for_people(replica.verified_at)}{lacks}"


COMMANDS = {
    "catalog": Command(
        _arguments, _catalog, "The targets are the truth; the catalog can be rebuilt from any of them."
    ),
    "replicas": Command(
        _replicas_arguments,
        _replicas,
        "A cell says how deep a replica was last read back, and when. BAD: missing or damaged. NOT LOCKED:\n"
        "whole, and could be removed before its time. 'strongroom repair' puts both right.",
    ),
}
