"""check machine, as a person types it on the day, or on a quiet one."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

from strongroom.cli.commands.checks.single_file import run_guarded
from strongroom.config import ConfigProblems
from strongroom.container.errors import MissingPiece, Truncated, UntrustedSigner, VerificationFailed
from strongroom.operations.engine.findings import Finding
from strongroom.operations.errors import NothingOpens
from strongroom.system.errors import KeyFileExposed
from strongroom.targets.errors import TargetUnavailable
from tests.cli.conftest import configure, stock
from tests.cli.furnished import furnished
from tests.cli.program import PASSPHRASE, REGIONS, Machine
from tests.cli.test_imports import loads
from tests.keys.quorum.made import made

COMMAND = "check machine"
OPENS = {"STRONGROOM_PASSPHRASE": PASSPHRASE}


def wrong(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["check"], one["code"]) for one in document["checks"] if one["state"] == "wrong"]


def everything_under(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_the_procedures_command_line_makes_nothing_on_a_machine_where_nothing_is(machine: Machine) -> None:
    done = machine.run(COMMAND)
    assert done.failed_with(MissingPiece)
    assert "Nothing can be recovered here: no backup was found that a recovery could start from" in done.out
    assert everything_under(machine.home) == []


# -- a file ------------------------------------------------------------------------


def test_a_file_is_asked_about_without_configuration_or_state(sealed: Machine, other: Machine) -> None:
    file = shutil.copy(sealed.path("full.sr"), other.path("full.sr"))
    other.path("strongroom.toml").write_text("this = is [no TOML")
    before = everything_under(other.home)
    words = (COMMAND, "--backup-file", file, "--json")
    stranger = other.run(*words, **OPENS)
    assert stranger.failed_with(UntrustedSigner)
    assert wrong(stranger.document) == [("signers", "UntrustedSigner")]
    signer = sealed.ok("backups", "show", "full.sr", "--json").document["signer"]
    ready = other.ok(*words, "--signer", signer, **OPENS).document
    assert (ready["ready"], wrong(ready)) == (True, [])
    closed = other.ok(*words, "--signer", signer).document
    assert [one["what"] for one in closed["checks"] if one["state"] == "remark"][-1].startswith(
        "opens here once"
    )
    assert everything_under(other.home) == before


def test_asking_about_a_file_loads_nothing_heavy(sealed: Machine) -> None:
    assert loads(sealed, *COMMAND.split(), "--backup-file", "full.sr", **OPENS) == "[]"


def test_a_file_that_cannot_be_restored_says_why(stocked: Machine) -> None:
    stocked.ok("keys", "new", "--output", "away.key")
    stocked.ok("backup", "full.sr", "--include-values", "--force", "--recipient", "away.key.pub")
    stocked.ok("backup", "names.json", "--force")
    whole = stocked.path("full.sr").read_bytes()
    stocked.path("cut.sr").write_bytes(whole[: len(whole) // 2])
    for name, expected in (
        ("full.sr", ("opens", "NothingOpens")),
        ("names.json", ("backup", "UsageError")),
        ("cut.sr", ("backup", "Truncated")),
        ("none.sr", ("backup", "MissingPiece")),
    ):
        done = stocked.run(COMMAND, "--backup-file", name, "--json")
        assert wrong(done.document) == [expected]
        assert done.code != 0
    stocked.ok(COMMAND, "--backup-file", "full.sr", "--identity", "away.key")


# -- an installation -----------------------------------------------------------------


def keep_house(machine: Machine) -> None:
    machine.ok("backup", "--policy", "full", "--force")


house = furnished(stock, configure, keep_house)


def test_it_is_said_what_opens_here_and_who_else_could(house: Machine) -> None:
    done = house.run(COMMAND)
    assert done.failed_with(NothingOpens)
    assert "nothing here opens it; it opens for the holder of the private key `recovery`" in done.out
    assert "could not recover now: 1 wrong" in done.out
    ready = house.ok(COMMAND, "--identity", "recovery.key")
    assert "opens here with the private key" in ready.out
    assert "This machine could recover now" in ready.out
    assert "CANARY" not in done.out + done.err + ready.out + ready.err


def test_a_dead_region_is_a_remark_and_all_of_them_are_wrong(house: Machine) -> None:
    words = (COMMAND, "--identity", "recovery.key", "--json")
    house.path("regions/dublin").rename(house.path("away"))
    one = house.ok(*words).document
    targets = {each["target"]: each["state"] for each in one["checks"] if each["check"] == "target"}
    assert targets == {"frankfurt": "good", "dublin": "remark", "toronto": "good"}
    for name in REGIONS[::2]:
        shutil.rmtree(house.path(f"regions/{name}"))
    done = house.run(*words)
    assert done.failed_with(TargetUnavailable)
    assert wrong(done.document) == [*[("target", "TargetUnavailable")] * 3, ("backup", "MissingPiece")]


def containers(machine: Machine) -> list[Path]:
    """The one container of the newest backup, on each target in their order."""
    under = (machine.path(f"regions/{name}/containers") for name in REGIONS)
    return [next(path for path in each.rglob("*") if path.is_file()) for each in under]


def test_a_damaged_replica_is_no_key_that_lacks_and_a_remark_as_long_as_another_opens(house: Machine) -> None:
    words = (COMMAND, "--identity", "recovery.key", "--json")
    first, *others = containers(house)
    first.chmod(0o600)
    first.write_bytes(first.read_bytes()[:-1])
    done = house.ok(*words).document
    opening = [(one["state"], one["target"]) for one in done["checks"] if one["check"] == "opens"]
    assert opening == [("remark", REGIONS[0]), ("good", "")]
    for path in others:
        path.unlink()
    none = house.run(*words)
    assert none.failed_with(Truncated)
    assert wrong(none.document) == [("opens", "Truncated")]


def test_a_backup_that_was_found_damaged_on_every_target_is_nothing_to_recover_from(house: Machine) -> None:
    for count, path in enumerate(containers(house), 1):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(content)
        house.run("check", "backups", "--check-integrity")
        done = house.run(COMMAND, "--identity", "recovery.key", "--json")
        everywhere = count == len(REGIONS)
        assert done.code == (VerificationFailed.exit_code if everywhere else 0)
        assert (("backup", "VerificationFailed") in wrong(done.document)) is everywhere


def test_what_is_wrong_with_files_and_configuration_is_named(house: Machine) -> None:
    words = (COMMAND, "--identity", "recovery.key", "--json")
    key = house.state / "keys" / "store.key"
    key.chmod(0o644)
    exposed = house.run(*words)
    assert exposed.failed_with(KeyFileExposed)
    assert ("files", "KeyFileExposed") in wrong(exposed.document)
    key.chmod(0o600)
    toml = house.path("strongroom.toml")
    toml.write_text(f'{toml.read_text()}\n[policies.full2]\nkind = "full"\n')
    broken = house.run(*words)
    assert broken.failed_with(ConfigProblems)
    assert wrong(broken.document) == [("configuration", "ConfigProblems")]


def test_a_key_that_fails_is_wrong_only_where_nothing_else_opens(house: Machine) -> None:
    toml = house.path("strongroom.toml")
    toml.write_text(f'{toml.read_text()}\n[keys.gone]\nkind = "keyfile"\nfile = "gone.key"\n')
    ready = house.ok(COMMAND, "--identity", "recovery.key", "--json").document
    assert {one["target"]: one["state"] for one in ready["checks"] if one["check"] == "key"} == {
        "recovery": "good",
        "gone": "remark",
    }
    closed = house.run(COMMAND, "--json")
    assert closed.failed_with(NothingOpens)
    assert ("key", "KeyFileUnreadable") in wrong(closed.document)


def test_looking_at_a_machine_with_a_configuration_alone_makes_nothing(
    house: Machine, other: Machine
) -> None:
    for name in ("strongroom.toml", "recovery.key.pub", "recovery.key"):
        shutil.copy(house.path(name), other.path(name))
    shutil.copytree(house.path("regions"), other.path("regions"))
    before = everything_under(other.home)
    signer = _signer(house)
    stranger = other.run(COMMAND, "--identity", "recovery.key")
    assert stranger.failed_with(UntrustedSigner)
    other.ok(COMMAND, "--identity", "recovery.key", "--signer", signer)
    assert everything_under(other.home) == before


def _signer(machine: Machine) -> str:
    found: str = machine.ok("keys", "signers", "list", "--json").document["installation"]
    return found


def test_what_the_operating_system_refuses_stops_no_other_check() -> None:
    def refused() -> list[Finding]:
        raise PermissionError(errno.EACCES, "CANARY", "/srv/private")

    [found] = run_guarded("files", refused)
    assert (found.state.value, found.code, found.what) == (
        "wrong",
        "UsageError",
        f"/srv/private: {os.strerror(errno.EACCES)}.",
    )


def test_custodians_are_named_and_their_shares_open(configured: Machine) -> None:
    quorum, papers = made()
    configured.path("board.quorum").write_bytes(quorum.encode())
    toml = configured.path("strongroom.toml")
    text = toml.read_text().replace('recipients = ["recovery"]', 'recipients = ["board"]')
    toml.write_text(f'{text}\n[keys.board]\nkind = "quorum"\nfile = "board.quorum"\n')
    configured.ok("backup", "--policy", "full", "--force")
    asked = configured.ok(COMMAND, "--json").document
    [opens] = [one for one in asked["checks"] if one["check"] == "opens"]
    assert (opens["state"], "once somebody is asked" in opens["what"]) == ("remark", True)
    shares: list[str | Path] = []
    for number, paper in enumerate(papers[:3]):
        file = configured.path(f"share{number}")
        file.write_text(paper)
        file.chmod(0o600)
        shares += ["--share", file]
    few = configured.ok(COMMAND, *shares[:4], "--json").document
    assert [one["state"] for one in few["checks"] if one["check"] == "opens"] == ["remark"]
    done = configured.ok(COMMAND, *shares, "--json")
    assert [one["state"] for one in done.document["checks"] if one["check"] == "opens"] == ["good"]
    assert papers[0] not in done.out + done.err
