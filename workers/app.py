"""The Celery app. ``celery -A workers.app`` finds it, and so does ``python -m workers``.

A process says which role it plays with ``STRONGROOM_ROLE``; a plain Python shell plays
``submit``, which may ask for backups and drills and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from celery import Celery

from strongroom.config import Settings
from strongroom.config.live import LiveSettings
from strongroom.errors import ConfigError
from strongroom.keys.keyring import Keyring
from workers import transport
from workers.broker import broker_url, tls_options
from workers.celery_settings import celery_settings
from workers.messages import register_envelope
from workers.names import BEAT, QUEUES, ROLES, SUBMIT
from workers.paths import role_keys
from workers.refusals import Refusals
from workers.services import PerProcess

TASK_MODULES = (
    "tasks.backup",
    "tasks.drill",
    "tasks.schedule",
    "tasks.housekeeping",
    "tasks.ledger",
    "tasks.page",
    "tasks.repair",
    "tasks.restore",
    "tasks.rotate",
    "tasks.rotate_secret",
    "tasks.shred",
    "tasks.steps",
    "tasks.verify",
    "tasks.alerts",
)


class Strongroom(Celery):  # type: ignore[misc]
    """A Celery app that knows its settings, its role, and what it may build.

    Args:
        live: the configuration, as it is now and whenever its file changes.
        role: which pool this is, or ``submit``, ``beat`` or ``watch``.
    """

    def __init__(self, live: LiveSettings, *, role: str) -> None:
        self.role = role
        self.services = PerProcess(live, role=role)
        settings = live.current
        self.pulse: Callable[[], None] = lambda: None
        """What the main loop calls each time that it comes round."""
        self.refusals = Refusals(self.services.record, pool=role)
        super().__init__(
            "strongroom",
            amqp="workers.messages:SignedAMQP",
            control="workers.consumer:SignedControl",
            task_cls="workers.base:StrongroomTask",
            loader="workers.guards:SafeLoader",
            include=TASK_MODULES,
        )
        # Celery looks for these two by name, and here is where it may be told of others.
        self.Worker = self.subclass_with_self("workers.guards:RoleWorker", name="Worker")
        self.Beat = self.subclass_with_self("workers.guards:RoleBeat", name="Beat")
        url, tls = broker_url(settings), tls_options(settings.broker)
        self.conf.update(celery_settings(role=role, broker=url, tls=tls))
        if role == BEAT:  # by string: the schedule is above us
            self.conf.beat_schedule = self.beat_entries()

    @property
    def settings(self) -> Settings:
        """The settings in force now."""
        return self.services.settings()

    def beat_entries(self) -> dict[str, dict[str, Any]]:
        """Return what beat asks for, by the settings in force now."""
        entries: dict[str, dict[str, Any]] = import_module("beat_schedule").entries(self.settings)
        return entries


def make_app(live: LiveSettings, *, role: str) -> Strongroom:
    """Return an app of a role, signing with that role's key."""
    if role not in ROLES:
        raise ConfigError(f"STRONGROOM_ROLE is '{role}'; it must be one of {', '.join(ROLES)}")
    register_envelope(role, Keyring(role_keys(live.current.state_dir)))
    strongroom = Strongroom(live, role=role)
    transport.install(lambda error: strongroom.refusals.refuse(error, where=role), takes=role in QUEUES)
    return strongroom


app = make_app(LiveSettings.load(), role=os.environ.get("STRONGROOM_ROLE", SUBMIT))
