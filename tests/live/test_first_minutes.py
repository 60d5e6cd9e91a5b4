"""What `init` finds out of buckets and says of them, and what the probe says later."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from tests.cli.program import Machine
from tests.live.ministack import MiniStack
from tests.live.regions import credentials_file


def test_a_bucket_is_locked_if_it_can_be_and_else_it_is_said_that_backups_can_be_deleted(
    ministack: MiniStack, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "machine")
    credentials_file(machine.path("s3"))
    names = {kind: f"sr-{secrets.token_hex(6)}" for kind in ("locking", "bare", "away")}
    for kind, name in names.items():
        ministack.make_bucket(name, locking=kind != "bare")
    files = dict.fromkeys(names, machine.path("s3")) | {"away": machine.path("none")}
    access = {name: f"endpoint_url={ministack.endpoint}&credentials_file={files[name]}" for name in names}
    done = machine.ok(
        "init", *(f"--target={ministack.region}=s3://{names[name]}?{access[name]}" for name in names)
    )
    assert "'eu-central-1' has Object Lock: its backups are locked" in done.out
    assert (
        "'eu-central-1-2' has no Object Lock: anyone who may delete there can delete its backups" in done.out
    )
    assert "'eu-central-1-3' did not say whether it has Object Lock" in done.out
    text = (machine.state / "strongroom.toml").read_text()
    assert re.findall(r"^lock = .*", text, re.MULTILINE) == ['lock = "governance"']
