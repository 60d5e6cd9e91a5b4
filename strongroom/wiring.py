"""The one composition root: settings in, a frozen set of services out.

What a process gets depends on its role (least privilege by pool): source credentials and
public recipients for sealing, target credentials for transfer, identities for verifying,
drills and recovery. ``operator`` is a person's own command line, which has all of it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from strongroom.config import (
    DirectoryTargetSettings,
    HpkeKey,
    KeyFileKey,
    KeySettings,
    LocalSource,
    PassphraseKey,
    PolicySettings,
    Settings,
    SourceSettings,
)
from strongroom.container.signing import Signer, fingerprint
from strongroom.errors import ConfigError, RecordRefused, TargetError
from strongroom.keys import Opener, Recipient, clusterkeys, passphrase, privatefile, roles
from strongroom.keys.hpke import HpkeIdentity, HpkeRecipient, PublicKey
from strongroom.keys.keyfile import KeyFileIdentity, KeyFileRecipient, load_key_file
from strongroom.model import Selection
from strongroom.operations.pins import pin_recipient, pin_target
from strongroom.operations.services import Limits, Pinned, Services
from strongroom.operations.submit import Scheduled
from strongroom.sources import Source
from strongroom.sources.files import open_files
from strongroom.sources.local import LocalStore
from strongroom.state.records import RecipientPin, RunKind, Spec
from strongroom.state.store import Patience, RunStore
from strongroom.targets.directory import DirectoryTarget

OPERATOR = "operator"

READS_SOURCES = frozenset({"control", "seal", "verify", OPERATOR})
OPENS = frozenset({"verify", "drill", "recover", OPERATOR})
PREPARES = frozenset({"control", "transfer", OPERATOR})
SEALS = frozenset({"seal", OPERATOR})
MANIFEST_SIGNERS = ("control", "recover")
"""Whose signature makes a manifest: a backup's, and an undo file's."""

Ask = Callable[[], str]


def build_services(settings: Settings, *, role: str, ask: Ask | None = None) -> Services:
    """Put a process's services together; nothing is connected yet.

    Args:
        role: one of :data:`strongroom.keys.roles.ROLES`, or ``operator``.
        ask: prompts a person for a passphrase that neither a file nor the environment gives.

    Raises:
        ConfigError: a key file is missing, damaged or open to others.
    """
    folder = settings.state_dir / "keys"
    signers = _signers(folder / "roles", role)
    targets = {
        name: _target(name, found, prepare=role in PREPARES) for name, found in settings.targets.items()
    }
    sources = {name: _source(name, found, settings) for name, found in settings.sources.items()}
    return Services(
        owner=f"{socket.gethostname()}:{os.getpid()}:{role}",
        state_dir=settings.state_dir,
        store=RunStore(_database_url(settings), patience=_patience(settings)),
        stage=_stage(settings.stage_path),
        targets=targets,
        sources=sources if role in READS_SOURCES else {},
        destinations={name: source for name, source in sources.items() if isinstance(source, LocalStore)},
        pinned=_pinned(settings, targets, seals=role in SEALS, ask=ask),
        signers=signers,
        trusted=lambda wanted: _trusted(folder / "roles", wanted),
        signer_fingerprints=_fingerprints(settings, folder / "roles"),
        identities=cache(lambda: _identities(settings, ask) if role in OPENS else ()),
        work_key=clusterkeys.load_or_create(folder, "work"),
        digest_key=clusterkeys.load_or_create(folder, "digest"),
        limits=_limits(settings),
    )


def _database_url(settings: Settings) -> str:
    """Return the database's address, with the password that only a file holds."""
    if settings.state.password_file is None:
        return settings.database_url
    parts = urlsplit(settings.database_url)
    password = quote(privatefile.read_private(settings.state.password_file).rstrip("\r\n"), safe="")
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{password}{at}{host}" if at else parts.netloc))


