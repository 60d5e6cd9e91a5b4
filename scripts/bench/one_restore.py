"""Restores of several sizes into a live OpenBao, by Celery, on a cluster of its own.

``python -m scripts.bench.one_restore ADDRESS TOKEN_FILE SIZE…`` prints one JSON object; see
:mod:`scripts.bench.restores`. The environment has to name a fresh state directory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from strongroom.config import Settings, load_settings
from strongroom.keys.hpke import HpkeIdentity
from strongroom.state.records import Run, RunState
from strongroom.state.store import RunStore
from workers.pools import POOLS
from workers.supervisor import Cluster, run_cluster

POLL, PATIENCE = 0.02, 240.0
_SETTINGS = """
[vaults.bench]
address = "{address}"
token_file = "{token}"

[sources.bench]
kind = "vault"
vault = "bench"
mounts = ["secret"]
destination = true

[keys.recovery]
kind = "hpke"
public_key = "{public}"
identity_file = "{identity}"
"""
_TARGET = '[targets.{name}]\nkind = "directory"\npath = "{name}"\nregion = "{name}"\ncreate = true\n'
_POLICY = """
[policies.of-{size}]
kind = "full"
source = "bench"
include = ["secret/of-{size}/*"]
targets = ["a", "b"]
recipients = ["recovery"]
"""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("token", type=Path)
    parser.add_argument("sizes", type=int, nargs="+")
    arguments = parser.parse_args()
    settings = _settings(arguments.address, arguments.token, arguments.sizes)
    found: dict[int, float] = {}
    failed: list[BaseException] = []

    def work(cluster: Cluster) -> None:
        try:
            found.update({size: _restored(settings, size) for size in arguments.sizes})
        except BaseException as error:  # noqa: BLE001 - the cluster has to be stopped
            failed.append(error)
        finally:
            cluster.stop()

    run_cluster(
        settings,
        pools=list(POOLS),
        on_ready=lambda cluster: threading.Thread(target=work, args=(cluster,)).start(),
    )
    if failed:
        print(failed[0], file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


def _settings(address: str, token: Path, sizes: Sequence[int]) -> Settings:
    folder = Path(os.environ["STRONGROOM_STATE_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    identity, file = HpkeIdentity.generate(), folder / "strongroom.toml"
    key = folder / "recovery.key"
    identity.save(key)
    file.write_text(
        _SETTINGS.format(address=address, token=token, public=identity.public, identity=key)
        + "".join(_TARGET.format(name=name) for name in ("a", "b"))
        + "".join(_POLICY.format(size=size) for size in sizes)
    )
    os.environ["STRONGROOM_CONFIG"] = str(file)
    return load_settings()


def _restored(settings: Settings, size: int) -> float:
    """Back a policy up, remove what it selects, restore it; return the seconds of the restore."""
    from tasks.backup import full_backup
    from tasks.restore import restore_backup

    backup = _ended(settings, full_backup.delay(policy=f"of-{size}").id)
    _remove(settings, size)
    began = time.monotonic()
    run = _ended(settings, restore_backup.delay(backup=backup.id, to="bench").id)
    seconds = time.monotonic() - began
    if run.facts["restore_compare"]["same"] != size:
        raise RuntimeError(f"{run.facts['restore_compare']} of {size}")
    return seconds


def _remove(settings: Settings, size: int) -> None:
    from strongroom.wiring import adapters

    source = adapters.destinations(settings)["bench"]
    source.delete([entry.name for entry in source.list() if entry.name.startswith(f"secret/of-{size}/")])


def _ended(settings: Settings, request: str) -> Run:
    store = RunStore(settings.database_url)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        run = store.find(request)
        if run.state.final and run.state is not RunState.DONE:
            raise RuntimeError(run.error)
        if run.state.final:
            return run
        time.sleep(POLL)
    raise TimeoutError(f"the {run.spec.kind} is not done after {PATIENCE:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
