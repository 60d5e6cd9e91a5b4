"""up: the whole cluster on this machine, until Ctrl-C."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from cli.command import Command
from cli.output import Output
from cli.settings import settings

if TYPE_CHECKING:
    from strongroom.config import Settings
    from workers.supervisor import Cluster


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--flower", action="store_true", help="run the task monitor too; it asks for a login")
    parser.add_argument(
        "--ephemeral",
        action="store_true",
        help="use a stand-in for the broker that keeps no queue over a restart",
    )


def _up(arguments: Namespace, output: Output) -> None:
    from workers.logs import set_up  # noqa: PLC0415 - Celery
    from workers.supervisor import run_cluster  # noqa: PLC0415

    found = settings()
    set_up("up")
    run_cluster(
        found,
        flower=arguments.flower,
        ephemeral=arguments.ephemeral,
        on_ready=lambda cluster: _ready(cluster, found, arguments, output),
    )
    output.note("The cluster has stopped. Nothing is left running.")


def _ready(cluster: Cluster, found: Settings, arguments: Namespace, output: Output) -> None:
    processes = {child.name: child.pid for child in cluster.children}
    lines = [
        f"The cluster is up: {', '.join(processes)}.",
        f"Work submitted to {found.broker.url or 'the embedded broker'} is done. Ctrl-C stops it.",
    ]
    if arguments.flower:
        lines.append(f"Flower: http://{found.flower.host}:{found.flower.port} (user '{found.flower.user}')")
    output.answer({"ready": True, "processes": processes}, lines)


COMMANDS = {
    "up": Command(
        _arguments,
        _up,
        "Broker (embedded, unless the configuration names one), worker pools and beat. What exits is\n"
        "started again; Ctrl-C stops in order: what runs is finished or handed back.",
    )
}
