"""The settings: frozen, every key described. No field ever holds a secret value.

Where a secret is needed, a setting names the file that holds it. ``load_settings`` makes
these and checks how they fit together; nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from strongroom.config.base import KIB, MIB, Section
from strongroom.config.fields import AbsolutePath, Fingerprint, Name, Size, Text
from strongroom.config.keys import KeySettings
from strongroom.config.policies import DrillSettings, PolicySettings, RepairSettings
from strongroom.config.sources import LocalSource, SourceSettings
from strongroom.config.targets import DirectoryTargetSettings, TargetSettings
from strongroom.config.upkeep import KeyHealthSettings, RotationSettings
from strongroom.config.vaults import VaultSettings


class BrokerSettings(Section):
    """What carries the messages between workers."""

    url: str | None = Field(
        default=None,
        description="Redis to use, `redis://` or `rediss://` (TLS), without a password in it.",
        examples=["rediss://strongroom@redis.example.org:6380/0"],
        json_schema_extra={"default": "an embedded broker on this machine"},
    )
    password_file: AbsolutePath | None = Field(
        default=None,
        description="File that holds the broker's password and nothing else.",
        examples=["/run/secrets/broker-password"],
    )
    ca_file: AbsolutePath | None = Field(
        default=None,
        description="Certificates (PEM) that may sign the broker's, for `rediss://`.",
        examples=["/etc/strongroom/redis-ca.pem"],
        json_schema_extra={"default": "those of the system"},
    )


class StateSettings(Section):
    """Where run records, catalog and slots are kept."""

    url: str | None = Field(
        default=None,
        description="Database, `sqlite:////absolute/file.db` or `postgresql://user@host/name`, without a "
        "password in it.",
        examples=["postgresql://strongroom@db.example.org/strongroom"],
        json_schema_extra={"default": "SQLite, `state.db` in the state directory"},
    )
    password_file: AbsolutePath | None = Field(
        default=None,
        description="File that holds the database's password and nothing else.",
        examples=["/run/secrets/database-password"],
        json_schema_extra={"default": "what PostgreSQL's own client finds (`~/.pgpass`)"},
    )


class StageSettings(Section):
    """Where sealed containers wait on their way to the targets."""

    path: AbsolutePath | None = Field(
        default=None,
        description="Directory. All workers must see the same one.",
        examples=["/var/lib/strongroom/stage"],
        json_schema_extra={"default": "`stage` in the state directory"},
    )


class TrustSettings(Section):
    """Whose signatures are believed besides this installation's own."""

    signers: tuple[Fingerprint, ...] = Field(
        default=(),
        description="Fingerprints of installations whose backups may be restored here.",
        examples=[["sr1:" + "3f" * 32]],
    )


class WorkerSettings(Section):
    """How many tasks each pool works on at once."""

    control: int = Field(default=2, ge=1, le=256, description="Planning and committing.", examples=[2])
    seal: int = Field(
        default=2, ge=1, le=256, description="Reading and sealing: one a processor.", examples=[4]
    )
    transfer: int = Field(default=8, ge=1, le=256, description="Copying to targets: threads.", examples=[16])
    verify: int = Field(default=2, ge=1, le=256, description="Reading back and opening.", examples=[2])
    drill: int = Field(default=1, ge=1, le=256, description="Rehearsed recoveries.", examples=[1])
    recover: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Restores, and rotations: one a processor; normally not running.",
        examples=[2],
    )


class LimitSettings(Section):
    """Bounds on a run."""

    lease_seconds: int = Field(
        default=15,
        ge=5,
        le=3600,
        description="How long a worker that stops answering keeps its step before another takes it.",
        examples=[60],
    )
    max_attempts: int = Field(
        default=5, ge=1, le=100, description="How often a step may start before it is given up.", examples=[3]
    )
    open_containers: int = Field(
        default=8,
        ge=1,
        le=10_000,
        description="How many containers may be on their way at once.",
        examples=[16],
    )
    container_bytes: Size = Field(
        default=32 * MIB,
        ge=64 * KIB,  # below, envelope and manifest entry cost more than a twentieth of it
        le=64 * MIB,
        description="How large a container is to be.",
        examples=["16MiB"],
    )
    stage_bytes: Size = Field(
        default=2048 * MIB, ge=MIB, description="How much may lie on the stage.", examples=["4GiB"]
    )


