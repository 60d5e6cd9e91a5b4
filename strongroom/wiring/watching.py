"""What watches and whom it tells: made of settings alone, so that any host can."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from strongroom.alert_kinds import Severity
from strongroom.config import LocalSourceSettings, Settings
from strongroom.config.alerts import (
    PORTS,
    AppriseChannel,
    MailChannel,
    PingChannel,
    WebhookChannel,
)
from strongroom.config.approvals import AccessLogSettings
from strongroom.config.checks.stores import secret_files
from strongroom.config.kinds import ChannelKind, UnusableChannel
from strongroom.config.load import find_config
from strongroom.config.model import DEFAULT_STAGE
from strongroom.config.registry import maker, require_made
from strongroom.errors import ConfigError
from strongroom.operations.access.follow import LogFolder, LogPlace
from strongroom.operations.access.look import AccessLog, Watch, look
from strongroom.operations.checks import drift
from strongroom.operations.engine.calendar_entries import Ping
from strongroom.operations.engine.services import CheckResult, Services
from strongroom.operations.evidence.ledger_heads import carries, compare_with_heads
from strongroom.operations.judge.calendar import late_entries
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    InstallationFacts,
    WatchedDrill,
    WatchedInstallation,
    WatchedRoom,
)
from strongroom.operations.judge.facts import on_record
from strongroom.operations.notify.channels import AlertMessage, Apprise, Channel, Mail, MailServer, Webhook
from strongroom.operations.notify.message import Route
from strongroom.operations.notify.notify import Sending
from strongroom.sources.local import LocalStore
from strongroom.state import engine
from strongroom.state.engine import StateDatabase
from strongroom.state.records import RunKind
from strongroom.state.store import RunStore
from strongroom.system import files
from strongroom.system.errors import PluginBroken
from strongroom.wiring import adapters, keys
from strongroom.wiring.adapters import log_store
from strongroom.wiring.calendar import CHECKS, calendar
from strongroom.wiring.database import database_url
from strongroom.wiring.jobs import configured
from strongroom.wiring.read_only import looking_services

# -- The channels and routes as this process's own configuration has them. Secrets are read on use ---


BY_MAIL = "alerts.email"
"""The route and the channel of those who are named there; no name of a table has a dot."""


def sending(
    settings: Settings, *, email: Sequence[str] = (), everything: bool = False, by: str = ""
) -> Sending | None:
    """Return who is notified and how; ``None`` if nobody is notified or pinged.

    Args:
        email: who is notified in place of all that are configured.
        everything: whatever was sent before.
        by: whose look it is; empty: that of this host.

    Raises:
        ConfigError: somebody gets mail, and no server is configured.
    """
    routes = [_by_mail(settings, email)] if email else _routes(settings)
    ping = ping_of(settings, settings.alerts.ping) if settings.alerts.ping and not email else None
    if not routes and ping is None:
        return None
    return Sending(routes=tuple(routes), ping=ping, everything=everything, by=by)


def _routes(settings: Settings) -> list[Route]:
    routes = [
        Route(
            name=name,
            audience=(name, *route.to),
            channels=tuple(_channel(channel, settings.channels[channel], settings) for channel in route.to),
            repeat=route.repeat or settings.alerts.repeat,
            severity=Severity(route.severity),
            policies=route.policies,
            kinds=route.kinds,
        )
        for name, route in settings.routes.items()
    ]
    by_mail = [_by_mail(settings, settings.alerts.email)] if settings.alerts.email else []
    return by_mail + routes


def _by_mail(settings: Settings, addresses: Sequence[str]) -> Route:
    recipients = tuple({address.lower(): address for address in addresses}.values())
    return Route(
        name=BY_MAIL,
        audience=tuple(sorted(map(str.lower, recipients))),
        channels=(Mail(name=BY_MAIL, server=mail_server(settings), recipients=recipients),),
        repeat=settings.alerts.repeat,
    )


def _channel(name: str, channel: ChannelKind, settings: Settings) -> Channel:
    try:
        made: Channel = maker(channel, channel.MADE_BY)(name, channel, settings)
        require_made(made, ("name", "where", "send"), channel)
    except PluginBroken as broken:
        return _BrokenChannel(name, broken.message, broken.hint)
    return made


def mail_channel(name: str, channel: MailChannel, settings: Settings) -> Channel:
    """Return mail to some addresses."""
    return Mail(name=name, server=mail_server(settings), recipients=channel.to)


def webhook_channel(name: str, channel: WebhookChannel, settings: Settings) -> Channel:
    """Return a webhook."""
    secret = partial(_read, channel.secret_file)
    return Webhook(name=name, url=_address(channel), secret=secret, ca_file=channel.ca_file)


def apprise_channel(name: str, channel: AppriseChannel, settings: Settings) -> Channel:
    """Return a service that Apprise knows."""
    return Apprise(name=name, url=partial(_read, channel.url_file))


def no_channel(name: str, channel: PingChannel, settings: Settings) -> NoReturn:
    """Refuse to carry a message to a dead man's switch, which the settings' checks let no route name."""
    raise ConfigError(f"channels.{name} is a dead man's switch: a message cannot go there.")


def broken_channel(name: str, channel: UnusableChannel, settings: Settings) -> Channel:
    """Return what stands in for a channel whose plug-in cannot be used: the next of its route is taken."""
    return _BrokenChannel(name, channel.problem, channel.mend)


class _BrokenChannel(Struct, frozen=True):
    name: str
    problem: str
    mend: str

    @property
    def where(self) -> str:
        return f"channel '{self.name}', whose plug-in cannot be used"

    def send(self, message: AlertMessage) -> None:
        raise PluginBroken(self.problem, hint=self.mend)


def ping_of(settings: Settings, name: str) -> Ping:
    """Return the dead man's switch of a name. Raises ConfigError if there is none."""
    channel = settings.channels.get(name)
    if not isinstance(channel, PingChannel):
        raise ConfigError(f"There is no channel '{name}' of kind ping.")
    return Ping(
        name=name,
        url=_address(channel),
        ca_file=channel.ca_file,
        warnings=channel.fails_on == "warning",
    )


