"""One backup of a JSONL file to three targets, in process or on a cluster of its own.

``python -m scripts.bench.one_pipeline FILE (--in-process | --seal-processes N)`` prints one
JSON object; see :mod:`scripts.bench.pipeline`. The configuration's environment has to name a
fresh state directory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

from strongroom.config import Settings, load_settings
from strongroom.keys.hpke import HpkeIdentity
from strongroom.model import Role
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine.drive import drive
from strongroom.state.records import Run, RunState
from strongroom.state.store import RunStore
from strongroom.wiring.services import build_services
from workers.supervisor import Cluster, run_cluster

POLICY = "bench"
POLL = 0.05
REGIONS = ("region-a", "region-b", "region-c")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--in-process", action="store_true")
    parser.add_argument("--seal-processes", type=int, default=1)
    arguments = parser.parse_args()
    settings = _settings(arguments.file, arguments.seal_processes)
    run, seconds = _alone(settings) if arguments.in_process else on_cluster(settings)
    if run.state is not RunState.DONE:
        print(run.error, file=sys.stderr)
        return 1
    print(json.dumps({"seconds": seconds, "steps": _steps(RunStore(settings.database_url), run)}))
    return 0


def _settings(source: Path, seal: int) -> Settings:
    """Write the configuration that all ways share: eight or so containers, three targets."""
    folder = Path(os.environ["STRONGROOM_STATE_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    public = str(HpkeIdentity.generate().public)
    file = folder / "strongroom.toml"
    file.write_text(
        f'[sources.bench]\nkind = "files"\npath = "{source}"\n'
        f'[keys.recovery]\nkind = "hpke"\npublic_key = "{public}"\n'
        f'[policies.{POLICY}]\nkind = "full"\nsource = "bench"\nrecipients = ["recovery"]\n'
        'targets = ["region-a", "region-b", "region-c"]\n'
        f'[workers]\nseal = {seal}\n[limits]\ncontainer_bytes = "8MiB"\n' + "".join(map(_target, REGIONS))
    )
    os.environ["STRONGROOM_CONFIG"] = str(file)
    return load_settings()


def _target(name: str) -> str:
    place = f'path = "targets/{name}"\nregion = "{name}"\ncreate = true\n'
    return f'[targets.{name}]\nkind = "directory"\n{place}'


def _alone(settings: Settings) -> tuple[Run, float]:
    services = build_services(settings, role=Role.OPERATOR)
    services.store.check()
    began = time.monotonic()
    run, tickets = submit_backup(services, policy=POLICY)
    ended = drive(run, tickets, services, processes=1)
    return ended, time.monotonic() - began


def on_cluster(settings: Settings) -> tuple[Run, float]:
    """Run the policy on a cluster that lives for this alone; return the run and its seconds."""
    found: list[tuple[Run, float]] = []

    def work(cluster: Cluster) -> None:
        try:
            found.append(_through_celery(settings))
        finally:
            cluster.stop()

    run_cluster(settings, on_ready=lambda cluster: threading.Thread(target=work, args=(cluster,)).start())
    return found[0]


def _through_celery(settings: Settings) -> tuple[Run, float]:
    from tasks.backup import full_backup

    store = RunStore(settings.database_url)
    began = time.monotonic()
    request = full_backup.delay(policy=POLICY).id
    while True:
        runs = [run for run in store.runs(5) if run.request_id == request and run.state.final]
        if runs:
            return runs[0], time.monotonic() - began
        time.sleep(POLL)


def _steps(store: RunStore, run: Run) -> dict[str, float]:
    spent: dict[str, float] = defaultdict(float)
    for row in store.rows(run.id):
        spent[row.step.kind.value] += (row.finished_at or 0.0) - (row.started_at or 0.0)
    return {kind: round(seconds, 3) for kind, seconds in spent.items()}


if __name__ == "__main__":
    sys.exit(main())
