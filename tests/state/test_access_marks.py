"""How far access logs were read, on both databases."""

from __future__ import annotations

from msgspec import structs

from strongroom.state.records import AccessMark
from strongroom.state.store import RunStore

MARK = AccessMark(log="eu", head="ab", name="AWSLogs/one", size=5 << 40, offset=5 << 40, tail="cd")


def test_a_mark_takes_the_place_of_the_one_before_and_goes_with_its_file(store: RunStore) -> None:
    other = structs.replace(MARK, log="us")
    store.put_access_marks([structs.replace(MARK, size=-1, offset=0), other])
    store.put_access_marks([MARK])
    assert store.access_marks("eu") == [MARK]
    store.forget_access_marks("eu", ["ab"] * 1001)
    assert store.access_marks("eu") == []
    assert store.access_marks("us") == [other]
