"""What may go wrong between us and Secrets Manager, through a faulty proxy in front of a live moto."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.errors import Conflict, RunFailed, SourceChanged, SourceError, SourceUnavailable
from strongroom.model import Entry, Secret, SecretBytes
from strongroom.operations.backup_file import backup_to_file
from strongroom.operations.restore import restore
from strongroom.sources import Change
from strongroom.sources.aws import AwsSource, restore_seconds
from strongroom.targets.directory import DirectoryTarget
from tests.live import aws_account
from tests.live.certificates import server_context
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
    Truncate,
    When,
)
from tests.operations.world import make_world
from tests.sources.conformance import secret, versions

THROTTLED = Answer(400, {}, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}')
DENIED = Answer(400, {}, b'{"__type": "AccessDeniedException", "Message": "CANARY words of the server"}')
BROKEN = Answer(500, {}, b'{"__type": "InternalServiceError"}')
READS = (
    *("ListSecrets", "DescribeSecret", "ListSecretVersionIds"),
    *("GetResourcePolicy", "BatchGetSecretValue", "GetSecretValue"),
)
WRITES = (
    *("CreateSecret", "PutSecretValue", "UpdateSecretVersionStage", "PutResourcePolicy"),
    *("ReplicateSecretToRegions", "UntagResource", "DeleteSecret", "RestoreSecret"),
    *("TagResource", "UpdateSecret", "DeleteResourcePolicy"),
)


def op(*operations: str, about: str = "") -> When:
    """Fit requests of these operations whose body holds a text."""
    return lambda request: _operation(request) in operations and about.encode() in request.body


def _operation(request: Request) -> str:
    return request.headers.get("X-Amz-Target", "").rpartition(".")[2]


@pytest.fixture
def proxy(moto: Moto) -> Iterator[FaultyProxy]:
    with FaultyProxy(moto.port) as made:
        yield made


@pytest.fixture
def source(moto: Moto, proxy: FaultyProxy) -> AwsSource:
    """Two requests at once, so that a few secrets are read in batches."""
    return AwsSource(moto.options(endpoint_url=proxy.url, in_flight=2), name="aws")


def everything(source: AwsSource) -> dict[str, Secret | None]:
    entries = list(source.list())
    return dict(zip([entry.name for entry in entries], source.read(entries), strict=True))


# -- reading -------------------------------------------------------------------


@pytest.mark.parametrize("fault", [THROTTLED, BROKEN, Reset(), LoseReply(), Truncate(keep=20)])
def test_what_passes_is_asked_again(moto: Moto, proxy: FaultyProxy, source: AwsSource, fault: Fault) -> None:
    aws_account.fill(moto, (0, 1, 5, 6, 7))
    rules = [proxy.fail(fault, when=op(operation), times=2) for operation in READS]
    assert everything(source) == everything(AwsSource(moto.options(), name="aws"))
    assert [rule.met for rule in rules] == [2] * len(READS)


class Quota(Fault):
    """Let twenty requests a second through, as a service with a quota does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._second, self._count = 0, 0

    def before(self, request: Request) -> Request | Reply:
        with self._lock:
            now = int(time.monotonic())
            self._second, self._count = now, self._count + 1 if now == self._second else 1
            return request if self._count <= 20 else THROTTLED.before(request)


def test_twenty_requests_a_second_are_enough(moto: Moto, proxy: FaultyProxy) -> None:
    """Sixteen threads would ask for more; each throttle holds back all of them."""
    names = aws_account.fill(moto, range(12))
    source = AwsSource(moto.options(endpoint_url=proxy.url), name="aws")
    rule = proxy.fail(Quota(), times=None)
    assert sorted(everything(source)) == sorted(names)
    assert rule.met > 36


class Paged(Fault):
    """Give an answer's list an item at a time."""

    def __init__(self, member: str) -> None:
        self._member = member
        self._at = 0

    def before(self, request: Request) -> Request:
        asked = json.loads(request.body)
        self._at = int(asked.pop("NextToken", 0))
        return dataclasses.replace(request, body=json.dumps(asked).encode())

    def after(self, reply: Reply) -> Reply:
        said = json.loads(reply.body)
        items = said[self._member]
        said[self._member] = items[self._at : self._at + 1]
        said["NextToken"] = str(self._at + 1) if self._at + 1 < len(items) else None
        return dataclasses.replace(reply, body=json.dumps(said).encode())


