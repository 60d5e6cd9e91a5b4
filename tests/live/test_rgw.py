"""The S3 target on Ceph's gateway, which enforces what no other S3 server here does."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from strongroom.errors import TargetError
from strongroom.plugins.conformance.targets import RACERS, SharedConformance, get, names, put
from strongroom.targets import Target
from strongroom.targets.s3 import LockMode, S3Target
from tests.live import test_faults, test_s3_locks
from tests.live.proxy import FaultyProxy, LoseReply
from tests.live.regions import Region, credentials_file, s3_region
from tests.live.rgw import Gateway
from tests.live.rgw_parts import bucket_of, code_of, repeated
from tests.live.test_s3_locks import DAY, locked_target, now

pytestmark = pytest.mark.long


@pytest.fixture
def ministack(gateway: Gateway) -> Gateway:
    """What the suites below call their S3 server."""
    return gateway


@pytest.fixture
def other_ministack(gateway: Gateway) -> Gateway:
    return gateway


# -- the suites that any S3 server has to pass -------------------------------------------


class TestPlainBucket(SharedConformance):
    @pytest.fixture
    def target(self, gateway: Gateway, tmp_path: Path) -> Target:
        return bucket_of(gateway, tmp_path)


class TestVersionedBucketUnderAPrefix(SharedConformance):
    """As everywhere, but that racing writers all get through: no condition holds in such a bucket."""

    @pytest.fixture
    def target(self, gateway: Gateway, tmp_path: Path) -> S3Target:
        return bucket_of(gateway, tmp_path, versioned=True, prefix="backups/main")

    # Exactly one cannot be had here.
    test_of_racing_threads_exactly_one_creates_the_object = None
    test_of_racing_processes_exactly_one_creates_the_object = None

    def test_of_racing_threads_one_is_what_all_read_and_no_later_one_covers_it(
        self, target: S3Target
    ) -> None:
        together = Barrier(RACERS)
        contents = [bytes([number]) * 1000 for number in range(RACERS)]

        def race(content: bytes) -> bool:
            def chunks() -> Iterator[bytes]:
                yield content[:500]
                together.wait()
                yield content[500:]

            return target.put("d/a", chunks(), size=1000, sha256=hashlib.sha256(content).digest())

        with ThreadPoolExecutor(RACERS) as pool:
            created = list(pool.map(race, contents))

        there = get(target, "d/a")
        assert any(created)
        assert there in contents
        assert put(target, "d/a", b"late") is False
        assert get(target, "d/a") == there


def test_it_ignores_what_the_documentation_says_and_nothing_less(gateway: Gateway) -> None:
    """Red on a later Ceph means that docs/how-to/store-backups.md may say better."""
    client = gateway.client()
    plain, versioned = (
        gateway.make_bucket(f"sr-{secrets.token_hex(6)}", versioned=kept) for kept in (False, True)
    )
    for bucket in (plain, versioned):
        client.put_object(Bucket=bucket, Key="a", Body=b"content", ExpectedBucketOwner="111111111111")

    def over(bucket: str) -> object:
        return client.put_object(Bucket=bucket, Key="a", Body=b"", IfNoneMatch="*")

    assert code_of(lambda: over(plain)) == "PreconditionFailed"
    assert over(versioned)
    place = {"Bucket": plain, "Key": "a"}
    upload = client.create_multipart_upload(**place)["UploadId"]
    etag = client.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    client.complete_multipart_upload(**place, UploadId=upload, IfNoneMatch="*", MultipartUpload=parts)
    assert client.get_object(**place)["Body"].read() == b"part"


world = test_s3_locks.world


@repeated(test_s3_locks)
class TestLocks:
    """Object Lock, enforced: short at the put, extended at the commit, repaired beside."""

    @pytest.fixture(params=list(LockMode))
    def target(self, request: pytest.FixtureRequest, gateway: Gateway, tmp_path: Path) -> S3Target:
        return locked_target(gateway, tmp_path, mode=request.param)


FAULTS = [
    name
    for name in vars(test_faults)
    if name.startswith("test_") and "certificate" not in name and "killed" not in name
]
NEEDS_CONDITIONS = "test_a_put_that_is_told_412_compares_and_does_not_fail"


class Faulty:
    """A bucket behind the proxy."""

    locking = False

    @pytest.fixture
    def region(self, gateway: Gateway, tmp_path: Path) -> Region:
        return s3_region(gateway, tmp_path, name="eu", locking=self.locking)

    @pytest.fixture
    def proxy(self, region: Region) -> Iterator[FaultyProxy]:
        with FaultyProxy(region.port) as made:
            yield made

    @pytest.fixture
    def target(self, region: Region, proxy: FaultyProxy) -> Target:
        return region.target(proxy.url)


@repeated(test_faults, *FAULTS)
class TestFaults(Faulty):
    """Lost replies, flipped bits and so on, with a server that verifies what it gets."""


@repeated(test_faults, *(name for name in FAULTS if name != NEEDS_CONDITIONS))
class TestFaultsWithVersions(Faulty):
    """The same where no condition of a put holds."""

    locking = True

    def test_a_put_whose_reply_is_lost_leaves_one_version(
        self, target: Target, proxy: FaultyProxy, region: Region, gateway: Gateway
    ) -> None:
        proxy.fail(LoseReply(), when=region.makes_visible)

        put(target, "a", b"content")

        bucket = region.make(region.url).bucket.options.bucket
        assert len(gateway.client().list_object_versions(Bucket=bucket)["Versions"]) == 1


# -- locks, asked of the server itself ----------------------------------------------------


@pytest.mark.parametrize("mode", list(LockMode))
def test_the_server_refuses_what_would_end_a_lock(gateway: Gateway, tmp_path: Path, mode: LockMode) -> None:
    target = locked_target(gateway, tmp_path, mode=mode)
    put(target, "a", b"content")
    target.extend_lock("a", now() + 30 * DAY)
    client, place = gateway.client(), {"Bucket": target.bucket.options.bucket, "Key": "a"}
    version = client.head_object(**place)["VersionId"]
    sooner = {"Mode": mode.upper(), "RetainUntilDate": now() + DAY}

    for ending in (
        lambda **how: client.delete_object(**place, VersionId=version, **how),
        lambda **how: client.put_object_retention(**place, Retention=sooner, **how),
    ):
        assert code_of(ending) == "AccessDenied"
        if mode is LockMode.COMPLIANCE:
            assert code_of(lambda end=ending: end(BypassGovernanceRetention=True)) == "AccessDenied"

    assert get(target, "a") == b"content"
    if mode is LockMode.GOVERNANCE:
        client.delete_object(**place, VersionId=version, BypassGovernanceRetention=True)
        assert names(target) == []


# -- credentials --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "code"),
    [({"secret": "CANARY-wrong"}, "SignatureDoesNotMatch"), ({"key": "CANARY-nobody"}, "InvalidAccessKeyId")],
)
def test_a_wrong_credential_is_called_that_whatever_is_asked(
    gateway: Gateway, tmp_path: Path, wrong: Mapping[str, str], code: str
) -> None:
    file = credentials_file(tmp_path / "wrong.aws", **wrong)
    target = bucket_of(gateway, tmp_path, credentials_file=file)

    for work in (lambda: put(target, "a", b"content"), lambda: target.stat("a"), lambda: names(target)):
        with pytest.raises(TargetError, match=code) as caught:
            work()
        assert not caught.value.transient
        assert "Renew its credentials" in caught.value.hint
        assert "CANARY" not in f"{caught.value.message}{caught.value.hint}"
