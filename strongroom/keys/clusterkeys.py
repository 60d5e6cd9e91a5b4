"""The installation's own symmetric keys, made on first use; none of them is a recipient.

``work`` seals what lies on the stage, ``digest`` keys the digests of values. On several
hosts they are copied to those that need them, as the roles' keys are.
"""

from __future__ import annotations

import os
from pathlib import Path

from strongroom.container.derive import KEY_SIZE
from strongroom.errors import ConfigError, UsageError
from strongroom.system import private_file

KIND = "strongroom-cluster-key-1"


def load_or_create(folder: Path, name: str) -> bytes:
    """Return the 32 bytes of the key ``name``. Raises ConfigError."""
    path = folder / f"{name}.key"
    with private_file.locked(folder):
        if not path.exists():
            try:
                private_file.write_line(path, kind=KIND, variety=name, content=os.urandom(KEY_SIZE))
            except UsageError as error:
                raise ConfigError(error.message) from None
    variety, key = private_file.read_line(path, kind=KIND)
    if variety != name or len(key) != KEY_SIZE:
        raise ConfigError(f"'{path}' is not the key '{name}'")
    return key
