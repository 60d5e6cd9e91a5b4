"""Every command that reads backups asks who made them and whether they were set aside, or says why not."""

from __future__ import annotations

import ast
import shutil
from argparse import ArgumentParser
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import strongroom
from strongroom.cli import parser
from strongroom.cli.backups_read import READ_NONE, READS, QuarantineRule, Trust
from strongroom.cli.table import COMMANDS
from strongroom.container.errors import UntrustedSigner
from strongroom.container.marks import Distrusted, TrustList, sign_list
from strongroom.container.signing import Signer
from strongroom.keys import rolelist
from strongroom.operations.errors import BackupQuarantined, SetAside
from tests.cli.conftest import stock
from tests.cli.furnished import Furnish
from tests.cli.program import Machine
from tests.cli.test_quarantine import set_aside
from tests.cli.test_right_backup import NAMES, house, ids, keep_house, lost, signer
from tests.process import ROOT

__all__ = ["house", "lost"]

MOMENT = "2026-11-25T02:45:01Z"
PUBLIC = {"strongroom.open", "strongroom.Client"}
Words = tuple[str, ...]


# -- the table is complete -----------------------------------------------------------


def test_every_command_says_what_it_asks_or_that_it_reads_no_backup() -> None:
    none = list(chain.from_iterable(READ_NONE.values()))
    assert len(none) == len(set(none))
    assert not set(none) & set(READS)
    assert set(none) | set(READS) - PUBLIC == set(COMMANDS)


def options_of(of: ArgumentParser) -> set[str]:
    """Return the options of a command and of its actions."""
    actions = [action.choices.values() for action in of._actions if isinstance(action.choices, dict)]
    return set(of._option_string_actions).union(*map(options_of, chain.from_iterable(actions)))


@pytest.mark.parametrize("name", sorted(set(COMMANDS)))
def test_its_options_are_those_of_what_it_asks(name: str) -> None:
    given = options_of(parser.parser_of(name))
    asks = READS.get(name)
    assert ("--any-signer" in given) == (asks is not None and asks.trust is Trust.ASKS)
    if asks is not None and asks.trust in (Trust.ASKS, Trust.ASKS_FOR_A_NAME):
        assert "--signer" in given
    assert ("--use-quarantined" in given) == (asks is not None and asks.aside is QuarantineRule.REFUSES)


# -- each asks -----------------------------------------------------------------------

KEY = ("--identity", "recovery.key")
TARGET = ("--from-target", "east", *KEY)
FILE = ("--backup-file", "full.sr", *KEY)
DRY = ("--full-restore", "--dry-run")
TRIED: dict[str, tuple[Words, ...]] = {
    "backups verify": (
        ("backups", "verify", "east"),
        ("backups", "verify", "full.sr", *KEY),
        ("backups", "verify", "one.srct"),
        ("backups", "verify", "--opens", "east", *KEY),
        ("backups", "verify", "--opens", "full.sr", *KEY),
    ),
    "list": (("list", *TARGET), ("list", *FILE)),
    "get": (("get", NAMES[0], *TARGET), ("get", NAMES[0], *FILE)),
    "backups diff": (("backups", "diff", *TARGET),),
    "restore": (
        ("restore", *DRY, *TARGET),
        ("restore", *DRY, *FILE),
        ("restore", "--dry-run", "--secret-name", NAMES[0], *TARGET),
    ),
    "check secrets": (("check", "secrets", *TARGET), ("check", "secrets", *FILE)),
    "drill local": (("drill", "local", *TARGET), ("drill", "local", *FILE)),
    "backups find": (("backups", "find", NAMES[0], *TARGET),),
    "backups history": (("backups", "history", NAMES[0], *TARGET),),
    "backups show": (
        ("backups", "show", "east"),
        ("backups", "show", "full.sr"),
        ("backups", "verify", "--structure", "east"),
        ("backups", "verify", "--structure", "full.sr"),
    ),
    "backups rebuild": (("backups", "rebuild", "--from", "east"),),
    "backups list": (("backups", "list", "--from-target", "east"),),
    "check machine": (("check", "machine", *FILE),),
    "keys replace": (
        ("keys", "replace", "full.sr", "--current-key", "recovery.key", "--new-key", "new.key"),
    ),
    "emergency escrow": (("emergency", "escrow", "keys.sr", "--open", *KEY),),
}
ELSEWHERE = {
    "recover": "tests/cli/test_recover.py",
    "restore snapshot": "tests/live/test_raft_cli.py",
    "strongroom.open": "tests/cli/test_python.py",
}
"""Those that a server, a person or a program has to be there for, and the file of tests that tries them."""


