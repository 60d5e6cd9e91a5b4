"""Whether what a recovery writes into can be written to, and what would rebuild this installation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from strongroom.operations.errors import RightMissing
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.operations.readiness.machine import disk
from strongroom.sources import CredentialRights, Source
from strongroom.sources.local import LocalStore
from strongroom.state.records import CatalogEntry
from strongroom.words import plural

DESTINATION, ESCROW = "destination", "escrow"
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
    if (told := source.write_rights()) is None:
        yield remark(DESTINATION, "it answers; its server does not tell whether it may be written to")
        return
    rights = list(told)
    needed = [right for right in rights if not right.beside]
    if lacking := [right for right in needed if right.missing]:
        said = f"it answers, and a restore lacks rights there: {_paths(lacking)}"
        hint = "Give this machine, for the recovery, a credential that may create and update secrets (ops/)."
        yield wrong(DESTINATION, RightMissing(said, hint=hint))
        return
    found = f"each of {plural(len(needed), 'path')} that secrets are written to may be written"
    yield good(DESTINATION, f"it answers, and {found}")
    if lacking := [right for right in rights if right.missing]:
        said = f"what is stored next to the secrets may not be written there: {_paths(lacking)}"
        yield remark(DESTINATION, said, "A restore leaves it out, and names it. ops/ has a policy that fits.")


def _paths(lacking: Sequence[CredentialRights]) -> str:
    more = f"; and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
    return "; ".join(f"{', '.join(rights.missing)} {rights.path}" for rights in lacking[:NAMED]) + more


def _local(store: LocalStore) -> Iterator[Finding]:
    """A store that is there opens under its key; one that is not will be made."""
    if store.made:
        next(iter(store.list()), None)
    room = [finding for finding in disk(store.master_key_path.parent, 0) if finding.exit_code]
    yield from (replace(finding, check=DESTINATION) for finding in room)
    if not room:
        words = (
            "the local store opens, and can be written to" if store.made else "the local store will be made"
        )
        yield good(DESTINATION, words)


def read_only(kind: str) -> Finding:
    """Say that a source cannot be restored into by itself."""
    if kind == "raft":
        return remark(DESTINATION, "a server as a whole: 'strongroom restore snapshot' replaces all of it")
    return remark(DESTINATION, "files are read, not written: restore into another source with --to")


def escrow(entries: Iterable[CatalogEntry]) -> Finding:
    """Say whether an escrow of this installation's own keys is on record."""
    newest = next((entry for entry in entries if entry.source == ESCROW), None)
    if newest is not None:
        return good(ESCROW, f"one was made at {newest.created_at}; print the recovery kit beside it")
    to_do = (
        "'strongroom emergency escrow FILE', and 'strongroom emergency kit': keep both away from this "
        "machine."
    )
    return remark(ESCROW, "no escrow of this installation's keys is on record here", to_do)
