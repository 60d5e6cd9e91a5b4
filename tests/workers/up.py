"""``python -m tests.workers.up``: a supervisor for tests. Says "ready" on its stdout."""

from __future__ import annotations

import sys

from strongroom.cli.commands.runs.cluster import RunReporter
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from tests.workers import forked
from workers import logs
from workers.supervisor import Cluster, run_cluster


def ready(_cluster: Cluster) -> None:
    """Tell the test."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logs.set_up("supervisor")
    if "--started" not in sys.argv:
        forked.prepare()
    settings = load_settings()
    chosen = [word for word in sys.argv[1:] if not word.startswith("--")]
    run_cluster(
        settings,
        flower="--flower" in sys.argv,
        metrics="--metrics" in sys.argv,
        page="--page" in sys.argv,
        ephemeral="--ephemeral" in sys.argv,
        pools=chosen or None,
        on_ready=ready,
        log_folder=settings.state_dir / "logs",
        on_line=RunReporter(Output()),
    )
