"""Asking that a policy's backups be rotated to the recipients it names now.

The ``recover`` pool performs it, for it holds the keys that open, and is normally stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workers import names
from workers.entry import define_entry

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.operations.engine.submit import Submitted


@define_entry(names.ROTATE_KEYS)
def rotate_keys(
    services: Services,
    request: str,
    *,
    policy: str,
    re_encrypt: bool = False,
    renew: bool = False,
    backup: Sequence[str] = (),
    rate: float | None = None,
) -> Submitted:
    """Re-wrap (or seal anew) all backups of a policy, or those named; ``rate`` a second at most.

    ``renew`` does so for what opens for just these recipients too: a key service has a new key version.
    """
    from strongroom.operations.rotation.job import submit_rotation
    from strongroom.operations.rotation.rotate import RotateOptions

    options = RotateOptions(reencrypt=re_encrypt, renew=renew, backups=tuple(backup), rate=rate)
    return submit_rotation(services, policy=policy, options=options, request_id=request)
