"""The local cluster: broker, one worker process a pool, beat, and Flower on request.

Starts them, starts again what exits, and on SIGINT or SIGTERM stops them in an order that
loses nothing: first beat, so that nothing new is asked for; then the workers, which finish
what they run or hand it back; the broker last. A supervisor that is itself killed takes all
of it along (Linux), and the run record knows what was running.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Final

from strongroom.config import Settings
from strongroom.config.live import LAST_GOOD
from strongroom.errors import UsageError
from strongroom.keys.hostlist import own_roles, require_member
from strongroom.keys.roles import load_or_create_role
from strongroom.system import files
from workers import broker, environment, memory_broker, names, paths, status
from workers.errors import BrokerRefused, BrokerUnavailable, ProcessNotStarted
from workers.pools import POOLS
from workers.process import Child, ChildLog, LogFile, OnLine, Wakeup

log = logging.getLogger(__name__)

BROKER_SECONDS: Final = 20.0
ROOM: Final = 1 << 16
GIVEN_UP: Final = 4
"""Ends in a row of a process, before the cluster was up, after which somebody who waits for it is told."""
LOOK_AGAIN: Final = 5.0
"""Seconds between two looks whether what a cluster needs for its start is there now."""

Steps = Sequence[tuple[signal.Signals, float]]
SOON: Final[Steps] = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
WARM_FIRST: Final[Steps] = ((signal.SIGTERM, 20.0), (signal.SIGQUIT, 20.0), (signal.SIGKILL, 5.0))
"""Finish what runs; then hand it back to the broker; then, at last, be killed."""

OnReady = Callable[["Cluster"], None]


class Cluster:
    """A running cluster. Made by :func:`run_cluster`; ``stop`` may be called from any thread.

    Args:
        settings: the configuration.
        flower: run Flower too.
        metrics: serve metrics too.
        page: serve the page too.
        ephemeral: use the stand-in broker that keeps nothing.
        pools: which pools to run.
        log_folder: where each process's output goes; to ours if left out.
        on_line: called with each line that a process logs, if it goes to a folder.
        attended: a person waits for it, so a process that cannot start ends it.
        beat: run beat too.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        flower: bool,
        metrics: bool,
        page: bool,
        ephemeral: bool,
        pools: Sequence[str],
        log_folder: Path | None,
        on_line: OnLine,
        attended: bool,
        beat: bool = True,
    ) -> None:
        self.settings = settings
        self._attended = attended
        self._state = settings.state_dir
        self._logs = log_folder
        self._on_line = on_line
        self._open = ExitStack()
        self._wakeup = Wakeup()
        self._open.callback(self._wakeup.close)
        self._broker = None if settings.broker.url else self._embedded(ephemeral=ephemeral)
        self._workers = [self._python(role) for role in pools]
        others = ((names.WATCH, flower), (names.METRICS, metrics), (names.PAGE, page))
        self._scheduling = [self._python(names.BEAT)] if beat else []
        self._unready = {child.name for child in (*self._workers, *self._scheduling)}
        self._scheduling += [self._python(role) for role, wanted in others if wanted]

    @property
    def children(self) -> list[Child]:
        """All processes, in the order in which they start."""
        return [*([self._broker] if self._broker else []), *self._workers, *self._scheduling]

    def stop(self) -> None:
        """Ask it to stop; again to hurry it."""
        self._wakeup.stop()

    def run(self, on_ready: OnReady | None = None) -> signal.Signals | None:
        """Run until told to stop; leave nothing running. Returns the signal that told it, if one did."""
        with self._open, self._wakeup.listening():
            try:
                self._start()
                self._watch(on_ready)
            finally:
                self._stop()
        return self._wakeup.stopped_by

    # -- what runs -------------------------------------------------------------

    def _embedded(self, *, ephemeral: bool) -> Child:
        if ephemeral:
            log.warning(memory_broker.WARNING)
        make = broker.ephemeral_command if ephemeral else broker.embedded_command
        return Child(
            environment.BROKER,
            make(self._state),
            environment=environment.for_role(environment.BROKER, os.environ),
            on_orphaned=signal.SIGTERM,  # it writes out what it holds
            child_log=self._child_log(environment.BROKER, paths.broker_data(self._state)),
        )

    def _python(self, role: str) -> Child:
        told = {status.READY_FD: str(self._wakeup.ready_fd), "STRONGROOM_STATE_DIR": str(self._state)}
        return Child(
            role,
            [sys.executable, "-P", "-m", "workers", role],
            environment=environment.for_role(role, os.environ) | told,
            child_log=self._child_log(role, self._logs),
            inherit=[self._wakeup.ready_fd],
        )

    def _child_log(self, name: str, folder: Path | None) -> ChildLog | None:
        if folder is None:
            return None
        file = LogFile(paths.private_folder(folder) / f"{name}.log")
        return ChildLog(name, file, wakeup=self._wakeup, on_line=self._on_line)

    # -- its life --------------------------------------------------------------

    def _start(self) -> None:
        status.write(self._state, self.children)
        if self._broker is not None:
            self._begin(self._broker)
            if not self._await(self._broker):
                self._start_empty(self._broker)
        else:
            self._await_configured(broker.broker_url(self.settings))
        for child in (*self._workers, *self._scheduling):
            if not self._wakeup.stops:
                self._begin(child)

    def _start_empty(self, server: Child) -> None:
        """Start the broker without what it kept, which it could not read: a torn file, or one of another
        server program. The record knows every run, and sends again what the broker had."""
        folder = paths.broker_data(self._state)
        if server.pid is None and (aside := broker.set_aside(self._state)):
            log.warning("broker-data-set-aside", extra={"folder": str(aside)})
            self._begin(server)
            if self._await(server):
                return
        raise BrokerUnavailable(
            f"the embedded broker did not start; see the log in {folder}",
            hint="Put right what the log says, then start 'strongroom up' again.",
        )

    def _await(self, server: Child) -> bool:
        """Tell whether it answers; not if it ended, or if it takes too long."""
        until = time.monotonic() + BROKER_SECONDS
        while not self._wakeup.stops and not self._answers():
            if server.reap() is not None or time.monotonic() > until:
                return False
            self._wakeup.wait(0.05)
        return True

    def _await_configured(self, url: str) -> None:
        """Wait for the broker that the settings name: it may start later than this machine, or fail over."""
        while not self._wakeup.stops:
            try:
                broker.check(url, tls=broker.tls_options(self.settings.broker))
            except BrokerRefused:
                raise
            except BrokerUnavailable as error:
                _say_once(f"{error.message}; the cluster starts as soon as it does")
                self._wakeup.wait(LOOK_AGAIN)
            else:
                return

    def _answers(self) -> bool:
        with suppress(BrokerUnavailable):
            broker.check(broker.broker_url(self.settings))
            return True
        return False

    def _watch(self, on_ready: OnReady | None) -> None:
        while not self._wakeup.stops:
            self._unready -= self._wakeup.wait(self._until_due())
            if on_ready is not None and not self._unready:
                on_ready(self)
                on_ready = None
            for child in self.children:
                self._revive(child)

    def _until_due(self) -> float | None:
        waiting = [child.due for child in self.children if child.pid is None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _revive(self, child: Child) -> None:
        if (code := child.reap()) is not None:
            why = child.child_log.last_error if child.child_log else ""
            again_in = round(max(0.0, child.due - time.monotonic()), 1)
            log.warning(
                "process-exited",
                extra={
                    "child": child.name,
                    "status": code,
                    "why": why,
                    "in_a_row": child.failures,
                    "again_in": again_in,
                },
            )
            self._note()
            require_member(paths.role_keys(self._state))  # then it ended by itself, and would again
            if self._attended and self._unready and child.failures >= GIVEN_UP:
                raise ProcessNotStarted(
                    f"the process '{child.name}' ended {child.failures} times in a row, before the cluster "
                    f"was up: {why or f'status {code}'}"
                )
        if child.pid is None and child.due <= time.monotonic() and not self._wakeup.stops:
            self._begin(child)

    def _begin(self, child: Child) -> None:
        child.start()
        log.info("process-started", extra={"child": child.name, "pid": child.pid, "start": child.starts})
        self._note()

    def _note(self) -> None:
        """Write down which processes there are. A disk that is full by now must not end them."""
        try:
            status.write(self._state, self.children)
        except OSError as error:
            log.warning("status-not-written", extra={"why": os.strerror(error.errno or 0)})

    def _stop(self) -> None:
        self._end(self._scheduling, SOON)
        self._end(self._workers, WARM_FIRST)
        self._end([self._broker] if self._broker else [], SOON)
        broker.forget_ephemeral(self._state)
        status.remove(self._state, [child.name for child in self.children])
        (self._state / LAST_GOOD).unlink(missing_ok=True)

    def _end(self, children: Iterable[Child], escalation: Steps) -> None:
        running = [child for child in children if child.pid is not None]
        for number, patience in escalation:
            for child in running:  # a main process lets its pool finish; only SIGKILL is for all
                child.signal(number, group=number is signal.SIGKILL)
            running = self._await_end(running, patience)

    def _await_end(self, children: list[Child], patience: float) -> list[Child]:
        until, asked = time.monotonic() + patience, self._wakeup.stops
        children = [child for child in children if child.reap() is None]
        while children and time.monotonic() < until and self._wakeup.stops == asked:
            self._wakeup.wait(until - time.monotonic())
            children = [child for child in children if child.reap() is None]
        return children


def run_cluster(
    settings: Settings,
    *,
    flower: bool = False,
    metrics: bool = False,
    page: bool = False,
    ephemeral: bool = False,
    on_ready: OnReady | None = None,
    pools: Sequence[str] | None = None,
    log_folder: Path | None = None,
    on_line: OnLine = lambda _line: None,
    attended: bool = False,
) -> signal.Signals | None:
    """Run the whole cluster until SIGINT, SIGTERM or ``Cluster.stop``; then leave nothing running.

    Returns the signal that ended it, if one did.

    Call from the main thread. ``on_ready`` is called in it once every process is ready, and
    must not take long; give work of its own a thread, and let that call ``stop``.

    One of several hosts runs what it has roles for, and no more.

    Waits for a configured broker that does not answer, and for room under the state directory: nobody may be
    there to start it again when the night's backup is due.

    Raises:
        UsageError: a cluster runs on this state directory already.
        ConfigError: there is no server program for the embedded broker.
        BrokerUnavailable: the embedded broker does not start, or the configured one refuses the login.
        ProcessNotStarted: ``attended``, and a process cannot start.
        HostRemoved: this host was thrown out, before or meanwhile.
    """
    require_member(paths.role_keys(settings.state_dir))
    chosen = [pool.role for pool in POOLS.values() if pool.always] if pools is None else list(pools)
    own = own_roles(paths.role_keys(settings.state_dir))
    if own is not None:
        chosen = [role for role in chosen if role in own]
        if not chosen and names.BEAT not in own:
            raise UsageError(
                "This host has no role that a process plays.",
                hint="'strongroom cluster hosts' shows what it has. A new token grants it more.",
            )
    make = partial(
        Cluster,
        settings,
        flower=flower,
        metrics=metrics,
        page=page,
        ephemeral=ephemeral,
        pools=chosen,
        log_folder=log_folder,
        on_line=on_line,
        attended=attended,
        beat=own is None or names.BEAT in own,
    )
    while True:
        try:
            return _run_alone(settings.state_dir, make, on_ready, acts=page and settings.page.act)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        _say_once(f"the disk under {settings.state_dir} is full; the cluster starts as soon as there is room")
        if stopped_by := _stopped_within(LOOK_AGAIN):
            return stopped_by


def _run_alone(
    state_dir: Path, make: Callable[[], Cluster], on_ready: OnReady | None, *, acts: bool
) -> signal.Signals | None:
    """Run a cluster to its end. Raises OSError if there is no room for what it keeps beside the database."""
    with _alone(state_dir):
        _need_room(state_dir)
        own = own_roles(paths.role_keys(state_dir))
        for role in names.roles_in_use(page_acts=acts) if own is None else own:
            load_or_create_role(paths.role_keys(state_dir), role)
        return make().run(on_ready)


def _need_room(state_dir: Path) -> None:
    """Raise what the system says if there is no room for even the first that a cluster writes: its keys."""
    with tempfile.TemporaryFile(dir=paths.run_folder(state_dir)) as file:
        file.write(bytes(ROOM))
        file.flush()


def _stopped_within(seconds: float) -> signal.Signals | None:
    wakeup = Wakeup()
    with closing(wakeup), wakeup.listening():
        wakeup.wait(seconds)
        return wakeup.stopped_by


@cache
def _say_once(words: str) -> None:
    log.warning(words)


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    folder = paths.private_folder(paths.run_folder(state_dir))
    try:
        lock = files.open_locked(folder / "up.lock", os.O_RDWR | os.O_CREAT, wait=False)
    except BlockingIOError:
        hint = "Stop it with Ctrl-C where it runs, or use another state directory."
        raise UsageError(f"a cluster already runs on {state_dir}", hint=hint) from None
    try:
        broker.forget_ephemeral(state_dir)
        yield
    finally:
        os.close(lock)
