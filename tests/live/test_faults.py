"""What a target does when its region misbehaves: live servers, behind a proxy or killed.

For S3 and Azure alike. Nothing is called good that is not, and nothing good is called lost.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from strongroom.errors import ConfigError, StrongroomError, TargetError
from strongroom.plugins.conformance.targets import MIB, get, names, put
from strongroom.system.errors import TargetFull
from strongroom.targets import Target
from strongroom.targets.errors import TargetGarbled, TargetUnavailable
from tests.live.azurite import Azurite
from tests.live.certificates import server_context
from tests.live.ministack import MiniStack
from tests.live.proxy import (
    Answer,
    FaultyProxy,
    FlipReply,
    FlipRequest,
    Hold,
    LoseReply,
    Reset,
    Truncate,
    method,
)
from tests.live.regions import SLOW_SECONDS, Region, azure_region, s3_region
from tests.patience import until

CONTENT = b"CANARY-" + os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).digest()
OBJECT = method("GET", "HEAD", "PUT")


@pytest.fixture
def target(region: Region, proxy: FaultyProxy) -> Target:
    return region.target(proxy.url)


# -- faults that pass ------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Answer(503), Answer(500), Reset()], ids=["503", "500", "reset"])
def test_a_put_outlasts_a_fault_that_passes(
    target: Target, proxy: FaultyProxy, region: Region, fault: Answer | Reset
) -> None:
    rule = proxy.fail(fault, when=region.sends)

    assert put(target, "containers/r/a", CONTENT) is True
    assert get(target, "containers/r/a") == CONTENT
    assert rule.met == 1


@pytest.mark.parametrize("fault", [Answer(503), Reset(), Truncate(1000)], ids=["503", "reset", "truncated"])
def test_a_read_outlasts_a_fault_that_passes(
    target: Target, proxy: FaultyProxy, region: Region, fault: Answer | Reset | Truncate
) -> None:
    put(target, "containers/r/a", CONTENT)
    rule = proxy.fail(fault, when=region.reads)

    assert get(target, "containers/r/a") == CONTENT
    assert rule.met == 1


def test_looking_listing_and_deleting_outlast_faults_that_pass(target: Target, proxy: FaultyProxy) -> None:
    put(target, "containers/r/a", CONTENT)
    for call in (lambda: target.stat("containers/r/a"), lambda: names(target)):
        proxy.fail(Reset(), when=method("GET", "HEAD"))
        assert call()
    proxy.fail(Answer(503), when=method("DELETE"))
    target.delete("containers/r/a")

    assert names(target) == []


def test_a_put_whose_reply_is_lost_finds_its_own_object(
    target: Target, proxy: FaultyProxy, region: Region
) -> None:
    rule = proxy.fail(LoseReply(), when=region.makes_visible)

    put(target, "containers/r/a", CONTENT)  # it cannot know whether it was the one

    assert rule.met == 1
    assert get(target, "containers/r/a") == CONTENT
    assert names(target) == ["containers/r/a"]


def test_a_put_that_is_told_412_compares_and_does_not_fail(
    target: Target, proxy: FaultyProxy, region: Region
) -> None:
    """The object was there unseen: its own, whose reply was lost, comes to light by the refusal alone."""
    put(region.target(), "containers/r/a", CONTENT)
    unseen = proxy.fail(Answer(404, {"x-ms-error-code": "BlobNotFound"}), when=method("HEAD"))

    assert put(target, "containers/r/a", CONTENT) is False
    assert unseen.met == 1
    assert proxy.seen(region.makes_visible)
    assert get(target, "containers/r/a") == CONTENT


def test_a_put_that_comes_second_because_of_a_lost_reply_never_covers_what_is_there(
    target: Target, proxy: FaultyProxy, region: Region
) -> None:
    put(region.target(), "containers/r/a", b"somebody else's")
    proxy.fail(LoseReply(), when=region.makes_visible, times=None)

    assert put(target, "containers/r/a", CONTENT) is False
    assert get(target, "containers/r/a") == b"somebody else's"


def test_a_server_that_answers_too_late_is_asked_again_and_its_late_answer_changes_nothing(
    region: Region, proxy: FaultyProxy
) -> None:
    impatient = region.target(proxy.url, seconds=SLOW_SECONDS, pause=0.0)
    hold = Hold()
    proxy.fail(hold, when=region.makes_visible)

    def stored() -> bool:
        with suppress(TargetUnavailable):  # a busy machine may answer other requests too late as well
            put(impatient, "containers/r/a", CONTENT)
            return True
        return False

    until(stored, what="a put that is answered in time")
    hold.release()

    target = region.target(proxy.url)
    assert get(target, "containers/r/a") == CONTENT
    assert names(target) == ["containers/r/a"]


def test_a_bit_that_flips_on_the_way_there_is_noticed_by_the_server_and_sent_again(
    target: Target, proxy: FaultyProxy, region: Region
) -> None:
    rule = proxy.fail(FlipRequest(1000), when=region.sends)

    assert put(target, "containers/r/a", CONTENT) is True
    assert rule.met == 1
    assert get(target, "containers/r/a") == CONTENT


def test_a_bit_that_flips_on_the_way_back_is_an_error_that_says_the_object_is_whole(
    target: Target, proxy: FaultyProxy, region: Region
) -> None:
    put(target, "containers/r/a", CONTENT)
    proxy.fail(FlipReply(1000), when=region.reads)

    with pytest.raises(TargetGarbled):
        get(target, "containers/r/a")
    assert get(target, "containers/r/a") == CONTENT


# -- faults that stay ------------------------------------------------------------------


def test_a_region_that_is_down_is_given_up_after_a_few_requests_and_then_not_asked(
    target: Target, proxy: FaultyProxy
) -> None:
    proxy.fail(Answer(503), times=None)
    for _ in range(20):
        with pytest.raises(TargetUnavailable):
            put(target, "containers/r/a", CONTENT)

    assert len(proxy.requests) == 3
    with pytest.raises(TargetUnavailable, match="it was not asked"):
        target.stat("containers/r/a")


def test_a_region_that_never_answers_is_given_up_as_well(region: Region, proxy: FaultyProxy) -> None:
    target = region.target(proxy.url, seconds=SLOW_SECONDS)
    proxy.fail(Hold(), times=None)
    for _ in range(5):
        with pytest.raises(TargetUnavailable):
            target.stat("containers/r/a")

    until(lambda: len(proxy.requests) >= 3, what="requests that were given up before they were read")
    assert len(proxy.requests) == 3


def test_an_answer_that_is_always_cut_short_is_never_taken_for_the_whole(
    target: Target, proxy: FaultyProxy, region: Region
) -> None:
    put(target, "containers/r/a", CONTENT)
    proxy.fail(Truncate(0), when=region.reads, times=None)

    with pytest.raises(TargetUnavailable):
        get(target, "containers/r/a")


@pytest.mark.parametrize(
    "body", [b"<ListBucketResult><Name>b</Na", b"<ListBucketResult>\x00</ListBucketResult>"]
)
def test_a_listing_that_was_changed_on_the_way_is_not_called_a_fault_of_the_server(
    ministack: MiniStack, tmp_path: Path, body: bytes
) -> None:
    """It was told as "500", though the server's log has a 200."""
    region = s3_region(ministack, tmp_path, name="eu")
    with FaultyProxy(region.port) as proxy:
        target = region.target(proxy.url)
        rule = proxy.fail(Answer(200, body=body), times=None)
        with pytest.raises(TargetGarbled, match="its answer was cut, or changed on the way") as caught:
            list(target.list("containers/"))
        assert rule.met > 1, "it is asked again"
        assert "500" not in caught.value.message


