"""The seven alerts of the procedures: each provoked, received by mail, webhook, Apprise and a dead man's
switch, and called over after. Every receiver is a real server on loopback.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.program import REGIONS, Machine
from tests.cli.seven import LATE, provoke, put_right
from tests.operations.alerts.people import People, reachable

SEVEN = {
    "backup.overdue:late": "critical",  # no backup for longer than the threshold
    f"replica.bad:{REGIONS[1]}": "critical",  # corruption
    "rotation.failed:full": "critical",  # a key rotation that failed
    "ledger.broken": "critical",  # access that nobody may have
    "backup.size:metadata": "warning",  # a size anomaly
    "backup.slow:metadata": "warning",
    "key.aging:recovery": "warning",
}
"""Those of the backup procedures, as alerts of Strongroom."""


@pytest.fixture
def people() -> Iterator[People]:
    with reachable() as people:
        yield people


def test_each_of_the_seven_is_received_everywhere_and_called_over_after(
    configured: Machine, people: People
) -> None:
    pytest.importorskip("apprise")
    machine = configured
    file = machine.path("strongroom.toml")
    file.write_text(file.read_text() + people.settings(machine) + LATE)
    for policy in ("metadata", "metadata", "metadata", "full"):
        machine.ok("backup", "--policy", policy, "--force")

    provoke(machine)
    machine.run("alerts", "send")
    [mail], [hook], [service], [ping] = people.received()
    told = {one["key"]: one["severity"] for one in hook.document["data"]["alerts"]}
    assert SEVEN.items() <= told.items()
    assert all(f"{severity.upper()}: {key}" in mail.text for key, severity in SEVEN.items())
    critical = [key for key, severity in SEVEN.items() if severity == "critical"]
    assert all(key in service.document["message"] for key in critical)
    assert "key.aging" not in service.document["message"], "that route has critical alerts alone"
    assert ping.path.endswith("/fail")
    assert all(key in ping.body.decode() for key in SEVEN)

    put_right(machine)
    machine.run("alerts", "send")
    [_, mail], [_, hook], [_, service], [_, ping] = people.received()
    over = {one["key"] for one in hook.document["data"]["resolved"]}
    assert SEVEN.keys() <= over
    assert all(f"{key}: " in mail.text for key in SEVEN)
    assert all(key in service.document["message"] for key in critical)
    assert not any(key in ping.body.decode() for key in SEVEN)
    people.assert_nothing_secret(machine)
