"""The trust lists that this host has seen: of each installation the highest, beside ``trusted.json``.

They were found on targets, or made here. A target may withhold them later, so they are kept, and never
replaced by lower ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from strongroom.container.errors import FormatError
from strongroom.container.trust_list import TRUST_LIST, SignedTrustList
from strongroom.errors import ConfigError
from strongroom.system import files, private_file

FOLDER = "trust"
MOST = 9
"""Lists of one installation and number that are kept: hosts that made one at the same time."""

Kept = dict[Path, SignedTrustList]


def read(folder: Path) -> list[SignedTrustList]:
    """Return the lists that are kept beside a host's role keys.

    Raises:
        ConfigError: one of them is damaged, or cannot be read.
    """
    return list(_read(folder).values())


def files_of(folder: Path, installations: Iterable[str]) -> list[tuple[bytes, SignedTrustList]]:
    """Return the files of the lists that one of these installations signed, as they lie on targets."""
    own = frozenset(installations)
    return [
        (path.read_bytes(), signed_index)
        for path, signed_index in _read(folder).items()
        if signed_index.fingerprint in own
    ]


def keep(folder: Path, found: Iterable[bytes]) -> bool:
    """Keep of these lists those that are not lower than what is kept; tell whether anything is new.

    Whoever calls has checked that somebody who is pinned signed them.

    Raises:
        ConfigError: they cannot be written here.
    """
    with private_file.locked(folder):
        return put(folder, found)


def put(folder: Path, found: Iterable[bytes]) -> bool:
    """Keep lists as :func:`keep` does; the caller holds the folder's lock."""
    kept = _read(folder)
    new = False
    for content in found:
        if _is_new(kept, content):
            _write(folder, kept, content)
            new = True
    return new


def _read(folder: Path) -> Kept:
    found: Kept = {}
    for path in sorted((folder / FOLDER).glob("[0-9]*.json")):
        try:
            with path.open("rb") as file:
                found[path] = TRUST_LIST.open(file.read(TRUST_LIST.most + 1), trusted=None)
        except FileNotFoundError:  # a higher one took its place meanwhile
            continue
        except (FormatError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error.message
            raise ConfigError(
                f"'{path}' cannot be used: {why}",
                hint="It is a trust list that this host keeps. Bring it back from another host's state "
                "directory, or from the folder 'trust' on a target.",
            ) from None
    return found


def _is_new(kept: Kept, content: bytes) -> bool:
    signed_index = TRUST_LIST.open(content, trusted=None)
    same = [
        other.statement.number for other in kept.values() if other.fingerprint == signed_index.fingerprint
    ]
    if (
        max(same, default=0) > signed_index.statement.number
        or same.count(signed_index.statement.number) >= MOST
    ):
        return False
    return _name(signed_index, content) not in [path.name for path in kept]


def _write(folder: Path, kept: Kept, content: bytes) -> None:
    signed_index = TRUST_LIST.open(content, trusted=None)
    path = folder / FOLDER / _name(signed_index, content)
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        with files.atomic(path, replace=True, mode=0o644) as file:
            file.write(content)
        for other, lower in list(kept.items()):
            if (
                lower.fingerprint == signed_index.fingerprint
                and lower.statement.number < signed_index.statement.number
            ):
                other.unlink(missing_ok=True)
                del kept[other]
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be written: {error.strerror}",
            hint="The lists are as they were. Free space or mend the rights, then repeat.",
        ) from None
    kept[path] = signed_index


def _name(signed_index: SignedTrustList, content: bytes) -> str:
    return f"{signed_index.statement.number:08}-{hashlib.sha256(content).hexdigest()[:16]}.json"
