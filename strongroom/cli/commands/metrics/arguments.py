"""What the command of this room takes."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from strongroom.cli.terminal.command import Command


def _metrics_arguments(parser: ArgumentParser) -> None:
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--textfile",
        type=Path,
        metavar="FILE",
        help="write them into a file for node_exporter, readable to all; its name ends in .prom",
    )
    way.add_argument(
        "--serve",
        action="store_true",
        help="serve them over HTTP until stopped, as [metrics] of the configuration says",
    )


COMMANDS = {
    "metrics": Command(
        _metrics_arguments,
        "metrics:hand_out",
        "Prints them in Prometheus' text format, after a check of the targets. With --serve the record is\n"
        "read at each scrape, and the targets are checked every metrics.check_targets. It needs no beat,\n"
        "broker or worker (docs/how-to/scrape-metrics.md).",
    ),
}
