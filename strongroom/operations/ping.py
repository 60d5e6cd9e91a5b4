"""Telling a dead man's switch that something begins, went well or failed. When nothing comes, it raises the
alarm: it is the one that hears of a host that is gone.

Addresses are those of Healthchecks: ``URL`` for success, ``URL/start`` and ``URL/fail`` for the others.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from strongroom.operations.errors import ChannelRefused, ChannelUnavailable
from strongroom.system.errors import NotTaken
from strongroom.system.http_post import TEXT, post

LONGEST = 10_000
"""Bytes of what is said with a ping: services keep as much."""


class Signal(StrEnum):
    """What a ping says: what stands behind the address."""

    START = "start"
    SUCCESS = ""
    FAILURE = "fail"


class Ping(Struct, frozen=True, kw_only=True):
    """A switch. ``url`` reads its address when it is needed; ``warnings``: they too make a look fail."""

    name: str
    url: Callable[[], str]
    timeout: float = 10.0
    ca_file: Path | None = None
    warnings: bool = False

    def send(self, signal: Signal, words: str = "") -> None:
        """Send a ping, with a few words for people.

        Raises:
            ChannelUnavailable: the switch did not take it in time. It raises an alarm by itself then.
            ChannelRefused: it said no.
            ConfigError: the file with its address is missing, or open to others.
        """
        body = words.encode("utf-8", "replace")[:LONGEST]
        try:
            post(
                _address(self.url(), signal),
                body,
                timeout=self.timeout,
                content_type=TEXT,
                ca_file=self.ca_file,
            )
        except NotTaken as error:
            kind = ChannelRefused if error.lasting else ChannelUnavailable
            raise kind(f"Channel '{self.name}' {error.message}.") from None


def _address(url: str, signal: Signal) -> str:
    path, mark, query = url.strip().partition("?")
    return f"{path.rstrip('/')}/{signal}{mark}{query}" if signal else url.strip()
