"""Everything that Apprise knows, from Slack to PagerDuty, by one URL. The library is an extra.

Its URL is a secret, and the library logs parts of it when something goes wrong. So its log is off, and why a
service refused is not known here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from msgspec import Struct

from strongroom.errors import ConfigError, StrongroomError
from strongroom.operations.alerts.channel import AlertMessage
from strongroom.operations.errors import ChannelUnavailable
from strongroom.operations.findings import Severity
from strongroom.system.deadlines import run_all

COLOURS: Final = {Severity.CRITICAL: "failure", Severity.WARNING: "warning", None: "success"}
"""What Apprise calls a message's kind."""


class Apprise(Struct, frozen=True, kw_only=True):
    """A service. ``url`` reads its address when it is needed, and not before."""

    name: str
    url: Callable[[], str]
    timeout: float = 10.0

    @property
    def where(self) -> str:
        return f"'{self.name}' (Apprise)"

    def send(self, message: AlertMessage) -> None:
        """Hand the message to the service. See :class:`~strongroom.operations.alerts.channel.Channel`."""
        service = self._service()
        kind = COLOURS[message.severity]

        def notify() -> bool:
            try:
                return bool(
                    service.notify(
                        body=message.text, title=message.subject, notify_type=kind, body_format="text"
                    )
                )
            except Exception:  # noqa: BLE001 - each of its many services raises what it likes
                return False

        [taken] = run_all(self.timeout, {self.name: notify}, late=lambda _name: ChannelUnavailable).values()
        if isinstance(taken, StrongroomError):
            raise ChannelUnavailable(f"Channel '{self.name}': {taken.message}.", missed=(self.where,))
        if not taken:
            raise ChannelUnavailable(
                f"Channel '{self.name}': the service did not take the message.",
                missed=(self.where,),
                hint="Apprise does not say why. Try it by hand where only you see it: apprise -b test URL",
            )

    def _service(self) -> Any:
        try:
            apprise = import_module("apprise")
        except ImportError:
            raise ConfigError(
                f"Channel '{self.name}' needs Apprise, which is not installed here.",
                hint="Install strongroom[apprise] on every host that notifies: docs/how-to/notify-people.md.",
            ) from None
        logging.getLogger("apprise").disabled = True
        service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False, plugin_paths=[]))
        if not service.add(self.url().strip()):
            raise ConfigError(
                f"The file that channels.{self.name}.url_file names holds no URL that Apprise knows.",
                hint="One URL, such as slack://…; https://appriseit.com lists the forms.",
            )
        return service
