"""Whether this installation has shredded what somebody wants to bring back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.cli.shared import trust
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.errors import StrongroomError
from strongroom.operations.shredding.errors import BackupShredded

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


def refuse_shredded(installation: InstallationPlace, backup: str) -> None:
    """Raise BackupShredded if the record says so. Where there is no usable record, nothing is said:
    bringing back must work without one."""
    try:
        if (store := find_run_store(installation)) is not None:
            from strongroom.operations.shredding.record import check

            check(store, backup, trust.trusted_signers(installation))
    except BackupShredded:
        raise
    except StrongroomError:
        return


def own_file(installation: InstallationPlace) -> Path | None:
    """Return the file that has the record of an installation, if it is in a file."""
    state = installation.tables.get("state")
    is_elsewhere = isinstance(state, dict) and "url" in state
    return None if is_elsewhere else installation.state_dir / "state.db"


def find_run_store(installation: InstallationPlace) -> RunStore | None:
    """Return the run store of an installation that has one; looking makes none."""
    file = own_file(installation)
    if file is None:
        from strongroom.cli.shared.services import run_store

        return run_store()
    if not file.is_file():
        return None
    from strongroom.state.store import RunStore

    return RunStore(f"sqlite:///{file}")
