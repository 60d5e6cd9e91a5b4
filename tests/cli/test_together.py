"""Backups that need several at once: a key *and* k of n custodians with their papers."""

from __future__ import annotations

import pytest

from strongroom.container.errors import WrongKey
from strongroom.errors import StrongroomError
from strongroom.keys.quorum.ceremony import Ceremony
from strongroom.keys.quorum.record import ShareMistyped, ShareRepeated, SharesTooFew, SharesTooMany
from tests.cli.conftest import stock
from tests.cli.program import Machine

CONFIG = """
[keys.host]
kind = "keyfile"
file = "host.key"

[keys.board]
kind = "quorum"
file = "board.quorum"

[keys.both]
kind = "all-of"
legs = [["host"], ["board"]]
"""


@pytest.fixture
def site(machine: Machine) -> Machine:
    """A machine whose backup `both.sr` needs its key file and two of three custodians."""
    stock(machine)
    machine.ok("keys", "new", "--output", "host.key", "--algorithm", "AES256")
    ceremony = Ceremony(
        name="board", custodians=["Ada", "Ben", "Cleo"], threshold=2, created_at="2026-11-25T00:00:00Z"
    )
    for who in ceremony.custodians:
        words = " ".join(ceremony.show())
        ceremony.confirm(words)
        machine.path(who).write_text(words)
        machine.path(who).chmod(0o600)
    machine.path("board.quorum").write_bytes(ceremony.finish().encode())
    machine.path("board.quorum").chmod(0o644)
    machine.path("strongroom.toml").write_text(CONFIG)
    machine.ok("backup", "both.sr", "--include-values", "--force", "--recipient", "both")
    return machine


def test_everything_comes_back_with_the_key_and_two_shares(site: Machine, other: Machine) -> None:
    for name in ("host.key", "board.quorum", "Ada", "Cleo", "both.sr"):
        other.path(name).write_bytes(site.path(name).read_bytes())
        other.path(name).chmod(0o600)
    signer = site.ok("backups", "show", "both.sr", "--json").document["signer"]
    restored = other.ok(
        *("restore", "--backup-file", "both.sr", "--full-restore", "--signer", signer, "--json"),
        *("--identity", "host.key", "--quorum", "board.quorum", "--share", "Ada", "--share", "Cleo"),
    ).document
    assert restored["created"] == 3
    assert other.ok("get", "JWT_SECRET_KEY", "--show-value", "--json").document["value"] == "CANARY-JWT"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("--share", "Ada", "--share", "Ben"), None),
        (("--share", "Ada"), SharesTooFew),
        (("--share", "Ada", "--share", "Ada"), ShareRepeated),
        (("--share", "Ada", "--share", "Ben", "--share", "Cleo"), SharesTooMany),
        ((), WrongKey),
    ],
    ids=["enough", "too few", "one twice", "too many", "none"],
)
def test_only_just_enough_custodians_open(
    site: Machine, words: tuple[str, ...], kind: type[StrongroomError] | None
) -> None:
    done = site.run("backups", "verify", "--opens", "both.sr", *words)
    assert done.failed_with(kind) if kind else done.code == 0, done
    assert "Traceback" not in done.err


def test_the_custodians_alone_do_not_open(site: Machine) -> None:
    site.path("host.key").rename(site.path("away"))
    assert site.run(
        "backups", "verify", "--opens", "both.sr", "--share", "Ada", "--share", "Ben"
    ).failed_with(WrongKey)


def test_a_mistyped_word_is_named(site: Machine) -> None:
    words = site.path("Ada").read_text().split()
    site.path("Ada").write_text(" ".join([*words[:4], "zzz", *words[5:]]))
    done = site.run("backups", "verify", "--opens", "both.sr", "--share", "Ada", "--share", "Ben")
    assert done.failed_with(ShareMistyped), done
    assert "5" in done.err, done


def test_the_report_says_in_words_who_can_open(site: Machine) -> None:
    shown = site.ok("backups", "show", "both.sr").out
    assert "all of these together" in shown
    assert "2 of 3 custodians" in shown
