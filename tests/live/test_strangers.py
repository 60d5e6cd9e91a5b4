"""What a target says of a server that is another one than the configuration takes it for.

A wrong endpoint leads to a web server, a login page, another region: nothing of that may be taken
for an answer of the store's, and nothing of it ends in anything but a sentence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from strongroom.errors import StrongroomError, TargetError
from strongroom.plugins.conformance.targets import get, names, put
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from tests.live.proxy import Answer, FaultyProxy, method
from tests.live.regions import Region

CONTENT = os.urandom(1000)
PAGE = b"<html><body>CANARY-page</body></html>"
S3_LIST = b"<ListBucketResult>%s</ListBucketResult>"


@pytest.fixture
def target(region: Region, proxy: FaultyProxy) -> Target:
    return region.target(proxy.url).target


def calls(target: Target) -> Iterator[Callable[[], object]]:
    yield lambda: put(target, "a", CONTENT)
    yield lambda: get(target, "a")
    yield lambda: list(target.read("a", offset=3, length=10))
    yield lambda: target.stat("a")
    yield lambda: names(target)
    yield lambda: target.delete("a")
    yield lambda: target.abort_incomplete("")
    yield lambda: target.extend_lock("a", datetime.now(UTC) + timedelta(days=1))
    yield lambda: target.locked_until("a")
    yield lambda: list(target.refusals("a"))
    yield lambda: list(target.excess("a"))
    yield lambda: list(target.settings())
    yield lambda: target.hidden("a")
    yield lambda: list(target.telling())


def outcome(call: Callable[[], object]) -> str:
    """Return what an error says to a person, or nothing; whatever else is raised fails the test."""
    try:
        call()
    except StrongroomError as error:
        return f"{error} {error.hint}"
    return ""


STRANGERS = {
    "a-page": Answer(200, {}, PAGE),
    "noise": Answer(200, {"Content-Range": "x"}, bytes(range(256))),
    "nothing": Answer(200),
    "no-length": Answer(200, {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n"),
    "no-date": Answer(
        200,
        {"x-amz-object-lock-retain-until-date": "never", "x-ms-immutability-policy-until-date": "never"},
    ),
    "nameless": Answer(200, {}, S3_LIST % b"<Contents></Contents>"),
    "a-word-for-a-size": Answer(200, {}, S3_LIST % b"<Contents><Key>a</Key><Size>x</Size></Contents>"),
    "an-upload-without-id": Answer(
        200, {}, b"<ListMultipartUploadsResult><Upload><Key>a</Key></Upload></ListMultipartUploadsResult>"
    ),
    "blobs-without-names": Answer(
        200, {}, b"<EnumerationResults><Blobs><Blob><Properties/></Blob></Blobs></EnumerationResults>"
    ),
    "elsewhere": Answer(301),
    "not-found": Answer(404, {}, PAGE),
}


@pytest.mark.parametrize("answer", STRANGERS.values(), ids=STRANGERS.keys())
def test_no_answer_of_a_stranger_ends_in_anything_but_a_sentence(
    target: Target, proxy: FaultyProxy, answer: Answer
) -> None:
    proxy.fail(answer, times=None)

    said = "".join(map(outcome, calls(target)))

    assert "CANARY" not in said


def test_a_listing_that_is_a_page_is_called_no_listing(
    target: Target, proxy: FaultyProxy, region: Region
) -> None:
    proxy.fail(Answer(200, {}, PAGE), times=None)

    with pytest.raises(TargetError, match=f"does not speak {'S3' if region.kind == 's3' else 'Azure'}"):
        names(target)


def test_a_server_that_knows_no_such_path_is_no_place_for_an_object(
    target: Target, proxy: FaultyProxy
) -> None:
    proxy.fail(Answer(404, {}, PAGE), when=method("PUT"), times=None)

    with pytest.raises(TargetError) as caught:
        put(target, "a", CONTENT)
    assert not isinstance(caught.value, TargetUnavailable)


def test_a_bucket_in_another_region_is_not_followed_there(
    target: Target, proxy: FaultyProxy, region: Region
) -> None:
    """Its region would be counted as the one that the configuration names."""
    if region.kind != "s3":
        return
    elsewhere = {"x-amz-bucket-region": "eu-south-1", "Location": "http://127.0.0.1:1/"}
    for status in (301, 307, 400):
        proxy.fail(Answer(status, elsewhere))
        with pytest.raises(TargetError, match="eu-south-1") as caught:
            target.stat("a")
        assert "region" in caught.value.hint
    assert len(proxy.requests) == 3
