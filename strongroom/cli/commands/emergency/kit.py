"""recovery-kit: a page to print, with what recovery needs and no secret on it."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime

from strongroom.cli.commands.emergency.kit_facts import kit
from strongroom.cli.shared.role_keys import list_role_keys
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import Settings, load_settings
from strongroom.operations.emergency.kit import render
from strongroom.operations.services import Services
from strongroom.sheet import Sheet
from strongroom.system.atomic_file import write_whole


def write_recovery_kit(arguments: Namespace, output: Output) -> Answer:
    settings = load_settings()
    html = render_kit(settings, open_services(settings), beside=False)
    write_whole(arguments.output, html.encode(), replace=arguments.force)
    said = (
        f"{arguments.output} is the recovery kit. Print it, fill in what is blank, keep it with each medium."
    )
    about = "It contains no secret. Print it again when keys, custodians, targets or signers change."
    return Answer(record={"file": arguments.output}, sheet=Sheet(verdict=said, about=about))


def render_kit(settings: Settings, services: Services, *, beside: bool = True) -> str:
    """Return the kit as HTML; ``beside``: it will lie on an emergency medium, with all that belongs there."""
    now = datetime.now(UTC)
    made_at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return render(kit(settings, services, list_role_keys(now), made_at=made_at, beside=beside))
