"""A stolen copy, read past Strongroom at a live S3 and a live Vault, is told: who, what, and from where.

OpenBao writes its audit file itself. No S3 server that runs here writes an access log, so a proxy in front of
one does: a line of Amazon's format for each request that the server really answered.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from strongroom.operations.errors import UnrecordedAccess
from strongroom.targets.s3.client import make_client
from tests.cli.program import Machine
from tests.live.ministack import CREDENTIALS, MiniStack
from tests.live.openbao import OpenBao, dev_server
from tests.live.proxy import Fault, FaultyProxy, Reply, Request
from tests.operations.access.lines import s3_line

THIEF = {"aws_access_key_id": "CANARY-thief", "aws_secret_access_key": "CANARY-secret"}
CONFIG = """
[vaults.keys]
address = "{bao}"
token_file = "{token}"

[keys.bao]
kind = "transit"
vault = "keys"
key = "backup"

[targets.eu]
kind = "s3"
bucket = "{bucket}"
prefix = "strongroom"
region = "eu-central-1"
endpoint_url = "{s3}"

[policies.daily]
targets = ["eu"]
kind = "full"
recipients = ["bao"]
quorum = 1
regions = 1
providers = 1

[access_logs.bucket]
format = "s3"
ours = ["CANARY-key"]
settle = 0

[access_logs.bucket.store]
kind = "s3"
bucket = "access-logs"
prefix = "eu"
region = "eu-central-1"
endpoint_url = "{logs}"

[access_logs.vault]
format = "vault"
directory = "{folder}/vault"
ours = ["token-strongroom"]
settle = 0
"""
_KEY = re.compile(r"Credential=([^/]+)/")


class AccessLog(Fault):
    """Writes a line of a server access log for each request that a server answered."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._asked = threading.local()

    def before(self, request: Request) -> Request:
        self._asked.request = request
        return request

    def after(self, reply: Reply) -> Reply:
        request = self._asked.request
        key = request.path.lstrip("/").partition("/")[2]
        signed = _KEY.search(request.headers.get("Authorization", ""))
        line = s3_line(
            time.time(),
            bucket=request.path.lstrip("/").partition("/")[0],
            key=quote(key) or "-",
            who=signed[1] if signed else "-",
            how=f"REST.{request.method}.{'OBJECT' if key else 'BUCKET'}",
            status=reply.status,
            origin="127.0.0.1",
        )
        with self._file.open("ab") as file:
            file.write(line)
        return reply


class Site:
    """A machine with a backup at a live S3, whose key is in a live Vault, and the logs of both."""

    def __init__(self, folder: Path, bao: OpenBao, stack: MiniStack, proxy: FaultyProxy) -> None:
        self.bao, self.stack, self.bucket = bao, stack, "access"
        bao.call("POST", "sys/mounts/transit", {"type": "transit"})
        bao.call("POST", "transit/keys/backup", {})
        bao.policy("backup", 'path "transit/*" { capabilities = ["create", "update", "read"] }')
        token = bao.token_file(folder, "backup", display_name="strongroom").path
        for name in (self.bucket, "access-logs"):
            stack.make_bucket(name)
        self._log = folder / "s3" / "access.log"
        env = {name.upper(): value for name, value in CREDENTIALS.items()}
        self.machine = Machine(folder / "machine", env=env)
        self.machine.path("strongroom.toml").write_text(
            CONFIG.format(
                bao=bao.address,
                token=token,
                bucket=self.bucket,
                s3=proxy.url,
                folder=folder,
                logs=stack.endpoint,
            )
        )
        self.proxy = proxy
        self.machine.set("JWT_SECRET_KEY", "CANARY-JWT")
        self.machine.ok("backup", "--policy", "daily", "--force")
        self.machine.ok("backups", "verify", "eu", "--policy", "daily", "--depth", "digest")

    def steal(self) -> tuple[str, bytes]:
        """Copy a container by S3's own interface with another credential, as a thief would."""
        client = make_client(self.stack.options(self.bucket, endpoint_url=self.proxy.url), **THIEF)
        listed = client.list_objects_v2(Bucket=self.bucket, Prefix="strongroom/containers/")["Contents"]
        name = listed[0]["Key"]
        return name, client.get_object(Bucket=self.bucket, Key=name)["Body"].read()

    def use_key(self) -> None:
        """Use the key of backups by Vault's own interface."""
        sealed = self.bao.call("POST", "transit/encrypt/backup", {"plaintext": "QUFB"})["data"]["ciphertext"]
        self.bao.call("POST", "transit/decrypt/backup", {"ciphertext": sealed})

    def look(self) -> None:
        """Have what was logged delivered as S3 does, into an object of its own, and read it as the calendar
        does."""
        name = f"eu/{time.strftime('%Y-%m-%d-%H-%M-%S')}-{time.monotonic_ns():X}"
        self.stack.client().put_object(Bucket="access-logs", Key=name, Body=self._log.read_bytes())
        self._log.write_bytes(b"")
        self.machine.run("schedule", "run", "access")

    def alerts(self) -> dict[str, str]:
        done = self.machine.run("alerts", "send", "--json")
        told: dict[str, str] = {}
        for alert in done.document["alerts"]:
            if alert["kind"].startswith("access."):
                told[alert["kind"]] = f"{told.get(alert['kind'], '')}{alert['what']}\n"
        return told


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "s3").mkdir()
    (tmp_path / "vault").mkdir()
    stack = MiniStack("eu-central-1")
    with (
        dev_server(audit_file=tmp_path / "vault" / "audit.log") as bao,
        stack.server,
        FaultyProxy(stack.server.port) as proxy,
    ):
        proxy.fail(AccessLog(tmp_path / "s3" / "access.log"), times=None)
        yield Site(tmp_path, bao, stack, proxy)


def test_a_stolen_copy_and_a_key_used_past_us_are_told_and_what_we_do_is_not(site: Site) -> None:
    site.look()
    told = site.alerts()
    assert set(told) == {"access.unrecorded"}, "the administrator's own work on policy and mount"
    assert "transit/decrypt" not in told["access.unrecorded"]
    assert "backups verify" in site.machine.ok("ledger", "search", "--what", "access.read").out
    name, content = site.steal()
    assert content
    site.use_key()
    site.look()
    found = site.alerts()
    assert set(found) == {"access.unrecorded"}
    assert site.machine.run("alerts", "send").failed_with(UnrecordedAccess)
    for word in ("CANARY-thief", "127.0.0.1", f"access/{name}", "'bucket'"):
        assert word in found["access.unrecorded"]
    for word in ("token, from 127.0.0.1", "transit/decrypt/backup", "'vault'"):
        assert word in found["access.unrecorded"]
    searched = site.machine.ok("ledger", "search", "--who", "thief", "--from", "127.0.0.1").out
    assert f"access/{name}" in searched
    backup = name.split("/")[2]
    opened = site.machine.ok(
        "incident", "open", "--backup", backup, "--force", "--reason", "copied", "--json"
    ).document
    incident = opened["incident"]
    told = site.machine.run("incident", "readers", incident).out
    assert "CANARY-thief from 127.0.0.1, by log 'bucket'" in told
    assert "CANARY-JWT" not in told + searched
