"""The log of a cluster that a command runs: in a file, and to a person what matters."""

from __future__ import annotations

import logging
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path

from strongroom.cli.terminal.output import Output, in_line
from workers.child_logs import KEPT, LIMIT
from workers.logs import JsonLines
from workers.paths import private_folder


def log_to(folder: Path, output: Output | None) -> None:
    """Log in ``folder``, as the processes do; what a person should know is said as well."""
    file = RotatingFileHandler(private_folder(folder) / "up.log", maxBytes=LIMIT, backupCount=KEPT)
    file.setFormatter(JsonLines("up"))
    handlers: list[logging.Handler] = [file]
    if output is not None:
        said = logging.Handler(logging.INFO)
        said.emit = lambda record: _say(record, output)  # type: ignore[method-assign]
        handlers.append(said)
    logging.raiseExceptions = False  # a disk that is full is told, and not by the traceback of each line
    logging.basicConfig(handlers=handlers, level=logging.INFO, force=True)


def _say(record: LogRecord, output: Output) -> None:
    found = record.__dict__
    if record.levelno >= logging.WARNING:
        output.warn(_in_words(record))
    elif record.getMessage() == "process-started" and found["start"] > 1:
        output.note(f"the process '{found['child']}' runs again (start {found['start']})")


def _in_words(record: LogRecord) -> str:
    found = record.__dict__
    if (child := found.get("child")) is None:
        return record.getMessage()
    why = f": {in_line(found['why'])}" if found["why"] else ""
    often = f", {found['in_a_row']} times in a row" if found["in_a_row"] > 1 else ""
    return (
        f"the process '{child}' exited (status {found['status']}{often}) and is started again "
        f"in {found['again_in']:g} s{why}"
    )
