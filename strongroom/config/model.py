"""The settings: frozen, every key described. No field ever holds a secret value.

Where a secret is needed, a setting names the file that holds it. ``load_settings`` makes
these and checks how they fit together; nothing here reads a file.
"""

# Annotations are no text here: see strongroom.config.schema.
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta, field
from msgspec.structs import force_setattr

from strongroom.config.alerts import FIXED, AlertSettings, MailSettings, RouteSettings
from strongroom.config.approvals import AccessLogSettings, ApprovalSettings
from strongroom.config.calendar import (
    CalendarSettings,
    DriftSettings,
    HookSettings,
    HooksSettings,
    PruneSettings,
    RotationSettings,
    VerificationSettings,
)
from strongroom.config.kinds import ChannelKind, KeyKind, SourceKind, TargetKind
from strongroom.config.policies import DrillSettings, PolicySettings, RestoreSettings
from strongroom.config.recovery import ContactsSettings, RecoverySettings
from strongroom.config.rotators import RotatorKind
from strongroom.config.schema import KIB, MIB, KeyPath, SettingsSection
from strongroom.config.served import (
    FlowerSettings,
    ListenSettings,
    MetricsSettings,
    PageSettings,
    Served,
    ServedSettings,
)
from strongroom.config.shared import ClientCertificate, PlainAway, PrivateKey
from strongroom.config.sources import LocalSourceSettings
from strongroom.config.targets import DirectoryTargetSettings
from strongroom.config.values import AbsolutePath, Fingerprint, Name, Size, Text, Url
from strongroom.config.vaults import VaultSettings
from strongroom.model import Selection


class BrokerSettings(SettingsSection, frozen=True, kw_only=True):
    """What carries the messages between workers. Another host is reached with TLS."""

    url: Annotated[
        str | None,
        Meta(
            description="Redis to use, `redis://` or `rediss://` (TLS), without a password in it.",
            examples=["rediss://strongroom@redis.example.org:6380/0"],
            extra={"default": "an embedded broker on this machine"},
        ),
    ] = None
    password_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the broker's password and nothing else.",
            examples=["/run/secrets/broker-password"],
        ),
    ] = None
    ca_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="Certificates (PEM) that may sign the broker's, for `rediss://`.",
            examples=["/etc/strongroom/redis-ca.pem"],
            extra={"default": "those of the system"},
        ),
    ] = None
    certificate_file: Annotated[ClientCertificate, Meta(examples=["/etc/strongroom/redis-client.pem"])] = None
    key_file: Annotated[PrivateKey, Meta(examples=["/run/secrets/redis-client-key.pem"])] = None
    plain: PlainAway = False


class StateSettings(SettingsSection, frozen=True, kw_only=True):
    """Where run records, catalog and slots are kept. A database on another host is reached with TLS, and its
    certificate has to be of its name."""

    url: Annotated[
        str | None,
        Meta(
            description="Database, `sqlite:////absolute/file.db` or `postgresql://user@host/name`, without a "
            "password in it.",
            examples=["postgresql://strongroom@db.example.org/strongroom"],
            extra={"default": "SQLite, `state.db` in the state directory"},
        ),
    ] = None
    password_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the database's password and nothing else.",
            examples=["/run/secrets/database-password"],
            extra={"default": "what PostgreSQL's own client finds (`~/.pgpass`)"},
        ),
    ] = None
    ca_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="Certificates (PEM) that may sign the database's.",
            examples=["/etc/strongroom/postgresql-ca.pem"],
            extra={"default": "those of the system"},
        ),
    ] = None
    certificate_file: Annotated[
        ClientCertificate, Meta(examples=["/etc/strongroom/postgresql-client.pem"])
    ] = None
    key_file: Annotated[PrivateKey, Meta(examples=["/run/secrets/postgresql-client-key.pem"])] = None
    plain: PlainAway = False


class TrustSettings(SettingsSection, frozen=True, kw_only=True):
    """Whose signatures are believed besides this installation's own."""

    signers: Annotated[
        tuple[Fingerprint, ...],
        Meta(
            description="Fingerprints of installations whose backups may be restored here.",
            examples=[["sr1:" + "3f" * 32]],
        ),
    ] = ()


class IndexSettings(SettingsSection, frozen=True, kw_only=True):
    """The index of names that each sealed backup writes beside it, so that finding takes seconds."""

    enabled: Annotated[
        bool, Meta(description="Whether backups write one. What has none is read itself.", examples=[False])
    ] = True
    recipients: Annotated[
        tuple[Name, ...],
        Meta(
            description="The keys that can open it: who may learn all names, tags and dates, and no value.",
            examples=[["operators"]],
            extra={"default": "the policy's own"},
        ),
    ] = ()


