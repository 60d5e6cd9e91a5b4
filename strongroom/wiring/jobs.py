"""What a run is asked for and held to, by this process's own configuration: policies, restores, drills,
rotators, approvals."""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Final, NoReturn

from msgspec import structs
from msgspec.structs import replace

from strongroom.config import (
    AwsRotator,
    CommandRotator,
    PolicySettings,
    RandomRotator,
    Settings,
    VaultEngineRotator,
    VaultSourceSettings,
)
from strongroom.config.approvals import BreakGlassSettings
from strongroom.config.failure_domains import home_of, is_lost_with
from strongroom.config.registry import guarded, guarded_call, is_plugin, maker, require_made
from strongroom.config.rotators import RotatorKind, UnusableRotator
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import Recipient
from strongroom.keys.sshsig import read_allowed_signers
from strongroom.model import ApprovalAction, Selection
from strongroom.operations.drills.facts import LOCAL, DrillOptions
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.engine.services import (
    ApprovalRule,
    ApprovalRules,
    ConfiguredPolicy,
    Engine,
    KeepRules,
    Pinned,
    Program,
    RotatorWork,
    SecretRotator,
    Shape,
    no_signers,
)
from strongroom.operations.engine.stage import pin_stage
from strongroom.operations.errors import SecretNotRotated
from strongroom.operations.restore.plan import parse_relocation
from strongroom.operations.restore.scratch import DrillScope
from strongroom.operations.restore.staged import RestoreOptions, scope_of
from strongroom.schedule import zone
from strongroom.state.records import RunKind, Spec, TargetPin
from strongroom.system.errors import PluginBroken
from strongroom.system.lazy import lazy
from strongroom.targets import Target
from strongroom.wiring import keys
from strongroom.wiring.adapters import check_scratch
from strongroom.wiring.keys import Ask
from strongroom.words import nearest

# -- Policies as this process's own configuration has them: what a run must agree with ----------


def pinned(
    settings: Settings,
    targets: Mapping[str, Target],
    stages: Mapping[str, Target],
    *,
    seals: bool,
    ask: Ask | None,
) -> Callable[[str], Pinned]:
    """Return what looks a policy up.

    Args:
        seals: whether this process needs the recipients themselves, too.
    """

    @cache
    def look_up(name: str) -> Pinned:
        if name not in settings.policies:
            raise ConfigError(f"there is no policy '{name}'", hint=nearest(name, settings.policies))
        policy = settings.policies[name]
        named = policy.recipients if policy.sealed else ()
        recipients = tuple(keys.recipient(key, settings, ask) for key in named) if seals else ()
        pins = tuple(keys.pin(key, settings, ask) for key in named)
        return Pinned(
            spec=replace(
                _spec(name, policy, settings, targets),
                recipients=pins,
                stage=pin_stage(stage, stages[stage]) if (stage := settings.stage_of(name)) else None,
            ),
            recipients=recipients,
            index_recipients=_index_recipients(recipients, settings, ask),
        )

    return look_up


def _index_recipients(
    recipients: tuple[Recipient, ...], settings: Settings, ask: Ask | None
) -> tuple[Recipient, ...]:
    """Return for whom a policy's index of names is sealed. What is not sealed needs none to be read."""
    if not recipients or not settings.index.enabled:
        return ()
    return tuple(keys.recipient(key, settings, ask) for key in settings.index.recipients) or recipients


def configured(settings: Settings, targets: Mapping[str, Target]) -> dict[str, ConfiguredPolicy]:
    """Return each policy as it is configured, but for its recipients and its stage. No key service is
    asked."""
    return {
        name: ConfiguredPolicy(
            spec=_spec(name, policy, settings, targets),
            schedule=policy.schedule,
            time_zone=settings.calendar.zone_of(policy.time_zone),
            offline=policy.offline,
            keep=_keep_rules(policy, settings),
            legal_hold=policy.legal_hold or "",
            grace_days=settings.prune.grace_days,
        )
        for name, policy in settings.policies.items()
    }


def _keep_rules(policy: PolicySettings, settings: Settings) -> KeepRules:
    return KeepRules(
        **(structs.asdict(policy.keep) if policy.keep else {}),
        minimum_days=policy.minimum_retention_days,
        minimum_count=policy.minimum_retention_count,
        zone=zone(settings.calendar.zone_of(policy.time_zone)),
    )


def _spec(name: str, policy: PolicySettings, settings: Settings, targets: Mapping[str, Target]) -> Spec:
    return Spec(
        kind=RunKind.BACKUP,
        policy=name,
        source=policy.source,
        values=policy.kind == "full",
        sealed=policy.sealed,
        selection=policy.selection,
        targets=tuple(_target(target, policy, settings, targets) for target in policy.targets),
        quorum=policy.quorum,
        regions=policy.regions,
        providers=policy.providers,
        minimum_retention_days=policy.minimum_retention_days,
        depth=policy.verify,
        container_bytes=settings.limits.container_bytes,
    )


