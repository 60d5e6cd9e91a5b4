"""What a backup lacks of what is known: by the indexes, by the backups themselves, by counts alone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.errors import WrongKey
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Secret, SecretBytes, SecretVersion, Selection
from strongroom.operations.archive import holds, shortfall
from strongroom.operations.archive.coverage import AHEAD, Asked, BackupChoice, BackupPlace, made_at
from strongroom.operations.archive.inventory import known_backups
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.archive.quarantine import RecordedQuarantine
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.archive.shortfall import Earlier, MissingSecret, Shortfall, Why
from strongroom.operations.checks.drift import Differences, Drift, describe_mass_change
from strongroom.operations.engine.layout import INDEXES
from strongroom.operations.engine.services import Pinned, Services
from strongroom.sources import SecretChange
from tests.operations.find.lying import plant
from tests.operations.world import World, make_world

ALL = Asked()


def secret(name: str, value: str, **tags: str) -> Secret:
    versions = (SecretVersion(number=1, value=SecretBytes(f"CANARY-{value}".encode())),)
    return Secret(name=name, type="api_key", tags=tags, versions=versions)


class Nights:
    """A world that is backed up again and again, with an index of names or without."""

    def __init__(self, folder: Path, *, index: bool, secrets: int = 30) -> None:
        held = [secret(f"app/{n:03}", str(n), half="odd" if n % 2 else "even") for n in range(secrets)]
        self.world: World = make_world(folder, secrets=held)
        recipient = self.world.identity.recipient()
        pinned = Pinned(
            spec=self.world.spec,
            recipients=(recipient,),
            index_recipients=(recipient,) if index else (),
        )
        self.services = self.world.services(pinned=lambda policy: pinned)
        self.backups: list[str] = []
        self.held: dict[str, frozenset[str]] = {}

    def night(self, **tags: str) -> str:
        backup = self.world.back_up(self.services if not tags else self._of_a_part(tags)).id
        self.backups.append(backup)
        self.held[backup] = frozenset(entry.name for entry in self.world.source.list())
        return backup

    def _of_a_part(self, tags: Mapping[str, str]) -> Services:
        spec = replace(self.world.spec, selection=Selection(tags=tags))
        pinned = Pinned(spec=spec, recipients=(self.world.identity.recipient(),))
        return self.world.services(pinned=lambda policy: pinned)

    def lose(self, *names: str) -> None:
        self.world.source.delete(names)

    def add(self, *names: str) -> None:
        for name in names:
            self.world.source.write([SecretChange(secret=secret(name, name), expected=None)])

    def made(self, backup: str) -> float:
        return made_at(read_manifest(self.world.targets["eu"], backup, trusted=None))

    def earlier(self, asked: Asked = ALL, *, opens: bool = True, **known: object) -> Earlier:
        trusted = frozenset({self.world.installation.fingerprint})
        holders = [BackupPlace(name, partial(self.services.target, name)) for name in self.world.targets]
        chooser = Chooser(holders, trusted=trusted, **known)  # type: ignore[arg-type]
        identity = self.world.identity if opens else KeyFileIdentity(b"x" * 32)

        def opened(choice: BackupChoice) -> Replicated:
            return Replicated(choice, [identity], trusted=trusted, told=lambda *_: None)

        choice = chooser.choose(asked)
        return Earlier(choice, asked, chooser, identities=[identity], trusted=trusted, opened=opened)

    def shortfall(self, asked: Asked = ALL, *, opens: bool = True) -> Shortfall:
        return self.earlier(asked, opens=opens).shortfall()


@pytest.fixture(params=[True, False], ids=["index", "no index"])
def nights(tmp_path: Path, request: pytest.FixtureRequest) -> Nights:
    return Nights(tmp_path, index=request.param)


def by_backup(found: Earlier) -> Mapping[str, str]:
    return {one.name: one.backup for one in found.missing()}


def test_a_first_backup_lacks_nothing(nights: Nights) -> None:
    backup = nights.night()
    found = nights.shortfall()
    assert (found.backup, found.holds, found.missing, found.findings) == (backup, 30, 0, ())
    assert list(found.lines()) == []
    assert found.error() is None


def test_after_a_mass_deletion_it_says_what_is_missing_and_which_backup_has_it(nights: Nights) -> None:
    before = nights.night()
    gone = [f"app/{n:03}" for n in range(25)]
    nights.lose(*gone)
    nights.night()
    found = nights.shortfall()
    assert (found.holds, found.missing, found.by_name) == (5, 25, True)
    assert [one.why for one in found.findings] == [Why.SHRUNK]
    assert found.sound == before
    assert [one.name for one in found.names] == gone[:5]
    assert [(one.backup, one.secrets) for one in found.groups] == [(before, 25)]
    assert by_backup(nights.earlier()) == dict.fromkeys(gone, before)
    assert found.error() is not None
    assert "holds 5 secrets where 30 were expected" in " ".join(found.lines())


def test_one_that_was_deleted_is_a_remark(nights: Nights) -> None:
    before = nights.night()
    nights.lose("app/007")
    nights.night()
    found = nights.shortfall()
    assert (found.missing, found.findings, found.error()) == (1, (), None)
    assert by_backup(nights.earlier()) == {"app/007": before}
    assert "deleted since" in " ".join(found.lines())


def test_one_of_everything_is_told_of_behind_many_of_a_part(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two backups of everything lie a month's of the critical ones, and a month can have 31 days."""
    monkeypatch.setattr(shortfall, "REMEMBERED", -1.0)  # all of them are of too long ago
    before = nights.night()
    for _ in range(shortfall.LEAST + 1):
        nights.night(half="odd")
    nights.lose(*(f"app/{n:03}" for n in range(25)))
    nights.night()
    found = nights.shortfall()
    assert (found.holds, found.missing, found.sound) == (5, 25, before)
    assert [one.why for one in found.findings] == [Why.SHRUNK]


