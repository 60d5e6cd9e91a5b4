"""A process's services, put together by its role."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from msgspec.structs import replace as replace_fields

from strongroom.config import Settings
from strongroom.config.calendar import HookSettings, HooksSettings
from strongroom.config.model import OPEN_CONTAINERS
from strongroom.keys import keywrap, roles
from strongroom.keys.joining import KEYLESS
from strongroom.keys.keyring import Keyring
from strongroom.model import Role
from strongroom.operations.engine.approving import approved_retention
from strongroom.operations.engine.calendar_entries import Hook, Hooks
from strongroom.operations.engine.services import RunLimits, Services, no_scratch
from strongroom.state.store import LossPatience, RunStore
from strongroom.system import files
from strongroom.system.lazy import lazy
from strongroom.wiring import adapters, jobs, keys
from strongroom.wiring.calendar import checks
from strongroom.wiring.database import database_url
from strongroom.wiring.jobs import approval_rules, rotators, writers
from strongroom.wiring.keys import Ask

_ping_of = lazy("strongroom.wiring.watching:ping_of")

# -- The hooks as this process's own configuration has them -------------------------------------


def hooks(settings: Settings) -> dict[str, Hooks]:
    """Return what is called around the runs of each policy, and of each entry of the calendar."""
    found = {f"policy {name}": policy.hooks for name, policy in settings.policies.items()}
    found |= settings.hooks
    called = {name: _hooks(own) for name, own in found.items() if own is not None and own.named()}
    for name, policy in settings.policies.items():
        if policy.ping is not None:
            own = called.get(f"policy {name}", Hooks())
            called[f"policy {name}"] = replace_fields(own, ping=_ping_of(settings, policy.ping))
    return called


def _hooks(found: HooksSettings) -> Hooks:
    calls = {when: _hook(hook) for when, hook in found.named().items()}
    return Hooks(before=calls.get("before"), after=calls.get("after"), on_error=calls.get("on_error"))


def _hook(found: HookSettings) -> Hook:
    return Hook(command=found.command, url=_url(found), timeout=found.timeout)


def _url(found: HookSettings) -> Callable[[], str] | None:
    if found.url_file is not None:
        return partial(_read, found.url_file)
    return None if found.url is None else partial(str, found.url)


def _read(path: Path) -> str:
    return files.read_private(path).strip()


# -- A process's services, put together by its role ---------------------------------------------


READS_SOURCES = frozenset({Role.CONTROL, Role.SEAL, Role.VERIFY, Role.OPERATOR})
WRITES_SOURCES = frozenset({Role.RECOVER, Role.OPERATOR})
OPENS = frozenset({Role.VERIFY, Role.DRILL, Role.RECOVER, Role.OPERATOR})
PREPARES = frozenset({Role.CONTROL, Role.TRANSFER, Role.OPERATOR})
DRILLS = frozenset({Role.DRILL, Role.OPERATOR})
"""Who may make scratch mounts, on the servers whose settings allow it."""
SEALS = frozenset({Role.SEAL, Role.RECOVER, Role.OPERATOR})
"""Who wraps keys: capturing, and rotating."""


def build_services(settings: Settings, *, role: Role, ask: Ask | None = None) -> Services:
    """Put a process's services together; nothing is connected yet.

    Args:
        role: who this process is.
        ask: prompts a person for what neither a file nor the environment gives.

    Raises:
        ConfigError: a key file is missing, damaged or open to others.
    """
    folder = settings.state_dir / "keys"
    keyring = Keyring(folder / "roles")
    targets = {name: adapters.target(name, settings, prepare=role in PREPARES) for name in settings.targets}
    stages = adapters.stages(settings, prepare=role != Role.SUBMIT)
    reads, writes = role in READS_SOURCES, role in WRITES_SOURCES
    services = Services(
        owner=f"{socket.gethostname()}:{os.getpid()}:{role}",
        state_dir=settings.state_dir,
        store=run_store(settings),
        stage=adapters.local_stage(settings, prepare=role != Role.SUBMIT),
        stages=stages,
        targets=targets,
        sources={name: adapters.source(name, settings) for name in settings.sources} if reads else {},
        destinations=adapters.destinations(settings) if writes else {},
        scratch=partial(adapters.scratch, settings=settings) if role in DRILLS else no_scratch,
        pinned=jobs.pinned(settings, targets, stages, seals=role in SEALS, ask=ask),
        signers=keys.signers(keyring, role),
        trusted=lambda wanted, begun: keys.trusted(keyring, wanted, begun),
        signer_fingerprints=keys.fingerprints(settings, folder / "roles"),
        span=settings.verification.span_days * 86_400.0,
        installation=lambda: roles.installation_fingerprint(folder / "roles"),
        retention=cache(lambda: jobs.configured(settings, targets)),
        identities=cache(lambda: keys.identities(settings, ask) if role in OPENS else ()),
        work_key=b"" if role in KEYLESS else keywrap.load_or_create(folder, "work"),
        digest_key=b"" if role in KEYLESS else keywrap.load_or_create(folder, "digest"),
        approvals=approval_rules(settings),
        hooks=hooks(settings),
        checks=checks(settings),
        rotators=rotators(settings) if settings.rotators else (),
        writers=writers(settings) if settings.rotators else {},
        limits=_limits(settings, role),
        hands_out=role != Role.SUBMIT,
        require_roles=keys.require_roles(keyring) if role == Role.OPERATOR else lambda _: None,
    )
    if role == Role.SUBMIT:
        return services
    return replace(services, retention=partial(approved_retention, services))


def run_store(settings: Settings) -> RunStore:
    """Return the run store; nothing is connected yet. All of a process share its connections."""
    limits = settings.limits
    patience = LossPatience(lease=limits.lease_seconds, starts=limits.max_attempts)
    return RunStore(database_url(settings), patience=patience)


def _limits(settings: Settings, role: Role) -> RunLimits:
    limits = settings.limits
    fitting = max(1, limits.stage_bytes // limits.container_bytes)
    return RunLimits(
        lease=limits.lease_seconds,
        attempts=limits.max_attempts,
        window=min(OPEN_CONTAINERS, fitting),
        stage_bytes=limits.stage_bytes,
        # Whoever types a command is told at once, and can make room.
        patience=0.0 if role == Role.OPERATOR else limits.patience_seconds,
        at_once=0 if role == Role.OPERATOR else limits.runs_at_once,
    )
