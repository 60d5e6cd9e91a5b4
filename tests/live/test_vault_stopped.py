"""A restore into Vault that somebody stops with Ctrl-C says what it leaves, and goes on when repeated."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from tests.cli.program import PASSPHRASE, Machine, command
from tests.live.openbao import OpenBao
from tests.live.proxy import Call, FaultyProxy, Request, When, method
from tests.patience import PATIENCE

CONFIG = """
[vaults.prod]
address = "{address}"
token_file = "{token}"
in_flight = 1

[sources.prod]
kind = "vault"
vault = "prod"
"""


def stopped(machine: Machine, words: Sequence[str | Path], proxy: FaultyProxy, *, when: When) -> str:
    """Press Ctrl-C in the middle of a request; return what the command said."""
    group: Future[int] = Future()
    proxy.fail(Call(lambda _: os.killpg(group.result(PATIENCE), signal.SIGINT)), when=when)
    process = subprocess.Popen(
        command(*words),
        cwd=machine.home,
        env=machine.env | {"STRONGROOM_PASSPHRASE": PASSPHRASE},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    group.set_result(process.pid)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    return err


def test_a_restore_and_an_undo_that_are_stopped_say_that_what_they_did_stays(
    own_openbao: OpenBao, tmp_path: Path
) -> None:
    own_openbao.token_file(tmp_path)
    machine = Machine(tmp_path / "machine")
    for name in ("a", "b", "c"):
        machine.set(f"secret/{name}", f"CANARY-{name}")
    words = ["restore", "--backup-file", machine.seal(), "--full-restore", "--to", "prod", "--force"]
    with FaultyProxy(own_openbao.process.port) as proxy:
        machine.path("strongroom.toml").write_text(CONFIG.format(address=proxy.url, token=tmp_path / "token"))
        written: list[str] = []

        def second(request: Request) -> bool:
            """Two secrets in, in whatever order a backup has them."""
            written.extend([request.path] if method("POST", path="/data/")(request) else [])
            return len(written) == 2

        err = stopped(machine, words, proxy, when=second)
        assert "what was restored by then stays" in " ".join(err.split())
        assert "nothing half-written" not in err
        assert own_openbao.data(written[0].removeprefix("/v1/"))["metadata"]["version"] == 1
        machine.ok(*words, "--overwrite-existing", STRONGROOM_PASSPHRASE=PASSPHRASE)
        assert [own_openbao.data(f"secret/data/{name}")["data"]["value"] for name in "abc"] == [
            f"CANARY-{name}" for name in "abc"
        ]
        [*_, run] = machine.ok("restore", "undo", "--list", "--json").document["restores"][:1]
        undo = ["restore", "undo", run["id"], "--force"]
        err = stopped(machine, undo, proxy, when=method("DELETE", path="/metadata/"))
        assert "what was undone by then stays undone" in " ".join(err.split())
