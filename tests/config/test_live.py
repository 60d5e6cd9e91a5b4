"""Settings that change while a process runs: taken on if they are right, else left as they were."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from strongroom.config.live import LiveSettings

POLICY = '[policies.{name}]\nkind = "metadata"\ntargets = ["region-a"]\n'


class File:
    """A configuration file that is written again and again, each time a while ago."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "strongroom.toml"
        self._times: Iterator[int] = count(10**18, 10**9)

    def write(self, text: str) -> None:
        self.path.write_text(text)
        os.utime(self.path, ns=(0, next(self._times)))

    def live(self, **env: str) -> LiveSettings:
        return LiveSettings.load({"STRONGROOM_STATE_DIR": str(self.folder), **env})


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> File:
    monkeypatch.chdir(tmp_path)
    return File(tmp_path)


def test_a_changed_file_is_taken_on_and_the_settings_before_are_kept(file: File) -> None:
    file.write(POLICY.format(name="old"))
    live = file.live()
    assert live.look() is None

    file.write(POLICY.format(name="new"))
    change = live.look()
    assert change is not None
    assert change.taken
    assert (change.file, len(change.sha256)) == (str(file.path), 64)
    assert list(live.current.policies) == ["new"]
    assert live.before is not None
    assert list(live.before.policies) == ["old"]
    assert live.look() is None, "it is told once"


def test_who_was_idle_while_a_file_was_right_goes_on_with_it_when_it_is_broken(file: File) -> None:
    file.write(POLICY.format(name="old"))
    idle, busy = file.live(), file.live()
    file.write(POLICY.format(name="new"))
    assert busy.look() is not None

    file.write(POLICY.format(name="newer") + "broken")
    change = idle.look()
    assert change is not None
    assert change.problem
    assert list(idle.current.policies) == ["new"]


def test_a_broken_file_changes_nothing_and_is_told_once(file: File) -> None:
    file.write(POLICY.format(name="old"))
    live = file.live()
    settings = live.current

    file.write(POLICY.format(name="new") + "CANARY-value = [")
    change = live.look()
    assert change is not None
    assert not change.taken
    assert "not TOML" in change.problem
    assert live.current is settings
    assert live.version == 0
    assert live.look() is None

    file.write('[policies.new]\nkind = "CANARY-value"\ncolour = "red"\n')
    change = live.look()
    assert change is not None
    assert "policies.new" in change.problem
    assert change.problem.endswith(" more)")
    assert "CANARY" not in change.problem
    assert live.current is settings


def test_what_was_refused_and_is_put_back_is_taken_as_it_was(file: File) -> None:
    file.write(POLICY.format(name="old"))
    live = file.live()
    file.write("broken")
    live.look()

    file.write(POLICY.format(name="old"))
    change = live.look()
    assert change is not None
    assert change.taken
    assert live.version == 0


@pytest.mark.parametrize(
    ("text", "section"),
    [
        ('state_dir = "/elsewhere"\n', "state_dir"),
        ('[broker]\nurl = "rediss://broker.example.org/0"\n', "broker"),
        ('[state]\nurl = "postgresql://strongroom@db.example.org/strongroom"\n', "state"),
        ('[stages.default]\nkind = "directory"\npath = "/elsewhere"\nregion = "x"\n', "stages"),
        ("[workers]\nseal = 7\n", "workers"),
    ],
)
def test_what_a_process_keeps_until_its_end_waits_for_a_restart(
    file: File, text: str, section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_STATE_DIR", "")
    file.write(f'state_dir = "{file.folder}"\n' + POLICY.format(name="old"))
    live = LiveSettings.load({"HOME": str(file.folder)})
    settings = live.current
    own = "" if section == "state_dir" else f'state_dir = "{file.folder}"\n'

    file.write(own + text + POLICY.format(name="new"))
    change = live.look()
    assert change is not None
    assert section in change.waits
    assert not change.problem
    assert live.current is settings, "half of a file would be settings that nobody wrote"


def test_a_file_that_is_gone_changes_nothing(file: File) -> None:
    file.write(POLICY.format(name="old"))
    live = file.live()
    file.path.unlink()
    change = live.look()
    assert change is not None
    assert "gone" in change.problem
    assert list(live.current.policies) == ["old"]


def test_a_file_that_is_being_written_is_left_until_it_rests(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write(POLICY.format(name="old"))
    live = file.live()
    file.path.write_text("half a fi")
    with monkeypatch.context() as patch:
        patch.setattr("strongroom.config.live.SETTLES", 3600.0)  # this machine may be a while in between
        assert live.look() is None

    os.utime(file.path, (time.time() - 2, time.time() - 2))
    assert live.look() is not None


def test_the_file_stays_the_same_one_wherever_the_process_goes(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = file.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "strongroom.toml").write_text("not the one")
    file.write(POLICY.format(name="old"))
    live = LiveSettings.load({"STRONGROOM_STATE_DIR": "state", "STRONGROOM_CONFIG": "strongroom.toml"})
    monkeypatch.chdir(elsewhere)
    assert live.look() is None

    file.write(POLICY.format(name="new"))
    change = live.look()
    assert change is not None
    assert change.taken
    assert live.current.state_dir == file.folder / "state"


def test_a_file_that_comes_later_is_taken_on(file: File) -> None:
    live = file.live()
    file.write(POLICY.format(name="new"))
    change = live.look()
    assert change is not None
    assert change.taken
    assert list(live.current.policies) == ["new"]
