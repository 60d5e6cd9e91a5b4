"""Looking into indexes of names: the answer is that of the backups themselves, whatever lies among them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container import canonical, document
from strongroom.container.errors import Malformed, Tampered
from strongroom.container.manifest import Manifest
from strongroom.container.name_index import (
    INDEX,
    Block,
    IndexHead,
    IndexLink,
    IndexReceipt,
    IndexRow,
    digest_of,
    encode_row,
    write_name_index,
)
from strongroom.container.signing import CertifiedSigner
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import SealedContainer
from strongroom.errors import StrongroomError
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Secret, SecretBytes, SecretVersion, VersionState
from strongroom.operations.archive import index_files
from strongroom.operations.archive.find import Findings, FoundSecret, SecretQuery, facts_of
from strongroom.operations.archive.history import NameIndexes
from strongroom.operations.archive.open import Backup, read_manifest
from strongroom.operations.engine.layout import INDEXES, index_name, receipt_name
from strongroom.operations.engine.services import Pinned
from strongroom.sources import SecretChange
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import World, make_world

ODD = (
    'quote"d',
    "back\\slash",
    "a[b]",
    "tab\there",
    "prod/ünïcode/😀",
    "prod/db/1",
    "prod/db/22",
    "prod",
    "prod/",
    "]",
    "!x",
    "a,b",
    "zz\x7f",
)
PATTERNS = (
    "*",
    "prod/*",
    "prod/??/*",
    "prod/db/?",
    "*1",
    'quote"d',
    'q*"?',
    "back\\*",
    "a[b]",
    "[ap]*",
    "[!a]*",
    "[!]a]*",
    "[]]",
    "[",
    "*😀",
    "prod/ün?code/?",
    "tab?here",
    "nothing",
    "?x",
    "zz?",
)
TAGS: tuple[dict[str, str], ...] = ({}, {"env": "prod"}, {"env": "prod", "odd": 'q"\\'})


@pytest.fixture(scope="module", params=[200, 4 * 1024 * 1024], ids=["small blocks", "one block"])
def seven_nights(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> World:
    """Return a world of seven backups between which secrets come, change, are tagged otherwise, and go."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("strongroom.container.name_index.FULL_BLOCK", request.param)
        return _made(tmp_path_factory.mktemp("world"))


def _made(folder: Path) -> World:
    names = [*ODD, *(f"bulk/{number}" for number in range(60))]
    world = make_world(folder, secrets=[_secret(name, {"env": "prod"}) for name in names], pieces=2)
    world = world.with_targets({"eu": world.targets["eu"]}).with_spec(quorum=1, regions=1)
    chance = random.Random(7)
    back_up(world)
    for night in range(6):
        names = list(world.source.heads([*ODD, *(f"new/{number}" for number in range(night))]))
        for name in chance.sample(names, 4):
            world.source.delete([name])
            if chance.random() < 0.8:
                env = chance.choice(("prod", "dev"))
                write(world, name, {"env": env, "odd": 'q"\\'}, number=night + 2)
        write(world, f"new/{night}", {"env": "prod"}, number=1)
        back_up(world)
    return world


@pytest.fixture
def world(seven_nights: World) -> World:
    """Return the world with a target of the test's own."""
    own = MemoryTarget(name="eu", region="eu")
    for info in seven_nights.targets["eu"].list():
        put(own, info.name, b"".join(seven_nights.targets["eu"].read(info.name)))
    return seven_nights.with_targets({"eu": own})


def _secret(name: str, tags: Mapping[str, str], number: int = 1) -> Secret:
    value = SecretBytes(b"CANARY-" + name.encode())
    older = [
        SecretVersion(number=one, state=VersionState.DESTROYED)
        if one == 2
        else SecretVersion(number=one, value=value)
        for one in range(1, number)
    ]
    return Secret(name=name, tags=dict(tags), versions=(*older, SecretVersion(number=number, value=value)))


def write(world: World, name: str, tags: Mapping[str, str], *, number: int) -> None:
    world.source.write([SecretChange(secret=_secret(name, tags, number), expected=None)])


def back_up(world: World) -> None:
    recipient = world.identity.recipient()
    pinned = Pinned(spec=world.spec, recipients=(recipient,), index_recipients=(recipient,))
    run = world.back_up(world.services(pinned=lambda policy: pinned))
    assert run.error is None


