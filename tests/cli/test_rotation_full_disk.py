"""A rotation onto full disks: every backup stays openable, nothing is half-written, a rerun finishes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.container.errors import Stale
from strongroom.operations.errors import RunDegraded
from strongroom.state.errors import StateFull
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import Done, Machine
from tests.cli.test_keys_list import CONFIG
from tests.targets.disks import small_disk

MIB = 1024 * 1024
REGIONS = ("region-a", "region-b", "region-c")
TARGET = """
[targets.{name}]
kind = "directory"
path = "{home}/{name}"
region = "{name}"
create = true
"""


def configure(machine: Machine, recipient: str) -> None:
    places = "".join(TARGET.format(name=name, home=machine.home) for name in REGIONS)
    whole = CONFIG.format(home=machine.home, recipients=f'"{recipient}"') + places
    machine.path("strongroom.toml").write_text(whole)


@contextlib.contextmanager
def disk(path: Path, *, size: int = 8 * MIB) -> Iterator[Path]:
    """Mount a small disk, and give the file that fills it up."""
    path.mkdir(exist_ok=True)
    with small_disk(path, size=size) as mounted:
        if not mounted:
            pytest.skip("a file system cannot be mounted here")
        yield path / ".filler"


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def free(filler: Path) -> None:
    filler.unlink()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".filler"
    }


def opens(machine: Machine, place: str, key: str) -> None:
    machine.ok("backups", "verify", "--opens", place, "--identity", f"{key}.key")


def make_keys(machine: Machine) -> None:
    for name in ("old", "new"):
        machine.ok("keys", "new", "--output", f"{name}.key")
    configure(machine, "old")


keyed = furnished(stock, make_keys)


def said(done: Done) -> str:
    return " ".join((done.out + done.err).split())


@pytest.mark.platform
@pytest.mark.parametrize("words", [(), ("--re-encrypt",)], ids=["re-wrap", "re-encrypt"])
def test_where_every_target_is_full_nothing_changes_and_a_rerun_finishes(
    keyed: Machine, words: tuple[str, ...]
) -> None:
    with contextlib.ExitStack() as disks:
        fillers = [disks.enter_context(disk(keyed.path(name))) for name in REGIONS]
        keyed.ok("backup", "--policy", "all", "--force")
        before = [tree(keyed.path(name)) for name in REGIONS]
        configure(keyed, "new")
        for filler in fillers:
            fill(filler)
        done = keyed.run("keys", "rotate", *words)
        assert done.code not in (0, 1), done
        assert "TargetFull" in said(done)
        assert "Traceback" not in said(done)
        for filler in fillers:
            free(filler)
        assert [tree(keyed.path(name)) for name in REGIONS] == before
        for name in REGIONS:
            opens(keyed, name, "old")
        keyed.ok("keys", "rotate", *words)
        for name in REGIONS:
            opens(keyed, name, "new")


@pytest.mark.platform
@pytest.mark.parametrize("words", [(), ("--re-encrypt",)], ids=["re-wrap", "re-encrypt"])
def test_where_one_target_is_full_the_others_go_on_and_it_is_made_good_later(
    keyed: Machine, words: tuple[str, ...]
) -> None:
    with disk(keyed.path("region-b")) as filler:
        keyed.ok("backup", "--policy", "all", "--force")
        before = tree(keyed.path("region-b"))
        configure(keyed, "new")
        fill(filler)
        done = keyed.run("keys", "rotate", *words)
        assert (done.failed_with(RunDegraded), "region-b" in said(done)) == (True, True), done
        free(filler)
        assert tree(keyed.path("region-b")) == before
        done = keyed.run("backups", "verify", "--opens", "region-b", "--identity", "old.key")
        assert done.failed_with(Stale), done
        opens(keyed, "region-a", "new")
        keyed.ok("keys", "rotate", *words)
        opens(keyed, "region-b", "new")


@pytest.mark.platform
@pytest.mark.parametrize("words", [(), ("--re-encrypt",)], ids=["re-wrap", "re-encrypt"])
def test_where_the_state_directory_is_full_it_says_so_and_a_rerun_finishes(
    keyed: Machine, words: tuple[str, ...]
) -> None:
    keyed.ok("backup", "--policy", "all", "--force")
    configure(keyed, "new")
    saved = tree(keyed.state)
    for name in saved:
        Path(name).chmod(0o600)
    with disk(keyed.state, size=16 * MIB) as filler:
        keyed.state.chmod(0o700)
        for name, content in saved.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            Path(name).write_bytes(content)
            Path(name).chmod(0o600)
        keyed.ok("keys", "list")
        fill(filler)
        done = keyed.run("keys", "rotate", *words)
        assert (done.failed_with(StateFull), "the disk is full" in said(done)) == (True, True), done
        assert "Traceback" not in said(done)
        for name in REGIONS:
            opens(keyed, name, "old")
        free(filler)
        keyed.ok("keys", "rotate", *words)
        for name in REGIONS:
            opens(keyed, name, "new")


@pytest.mark.platform
@pytest.mark.parametrize("words", [(), ("--re-encrypt-backups",)], ids=["re-wrap", "re-encrypt"])
def test_where_a_backup_file_s_disk_is_full_the_file_stays_and_a_rerun_finishes(
    keyed: Machine, words: tuple[str, ...]
) -> None:
    with disk(keyed.path("files")) as filler:
        keyed.ok("keys", "new", "--algorithm", "AES256", "--output", "one.key")
        keyed.ok("backup", "files/weekly.sr", "--include-values", "--force", "--recipient", "one.key")
        before = tree(keyed.path("files"))
        fill(filler)
        rotate = ("keys", "replace", "--current-key", "one.key", "--new-key", "two.key", *words)
        done = keyed.run(*rotate)
        assert done.code not in (0, 1), done
        assert "No space left" in said(done) or "full" in said(done), done
        assert "Traceback" not in said(done)
        free(filler)
        assert tree(keyed.path("files")) == before
        opens(keyed, "files/weekly.sr", "one")
        keyed.ok(*rotate)
        opens(keyed, "files/weekly.sr", "two")
