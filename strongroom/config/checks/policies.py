"""Policies and what they rest on: keys, schedules, snapshots, limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from strongroom.config.checks import Context
from strongroom.config.checks.stores import real, secret_files
from strongroom.config.failure_domains import (
    called,
    home_of,
    is_lost_with,
    single_points_of_failure,
    unlock_paths_of,
)
from strongroom.config.keys import AllOfKey
from strongroom.config.kinds import KeyKind, Misfit, SourceKind
from strongroom.config.model import OPEN_CONTAINERS, Settings
from strongroom.config.policies import YEAR_DAYS, PolicySettings
from strongroom.config.schema import KeyPath
from strongroom.model import Depth
from strongroom.words import plural

# -- Policies and the drill: do they name what exists, and ask for what can be had? -------------


def check_policies(context: Context) -> Iterator[Misfit]:
    """Yield what does not fit about the policies and the drill."""
    entries = context.settings.calendar.entries()
    for name, policy in context.settings.policies.items():
        if name in entries:
            yield Misfit(("policies", name), "an entry of the calendar has this name", "Name it otherwise.")
        yield from _references(context, name, policy)
        yield from _quorum(context, name, policy)
        yield from _spread(context, name, policy, "regions", "region")
        yield from _spread(context, name, policy, "providers", "provider")
        yield from _recipients(context, name, policy)
        yield from _retention(context, name, policy)
    yield from _drill(context)
    yield from _rotation(context)
    yield from _index(context)


def _index(context: Context) -> Iterator[Misfit]:
    at = ("index", "recipients")
    if not context.is_bad(*at):
        names = context.settings.index.recipients
        yield from _each_once(at, names)
        for place, name in enumerate(names):
            yield from context.reference((*at, place), name, "keys")


def _references(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    at = ("policies", name)
    yield from context.reference((*at, "source"), policy.source, "sources")
    if policy.stage is not None:
        yield from context.reference((*at, "stage"), policy.stage, "stages")
    for key, names, section in (
        ("targets", policy.targets, "targets"),
        ("recipients", policy.recipients, "keys"),
    ):
        if context.is_bad(*at, key):
            continue  # places in the list have moved
        yield from _each_once((*at, key), names)
        for index, other in enumerate(names):
            yield from context.reference((*at, key, index), other, section)


def _each_once(key: tuple[str, ...], names: Sequence[str]) -> Iterator[Misfit]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Misfit((*key, index), f"'{name}' stands here twice", "Name each once.")


def _quorum(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    targets = len(set(policy.targets))
    if policy.quorum > targets and not context.is_bad("policies", name, "targets"):
        yield Misfit(
            ("policies", name, "quorum"),
            f"asks for {plural(policy.quorum, 'target')} and the policy has {plural(targets, 'target')}",
            f"At most {targets}, or more targets.",
        )


def _spread(context: Context, name: str, policy: PolicySettings, key: str, field: str) -> Iterator[Misfit]:
    targets = context.settings.targets
    if context.is_bad("policies", name, "targets") or any(target not in targets for target in policy.targets):
        return  # where the others lie is not known
    places = sorted({getattr(targets[target], field) for target in policy.targets})
    if getattr(policy, key) > len(places):
        yield Misfit(
            ("policies", name, key),
            f"asks for {getattr(policy, key)} {key} and the policy's targets lie in {', '.join(places)}",
            f"At most {len(places)}, or targets in other {key}.",
        )


def _recipients(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    at = ("policies", name)
    said = context.is_written(*at, "encrypt") and not context.is_bad(*at, "encrypt")
    if policy.kind == "full" and said and not policy.encrypt:
        yield Misfit((*at, "encrypt"), "full backups are always sealed", "Leave it out.")
    if context.is_bad(*at, "recipients") or context.is_bad(*at, "encrypt"):
        return
    if policy.sealed and not policy.recipients:
        yield Misfit(
            (*at, "recipients"),
            "a sealed backup that nobody can open",
            'Name at least one of the keys, for example: recipients = ["recovery"]',
        )
    if policy.recipients and not policy.sealed:
        yield Misfit(
            (*at, "recipients"),
            "has no effect, for this metadata backup is not sealed",
            "Add encrypt = true, or leave it out.",
        )


def _retention(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    at = ("policies", name)
    short = policy.kind == "full" and policy.minimum_retention_days < YEAR_DAYS
    if short and not policy.short_retention_reason and not context.is_bad(*at, "short_retention_reason"):
        yield Misfit(
            (*at, "minimum_retention_days"),
            "full backups are to be kept for a year at least",
            f"At least {YEAR_DAYS}, or state why not in short_retention_reason.",
        )
    if policy.keep is not None and policy.keep.keep_everything and not context.is_bad(*at, "keep"):
        yield Misfit(
            (*at, "keep"),
            "names nothing to keep",
            "Say how many, as in: keep = { daily = 14, monthly = 24 }. To keep everything, leave it out.",
        )


def _rotation(context: Context) -> Iterator[Misfit]:
    at = ("rotation", "policies")
    names = context.settings.rotation.policies
    if context.is_bad(*at):
        return
    yield from _each_once(at, names)
    for index, name in enumerate(names):
        yield from context.reference((*at, index), name, "policies")
        policy = context.settings.policies.get(name)
        if policy is not None and not policy.sealed:
            yield Misfit((*at, index), f"policy '{name}' seals nothing", "Name policies that seal.")


def _drill(context: Context) -> Iterator[Misfit]:
    drill = context.settings.drill
    if drill.policy:
        yield from context.reference(("drill", "policy"), drill.policy, "policies")
    if drill.cut_off:
        yield from context.reference(("drill", "cut_off"), drill.cut_off, "targets")
    if drill.into != "local":
        yield from context.reference(("drill", "into"), drill.into, "vaults")
        yield from _scratch(context, drill.into)
    yield from _drilled(context, context.settings.policies.get(drill.policy or ""))


def _scratch(context: Context, into: str) -> Iterator[Misfit]:
    vault = context.settings.vaults.get(into)
    if vault is not None and not vault.scratch:
        yield Misfit(
            ("drill", "into"),
            f"drills may make no mount on '{into}'",
            f"Set vaults.{into}.scratch = true; its rights: 'strongroom cluster rules vault --role drill'.",
        )


def _drilled(context: Context, policy: PolicySettings | None) -> Iterator[Misfit]:
    if policy is None:
        return
    drill = context.settings.drill
    if policy.kind != "full":
        yield Misfit(("drill", "policy"), f"'{drill.policy}' backs up no values", "Name a full policy.")
    if drill.cut_off in context.names("targets") and drill.cut_off not in policy.targets:
        yield Misfit(
            ("drill", "cut_off"),
            f"policy '{drill.policy}' does not store on '{drill.cut_off}'",
            f"One of: {', '.join(policy.targets)}.",
        )


# -- Custody: may one accident make every backup of a policy unreadable, or hand it to everyone? ---


def check_custody(context: Context) -> Iterator[Misfit]:
    """Yield keys without a spare, and credentials that would be lost with what they are to restore."""
    for name, policy in context.settings.policies.items():
        yield from _spare(context, name, policy)
    yield from _only_in_source(context.settings)


def _spare(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    """A scheduled policy makes backups for years; a lost key is found out on the worst day."""
    at = ("policies", name, "recipients")
    if not policy.schedule or not policy.sealed or not policy.recipients or context.is_bad(*at):
        return
    if any(name not in context.settings.keys for name in policy.recipients):
        return  # what they are to be is not known
    needed = single_points_of_failure(unlock_paths_of(context.settings, policy.recipients))
    if policy.single_recipient_reason or not needed:
        return
    what = called(context.settings, needed[0])
    yield Misfit(
        at,
        f"one loss would close these backups permanently: that of {what}",
        "Name a second key (or a quorum), or say in single_recipient_reason where the spare of this one is.",
    )


def _only_in_source(settings: Settings) -> Iterator[Misfit]:
    """What opens the way back must not lie in what has to be brought back."""
    for name, source in settings.sources.items():
        if source.folder is None:
            continue
        place = real(source.folder)
        for key, path in secret_files(settings).items():
            if key[0] in ("targets", "vaults", "keys") and place in real(path).parents:
                what = f"is inside source '{name}': a person who has to restore that source does not have it"
                yield Misfit(key, what, f"Keep it outside of {place}, and a copy apart from this machine.")


# -- Erasable policies: can every key that opens their backups be destroyed, and nothing else with it?


LEG = "Take a transit, KMS or HSM key, or put it into an all-of beside one that can be destroyed."


def check_erasable(context: Context) -> Iterator[Misfit]:
    """Yield what would keep an erasable policy from being shredded."""
    for name, policy in context.settings.policies.items():
        if policy.erasable and not context.is_bad("policies", name):
            yield from _erasable(context, name, policy)


def _erasable(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    at = ("policies", name, "erasable")
    if not policy.sealed:
        yield Misfit(at, "this policy seals nothing, so no key can be destroyed", "Add encrypt = true.")
    for other in policy.targets:
        target = context.settings.targets.get(other)
        if target is not None and target.locking != "none":
            yield Misfit(
                at,
                f"target '{other}' locks what is put on it, so nothing could be removed there",
                "A policy is immutable or erasable: take a target without a lock, or leave erasable out.",
            )
    for key in policy.recipients:
        if key in context.settings.keys and (why := undestroyable(context.settings, key, name)):
            yield Misfit(at, f"'{key}' cannot be destroyed for this policy alone: {why}", LEG)


def undestroyable(settings: Settings, name: str, policy: str) -> str:
    """Return why a key's destruction would not shred a policy's backups; nothing if it would.

    All-of needs one leg whose every spare can be destroyed: whoever lacks a leg has nothing.
    """
    key = settings.keys[name]
    if not isinstance(key, AllOfKey):
        return _why(settings, name, key, policy)
    said = []
    for leg in key.legs:
        whys = [
            _why(settings, stanza, settings.keys[stanza], policy) for stanza in leg if stanza in settings.keys
        ]
        if not any(whys):
            return ""
        said += [why for why in whys if why]
    return "of no leg can every key be destroyed: " + "; ".join(dict.fromkeys(said))


def _why(settings: Settings, name: str, key: KeyKind, policy: str) -> str:
    for other, policy_settings in settings.policies.items():
        if other != policy and _uses(settings, policy_settings, name):
            return f"policy '{other}' also seals to '{name}'"
    return key.outlives(name)


def _uses(settings: Settings, policy: PolicySettings, name: str) -> bool:
    keys = [settings.keys.get(recipient) for recipient in policy.recipients]
    return name in policy.recipients or any(
        name in leg for key in keys if isinstance(key, AllOfKey) for leg in key.legs
    )


# -- Schedules: five cron fields that come due some day -----------------------------------------


_RIGHT = 'Five fields (minute hour day month weekday), for example: {} = "0 3 * * 0"'
_NO_ZONE = "this machine knows no such time zone"
_RIGHT_ZONE = 'A name of the IANA database, for example: time_zone = "Europe/Berlin"'


def check_schedules(context: Context) -> Iterator[Misfit]:
    """Yield schedules that are none."""
    for key, schedule in _schedules(context.settings):
        if schedule and (what := _wrong_with(schedule)):
            yield Misfit(key, what, _RIGHT.format(key[-1]))
    for name, policy in context.settings.policies.items():
        if policy.time_zone and not _is_zone(policy.time_zone):
            yield Misfit(("policies", name, "time_zone"), _NO_ZONE, _RIGHT_ZONE)
    if not _is_zone(context.settings.calendar.time_zone):
        yield Misfit(("calendar", "time_zone"), _NO_ZONE, _RIGHT_ZONE)


def _schedules(settings: Settings) -> Iterator[tuple[KeyPath, str | None]]:
    for name, policy in settings.policies.items():
        yield ("policies", name, "schedule"), policy.schedule
    for name, entry in settings.calendar.entries().items():
        yield ("calendar", name), entry.schedule


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):  # a path, a directory of zones, no such zone
        return False
    return True


def _wrong_with(schedule: str) -> str | None:
    from cronsim import CronSim, CronSimError

    if len(schedule.split()) != 5:
        return "not five fields"
    try:
        next(CronSim(schedule, datetime.now(UTC)))
    except CronSimError as error:
        return str(error)[:1].lower() + str(error)[1:]
    except ValueError:  # from reading one of thousands of digits
        return "bad number"
    except StopIteration:
        return "never comes due"
    return None


# -- Snapshots of a whole server: one is restored whole, and compares with nothing that is live ---


_SELECTING = ("include", "exclude", "tags")


def check_snapshots(context: Context) -> Iterator[Misfit]:
    """Yield what does not fit about sources of snapshots and the policies that name one."""
    for name, source in context.settings.sources.items():
        if source.SNAPSHOT:
            yield from _source(context, name, source)
    for name, policy in context.settings.policies.items():
        found = context.settings.sources.get(policy.source)
        if found is not None and found.SNAPSHOT:
            yield from _policy(context, name, policy)


def _source(context: Context, name: str, source: SourceKind) -> Iterator[Misfit]:
    vault = context.settings.vaults.get(source.on_vault or "")
    if vault is not None and vault.namespace.strip("/"):
        yield Misfit(
            ("sources", name, "vault"),
            f"a snapshot is of the whole server, and '{source.on_vault}' is a namespace of it",
            "Name a server under [vaults] without 'namespace'.",
        )


def _policy(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    at = ("policies", name)
    if policy.kind != "full":
        yield Misfit((*at, "kind"), "names without values bring no server back", 'Make it kind = "full".')
    for key in _SELECTING:
        if getattr(policy, key):
            yield Misfit((*at, key), "an incomplete snapshot brings nothing back", "Leave it out.")
    if policy.verify is Depth.LIVE:
        yield Misfit(
            (*at, "verify"),
            "a snapshot is of a moment that is over: there is nothing live to compare it with",
            'At most verify = "compared".',
        )
    if not context.is_bad(*at, "targets"):
        yield from _inside(context, name, policy)


def _inside(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    home = home_of(context.settings, policy.source)
    for index, target in enumerate(policy.targets):
        if is_lost_with(context.settings, target, home):
            yield Misfit(
                ("policies", name, "targets", index),
                "lies in the server itself: each snapshot would hold all those before it",
                "Name a target elsewhere.",
            )


# -- Limits: do they leave room for each other? -------------------------------------------------


def check_limits(context: Context) -> Iterator[Misfit]:
    """Yield a stage that is too small for what may be on its way."""
    limits = context.settings.limits
    needed = OPEN_CONTAINERS * limits.container_bytes
    if limits.stage_bytes < needed and not context.is_bad("limits"):
        yield Misfit(
            ("limits", "stage_bytes"),
            f"too small for {OPEN_CONTAINERS} open containers",
            f"At least {needed:,}, or smaller containers.",
        )
