"""A whole server: backed up into one file, lost, and brought back on an empty one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.operations.archive.open import open_backup
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.restore.journal import Restored
from strongroom.operations.restore.restore import chosen, restore
from strongroom.sources import SecretChange
from strongroom.sources.vault import VaultSource, reading, records
from strongroom.sources.vault.writing import TIMES
from strongroom.state.records import RunState
from strongroom.targets.single_file import BundleReader
from strongroom.vault.client import Vault
from tests.live.openbao import OpenBao, dev_server
from tests.live.vault_parts import READ, RESTORE, shipped, source_of, with_policies
from tests.live.vault_seeds import Seeds, everything
from tests.operations.world import World, make_world

ELSEWHERE = (
    ('"+/', '"deep/er/secret/'),
    ('"+/', '"team/sub/'),
    ('"kv1/', '"plain/'),
    ('"kv1/', '"team/sub/plain/'),
)
"""The mounts and the namespace that the printed policies do not name."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def back_up(world: World, source: VaultSource, path: Path) -> None:
    recipients = [world.identity.recipient()]
    backup_to_file(path, source=source, recipients=recipients, services=world.services())


def bring_back(world: World, path: Path, destination: VaultSource, *, overwrite: bool = False) -> Restored:
    with BundleReader(path) as bundle:
        backup = open_backup(bundle, identities=[world.identity], trusted=None)
        return restore(lambda: chosen(backup), destination, overwrite=overwrite)


def test_a_lost_server_comes_back_as_it_was(
    openbao_seeded: Seeds, own_openbao: OpenBao, world: World, tmp_path: Path
) -> None:
    before = everything(openbao_seeded.server)
    with_policies(own_openbao, elsewhere=ELSEWHERE)
    back_up(world, source_of(openbao_seeded.server, tmp_path, *READ), tmp_path / "backup")
    destination = source_of(own_openbao, tmp_path, *RESTORE)
    done = bring_back(world, tmp_path / "backup", destination)
    after = everything(own_openbao)
    assert {name: (before[name], after.get(name)) for name in before if before[name] != after.get(name)} == {}
    assert after.keys() == before.keys()
    assert done.compared == done.created
    assert_losses(destination.losses(), openbao_seeded)


def test_bringing_back_twice_changes_nothing(openbao_seeded: Seeds, world: World, tmp_path: Path) -> None:
    server = openbao_seeded.server
    back_up(world, source_of(server, tmp_path, *READ), tmp_path / "backup")
    before = everything(server)
    destination = source_of(server, tmp_path, *RESTORE)
    done = bring_back(world, tmp_path / "backup", destination, overwrite=True)
    assert (done.created, done.changed, done.left) == (0, 0, 0)
    assert everything(server) == before
    assert destination.losses() == ()


def test_a_policy_that_hides_names_makes_the_backup_degraded(
    own_openbao: OpenBao, world: World, tmp_path: Path
) -> None:
    for number in range(20):
        own_openbao.put("secret/", f"app/{number}", {"value": "CANARY"})
    own_openbao.policy("all", shipped("backup-read"))
    login = own_openbao.app_role(tmp_path, "backup", ["all"])
    source = VaultSource(Vault(own_openbao.connection(tmp_path, login=login)), system=False)
    services = world.services(sources={"vault": source})
    assert world.back_up(services).state is RunState.DONE
    own_openbao.policy("all", shipped("backup-read") + HIDING)
    run = world.back_up(services)
    assert run.state is RunState.DEGRADED
    assert "holds 9 secrets where 20 were expected" in (run.error or "")


HIDING = """
path "secret/metadata/app/" {
  capabilities = ["list"]
  list_scan_response_keys_filter_path = "secret/data/app/{{ .key }}"
}
path "secret/detailed-metadata/app/" {
  capabilities = ["list"]
  list_scan_response_keys_filter_path = "secret/data/app/{{ .key }}"
}
path "secret/data/app/1*" { capabilities = ["deny"] }
"""
"""Eleven of twenty names are not listed any more, and nobody is told."""


def test_what_no_backup_holds_is_said(own_openbao: OpenBao, tmp_path: Path) -> None:
    own_openbao.call("POST", "sys/mounts/pki", {"type": "pki"})
    own_openbao.call("POST", "sys/mounts/lock", {"type": "transit"})
    own_openbao.mount("scratch")
    own_openbao.mount("backups")
    source = source_of(
        own_openbao, tmp_path, exclude_mounts=("scratch",), leave_out=("backups",), system=False
    )
    said = source.not_contained()
    for words in ("pki/: certificate", "lock/: transit keys", "scratch/: a KV mount", "backups/: a KV mount"):
        assert any(line.startswith(words) for line in said), words
    for words in ("tokens, leases", "identity entities", "policies, auth methods"):
        assert any(line.startswith(words) for line in said), words


def test_a_namespace_is_left_out_with_all_that_is_in_it_and_that_is_said(
    own_openbao: OpenBao, tmp_path: Path
) -> None:
    """Which is how a token backs up that may not see all of them."""
    for namespace in ("team", "team/sub", "other"):
        own_openbao.namespace(namespace)
        own_openbao.mount("kv", namespace=namespace)
        own_openbao.put("kv/", "a", {"value": "CANARY"}, namespace=namespace)
    source = source_of(own_openbao, tmp_path, exclude_mounts=("team",))
    names = {entry.name for entry in source.list()}
    assert "other/kv/a" in names
    assert not [name for name in names if "team" in name]
    assert "team/: a namespace that the settings leave out, with all that is in it" in source.not_contained()


