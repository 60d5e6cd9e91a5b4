"""Keys that lie where backups lie: whoever gets that place has both.

Strongroom puts no key there. A person may, for a moment, or a script that copies a folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from strongroom.errors import TargetError
from strongroom.system.private_file import BEGINNING, LIMIT, begins_a_key
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.resilient import bare

_OURS = re.compile(r"(containers|ledger|manifests|probes)/|keys/[0-9a-f]{32}/")
"""What Strongroom itself names so is read by nobody here: of a large target it is nearly all."""


def keys_on(target: Target) -> list[str]:
    """Return the names of what is a private key on a target. Raises TargetError."""
    place = bare(target)
    if isinstance(place, DirectoryTarget):
        return list(keys_under(Path(place.address)))
    small = [info.name for info in target.list() if 0 < info.size <= LIMIT and not _OURS.match(info.name)]
    return [name for name in small if begins_a_key(b"".join(target.read(name, length=BEGINNING)))]


def keys_under(folder: Path, *, deep: bool = True) -> Iterator[str]:
    """Yield the private keys in a folder, whatever they are called; of links, those that lead to one.

    Raises:
        TargetError: the folder cannot be looked through.
    """
    for place, folders, files in os.walk(folder, onerror=_refuse):
        for name in sorted(files):
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            if not _OURS.match(relative) and begins_a_key(_beginning(path)):
                yield relative
        if not deep:
            folders.clear()


def _beginning(path: Path) -> bytes:
    try:
        # Non-blocking: a pipe would hang here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(BEGINNING) or b""
    except OSError:  # it is gone, or nobody may read it: then nothing of it is lost to whoever gets the place
        return b""


def _refuse(error: OSError) -> None:
    raise TargetError(f"'{error.filename}' cannot be looked through for keys: {error.strerror}") from None
