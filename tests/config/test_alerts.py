"""Settings of alerts and of the mail server."""

from __future__ import annotations

from typing import Any

import pytest

import beat_schedule
from strongroom.wiring import watching
from tests.config.loading import Place
from workers import names
from workers.rights import may_send

WEBHOOK = '[channels.c]\nkind = "webhook"\nurl = "https://x.org/h"\nsecret_file = "s"\n'
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
        ('[channels.c]\nkind = "mail"\nto = ["a@b.org"]', "mail.host"),
        ('[channels.c]\nkind = "mail"\nto = []\n' + MAIL, "channels.c.to"),
        ('[channels.c]\nkind = "webhook"\nurl = "https://x.org/h"', "channels.c.secret_file"),
        ('[channels.c]\nkind = "webhook"\nsecret_file = "s"', "channels.c.url"),
        ('[channels.c]\nkind = "webhook"\nurl = "http://x.org/CANARY"\nsecret_file = "s"', "channels.c.url"),
        (WEBHOOK + 'url_file = "u"', "channels.c.url"),
        (WEBHOOK + 'ca_file = "nowhere.pem"', "channels.c.ca_file"),
        (WEBHOOK + '[routes.r]\nto = ["d"]', "routes.r.to[0]"),
        (WEBHOOK + "[routes.r]\nto = []", "routes.r.to"),
        (WEBHOOK + '[routes.r]\nto = ["c"]\npolicies = ["p"]', "routes.r.policies"),
        (WEBHOOK + '[routes.r]\nto = ["c"]\nkinds = ["backup.*"]', "routes"),
        (WEBHOOK + '[routes.r]\nto = ["c"]\nkinds = ["backup.*", "beat.dead"]', "routes.r.kinds[1]"),
        (WEBHOOK + '[alerts]\nping = "c"', "alerts.ping"),
        ('[channels.c]\nkind = "ping"\nurl = "https://x.org/h"\n[routes.r]\nto = ["c"]', "routes.r.to[0]"),
        ('[channels.c]\nkind = "ping"', "channels.c.url"),
        ('[channels.c]\nkind = "apprise"\nurl = "slack://CANARY"', "channels.c.url"),
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
    server = watching.mail_server(place.load(f'{MAIL}security = "{security}"'))
    assert (server.port, server.sender.partition("@")[0]) == (port, "strongroom")


def test_beat_asks_for_alerts_if_there_is_somebody_to_tell(place: Place) -> None:
    def entry(text: str) -> dict[str, Any]:
        found: dict[str, Any] = beat_schedule.entries(place.load(text)).get("alerts", {})
        return found

    assert entry(MAIL) == {}
    found = entry(MAIL + '[alerts]\nemail = ["a@example.org"]')
    assert (found["task"], found["schedule"], found["options"]["queue"]) == (names.ALERTS, 900.0, "control")
    assert names.ALERTS in may_send(names.BEAT)


def test_a_file_with_an_address_that_others_may_read_is_refused(place: Place) -> None:
    (place.path / "url").write_text("slack://CANARY/a/b")
    (place.path / "url").chmod(0o644)
    problems = place.problems('[channels.c]\nkind = "apprise"\nurl_file = "url"')
    assert [problem.key for problem in problems] == ["channels.c.url_file"]
    assert "CANARY" not in str(problems)


@pytest.mark.parametrize(
    "text",
    [
        '[alerts]\nemail = ["a@b.org"]\n' + MAIL,
        WEBHOOK + '[routes.r]\nto = ["c"]',
        '[channels.c]\nkind = "ping"\nurl = "https://x.org/h"\n[alerts]\nping = "c"',
    ],
)
def test_beat_checks_if_anybody_is_to_hear_of_it(text: str, place: Place) -> None:
    assert "alerts" in beat_schedule.entries(place.load(text))
    assert "alerts" not in beat_schedule.entries(place.load(""))
