"""Since when a version is an old one, and how many newer ones there are: what a bucket's rules count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from strongroom.targets.s3.target import LifecycleRule, ObjectVersion, old_of

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def made(key: str, number: str, day: int, *, latest: bool = False, marker: bool = False) -> ObjectVersion:
    return ObjectVersion(key=key, id=number, since=START + day * DAY, latest=latest, marker=marker, size=4)


def test_a_version_is_old_since_the_next_one_or_a_marker_came_over_it() -> None:
    listed = [
        made("a", "3", 9),
        made("b", "1", 0, latest=True),
        made("a", "1", 0),
        made("a", "marker", 20, latest=True, marker=True),
        made("a", "gone", 5, marker=True),
    ]
    found = [(one.version.id, (one.since - START) / DAY, one.newer) for one in old_of(listed)]
    assert found == [("3", 20, 0), ("1", 5, 2)]


def test_of_two_of_one_second_the_latest_is_the_newer_one() -> None:
    listed = [made("a", "1", 0), made("a", "marker", 0, latest=True, marker=True)]
    assert [one.version.id for one in old_of(listed)] == ["1"]


def test_a_rule_s_days_end_at_midnight() -> None:
    rule = LifecycleRule(prefix="a", days=2)
    midnight = datetime(2026, 1, 4, tzinfo=UTC)
    assert rule.end("a", 4, since=START, newer=0) == midnight
    assert rule.end("a", 4, since=midnight - 2 * DAY, newer=0) == midnight
    assert rule.end("b", 4, since=START, newer=0) is None


def test_a_rule_s_sizes_are_exclusive() -> None:
    rule = LifecycleRule(prefix="", days=2, above=3, below=5)
    assert [rule.end("a", size, since=START, newer=0) is not None for size in (3, 4, 5)] == [
        False,
        True,
        False,
    ]
