"""The demo's backup: through the real cluster, by a Celery task, followed by its run record."""

from __future__ import annotations

import threading
from collections.abc import Callable

from strongroom.cli.commands.setup.demo_display import Note, Stages
from strongroom.cli.commands.setup.demo_place import POLICY, Scratch
from strongroom.cli.shared.await_run import follow
from strongroom.cli.shared.cluster_logs import log_to
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.operations.errors import RunFailed
from strongroom.state.records import Replica, Run, RunState, StepKind
from strongroom.state.store import RunStore
from workers.broker import find_server
from workers.supervisor import Cluster, run_cluster


class DemoBackup:
    """What the cluster made: the run, its steps' times, its replicas."""

    def __init__(self, run: Run, store: RunStore) -> None:
        self.run = run
        self.rows = store.rows(run.id)
        self.replicas: list[Replica] = store.replicas(run.id)

    def spent(self, kind: StepKind) -> float:
        """Return seconds from the first start to the last end of a kind of step."""
        times = [(row.started_at, row.finished_at) for row in self.rows if row.step.kind is kind]
        began = [at for at, _ in times if at is not None]
        ended = [at for _, at in times if at is not None]
        return max(ended) - min(began) if began and ended else 0.0

    def many(self, kind: StepKind) -> int:
        """Return how many steps of a kind there were."""
        return sum(row.step.kind is kind for row in self.rows)


def back_up(scratch: Scratch, stages: Stages, output: Output) -> DemoBackup:
    """Start the cluster, have it make one backup, and stop it again.

    Raises:
        StrongroomError: what the run failed of. Nothing is left running.
    """
    log_to(scratch.root / "logs", None)
    work = _DemoWork(lambda: _submit(stages, output))
    with stages.part("Start the cluster") as started:
        run_cluster(
            load_settings(),
            on_ready=lambda cluster: work.begin(cluster, started),
            ephemeral=find_server() is None,
            log_folder=scratch.root / "logs",
        )
    return work.outcome()


class _DemoWork:
    """What is done while the cluster runs: in a thread, for the main one keeps the processes."""

    def __init__(self, task: Callable[[], DemoBackup]) -> None:
        self._task = task
        self._made: DemoBackup | None = None
        self._wrong: BaseException | None = None

    def begin(self, cluster: Cluster, started: Note) -> None:
        """Begin, now that every process is ready."""
        started(f"{len(cluster.children)} processes: {', '.join(child.name for child in cluster.children)}")
        # A daemon: were the cluster stopped by Ctrl-C, it would follow a run that nobody ends.
        threading.Thread(target=self._run, args=(cluster,), name="demo", daemon=True).start()

    def outcome(self) -> DemoBackup:
        """Return what was made, or raise what went wrong."""
        if self._wrong is not None:
            raise self._wrong
        if self._made is None:  # stopped by Ctrl-C before it was done
            raise KeyboardInterrupt
        return self._made

    def _run(self, cluster: Cluster) -> None:
        try:
            self._made = self._task()
        except BaseException as error:  # noqa: BLE001 - whatever it is, a person gets words and no traceback
            self._wrong = error
        finally:
            cluster.stop()


def _submit(stages: Stages, output: Output) -> DemoBackup:
    with stages.stage("Back up through Celery", own_display=True) as note:
        from tasks.backup import full_backup

        request = full_backup.delay(policy=POLICY).id
        store = run_store()
        run = follow(output, request, patience=30.0)
        note(f"run {run.id}")
    return DemoBackup(_good(run), store)


def _good(run: Run) -> Run:
    if run.state is not RunState.DONE:
        raise RunFailed(f"The demo's run ended {run.state}: {run.error}")
    return run
