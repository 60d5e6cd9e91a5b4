"""What every kind of source, target, key, rotator and channel has to do, as suites for pytest.

A test module subclasses the suite of what it tests and gives the fixtures that its documentation names. Ours
are held to the same suites. Strongroom itself never imports them: they need pytest.
"""

from __future__ import annotations

from strongroom.plugins.conformance.deliveries import ChannelConformance, RotatorConformance
from strongroom.plugins.conformance.recipients import RecipientConformance
from strongroom.plugins.conformance.settings import SettingsConformance
from strongroom.plugins.conformance.sources import DestinationConformance, SourceConformance
from strongroom.plugins.conformance.targets import SharedConformance, TargetConformance

__all__ = [
    "ChannelConformance",
    "DestinationConformance",
    "RecipientConformance",
    "RotatorConformance",
    "SettingsConformance",
    "SharedConformance",
    "SourceConformance",
    "TargetConformance",
]
