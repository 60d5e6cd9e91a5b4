"""What is said of Azure's old versions, from what the service lists; the emulator keeps none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from azure.storage.blob import BlobProperties

from strongroom.targets.azure.target import hidden_version

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def blob(*, deleted: bool = False, days: int | None = None, locked: datetime | None = None) -> BlobProperties:
    made = BlobProperties(name="a")
    made.size, made.deleted, made.remaining_retention_days = 4, deleted, days
    made.immutability_policy.expiry_time = locked
    return made


def test_soft_deletion_tells_the_day_on_which_it_ends() -> None:
    found = hidden_version("a", blob(deleted=True, days=7), locks=True, now=NOW)
    assert (found.size, found.expires, found.rule_known) == (4, NOW + timedelta(days=7), True)


def test_when_an_earlier_version_goes_is_not_known() -> None:
    found = hidden_version("a", blob(), locks=True, now=NOW)
    assert (found.expires, found.rule_known) == (None, False)


def test_a_lock_counts_until_it_ends_and_is_not_known_where_nobody_asked() -> None:
    later = NOW + timedelta(days=9)
    assert hidden_version("a", blob(locked=later), locks=True, now=NOW).locked_until == later
    assert hidden_version("a", blob(locked=NOW), locks=True, now=NOW).locked_until is None
    assert hidden_version("a", blob(), locks=False, now=NOW).lock_known is False
