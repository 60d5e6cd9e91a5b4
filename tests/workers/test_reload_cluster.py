"""Settings that change under a running cluster: taken on by beat and workers, without a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.state.records import Run, RunKind, RunState
from tests.patience import until
from tests.workers.cluster import RunningCluster
from tests.workers.test_pipeline import CONFIG, Installation
from workers import status

ADDED = """
[policies.added]
kind = "full"
targets = ["region-a", "region-b"]
recipients = ["recovery"]
single_recipient_reason = "a test"
schedule = "* * * * *"

[hooks.health]
after = {{ command = ["/bin/sh", "-c", "env > {note}"] }}
"""


def put(file: Path, text: str) -> None:
    """Put another file in its place: one that is being written is empty at first, and that is no mistake."""
    (new := file.with_suffix(".new")).write_text(text)
    new.replace(file)


@pytest.fixture
def installation(cluster: RunningCluster) -> Iterator[Installation]:
    made = Installation(cluster)
    yield made
    made.store.close()


def test_what_is_added_is_done_and_a_broken_file_stops_nothing(
    installation: Installation,
) -> None:
    installation.start()
    store, file = installation.store, installation.cluster.state_dir / "strongroom.toml"
    began = status.read(installation.cluster.state_dir)
    note = installation.cluster.state_dir / "note"
    added = CONFIG + ADDED.format(note=note)

    def ended() -> list[Run]:
        backups = (run for run in store.runs() if run.spec.kind is RunKind.BACKUP)
        return [run for run in backups if run.spec.policy == "added" and run.state.final]

    put(file, added)
    made = until(ended, what=lambda: f"a backup of what was added\n{installation.cluster.log[-3000:]}")
    assert {(run.state, run.error) for run in made} == {(RunState.DONE, None)}
    assert [event.kind for event in store.happened("settings.taken", since=0.0)] == ["settings.taken"]

    put(file, added + "broken")
    until(lambda: store.events(kind="settings.refused"), what="the refusal on record")
    with store._database.writing() as conn:
        conn.exec_driver_sql("DELETE FROM slots")
    until(lambda: len(ended()) > len(made), what=lambda: f"one more\n{installation.cluster.log[-3000:]}")
    assert {(run.state, run.error) for run in ended()} == {(RunState.DONE, None)}
    assert "HOOK_ENTRY=health" in until(
        lambda: note.exists() and note.read_text(), what="the hook of a check"
    )
    assert "CANARY" not in note.read_text()
    assert status.read(installation.cluster.state_dir) == began, "no process was started again"
