"""Trust lists on their way: onto targets, and from there to other hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.errors import UsageError
from strongroom.keys import rolelist, roles
from strongroom.model import ObjectInfo
from strongroom.operations.engine.spread import learn_lists, put_lists, spread
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.trust_lists.test_believed import put


def leaked(folder: Path) -> str:
    key = roles.load_or_create_role(folder, "control").fingerprint
    assert roles.distrust(folder, key, reason="leak").number == 1
    return key


def test_a_list_goes_onto_a_target_once_and_beside_what_somebody_put_there(tmp_path: Path) -> None:
    leaked(tmp_path)
    _, lists = roles.known_lists(tmp_path)
    target = MemoryTarget(name="eu")
    put(target, "trust/00000001.json", b"junk")
    for _ in range(2):
        put_lists(target, lists)
    names = sorted(info.name for info in target.list("trust/"))
    assert names == ["trust/00000001.json", "trust/00000001.json.r1"]


def test_a_target_that_is_away_is_named_and_holds_up_no_other(tmp_path: Path) -> None:
    class Away(MemoryTarget):
        def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
            raise TargetUnavailable(f"{prefix} is away")

    leaked(tmp_path)
    us = MemoryTarget(name="us")
    missed = spread({"eu": Away(name="eu"), "us": us}, roles.known_lists(tmp_path)[1])
    assert list(missed) == ["eu"]
    assert [info.name for info in us.list("trust/")] == ["trust/00000001.json"]


def test_another_host_learns_of_it_and_signs_by_the_number(tmp_path: Path) -> None:
    here, there = tmp_path / "a", tmp_path / "b"
    key = roles.load_or_create_role(here, "control").fingerprint
    there.mkdir()
    (there / roles.TRUSTED).write_bytes((here / roles.TRUSTED).read_bytes())
    (there / "control.key").write_bytes((here / "control.key").read_bytes())
    (there / "control.key").chmod(0o600)
    assert roles.load_role(there, "control").trust == 0
    assert roles.distrust(here, key, reason="leak").number == 1
    target = MemoryTarget(name="eu")
    put_lists(target, roles.known_lists(here)[1])

    assert key in learn_lists(there, {"eu": target}).distrusted
    assert roles.believed(there).distrusted.keys() == {key}
    signer = roles.load_role(there, "control")
    assert (signer.trust, list(signer.lists)) == (1, ["trust/00000001.json"])
    assert roles.trusted(there) == {}, "its key is the one that leaked"


def test_the_lists_of_two_hosts_of_one_number_both_count_and_the_next_one_has_both(tmp_path: Path) -> None:
    here, there = tmp_path / "a", tmp_path / "b"
    first = roles.load_or_create_role(here, "control").fingerprint
    second = roles.load_or_create_role(here, "seal").fingerprint
    there.mkdir()
    for name in (roles.TRUSTED, "installation.key"):
        (there / name).write_bytes((here / name).read_bytes())
        (there / name).chmod(0o600)
    roles.distrust(here, first, reason="leak")
    roles.distrust(there, second, reason="leak")
    target = MemoryTarget(name="eu")
    for folder in (here, there):
        put_lists(target, roles.known_lists(folder)[1])
    assert learn_lists(here, {"eu": target}).distrusted.keys() >= {first, second}
    third = roles.load_or_create_role(here, "prune").fingerprint
    assert roles.distrust(here, third, reason="leak").number == 2
    [(_, newest)] = rolelist.files_of(here, roles.believed(here))
    assert {key.fingerprint for key in newest.statement.distrusted} >= {first, second, third}


@pytest.mark.parametrize("key", [bytes([1, *bytes(31)]), bytes(32), bytes([0xEC, *[0xFF] * 31])])
def test_no_key_of_small_order_is_certified(tmp_path: Path, key: bytes) -> None:
    roles.load_or_create_role(tmp_path, "control")
    with pytest.raises(UsageError, match="small order"):
        roles.certify_key(tmp_path, "verify", key)
