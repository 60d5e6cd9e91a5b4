"""Three hosts without a common folder, each role with the rights that are printed for it and no more: backup,
looks at it, a drill, rotation of secrets and of keys, a restore with approval, and the page; one is killed.

The shorter of both has the restore alone: a minute of processor time, most of it for processes that start. In
every run of the tests tests/operations/stages/test_hosts.py has it without servers, with a process that is
killed. What is one step beyond its rights is refused to each role.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from strongroom.errors import ConfigError
from strongroom.operations.engine import muted
from strongroom.operations.show.acting import ASKED
from strongroom.state.records import RunState
from tests.hosts.fleet import POLICY, Fleet, FleetHost, fleet
from tests.live.openbao import Answered
from tests.patience import until
from tests.process import listens
from tests.workers.visitor import Visitor
from workers import page_server, paths

pytestmark = pytest.mark.long

FORBIDDEN = 403


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path) as made:
        yield made


def done(found: Fleet, *words: str, by: str = "ada") -> str:
    """Ask the cluster for a run; wait until it has ended well, and return it."""
    document = found.hosts[by].ok(*words)
    (asked,) = document.get("runs") or (document,)
    run = found.ended(str(asked.get("run") or asked["id"]), seconds=400)
    assert (run.state, run.error) == (RunState.DONE, None), words
    return str(run.id)


def assert_nobody_was_refused(found: Fleet) -> None:
    """What was printed was enough: no server said no to any role, and no host to another."""
    with found.redis.admin() as admin:
        assert [entry for entry in admin.acl_log() if entry["reason"] != "auth"] == []
    for host in found.hosts.values():
        said_no = re.search(r"\b42501\b|permission denied|message-refused", host.log)
        assert said_no is None, f"{host.name}: {said_no}\n{host.log[-3000:]}"


def changed(found: Fleet, values: dict[str, str]) -> None:
    """Have somebody change half of the secrets at the source."""
    for name in list(values)[::2]:
        found.bao.call("POST", f"secret/data/{name}", {"data": {"value": "CANARY-theirs"}})


def at_the_source(found: Fleet, names: dict[str, str]) -> dict[str, str]:
    return {name: found.bao.data(f"secret/data/{name}")["data"]["value"] for name in names}


def restore_though_one_is_killed(found: Fleet, backup: str) -> tuple[str, FleetHost]:
    """Restore all of a backup over what is there; kill the host that writes, and return it with the run."""
    ada = found.hosts["ada"]
    words = ("restore", "--full-restore", "--backup", backup, "--to", "vault", "--overwrite-existing")
    run = str(ada.ok(*words, "--cluster")["run"])
    until(lambda: run in str(ada.ok("approvals")), what="it to wait for approval")
    assert found.begun(run, "restore") == 0
    key = ada.give("alice", found.alice.file.read_bytes())
    ada.give("alice.pub", found.alice.file.with_suffix(".pub").read_bytes())
    ada.ok("approvals", "approve", run, "--key", str(key), "--force")
    until(
        lambda: any(name.startswith(f"undo/{run}/") for name in found.names("fleet-stage")),
        what="the way back to lie on the stage",
    )
    owner = found.owner(run, "restore")
    victim = found.hosts[owner.partition(":")[0]]
    victim.kill()
    ended = found.ended(run, seconds=400)
    assert (ended.state, ended.error) == (RunState.DONE, None)
    return run, victim


@pytest.mark.timeout(900)
def test_a_restore_goes_on_where_the_host_that_wrote_was_killed(found: Fleet) -> None:
    values = found.secrets(12)
    ada = found.begin("ada", "control", "submit", "seal", "transfer", "verify")
    found.join("bob", "recover")
    found.join("eve", "recover")
    ada.start()
    backup = done(found, "backup", "--policy", POLICY, "--cluster")
    changed(found, values)
    found.start()
    run, victim = restore_though_one_is_killed(found, backup)
    assert at_the_source(found, values) == values
    other = {"bob": "eve", "eve": "bob"}[victim.name]
    assert found.owner(run, "restore").startswith(f"{other}:"), "the other host had never seen this restore"


@pytest.mark.timeout(2400)
def test_everything_runs_over_three_hosts_with_the_rights_that_are_printed(found: Fleet) -> None:
    values = found.secrets(20)
    ada = found.begin("ada", "control", "submit", "beat", "verify", schedule="0 2 1 1 *")
    bob = found.join("bob", "seal", "drill", "recover")
    eve = found.join("eve", "transfer", "prune", "recover", "page")
    eve.serves = ("metrics",)
    found.hand_out(eve, "metrics")
    found.start()
    cannot = bob.command("backup", "--policy", POLICY, "--cluster")
    assert cannot.code == ConfigError.exit_code, cannot.err
    assert "nothing was submitted" in cannot.err, "it was given no role that asks"

    backup = done(found, "backup", "--policy", POLICY, "--cluster")
    done(found, "backups", "verify", backup, "--cluster")
    done(found, "schedule", "run", "verification")
    done(found, "drill", "full", "--policy", POLICY, "--cluster")
    done(found, "schedule", "run", "prune")

    rotated = ("app/001", "app/002")
    done(
        found,
        "secrets",
        "rotate",
        *(f"secret/{name}" for name in rotated),
        "--reason",
        "a leak",
        "--force",
        "--cluster",
    )
    now = at_the_source(found, values)
    assert [name for name in values if now[name] != values[name]] == list(rotated)
    changed(found, values)

    _, victim = restore_though_one_is_killed(found, backup)
    assert at_the_source(found, values) == values
    victim.start()

    ada.ok("keys", "rotate", POLICY, "--renew", "--cluster")
    assert found.ended(found.newest("rotate"), seconds=400).state is RunState.DONE
    done(found, "backups", "verify", backup, "--cluster")
    assert_the_page_acts_and_metrics_are_given(found, eve)
    assert_nobody_was_refused(found)
    assert_each_role_is_refused_a_step_further(found)
    if found.apart:
        assert_a_host_reaches_what_is_printed_and_nothing_else(found, bob)
    stage = b"".join(found.objects("fleet-stage").values())
    assert b"CANARY-" not in stage
    assert b"app/0" not in stage


def assert_the_page_acts_and_metrics_are_given(found: Fleet, host: FleetHost) -> None:
    """On a host that only joined: what a person asks for on its page is performed by others, on record by
    name."""
    password = (paths.run_folder(host.state) / page_server.GENERATED).read_text().strip()
    failed = a_backup_that_failed_of_its_rights(found)
    with host.inside():
        someone = Visitor(host.ports["page"])
        assert someone.log_in(password).status == HTTPStatus.SEE_OTHER

        alert = next(link for link in someone.ask("/alerts").links if link.startswith("/act/acknowledge"))
        (key,) = parse_qs(urlsplit(alert).query)["of"]
        assert "It is done" in said(someone.do(alert, of=key, reason="CANARY-the policy is put back"))

        (retry,) = {link for link in someone.ask(f"/runs/{failed}").links if link.startswith("/act/retry")}
        assert "It is done" in said(someone.do(retry, of=failed))

        run = next(link for link in someone.ask("/schedule").links if f"/act/run?of={POLICY}" in link)
        asked = someone.do(run, of=POLICY)
        assert "It is done" in said(asked)
        (made,) = re.findall(r'href="/runs/([^"]+)"', asked)
        metrics = Visitor(host.ports["metrics"])
        token = (paths.run_folder(host.state) / "metrics-token").read_text().strip()
        given = metrics.ask("/metrics", Authorization=f"Bearer {token}")
        assert given.status == HTTPStatus.OK
        assert f'policy="{POLICY}"' in given.text
        assert metrics.ask("/metrics").status == HTTPStatus.UNAUTHORIZED
    for backup in (failed, made):
        ended = found.ended(backup, seconds=400)
        assert (ended.state, ended.error) == (RunState.DONE, None)
        assert found.owner(backup, "capture").startswith("bob:")
    acknowledged = muted.read_muted(found.store, now=time.time()).acknowledged[key]
    assert (acknowledged.by, acknowledged.reason) == (
        "strongroom (password)",
        "CANARY-the policy is put back",
    )
    asked_for = [event.detail for event in found.store.happened(ASKED, since=0.0)]
    assert [detail["what"] for detail in asked_for] == ["acknowledge", "retry", "run"]
    assert {detail["by"] for detail in asked_for} == {"strongroom (password)"}


def a_backup_that_failed_of_its_rights(found: Fleet) -> str:
    """Take the source's policy from the role that reads it, for one backup."""
    policies = found.first.ok("cluster", "rules", "vault")["policies"]["main"]
    found.bao.policy("strongroom-seal", 'path "sys/none" { capabilities = ["deny"] }')
    run = found.backup(found.first)
    assert found.ended(run, seconds=400).state is RunState.FAILED
    found.bao.policy("strongroom-seal", json.dumps(policies["strongroom-seal"]))
    return run


