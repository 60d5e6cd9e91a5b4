"""Whether what a recovery writes into can be written to, and what would rebuild this installation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from strongroom.errors import RightMissing
from strongroom.operations.health import Finding, good, remark, wrong
from strongroom.operations.probe_source import TellsRights
from strongroom.operations.recovery_machine import disk
from strongroom.sources import Source
from strongroom.sources.local import LocalStore
from strongroom.state.records import CatalogEntry

DESTINATION, ESCROW = "destination", "escrow"
WRITING = frozenset({"create", "update", "root", "createsecret", "putsecretvalue"})
"""What servers call the rights to write a secret."""
NAMED = 5


def destination(source: Source) -> Iterator[Finding]:
    """Look whether a source answers, and lets itself be written to, as far as it tells. Writes nothing.

    Raises:
        SourceError: it does not answer.
    """
    if isinstance(source, LocalStore):
        yield from _local(source)
        return
    next(iter(source.list()), None)
    if not isinstance(source, TellsRights):
        yield remark(DESTINATION, "it answers; its server does not tell whether it may be written to")
        return
    may = [right.path for right in source.rights() if WRITING & {word.lower() for word in right.excess}]
    if may:
        more = f", and {len(may) - NAMED} more" if len(may) > NAMED else ""
        yield good(DESTINATION, f"it answers, and may be written to at {', '.join(may[:NAMED])}{more}")
    else:
        hint = "Give this machine, for the recovery, a credential that may create and update secrets (ops/)."
        yield wrong(DESTINATION, RightMissing("it answers, and may not be written to", hint=hint))


def _local(store: LocalStore) -> Iterator[Finding]:
    """A store that is there opens under its key; one that is not will be made."""
    if store.made:
        next(iter(store.list()), None)
    room = [one for one in disk(store.master_key_path.parent, 0) if one.exit_code]
    yield from (replace(one, check=DESTINATION) for one in room)
    if not room:
        words = (
            "the local store opens, and can be written to" if store.made else "the local store will be made"
        )
        yield good(DESTINATION, words)


def read_only(kind: str) -> Finding:
    """Say that a source cannot be restored into by itself."""
    if kind == "raft":
        return remark(DESTINATION, "a server as a whole: 'strongroom restore-snapshot' replaces all of it")
    return remark(DESTINATION, "files are read, not written: restore into another source with --to")


def escrow(entries: Iterable[CatalogEntry]) -> Finding:
    """Say whether an escrow of this installation's own keys is on record."""
    newest = next((entry for entry in entries if entry.source == ESCROW), None)
    if newest is not None:
        return good(ESCROW, f"one was made at {newest.created_at}; print the recovery kit beside it")
    to_do = "'strongroom escrow FILE', and 'strongroom recovery-kit': keep both away from this machine."
    return remark(ESCROW, "no escrow of this installation's keys is on record here", to_do)
