"""A bucket of Google Cloud Storage, against fake-gcs-server."""

from __future__ import annotations

import hashlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from strongroom.config.text import parse_target
from strongroom.errors import ConfigError, StrongroomError, TargetError
from strongroom.plugins.conformance.targets import MIB, SharedConformance, get, names, put
from strongroom.system.errors import KeyFileExposed, TargetFull, TargetReadOnly
from strongroom.targets import ProbeResult
from strongroom.targets.errors import TargetAbsent, TargetLocked, TargetUnavailable
from strongroom.targets.gcs import GcsBucket, GcsLock, GcsTarget
from tests.cli.program import Machine
from tests.live.fake_gcs import FakeGcs, program

pytestmark = pytest.mark.skipif(program() is None, reason="no fake-gcs-server for this machine")
_numbers = itertools.count()
CONFIG = """
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"

[targets.cloud]
kind = "gcs"
bucket = "{bucket}"
region = "europe-west3"
endpoint_url = "{url}"

[policies.all]
kind = "full"
targets = ["cloud"]
recipients = ["recovery"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    with FakeGcs(tmp_path_factory.mktemp("gcs")) as made:
        yield made


@pytest.fixture
def bucket(server: FakeGcs) -> str:
    name = f"bucket-{next(_numbers)}"
    server.make_bucket(name)
    return name


class TestGcs(SharedConformance):
    @pytest.fixture
    def target(self, server: FakeGcs, bucket: str) -> Iterator[object]:
        made = server.target(bucket, prefix="prod/strongroom")
        yield made
        made.close()


# -- what goes wrong ---------------------------------------------------------------------


def test_a_bucket_that_is_not_there_is_absent_and_holds_no_missing_pieces(server: FakeGcs) -> None:
    target = server.target("no-such-bucket")
    for ask in (lambda: put(target, "a", b"x"), lambda: get(target, "a"), lambda: target.stat("a")):
        with pytest.raises(TargetAbsent, match="bucket does not exist"):
            ask()
    with pytest.raises(StrongroomError):
        names(target)


def test_a_server_that_ends_is_away_and_is_found_again(tmp_path: Path) -> None:
    with FakeGcs(tmp_path) as own:
        own.make_bucket("bucket")
        target = own.target("bucket")
        assert put(target, "a", b"first")
        own.stop()
        for ask in (lambda: put(target, "b", b"x"), lambda: get(target, "a"), lambda: names(target)):
            with pytest.raises(TargetUnavailable):
                ask()
        own.start()
        assert put(target, "b", b"second")
        assert [get(target, name) for name in names(target)] == [b"first", b"second"]


def test_a_server_that_ends_in_the_middle_of_a_put_leaves_nothing_visible(tmp_path: Path) -> None:
    with FakeGcs(tmp_path) as own:
        own.make_bucket("bucket")
        target = own.target("bucket")

        def chunks() -> Iterator[bytes]:
            yield bytes(3 * MIB)
            own.stop()
            yield bytes(2 * MIB)

        with pytest.raises(TargetUnavailable):
            target.put("a", chunks(), size=5 * MIB, sha256=hashlib.sha256(bytes(5 * MIB)).digest())
        own.start()
        assert names(target) == []
        assert put(target, "a", b"whole")


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bucket = GcsBucket(bucket="b", endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=(1, 1))
        target = GcsTarget(bucket, name="gcs", region="eu")
        with pytest.raises(TargetUnavailable, match="no answer"):
            target.stat("a")
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):  # one attempt: repeating is not the library's business
            silent.accept()


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"type": "service_account", "private_key": "CANARY-key"}']
)
def test_a_file_that_holds_no_key_is_refused_and_not_quoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key.json"
    file.write_text(content)
    file.chmod(0o600)
    target = GcsTarget(GcsBucket(bucket="b", credentials_file=file), name="gcs", region="eu")
    with pytest.raises(ConfigError, match="no key of a service account") as refused:
        target.stat("a")
    assert "CANARY" not in str(refused.value)


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text("{}")
    file.chmod(0o644)
    target = GcsTarget(GcsBucket(bucket="b", credentials_file=file), name="gcs", region="eu")
    with pytest.raises(KeyFileExposed):
        target.stat("a")


def test_another_host_is_not_reached_without_tls() -> None:
    target = GcsTarget(GcsBucket(bucket="b", endpoint="http://storage.example.org"), name="gcs", region="eu")
    with pytest.raises(ConfigError, match="without TLS"):
        target.stat("a")


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (403, "retentionPolicyNotMet", TargetLocked),
        (403, "objectUnderActiveHold", TargetLocked),
        (403, "forbidden", TargetReadOnly),
        (403, "quotaExceeded", TargetFull),
        (401, "authError", TargetError),
        (429, "rateLimitExceeded", TargetUnavailable),
        (503, "backendError", TargetUnavailable),
        (404, "notFound", None),
    ],
)
def test_what_the_service_refuses_is_told_in_our_words(
    status: int, reason: str, kind: type[StrongroomError] | None
) -> None:
    """The answers are as the service's documentation has them; no fake gives them."""
    with answering(status, reason) as url:
        target = GcsTarget(GcsBucket(bucket="b", endpoint=url), name="gcs", region="eu")
        if kind is None:
            target.delete("a")
            return
        with pytest.raises(kind) as refused:
            target.delete("a")
        assert type(refused.value) is kind
        assert "CANARY" not in refused.value.message


