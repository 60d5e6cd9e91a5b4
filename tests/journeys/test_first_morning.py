"""From an empty folder and a wheel to scheduled, verified backups, by the five commands of install.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.dates import surroundings
from tests.installed.environment import Installed, build_wheel, install
from tests.journeys.house import in_page
from tests.live.ministack import CREDENTIALS, MiniStack
from tests.live.openbao import ROOT_TOKEN, OpenBao, dev_server, program
from tests.patience import until

pytestmark = pytest.mark.timeout(900)
SECTION = "Five commands to scheduled backups"
SECRETS = {"database/main": "CANARY-database", "payments/stripe": "CANARY-stripe"}


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    with dev_server() as server:
        for path, value in SECRETS.items():
            server.call("POST", f"secret/data/{path}", {"data": {"value": value}})
        yield server


@pytest.fixture(scope="module")
def bucket() -> Iterator[MiniStack]:
    with MiniStack("eu-west-1") as server:
        server.make_bucket("acme-backups", locking=True)
        yield server


@pytest.fixture(scope="module")
def somebody(tmp_path_factory: pytest.TempPathFactory, bao: OpenBao, bucket: MiniStack) -> Installed:
    """Somebody after the first four of the five commands, typed as the page has them."""
    folder = tmp_path_factory.mktemp("somebody")
    commands = in_page("install.md", SECTION)
    assert len(commands) == 5
    machine = Installed(install(build_wheel(), folder / "venv", "aws", "vault"), folder / "home")
    del machine.environment["STRONGROOM_STATE_DIR"]
    # The page's own first command finds the program for those after it; here without an index.
    (machine.home / ".strongroom").symlink_to(folder / "venv")
    machine.environment["PATH"] = f"/usr/local/bin:/usr/bin:/bin:{Path(str(program())).parent}"
    pip = "pip install 'strongroom-0.1.0-py3-none-any.whl[aws,vault]'"
    assert commands[0].count(pip) == 1
    first = commands[0].replace(pip, 'printf %s "$PATH"').removeprefix("python3 -m venv .strongroom && ")
    machine.environment["PATH"] = machine.ok("sh", "-ec", first)
    credentials = machine.home / "s3-credentials"
    credentials.touch(0o600)
    credentials.write_text(
        "[default]\n" + "".join(f"{key} = {value}\n" for key, value in CREDENTIALS.items())
    )
    at = {
        "https://vault.example.org:8200": bao.address,
        "s3://acme-backups?": f"s3://acme-backups?endpoint_url={bucket.endpoint}&",
        "/srv/strongroom-backups": str(machine.home / "backups"),
        "mail.example.org": "127.0.0.1",
    }
    new, init, rights = (_with(places=at, text=text) for text in commands[1:4])
    machine.ok("sh", "-ec", new)
    said = machine.ok("sh", "-ec", init)
    # What the page says of the rights is what init prints, and that is typed.
    printed = [line.strip() for line in said.partition("\nNext\n")[2].splitlines()[1:4:2]]
    assert [" ".join(line.split()) for line in rights.splitlines()] == [
        line.replace(f"{machine.home}/", "") for line in printed
    ]
    machine.environment["BAO_TOKEN"] = ROOT_TOKEN
    machine.ok("sh", "-ec", "\n".join(printed))
    del machine.environment["BAO_TOKEN"]
    return machine


def _with(*, places: dict[str, str], text: str) -> str:
    for place, real in places.items():
        text = text.replace(place, real)
    return text


def made(machine: Installed) -> set[str]:
    return {policy for policy in ("daily-metadata", "monthly-full") if machine.runs(policy)}


def nothing_red(machine: Installed) -> None:
    """Hold that the looks that people make find nothing: health and alerts."""
    looked = machine.run("strongroom", "check", "--json")
    document = json.loads(looked.stdout)
    assert (looked.returncode, document["error"]) == (0, None), looked.stdout
    alerts = machine.run("strongroom", "alerts")
    assert (alerts.returncode, "Nothing is wrong" in alerts.stdout) == (0, True), alerts


def test_after_the_fifth_command_backups_are_made_verified_and_nothing_is_red(somebody: Installed) -> None:
    with somebody.cluster():
        until(
            lambda: made(somebody) == {"daily-metadata", "monthly-full"},
            what="the first backups",
        )
        until(lambda: "health" in _done(somebody), what="the first look")
        nothing_red(somebody)
    assert "warning" not in (somebody.home / "up.err").read_text()
    replicas = json.loads(somebody.ok("strongroom", "backups", "replicas", "--json"))["replicas"]
    assert {(each["target"], each["good"], each["verified"]) for each in replicas} == {
        ("eu-west-1", True, "digest"),
        ("office", True, "digest"),
    }
    listed = somebody.ok("strongroom", "list", "--from-target", "office", "--identity", "recovery.key")
    assert all(name in listed for name in SECRETS)


def _done(machine: Installed) -> set[str]:
    document = json.loads(machine.ok("strongroom", "schedule", "--json"))
    return {entry["name"] for entry in document["entries"] if entry["last_ran"]}


@pytest.mark.long
def test_the_first_morning_finds_nothing_red(somebody: Installed) -> None:
    """The same cluster, whose clock is put to just before 02:00 of the next day, and then before 06:30."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    for moment in ("01:59:30", "06:29:30"):
        _put_clock(somebody, f"{tomorrow}T{moment}")
        due = {"01:59:30": ("daily-metadata", "02:00"), "06:29:30": ("health", "06:30")}[moment]
        with somebody.cluster():
            until(
                lambda: _last(somebody, due[0]) >= f"{tomorrow}T{due[1]}",  # noqa: B023 - of this turn
                what=f"{due[0]} at {due[1]}",
            )
            if due[0] == "health":
                nothing_red(somebody)


def _put_clock(machine: Installed, moment: str) -> None:
    """Have each Python of the environment live at a moment: a role's environment holds no such variable, so
    the interpreter itself sets it."""
    moved = surroundings(moment, "UTC")
    python = machine.programs / "python"
    real = machine.programs / "python-real"
    if not real.exists():
        real.symlink_to(python.resolve())
    words = " ".join(
        f"{name}={moved[name]}" for name in ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC")
    )
    python.unlink()
    python.write_text(f'#!/bin/bash\nexport {words}\nexec -a "$0" "{real}" "$@"\n')
    python.chmod(0o755)


def _last(machine: Installed, entry: str) -> str:
    document = json.loads(machine.ok("strongroom", "schedule", "--json"))
    (found,) = [each for each in document["entries"] if each["name"] == entry]
    return found["last_ran"] or "" if found["run_state"] in ("done", None) else ""
