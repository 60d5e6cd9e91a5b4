"""The tutorial from Vault to S3, typed against real servers from its first line to its last."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cli.program import Machine
from tests.journeys.house import tutorial, typed
from tests.live.moto import Moto
from tests.live.openbao import ROOT_TOKEN, dev_server, program


def test_the_second_tutorial_brings_back_a_secret_that_was_deleted_in_vault(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    bao = program()
    assert bao is not None
    machine.env.pop("STRONGROOM_STATE_DIR", None)
    machine.env["PATH"] = f"{Path(bao).parent}{os.pathsep}{os.environ['PATH']}"
    lines = tutorial("vault-to-s3.md", but=("Start the servers",))
    s3 = Moto()
    with dev_server() as vault, s3.server:
        places = {
            "http://127.0.0.1:8200": vault.address,
            "http://127.0.0.1:5000": s3.endpoint,
            "BAO_TOKEN=tutorial": f"BAO_TOKEN={ROOT_TOKEN}",
        }
        done = typed(machine, lines, places)
    assert done.code == 0, done
    for words in ("done: a good backup on every target", "sys/mounts/secret", "1 secret created"):
        assert words in done.out, words
    assert "tutorial-3" in done.out.rpartition("1 secret created")[2]