def manifests(world: World, target: str = "eu") -> dict[str, Manifest]:
    place, pins = world.targets[target], frozenset({world.installation.fingerprint})
    names = [info.name for info in place.list("manifests/")]
    found = [read_manifest(place, Path(name).stem, trusted=pins) for name in names]
    return {one.backup_id: one for one in found}


class Looked:
    """What came of a search of the indexes."""

    def __init__(
        self,
        world: World,
        wanted: SecretQuery,
        *,
        identity: KeyFileIdentity | None = None,
        target: str = "eu",
    ) -> None:
        self.told: dict[str, StrongroomError] = {}
        places = {target: world.targets[target]}
        held = manifests(world)
        indexes = NameIndexes(places, (identity or world.identity,), told=self.told.__setitem__)
        periods, self.covered = indexes.search(
            wanted, held, trusted=frozenset({world.installation.fingerprint})
        )
        findings = Findings()
        for period in periods:
            assert all(a < b for a, b in pairwise(period.backups))
            findings.add(period.facts, *period.backups, source=held[period.backups[0]].source)
        self.found = list(findings.found())


def read_themselves(world: World, wanted: SecretQuery) -> list[FoundSecret]:
    findings, pins = Findings(), frozenset({world.installation.fingerprint})
    for backup, manifest in manifests(world).items():
        opened = Backup(world.targets["eu"], manifest, (world.identity,), trusted=pins)
        rows = (row for entry in manifest.containers for row in opened.digested_rows_in(entry))
        for facts in filter(wanted.means, (facts_of(*row) for row in rows)):
            findings.add(facts, backup, source=manifest.source)
    return list(findings.found())


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("tags", TAGS, ids=str)
def test_the_indexes_answer_as_the_backups_themselves_do(world: World, tags: Mapping[str, str]) -> None:
    some = 0
    for pattern in PATTERNS:
        wanted = SecretQuery(pattern=pattern, tags=tags)
        looked = Looked(world, wanted)
        assert looked.found == read_themselves(world, wanted), (pattern, tags)
        assert looked.covered == manifests(world).keys()
        some += len(looked.found)
    assert some > 10


def test_a_version_is_found_in_each_backup_that_has_it_and_as_what(world: World) -> None:
    found = [one for one in Looked(world, SecretQuery()).found if any(v.version > 3 for v in one.versions)]
    assert found
    for one in found:
        newest = one.versions[0]
        [second] = [at.versions for at in [one.at(2)] if at]
        assert {held.state for held in second if set(newest.backups) & set(held.backups)} == {
            VersionState.DESTROYED
        }
        third = one.at(3)
        assert third is not None
        assert set(newest.backups) <= {backup for held in third.versions for backup in held.backups}
        assert one.at(99) is None


def test_an_index_with_a_block_that_is_none_ends_no_search(world: World) -> None:
    target, held = world.targets["eu"], manifests(world)
    newest = max(held)
    head = IndexHead(
        source="vault",
        containers=digest_of(entry.sha256 for entry in held[newest].containers),
        previous=None,
        blocks=(("!", 3),),
    )
    content = bytearray()
    sealed = write_name_index(
        content.extend,
        head,
        lambda number: b"no frame",
        backup_id=newest,
        policy=held[newest].policy,
        created_at="2026-11-25T02:45:01Z",
        wrapping_key=WrappingKey.create([world.identity.recipient()]),
        signer=world.signers["seal"],
    )
    put(target, index_name(newest, newest, sealed.hexdigest), bytes(content))
    vouch(world, newest, sealed, head=head)
    looked = Looked(world, SecretQuery())
    assert looked.covered == held.keys()
    assert [error.code for error in looked.told.values()] == ["Malformed"]


def indexes_on(target: Target) -> list[str]:
    """Return the names of the indexes on a target, in the order of their backups."""
    names = (info.name for info in target.list(INDEXES))
    return sorted((one for one in names if not one.endswith(".json")), key=lambda name: name.split("/")[2])


def receipts_on(target: Target) -> list[str]:
    """Return the names of their receipts."""
    return [receipt_name(name) for name in indexes_on(target)]


