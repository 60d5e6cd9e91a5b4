"""The quarterly trial of every key that backups depend on."""

from __future__ import annotations

import logging

from workers import names
from workers.app import app
from workers.base import define

log = logging.getLogger(__name__)


@define(names.KEY_HEALTH)
def key_health() -> int:
    """Try the keys if that is due; return how many failed or are overdue.

    What is overdue is an alarm in the log and an event, for custodians and offline keys too: they
    answer a challenge (``strongroom key-health``).
    """
    from strongroom.operations.key_management.scheduled_check import check_due

    proof, zone_of = app.settings.calendar.key_proof, app.settings.calendar.zone_of
    bad = check_due(app.services.get(), proof.schedule, zone_of(proof.time_zone))
    for key in bad:
        log.error("key-unproven", extra={"key": key})
    return len(bad)
