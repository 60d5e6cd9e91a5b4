"""The areas of an installation, with the broker and its workers, which only the command line looks at."""

from __future__ import annotations

from functools import partial

from strongroom.cli.shared import cluster_check
from strongroom.config import Settings
from strongroom.operations.findings import Finding
from strongroom.operations.health.key_metrics import KeyMetrics
from strongroom.wiring import health_areas


def check_areas(settings: Settings, *, days: int, now: float) -> tuple[list[Finding], KeyMetrics | None]:
    """Look at every area; the metrics are missing where the record cannot be read."""
    broker = (cluster_check.BROKER, partial(cluster_check.cluster, settings))
    return health_areas.check_areas(settings, days=days, now=now, besides=[broker])
