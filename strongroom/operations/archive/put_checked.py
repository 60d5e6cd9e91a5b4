"""Small files on a target: put there, read back, and locked where it locks."""

from __future__ import annotations

import hashlib
from datetime import datetime

from strongroom.container.errors import VerificationFailed
from strongroom.targets import Target, locks


def put_checked(target: Target, name: str, content: bytes, *, until: datetime) -> None:
    """Put a file on a target.

    Raises:
        VerificationFailed: the target holds something else afterwards.
    """
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
    if b"".join(target.read(name, length=len(content) + 1)) != content:
        raise VerificationFailed(f"target '{target.name}' holds something else under the name '{name}'")
    if locks(target):
        target.extend_lock(name, until)
