"""Every key service of keys through the command line: an HSM, Vault, KMS in two regions, and people.

Then the worst day: a backup that needs the HSM *and* three of five custodians, an installation
that is gone, and nothing at hand but the medium, the token and three pieces of paper.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.keys.errors import PinRefused
from strongroom.keys.quorum.record import SharesTooFew
from tests.cli.program import Machine
from tests.live.moto import Moto
from tests.live.softhsm import PIN, SoftHsm, module
from tests.patience import PATIENCE

LOG_IN = (
    "import pkcs11, sys; pkcs11.lib(sys.argv[1]).get_token(token_label='site').open(user_pin=sys.argv[2])"
)


def shares(machine: Machine, *names: str) -> list[str | Path]:
    papers = machine.home.parent / "papers"
    return [word for name in names for word in ("--share", papers / name)]


@pytest.mark.parametrize("key", ["hsm", "hsm-aes", "bao", "kms-eu", "kms-us"])
def test_each_key_service_alone_opens_what_is_sealed_for_it(site: Machine, key: str) -> None:
    site.ok("backup", "b.sr", "--include-values", "--force", "--recipient", key)
    found = site.ok("get", "JWT_SECRET_KEY", "--backup-file", "b.sr", "--show-value", "--json").document
    assert found["value"] == "CANARY-JWT"


def test_a_region_of_kms_that_is_lost_loses_nothing(site: Machine, shared_moto: Moto) -> None:
    both = ("--recipient", "kms-eu", "--recipient", "kms-us")
    site.ok("backup", "b.sr", "--include-values", "--force", *both)
    client = shared_moto.client("kms", region_name="eu-central-1")
    [key] = client.list_keys()["Keys"]
    client.disable_key(KeyId=key["KeyId"])
    try:
        assert site.ok("backups", "verify", "--opens", "b.sr", "--json").document["secrets"] == 3
    finally:
        client.enable_key(KeyId=key["KeyId"])


def test_a_wrong_pin_is_tried_once_and_a_good_login_by_hand_makes_it_right(
    site: Machine, hsm: SoftHsm
) -> None:
    site.ok("backup", "b.sr", "--include-values", "--force", "--recipient", "hsm", "--recipient", "bao")
    right = site.path("pin").read_text()
    site.path("pin").write_text("CANARY-wrong\n")
    assert site.ok("backups", "verify", "--opens", "b.sr", "--json").document["secrets"] == 3, (
        "Vault opens it too"
    )
    site.ok("backup", "hsm.sr", "--include-values", "--force", "--recipient", "hsm")
    site.path("pin").write_text(right)
    assert site.run("backups", "verify", "--opens", "hsm.sr").failed_with(PinRefused), (
        "a second try might lock the token"
    )
    log_in_by_hand(hsm)
    assert site.ok("backups", "verify", "--opens", "hsm.sr", "--json").document["secrets"] == 3


def log_in_by_hand(hsm: SoftHsm) -> None:
    """Log in as a person would, with another program: a good login sets the token's counter back."""
    done = subprocess.run(
        [sys.executable, "-c", LOG_IN, module(), PIN],
        env=os.environ | hsm.env,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr


def test_an_emergency_backup_comes_back_with_token_papers_and_medium_alone(
    site: Machine, hsm: SoftHsm
) -> None:
    other = Machine(site.home.parent / "other")
    medium = site.home.parent / "medium"
    medium.mkdir()
    site.ok("backup", medium / "all.sr", "--include-values", "--force", "--recipient", "emergency")
    signer = site.ok("backups", "show", medium / "all.sr", "--json").document["signer"]
    shutil.copy(site.path("board.quorum"), medium)
    shutil.rmtree(site.home)
    other.env |= hsm.env
    other.path("pin").write_text(hsm.pin_file.read_text())
    other.path("pin").chmod(0o600)
    other.path("strongroom.toml").write_text(
        '[keys.hsm]\nkind = "pkcs11"\nlabel = "strongroom"\nversion = 3\n'
        f'module = "{module()}"\ntoken = "site"\npin_file = "pin"\n'
    )
    words = ("restore", "--backup-file", medium / "all.sr", "--full-restore", "--signer", signer, "--json")
    quorum = ("--quorum", medium / "board.quorum")
    few = other.run(*words, *quorum, *shares(site, "Ada", "Eve"))
    assert few.failed_with(SharesTooFew), few
    done = other.ok(*words, *quorum, *shares(site, "Ada", "Cleo", "Eve")).document
    assert (done["created"], done["compared"]) == (3, 3)
    assert other.ok("get", "DATABASE_PASSWORD", "--show-value", "--json").document["value"] == "CANARY-DB"
