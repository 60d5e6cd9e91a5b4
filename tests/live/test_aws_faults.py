"""What may go wrong between us and Secrets Manager, through a faulty proxy in front of a live moto."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strongroom.errors import ConfigError, SourceError
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.errors import RunFailed
from strongroom.sources.aws import AwsSource, client
from strongroom.sources.errors import SourceUnavailable
from strongroom.system.errors import KeyFileExposed
from strongroom.targets.directory import DirectoryTarget
from tests.live import aws_account
from tests.live.aws_parts import BROKEN, DENIED, READS, THROTTLED, everything, op
from tests.live.certificates import server_context
from tests.live.moto import Moto
from tests.live.proxy import (
    Answer,
    Call,
    Fault,
    FaultyProxy,
    LoseReply,
    OtherClock,
    Reply,
    Request,
    Reset,
    Truncate,
    When,
)
from tests.live.regions import credentials_file
from tests.operations.world import make_world


@pytest.fixture
def proxy(moto: Moto) -> Iterator[FaultyProxy]:
    with FaultyProxy(moto.port) as made:
        yield made


@pytest.fixture
def source(moto: Moto, proxy: FaultyProxy) -> AwsSource:
    """Two requests at once, so that a few secrets are read in batches."""
    return AwsSource(moto.options(endpoint_url=proxy.url, in_flight=2), name="aws")


@pytest.mark.sampled(every=2)
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


def test_a_throttle_that_lasts_is_given_time_and_then_said(
    moto: Moto, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count()  # each look at the clock finds it a second later, however busy this machine is
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    source = AwsSource(moto.options(endpoint_url=proxy.url, patience=3.0), name="aws")
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


def test_a_certificate_of_ones_own_authority_is_taken_where_it_is_named(moto: Moto, tmp_path: Path) -> None:
    moto.client().create_secret(Name="one", SecretString="CANARY-one")
    tls, certificate = server_context(tmp_path)
    with FaultyProxy(moto.port, tls=tls) as proxy:
        source = AwsSource(moto.options(endpoint_url=proxy.url, ca_file=certificate), name="aws")
        assert [entry.name for entry in source.list()] == ["one"]


def test_a_source_has_credentials_of_its_own(
    moto: Moto, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come before those of the environment, and are not for others to read."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "CANARY-environment")
    path = credentials_file(tmp_path / "aws")
    options = moto.options(endpoint_url=proxy.url, credentials_file=path)
    list(AwsSource(options, name="aws").list())
    assert proxy.requests
    for request in proxy.requests:
        assert "Credential=CANARY-environment" not in request.headers["Authorization"]
    path.chmod(0o644)
    with pytest.raises(KeyFileExposed):
        list(AwsSource(options, name="aws").list())
    path.unlink()
    with pytest.raises(ConfigError):
        list(AwsSource(options, name="aws").list())


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
    said = b'{"__type": "InvalidSignatureException", "message": "CANARY"}'
    rule = proxy.fail(OtherClock(400, body=said, ahead=timedelta(minutes=minutes)), times=None)
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
