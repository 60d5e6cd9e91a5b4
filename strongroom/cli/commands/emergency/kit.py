"""recovery-kit: a page to print, with what recovery needs and no secret on it."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime

from strongroom.cli.commands.emergency.kit_facts import kit
from strongroom.cli.commands.keys.signers import list_role_keys
from strongroom.cli.shared.services import services
from strongroom.cli.shared.settings import settings
from strongroom.cli.terminal.output import Output
from strongroom.config import Settings
from strongroom.operations.emergency.kit import render
from strongroom.operations.services import Services
from strongroom.system.atomic_file import write_whole


def write_recovery_kit(arguments: Namespace, output: Output) -> None:
    found = settings()
    html = render_kit(found, services(found), beside=False)
    write_whole(arguments.output, html.encode(), replace=arguments.force)
    words = [
        f"{arguments.output} is the recovery kit. Print it, fill in what is blank, keep it with each medium.",
        "It contains no secret. Print it again when keys, custodians, targets or signers change.",
    ]
    output.answer({"file": str(arguments.output)}, words)


def render_kit(found: Settings, built: Services, *, beside: bool = True) -> str:
    """Return the kit as HTML; ``beside``: it will lie on an emergency medium, with all that belongs there."""
    now = datetime.now(UTC)
    made_at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return render(kit(found, built, list_role_keys(now), made_at=made_at, beside=beside))
