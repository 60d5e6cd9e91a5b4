"""Keys rotated by real workers, and the workers' own signing keys rotated under them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from strongroom.keys import rolelist
from strongroom.operations.backup.job import INDEXING
from strongroom.operations.keys.health import CHECKED
from strongroom.operations.rotation.job import results
from strongroom.state.records import RunKind, RunState, StepState
from tests.patience import PATIENCE, until
from tests.workers.cluster import RunningCluster
from tests.workers.test_pipeline import CONFIG, Installation
from tests.workers.test_worker_refuses import shell
from workers import paths

ROTATE = (
    "from tasks.rotate import rotate_keys; "
    "print(rotate_keys.delay(policy='weekly-critical', renew=True, re_encrypt={anew}).id)"
)

ROTATORS = """
[rotators.keys]
kind = "random"
include = ["app/1*"]
"""


@pytest.fixture
def house(cluster: RunningCluster) -> Iterator[Installation]:
    """A cluster whose recover workers run too."""
    made = Installation(cluster)
    (cluster.state_dir / "strongroom.toml").write_text(CONFIG + ROTATORS)
    made.start("control", "seal", "transfer", "verify", "recover")
    yield made
    made.store.close()


def strongroom(house: Installation, *words: str) -> str:
    command = [sys.executable, "-m", "strongroom.cli", *words]
    return subprocess.run(
        command, env=house.cluster.environment, capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout


def test_the_workers_rotate_and_go_on_when_their_signing_keys_change_under_them(house: Installation) -> None:
    """One cluster for all of it, since it takes seconds to start."""
    made = house.finished(house.ask())
    assert (made.state, made.error) == (RunState.DONE, None)

    for anew in (False, True):
        run = house.finished(shell(house.cluster, ROTATE.format(anew=anew)).strip())
        assert (run.state, run.error, run.spec.kind) == (RunState.DONE, None, RunKind.ROTATE)
        [result] = results(house.store, run.id)
        assert result.get("new") == (f"{made.id}-r1" if anew else None)
        assert anew or [key["generation"] for key in result["indexes"]] == [2]
    until(lambda: house.store.events(kind=CHECKED), what="the keys' first trial")

    words = (
        "secrets",
        "rotate",
        "app/1",
        "app/10",
        "--reason",
        "it leaked",
        "--cluster",
        "--force",
        "--json",
    )
    submitted = json.loads(strongroom(house, *words))["run"]
    run = house.finished(submitted)
    assert (run.state, run.error, run.spec.kind) == (RunState.DONE, None, RunKind.ROTATE_SECRET)
    rotated = json.loads(strongroom(house, "secrets", "rotate", "--show", submitted, "--json"))
    assert [one["version"] for one in rotated["secrets"]] == [2, 2]
    assert "back up the new values: strongroom backup --policy weekly-critical" in rotated["to_do"]

    strongroom(house, "keys", "signers", "rotate")
    after = house.finished(house.ask())
    assert (after.state, after.error) == (RunState.DONE, None)
    listed = rolelist.read(paths.role_keys(house.cluster.state_dir))
    assert {len(keys) for keys in listed.roles.values()} == {2}

    leaked = listed.roles["control"][-1].fingerprint
    strongroom(house, "keys", "signers", "distrust", leaked, "--reason", "leak", "--force")
    last = house.finished(house.ask())
    assert (last.state, last.error) == (RunState.DONE, None)
    shown = strongroom(house, "keys", "signers", "distrust", leaked, "--dry-run", "--json")
    uses = json.loads(shown)["uses"]
    assert [one["backup"] for one in uses if one["manifest"]] == [after.id]
    assert "message-refused" not in house.cluster.log
    for run in (made, after, last):  # each has its index, and the control workers' word for it
        steps = [row for kind in INDEXING for row in house.store.rows(run.id, kind)]
        assert {row.state for row in steps} == {StepState.DONE}
        assert {row.step.kind for row in steps} == set(INDEXING)
