"""The installation key goes off the machine, comes back for one command, and is handed over to another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from strongroom.container.errors import UntrustedSigner
from strongroom.container.signing import Signer
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import roles
from strongroom.keys.quorum.record import combine, parse, split
from tests.cli.program import Machine
from tests.cli.test_quorum import Table, at_table
from tests.cli.test_signers import house, installation, signers
from tests.cli.test_trust_travels import recovered, target

__all__ = ["house"]


def beside(machine: Machine) -> Path:
    return Path(machine.state, "keys/roles/installation.key")


def test_a_machine_is_set_up_with_its_installation_key_on_a_medium_and_a_spare_pinned(
    machine: Machine,
) -> None:
    stick, spare = machine.path("stick.key"), machine.path("spare.key")
    done = machine.ok("init", "--installation-key-to", stick, "--spare-key-to", spare)
    assert "not on this machine" in done.out
    assert not beside(machine).exists()
    assert {path.stem for path in beside(machine).parent.glob("*.key")} == set(roles.ROLES)
    shared = beside(machine).parent.parent
    assert {path.stem for path in shared.glob("*.key")} == {"work", "digest"}, "to be copied to other hosts"
    assert roles.read_installation_key(stick).fingerprint == installation(machine)
    pinned = roles.read_installation_key(spare).fingerprint
    assert f'signers = ["{pinned}"]' in Path(machine.state, "strongroom.toml").read_text()
    assert machine.ok("check", "config", "--json").document["settings"]["trust"]["signers"] == [pinned]


def test_without_a_terminal_init_leaves_the_installation_key_to_whoever_makes_it(machine: Machine) -> None:
    machine.ok("init")
    assert not beside(machine).parent.exists()


def test_it_is_remarked_until_it_is_gone_and_its_words_certify(house: Machine) -> None:
    def remarked() -> bool:
        return any(
            "signers offline" in one for one in house.ok("check", "config", "--json").document["remarks"]
        )

    assert remarked()
    refused = house.run("keys", "signers", "offline")
    assert refused.failed_with(UsageError)
    assert "--to FILE" in refused.err
    key = roles.read_installation_key(beside(house))
    done = house.ok("keys", "signers", "offline", "--to", "stick.key", "--json").document
    assert (done["removed"], done["installation"]) == (True, key.fingerprint)
    assert not beside(house).exists()
    assert not remarked()
    assert house.run("keys", "signers", "rotate", "control").failed_with(ConfigError)

    words = [share.mnemonic for share in split(key.private_bytes(), threshold=2, count=3)]
    for number, text in enumerate(words):
        house.path(f"share{number}").write_text(text)
        house.path(f"share{number}").chmod(0o600)
    one = house.run("keys", "signers", "rotate", "control", "--installation-share", "share2")
    assert "2 shares" in one.err
    house.ok(
        *("keys", "signers", "rotate", "control", "--installation-share", "share2"),
        *("--installation-share", "share0", "--installation-share", "share1"),
    )
    assert len(signers(house)) == 2
    other = split(Signer.generate().private_bytes(), threshold=1, count=1)
    house.path("other").write_text(other[0].mnemonic)
    house.path("other").chmod(0o600)
    refused = house.run("keys", "signers", "rotate", "control", "--installation-share", "other")
    assert refused.failed_with(ConfigError)
    assert "another installation" in refused.err


def test_after_a_planned_change_the_printed_line_opens_what_the_new_key_certified(
    house: Machine, other: Machine
) -> None:
    printed = installation(house)
    done = house.ok("keys", "signers", "hand-over", "--force", "--json").document
    assert done["before"] == printed
    now = installation(house)
    assert now == done["installation"] != printed
    house.ok("keys", "signers", "rotate")  # by the new key alone
    house.ok("backup", "--policy", "all", "--force")
    key = ("--key-file", house.path("recovery.key"))
    for pin in (printed, now):
        other.ok("backups", "verify", target(house), "--signer", pin, "--depth", "digest")
        assert recovered(house, "--signer", pin, *key).returncode == 0
    first, second = sorted(target(house).glob("manifests/*.json"))
    assert json.loads(second.read_text())["body"]["trust"] == 2
    named = ("--backup", first.stem)
    assert recovered(house, "--signer", printed, *key, *named).returncode == 0
    assert other.run("backups", "verify", target(house), "--signer", now, *named).failed_with(UntrustedSigner)
    for backup in (first, second):
        house.ok("backups", "verify", "region-a", "--backup", backup.stem, "--depth", "digest")


def test_a_leak_after_the_hand_over_is_told_to_who_pins_the_line_before(
    house: Machine, other: Machine
) -> None:
    printed = installation(house)
    house.ok("keys", "signers", "hand-over", "--force")
    house.ok("backup", "--policy", "all", "--force")
    leaked = signers(house)[0]["fingerprint"]
    house.ok("keys", "signers", "distrust", leaked, "--reason", "leak", "--force")
    words = ("backups", "verify", target(house), "--signer", printed, "--depth", "digest")
    assert other.run(*words).failed_with(UntrustedSigner)
    house.ok("keys", "signers", "re-sign", "--force")
    other.ok(*words)


def test_the_spare_goes_on_where_the_first_key_is_lost(house: Machine, other: Machine) -> None:
    spare = house.ok("keys", "signers", "offline", "--spare", "--to", "spare.key", "--json").document["spare"]
    house.ok("keys", "signers", "hand-over", "--successor", "spare.key", "--force")
    assert installation(house) == spare
    assert not beside(house).exists(), "the one before certifies nothing any more"
    house.ok("keys", "signers", "rotate", "control", "--installation-key", "spare.key")
    house.ok("backup", "--policy", "all", "--force")
    other.ok("backups", "verify", target(house), "--signer", spare, "--depth", "digest")


def test_another_host_goes_on_with_the_list_of_keys_that_it_had(house: Machine, other: Machine) -> None:
    folder = Path(other.state, "keys/roles")
    folder.mkdir(parents=True)
    shutil.copy(Path(house.state, "keys/roles/trusted.json"), folder)
    house.ok("keys", "signers", "hand-over", "--force")
    house.ok("backup", "--policy", "all", "--force")
    other.ok("backups", "verify", target(house), "--depth", "digest")


def test_on_a_terminal_it_goes_onto_paper_and_comes_back_by_its_words(house: Machine) -> None:
    key = roles.read_installation_key(beside(house))
    table = Table(slips={"Ada": 1})
    code, shown = at_table(house, "keys", "signers", "offline", "--custodian", "Ada", answer=table.answer)
    assert code == 0, shown
    assert "Not yet right: word 5 is not what was shown." in shown
    assert not beside(house).exists()
    [share] = [parse(" ".join(words)) for words in table.papers.values()]
    assert combine([share]) == key.private_bytes()

    def typed(screen: str) -> bytes | None:
        return f"{share.mnemonic}\n".encode() if screen.endswith("(Enter: without): ") else None

    code, shown = at_table(house, "keys", "signers", "rotate", "control", answer=typed)
    assert code == 0, shown
    assert "version 2 signs" in shown


def test_a_ceremony_that_is_left_leaves_the_key_where_it_was(house: Machine) -> None:
    words = ("keys", "signers", "offline", "--custodian", "Ada", "--custodian", "Chi")
    table = Table(leaves="Chi")

    def ends(screen: str) -> bytes | None:
        return b"\x04" if screen.endswith("camera sees the screen. ") else table.answer(screen)

    for answer, expected in ((table.answer, 130), (ends, 4)):
        code, shown = at_table(house, *words, answer=answer)
        assert code == expected, shown
        assert "Burn what was written" in shown, "these words are of the key that stays in use"
        assert beside(house).exists()


@pytest.mark.parametrize("first", [(), ("backup", "--policy", "all", "--force")], ids=["new", "backed-up"])
def test_whatever_a_host_does_first_after_its_key_is_offline_needs_no_certificate(
    house: Machine, machine: Machine, first: tuple[str, ...]
) -> None:
    host = house if first else machine
    host.ok(*first or ("init",))
    host.ok("keys", "signers", "offline", "--to", "stick.key")
    folder = Path(host.state, "keys/roles")
    assert {path.stem for path in folder.glob("*.key")} == set(roles.ROLES)


def test_a_role_of_another_host_is_not_made_anew_before_the_key_goes_offline(house: Machine) -> None:
    verify = roles.request(Path(house.path("elsewhere")), "verify").hex()
    house.ok("keys", "signers", "certify", "verify", verify)
    house.ok("keys", "signers", "offline", "--to", "stick.key")
    assert not Path(house.state, "keys/roles/verify.key").exists()


def test_init_names_the_way_offline_until_the_key_is_there(machine: Machine) -> None:
    assert "strongroom keys signers offline" in machine.ok("init").out
    machine.ok("keys", "signers", "offline", "--to", "stick.key")
    assert "strongroom keys signers offline" not in machine.ok("init").out


def test_init_on_a_terminal_offers_paper_and_a_spare(machine: Machine) -> None:
    table = Table()

    def answer(screen: str) -> bytes | None:
        if screen.endswith("Go on? [y/N] "):
            return b"y\n"
        if screen.endswith("camera sees the screen. "):
            table.turns.append(f"paper {len(table.turns)}")
            return b"\n"
        return table.answer(screen)

    code, shown = at_table(machine, "init", answer=answer)
    assert code == 0, shown
    first, second = (
        Signer.from_private(combine([parse(" ".join(words))])) for words in table.papers.values()
    )
    assert first.fingerprint == installation(machine)
    assert not beside(machine).exists()
    assert second.fingerprint in Path(machine.state, "strongroom.toml").read_text()
