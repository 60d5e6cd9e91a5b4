"""How many requests a restore into Vault sends for a secret, and that none of those it spares was needed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.operations.engine.drive import drive
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions, facts_of
from strongroom.sources.vault import VaultSource
from strongroom.state.records import Run, RunState
from strongroom.targets.directory import DirectoryTarget
from tests.live.openbao import OpenBao
from tests.live.proxy import Answer, Call, LoseReply, Request, method
from tests.live.vault_parts import Site, site, source_of
from tests.operations.world import make_world

__all__ = ["site"]

FOLDERS, EACH = 4, 25
KEYS = FOLDERS * EACH
MOST = 4
"""Requests a secret, from the plan to the last comparison: the bar of a restore at speed."""


def secrets_in(mount: str, *, tags: bool = False) -> list[Secret]:
    return [
        Secret(
            name=f"{mount}app-{number % FOLDERS}/key-{number:03}",
            tags={"priority": "low"} if tags else {},
            versions=(
                SecretVersion(
                    number=1, value=SecretBytes(b'{"password":"CANARY-%d"}' % number), media=Media.JSON
                ),
            ),
        )
        for number in range(KEYS)
    ]


@pytest.fixture
def mount(openbao: OpenBao, request: pytest.FixtureRequest) -> str:
    return openbao.mount(f"counted-{abs(hash(request.node.name)) % 10**8}")


def restored(secrets: list[Secret], there: VaultSource, folder: Path, *, overwrite: bool = False) -> Run:
    """Back up and restore by a run, as the cluster does it; return the run at its end."""
    stage = DirectoryTarget(folder / "stage", name="stage", region="local")
    stage.prepare()
    world = make_world(folder, secrets=secrets).with_stage(stage)
    backup = world.back_up().id
    services = world.services(hands_out=False)
    options = RestoreOptions(destination="there", overwrite=overwrite)
    run, _ = submit_restore(services, backup=backup, options=options)
    services = world.services(destinations={"there": there})
    drive(run, services.store.take_ready(run, window=8), services, processes=1)
    return services.store.load(run)


def kinds(requests: list[Request], mount: str) -> Counter[str]:
    """Count the requests below a mount by method and kind."""
    counts: Counter[str] = Counter()
    for request in requests:
        _, _, inner = request.path.partition(f"/v1/{mount}")
        listing = " (LIST)" if "list=true" in request.query else ""
        counts[f"{request.method} {inner.partition('/')[0]}{listing}"] += bool(inner)
    return counts


def test_a_new_secret_is_written_once_read_back_once_and_compared_once(
    site: Site, mount: str, tmp_path: Path
) -> None:
    run = restored(secrets_in(mount), site.source(mount), tmp_path)
    compared = facts_of(run).restore_compare
    assert (run.state, compared and compared.same) == (RunState.DONE, KEYS)
    counts = kinds(site.proxy.seen(), mount)
    assert counts["POST data"] == KEYS
    assert counts["GET data"] == 2 * KEYS
    assert counts["GET metadata"] == 0
    assert counts["POST metadata"] == 0
    assert len(site.proxy.seen()) <= MOST * KEYS


def test_metadata_that_was_written_too_is_one_request_more(site: Site, mount: str, tmp_path: Path) -> None:
    run = restored(secrets_in(mount, tags=True), site.source(mount), tmp_path)
    assert run.state is RunState.DONE
    counts = kinds(site.proxy.seen(), mount)
    assert (counts["POST data"], counts["POST metadata"]) == (KEYS, KEYS)
    assert (counts["GET data"], counts["GET metadata"]) == (2 * KEYS, 0)


def test_where_nothing_may_be_listed_each_is_asked_for(openbao: OpenBao, mount: str, tmp_path: Path) -> None:
    openbao.policy(
        "no-lists",
        f'path "{mount}data/*" {{ capabilities = ["create", "read", "update"] }}\n'
        f'path "{mount}metadata/*" {{ capabilities = ["create", "read", "update"] }}\n'
        f'path "{mount}config" {{ capabilities = ["read"] }}\n'
        'path "sys/mounts" { capabilities = ["read"] }\npath "sys/namespaces" { capabilities = ["list"] }\n',
    )
    there = source_of(openbao, tmp_path, "no-lists", mounts=(mount,), system=False)
    openbao.put(mount, "app-1/key-001", {"password": "CANARY-1"})
    names = [secret.name for secret in secrets_in(mount)]
    assert there.heads(names) == {f"{mount}app-1/key-001": 1}


def test_a_key_is_there_though_its_folders_are_asked_and_not_it(
    openbao: OpenBao, mount: str, tmp_path: Path
) -> None:
    there = source_of(openbao, tmp_path, mounts=(mount,), system=False)
    deep = ["a", "a/b", "a/b/c", "a/b/c/d/e", "a/b/c/d/f", "a/bc", "z", "a b/ü", "a/b/c/d/e/f/g"]
    for path in deep[::2]:
        openbao.put(mount, path.replace(" ", "%20").replace("ü", "%C3%BC"), {"password": "CANARY"})
    assert there.heads([mount + path for path in deep]) == {mount + path: 1 for path in deep[::2]}


def test_a_secret_that_somebody_makes_just_before_it_is_written_stays_his(
    site: Site, mount: str, tmp_path: Path
) -> None:
    theirs = f"{mount}app-3/key-003"
    site.proxy.fail(
        Call(lambda _: site.server.put(mount, "app-3/key-003", {"password": "CANARY-theirs"})),
        when=method("POST", path="/data/app-3/key-003"),
    )
    run = restored(secrets_in(mount), site.source(mount), tmp_path, overwrite=True)
    done = facts_of(run).restore
    assert done is not None
    assert (done.created, dict(done.not_done_by)) == (KEYS - 1, {"Conflict": 1})
    assert site.server.data(f"{mount}data/app-3/key-003")["data"] == {"password": "CANARY-theirs"}
    assert site.server.data(f"{theirs.replace(mount, f'{mount}metadata/')}")["current_version"] == 1


def test_a_secret_that_somebody_writes_before_it_is_read_back_is_told(
    site: Site, mount: str, tmp_path: Path
) -> None:
    site.proxy.fail(
        Call(lambda _: site.server.put(mount, "app-3/key-003", {"password": "CANARY-theirs"})),
        when=method("GET", path="/data/app-3/key-003"),
    )
    run = restored(secrets_in(mount), site.source(mount), tmp_path)
    done = facts_of(run).restore
    assert done is not None
    assert dict(done.not_done_by) == {"Conflict": 1}


def test_a_secret_that_somebody_makes_anew_before_it_is_read_back_is_told(
    site: Site, mount: str, tmp_path: Path
) -> None:
    """Its version has the number of ours, and its metadata is not what our write was answered."""

    def anew(_: Request) -> None:
        site.server.call("DELETE", f"{mount}metadata/app-3/key-003")
        site.server.put(mount, "app-3/key-003", {"password": "CANARY-theirs"})

    site.proxy.fail(Call(anew), when=method("GET", path="/data/app-3/key-003"))
    run = restored(secrets_in(mount), site.source(mount), tmp_path)
    done = facts_of(run).restore
    assert done is not None
    assert dict(done.not_done_by) == {"VerificationFailed": 1}


def test_a_write_whose_reply_is_lost_is_looked_up_and_not_repeated(
    site: Site, mount: str, tmp_path: Path
) -> None:
    lost = site.proxy.fail(LoseReply(), when=method("POST", path="/data/"), times=5)
    run = restored(secrets_in(mount), site.source(mount), tmp_path)
    assert (run.state, lost.met) == (RunState.DONE, 5)
    assert len(site.proxy.seen(method("POST", path="/data/"))) == KEYS


def test_a_storm_of_throttles_slows_a_restore_and_costs_it_nothing(
    site: Site, mount: str, tmp_path: Path
) -> None:
    storm = site.proxy.fail(Answer(429, {"Retry-After": "0"}), when=method("POST", path="/data/"), times=4)
    away = site.proxy.fail(Answer(503), when=method("GET", path="/data/"), times=12)
    run = restored(secrets_in(mount), site.source(mount, patience_seconds=60.0), tmp_path)
    compared = facts_of(run).restore_compare
    assert (run.state, compared and compared.same) == (RunState.DONE, KEYS)
    assert (storm.met, away.met) == (4, 12)
    heads = site.source(mount).heads([secret.name for secret in secrets_in(mount)])
    assert set(heads.values()) == {1}
