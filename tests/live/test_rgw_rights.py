"""The shipped policies of users and of the bucket, on Ceph's gateway, which knows those of locks too."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from msgspec import structs

from strongroom.errors import StrongroomError
from strongroom.plugins.conformance.targets import put
from strongroom.system.errors import TargetReadOnly
from strongroom.targets.s3 import LockMode, S3Target
from strongroom.targets.s3.bucket import FOREVER
from tests.live import shipped, test_policies
from tests.live.ministack import CREDENTIALS
from tests.live.regions import credentials_file
from tests.live.rgw import Gateway
from tests.live.rgw_parts import code_of, repeated
from tests.live.test_s3_locks import DAY, locked_target, now

pytestmark = pytest.mark.long


class Users:
    """The gateway as the suite of policies asks for it: rights are always enforced here."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.endpoint = gateway.endpoint

    def enforce(self, *, after: str = "0") -> None:
        pass

    def client(self, service: str) -> Any:
        assert service == "s3"
        return self._gateway.client()

    def user(self, policy: Mapping[str, Any]) -> dict[str, str]:
        """Make a user with a policy; without the action that only moto knows."""
        kept = [one for one in policy["Statement"] if test_policies.HEAD_BUCKET not in one["Action"]]
        name, made = self._gateway.new_user()
        iam = boto3.client("iam", region_name="us-east-1", endpoint_url=self.endpoint, **CREDENTIALS)
        document = json.dumps({**policy, "Statement": kept})
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document)
        return {name.upper(): value for name, value in made.items()}


