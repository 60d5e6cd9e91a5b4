"""Whose signatures count on targets, by the trust lists that lie there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.errors import TrustListMissing, UntrustedSigner
from strongroom.container.manifest import Manifest, sign_manifest
from strongroom.container.marks import TrustList, sign_list
from strongroom.container.signing import Signer, Signers
from strongroom.keys import rolelist
from strongroom.operations.engine.trust_lists import STATING, believed_on, lists_on
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.reading import ManifestListing
from tests.certified import certified
from tests.container.parts import CONTROL, INSTALLATION, manifest
from tests.container.test_trust_list import listed

PINS = Signers([INSTALLATION.fingerprint])


def put(target: MemoryTarget, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def made(target: MemoryTarget, backup: str, *, by: object = CONTROL, trust: int = 0) -> None:
    content = sign_manifest(replace(_empty(), backup_id=backup, trust=trust), by)  # type: ignore[arg-type]
    put(target, f"manifests/{backup}.json", content)


def _empty() -> Manifest:
    return replace(
        manifest(), containers=(), counts=replace(manifest().counts, secrets=0, versions=0, size=0)
    )


def put_list(target: MemoryTarget, one: TrustList, by: Signer = INSTALLATION, ending: str = "") -> bytes:
    content = sign_list(one, by)
    put(target, one.object_name + ending, content)
    return content


def on(*targets: MemoryTarget) -> list[ManifestListing]:
    return [ManifestListing(target) for target in targets]


def test_a_key_that_a_target_distrusts_counts_on_all_of_them_for_nothing() -> None:
    eu, us = MemoryTarget(name="eu"), MemoryTarget(name="us")
    put_list(us, listed(CONTROL))
    made(eu, "b1")
    known = believed_on(PINS, on(eu, us))
    with pytest.raises(UntrustedSigner, match="lost"):
        on(eu)[0].read("b1", trusted=known)
    assert on(eu)[0].read("b1", trusted=believed_on(PINS, on(eu))).manifest.backup_id == "b1"


def test_the_highest_list_counts_and_two_of_one_number_both() -> None:
    target, other, third = MemoryTarget(name="eu"), Signer.generate(), Signer.generate()
    put_list(target, listed(CONTROL, number=1))
    assert believed_on(PINS, on(target)).distrusted.keys() == {CONTROL.fingerprint}
    put_list(target, listed(other, number=2))
    put_list(target, listed(third, number=2), ending=".r1")
    found = believed_on(PINS, on(target))
    assert found.distrusted.keys() == {other.fingerprint, third.fingerprint}
    assert found.lists == {INSTALLATION.fingerprint: 2}


def test_a_list_of_nobody_who_is_pinned_and_junk_above_it_change_nothing() -> None:
    target = MemoryTarget(name="eu")
    put_list(target, listed(CONTROL, number=3))
    put_list(target, listed(number=9), Signer.generate())
    put(target, "trust/00000008.json", b'{"format":"strongroom-trust/1",\n')
    put(target, "trust/00000007.json", sign_list(listed(number=4), INSTALLATION))  # another's name
    put(target, "trust/notes.txt", b"x")
    assert believed_on(PINS, on(target)).lists == {INSTALLATION.fingerprint: 3}


def test_a_successor_is_pinned_too_and_goes_on_with_the_numbers() -> None:
    target, second, third = MemoryTarget(name="eu"), Signer.generate(), Signer.generate()
    put_list(target, listed(number=1, successor=second))
    put_list(target, listed(number=2, successor=third), second)
    put_list(target, listed(CONTROL, number=3), third)
    made(target, "b1", by=certified("control", installation=third), trust=3)
    made(target, "b2")
    known = believed_on(PINS, on(target))
    assert set(known) == {one.fingerprint for one in (INSTALLATION, second, third)}
    assert set(known.lists.values()) == {3}
    [place] = on(target)
    assert place.read("b1", trusted=known).manifest.backup_id == "b1"
    with pytest.raises(UntrustedSigner):
        place.read("b2", trusted=known)


def test_a_list_that_is_withheld_is_noticed_by_what_was_signed_since() -> None:
    target, forger = MemoryTarget(name="eu"), certified("control", installation=INSTALLATION)
    made(target, "b1", trust=1)
    made(target, "b2", by=forger)  # newer, and it states none
    with pytest.raises(TrustListMissing, match=r"Trust list 1 .* none was found"):
        believed_on(PINS, on(target))
    elsewhere = MemoryTarget(name="us")
    put_list(elsewhere, listed(forger))
    known = believed_on(PINS, on(target, elsewhere))
    assert forger.fingerprint in known.distrusted


def test_who_is_distrusted_cannot_demand_a_list() -> None:
    target, forger = MemoryTarget(name="eu"), certified("control", installation=INSTALLATION)
    put_list(target, listed(forger))
    made(target, "b1", by=forger, trust=99)
    assert believed_on(PINS, on(target)).lists == {INSTALLATION.fingerprint: 1}


def test_a_backup_that_is_named_states_its_list_itself() -> None:
    target = MemoryTarget(name="eu")
    made(target, "b0", trust=2)
    for number in range(1, 1 + STATING):
        made(target, f"b{number}")
    known = believed_on(PINS, on(target))
    with pytest.raises(TrustListMissing):
        on(target)[0].read("b0", trusted=known)


def test_a_host_keeps_the_highest_list_that_it_saw(tmp_path: Path) -> None:
    target, empty = MemoryTarget(name="eu"), MemoryTarget(name="us")
    first, second = put_list(target, listed(number=1)), put_list(target, listed(CONTROL, number=2))
    believed_on(PINS, on(target), folder=tmp_path)
    assert [content for content, _ in rolelist.files_of(tmp_path, PINS)] == [second]
    assert not rolelist.keep(tmp_path, [first, second])
    known = believed_on(PINS, on(empty), folder=tmp_path)
    assert CONTROL.fingerprint in known.distrusted
    assert known.lists == {INSTALLATION.fingerprint: 2}


def test_a_key_that_is_named_is_believed_again_and_pins_nothing() -> None:
    target = MemoryTarget(name="eu")
    put_list(target, listed(CONTROL))
    made(target, "b1")
    typed = [CONTROL.fingerprint]
    known = believed_on(PINS.with_named(typed), on(target))
    assert known == PINS
    assert on(target)[0].read("b1", trusted=known).manifest.backup_id == "b1"


def test_lists_are_read_from_the_highest_down_and_no_further_than_needed() -> None:
    target = MemoryTarget(name="eu")
    for number in range(1, 9):
        put_list(target, listed(number=number))
    assert [one.signed.statement.number for one in lists_on(target, PINS)] == [8]