def said(page: str) -> str:
    """Return the words of a page."""
    return re.sub("<[^>]+>", " ", page)


BEYOND: dict[str, tuple[tuple[str, str, Any], ...]] = {
    "seal": (
        ("POST", "secret/data/app/000", {"data": {"value": "CANARY"}}),
        ("DELETE", "secret/data/app/000", None),
    ),
    "verify": (("POST", "secret/data/app/000", {"data": {"value": "CANARY"}}),),
    "control": (("POST", "secret/data/app/000", {"data": {"value": "CANARY"}}),),
    "recover": (
        ("POST", "sys/policies/acl/strongroom-seal", {"policy": ""}),
        ("POST", "sys/mounts/other", {"type": "kv"}),
        ("DELETE", "secret/metadata/app/000", None),
    ),
}
"""What is one step beyond what each role of the source may."""


def assert_each_role_is_refused_a_step_further(found: Fleet) -> None:
    tokens = {role: found.passwords / f"vault-{role}" for role in BEYOND}
    for role, steps in BEYOND.items():
        for method, path, body in steps:
            with pytest.raises(Answered) as refused:
                found.bao.call(method, path, body, token=tokens[role].read_text())
            assert refused.value.status == FORBIDDEN, (role, path)
    for role in ("transfer", "beat", "submit", "prune", "drill"):
        assert not (found.passwords / f"vault-{role}").exists(), f"{role} has nothing to do with the source"


def assert_a_host_reaches_what_is_printed_and_nothing_else(found: Fleet, host: FleetHost) -> None:
    with host.inside():
        assert listens(found.redis.tls_port)
        assert listens(found.bao.process.port)
        assert not listens(found.hosts["eve"].ports["page"]), "another host's page"
        with pytest.raises(URLError):
            urlopen("http://192.0.2.1/", timeout=5)
