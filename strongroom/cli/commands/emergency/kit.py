"""recovery-kit: a page to print, with what recovery needs and no secret on it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.cli.commands.keys.signers import known
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output

if TYPE_CHECKING:
    from strongroom.config import Settings
    from strongroom.operations.services import Services


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="the HTML file to write")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def _kit(arguments: Namespace, output: Output) -> None:
    from strongroom.cli.shared.settings import services, settings  # noqa: PLC0415 - the run store
    from strongroom.system.atomic_file import write_whole  # noqa: PLC0415

    found = settings()
    html = rendered(found, services(found), beside=False)
    write_whole(arguments.output, html.encode(), replace=arguments.force)
    words = [
        f"{arguments.output} is the recovery kit. Print it, fill in what is blank, keep it with each medium.",
        "There is no secret on it. Print it anew when keys, custodians, targets or signers change.",
    ]
    output.answer({"file": str(arguments.output)}, words)


def rendered(found: Settings, built: Services, *, beside: bool = True) -> str:
    """Return the kit as HTML; ``beside``: it will lie on an emergency medium, with all that belongs there."""
    from strongroom.cli.commands.emergency.kit_facts import kit  # noqa: PLC0415
    from strongroom.operations.emergency.kit import render  # noqa: PLC0415

    now = datetime.now(UTC)
    made_at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return render(kit(found, built, known(now), made_at=made_at, beside=beside))


COMMANDS = {
    "recovery-kit": Command(
        _arguments, _kit, "Who can open what, where it lies, whose signature to believe, what to type."
    )
}
