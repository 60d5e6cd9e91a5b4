"""Junk in every folder of a target: each reader ends, and with the genuine secrets.

Whoever may add objects may add thousands, and with Object Lock nobody can remove them. So what a reader does
grows with their number and not with its square, and no folder's junk hides what lies in another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.forgeries.forgery import WRITE, Forgery
from tests.forgeries.genuine import BACKUP, Objects, genuine
from tests.forgeries.voices import (
    Answer,
    Place,
    dry_run,
    find,
    history,
    independent_reader,
    recovery_program,
    restore,
    restore_secret,
    scratch,
    values_of,
    verify_backup,
)

FOLDERS: dict[str, Callable[[int], str]] = {
    "the root": lambda n: f"junk-{n}",
    "manifests": lambda n: f"manifests/20991231T{n:06}Z-{n:08x}.json",
    "copies of a manifest that is none": lambda n: f"manifests/20991230T{n // 9:06}Z-0.json.r{n % 9 + 1}",
    "containers": lambda n: f"containers/20991231T{n:06}Z-{n:08x}/{'ab' * 32}",
    "containers of the backup": lambda n: f"containers/{BACKUP}/{n:064x}",
    "keys": lambda n: f"keys/{n:032x}/00000002",
    "generations of the wrapping key": lambda n: f"keys/{genuine().wrapping.id}/{n + 3:08}",
    "quarantine": lambda n: f"quarantine/20991231T{n:06}Z-{n:08x}/00000001.json",
    "marks of the backup": lambda n: f"quarantine/{BACKUP}/{n + 1:08}.json",
    "deletion": lambda n: f"deletion/{BACKUP}/{n + 1:08}.json",
    "trust": lambda n: f"trust/{n + 1:08}.json",
    "ledger": lambda n: f"ledger/{'ab' * 8}/2026-11/{n + 1:012}-{'cd' * 8}.json",
    "index": lambda n: f"index/{BACKUP}/{BACKUP}/{n:064x}",
}
READERS = (
    verify_backup, dry_run, restore, restore_secret, recovery_program, independent_reader, find, history,
)  # fmt: skip


def full_of(many: int, *folders: str) -> Forgery:
    def forge(objects: Objects, _: object) -> None:
        objects |= {FOLDERS[folder](n): b"junk" for folder in folders for n in range(many)}

    return Forgery(f"{many} in {', '.join(folders)}", WRITE, forge)


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as found:
        (found / "here").mkdir()
        yield found / "here"


def wrong(ask: Callable[[Place, Path], Answer], place: Place) -> str:
    """Say what is wrong with an answer: what is genuine has to come out, and that is no failure."""
    answer, wanted = ask(place, place.directory), values_of(genuine().contents)
    if answer.kind != "ok":
        return f"{ask.__name__}: {answer.kind}"
    if answer.came is None:
        return ""
    right = answer.came == wanted if ask is not restore_secret else answer.came.items() <= wanted.items()
    return "" if right else f"{ask.__name__}: other secrets came out"


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("where", FOLDERS)
def test_every_reader_gets_past_two_thousand_objects_of_junk(where: str, folder: Path) -> None:
    place = Place(folder, full_of(2_000, where))
    assert [said for ask in READERS if (said := wrong(ask, place))] == []


@pytest.mark.long
@pytest.mark.parametrize("ask", READERS, ids=lambda ask: str(ask.__name__))
def test_every_reader_gets_past_twenty_thousand_objects_of_junk_in_every_folder(
    ask: Callable[[Place, Path], Answer], folder: Path
) -> None:
    assert wrong(ask, Place(folder, full_of(20_000, *FOLDERS))) == ""
