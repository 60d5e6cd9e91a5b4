"""The printed S3 policies are enough for each role, and each action in them is needed.

On moto, which enforces a user's actions and resources. It has no conditions, and knows none
of the actions of locks: see docs/how-to/grant-rights.md for what is not shown. It also wants an
action for HEAD on a bucket that AWS does not have; each test grants that besides.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from strongroom.container.errors import VerificationFailed
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import Depth
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.checks.probe import probe_rights
from strongroom.operations.engine.drive import drive
from strongroom.plugins.conformance.targets import MIB, SharedConformance, get, names, put
from strongroom.state.records import RunState
from strongroom.system.errors import TargetReadOnly
from strongroom.targets import ProbeResult, Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.resilient import Resilient
from strongroom.targets.s3 import LockMode, ObjectLock, S3Options, S3Target
from tests.live import shipped
from tests.live.ministack import MiniStack
from tests.live.moto import Moto
from tests.live.regions import credentials_file, s3_region
from tests.operations.world import made_up, make_world, names_on

REGION = "eu-central-1"
BIG = os.urandom(6 * MIB)
WRONG = BIG[:-1] + bytes([BIG[-1] ^ 1])
BIG_SHA256 = hashlib.sha256(BIG).digest()
HEAD_BUCKET = "s3:HeadBucket"

NOT_ENFORCED = frozenset(
    {
        "s3:PutObjectRetention",
        "s3:GetObjectRetention",
        "s3:GetObjectLegalHold",
        "s3:GetBucketObjectLockConfiguration",
        "s3:ListMultipartUploadParts",
    }
)
"""Actions of which taking one away changes nothing here: this server knows nothing of locks, and
dates every upload to 2010, so that none is young enough to be gone on with."""


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with Moto() as server:
        server.enforce(after="inf")
        yield server


class Account:
    """A bucket, and users whose policies are the shipped ones."""

    def __init__(self, moto: Moto, folder: Path) -> None:
        self._moto = moto
        self._folder = folder
        moto.enforce(after="inf")
        self.bucket = f"sr-{secrets.token_hex(6)}"
        client = moto.client("s3")
        client.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})

    def target(self, policy: str, *, lacks: str = "", name: str = "eu") -> S3Target:
        """Return the target as somebody who has a shipped policy, or all of it but one action."""
        self._moto.enforce(after="inf")
        document = shipped.without(shipped.shipped(policy, self.bucket), lacks)
        document["Statement"].append(
            {"Effect": "Allow", "Action": [HEAD_BUCKET], "Resource": f"arn:aws:s3:::{self.bucket}"}
        )
        user = self._moto.user(document)
        self._moto.enforce()
        file = credentials_file(
            self._folder / f"{secrets.token_hex(4)}.aws",
            key=user["AWS_ACCESS_KEY_ID"],
            secret=user["AWS_SECRET_ACCESS_KEY"],
        )
        options = S3Options(
            bucket=self.bucket,
            region=REGION,
            endpoint_url=self._moto.endpoint,
            credentials_file=file,
            max_attempts=1,
            part_bytes=5 * MIB,
        )
        return S3Target(options, name=name, region=name)


@pytest.fixture
def account(moto: Moto, tmp_path: Path) -> Account:
    return Account(moto, tmp_path)


# -- each policy is enough -------------------------------------------------------------


@pytest.mark.sampled(every=4)
class TestTheSuiteOfTargetsUnderTheControlPolicy(SharedConformance):
    page = 60  # to go on with a listing is the action that began it: test_s3 has whole pages

    @pytest.fixture
    def target(self, account: Account) -> Target:
        return account.target("control")


def uploads(target: Target) -> None:
    """Do all that a transfer worker does, an interrupted upload and a wrong one included."""

    def interrupted() -> Iterator[bytes]:
        yield BIG[: 5 * MIB + 1]
        raise TargetUnavailable("the stage did not answer")

    def put_big(chunks: Iterable[bytes], name: str = "containers/r/b") -> bool:
        return target.put(name, chunks, size=len(BIG), sha256=BIG_SHA256)

    _expect(TargetUnavailable, lambda: put_big(interrupted()))
    assert put_big([BIG]) is True
    target.abort_incomplete("")
    _expect(VerificationFailed, lambda: put_big([WRONG], "containers/r/wrong"))
    assert target.abort_incomplete("") == 0, "a wrong upload was left"
    assert put(target, "containers/r/a", b"content") is True
    _reads(target)


def sweeps(target: Target) -> None:
    """Do what a control worker does besides."""
    uploads(target)
    target.delete("containers/r/a")
    assert names(target) == ["containers/r/0", "containers/r/b"]
    _looks(target)
    _tells_what_is_hidden(target, "containers/r/a")


def prunes(target: Target) -> None:
    """Do what a prune worker does: write marks, delete, and remove what that hid; it puts nothing else."""

    def interrupted() -> Iterator[bytes]:
        yield BIG[: 5 * MIB + 1]
        raise TargetUnavailable("the stage did not answer")

    def put_big(name: str) -> bool:
        return target.put(name, interrupted(), size=len(BIG), sha256=BIG_SHA256)

    assert isinstance(target, S3Target)
    _expect(TargetReadOnly, lambda: put(target, "containers/r/new", b"content"))
    assert put(target, "deletion/r/00000001.json", b"content") is True
    _expect(TargetUnavailable, lambda: put_big("probes/big"))
    target.abort_incomplete("")
    _reads(target)
    _looks(target)
    _tells_what_is_hidden(target, "containers/r/hidden")
    target.delete("containers/r/0")
    assert target.purge("containers/r/") == 0
    assert target.time() > 0


def rotates(target: Target) -> None:
    """Do what a host that rotates does: put envelopes and new backups, and tell what old keys still open."""
    uploads(target)
    _tells_what_is_hidden(target, "containers/r/hidden")


def _tells_what_is_hidden(target: Target, name: str) -> None:
    [found] = [one for one in target.hidden("containers/r/") if one.name == name]
    assert (found.lock_known, found.rule_known) == (True, True)


def verifies(target: Target) -> None:
    """Do what a verify worker does with what lies there."""
    _reads(target)
    _looks(target)


def _reads(target: Target) -> None:
    assert get(target, names(target)[0]) == b"content"
    assert target.stat("never") is None


def _looks(target: Target) -> None:
    assert isinstance(target, S3Target)
    assert [check.what for check in target.settings() if check.outcome == "not shown"] == []


def _expect(kind: type[StrongroomError], work: Callable[[], object]) -> None:
    try:
        work()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


WORK: dict[str, Callable[[Target], None]] = {
    "transfer": uploads,
    "control": sweeps,
    "recover": rotates,
    "prune": prunes,
    "verify": verifies,
}


def _before(account: Account) -> None:
    """Put one object, and one that is hidden then."""
    control = account.target("control")
    put(control, "containers/r/0", b"content")
    put(control, "containers/r/hidden", b"content")
    control.delete("containers/r/hidden")


@pytest.mark.parametrize("policy", WORK)
def test_each_policy_is_enough_for_its_work(account: Account, policy: str) -> None:
    _before(account)

    WORK[policy](account.target(policy))


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(
    ("policy", "action"),
    [(policy, action) for policy in WORK for action in shipped.actions_of(shipped.shipped(policy, "b"))],
)
def test_without_any_one_of_its_actions_it_is_not(account: Account, policy: str, action: str) -> None:
    _before(account)
    missed = False
    try:
        WORK[policy](account.target(policy, lacks=action))
    except (StrongroomError, AssertionError):
        missed = True

    assert missed is (action not in NOT_ENFORCED)


# -- and grants nothing more -----------------------------------------------------------


@pytest.mark.parametrize("role", ["transfer", "control", "recover", "verify", "prune"])
def test_the_probe_finds_nothing_missing_and_nothing_too_many(account: Account, role: str) -> None:
    put(account.target("control"), "containers/r/0", b"content")

    probe = probe_rights(account.target(role), role=role)

    assert [check for check in probe.checks if check.failed] == []


def test_the_probe_finds_the_policy_of_another_role_too_much_or_too_little(account: Account) -> None:
    def failed(policy: str, role: str) -> set[tuple[str, str]]:
        probe = probe_rights(account.target(policy), role=role)
        return {(check.what, check.outcome.value) for check in probe.checks if check.failed}

    assert failed("control", "transfer") == {("delete", "too many")}
    assert failed("transfer", "verify") == {("put", "too many")}
    assert failed("transfer", "control") == {("delete an object", "missing")}
    assert failed("verify", "transfer") == {("put", "missing")}


@pytest.mark.parametrize("lacks", ["s3:ListBucketVersions", "s3:GetLifecycleConfiguration"])
def test_the_probe_names_what_a_report_of_old_versions_lacks(account: Account, lacks: str) -> None:
    target = account.target("recover", lacks=lacks)

    advice = [check.detail for check in probe_rights(target, role="recover").of(ProbeResult.ADVICE)]

    assert [lacks in detail for detail in advice] == [True]


@pytest.mark.parametrize("policy", ["transfer", "recover", "verify"])
def test_who_has_it_can_hide_or_destroy_nothing(account: Account, policy: str) -> None:
    put(account.target("control"), "containers/r/0", b"content")
    target = account.target(policy)

    with pytest.raises(TargetReadOnly):
        target.delete("containers/r/0")
    version = target.bucket.head("containers/r/0")
    assert version is not None
    with pytest.raises(TargetReadOnly):
        target.bucket.call(
            "delete_object", "destroy it", writing=True, Key="containers/r/0", VersionId=version.version
        )
    assert get(target, "containers/r/0") == b"content"


@pytest.mark.parametrize(
    ("lacks", "work"),
    [
        ("s3:PutObject", lambda target: put(target, "a", b"x")),
        ("s3:GetObject", lambda target: get(target, "containers/r/0")),
        ("s3:ListBucket", names),
        ("s3:DeleteObject", lambda target: target.delete("containers/r/0")),
        ("s3:ListBucketMultipartUploads", lambda target: target.abort_incomplete("")),
    ],
)
def test_a_right_that_is_missing_is_named(
    account: Account, lacks: str, work: Callable[[Target], object]
) -> None:
    put(account.target("control"), "containers/r/0", b"content")

    with pytest.raises(StrongroomError, match=f"it needs {lacks}"):
        work(account.target("control", lacks=lacks))


def test_a_key_that_nobody_has_is_called_that_and_no_missing_right(account: Account, tmp_path: Path) -> None:
    """To HEAD, which comes first, a server says 403 and not why."""
    right = account.target("transfer").bucket.options
    unknown = credentials_file(tmp_path / "unknown.aws", key="AKIANOBODYHASTHIS000")
    target = S3Target(structs.replace(right, credentials_file=unknown), name="eu")

    for work in (lambda: put(target, "a", b"content"), lambda: target.stat("a"), lambda: names(target)):
        with pytest.raises(TargetError, match="InvalidAccessKeyId") as caught:
            work()
        assert "Renew its credentials" in caught.value.hint


def test_a_policy_is_for_one_bucket_only(account: Account, moto: Moto, tmp_path: Path) -> None:
    other = Account(moto, tmp_path)
    foreign = other.target("control")
    target = S3Target(
        S3Options(
            bucket=account.bucket,
            region=REGION,
            endpoint_url=moto.endpoint,
            credentials_file=foreign.bucket.options.credentials_file,
            max_attempts=1,
        ),
        name="foreign",
    )

    for call in (lambda: put(target, "a", b"x"), lambda: names(target)):
        with pytest.raises(StrongroomError):
            call()


# -- a whole backup under them ---------------------------------------------------------


def test_a_backup_is_made_verified_and_repaired_under_the_policies(moto: Moto, tmp_path: Path) -> None:
    accounts = {name: Account(moto, tmp_path) for name in ("eu", "us", "ap")}

    def targets(policy: str) -> dict[str, Target]:
        return {name: Resilient(found.target(policy, name=name)) for name, found in accounts.items()}

    world = make_world(tmp_path, secrets=made_up(6), pieces=1).with_targets(targets("control"))
    run = world.back_up(world.services(targets=targets("transfer")))
    assert run.state is RunState.DONE, run.error

    _damage(moto, accounts["us"].bucket, run.id)
    repairing = world.services(targets=targets("transfer"))
    ended, tickets = submit_repair(repairing, backup=run.id)
    repaired = drive(ended, tickets, repairing, processes=1)
    assert repaired.state is RunState.DONE, repaired.error
    verifying = world.services(targets=targets("verify"))
    ended, tickets = submit_verify(verifying, backup=run.id, depth=Depth.COMPARED)
    verified = drive(ended, tickets, verifying, processes=1)
    assert verified.state is RunState.DONE, verified.error
    assert any(name.endswith(".r1") for name in names_on(verifying.target("us")))


def _damage(moto: Moto, bucket: str, backup: str) -> None:
    moto.enforce(after="inf")
    client = moto.client("s3")
    [found] = client.list_objects_v2(Bucket=bucket, Prefix=f"containers/{backup}/")["Contents"]
    client.put_object(Bucket=bucket, Key=found["Key"], Body=b"CANARY-damaged")
    moto.enforce()


# -- the bucket's settings, and what all files have in common ---------------------------


def test_the_bucket_s_settings_are_taken_as_they_are_shipped_and_a_locked_backup_fits_them(
    ministack: MiniStack, tmp_path: Path
) -> None:
    lock = ObjectLock(mode=LockMode.COMPLIANCE, days=1)
    region = s3_region(
        ministack, tmp_path, name="eu", locking=True, lock=lock, sse="aws:kms", kms_key_id=shipped.KEY
    )
    target = region.make(region.url)
    assert isinstance(target, S3Target)
    bucket, client = target.bucket.options.bucket, ministack.client()

    shipped.apply_settings(client, bucket)

    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    kept = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert {rule["ID"] for rule in kept} == {
        rule["ID"] for rule in shipped.setting("lifecycle", bucket)["Rules"]
    }
    rules = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == shipped.KEY
    assert put(target, "a", b"content") is True
    assert target.locked_until("a") is not None
    assert [check for check in target.settings() if check.failed] == []


PRUNE = "prune"
"""Its workers delete by themselves what was marked long enough ago, versions too; a lock stops them."""


def test_what_destroys_is_only_in_policies_that_demand_a_second_factor_and_in_that_of_prune_workers() -> None:
    destroys = {"s3:DeleteObjectVersion", "s3:BypassGovernanceRetention", "s3:PutObjectLegalHold"}
    for name in shipped.ROLES:
        allowed = {"s3:DeleteObjectVersion"} if name == PRUNE else set[str]()
        for statement in shipped.shipped(name, "b")["Statement"]:
            if statement["Effect"] == "Allow" and (destroys - allowed) & set(statement["Action"]):
                assert statement["Condition"]["Bool"]["aws:MultiFactorAuthPresent"] == "true", name


def test_who_restores_or_deletes_needs_a_second_factor_for_all_of_it() -> None:
    for name in ("read-backups", "retention"):
        for statement in shipped.shipped(name, "b")["Statement"]:
            assert statement["Condition"]["Bool"]["aws:MultiFactorAuthPresent"] == "true"


def test_no_shipped_policy_grants_more_than_single_named_actions_on_the_bucket() -> None:
    for name in shipped.ROLES:
        for statement in shipped.shipped(name, "bucket")["Statement"]:
            if statement["Effect"] == "Allow":
                assert not any("*" in action for action in statement["Action"]), name
                if name == PRUNE and len(statement["Resource"]) > 1:  # certain folders alone
                    assert all(re.fullmatch(FOLDER, place) for place in statement["Resource"])
                    continue
                assert statement["Resource"] in (["arn:aws:s3:::bucket"], ["arn:aws:s3:::bucket/*"])


FOLDER = r"arn:aws:s3:::bucket/(manifests|containers|keys|index|emergency|deletion|probes)/\*"
