"""The Azure target meets the contract on a live server, and what only that store does."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient, generate_container_sas

from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, TargetError
from strongroom.plugins.conformance.targets import MIB, SharedConformance, get, killed_putter, names, put
from strongroom.system.errors import TargetReadOnly
from strongroom.targets.azure import AzureAccount, AzureTarget, BlobLock
from strongroom.targets.errors import TargetUnavailable
from tests.live.azurite import ACCOUNT, Azurite


def container_client(azurite: Azurite, container: str) -> ContainerClient:
    return ContainerClient.from_connection_string(azurite.connection_string(), container)


@pytest.fixture
def container(azurite: Azurite) -> Iterator[str]:
    """An empty container of the test's own."""
    name = f"test-{uuid.uuid4().hex}"
    with container_client(azurite, name) as client:
        client.create_container()
        yield name
        client.delete_container()


@pytest.fixture
def account(azurite: Azurite, container: str, tmp_path: Path) -> AzureAccount:
    key = azurite.key_file(tmp_path / "azure.key")
    return AzureAccount(url=azurite.account_url, container=container, credential_file=key, retries=0)


@pytest.fixture
def target(account: AzureAccount) -> Iterator[AzureTarget]:
    made = make(account)
    yield made
    made.close()


def make(account: AzureAccount, **options: Any) -> AzureTarget:
    return AzureTarget(account, name="azure-a", region="westeurope", **options)


def staged(azurite: Azurite, container: str) -> list[str]:
    """The names of blobs that have staged blocks and were never committed."""
    with container_client(azurite, container) as client:
        listed = {blob.name for blob in client.list_blobs(include=["uncommittedblobs"])}
        return sorted(listed - {blob.name for blob in client.list_blobs()})


class TestAzure(SharedConformance):
    page = 60  # Azurite's page has 5,000, which is none to fill again and again

    @pytest.fixture
    def target(self, account: AzureAccount) -> Iterator[AzureTarget]:
        made = make(account)
        yield made
        made.close()


@pytest.mark.sampled(every=4)
class TestAzureInSmallBlocks(SharedConformance):
    """The same with objects cut into many blocks, under a prefix, by a connection string."""

    page = 60

    @pytest.fixture
    def target(self, azurite: Azurite, container: str, tmp_path: Path) -> Iterator[AzureTarget]:
        file = azurite.key_file(tmp_path / "azure.cs", azurite.connection_string())
        account = AzureAccount(url=azurite.account_url, container=container, credential_file=file, retries=0)
        made = make(account, prefix="backups/prod", block_bytes=700 * 1024)
        yield made
        made.close()


# -- staging -----------------------------------------------------------------


def test_a_killed_put_leaves_staged_blocks_that_a_sweep_drops(
    target: AzureTarget, account: AzureAccount, azurite: Azurite, container: str
) -> None:
    small = make(account, block_bytes=MIB)
    with killed_putter(small, "containers/r/a", sent=3 * MIB):
        assert staged(azurite, container) == ["containers/r/a"]

    assert target.abort_incomplete("containers/other/") == 0
    assert target.abort_incomplete("containers/r/") == 1
    assert staged(azurite, container) == []


def test_a_sweep_never_drops_a_blob_that_was_committed_after_all(target: AzureTarget) -> None:
    put(target, "containers/r/empty", b"")

    assert target.abort_incomplete("") == 0
    assert get(target, "containers/r/empty") == b""


def test_of_two_writers_in_blocks_the_second_learns_that_it_came_second(account: AzureAccount) -> None:
    first, second = make(account, block_bytes=MIB), make(account, block_bytes=MIB)
    mine, theirs = bytes(3 * MIB), bytes([1]) * (3 * MIB)

    def while_writing() -> Iterator[bytes]:
        yield mine[: 2 * MIB]
        assert put(second, "a", theirs) is True
        yield mine[2 * MIB :]

    created = first.put("a", while_writing(), size=len(mine), sha256=hashlib.sha256(mine).digest())

    assert created is False
    assert get(first, "a") == theirs
    first.close()
    second.close()


def test_two_prefixes_in_one_container_do_not_see_each_other(account: AzureAccount) -> None:
    one, two = make(account, prefix="one"), make(account, prefix="one/two/")
    put(one, "a", b"1")
    put(two, "a", b"22")

    assert names(two) == ["a"]
    assert get(one, "two/a") == b"22"
    assert names(one) == ["a", "two/a"]
    assert (one.address, two.address) == (
        f"{account.url}/{account.container}/one",
        f"{account.url}/{account.container}/one/two",
    )
    one.close()
    two.close()