def vouch(
    world: World,
    backup: str,
    sealed: SealedContainer,
    *,
    head: IndexHead,
    chain: str = "",
    signer: CertifiedSigner | None = None,
) -> None:
    """Put the receipt of an index beside it."""
    receipt = IndexReceipt(
        backup_id=backup,
        sha256=sealed.hexdigest,
        container_signature=sealed.signature.hex(),
        containers=head.containers,
        chain=chain or backup,
        previous=head.previous,
        made_at="2026-11-25T02:45:01Z",
    )
    content = INDEX.sign(receipt, signer or world.signers["control"])
    put(world.targets["eu"], receipt_name(index_name(receipt.chain, backup, receipt.sha256)), content)


def put(target: Target, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=sha256(content).digest())


def remove_third(target: Target, names: list[str], world: World) -> None:
    target.delete(names[2])


def damage_third(target: Target, names: list[str], world: World) -> None:
    content = b"".join(target.read(names[2]))
    target.delete(names[2])
    put(target, names[2], content[:-200] + bytes([content[-200] ^ 1]) + content[-199:])


def sign_third_by_a_stranger(target: Target, names: list[str], world: World) -> None:
    stranger = make_world(world.folder / str(id(target)), secrets=[_secret("prod/planted", {})])
    back_up(stranger)
    planted = stranger.targets["eu"]
    content = b"".join(planted.read(indexes_on(planted)[0]))
    target.delete(names[2])
    put(target, names[2], content)
    target.delete(receipt_name(names[2]))
    put(target, receipt_name(names[2]), b"".join(planted.read(receipts_on(planted)[0])))


def put_second_in_the_place_of_third(target: Target, names: list[str], world: World) -> None:
    content = b"".join(target.read(names[1]))
    target.delete(names[2])
    put(target, names[2], content)


@pytest.mark.parametrize(
    "harm", [remove_third, damage_third, sign_third_by_a_stranger, put_second_in_the_place_of_third]
)
def test_a_missing_damaged_or_planted_index_costs_time_and_tells_nothing_wrong(
    world: World, harm: Callable[[Target, list[str], World], None]
) -> None:
    target = world.targets["eu"]
    names = indexes_on(target)
    harm(target, names, world)
    looked = Looked(world, SecretQuery())
    backups = sorted(manifests(world))
    assert looked.covered == set(backups[:2]), "what comes before still counts"
    assert looked.told
    assert not any("planted" in one.name for one in looked.found)
    told = {backup for one in looked.found for version in one.versions for backup in version.backups}
    assert told == set(backups[:2])


@pytest.mark.parametrize("limit", ["SMALL", "ALL_SMALL"])
def test_files_that_are_not_held_whole_are_read_in_ranges_and_tell_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    expected = Looked(world, SecretQuery()).found
    monkeypatch.setattr(index_files, limit, 3_000)
    looked = Looked(world, SecretQuery())
    assert looked.found == expected
    assert looked.covered == manifests(world).keys()


def test_junk_beside_an_index_stands_in_no_way(world: World) -> None:
    target = world.targets["eu"]
    newest = indexes_on(target)[-1].split("/")
    put(target, index_name(newest[1], newest[2], "0" * 64), b"junk")
    put(target, f"{INDEXES}nothing/of/ours", b"junk")
    put(target, f"{INDEXES}{'9' * 24}/{newest[2]}/{'1' * 64}", b"SRCT\r\n\x1a\n junk")
    for number in range(3):
        name = index_name(newest[1], newest[2], f"{number:064}")
        put(target, f"{name}.r1", b"junk")
        put(target, receipt_name(name), b"junk")
    assert Looked(world, SecretQuery()).covered == manifests(world).keys()


def test_an_index_of_other_containers_than_the_manifest_names_does_not_count(world: World) -> None:
    held = manifests(world)
    newest = max(held)
    other = next(one for name, one in held.items() if name != newest)
    indexes = NameIndexes({"eu": world.targets["eu"]}, (world.identity,), told=lambda *_: None)
    swapped = {newest: _with_containers(held[newest], other)}
    _, covered = indexes.search(SecretQuery(), swapped, trusted=frozenset({world.installation.fingerprint}))
    assert covered == frozenset()


