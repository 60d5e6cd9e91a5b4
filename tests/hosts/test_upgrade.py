"""Hosts of two versions beside each other, with runs in flight; and one that has to be stopped first."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.state.migrations import HEAD
from strongroom.state.records import RunState
from tests.hosts.fleet import Fleet, fleet
from tests.hosts.other_version import NEXT, next_version
from tests.patience import until

pytestmark = [pytest.mark.timeout(900), pytest.mark.long]


def schema(found: Fleet) -> str:
    [(revision,)] = found.postgres.execute(
        "SELECT version_num FROM alembic_version", url=found.postgres.url("strongroom")
    )
    return str(revision)


def test_hosts_are_upgraded_one_after_the_other_with_runs_in_flight(tmp_path: Path) -> None:
    with fleet(tmp_path) as found:
        found.secrets(20)
        ada = found.begin("ada", "control", "submit", "beat", "verify")
        bob = found.join("bob", "seal")
        eve = found.join("eve", "transfer")
        found.start()
        tree = next_version(found.root / "next")
        run = found.backup(ada)
        until(lambda: found.begun(run, "capture"), what="the run to begin")
        assert found.migrate(tree).code == 0
        assert schema(found) == NEXT
        bob.kill()
        bob.env["PYTHONPATH"] = str(tree)
        bob.start()
        assert found.ended(run).state is RunState.DONE
        hosts = {host["host"]: host for host in ada.ok("cluster", "hosts")["hosts"]}
        assert (hosts["ada"]["versions"], hosts["bob"]["versions"]) == (["0.1.0"], ["0.2.0"])
        assert "run beside each other" in ada.command("cluster", "hosts").out

        second = found.backup(ada)
        for host in (eve, ada):
            host.kill()
            host.env["PYTHONPATH"] = str(tree)
            host.start()
        assert found.ended(second).state is RunState.DONE
        hosts = {host["host"]: host for host in ada.ok("cluster", "hosts")["hosts"]}
        assert {tuple(host["versions"]) for host in hosts.values()} == {("0.2.0",)}
        refused = list(found.store.happened("message-refused", since=0.0))
        assert refused == []


def test_a_version_that_older_hosts_cannot_work_with_says_what_to_stop_first(tmp_path: Path) -> None:
    with fleet(tmp_path) as found:
        ada = found.begin("ada", "control", "submit")
        found.start()
        until(
            lambda: any(process.lives for process in found.store.processes()),
            what="ada to report",
        )
        tree = next_version(found.root / "next", oldest=NEXT)
        refused = found.migrate(tree)
        assert refused.code != 0
        assert "control on ada (0.1.0)" in refused.err
        assert schema(found) == HEAD
        assert ada.alive("control")
        ada.kill()
        until(
            lambda: not any(process.lives for process in found.store.processes()),
            what="ada to be silent",
        )
        assert found.migrate(tree).code == 0
        assert schema(found) == NEXT
        older = ada.command("runs")
        assert "a schema that this version does not know" in older.err