def turned(names: list[str]) -> list[str]:
    """Turn a list by one, so that what falls out of the samples of two tests is in those of two others."""
    return [*names[1:], names[0]]


def test_every_command_that_asks_is_tried() -> None:
    asking = {name for name, one in READS.items() if one.trust is not Trust.OWN}
    assert not TRIED.keys() & ELSEWHERE.keys()
    assert asking == TRIED.keys() | ELSEWHERE.keys()
    for file in ELSEWHERE.values():
        assert "UntrustedSigner" in (ROOT / file).read_text(), file


def with_files(house: Machine) -> None:
    """Add a backup file, one container alone and an escrow."""
    house.ok("backup", "full.sr", "--include-values", "--force", "--recipient", "recovery")
    house.ok("emergency", "escrow", "keys.sr", "--recipient", "recovery")
    pieces = house.path("regions/east/containers").rglob("*")
    sealed = next(path for path in pieces if path.is_file() and path.read_bytes().startswith(b"SRCT"))
    shutil.copy(sealed, house.path("one.srct"))


@pytest.fixture
def filed(house: Machine, furnish: Furnish) -> Machine:
    furnish(house, stock, keep_house, with_files)
    return house


@pytest.fixture
def bare(filed: Machine, other: Machine) -> Machine:
    """A machine without an installation, on which a copy of a target and the files lie."""
    shutil.copytree(filed.path("regions/east"), other.path("east"))
    for name in ("full.sr", "one.srct", "keys.sr", "recovery.key"):
        shutil.copy(filed.path(name), other.path(name))
    return other


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("name", [one for one in TRIED if READS[one].trust is not Trust.SHOWS])
def test_what_nobody_trusted_here_signed_is_refused_with_the_ways_on(
    filed: Machine, bare: Machine, name: str
) -> None:
    fingerprint = signer(filed)
    for words in TRIED[name]:
        refused = bare.run(*words)
        assert refused.failed_with(UntrustedSigner), (words, refused)
        assert f"--signer {fingerprint}" in refused.err, refused
        assert "erified" not in refused.out, refused
        assert ("--any-signer" in refused.err) == (READS[name].trust is Trust.ASKS), refused


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("name", [one for one in TRIED if READS[one].trust is Trust.ASKS])
def test_anybody_s_is_taken_on_request_as_if_the_maker_were_named_and_never_called_verified(
    filed: Machine, bare: Machine, name: str
) -> None:
    for words in TRIED[name]:
        named = bare.run(*words, "--signer", signer(filed))
        anybody = bare.run(*words, "--any-signer")
        assert anybody.code == named.code, (named, anybody)
        assert "nobody knows who made this" in anybody.err, anybody
        assert "nobody knows" not in named.err, named
        assert "erified" not in anybody.out.partition("VERIFIED")[0], anybody
    if name == "backups verify":
        assert "Intact. Maker unknown." in anybody.out, anybody
        assert bare.run(*words, "--any-signer", "--json").document["signer_known"] is False


@pytest.mark.parametrize("name", [one for one in TRIED if READS[one].trust is Trust.SHOWS])
def test_what_shows_a_strangers_backup_says_that_its_maker_is_unknown(bare: Machine, name: str) -> None:
    for words in TRIED[name]:
        shown = bare.ok(*words)
        assert "aker unknown" in shown.out, shown
        assert "erified" not in shown.out, shown
        found = bare.ok(*words, "--json").document
        assert {one["signer_known"] for one in found.get("backups", [found])} == {False}, found


def distrust(house: Machine) -> None:
    """Distrust every key that signs, as after a theft of all of them."""
    for one in house.ok("keys", "signers", "list", "--json").document["signers"]:
        house.ok("keys", "signers", "distrust", one["fingerprint"], "--reason", "laptop lost", "--force")


@pytest.fixture
def distrusted(filed: Machine, furnish: Furnish) -> Machine:
    furnish(filed, stock, keep_house, with_files, distrust)
    return filed


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("name", turned([one for one in TRIED if one != "emergency escrow"]))
def test_what_a_distrusted_key_signed_is_13_in_every_command(distrusted: Machine, name: str) -> None:
    for words in TRIED[name]:
        ways: tuple[Words, ...] = ((), ("--any-signer",)) if READS[name].trust is Trust.ASKS else ((),)
        for way in ways:
            done = distrusted.run(*words, *way)
            assert done.failed_with(UntrustedSigner), (words, done)
            assert "laptop lost" in " ".join((done.out + done.err).split()), done


