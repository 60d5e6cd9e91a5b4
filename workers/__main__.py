"""``python -P -m workers ROLE``: one process of the cluster, in the foreground.

``python -P -m workers --healthy [ROLE …]`` tells by its exit status whether the processes of this host work,
or those named: for a container's health check. It asks no network.

``-P`` keeps the current directory off the import path: a file that lies where a person types a command
must not run in a process that holds keys. Once the settings are read the process leaves that directory.

The supervisor, the systemd units and the compose file all start processes this way.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from strongroom.config import Settings
    from workers.app import Strongroom

CRASHED: Final = 1
"""Exit status of a process that ended by a fault of its own, as the command line's."""


def main(role: str) -> int:
    """Run the process of a role; return its exit status."""
    # What runs as the first process of a container ends by no signal that it does not handle. Celery, Flower
    # and the servers put their own handlers in the place of this one.
    signal.signal(signal.SIGTERM, _end)
    import atexit
    import gc
    import logging

    from strongroom.errors import StrongroomError
    from strongroom.system import process
    from strongroom.system.lazy import package_missing, refuse_taken_names
    from workers import logs

    log = logging.getLogger("workers")
    process.keep_in_memory()
    refuse_taken_names()
    atexit.register(gc.freeze)  # Python collects as it ends, and would look through all that ends with it
    os.environ["STRONGROOM_ROLE"] = role
    logs.set_up(role)
    try:
        try:
            _run(role)
        except ModuleNotFoundError as error:
            raise package_missing(error) or error from None
    except StrongroomError as error:
        log.error(
            "process-ended", extra={"why": logs.message_of(error), "hint": error.hint, "code": error.code}
        )
        return error.exit_code
    except Exception:
        log.exception("process-crashed")
        return CRASHED
    return 0


def healthy(roles: Iterable[str]) -> int:
    """Say which processes do not work, and return 1 if there is one."""
    from strongroom.errors import StrongroomError
    from workers import status

    state_dir = os.environ.get("STRONGROOM_STATE_DIR")
    try:
        if state_dir is None:  # then the configuration says it, which may be wrong by now while they work on
            from strongroom.config import load_settings

            state_dir = str(load_settings().state_dir)
        wrong = list(status.unhealthy(Path(state_dir).absolute(), roles))
    except StrongroomError as error:
        wrong = [f"{error.message} {error.hint} Or set STRONGROOM_STATE_DIR for this check."]
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return 1 if wrong else 0


def _run(role: str) -> None:
    from workers import names, paths, status

    if role in (names.METRICS, names.PAGE):
        _serve(role)
        return
    from strongroom.keys.hostlist import require_member
    from strongroom.keys.roles import require_role
    from workers.app import app
    from workers.pools import POOLS

    require_member(paths.role_keys(app.settings.state_dir))
    require_role(paths.role_keys(app.settings.state_dir), role)
    # Flower executes a 'flowerconfig.py' that it finds where it runs.
    os.chdir(paths.private_folder(paths.work_folder(app.settings.state_dir)))
    with status.Pulse(role, app.settings.state_dir) as pulse:
        app.pulse = pulse.beat
        _connect_signals(role)
        if role == names.BEAT:
            while_it_waits = {"errback": lambda *_: pulse.beat()}  # for a broker that is away
            app.conf.task_publish_retry_policy = app.conf.task_publish_retry_policy | while_it_waits
            app.start(["--quiet", "beat", "--loglevel=INFO", "--pidfile="])
        elif role == names.WATCH:
            from workers import flower

            os.environ.update(flower.environment(app.settings))
            flower.ask_login_for_metrics()
            flower.link_to_page(app.settings)
            flower.call_each_round(pulse.beat)
            _begin_host_watch(role, app.settings)
            app.start(["flower"])
        else:
            app.worker_main(POOLS[role].arguments(getattr(app.settings.workers, role)))


def _serve(role: str) -> None:
    from strongroom.config.live import LiveSettings
    from strongroom.keys.hostlist import require_member
    from workers import metrics_server, names, page_server, paths, status

    live = LiveSettings.load()
    require_member(paths.role_keys(live.current.state_dir))
    if role == names.PAGE and live.current.page.act:
        from workers import app  # noqa: F401  # it finds the configuration where this process was started
    os.chdir(paths.private_folder(paths.work_folder(live.current.state_dir)))
    serve = metrics_server.serve if role == names.METRICS else page_server.serve
    with status.Pulse(role, live.current.state_dir) as pulse:
        _begin_host_watch(role, live.current)
        serve(live, on_ready=lambda: status.report_ready(role), on_round=pulse.beat)


def _begin_host_watch(role: str, settings: Settings) -> None:
    """Have what serves HTTP report itself, and look whether its host was removed."""
    from workers.exporter import opener
    from workers.host_watch import HostWatch

    HostWatch(role, settings.state_dir, opener(settings), certifies=False).keep_looking()


def _end(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _connect_signals(role: str) -> None:
    """Hook into the moments that only Celery knows: logging, readiness, after a fork, the end."""
    from celery import signals

    from workers.app import app

    moments = _Moments(app, role)
    for moment, receiver in (
        (signals.setup_logging, moments.keep_our_logging),
        (signals.celeryd_init, moments.begin),
        (signals.beat_init, moments.begin),
        (signals.worker_init, moments.preload),
        (signals.worker_ready, moments.ready),
        (signals.beat_init, moments.ready),
        (signals.beat_init, moments.leave_beat_by_itself),
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
        from strongroom import __version__
        from workers import telemetry

        sentry = self._app.settings.sentry
        telemetry.start(sentry.dsn, process=self._role, release=__version__, environment=sentry.environment)

    def preload(self, **_: Any) -> None:
        import strongroom.wiring.services  # noqa: F401

    def ready(self, **_: Any) -> None:
        from workers import beat_fallback, status

        status.report_ready(self._role)
        beat_fallback.begin(self._app)

    def leave_beat_by_itself(self, **_: Any) -> None:
        """Have a signal only leave beat's loop, which then closes what it has.

        Celery's own handler closes the connection while a message is being sent by it: the error of that
        takes the place of the end, and beat runs on.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)

    def end(self, **_: Any) -> None:
        self._app.refusals.flush()
        self._app.services.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--healthy", *named]:
            sys.exit(healthy(named))
        case [named]:
            sys.exit(main(named))
        case _:
            sys.exit(
                "strongroom: type python -P -m workers ROLE, or --healthy and roles, if not all are meant"
            )
