"""Many backups through real workers: of thirty at once the first is whole before the last is planned, and the
steps of those of long ago are folded while others go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import func, select, update

from strongroom import Client
from strongroom.keys.hpke import HpkeIdentity
from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.operations.evidence.ledger import check
from strongroom.sources import SecretChange
from strongroom.sources.local import LocalStore
from strongroom.state import tables
from strongroom.state.records import Run, RunState, RunStep, StepKind
from strongroom.state.store import RunStore
from tests.patience import until
from tests.workers.cluster import RunningCluster

AT_ONCE = 3
POLICIES = [f"policy-{number:02}" for number in range(30)]
SECRET = Secret(name="app/one", versions=(SecretVersion(number=1, value=SecretBytes(b"CANARY-value-77")),))


def configuration() -> str:
    key = HpkeIdentity.generate().public
    policies = "".join(
        f'[policies.{name}]\nkind = "full"\nrecipients = ["recovery"]\nsingle_recipient_reason = "a test"\n'
        'targets = ["region-a", "region-b", "region-c"]\n'
        for name in POLICIES
    )
    limits = f"[limits]\nruns_at_once = {AT_ONCE}\n"
    return f'[keys.recovery]\nkind = "hpke"\npublic_key = "{key}"\n{policies}{limits}'


@pytest.fixture
def record(cluster: RunningCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunStore]:
    """The record of a cluster that works by these policies, with one secret to back up."""
    cluster.state_dir.mkdir(parents=True)
    (cluster.state_dir / "strongroom.toml").write_text(configuration())
    LocalStore(cluster.state_dir, name="local").write([SecretChange(secret=SECRET, expected=None)])
    cluster.start()
    monkeypatch.setenv("STRONGROOM_STATE_DIR", str(cluster.state_dir))
    store = RunStore(f"sqlite:///{cluster.state_dir / 'state.db'}")
    yield store
    store.close()


@pytest.mark.long
def test_the_first_of_thirty_is_whole_before_the_last_is_planned(
    cluster: RunningCluster, record: RunStore
) -> None:
    store = record
    with Client(cluster.state_dir / "strongroom.toml") as client:
        names = [client.submit(policy).run for policy in POLICIES]

    def all_ended() -> list[Run] | None:
        runs = [store.load(name) for name in names]
        return runs if all(run.state.final for run in runs) else None

    runs = until(all_ended, what=lambda: f"thirty backups\n{cluster.log[-3000:]}")
    assert {run.state for run in runs} == {RunState.DONE}
    begun = {run.id: store.row(run.id, RunStep(StepKind.PLAN)).started_at or 0.0 for run in runs}
    ended = {run.id: run.finished_at or 0.0 for run in runs}
    assert min(ended.values()) < max(begun.values())
    together = [sum(begun[run] <= at < ended[run] for run in begun) for at in begun.values()]
    assert max(together) <= AT_ONCE


@pytest.mark.long
def test_live_workers_fold_what_is_old_while_they_back_up(cluster: RunningCluster, record: RunStore) -> None:
    file, store = cluster.state_dir / "strongroom.toml", record

    def ended(names: list[str]) -> list[Run] | None:
        found = [store.load(name) for name in names]
        return found if all(run.state.final for run in found) else None

    def back_up(policies: list[str]) -> list[Run]:
        with Client(file) as client:
            names = [client.submit(policy).run for policy in policies]
        return until(lambda: ended(names), what=lambda: f"{policies}\n{cluster.log[-3000:]}")

    old = back_up(POLICIES[:5])
    rows = {run.id: len(store.rows(run.id)) for run in old}
    tallies = {run.id: store.tally(run.id) for run in old}
    runs = tables.runs.c
    with store._database.writing() as conn:  # half a year passes, in each month of which one began
        for month, run in enumerate(old):
            began = {
                "finished_at": runs.finished_at - 15_552_000,
                "created_at": runs.created_at - 2_592_000 * (month + 0.5),
            }
            conn.execute(update(tables.runs).where(runs.id == run.id).values(**began))

    def folded() -> bool:
        with store._database.reading() as conn:
            left = select(func.count()).where(tables.steps.c.run.in_(list(rows)))
            return not conn.execute(left).scalar()

    young = back_up(POLICIES[5:8])
    until(folded, what=lambda: f"folding\n{cluster.log[-3000:]}")
    assert {run.state for run in young} == {RunState.DONE}
    assert all(len(store.rows(run.id)) > 10 for run in young), "what is young stays"
    for name, many in rows.items():
        assert store.tally(name) == tallies[name]
        assert sum(row.steps for row in store.rows(name)) == many
    assert check(store).broken is None
