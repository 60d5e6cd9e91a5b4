"""The areas of an installation, with the broker and its workers, which the command line asks."""

from __future__ import annotations

from functools import partial

from strongroom.config import Settings
from strongroom.operations.engine.findings import Finding
from strongroom.operations.judge.inspection import KeyMetrics
from strongroom.wiring import health_areas
from workers.cluster_facts import cluster_facts


def check_areas(settings: Settings, *, days: int, now: float) -> tuple[list[Finding], KeyMetrics | None]:
    """Look at every area; the metrics are missing where the record cannot be read."""
    return health_areas.check_areas(settings, days=days, now=now, cluster=partial(cluster_facts, settings))
