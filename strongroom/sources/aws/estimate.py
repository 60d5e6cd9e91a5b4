"""How long a restore takes at the least: the service's own quotas decide.

Requests a second for one account and region, none of which AWS raises
(docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html, November 2026).
"""

from __future__ import annotations

READING = 10_000
"""DescribeSecret and GetSecretValue together."""
BATCHES = 100
WRITING = 50
"""Each of: CreateSecret; PutSecretValue with UpdateSecretVersionStage and UpdateSecret; TagResource
with UntagResource; the resource policies; ListSecretVersionIds."""
BATCH = 20
"""Secrets of one BatchGetSecretValue."""


def restore_seconds(count: int, versions: int, *, requests_per_second: float | None = None) -> float:
    """Return the seconds that it takes to restore ``count`` secrets of ``versions`` versions in all
    into an empty region: heads, check, write and read back.

    Args:
        requests_per_second: our own limit, which counts all requests together.
    """
    further = max(0, versions - count)
    policies = count  # each is read back; those of unknown number that are put come on top
    groups = (
        (count, WRITING),  # CreateSecret
        (further, WRITING),  # PutSecretValue; labels fall into place, but for those of a team's own
        (count, WRITING),  # UntagResource: the mark of an unfinished restore
        (policies, WRITING),
        (count, WRITING),  # ListSecretVersionIds, to read back
        (4 * count + further, READING),  # DescribeSecret, and each older version read back
        (-(-count // BATCH), BATCHES),
    )
    least = max(requests / rate for requests, rate in groups)
    if requests_per_second is None:
        return least
    return max(least, sum(requests for requests, _ in groups) / requests_per_second)
