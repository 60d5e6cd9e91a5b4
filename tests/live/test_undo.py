"""Undoing restores on live servers: former values and marks come back, and what others changed stays."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import ListedSecret, Secret
from strongroom.operations.restore.batch import present
from strongroom.operations.restore.plan import RestoreAction
from strongroom.sources import Destination
from strongroom.sources.aws import AwsSource
from strongroom.sources.aws.client import Api
from strongroom.vault.client import Vault
from tests.live.moto import Moto
from tests.live.openbao import OpenBao
from tests.live.vault_parts import RESTORE, source_of, with_policies
from tests.operations.restoring import Restoring


@pytest.fixture
def restoring(tmp_path: Path) -> Restoring:
    return Restoring(root=tmp_path / "undo", identity=KeyFileIdentity(bytes(32)))


def newest(restoring: Restoring) -> str:
    return max(folder.name for folder in restoring.root.iterdir())


def held(source: Destination, names: Sequence[str]) -> list[Secret]:
    return [one for one in source.read([ListedSecret(name, 0) for name in names]) if one is not None]


# -- OpenBao -----------------------------------------------------------------------

KEYS = ("value", "marks", "deleted", "tags-alone", "gone", "gone-too")


def put(server: OpenBao, mount: str, key: str, value: str, **custom: str) -> None:
    server.put(mount, key, {"password": f"CANARY-{value}"})
    server.call("POST", f"{mount}metadata/{key}", {"custom_metadata": custom, "max_versions": 5})


def told(server: OpenBao, mount: str, key: str) -> Any:
    """What a reader gets, and what the key's metadata says but for numbers and times."""
    about = server.data(f"{mount}metadata/{key}")
    newest_version = about["versions"][str(about["current_version"])]
    deleted = bool(newest_version["deletion_time"])
    value = None if deleted else server.data(f"{mount}data/{key}")["data"]
    return value, deleted, about["custom_metadata"], about["max_versions"]


@pytest.fixture
def vault(openbao: OpenBao, tmp_path: Path) -> Iterator[tuple[OpenBao, str, Any]]:
    mount = openbao.mount("undoing")
    with_policies(openbao)
    yield openbao, mount, source_of(openbao, tmp_path, *RESTORE, mounts=(mount,), system=False)
    openbao.unmount("undoing")


def wanted_of(server: OpenBao, mount: str, source: Any) -> list[Secret]:
    """A backup; since then each key was changed in a way of its own, and two are gone."""
    for key in KEYS:
        put(server, mount, key, "old", team="old", **{"tag.env": "old", "expires_at": "2030-01-01"})
    backup = held(source, [mount + key for key in KEYS])
    put(server, mount, "value", "new", team="new", **{"tag.env": "new", "expires_at": "2031-01-01"})
    put(server, mount, "marks", "new")
    put(server, mount, "deleted", "new", team="new")
    server.call("DELETE", f"{mount}data/deleted", None)
    server.call("POST", f"{mount}metadata/tags-alone", {"custom_metadata": {"team": "newer"}})
    for key in ("gone", "gone-too"):
        server.call("DELETE", f"{mount}metadata/{key}", None)
    return backup


def test_a_kv_mount_is_as_before_its_restore(vault: Any, restoring: Restoring) -> None:
    server, mount, source = vault
    wanted = wanted_of(server, mount, source)
    before = {key: told(server, mount, key) for key in KEYS[:4]}
    restoring.restore(wanted, source)
    after = {key: told(server, mount, key) for key in KEYS}
    assert after["value"][2] == {"team": "old", "tag.env": "old", "expires_at": "2030-01-01"}
    run = newest(restoring)
    done = restoring.undo(run, source).counts
    assert (done.changed, done.removed, done.left, done.not_done) == (4, 2, 0, 0)
    assert {key: told(server, mount, key) for key in KEYS[:4]} == before
    assert present(source, [f"{mount}gone", f"{mount}gone-too"]) == {}
    assert restoring.undo(run, source).counts.written == 0
    again = restoring.undo(f"002-{run.partition('-')[2]}", source).counts
    assert (again.changed, again.created) == (4, 2)
    assert {key: told(server, mount, key) for key in KEYS} == after


def test_what_somebody_changed_in_vault_since_is_left(vault: Any, restoring: Restoring) -> None:
    server, mount, source = vault
    restoring.restore(wanted_of(server, mount, source), source)
    put(server, mount, "value", "somebody")
    put(server, mount, "gone", "somebody")
    server.call("POST", f"{mount}metadata/marks", {"custom_metadata": {"team": "somebody"}})
    server.call("DELETE", f"{mount}metadata/deleted", None)
    account = restoring.undo(newest(restoring), source)
    left = {f"{mount}{key}" for key in ("value", "gone", "marks", "deleted")}
    assert set(account.left) == left
    assert (account.counts.changed, account.counts.removed) == (1, 1)
    assert told(server, mount, "marks")[2] == {"team": "somebody"}
    assert told(server, mount, "value")[0] == {"password": "CANARY-somebody"}
    assert present(source, [f"{mount}deleted"]) == {}