@pytest.mark.parametrize(
    ("operation", "member"),
    [
        ("ListSecrets", "SecretList"),
        ("ListSecretVersionIds", "Versions"),
        ("BatchGetSecretValue", "SecretValues"),
    ],
)
def test_every_page_is_read(moto: Moto, proxy: FaultyProxy, operation: str, member: str) -> None:
    aws_account.fill(moto, (0, 1, 5, 6, 7))
    source = AwsSource(moto.options(endpoint_url=proxy.url, in_flight=1), name="aws")
    rule = proxy.fail(Paged(member), when=op(operation), times=None)
    found = everything(source)
    assert found == everything(AwsSource(moto.options(), name="aws"))
    assert rule.met >= 5
    older = sum(len(held.versions) - 1 for held in found.values() if held)
    assert len(proxy.seen(op("GetSecretValue"))) == older


def test_a_throttle_that_lasts_is_given_time_and_then_said(moto: Moto, proxy: FaultyProxy) -> None:
    source = AwsSource(moto.options(endpoint_url=proxy.url, patience=1.0), name="aws")
    rule = proxy.fail(THROTTLED, when=op("ListSecrets"), times=None)
    with pytest.raises(SourceUnavailable, match="could not list the secrets: ThrottlingException"):
        list(source.list())
    assert rule.met > 2


def test_a_server_that_dies_while_it_is_read_makes_no_backup(own_moto: Moto, tmp_path: Path) -> None:
    aws_account.fill(own_moto, range(30))
    world = make_world(tmp_path)
    stage = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    stage.prepare()
    with FaultyProxy(own_moto.port) as proxy:
        proxy.fail(Call(lambda request: own_moto.kill()), when=op("GetResourcePolicy"))
        source = AwsSource(own_moto.options(endpoint_url=proxy.url, patience=1.0), name="aws")
        with pytest.raises((SourceUnavailable, RunFailed)):
            backup_to_file(
                tmp_path / "backup",
                source=source,
                recipients=[world.identity.recipient()],
                services=world.with_stage(stage).services(),
            )
    assert not (tmp_path / "backup").exists()


def test_a_secret_that_may_not_be_read_is_named_and_no_gap(
    moto: Moto, proxy: FaultyProxy, source: AwsSource
) -> None:
    aws_account.fill(moto, range(6))
    arn = moto.client().describe_secret(SecretId="prod/team-4/secret_004+x=y.z@w")["ARN"]
    proxy.fail(Without(arn), when=op("BatchGetSecretValue"), times=None)
    proxy.fail(DENIED, when=op("GetSecretValue", about=arn), times=None)
    with pytest.raises(SourceError, match=r"'prod/team-4/secret_004.*AccessDeniedException") as caught:
        everything(source)
    assert "exclude" in caught.value.hint
    assert "CANARY" not in str(caught.value)


class Without(Fault):
    """Answer a batch as the service does when one of its secrets is denied."""

    def __init__(self, arn: str) -> None:
        self._arn = arn

    def after(self, reply: Reply) -> Reply:
        said = json.loads(reply.body)
        said["SecretValues"] = [item for item in said["SecretValues"] if item["ARN"] != self._arn]
        said["Errors"] = [{"SecretId": self._arn, "ErrorCode": "AccessDeniedException", "Message": "CANARY"}]
        body = json.dumps(said).encode()
        return Reply(status=reply.status, reason=reply.reason, headers=reply.headers, body=body)


def test_an_expired_certificate_is_said_and_nothing_is_sent(moto: Moto, tmp_path: Path) -> None:
    tls, _ = server_context(tmp_path, expired=True)
    with FaultyProxy(moto.port, tls=tls) as proxy:
        source = AwsSource(moto.options(endpoint_url=proxy.url), name="aws")
        with pytest.raises(SourceError, match="certificate is not valid"):
            list(source.list())
        assert not proxy.requests


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("InvalidSignatureException", "credentials"),
        ("ExpiredTokenException", "credentials"),
        ("DecryptionFailure", "KMS"),
        ("LimitExceededException", "quota"),
    ],
)
def test_a_refusal_says_what_to_do(proxy: FaultyProxy, source: AwsSource, code: str, hint: str) -> None:
    proxy.fail(Answer(400, {}, json.dumps({"__type": code, "message": "CANARY"}).encode()), times=None)
    with pytest.raises(SourceError, match=code) as caught:
        list(source.list())
    assert hint in caught.value.hint
    assert "CANARY" not in str(caught.value)
    assert not caught.value.transient


