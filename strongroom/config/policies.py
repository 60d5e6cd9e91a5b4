"""What is backed up, how, when, to whom, and how long it is kept."""

# Annotations are no text here: see strongroom.config.schema.
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field
from msgspec.structs import force_setattr

from strongroom.config.schema import SettingsSection
from strongroom.config.shared import Hooks, Schedule, TimeZone
from strongroom.config.values import Name, Text
from strongroom.model import Depth, Selection

YEAR_DAYS = 365


class KeepSettings(SettingsSection, frozen=True, kw_only=True):
    """Which of a policy's backups are kept once they are older than `minimum_retention_days`."""

    last: Annotated[
        int, Meta(ge=0, le=100_000, description="How many of the newest to keep.", examples=[10])
    ] = 0
    daily: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000,
            description="Of how many days to keep the newest of the day, of those that have a backup.",
            examples=[14],
        ),
    ] = 0
    weekly: Annotated[
        int, Meta(ge=0, le=100_000, description="The same for weeks, which begin on Monday.", examples=[8])
    ] = 0
    monthly: Annotated[int, Meta(ge=0, le=100_000, description="The same for months.", examples=[24])] = 0
    yearly: Annotated[int, Meta(ge=0, le=100_000, description="The same for years.", examples=[7])] = 0

    @property
    def keep_everything(self) -> bool:
        """Whether it names no rule by which anything would be dropped."""
        return not (self.last or self.daily or self.weekly or self.monthly or self.yearly)


_BEYOND = "What is kept beyond it, keep says: keep = { monthly = 24, yearly = 7 }."