@repeated(
    test_policies,
    "test_each_policy_is_enough_for_its_work",
    "test_the_probe_finds_nothing_missing_and_nothing_too_many",
    "test_the_probe_finds_the_policy_of_another_role_too_much_or_too_little",
    "test_who_has_it_can_hide_or_destroy_nothing",
    "test_a_right_that_is_missing_is_named",
    "test_a_key_that_nobody_has_is_called_that_and_no_missing_right",
    "test_a_policy_is_for_one_bucket_only",
    "test_a_backup_is_made_verified_and_repaired_under_the_policies",
    "test_without_any_one_of_its_actions_it_is_not",
)
class TestPolicies:
    """The shipped policies of users."""

    @pytest.fixture
    def moto(self, gateway: Gateway) -> Users:
        return Users(gateway)

    @pytest.fixture
    def account(self, moto: Users, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> test_policies.Account:
        not_enforced = test_policies.NOT_ENFORCED - {"s3:GetBucketObjectLockConfiguration"}
        monkeypatch.setattr(test_policies, "NOT_ENFORCED", not_enforced)
        return test_policies.Account(moto, tmp_path)


def locked_as(gateway: Gateway, folder: Path, *, lacks: str = "", **how: Any) -> S3Target:
    """Return a bucket with locks as who has the shipped policy for uploads, or all but one action."""
    owned = locked_target(gateway, folder, **how)
    bucket = owned.bucket.options.bucket
    policy = shipped.without(shipped.shipped("transfer", bucket), lacks)
    user = Users(gateway).user(policy)
    file = credentials_file(
        folder / "user.aws", key=user["AWS_ACCESS_KEY_ID"], secret=user["AWS_SECRET_ACCESS_KEY"]
    )
    return S3Target(structs.replace(owned.bucket.options, credentials_file=file), name="eu")


def locks_and_extends(target: S3Target) -> None:
    put(target, "a", b"content")
    assert target.extend_lock("a", now() + 30 * DAY) >= now() + 29 * DAY


def extends(target: S3Target) -> None:
    assert target.extend_lock("b", now() + 30 * DAY) >= now() + 29 * DAY


def sees_the_hold(target: S3Target) -> None:
    assert target.locked_until("c") == FOREVER


def test_the_policy_for_uploads_is_enough_to_lock_what_it_put(gateway: Gateway, tmp_path: Path) -> None:
    locks_and_extends(locked_as(gateway, tmp_path))


@pytest.mark.parametrize(
    ("lacks", "work"),
    [
        ("s3:PutObjectRetention", extends),
        ("s3:GetObjectRetention", extends),
        ("s3:GetObjectLegalHold", sees_the_hold),
    ],
)
def test_each_action_of_locks_is_enough_and_needed_for_what_another_user_put(
    gateway: Gateway, tmp_path: Path, lacks: str, work: Callable[[S3Target], None]
) -> None:
    for folder, lacking in ((tmp_path / "whole", ""), (tmp_path / "less", lacks)):
        folder.mkdir()
        target = locked_as(gateway, folder, lacks=lacking)
        bucket = target.bucket.options.bucket
        lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": now() + DAY}
        gateway.client().put_object(Bucket=bucket, Key="b", Body=b"content", **lock)
        gateway.client().put_object(Bucket=bucket, Key="c", Body=b"x", ObjectLockLegalHoldStatus="ON")

        if not lacking:
            work(target)
            continue
        with pytest.raises((StrongroomError, AssertionError)):
            work(target)


def end_lock(target: S3Target, *, bypass: bool) -> None:
    """Lock an object until tomorrow that was locked for a month."""
    found = target.bucket.head("a")
    assert found is not None
    sooner = {"Mode": found.mode, "RetainUntilDate": now() + DAY}
    target.bucket.call(
        "put_object_retention",
        "end its lock",
        writing=True,
        Key="a",
        Retention=sooner,
        BypassGovernanceRetention=bypass,
    )


def test_who_uploads_cannot_end_a_lock_of_compliance(gateway: Gateway, tmp_path: Path) -> None:
    target = locked_as(gateway, tmp_path, mode=LockMode.COMPLIANCE)
    locks_and_extends(target)

    for bypass in (False, True):
        with pytest.raises(TargetReadOnly):
            end_lock(target, bypass=bypass)


def test_who_uploads_can_end_a_lock_of_governance_until_the_bucket_s_policy_forbids_it(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Here an object is its uploader's, and its owner may do everything that no policy denies. The probe
    says so."""
    target = locked_as(gateway, tmp_path)
    locks_and_extends(target)
    with pytest.raises(TargetReadOnly):
        end_lock(target, bypass=False)
    excess = {check.what for check in target.excess("a") if check.failed}
    assert excess == {"shorten a lock with s3:BypassGovernanceRetention"}
    target.extend_lock("a", now() + 30 * DAY)

    guard(gateway, target.bucket.options.bucket)

    assert [check for check in target.excess("a") if check.failed] == []
    with pytest.raises(TargetReadOnly):
        end_lock(target, bypass=True)


UNKNOWN = ("s3:PutEncryptionConfiguration", "s3:PutBucketOwnershipControls")
"""Actions in the bucket's shipped policy that this gateway does not know, and refuses the policy for."""


def guard(gateway: Gateway, bucket: str) -> None:
    """Put a bucket under as much of the shipped policy as the gateway takes."""
    policy = shipped.setting("policy", bucket)
    for statement in policy["Statement"]:
        if isinstance(statement["Action"], list):
            statement["Action"] = [one for one in statement["Action"] if one not in UNKNOWN]
    gateway.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def test_under_the_bucket_s_policy_its_owner_destroys_nothing_without_a_second_factor(
    gateway: Gateway,
) -> None:
    client = gateway.client()
    guarded = gateway.make_bucket(f"sr-{secrets.token_hex(6)}", locking=True)
    client.put_object(Bucket=guarded, Key="a", Body=b"content")
    guard(gateway, guarded)
    version = client.head_object(Bucket=guarded, Key="a")["VersionId"]
    suspended = {"Bucket": guarded, "VersioningConfiguration": {"Status": "Suspended"}}
    tried = {
        "version": lambda: client.delete_object(Bucket=guarded, Key="a", VersionId=version),
        "versioning": lambda: client.put_bucket_versioning(**suspended),
        "policy": lambda: client.delete_bucket_policy(Bucket=guarded),
        "lifecycle": lambda: client.put_bucket_lifecycle_configuration(
            Bucket=guarded, LifecycleConfiguration=shipped.setting("lifecycle", guarded)
        ),
        "bucket": lambda: client.delete_bucket(Bucket=guarded),
    }

    assert {what: code_of(call) for what, call in tried.items()} == dict.fromkeys(tried, "AccessDenied")
    assert client.get_object(Bucket=guarded, Key="a")["Body"].read() == b"content"
