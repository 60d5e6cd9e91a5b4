"""What can go wrong with the state database."""

from __future__ import annotations

from strongroom.errors import InstallationError, Missing, Untrusted


class StateError(InstallationError):
    """The state database cannot be used. Backups on targets are not affected."""

    default_hint = (
        "No backup on a target is affected. If the database is lost, 'strongroom backups rebuild --from "
        "TARGET' records each target's backups again."
    )


class StateUnavailable(StateError):
    """The state database did not answer or stayed locked. Trying again can help."""

    default_hint = "Nothing was lost. Try again; 'strongroom runs' shows what else is running."
    transient = True


class StateFull(StateError):
    """The disk under the state database is full. Nothing more can be recorded."""

    default_hint = (
        "What was recorded is whole, and no backup on a target is affected. Free space on that disk, then "
        "repeat."
    )


class StateUnkept(StateError):
    """The state database accepted a change and did not make it. Something in it forbids changes."""

    default_hint = (
        "No backup on a target is affected. Strongroom makes no trigger and no rule in its database: find "
        "those that somebody added (in SQLite: select name, sql from sqlite_master), and who did it."
    )


class SchemaMismatch(StateError):
    """This version of Strongroom does not know the database's schema."""

    default_hint = "Run the version of Strongroom that last migrated it, or upgrade this one."


class ClaimLost(StateError):
    """Another worker holds this step now. Its result counts, not this one's."""

    default_hint = "Nothing to do: the other worker's result counts."


class StillNeeded(Exception):
    """A step was not given up: the run cannot do without it any more."""


class RunNotFound(Missing):
    """There is no run of that id."""

    default_hint = "See the runs with 'strongroom runs'. A run just submitted may still be queued."


class RecordRefused(Untrusted):
    """A row in the state database disagrees with this worker's own configuration, or with a signature."""

    default_hint = "Somebody or something edited the state database. Treat it as an incident."


class LedgerChanged(Untrusted):
    """Somebody changed, added or removed something in the ledger, the record of events."""

    default_hint = (
        "Compare the digits with the paper first. If they are right, somebody wrote to the state database: "
        "keep a copy of it, treat it as an incident, and use the targets, which do not depend on it."
    )


class LedgerCut(Untrusted):
    """The ledger ends before an event that was printed, or whose signed head is on a target."""

    default_hint = (
        "The database was put back to an earlier state, or its newest events were removed. Look for another "
        "copy of it. Backups do not depend on it: a new one can begin ('strongroom backups rebuild')."
    )