class WorkerSettings(SettingsSection, frozen=True, kw_only=True):
    """How many tasks each pool works on at once."""

    control: Annotated[int, Meta(ge=1, le=256, description="Planning and committing.", examples=[2])] = 2
    seal: Annotated[
        int, Meta(ge=1, le=256, description="Reading and sealing: one a processor.", examples=[4])
    ] = 2
    transfer: Annotated[
        int, Meta(ge=1, le=256, description="Copying to targets: threads.", examples=[16])
    ] = 8
    verify: Annotated[int, Meta(ge=1, le=256, description="Reading back and opening.", examples=[2])] = 2
    drill: Annotated[int, Meta(ge=1, le=256, description="Rehearsed recoveries.", examples=[1])] = 1
    prune: Annotated[int, Meta(ge=1, le=256, description="Deletion of old backups.", examples=[1])] = 1
    recover: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Restores, and rotations: one a processor; normally not running.",
            examples=[2],
        ),
    ] = 2


OPEN_CONTAINERS = 8
"""How many containers of a run may be on their way at once: as many as the transfers of a pool, so that none
waits for a container. What they take of the stage is set by ``container_bytes``."""


class LimitSettings(SettingsSection, frozen=True, kw_only=True):
    """Bounds on a run."""

    REPLACED: ClassVar = {"open_containers": FIXED}

    lease_seconds: Annotated[
        int,
        Meta(
            ge=5,
            le=3600,
            description="How long a worker that stops answering keeps its step before another takes it.",
            examples=[60],
        ),
    ] = 15
    max_attempts: Annotated[
        int, Meta(ge=1, le=100, description="How often a step may start before it is given up.", examples=[3])
    ] = 5
    patience_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=7 * 86_400,
            description="How long a run of the cluster waits for room on the stage or on a target that it "
            "needs, or for one that does not answer, before it fails. A command does not wait; but where a "
            "Vault has no leader, or asks for fewer requests, each waits for up to a minute of this.",
            examples=[14_400],
        ),
    ] = 3600
    runs_at_once: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="How many runs of a kind the cluster has at work. Later ones begin when one has "
            "ended. A fleet that so many do not keep busy takes more. No restore waits for its turn.",
            examples=[100],
        ),
    ] = 8
    container_bytes: Annotated[
        Size,
        Meta(
            ge=64 * KIB,  # below, envelope and manifest entry cost more than a twentieth of it
            le=64 * MIB,
            description="How large a container is to be.",
            examples=["16MiB"],
        ),
    ] = 32 * MIB
    stage_bytes: Annotated[
        Size,
        Meta(
            ge=MIB,
            description="How much all runs together may keep on a stage. One that finds no room waits.",
            examples=["4GiB"],
        ),
    ] = 2048 * MIB


class TraceSettings(SettingsSection, frozen=True, kw_only=True):
    """Where each run that the workers have ended is sent as a trace of OpenTelemetry."""

    url: Annotated[
        Url | None,
        Meta(
            description="The collector's address for traces (OTLP over HTTP, in JSON).",
            examples=["http://127.0.0.1:4318/v1/traces"],
            extra={"default": "no trace is sent"},
        ),
    ] = None


class SentrySettings(SettingsSection, frozen=True, kw_only=True):
    """Where unexpected errors are reported."""

    dsn: Annotated[
        Text | None,
        Meta(
            description="The project's address (DSN), without a secret key in it.",
            examples=["https://0123456789abcdef@sentry.example.org/42"],
            extra={"default": "nothing is reported"},
        ),
    ] = None
    environment: Annotated[Text, Meta(description="What to call this place.", examples=["staging"])] = (
        "production"
    )


# What targets are when they are left out, told by its identity: an empty table has none.
_LEFT_OUT: dict[str, TargetKind] = {}


def _local_source() -> dict[str, SourceKind]:
    return {"local": LocalSourceSettings(kind="local")}


DEFAULT_STAGE = "default"
"""The stage of policies that name no other."""
DEFAULT_TARGETS = ("region-a", "region-b", "region-c")
"""Directories in the state directory, which are there while no target is named but media for a safe."""