def _address(channel: WebhookChannel | PingChannel) -> Callable[[], str]:
    return partial(_read, channel.url_file) if channel.url_file is not None else partial(str, channel.url)


def mail_server(settings: Settings) -> MailServer:
    """Return the configured mail server. Raises ConfigError if there is none."""
    mail = settings.mail
    if mail.host is None:
        raise ConfigError(
            "There is somebody to tell, and no mail server: mail.host is missing.",
            hint="Name it in [mail] of strongroom.toml; docs/how-to/notify-people.md has an example.",
        )
    return MailServer(
        host=mail.host,
        port=mail.port or PORTS[mail.security],
        security=mail.security,
        sender=mail.sender or _sender(),
        username=mail.username,
        password=partial(_read, mail.password_file) if mail.password_file else None,
        ca_file=mail.ca_file,
    )


def _read(path: Path) -> str:
    return files.read_private(path).strip("\r\n")


def _sender() -> str:
    """Return an address of this host, whatever its name is made of."""
    name = "".join(
        character
        for character in socket.gethostname()
        if character.isascii() and (character.isalnum() or character in "-.")
    )
    return f"strongroom@{name.strip('-.') or 'localhost'}"


# -- What watches: made of settings alone, without a key, a source or a stage, so that any host can ---


def watched(settings: Settings) -> WatchedInstallation:
    """Return what is watched; nothing is connected yet, and nothing is made."""
    host = socket.gethostname()
    targets = {name: adapters.target(name, settings, prepare=False) for name in settings.targets}
    seen = WatchedInstallation(
        host=host,
        store=cache(lambda: _store(settings)),
        targets=targets,
        trusted=keys.fingerprints(settings, settings.state_dir / "keys" / "roles"),
        state_dir=settings.state_dir,
        recovery_objective=settings.recovery.objective,
        policies=tuple(configured(settings, targets).values()),
        drills=tuple(_drills(settings)),
        key_health=settings.calendar.key_proof.schedule,
        checks=tuple(CHECKS),
        access_logs={name: float(log.silent) for name, log in settings.access_logs.items()},
        channels=frozenset({BY_MAIL, *settings.channels}),
        calendar=calendar(settings),
        configured_at=_set_up_at(settings),
        key_zone=settings.calendar.time_zone,
        rooms=tuple(_rooms(settings, host)),
        secret_files=tuple(secret_files(settings).values()),
        local_stores=tuple(
            LocalStore(source.path or settings.state_dir, name=name)
            for name, source in settings.sources.items()
            if isinstance(source, LocalSourceSettings)
        ),
        unshared=tuple(settings.unshared_policies()),
        certificates={
            f"{name} on {host}": path for name, path in _certificates(settings) if path is not None
        },
    )
    return replace(
        seen,
        hold_ledger=lambda: compare_with_heads(looking_services(settings), seen.in_use, digests=carries),
        late_entries=lambda now: late_entries(looking_services(settings), seen.calendar, now=now),
    )