class FlowerSettings(Section):
    """The task monitor (`strongroom up --flower`). It always asks for a login."""

    host: Text = Field(default="127.0.0.1", description="Address it listens on.", examples=["127.0.0.1"])
    port: int = Field(default=5555, ge=1, le=65535, description="Port it listens on.", examples=[5555])
    user: Text = Field(default="strongroom", description="Name to log in with.", examples=["operator"])
    password_file: AbsolutePath | None = Field(
        default=None,
        description="File that holds the password and nothing else.",
        examples=["/run/secrets/flower-password"],
        json_schema_extra={"default": "a new one each start, shown once"},
    )


class SentrySettings(Section):
    """Where unexpected errors are reported."""

    dsn: Text | None = Field(
        default=None,
        description="The project's address (DSN), without a secret key in it.",
        examples=["https://0123456789abcdef@sentry.example.org/42"],
        json_schema_extra={"default": "nothing is reported"},
    )
    environment: Text = Field(
        default="production", description="What to call this place.", examples=["staging"]
    )


def _local_source() -> dict[str, Any]:
    return {"local": LocalSource(kind="local")}


def _three_regions(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: DirectoryTargetSettings(
            kind="directory", path=Path(data["state_dir"], "targets", name), region=name, create=True
        )
        for name in ("region-a", "region-b", "region-c")
    }


class Settings(Section):
    """Everything that can be set, as one frozen value."""

    state_dir: AbsolutePath = Field(
        description="Directory for keys, the local store and working state. Nothing of it may lie inside "
        "a target.",
        examples=["/var/lib/strongroom"],
        json_schema_extra={
            "default": "`$STRONGROOM_STATE_DIR`, else `$XDG_STATE_HOME/strongroom`, else "
            "`~/.local/state/strongroom`"
        },
    )
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    state: StateSettings = Field(default_factory=StateSettings)
    stage: StageSettings = Field(default_factory=StageSettings)
    vaults: dict[Name, VaultSettings] = Field(
        default={},
        description="Vault and OpenBao servers that sources, targets and keys name.",
        examples=["main"],
        json_schema_extra={"default": "none"},
    )
    sources: dict[Name, SourceSettings] = Field(
        default_factory=_local_source,
        description="Where live secrets are.",
        examples=["local"],
        json_schema_extra={"default": "`local`, the local store"},
    )
    targets: dict[Name, TargetSettings] = Field(
        default_factory=_three_regions,
        description="Where backups lie.",
        examples=["region-a"],
        json_schema_extra={
            "default": "`region-a`, `region-b` and `region-c`, directories under `targets` in the state "
            "directory, which are created"
        },
    )
    keys: dict[Name, KeySettings] = Field(
        default={},
        description="Who can open sealed backups.",
        examples=["recovery"],
        json_schema_extra={"default": "none"},
    )
    policies: dict[Name, PolicySettings] = Field(
        default={},
        description="What is backed up, how, when, to whom and how long it is kept.",
        examples=["weekly-critical"],
        json_schema_extra={
            "default": "none; with no file and no setting of sources or targets, `daily-metadata`: "
            "the local store's metadata to the three default targets, daily"
        },
    )
    repair: RepairSettings = Field(default_factory=RepairSettings)
    drill: DrillSettings = Field(default_factory=DrillSettings)
    rotation: RotationSettings = Field(default_factory=RotationSettings)
    key_health: KeyHealthSettings = Field(default_factory=KeyHealthSettings)
    trust: TrustSettings = Field(default_factory=TrustSettings)
    workers: WorkerSettings = Field(default_factory=WorkerSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    flower: FlowerSettings = Field(default_factory=FlowerSettings)
    sentry: SentrySettings = Field(default_factory=SentrySettings)

    @property
    def database_url(self) -> str:
        """The state database, with the default filled in."""
        return self.state.url or f"sqlite:///{self.state_dir / 'state.db'}"

    @property
    def stage_path(self) -> Path:
        """The stage's directory, with the default filled in."""
        return self.stage.path or self.state_dir / "stage"

    @property
    def rotated(self) -> tuple[str, ...]:
        """The policies that scheduled rotations go over."""
        return self.rotation.policies or tuple(name for name, one in self.policies.items() if one.sealed)

    @property
    def schedules(self) -> dict[str, str]:
        """The cron expression of each policy that has one."""
        return {name: policy.schedule for name, policy in self.policies.items() if policy.schedule}
