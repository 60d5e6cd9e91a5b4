"""A process's services, put together by its role."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from functools import cache, partial

from strongroom.config import Settings
from strongroom.keys import clusterkeys, roles
from strongroom.keys.keyring import Keyring
from strongroom.operations.approval.changes import approved_retention
from strongroom.operations.services import RunLimits, Services, no_scratch
from strongroom.state.store import LossPatience, RunStore
from strongroom.wiring import adapters, keys, policies, signers
from strongroom.wiring.approvals import approval_rules
from strongroom.wiring.checks import checks
from strongroom.wiring.database import database_url
from strongroom.wiring.hooks import hooks
from strongroom.wiring.prompts import Ask
from strongroom.wiring.rotators import rotators, writers
from strongroom.wiring.signers import OPERATOR

READS_SOURCES = frozenset({"control", "seal", "verify", OPERATOR})
WRITES_SOURCES = frozenset({"recover", OPERATOR})
SUBMIT = "submit"
"""It puts runs on record and does nothing of them, so it gets no key and makes no folder."""
OPENS = frozenset({"verify", "drill", "recover", OPERATOR})
PREPARES = frozenset({"control", "transfer", OPERATOR})
DRILLS = frozenset({"drill", OPERATOR})
"""Who may make scratch mounts, on the servers whose settings allow it."""
SEALS = frozenset({"seal", "recover", OPERATOR})
"""Who wraps keys: capturing, and rotating."""


def build_services(settings: Settings, *, role: str, ask: Ask | None = None) -> Services:
    """Put a process's services together; nothing is connected yet.

    Args:
        role: one of :data:`strongroom.keys.roles.ROLES`, or ``operator``.
        ask: prompts a person for what neither a file nor the environment gives.

    Raises:
        ConfigError: a key file is missing, damaged or open to others.
    """
    folder = settings.state_dir / "keys"
    keyring = Keyring(folder / "roles")
    targets = {name: adapters.target(name, settings, prepare=role in PREPARES) for name in settings.targets}
    reads, writes = role in READS_SOURCES, role in WRITES_SOURCES
    services = Services(
        owner=f"{socket.gethostname()}:{os.getpid()}:{role}",
        state_dir=settings.state_dir,
        store=run_store(settings),
        stage=adapters.stage(settings.stage_path, prepare=role != SUBMIT),
        targets=targets,
        sources={name: adapters.source(name, settings) for name in settings.sources} if reads else {},
        destinations=adapters.destinations(settings) if writes else {},
        scratch=partial(adapters.scratch, settings=settings) if role in DRILLS else no_scratch,
        pinned=policies.pinned(settings, targets, seals=role in SEALS, ask=ask),
        signers=signers.signers(keyring, role),
        trusted=lambda wanted: signers.trusted(keyring, wanted),
        signer_fingerprints=signers.fingerprints(settings, folder / "roles"),
        span=settings.verification.span_days * 86_400.0,
        installation=lambda: roles.installation_fingerprint(folder / "roles"),
        retention=cache(lambda: policies.configured(settings, targets)),
        identities=cache(lambda: keys.identities(settings, ask) if role in OPENS else ()),
        work_key=b"" if role == SUBMIT else clusterkeys.load_or_create(folder, "work"),
        digest_key=b"" if role == SUBMIT else clusterkeys.load_or_create(folder, "digest"),
        approvals=approval_rules(settings),
        hooks=hooks(settings),
        checks=checks(settings),
        rotators=rotators(settings) if settings.rotators else (),
        writers=writers(settings) if settings.rotators else {},
        limits=_limits(settings, role),
        hands_out=role != SUBMIT,
    )
    if role == SUBMIT:
        return services
    return replace(services, retention=partial(approved_retention, services))


def run_store(settings: Settings) -> RunStore:
    """Return the run store; nothing is connected yet. All of a process share its connections."""
    limits = settings.limits
    patience = LossPatience(lease=limits.lease_seconds, starts=limits.max_attempts)
    return RunStore(database_url(settings), patience=patience)


def _limits(settings: Settings, role: str) -> RunLimits:
    limits = settings.limits
    fitting = max(1, limits.stage_bytes // limits.container_bytes)
    return RunLimits(
        lease=limits.lease_seconds,
        attempts=limits.max_attempts,
        window=min(limits.open_containers, fitting),
        # Whoever types a command is told at once, and can make room.
        patience=0.0 if role == OPERATOR else limits.patience_seconds,
    )
