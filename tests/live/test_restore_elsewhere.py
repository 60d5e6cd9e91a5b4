"""Planned restores into another kind of source, another mount and the local store, on live servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.model import ListedSecret, Media, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.operations.restore.journal import RestoreAccount, Restored
from strongroom.operations.restore.plan import (
    IN_PLACE,
    PlanEntry,
    Relocation,
    RestoreAction,
    RestorePlan,
    name_destination,
)
from strongroom.operations.restore.plan_file import make_plan
from strongroom.operations.restore.restore import restore
from strongroom.plugins.conformance.sources import secret
from strongroom.sources import Destination
from strongroom.sources.aws import AwsSource
from strongroom.sources.local import LocalStore
from tests.live.moto import Moto
from tests.live.openbao import OpenBao
from tests.live.vault_parts import RESTORE, shipped, source_of

OWN = "elsewhere/"


@pytest.fixture
def mounted(openbao: OpenBao) -> Iterator[OpenBao]:
    openbao.mount(OWN)
    yield openbao
    openbao.unmount(OWN)


def plan_of(
    secrets: Sequence[Secret], destination: Destination, relocation: Relocation = IN_PLACE
) -> list[PlanEntry]:
    asked = RestorePlan(
        id="01-plan",
        made_at="2026-11-27T00:00:00Z",
        by="ada",
        backup="b",
        manifest="",
        destination=name_destination(destination),
        overwrite=True,
        relocation=relocation,
    )
    entries: list[PlanEntry] = []
    make_plan(asked, lambda: iter(secrets), destination, note=entries.append)
    return entries


def do(
    secrets: Sequence[Secret],
    destination: Destination,
    plan: Sequence[PlanEntry],
    relocation: Relocation = IN_PLACE,
) -> RestoreAccount:
    account = RestoreAccount()
    restore(lambda: iter(secrets), destination, plan=plan, relocation=relocation, account=account)
    return account


def named(entries: Sequence[PlanEntry]) -> dict[str, PlanEntry]:
    return {entry.to: entry for entry in entries}


def read_all(source: Destination, names: Sequence[str]) -> list[Secret]:
    return [found for found in source.read([ListedSecret(name, 0) for name in names]) if found is not None]


def test_what_the_local_store_held_goes_into_a_mount_as_its_plan_foretells(
    mounted: OpenBao, tmp_path: Path
) -> None:
    vault = source_of(mounted, tmp_path)
    relocation = Relocation(to=OWN)
    secrets = [
        secret("db/password", "CANARY-text", tags={"long": "x" * 600, "team": "pay"}),
        replace(
            secret("db/object"),
            versions=(SecretVersion(number=1, value=SecretBytes(b'{"a":"CANARY"}'), media=Media.JSON),),
        ),
    ]
    plan = plan_of(secrets, vault, relocation)
    entries = named(plan)
    assert {entry.action for entry in plan} == {RestoreAction.CREATE}
    assert "'tag.long' breaks the server's limits" in entries[OWN + "db/password"].loss
    assert "no JSON object" in entries[OWN + "db/password"].loss
    assert entries[OWN + "db/object"].loss == ""
    account = do(secrets, vault, plan, relocation)
    assert account.counts == Restored(created=2, compared=2, versions=2)
    assert mounted.data(f"{OWN}data/db/object")["data"] == {"a": "CANARY"}
    assert any("'tag.long' breaks the server's limits" in loss for loss in account.losses)


def test_a_secret_without_a_mount_cannot_be_restored_unless_the_plan_makes_the_mount(
    openbao: OpenBao, tmp_path: Path
) -> None:
    vault = source_of(openbao, tmp_path)
    below = secret("planned-mount/a/key", "CANARY")
    [entry] = plan_of([below], vault)
    assert (entry.action, entry.why[:24]) == (RestoreAction.CANNOT, "there is no KV mount for")
    openbao.policy("blind", 'path "sys/mounts" { capabilities = ["read"] }')
    (tmp_path / "blind").mkdir()
    relocated = replace(below, metadata={"vault": {"mount": "kv/"}})
    [entry] = plan_of([relocated], source_of(openbao, tmp_path / "blind", "blind"))
    assert entry.why[:24] == "there is no KV mount for"
    fields = b'{"type":"kv","options":{"version":"2"}}'
    mount = replace(
        secret("sys/mounts/planned-mount"),
        type="vault_mount",
        versions=(SecretVersion(number=1, value=SecretBytes(fields), media=Media.JSON),),
    )
    assert [entry.action for entry in plan_of([below, mount], vault)] == [RestoreAction.CREATE] * 2


def json_secret(name: str, raw: bytes) -> Secret:
    version = SecretVersion(number=1, value=SecretBytes(raw), media=Media.JSON)
    return replace(secret(name), versions=(version,))


NUMBERS = {
    b'{"n": 9007199254740993}': False,
    b'{"n": [12345678901234567890]}': False,
    b'{"n": 123456789012345678901234567890}': False,
    b'{"n": 0.1234567890123456789}': False,
    b'{"n": 12345678901234567000}': True,
    b'{"n": 9007199254740992, "m": 0.1, "k": 1e-7, "s": "4111111111111111111"}': True,
    b'{"n": 1.0000000000000000}': True,
}


@pytest.mark.parametrize("raw", NUMBERS)
def test_a_number_that_version_2_rounds_is_foretold_refused_and_stops_nothing_else(
    mounted: OpenBao, tmp_path: Path, raw: bytes
) -> None:
    vault = source_of(mounted, tmp_path)
    kept = NUMBERS[raw]
    secrets = [json_secret(f"{OWN}number", raw), secret(f"{OWN}other", "CANARY-other")]
    plan = named(plan_of(secrets, vault))
    assert plan[f"{OWN}number"].action is (RestoreAction.CREATE if kept else RestoreAction.CANNOT)
    account = RestoreAccount()
    restore(lambda: iter(secrets), vault, account=account)
    assert account.counts.created == 1 + kept
    assert [one.why for one in account.not_done] == ([] if kept else [account.not_done[0].why])
    assert kept or "KV version 2 rounds" in account.not_done[0].why
    assert do(secrets, vault, list(plan.values())).counts.not_done == (not kept)


def test_an_empty_object_goes_into_version_2_and_is_refused_by_version_1_beforehand(
    mounted: OpenBao, tmp_path: Path
) -> None:
    mounted.mount("plain", version=1)
    vault = source_of(mounted, tmp_path)
    secrets = [json_secret("plain/empty", b"{ }"), json_secret(f"{OWN}empty", b"{}")]
    secrets.append(json_secret("plain/exact", b'{"n": 9007199254740993}'))
    plan = named(plan_of(secrets, vault))
    actions = {name: entry.action for name, entry in plan.items()}
    assert actions == {
        "plain/empty": RestoreAction.CANNOT,
        f"{OWN}empty": RestoreAction.CREATE,
        "plain/exact": RestoreAction.CREATE,
    }
    assert do(secrets, vault, [plan[one.name] for one in secrets]).counts.created == 2
    account = RestoreAccount()
    restore(lambda: iter(secrets), vault, account=account)
    assert [one.code for one in account.not_done] == ["SourceError"]
    mounted.unmount("plain")


def test_a_role_whose_auth_method_is_not_there_is_foretold_and_named(
    mounted: OpenBao, tmp_path: Path
) -> None:
    vault = source_of(mounted, tmp_path)
    method = replace(json_secret("sys/auth/gone", b'{"type":"approle"}'), type="vault_auth")
    role = replace(json_secret("auth/gone/role/app", b'{"bind_secret_id":true}'), type="vault_role")
    settings = replace(json_secret("auth/lost/config", b"{}"), type="vault_auth_config")
    below = replace(json_secret("nowhere/sys/policies/acl/p", b'{"policy":"#"}'), type="vault_policy")
    plan = named(plan_of([role, settings, below], vault))
    assert {name: entry.why.partition(" for it")[0] for name, entry in plan.items()} == {
        "auth/gone/role/app": "there is no auth method",
        "auth/lost/config": "there is no auth method",
        "nowhere/sys/policies/acl/p": "there is no namespace",
    }
    assert [entry.action for entry in plan_of([method, role], vault)] == [RestoreAction.CREATE] * 2
    account = RestoreAccount()
    restore(lambda: iter([role, secret(f"{OWN}other", "CANARY-other")]), vault, account=account)
    assert account.counts.created == 1
    [refused] = account.not_done
    assert (refused.name, refused.code) == ("auth/gone/role/app", "SourceError")
    assert "no place for 'auth/gone/role/app'" in refused.why


def test_a_name_with_a_blank_at_its_end_is_restored_by_a_plan_like_any_other(
    mounted: OpenBao, tmp_path: Path
) -> None:
    backup = [json_secret(f"{OWN}trail ", b'{"v":"CANARY"}'), json_secret(f"{OWN}trail", b'{"v":"CANARY"}')]
    (tmp_path / "least").mkdir()
    for name in RESTORE:
        mounted.policy(f"{name}-blank", shipped(name).replace('"secret/', f'"{OWN}'))
    least = source_of(mounted, tmp_path / "least", *(f"{name}-blank" for name in RESTORE), mounts=(OWN,))
    plan = plan_of(backup, least)
    assert [entry.action for entry in plan] == [RestoreAction.CREATE] * 2
    assert do(backup, least, plan).counts.created == 2
    assert {right.missing for right in least.write_rights(backup, removing=True)} == {()}


def test_a_mount_is_restored_into_another_one_and_what_moved_there_is_left(
    mounted: OpenBao, tmp_path: Path
) -> None:
    vault = source_of(mounted, tmp_path)
    for number in range(3):
        mounted.put(OWN, f"app/{number}", {"value": f"CANARY-{number}"})
    backup = read_all(vault, [f"{OWN}app/{number}" for number in range(3)])
    relocation = Relocation(source=f"{OWN}app/", to=f"{OWN}copy/")
    mounted.put(OWN, "copy/0", {"value": "CANARY-other"})
    plan = plan_of(backup, vault, relocation)
    assert next((entry.name, entry.to, entry.action) for entry in plan) == (
        f"{OWN}app/0",
        f"{OWN}copy/0",
        RestoreAction.CHANGE,
    )
    mounted.put(OWN, "copy/0", {"value": "CANARY-later"})
    mounted.put(OWN, "copy/1", {"value": "CANARY-later"})
    account = do(backup, vault, plan, relocation)
    assert account.moved == [f"{OWN}copy/0", f"{OWN}copy/1"]
    assert account.counts.created == 1
    assert mounted.data(f"{OWN}data/copy/0")["data"] == {"value": "CANARY-later"}
    assert mounted.data(f"{OWN}data/app/0")["data"] == {"value": "CANARY-0"}


def test_what_a_mount_held_goes_into_the_local_store_and_back_and_is_the_same(
    mounted: OpenBao, tmp_path: Path
) -> None:
    vault, local = source_of(mounted, tmp_path), LocalStore(tmp_path / "state")
    for value in ("first", "second"):
        mounted.put(OWN, "app/key", {"value": f"CANARY-{value}"})
    before = read_all(vault, [OWN + "app/key"])
    inward = Relocation(source=OWN)
    do(before, local, plan_of(before, local, inward), inward)
    held = read_all(local, ["app/key"])
    assert [version.value for version in held[0].versions] == [
        version.value for version in before[0].versions
    ]
    mounted.call("DELETE", f"{OWN}metadata/app/key")
    outward = Relocation(to=OWN)
    do(held, vault, plan_of(held, vault, outward), outward)
    [after] = read_all(vault, [OWN + "app/key"])
    assert vault.kept(after) == vault.kept(before[0])


def test_secrets_manager_says_what_it_will_refuse_and_lose_of_secrets_from_elsewhere(
    moto: Moto, tmp_path: Path
) -> None:
    aws = AwsSource(moto.options(), name="aws")
    deleted = SecretVersion(number=1, state=VersionState.DELETED)
    secrets = [
        secret("no name there!", "CANARY"),
        replace(
            secret("app/one"),
            versions=(deleted, SecretVersion(number=2, value=SecretBytes(b"CANARY"))),
            metadata={"vault": {"mount": "kv/"}},
        ),
    ]
    entries = named(plan_of(secrets, aws))
    assert entries["no name there!"].action is RestoreAction.CANNOT
    loss = entries["app/one"].loss
    assert "metadata that Secrets Manager has no place for" in loss
    assert "versions without a value" in loss
    account = do(secrets, aws, list(entries.values()))
    assert [one.name for one in account.not_done] == ["no name there!"]
    assert all(any(line.startswith(part) for line in account.losses) for part in loss.split("; "))
