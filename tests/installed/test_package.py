"""The wheel and the source package: the same bytes on any machine, and what tools look for in them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.package import build, deliver, others_in, provenance, unpack, vouch
from strongroom.cli.table import summaries
from tests.cli.program import ROOT
from tests.patience import PATIENCE

EPOCH = 1_796_000_000  # 2026-11-30


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("source"), epoch=EPOCH)


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built out of the source package in another place, as another person."""
    folder = tmp_path_factory.mktemp("wheel")
    before = os.umask(0o077)
    try:
        unpack(source, folder / "unpacked")
        (unpacked,) = (folder / "unpacked").iterdir()
        return build("wheel", unpacked, folder / "dist", epoch=EPOCH)
    finally:
        os.umask(before)


@pytest.fixture(scope="module")
def manual(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, as an installer puts them below an environment's ``share/man``."""
    with zipfile.ZipFile(wheel) as archive:
        pages = [name for name in archive.namelist() if "/data/share/man/" in name]
        folder = tmp_path_factory.mktemp("manual")
        archive.extractall(folder, pages)
    return next(folder.glob("*.data")) / "data" / "share" / "man"


def test_the_wheel_of_the_source_package_is_that_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    assert wheel.read_bytes() == build("wheel", ROOT, tmp_path, epoch=EPOCH).read_bytes()


def test_the_wheel_lists_its_components_where_tools_look(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (place,) = [name for name in archive.namelist() if name.endswith(".cdx.json")]
        assert place == "strongroom-0.1.0.dist-info/sboms/strongroom.cdx.json"
        assert archive.read(place) == (ROOT / "requirements" / "strongroom.cdx.json").read_bytes()


def test_there_is_a_page_for_each_word_that_a_command_begins_with(manual: Path, source: Path) -> None:
    pages = {page.name for page in manual.rglob("*.?")}
    assert pages == {f"strongroom-{word}.1" for word in summaries()} | {"strongroom.1", "strongroom.toml.5"}
    with tarfile.open(source) as archive:
        assert pages == {Path(name).name for name in archive.getnames() if "/man/" in name}


def test_the_pages_are_without_a_fault(manual: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("no mandoc")
    pages = sorted(map(str, manual.rglob("*.?")))
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *pages],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.stdout + done.stderr == ""


def test_a_page_says_what_help_says(manual: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("no mandoc")
    words = ["mandoc", "-T", "utf8", "-O", "width=200", str(manual / "man1" / "strongroom-backups.1")]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    plain = subprocess.run(["col", "-b"], input=shown, capture_output=True, text=True, check=True).stdout
    assert "strongroom backups verify [OPTION]..." in plain
    assert "--structure" in plain
    assert "2026-11-2" in plain or "2026-11-3" in plain


def test_the_provenance_names_what_was_built_by_its_digest(wheel: Path, source: Path) -> None:
    statement = provenance([wheel, source], "0" * 40, epoch=EPOCH)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {each["name"]: each["digest"]["sha256"] for each in statement["subject"]} == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (wheel, source)
    }
    definition = statement["predicate"]["buildDefinition"]
    assert {"name": "source", "digest": {"gitCommit": "0" * 40}} in definition["resolvedDependencies"]
    assert statement["predicate"]["runDetails"]["builder"]["id"].endswith("unattested")


def test_a_second_package_replaces_the_first_and_nothing_that_somebody_else_put_there(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    for version in ("1", "2"):
        made = tmp_path / version
        made.mkdir()
        for name in (f"strongroom-{version}.whl", f"strongroom-{version}.tar.gz"):
            (made / name).write_text(version)
        vouch(made, "0" * 40, epoch=EPOCH)
        assert others_in(dist) == []
        deliver(made, dist)
    assert sorted(file.name for file in dist.iterdir()) == [
        "SHA256SUMS",
        "strongroom-2.provenance.json",
        "strongroom-2.tar.gz",
        "strongroom-2.whl",
    ]

    (dist / "notes").touch()
    (dist / "strongroom-2.whl").write_text("another's")
    assert others_in(dist) == ["notes", "strongroom-2.provenance.json", "strongroom-2.whl"]
