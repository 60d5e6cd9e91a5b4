"""Settings of alerts and of the mail server."""

from __future__ import annotations

from typing import Any

import pytest

import beat_schedule
from strongroom.wiring import alerts as wiring_alerts
from tests.config.loading import Place
from workers import names
from workers.rights import MAY_SEND

MAIL = '[mail]\nhost = "smtp.example.org"\n'


def test_lengths_of_time_are_written_as_people_write_them(place: Place) -> None:
    alerts = place.load(
        '[alerts]\nthreshold_age = "48h"\nrepeat = "90 min"\nnotice = "2w"\nkey_age = 86400'
    ).alerts
    assert (alerts.threshold_age, alerts.repeat, alerts.notice, alerts.key_age) == (
        172_800,
        5400,
        1_209_600,
        86_400,
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[alerts]\nemail = ["CANARY@nowhere\\r\\nBcc: x@y.org"]\n' + MAIL, "alerts.email[0]"),
        ('[alerts]\nemail = ["a@b.org, c@d.org"]\n' + MAIL, "alerts.email[0]"),
        ('[alerts]\nemail = ["a@b.org"]', "mail.host"),
        ('[alerts]\nthreshold_age = "2 CANARY"', "alerts.threshold_age"),
        ('[alerts]\nthreshold_age = "0h"', "alerts.threshold_age"),
        ('[alerts]\nthreshold_age = "999999999w"', "alerts.threshold_age"),
        ("[alerts]\nsize_factor = 1", "alerts.size_factor"),
        ('[mail]\nhost = "smtps://CANARY@host"', "mail.host"),
        ('[mail]\nusername = "x"', "mail.password_file"),
        ('[mail]\npassword_file = "x"', "mail.username"),
        (
            '[mail]\nhost = "smtp.example.org"\nsecurity = "none"\nusername = "x"\npassword_file = "x"',
            "mail.security",
        ),
        ('[mail]\nsecurity = "none"\nca_file = "strongroom.toml"', "mail.ca_file"),
        ('[mail]\nca_file = "nowhere.pem"', "mail.ca_file"),
        ('[mail]\nsecurity = "ssl"', "mail.security"),
        ('[mail]\npassword = "CANARY"', "mail.password"),
        ('[recovery]\nstakeholders = ["a@b.org"]', "mail.host"),
        ('[contacts.escalation]\nmail = "a@b.org"', "mail.host"),
        ('[recovery.messages]\nclosed = "by {nobody}"', "recovery.messages.closed"),
    ],
)
def test_what_would_not_work_is_said_beforehand(text: str, key: str, place: Place) -> None:
    problems = place.problems(text)
    assert key in [problem.key for problem in problems]
    assert "CANARY" not in str(problems)


def test_a_login_without_tls_is_for_a_server_on_this_host(place: Place) -> None:
    given = '[mail]\nhost = "127.0.0.1"\nsecurity = "none"\nusername = "x"\npassword_file = "x"'
    assert place.load(given).mail.security == "none"
    assert place.load('[mail]\nhost = "relay.example.org"\nsecurity = "none"').mail.security == "none"


def test_a_password_that_others_can_read_is_a_problem(place: Place) -> None:
    (place.path / "secret").write_text("CANARY")
    (place.path / "secret").chmod(0o644)
    [problem] = place.problems('[mail]\nusername = "x"\npassword_file = "secret"')
    assert problem.key == "mail.password_file"


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_goes_by_how_the_connection_is_sealed(security: str, port: int, place: Place) -> None:
    server = wiring_alerts.mail_server(place.load(f'{MAIL}security = "{security}"'))
    assert (server.port, server.sender.partition("@")[0]) == (port, "strongroom")


def test_beat_asks_for_alerts_if_there_is_somebody_to_tell(place: Place) -> None:
    def entry(text: str) -> dict[str, Any]:
        found: dict[str, Any] = beat_schedule.entries(place.load(text)).get("alerts", {})
        return found

    assert entry(MAIL) == {}
    found = entry(MAIL + '[alerts]\nemail = ["a@example.org"]')
    assert (found["task"], found["schedule"], found["options"]["queue"]) == (names.ALERTS, 900.0, "control")
    assert names.ALERTS in MAY_SEND[names.BEAT]
