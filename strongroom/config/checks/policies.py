"""Policies and the drill: do they name what exists, and ask for what can be had?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strongroom.config.checks.context import Context, Misfit
from strongroom.config.policies import YEAR_DAYS, PolicySettings
from strongroom.words import plural


def check(context: Context) -> Iterator[Misfit]:
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
            f"Set vaults.{into}.scratch = true; ops/vault/drill-scratch.hcl has the rights of its login.",
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
