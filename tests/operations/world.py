"""A whole installation in one process, every part of it real and within a test's reach."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from strongroom.container.marks import HEAD
from strongroom.container.signing import CertifiedSigner, Signer
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Depth, Secret, SecretBytes, SecretVersion
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_recipient, pin_target
from strongroom.operations.engine.services import ConfiguredPolicy, KeepRules, Pinned, RunLimits, Services
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import Run, RunKind, Spec
from strongroom.state.store import LossPatience, RunStore
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget
from tests.certified import certified

POLICY = "weekly"
REGIONS = ("eu", "us", "ap")
LEASE = 0.1
"""Seconds until a dead process's work is taken over."""

PATIENCE = LossPatience(lease=LEASE, grace=LEASE / 2, idle=LEASE, busy=LEASE)


def made_up(count: int, *, size: int = 40) -> list[Secret]:
    """Return secrets whose values are unmistakable."""
    return [
        Secret(
            name=f"app/{number:04}",
            type="api_key",
            tags={"parity": "even" if number % 2 == 0 else "odd"},
            versions=(SecretVersion(number=1, value=SecretBytes(b"CANARY-%04d-" % number + b"x" * size)),),
        )
        for number in range(count)
    ]


@dataclass(frozen=True, kw_only=True)
class World:
    """The parts that outlive a process, and a way to start another one over them."""

    database: str
    folder: Path
    stage: Target
    targets: Mapping[str, Target]
    source: MemoryStore
    identity: KeyFileIdentity
    installation: Signer
    signers: Mapping[str, CertifiedSigner]
    spec: Spec
    work_key: bytes
    digest_key: bytes
    keep: KeepRules = field(default_factory=KeepRules)
    grace_days: float = 7

    def services(self, **changed: object) -> Services:
        """Return what a fresh process would have."""
        recipient = self.identity.recipient()
        own = Services(
            owner=f"test:{os.urandom(4).hex()}",
            state_dir=self.folder,
            store=RunStore(
                self.database, patience=LossPatience(lease=LEASE, grace=LEASE / 2, idle=LEASE, busy=LEASE)
            ),
            stage=self.stage,
            targets=self.targets,
            sources={self.source.name: self.source},
            destinations={self.source.name: self.source},
            pinned=lambda policy: Pinned(spec=self.spec, recipients=(recipient,)),
            signers=lambda role: self.signers[role],
            trusted=lambda role, _: (self.signers[role].public,),
            signer_fingerprints=frozenset({self.installation.fingerprint}),
            installation=lambda: self.installation.fingerprint,
            retention=lambda: {
                self.spec.policy: ConfiguredPolicy(spec=self.spec, keep=self.keep, grace_days=self.grace_days)
            },
            identities=lambda: (self.identity,),
            work_key=self.work_key,
            digest_key=self.digest_key,
            limits=RunLimits(lease=LEASE, backoff=0.01),
        )
        return replace(own, **changed)  # type: ignore[arg-type]

    def with_spec(self, **fields: object) -> World:
        """Return the same world under another policy."""
        values = {name: getattr(self.spec, name) for name in Spec.__struct_fields__}
        return replace(self, spec=Spec(**{**values, **fields}))  # type: ignore[arg-type]

    def with_targets(self, targets: Mapping[str, Target]) -> World:
        """Return the same world over other targets, which its policy then names."""
        pins = tuple(pin_target(name, target) for name, target in targets.items())
        return replace(self, targets=targets).with_spec(targets=pins)

    def with_stage(self, stage: Target) -> World:
        """Return the same world over another stage."""
        return replace(self, stage=stage)

    def back_up(self, services: Services | None = None) -> Run:
        """Run the policy to its end in this process."""
        services = services or self.services()
        run, tickets = submit_backup(services, policy=POLICY)
        return drive(run, tickets, services, processes=1)


def make_world(
    folder: Path,
    *,
    secrets: Iterable[Secret] | None = None,
    database: str | None = None,
    pieces: int = 3,
    quorum: int = 2,
    regions: int = 2,
) -> World:
    """Build an installation with three targets whose policy cuts ``pieces`` or so containers."""
    held = made_up(30) if secrets is None else list(secrets)
    source = MemoryStore(held, name="vault")
    targets: dict[str, Target] = {name: MemoryTarget(name=name, region=name) for name in REGIONS}
    identity = KeyFileIdentity(os.urandom(32))
    installation = Signer.generate()
    listed = sum(entry.size for entry in source.list())
    spec = Spec(
        kind=RunKind.BACKUP,
        policy=POLICY,
        source="vault",
        targets=tuple(pin_target(name, target) for name, target in targets.items()),
        recipients=(pin_recipient("recovery", identity.recipient()),),
        quorum=quorum,
        regions=regions,
        depth=Depth.COMPARED,
        container_bytes=max(1, -(-listed // pieces)),
    )
    return World(
        database=database or f"sqlite:///{folder / 'state.db'}",
        folder=folder,
        stage=MemoryTarget(name="stage", region="local"),
        targets=targets,
        source=source,
        identity=identity,
        installation=installation,
        signers={
            role: certified(role, installation=installation)
            for role in ("control", "seal", "recover", "prune")
        },
        spec=spec,
        work_key=os.urandom(32),
        digest_key=os.urandom(32),
    )


def names_on(target: Target) -> list[str]:
    """List what lies on a target, but for the ledger's heads, which a run leaves there at its end."""
    return [info.name for info in target.list() if not info.name.startswith(HEAD.prefix)]