def _limits(settings: Settings) -> Limits:
    limits = settings.limits
    fitting = max(1, limits.stage_bytes // limits.container_bytes)
    return Limits(
        lease=limits.lease_seconds, attempts=limits.max_attempts, window=min(limits.open_containers, fitting)
    )


def _patience(settings: Settings) -> Patience:
    return Patience(lease=settings.limits.lease_seconds, starts=settings.limits.max_attempts)


def scheduled(settings: Settings) -> tuple[Scheduled, ...]:
    """Return what is due from time to time: policies, and the drill if there is one."""
    due = [Scheduled(policy=name, schedule=cron) for name, cron in settings.schedules.items()]
    drill = settings.drill
    if drill.schedule is not None and drill.policy is not None:
        due.append(
            Scheduled(policy=drill.policy, schedule=drill.schedule, objective_seconds=drill.objective_seconds)
        )
    return tuple(due)


# -- places --------------------------------------------------------------------


def _stage(path: Path) -> DirectoryTarget:
    stage = DirectoryTarget(path, name="stage", region="local")
    stage.prepare()
    return stage


def _target(name: str, settings: DirectoryTargetSettings, *, prepare: bool) -> DirectoryTarget:
    target = DirectoryTarget(settings.path, name=name, region=settings.region, provider=settings.provider)
    if settings.create and prepare:
        # One target that is full or read-only must not keep this process from the others;
        # its own calls say what is wrong with it.
        with suppress(TargetError):
            target.prepare()
    return target


def _source(name: str, found: SourceSettings, settings: Settings) -> Source:
    if isinstance(found, LocalSource):
        return LocalStore(found.path or settings.state_dir, name=name)
    return open_files(found.path, found.format, name=name)


# -- keys ----------------------------------------------------------------------


def _signers(folder: Path, role: str) -> Callable[[str], Signer]:
    """Return the keys that a role may sign with: its own, or a person's own command line's all."""

    @cache
    def signer(wanted: str) -> Signer:
        if role not in (wanted, OPERATOR):
            raise ConfigError(f"a process of role '{role}' may not sign as '{wanted}'")
        return roles.load_or_create_role(folder, wanted)

    if role == OPERATOR:
        for needed in (*MANIFEST_SIGNERS, "seal"):
            signer(needed)
    return signer


def _trusted(folder: Path, role: str) -> bytes:
    known = roles.trusted(folder)
    if role not in known:
        raise RecordRefused(f"no key of role '{role}' is trusted here")
    return known[role]


def _fingerprints(settings: Settings, folder: Path) -> frozenset[str]:
    known = roles.trusted(folder)
    own = {fingerprint(known[role]) for role in MANIFEST_SIGNERS if role in known}
    return frozenset(own | set(settings.trust.signers))


def _recipient(name: str, key: KeySettings, ask: Ask | None) -> Recipient:
    if isinstance(key, PassphraseKey):
        return passphrase.PassphraseRecipient(_passphrase(key, ask), label=name, iterations=key.iterations)
    if isinstance(key, KeyFileKey):
        return KeyFileRecipient(load_key_file(key.file), label=name)
    return HpkeRecipient(public_key(key), label=name)


def public_key(key: HpkeKey) -> PublicKey:
    """Return the public key that settings name. Raises ConfigError."""
    if key.public_key is not None:
        return PublicKey.parse(key.public_key)
    assert key.public_key_file is not None  # the settings hold one of the two
    try:
        return PublicKey.parse(key.public_key_file.read_text())
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"the public key '{key.public_key_file}' cannot be read") from None


def _passphrase(key: PassphraseKey, ask: Ask | None) -> str:
    file = key.file or os.environ.get("STRONGROOM_PASSPHRASE_FILE")
    if file:
        return privatefile.read_private(Path(file)).rstrip("\r\n")
    if "STRONGROOM_PASSPHRASE" in os.environ:
        return os.environ["STRONGROOM_PASSPHRASE"]
    if ask is not None:
        return ask()
    raise ConfigError(
        "a passphrase is needed and none is at hand: set the key's 'file', STRONGROOM_PASSPHRASE_FILE or "
        "STRONGROOM_PASSPHRASE, for the cluster where 'strongroom up' starts it",
        hint="A key pair (strongroom keygen) needs no passphrase on the host that makes backups.",
    )


def _identities(settings: Settings, ask: Ask | None) -> tuple[Opener, ...]:
    """Return every identity this host is given; a key of which it has only the public half gives none."""
    found: list[Opener] = []
    for key in settings.keys.values():
        if isinstance(key, PassphraseKey):
            found.append(passphrase.PassphraseIdentity(_passphrase(key, ask)))
        elif isinstance(key, KeyFileKey):
            found.append(KeyFileIdentity(load_key_file(key.file)))
        elif key.identity_file is not None:
            found.append(HpkeIdentity.load(key.identity_file))
    return tuple(found)


# -- policies ------------------------------------------------------------------


def _pinned(
    settings: Settings, targets: Mapping[str, DirectoryTarget], *, seals: bool, ask: Ask | None
) -> Callable[[str], Pinned]:
    @cache
    def pinned(name: str) -> Pinned:
        if name not in settings.policies:
            known = ", ".join(sorted(settings.policies)) or "none"
            raise ConfigError(f"there is no policy '{name}' (known: {known})")
        policy = settings.policies[name]
        sealed = policy.kind == "full" or policy.encrypt
        keys = {key: settings.keys[key] for key in policy.recipients} if sealed else {}
        recipients = tuple(_recipient(key, found, ask) for key, found in keys.items()) if seals else ()
        pins = tuple(_pin(key, found, ask) for key, found in keys.items())
        return Pinned(spec=_spec(name, policy, settings, targets, pins), recipients=recipients)

    return pinned


def _pin(name: str, key: KeySettings, ask: Ask | None) -> RecipientPin:
    """Freeze a recipient. For a passphrase that needs only its name: no process that does
    not seal has to hold it."""
    if isinstance(key, PassphraseKey):
        return RecipientPin(
            name=name,
            type=passphrase.TYPE,
            fingerprint=passphrase.fingerprint(name),
            post_quantum=True,
            describes=passphrase.describe(name),
        )
    return pin_recipient(name, _recipient(name, key, ask))


def _spec(
    name: str,
    policy: PolicySettings,
    settings: Settings,
    targets: Mapping[str, DirectoryTarget],
    recipients: tuple[RecipientPin, ...],
) -> Spec:
    return Spec(
        kind=RunKind.BACKUP,
        policy=name,
        source=policy.source,
        values=policy.kind == "full",
        sealed=policy.kind == "full" or policy.encrypt,
        selection=Selection(include=policy.include, exclude=policy.exclude, tags=policy.tags),
        targets=tuple(pin_target(target, targets[target]) for target in policy.targets),
        recipients=recipients,
        quorum=policy.quorum,
        regions=policy.regions,
        depth=policy.verify,
        container_bytes=settings.limits.container_bytes,
    )