def _target(
    name: str, policy: PolicySettings, settings: Settings, targets: Mapping[str, Target]
) -> TargetPin:
    counts = not is_lost_with(settings, name, home_of(settings, policy.source))
    return pin_target(name, targets[name], counts=counts)


# -- What a restore run is asked for, filled in from the settings where nothing was said --------


def restore_options(
    settings: Settings,
    *,
    to: str,
    names: Sequence[str] = (),
    selection: Selection = Selection(),
    overwrite: bool = False,
    relocate: str = "",
    requester: str = "",
) -> RestoreOptions:
    """Return the options of a restore run.

    Raises:
        ConfigError: there is no such destination.
        UsageError: ``relocate`` is no ``FROM=TO``.
    """
    if to not in settings.sources:
        raise ConfigError(f"there is no source '{to}' to restore into", hint=nearest(to, settings.sources))
    options = RestoreOptions(
        destination=to,
        names=tuple(names),
        overwrite=overwrite,
        requester=requester,
        relocation=parse_relocation(relocate),
        first=settings.restore.first,
    )
    scope = scope_of(options, selection)
    objective: int = getattr(settings.drill.objective_seconds, scope.value)
    return replace(options, objective_seconds=objective)


# -- What a drill is asked for, filled in from the settings where nothing was said --------------


def drill_options(
    settings: Settings,
    drill: str = DrillScope.FULL.value,
    *,
    secret: str = "",
    tags: Mapping[str, str] | None = None,
    target: str = "",
    into: str = "",
    within_days: float = 0.0,
    objective_seconds: float | None = None,
) -> DrillOptions:
    """Return the options of a drill.

    Raises:
        ConfigError: no drill may restore into what is named.
        UsageError: there is no such drill.
    """
    if drill not in {scope.value for scope in DrillScope}:
        known = ", ".join(scope.value for scope in DrillScope)
        raise UsageError(f"There is no drill '{drill}'.", hint=f"One of: {known}.")
    kind, into = DrillScope(drill), into or settings.drill.into
    if into != LOCAL:
        check_scratch(into, settings)
    objective: int = getattr(settings.drill.objective_seconds, kind.value)
    return DrillOptions(
        drill=kind,
        secret=secret,
        tags=dict(tags or {}),
        target=target or (settings.drill.cut_off or "" if kind is DrillScope.FAILOVER else ""),
        into=into,
        within_days=within_days,
        objective_seconds=objective if objective_seconds is None else objective_seconds,
    )


def drilled_policy(settings: Settings, drill: str) -> str:
    """Return the policy that a drill rehearses where none is named: of an emergency the offline one.

    Raises:
        ConfigError: there is none.
    """
    if drill != DrillScope.EMERGENCY:
        name = settings.drilled
    else:
        policies = settings.policies.items()
        name = next((name for name, policy in policies if policy.offline and policy.kind == "full"), "")
    if not name and drill == DrillScope.EMERGENCY:
        raise ConfigError(
            "No full policy is offline, so there is no medium to recover from.",
            hint="See docs/how-to/make-an-emergency-backup.md, or name a policy with --policy.",
        )
    if not name:
        raise ConfigError("No policy backs up values, so there is nothing to recover.", hint="Add one.")
    return name


# -- The rotators as this process's own configuration has them ----------------------------------


CLASSES: Final = {
    "alphanumeric": (string.ascii_lowercase, string.ascii_uppercase, string.digits),
    "letters": (string.ascii_lowercase, string.ascii_uppercase),
    "digits": (string.digits,),
    "hex": ("0123456789abcdef",),
}
_ENGINE = lazy("strongroom.wiring.vault_adapters:secrets_engine")


def rotators(settings: Settings) -> tuple[SecretRotator, ...]:
    """Return every rotator, in the order of the configuration."""
    return tuple(_rotator(name, rotator, settings) for name, rotator in settings.rotators.items())


def _rotator(name: str, rotator: RotatorKind, settings: Settings) -> SecretRotator:
    try:
        work: RotatorWork = maker(rotator, rotator.MADE_BY)(name, rotator, settings)
        require_made(work, RotatorWork, rotator)
        work = _guarded_work(work, rotator)
    except PluginBroken as broken:
        work = _broken_work(broken.message, broken.hint)
    selection = Selection(include=rotator.include, exclude=rotator.exclude, tags=rotator.tags)
    check = Program(command=rotator.check, timeout=rotator.timeout) if rotator.check else None
    return SecretRotator(
        name=name,
        work=work,
        source=rotator.source or "",
        destination=rotator.destination or "",
        selection=selection,
        field=rotator.field,
        check=check,
        timeout=rotator.timeout,
        to_do=rotator.to_do,
    )


def _guarded_work(work: RotatorWork, rotator: RotatorKind) -> RotatorWork:
    """Return what a plug-in does to a secret, with all that fails in it told as its own."""
    if not is_plugin(rotator):
        return work
    begin, carry = work.engine, work.carry

    def engine(name: str) -> Engine:
        assert begin is not None
        made = guarded_call(begin, rotator, "engine", SecretNotRotated)(name)
        require_made(made, ("rotate", "read"), rotator)
        return guarded(made, rotator, Engine, SecretNotRotated)

    return replace(
        work,
        engine=engine if begin else None,
        carry=guarded_call(carry, rotator, "carry", PluginBroken) if carry else None,
    )


