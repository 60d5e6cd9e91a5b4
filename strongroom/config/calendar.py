"""When what is due again and again is done: a line for each entry, on unless something is missing."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta, Struct, field
from msgspec.structs import fields

from strongroom.config.schema import SettingsSection, toml_value
from strongroom.config.values import AbsolutePath, Duration, InvalidValue, Name, Text, Url

# Annotations are no text here: see strongroom.config.schema.


class Entry(Struct, frozen=True):
    """When an entry of the calendar is due, and whether it is off.

    ``written`` tells whether the file has a line for it. Then it is on although this host has no key for it,
    because the workers of another host have one.
    """

    schedule: str
    written: bool = False
    off: bool = False

    @classmethod
    def read(cls, name: str, value: Any) -> Self:
        """Return what is written for an entry. Raises InvalidValue."""
        if value is False:
            usual = CalendarSettings().entries().get(name)
            return cls(usual.schedule if usual else "", written=True, off=True)
        if isinstance(value, str) and value:
            return cls(value, written=True)
        if isinstance(value, dict):
            raise InvalidValue("is one line now", f"Write {'; '.join(_lines(name, value))}.", example=False)
        raise InvalidValue("wrong type", "It must be five cron fields in quotes, or false")


def _lines(name: str, table: dict[str, Any]) -> list[str]:
    """Return what to write in place of the table that an entry once was."""
    found = []
    if table.get("enabled") is False:
        found.append(f"{name} = false under [calendar]")
    elif "schedule" in table or "enabled" in table:
        found.append(f"{name} = {toml_value(table.get('schedule', 'TIMES'))} under [calendar]")
    if "time_zone" in table:
        found.append("time_zone under [calendar], for all entries")
    if "hooks" in table:
        found.append(f"its hooks under [hooks.{name}]")
    found += [
        f"{key} = {toml_value(table[key])} under [{name}]"
        for key in ("span_days", "rate", "grace_days", "mass_change_percent")
        if key in table
    ]
    found += [f"no {key}, which is fixed" for key in ("sample", "mass_change_least") if key in table]
    return found or [f'{name} = "TIMES", or false']


class CalendarSettings(SettingsSection, frozen=True, kw_only=True):
    """What is due again and again, besides the policies: five cron fields (minute hour day month weekday), or
    `false`. An entry without a line is on unless something is missing: `strongroom schedule` says what. One
    with times is on although this host has no key for it, because the workers of another host have one."""

    time_zone: Annotated[
        Text,
        Meta(
            description="Time zone of all schedules, by its IANA name; a policy may name its own.",
            examples=["Europe/Berlin"],
        ),
    ] = "UTC"
    health: Annotated[
        Entry, Meta(description="The health check of the whole installation.", examples=["0 7 * * *"])
    ] = Entry("30 6 * * *")
    verification: Annotated[
        Entry,
        Meta(
            description="Reading backups again, slice by slice, so that each replica was read within a "
            "stated span: `[verification]`.",
            examples=["*/30 * * * *"],
        ),
    ] = Entry("41 * * * *")
    repair: Annotated[
        Entry,
        Meta(
            description="Bringing up what a target missed or lost, from a replica that is good.",
            examples=["*/15 * * * *"],
        ),
    ] = Entry("17 * * * *")
    prune: Annotated[
        Entry,
        Meta(description="Deleting the backups that no rule keeps: `[prune]`.", examples=["0 22 * * *"]),
    ] = Entry("0 5 * * *")
    drift: Annotated[
        Entry,
        Meta(
            description="Comparing the newest backups with their sources: `[drift]`.", examples=["0 12 * * *"]
        ),
    ] = Entry("0 6 * * *")
    monthly_tests: Annotated[
        Entry,
        Meta(
            description="The monthly recovery tests: a single secret, integrity, decryption.",
            examples=["0 5 15 * *"],
        ),
    ] = field(default=Entry("0 7 2 * *"), name="monthly-tests")
    full_drill: Annotated[
        Entry,
        Meta(
            description="The quarterly rehearsal of a full recovery: `[drill]`.",
            examples=["0 5 1 * *"],
        ),
    ] = field(default=Entry("0 7 3 1,4,7,10 *"), name="full-drill")
    failover_drill: Annotated[
        Entry,
        Meta(
            description="The quarterly rehearsal of a recovery without one of the regions.",
            examples=["0 5 1 * *"],
        ),
    ] = field(default=Entry("0 11 3 1,4,7,10 *"), name="failover-drill")
    key_proof: Annotated[
        Entry,
        Meta(
            description="Trying every key that backups depend on. The verify workers do it.",
            examples=["0 6 1 * *"],
        ),
    ] = field(default=Entry("0 6 1 1,4,7,10 *"), name="key-proof")
    rotation: Annotated[
        Entry,
        Meta(
            description="Bringing backups to the newest versions of their keys: `[rotation]`. "
            "The recover workers do it, and are normally stopped: it waits for them.",
            examples=["0 4 2 1 *"],
        ),
    ] = Entry("0 8 4 1,4,7,10 *")
    signers: Annotated[
        Entry,
        Meta(
            description="Looking each month whether a role's signing key is to be rotated, which is once a "
            "year. Where the installation key is on the host, the next key is announced a month before and "
            "signs then. Elsewhere a person is asked to do it.",
            examples=["0 9 1 * *"],
        ),
    ] = Entry("0 9 6 * *")
    review: Annotated[
        Entry,
        Meta(description="The yearly security review: a document to sign.", examples=["0 8 15 6 *"]),
    ] = Entry("0 8 5 1 *")
    access: Annotated[
        Entry,
        Meta(
            description="Reading the access logs that `[access_logs]` names. The verify workers do it.",
            examples=["*/5 * * * *"],
        ),
    ] = Entry("*/15 * * * *")

    def entries(self) -> dict[str, Entry]:
        """Return the built-in entries by their names."""
        found = ((each.encode_name, getattr(self, each.name)) for each in fields(self))
        return {name: entry for name, entry in found if isinstance(entry, Entry)}

    def zone_of(self, time_zone: str | None) -> str:
        """Return the time zone that a policy's schedule is read in, which may name its own."""
        return time_zone or self.time_zone


