"""Odd objects on a disk: links, pipes, folders and the like where a file should be, and junk beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.forgeries.forgery import WRITE, forgery
from tests.forgeries.genuine import BACKUP, NEWER, genuine, older
from tests.forgeries.writing import nothing, with_older

Disk = Callable[[Path], object]

MADE = genuine()
NAMES = {"manifest": MADE.name, "container": MADE.pieces[0], "envelope": MADE.envelope()}


def path_of(what: str) -> Callable[[Path], Path]:
    return lambda folder: folder / NAMES.get(what, what)


def put_aside(what: str) -> tuple[Callable[[Path], Path], Callable[[Path], Path]]:
    """Return where a thing lies, and where it is moved to: beside the target, so it is none of its names."""
    return path_of(what), lambda folder: folder.with_name(f"{folder.name}-elsewhere")


def linked(what: str) -> Disk:
    """Move a file or folder to another disk, and leave a link."""
    here, elsewhere = put_aside(what)

    def change(folder: Path) -> None:
        shutil.move(here(folder), elsewhere(folder))
        here(folder).symlink_to(elsewhere(folder))

    return change


def instead(what: str, make: Callable[[Path], object]) -> Disk:
    """Put something else in a file's place."""

    def change(folder: Path) -> None:
        path = path_of(what)(folder)
        path.unlink()
        make(path)

    return change


def beside(name: str, make: Callable[[Path], object]) -> Disk:
    """Put something where nothing is."""

    def change(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)

    return change


def loop(path: Path) -> None:
    path.symlink_to(path)


def nowhere(path: Path) -> None:
    path.symlink_to("/nonexistent")


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder_with_a_file(path: Path) -> None:
    path.mkdir()
    (path / "x").write_bytes(b"junk")


def whole_file(path: Path) -> None:
    """A link to another file that is what should be there, in the very target."""
    path.symlink_to(next(path.parent.iterdir()))


KINDS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a link in a circle": loop,
    "a link to nowhere": nowhere,
    "a link to endless zeros": endless,
    "an empty folder": Path.mkdir,
    "a folder with a file": folder_with_a_file,
}
EXPECT: dict[str, dict[str, str]] = {
    "manifest": {"expect": "NotABackup"},
    "container": {"expect": "MissingPiece"},
    "envelope": {"key": "old"},
}
"""What is no file is not there: as if its name were nobody's."""


def enter() -> None:
    for what, answer in EXPECT.items():
        for kind, make in KINDS.items():
            forgery(f"{kind} in the {what}'s place", WRITE, nothing, disk=instead(what, make), **answer)
        forgery(f"the {what} on another disk, and a link to it", WRITE, nothing, disk=linked(what), **answer)
    for kind, make in KINDS.items():
        where = f"manifests/{NEWER}.json"
        forgery(f"{kind} as a newer manifest", WRITE, nothing, disk=beside(where, make), chooses=True)
        where = MADE.envelope(3)
        forgery(f"{kind} as generation 3", WRITE, nothing, disk=beside(where, make))
        where = f"quarantine/{BACKUP}/00000001.json"
        forgery(f"{kind} as a quarantine mark", WRITE, nothing, disk=beside(where, make))
    for folder, expect in {
        "manifests": "NotABackup",
        "containers": "MissingPiece",
        f"containers/{BACKUP}": "MissingPiece",
    }.items():
        forgery(f"{folder}/ on another disk, and a link to it", WRITE, nothing, expect, disk=linked(folder))
    forgery("keys/ on another disk, and a link to it", WRITE, nothing, key="old", disk=linked("keys"))
    forgery(
        "the newest manifest on another disk, a link to it, and an older backup",
        WRITE,
        with_older(nothing),
        comes="older",
        chooses=True,
        disk=linked("manifest"),
    )
    forgery("a link at the target's root", WRITE, nothing, disk=beside("junk", nowhere))
    forgery(
        "the whole target on another disk, and a link to it",
        WRITE,
        nothing,
        disk=lambda folder: (shutil.move(folder, f"{folder}-2"), folder.symlink_to(f"{folder}-2")),
    )
    forgery(
        "a link in a whole container's copy's place",
        WRITE,
        nothing,
        disk=beside(f"{MADE.pieces[0]}.r1", endless),
    )
    forgery(
        "hard links of everything",
        WRITE,
        nothing,
        disk=lambda folder: [
            os.link(each, folder.parent / f"hard-{number}")
            for number, each in enumerate(sorted(each for each in folder.rglob("*") if each.is_file()))
        ],
    )
    assert older().id < BACKUP