@pytest.mark.parametrize(("minutes", "side"), [(-10, "ahead of"), (10, "behind")])
def test_a_clock_that_is_ten_minutes_off_is_named(
    proxy: FaultyProxy, source: AwsSource, minutes: int, side: str
) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    rule = proxy.fail(
        Answer(400, {"Date": then}, b'{"__type": "InvalidSignatureException", "message": "CANARY"}'),
        times=None,
    )
    with pytest.raises(SourceError, match=rf"clock is (60\d|59\d) s {side} the server's") as caught:
        list(source.list())
    assert "NTP" in caught.value.hint
    assert rule.met == 1


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys in a file, as an agent renews them there; none in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    write_key(tmp_path / "keys", "OLDKEY")
    return tmp_path / "keys"


def write_key(path: Path, name: str) -> None:
    path.write_text(f"[default]\naws_access_key_id = {name}\naws_secret_access_key = CANARY-secret\n")


def signed_with(name: str) -> When:
    return lambda request: f"Credential={name}/" in request.headers.get("Authorization", "")


EXPIRED = Answer(400, {}, b'{"__type": "ExpiredTokenException", "message": "CANARY"}')


def test_credentials_that_expire_meanwhile_are_read_anew(
    moto: Moto, key_file: Path, proxy: FaultyProxy, source: AwsSource
) -> None:
    names = aws_account.fill(moto, (0, 1, 5, 6, 7))
    entries = list(source.list())
    proxy.fail(Call(lambda request: write_key(key_file, "NEWKEY")), when=op("GetSecretValue"))
    expired = proxy.fail(
        EXPIRED, when=lambda request: signed_with("OLDKEY")(request) and renewed(key_file), times=None
    )
    found = [held.name for held in source.read(entries) if held]
    assert sorted(found) == sorted(names)
    assert expired.met
    assert proxy.seen(signed_with("NEWKEY"))


def renewed(key_file: Path) -> bool:
    return "NEWKEY" in key_file.read_text()


def test_credentials_that_stay_expired_are_tried_once_more_and_make_no_backup(
    moto: Moto, key_file: Path, proxy: FaultyProxy, tmp_path: Path
) -> None:
    aws_account.fill(moto, range(5))
    source = AwsSource(moto.options(endpoint_url=proxy.url, in_flight=1), name="aws")
    entries = list(source.list())
    rule = proxy.fail(EXPIRED, when=op("GetResourcePolicy"), times=None)
    with pytest.raises(SourceError, match="ExpiredTokenException") as caught:
        list(source.read(entries))
    assert "Renew the credentials" in caught.value.hint
    assert rule.met == 2


