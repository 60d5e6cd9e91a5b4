"""The settings: frozen, every key described. No field ever holds a secret value.

Where a secret is needed, a setting names the file that holds it. ``load_settings`` makes
these and checks how they fit together; nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from strongroom.config.fields import AbsolutePath, Fingerprint, Name, PublicKey, Size, Text
from strongroom.model import Depth, Selection

KIB = 1024
MIB = 1024 * KIB
YEAR_DAYS = 365


class _Model(BaseModel):
    # Built on first use: a process that only names these types does not pay for them.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class BrokerSettings(_Model):
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


class StateSettings(_Model):
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


class StageSettings(_Model):
    """Where sealed containers wait on their way to the targets."""

    path: AbsolutePath | None = Field(
        default=None,
        description="Directory. All workers must see the same one.",
        examples=["/var/lib/strongroom/stage"],
        json_schema_extra={"default": "`stage` in the state directory"},
    )


class LocalSource(_Model):
    """The local store: SQLite, each value sealed under the store's own master key."""

    kind: Literal["local"] = Field(description="Which kind of source this is.", examples=["local"])
    path: AbsolutePath | None = Field(
        default=None,
        description="Directory of the store: `store/secrets.db` and its master key `keys/store.key` in it.",
        examples=["/var/lib/strongroom"],
        json_schema_extra={"default": "the state directory"},
    )


class FilesSource(_Model):
    """Secrets in files."""

    kind: Literal["files"] = Field(description="Which kind of source this is.", examples=["files"])
    path: AbsolutePath = Field(
        description="The file, or the directory of secret files.", examples=["/run/secrets"]
    )
    format: Literal["env", "json", "jsonl", "tree"] | None = Field(
        default=None,
        description="How to read it: `env` for `NAME=value` lines, `json`, `jsonl` for one JSON object a "
        "line, `tree` for a directory with one file a secret.",
        examples=["tree"],
        json_schema_extra={"default": "told by the name, else by the content"},
    )


class DirectoryTargetSettings(_Model):
    """A directory: a local disk, a mounted share, a disk that lies in a safe."""

    kind: Literal["directory"] = Field(description="Which kind of target this is.", examples=["directory"])
    path: AbsolutePath = Field(description="The directory, its own and nobody else's.", examples=["/mnt/eu"])
    region: Text = Field(
        description="Where it lies. A policy may ask for copies in several regions.", examples=["eu-west"]
    )
    provider: Text = Field(default="directory", description="Who runs it.", examples=["nas-frankfurt"])
    create: bool = Field(
        default=False,
        description="Whether to create and mark the directory if it is missing. Leave it false for a "
        "disk that may be absent: else backups go to the empty mount point.",
        examples=[True],
    )


class PassphraseKey(_Model):
    """Whoever knows a passphrase can open."""

    kind: Literal["passphrase"] = Field(description="Which kind of key this is.", examples=["passphrase"])
    file: AbsolutePath | None = Field(
        default=None,
        description="File that holds the passphrase, readable by its owner alone.",
        examples=["/run/secrets/backup-passphrase"],
        json_schema_extra={
            "default": "`STRONGROOM_PASSPHRASE_FILE`, else `STRONGROOM_PASSPHRASE`, else a prompt"
        },
    )
    iterations: int = Field(
        default=600_000,
        ge=100_000,
        le=10_000_000,
        description="Rounds of PBKDF2-HMAC-SHA256: what one guess costs an attacker.",
        examples=[1_000_000],
    )


class KeyFileKey(_Model):
    """Whoever has a key file (`strongroom generate-backup-key`) can open."""

    kind: Literal["keyfile"] = Field(description="Which kind of key this is.", examples=["keyfile"])
    file: AbsolutePath = Field(
        description="The key file, readable by its owner alone and away from every target.",
        examples=["/etc/strongroom/backup.key"],
    )


class HpkeKey(_Model):
    """Whoever has the private half (`strongroom keygen`) can open; sealing needs the public half."""

    kind: Literal["hpke"] = Field(description="Which kind of key this is.", examples=["hpke"])
    public_key: PublicKey | None = Field(
        default=None,
        description="The public key as text. Give this or `public_key_file`.",
        examples=["srpub1:x25519:dGhlIHB1YmxpYyBrZXkgdGhhdCBrZXlnZW4gZ2l2ZXM"],
    )
    public_key_file: AbsolutePath | None = Field(
        default=None, description="File that holds the public key.", examples=["/etc/strongroom/recovery.pub"]
    )
    identity_file: AbsolutePath | None = Field(
        default=None,
        description="The private key, only on a host that may open backups.",
        examples=["/etc/strongroom/recovery.key"],
    )


SourceSettings = Annotated[LocalSource | FilesSource, Field(discriminator="kind")]
TargetSettings = DirectoryTargetSettings
KeySettings = Annotated[PassphraseKey | KeyFileKey | HpkeKey, Field(discriminator="kind")]


def _majority(data: Mapping[str, Any]) -> int:
    return 1 + len(data.get("targets", ())) // 2


def _two_regions(data: Mapping[str, Any]) -> int:
    return min(2, int(data.get("quorum", 1)))


