"""Probing live targets: what S3 with Object Lock and Azure refuse, and what they do not.

MiniStack has no IAM: whoever asks may bypass governance and remove versions, and the probe
has to say so. What a shipped policy takes away is shown in ``test_policies.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient, generate_container_sas

from strongroom.operations.checks.probe import Probe, probe_rights, probe_storage
from strongroom.targets import ProbeResult, Target
from strongroom.targets.azure import AzureAccount, AzureTarget, BlobLock
from strongroom.targets.probing import UNUSED_LOCK
from strongroom.targets.s3 import LockMode, S3Target
from strongroom.targets.s3 import ObjectLock as S3Lock
from tests.live.azurite import ACCOUNT, Azurite
from tests.live.ministack import MiniStack
from tests.live.proxy import Answer, FaultyProxy, method
from tests.live.regions import Region, azure_region, s3_region
from tests.operations.world import names_on


def by_outcome(probe: Probe, outcome: ProbeResult) -> set[str]:
    return {check.what for check in probe.checks if check.outcome is outcome}


def failed(probe: Probe) -> set[str]:
    return {check.what for check in probe.checks if check.failed}


def locked_region(server: MiniStack, folder: Path, mode: LockMode, *, locking: bool = True) -> Region:
    return s3_region(server, folder, name="eu", locking=locking, lock=S3Lock(mode=mode, days=1))


# -- S3 ----------------------------------------------------------------------------------


def test_a_plain_bucket_works_refuses_an_overwrite_and_could_be_safer(
    ministack: MiniStack, tmp_path: Path
) -> None:
    target = s3_region(ministack, tmp_path, name="eu").target()

    probe = probe_storage(target)

    assert failed(probe) == set()
    assert "write over an object" in by_outcome(probe, ProbeResult.FINE)
    assert by_outcome(probe, ProbeResult.ADVICE) == {
        "the bucket keeps versions",
        "the bucket has Object Lock",
    }
    assert names_on(target) == []


@pytest.mark.parametrize("mode", list(LockMode))
def test_a_locked_bucket_refuses_to_shorten_a_lock_and_to_remove_what_it_holds(
    ministack: MiniStack, tmp_path: Path, mode: LockMode
) -> None:
    target = locked_region(ministack, tmp_path, mode).target()

    probe = probe_storage(target)

    assert failed(probe) == set()
    assert by_outcome(probe, ProbeResult.FINE) >= {
        "write over an object",
        "shorten a lock",
        "remove a locked version",
        "delete a locked object",
        "the bucket keeps versions",
        "the bucket has Object Lock",
    }
    [left] = names_on(target)
    assert left.startswith("probes/")


def test_a_bucket_that_would_lock_and_is_not_asked_to_is_told(ministack: MiniStack, tmp_path: Path) -> None:
    target = s3_region(ministack, tmp_path, name="eu", locking=True).target()

    [locks] = [one for one in probe_storage(target).checks if one.what == "the bucket has Object Lock"]

    assert (locks.outcome, locks.detail) == (ProbeResult.ADVICE, UNUSED_LOCK)


def test_a_credential_that_may_bypass_governance_is_too_much(ministack: MiniStack, tmp_path: Path) -> None:
    probe = probe_rights(locked_region(ministack, tmp_path, LockMode.GOVERNANCE).target(), role="transfer")

    assert by_outcome(probe, ProbeResult.EXCESS) >= {"shorten a lock with s3:BypassGovernanceRetention"}


def test_nobody_can_bypass_compliance(ministack: MiniStack, tmp_path: Path) -> None:
    probe = probe_rights(locked_region(ministack, tmp_path, LockMode.COMPLIANCE).target(), role="transfer")

    assert failed(probe) == set()
    assert by_outcome(probe, ProbeResult.NOT_SHOWN) == {"change the bucket itself"}


def test_who_may_remove_a_version_of_an_unlocked_bucket_can_do_too_much(
    ministack: MiniStack, tmp_path: Path
) -> None:
    region = s3_region(ministack, tmp_path, name="eu")
    target = region.make(region.url)
    assert isinstance(target, S3Target)
    ministack.client().put_bucket_versioning(
        Bucket=target.bucket.options.bucket, VersioningConfiguration={"Status": "Enabled"}
    )

    probe = probe_rights(target, role="operator")

    assert failed(probe) == {"remove a version for good (s3:DeleteObjectVersion)"}


def test_a_server_that_ignores_the_condition_of_a_put_is_found(ministack: MiniStack, tmp_path: Path) -> None:
    """As Ceph's gateway does in buckets that keep versions."""
    region = s3_region(ministack, tmp_path, name="eu")
    with FaultyProxy(region.port) as proxy:
        target = region.target(proxy.url)
        proxy.fail(Answer(200, {"ETag": '"0"'}), when=lambda one: one.method == "PUT" and not one.body)

        assert failed(probe_storage(target)) == {"write over an object"}


