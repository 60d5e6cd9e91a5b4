"""A signing key leaks: what is distrusted on one host counts on no other one, and not for recover.py."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from strongroom.container.errors import TrustListMissing, UntrustedSigner
from strongroom.container.manifest import Counts, ManifestSelection, open_manifest, sign_manifest
from strongroom.container.marks import MAX_NUMBER, TRUST_LIST, Distrusted, TrustList, sign_list
from strongroom.container.signing import CertifiedSigner, Signer
from strongroom.keys import roles
from strongroom.operations.errors import LeftAside, NotCovered
from tests.cli.program import ROOT, Machine
from tests.cli.test_right_backup import words_of
from tests.cli.test_signers import RESTORE, house, installation, signers
from tests.patience import PATIENCE

__all__ = ["house"]

RECOVER = ROOT / "ops" / "recover" / "recover.py"
CONFIG = """
[targets.region-a]
kind = "directory"
path = "{target}"
region = "eu"
"""
SOME = """
[policies.some]
kind = "full"
source = "local"
targets = ["region-b"]
recipients = ["recovery"]
include = ["JWT*"]
quorum = 1
regions = 1
single_recipient_reason = "a test"
"""
MEDIUM = """
[targets.medium]
kind = "directory"
path = "{path}"
region = "safe"
[policies.emergency]
kind = "full"
source = "local"
targets = ["medium"]
recipients = ["recovery"]
schedule = "0 3 1 * *"
offline = true
quorum = 1
regions = 1
single_recipient_reason = "a test"
"""


def target(machine: Machine, name: str = "region-a") -> Path:
    return Path(machine.state, "targets", name)


def stolen_key(machine: Machine, role: str = "control") -> CertifiedSigner:
    return roles.load_role(Path(machine.state, "keys/roles"), role)


def forge(machine: Machine, thief: CertifiedSigner, *, trust: int = 0) -> str:
    """Put a backup of nothing there that is newer than all others, as whoever holds the key may."""
    there = max(target(machine).glob("manifests/*.json"))
    genuine = open_manifest(there.read_bytes(), trusted=None).manifest
    moment = datetime.now(UTC) + timedelta(seconds=60)
    backup = f"{moment:%Y%m%dT%H%M%S%f}Z-00c0ffee"
    forged = msgspec.structs.replace(
        genuine,
        backup_id=backup,
        selection=ManifestSelection(),
        counts=Counts(secrets=0, versions=0, size=0),
        containers=(),
        previous=None,
        trust=trust,
    )
    Path(there.parent, f"{backup}.json").write_bytes(sign_manifest(forged, thief))
    return backup


def second_host(house: Machine, other: Machine) -> Machine:
    """Return another host of the installation, which got its list of keys before anything leaked."""
    folder = Path(other.state, "keys/roles")
    folder.mkdir(parents=True)
    shutil.copy(Path(house.state, "keys/roles/trusted.json"), folder)
    other.path("strongroom.toml").write_text(CONFIG.format(target=target(house)))
    return other


def recovered(house: Machine, *words: object, on: str = "region-a") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", RECOVER, target(house, on), *words, "--list"]
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def distrusted(house: Machine) -> CertifiedSigner:
    thief = stolen_key(house)
    house.ok("keys", "signers", "distrust", thief.fingerprint, "--reason", "host stolen", "--force")
    return thief


def test_a_forgery_is_refused_on_another_host_and_by_recover_after_the_next_backup(
    house: Machine, other: Machine
) -> None:
    pin, there = installation(house), second_host(house, other)
    thief = distrusted(house)
    forged = forge(house, thief)
    house.ok("backup", "--policy", "all", "--force")

    named = ("--backup", forged)
    refused = there.run("backups", "verify", "region-a", *named, "--depth", "digest")
    assert refused.failed_with(UntrustedSigner)
    assert "host stolen" in refused.err
    assert "--any-signer" not in refused.err, "what is known of a key, nobody goes past"
    done = recovered(house, "--signer", pin, *named, "--key-file", house.path("recovery.key"))
    assert done.returncode == 13
    assert "distrusted since" in done.stderr
    whole = recovered(house, "--signer", pin, "--key-file", house.path("recovery.key"))
    assert whole.returncode == 70, "all came out of the true one, and something newer does not count"
    assert forged in whole.stderr

    # Without the target that told it, the host remembers.
    shutil.rmtree(target(house) / "trust")
    assert there.run("backups", "verify", "region-a", *named, "--depth", "digest").failed_with(
        UntrustedSigner
    )


def test_what_a_distrusted_key_signed_is_told_where_nothing_else_holds_everything(house: Machine) -> None:
    whole = house.ok("backup", "--policy", "all", "--force", "--json").document["backup"]
    config = house.path("strongroom.toml")
    config.write_text(config.read_text() + SOME)
    distrusted(house)
    house.ok("backup", "--policy", "some", "--force")
    done = house.run(*RESTORE)
    assert done.failed_with(NotCovered), done
    assert f"more do not count; the newest, {whole}: UntrustedSigner" in words_of(done)
    assert "host stolen" in words_of(done)


def test_a_host_whose_own_key_another_host_distrusted_is_told_before_its_next_backup(
    house: Machine, other: Machine
) -> None:
    there = second_host(house, other)
    shutil.copy(Path(house.state, "keys/roles/control.key"), Path(there.state, "keys/roles"))
    distrusted(house)
    house.ok("backup", "--policy", "all", "--force")

    def told() -> list[str]:
        remarks: list[str] = there.ok("check", "config", "--json").document["remarks"]
        return [one for one in remarks if "role 'control'" in one]

    assert told() == [], "nothing here has read a target"
    there.ok("backups", "verify", "region-a", "--depth", "digest")
    [said] = told()
    assert "host stolen" in said
    assert "strongroom keys signers rotate control" in said


def test_a_target_that_withholds_the_list_is_noticed_by_both(house: Machine, other: Machine) -> None:
    pin = installation(house)
    forged = forge(house, distrusted(house))
    house.ok("backup", "--policy", "all", "--force")
    shutil.rmtree(target(house) / "trust")
    words = ("backups", "verify", target(house), "--signer", pin, "--depth", "digest")
    assert other.run(*words, "--backup", forged).failed_with(TrustListMissing)
    refused = other.run(*words)
    assert refused.failed_with(TrustListMissing)
    assert "trust" in refused.err
    done = recovered(house, "--signer", pin, "--key-file", house.path("recovery.key"))
    assert (done.returncode, done.stdout) == (13, "")
    assert "Trust list 1" in done.stderr
    # A copy of the list beside it helps, whoever brings it.
    shutil.copytree(target(house, "region-b") / "trust", target(house) / "trust")
    assert other.run(*words, "--backup", forged).failed_with(UntrustedSigner)
    assert recovered(house, "--signer", pin, "--key-file", house.path("recovery.key")).returncode == 70


def test_a_list_that_never_was_is_no_longer_missed_once_the_key_that_stated_it_is_distrusted(
    house: Machine, other: Machine
) -> None:
    pin, thief = installation(house), stolen_key(house)
    forged = forge(house, thief, trust=MAX_NUMBER)
    words = ("backups", "verify", target(house), "--signer", pin, "--depth", "digest")
    for refused in (other.run(*words), house.run("backups", "verify", "region-a", "--depth", "digest")):
        assert refused.failed_with(TrustListMissing)
        assert thief.fingerprint in refused.err, "whoever is to distrust it has to know which"
    done = recovered(house, "--signer", pin, "--key-file", house.path("recovery.key"))
    assert done.returncode == 13
    assert f"Backup {forged} states it" in done.stderr

    distrusted(house)
    house.ok("keys", "signers", "re-sign", "--force")
    assert other.run(*words).failed_with(LeftAside), "the true one is sound, and the forged one told"
    assert recovered(house, "--signer", pin, "--key-file", house.path("recovery.key")).returncode == 70


def test_what_the_leaked_key_signed_before_counts_again_once_it_is_signed_anew(
    house: Machine, other: Machine
) -> None:
    pin = installation(house)
    distrusted(house)
    words = ("backups", "verify", target(house), "--signer", pin, "--depth", "digest")
    assert other.run(*words).failed_with(UntrustedSigner)
    house.ok("keys", "signers", "re-sign", "--force")
    other.ok(*words)
    anew = [open_manifest(path.read_bytes(), trusted=None) for path in target(house).glob("manifests/*.r1")]
    assert [(one.certificate.role, one.manifest.trust) for one in anew] == [("recover", 1)]
    assert recovered(house, "--signer", pin, "--key-file", house.path("recovery.key")).returncode == 0


def test_a_target_that_was_away_gets_the_list_with_the_next_backup(house: Machine) -> None:
    away = target(house, "region-c")
    away.rename(away.with_name("away"))
    leaked = signers(house)[0]["fingerprint"]
    done = house.run("keys", "signers", "distrust", leaked, "--reason", "leak", "--force", "--json")
    assert done.document["list"] == 1
    assert list(done.document["missed"]) == ["region-c"]
    assert done.code != 0
    away.with_name("away").rename(away)
    house.ok("backup", "--policy", "all", "--force")
    content = Path(away, "trust/00000001.json").read_bytes()
    [key] = TRUST_LIST.open(content, trusted=frozenset([installation(house)])).statement.distrusted
    assert key.fingerprint == leaked


def test_a_target_that_was_away_gets_the_list_with_what_is_signed_again(
    house: Machine, other: Machine
) -> None:
    pin, thief, away = installation(house), stolen_key(house), target(house, "region-c")
    away.rename(away.with_name("away"))
    house.run("keys", "signers", "distrust", thief.fingerprint, "--reason", "host stolen", "--force")
    away.with_name("away").rename(away)
    house.ok("keys", "signers", "re-sign", "--force")
    other.ok("backups", "verify", away, "--signer", pin, "--depth", "digest")
    done = recovered(house, "--signer", pin, "--key-file", house.path("recovery.key"), on="region-c")
    assert done.returncode == 0, done


def test_without_the_installation_key_a_key_is_distrusted_here_and_it_is_said_what_is_left(
    house: Machine,
) -> None:
    stick = house.path("stick.key")
    Path(house.state, "keys/roles/installation.key").rename(stick)
    leaked = signers(house)[0]["fingerprint"]
    words = ("keys", "signers", "distrust", leaked, "--reason", "leak", "--force", "--json")
    done = house.run(*words)
    assert (done.code, done.document["list"]) != (0, 1)
    assert "--installation-key FILE" in done.err
    assert "distrusted" in signers(house)[0]["state"]
    assert house.ok(*words, "--installation-key", stick).document["list"] == 1
    assert house.ok(*words, "--installation-key", stick).document["list"] == 1, "there is nothing to add"
    assert Path(target(house), "trust/00000001.json").exists()


def test_who_takes_anybody_s_backup_is_told_what_its_maker_says_of_the_key(
    house: Machine, other: Machine
) -> None:
    distrusted(house)
    place, key = target(house), ("--identity", house.path("recovery.key"), "--any-signer")
    for words in (
        ("backups", "verify", place, *key),
        ("backups", "verify", "--opens", place, *key),
        ("restore", "--full-restore", "--dry-run", "--from-target", place, *key),
        ("list", "--from-target", place, *key),
        ("backups", "find", "--from-target", place, *key),
        ("backups", "show", place),
        ("backups", "list", "--from-target", place),
    ):
        refused = other.run(*words)
        assert refused.failed_with(UntrustedSigner), words
        assert "host stolen" in refused.err, words

    house.ok("keys", "signers", "re-sign", "--force")
    assert "Maker unknown" in other.ok("backups", "verify", place, *key).out
    house.ok("backup", "--policy", "all", "--force")
    shutil.rmtree(place / "trust")
    said = other.ok("backups", "verify", place, *key)
    assert "Trust list 1" in said.err, "withheld: nobody is pinned, so it is said and no failure"


def test_a_stranger_s_list_distrusts_no_key_of_another_installation(house: Machine, other: Machine) -> None:
    keys = sorted(str(one["fingerprint"]).removeprefix("sr1:") for one in signers(house))
    moment = "2026-01-01T00:00:00Z"
    lies = tuple(Distrusted(key=key, since=moment, reason="a lie") for key in keys)
    lie = TrustList(number=7, distrusted=lies, successor=None, made_at=moment)
    folder = target(house) / "trust"
    folder.mkdir(exist_ok=True)
    (folder / "00000007.json").write_bytes(sign_list(lie, Signer.generate()))
    house.ok("backups", "verify", "region-a", "--depth", "digest")
    other.ok("backups", "verify", target(house), "--any-signer", "--depth", "digest")
    other.ok("backups", "show", target(house))


def test_a_signed_head_tells_of_a_list_that_is_withheld_before_the_next_backup(
    house: Machine, other: Machine
) -> None:
    pin, place = installation(house), target(house)
    distrusted(house)
    house.ok("ledger", "publish")
    shutil.rmtree(place / "trust")
    key = ("--identity", house.path("recovery.key"), "--signer", pin)
    for words in (
        ("backups", "verify", place, *key),
        ("restore", "--full-restore", "--dry-run", "--from-target", place, *key),
        ("list", "--from-target", place, *key),
        ("backups", "find", "--from-target", place, *key),
    ):
        assert other.run(*words).failed_with(TrustListMissing), words
    done = recovered(house, "--signer", pin, "--key-file", house.path("recovery.key"))
    assert done.returncode == 13
    assert "Trust list 1" in done.stderr


def test_a_medium_in_its_safe_gets_the_list_with_its_next_backup_and_nothing_is_amiss(house: Machine) -> None:
    with house.path("strongroom.toml").open("a") as config:
        config.write(MEDIUM.format(path=house.path("medium")))
    leaked = signers(house)[0]["fingerprint"]
    done = house.ok("keys", "signers", "distrust", leaked, "--reason", "leak", "--force", "--json")
    assert list(done.document["missed"]) == ["medium"]
