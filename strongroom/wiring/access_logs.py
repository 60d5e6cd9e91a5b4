"""The access logs of the settings: where each lies, and what to look for in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from strongroom.config import AzureTargetSettings, S3TargetSettings, Settings, VaultTargetSettings
from strongroom.config.access_logs import AccessLogSettings
from strongroom.config.keys import KmsKey, TransitKey
from strongroom.config.targets import TargetSettings
from strongroom.operations.access.follow import LogFolder, LogPlace
from strongroom.operations.access.look import AccessLog, look
from strongroom.operations.access.matching import Watch
from strongroom.operations.services import Checked, Services
from strongroom.wiring.adapters import log_store

NAME = "access"
"""The check, and the entry of the calendar."""


def check(services: Services, settings: Settings) -> Checked:
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
    for name in one.targets or settings.targets:
        place = _place(one.format, settings.targets[name])
        if place:
            yield place


def _place(log: str, target: TargetSettings) -> str:
    """Return what a target's objects are called in a log of this format; empty if they cannot be in it."""
    match target:
        case S3TargetSettings() if log in ("s3", "cloudtrail"):
            return _folder(target.bucket, target.prefix)
        case AzureTargetSettings() if log == "azure":
            account = (urlsplit(target.account_url).hostname or "").partition(".")[0]
            return _folder(f"{account}/{target.container}", target.prefix)
        case VaultTargetSettings() if log == "vault":
            return _folder(f"{target.mount.strip('/')}/data", target.prefix)
    return ""


def _folder(root: str, prefix: str) -> str:
    below = prefix.strip("/")
    return f"{root}/{below}/" if below else f"{root}/"


def _keys(one: AccessLogSettings, settings: Settings) -> Iterator[str]:
    for key in settings.keys.values():
        match key:
            case TransitKey() if one.format == "vault":
                yield f"{key.mount.strip('/')}//{key.key}"
            case KmsKey() if one.format == "cloudtrail":
                yield key.key_id
