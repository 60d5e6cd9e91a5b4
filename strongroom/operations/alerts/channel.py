"""What carries a message to people, and what the message is: the same for every kind of channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from strongroom.operations.findings import Severity


class AlertMessage(Struct, frozen=True, kw_only=True):
    """All news of one check on one route.

    Args:
        id: the same if the same news is sent again because nobody knows whether it came.
        severity: that of the worst alert in it; ``None`` if it only says what is over.
        document: the same for machines, as JSON can say it.
    """

    id: str
    at: float
    subject: str
    text: str
    severity: Severity | None
    document: Mapping[str, Any]


class Channel(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def where(self) -> str:
        """Where it leads, for people; nothing secret."""

    def send(self, message: AlertMessage) -> None:
        """Hand a message over, within the channel's own time limit.

        Raises:
            ChannelUnavailable: it was not taken, and may be later. If ``partly``, some people were told.
            ChannelRefused: it was refused.
            ConfigError: a file that the channel needs cannot be used.
        """