class VerificationSettings(SettingsSection, frozen=True, kw_only=True):
    """Of the calendar's entry `verification`: how soon every replica is read again, and how fast."""

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


class PruneSettings(SettingsSection, frozen=True, kw_only=True):
    """Of the calendar's entry `prune`, and of `strongroom backups prune`."""

    grace_days: Annotated[
        float,
        Meta(
            ge=0,
            le=365,
            description="For so many days a backup that no rule keeps is only marked: `strongroom backups "
            "undelete` keeps it. After that it is deleted for good.",
            examples=[14],
        ),
    ] = 7


class DriftSettings(SettingsSection, frozen=True, kw_only=True):
    """Of the calendar's entry `drift`."""

    mass_change_percent: Annotated[
        int,
        Meta(
            description="If more than this part of a policy's secrets changed or vanished since the backup "
            "that was last taken for sound, an alarm is raised and nothing of the policy is deleted until a "
            "person releases the hold. Below ten secrets nothing is.",
            ge=0,
            le=99,
            examples=[50],
        ),
    ] = 30


# -- What is called before and after an entry of the calendar or a policy's backup --------------


# Annotations are no text here: see strongroom.config.schema.


class HookSettings(SettingsSection, frozen=True, kw_only=True):
    """A call: a `command`, or a URL in `url` or `url_file`."""

    SECRET_FILES: ClassVar[tuple[str, ...]] = ("url_file",)

    command: Annotated[
        tuple[Text, ...],
        Meta(
            description="Program, by its absolute path, and its arguments. No shell reads them.",
            examples=[["/usr/local/bin/quiesce", "--wait"]],
        ),
    ] = ()
    url: Annotated[
        Url | None,
        Meta(
            description="Address that gets a POST with a small JSON.",
            examples=["https://ops.example.org/done"],
        ),
    ] = None
    url_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the address and nothing else, if a secret is in it.",
            examples=["/run/secrets/pager-url"],
        ),
    ] = None
    timeout: Annotated[
        Duration, Meta(ge=1, le=600, description="How long it may take before it is ended.", examples=["5m"])
    ] = 60


class HooksSettings(SettingsSection, frozen=True, kw_only=True):
    """What is called around a run, by the control workers. If `before` fails, the run is not begun."""

    before: Annotated[
        HookSettings | None,
        Meta(description="Before the run.", examples=[{"command": ["/usr/local/bin/quiesce"]}]),
    ] = None
    after: Annotated[
        HookSettings | None,
        Meta(
            description="After a run that is done or degraded.",
            examples=[{"url": "https://ops.example.org/done"}],
        ),
    ] = None
    on_error: Annotated[
        HookSettings | None,
        Meta(
            description="After a run that failed or was cancelled.",
            examples=[{"url_file": "/run/secrets/pager-url"}],
        ),
    ] = None

    def named(self) -> dict[str, HookSettings]:
        """Return those that there are, by their keys."""
        found = {"before": self.before, "after": self.after, "on_error": self.on_error}
        return {when: hook for when, hook in found.items() if hook is not None}


# -- What is done from time to time so that keys stay fit for use -------------------------------


# Annotations are no text here: see strongroom.config.schema.


class RotationSettings(SettingsSection, frozen=True, kw_only=True):
    """Bringing the backups of policies to new keys, or new versions of their keys, as a matter of course."""

    policies: Annotated[
        tuple[Name, ...],
        Meta(
            description="Which policies. Those that custodians alone open cannot be rotated by a worker.",
            examples=[["weekly-critical"]],
            extra={"default": "every one that seals to a key with versions (`transit`, `kms`)"},
        ),
    ] = ()
    rate: Annotated[
        float | None,
        Meta(
            gt=0,
            description="At most so many wrapping keys a second, over the processes of a host.",
            examples=[5.0],
            extra={"default": "as fast as it goes"},
        ),
    ] = None