def _with_containers(manifest: Manifest, other: Manifest) -> Manifest:
    return replace(manifest, containers=other.containers)


def test_a_key_that_opens_no_index_is_told_and_covers_nothing(world: World) -> None:
    looked = Looked(world, SecretQuery(), identity=KeyFileIdentity(b"\7" * 32))
    assert looked.covered == frozenset()
    assert [error.code for error in looked.told.values()] == ["WrongKey"], "once, and not of each"


def test_a_backup_whose_manifest_is_gone_is_in_no_answer_though_its_index_is_there(world: World) -> None:
    target = world.targets["eu"]
    gone = sorted(manifests(world))[3]
    target.delete(f"manifests/{gone}.json")
    wanted = SecretQuery()
    looked = Looked(world, wanted)
    assert gone not in looked.covered
    assert looked.found == read_themselves(world, wanted)


def remove_receipt(world: World, name: str) -> None:
    world.targets["eu"].delete(receipt_name(name))


def exchange_receipt(world: World, name: str) -> None:
    target = world.targets["eu"]
    target.delete(receipt_name(name))
    put(target, receipt_name(name), b"".join(target.read(receipts_on(target)[0])))


def damage_receipt(world: World, name: str) -> None:
    target = world.targets["eu"]
    content = b"".join(target.read(receipt_name(name)))
    target.delete(receipt_name(name))
    other = b"1" if content[-40:-39] == b"0" else b"0"
    put(target, receipt_name(name), content[:-40] + other + content[-39:])


def sign_receipt_by_seal(world: World, name: str) -> None:
    """Who has a seal worker's key and may write can do that much."""
    target = world.targets["eu"]
    own = INDEX.parse(b"".join(target.read(receipt_name(name))), trusted=None)
    kind = document.DocumentKind("index", "receipt", ("seal",))
    target.delete(receipt_name(name))
    put(target, receipt_name(name), document.write(kind, canonical.encode(own), world.signers["seal"]))


@pytest.mark.parametrize("harm", [remove_receipt, exchange_receipt, damage_receipt, sign_receipt_by_seal])
@pytest.mark.parametrize("which", [2, -1])
def test_an_index_without_a_receipt_that_counts_is_not_believed(
    world: World, harm: Callable[[World, str], None], which: int
) -> None:
    harm(world, indexes_on(world.targets["eu"])[which])
    backups = sorted(manifests(world))
    assert Looked(world, SecretQuery()).covered == set(backups[:which])


def test_a_receipt_that_is_missing_altogether_is_no_news(world: World) -> None:
    """A crash before it was placed leaves such an index, and so does anybody who may write there."""
    remove_receipt(world, indexes_on(world.targets["eu"])[-1])
    assert Looked(world, SecretQuery()).told == {}


def test_one_who_stole_the_seal_key_later_hides_and_invents_nothing(world: World) -> None:
    """The index is rightly sealed and signed, of the very containers: only its receipt he cannot make."""
    held, target = manifests(world), world.targets["eu"]
    newest = max(held)
    expected = read_themselves(world, SecretQuery())
    content, sealed, head = lying_index(world, newest)
    for chain in (newest, min(held), "0"):
        put(target, index_name(chain, newest, sealed), content)
        receipt = IndexReceipt(
            backup_id=newest,
            sha256=sealed,
            container_signature=content[-92:-28].hex(),
            containers=head.containers,
            chain=chain,
            previous=None,
            made_at="2026-11-25T02:45:01Z",
        )
        kind = document.DocumentKind("index", "receipt", ("seal",))
        forged = document.write(kind, canonical.encode(receipt), world.signers["seal"])
        put(target, receipt_name(index_name(chain, newest, sealed)), forged)
    looked = Looked(world, SecretQuery())
    assert looked.found == expected
    assert {error.code for error in looked.told.values()} == {"UntrustedSigner"}


def test_a_file_that_was_put_in_the_place_of_one_with_a_receipt_is_not_believed(world: World) -> None:
    """Read in ranges, one signed by the same key would pass for it."""
    newest = max(manifests(world))
    name = indexes_on(world.targets["eu"])[-1]
    content, _, _ = lying_index(world, newest)
    world.targets["eu"].delete(name)
    put(world.targets["eu"], name, content)
    looked = Looked(world, SecretQuery())
    assert newest not in looked.covered
    assert {error.code for error in looked.told.values()} == {"Tampered"}


