"""``python -P -m workers ROLE``: one process of the cluster, in the foreground.

``-P`` keeps the current directory off the import path: a file that lies where a person types a command
must not run in a process that holds keys. Once the settings are read the process leaves that directory.

The supervisor, the systemd units and the compose file all start processes this way.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
from typing import Any, Final

from celery import signals

from strongroom import __version__
from strongroom.errors import StrongroomError
from workers import beat_fallback, flower, logs, names, paths, status, telemetry

log = logging.getLogger("workers")

CRASHED: Final = 70
"""Exit status (``EX_SOFTWARE``) of a process that ended by a fault of its own."""


def main(role: str) -> int:
    """Run the process of a role; return its exit status."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["STRONGROOM_ROLE"] = role
    logs.set_up(role)
    try:
        _run(role)
    except StrongroomError as error:
        log.error(error.message, extra={"hint": error.hint, "code": error.code})
        return error.exit_code
    except Exception:
        log.exception("process-crashed")
        return CRASHED
    return 0


def _run(role: str) -> None:
    from workers.app import app
    from workers.pools import POOLS

    # Flower executes a 'flowerconfig.py' that it finds where it runs.
    os.chdir(paths.private_folder(paths.work_folder(app.settings.state_dir)))
    _connect_signals(role)
    if role == names.BEAT:
        app.start(["--quiet", "beat", "--loglevel=INFO", "--pidfile="])
    elif role == names.WATCH:
        os.environ.update(flower.environment(app.settings))
        flower.ask_login_for_metrics()
        app.start(["flower"])
    else:
        app.worker_main(POOLS[role].arguments(getattr(app.settings.workers, role)))


def _connect_signals(role: str) -> None:
    """Hook into the moments that only Celery knows: logging, readiness, after a fork, the end."""
    from workers.app import app

    settings = app.settings

    def keep_our_logging(**_: Any) -> None:
        """Being connected is enough: Celery then leaves the root logger alone."""

    def begin(**_: Any) -> None:
        telemetry.start(
            settings.sentry.dsn, process=role, release=__version__, environment=settings.sentry.environment
        )

    def ready(**_: Any) -> None:
        status.report_ready(role)
        beat_fallback.begin(app)

    def preload(**_: Any) -> None:
        import strongroom.wiring.services  # noqa: F401

    def end(**_: Any) -> None:
        app.refusals.flush()
        app.services.close()

    for signal, receiver in (
        (signals.setup_logging, keep_our_logging),
        (signals.celeryd_init, begin),
        (signals.beat_init, begin),
        (signals.worker_init, preload),
        (signals.worker_ready, ready),
        (signals.beat_init, ready),
        (signals.worker_process_shutdown, end),
        (signals.worker_shutdown, end),
    ):
        signal.connect(receiver, weak=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
