"""The roles' signing keys and the cluster's own keys: made once, and believed only as listed."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.container.signing import Signer, require_trusted, verify
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import keywrap, rolelist, roles
from strongroom.keys.roles import ROLES, TRUSTED, load_or_create_role, load_role, trusted
from strongroom.system import files

RACERS = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "roles"


def listed(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / TRUSTED).read_text())
    return content


# -- making --------------------------------------------------------------------


def test_a_role_gets_a_key_that_stays_and_is_trusted(folder: Path) -> None:
    signer = load_or_create_role(folder, "seal")

    assert load_or_create_role(folder, "seal").fingerprint == signer.fingerprint
    assert load_role(folder, "seal").public == signer.public
    assert trusted(folder) == {"seal": signer.public}
    verify(trusted(folder)["seal"], b"test", b"message", signer.sign(b"test", b"message"))


def test_every_role_has_a_key_of_its_own(folder: Path) -> None:
    made = {role: load_or_create_role(folder, role).public for role in ROLES}

    assert len(set(made.values())) == len(ROLES)
    assert trusted(folder) == made
    assert roles.believed(folder) == {roles.installation_fingerprint(folder)}


def test_private_halves_are_their_owners_alone_and_public_ones_are_public(folder: Path) -> None:
    load_or_create_role(folder, "seal")

    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}
    assert modes == {"seal.key": 0o600, roles.INSTALLATION: 0o600, TRUSTED: 0o644}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("role", ["", "root", "../seal", "seal.key", "Seal", "a/b"])
def test_there_are_no_other_roles(folder: Path, role: str) -> None:
    with pytest.raises(ConfigError, match="no role"):
        load_or_create_role(folder, role)

    assert not folder.exists()


def test_without_a_list_nobody_is_trusted(folder: Path) -> None:
    assert trusted(folder) == {}
    assert roles.believed(folder) == frozenset()


def _race(folder: Path, index: int, out: multiprocessing.SimpleQueue[tuple[str, str]]) -> None:
    for step in range(len(ROLES)):
        role = ROLES[(step + index) % len(ROLES)]
        out.put((role, load_or_create_role(folder, role).fingerprint))


def _race_cluster(folder: Path, index: int, out: multiprocessing.SimpleQueue[tuple[str, str]]) -> None:
    for name in ("work", "digest")[:: 1 if index % 2 else -1]:
        out.put((name, keywrap.load_or_create(folder, name).hex()))


@pytest.mark.parametrize(("race", "names"), [(_race, len(ROLES)), (_race_cluster, 2)])
def test_processes_that_start_together_make_one_key_each(
    folder: Path, race: Callable[..., None], names: int
) -> None:
    context = multiprocessing.get_context("fork")
    out: multiprocessing.SimpleQueue[tuple[str, str]] = context.SimpleQueue()
    racers = [context.Process(target=race, args=(folder, index, out)) for index in range(RACERS)]
    for racer in racers:
        racer.start()
    found = [out.get() for _ in range(RACERS * names)]
    for racer in racers:
        racer.join()

    assert [racer.exitcode for racer in racers] == [0] * RACERS
    assert len(set(found)) == names


# -- interruptions ---------------------------------------------------------------


def test_a_key_whose_making_was_interrupted_before_the_list_is_trusted(folder: Path) -> None:
    signer = load_or_create_role(folder, "seal")
    content = listed(folder)
    (folder / TRUSTED).write_text(json.dumps({"installation": content["installation"], "roles": {}}))

    assert load_or_create_role(folder, "seal").public == signer.public
    assert trusted(folder) == {"seal": signer.public}


def test_what_an_interrupted_making_left_is_no_obstacle(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".seal.key.0123456789abcdef.part").write_text("half")
    (folder / f".{TRUSTED}.0123456789abcdef.part").write_text("{half, and longer than what follows it" * 20)

    signer = load_or_create_role(folder, "seal")

    assert trusted(folder) == {"seal": signer.public}
    assert sorted(each.name for each in folder.iterdir()) == [roles.INSTALLATION, "seal.key", TRUSTED]


# -- contradictions --------------------------------------------------------------


def test_a_key_that_is_gone_is_not_replaced_behind_the_lists_back(folder: Path) -> None:
    load_or_create_role(folder, "seal")
    before = listed(folder)
    (folder / "seal.key").unlink()

    with pytest.raises(ConfigError, match="is gone"):
        load_or_create_role(folder, "seal")

    assert listed(folder) == before
    assert not (folder / "seal.key").exists()


def test_a_key_that_is_not_the_listed_one_is_refused(folder: Path) -> None:
    load_or_create_role(folder, "seal")
    (folder / "seal.key").unlink()
    private = Signer.generate().private_bytes()
    files.write_line(folder / "seal.key", kind=roles.KIND, variety="Ed25519", content=private)

    with pytest.raises(ConfigError, match="not the one that is trusted") as caught:
        load_or_create_role(folder, "seal")

    assert private.hex() not in str(caught.value)


def test_other_hosts_roles_stay_in_the_list(folder: Path) -> None:
    other = load_or_create_role(folder, "verify")
    (folder / "verify.key").unlink()

    load_or_create_role(folder, "seal")

    assert trusted(folder).keys() == {"seal", "verify"}
    assert trusted(folder)["verify"] == other.public


# -- the installation key ----------------------------------------------------------


def test_one_installation_certifies_every_role(folder: Path) -> None:
    made = [load_or_create_role(folder, role) for role in ROLES]

    assert {one.certificate.fingerprint for one in made} == {roles.installation_fingerprint(folder)}
    assert [one.certificate.role for one in made] == list(ROLES)
    for one in made:
        one.certificate.verify()


def test_without_the_installation_key_certified_roles_go_on_and_a_new_one_says_what_it_needs(
    folder: Path, tmp_path: Path
) -> None:
    signer = load_or_create_role(folder, "seal")
    offline = tmp_path / "stick" / roles.INSTALLATION
    offline.parent.mkdir()
    (folder / roles.INSTALLATION).rename(offline)

    assert load_or_create_role(folder, "seal").public == signer.public
    with pytest.raises(ConfigError, match="installation key") as caught:
        load_or_create_role(folder, "verify")
    assert "signers create verify --installation-key FILE" in (caught.value.hint or "")
    assert not (folder / "verify.key").exists()

    made = load_or_create_role(folder, "verify", installation_key=offline)
    assert made.certificate.fingerprint == signer.certificate.fingerprint
    assert not (folder / roles.INSTALLATION).exists()


def test_another_installations_key_certifies_nothing_here(folder: Path, tmp_path: Path) -> None:
    load_or_create_role(folder, "seal")
    load_or_create_role(tmp_path / "other", "seal")

    with pytest.raises(ConfigError, match="another installation"):
        load_or_create_role(folder, "verify", installation_key=tmp_path / "other" / roles.INSTALLATION)


def test_a_lost_role_key_is_replaced_under_the_same_installation(folder: Path) -> None:
    lost = load_or_create_role(folder, "recover")
    (folder / "recover.key").unlink()

    made = roles.replace(folder, "recover")

    now = load_or_create_role(folder, "recover")
    assert now.public == made.raw != lost.public
    assert now.certificate.fingerprint == lost.certificate.fingerprint
    require_trusted(lost.certificate, roles.believed(folder))


def test_a_key_that_is_here_is_not_replaced_as_lost(folder: Path) -> None:
    load_or_create_role(folder, "recover")
    with pytest.raises(UsageError, match="not lost"):
        roles.replace(folder, "recover")
    with pytest.raises(UsageError, match="never had"):
        roles.replace(folder, "seal")


def test_a_second_hosts_key_is_certified_by_the_first_and_signs_once_the_list_arrives(
    folder: Path, tmp_path: Path
) -> None:
    load_or_create_role(folder, "control")
    second = tmp_path / "second"
    second.mkdir(mode=0o700)
    (second / TRUSTED).write_bytes((folder / TRUSTED).read_bytes())

    public = roles.request(second, "verify")
    assert roles.request(second, "verify") == public
    with pytest.raises(ConfigError):
        load_or_create_role(second, "verify")
    key = roles.certify_key(folder, "verify", public)
    assert roles.certify_key(folder, "verify", public) == key
    (second / TRUSTED).write_bytes((folder / TRUSTED).read_bytes())

    signer = load_or_create_role(second, "verify")
    assert signer.public == public == trusted(folder)["verify"]
    assert signer.certificate.fingerprint == roles.installation_fingerprint(folder)
    assert sorted(each.name for each in second.iterdir()) == [TRUSTED, "verify.key"]


def test_whoever_dies_while_certifying_certifies_by_repeating_it(folder: Path, tmp_path: Path) -> None:
    for call in (1, 2):
        old = load_or_create_role(folder, "verify").public
        second = tmp_path / f"second-{call}"
        second.mkdir(mode=0o700)
        public = roles.request(second, "verify")
        child = multiprocessing.get_context("fork").Process(target=_die_at, args=(folder, public, call))
        child.start()
        child.join()

        assert trusted(folder)["verify"] in {old, public}
        roles.certify_key(folder, "verify", public)
        assert trusted(folder)["verify"] == public
        (folder / "verify.key").write_bytes((second / "verify.next.key").read_bytes())


def _die_at(folder: Path, public: bytes, call: int) -> None:
    real, calls = rolelist.write, [0]

    def dying(where: Path, content: rolelist.RoleKeyList) -> None:
        calls[0] += 1
        if calls[0] == call:
            os._exit(9)
        real(where, content)

    rolelist.write = dying
    roles.certify_key(folder, "verify", public)


def test_no_key_is_certified_for_two_roles(folder: Path) -> None:
    seal = load_or_create_role(folder, "seal")

    with pytest.raises(UsageError, match="the key of role 'seal'"):
        roles.certify_key(folder, "control", seal.public)


def test_a_distrusted_key_is_not_certified_again_and_its_host_makes_another(
    folder: Path, tmp_path: Path
) -> None:
    load_or_create_role(folder, "control")
    second = tmp_path / "second"
    public = roles.request(second, "verify")
    leaked = roles.certify_key(folder, "verify", public)
    roles.distrust(folder, leaked.fingerprint, reason="leak")

    with pytest.raises(UsageError, match="distrusted"):
        roles.certify_key(folder, "verify", public)
    (second / TRUSTED).write_bytes((folder / TRUSTED).read_bytes())
    assert roles.request(second, "verify") != public


def test_of_a_role_only_the_key_that_was_certified_last_goes_on_signing(folder: Path, tmp_path: Path) -> None:
    load_or_create_role(folder, "verify")
    announced = roles.announce(folder, "verify")
    public = roles.request(tmp_path / "second", "verify")
    roles.certify_key(folder, "verify", public)

    keys = rolelist.read(folder).of("verify")
    assert [key.raw for key in keys if key.signs or key.announced] == [public]
    assert next(key.until for key in keys if key.raw == announced.raw)


def test_a_host_that_lost_its_list_does_not_quietly_become_another_installation(folder: Path) -> None:
    load_or_create_role(folder, "seal")
    (folder / roles.INSTALLATION).unlink()
    (folder / TRUSTED).unlink()

    for role in ("seal", "verify"):
        with pytest.raises(ConfigError, match="neither"):
            load_or_create_role(folder, role)
    assert not (folder / roles.INSTALLATION).exists()


def test_a_lost_list_is_not_begun_anew_beside_keys_that_it_may_have_distrusted(folder: Path) -> None:
    leaked = load_or_create_role(folder, "seal")
    installation = leaked.certificate.fingerprint
    roles.distrust(folder, leaked.fingerprint, reason="leak")
    (folder / TRUSTED).unlink()

    for role in ("seal", "verify"):
        with pytest.raises(ConfigError, match="gone") as caught:
            load_or_create_role(folder, role)
    assert not (folder / TRUSTED).exists()

    assert "move the roles' keys elsewhere" in str(caught.value.hint)
    (folder / "seal.key").unlink()
    assert load_or_create_role(folder, "seal").certificate.fingerprint == installation


def test_an_installation_whose_making_was_interrupted_before_the_list_is_the_same(folder: Path) -> None:
    installation = load_or_create_role(folder, "seal").certificate.fingerprint
    (folder / TRUSTED).unlink()
    (folder / "seal.key").unlink()

    assert load_or_create_role(folder, "seal").certificate.fingerprint == installation


def test_a_list_of_before_there_were_certificates_is_told_from_a_damaged_one(folder: Path) -> None:
    folder.mkdir(parents=True)
    old = {"seal": [{"version": 1, "public": "00" * 32, "since": "2026-11-27T14:21:10+00:00"}]}
    (folder / TRUSTED).write_text(json.dumps(old))

    for look in (trusted, lambda folder: load_or_create_role(folder, "seal")):
        with pytest.raises(ConfigError, match="before the first release") as caught:
            look(folder)
        assert "Move the whole state directory elsewhere" in str(caught.value.hint)


@pytest.mark.parametrize("edit", ["role", "key"])
def test_whoever_edits_the_list_adds_no_key_to_it(folder: Path, tmp_path: Path, edit: str) -> None:
    load_or_create_role(folder, "seal")
    load_or_create_role(tmp_path / "other", "control")
    content, foreign = listed(folder), listed(tmp_path / "other")
    table: dict[str, object] = content["roles"]  # type: ignore[assignment]
    table["control"] = table["seal"] if edit == "role" else foreign["roles"]["control"]  # type: ignore[index]
    (folder / TRUSTED).write_text(json.dumps(content))

    with pytest.raises(ConfigError, match="damaged"):
        trusted(folder)


# -- damage ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '"seal"',
        "\udcff",
        '{"seal": 7}',
        '{"installation": 7}',
        '{"installation": "zz", "roles": {}}',
        '{"installation": "00", "roles": {}}',
        '{"roles": {"seal": null}}',
        '{"roles": {"seal": [{"version": 1}]}}',
        '{"roles": {"seal": [{"version": 1, "certificate": {}}]}}',
        '{"roles": {}, "more": 1}',
        "[" * 100_000,
    ],
)
def test_a_damaged_list_trusts_nobody(folder: Path, content: str) -> None:
    folder.mkdir(parents=True)
    (folder / TRUSTED).write_text(content, errors="surrogateescape")

    with pytest.raises(ConfigError, match=TRUSTED):
        trusted(folder)
    with pytest.raises(ConfigError, match=TRUSTED):
        load_or_create_role(folder, "seal")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_list_that_others_may_change_trusts_nobody(folder: Path, mode: int) -> None:
    load_or_create_role(folder, "seal")
    (folder / TRUSTED).chmod(mode)

    with pytest.raises(ConfigError, match="others may change") as caught:
        trusted(folder)

    assert caught.value.hint == f"Run: chmod go-w '{folder / TRUSTED}'"


def test_a_key_that_others_may_read_is_refused(folder: Path) -> None:
    load_or_create_role(folder, "seal")
    (folder / "seal.key").chmod(0o644)

    with pytest.raises(ConfigError, match="others may use"):
        load_or_create_role(folder, "seal")


@pytest.mark.parametrize(("variety", "size"), [("Ed25519", 31), ("Ed448", 32)])
def test_a_key_of_another_kind_is_refused(folder: Path, variety: str, size: int) -> None:
    folder.mkdir(parents=True)
    files.write_line(folder / "seal.key", kind=roles.KIND, variety=variety, content=bytes(size))

    with pytest.raises(ConfigError, match="unknown kind"):
        load_or_create_role(folder, "seal")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="cannot be used"):
        load_or_create_role(tmp_path / "file" / "roles", "seal")


# -- the cluster's own keys -------------------------------------------------------


def test_a_cluster_key_is_made_once_and_closed_to_others(folder: Path) -> None:
    work, digest = (keywrap.load_or_create(folder, name) for name in ("work", "digest"))

    assert work != digest
    assert len(work) == 32
    assert keywrap.load_or_create(folder, "work") == work
    assert stat.S_IMODE((folder / "work.key").stat().st_mode) == 0o600


def test_one_cluster_key_in_the_others_place_is_refused(folder: Path) -> None:
    keywrap.load_or_create(folder, "work")
    (folder / "work.key").rename(folder / "digest.key")

    with pytest.raises(ConfigError, match="is not the key 'digest'"):
        keywrap.load_or_create(folder, "digest")


def test_a_cluster_key_of_another_size_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True)
    files.write_line(folder / "work.key", kind=keywrap.KIND, variety="work", content=bytes(16))

    with pytest.raises(ConfigError, match="is not the key 'work'"):
        keywrap.load_or_create(folder, "work")