def test_a_region_that_wants_a_pause_gets_it(target: Target, proxy: FaultyProxy) -> None:
    proxy.fail(Answer(503, {"Retry-After": "3600"}), times=None)

    with pytest.raises(TargetUnavailable) as caught:
        target.stat("containers/r/a")

    assert caught.value.retry_after == pytest.approx(3600, abs=5)
    assert len(proxy.requests) == 1


def test_a_full_region_says_so_and_keeps_nothing_half_made(
    target: Target, proxy: FaultyProxy, region: Region
) -> None:
    proxy.fail(region.full, when=region.sends, times=None)

    with pytest.raises(TargetFull) as caught:
        put(target, "containers/r/a", CONTENT)

    assert "Free space" in caught.value.hint
    assert names(target) == []
    proxy.heal()
    assert put(target, "containers/r/a", CONTENT) is True


def test_a_clock_that_is_off_is_named_and_not_tried_again(
    target: Target, proxy: FaultyProxy, region: Region
) -> None:
    proxy.fail(region.skewed, times=None)

    with pytest.raises(TargetError) as caught:
        put(target, "containers/r/a", CONTENT)

    assert not caught.value.transient
    assert "clock" in f"{caught.value.message} {caught.value.hint}"
    if region.kind == "s3":
        assert "ahead of the server's" in caught.value.message
        assert "60" in caught.value.message  # 600 s, or the next one


