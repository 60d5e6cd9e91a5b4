"""Finishing what waits to be shredded: a date that has come, a target that is back."""

from __future__ import annotations

from workers import names
from workers.app import app
from workers.base import define


@define(names.SHRED_PENDING)
def shred_pending() -> int:
    """Go on with every backup that is not shredded yet; return how many are left.

    Destroys nothing that a person did not confirm: the record has what that is.
    """
    from strongroom.operations.keys.shred import advance
    from strongroom.wiring.key_services import scope

    return sum(not shredding.done for shredding in advance(app.services.get(), scope(app.settings)))