class Settings(SettingsSection, frozen=True, kw_only=True):
    """Everything that can be set, as one frozen value."""

    REPLACED: ClassVar = {
        "stage": 'Name the place in [stages.default]: kind = "directory", path = "/mnt/stage", region = '
        '"stage".'
    }

    state_dir: Annotated[
        AbsolutePath,
        Meta(
            description="Directory for keys, the local store and working state. Nothing of it may lie inside "
            "a target.",
            examples=["/var/lib/strongroom"],
            extra={
                "default": "`$STRONGROOM_STATE_DIR`, else `$XDG_STATE_HOME/strongroom`, else "
                "`~/.local/state/strongroom`"
            },
        ),
    ]
    broker: BrokerSettings = BrokerSettings()
    state: StateSettings = StateSettings()
    stages: Annotated[
        dict[Name, TargetKind],
        Meta(
            description="Where what runs hand from one host to another waits, sealed: places that every host "
            "reaches, of the kinds that targets have, and none of them inside a target. Policies that name "
            "no other use the one that is called `default`.",
            examples=["default"],
            extra={"default": "none: a folder in the state directory, on the one host that there is"},
        ),
    ] = field(default_factory=dict)
    vaults: Annotated[
        dict[Name, VaultSettings],
        Meta(
            description="Vault and OpenBao servers that sources, targets and keys name.",
            examples=["main"],
            extra={"default": "none"},
        ),
    ] = field(default_factory=dict)
    sources: Annotated[
        dict[Name, SourceKind],
        Meta(
            description="Where live secrets are.",
            examples=["local"],
            extra={"default": "`local`, the local store"},
        ),
    ] = field(default_factory=_local_source)
    targets: Annotated[
        dict[Name, TargetKind],
        Meta(
            description="Where backups lie.",
            examples=["region-a"],
            extra={
                "default": "`region-a`, `region-b` and `region-c`, directories under `targets` in the state "
                "directory, which are created; those that policies name stay beside the media of offline ones"
            },
        ),
    ] = field(default_factory=lambda: _LEFT_OUT)
    keys: Annotated[
        dict[Name, KeyKind],
        Meta(description="Who can open sealed backups.", examples=["recovery"], extra={"default": "none"}),
    ] = field(default_factory=dict)
    hooks: Annotated[
        dict[Name, HooksSettings],
        Meta(
            description="What is called around the runs of an entry of the calendar, by its name. A policy "
            "has its own.",
            examples=["health"],
            extra={"default": "nothing"},
        ),
    ] = field(default_factory=dict)
    policies: Annotated[
        dict[Name, PolicySettings],
        Meta(
            description="What is backed up, how, when, to whom and how long it is kept.",
            examples=["weekly-critical"],
            extra={
                "default": "none; with no file and no setting of sources or targets, `daily-metadata`: "
                "the local store's metadata to the three default targets, daily"
            },
        ),
    ] = field(default_factory=dict)
    rotators: Annotated[
        dict[Name, RotatorKind],
        Meta(
            description="What gives secrets new values (`strongroom secrets rotate`), in the order in which "
            "they are tried.",
            examples=["database"],
            extra={"default": "none"},
        ),
    ] = field(default_factory=dict)
    access_logs: Annotated[
        dict[Name, AccessLogSettings],
        Meta(
            description="Logs of servers that tell who read backups, or used their keys.",
            examples=["trail"],
            extra={"default": "none"},
        ),
    ] = field(default_factory=dict)
    calendar: CalendarSettings = CalendarSettings()
    verification: VerificationSettings = VerificationSettings()
    prune: PruneSettings = PruneSettings()
    drift: DriftSettings = DriftSettings()
    drill: DrillSettings = DrillSettings()
    restore: RestoreSettings = RestoreSettings()
    rotation: RotationSettings = RotationSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    contacts: ContactsSettings = ContactsSettings()
    recovery: RecoverySettings = RecoverySettings()
    alerts: AlertSettings = AlertSettings()
    mail: MailSettings = MailSettings()
    channels: Annotated[
        dict[Name, ChannelKind],
        Meta(
            description="How people are notified of alerts, and what is pinged.",
            examples=["pager"],
            extra={"default": "none"},
        ),
    ] = field(default_factory=dict)
    routes: Annotated[
        dict[Name, RouteSettings],
        Meta(
            description="Which alerts go through which channels.",
            examples=["oncall"],
            extra={"default": "none: `alerts.email` alone"},
        ),
    ] = field(default_factory=dict)
    trust: TrustSettings = TrustSettings()
    index: IndexSettings = IndexSettings()
    workers: WorkerSettings = WorkerSettings()
    limits: LimitSettings = LimitSettings()
    listen: ListenSettings = ListenSettings()
    flower: FlowerSettings = FlowerSettings()
    metrics: MetricsSettings = MetricsSettings()
    page: PageSettings = PageSettings()
    traces: TraceSettings = TraceSettings()
    sentry: SentrySettings = SentrySettings()

    def __post_init__(self) -> None:
        """Fill in the targets that there are when none are named, or media alone that lie in a safe."""
        usual = {
            name: DirectoryTargetSettings(
                kind="directory", path=self.state_dir / "targets" / name, region=name, create=True
            )
            for name in DEFAULT_TARGETS
        }
        if self.targets is _LEFT_OUT:
            force_setattr(self, "targets", usual)
        elif self.targets and self._media - self._used >= set(self.targets):
            wanted = {name: usual[name] for name in usual if name in self._used}
            force_setattr(self, "targets", wanted | self.targets)

    def served(self, service: FlowerSettings | ServedSettings) -> Served:
        """Return where a service is served, and with which certificate."""
        shared = self.listen
        return Served(
            host=service.host or shared.host,
            port=service.port,
            certificate_file=shared.certificate_file,
            key_file=shared.key_file,
            plain=shared.plain,
            client_ca_file=service.proxy.ca_file
            if isinstance(service, PageSettings) and service.proxy
            else None,
        )

    @property
    def database_url(self) -> str:
        """The state database, with the default filled in."""
        return self.state.url or f"sqlite:///{self.state_dir / 'state.db'}"

    @property
    def stage_path(self) -> Path:
        """The folder that is the stage of runs which name none: those of the one host that there is, and
        those that began while the default stage, if it is a folder, was called otherwise."""
        shared = self.stages.get(DEFAULT_STAGE)
        return (shared.folder if shared else None) or self.state_dir / "stage"

    def unshared_policies(self) -> Iterator[str]:
        """Yield the policies whose stage is a folder of each host, so that no other goes on with their runs.

        Backups onto offline media are made by one command.
        """
        for name, policy in self.policies.items():
            if not policy.offline and not self.stage_of(name):
                yield name

    def stage_of(self, policy: str) -> str:
        """Return the name of the stage of a policy; empty for the folder in the state directory."""
        found = self.policies.get(policy)
        chosen = found.stage if found else None
        return chosen or (DEFAULT_STAGE if DEFAULT_STAGE in self.stages else "")

    @property
    def online(self) -> tuple[str, ...]:
        """The targets that are to answer at any time: the media of offline policies lie in a safe."""
        return tuple(name for name in self.targets if name in self._used or name not in self._media)

    @property
    def _media(self) -> set[str]:
        return {name for policy in self.policies.values() if policy.offline for name in policy.targets}

    @property
    def _used(self) -> set[str]:
        return {name for policy in self.policies.values() if not policy.offline for name in policy.targets}

    @property
    def rotated(self) -> tuple[str, ...]:
        """The policies that scheduled rotations go over."""
        return self.rotation.policies or tuple(
            name for name, policy in self.policies.items() if self._has_versions(policy)
        )

    def _has_versions(self, policy: PolicySettings) -> bool:
        """Tell whether one of a policy's keys gets newer versions by itself, which a rotation takes up."""
        keys = (self.keys.get(name) for name in policy.recipients if policy.sealed)
        return any(key is not None and key.NEWER_VERSIONS for key in keys)

    @property
    def drilled(self) -> str:
        """The policy whose recovery is rehearsed: the named one, else the full one that selects most."""
        if self.drill.policy is not None:
            return self.drill.policy
        full = [
            name for name, policy in self.policies.items() if policy.kind == "full" and not policy.offline
        ]
        return min(full, key=lambda name: self.policies[name].selection != Selection(), default="")

    @property
    def tells(self) -> bool:
        """Whether anybody is notified or pinged when something is wrong, so that beat checks."""
        return bool(self.alerts.email or self.routes or self.alerts.ping)

    @property
    def schedules(self) -> dict[str, tuple[str, str]]:
        """The cron expression of each policy that has one, and its time zone."""
        return {
            name: (policy.schedule, self.calendar.zone_of(policy.time_zone))
            for name, policy in self.policies.items()
            if policy.schedule
        }

    @property
    def calls(self) -> dict[KeyPath, HookSettings]:
        """The hooks of all policies and entries of the calendar, by the settings that name them."""
        found: dict[KeyPath, HooksSettings | None] = {
            ("policies", name, "hooks"): policy.hooks for name, policy in self.policies.items()
        }
        found |= {("hooks", name): hooks for name, hooks in self.hooks.items()}
        return {
            (*key, when): hook
            for key, hooks in found.items()
            if hooks is not None
            for when, hook in hooks.named().items()
        }
