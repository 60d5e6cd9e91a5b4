"""up: the whole cluster on this machine, until Ctrl-C."""

from __future__ import annotations

import time
from argparse import Namespace
from collections import deque
from collections.abc import Mapping
from shlex import quote
from typing import Any, Final

from strongroom.cli.shared.cluster_logs import log_to
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line
from strongroom.config import Settings, load_settings
from strongroom.durations import measured
from strongroom.sheet import Lines, Sheet
from strongroom.state.records import StepKind
from strongroom.timestamps import for_people
from strongroom.wiring.calendar import calendar
from workers import flower, http_server, metrics_server, page_server
from workers.pools import POOLS
from workers.supervisor import Cluster, run_cluster

SOON: Final = 3
"""Entries of the calendar that are named as the next."""
REMEMBERED: Final = 1000
"""Things that were said, so that they are not said again."""


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
        on_line=RunReporter(output),
    )
    output.note("The cluster has stopped. Nothing is left running.")


def _ready(cluster: Cluster, settings: Settings, arguments: Namespace, output: Output) -> None:
    processes = {child.name: child.pid for child in cluster.children}
    broker = settings.broker.url or "the embedded broker"
    lines = [f"The cluster is up ({', '.join(processes)}) and does what {broker} brings. Ctrl-C stops it."]
    if arguments.flower:
        where, file = http_server.address(settings.served(settings.flower)), flower.password_file(settings)
        lines.append(f"Flower: {where}; user '{settings.flower.user}', its password: cat {quote(str(file))}")
    if arguments.metrics:
        where, file = metrics_server.address(settings), metrics_server.token_file(settings)
        lines.append(f"Metrics: {where}; the token: cat {quote(str(file))}")
    if arguments.page:
        where, file = page_server.address(settings), page_server.password_file(settings)
        lines.append(f"Page: {where}; user '{settings.page.user}', its password: cat {quote(str(file))}")
    lines.append(_next(settings))
    output.give(Answer(record={"ready": True, "processes": processes}, sheet=Sheet(parts=[Lines(lines)])))
    output.settle()


def _next(settings: Settings) -> str:
    """Say what runs next by itself."""
    now = time.time()
    on = (entry for entry in calendar(settings) if not (entry.needs or entry.offline))
    due = sorted((at, entry.name) for entry in on if (at := entry.next(now)) is not None)
    shown = "; ".join(f"{in_line(name)} at {for_people(at)}" for at, name in due[:SOON])
    return f"Next: {shown or 'nothing is scheduled'}. 'strongroom schedule' shows all."


class RunReporter:
    """Says in one line each what becomes of runs: each begins once, and waits for one thing once."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._said: deque[tuple[str, ...]] = deque(maxlen=REMEMBERED)

    def __call__(self, line: Mapping[str, Any]) -> None:
        at = f"{str(line['at'])[:19]}Z"
        match line["event"]:
            case "run-begun":
                why = f"{in_line(str(line['slot']))} is due" if line["slot"] else "somebody asked for it"
                self._once(("begun", line["run"]), f"{at} {_who(line)}: begins, {why} ({line['run']})")
            case "step-waits":
                what = f"run {line['run']} waits at {in_line(str(line['step']))}: {line['error_class']}"
                key = ("waits", line["run"], str(line["error_class"]))
                self._once(key, f"{at} {what}. See 'strongroom runs show {line['run']}'.")
            case "settings-taken" | "settings-refused" | "settings-wait-for-restart":
                self._tell_settings(at, line)
            case "run-done":
                took = measured(line["seconds"])
                self._output.note(f"{at} {_who(line)}: done in {took} ({line['run']})")
            case "run-cancelled":
                self._output.note(f"{at} {_who(line)}: cancelled ({line['run']})")
            case "run-degraded" | "run-failed" as event:
                how = "degraded" if event == "run-degraded" else "FAILED"
                see = f"'strongroom runs show {line['run']}' says why."
                self._output.warn(f"{at} {_who(line)}: {how}{_where(line)}: {line['error_class']}. {see}")

    def _tell_settings(self, at: str, line: Mapping[str, Any]) -> None:
        file, key = f"{at} the changed {line['file']}", (line["event"], str(line["sha256"]))
        match line["event"]:
            case "settings-taken":
                self._once(key, f"{file} is in force")
            case "settings-refused":
                why = f"{in_line(str(line['why']))}. 'strongroom check config' shows all."
                self._once(key, f"{file} is wrong, so the settings before it stay in force: {why}", warn=True)
            case _:
                what = f"{file} waits for a restart of 'strongroom up' ({line['sections']})"
                self._once(key, what, warn=True)

    def _once(self, key: tuple[str, ...], words: str, *, warn: bool = False) -> None:
        if key not in self._said:
            self._said.append(key)
            (self._output.warn if warn else self._output.note)(words)


def _who(line: Mapping[str, Any]) -> str:
    return f"{line['kind']} of '{in_line(str(line['policy']))}'"


def _where(line: Mapping[str, Any]) -> str:
    """Return at which step, and on which target, where one is known."""
    target = f" ({in_line(str(line['target']))})" if line["target"] else ""
    return f" at {in_line(str(line['step']))}{target}" if line["step"] != StepKind.REPORT else ""
