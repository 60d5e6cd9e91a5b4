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
    return tuple(_log(name, log, settings) for name, log in settings.access_logs.items())


def _log(name: str, log: AccessLogSettings, settings: Settings) -> AccessLog:
    def place() -> LogPlace:
        if log.store is not None:
            return log_store(name, log.store, settings)
        assert log.directory is not None
        return LogFolder(log.directory)

    watch = Watch(
        places=tuple(_places(log, settings)),
        keys=tuple(_keys(log, settings)),
        ours=log.ours,
        networks=log.networks,
        refusals=log.refusals,
    )
    return AccessLog(name=name, format=log.format, place=place, watch=watch, settle=log.settle)


def _places(log: AccessLogSettings, settings: Settings) -> Iterator[str]:
    names = (settings.targets[name].logged_as(log.format) for name in log.targets or settings.targets)
    yield from filter(None, names)


def _keys(log: AccessLogSettings, settings: Settings) -> Iterator[str]:
    yield from filter(None, (key.logged_as(log.format) for key in settings.keys.values()))
