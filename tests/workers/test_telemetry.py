"""Against a real HTTP sink: Sentry learns what broke and where, and no secret."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.patience import PATIENCE, until
from tests.workers.sentry import Sink
from workers import telemetry
from workers.logs import HIDDEN
from workers.telemetry import scrub, start

CANARY = "CANARY-7f3a91"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        yield server


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
sentry_sdk.flush({PATIENCE})
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
        timeout=PATIENCE,
        check=False,
    )

    until(lambda: sink.text.count('"exception"') >= 2, what=f"both exceptions\n{told.stderr}")
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
        f"sentry_sdk.flush({PATIENCE})\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=PATIENCE, check=True)

    until(lambda: CANARY in sink.text, what="the leak")


def test_without_a_dsn_nothing_is_started() -> None:
    assert start(None, process="seal", release="1") is False


def test_of_an_exception_the_class_passes_and_a_message_only_if_it_knows_no_secret() -> None:
    def exception(module: str, kind: str) -> dict[str, object]:
        return {"type": kind, "module": module, "value": "said"}

    values = [
        exception("strongroom.state.errors", "StateUnavailable"),
        exception("strongroom.container.errors", "DuplicateSecret"),  # may name a secret
        exception("json.decoder", "StateUnavailable"),  # called alike, and not ours
        exception("strongroom.errors", "E"),
    ]
    event = scrub({"exception": {"values": values}}, {})

    assert event is not None
    assert [one["type"] for one in event["exception"]["values"]] == [one["type"] for one in values]
    assert [one["value"] for one in event["exception"]["values"]] == ["said", HIDDEN, HIDDEN, HIDDEN]


def test_a_field_that_is_not_known_to_be_harmless_is_dropped() -> None:
    event = scrub({"event_id": "1", "request": CANARY, "user": CANARY, "modules": {}, "extra": CANARY}, {})

    assert event is not None
    assert set(event) == {"event_id", "tags", "contexts"}


def test_a_failed_run_is_grouped_by_class_and_step_and_has_its_identifiers_as_tags() -> None:
    fields = {"run": "r1", "policy": "weekly", "step": "capture", "target": "eu", "error_class": "WrongKey"}
    event = scrub({"extra": {**fields, "why": CANARY, "piece": 3}, "tags": {"process": "seal"}}, {})

    assert event is not None
    assert event["tags"] == {**fields, "process": "seal"}
    assert event["fingerprint"] == ["WrongKey", "capture"]
    assert CANARY not in str(event)


def test_a_tag_that_is_no_plain_name_is_dropped() -> None:
    event = scrub({"extra": {"policy": "a\nb", "run": {"x": CANARY}, "target": "x" * 500}}, {})

    assert event is not None
    assert event["tags"] == {}


def test_a_check_in_stays_one() -> None:
    schedule = {"schedule": {"type": "crontab", "value": "0 3 * * *"}, "timezone": "UTC"}
    found = {
        "type": "check_in",
        "event_id": "1",
        "check_in_id": "2",
        "monitor_slug": "policy-weekly",
        "status": "error",
        "duration": 1.5,
        "monitor_config": schedule,
    }
    event = scrub({**found, "extra": {"x": CANARY}, "user": CANARY}, {})

    assert event == {**found, "contexts": {}}


def test_no_two_policies_share_a_monitor() -> None:
    long = "of-the-payment-services-in-the-region-of-frankfurt"
    policies = ["weekly", "Weekly", "WEEKLY", long, f"{long}-2", long.upper()]
    slugs = [telemetry.slug(policy) for policy in policies]
    assert slugs[0] == "policy-weekly"
    assert len(set(slugs)) == len(policies)
    assert all(re.fullmatch(r"[a-z0-9_-]{1,50}", slug) for slug in slugs)


def test_a_crash_is_sent_once_and_not_by_its_stand_in_too() -> None:
    assert scrub({"exception": {"values": [{"type": "TaskCrashed", "module": "workers.logs"}]}}, {}) is None


def test_frames_of_an_installed_wheel_are_ours_and_those_of_libraries_are_not(sink: Sink) -> None:
    program = f"""
import sys, sentry_sdk
from workers import telemetry
telemetry.start({sink.dsn!r}, process="seal", release="1")
code = compile("def f(call): call()", "/venv/lib/python3.11/site-packages/strongroom/x.py", "exec")
ours = {{"__name__": "strongroom.x"}}
exec(code, ours)
code = compile("def g(): raise ValueError", "/venv/lib/python3.11/site-packages/hvac/y.py", "exec")
theirs = {{"__name__": "hvac.y"}}
exec(code, theirs)
try:
    ours["f"](theirs["g"])
except ValueError:
    sentry_sdk.capture_exception()
sentry_sdk.flush({PATIENCE})
"""
    subprocess.run([sys.executable, "-c", program], timeout=PATIENCE, check=True)

    (event,) = until(lambda: sink.items("event"), what="the event")
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert {frame["module"]: frame["in_app"] for frame in frames if frame["module"] != "__main__"} == {
        "strongroom.x": True,
        "hvac.y": False,
    }
