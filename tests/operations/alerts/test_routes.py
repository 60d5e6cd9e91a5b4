"""Which alerts go which way, and what happens when a way is closed: real receivers, a real record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.alert_kinds import Severity
from strongroom.operations.engine.calendar_entries import Ping
from strongroom.operations.engine.muted import acknowledge, put_silence, read_muted
from strongroom.operations.judge.kinds import policy_of, wrong
from strongroom.operations.notify.channels import Channel
from strongroom.operations.notify.message import Route, audience
from strongroom.operations.notify.notify import CLUSTER, Delivery, Sending, gather_and_judge, tell_people
from strongroom.state.store import RunStore
from tests.operations.alerts.mail_server import MailServer
from tests.operations.alerts.receiver import Receiver
from tests.operations.alerts.test_channels import ping, webhook
from tests.operations.alerts.test_gather import DAY, LIMITS, by_mail, watching
from tests.operations.world import POLICY, World, make_world

OVERDUE = f"backup.overdue:{POLICY}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def route(*channels: Channel, name: str = "r", **options: object) -> Route:
    values = {"name": name, "audience": (name,), "channels": channels, "repeat": DAY}
    return Route(**{**values, **options})  # type: ignore[arg-type]


# -- which way -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, ["backup.overdue:p", "backup.slow:p", "drill.failed:single q", "target.away:eu"]),
        ({"severity": Severity.CRITICAL}, ["backup.overdue:p", "drill.failed:single q"]),
        ({"policies": ("q",)}, ["drill.failed:single q"]),
        ({"policies": ("p", "eu")}, ["backup.overdue:p", "backup.slow:p"]),
        ({"kinds": ("target.*", "backup.slow")}, ["backup.slow:p", "target.away:eu"]),
        ({"kinds": ("backup.*",), "severity": Severity.CRITICAL}, ["backup.overdue:p"]),
    ],
)
def test_a_route_takes_what_fits_all_that_it_asks(options: dict[str, object], taken: list[str]) -> None:
    alerts = [
        wrong("backup.overdue", "p", what="late"),
        wrong("backup.slow", "p", what="slow"),
        wrong("drill.failed", "single q", what="late"),
        wrong("target.away", "eu", what="away"),
    ]
    assert [alert.key for alert in alerts if route(**options).takes(alert)] == taken


def test_what_is_about_a_policy_is_known_by_its_kind() -> None:
    assert policy_of("rotation.failed:weekly") == "weekly"
    assert policy_of("backup.lost") == ""
    assert policy_of("key.aging:weekly") == ""


def test_an_audience_is_another_with_another_route_or_threshold() -> None:
    one, two = route(audience=("a", "b")), route(audience=("a",))
    assert len({audience(each, threshold=threshold) for each in (one, two) for threshold in (1, 2)}) == 4


# -- a way that is closed ------------------------------------------------------


def look(world: World, *routes: Route, ping: Ping | None = None, **options: object) -> tuple[Delivery, ...]:
    watched = watching(world)
    found = gather_and_judge(watched, LIMITS)
    how = Sending(routes=routes, ping=ping, **options)  # type: ignore[arg-type]
    return tell_people(watched, found, how)


def subjects(mails: MailServer) -> list[str]:
    return [mail.subject.partition(" on ")[0] for mail in mails.mails]


def test_the_next_channel_tells_and_says_why_and_then_tells_that_the_first_is_broken(
    world: World, mails: MailServer, hook: Receiver
) -> None:
    way = route(webhook(hook), by_mail(mails).channels[0])
    hook.status = 500
    [delivery] = look(world, way)
    assert (delivery.channel, delivery.missed, delivery.error) == ("mail", (), None)
    assert OVERDUE in mails.mails[0].text
    assert "Channel 'chat' was answered with status 500." in mails.mails[0].text
    look(world, way)
    assert "channel.failed:chat" in mails.mails[1].text
    hook.status = 200
    world.back_up()
    look(world, way)  # that is over goes through the first again, which proves it
    [post] = [post for post in hook.posts if post.document["data"]["resolved"]]
    assert [one["key"] for one in post.document["data"]["resolved"]] == [OVERDUE]
    look(world, way)
    assert [one["key"] for one in hook.posts[-1].document["data"]["resolved"]] == ["channel.failed:chat"]
    assert len(mails.mails) == 2
    assert "CANARY" not in str(RunStore(world.database).events(limit=1000))


def test_what_no_channel_took_is_told_by_the_next_look_of_anybody(
    world: World, mails: MailServer, hook: Receiver
) -> None:
    way = route(webhook(hook))
    hook.status = 503
    [delivery] = look(world, way, by="one")
    assert (delivery.channel, delivery.missed) == ("", ("webhook 'chat'",))
    assert "503" in str(delivery.error)
    hook.status = 200
    [delivery] = look(world, way, by="two")
    assert delivery.channel == "chat"
    names = [post.headers["webhook-id"] for post in hook.posts]
    assert len(set(names)) == 2, "the second has the broken channel in it, too"


def test_news_that_was_taken_and_not_put_on_record_comes_again_under_the_same_id(
    world: World, hook: Receiver
) -> None:
    class Dies(RunStore):
        def put_told(self, *_: object, **__: object) -> None:
            raise KeyboardInterrupt

    found = gather_and_judge(watching(world), LIMITS)
    dying = watching(world, store=lambda: Dies(world.database))
    how = Sending(routes=(route(webhook(hook)),))
    with pytest.raises(KeyboardInterrupt):
        tell_people(dying, found, how)
    tell_people(watching(world), found, how)
    assert len({post.headers["webhook-id"] for post in hook.posts}) == 1
    assert len(hook.posts) == 2


# -- several who look ----------------------------------------------------------


def test_of_several_who_look_one_tells_until_it_is_silent(world: World, hook: Receiver) -> None:
    way = route(webhook(hook))
    look(world, way, by="one")
    world.back_up()
    [delivery] = look(world, way, by="two")
    assert (delivery.teller, delivery.telling.is_empty, len(hook.posts)) == ("one", True, 1)
    [delivery] = look(world, way, by="two", takeover=-1.0)  # since longer ago than that "one" has not looked
    assert (delivery.teller, delivery.channel, len(hook.posts)) == ("", "chat", 2)
    [delivery] = look(world, way, by="one")
    assert delivery.teller == "two"


def test_a_command_that_somebody_typed_keeps_the_cluster_from_nothing(world: World, hook: Receiver) -> None:
    way = route(webhook(hook))
    look(world, way)  # before the first look of the cluster
    world.back_up()
    [delivery] = look(world, way, by=CLUSTER)
    assert (delivery.teller, delivery.channel) == ("", "chat"), "that it is over"
    assert [one["key"] for one in hook.posts[-1].document["data"]["resolved"]] == [OVERDUE]
    [delivery] = look(world, way)
    assert delivery.teller == CLUSTER


def test_who_is_not_the_teller_tells_all_the_same_if_that_is_asked_for(world: World, hook: Receiver) -> None:
    way = route(webhook(hook))
    look(world, way, by="one")
    look(world, way, by="two", everything=True)
    assert len(hook.posts) == 2


# -- what people say of it -----------------------------------------------------


def told_later(world: World, hook: Receiver, later: float) -> list[str]:
    before, watched = len(hook.posts), watching(world)
    found = gather_and_judge(watched, LIMITS, now=time.time() + later)
    tell_people(watched, found, Sending(routes=(route(webhook(hook)),)))
    return [alert["key"] for post in hook.posts[before:] for alert in post.document["data"]["alerts"]]


def test_an_acknowledged_alert_is_not_repeated(world: World, hook: Receiver) -> None:
    assert told_later(world, hook, 0.0) == [OVERDUE]
    store = RunStore(world.database)
    acknowledge(store, OVERDUE, severity="critical", weight=0, by="ann@desk", reason="on it")
    assert told_later(world, hook, 2 * DAY) == []
    assert told_later(world, hook, 91 * DAY) == [OVERDUE], "nobody works on it for so long"


def test_a_silence_ends_by_itself_and_is_never_longer_than_a_month(world: World, hook: Receiver) -> None:
    store = RunStore(world.database)
    put_silence(store, "backup.*", until=time.time() + 365 * DAY, by="ann@desk", reason="it moves")
    assert told_later(world, hook, 29 * DAY) == []
    assert told_later(world, hook, 31 * DAY) == [OVERDUE]


def test_rows_that_were_edited_silence_nothing(world: World) -> None:
    store = RunStore(world.database)
    store.event("alert.silenced", id=1, pattern=["*"], until="CANARY")
    store.event("alert.acknowledged", key=None, weight="CANARY", severity=3)
    muted = read_muted(store, now=time.time())
    assert muted.silence_of(OVERDUE) is None
    assert OVERDUE not in muted.acknowledged


# -- the dead man's switch -----------------------------------------------------


def test_each_look_pings_and_fails_while_something_is_wrong(world: World, hook: Receiver) -> None:
    look(world, ping=ping(hook))
    world.back_up()
    look(world, ping=ping(hook))
    assert hook.paths == ["/fail", ""]
    assert f"CRITICAL {OVERDUE}".encode() in hook.posts[0].body
    assert hook.posts[1].body == b""


def test_a_look_that_can_tell_nobody_pings_a_failure_also_if_that_is_a_warning(
    world: World, hook: Receiver, mails: MailServer
) -> None:
    world.back_up()
    store = RunStore(world.database)
    store.event("hook.failed", "r", entry="health", when="after", error="HookFailed: no")  # a warning
    look(world, ping=ping(hook))
    assert hook.paths == [""]
    look(world, ping=ping(hook, warnings=True))
    assert hook.paths == ["", "/fail"]
    mails.answer_data = "451 later"
    look(world, by_mail(mails), ping=ping(hook))
    assert hook.paths == ["", "/fail", "/fail"]
    assert b"NOT TOLD: one@example.org" in hook.posts[2].body


def test_a_ping_that_does_not_go_through_is_told_over_the_others(
    world: World, hook: Receiver, mails: MailServer
) -> None:
    world.back_up()
    hook.status = 404
    look(world, by_mail(mails), ping=ping(hook))
    assert subjects(mails) == []
    look(world, by_mail(mails), ping=ping(hook))
    assert subjects(mails) == ["[strongroom] 1 critical"]
    assert "channel.failed:check" in mails.mails[0].text


def test_a_fault_in_one_channel_keeps_no_other_from_telling(world: World, hook: Receiver) -> None:
    def fault() -> str:
        raise RuntimeError("CANARY-address")

    broken = Ping(name="switch", url=fault)
    ways = route(webhook(hook, name="broken", url=fault), webhook(hook)), route(webhook(hook), name="s")
    first, second = look(world, *ways, ping=broken)
    assert (first.channel, second.channel) == ("chat", "chat")
    assert len(hook.posts) == 2
    assert b"Channel 'broken' could not be used: RuntimeError." in hook.posts[0].body
    assert not any(b"CANARY" in post.body for post in hook.posts)


def test_who_asks_for_everything_gets_a_message_also_if_nothing_is_wrong(
    world: World, hook: Receiver
) -> None:
    way = route(webhook(hook), kinds=("nothing.like-this",))
    look(world, way)
    assert hook.posts == []
    for _ in range(2):
        [delivery] = look(world, way, everything=True)
        assert delivery.channel == "chat"
    assert [post.document["data"]["alerts"] for post in hook.posts] == [[], []]
    assert len({post.headers["webhook-id"] for post in hook.posts}) == 2


def test_a_channel_that_nobody_uses_any_more_is_no_alarm(world: World, hook: Receiver) -> None:
    world.back_up()
    hook.status = 404
    look(world, ping=ping(hook))
    for channels, told in ((frozenset({"check"}), ["channel.failed:check"]), (frozenset({"other"}), [])):
        found = gather_and_judge(watching(world, channels=channels), LIMITS)
        assert [alert.key for alert in found.alerts] == told