class PolicySettings(_Model):
    """What is backed up, how, when, to whom, and how long it is kept."""

    kind: Literal["full", "metadata"] = Field(
        description="`full` backs up values, always sealed; `metadata` names, types, dates and tags only.",
        examples=["full"],
    )
    source: Name = Field(default="local", description="The source to back up.", examples=["local"])
    targets: tuple[Name, ...] = Field(
        min_length=1, description="The targets to store it on.", examples=[["region-a", "region-b"]]
    )
    recipients: tuple[Name, ...] = Field(
        default=(),
        description="The keys that can open it; any one is enough. A full policy needs at least one.",
        examples=[["recovery"]],
    )
    schedule: Text | None = Field(
        default=None,
        description="When it is due: five cron fields, in UTC.",
        examples=["0 3 * * 0"],
        json_schema_extra={"default": "only when asked for"},
    )
    quorum: int = Field(
        default_factory=_majority,
        ge=1,
        description="How many targets must hold it before it counts as a backup. What misses beyond that "
        "is repaired later.",
        examples=[2],
        json_schema_extra={"default": "a majority of the targets"},
    )
    regions: int = Field(
        default_factory=_two_regions,
        ge=1,
        description="In how many regions those targets must lie.",
        examples=[2],
        json_schema_extra={"default": "2, or 1 if the quorum is 1"},
    )
    include: tuple[Text, ...] = Field(
        default=(),
        description="Patterns (`*`, `?`, `[…]`, case counts) of names to back up.",
        examples=[["prod/*"]],
        json_schema_extra={"default": "every name"},
    )
    exclude: tuple[Text, ...] = Field(
        default=(), description="Patterns of names to leave out.", examples=[["*/scratch/*"]]
    )
    tags: dict[str, str] = Field(
        default={},
        description="Tags that a secret must carry, all of them.",
        examples=[{"priority": "critical"}],
    )
    verify: Depth = Field(
        default=Depth.DIGEST,
        description="How deep each replica is verified after the backup. From `opened` on, the verifying "
        "host needs a key that opens it.",
        examples=["compared"],
    )
    keep_days: int = Field(
        default=YEAR_DAYS,
        ge=1,
        description="How many days a backup is kept at least. Under a year, a full policy must say why.",
        examples=[730],
    )
    keep_count: int = Field(
        default=3, ge=1, description="How many backups are kept at least, whatever their age.", examples=[12]
    )
    short_retention_reason: Text | None = Field(
        default=None,
        description="Why a full policy may keep its backups for less than a year.",
        examples=["contract 4711 demands deletion after 90 days"],
    )
    encrypt: bool = Field(
        default=False,
        description="Whether to seal a metadata backup too. Full backups are always sealed.",
        examples=[True],
    )

    @property
    def sealed(self) -> bool:
        """Whether this policy's backups are sealed."""
        return self.kind == "full" or self.encrypt

    @property
    def selection(self) -> Selection:
        """Which secrets it means."""
        return Selection(include=self.include, exclude=self.exclude, tags=self.tags)


class DrillSettings(_Model):
    """The rehearsed recovery: restore a backup into a scratch store, compare, take the time."""

    schedule: Text | None = Field(
        default=None,
        description="When it is due: five cron fields, in UTC.",
        examples=["0 5 1 * *"],
        json_schema_extra={"default": "only when asked for"},
    )
    policy: Name | None = Field(
        default=None,
        description="The full policy whose newest backup is restored.",
        examples=["monthly-full"],
    )
    target: Name | None = Field(
        default=None,
        description="The target to restore from.",
        examples=["region-b"],
        json_schema_extra={"default": "any that holds it"},
    )
    objective_seconds: int = Field(
        default=7200,
        ge=1,
        description="How long the recovery may take (recovery time objective).",
        examples=[3600],
    )


class TrustSettings(_Model):
    """Whose signatures are believed besides this installation's own."""

    signers: tuple[Fingerprint, ...] = Field(
        default=(),
        description="Fingerprints of installations whose backups may be restored here.",
        examples=[["sr1:" + "3f" * 32]],
    )


class WorkerSettings(_Model):
    """How many tasks each pool works on at once."""

    control: int = Field(default=2, ge=1, le=256, description="Planning and committing.", examples=[2])
    seal: int = Field(
        default=2, ge=1, le=256, description="Reading and sealing: one a processor.", examples=[4]
    )
    transfer: int = Field(default=8, ge=1, le=256, description="Copying to targets: threads.", examples=[16])
    verify: int = Field(default=2, ge=1, le=256, description="Reading back and opening.", examples=[2])
    drill: int = Field(default=1, ge=1, le=256, description="Rehearsed recoveries.", examples=[1])
    recover: int = Field(default=1, ge=1, le=256, description="Restores; normally not running.", examples=[1])


class LimitSettings(_Model):
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


class FlowerSettings(_Model):
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


class SentrySettings(_Model):
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


class Settings(_Model):
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
    drill: DrillSettings = Field(default_factory=DrillSettings)
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
    def schedules(self) -> dict[str, str]:
        """The cron expression of each policy that has one."""
        return {name: policy.schedule for name, policy in self.policies.items() if policy.schedule}
