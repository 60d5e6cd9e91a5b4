"""ack and silence: what people say of alerts, as they type it, and what the checks make of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from strongroom.errors import UsageError
from strongroom.operations.errors import BackupOverdue, ChannelUnavailable
from tests.cli.program import Machine
from tests.operations.alerts.people import People, reachable

OVERDUE = "backup.overdue:metadata"


@pytest.fixture
def people() -> Iterator[People]:
    with reachable() as people:
        yield people


@pytest.fixture
def house(configured: Machine, people: People) -> Machine:
    """A machine with an alert: a policy that is due and was never backed up."""
    file = configured.path("strongroom.toml")
    text = file.read_text().replace("[policies.metadata]\n", '[policies.metadata]\nschedule = "0 2 * * *"\n')
    text += people.settings(configured).replace(
        '[routes.service]\nseverity = "critical"\nto = ["service"]', ""
    )
    file.write_text(text)
    configured.began_long_ago()
    configured.ok("backup", "--policy", "full", "--force")  # which makes the targets
    return configured


def told(house: Machine, people: People, *words: str) -> list[str]:
    """Check; return what the webhook got."""
    before = len(people.hook.posts)
    assert house.run("alerts", "send", *words).failed_with(BackupOverdue), "what is muted counts all the same"
    return [one["key"] for post in people.hook.posts[before:] for one in post.document["data"]["alerts"]]


def a_day_later(house: Machine) -> None:
    with closing(sqlite3.connect(house.state / "state.db")) as database, database:
        database.execute("UPDATE alerts SET sent_at = sent_at - 90000")


def test_an_acknowledged_alert_is_listed_with_who_works_on_it_and_not_repeated(
    house: Machine, people: People
) -> None:
    assert told(house, people) == [OVERDUE]
    a_day_later(house)
    house.ok("alerts", "ack", OVERDUE, "--reason", "the disk is on its way")
    assert told(house, people) == []
    assert "the disk is on its way" in house.run("alerts", "send").out
    assert told(house, people, "--all") == [OVERDUE]


def test_what_nobody_heard_of_cannot_be_acknowledged(house: Machine) -> None:
    assert house.run("alerts", "ack", "backup.overdue:nothing", "--reason", "x").failed_with(UsageError)
    assert house.run("alerts", "ack", OVERDUE, "--reason", " ").failed_with(UsageError)
    house.ok("alerts", "ack", OVERDUE, "--reason", "the record shows it")


def test_a_silenced_alert_is_listed_with_its_reason_and_sent_when_the_silence_is_ended(
    house: Machine, people: People
) -> None:
    name = house.ok(
        "alerts", "silence", "*:metadata", "--until", "4h", "--reason", "it moves", "--json"
    ).document["id"]
    assert told(house, people) == []
    assert people.switch.paths == [""], "the switch hears nothing of it either"
    assert "it moves" in house.run("alerts", "send").out
    [listed] = house.ok("alerts", "silence", "--json").document["silences"]
    assert (listed["id"], listed["pattern"], listed["reason"]) == (name, "*:metadata", "it moves")
    house.ok("alerts", "silence", "--end", name)
    assert house.ok("alerts", "silence").out.strip() == "Nothing is silenced."
    assert told(house, people) == [OVERDUE]


REFUSED = [
    ("backup.overdu", "--until", "4h", "--reason", "x"),
    ("*", "--until", "31d", "--reason", "x"),
    ("*", "--until", "2020-01-01", "--reason", "x"),
    ("*", "--reason", "x"),
    ("*", "--until", "4h"),
    ("--end", "nothing"),
    ("--until", "4h"),
    ("--reason", "x"),
    ("*", "--end", "nothing"),
]


def test_a_silence_of_nothing_for_ever_or_without_a_reason_is_refused(house: Machine) -> None:
    for words in REFUSED:
        assert house.run("alerts", "silence", *words).failed_with(UsageError), words
    assert house.ok("alerts", "silence", "--json").document["silences"] == []


def test_a_check_ends_with_what_a_channel_said_that_nobody_could_stand_in_for(
    house: Machine, people: People
) -> None:
    people.hook.status = 500
    done = house.run("alerts", "send")
    assert done.failed_with(ChannelUnavailable)
    assert "NOT notified: webhook 'hook'" in done.out
    assert f"CRITICAL  {OVERDUE}" in done.out
    assert people.switch.paths == ["/fail"]
    assert "CANARY" not in done.out + done.err
    assert len(people.mail.mails) == 1, "the other route does not wait for it"
