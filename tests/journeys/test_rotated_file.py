"""A backup file is rotated and carried away: it opens there with the fingerprint written down before."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from strongroom.container.errors import UntrustedSigner, WrongKey
from tests.cli.program import ROOT, Machine
from tests.journeys.house import typed, values, words_of

FILE = "weekly.strongroom"


def test_a_rotated_file_opens_elsewhere_with_the_fingerprint_from_before_the_rotation(
    machine: Machine, tmp_path: Path
) -> None:
    other = Machine(tmp_path / "other")
    machine.ok("keys", "new", "--algorithm", "AES256", "--output", "backup_key.key")
    machine.set("PAYMENTS_API_KEY", "CANARY-payments")
    machine.ok("backup", FILE, "--include-values", "--recipient", "backup_key.key", "--force")
    [written_down] = re.findall(
        r"^Installation: (sr1:\S+)$", machine.ok("keys", "signers", "list").out, re.MULTILINE
    )
    original = machine.path(FILE).read_bytes()

    machine.ok("keys", "new", "--algorithm", "AES256", "--output", "backup_key_new.key")
    line = re.search(
        r"^(strongroom keys replace .*)$",
        (ROOT / "docs/how-to/rotate-keys.md").read_text(),
        re.MULTILINE,
    )
    assert line is not None
    rotated = typed(machine, line[1], {})
    assert (rotated.code, machine.path(FILE).read_bytes() == original) == (0, False), rotated

    for name in (FILE, "backup_key.key", "backup_key_new.key"):
        shutil.copy(machine.path(name), other.path(name))
    restore = f"strongroom restore --backup-file {FILE} --full-restore --signer {written_down} --identity "
    old = typed(other, restore + "backup_key.key", {})
    assert old.failed_with(WrongKey), old
    assert other.run("list").out.startswith("The store is clean"), old
    done = typed(other, restore + "backup_key_new.key", {})
    assert (done.code, values(other)) == (0, {"PAYMENTS_API_KEY": "CANARY-payments"}), done
    assert typed(other, restore + "backup_key_new.key", {}).code == 0

    strange = typed(other, restore.replace(written_down, f"sr1:{'0' * 64}") + "backup_key_new.key", {})
    assert strange.failed_with(UntrustedSigner)
    assert written_down in words_of(strange)
    without = (
        "python3 RECOVER weekly.strongroom --key-file backup_key_new.key --get PAYMENTS_API_KEY --signer "
    )
    bare = typed(other, without + written_down, {"RECOVER": ROOT / "ops" / "recover" / "recover.py"})
    assert (bare.code, bare.out) == (0, "CANARY-payments"), bare