@contextmanager
def answering(status: int, reason: str) -> Iterator[str]:
    """Answer each request with one refusal."""
    body = json.dumps(
        {"error": {"code": status, "message": "CANARY-text", "errors": [{"reason": reason}]}}
    ).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


# -- locks, which this server keeps and does not enforce --------------------------------------


def test_an_object_is_locked_as_it_is_put_and_its_lock_grows_and_never_shrinks(
    server: FakeGcs, bucket: str
) -> None:
    target = server.target(bucket, lock=GcsLock(days=2, most_days=30))
    assert put(target, "a", b"x")
    now = datetime.now(UTC)
    first = target.locked_until("a")
    assert first is not None
    assert timedelta(days=1, hours=23) < first - now < timedelta(days=2, hours=1)
    longer = target.extend_lock("a", now + timedelta(days=10))
    assert longer - now > timedelta(days=9, hours=23)
    assert target.extend_lock("a", now + timedelta(days=3)) == longer
    assert target.extend_lock("a", now + timedelta(days=300)) - now < timedelta(days=31), "the cap"
    assert get(target, "a") == b"x"


def test_what_does_not_lock_is_not_said_to(server: FakeGcs, bucket: str) -> None:
    target = server.target(bucket)
    assert put(target, "a", b"x")
    assert (target.locks, target.locked_until("a")) == (False, None)
    with pytest.raises(TargetError, match="not set up to lock"):
        target.extend_lock("a", datetime.now(UTC))


# -- what a probe asks, and the command line ----------------------------------------------


def test_a_probe_shows_that_nothing_is_written_over(server: FakeGcs, bucket: str) -> None:
    target = server.target(bucket)
    assert put(target, "a", b"x")
    [check] = target.refusals("a")
    assert check.outcome is ProbeResult.FINE
    assert get(target, "a") == b"x"


def test_backups_go_to_a_bucket_and_come_back(server: FakeGcs, bucket: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    machine.ok("keys", "new", "--output", "recovery.key")
    (machine.home / "strongroom.toml").write_text(CONFIG.format(url=server.url, bucket=bucket))
    machine.ok("set", "NAME", stdin="CANARY-cloud")
    machine.ok("backup", "--policy", "all", "--force")
    machine.ok("check", "backups", "--depth", "digest")
    machine.ok("check", "storage")
    machine.ok("secrets", "delete", "NAME", "--force")
    machine.ok("restore", "--full-restore", "--identity", "recovery.key")
    assert machine.ok("get", "NAME", "--show-value").out.strip() == "CANARY-cloud"


def test_init_takes_a_bucket_in_one_word() -> None:
    found = parse_target("europe-west3=gs://acme?credentials_file=/etc/gcs.json")
    assert found.region == "europe-west3"
    assert found.settings == {"kind": "gcs", "bucket": "acme", "credentials_file": "/etc/gcs.json"}
    with pytest.raises(ValueError, match="has to be one of"):
        parse_target("eu=gs://acme/folder")
