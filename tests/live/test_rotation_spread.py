"""A rotation over several processes, on live key services: who logs in where, and who is asked."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.keys import Opener
from strongroom.keys.pkcs11.session import Pin, PinPrompt, Token
from strongroom.keys.pkcs11.token_keys import Pkcs11EcIdentity, generate_ec, next_version
from strongroom.operations.rotation import job
from strongroom.operations.rotation.job import SLICE
from strongroom.state.records import Run, RunState
from tests.live import nss
from tests.live.rotation_kinds import every_kind
from tests.live.rotation_rates import Bench
from tests.live.softhsm import PIN, SoftHsm
from tests.operations.rotation.test_batch import House, shape

BACKUPS = SLICE + 8


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a slice take its time: on a busy machine it would be over before its end, and others follow."""
    monkeypatch.setattr(job, "STEP_SECONDS", math.inf)


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.long)])
def test_every_kind_of_key_serves_in_several_processes(tmp_path: Path, every: int) -> None:
    """The parent has used the key when the others are forked off, and uses it afterwards."""
    done = []
    with every_kind(tmp_path) as kinds:
        for number, kind in list(enumerate(kinds))[::every]:
            bench = Bench(tmp_path / str(number), kind, backups=4 if kind[0] == "passphrase" else BACKUPS)
            bench.prepare()
            bench.lay()
            assert bench.rotated(bench.run(processes=2)) == len(bench.made), bench.name
            bench.lay()
            bench.bare()
            done.append(bench.name)
    assert len(done) == len(range(0, 13, every))


class Asked:
    """A person who gives a PIN, and notes which process asked."""

    def __init__(self, folder: Path, pin: str) -> None:
        self._log, self._pin = folder / "asked", pin
        self._log.touch()

    def __call__(self, _: str) -> str:
        with self._log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return self._pin

    @property
    def by(self) -> list[int]:
        return [int(line) for line in self._log.read_text().split()]


class Hsm:
    """A key in a token to which nobody has logged in."""

    def __init__(self, folder: Path, pin: str, token: Callable[[Pin | None], Token]) -> None:
        self.asked = Asked(folder, pin)
        made = token(None)
        version = next_version(made)
        public = generate_ec(made, key="spread", version=version)
        made.begin_again()
        prompted = token(PinPrompt(self.asked))
        self.key = Pkcs11EcIdentity(prompted, key="spread", version=version, public=public)


@pytest.fixture(params=["SoftHSM", "NSS"])
def hsm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hsm]:
    if request.param == "NSS":
        yield Hsm(tmp_path, nss.PIN, lambda pin: nss.shared().token(pin=pin))
        return
    with SoftHsm() as softhsm:
        softhsm.make_token("spread")
        yield Hsm(tmp_path, PIN, lambda pin: softhsm.token("spread", pin=pin))


def rotate(house: House, *identities: Opener) -> tuple[Run, list[str]]:
    """Rotate in two processes; return the run and its steps."""
    services = house.at.services(*identities, house.at.new)
    run = house.rotate(services, processes=2)
    return run, list(shape(services, run))


def test_a_person_is_asked_once_and_by_the_process_that_forks(hsm: Hsm, tmp_path: Path) -> None:
    house = House(tmp_path)
    house.back_up(BACKUPS, key=hsm.key)
    run, steps = rotate(house, hsm.key)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert house.rotated() == house.names
    assert steps == ["rewrap/0", "rewrap/1", "rewrap/33"]
    assert hsm.asked.by == [os.getpid()]


def test_what_a_forked_process_would_have_to_ask_for_goes_back(hsm: Hsm, tmp_path: Path) -> None:
    """The first backup needs no PIN, so none is known when the others are forked off."""
    house = House(tmp_path)
    house.back_up(1)
    house.back_up(BACKUPS, key=hsm.key)
    places = range(1, BACKUPS + 1)
    run, steps = rotate(house, house.old, hsm.key)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert house.rotated() == house.names
    assert hsm.asked.by == [os.getpid()]
    assert [step for step in steps if step.startswith("rotate/")] == [f"rotate/{n}" for n in places]
