"""What is backed up, how, when, to whom, and how long it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from strongroom.config.base import Section
from strongroom.config.fields import Name, Text
from strongroom.model import Depth, Selection

YEAR_DAYS = 365


def _majority(data: Mapping[str, Any]) -> int:
    return 1 + len(data.get("targets", ())) // 2


def _two_regions(data: Mapping[str, Any]) -> int:
    return min(2, int(data.get("quorum", 1)))


class PolicySettings(Section):
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
    single_recipient_reason: Text | None = Field(
        default=None,
        description="Why one key alone may open a scheduled policy's backups: where its spare is.",
        examples=["the private half lies in the safes of Berlin and Oslo"],
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
    providers: int = Field(
        default=1,
        ge=1,
        description="With how many providers those targets must be.",
        examples=[2],
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
    erasable: bool = Field(
        default=False,
        description="Whether its backups may be shredded (`strongroom shred`): every key that opens them can "
        "then be destroyed, and no target locks them. Left out, they are immutable.",
        examples=[True],
    )
    legal_hold: Text | None = Field(
        default=None,
        description="Why nothing of an erasable policy may be shredded for now.",
        examples=["case 4711, until the court says otherwise"],
    )
    offline: bool = Field(
        default=False,
        description="Whether its targets are media that are absent most of the time. Its slots then wait for "
        "`strongroom emergency-backup`; until it has run people are reminded, and overdue is an alarm.",
        examples=[True],
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


class RepairSettings(Section):
    """Bringing up what a target missed or lost, from a replica that is good."""

    schedule: Text = Field(
        default="17 * * * *",
        description="When backups with a bad replica are repaired: five cron fields, in UTC.",
        examples=["*/15 * * * *"],
    )


class DrillSettings(Section):
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
