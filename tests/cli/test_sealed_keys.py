"""Keys that a passphrase seals, from keys new to the restore, as people and machines use them."""

from __future__ import annotations

from pathlib import Path

import pytest

import strongroom
from strongroom.container.errors import WrongKey
from strongroom.errors import UsageError
from strongroom.keys.errors import PassphraseNeeded, WrongPassphrase
from tests.cli.program import Machine
from tests.cli.terminal import Terminal
from tests.recover.test_recover import run as recover

WORDS = "CANARY-words six of them nobody would guess"


@pytest.fixture
def words(machine: Machine) -> Path:
    return written(machine, "words", WORDS)


def written(machine: Machine, name: str, content: str) -> Path:
    path = machine.path(name)
    path.write_text(f"{content}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def backup(machine: Machine, words: Path) -> Path:
    """A backup for a private key that a passphrase seals."""
    machine.ok("keys", "new", "--output", "recovery.key", "--passphrase-file", words)
    machine.set("PAYMENTS", "CANARY-value")
    machine.ok("backup", "full.sr", "--include-values", "--force", "--recipient", "recovery.key.pub")
    return machine.path("full.sr")


GET = ("get", "PAYMENTS", "--backup-file", "full.sr", "--show-value", "--identity", "recovery.key")


def test_it_opens_with_its_passphrase_from_a_file_and_from_the_environment(
    machine: Machine, backup: Path, words: Path
) -> None:
    assert "CANARY-value" in machine.ok(*GET, "--passphrase-file", words).out
    assert "CANARY-value" in machine.ok(*GET, STRONGROOM_PASSPHRASE=WORDS).out
    assert "CANARY-value" in machine.ok(*GET, STRONGROOM_PASSPHRASE_FILE=str(words)).out
    assert backup.exists()


def test_without_a_terminal_or_with_another_passphrase_it_is_said_what_is_missing(
    machine: Machine, backup: Path
) -> None:
    none, wrong = machine.run(*GET), machine.run(*GET, STRONGROOM_PASSPHRASE="CANARY-wrong")

    assert none.failed_with(PassphraseNeeded), none
    assert "recovery.key" in none.err
    assert wrong.failed_with(WrongPassphrase), wrong
    assert backup.exists()


def test_a_person_is_asked_for_the_passphrase_of_which_file_and_may_mistype(
    machine: Machine, backup: Path
) -> None:
    with Terminal(machine, *GET) as terminal:
        terminal.answer("Passphrase of 'recovery.key': ", "CANARY-slip")
        terminal.answer("Passphrase of 'recovery.key': ", WORDS)
        assert terminal.end() == 0
    assert "CANARY-value" in terminal.said
    assert backup.exists()


def test_keygen_asks_twice_warns_of_what_can_be_guessed_and_writes_nothing_at_a_slip(
    machine: Machine,
) -> None:
    with Terminal(machine, "keys", "new", "--output", "new.key", "--passphrase") as terminal:
        terminal.answer("Passphrase for the new key's file: ", "CANARY")
        terminal.answer("again: ", "CANARY-other")
        assert terminal.end() == UsageError.exit_code
    assert not machine.path("new.key").exists()
    with Terminal(machine, "keys", "new", "--output", "new.key", "--passphrase") as terminal:
        terminal.answer("Passphrase for the new key's file: ", "CANARY")
        terminal.answer("again: ", "CANARY")
        assert terminal.end() == 0
    assert "is weak" in terminal.said
    assert machine.path("new.key").read_text().startswith("strongroom-sealed-private-key-1 ")


def test_a_key_that_is_there_is_never_overwritten_nor_is_anybody_asked(machine: Machine, words: Path) -> None:
    machine.ok("keys", "new", "--output", "recovery.key")
    before = machine.path("recovery.key").read_bytes()
    machine.path("recovery.key.pub").unlink()

    done = machine.run("keys", "new", "--output", "recovery.key", "--passphrase-file", words)

    assert done.code != 0
    assert machine.path("recovery.key").read_bytes() == before
    assert not machine.path("recovery.key.pub").exists()


def test_a_passphrase_is_given_changed_and_taken_away_by_writing_the_key_again(
    machine: Machine, backup: Path, words: Path
) -> None:
    other = written(machine, "other", "CANARY-another six words in a row")
    again = ("keys", "new", "--from")
    renewed = ("--output", "b.key", "--passphrase-file", other)
    machine.ok(*again, "recovery.key", *renewed, STRONGROOM_PASSPHRASE=WORDS)
    machine.ok(*again, "b.key", "--output", "c.key", STRONGROOM_PASSPHRASE_FILE=str(other))
    get = [word if word != "recovery.key" else "b.key" for word in GET]

    assert machine.run(*get, "--passphrase-file", words).failed_with(WrongPassphrase)
    assert "CANARY-value" in machine.ok(*get, "--passphrase-file", other).out
    assert "CANARY-value" in machine.ok(*(w if w != "b.key" else "c.key" for w in get)).out
    publics = {machine.path(f"{name}.key.pub").read_text() for name in ("recovery", "b", "c")}
    assert (len(publics), backup.exists()) == (1, True)


def test_a_sealed_key_file_seals_and_opens(machine: Machine, words: Path) -> None:
    machine.ok("keys", "new", "--algorithm", "AES256", "--output", "safe.key", "--passphrase-file", words)
    machine.set("PAYMENTS", "CANARY-value")
    seal = ("backup", "full.sr", "--include-values", "--force", "--recipient", "safe.key")

    assert machine.run(*seal).failed_with(PassphraseNeeded)
    machine.ok(*seal, STRONGROOM_PASSPHRASE_FILE=str(words))

    get = [word if word != "recovery.key" else "safe.key" for word in GET]
    assert machine.run(*get).failed_with(PassphraseNeeded)
    assert "CANARY-value" in machine.ok(*get, "--passphrase-file", words).out


def test_configured_keys_ask_only_where_something_is_to_be_opened(machine: Machine, words: Path) -> None:
    machine.ok("keys", "new", "--output", "recovery.key", "--passphrase-file", words)
    machine.path("strongroom.toml").write_text(
        '[keys.recovery]\nkind = "hpke"\npublic_key_file = "recovery.key.pub"\n'
        'identity_file = "recovery.key"\n'
        '[keys.open]\nkind = "keyfile"\nfile = "open.key"\n'
    )
    machine.ok("keys", "new", "--algorithm", "AES256", "--output", "open.key")
    machine.set("PAYMENTS", "CANARY-value")
    machine.ok("backup", "full.sr", "--include-values", "--force", "--recipient", "recovery")

    listed = machine.ok("keys", "list", "--json").document["configured"]
    assert {name: one["sealed"] for name, one in listed.items()} == {"recovery": True, "open": False}
    assert "'strongroom up' starts" in machine.ok("check", "config").out
    verify = ("backups", "verify", "full.sr")
    assert machine.run("get", "PAYMENTS", "--backup-file", "full.sr").failed_with(PassphraseNeeded)
    assert "opened" in machine.ok(*verify, STRONGROOM_PASSPHRASE_FILE=str(words)).out
    assert machine.run(
        "get", "PAYMENTS", "--backup-file", "full.sr", STRONGROOM_PASSPHRASE="CANARY"
    ).failed_with(WrongPassphrase)


def test_what_another_key_sealed_is_the_wrong_key_and_nobody_is_asked(machine: Machine, backup: Path) -> None:
    machine.ok("keys", "new", "--output", "other.key", "--passphrase-file", "words")
    get = [word if word != "recovery.key" else "other.key" for word in GET]

    assert machine.run(*get).failed_with(WrongKey)
    assert backup.exists()


def test_recover_py_opens_with_it(machine: Machine, backup: Path, words: Path) -> None:
    given = (backup, "--private-key", machine.path("recovery.key"))

    opened = recover(*given, "--passphrase-file", words, "--get", "PAYMENTS")
    assert (opened.returncode, opened.stdout) == (0, b"CANARY-value"), opened
    refused = recover(*given, "--get", "PAYMENTS")
    assert (refused.returncode, b"recovery.key" in refused.stderr) == (10, True), refused


def test_a_trial_of_all_keys_goes_on_without_the_passphrase_and_proves_the_key_with_it(
    machine: Machine, words: Path
) -> None:
    machine.ok("keys", "new", "--output", "recovery.key", "--passphrase-file", words)
    machine.ok("keys", "new", "--algorithm", "AES256", "--output", "open.key")
    machine.ok("init", "--target", f"a={machine.path('a')}", "--public-key", "recovery.key.pub")
    config = machine.state / "strongroom.toml"
    private = f'[keys.recovery]\nidentity_file = "{machine.path("recovery.key")}"'
    spare = f'[keys.open]\nkind = "keyfile"\nfile = "{machine.path("open.key")}"\n\n'
    text = config.read_text().replace("[keys.recovery]", f"{spare}{private}", 1)
    config.write_text(text.replace('recipients = ["recovery"]', 'recipients = ["recovery", "open"]'))
    machine.set("PAYMENTS", "CANARY-value")
    machine.ok("backup", "--policy", "monthly-full", "--force")

    without, given = machine.run("check", "keys", "--json"), ("--passphrase-file", words)
    outcomes = {one["label"]: (one["outcome"], one["why"]) for one in without.document["tried"]}
    assert (outcomes["recovery"][0], outcomes["open"]) == ("away", ("opened", ""))
    assert "PassphraseNeeded" in outcomes["recovery"][1]
    assert without.code == 0

    proven = machine.ok("check", "keys", "--json", *given).document["tried"]
    assert {one["label"]: one["outcome"] for one in proven} == {"recovery": "opened", "open": "opened"}


def test_the_interface_in_python_takes_the_passphrase_of_a_key(backup: Path, machine: Machine) -> None:
    key = machine.path("recovery.key")

    with strongroom.open(backup, identity=key, passphrase=WORDS, trust_any=True) as opened:
        assert opened["PAYMENTS"].reveal() == b"CANARY-value"
    with (
        strongroom.open(backup, identity=key, trust_any=True) as opened,
        pytest.raises(PassphraseNeeded),
    ):
        opened.names()
