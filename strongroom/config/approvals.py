"""What has to be approved by other people before it is done, and who they are."""

# Annotations are no text here: see strongroom.config.base.
from typing import Annotated

from msgspec import Meta, field

from strongroom.config.base import SettingsSection
from strongroom.config.fields import AbsolutePath, Duration, Name
from strongroom.model import ApprovalAction

Person = Annotated[str, Meta(pattern=r"^[^\s,*?!\"]{1,200}$")]
_K = Meta(ge=1, le=20, description="How many of them.", examples=[2])
_PEOPLE = Meta(
    min_length=1,
    description="Names as they stand in `approvals.allowed_signers`. The one who asks never counts.",
    examples=[["alice@example.org", "bob@example.org", "carol@example.org"]],
)


class ApprovalRuleSettings(SettingsSection, frozen=True, kw_only=True):
    """Actions that `k` of some people have to approve. If several rules ask, each has to be met."""

    actions: Annotated[
        tuple[ApprovalAction, ...],
        Meta(
            min_length=1,
            description="`restore`, `undo`, `export`, `recipients` (a new key for a policy's backups), "
            "`retention` (shorter than it was), `release` (from quarantine, or of a hold, or an earlier "
            "end of one), `signers`, `shred`, `rotate-secret`.",
            examples=[["restore", "undo"]],
        ),
    ]
    k: Annotated[int, _K] = 2
    people: Annotated[tuple[Person, ...], _PEOPLE]
    above: Annotated[int, Meta(ge=0, description="Only for more secrets than this.", examples=[10])] = 0
    destinations: Annotated[
        tuple[Name, ...],
        Meta(
            description="Only for restores into these sources.",
            examples=[["production"]],
            extra={"default": "any"},
        ),
    ] = ()
    policies: Annotated[
        tuple[Name, ...],
        Meta(
            description="Only for backups of these policies.",
            examples=[["monthly-full"]],
            extra={"default": "any"},
        ),
    ] = ()


class BreakGlassSettings(SettingsSection, frozen=True, kw_only=True):
    """Who may do without the approvals in an emergency, together. It is an alarm until it is looked into."""

    k: Annotated[int, _K] = 2
    people: Annotated[tuple[Person, ...], _PEOPLE]


class ApprovalSettings(SettingsSection, frozen=True, kw_only=True):
    """What named people have to approve with their SSH keys. Each worker uses its own configuration."""

    allowed_signers: Annotated[
        AbsolutePath | None,
        Meta(
            description="OpenSSH's file of allowed signers: whose keys count. Only its owner may write it.",
            examples=["/etc/strongroom/allowed_signers"],
        ),
    ] = None
    valid: Annotated[
        Duration,
        Meta(
            ge=300,
            le=30 * 86_400,
            description="How long a request waits for its approvals, and they hold.",
            examples=["8h"],
            extra={"default": '`"24h"`'},
        ),
    ] = 86_400
    rules: Annotated[
        dict[Name, ApprovalRuleSettings],
        Meta(
            description="The rules.",
            examples=["production"],
            extra={"default": "none: nothing has to be approved"},
        ),
    ] = field(default_factory=dict)
    break_glass: Annotated[BreakGlassSettings | None, Meta(extra={"default": "nobody"})] = None