class Lacking(Fault):
    """Take a member out of an answer, wherever it is, as a half-broken server would."""

    def __init__(self) -> None:
        self.member = ""

    def after(self, reply: Reply) -> Reply:
        return dataclasses.replace(reply, body=json.dumps(self._less(json.loads(reply.body))).encode())

    def _less(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._less(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {key: self._less(item) for key, item in value.items() if key != self.member}


NEEDED = ("ARN", "Name", "VersionId", "SecretList", "SecretValues", "Versions", "Region", "Key")
OPTIONAL = ("Tags", "Description", "KmsKeyId", "VersionStages", "VersionIdsToStages", "ReplicationStatus")


def test_an_answer_that_lacks_what_it_always_has_is_not_believed(moto: Moto, proxy: FaultyProxy) -> None:
    aws_account.fill(moto, (4, 19))
    source = AwsSource(moto.options(endpoint_url=proxy.url, in_flight=1, patience=0.01), name="aws")
    fault = Lacking()
    proxy.fail(fault, times=None)
    for fault.member in NEEDED:
        with pytest.raises(SourceUnavailable, match=rf"its answer lacks .*{fault.member}"):
            everything(source)
    for fault.member in OPTIONAL:
        with contextlib.suppress(SourceError):  # and nothing but that
            everything(source)


# -- secrets that move ------------------------------------------------------------


@pytest.mark.parametrize("operation", ["ListSecretVersionIds", "GetResourcePolicy", "GetSecretValue"])
def test_a_secret_that_is_written_meanwhile_is_read_as_of_one_moment(
    moto: Moto, proxy: FaultyProxy, source: AwsSource, operation: str
) -> None:
    client = moto.client()
    client.create_secret(Name="A", SecretString="CANARY-1", Tags=[{"Key": "of", "Value": "1"}])

    def write(request: Request) -> None:
        client.put_secret_value(SecretId="A", SecretString="CANARY-2")
        client.tag_resource(SecretId="A", Tags=[{"Key": "of", "Value": "2"}])

    proxy.fail(Call(write), when=op(operation))
    (found,) = source.read([Entry("A", 0)])
    assert found is not None
    values = [version.value.reveal() for version in found.versions if version.value]
    assert values[-1] == f"CANARY-{found.tags['of']}".encode()
    assert len(values) == int(found.tags["of"])


def test_a_secret_that_never_rests_is_said(moto: Moto, proxy: FaultyProxy, source: AwsSource) -> None:
    client = moto.client()
    client.create_secret(Name="A", SecretString="CANARY")
    write = Call(lambda request: client.put_secret_value(SecretId="A", SecretString="CANARY"))
    proxy.fail(write, when=op("ListSecretVersionIds"), times=None)
    with pytest.raises(SourceChanged, match="'A' changed 5 times"):
        list(source.read([Entry("A", 0)]))


def test_a_secret_deleted_while_it_is_read_has_vanished(moto: Moto, proxy: FaultyProxy) -> None:
    source = AwsSource(moto.options(endpoint_url=proxy.url, in_flight=1), name="aws")
    client = moto.client()
    for name in "AB":
        client.create_secret(Name=name, SecretString="CANARY")
    delete = Call(lambda request: client.delete_secret(SecretId="A", ForceDeleteWithoutRecovery=True))
    proxy.fail(delete, when=op("BatchGetSecretValue"))
    gone, there = source.read([Entry("A", 0), Entry("B", 0)])
    assert gone is None
    assert there is not None


def test_no_level_of_logging_shows_a_value(
    moto: Moto, source: AwsSource, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source.write([Change(secret=secret("A", "CANARY-logged"), expected=None)])
    everything(source)
    assert caplog.records
    assert "CANARY-logged" not in caplog.text


# -- writing ----------------------------------------------------------------------


@pytest.fixture
def backed_up(moto: Moto) -> list[Secret]:
    """A few secrets that need every kind of write; the server is empty again."""
    names = aws_account.fill(moto, (3, 6, 19))
    source = AwsSource(moto.options(), name="aws")
    held = [held for held in source.read([Entry(name, 0) for name in names]) if held]
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


def test_a_restore_that_dies_anywhere_goes_on_where_it_stopped(
    moto: Moto, proxy: FaultyProxy, backed_up: list[Secret]
) -> None:
    dying = AwsSource(moto.options(endpoint_url=proxy.url, in_flight=1), name="aws")
    again = AwsSource(moto.options(), name="aws")
    write_all(dying, backed_up)
    whole = alike(moto)
    writes = len(proxy.seen(op(*WRITES)))
    assert writes > 15
    for dies_at in range(writes):
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
        source.write([Change(secret=secret("A", "CANARY-restored"), expected=1)])
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
    source.write([Change(secret=secret("A", "CANARY-restored"), expected=1)])
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
    (found,) = source.read([Entry("A", 0)])
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
        source.write([Change(secret=secret("A"), expected=2)])


def test_nothing_is_still_being_written_when_the_error_arrives(moto: Moto, proxy: FaultyProxy) -> None:
    source = AwsSource(moto.options(endpoint_url=proxy.url, in_flight=2), name="aws")
    denied = threading.Event()
    proxy.fail(hold := Hold(), when=op("CreateSecret", about="held"))
    proxy.fail(Refuse(denied), when=op("CreateSecret", about="denied"))
    errors: list[SourceError] = []

    def write() -> None:
        try:
            source.write([Change(secret=secret(name), expected=None) for name in ("denied", "held")])
        except SourceError as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    assert hold.reached.wait(60)
    assert denied.wait(60)
    writer.join(0.5)  # it ends here if it does not wait for the other
    assert not errors
    hold.release()
    writer.join(60)
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
        source.write([Change(secret=secret("A"), expected=None)])
    assert client.get_secret_value(SecretId="A")["SecretString"] == "CANARY-faster"


def test_the_estimate_counts_the_requests_of_a_restore(moto: Moto, proxy: FaultyProxy) -> None:
    held = [Secret(name=f"s{number:02}", versions=versions(1, 2)) for number in range(20)]
    write_all(AwsSource(moto.options(endpoint_url=proxy.url, in_flight=1), name="aws"), held)
    assert restore_seconds(20, 40, requests_per_second=1) == len(proxy.seen())


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
