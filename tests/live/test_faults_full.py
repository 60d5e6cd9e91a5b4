"""Servers on a disk that is really full: what they refuse, and what they only say they kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.model import Depth
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted
from strongroom.plugins.conformance.targets import MIB, get, names, put
from strongroom.state.records import Run, RunState
from strongroom.targets.errors import TargetUnavailable
from tests.live.azurite import Azurite
from tests.live.ministack import MiniStack
from tests.live.regions import azure_region, s3_region
from tests.operations.world import made_up, make_world
from tests.targets.disks import small_disk

pytestmark = pytest.mark.platform
DISK = 4 * MIB


@pytest.fixture
def full_azurite() -> Iterator[Azurite]:
    """An Azurite on a small disk of its own."""
    made = Azurite()
    with small_disk(made.server.folder, size=DISK) as mounted:
        if not mounted:
            pytest.skip("needs the right to mount")
        with made.server:
            yield made


@pytest.fixture
def full_ministack() -> Iterator[MiniStack]:
    """An S3 server on a small disk of its own."""
    made = MiniStack("eu-north-1", persist=True)
    with small_disk(made.server.folder, size=DISK) as mounted:
        if not mounted:
            pytest.skip("needs the right to mount")
        with made:
            yield made


def fill(folder: Path) -> Path:
    """Leave no room on a disk; return the file to remove."""
    ballast = folder / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4096"], capture_output=True, check=False)
    return ballast


def finish(submitted: Submitted, services: Services) -> Run:
    run, tickets = submitted
    return drive(run, tickets, services, processes=1)


def test_what_a_full_server_refuses_is_not_there_and_goes_up_once_there_is_room(
    full_azurite: Azurite, tmp_path: Path
) -> None:
    region = azure_region(full_azurite, tmp_path, name="west")
    put(region.target(), "before", b"CANARY-before")
    ballast = fill(full_azurite.server.folder)
    content = os.urandom(MIB)

    with pytest.raises(TargetUnavailable):
        put(region.target(), "a", content)
    assert names(region.target()) == ["before"]
    assert get(region.target(), "before") == b"CANARY-before"

    ballast.unlink()
    assert put(region.target(), "a", content) is True
    assert get(region.target(), "a") == content


def test_what_a_full_server_said_it_kept_and_did_not_is_found_missing_and_brought_up(
    full_ministack: MiniStack, ministack: MiniStack, other_ministack: MiniStack, tmp_path: Path
) -> None:
    """It answers puts and reads from memory, and logs that it could not write them down."""
    regions = {
        "eu": s3_region(ministack, tmp_path, name="eu"),
        "us": s3_region(full_ministack, tmp_path, name="us"),
        "ap": s3_region(other_ministack, tmp_path, name="ap"),
    }
    put(regions["us"].target(), "before", b"x")

    def targets() -> dict[str, object]:
        return {name: region.target() for name, region in regions.items()}

    world = make_world(tmp_path, secrets=made_up(6), pieces=1).with_targets(targets())  # type: ignore[arg-type]
    ballast = fill(full_ministack.server.folder)
    backup = world.back_up().id
    full_ministack.kill()
    ballast.unlink()
    full_ministack.start()

    services = world.services(targets=targets())
    verified = finish(submit_verify(services, backup=backup), services)
    assert verified.state is RunState.DEGRADED
    assert {one.target for one in services.store.replicas(backup) if one.good} == {"eu", "ap"}

    services = world.services(targets=targets())
    assert finish(submit_repair(services, backup=backup), services).state is RunState.DONE
    services = world.services(targets=targets())
    assert (
        finish(submit_verify(services, backup=backup, depth=Depth.COMPARED), services).state is RunState.DONE
    )
    assert {one.target for one in services.store.replicas(backup) if one.good} == {"eu", "us", "ap"}
