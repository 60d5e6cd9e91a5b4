"""The yearly rotation of the roles' signing keys, from the calendar's first look to the end of the grace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.config import Settings, load_settings
from strongroom.keys import rolelist, roles
from strongroom.operations.engine.services import CheckResult, Services
from strongroom.operations.keys.replacement import renew
from strongroom.wiring.calendar import entries_named
from tests.operations.world import make_world

DAY = timedelta(days=1)
ROLES = ("control", "seal")


class Host:
    """A host with the keys of two roles, and its calendar's check at any day after they were made."""

    def __init__(self, folder: Path, services: Services) -> None:
        self.settings = Settings(state_dir=folder)
        self.keys = folder / "keys" / "roles"
        self.services = services
        for role in ROLES:
            roles.load_or_create_role(self.keys, role)
        self.began = datetime.now(UTC)

    def look(self, days: float) -> CheckResult:
        return renew(self.services, self.settings, now=self.began + days * DAY)

    def signs(self, role: str) -> int:
        now = rolelist.current(rolelist.read(self.keys).of(role))
        assert now is not None
        assert roles.load_role(self.keys, role).public == now.raw
        return now.version

    def events(self) -> list[tuple[str, str]]:
        found = self.services.store.events()
        return [(one.kind, one.detail["role"]) for one in found if one.kind.startswith("signer.")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "state", make_world(tmp_path).services())


def test_in_the_first_months_nothing_is_due(host: Host) -> None:
    assert [host.look(days) for days in (0, 100, 334)] == [CheckResult()] * 3
    assert host.events() == []


def test_with_the_installation_key_here_the_next_key_is_announced_a_month_before_it_signs(host: Host) -> None:
    told = host.look(340)
    assert "announced" in told.bad[0]
    assert roles.TRUSTED in told.do
    assert [host.look(days) for days in (341, 350, 369)] == [CheckResult()] * 3
    assert [host.signs(role) for role in ROLES] == [1, 1]

    told = host.look(371)

    assert (told.bad, "escrow" in told.do) == (("control, seal sign with new keys",), True)
    assert [host.signs(role) for role in ROLES] == [2, 2]
    assert host.look(372) == CheckResult()
    assert host.events() == [
        *(("signer.announced", role) for role in ROLES),
        *(("signer.rotated", role) for role in ROLES),
    ]


def test_a_host_that_was_off_for_a_year_still_gives_the_others_a_month(host: Host) -> None:
    assert "announced" in host.look(800).bad[0]
    assert host.look(829) == CheckResult()
    assert [host.signs(role) for role in ROLES] == [1, 1]
    assert "new keys" in host.look(831).bad[0]


def test_what_the_old_key_signs_counts_for_the_grace_and_no_longer(host: Host) -> None:
    host.look(340)
    host.look(371)
    old = rolelist.read(host.keys).of("seal")[0]

    rotated = host.began.replace(microsecond=0) + 371 * DAY
    assert old.accepts(rotated + roles.GRACE)
    assert not old.accepts(rotated + roles.GRACE + DAY)


def test_without_the_installation_key_a_person_is_asked_with_the_command_and_a_date(host: Host) -> None:
    (host.keys / roles.INSTALLATION).unlink()

    for days in (340, 341, 500):
        told = host.look(days)
        due = (host.began + 365 * DAY).date().isoformat()
        assert [due in line for line in told.bad] == [True, True]
        assert "'strongroom keys signers rotate control seal --announce --installation-key FILE'" in told.do
        assert due in told.do
    assert [host.signs(role) for role in ROLES] == [1, 1]
    assert host.events() == []


def test_a_role_that_works_on_another_host_is_left_to_that_and_the_others_go_on(host: Host) -> None:
    (host.keys / "seal.key").unlink()

    told = host.look(340)

    assert "role 'seal'" in told.bad[0]
    assert "signing keys of control are announced" in told.bad[1]
    assert host.events() == [("signer.announced", "control")]


def test_where_people_have_to_approve_it_no_schedule_passes_them_by(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "strongroom.toml"
    file.write_text(
        f'state_dir = "{host.settings.state_dir}"\n[approvals]\nallowed_signers = "{tmp_path}/allowed"\n'
        '[approvals.rules.keys]\nactions = ["signers"]\nk = 1\npeople = ["ada", "chi"]\n'
    )
    (tmp_path / "allowed").write_text("")
    host.settings = load_settings({}, file)

    assert "role 'control'" in host.look(340).bad[0]
    assert host.events() == []


def test_the_calendar_looks_each_month_and_daily_while_something_is_due(tmp_path: Path) -> None:
    [entry] = entries_named("signers", Settings(state_dir=tmp_path))

    assert (entry.schedule, entry.needs, entry.options) == (
        "0 9 6 * *", "", {"check": "signers", "again": "0 9 * * *"}
    )  # fmt: skip
