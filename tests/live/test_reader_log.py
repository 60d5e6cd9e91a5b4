"""Where a bucket's readers are written down, as the server itself says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.operations.archive.cases import Suspicion
from strongroom.operations.procedures.incident_opening import find_readers, open_case
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.resilient import Resilient
from tests.live.moto import Moto
from tests.live.test_hidden import Bucket
from tests.operations.world import made_up, make_world


@pytest.fixture
def bucket(moto: Moto, tmp_path: Path) -> Bucket:
    return Bucket(moto, tmp_path)


def log_into(bucket: Bucket, name: str) -> None:
    """Have the server log a bucket's readers, as its owner does."""
    where = {"LocationConstraint": "eu-central-1"}
    bucket.client.create_bucket(Bucket=name, CreateBucketConfiguration=where)
    policy = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/s3/LogDelivery"}
    owner = bucket.client.get_bucket_acl(Bucket=name)["Owner"]
    grants = [{"Grantee": policy, "Permission": one} for one in ("WRITE", "READ_ACP")]
    bucket.client.put_bucket_acl(Bucket=name, AccessControlPolicy={"Grants": grants, "Owner": owner})
    enabled = {"LoggingEnabled": {"TargetBucket": name, "TargetPrefix": "readers/"}}
    bucket.client.put_bucket_logging(Bucket=bucket.name, BucketLoggingStatus=enabled)


def test_a_bucket_says_where_its_readers_are_logged_and_that_they_are_not(bucket: Bucket) -> None:
    target = Resilient(bucket.target)
    assert target.reader_log() == ""
    log_into(bucket, f"{bucket.name}-log")
    assert target.reader_log() == f"s3://{bucket.name}-log/readers/"
    assert MemoryTarget(name="memory", region="memory").reader_log() is None


def test_an_incident_names_that_log(bucket: Bucket, tmp_path: Path) -> None:
    world = make_world(tmp_path, secrets=made_up(1), pieces=1)
    backup = world.back_up().id
    services = world.services(targets={**world.targets, "bucket": Resilient(bucket.target)})
    suspicion = Suspicion(backups=(backup,))
    incident = open_case(services, suspicion, by="ops@here", reason="copied").incident
    log_into(bucket, f"{bucket.name}-log")
    said = find_readers(services, incident).left
    assert any(
        f"wrote down in s3://{bucket.name}-log/readers/ who read s3://{bucket.name}" in one for one in said
    )
