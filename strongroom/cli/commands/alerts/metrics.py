"""metrics: printed, written into a file, or served."""

from __future__ import annotations

import os
from pathlib import Path

from strongroom.cli.commands.alerts.arguments import HandOutMetrics
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.config.live import LiveSettings
from strongroom.errors import UsageError
from strongroom.operations.judge.metrics import as_text
from strongroom.sheet import Lines, Sheet
from strongroom.system import files
from strongroom.system.files import translated
from workers import metrics_server
from workers.exporter import Exporter

SUFFIX = ".prom"
READABLE = 0o644


def hand_out(given: HandOutMetrics, output: Output) -> Answer | None:
    file = given.taker.textfile
    if given.taker.serve:
        live = LiveSettings.load()
        metrics_server.serve(live, on_ready=lambda: _ready(live, output))
        return None
    if file and file.suffix != SUFFIX:
        raise UsageError(f"node_exporter reads only files whose names end in {SUFFIX}.")
    if file:
        _refuse_missing_folder(file)
    exporter = Exporter(LiveSettings.fixed(load_settings()))  # a live one keeps a copy of its file
    exporter.look()
    text = as_text(exporter.observe())
    if file:
        _write(file, text)
        return Answer(record={"written": str(file)}, sheet=Sheet(verdict=f"The metrics are in {file}."))
    shown = Sheet(parts=[Lines(text.decode().splitlines())])
    return Answer(record={"metrics": text.decode()}, sheet=shown)


def _refuse_missing_folder(file: Path) -> None:
    """Say before anything is gathered that the folder is not there: no target has to do with it."""
    with translated(file):
        if not file.parent.is_dir():
            raise UsageError(
                f"There is no directory '{file.parent}'.",
                hint="Nothing was written. Make it, or name the one that node_exporter reads "
                "(--collector.textfile.directory).",
            )


def _write(file: Path, text: bytes) -> None:
    """Write the file whole or not at all: half of one would be read as if the other metrics were gone."""
    with translated(file), files.atomic(file, replace=True, mode=READABLE) as out:
        os.fchmod(out.fileno(), READABLE)  # whatever the umask: another user reads it
        out.write(text)


def _ready(live: LiveSettings, output: Output) -> None:
    where, file = metrics_server.address(live.current), metrics_server.token_file(live.current)
    said = f"Metrics: {where}; the token is in {file}. Ctrl-C stops it."
    output.give(Answer(record={"serving": where}, sheet=Sheet(verdict=said)))
    output.settle()