def distrust_on_targets(filed: Machine, *places: Path) -> None:
    """Publish a trust list that distrusts every key which signs: nothing else than the targets says so."""
    keys = filed.state / "keys" / "roles"
    found = chain.from_iterable(rolelist.read(keys).roles.values())
    distrusted = sorted(one.certificate.key for one in found)
    made = TrustList(
        number=1,
        distrusted=tuple(Distrusted(key=key, since=MOMENT, reason="laptop lost") for key in distrusted),
        successor=None,
        made_at=MOMENT,
    )
    private = bytes.fromhex((keys / "installation.key").read_text().split()[2])
    content = sign_list(made, Signer.from_private(private))
    for place in places:
        (place / "trust").mkdir()
        (place / made.object_name).write_bytes(content)


@pytest.mark.parametrize("name", [one for one in TRIED if READS[one].trust is Trust.ASKS])
def test_a_trust_list_on_a_target_is_heeded_by_who_pins_the_installation(
    filed: Machine, bare: Machine, name: str
) -> None:
    distrust_on_targets(filed, bare.path("east"))
    for words in (one for one in TRIED[name] if "east" in one):
        done = bare.run(*words, "--signer", signer(filed))
        assert done.failed_with(UntrustedSigner), (words, done)
        assert "laptop lost" in " ".join(done.err.split()), done


def test_no_depth_of_what_does_not_count_enters_the_catalog(distrusted: Machine) -> None:
    before = distrusted.ok("backups", "replicas", "--json").document["replicas"]
    backup = ids(distrusted)["monthly-full"]
    words = ("backups", "verify", "east", "--backup", backup, *KEY)
    for way in ((), ("--any-signer",), ("--signer", signer_of(distrusted))):
        distrusted.run(*words, *way)
    assert distrusted.run("check", "backups", "--depth", "opened").failed_with(UntrustedSigner)
    assert distrusted.run("backups", "rebuild", "--from", "east").failed_with(UntrustedSigner)
    assert distrusted.ok("backups", "replicas", "--json").document["replicas"] == before


def signer_of(house: Machine) -> str:
    """Return the key that signs manifests: naming it believes it again, for one command."""
    listed = house.ok("keys", "signers", "list", "--json").document["signers"]
    return str(next(one["fingerprint"] for one in listed if one["role"] == "control"))


OWN: dict[str, tuple[Words, ...]] = {
    "check backups": (("check", "backups"),),
    "alerts send": (("alerts", "send"),),
    "keys rotate": (("keys", "rotate", "monthly-full", *KEY),),
    "check machine": (("check", "machine", *KEY),),
    "backups rebuild": (("backups", "rebuild", "--from", "east"),),
}


@pytest.mark.parametrize("name", OWN)
def test_commands_of_the_installation_end_with_13_where_a_key_is_distrusted(
    distrusted: Machine, name: str
) -> None:
    for words in OWN[name]:
        done = distrusted.run(*words)
        assert done.failed_with(UntrustedSigner), (words, done)


def put_aside(house: Machine) -> str:
    """Put the newest full backup, and the file, into quarantine; return the former."""
    newest = set_aside(house)
    file = house.ok("backups", "show", "full.sr", "--json").document["backup"]
    words = ("--reason", "made while the server was under attack", "--quarantine-only", "--force")
    house.ok("incident", "open", "--backup", file, "--output", "q2.json", *words)
    return newest


@pytest.fixture
def aside(filed: Machine, furnish: Furnish) -> str:
    return str(furnish(filed, stock, keep_house, with_files, put_aside))


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("name", turned([one for one in TRIED if READS[one].aside is QuarantineRule.REFUSES]))
def test_what_is_in_quarantine_is_refused_and_taken_aloud_on_request(
    filed: Machine, aside: str, name: str
) -> None:
    whole = [words for words in TRIED[name] if "one.srct" not in words]  # its key tells which backup it is of
    for words in (one if "full.sr" in one else (*one, *which(one, aside)) for one in whole):
        refused = filed.run(*words)
        assert refused.failed_with(BackupQuarantined), (words, refused)
        assert "under attack" in refused.err or "incident" in refused.err
        used = filed.run(*words, "--use-quarantined")
        assert not used.failed_with(BackupQuarantined), (words, used)
        assert "this backup is in quarantine since" in " ".join(used.err.split()), used


def which(words: Words, backup: str) -> Words:
    return (backup, "live") if "diff" in words else ("--backup", backup)


@pytest.mark.parametrize("name", [one for one in TRIED if READS[one].aside is QuarantineRule.SHOWS])
def test_what_shows_a_backup_in_quarantine_says_so_and_ends_with_70(
    filed: Machine, aside: str, name: str
) -> None:
    for words in TRIED[name]:
        done = filed.run(*words, "--json")
        assert done.failed_with(SetAside), (words, done)
        known = (aside, filed.run("backups", "show", "full.sr", "--json").document["backup"])
        assert any(backup in done.document["error"]["message"] for backup in known), done


