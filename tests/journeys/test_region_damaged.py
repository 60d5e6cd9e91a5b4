"""The machine is gone and a region is damaged: the other gives everything, and the damaged one is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.operations.errors import LeftAside, TargetUnsound
from tests.cli.program import Done, Machine
from tests.journeys.house import MONTHLY, House, in_page, typed, values, words_of


def flip(region: Path, backup: str) -> None:
    """Change one bit of each container, where only a reader of the values sees it."""
    for file in (region / "containers" / backup).iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))


def delete(region: Path, backup: str) -> None:
    shutil.rmtree(region / "containers" / backup)


def overwrite(region: Path, backup: str) -> None:
    """Put an older, truly signed manifest into the place of this one."""
    [older, *_] = sorted((region / "manifests").iterdir())
    shutil.copyfile(older, region / "manifests" / f"{backup}.json")


def empty(region: Path, _backup: str) -> None:
    shutil.rmtree(region / "manifests")


@pytest.mark.parametrize("damage", [flip, delete, overwrite, empty])
def test_everything_comes_back_and_the_damaged_region_is_named(
    house: House, other: Machine, damage: Callable[[Path, str], None]
) -> None:
    damage(other.path("region-a"), house.newest("monthly-full"))
    done = both(house, other)
    assert values(other) == MONTHLY
    told = words_of(done)
    assert done.failed_with(TargetUnsound), done
    assert f"'{other.path('region-a')}': " in told, done
    assert f"'{other.path('region-b')}': " not in told
    assert "Damaged" in told or "damaged" in told or "repair" in told


def test_a_region_that_was_rolled_back_gives_nothing_older_where_another_has_the_newest(
    house: House, other: Machine
) -> None:
    newest = house.newest("monthly-full")
    region = other.path("region-a")
    for file in (region / "manifests").iterdir():
        if file.stem >= newest:
            file.unlink()
    done = both(house, other)
    assert values(other) == MONTHLY
    assert f"from backup {newest} of policy 'monthly-full'" in words_of(done)
    assert done.failed_with(TargetUnsound), done
    assert f"'{region}': " in words_of(done), done


def test_junk_in_a_region_is_named_and_costs_nothing(house: House, other: Machine) -> None:
    manifests = other.path("region-a") / "manifests"
    for number in range(200):
        (manifests / f"20991231T000000Z-{number:08x}.json").write_text("junk")
    done = both(house, other)
    assert (done.failed_with(LeftAside), values(other)) == (True, MONTHLY), done  # the result stands
    assert "and 199 more like it" in words_of(done)


def both(house: House, other: Machine) -> Done:
    """Type the runbook's line with both copies, as it says."""
    everything, *_ = in_page("restore.md", "The machine is gone")
    line = everything.replace("/mnt/region-a", "/mnt/region-a --from-target /mnt/region-b")
    places = {f"/mnt/{name}": other.path(name) for name in ("region-a", "region-b")}
    return typed(other, line, {**places, "sr1:…": house.signer})
