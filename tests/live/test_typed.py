"""What kit and runbook print, typed word for word on a clean machine, for every kind of key and place.

Not typed: how an Azure or Vault target is copied, which the kit leaves to their own tools.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import subprocess
import sys
import termios
from html import unescape
from itertools import cycle
from pathlib import Path

import pytest

from strongroom.targets.directory import MARKER
from tests.cli.program import ROOT, SCRIPT, Machine
from tests.live.key_services import CUSTODIANS
from tests.live.ministack import MiniStack
from tests.live.openbao import OpenBao
from tests.live.softhsm import PIN, SoftHsm
from tests.patience import PATIENCE

KEYS = ("hsm", "hsm-aes", "bao", "kms-eu", "board", "emergency", "mixed", "rec", "box", "words")
SECRETS = ["DATABASE_PASSWORD", "JWT_SECRET_KEY", "REDIS_PASSWORD"]
OWN = """
[keys.mixed]
kind = "all-of"
legs = [["bao"], ["kms-us"], ["box"]]
[keys.rec]
kind = "hpke"
public_key_file = "rec.key.pub"
[keys.box]
kind = "keyfile"
file = "box"
[keys.words]
kind = "passphrase"
file = "words"
"""
POLICY = """
[policies.all]
kind = "full"
targets = ["place"]
recipients = {keys}
quorum = 1
regions = 1
[targets.place]
"""
DIRECTORY = 'kind = "directory"\npath = "place"\nregion = "x"\n'


def sealed_for(*few: str) -> pytest.MarkDecorator:
    """Give a test the keys that its backup is sealed for: by each of them a person brings it back.

    Four tests share all of them; where the long ones run, each has all.
    """
    each = [few, pytest.param(KEYS, marks=pytest.mark.long)]
    return pytest.mark.parametrize("keys", each, ids=["few", "all"])


def furnish(machine: Machine, place: str, keys: tuple[str, ...]) -> None:
    machine.ok("keys", "new", "--output", "rec.key")
    machine.ok("keys", "new", "--algorithm", "AES256", "--output", "box")
    machine.path("words").write_text("CANARY-PASSPHRASE six words nobody would guess")
    machine.path("words").chmod(0o600)
    config = machine.path("strongroom.toml")
    text = config.read_text() + OWN + POLICY.format(keys=list(keys)).replace("'", '"') + place
    config.write_text(text)


def at_a_shell(machine: Machine, lines: str, answers: dict[str, cycle[str]]) -> tuple[int, str]:
    """Type lines into a shell on a terminal; answer each question whose last line has one of these words."""
    ours, theirs = pty.openpty()
    programs = f'''set -e; strongroom() {{ "{sys.executable}" "{SCRIPT}" "$@"; }}
python3() {{ "{sys.executable}" "$@"; }}
'''
    process = subprocess.Popen(
        ["bash", "-c", programs + lines],
        cwd=machine.home,
        env=machine.env | {"TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread
    )
    os.close(theirs)
    shown = ""
    try:
        while block := os.read(ours, 4096):
            shown += block.decode(errors="replace")
            question = shown.replace("\r", "").rpartition("\n")[2]
            asked = [words for kind, words in answers.items() if kind in question.lower()]
            if question.endswith(": ") and asked:  # any other line may be read in two parts, too
                os.write(ours, f"{next(asked[0])}\n".encode())
                shown += "\n"
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(timeout=PATIENCE), shown


@pytest.fixture
def other(site: Machine, hsm: SoftHsm, own_openbao: OpenBao) -> Machine:
    """A clean machine that may use the token, and is logged in to Vault and AWS."""
    machine = Machine(site.home.parent / "other")
    machine.env |= {name: value for name, value in site.env.items() if name.startswith("AWS_")} | hsm.env
    own_openbao.token_file(machine.home).path.rename(machine.path(".vault-token"))
    return machine


def blocks(kit: Path) -> dict[str, str]:
    """Return what a kit says to type, by the title above it."""
    sections = kit.read_text().split("<h2>")[1:]
    return {
        unescape(one.partition("</h2>")[0]): unescape(one.partition("<pre>")[2].partition("</pre>")[0])
        for one in sections
    }


def carry(house: Machine, other: Machine, kit: Path) -> dict[str, str]:
    """Carry the keys that lie in files, and the kit's strongroom.toml; the house is gone."""
    found = blocks(kit)
    other.path("strongroom.toml").write_text(found["strongroom.toml"])
    for name in ("rec.key", "box", "words", "board.quorum"):
        house.path(name).rename(other.path(name))
    return found


