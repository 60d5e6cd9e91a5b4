"""What may go wrong while secrets are written to Secrets Manager, or somebody else writes them, too."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Secret, SecretBytes
from strongroom.operations.restore.restore import restore
from strongroom.plugins.conformance.sources import secret, versions
from strongroom.sources import SecretChange
from strongroom.sources.aws import AwsSource, restore_seconds
from strongroom.sources.aws.secrets import own_id
from strongroom.system.errors import Conflict
from tests.live import aws_account
from tests.live.aws_parts import DENIED, WRITES, op
from tests.live.moto import Moto
from tests.live.proxy import (
    Answer,
    Call,
    Fault,
    FaultyProxy,
    Hold,
    LoseReply,
    Reply,
    Request,
    Reset,
)
from tests.patience import PATIENCE


@pytest.fixture
def proxy(moto: Moto) -> Iterator[FaultyProxy]:
    with FaultyProxy(moto.port) as made:
        yield made


@pytest.fixture
def source(moto: Moto, proxy: FaultyProxy) -> AwsSource:
    """Two requests at once, so that a few secrets are read in batches."""
    return AwsSource(moto.options(endpoint_url=proxy.url, in_flight=2), name="aws")


@pytest.fixture
def backed_up(moto: Moto) -> list[Secret]:
    """A few secrets that need every kind of write; the server is empty again."""
    names = aws_account.fill(moto, (3, 6, 19))
    source = AwsSource(moto.options(), name="aws")
    held = [held for held in source.read([ListedSecret(name, 0) for name in names]) if held]
    moto.reset()
    return held


def write_all(destination: AwsSource, held: list[Secret]) -> None:
    restore(lambda: iter(held), destination, overwrite=True)


def alike(moto: Moto) -> dict[str, Any]:
    """Return what the service tells, as far as a restore brings it back."""
    times = ("CreatedDate", "LastChangedDate", "DeletedDate", "ARN", "listed")
    return json.loads(
        json.dumps(
            {name: _plain(told, times) for name, told in aws_account.told(moto).items()},
            default=repr,
            sort_keys=True,
        )
    )


def _plain(told: Any, times: tuple[str, ...]) -> Any:
    if not isinstance(told, dict):
        return told
    return {key: _plain(value, times) for key, value in told.items() if key not in times}


@pytest.mark.parametrize("fault", [LoseReply(), Reset()])
def test_a_lost_reply_of_a_write_changes_nothing_of_what_comes_back(
    moto: Moto, proxy: FaultyProxy, backed_up: list[Secret], fault: Fault
) -> None:
    write_all(AwsSource(moto.options(), name="aws"), backed_up)
    whole = alike(moto)
    moto.reset()
    rules = [proxy.fail(fault, when=op(operation), times=3) for operation in WRITES[:7]]
    write_all(AwsSource(moto.options(endpoint_url=proxy.url), name="aws"), backed_up)
    assert all(rule.met for rule in rules)
    assert alike(moto) == whole


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.long)])
def test_a_restore_that_dies_anywhere_goes_on_where_it_stopped(
    moto: Moto, proxy: FaultyProxy, backed_up: list[Secret], every: int
) -> None:
    dying = AwsSource(moto.options(endpoint_url=proxy.url, in_flight=1), name="aws")
    again = AwsSource(moto.options(), name="aws")
    write_all(dying, backed_up)
    whole = alike(moto)
    writes = len(proxy.seen(op(*WRITES)))
    assert writes > 15
    for dies_at in range(0, writes, every):
        moto.reset()
        proxy.heal()
        proxy.fail(DENIED, when=after([dies_at]), times=None)
        with pytest.raises(SourceError):
            write_all(dying, backed_up)
        write_all(again, backed_up)
        assert alike(moto) == whole, f"died at write {dies_at}"


def after(left: list[int]) -> Callable[[Request], bool]:
    """Fit every write but the first so many."""

    def fits(request: Request) -> bool:
        if not op(*WRITES)(request):
            return False
        left[0] -= 1
        return left[0] < 0

    return fits


def test_a_writer_that_was_faster_is_a_conflict_and_stays_current(
    moto: Moto, proxy: FaultyProxy, source: AwsSource
) -> None:
    """The check-and-set itself: somebody writes after all checks, right before AWSCURRENT is moved."""
    client = moto.client()
    client.create_secret(Name="A", SecretString="CANARY-old")
    faster = Call(lambda request: client.put_secret_value(SecretId="A", SecretString="CANARY-faster"))
    proxy.fail(faster, when=op("UpdateSecretVersionStage", about="AWSCURRENT"))
    with pytest.raises(Conflict, match="'A' got another current version meanwhile"):
        source.write([SecretChange(secret=secret("A", "CANARY-restored"), expected=1)])
    assert client.get_secret_value(SecretId="A")["SecretString"] == "CANARY-faster"
    stages = client.describe_secret(SecretId="A")["VersionIdsToStages"].values()
    assert sorted(label for labels in stages for label in labels) == ["AWSCURRENT", "AWSPREVIOUS"]


def test_a_writer_that_comes_after_is_not_overtaken(
    moto: Moto, proxy: FaultyProxy, source: AwsSource
) -> None:
    client = moto.client()
    client.create_secret(Name="A", SecretString="CANARY-old")

    def write(request: Request) -> None:
        """Move the label by hand: moto's own put forgets where it is after it was moved."""
        told = client.put_secret_value(SecretId="A", SecretString="CANARY-later", VersionStages=["later"])
        current = client.get_secret_value(SecretId="A", VersionStage="AWSCURRENT")["VersionId"]
        places = {"RemoveFromVersionId": current, "MoveToVersionId": told["VersionId"]}
        client.update_secret_version_stage(SecretId="A", VersionStage="AWSCURRENT", **places)

    moved = op("UpdateSecretVersionStage", about="AWSCURRENT")
    proxy.fail(
        Call(write), when=lambda request: op("DescribeSecret")(request) and any(map(moved, proxy.requests))
    )
    source.write([SecretChange(secret=secret("A", "CANARY-restored"), expected=1)])
    current = client.get_secret_value(SecretId="A", VersionStage="AWSCURRENT")
    assert current["SecretString"] == "CANARY-later"


