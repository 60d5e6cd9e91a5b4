"""up: the whole cluster on this machine, until Ctrl-C."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from shlex import quote
from typing import Any

from strongroom.cli.shared.cluster_logs import log_to
from strongroom.cli.terminal.output import Output, in_line
from strongroom.config import Settings, load_settings
from strongroom.durations import measured
from workers import flower, metrics_server, page_server
from workers.pools import POOLS
from workers.supervisor import Cluster, run_cluster


def start_cluster(arguments: Namespace, output: Output) -> None:
    settings = load_settings()
    logs = settings.state_dir / "logs"
    log_to(logs, output)
    output.note(f"Starting the cluster; its logs: {logs}")
    run_cluster(
        settings,
        flower=arguments.flower,
        metrics=arguments.metrics,
        page=arguments.page,
        ephemeral=arguments.ephemeral,
        pools=[pool.role for pool in POOLS.values() if pool.always or arguments.with_recover],
        on_ready=lambda cluster: _ready(cluster, settings, arguments, output),
        log_folder=logs,
        on_line=lambda line: _tell(line, output),
    )
    output.note("The cluster has stopped. Nothing is left running.")


def _ready(cluster: Cluster, settings: Settings, arguments: Namespace, output: Output) -> None:
    processes = {child.name: child.pid for child in cluster.children}
    broker = settings.broker.url or "the embedded broker"
    lines = [f"The cluster is up ({', '.join(processes)}) and does what {broker} brings. Ctrl-C stops it."]
    if arguments.flower:
        where = f"http://{settings.flower.host}:{settings.flower.port}"
        file = flower.password_file(settings)
        lines.append(f"Flower: {where}; user '{settings.flower.user}', its password: cat {quote(str(file))}")
    if arguments.metrics:
        where, file = metrics_server.address(settings.metrics), metrics_server.token_file(settings)
        lines.append(f"Metrics: {where}; the token: cat {quote(str(file))}")
    if arguments.page:
        where, file = page_server.address(settings), page_server.password_file(settings)
        lines.append(f"Page: {where}; user '{settings.page.user}', its password: cat {quote(str(file))}")
    output.answer({"ready": True, "processes": processes}, lines)
    output.settle()


def _tell(line: Mapping[str, Any], output: Output) -> None:
    """Say what became of a run, in one line."""
    event = line["event"]
    if event not in ("run-done", "run-degraded", "run-failed", "run-cancelled"):
        return
    who = f"{str(line['at'])[:19]}Z {line['kind']} of '{line['policy']}'"
    see = f"See 'strongroom status {line['run']}'."
    if event == "run-done":
        output.note(f"{who}: done in {measured(line['seconds'])} ({line['run']})")
    elif event == "run-cancelled":
        output.note(f"{who}: cancelled ({line['run']})")
    else:
        how = "degraded" if event == "run-degraded" else f"FAILED at {line['step']}"
        why = in_line(str(line["why"]).partition("\n")[0]).rstrip(".")
        output.warn(f"{who}: {how}: {why}. {see}")
