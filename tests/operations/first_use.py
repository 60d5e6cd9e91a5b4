"""``python -m tests.operations.first_use FOLDER``: names the records that msgspec prepared late.

It does so when it first reads one. Two first uses at once, in threads, end the process: so
all must be prepared when their modules are imported. Runs every kind of run in one thread
and says, a line each, which records were not.
"""

from __future__ import annotations

import gc
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from strongroom.config import load_settings
from strongroom.model import Depth
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.drills.facts import DrillOptions
from strongroom.operations.drills.job import submit_drill
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions
from strongroom.state.records import RunState
from strongroom.wiring.services import build_services
from tests.chaos.place import POLICY, made_up, make_place


def import_all(package: str) -> None:
    """Import a package with all that is in it."""
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not found.name.endswith((".__main__", ".env", ".app")) and "versions" not in found.name:
            importlib.import_module(found.name)


def unprepared() -> set[type[msgspec.Struct]]:
    """Return the records that msgspec has not looked at yet: they hold none of its notes."""
    return {record for record in _below(msgspec.Struct) if not _is_prepared(record)}


def _below(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for record in kind.__subclasses__():
        yield record
        yield from _below(record)


def _is_prepared(record: type[msgspec.Struct]) -> bool:
    return any(type(held).__name__ == "StructInfo" for held in gc.get_referents(record))


def perform_all(services: Services) -> None:
    """Make a backup and do with it all that can be done."""

    def through(submitted: Submitted) -> str:
        run = drive(*submitted, services, processes=1)
        assert run.state is RunState.DONE, run.error
        return run.id

    backup = through(submit_backup(services, policy=POLICY))
    through(submit_verify(services, backup=backup, depth=Depth.COMPARED))
    through(submit_repair(services, backup=backup))
    options = RestoreOptions(destination="local", overwrite=True)
    through(submit_restore(services, backup=backup, options=options))
    through(submit_drill(services, policy=POLICY, options=DrillOptions(objective_seconds=60)))


def main(folder: Path) -> None:
    for package in ("strongroom", "workers"):
        import_all(package)
    place = make_place(folder, made_up(2, seed=1), opens=True, depth="compared")
    services = build_services(load_settings(dict(place.environment)), role="operator")
    before = unprepared()
    with closing(services.store):
        perform_all(services)
    for record in before - unprepared():
        sys.stdout.write(f"{record.__module__}.{record.__qualname__}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