def lying_index(world: World, backup: str) -> tuple[bytes, str, IndexHead]:
    """Return an index of a backup, sealed with the seal role's key, that tells of one secret alone."""
    manifest = manifests(world)[backup]
    line = encode_row(IndexRow("CANARY-INVENTED", 1))
    head = IndexHead(
        source="vault",
        containers=digest_of(entry.sha256 for entry in manifest.containers),
        previous=None,
        blocks=(("CANARY-INVENTED", 1),),
    )
    content = bytearray()
    sealed = write_name_index(
        content.extend,
        head,
        lambda number: Block.of([line]).content,
        backup_id=backup,
        policy=manifest.policy,
        created_at="2026-11-25T02:45:01Z",
        wrapping_key=WrappingKey.create([world.identity.recipient()]),
        signer=world.signers["seal"],
    )
    return bytes(content), sealed.hexdigest, head


def test_a_chain_that_is_too_long_costs_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_files, "LONGEST", 3)
    looked = Looked(world, SecretQuery())
    backups = sorted(manifests(world))
    assert looked.covered == set(backups[:3])
    assert {error.code for error in looked.told.values()} == {"Tampered"}


def test_an_index_that_continues_a_later_one_is_refused(world: World) -> None:
    """Two that continue each other would be read for ever."""
    target, newest = world.targets["eu"], max(manifests(world))
    first = chain = min(manifests(world))
    target.delete(indexes_on(target)[0])
    link = IndexLink(backup_id=newest, sha256=indexes_on(target)[-1].split("/")[3])
    head = IndexHead(source="vault", containers="0" * 64, previous=link, blocks=())
    content = bytearray()
    sealed = write_name_index(
        content.extend,
        head,
        lambda number: b"",
        backup_id=first,
        policy="weekly",
        created_at="2026-11-25T02:45:01Z",
        wrapping_key=WrappingKey.create([world.identity.recipient()]),
        signer=world.signers["seal"],
    )
    put(target, index_name(chain, first, sealed.hexdigest), bytes(content))
    with pytest.raises(Malformed):
        vouch(world, first, sealed, head=head)
    vouch(world, first, sealed, head=replace(head, previous=None))
    told: dict[str, StrongroomError] = {}
    indexes = NameIndexes({"eu": target}, (world.identity,), told=told.__setitem__)
    indexes.search(
        SecretQuery(), {first: manifests(world)[first]}, trusted=frozenset({world.installation.fingerprint})
    )
    assert isinstance(next(iter(told.values())), Tampered)


def test_thousands_of_objects_of_junk_cost_a_few_reads(world: World) -> None:
    target, backups = world.targets["eu"], sorted(manifests(world))
    expected = read_themselves(world, SecretQuery())
    read: list[str] = []

    class Counting(MemoryTarget):
        def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            read.append(name)
            return super().read(name, offset=offset, length=length)

    counting = Counting(name="eu", region="eu")
    for info in target.list():
        put(counting, info.name, b"".join(target.read(info.name)))
    for number in range(1_500):
        for chain, backup in (
            (backups[0], backups[-1]),
            (f"{number:08}", backups[number % 7]),
            ("1", f"{number}"),
        ):
            name = index_name(chain, backup, f"{number + 2**240:064x}")
            put(counting, name, b"junk")
            put(counting, receipt_name(name), b"junk")
        put(counting, f"keys/{number:032x}/00000002", b"junk")
    counted = world.with_targets({"eu": counting})
    read.clear()
    told: dict[str, StrongroomError] = {}
    indexes = NameIndexes({"eu": counting}, (world.identity,), told=told.__setitem__)
    periods, covered = indexes.search(
        SecretQuery(), manifests(counted), trusted=frozenset({world.installation.fingerprint})
    )
    assert len([name for name in read if name.startswith(("index/", "keys/"))]) < 100
    assert covered == set(backups[:-1]), "the newest is read itself: its own index lies behind junk"
    assert {period.facts.name for period in periods} <= {one.name for one in expected}
