"""recover.py and the product on the published targets: one answer for each, and what can be had comes out."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from strongroom.container.errors import FormatError, WrongKey
from strongroom.container.segment import encode_secrets
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError
from strongroom.operations.archive.coverage import ASIDE, Asked, BackupChoice, BackupPlace
from strongroom.operations.archive.open import open_backup
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.engine.trust_lists import believed_on
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.reading import ManifestListing
from tests.container.test_vectors import identities, trusted
from tests.reader.reading import objects_of
from tests.recover.families import family
from tests.recover.test_recover import keys_of, recover, recover_extra, run
from tests.vectors.vector import Vector, parse, stored

STORED = {name: parse(data) for name, data in stored().items() if name.startswith("target-")}
NAMES = sorted(STORED)


def unpacked(vector: Vector, folder: Path) -> Path:
    for name, content in objects_of(vector).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_recover_gives_what_a_target_says_and_the_rest_where_something_is_lost(
    name: str, tmp_path: Path
) -> None:
    vector, losses = STORED[name], recover.Losses()
    came: list[bytes] = []
    try:
        backup = recover.Backup(recover.Store(unpacked(vector, tmp_path)), keys_of(vector), losses)
        manifest, missed = taken(backup, vector)
        came.extend(s.line + b"".join(s.values) for s in backup.secrets(manifest))
        losses.first = losses.first or missed
    except recover.Failure as failure:
        losses.add(failure, "the whole")
    if vector.one("expect") == "ok":
        assert losses.first is None
        aside = [failure.args[0] for failure in losses.aside.values()]
        assert aside == [family(kind) for kind in vector.all("aside")]
        assert vector.one("taken") in (None, manifest["backup_id"])
        assert hashlib.sha256(b"".join(came)).hexdigest() == vector.one("plaintext")
        return
    assert losses.first is not None
    assert losses.first.args[0] == family(str(vector.one("expect")))
    assert vector.one("rest") in (None, str(len(came)))


def taken(backup: Any, vector: Vector) -> Any:
    """Return the manifest of the backup that is taken, and what is known to be newer and is gone."""
    choice = recover_extra.Choice(backup, Namespace(backup=vector.one("backup"), get=None, out=None))
    return next(choice.manifests()), choice.missed


CHOSEN = [name for name in NAMES if "quarantine" in name or "head" in name]


def choose(chooser: Chooser, asked: Asked) -> str:
    """Return the backup that is taken; raise what it is to end with if a newer one is missed."""
    manifest = chooser.choose(asked).manifest
    if not asked.backup and (lost := chooser.lost(asked, manifest)) is not None:
        raise lost.error(manifest)
    return manifest.backup_id


@pytest.mark.parametrize("name", CHOSEN)
def test_the_product_takes_the_backup_that_a_target_says(name: str) -> None:
    vector, known = STORED[name], trusted(STORED[name]) or frozenset()
    chooser = Chooser([BackupPlace("target", lambda: target_of(vector))], trusted=known, strangers=not known)
    asked = Asked(backup=vector.one("backup") or "", partial=True)
    if vector.one("expect") != "ok":
        with pytest.raises(StrongroomError) as caught:
            choose(chooser, asked)
        assert caught.value.code == vector.one("expect")
        return
    assert vector.one("taken") in (None, choose(chooser, asked))
    aside = ["BackupQuarantined" for one in chooser.passed if one.why.startswith(ASIDE)]
    ignored = [kind for kind in vector.all("aside") if kind != "BackupQuarantined"]
    assert [kind in why for kind, why in zip(ignored, chooser.wrong().values(), strict=True)] == [True] * len(
        ignored
    )
    assert aside == [kind for kind in vector.all("aside") if kind == "BackupQuarantined"]


SHUT = "target-container-dropped-wrong-key"
OTHERWISE = ("target-documents", "target-trust-unpinned", SHUT, *CHOSEN)


def test_the_product_tells_of_a_key_that_fits_nothing_and_not_of_what_is_missing_besides() -> None:
    with pytest.raises(WrongKey):
        list(salvaged(STORED[SHUT]).secrets())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OTHERWISE])
def test_the_product_gives_what_a_target_says(name: str) -> None:
    vector = STORED[name]
    target = target_of(vector)
    if vector.one("expect") != "ok":
        with pytest.raises(FormatError) as caught:
            _read(vector, target)
        assert caught.value.code == vector.one("expect")
        return
    digest, aside = _read(vector, target)
    assert digest == vector.one("plaintext")
    assert aside == vector.all("aside") or name.startswith(("target-manifest", "target-trust"))


def target_of(vector: Vector) -> MemoryTarget:
    target = MemoryTarget()
    for path, content in objects_of(vector).items():
        target.put(path, [content], size=len(content), sha256=hashlib.sha256(content).digest())
    return target


def _read(vector: Vector, target: MemoryTarget) -> tuple[str, list[str]]:
    """Return the digest of what comes out, and the classes of envelopes that were left aside."""
    digest = hashlib.sha256()
    pins = trusted(vector)
    known = None if pins is None else believed_on(Signers(pins), [ManifestListing(target)])
    backup = open_backup(target, vector.one("backup"), identities=identities(vector), trusted=known)
    assert vector.one("taken") in (None, backup.manifest.backup_id)
    for secret in backup.secrets():
        digest.update(encode_secrets([secret]))
        digest.update(b"".join(v.value.reveal() for v in secret.versions if v.value is not None))
    return digest.hexdigest(), [one.code for one in backup.aside]


BEFORE = [name for name in NAMES if name.startswith("target-before")]


@pytest.mark.parametrize("name", BEFORE)
def test_what_lay_in_lost_parts_comes_from_the_backup_that_a_target_says(name: str, tmp_path: Path) -> None:
    vector = STORED[name]
    backup = recover.Backup(
        recover.Store(unpacked(vector, tmp_path)), keys_of(vector), losses := recover.Losses()
    )
    given = Namespace(backup=None, get=None, out=None)
    came = [secret.row["name"] for secret in recover.secrets_of(backup, given)]
    told = [line.partition(" ") for line in vector.all("before")]
    assert losses.taken == len(told)
    assert losses.first.args[0] == family(str(vector.one("expect")))
    product = salvaged(vector)
    names = [secret.name for secret in product.secrets()]
    assert sorted(names) == sorted(came)
    assert len(came) == int(vector.one("rest") or 0) + len(told)
    from_earlier = {one: product.backup_of(one) for one in names if product.backup_of(one)}
    assert from_earlier == {one: earlier for earlier, _, one in told}
    error = product.error()
    assert error is not None
    assert error.code == vector.one("expect")


def salvaged(vector: Vector) -> Salvaged:
    target, known = target_of(vector), trusted(vector) or frozenset()
    chooser = Chooser([BackupPlace("target", lambda: target)], trusted=known)

    def opened(choice: BackupChoice) -> Replicated:
        return Replicated(choice, identities(vector), trusted=known, told=chooser.note)

    choice = chooser.choose(Asked(partial=True, values=False))
    return Salvaged(opened(choice), map(opened, chooser.before(choice.manifest, Asked())))


def test_the_program_ends_with_the_class_of_the_first_loss_and_hands_out_the_rest(tmp_path: Path) -> None:
    folder = unpacked(STORED["target-container-dropped"], tmp_path / "target")
    key = tmp_path / "key"
    _write_key(key, STORED["target-container-dropped"])
    done = run(folder, "--key-file", key, "--list")
    assert done.returncode == 12
    assert len(done.stdout.splitlines()) == 3
    assert b"LOST: piece 0 (5 secrets): Missing" in done.stderr


@pytest.mark.parametrize("given", ["manifest", "manifest and containers", "directory"])
def test_however_a_backup_is_given_its_manifest_and_containers_are_joined(given: str, tmp_path: Path) -> None:
    """A manifest alone was "0 secrets" with exit 0, and one of two containers went unmissed."""
    vector = STORED["target-plain"]
    folder = unpacked(vector, tmp_path / "target")
    _write_key(tmp_path / "key", vector)
    [manifest] = (folder / "manifests").iterdir()
    containers = sorted((folder / "containers").rglob("*/*"))
    paths = {
        "manifest": [manifest],
        "manifest and containers": [manifest, *containers],
        "directory": [folder],
    }
    paths["directory"] += ["--backup", vector.one("backup") or manifest.stem]
    done = run(*paths[given], "--key-file", tmp_path / "key", "--list")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 8)
    containers[0].unlink()
    paths["manifest and containers"] = [manifest, containers[1]]
    assert run(*paths[given], "--key-file", tmp_path / "key", "--list").returncode == 12


def test_one_of_two_containers_alone_is_no_whole_backup(tmp_path: Path) -> None:
    vector = STORED["target-plain"]
    folder = unpacked(vector, tmp_path / "target")
    _write_key(tmp_path / "key", vector)
    containers = sorted((folder / "containers").rglob("*/*"))
    done = run(containers[0], "--key-file", tmp_path / "key", "--list")
    assert done.returncode == 12
    assert b"1 of the 2 pieces" in done.stderr
    assert run(*containers, "--key-file", tmp_path / "key", "--list").returncode == 0


def test_a_damaged_segment_costs_its_own_secrets_and_no_others(tmp_path: Path) -> None:
    vector = parse(stored()["container-several-segments"])
    data = bytearray(vector.body)
    data[200] ^= 1
    (tmp_path / "container").write_bytes(data)
    _write_key(tmp_path / "key", vector)
    done = run(tmp_path / "container", "--key-file", tmp_path / "key", "--list")
    assert (done.returncode, len(done.stdout.splitlines())) == (11, 2)
    assert b"LOST: segment 0 of piece 0 (1 secret): Damaged" in done.stderr
    assert b"2 secrets; 1 did not come out" in done.stderr


@pytest.mark.parametrize("name", ["row-spaced", "metadata-spaced", "metadata-nan", "rows-unsorted"])
def test_a_row_that_breaks_a_rule_is_named_and_its_value_handed_out(name: str, tmp_path: Path) -> None:
    """It was sealed so, by whoever had the key: on the worst day the value is worth more than the rule."""
    vector = parse(stored()[f"container-{name}"])
    (tmp_path / "container").write_bytes(vector.body)
    _write_key(tmp_path / "key", vector)
    done = run(tmp_path / "container", "--key-file", tmp_path / "key", "--jsonl")
    assert done.returncode == 11
    assert done.stdout.count(b"CANARY-") >= 1
    assert b"Damaged" in done.stderr


def test_a_backup_in_quarantine_is_taken_by_a_flag_alone_and_aloud(tmp_path: Path) -> None:
    vector = STORED["target-quarantined-named"]
    folder = unpacked(vector, tmp_path / "target")
    _write_key(tmp_path / "key", vector)
    words = (folder, "--key-file", tmp_path / "key", "--backup", vector.one("backup"), "--list")
    refused = run(*words)
    assert (refused.returncode, refused.stdout) == (4, b"")
    assert b"in quarantine since 2026-11-26T02:45:01Z by ops: a key leaked" in refused.stderr
    assert b"--use-quarantined" in refused.stderr
    used = run(*words, "--use-quarantined")
    assert (used.returncode, len(used.stdout.splitlines())) == (0, 8)
    assert b"is used, and it is in quarantine" in used.stderr


def test_a_key_that_does_not_fit_is_no_loss(tmp_path: Path) -> None:
    vector = STORED["target-rotated-away"]
    folder = unpacked(vector, tmp_path / "target")
    _write_key(tmp_path / "key", vector)
    done = run(folder, "--key-file", tmp_path / "key", "--list")
    assert (done.returncode, done.stdout) == (10, b"")
    assert b"LOST" not in done.stderr
    assert b"not opened: piece 0 (5 secrets): CannotOpen" in done.stderr
    assert done.stderr.count(b"- hpke recovery: give --private-key FILE") == 1


def _write_key(path: Path, vector: Vector) -> None:
    body = f"strongroom-key-1 AES256 {vector.one('keyfile')}"
    path.write_text(f"{body} {hashlib.sha256(body.encode()).hexdigest()[:8]}\n")
