"""What every section of the settings is built on.

Where sections are defined there is no ``from __future__ import annotations``: the annotations
say what is read and what it means, and as text they would have to be compiled at each start,
which takes ten times as long as to make them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from msgspec import Struct

KIB = 1024
MIB = 1024 * KIB


class SettingsSection(Struct, frozen=True, kw_only=True):
    """One table of ``strongroom.toml``: frozen, and no key beside those that are described.

    ``REPLACED`` has the keys that older versions knew, each with what to write now. ``SECRET_FILES`` are the
    keys that name a file which only its owner may read.
    """

    REPLACED: ClassVar[Mapping[str, str]] = {}
    SECRET_FILES: ClassVar[tuple[str, ...]] = ()

    def secret_files(self) -> dict[str, Path]:
        """Return each file that holds a secret, by the key that names it."""
        files = {key: getattr(self, key) for key in self.SECRET_FILES}
        return {key: path for key, path in files.items() if path is not None}