def test_the_record_says_what_is_in_quarantine_too(filed: Machine, aside: str) -> None:
    rebuilt = filed.run("backups", "rebuild", "--from", "east")
    assert rebuilt.failed_with(SetAside)
    assert aside in rebuilt.err
    listed = filed.ok("backups", "list").out
    assert {aside in line for line in listed.splitlines() if "in quarantine" in line} == {False, True}
    assert aside in filed.ok("backups", "replicas", "--json").document["quarantined"]


# -- in Python -----------------------------------------------------------------------

READ = ({"file_or_target": "full.sr"}, {"file_or_target": "east"}, {"file_or_target": "one.srct"})


def enter(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Be a program on a machine; return what opens backups there."""
    for name, value in machine.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(machine.home)
    return {"identity": "recovery.key"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("read", READ, ids=str)
def test_a_program_is_refused_a_strangers_and_told_that_its_maker_is_unknown(
    bare: Machine, monkeypatch: pytest.MonkeyPatch, read: dict[str, Any]
) -> None:
    key: Any = enter(bare, monkeypatch)
    with pytest.raises(UntrustedSigner), strongroom.open(**read, **key):
        pass
    with strongroom.open(**read, **key, trust_any=True) as backup:
        assert (NAMES[0] in backup.names(), backup.maker_known) == (True, False)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("read", READ, ids=str)
def test_no_word_of_a_program_gets_past_a_distrusted_key(
    distrusted: Machine, monkeypatch: pytest.MonkeyPatch, read: dict[str, Any]
) -> None:
    key: Any = enter(distrusted, monkeypatch)
    own = distrusted.ok("keys", "signers", "list", "--json").document["installation"]
    for words in ({}, {"trust_any": True}, {"signer": own}):
        with pytest.raises(UntrustedSigner), strongroom.open(**read, **key, **words):
            pass


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_program_is_refused_what_is_in_quarantine_unless_it_says_so(
    filed: Machine, aside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key: Any = enter(filed, monkeypatch)
    for read in ({"file_or_target": "full.sr"}, {"file_or_target": "east", "backup": aside}):
        words: dict[str, Any] = dict(read)
        with pytest.raises(BackupQuarantined), strongroom.open(**words, **key):
            pass
        with strongroom.open(**words, **key, use_quarantined=True) as backup:
            assert (NAMES[0] in backup.names(), "since" in backup.quarantine) == (True, True)


# -- the code has no other way -------------------------------------------------------

ANYBODY_S = {
    "who signed is judged by what is read, and nothing is believed before": (
        *("strongroom/operations/archive/reading.py", "strongroom/cli/shared/opening.py"),
        *("strongroom/api/opened_backup.py", "strongroom/cli/shared/inspection.py"),
    ),
    "its digest, its name or another signature was held against something trusted already": (
        *(
            "strongroom/operations/archive/envelopes.py",
            "strongroom/operations/rotation/reencrypt.py",
        ),
    ),
    "whose it is, it is sorted by afterwards": (
        *("strongroom/keys/rolelist.py", "strongroom/keys/hostlist.py"),
        "strongroom/operations/engine/trust_lists.py",
    ),
    "what is looked for is whose it is": (
        *("strongroom/operations/procedures/re_sign.py", "strongroom/operations/retention/delete.py"),
        "strongroom/operations/archive/open.py",
    ),
}
"""The modules that read something whoever signed it, by the reason."""


def test_each_place_that_reads_whoever_signed_is_known() -> None:
    known = set(chain.from_iterable(ANYBODY_S.values()))
    found = {
        name
        for name, text in modules()
        if "trusted=None" in text and any(map(_believes_anybody, ast.walk(ast.parse(text))))
    }
    own = {name for name in found if name.startswith("strongroom/container/")}  # which knows nobody
    assert found - own == known, "ask as the others do, or say here why it need not be asked"


def _believes_anybody(node: ast.AST) -> bool:
    """Tell whether a call says that anybody's signature will do."""
    return (
        isinstance(node, ast.keyword)
        and node.arg == "trusted"
        and isinstance(node.value, ast.Constant)
        and node.value.value is None
    )


def modules() -> Iterator[tuple[str, str]]:
    for path in chain.from_iterable((ROOT / one).rglob("*.py") for one in ("strongroom", "workers", "tasks")):
        yield str(path.relative_to(ROOT)), path.read_text()


def test_what_is_public_in_python_and_reads_is_in_the_table() -> None:
    assert {name.partition(".")[2] for name in PUBLIC} <= set(strongroom.__all__)
