"""Whether there is a state database to look into: nothing is made or migrated for a look."""

from __future__ import annotations

from strongroom.state.engine import StateDatabase
from strongroom.state.errors import SchemaMismatch, StateError
from strongroom.state.migrations import HEAD

_NOT_YET = (
    "Check the state directory ('strongroom check config' shows it). On a new machine nothing was backed up "
    "yet. If it was lost: 'strongroom backups rebuild --from TARGET' enters each target's backups again."
)
_OLDER = "Stop what still runs in the old version; then 'strongroom runs' migrates it."


def require(database: StateDatabase) -> None:
    """Return if there is a database of the very schema that this version has.

    Raises:
        StateError: there is none, or it cannot be used.
        SchemaMismatch: its schema is older or unknown.
    """
    if (file := database.file) is not None and not (file.is_file() and file.stat().st_size):
        raise StateError(f"there is no state database at {file}", hint=_NOT_YET)
    revision = database.revision()
    if revision is None:
        raise StateError("the state database is empty: nothing was ever put on record", hint=_NOT_YET)
    if revision != HEAD:
        raise _mismatch(revision)


def _mismatch(revision: str) -> SchemaMismatch:
    if revision.isdecimal() and revision < HEAD:
        return SchemaMismatch(
            f"the state database has schema {revision}, and this version has {HEAD}; a look migrates nothing",
            hint=_OLDER,
        )
    return SchemaMismatch("the state database has a schema this version does not know")