def test_an_expired_certificate_is_named_and_nothing_is_sent(region: Region, tmp_path: Path) -> None:
    context, authority = server_context(tmp_path, expired=True)
    with FaultyProxy(region.port, tls=context) as proxy:
        target = region.target(proxy.url, ca_bundle=authority)
        with pytest.raises(TargetError, match="certificate") as caught:
            put(target, "containers/r/a", CONTENT)
        assert not caught.value.transient
        assert proxy.requests == []


def test_a_valid_certificate_of_that_authority_is_taken_and_of_another_is_not(
    region: Region, tmp_path: Path
) -> None:
    context, authority = server_context(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = server_context(tmp_path / "other")
    with FaultyProxy(region.port, tls=context) as proxy:
        assert put(region.target(proxy.url, ca_bundle=authority), "a", CONTENT) is True
        before = len(proxy.requests)
        with pytest.raises(TargetError, match="certificate"):
            get(region.target(proxy.url, ca_bundle=other), "a")
        assert len(proxy.requests) == before


def test_no_error_repeats_what_a_server_says(target: Target, proxy: FaultyProxy) -> None:
    said = b"<Error><Code>Custom</Code><Message>CANARY-said</Message></Error>"
    for status in (400, 403, 404, 409, 418, 500, 507):
        proxy.fail(Answer(status, {"x-ms-error-code": "Custom"}, said), times=None)
        with pytest.raises(StrongroomError) as caught:
            put(target, "containers/r/a", CONTENT)
        assert "CANARY" not in str(caught.value), status
        assert not isinstance(caught.value, ConfigError)
        proxy.heal()


# -- a server that is killed -----------------------------------------------------------


@pytest.fixture(params=["s3", "azure"])
def server(request: pytest.FixtureRequest) -> MiniStack | Azurite:
    found: MiniStack | Azurite = request.getfixturevalue(
        "own_ministack" if request.param == "s3" else "own_azurite"
    )
    return found


def test_a_server_that_is_killed_during_an_upload_and_back_later_holds_all_or_nothing(
    server: MiniStack | Azurite, tmp_path: Path
) -> None:
    if isinstance(server, MiniStack):
        region = s3_region(server, tmp_path, name="eu", part_bytes=5 * MIB)
    else:
        region = azure_region(server, tmp_path, name="eu")
    content = os.urandom(12 * MIB)
    put(region.target(), "before", b"CANARY-before")

    def dying() -> Iterator[bytes]:
        yield content[: 6 * MIB]
        _end(server)
        yield content[6 * MIB :]

    target = region.target()
    with pytest.raises(TargetUnavailable):
        target.put("a", dying(), size=len(content), sha256=hashlib.sha256(content).digest())

    server.server.start()
    target = region.target()
    assert target.stat("a") is None
    assert get(target, "before") == b"CANARY-before"
    assert put(target, "a", content) is True
    assert get(target, "a") == content


def _end(server: MiniStack | Azurite) -> None:
    # Azurite keeps what is new in memory for a while: only when asked to end does it write it down.
    server.kill() if isinstance(server, MiniStack) else server.server.stop()