@pytest.mark.parametrize("minutes", [10, -10])
def test_a_clock_that_is_wrong_here_changes_nothing(
    own_openbao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    """Whether a version is gone the server's clock decides."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(minutes=minutes)

    for module in (reading, records):
        monkeypatch.setattr(module, "datetime", Wrong)
    own_openbao.call("POST", "secret/metadata/soon", {"delete_version_after": "5m"})
    for name in ("soon", "gone"):
        own_openbao.put("secret/", name, {"value": "CANARY"})
    own_openbao.call("DELETE", "secret/data/gone")
    source = source_of(own_openbao, tmp_path, system=False)
    found = {secret.name: secret.current.state for secret in source.read(list(source.list())) if secret}
    assert found == {"secret/soon": VersionState.LIVE, "secret/gone": VersionState.DELETED}


def test_a_mount_that_is_asked_for_and_not_there_is_no_empty_backup(
    own_openbao: OpenBao, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="'missing/'"):
        list(source_of(own_openbao, tmp_path, mounts=("secret", "missing")).list())


def test_what_a_mount_forgets_by_itself_is_said(own_openbao: OpenBao, tmp_path: Path) -> None:
    """``undelete`` stamps a new time of deletion as long as the mount says so: it cannot take one away."""
    own_openbao.call("POST", "secret/config", {"delete_version_after": "24h"})
    destination = source_of(own_openbao, tmp_path)
    live = tuple(SecretVersion(number=n, value=SecretBytes(b"{}"), media=Media.JSON) for n in (1, 2))
    destination.write([SecretChange(secret=Secret(name="secret/a", versions=live), expected=None)])
    own_openbao.call("POST", "secret/undelete/a", {"versions": [1, 2]})
    versions = own_openbao.data("secret/metadata/a")["versions"]
    assert all(version["deletion_time"] for version in versions.values())
    assert destination.losses() == (
        "'secret/a', version 1-2: will delete itself 24h0m0s from now, as the mount says for all",
    )


def test_history_is_not_pushed_out_by_what_is_restored_on_top(own_openbao: OpenBao, tmp_path: Path) -> None:
    for number in range(1, 11):
        own_openbao.put("secret/", "a", {"v": number})
    live = tuple(SecretVersion(number=n, value=SecretBytes(b"{}"), media=Media.JSON) for n in range(1, 6))
    destination = source_of(own_openbao, tmp_path)
    destination.write([SecretChange(secret=Secret(name="secret/a", versions=live), expected=10)])
    found = own_openbao.data("secret/metadata/a")
    assert sorted(map(int, found["versions"])) == list(range(1, 16))
    assert found["max_versions"] == 0


def test_a_secret_that_kv_version_1_cannot_keep_is_refused(own_openbao: OpenBao, tmp_path: Path) -> None:
    own_openbao.mount("kv1", version=1)
    version = SecretVersion(number=1, value=SecretBytes(b"CANARY"))
    change = SecretChange(secret=Secret(name="kv1/a", versions=(version,)), expected=None)
    with pytest.raises(SourceError, match="KV version 1 keeps one version"):
        source_of(own_openbao, tmp_path).write([change])


def test_custom_metadata_beyond_the_limits_is_said(own_openbao: OpenBao, tmp_path: Path) -> None:
    version = SecretVersion(number=1, value=SecretBytes(b"{}"), media=Media.JSON)
    secret = Secret(name="secret/a", versions=(version,), tags={"good": "x", "long": "y" * 600})
    destination = source_of(own_openbao, tmp_path)
    destination.write([SecretChange(secret=secret, expected=None)])
    (found,) = destination.read([ListedSecret("secret/a", 0)])
    assert found is not None
    assert found.tags == {"good": "x"}
    assert destination.kept(found) == destination.kept(secret)
    assert any("'tag.long'" in line for line in destination.losses())


def test_a_mark_of_ours_that_somebody_set_by_hand_comes_back(own_openbao: OpenBao, tmp_path: Path) -> None:
    """It vanished without a word, and what was restored compared as equal."""
    marked = {"strongroom.wrapped": "true", "owner": "someone"}
    own_openbao.call("POST", "secret/metadata/a", {"custom_metadata": marked})
    own_openbao.put("secret/", "a", {"user": "CANARY"})
    source = source_of(own_openbao, tmp_path)
    (found,) = source.read([ListedSecret("secret/a", 0)])
    assert found is not None
    source.delete(["secret/a"])
    source.write([SecretChange(secret=found, expected=None)])
    assert own_openbao.data("secret/metadata/a")["custom_metadata"] == marked
    assert own_openbao.data("secret/data/a")["data"] == {"user": "CANARY"}


def assert_losses(losses: tuple[str, ...], seeds: Seeds) -> None:
    """Each difference that there may be is listed, and nothing else."""
    assert TIMES in losses
    deleted = {line.split("'")[1] for line in losses if "marked as deleted again" in line}
    assert deleted == seeds.deleted
    other = {line.split(": ", 1)[1] for line in losses if line != TIMES and "marked as deleted" not in line}
    assert other == {
        "will delete itself later than it would have",
        "secret ids cannot be read, so its clients need new ones",
    }


@pytest.fixture(scope="module")
def openbao_seeded() -> Iterator[Seeds]:
    with dev_server() as server:
        with_policies(server, elsewhere=ELSEWHERE)
        yield Seeds(server)
