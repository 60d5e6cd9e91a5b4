"""Who can open a backup after a rotation: the newest envelope says it, not the manifest of back then."""

from __future__ import annotations

import re
from pathlib import Path

from strongroom.container.errors import WrongKey
from strongroom.keys.hpke import PublicKey
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import Machine

OPENS = "the holder of the private key `{}` (hybrid post-quantum)"
CONFIG = """
[keys.{key}]
kind = "hpke"
public_key_file = "{key}.key.pub"
identity_file = "{key}.key"
[keys.old]
kind = "hpke"
public_key_file = "old.key.pub"
identity_file = "old.key"
[targets.one]
kind = "directory"
path = "one"
region = "here"
create = true
[policies.all]
kind = "full"
targets = ["one"]
recipients = ["{key}"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
"""


def said(machine: Machine, *words: str | Path) -> str:
    return " ".join(machine.ok(*words).out.split())


def rotate_once(machine: Machine) -> None:
    for name in ("old", "new", "newer"):
        machine.ok("keys", "new", "--output", f"{name}.key")
    machine.ok("backup", "w.sr", "--include-values", "--recipient", "old.key.pub", "--force")
    rotate(machine, "old", "new")


rotated = furnished(stock, rotate_once)


def rotate(machine: Machine, old: str, new: str) -> Machine:
    done = machine.ok("keys", "replace", "--current-key", f"{old}.key", "--new-key", f"{new}.key")
    assert f"now opens for {OPENS.format(f'{new}.key')}" in " ".join(done.out.split())
    return machine


def test_a_file_is_told_to_open_for_the_key_it_was_rotated_to(rotated: Machine) -> None:
    for words in (("backups", "show", "w.sr"), ("backups", "verify", "w.sr", "--identity", "new.key")):
        found = said(rotated, *words)
        assert OPENS.format("new.key") in found
        assert "old.key" not in found


def test_so_it_is_on_a_machine_that_knows_none_of_the_signers(rotated: Machine, other: Machine) -> None:
    found = said(other, "backups show", rotated.path("w.sr"))
    assert OPENS.format("new.key") in found
    assert "old.key" not in found


def test_the_wrong_key_is_told_which_key_it_would_be_by_name_and_by_number(rotated: Machine) -> None:
    done = rotated.run("backups", "verify", "w.sr", "--identity", "old.key")
    tried = re.search(r"Sealed to hpke \(new\.key\) ([0-9a-f]{16}); tried", " ".join(done.err.split()))
    assert done.failed_with(WrongKey)
    assert tried is not None
    public = PublicKey.parse(rotated.path("new.key.pub").read_text().strip())
    assert public.id.hex().startswith(tried[1])


def test_a_file_is_rotated_again_from_the_key_that_it_opens_for_now(rotated: Machine) -> None:
    rotate(rotated, "new", "newer")
    assert rotated.run("backups", "verify", "--opens", "w.sr", "--identity", "new.key").failed_with(WrongKey)
    rotated.ok("backups", "verify", "--opens", "w.sr", "--identity", "newer.key")
    assert OPENS.format("newer.key") in said(rotated, "backups show", "w.sr")


def test_a_target_is_told_to_open_for_the_policys_new_key(stocked: Machine) -> None:
    for name in ("old", "new"):
        stocked.ok("keys", "new", "--output", f"{name}.key")
    before = CONFIG.format(key="new").replace('recipients = ["new"]', 'recipients = ["old"]')
    stocked.path("strongroom.toml").write_text(before)
    stocked.ok("backup", "--policy", "all", "--force")
    assert OPENS.format("old") in said(stocked, "backups show", "one")
    stocked.path("strongroom.toml").write_text(CONFIG.format(key="new"))
    stocked.ok("keys", "rotate", "all")
    found = said(stocked, "backups show", "one")
    assert OPENS.format("new") in found
    assert OPENS.format("old") not in found


def test_a_file_that_is_called_as_a_configured_key_is_meant_itself(rotated: Machine) -> None:
    """It is a path: another key of that name in the configuration must not be sealed for in its place."""
    rotated.ok("keys", "new", "--output", "configured.key")
    rotated.ok("keys", "new", "--algorithm", "AES256", "--output", "box")
    rotated.path("strongroom.toml").write_text(
        '[keys.box]\nkind = "hpke"\npublic_key_file = "configured.key.pub"\n'
    )
    rotated.ok("keys", "replace", "w.sr", "--current-key", "new.key", "--new-key", "box")
    rotated.ok("backups", "verify", "--opens", "w.sr", "--identity", "box")
    assert "anyone with the key file `box`" in said(rotated, "backups show", "w.sr")
