"""The access logs of the settings: where each lies, and what to look for in it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from strongroom.config import Settings
from strongroom.config.access_logs import AccessLogSettings
from strongroom.operations.access.follow import LogFolder, LogPlace
from strongroom.operations.access.look import AccessLog, look
from strongroom.operations.access.matching import Watch
from strongroom.operations.services import CheckResult, Services
from strongroom.wiring.adapters import log_store

NAME = "access"
"""The check, and the entry of the calendar."""


def check(services: Services, settings: Settings) -> CheckResult:
    """Read all access logs, as the calendar asks for it."""
    return look(services, access_logs(settings), now=time.time())


def access_logs(settings: Settings) -> tuple[AccessLog, ...]:
    """Return every log that is configured."""
    return tuple(_log(name, one, settings) for name, one in settings.access_logs.items())


def _log(name: str, one: AccessLogSettings, settings: Settings) -> AccessLog:
    def place() -> LogPlace:
        if one.store is not None:
            return log_store(name, one.store, settings)
        assert one.directory is not None
        return LogFolder(one.directory)

    watch = Watch(
        places=tuple(_places(one, settings)),
        keys=tuple(_keys(one, settings)),
        ours=one.ours,
        networks=one.networks,
        refusals=one.refusals,
    )
    return AccessLog(name=name, format=one.format, place=place, watch=watch, settle=one.settle)


def _places(one: AccessLogSettings, settings: Settings) -> Iterator[str]:
    names = (settings.targets[name].logged_as(one.format) for name in one.targets or settings.targets)
    yield from filter(None, names)


def _keys(one: AccessLogSettings, settings: Settings) -> Iterator[str]:
    yield from filter(None, (key.logged_as(one.format) for key in settings.keys.values()))
