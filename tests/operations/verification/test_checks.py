"""What is known of a replica by what was read of it, container by container."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from strongroom.model import Depth
from strongroom.operations.backup.order import MANIFEST, SKEW, checks_of_replica, refresh
from strongroom.state.records import Replica

SEEN = Replica(backup="b1", target="eu", good=True, verified=Depth.PRESENT, verified_at=1.0)
READ = checks_of_replica("b1", "eu", 2, Depth.COMPARED, at=9.0)


def test_a_replica_that_was_only_seen_was_not_read() -> None:
    assert checks_of_replica("b1", "eu", 2, Depth.PRESENT, at=9.0) == []
    assert [check.piece for check in READ] == [MANIFEST, 0, 1]


def test_a_replica_was_verified_when_its_oldest_container_was_and_as_deep_as_the_shallowest() -> None:
    mixed = [READ[0], replace(READ[1], checked_at=5.0), replace(READ[2], depth=Depth.DIGEST)]
    assert refresh(SEEN, 2, mixed, now=9.0) == replace(SEEN, verified=Depth.DIGEST, verified_at=5.0)


def test_as_long_as_a_container_was_never_read_nothing_new_is_known() -> None:
    assert refresh(SEEN, 3, READ, now=9.0) == SEEN


def test_what_a_wrong_clock_dated_ahead_is_not_covered_by_what_was_read_since_it_is_right() -> None:
    ahead = [replace(READ[0], checked_at=9.0 + 2 * SKEW), *READ[1:]]
    assert refresh(SEEN, 2, ahead, now=9.0) == SEEN
    assert refresh(SEEN, 2, ahead, now=9.0 + SKEW).verified is Depth.COMPARED


def test_a_replica_that_is_bad_on_record_stays_so() -> None:
    bad = replace(SEEN, good=False)
    assert refresh(bad, 2, READ, now=9.0) == bad


@pytest.mark.parametrize(("before", "after"), [(Depth.OPENED, Depth.OPENED), (Depth.LIVE, Depth.COMPARED)])
def test_a_depth_that_a_replica_once_had_is_kept_but_for_what_was_about_the_source(
    before: Depth, after: Depth
) -> None:
    shallow = [replace(one, depth=Depth.DIGEST) for one in READ]
    found = refresh(replace(SEEN, verified=before), 2, shallow, now=9.0)
    assert (found.verified, found.verified_at) == (after, 9.0)