def test_what_a_credential_may_not_look_at_is_not_shown(ministack: MiniStack, tmp_path: Path) -> None:
    region = s3_region(ministack, tmp_path, name="eu")
    with FaultyProxy(region.port) as proxy:
        for query in ("versioning", "object-lock"):
            proxy.fail(Answer(403), when=method("GET", query=query), times=None)

        probe = probe_storage(region.target(proxy.url))

        assert failed(probe) == set()
        assert by_outcome(probe, ProbeResult.NOT_SHOWN) == {
            "the bucket keeps versions",
            "the bucket has Object Lock",
        }


def test_a_bucket_that_is_not_there_is_said_at_once(ministack: MiniStack, tmp_path: Path) -> None:
    region = s3_region(ministack, tmp_path, name="eu")
    target = region.make(region.url)
    assert isinstance(target, S3Target)
    ministack.client().delete_bucket(Bucket=target.bucket.options.bucket)

    [check] = probe_storage(target).checks
    assert (check.what, check.outcome) == ("write an object", ProbeResult.MISSING)


# -- Azure -------------------------------------------------------------------------------


@pytest.fixture
def container(azurite: Azurite) -> Iterator[str]:
    name = f"probe-{datetime.now(UTC):%H%M%S%f}"
    with ContainerClient.from_connection_string(azurite.connection_string(), name) as client:
        client.create_container()
        yield name
        client.delete_container()


@pytest.fixture
def place(azurite: Azurite, container: str, tmp_path: Path) -> tuple[Azurite, str, Path]:
    return azurite, container, tmp_path


def azure_target(
    azurite: Azurite, container: str, folder: Path, *, rights: str, lock: BlobLock | None = None
) -> Target:
    token = generate_container_sas(
        ACCOUNT,
        container,
        account_key=azurite.key,
        permission=rights,
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    file = azurite.key_file(folder / f"{rights}.sas", token)
    account = AzureAccount(url=azurite.account_url, container=container, credential_file=file, retries=0)
    return AzureTarget(account, name="azure", region="westeurope", lock=lock)


def test_an_azure_container_works_and_refuses_an_overwrite(azurite: Azurite, tmp_path: Path) -> None:
    target = azure_region(azurite, tmp_path, name="azure").target()

    probe = probe_storage(target)

    assert failed(probe) == set()
    assert "write over an object" in by_outcome(probe, ProbeResult.FINE)
    assert names_on(target) == []


def test_a_container_that_cannot_lock_lacks_that_for_a_target_that_locks(
    azurite: Azurite, container: str, tmp_path: Path
) -> None:
    probe = probe_storage(azure_target(azurite, container, tmp_path, rights="rcwdl", lock=BlobLock(days=1)))

    assert failed(probe) == {"write an object"}


def test_an_account_key_is_too_much(azurite: Azurite, tmp_path: Path) -> None:
    probe = probe_rights(azure_region(azurite, tmp_path, name="azure").target(), role="operator")

    assert failed(probe) == {"rights of the credential"}


@pytest.mark.parametrize(
    ("rights", "role", "expected"),
    [
        ("rcwl", "transfer", set()),
        ("rcwdl", "operator", set()),
        ("rcwdl", "transfer", {"delete"}),
        ("rl", "verify", set()),
        ("rcwl", "verify", {"put"}),
        ("rl", "transfer", {"put"}),
        ("cl", "transfer", {"put"}),
        ("rcwdxl", "operator", {"rights of the credential"}),
    ],
)
def test_the_rights_of_a_token_are_compared_with_a_role_s_needs(
    place: tuple[Azurite, str, Path], rights: str, role: str, expected: set[str]
) -> None:
    target = azure_target(*place, rights=rights)

    assert failed(probe_rights(target, role=role)) == expected
