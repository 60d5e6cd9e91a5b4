"""The ledger's head, signed, on every target: hourly, if something happened."""

from __future__ import annotations

from workers import names
from workers.app import app
from workers.base import define


@define(names.LEDGER)
def publish() -> int:
    """Put the head where it is not yet, and the marks and trust lists; return how many targets took it."""
    from strongroom.operations.evidence.ledger_heads import put_heads

    return put_heads(app.services.get(), app.settings.online)
