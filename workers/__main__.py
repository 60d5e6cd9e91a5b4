"""``python -P -m workers ROLE``: one process of the cluster, in the foreground.

``-P`` keeps the current directory off the import path: a file that lies where a person types a command
must not run in a process that holds keys. Once the settings are read the process leaves that directory.

The supervisor, the systemd units and the compose file all start processes this way.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from celery import signals

from strongroom import __version__
from strongroom.errors import StrongroomError
from strongroom.system import process
from strongroom.system.lazy import package_missing
from workers import beat_fallback, flower, logs, names, paths, status, telemetry
from workers.logs import message_of

if TYPE_CHECKING:
    from workers.app import Strongroom

log = logging.getLogger("workers")

CRASHED: Final = 70
"""Exit status (``EX_SOFTWARE``) of a process that ended by a fault of its own."""


def main(role: str) -> int:
    """Run the process of a role; return its exit status."""
    process.keep_in_memory()
    atexit.register(gc.freeze)  # Python collects as it ends, and would look through all that ends with it
    os.environ["STRONGROOM_ROLE"] = role
    logs.set_up(role)
    try:
        try:
            _run(role)
        except ModuleNotFoundError as error:
            raise package_missing(error) or error from None
    except StrongroomError as error:
        log.error("process-ended", extra={"why": message_of(error), "hint": error.hint, "code": error.code})
        return error.exit_code
    except Exception:
        log.exception("process-crashed")
        return CRASHED
    return 0


def _run(role: str) -> None:
    if role in (names.METRICS, names.PAGE):
        _serve(role)
        return
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
        flower.link_to_page(app.settings)
        app.start(["flower"])
    else:
        app.worker_main(POOLS[role].arguments(getattr(app.settings.workers, role)))


def _serve(role: str) -> None:
    from strongroom.config.live import LiveSettings
    from workers import metrics_server, page_server

    live = LiveSettings.load()
    os.chdir(paths.private_folder(paths.work_folder(live.current.state_dir)))
    signal.signal(signal.SIGTERM, _end)  # as the first process of a container it has no other handler
    serve = metrics_server.serve if role == names.METRICS else page_server.serve
    serve(live, on_ready=lambda: status.report_ready(role))


def _end(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _connect_signals(role: str) -> None:
    """Hook into the moments that only Celery knows: logging, readiness, after a fork, the end."""
    from workers.app import app

    moments = _Moments(app, role)
    for moment, receiver in (
        (signals.setup_logging, moments.keep_our_logging),
        (signals.celeryd_init, moments.begin),
        (signals.beat_init, moments.begin),
        (signals.worker_init, moments.preload),
        (signals.worker_ready, moments.ready),
        (signals.beat_init, moments.ready),
        (signals.worker_process_shutdown, moments.end),
        (signals.worker_shutdown, moments.end),
    ):
        moment.connect(receiver, weak=False)


class _Moments:
    """What a process does at the moments that Celery signals."""

    def __init__(self, app: Strongroom, role: str) -> None:
        self._app, self._role = app, role

    def keep_our_logging(self, **_: Any) -> None:
        """Being connected is enough: Celery then leaves the root logger alone."""

    def begin(self, **_: Any) -> None:
        sentry = self._app.settings.sentry
        telemetry.start(sentry.dsn, process=self._role, release=__version__, environment=sentry.environment)

    def preload(self, **_: Any) -> None:
        import strongroom.wiring.services  # noqa: F401

    def ready(self, **_: Any) -> None:
        status.report_ready(self._role)
        beat_fallback.begin(self._app)

    def end(self, **_: Any) -> None:
        self._app.refusals.flush()
        self._app.services.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
