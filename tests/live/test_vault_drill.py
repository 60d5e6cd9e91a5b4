"""Drills that restore into a mount of their own on a live OpenBao."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.errors import SourceError
from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.operations.drills.job import list_reports
from strongroom.operations.drills.report import DrillReport
from strongroom.operations.engine.drive import drive, end
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform
from strongroom.sources import SecretChange
from strongroom.sources.vault.scratch import PREFIX, ScratchMounts
from strongroom.state.records import RunState, StepKind, Ticket
from strongroom.vault.client import Vault
from tests.live.openbao import OpenBao, dev_server
from tests.live.vault_parts import shipped
from tests.operations.drills.drilling import drilled, submitted
from tests.operations.world import World, make_world


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    with dev_server() as server:
        server.policy("drill-scratch", shipped("drill-scratch"))
        yield server


@pytest.fixture
def mounts(bao: OpenBao, tmp_path: Path) -> ScratchMounts:
    """With the rights that are shipped, and no others."""
    folder = tmp_path / "token"
    folder.mkdir()
    return ScratchMounts(Vault(bao.connection(folder, "drill-scratch")), name="main")


def secret(name: str, *values: bytes, media: Media = Media.TEXT) -> Secret:
    versions = (SecretVersion(number=n, value=SecretBytes(v), media=media) for n, v in enumerate(values, 1))
    return Secret(name=name, tags={"category": "drill"}, versions=tuple(versions))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Text, JSON as no server spells it, bytes, versions, and names of folders and of a server's own."""
    secrets = [
        secret("app/text", b"CANARY-1", b"CANARY-2"),
        secret("app/json", b'{ "b": 1.0,  "a": "CANARY" }', media=Media.JSON),
        secret("app/bytes", bytes(range(256)), media=Media.BINARY),
        secret("sys/policies/acl/admin", b'{"policy": "CANARY"}', media=Media.JSON),
        secret("app", b"CANARY-3"),
    ]
    return make_world(tmp_path, secrets=secrets)


def services_of(world: World, mounts: ScratchMounts) -> Services:
    return world.services(scratch=lambda name: mounts)


def report_of(world: World) -> DrillReport:
    trusted = frozenset({world.installation.fingerprint})
    return list_reports(list(world.targets.values()), trusted=trusted).reports[0].report


def drill_mounts(bao: OpenBao) -> list[str]:
    return [path for path in bao.data("sys/mounts") if path.startswith(PREFIX)]


def until(kind: StepKind, services: Services) -> tuple[str, list[Ticket]]:
    run, tickets = submitted(services, into="main")
    while tickets[0].step.kind is not kind:
        tickets = perform(tickets[0], services)
    return run, tickets


def test_a_drill_restores_into_a_mount_of_its_own_and_removes_it(
    bao: OpenBao, world: World, mounts: ScratchMounts
) -> None:
    bao.put("secret/", "app/text", {"value": "CANARY-of-somebody"})
    before = set(bao.data("sys/mounts"))
    world.back_up()
    services = services_of(world, mounts)
    run, tickets = until(StepKind.DRILL_COMPARE, services)
    assert set(bao.data("sys/mounts")) - before == {f"{PREFIX}{run}/"}
    assert bao.data(f"{PREFIX}{run}/data/app/json")["data"] == {"b": 1.0, "a": "CANARY"}
    ended = drive(run, tickets, services, processes=1)
    assert (ended.state, ended.error) == (RunState.DONE, None)
    report = report_of(world)
    assert (report.secrets, report.compared, report.differ, report.into) == (5, 6, 0, "main")
    assert set(bao.data("sys/mounts")) == before
    assert bao.data("secret/data/app/text")["data"] == {"value": "CANARY-of-somebody"}


def test_a_value_that_the_server_gives_back_otherwise_fails_the_drill(
    bao: OpenBao, world: World, mounts: ScratchMounts
) -> None:
    world.back_up()
    services = services_of(world, mounts)
    run, tickets = until(StepKind.DRILL_COMPARE, services)
    bao.call("DELETE", f"{PREFIX}{run}/metadata/app/json")
    bao.put(f"{PREFIX}{run}/", "app/json", {"b": 1, "a": "CANARY-other"})
    ended = drive(run, tickets, services, processes=1)
    assert ended.error == "VerificationFailed: 1 of 6 values is not what was backed up"
    assert drill_mounts(bao) == []


def test_what_a_killed_drill_left_on_the_server_goes_with_the_next_one(
    bao: OpenBao, world: World, mounts: ScratchMounts
) -> None:
    world.back_up()
    services = services_of(world, mounts)
    run, _ = until(StepKind.DRILL_COMPARE, services)
    control = world.services()  # it ends the run, and may make or remove no mount
    control.store.cancel(run, error="its host burnt down")
    assert end(run, control).facts["report"]["unswept"]
    assert drill_mounts(bao) == [f"{PREFIX}{run}/"]
    assert drilled(services, into="main").state is RunState.DONE
    assert drill_mounts(bao) == []


def test_a_mount_that_was_there_before_is_neither_used_nor_removed(
    bao: OpenBao, world: World, mounts: ScratchMounts
) -> None:
    world.back_up()
    services = services_of(world, mounts)
    run, tickets = until(StepKind.DRILL_RESTORE, services)
    bao.mount(f"{PREFIX}{run}")
    bao.put(f"{PREFIX}{run}/", "theirs", {"value": "CANARY"})
    ended = drive(run, tickets, services, processes=1)
    assert (ended.state, "that this drill did not make" in str(ended.error)) == (RunState.FAILED, True)
    assert bao.call("GET", f"{PREFIX}{run}/metadata/?list=true")["data"]["keys"] == ["theirs"]
    with pytest.raises(SourceError, match="did not make"):
        mounts.remove(run)
    bao.unmount(f"{PREFIX}{run}")


def test_another_installations_mount_is_left_alone(bao: OpenBao, world: World, mounts: ScratchMounts) -> None:
    theirs = "20260101T000000000000Z-00000000"
    mounts.make(theirs).write([SecretChange(secret=secret("a", b"CANARY"), expected=None)])
    world.back_up()
    assert drilled(services_of(world, mounts), into="main").state is RunState.DONE
    assert drill_mounts(bao) == [f"{PREFIX}{theirs}/"]
    mounts.remove(theirs)


def test_a_server_that_is_away_fails_the_drill_before_anything_is_restored(
    bao: OpenBao, world: World, tmp_path: Path
) -> None:
    world.back_up()
    folder = tmp_path / "no-rights"
    folder.mkdir()
    denied = ScratchMounts(Vault(bao.connection(folder, "default")), name="main")
    run = drilled(services_of(world, denied), into="main")
    assert (run.state, "could not be carried out" in str(run.error)) == (RunState.FAILED, True)
    assert [one.check for one in report_of(world).checks if one.code] == ["place"]
