"""What an S3 server answers, as an error that a caller can tell by its class."""

from __future__ import annotations

import pytest

from strongroom.targets.errors import TargetAbsent
from strongroom.targets.s3.client import NotConfigured, of_reply


@pytest.mark.parametrize(
    "code",
    [
        "NoSuchLifecycleConfiguration",
        "NoSuchObjectLockConfiguration",
        "ObjectLockConfigurationNotFoundError",
    ],
)
def test_a_bucket_without_a_configuration_is_told_from_one_that_may_not_be_asked(code: str) -> None:
    def answer(said: str, status: int) -> Exception:
        reply = {"Error": {"Code": said}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return of_reply(reply, "west could not look at its lock", writing=False, operation="GetObject")

    assert type(answer(code, 404)) is NotConfigured
    assert not isinstance(answer("AccessDenied", 403), NotConfigured)


def test_a_bucket_that_does_not_exist_is_no_right_that_lacks_and_the_hint_says_what_to_type() -> None:
    reply = {"Error": {"Code": "NoSuchBucket"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    error = of_reply(reply, "target 'eu' could not write a", writing=True, operation="PutObject")
    assert type(error) is TargetAbsent
    assert "the bucket does not exist" in error.message
    assert "strongroom check storage" in error.hint