def test_another_backup_is_not_mixed_with_an_unfinished_restore(
    moto: Moto, proxy: FaultyProxy, source: AwsSource
) -> None:
    older = Secret(name="A", versions=versions(1, 2, 3))
    newer = replace(older, versions=tuple(replace(v, value=SecretBytes(b"CANARY-b")) for v in older.versions))
    proxy.fail(DENIED, when=after([2]), times=None)
    with pytest.raises(SourceError):
        write_all(source, [older])
    proxy.heal()
    write_all(source, [newer])
    (found,) = source.read([ListedSecret("A", 0)])
    assert found is not None
    assert [v.value.reveal() for v in found.versions if v.value] == [
        b"CANARY-1",
        b"CANARY-2",
        *[b"CANARY-b"] * 3,
    ]
    assert not found.tags


def test_a_writer_between_plan_and_write_is_a_conflict(moto: Moto, source: AwsSource) -> None:
    """The number of the current version may be the same while another version has it."""
    client = moto.client()
    first = client.create_secret(Name="A", SecretString="CANARY-1")["VersionId"]
    second = client.put_secret_value(SecretId="A", SecretString="CANARY-2")["VersionId"]
    assert source.heads(["A"]) == {"A": 2}
    client.update_secret_version_stage(
        SecretId="A", VersionStage="AWSCURRENT", RemoveFromVersionId=second, MoveToVersionId=first
    )
    assert AwsSource(moto.options(), name="aws").heads(["A"]) == {"A": 2}
    with pytest.raises(Conflict, match="another current version than the writer saw"):
        source.write([SecretChange(secret=secret("A"), expected=2)])


def test_nothing_is_still_being_written_when_the_error_arrives(moto: Moto, proxy: FaultyProxy) -> None:
    source = AwsSource(moto.options(endpoint_url=proxy.url, in_flight=2), name="aws")
    denied = threading.Event()
    proxy.fail(hold := Hold(), when=op("CreateSecret", about="held"))
    proxy.fail(Refuse(denied), when=op("CreateSecret", about="denied"))
    errors: list[SourceError] = []

    def write() -> None:
        try:
            source.write([SecretChange(secret=secret(name), expected=None) for name in ("denied", "held")])
        except SourceError as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    assert hold.reached.wait(PATIENCE)
    assert denied.wait(PATIENCE)
    writer.join(0.5)  # it ends here if it does not wait for the other
    assert not errors
    hold.release()
    writer.join(PATIENCE)
    assert len(errors) == 1
    assert source.heads(["held", "denied"]) == {"held": 1}


