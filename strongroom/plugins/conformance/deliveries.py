"""What every channel, and every rotator, must do: each brings something to a place that may refuse it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from strongroom.alert_kinds import Severity
from strongroom.model import SecretBytes
from strongroom.operations.engine.services import CarriedValue, RotatorWork
from strongroom.operations.errors import ChannelUnavailable, SecretNotRotated
from strongroom.operations.notify.channels import AlertMessage, Channel

# -- Channels ------------------------------------------------------------------------------------

TOLD = AlertMessage(
    id="message-1",
    at=1_700_000_000.0,
    subject="1 critical alert: backup.overdue",
    text="The backup of 'wöchentlich' is overdue.\nWhat to do: strongroom backup --policy weekly\n",
    severity=Severity.CRITICAL,
    document={"alerts": [{"key": "backup.overdue:weekly", "severity": "critical"}]},
)
OVER = AlertMessage(
    id="message-2",
    at=1_700_000_600.0,
    subject="Over: backup.overdue",
    text="The backup of 'wöchentlich' is there.\n",
    severity=None,
    document={"over": ["backup.overdue:weekly"]},
)


class ChannelConformance:
    """The contract of :class:`strongroom.operations.notify.channels.Channel`."""

    seconds = 60.0
    """Within which a channel gives up a receiver that does not answer."""
    machines: ClassVar = False
    """Whether it sends ``message.document`` too, to machines."""

    @pytest.fixture
    def channel(self) -> Channel:
        """Give a channel that the configuration calls ``mine``, to a receiver that answers."""
        raise NotImplementedError

    @pytest.fixture
    def received(self) -> Callable[[], Sequence[str]]:
        """Give what returns, for each message that came, all that came of it, as text."""
        raise NotImplementedError

    @pytest.fixture
    def away(self) -> Channel:
        """Give one whose receiver cannot be reached."""
        raise NotImplementedError

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        """Give what must not show, such as a token in an address."""
        return ()

    def test_a_message_comes_with_all_that_it_says(
        self, channel: Channel, received: Callable[[], Sequence[str]]
    ) -> None:
        channel.send(TOLD)
        [came] = received()
        assert "overdue" in came
        assert not self.machines or "backup.overdue:weekly" in came
        assert "wöchentlich" in came or "w\\u00f6chentlich" in came or "w=C3=B6chentlich" in came

    def test_a_message_that_something_is_over_comes_too(
        self, channel: Channel, received: Callable[[], Sequence[str]]
    ) -> None:
        channel.send(TOLD)
        channel.send(OVER)
        assert len(received()) == 2

    def test_it_says_its_name_and_where_it_leads_and_nothing_secret(
        self, channel: Channel, secrets: Sequence[str]
    ) -> None:
        assert channel.name == "mine"
        assert channel.where.strip()
        assert not [secret for secret in secrets if secret in channel.where + repr(channel)]

    def test_a_receiver_that_is_away_is_told_in_time_and_by_its_error(
        self, away: Channel, secrets: Sequence[str]
    ) -> None:
        begun = time.monotonic()
        with pytest.raises(ChannelUnavailable) as told:
            away.send(TOLD)
        assert time.monotonic() - begun < self.seconds
        assert told.value.missed, "who was not told has to be named"
        said = f"{told.value.message} {told.value.hint}"
        assert not [secret for secret in secrets if secret in said]


# -- Rotators ------------------------------------------------------------------------------------

NAME = "prod/db/password"


def carried(value: str) -> CarriedValue:
    """Return a new value of a secret, as a rotator is given it."""
    return CarriedValue(value=SecretBytes(value.encode()), secret=NAME, source="vault", run="run-1")


class RotatorConformance:
    """The contract of a :class:`strongroom.operations.engine.services.RotatorWork` with a ``carry``."""

    @pytest.fixture
    def work(self) -> RotatorWork:
        """Give what the rotator does."""
        raise NotImplementedError

    @pytest.fixture
    def accepts(self) -> Callable[[str], bool]:
        """Give what tells whether a value works where it is checked now."""
        raise NotImplementedError

    @pytest.fixture
    def refusing(self) -> RotatorWork:
        """Give the same where whatever checks the value takes no new one."""
        raise NotImplementedError

    def bring(self, work: RotatorWork, value: str) -> None:
        assert work.carry is not None
        work.carry(carried(value))

    def test_it_says_in_words_what_it_does(self, work: RotatorWork) -> None:
        assert work.does.strip()
        assert work.does.isprintable()
        assert not work.by_hand

    def test_strongroom_makes_the_value_and_it_cannot_be_guessed(self, work: RotatorWork) -> None:
        assert work.shape is not None
        assert work.shape.length * len(set("".join(work.shape.classes))).bit_length() >= 64

    def test_a_value_that_was_brought_counts(self, work: RotatorWork, accepts: Callable[[str], bool]) -> None:
        assert not accepts("CANARY-first-value")
        self.bring(work, "CANARY-first-value")
        assert accepts("CANARY-first-value")

    def test_the_same_value_may_be_brought_twice(
        self, work: RotatorWork, accepts: Callable[[str], bool]
    ) -> None:
        self.bring(work, "CANARY-first-value")
        self.bring(work, "CANARY-first-value")
        assert accepts("CANARY-first-value")

    def test_a_later_value_takes_the_place_of_an_earlier_one(
        self, work: RotatorWork, accepts: Callable[[str], bool]
    ) -> None:
        self.bring(work, "CANARY-first-value")
        self.bring(work, "CANARY-second-value")
        assert accepts("CANARY-second-value")
        assert not accepts("CANARY-first-value")

    def test_a_refusal_is_told_without_the_value(self, refusing: RotatorWork) -> None:
        with pytest.raises(SecretNotRotated) as told:
            self.bring(refusing, "CANARY-refused-value")
        assert "CANARY" not in f"{told.value.message} {told.value.hint} {told.value.__cause__!r}"
