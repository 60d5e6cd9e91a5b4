"""A nasty OpenBao is lost and restored by the command line: whole, with rights missing, beside a writer."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import SourceError
from strongroom.operations.errors import RightMissing, RunDegraded
from strongroom.sources.vault.writing import TIMES
from strongroom.system.errors import Conflict
from tests.cli.program import Machine, command
from tests.live.openbao import Answered, OpenBao, dev_server
from tests.live.proxy import FaultyProxy, Hold
from tests.live.vault_nasty import DENIED, ENGINES, METHODS, all_of, fill
from tests.patience import PATIENCE, until

FIRST = 100  # a slice: what a restore has put on record before it is interrupted
COUNTS = [300, pytest.param(2_000, marks=pytest.mark.long)]
pytestmark = pytest.mark.timeout(900)
CONFIG = """
[vaults.{name}]
address = "{address}"
token_file = "{token}"
requests_per_second = 4000
[sources.{name}]
kind = "vault"
vault = "{name}"
"""
RESTORE = ("restore", "--backup-file", "full.sr", "--full-restore", "--force", "--identity", "recovery.key")
Told = dict[str, Any]


@pytest.fixture(scope="module", params=COUNTS)
def count(request: pytest.FixtureRequest) -> int:
    """How many secrets the server had."""
    return int(request.param)


@pytest.fixture(scope="module")
def lost(count: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, dict[str, Any]]:
    """A machine with a backup of a server that is gone, and what that server said of itself."""
    return machine_with_backup(tmp_path_factory.mktemp("lost"), count=count)


def machine_with_backup(folder: Path, *, count: int) -> tuple[Machine, dict[str, Any]]:
    machine = Machine(folder / "machine")
    machine.env["STRONGROOM_CONFIG"] = str(machine.path("strongroom.toml"))
    with dev_server() as server:
        fill(server, count=count)
        configure(machine, lost=server)
        machine.ok("keys", "new", "--output", "recovery.key")
        words = ("--source", "lost", "--include-values", "--recipient", "recovery.key.pub", "--force")
        machine.ok("backup", "full.sr", *words)
        before = all_of(server)
    return machine, before


def configure(machine: Machine, *, token: str | None = None, address: str = "", **servers: OpenBao) -> None:
    text = ""
    for name, server in servers.items():
        file = machine.path(f"token-{name}")
        file.write_text(token or server.token)
        file.chmod(0o600)
        text += CONFIG.format(name=name, address=address or server.address, token=file)
    machine.path("strongroom.toml").write_text(text)


def test_all_of_it_comes_back_in_one_run_but_for_what_is_documented(
    lost: tuple[Machine, dict[str, Any]], own_openbao: OpenBao
) -> None:
    machine, before = lost
    configure(machine, new=own_openbao)
    done = machine.ok(*RESTORE, "--to", "new", "--verify-after-restore", "--json").document
    after = all_of(own_openbao)
    assert {name: (before[name], after.get(name)) for name in before if before[name] != after.get(name)} == {}
    assert after.keys() == before.keys()
    assert (done["left"], done["not_done"], done["verified"]) == (0, 0, done["created"] + done["unchanged"])
    assert {_kind(line) for line in done["losses"]} == DOCUMENTED


DOCUMENTED = {
    TIMES,
    "is marked as deleted again, but its data is gone: no backup can read deleted data",
    "will delete itself later than it would have",
    "secret ids cannot be read, so its clients need new ones",
    "its users are in no backup, as their passwords cannot be read",
    *(f"it is empty: what the {kind} engine held is in no backup" for kind in ENGINES),
}
"""The losses of which docs/how-to/back-up-vault.md tells."""


def _kind(loss: str) -> str:
    return re.sub(r"^'[^']*'(, version [-0-9, ]+)?:? ", "", loss)


def test_what_is_denied_is_named_and_everything_else_is_restored(
    lost: tuple[Machine, dict[str, Any]], count: int, own_openbao: OpenBao
) -> None:
    machine, _ = lost
    own_openbao.policy("most", MOST)
    configure(machine, new=own_openbao, token=own_openbao.new_token("most"))
    names = {f"secret/no/{number:02}" for number in range(DENIED)}

    planned = machine.run(*RESTORE, "--to", "new", "--dry-run", "--json")
    assert planned.failed_with(RightMissing)
    said = {each["name"]: each for each in planned.document["secrets"]}
    assert {name for name, each in said.items() if each["action"] == "cannot"} == names
    assert "no right to create, read, update secret/data/no/00" in said["secret/no/00"]["why"]

    done = machine.run(*RESTORE, "--to", "new")
    assert done.failed_with(SourceError)
    [file] = re.findall(r"all of their names are in (\S+)\n", done.out)
    document = json.loads(Path(file).with_name("restore.json").read_bytes())
    lines = (json.loads(line) for line in Path(file).read_text().splitlines())
    assert {line["name"] for line in lines} == names
    assert document["counts"]["not_done"] == DENIED
    assert document["counts"]["created"] >= count - DENIED
    assert all(f"      {name}\n" in done.out for name in names)
    assert f"{DENIED} secrets were not restored" in done.out

    configure(machine, new=own_openbao)
    goes_on = done.out.partition("This goes on, once the cause is removed:\n")[2].splitlines()[0].split()
    going_on = machine.ok(*goes_on[1:], "--json").document
    assert (going_on["created"], going_on["left"], going_on["not_done"]) == (DENIED, 0, 0)
    assert {_kind(line) for line in going_on["losses"]} == DOCUMENTED, "those of the first run are told too"


MOST = """
path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
path "secret/data/no/*" { capabilities = ["deny"] }
"""


def test_a_live_writer_keeps_only_its_own_secrets_from_being_restored(
    lost: tuple[Machine, dict[str, Any]], count: int, own_openbao: OpenBao
) -> None:
    machine, before = lost
    configure(machine, new=own_openbao)
    written: set[str] = set()
    with writing(own_openbao, sorted(before), written):
        done = machine.run(*RESTORE, "--to", "new", "--json")
    document: Told = done.document
    named = {each["name"] for each in document["not_done_names"]} | set(document["left_names"])
    assert named <= written
    assert done.code in ((Conflict.exit_code, RunDegraded.exit_code) if named else (0,))
    assert document["created"] + document["unchanged"] + len(named) >= count
    after = all_of(own_openbao)
    wrong = {name for name in before if before[name] != after.get(name)}
    assert wrong <= written


class writing:  # noqa: N801 - a context
    """A team that goes on working: it writes to a few secrets, again and again."""

    def __init__(self, server: OpenBao, names: list[str], written: set[str]) -> None:
        paths = [name.removeprefix("secret/") for name in names if re.fullmatch(r"secret/app-\d/\d+", name)]
        self._server, self._written = server, written
        self._turns = itertools.cycle(paths[:: max(1, len(paths) // 40)])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        while not self._over.wait(0.25):
            path = next(self._turns)
            self._written.add(f"secret/{path}")
            with suppress(Answered):  # some take a write with check-and-set only
                self._server.put("secret/", path, {"value": "CANARY-live"})

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.parametrize(
    "number",
    [*(pytest.param(n, marks=pytest.mark.long) for n in (signal.SIGINT, signal.SIGTERM)), signal.SIGKILL],
)
def test_a_restore_that_is_interrupted_is_told_and_gone_on_with(
    lost: tuple[Machine, dict[str, Any]], count: int, own_openbao: OpenBao, number: signal.Signals
) -> None:
    machine, before = lost
    for old in (machine.state / "undo").glob("*/restore.json"):
        old.unlink()
    with FaultyProxy(own_openbao.process.port) as proxy:
        configure(machine, address=proxy.url, new=own_openbao)
        hold = Hold()
        proxy.fail(
            hold, when=lambda request: request.method == "POST" and has_made(machine, FIRST), times=None
        )
        process = subprocess.Popen(
            command(*RESTORE, "--to", "new"),
            cwd=machine.home,
            env=machine.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: hold.reached.is_set() or process.poll() is not None, what="a restore half done")
        os.kill(process.pid, number)
        hold.release()
        out, err = process.communicate(timeout=PATIENCE)
    configure(machine, new=own_openbao)
    if number is not signal.SIGKILL:
        assert process.returncode == 128 + number, (out, err)
        assert "This restore was stopped before its end." in out
        assert "secrets created" in out
        assert "This goes on, once the cause is removed:" in out
        assert "not as it was: when secrets" in out
    going_on = machine.ok(*RESTORE, "--to", "new", "--json").document
    [earlier] = going_on["earlier"]
    assert earlier["killed"] is (number is signal.SIGKILL)
    assert earlier["counts"]["created"] >= FIRST
    assert going_on["created"] < count
    assert (going_on["left"], going_on["not_done"]) == (0, 0)
    after = all_of(own_openbao)
    assert {name: (before[name], after.get(name)) for name in before if before[name] != after.get(name)} == {}
    again = machine.ok(*RESTORE, "--to", "new", "--json").document
    assert (again["created"], again["earlier"]) == (0, [])


def has_made(machine: Machine, count: int) -> bool:
    """Tell whether a restore has put on record that it made so many."""
    files = (machine.state / "undo").glob("*/restore.json")
    return any(json.loads(file.read_bytes())["counts"]["created"] >= count for file in files)


def test_methods_of_every_kind_that_the_server_has_are_among_them(
    lost: tuple[Machine, dict[str, Any]],
) -> None:
    _, before = lost
    assert {f"sys/auth/{kind}/" for kind in METHODS} <= before.keys()