SOME = [4, 6]


@pytest.mark.parametrize("at", [*SOME, *(pytest.param(n, marks=pytest.mark.long) for n in range(30))])
@pytest.mark.parametrize("which", ["restore", "undo"])
def test_killed_between_any_two_writes_to_vault_it_is_gone_on_with(
    vault: Any, restoring: Restoring, monkeypatch: pytest.MonkeyPatch, which: str, at: int
) -> None:
    server, mount, source = vault
    wanted = wanted_of(server, mount, source)
    before = {key: told(server, mount, key) for key in KEYS[:4]}
    numbers = source.heads([mount + key for key in KEYS[:4]])
    if which == "restore":
        killed_at(at, monkeypatch, lambda: restoring.restore(wanted, source))
        restoring.number = 1
    restoring.restore(wanted, source)
    run = newest(restoring)
    if which == "undo":
        killed_at(at, monkeypatch, lambda: restoring.undo(run, source))
        restoring.number = 2
    done = restoring.undo(run, source)
    assert (done.left, done.by_code) == ([], {})
    assert {key: told(server, mount, key) for key in KEYS[:4]} == before
    assert present(source, [f"{mount}gone", f"{mount}gone-too"]) == {}
    versions = source.heads(list(numbers))
    assert sum(versions.values()) <= sum(numbers.values()) + 2 * 4 + 1  # at most the one that was cut off