class Refuse(Fault):
    """Deny, and tell the test."""

    def __init__(self, done: threading.Event) -> None:
        self._done = done

    def before(self, request: Request) -> Reply:
        self._done.set()
        return DENIED.before(request)


def test_a_secret_created_meanwhile_is_a_conflict(moto: Moto, proxy: FaultyProxy, source: AwsSource) -> None:
    client = moto.client()
    create = Call(lambda request: client.create_secret(Name="A", SecretString="CANARY-faster"))
    proxy.fail(create, when=op("CreateSecret"))
    with pytest.raises(Conflict, match="'A' was created meanwhile"):
        source.write([SecretChange(secret=secret("A"), expected=None)])
    assert client.get_secret_value(SecretId="A")["SecretString"] == "CANARY-faster"


def test_the_estimate_counts_the_requests_of_a_restore(moto: Moto, proxy: FaultyProxy) -> None:
    held = [Secret(name=f"s{number:02}", versions=versions(1, 2)) for number in range(20)]
    write_all(AwsSource(moto.options(endpoint_url=proxy.url, in_flight=1), name="aws"), held)
    assert restore_seconds(20, 40, requests_per_second=1) == len(proxy.seen())


def test_a_new_secret_of_one_version_takes_three_requests_and_a_twentieth(
    moto: Moto, proxy: FaultyProxy
) -> None:
    held = [Secret(name=f"s{number:02}", versions=versions(1)) for number in range(20)]
    write_all(AwsSource(moto.options(endpoint_url=proxy.url), name="aws"), held)
    assert restore_seconds(20, 20, requests_per_second=1) == len(proxy.seen()) == 3 * 20 + 1


def test_the_same_version_with_another_value_that_is_there_meanwhile_is_a_conflict(
    moto: Moto, proxy: FaultyProxy, source: AwsSource
) -> None:
    client, wanted = moto.client(), Secret(name="A", versions=versions(1))
    id_ = own_id("A", wanted.current.number, wanted.current.media)
    create = Call(
        lambda request: client.create_secret(Name="A", ClientRequestToken=id_, SecretString="CANARY-faster")
    )
    proxy.fail(create, when=op("CreateSecret"))
    assert source.heads(["A"]) == {}
    with pytest.raises(Conflict, match="'A' was created meanwhile"):
        source.write([SecretChange(secret=wanted, expected=None)])
    assert client.get_secret_value(SecretId="A")["SecretString"] == "CANARY-faster"


def test_a_version_that_comes_before_the_reading_back_is_read(
    moto: Moto, proxy: FaultyProxy, source: AwsSource
) -> None:
    source.heads(["A"])
    source.write([SecretChange(secret=Secret(name="A", versions=versions(1)), expected=None)])
    moto.client().put_secret_value(SecretId="A", SecretString="CANARY-later")
    (there,) = source.read_written(["A"])
    assert there is not None
    assert [version.value for version in there.versions][-1] == SecretBytes(b"CANARY-later")
    assert len(there.versions) == 2


def test_a_policy_that_another_account_refuses_can_be_left_out(
    moto: Moto, proxy: FaultyProxy, backed_up: list[Secret]
) -> None:
    refused = Answer(400, {}, b'{"__type": "MalformedPolicyDocumentException", "Message": "CANARY"}')
    proxy.fail(refused, when=op("PutResourcePolicy"), times=None)
    with pytest.raises(SourceError, match="could not put the resource policy") as caught:
        write_all(AwsSource(moto.options(endpoint_url=proxy.url), name="aws"), backed_up)
    assert "resource_policies = false" in caught.value.hint
    destination = AwsSource(moto.options(endpoint_url=proxy.url, resource_policies=False), name="aws")
    write_all(destination, backed_up)
    assert any(line.startswith("resource policies were not put back") for line in destination.losses())
    assert {told["ResourcePolicy"] for told in aws_account.told(moto).values()} == {None}
