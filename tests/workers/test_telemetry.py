"""Against a real HTTP sink: Sentry learns what broke and where, and no secret."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.workers.cluster import until
from workers.redact import HIDDEN
from workers.telemetry import scrub, start

CANARY = "CANARY-7f3a91"


class Sink(ThreadingHTTPServer):
    """Takes what the SDK posts, as the Sentry server would."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[str] = []

    @property
    def dsn(self) -> str:
        return f"http://public@127.0.0.1:{self.server_address[1]}/1"

    @property
    def text(self) -> str:
        return "\n".join(self.bodies)


class Handler(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.bodies.append(body.decode())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


PROGRAM = f"""
import logging, sys
from strongroom.errors import SourceError
from workers import telemetry
import workers.base
from workers.app import app
from workers.base import define

telemetry.start({{dsn!r}}, process="seal", release="1")

def innermost(value):
    local = "{CANARY}-local"
    raise ValueError(f"cannot parse {{{{value}}}} and {{{{local}}}}")

def crash(*, policy):
    password = "{CANARY}-frame"
    try:
        innermost("{CANARY}-message")  # source line with "{CANARY}-source"
    except ValueError as error:
        raise KeyError("{CANARY}-second") from error

crash.__module__ = "tasks.backup"
task = app.task(name="strongroom.tests.crash")(crash)
logging.getLogger("strongroom").warning("careful %s", "{CANARY}-warning")
log = logging.getLogger("strongroom")
log.error("static-event %s", "{CANARY}-logged", extra={{{{"field": "{CANARY}-extra"}}}})
task.apply(kwargs={{{{"policy": "{CANARY}-argument"}}}})
sys.argv.append("{CANARY}-argv")
try:
    innermost("{CANARY}-direct")
except ValueError:
    import sentry_sdk
    sentry_sdk.set_user({{{{"id": "{CANARY}-user"}}}})
    sentry_sdk.set_extra("x", "{CANARY}-scope")
    sentry_sdk.set_tag("t", "{CANARY}-tag")
    sentry_sdk.capture_exception()
sentry_sdk.flush(10)
"""


def test_no_canary_reaches_sentry_from_frames_messages_arguments_or_logs(
    sink: Sink, tmp_path: os.PathLike[str]
) -> None:
    program = PROGRAM.format(dsn=sink.dsn)
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "STRONGROOM_STATE_DIR": str(tmp_path), "STRONGROOM_ROLE": "seal"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    until(lambda: sink.text.count('"exception"') >= 2, what=f"both exceptions\n{told.stderr}", seconds=20)
    assert CANARY not in sink.text
    assert "static-event" in sink.text
    assert '"ValueError"' in sink.text
    assert '"function":"crash"' in sink.text.replace(" ", "")
    assert "strongroom.tests.crash" in sink.text


def test_the_sdks_defaults_would_leak(sink: Sink) -> None:
    """The same sink turns red without our options: it can see a leak."""
    program = (
        "import sentry_sdk\n"
        f"sentry_sdk.init(dsn={sink.dsn!r})\n"
        f"def f():\n    held = '{CANARY}' + '-local'\n    raise ValueError('x')\n"
        "try:\n    f()\nexcept ValueError:\n    sentry_sdk.capture_exception()\n"
        "sentry_sdk.flush(10)\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)

    until(lambda: CANARY in sink.text, what="the leak", seconds=20)


def test_without_a_dsn_nothing_is_started() -> None:
    assert start(None, process="seal", release="1") is False


def test_our_own_messages_pass_and_foreign_ones_do_not() -> None:
    def exception(module: str) -> dict[str, object]:
        return {"type": "E", "module": module, "value": "said"}

    event = scrub({"exception": {"values": [exception("strongroom.errors"), exception("json.decoder")]}}, {})

    assert [value["value"] for value in event["exception"]["values"]] == ["said", HIDDEN]


def test_a_field_that_is_not_known_to_be_harmless_is_dropped() -> None:
    event = scrub({"event_id": "1", "request": CANARY, "user": CANARY, "modules": {}, "extra": CANARY}, {})

    assert set(event) == {"event_id", "tags", "contexts"}