def killed_at(at: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Do it in a process that is gone before its request of that number."""
    writes = itertools.count()

    def dying(method: Any) -> Any:
        def one(*given: Any, **named: Any) -> Any:
            if next(writes) == at:
                os._exit(9)
            return method(*given, **named)

        return one

    child = os.fork()
    if not child:
        for kind, name in ((Vault, "post"), (Vault, "delete"), (Api, "ask")):
            monkeypatch.setattr(kind, name, dying(getattr(kind, name)))
        work()
        os._exit(0)
    os.waitpid(child, 0)


def test_kv_version_1_tells_by_the_value_whether_somebody_wrote(
    openbao: OpenBao, tmp_path: Path, restoring: Restoring
) -> None:
    mount = openbao.mount("undoing1", version=1)
    source = source_of(openbao, tmp_path, mounts=(mount,), system=False)
    for key in ("a", "b"):
        openbao.call("POST", f"{mount}{key}", {"password": "CANARY-old"})
    wanted = held(source, [f"{mount}a", f"{mount}b"])
    for key in ("a", "b"):
        openbao.call("POST", f"{mount}{key}", {"password": "CANARY-new"})
    restoring.restore(wanted, source)
    openbao.call("POST", f"{mount}b", {"password": "CANARY-somebody"})
    assert restoring.undo(newest(restoring), source).left == [f"{mount}b"]
    assert openbao.data(f"{mount}a") == {"password": "CANARY-new"}
    assert openbao.data(f"{mount}b") == {"password": "CANARY-somebody"}
    openbao.unmount("undoing1")


# -- what a restore made that others rest on ----------------------------------------


def restored_with_its_mount(server: OpenBao, source: Any, restoring: Restoring) -> None:
    mount = server.mount("zz-made")
    server.put(mount, "a", {"password": "CANARY-old"})
    wanted = held(source, ["sys/mounts/zz-made", f"{mount}a"])
    server.unmount("zz-made")
    restoring.restore(wanted, source)
    assert server.data(f"{mount}data/a")["data"] == {"password": "CANARY-old"}


def test_a_mount_that_the_restore_made_goes_once_its_keys_are_gone(
    openbao: OpenBao, tmp_path: Path, restoring: Restoring
) -> None:
    source = source_of(openbao, tmp_path)
    restored_with_its_mount(openbao, source, restoring)
    account = restoring.undo(newest(restoring), source)
    assert (account.counts.removed, account.left) == (2, [])
    assert "zz-made/" not in openbao.data("sys/mounts")


def test_a_mount_that_somebody_uses_meanwhile_is_left_with_what_is_in_it(
    openbao: OpenBao, tmp_path: Path, restoring: Restoring
) -> None:
    source = source_of(openbao, tmp_path)
    restored_with_its_mount(openbao, source, restoring)
    openbao.put("zz-made/", "theirs", {"password": "CANARY-theirs"})
    account = restoring.undo(newest(restoring), source)
    assert (account.counts.removed, account.left, account.by_code) == (1, [], {})
    assert account.stays == {"the mount holds secrets that are not removed": ["sys/mounts/zz-made"]}
    assert openbao.data("zz-made/data/theirs")["data"] == {"password": "CANARY-theirs"}
    openbao.unmount("zz-made")


def test_who_may_not_remove_is_told_before_an_undo_begins(
    openbao: OpenBao, tmp_path: Path, restoring: Restoring
) -> None:
    mount = openbao.mount("undoing2")
    with_policies(openbao)
    root, least = tmp_path / "root", tmp_path / "least"
    root.mkdir()
    least.mkdir()
    source = source_of(openbao, root, mounts=(mount,), system=False)
    openbao.put(mount, "made", {"password": "CANARY-old"})
    openbao.put(mount, "changed", {"password": "CANARY-old"})
    wanted = held(source, [f"{mount}made", f"{mount}changed"])
    openbao.call("DELETE", f"{mount}metadata/made", None)
    openbao.put(mount, "changed", {"password": "CANARY-new"})
    restoring.restore(wanted, source)
    names = tuple(name for name in RESTORE if "undo" not in name)
    lesser = source_of(openbao, least, *names, mounts=(mount,), system=False)
    planned = {
        entry.name: (entry.action, entry.why) for entry in restoring.plan_undo(newest(restoring), lesser)
    }
    assert planned == {
        f"{mount}changed": (RestoreAction.CHANGE, ""),
        f"{mount}made": (RestoreAction.CANNOT, f"no right to delete {mount}metadata/made"),
    }
    openbao.unmount("undoing2")


# -- Secrets Manager ---------------------------------------------------------------


def of_aws(moto: Moto, name: str) -> Any:
    client = moto.client()
    about = client.describe_secret(SecretId=name)
    value = None if about.get("DeletedDate") else client.get_secret_value(SecretId=name)["SecretString"]
    tags = {tag["Key"]: tag["Value"] for tag in about.get("Tags", [])}
    return value, tags, about.get("Description"), bool(about.get("DeletedDate"))


def make(moto: Moto, *names: str) -> None:
    for name in names:
        moto.client().create_secret(
            Name=name, SecretString="CANARY-old", Description="old", Tags=[{"Key": "team", "Value": "old"}]
        )


def change(moto: Moto, name: str, value: str) -> None:
    client = moto.client()
    client.put_secret_value(SecretId=name, SecretString=f"CANARY-{value}")
    client.update_secret(SecretId=name, Description=value)
    client.tag_resource(SecretId=name, Tags=[{"Key": "team", "Value": value}])


def test_secrets_manager_is_as_before_its_restore(moto: Moto, restoring: Restoring) -> None:
    source = AwsSource(moto.options(), name="aws")
    make(moto, "changed", "gone", "touched", "touched-new")
    wanted = held(source, ["changed", "gone", "touched", "touched-new"])
    for name in ("gone", "touched-new"):
        moto.client().delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    for name in ("changed", "touched"):
        change(moto, name, "new")
    before = of_aws(moto, "changed")
    restoring.restore(wanted, source)
    after = of_aws(moto, "changed")
    assert after != before
    for name in ("touched", "touched-new"):
        moto.client().tag_resource(SecretId=name, Tags=[{"Key": "team", "Value": "somebody"}])
    run = newest(restoring)
    account = restoring.undo(run, source)
    assert (account.counts.changed, account.counts.removed, account.counts.not_done) == (1, 1, 0)
    assert set(account.left) == {"touched", "touched-new"}
    assert of_aws(moto, "changed") == before
    assert of_aws(moto, "gone")[3] is True  # for as many days as the settings say
    assert restoring.undo(run, source).counts.written == 0
    restoring.undo(f"002-{run.partition('-')[2]}", source)
    assert of_aws(moto, "changed") == after
    assert of_aws(moto, "gone")[:1] == ("CANARY-old",)


@pytest.mark.parametrize("at", [24, *(pytest.param(n, marks=pytest.mark.long) for n in range(60))])
@pytest.mark.parametrize("which", ["restore", "undo"])
def test_killed_between_any_two_requests_to_aws_it_is_gone_on_with(
    moto: Moto, restoring: Restoring, monkeypatch: pytest.MonkeyPatch, which: str, at: int
) -> None:
    def source() -> AwsSource:
        return AwsSource(moto.options(in_flight=1), name="aws")

    make(moto, "changed", "gone")
    wanted = held(source(), ["changed", "gone"])
    moto.client().delete_secret(SecretId="gone", ForceDeleteWithoutRecovery=True)
    change(moto, "changed", "new")
    before = of_aws(moto, "changed")
    if which == "restore":
        killed_at(at, monkeypatch, lambda: restoring.restore(wanted, source()))
        restoring.number = 1
    restoring.restore(wanted, source())
    run = newest(restoring)
    if which == "undo":
        killed_at(at, monkeypatch, lambda: restoring.undo(run, source()))
        restoring.number = 2
    done = restoring.undo(run, source())
    assert (done.left, done.by_code) == ([], {})
    assert of_aws(moto, "changed") == before
    assert of_aws(moto, "gone")[3] is True
