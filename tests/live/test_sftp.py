"""A directory on an SFTP server, against OpenSSH's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.errors import ConfigError, StrongroomError, TargetError
from strongroom.plugins.conformance.targets import MIB, SharedConformance, get, names, put
from strongroom.system.errors import KeyFileExposed, TargetFull, TargetReadOnly
from strongroom.targets import ProbeResult
from strongroom.targets.directory import MARKER
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.sftp import SftpTarget
from tests.live.sshd import PROGRAM, Sshd
from tests.targets.disks import read_only, small_disk

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no sshd on the path; 'make services'")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Sshd]:
    """A server that the test may end."""
    with Sshd(tmp_path) as server:
        yield server


class TestSftp(SharedConformance):
    @pytest.fixture
    def target(self, sshd: Sshd, tmp_path: Path) -> SftpTarget:
        return sshd.target(tmp_path / "target")


# -- being there -----------------------------------------------------------------


def test_a_place_that_is_not_there_yet_is_asked_for_room_first_as_a_stage_is(
    sshd: Sshd, tmp_path: Path
) -> None:
    with pytest.raises(TargetUnavailable, match=MARKER):
        sshd.target(tmp_path / "new", create=False).require_room(1)
    assert not (tmp_path / "new").exists()
    sshd.target(tmp_path / "new").require_room(1)
    assert (tmp_path / "new" / MARKER).exists()


@pytest.mark.parametrize("present", [False, True], ids=["missing", "empty mount point"])
def test_a_directory_without_its_marker_is_unavailable_and_is_never_filled(
    sshd: Sshd, tmp_path: Path, *, present: bool
) -> None:
    place = tmp_path / "target"
    if present:
        place.mkdir()
    target = sshd.target(place, create=False)
    for ask in (lambda: put(target, "a", b"x"), lambda: get(target, "a"), lambda: target.stat("a")):
        with pytest.raises(TargetUnavailable, match=MARKER):
            ask()
    with pytest.raises(TargetUnavailable, match=MARKER):
        names(target, "a/")
    assert place.exists() is present
    assert not present or list(place.iterdir()) == []


def test_a_disk_that_goes_away_later_is_no_empty_target(sshd: Sshd, tmp_path: Path) -> None:
    target = sshd.target(tmp_path / "target")
    assert put(target, "a", b"x")
    again = sshd.target(tmp_path / "target", create=False)
    assert again.stat("a") is not None
    (tmp_path / "target").rename(tmp_path / "away")
    (tmp_path / "target").mkdir()
    with pytest.raises(TargetUnavailable, match=MARKER):
        again.stat("a")


# -- who it is, and who asks ---------------------------------------------------------


def test_a_server_with_another_key_is_not_spoken_to(sshd: Sshd, tmp_path: Path) -> None:
    other = (sshd.folder / "login.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {other}")
    target = sshd.target(tmp_path / "target", known_hosts_file=tmp_path / "known_hosts")
    with pytest.raises(TargetError, match="key is not the known one"):
        put(target, "a", b"x")
    assert not (tmp_path / "target").exists()


def test_an_unknown_server_is_not_spoken_to(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text("")
    target = sshd.target(tmp_path / "target", known_hosts_file=tmp_path / "known_hosts")
    with pytest.raises(TargetError, match="key is not the known one"):
        put(target, "a", b"x")
    missing = sshd.target(tmp_path / "target", known_hosts_file=tmp_path / "none")
    with pytest.raises(ConfigError, match="no known hosts"):
        put(missing, "a", b"x")


def test_a_login_that_the_server_does_not_know_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    target = sshd.target(tmp_path / "target", key_file=sshd.folder / "host")
    with pytest.raises(TargetError, match="refused the login"):
        put(target, "a", b"x")


def test_a_key_that_others_may_read_or_that_is_locked_is_not_used(sshd: Sshd, tmp_path: Path) -> None:
    open_key = tmp_path / "open"
    open_key.write_bytes((sshd.folder / "login").read_bytes())
    open_key.chmod(0o644)
    with pytest.raises(KeyFileExposed):
        put(sshd.target(tmp_path / "target", key_file=open_key), "a", b"x")
    locked = tmp_path / "locked"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "CANARY-passphrase", "-f", str(locked)]
    subprocess.run(words, check=True)
    with pytest.raises(ConfigError, match="needs a passphrase"):
        put(sshd.target(tmp_path / "target", key_file=locked), "a", b"x")


# -- what goes wrong ---------------------------------------------------------------------


def test_a_server_that_ends_is_away_and_is_found_again(own: Sshd, tmp_path: Path) -> None:
    target = own.target(tmp_path / "target")
    assert put(target, "a", b"first")
    own.stop()
    with pytest.raises(TargetUnavailable):
        put(target, "b", b"x")
    own.start()
    assert put(target, "b", b"second")
    assert [get(target, name) for name in names(target)] == [b"first", b"second"]


def test_a_server_that_ends_in_the_middle_of_a_put_leaves_nothing_visible(own: Sshd, tmp_path: Path) -> None:
    target = own.target(tmp_path / "target")

    def chunks() -> Iterator[bytes]:
        yield bytes(MIB)
        own.stop()
        yield bytes(MIB)

    with pytest.raises(TargetUnavailable):
        target.put("a", chunks(), size=2 * MIB, sha256=bytes(32))
    own.start()
    assert names(target) == []
    assert target.abort_incomplete("") == 1
    assert put(target, "a", b"whole")


def test_a_server_that_hangs_is_given_up(own: Sshd, tmp_path: Path) -> None:
    target = own.target(tmp_path / "target", seconds=0.5)
    own.hang()
    with pytest.raises(TargetUnavailable, match=r"no answer in 0\.5 s"):
        target.stat("a")


def test_nothing_waits_for_what_is_no_file(sshd: Sshd, tmp_path: Path) -> None:
    target = sshd.target(tmp_path / "target")
    assert put(target, "a", b"x")
    (tmp_path / "target" / "b").mkdir()
    os.mkfifo(tmp_path / "target" / "pipe")
    assert names(target) == ["a"]
    assert target.stat("pipe") is None, "what is no file is no object, and nothing waits for it"


def test_a_full_disk_takes_nothing_half(sshd: Sshd, tmp_path: Path) -> None:
    with small_disk(tmp_path, size=4 * MIB) as mounted:
        if not mounted:
            pytest.skip("no right to mount a small disk")
        target = sshd.target(tmp_path / "target")
        assert put(target, "a", bytes(MIB))
        with pytest.raises(TargetFull):
            put(target, "b", bytes(8 * MIB))

        def chunks() -> Iterator[bytes]:
            yield bytes(MIB)
            (tmp_path / "other").write_bytes(bytes(2 * MIB - 64 * 1024))
            yield bytes(MIB)

        with pytest.raises(StrongroomError):
            target.put("c", chunks(), size=2 * MIB, sha256=bytes(32))
        assert names(target) == ["a"]
        assert target.abort_incomplete("") == 0, "what was begun is taken back at once"


def test_a_disk_that_takes_no_writes_says_so(sshd: Sshd, tmp_path: Path) -> None:
    target = sshd.target(tmp_path / "target")
    assert put(target, "a", b"x")
    with read_only(tmp_path):
        with pytest.raises((TargetReadOnly, TargetUnavailable)):
            put(target, "b", b"x")
        assert get(target, "a") == b"x"


def test_a_link_is_no_object_and_leads_no_write_out(sshd: Sshd, tmp_path: Path) -> None:
    target = sshd.target(tmp_path / "target")
    assert put(target, "a", b"x")
    (tmp_path / "outside").write_bytes(b"CANARY-outside")
    (tmp_path / "target" / "link").symlink_to(tmp_path / "outside")
    assert names(target) == ["a"]
    assert target.stat("link") is None
    with pytest.raises(StrongroomError):
        put(target, "link", b"other")
    assert (tmp_path / "outside").read_bytes() == b"CANARY-outside"


# -- what a probe asks -------------------------------------------------------------------


def test_a_probe_sees_who_else_may_use_the_directory_and_if_it_is_durable(sshd: Sshd, tmp_path: Path) -> None:
    target = sshd.target(tmp_path / "target")
    assert put(target, "a", b"x")
    assert [check.outcome for check in (*target.excess("a"), *target.settings())] == [ProbeResult.FINE] * 2
    (tmp_path / "target").chmod(0o755)
    assert [check.outcome for check in target.excess("a")] == [ProbeResult.EXCESS]
