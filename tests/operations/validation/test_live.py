"""Secrets that live now, one by one and against a backup: in batches, and whatever is damaged is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.errors import Tampered
from strongroom.errors import StrongroomError
from strongroom.model import ListedSecret, Secret, SecretBytes, SecretVersion, Selection
from strongroom.operations.archive.coverage import Asked, BackupPlace
from strongroom.operations.archive.live_comparison import BATCH, selected
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.checks.live import (
    LiveComparison,
    PolicyComparison,
    Reached,
    against,
    by_names,
    hold,
    no_backup,
    values,
)
from strongroom.sources import SecretChange
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.memory import MemoryStore
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget
from tests.operations.backup.test_repair_and_drill import damage
from tests.operations.world import POLICY, World, made_up, make_world

NOW = datetime(2026, 11, 26, tzinfo=UTC)
ALL = Selection()


def changed(secret: Secret, value: bytes = b"CANARY-CHANGED") -> Secret:
    return replace(secret, versions=(SecretVersion(number=1, value=SecretBytes(value)),))


class Watched(MemoryStore):
    """A store that counts what it holds in memory for its reader, and has some secrets damaged."""

    damaged: frozenset[str] = frozenset()
    asked: list[int]

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        self.asked.append(len(entries))
        for entry, secret in zip(entries, super().read(entries), strict=True):
            if entry.name in self.damaged:
                raise Tampered(f"{entry.name} is not what was sealed")
            yield secret


def watched(count: int, *damaged: str) -> Watched:
    store = Watched(made_up(count))
    store.damaged, store.asked = frozenset(damaged), []
    return store


def test_thousands_of_secrets_are_read_in_batches() -> None:
    source = watched(3 * BATCH + 1)
    looked = values(source, selected(source, ALL), now=NOW)
    assert (looked.secrets, looked.findings) == (3 * BATCH + 1, ())
    assert source.asked == [BATCH, BATCH, BATCH, 1]
    source.asked.clear()
    counts, found = against(source, ALL, iter(made_up(3 * BATCH)), strict=True)
    assert counts == LiveComparison(same=3 * BATCH, not_in_backup=1)
    assert [(one.secret, one.check, one.wrong) for one in found] == [("app/3000", "not-in-backup", False)]
    assert max(source.asked) == BATCH


def test_one_that_is_damaged_is_named_and_hides_no_other() -> None:
    source = watched(20, "app/0003", "app/0007")
    looked = values(source, selected(source, ALL), now=NOW)
    assert [(one.secret, one.check) for one in looked.findings] == [
        ("app/0003", "unreadable"),
        ("app/0007", "unreadable"),
    ]
    counts, found = against(source, ALL, made_up(20), strict=True)
    assert (counts.same, counts.differs) == (18, 2)
    assert {one.check for one in found} == {"unreadable"}


def test_a_source_that_goes_away_is_an_error_and_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    source = watched(3)

    def away(entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        raise SourceUnavailable("it does not answer")

    monkeypatch.setattr(source, "read", away)
    with pytest.raises(SourceUnavailable):
        values(source, selected(source, ALL), now=NOW)


def test_what_is_the_same_differs_and_is_missing_on_either_side_is_told() -> None:
    held = made_up(6)
    source = MemoryStore([held[0], changed(held[1]), *held[3:]])
    counts, found = against(source, ALL, held[:5], strict=True)
    assert counts == LiveComparison(same=3, differs=1, missing=1, not_in_backup=1)
    said = {one.secret: (one.check, one.wrong) for one in found}
    assert said == {
        "app/0001": ("differs", True),
        "app/0002": ("missing", True),
        "app/0005": ("not-in-backup", False),
    }
    assert all("CANARY" not in one.text for one in found)


def test_a_tag_means_a_secret_on_either_side() -> None:
    held = made_up(4)
    source = MemoryStore([replace(held[0], tags={}), replace(held[1], tags={"parity": "even"}), held[3]])
    counts, _ = against(source, Selection(tags={"parity": "even"}), held, strict=True)
    assert counts == LiveComparison(same=2, missing=1)


def test_named_secrets_are_looked_up() -> None:
    held = made_up(3)
    source = MemoryStore([held[0], changed(held[1])])
    kept = {one.name: one for one in held[:2]}
    names = [one.name for one in held]
    counts, found = by_names(source, names, kept.get)
    assert counts == LiveComparison(same=1, differs=1, not_in_backup=1)
    assert [one.check for one in found] == ["differs", "not-in-backup"]
    looked = values(source, [ListedSecret(name, 0) for name in names], now=NOW, demanded=True)
    assert [(one.secret, one.check) for one in looked.findings] == [("app/0002", "missing")]


# -- policies ------------------------------------------------------------------------


def held(world: World, *, opens: bool = True, dead: bool = False) -> PolicyComparison:
    targets: dict[str, Target] = dict(world.targets)
    if dead:
        first = next(iter(targets))
        targets[first] = MemoryTarget(name=first, region="empty")
    return hold_of(world, targets, opens=opens)


def hold_of(world: World, targets: Mapping[str, Target], *, opens: bool = True) -> PolicyComparison:
    services = world.services()
    trusted = services.signer_fingerprints
    holders = [BackupPlace(name, partial(lambda target: target, target)) for name, target in targets.items()]
    choice = Chooser(holders, trusted=trusted).choose(Asked(policy=POLICY, values=False, partial=True))
    identities = services.identities() if opens else ()
    return hold(POLICY, world.source, ALL, choice, identities=identities, trusted=trusted)


@pytest.fixture
def backed_up(tmp_path: Path) -> World:
    world = make_world(tmp_path)
    world.back_up()
    return world


def test_a_policys_source_is_compared_value_by_value_with_its_newest_backup(backed_up: World) -> None:
    found = held(backed_up)
    assert (found.held, found.now, found.depth) == (30, 30, Reached.VALUES)
    assert (found.compared, found.findings) == (LiveComparison(same=30), ())


def test_without_a_key_secrets_are_counted_and_the_depth_says_so(backed_up: World) -> None:
    found = held(backed_up, opens=False)
    assert (found.depth, found.compared) == (Reached.COUNTED, None)
    assert [(one.check, one.wrong) for one in found.findings] == [("not-compared", False)]


def test_a_target_that_lost_it_is_passed_over(backed_up: World) -> None:
    assert held(backed_up, dead=True).compared == LiveComparison(same=30)


def test_less_than_nine_tenths_is_wrong_with_or_without_a_key(backed_up: World) -> None:
    backed_up.source.delete([f"app/{number:04}" for number in range(4)])
    for opens in (True, False):
        assert "fewer" in {one.check for one in held(backed_up, opens=opens).findings if one.wrong}


def test_names_that_are_missing_are_listed_and_what_changed_since_is_a_remark(backed_up: World) -> None:
    backed_up.source.delete(["app/0000"])
    new = SecretChange(secret=changed(made_up(2)[1]), expected=1)
    backed_up.source.write([new])
    found = held(backed_up)
    assert {(one.secret, one.check, one.wrong) for one in found.findings} == {
        ("app/0000", "missing", True),
        ("app/0001", "differs", False),
    }


def test_a_backup_of_which_no_replica_is_whole_is_wrong(backed_up: World) -> None:
    """Each container is there in its size, so only opening it tells."""
    for target in backed_up.targets.values():
        for name in [one.name for one in target.list("containers/")]:
            damage(target, name)
    found = held(backed_up)
    assert [(one.check, one.wrong) for one in found.findings] == [("backup-damaged", True)]
    assert found.depth is Reached.COUNTED


def test_where_no_backup_can_be_had_that_is_wrong_if_the_record_knows_one(backed_up: World) -> None:
    empty = [BackupPlace("eu", lambda: MemoryTarget(name="eu", region="eu"))]
    with pytest.raises(StrongroomError) as caught:
        Chooser(empty, trusted=frozenset()).choose(Asked(policy=POLICY, values=False, partial=True))
    for known in (True, False):
        [one] = no_backup(POLICY, "memory", caught.value, known=known).findings
        assert (one.check, one.wrong) == ("no-backup", known)