def writers(settings: Settings) -> Mapping[str, str]:
    """Return which source writes the secrets of another one: it reaches the same server, to restore into it.

    Backups are made with a login that may only read. Where several could write, the rotator has to say which.
    """
    places: dict[tuple[str, str], list[str]] = {}
    for name, source in settings.sources.items():
        if isinstance(source, VaultSourceSettings) and source.destination:
            places.setdefault(_server(source, settings), []).append(name)
    found = {
        name: places.get(_server(source, settings), [])
        for name, source in settings.sources.items()
        if isinstance(source, VaultSourceSettings) and not source.destination
    }
    return {name: names[0] for name, names in found.items() if len(names) == 1}


def _server(source: VaultSourceSettings, settings: Settings) -> tuple[str, str]:
    server = settings.vaults[source.vault]
    return server.address.rstrip("/"), server.namespace.strip("/")


def random_work(name: str, rotator: RandomRotator, settings: Settings) -> RotatorWork:
    """Return what writes a random value."""
    return RotatorWork(does="writes a random value", shape=_shape(rotator))


def command_work(name: str, rotator: CommandRotator, settings: Settings) -> RotatorWork:
    """Return what writes a random value and gives it to a program."""
    program = Program(command=rotator.command, timeout=rotator.timeout)
    does = f"writes a random value and runs '{rotator.command[0]}'"
    return RotatorWork(does=does, shape=_shape(rotator), program=program)


def engine_work(name: str, rotator: VaultEngineRotator, settings: Settings) -> RotatorWork:
    """Return what has a secrets engine of a Vault make a value."""
    does = "has the Vault's secrets engine make a new value"
    return RotatorWork(does=does, engine=_engine(rotator, settings))


def aws_work(name: str, rotator: AwsRotator, settings: Settings) -> RotatorWork:
    """Return what has the source itself rotate a secret."""
    return RotatorWork(does="has AWS run the secret's rotation function")


def broken_work(name: str, rotator: UnusableRotator, settings: Settings) -> RotatorWork:
    """Return what stands in for a rotator whose plug-in cannot be used."""
    return _broken_work(rotator.problem, rotator.mend)


def _broken_work(problem: str, to_do: str) -> RotatorWork:
    def refuse(secret: str) -> NoReturn:
        raise PluginBroken(problem, hint=to_do)

    return RotatorWork(does="cannot be used: its plug-in is broken", engine=refuse)


def _shape(rotator: RandomRotator | CommandRotator) -> Shape:
    symbols = (rotator.symbols,) if rotator.symbols else ()
    return Shape(length=rotator.length, classes=(*CLASSES[rotator.alphabet], *symbols))


def _engine(rotator: VaultEngineRotator, settings: Settings) -> Callable[[str], Engine]:
    def of_secret(name: str) -> Engine:
        made: Engine = _ENGINE(rotator, settings, last=name.rpartition("/")[2])
        return made

    return of_secret


# -- What has to be approved, as this process's own configuration has it ------------------------


def approval_rules(settings: Settings) -> ApprovalRules:
    """Return the rules for approvals, and whose signatures count."""
    approvals = settings.approvals
    return ApprovalRules(
        rules=tuple(
            ApprovalRule(name=name, **structs.asdict(rule)) for name, rule in approvals.rules.items()
        ),
        break_glass=None if approvals.break_glass is None else _break_glass(approvals.break_glass),
        valid=approvals.valid,
        signers=partial(read_allowed_signers, approvals.allowed_signers)
        if approvals.allowed_signers
        else no_signers,
    )


def keyless(settings: Settings) -> Iterator[str]:
    """Yield what keeps rules from ever being met on this host: people who have no key among the allowed
    signers, or no such file."""
    rules = approval_rules(settings)
    asking = [*rules.rules, *([rules.break_glass] if rules.break_glass else [])]
    try:
        names = {name for signer in rules.signers() for name in signer.names} if asking else set()
    except ConfigError as error:
        yield f"{error.message} {error.hint}"
        return
    for rule in asking:
        for person in rule.people:
            if person not in names:
                yield f"'{person}' of rule '{rule.name}' has no key in {settings.approvals.allowed_signers}."


def absent_programs(settings: Settings) -> Iterator[str]:
    """Yield the hooks whose program is none on this host. They are called on hosts with control workers."""
    for key, hook in settings.calls.items():
        if hook.command and not os.access(hook.command[0], os.X_OK):
            where, program = ".".join(map(str, key)), hook.command[0]
            yield (
                f"{where}: {program} is no program on this host. Where it is to be called, that fails, and a "
                "run is not begun whose hook 'before' failed."
            )


def _break_glass(rule: BreakGlassSettings) -> ApprovalRule:
    return ApprovalRule(name="break-glass", actions=tuple(ApprovalAction), k=rule.k, people=rule.people)
