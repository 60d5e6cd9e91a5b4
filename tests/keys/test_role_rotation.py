"""Versions of the roles' signing keys: announced, signing, retired, distrusted."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.container.errors import UntrustedSigner
from strongroom.container.signing import Signer, Signers, require_in_time, require_trusted
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import hostlist, rolelist, roles
from strongroom.keys.errors import RoleNotHere
from strongroom.keys.keyring import Keyring
from strongroom.system import files

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "roles"


def states(folder: Path, role: str = "control") -> list[str]:
    return [_state(key) for key in rolelist.read(folder).of(role)]


def _state(key: rolelist.RoleKey) -> str:
    if key.distrusted:
        return "distrusted"
    if key.announced:
        return "announced"
    return "retired" if key.until else "signs"


def test_a_rotated_role_signs_with_its_next_key_and_the_last_one_counts_for_a_while(folder: Path) -> None:
    ring = Keyring(folder)
    old = ring.signer("control")
    made = roles.rotate(folder, "control", grace=HOUR, now=datetime.now(UTC))
    new = ring.signer("control")
    assert (made.version, made.raw, states(folder)) == (2, new.public, ["retired", "signs"])
    assert ring.accepted("control") == (new.public, old.public)
    assert roles.believed(folder) == {roles.installation_fingerprint(folder)}
    assert roles.believed(folder).retired.keys() == {old.fingerprint}


def test_what_a_host_signed_for_a_run_that_began_before_it_was_thrown_out_stays_good(folder: Path) -> None:
    ring, now = Keyring(folder), datetime.now(UTC)
    with files.locked_folder(folder):
        hostlist.name_host(folder, "ada")
    own = roles.load_or_create_role(folder, "seal", given=True).public
    gone = roles.certify_key(folder, "seal", Signer.generate().public, host="bob")
    installation = roles.installation_signer(folder)
    with files.locked_folder(folder):
        removal = hostlist.RemovedHost(host="bob", at=(now - HOUR).isoformat(), reason="sold")
        hostlist.sign_next(folder, installation, remove=removal)
    assert ring.accepted("seal") == (own,), "messages, and all else that comes from now on"
    assert ring.accepted("seal", begun=now) == (own,)
    assert ring.accepted("seal", begun=now - 2 * HOUR) == (gone.raw, own)
    assert ring.accepted("seal", begun=now - timedelta(days=8)) == (own,), "a run that is dated back"
    roles.distrust(folder, gone.fingerprint, reason="stolen")
    assert ring.accepted("seal", begun=now - 2 * HOUR) == (own,), "unless its keys leaked"


def test_when_its_time_is_over_nothing_new_of_a_retired_key_is_accepted(folder: Path) -> None:
    ring = Keyring(folder)
    old = ring.signer("control")
    roles.rotate(folder, "control", grace=HOUR, now=datetime.now(UTC) - 2 * HOUR)
    assert ring.accepted("control") == (ring.signer("control").public,)
    require_trusted(old.certificate, roles.believed(folder))


def test_a_retired_signer_counts_for_what_was_made_in_its_time_alone(folder: Path) -> None:
    old = roles.load_or_create_role(folder, "control")
    roles.rotate(folder, "control", grace=HOUR, now=NOW)
    trusted = roles.believed(folder)
    require_in_time(old.certificate, "2026-11-26T09:00:00Z", trusted)
    for late in ("2026-11-26T09:00:01Z", "2099-01-01T00:00:00Z", "2026-11-26T07:00:00", "yesterday"):
        with pytest.raises(UntrustedSigner, match="counts; this was made"):
            require_in_time(old.certificate, late, trusted)


def test_an_announced_key_is_accepted_before_it_signs(folder: Path) -> None:
    ring = Keyring(folder)
    old = ring.signer("seal")
    made = roles.announce(folder, "seal")
    assert roles.announce(folder, "seal") == made
    assert ring.signer("seal").public == old.public
    assert ring.accepted("seal") == (made.raw, old.public)
    assert roles.rotate(folder, "seal").raw == made.raw
    assert ring.signer("seal").public == made.raw
    assert states(folder, "seal") == ["retired", "signs"]


def test_nothing_of_a_distrusted_key_counts_and_another_takes_its_place(folder: Path) -> None:
    ring = Keyring(folder)
    leaked = ring.signer("control")
    roles.announce(folder, "control")
    role, key, number = roles.distrust(folder, leaked.fingerprint, reason="laptop lost")
    assert number == 1
    new = ring.signer("control")
    assert (role, key.reason) == ("control", "laptop lost")
    assert states(folder) == ["distrusted", "distrusted", "signs"]  # what was announced lay beside it
    assert ring.accepted("control") == (new.public,)
    trusted = roles.believed(folder)
    require_trusted(new.certificate, trusted)
    with pytest.raises(UntrustedSigner, match=r"distrusted here since .*laptop lost"):
        require_trusted(leaked.certificate, trusted)


def test_an_old_version_that_leaked_takes_nothing_from_the_present_one(folder: Path) -> None:
    old = roles.load_or_create_role(folder, "control")
    roles.rotate(folder, "control")
    new = roles.load_or_create_role(folder, "control")
    roles.distrust(folder, old.fingerprint, reason="old disk sold")
    assert states(folder) == ["distrusted", "signs"]
    assert roles.load_or_create_role(folder, "control").public == new.public


def test_where_the_private_key_lies_elsewhere_distrust_is_listed_and_the_role_goes_on_there(
    folder: Path, tmp_path: Path
) -> None:
    leaked = roles.load_or_create_role(folder, "control")
    other = tmp_path / "other"
    other.mkdir()
    (other / rolelist.TRUSTED).write_bytes((folder / rolelist.TRUSTED).read_bytes())
    roles.distrust(other, leaked.fingerprint, reason="leak")
    assert states(other) == ["distrusted"]
    (folder / rolelist.TRUSTED).write_bytes((other / rolelist.TRUSTED).read_bytes())
    with pytest.raises(ConfigError, match=r"distrusted since .*leak"):
        roles.load_or_create_role(folder, "control")
    made = roles.rotate(folder, "control")
    assert roles.load_or_create_role(folder, "control").public == made.raw


def test_a_key_nobody_had_is_not_distrusted(folder: Path) -> None:
    roles.load_or_create_role(folder, "control")
    with pytest.raises(UsageError, match="No role"):
        roles.distrust(folder, "sr1:" + "0" * 64, reason="typo")


def test_a_role_whose_key_lies_elsewhere_is_not_rotated(folder: Path) -> None:
    roles.load_or_create_role(folder, "seal")
    with pytest.raises(ConfigError):
        roles.rotate(folder, "control")
    assert set(rolelist.read(folder).roles) == {"seal"}


def test_an_old_private_key_that_was_put_back_is_told(folder: Path) -> None:
    roles.load_or_create_role(folder, "control")
    old = (folder / "control.key").read_bytes()
    roles.rotate(folder, "control")
    (folder / "control.key").write_bytes(old)
    with pytest.raises(RoleNotHere, match="version 1, which was rotated away"):
        roles.load_or_create_role(folder, "control")


@pytest.mark.parametrize(
    "entry",
    [
        {"until": "soon"},
        {"until": "2026-01-01T00:00:00"},
        {"more": 1},
        {"version": "one"},
        {"certificate": None},
    ],
)
def test_a_damaged_version_trusts_nobody(folder: Path, entry: dict[str, object]) -> None:
    roles.load_or_create_role(folder, "seal")
    content = json.loads((folder / rolelist.TRUSTED).read_text())
    content["roles"]["seal"][0].update(entry)
    (folder / rolelist.TRUSTED).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="damaged"):
        roles.believed(folder)


# -- crashes and races -----------------------------------------------------------

POINTS: list[tuple[object, str]] = [
    (rolelist, "write"),
    (files, "write_line"),
    (files, "sync"),
]


def _die_in(folder: Path, module: object, name: str, call: int, work: Callable[[Path], object]) -> None:
    real, calls = getattr(module, name), [0]

    def dying(*arguments: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(module, name, dying)
    work(folder)


def _rotate(folder: Path) -> object:
    return roles.rotate(folder, "control")


def _distrust(folder: Path) -> object:
    return roles.distrust(folder, roles.load_role(folder, "control").fingerprint, reason="leak")


@pytest.mark.parametrize("work", [_rotate, _distrust])
def test_whoever_dies_while_rotating_leaves_a_role_that_signs_and_is_believed(
    folder: Path, work: Callable[[Path], object]
) -> None:
    died = 0
    for module, name in POINTS:
        for call in range(1, 7):
            roles.load_or_create_role(folder, "control")
            child = multiprocessing.get_context("fork").Process(
                target=_die_in, args=(folder, module, name, call, work)
            )
            child.start()
            child.join()
            died += child.exitcode == -signal.SIGKILL
            ring = Keyring(folder)
            if rolelist.current(rolelist.read(folder).of("control")) is None:
                _rotate(folder)  # distrusted, and died before its successor: the next command goes on
            assert ring.accepted("control")[0] in {ring.signer("control").public, _announced(folder)}
            work(folder)
            assert states(folder)[-1] == "signs"
    assert died >= 6


def _announced(folder: Path) -> bytes:
    return next((key.raw for key in rolelist.read(folder).of("control") if key.announced), b"")


def _race(folder: Path) -> None:
    for _ in range(3):
        roles.rotate(folder, "control")


def test_rotations_at_once_take_turns(folder: Path) -> None:
    roles.load_or_create_role(folder, "control")
    racers = [multiprocessing.get_context("fork").Process(target=_race, args=(folder,)) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * 4
    assert states(folder) == ["retired"] * 12 + ["signs"]
    assert roles.load_or_create_role(folder, "control").public == rolelist.read(folder).of("control")[-1].raw


# -- sets of signers -------------------------------------------------------------


def test_distrust_holds_in_every_union_and_naming_the_very_key_lifts_it() -> None:
    known = Signers({"a", "b"}, retired={"k": "2026-01-01T00:00:00+00:00"}, distrusted={"c": "leak"})
    for merged in (known | frozenset({"d"}), frozenset({"d"}) | known):
        assert isinstance(merged, Signers)
        assert merged == {"a", "b", "d"}
        assert (merged.retired, merged.distrusted) == (known.retired, known.distrusted)
    typed = known.with_named({"k", "c", "e"})
    assert typed == {"a", "b", "e"}
    assert (typed.retired, typed.distrusted) == ({}, {})
