"""Policies and the drill: do they name what exists, and ask for what can be had?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strongroom.config.checks.context import Finding, Found
from strongroom.config.policies import YEAR_DAYS, PolicySettings
from strongroom.words import plural


def check(found: Found) -> Iterator[Finding]:
    """Yield what does not fit about the policies and the drill."""
    for name, policy in found.settings.policies.items():
        yield from _references(found, name, policy)
        yield from _quorum(found, name, policy)
        yield from _spread(found, name, policy, "regions", "region")
        yield from _spread(found, name, policy, "providers", "provider")
        yield from _recipients(found, name, policy)
        yield from _retention(found, name, policy)
    yield from _drill(found)
    yield from _rotation(found)


def _references(found: Found, name: str, policy: PolicySettings) -> Iterator[Finding]:
    at = ("policies", name)
    yield from found.reference((*at, "source"), policy.source, "sources")
    for key, names, section in (
        ("targets", policy.targets, "targets"),
        ("recipients", policy.recipients, "keys"),
    ):
        if found.is_bad(*at, key):
            continue  # places in the list have moved
        yield from _each_once((*at, key), names)
        for index, other in enumerate(names):
            yield from found.reference((*at, key, index), other, section)


def _each_once(key: tuple[str, ...], names: Sequence[str]) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Finding((*key, index), f"'{name}' stands here twice", "Name each once.")


def _quorum(found: Found, name: str, policy: PolicySettings) -> Iterator[Finding]:
    targets = len(set(policy.targets))
    if policy.quorum > targets and not found.is_bad("policies", name, "targets"):
        yield Finding(
            ("policies", name, "quorum"),
            f"asks for {plural(policy.quorum, 'target')} and the policy has {plural(targets, 'target')}",
            f"At most {targets}, or more targets.",
        )


def _spread(found: Found, name: str, policy: PolicySettings, key: str, field: str) -> Iterator[Finding]:
    targets = found.settings.targets
    if found.is_bad("policies", name, "targets") or any(target not in targets for target in policy.targets):
        return  # where the others lie is not known
    places = sorted({getattr(targets[target], field) for target in policy.targets})
    if getattr(policy, key) > len(places):
        yield Finding(
            ("policies", name, key),
            f"asks for {getattr(policy, key)} {key} and the policy's targets lie in {', '.join(places)}",
            f"At most {len(places)}, or targets in other {key}.",
        )


def _recipients(found: Found, name: str, policy: PolicySettings) -> Iterator[Finding]:
    at = ("policies", name)
    said = found.is_written(*at, "encrypt") and not found.is_bad(*at, "encrypt")
    if policy.kind == "full" and said and not policy.encrypt:
        yield Finding((*at, "encrypt"), "full backups are always sealed", "Leave it out.")
    if found.is_bad(*at, "recipients") or found.is_bad(*at, "encrypt"):
        return
    if policy.sealed and not policy.recipients:
        yield Finding(
            (*at, "recipients"),
            "a sealed backup that nobody can open",
            'Name at least one of the keys, for example: recipients = ["recovery"]',
        )
    if policy.recipients and not policy.sealed:
        yield Finding(
            (*at, "recipients"),
            "has no effect, for this metadata backup is not sealed",
            "Add encrypt = true, or leave it out.",
        )


def _retention(found: Found, name: str, policy: PolicySettings) -> Iterator[Finding]:
    at = ("policies", name)
    short = policy.kind == "full" and policy.minimum_retention_days < YEAR_DAYS
    if short and not policy.short_retention_reason and not found.is_bad(*at, "short_retention_reason"):
        yield Finding(
            (*at, "minimum_retention_days"),
            "full backups are to be kept for a year at least",
            f"At least {YEAR_DAYS}, or state why not in short_retention_reason.",
        )


def _rotation(found: Found) -> Iterator[Finding]:
    at = ("rotation", "policies")
    names = found.settings.rotation.policies
    if found.is_bad(*at):
        return
    yield from _each_once(at, names)
    for index, name in enumerate(names):
        yield from found.reference((*at, index), name, "policies")
        policy = found.settings.policies.get(name)
        if policy is not None and not policy.sealed:
            yield Finding((*at, index), f"policy '{name}' seals nothing", "Name policies that seal.")


def _drill(found: Found) -> Iterator[Finding]:
    drill = found.settings.drill
    if drill.schedule and not drill.policy and not found.is_bad("drill", "policy"):
        yield Finding(
            ("drill", "policy"), "missing, so the schedule has nothing to restore", "Name a full policy."
        )
    if drill.policy:
        yield from found.reference(("drill", "policy"), drill.policy, "policies")
    if drill.target:
        yield from found.reference(("drill", "target"), drill.target, "targets")
    yield from _drilled(found, found.settings.policies.get(drill.policy or ""))


def _drilled(found: Found, policy: PolicySettings | None) -> Iterator[Finding]:
    if policy is None:
        return
    drill = found.settings.drill
    if policy.kind != "full":
        yield Finding(("drill", "policy"), f"'{drill.policy}' backs up no values", "Name a full policy.")
    if drill.target in found.names("targets") and drill.target not in policy.targets:
        yield Finding(
            ("drill", "target"),
            f"policy '{drill.policy}' does not store on '{drill.target}'",
            f"One of: {', '.join(policy.targets)}.",
        )