def facts_on_record(settings: Settings, services: Services, *, now: float) -> InstallationFacts:
    """Return what the record has; no target is asked. Raises StateError if it cannot be read."""
    known = replace(watched(settings), trusted=services.signer_fingerprints)
    return on_record(known, limits(settings), services.store, now=now)


def _set_up_at(settings: Settings) -> float | None:
    """Return when this host was configured: by a file, or else with its first key.

    A host with neither only watches others: what it misses was always due.
    """
    if (file := find_config(os.environ)) is not None:
        return _written_at(file)
    keys = (settings.state_dir / "keys").rglob("*")
    return min(filter(None, map(_written_at, keys)), default=None)


def _written_at(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:  # it went away after it was read: the record says when the installation began
        return None


def _store(settings: Settings) -> RunStore:
    """Return the state; make one where there is none, for what was told, and migrate none.

    Workers of an older version would refuse a database that a newer look had migrated.
    """
    url = database_url(settings)
    database = StateDatabase(url)
    if database.revision() is not None:
        engine.require(database)
    return RunStore(url)


def limits(settings: Settings, *, threshold_age: float | None = None) -> AlertLimits:
    """Return from when on something is told."""
    alerts = settings.alerts
    return AlertLimits(
        threshold_age=alerts.threshold_age if threshold_age is None else threshold_age,
        key_age=alerts.key_age,
        notice=alerts.notice,
        free_percent=alerts.free_percent,
        mass_change=drift.MassChangeLimits(mass_change_percent=settings.drift.mass_change_percent),
    )


def _drills(settings: Settings) -> Iterator[WatchedDrill]:
    for entry in calendar(settings):
        if entry.kind is RunKind.DRILL and not entry.needs:
            yield WatchedDrill(
                drill=entry.options["drill"],
                policy=entry.policy,
                schedule=entry.schedule,
                time_zone=entry.time_zone,
            )


def _rooms(settings: Settings, host: str) -> Iterator[WatchedRoom]:
    yield WatchedRoom(name=f"the state directory on {host}", path=settings.state_dir)
    least = settings.limits.container_bytes
    if DEFAULT_STAGE not in settings.stages:
        yield WatchedRoom(name=f"the stage on {host}", path=settings.stage_path, least=least)
    for name, stage in settings.stages.items():
        if stage.folder is not None:
            yield WatchedRoom(name=f"the stage '{name}' on {host}", path=stage.folder, least=least)
    for name, target in settings.targets.items():
        if target.folder is not None:
            yield WatchedRoom(name=f"target '{name}' on {host}", path=target.folder, target=name)


def _certificates(settings: Settings) -> Iterator[tuple[str, Path | None]]:
    for section in ("broker", "state"):
        for key in ("ca_file", "certificate_file"):
            yield f"{section}.{key}", getattr(getattr(settings, section), key)
    yield "mail.ca_file", settings.mail.ca_file
    for section in ("vaults", "sources", "targets", "stages", "channels"):
        for name, entry in getattr(settings, section).items():
            for key in ("ca_file", "certificate_file"):
                path = getattr(entry, key, None)
                yield f"{section}.{name}.{key}", path if isinstance(path, Path) else None


# -- The access logs of the settings: where each lies, and what to look for in it ---------------


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

    targets = (settings.targets[target] for target in log.targets or settings.targets)
    watch = Watch(
        places=tuple(filter(None, (target.logged_as(log.format) for target in targets))),
        keys=tuple(filter(None, (key.logged_as(log.format) for key in settings.keys.values()))),
        ours=log.ours,
        networks=log.networks,
        refusals=log.refusals,
    )
    return AccessLog(name=name, format=log.format, place=place, watch=watch, settle=log.settle)