def test_what_only_a_backup_in_quarantine_has_is_told_and_not_taken(nights: Nights) -> None:
    before = nights.night()
    nights.lose(*(f"app/{n:03}" for n in range(25)))
    nights.night()
    aside = {before: RecordedQuarantine("since a leak", 0.0)}
    found = nights.earlier(quarantined=aside).shortfall()
    assert [(one.why, one.sound) for one in found.findings] == [(Why.SHRUNK, "")]
    assert "--use-quarantined" in found.findings[0].said
    assert before not in nights.earlier(quarantined=aside).choices
    assert found.error(filled=True) is not None
    asked = Asked(use_quarantined=True)
    assert nights.earlier(asked, quarantined=aside).shortfall().missing == 25


def test_of_a_category_only_its_own_are_missed(nights: Nights) -> None:
    nights.night()
    nights.lose("app/000", "app/001")
    nights.night()
    asked = Asked(selection=Selection(tags={"half": "odd"}))
    assert by_backup(nights.earlier(asked)).keys() == {"app/001"}


def test_a_named_older_backup_is_held_against_those_before_it_alone(nights: Nights) -> None:
    first = nights.night()
    nights.lose("app/000")
    nights.night()
    nights.lose(*(f"app/{n:03}" for n in range(1, 30)))
    nights.night()
    found = nights.shortfall(Asked(backup=first))
    assert (found.missing, found.findings) == (0, ())


def test_without_a_key_the_counts_tell(nights: Nights) -> None:
    nights.night()
    nights.lose(*(f"app/{n:03}" for n in range(20)))
    nights.night()
    found = nights.shortfall(opens=False)
    assert (found.missing, found.by_name, found.names) == (20, False, ())
    assert [one.why for one in found.findings] == [Why.SHRUNK]
    with pytest.raises(WrongKey):
        list(nights.earlier(opens=False).missing())


