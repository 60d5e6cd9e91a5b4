"""Python imports this at its start where this folder is on its path: beat's checks come every few seconds.

Their entries stay as they are, and so does what goes with each message: an hour passes sooner, that is all.
A transfer worker tells of a silent beat as soon as it sees it, and metrics and page look as often as beat.
"""

from __future__ import annotations

import os

SECONDS = 4.0


def _hasten() -> None:
    from celery.schedules import schedstate, schedule  # noqa: PLC0415 - in beat alone

    whole = schedule.is_due

    def is_due(self: schedule, last_run_at: object) -> schedstate:
        due, following = whole(self, last_run_at)
        passed = self.remaining_estimate(last_run_at)
        left = passed.total_seconds() - self.seconds + SECONDS
        return schedstate(is_due=due or left <= 0, next=min(following, max(left, SECONDS)))

    schedule.is_due = is_due


if os.environ.get("STRONGROOM_ROLE") == "beat":
    _hasten()
if os.environ.get("STRONGROOM_ROLE") == "transfer":
    import workers.beat_fallback

    workers.beat_fallback.SETTLES = 0.0
if os.environ.get("STRONGROOM_ROLE") in ("metrics", "page"):
    from workers.exporter import Exporter

    _keep_looking = Exporter.keep_looking
    Exporter.keep_looking = lambda self, _every: _keep_looking(self, lambda _settings: SECONDS)