def put_in(lines: str, other: Machine) -> str:
    """Put in the paths that a person is told to correct, and nothing else."""
    files = {"rec": "rec.key", "board": "board.quorum"}
    lines = re.sub(
        r"/path/to/(rec|box|words|board)\b", lambda m: str(other.path(files.get(m[1], m[1]))), lines
    )
    lines = lines.replace("/path/to/strongroom.toml", str(other.path("strongroom.toml")))
    return lines.replace("/path/to/ops", str(ROOT / "ops")).replace("/mnt/copy", str(other.path("copy")))


def brings_back(house: Machine, other: Machine, lines: str, *, ways: int) -> None:
    papers = [(house.home.parent / "papers" / who).read_text() for who in CUSTODIANS[:3]]
    code, shown = at_a_shell(other, put_in(lines, other), {"pin": cycle([PIN]), "share": cycle(papers)})
    assert code == 0, shown
    assert shown.count("compared once more at the end") == ways, shown
    assert shown.replace("\r", "").count("\n" + "\n".join(SECRETS) + "\n") == ways, shown
    assert other.ok("get", "JWT_SECRET_KEY", "--show-value").out.strip().endswith("CANARY-JWT")


@sealed_for("hsm", "bao", "rec")
def test_a_directory_comes_back_by_the_kit(site: Machine, other: Machine, keys: tuple[str, ...]) -> None:
    furnish(site, DIRECTORY, keys)
    site.path("place").mkdir()
    (site.path("place") / MARKER).touch()
    site.ok("backup", "--policy", "all", "--force")
    site.ok("emergency", "kit", "--output", "kit.html")
    printed = carry(site, other, site.path("kit.html"))
    lines = printed["What to type: policy 'all', from a copy of a target 'place'"]
    brings_back(site, other, lines, ways=len(keys))


@sealed_for("hsm-aes", "mixed", "emergency")
def test_a_bucket_comes_back_by_the_kit(
    site: Machine, other: Machine, ministack: MiniStack, keys: tuple[str, ...]
) -> None:
    bucket = ministack.make_bucket(f"typed-{len(keys)}", versioned=True, locking=True)
    furnish(
        site,
        f'kind = "s3"\nbucket = "{bucket}"\nprefix = "prod"\nregion = "eu-central-1"\n'
        f'endpoint_url = "{ministack.endpoint}"\n',
        keys,
    )
    site.ok("backup", "--policy", "all", "--force")
    site.ok("emergency", "kit", "--output", "kit.html")
    printed = carry(site, other, site.path("kit.html"))
    lines = printed["What to type: policy 'all', from a copy of a target 'place'"]
    brings_back(site, other, lines, ways=len(keys))


@sealed_for("kms-eu", "box", "words")
def test_a_backup_file_comes_back_by_the_kit(site: Machine, other: Machine, keys: tuple[str, ...]) -> None:
    furnish(site, DIRECTORY, keys)
    recipients = [word for key in keys for word in ("--recipient", key)]
    site.ok("backup", "a b.sr", "--include-values", "--force", *recipients)
    site.ok("emergency", "kit", "--output", "kit.html")
    printed = carry(site, other, site.path("kit.html"))
    brings_back(site, other, printed["What to type: the file a b.sr"], ways=len(keys))


@sealed_for("board", "hsm", "words")
@pytest.mark.parametrize("printed_on", [pytest.param("kit", marks=pytest.mark.long), "runbook"])
def test_a_medium_comes_back_by_kit_and_runbook(
    site: Machine, other: Machine, printed_on: str, keys: tuple[str, ...]
) -> None:
    furnish(site, DIRECTORY, keys)
    config = site.path("strongroom.toml")
    config.write_text(
        config.read_text().replace("quorum = 1", 'quorum = 1\noffline = true\nschedule = "0 3 1 * *"')
    )
    site.path("place").mkdir()
    (site.path("place") / MARKER).touch()
    backup = site.ok("emergency", "backup", "all", "--force", "--json").document["id"]
    folder = site.path("place") / "emergency" / backup
    printed = carry(site, other, folder / "kit.html")
    runbook = (folder / "RUNBOOK.md").read_text()
    lines = [line.strip() for line in runbook.splitlines() if line.startswith(" " * 7)]
    lines = [line for line in lines if not line.startswith("sr1:")]
    by = {
        "kit": printed["What to type: policy 'all', from its medium 'place'"],
        "runbook": f"cd '{site.path('place')}'\n" + "\n".join(lines),
    }
    brings_back(site, other, by[printed_on], ways=len(keys))