class PolicySettings(SettingsSection, frozen=True, kw_only=True):
    """What is backed up, how, when, to whom, and how long it is kept."""

    REPLACED: ClassVar = {
        "keep_days": f"Write minimum_retention_days with the same number. {_BEYOND}",
        "keep_count": f"Write minimum_retention_count with the same number. {_BEYOND}",
    }

    kind: Annotated[
        Literal["full", "metadata"],
        Meta(
            description="`full` backs up values, always sealed; `metadata` names, types, dates and tags "
            "only.",
            examples=["full"],
        ),
    ]
    source: Annotated[Name, Meta(description="The source to back up.", examples=["local"])] = "local"
    targets: Annotated[
        tuple[Name, ...],
        Meta(min_length=1, description="The targets to store it on.", examples=[["region-a", "region-b"]]),
    ]
    recipients: Annotated[
        tuple[Name, ...],
        Meta(
            description="The keys that can open it; any one is enough. A full policy needs at least one.",
            examples=[["recovery"]],
        ),
    ] = ()
    stage: Annotated[
        Name | None,
        Meta(
            description="The stage that its runs use, a name under `stages`.",
            examples=["default"],
            extra={"default": "`default`, if there is one"},
        ),
    ] = None
    single_recipient_reason: Annotated[
        Text | None,
        Meta(
            description="Why one key alone may open a scheduled policy's backups: where its spare is.",
            examples=["the private half lies in the safes of Berlin and Oslo"],
        ),
    ] = None
    schedule: Annotated[Schedule, Meta(examples=["0 3 * * 0"], extra={"default": "only when asked for"})] = (
        None
    )
    time_zone: Annotated[TimeZone | None, Meta(extra={"default": "`calendar.time_zone`"})] = None
    hooks: Hooks = None
    quorum: Annotated[
        int,
        Meta(
            ge=1,
            description="How many targets must hold it before it counts as a backup. What misses beyond that "
            "is repaired later.",
            examples=[2],
            extra={"default": "a majority of the targets"},
        ),
    ] = 0
    regions: Annotated[
        int,
        Meta(
            ge=1,
            description="In how many regions those targets must lie.",
            examples=[2],
            extra={"default": "2, or 1 if the quorum is 1"},
        ),
    ] = 0
    include: Annotated[
        tuple[Text, ...],
        Meta(
            description="Patterns (`*`, `?`, `[…]`, case counts) of names to back up.",
            examples=[["prod/*"]],
            extra={"default": "every name"},
        ),
    ] = ()
    exclude: Annotated[
        tuple[Text, ...], Meta(description="Patterns of names to leave out.", examples=[["*/scratch/*"]])
    ] = ()
    providers: Annotated[
        int, Meta(ge=1, description="With how many providers those targets must be.", examples=[2])
    ] = 1
    tags: Annotated[
        dict[str, str],
        Meta(description="Tags that a secret must carry, all of them.", examples=[{"priority": "critical"}]),
    ] = field(default_factory=dict)
    verify: Annotated[
        Depth,
        Meta(
            description="How deep each replica is verified after the backup. From `opened` on, the verifying "
            "host needs a key that opens it: where it has none, a backup is whole and *degraded*, as not "
            "verified. `strongroom check config` remarks on that.",
            examples=["compared"],
        ),
    ] = Depth.DIGEST
    keep: Annotated[
        KeepSettings | None,
        Meta(
            description="Which backups `strongroom backups prune` keeps.",
            examples=[{"daily": 14, "monthly": 24}],
            extra={"default": "everything is kept"},
        ),
    ] = None
    minimum_retention_days: Annotated[
        int,
        Meta(
            ge=1,
            le=36_500,
            description="For how many days a backup is kept at least, whatever `keep` says. Targets with "
            "locks lock it for as long. Under a year, a full policy must say why.",
            examples=[730],
        ),
    ] = YEAR_DAYS
    minimum_retention_count: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="How many verified backups are kept at least, whatever their age.",
            examples=[12],
        ),
    ] = 3
    short_retention_reason: Annotated[
        Text | None,
        Meta(
            description="Why a full policy may keep its backups for less than a year.",
            examples=["contract 4711 demands deletion after 90 days"],
        ),
    ] = None
    erasable: Annotated[
        bool,
        Meta(
            description="Whether its backups may be shredded (`strongroom keys shred`): every key that "
            "opens them "
            "can then be destroyed, and no target locks them. Left out, they are immutable.",
            examples=[True],
        ),
    ] = False
    legal_hold: Annotated[
        Text | None,
        Meta(
            description="Why nothing of this policy may be removed or shredded for now. To hold a single "
            "backup or a tag, or to hold from another host: `strongroom backups hold`.",
            examples=["case 4711, until the court says otherwise"],
        ),
    ] = None
    ping: Annotated[
        Name | None,
        Meta(
            description="The channel of kind `ping` that gets a ping when a backup starts and when it ends. "
            "Give each policy a check of its own at that service.",
            examples=["nightly-check"],
        ),
    ] = None
    offline: Annotated[
        bool,
        Meta(
            description="Whether its targets are media that are absent most of the time. Its slots then wait "
            "for `strongroom emergency backup`; until it has run people are reminded, and "
            "overdue is an alarm.",
            examples=[True],
        ),
    ] = False
    encrypt: Annotated[
        bool,
        Meta(
            description="Whether to seal a metadata backup too. Full backups are always sealed.",
            examples=[True],
        ),
    ] = False

    def __post_init__(self) -> None:
        """Fill in what follows from the rest; nobody can write a zero."""
        if not self.quorum:
            force_setattr(self, "quorum", 1 + len(self.targets) // 2)
        if not self.regions:
            force_setattr(self, "regions", min(2, self.quorum))

    @property
    def sealed(self) -> bool:
        """Whether this policy's backups are sealed."""
        return self.kind == "full" or self.encrypt

    @property
    def selection(self) -> Selection:
        """Which secrets it means."""
        return Selection(include=self.include, exclude=self.exclude, tags=self.tags)


class ObjectiveSettings(SettingsSection, frozen=True, kw_only=True):
    """How many seconds a recovery may take (recovery time objective), by what is recovered."""

    single: Annotated[int, Meta(ge=1, description="One secret.", examples=[600])] = 900
    category: Annotated[int, Meta(ge=1, description="Every secret with a tag.", examples=[900])] = 1800
    full: Annotated[int, Meta(ge=1, description="Everything.", examples=[3600])] = 7200
    failover: Annotated[int, Meta(ge=1, description="Everything, without a region.", examples=[3600])] = 7200
    emergency: Annotated[
        int, Meta(ge=1, description="Everything, from the emergency medium.", examples=[10_800])
    ] = 14_400


class DrillSettings(SettingsSection, frozen=True, kw_only=True):
    """The rehearsed recovery: restore a backup into a place of its own, compare everything, take the time."""

    policy: Annotated[
        Name | None,
        Meta(
            description="The full policy whose backups are restored.",
            examples=["monthly-full"],
            extra={"default": "the first full one, rather one that selects every secret"},
        ),
    ] = None
    cut_off: Annotated[
        Name | None,
        Meta(
            description="The target whose region a failover drill does without.",
            examples=["region-b"],
            extra={"default": "the first target of the policy"},
        ),
    ] = None
    into: Annotated[
        Name,
        Meta(
            description="Where to restore into: `local`, a scratch store on the host, or a server of "
            "`vaults` with `scratch`, on which each drill makes a mount of its own.",
            examples=["main"],
        ),
    ] = "local"
    within_days: Annotated[
        int,
        Meta(
            ge=1,
            description="The monthly test takes a random backup of so many days, so that old ones are "
            "rehearsed too. Other drills take the newest.",
            examples=[365],
        ),
    ] = 90
    objective_seconds: ObjectiveSettings = ObjectiveSettings()


class RestoreSettings(SettingsSection, frozen=True, kw_only=True):
    """What a restore brings back first, into Vault and Secrets Manager."""

    first: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^=]+=.*$")], ...],
        Meta(
            description="Tags of critical secrets: those that have one come back before all others.",
            examples=[["priority=critical", "tier=0"]],
        ),
    ] = ("priority=critical",)
