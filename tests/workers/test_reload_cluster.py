"""Settings that change under a running cluster: taken on by beat and workers, without a restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strongroom.state.records import Run, RunState
from tests.workers.cluster import RunningCluster, until
from tests.workers.test_pipeline import CONFIG, Installation
from workers import status

ADDED = """
[policies.added]
kind = "full"
targets = ["region-a", "region-b"]
recipients = ["recovery"]
single_recipient_reason = "a test"
schedule = "* * * * *"
"""


@pytest.fixture
def installation(cluster: RunningCluster) -> Iterator[Installation]:
    made = Installation(cluster)
    yield made
    made.store.close()


def test_a_policy_that_is_added_is_backed_up_and_a_broken_file_stops_nothing(
    installation: Installation,
) -> None:
    installation.start()
    store, file = installation.store, installation.cluster.state_dir / "strongroom.toml"
    began = status.read(installation.cluster.state_dir)

    def ended() -> list[Run]:
        return [run for run in store.runs() if run.spec.policy == "added" and run.state.final]

    file.write_text(CONFIG + ADDED)
    made = until(ended, what=f"a backup of what was added\n{installation.cluster.log[-3000:]}")
    assert {run.state for run in made} == {RunState.DONE}
    assert [event.kind for event in store.happened("settings.taken", since=0.0)] == ["settings.taken"]

    file.write_text(CONFIG + ADDED + "broken")
    until(lambda: store.events(kind="settings.refused"), what="the refusal on record")
    with store._database.writing() as conn:
        conn.exec_driver_sql("DELETE FROM slots")
    until(lambda: len(ended()) > len(made), what=f"one more\n{installation.cluster.log[-3000:]}")
    assert {run.state for run in ended()} == {RunState.DONE}
    assert status.read(installation.cluster.state_dir) == began, "no process was started again"
