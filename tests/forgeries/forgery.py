"""What one forgery is: a change to a genuine backup, and the one answer that every reader must give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.forgeries.genuine import Forge

WRITE, STRANGER, ROLE, RECIPIENT, SIGNER = (
    "write rights only",
    "a stranger's installation key",
    "a certified key of the wrong role",
    "a recipient's private key",
    "a genuine role's key",
)


@dataclass(frozen=True)
class Forgery:
    """``expect`` is ``ok``, or the class of the failure with which nothing forged and nothing doubtful
    comes out. ``aside`` is the class of what was left aside, if anything was: the result is used then, and
    the command does not end with 0. ``comes`` names the backup whose secrets come out where ``expect`` is ok.
    """

    name: str
    group: str
    forge: Forge
    expect: str = "ok"
    aside: str = ""
    comes: str = "genuine"
    key: str = "new"
    chooses: bool = False
    """The forgery plays on which backup is taken: who names one, as the workers do, meets nothing of it."""
    restored: str = ""
    """What a restore says, if it is refused by what the signed manifest says, before anything is opened."""
    marks: bool = False
    """It lies among the quarantine marks, of which no run that names its backup tells what does not count."""
    sparse: dict[str, int] | None = None
    """Objects that are as many zero bytes on a directory, and take no room there."""
    disk: Callable[[Path], object] | None = None
    """What is done to the directory of a target that no file could hold: links, pipes, folders."""


TABLE: list[Forgery] = []


def forgery(
    name: str,
    group: str,
    forge: Forge,
    expect: str = "ok",
    *,
    aside: str = "",
    comes: str = "genuine",
    key: str = "new",
    chooses: bool = False,
    restored: str = "",
    marks: bool = False,
    sparse: dict[str, int] | None = None,
    disk: Callable[[Path], object] | None = None,
) -> None:
    """Enter a forgery into the table."""
    assert all(one.name != name for one in TABLE), name
    TABLE.append(
        Forgery(name, group, forge, expect, aside, comes, key, chooses, restored, marks, sparse, disk)
    )
