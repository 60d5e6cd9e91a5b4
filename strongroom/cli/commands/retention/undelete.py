"""undelete: keep a backup that is marked to be deleted."""

from __future__ import annotations

from argparse import Namespace

from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.operations.errors import HoldNotWritten
from strongroom.operations.retention.undelete import undelete
from strongroom.system.person import who


def undelete_backup(arguments: Namespace, output: Output) -> None:
    services = open_services(load_settings())
    done = undelete(services, arguments.backup, reason=arguments.reason, by=who())
    for name, why in done.failed.items():
        output.warn(f"the mark could not be written on target '{name}': {why}")
    lacking = sorted(services.targets.keys() - set(done.targets) - done.failed.keys())
    if not services.targets.keys() - done.failed.keys():
        output.end_with(HoldNotWritten("It is on record here, and no target could be given the mark."))
    release = f"strongroom hold release --backup {done.backup}"
    lines = [f"Backup {done.backup} is not deleted. It is held until somebody lets it go: {release}"]
    if lacking:
        lines.append(
            f"It is on {', '.join(done.targets)}. To copy it to others: strongroom repair {done.backup}"
        )
    document = {"backup": done.backup, "targets": list(done.targets), "failed": dict(done.failed)}
    output.answer(document, lines)
