"""When what is due again and again is done: a table for each entry, on unless something is missing."""

# Annotations are no text here: see strongroom.config.base.
from typing import Annotated

from msgspec import Meta, field
from msgspec.structs import fields

from strongroom.config.base import Section
from strongroom.config.shared import Hooks, Times, TimeZone


class EntrySettings(Section, frozen=True, kw_only=True):
    """When an entry of the calendar is due, and whether it is."""

    schedule: Annotated[Times, Meta(examples=["0 5 * * *"])]
    time_zone: Annotated[TimeZone | None, Meta(extra={"default": "`calendar.time_zone`"})] = None
    enabled: Annotated[
        bool | None,
        Meta(
            description="`false` switches it off. `true` switches it on although this host has no key for "
            "it, because the workers of another host have one.",
            examples=[False],
            extra={"default": "on, unless something is missing: `strongroom schedule` says what"},
        ),
    ] = None
    hooks: Hooks = None


class RepairEntry(EntrySettings, frozen=True, kw_only=True):
    """Bringing up what a target missed or lost, from a replica that is good."""

    schedule: Annotated[Times, Meta(examples=["*/15 * * * *"])] = "17 * * * *"


class HealthEntry(EntrySettings, frozen=True, kw_only=True):
    """The health check of the whole installation."""

    schedule: Annotated[Times, Meta(examples=["0 7 * * *"])] = "30 6 * * *"


class VerificationEntry(EntrySettings, frozen=True, kw_only=True):
    """Reading backups again, slice by slice, so that each replica was read within a stated span."""

    schedule: Annotated[Times, Meta(examples=["*/30 * * * *"])] = "41 * * * *"
    span_days: Annotated[
        int,
        Meta(
            ge=1,
            le=3650,
            description="Every container of every replica is read once in so many days.",
            examples=[90],
        ),
    ] = 30
    rate: Annotated[
        int,
        Meta(
            ge=1_000_000,
            description="At most so many bytes a second are read of one target, over all hosts of this "
            "installation.",
            examples=[5_000_000],
        ),
    ] = 20_000_000
    sample: Annotated[
        float,
        Meta(
            ge=0,
            le=10,
            description="How much is read besides at random, as a part of the regular work: nobody can know "
            "before what that is.",
            examples=[0.5],
        ),
    ] = 0.1


class PruneEntry(EntrySettings, frozen=True, kw_only=True):
    """Deleting the backups that no rule keeps."""

    schedule: Annotated[Times, Meta(examples=["0 22 * * *"])] = "0 5 * * *"
    grace_days: Annotated[
        float,
        Meta(
            ge=0,
            le=365,
            description="For so many days a backup that no rule keeps is only marked: `strongroom backups "
            "undelete` "
            "keeps it. After that it is deleted for good.",
            examples=[14],
        ),
    ] = 7


class DriftEntry(EntrySettings, frozen=True, kw_only=True):
    """Comparing the newest backups with their sources."""

    schedule: Annotated[Times, Meta(examples=["0 12 * * *"])] = "0 6 * * *"
    mass_change_percent: Annotated[
        int,
        Meta(
            description="If more than this part of a policy's secrets changed or vanished since the backup "
            "that was last taken for sound, an alarm is raised and nothing of the policy is deleted until a "
            "person releases the hold.",
            ge=0,
            le=99,
            examples=[50],
        ),
    ] = 30
    mass_change_least: Annotated[
        int,
        Meta(description="So many secrets at least must have changed for that.", ge=1, examples=[100]),
    ] = 10


class MonthlyTestsEntry(EntrySettings, frozen=True, kw_only=True):
    """The monthly recovery tests: a single secret, integrity, decryption."""

    schedule: Annotated[Times, Meta(examples=["0 5 15 * *"])] = "0 7 2 * *"


class FullDrillEntry(EntrySettings, frozen=True, kw_only=True):
    """The quarterly rehearsal of a full recovery; `[drill]` says of what, and how long it may take."""

    schedule: Annotated[Times, Meta(examples=["0 5 1 * *"])] = "0 7 3 1,4,7,10 *"


class FailoverDrillEntry(EntrySettings, frozen=True, kw_only=True):
    """The quarterly rehearsal of a recovery without one of the regions."""

    schedule: Annotated[Times, Meta(examples=["0 5 1 * *"])] = "0 11 3 1,4,7,10 *"


class KeyProofEntry(EntrySettings, frozen=True, kw_only=True):
    """Trying every key that backups depend on. The verify workers do it."""

    schedule: Annotated[Times, Meta(examples=["0 6 1 * *"])] = "0 6 1 1,4,7,10 *"


class RotationEntry(EntrySettings, frozen=True, kw_only=True):
    """Bringing the backups of policies to the newest versions of their keys; `[rotation]` says of which.

    The recover workers do it, and are normally stopped: it waits for them.
    """

    schedule: Annotated[Times, Meta(examples=["0 4 2 1 *"])] = "0 8 4 1,4,7,10 *"


class AccessEntry(EntrySettings, frozen=True, kw_only=True):
    """Reading the access logs that `[access_logs]` names. The verify workers do it."""

    schedule: Annotated[Times, Meta(examples=["*/5 * * * *"])] = "*/15 * * * *"


class ReviewEntry(EntrySettings, frozen=True, kw_only=True):
    """The yearly security review: a document to sign."""

    schedule: Annotated[Times, Meta(examples=["0 8 15 6 *"])] = "0 8 5 1 *"


class SignersEntry(EntrySettings, frozen=True, kw_only=True):
    """Looking each month whether a role's signing key is to be rotated, which is once a year.

    Where the installation key is on the host, the next key is announced a month before and signs then.
    Elsewhere a person is asked to do it.
    """

    schedule: Annotated[Times, Meta(examples=["0 9 1 * *"])] = "0 9 6 * *"


class CalendarSettings(Section, frozen=True, kw_only=True):
    """What is due again and again, besides the policies. Each entry is on unless something is missing."""

    time_zone: Annotated[TimeZone, Meta(examples=["Europe/Berlin"])] = "UTC"
    health: HealthEntry = HealthEntry()
    verification: VerificationEntry = VerificationEntry()
    repair: RepairEntry = RepairEntry()
    prune: PruneEntry = PruneEntry()
    drift: DriftEntry = DriftEntry()
    monthly_tests: MonthlyTestsEntry = field(default=MonthlyTestsEntry(), name="monthly-tests")
    full_drill: FullDrillEntry = field(default=FullDrillEntry(), name="full-drill")
    failover_drill: FailoverDrillEntry = field(default=FailoverDrillEntry(), name="failover-drill")
    key_proof: KeyProofEntry = field(default=KeyProofEntry(), name="key-proof")
    rotation: RotationEntry = RotationEntry()
    signers: SignersEntry = SignersEntry()
    review: ReviewEntry = ReviewEntry()
    access: AccessEntry = AccessEntry()

    def entries(self) -> dict[str, EntrySettings]:
        """Return the built-in entries by their names."""
        found = ((each.encode_name, getattr(self, each.name)) for each in fields(self))
        return {name: entry for name, entry in found if isinstance(entry, EntrySettings)}

    def zone_of(self, time_zone: str | None) -> str:
        """Return the time zone that a schedule is read in, which may name its own."""
        return time_zone or self.time_zone
