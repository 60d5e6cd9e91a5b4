"""Running as somebody who may not read everything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path


@contextmanager
def as_nobody(directory: Path) -> Iterator[None]:
    """Work in ``directory`` without root's right to read everything, for a block."""
    directory.chmod(0o755)
    root = os.geteuid() == 0
    with chdir(directory):  # its parents may be closed to others, so paths are relative
        if root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