def test_blobs_of_foreign_names_are_passed_over(
    target: AzureTarget, azurite: Azurite, container: str
) -> None:
    with container_client(azurite, container) as client:
        client.upload_blob("not ours/ü", b"x")
        client.upload_blob(".hidden", b"x")
    put(target, "a", b"x")

    assert names(target) == ["a"]


# -- credentials and rights --------------------------------------------------


def sas(azurite: Azurite, container: str, permissions: str, *, hours: float = 1) -> str:
    return generate_container_sas(
        ACCOUNT,
        container,
        account_key=azurite.key,
        permission=permissions,
        expiry=datetime.now(UTC) + timedelta(hours=hours),
    )


def with_credential(azurite: Azurite, account: AzureAccount, content: str) -> AzureTarget:
    assert account.credential_file is not None
    azurite.key_file(account.credential_file, content)
    return make(account)


def test_a_sas_token_with_the_rights_that_are_listed_in_the_docs_is_enough(
    azurite: Azurite, account: AzureAccount
) -> None:
    target = with_credential(azurite, account, sas(azurite, account.container, "rcwdl"))

    assert put(target, "a", b"content") is True
    assert get(target, "a") == b"content"
    assert names(target) == ["a"]
    target.delete("a")
    assert target.abort_incomplete("") == 0
    target.close()


def test_a_token_that_may_only_read_makes_the_target_read_only(
    target: AzureTarget, azurite: Azurite, account: AzureAccount
) -> None:
    put(target, "a", b"content")
    reader = with_credential(azurite, account, sas(azurite, account.container, "rl"))

    assert get(reader, "a") == b"content"
    with pytest.raises(TargetReadOnly):
        put(reader, "b", b"content")
    with pytest.raises(TargetReadOnly):
        reader.delete("a")
    assert names(reader) == ["a"]
    reader.close()


def test_an_expired_token_and_a_wrong_key_are_refused_for_good(
    azurite: Azurite, account: AzureAccount
) -> None:
    for content in (sas(azurite, account.container, "rcwdl", hours=-1), "QUJDREVGR0hJSktMTU5PUA=="):
        target = with_credential(azurite, account, content)
        with pytest.raises(TargetError) as caught:
            target.stat("a")
        assert not caught.value.transient
        target.close()


def test_a_token_that_a_clock_ten_minutes_ahead_has_signed_is_refused_and_the_clock_named(
    azurite: Azurite, account: AzureAccount
) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=10)
    token = generate_container_sas(
        ACCOUNT,
        account.container,
        account_key=azurite.key,
        permission="rcwdl",
        start=ahead,
        expiry=ahead + timedelta(hours=1),
    )
    target = with_credential(azurite, account, token)

    with pytest.raises(TargetError) as caught:
        put(target, "a", b"content")

    assert not caught.value.transient
    assert "clock" in caught.value.hint
    target.close()


def test_a_renewed_credential_file_is_read_after_a_refusal(azurite: Azurite, account: AzureAccount) -> None:
    target = with_credential(azurite, account, sas(azurite, account.container, "rcwdl", hours=-1))
    with pytest.raises(TargetError):
        target.stat("a")
    assert account.credential_file is not None
    azurite.key_file(account.credential_file)

    assert target.stat("a") is None
    target.close()


def test_no_error_quotes_a_token(
    azurite: Azurite, account: AzureAccount, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = sas(azurite, account.container, "rl")
    reader = with_credential(azurite, account, token)
    gone = AzureTarget(
        AzureAccount(
            url="http://127.0.0.1:9/strongroomtest",
            container="gone",
            credential_file=account.credential_file,
            retries=0,
        ),
        name="gone",
        region="nowhere",
    )
    signature = token.partition("sig=")[2][:20]
    for call in (lambda: put(reader, "a", b"x"), lambda: gone.stat("a"), lambda: list(gone.list())):
        with pytest.raises(TargetError) as caught:
            call()
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
        assert signature not in str(caught.value)
    assert signature not in caplog.text
    reader.close()
    gone.close()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "two words of nonsense",
        "DefaultEndpointsProtocol=https;AccountName=other;AccountKey=QUJDRA==;EndpointSuffix=core.windows.net",
        f"AccountName={ACCOUNT};BlobEndpoint=https://elsewhere.example/;AccountKey=CANARYCANARYCANARY==",
    ],
)
def test_a_credential_file_of_another_kind_or_account_is_refused(
    azurite: Azurite, account: AzureAccount, content: str
) -> None:
    target = with_credential(azurite, account, content)

    with pytest.raises(ConfigError) as caught:
        target.stat("a")
    assert "CANARY" not in str(caught.value)


def test_a_credential_file_that_others_may_read_is_refused(account: AzureAccount) -> None:
    assert account.credential_file is not None
    account.credential_file.chmod(0o644)

    with pytest.raises(ConfigError, match="others may use"):
        make(account).stat("a")


