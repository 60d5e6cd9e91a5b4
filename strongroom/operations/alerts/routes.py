"""Which alerts go to whom. Pure: nothing is asked and nothing sent here."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase

from msgspec import Struct

from strongroom.operations.alerts.channel import Channel
from strongroom.operations.findings import Finding, Severity
from strongroom.operations.judge.kinds import policy_of


class Route(Struct, frozen=True, kw_only=True):
    """Alerts from a severity on, of some policies and kinds (all, if none is named), and their channels.

    The first channel gets the message, and each other only if those before it fail. ``audience`` is who is
    told, whatever else changes: what they know is on record for it. ``repeat`` is in seconds.
    """

    name: str
    audience: tuple[str, ...]
    channels: tuple[Channel, ...]
    repeat: float
    severity: Severity = Severity.WARNING
    policies: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def takes(self, alert: Finding) -> bool:
        """Tell whether an alert goes this way."""
        severe = alert.severity is Severity.CRITICAL or self.severity is Severity.WARNING
        policy = not self.policies or policy_of(alert.key) in self.policies
        return (
            severe
            and policy
            and (not self.kinds or any(fnmatchcase(alert.kind, kind) for kind in self.kinds))
        )

    @property
    def where(self) -> str:
        """Where it leads, for people."""
        return ", else ".join(channel.where for channel in self.channels)


def audience(route: Route, *, threshold: float) -> str:
    """Return what stands on record for those who are told together, by one threshold.

    Checks by two thresholds would otherwise each call over what the other one told.
    """
    return hashlib.sha256("\n".join((f"{threshold:g}", *route.audience)).encode()).hexdigest()
