"""The settings: frozen, every key described. No field ever holds a secret value.

Where a secret is needed, a setting names the file that holds it. ``load_settings`` makes
these and checks how they fit together; nothing here reads a file.
"""

# Annotations are no text here: see strongroom.config.schema.
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from strongroom.config.alerts import FIXED, AlertSettings, ChannelSettings, MailSettings, RouteSettings
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
from strongroom.config.keys import KeySettings, KmsKey, TransitKeySettings
from strongroom.config.policies import DrillSettings, PolicySettings, RestoreSettings
from strongroom.config.recovery import ContactsSettings, RecoverySettings
from strongroom.config.rotators import RotatorSettings
from strongroom.config.schema import KIB, MIB, KeyPath, SettingsSection
from strongroom.config.shared import ListenAddress, LoginName, Port
from strongroom.config.sources import LocalSourceSettings, SourceSettings
from strongroom.config.targets import DirectoryTargetSettings, TargetSettings
from strongroom.config.values import AbsolutePath, Duration, Fingerprint, Name, Size, Text, Url
from strongroom.config.vaults import VaultSettings
from strongroom.model import Selection


class BrokerSettings(SettingsSection, frozen=True, kw_only=True):
    """What carries the messages between workers."""

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


class StateSettings(SettingsSection, frozen=True, kw_only=True):
    """Where run records, catalog and slots are kept."""

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


class StageSettings(SettingsSection, frozen=True, kw_only=True):
    """Where sealed containers wait on their way to the targets."""

    path: Annotated[
        AbsolutePath | None,
        Meta(
            description="Directory. All workers must see the same one.",
            examples=["/var/lib/strongroom/stage"],
            extra={"default": "`stage` in the state directory"},
        ),
    ] = None


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
        Size, Meta(ge=MIB, description="How much may lie on the stage.", examples=["4GiB"])
    ] = 2048 * MIB


class ListenSettings(SettingsSection, frozen=True, kw_only=True):
    """Where the page, Flower and the metrics are served over HTTP: to this host alone, or with TLS."""

    host: Annotated[ListenAddress, Meta(examples=["10.0.0.7"])] = "127.0.0.1"
    certificate_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="Certificate (PEM, with those between it and its authority) to serve TLS with.",
            examples=["/etc/strongroom/server.pem"],
            extra={"default": "no TLS: then only this host may ask, unless `plain` says otherwise"},
        ),
    ] = None
    key_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="Private key (PEM) of that certificate.",
            examples=["/run/secrets/server-key.pem"],
            extra={"default": "in the certificate's file"},
        ),
    ] = None
    plain: Annotated[
        bool,
        Meta(
            description="Serve other hosts without TLS, on a network that nobody else can listen on.",
            examples=[True],
        ),
    ] = False


_SHARED = "Write it under [listen], where the page, Flower and the metrics have it in common."


class ServiceSettings(SettingsSection, frozen=True, kw_only=True):
    """What is served over HTTP, as `[listen]` says."""

    REPLACED = dict.fromkeys(("certificate_file", "key_file", "plain"), _SHARED)

    host: Annotated[
        ListenAddress | None, Meta(examples=["127.0.0.1"], extra={"default": "`listen.host`"})
    ] = None
    port: Port


class FlowerSettings(ServiceSettings, frozen=True, kw_only=True):
    """The task monitor (`strongroom up --flower`). It always asks for a login."""

    port: Annotated[Port, Meta(examples=[5555])] = 5555
    user: Annotated[LoginName, Meta(examples=["operator"])] = "strongroom"
    password_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the password and nothing else.",
            examples=["/run/secrets/flower-password"],
            extra={"default": "made once, in run/flower-password under the state directory"},
        ),
    ] = None


class ServedSettings(ServiceSettings, frozen=True, kw_only=True):
    """What reads the record and the targets, and is served over HTTP."""

    check_targets: Annotated[
        Duration,
        Meta(
            ge=60,
            le=86_400,
            description="How often the targets are checked. The record is read each time somebody asks.",
            examples=["5m"],
            extra={"default": '`"15m"`'},
        ),
    ] = 900


class MetricsSettings(ServedSettings, frozen=True, kw_only=True):
    """Metrics for Prometheus (`strongroom up --metrics`, `strongroom metrics --serve`). They are given
    to a client that has the token."""

    port: Annotated[Port, Meta(examples=[9464])] = 9464
    token_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the token that a client needs, and nothing else.",
            examples=["/run/secrets/metrics-token"],
            extra={"default": "made once, in run/metrics-token under the state directory"},
        ),
    ] = None


class PageSettings(ServedSettings, frozen=True, kw_only=True):
    """The page of the installation, for a browser (`strongroom up --page`). It asks for a login and changes
    nothing."""

    port: Annotated[Port, Meta(examples=[5556])] = 5556
    user: Annotated[LoginName, Meta(examples=["operator"])] = "strongroom"
    password_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the page's password and nothing else.",
            examples=["/run/secrets/page-password"],
            extra={"default": "made once, in run/page-password under the state directory"},
        ),
    ] = None
    url: Annotated[
        Url | None,
        Meta(
            description="Where people reach the page, for Flower's link to it.",
            examples=["https://backups.example.org"],
            extra={"default": "`host` and `port`"},
        ),
    ] = None
    flower_url: Annotated[
        Url | None,
        Meta(
            description="Where people reach Flower, for the page's link to it.",
            examples=["https://flower.example.org"],
            extra={"default": "Flower's own address, if it runs in the same `strongroom up`"},
        ),
    ] = None


class Served(Struct, frozen=True, kw_only=True):
    """Where something is served over HTTP."""

    host: str
    port: int
    certificate_file: Path | None
    key_file: Path | None
    plain: bool


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
_LEFT_OUT: dict[str, TargetSettings] = {}


def _local_source() -> dict[str, SourceSettings]:
    return {"local": LocalSourceSettings(kind="local")}


DEFAULT_TARGETS = ("region-a", "region-b", "region-c")
"""Directories in the state directory, which are there while no target is named but media for a safe."""


class Settings(SettingsSection, frozen=True, kw_only=True):
    """Everything that can be set, as one frozen value."""

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
    stage: StageSettings = StageSettings()
    vaults: Annotated[
        dict[Name, VaultSettings],
        Meta(
            description="Vault and OpenBao servers that sources, targets and keys name.",
            examples=["main"],
            extra={"default": "none"},
        ),
    ] = field(default_factory=dict)
    sources: Annotated[
        dict[Name, SourceSettings],
        Meta(
            description="Where live secrets are.",
            examples=["local"],
            extra={"default": "`local`, the local store"},
        ),
    ] = field(default_factory=_local_source)
    targets: Annotated[
        dict[Name, TargetSettings],
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
        dict[Name, KeySettings],
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
        dict[Name, RotatorSettings],
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
        dict[Name, ChannelSettings],
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
        )

    @property
    def database_url(self) -> str:
        """The state database, with the default filled in."""
        return self.state.url or f"sqlite:///{self.state_dir / 'state.db'}"

    @property
    def stage_path(self) -> Path:
        """The stage's directory, with the default filled in."""
        return self.stage.path or self.state_dir / "stage"

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
        return any(isinstance(key, KmsKey | TransitKeySettings) for key in keys)

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