def test_without_a_credential_file_and_azure_identity_it_says_what_to_do(account: AzureAccount) -> None:
    target = make(AzureAccount(url=account.url, container=account.container))

    with pytest.raises(ConfigError, match="azure-identity"):
        target.stat("a")


def test_a_container_that_is_not_there_is_never_made(account: AzureAccount) -> None:
    target = make(
        AzureAccount(url=account.url, container="never-made", credential_file=account.credential_file)
    )

    for call in (lambda: put(target, "a", b"x"), lambda: list(target.list()), lambda: target.stat("a")):
        with pytest.raises(TargetError, match="does not exist") as caught:
            call()
        assert not caught.value.transient
    target.close()


# -- addresses ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://Acct.blob.core.windows.net", "https://acct.blob.core.windows.net/c-1"),
        ("https://acct.blob.core.windows.net:443/", "https://acct.blob.core.windows.net/c-1"),
        ("https://acct.blob.core.windows.net:8443", "https://acct.blob.core.windows.net:8443/c-1"),
        ("http://[::1]:10000/acct/", "http://[::1]:10000/acct/c-1"),
        ("http://localhost:80/acct", "http://localhost/acct/c-1"),
    ],
)
def test_an_address_is_written_in_one_way(url: str, address: str) -> None:
    assert make(AzureAccount(url=url, container="c-1")).address == address


@pytest.mark.parametrize(
    "url",
    [
        "http://acct.blob.core.windows.net",
        "https://",
        "acct.blob.core.windows.net",
        "https://acct.blob.core.windows.net/?sv=1&sig=CANARY",
        "https://user:CANARY@acct.blob.core.windows.net",
        "https://acct:port",
        "ftp://acct",
    ],
)
def test_an_address_that_is_none_or_would_leak_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(AzureAccount(url=url, container="c-1"))
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["../up", "a//b", ".hidden", "a b"])
def test_a_prefix_that_no_name_can_have_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError):
        make(AzureAccount(url="https://acct.blob.core.windows.net", container="c-1"), prefix=prefix)


# -- locks: the emulator has none, and that is what is shown here ------------


def test_where_the_account_cannot_lock_a_target_with_a_lock_refuses_to_put(account: AzureAccount) -> None:
    target = make(account, lock=BlobLock(days=1))

    assert target.can_lock() is False
    with pytest.raises(TargetError, match="cannot lock"):
        put(target, "a", b"content")
    assert names(target) == []
    target.close()


def test_extending_a_lock_there_is_an_error_and_not_a_silence(target: AzureTarget) -> None:
    put(target, "a", b"content")

    assert target.locked_until("a") is None
    with pytest.raises(TargetError, match="cannot do that"):
        target.extend_lock("a", datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(MissingPiece):
        target.extend_lock("never", datetime.now(UTC) + timedelta(days=1))


def test_a_cap_bounds_every_lock() -> None:
    lock = BlobLock(days=7, most_days=30)
    assert lock.capped(datetime.now(UTC) + timedelta(days=400)) < datetime.now(UTC) + timedelta(days=31)
    assert lock.capped(soon := datetime.now(UTC) + timedelta(days=1)) == soon


# -- the service's troubles --------------------------------------------------


def test_a_service_that_is_not_there_is_unavailable(account: AzureAccount) -> None:
    target = make(
        AzureAccount(
            url=f"http://127.0.0.1:9/{ACCOUNT}",
            container=account.container,
            credential_file=account.credential_file,
            retries=0,
        )
    )
    calls = (lambda: put(target, "a", b"x"), lambda: list(target.list()), lambda: target.delete("a"))
    for call in calls:
        with pytest.raises(TargetUnavailable):
            call()
    target.close()


def test_a_server_that_ends_in_the_middle_of_a_put_and_back_later_holds_all_or_nothing(
    own_azurite: Azurite, tmp_path: Path
) -> None:
    with container_client(own_azurite, "killed") as client:
        client.create_container()
    key = own_azurite.key_file(tmp_path / "azure.key")
    account = AzureAccount(url=own_azurite.account_url, container="killed", credential_file=key, retries=0)
    target = make(account, block_bytes=MIB)
    content = bytes(range(256)) * (16 * 1024)

    def dying() -> Iterator[bytes]:
        yield content[: 2 * MIB]
        own_azurite.server.stop()  # asked to, since the emulator keeps what is new in memory for a while
        yield content[2 * MIB :]

    with pytest.raises(TargetUnavailable):
        target.put("a", dying(), size=len(content), sha256=hashlib.sha256(content).digest())
    with pytest.raises(TargetUnavailable):
        target.stat("a")

    own_azurite.server.start()
    assert target.stat("a") is None
    assert put(target, "a", content) is True
    assert get(target, "a") == content
    target.close()