def test_a_backup_after_a_mass_overwriting_names_the_last_that_drift_found_sound(nights: Nights) -> None:
    sound, after = nights.night(), nights.night()
    alike = Differences(backup=sound, secrets=30, changed=28)
    drift = Drift(newest=alike, extra=0, since=alike, sample=())
    reason = f"mass change: {describe_mass_change(drift)}"
    holds.hold(nights.services, "policy", nights.world.spec.policy, reason=reason, by="drift run x")
    found = nights.shortfall()
    assert found.backup == after
    assert [(one.why, one.sound) for one in found.findings] == [(Why.MASS_CHANGE, sound)]
    assert "28 secrets changed" in found.findings[0].said
    assert nights.shortfall(Asked(backup=sound)).findings == ()
    holds.release(nights.services, "policy", nights.world.spec.policy, reason="it was us", by="ada")
    assert nights.shortfall().findings == ()


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("torn", [0.0, 0.2], ids=["all indexes", "some lost"])
@pytest.mark.parametrize("seed", range(2))
def test_it_agrees_with_a_model_over_many_nights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, torn: float
) -> None:
    monkeypatch.setattr(shortfall, "OPENED", 50)
    chance = random.Random(seed)
    nights = Nights(tmp_path, index=True, secrets=12)
    names = [f"app/{n:03}" for n in range(12)] + ["a,b", 'q"x', "prod/ünï", "z "]
    nights.night()
    for _ in range(5):
        there = nights.held[nights.backups[-1]]
        nights.lose(*(name for name in sorted(there) if chance.random() < 0.25))
        left = {entry.name for entry in nights.world.source.list()}
        nights.add(*(name for name in names if name not in left and chance.random() < 0.25))
        if not list(nights.world.source.list()):
            nights.add("app/000")
        nights.night()
    for name in sorted(info.name for info in nights.world.targets["eu"].list(INDEXES)):
        if chance.random() < torn:
            for target in nights.world.targets.values():
                target.delete(name)
    for own in nights.backups:
        expected: dict[str, str] = {}
        for backup in nights.backups[: nights.backups.index(own)]:
            expected |= dict.fromkeys(nights.held[backup] - nights.held[own], backup)
        assert by_backup(nights.earlier(Asked(backup=own))) == expected


def test_the_same_is_yielded_each_time(nights: Nights) -> None:
    nights.night()
    nights.lose("app/000", "app/010")
    nights.night()
    found = nights.earlier()
    first: list[MissingSecret] = list(found.missing())
    assert first == list(found.missing())
    assert [one.name for one in first] == ["app/000", "app/010"]


def test_a_backup_that_is_dated_ahead_is_not_the_newest_for_that(nights: Nights) -> None:
    sound = nights.night()
    while nights.made(future := nights.night()) == nights.made(sound):
        pass
    now = nights.made(sound) - AHEAD
    sound = max(one for one in nights.backups if nights.made(one) == nights.made(sound))
    found = nights.earlier(now=now).shortfall()
    assert found.backup == sound
    assert [one.why for one in found.findings] == [Why.AHEAD]
    assert future in found.findings[0].said
    assert nights.earlier(Asked(backup=future), now=now).shortfall().backup == future
    assert nights.earlier(now=now - 60).shortfall().backup == future, (
        "where all are ahead, it is the clock here"
    )


def test_a_backup_that_is_on_record_and_nowhere_to_be_seen_is_missed(nights: Nights) -> None:
    older, newest = nights.night(), nights.night()
    for target in nights.world.targets.values():
        target.delete(f"manifests/{newest}.json")
    known = known_backups(nights.services.store)
    found = nights.earlier(known=known).shortfall()
    assert found.backup == older
    assert [one.why for one in found.findings] == [Why.LOST]
    assert "'ap' does not show it" in found.findings[0].said
    assert nights.earlier(Asked(policy="other", backup=older), known=known).shortfall().findings == ()


@pytest.mark.parametrize("few", [0, 32], ids=["all names at once", "one by one"])
def test_that_it_lacks_a_secret_no_index_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Else what the newest has would be filled from an older backup, over its newer value."""
    monkeypatch.setattr(shortfall, "FEW", few)
    nights = Nights(tmp_path, index=True)
    nights.night()
    nights.lose("app/007")
    newest = nights.night()
    world = nights.world
    manifest = read_manifest(world.targets["eu"], newest, trusted=None)
    recipient, signers = world.identity.recipient(), world.signers.__getitem__
    plant(list(world.targets.values()), manifest, recipient, signers, names=["app/000"])
    assert [one.name for one in nights.earlier().missing()] == ["app/007"]
    assert nights.shortfall().missing == 1
