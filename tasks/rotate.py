"""Asking that a policy's backups be rotated to the recipients it names now.

The ``recover`` pool performs it, for it holds the keys that open, and is normally stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.submitting import submit
from workers import names
from workers.base import define


@define(names.ROTATE_KEYS)
def rotate_keys(
    *,
    policy: str,
    reencrypt: bool = False,
    renew: bool = False,
    backups: Sequence[str] = (),
    rate: float | None = None,
) -> str:
    """Re-wrap (or seal anew) all backups of a policy, or those named; ``rate`` a second at most.

    ``renew`` does so for what opens for just these recipients too: a keeper has a new key version.
    """
    from strongroom.operations.rotate import RotateOptions  # noqa: PLC0415
    from strongroom.operations.rotation import submit_rotation  # noqa: PLC0415

    options = RotateOptions(reencrypt=reencrypt, renew=renew, backups=tuple(backups), rate=rate)
    return submit(
        lambda services, request: submit_rotation(
            services, policy=policy, options=options, request_id=request
        )
    )
