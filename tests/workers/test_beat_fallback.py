"""Beat stopped or hung: the transfer workers ask in its place, and it is not taken for alive."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from strongroom.alert_kinds import BEAT_RESTS
from strongroom.state.records import RunState
from strongroom.state.store import RunStore
from tests.chaos.frozen import halt
from tests.patience import until
from tests.state.pipeline import new_run
from tests.workers.cluster import RunningCluster
from tests.workers.test_pipeline import CONFIG, Installation
from workers import names
from workers.beat_fallback import UNHEARD, BeatFallback
from workers.rights import may_send

ALONE = 'schedule = "* * * * *"\nsingle_recipient_reason = "a test"\n'


@pytest.fixture
def scheduled(cluster: RunningCluster) -> Iterator[Installation]:
    """A cluster whose policy is due every minute, with beat stopped."""
    made = Installation(cluster)
    (cluster.state_dir / "strongroom.toml").write_text(CONFIG + ALONE)
    made.start()
    until(lambda: names.BEAT in made.store.heartbeats(), what="the first tick")
    beat = cluster.pid(names.BEAT)
    assert beat is not None
    halt(beat, cluster.state_dir / "state.db")
    yield made
    os.kill(beat, signal.SIGCONT)
    made.store.close()


def edit(store: RunStore, statement: str) -> None:
    with store._database.writing() as conn:
        conn.execute(text(statement))


def test_with_beat_stopped_runs_end_and_what_is_due_is_begun(scheduled: Installation) -> None:
    store = scheduled.store
    run = new_run(store)  # nobody was sent its first step: a reconcile alone notices it
    until(
        lambda: store.load(run.id).state.final, what=lambda: f"the run's end\n{scheduled.cluster.log[-3000:]}"
    )

    edit(store, "DELETE FROM slots")
    before = {one.id for one in store.runs()}
    edit(store, f"UPDATE heartbeats SET at = at - {10 * BEAT_RESTS} WHERE name = '{names.BEAT}'")
    begun = until(lambda: [one for one in store.runs() if one.id not in before], what="a run that is due")
    assert scheduled.finished(begun[0].id).state is RunState.DONE
    assert store.heartbeats()[names.BEAT] > BEAT_RESTS, "a tick that a worker asks for is no sign of beat"
    assert "beat-is-silent" in scheduled.cluster.log


def test_where_beat_lives_and_nobody_has_looked_for_alerts_for_long_a_worker_asks(tmp_path: Path) -> None:
    """Whatever became of beat's messages: once they were all refused, and nobody heard of anything."""
    store, sent = RunStore(f"sqlite:///{tmp_path / 'state.db'}"), []
    app = SimpleNamespace(
        services=SimpleNamespace(get=lambda: SimpleNamespace(store=store)),
        settings=SimpleNamespace(tells=True),
        send_task=lambda task, **_: sent.append(task),
    )
    fallback = BeatFallback(app)
    for name in (names.BEAT, names.RECONCILE, names.ALERTS):
        store.heartbeat(name)
    fallback.look()
    fallback._since -= 2 * UNHEARD
    fallback.look()
    assert sent == [], "it was looked for"
    edit(store, f"UPDATE heartbeats SET at = at - {2 * UNHEARD} WHERE name = '{names.ALERTS}'")
    for _ in range(2):
        fallback.look()
    assert sent == [names.ALERTS]
    store.close()


def test_a_transfer_worker_may_ask_for_what_is_due_and_for_nothing_else_of_beats() -> None:
    of_beat = may_send(names.BEAT) & may_send(names.TRANSFER)
    assert of_beat == {names.TICK, names.RECONCILE, names.ALERTS}
