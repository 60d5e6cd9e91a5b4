"""Changed settings that people have to approve: a new reader of backups, and keeping them for a shorter time.

Each host remembers in its state directory what was in force. What is more than that waits until it is
approved: nothing is sealed for a new reader, and nothing is deleted that the former settings keep. The first
time that a rule asks, what is configured then is what was in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys import Recipient
from strongroom.model import ApprovalAction, prepare
from strongroom.operations.approval.record import put_accepted
from strongroom.operations.approval.request import command_request
from strongroom.operations.approval.require import require_approval
from strongroom.operations.errors import ApprovalNeeded, NotApproved
from strongroom.operations.keep_rules import ConfiguredPolicy, KeepRules
from strongroom.operations.services import Services
from strongroom.state.records import RecipientPin
from strongroom.system.atomic_file import write_whole

CONFIGURATION: Final = "(the configuration)"
"""Who asks for what somebody wrote into the configuration: it does not say who."""

T = TypeVar("T")


class RetentionTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """For how long a policy's backups were kept. More of any is longer; ``everything`` is longest."""

    everything: bool = False
    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    minimum_days: int = 0
    minimum_count: int = 0
    grace_days: float = 0
    legal_hold: str = ""

    @classmethod
    def of(cls, policy: ConfiguredPolicy) -> RetentionTerms:
        counts = {name: getattr(policy.keep, name) for name in _COUNTS}
        return cls(
            everything=policy.keep.keep_everything,
            grace_days=policy.grace_days,
            legal_hold=policy.legal_hold,
            **counts,
        )

    def lacks(self, former: RetentionTerms) -> tuple[str, ...]:
        """Return what is shorter than it was, in words."""
        names = [] if self.everything else [*_COUNTS, "grace_days"]
        found = [
            f"{name.replace('_', ' ')} {getattr(self, name):g}, was {getattr(former, name):g}"
            for name in names
            if getattr(self, name) < getattr(former, name)
        ]
        if former.everything and not self.everything:
            rules = [f"{name} {getattr(self, name)}" for name in _RULES if getattr(self, name)]
            found.append(f"keep {', '.join(rules)}, was everything")
        found += ["no legal hold any more"] * bool(former.legal_hold and not self.legal_hold)
        return tuple(found)


prepare(RetentionTerms)
_RULES: Final = ("last", "daily", "weekly", "monthly", "yearly")
_COUNTS: Final = (*_RULES, "minimum_days", "minimum_count")


def require_known_recipients(services: Services, policy: str, pins: Sequence[RecipientPin]) -> None:
    """Return if backups of a policy may be sealed for these.

    Raises:
        ApprovalNeeded, NotApproved: a rule asks for new recipients, and not enough people approved this one.
        ConfigError: what was in force cannot be read.
    """
    if not _asks(services, ApprovalAction.RECIPIENTS, policy):
        return
    file = _folder(services) / "recipients"
    known = _read(file, set[str])
    if known is None:
        known = {pin.fingerprint for name in services.retention() for pin in _pins(services, name)}
        _accept(services, file, known, what="recipients")
    if new := [pin for pin in pins if pin.fingerprint not in known]:
        _require(
            services,
            ApprovalAction.RECIPIENTS,
            {"recipients": sorted(pin.fingerprint for pin in new)},
            policy=policy,
            lines=tuple(f"seal backups for {pin.describes} ({pin.fingerprint})" for pin in new),
        )
        _accept(services, file, known | {pin.fingerprint for pin in new}, what="recipients")


def require_known_index_recipients(services: Services, policy: str, recipients: Sequence[Recipient]) -> None:
    """Return if a policy's index of names may be sealed for these: whom backups are sealed for, as
    :func:`require_known_recipients` knows them on this host, and whom people approved.

    Raises:
        ApprovalNeeded, NotApproved: a rule asks for new recipients, and not enough people approved this one.
        ConfigError: what was in force cannot be read.
    """
    if not _asks(services, ApprovalAction.RECIPIENTS, policy):
        return
    file = _folder(services) / "index-recipients"
    configured = {recipient.fingerprint: recipient.describe() for recipient in recipients}
    known = _read(file, set[str])
    if known is None:
        known = set(configured)
        _accept(services, file, known, what="recipients of the index")
    of_backups = _read(_folder(services) / "recipients", set[str]) or set()
    if new := sorted(configured.keys() - known - of_backups):
        _require(
            services,
            ApprovalAction.RECIPIENTS,
            {"index_recipients": new},
            policy=policy,
            lines=tuple(f"seal the index of names for {configured[label]} ({label})" for label in new),
        )
        _accept(services, file, known.union(new), what="recipients of the index")


def _pins(services: Services, policy: str) -> Sequence[RecipientPin]:
    with suppress(StrongroomError):  # a key that is away is asked for once it is back
        return services.pinned(policy).spec.recipients
    return ()


def approved_retention(services: Services) -> Mapping[str, ConfiguredPolicy]:
    """Return for how long each policy's backups are kept: as was in force, until people approve less."""
    configured = services.retention()
    if not any(_asks(services, ApprovalAction.RETENTION, name) for name in configured):
        return configured
    file = _folder(services) / "retention"
    known = _read(file, dict[str, RetentionTerms])
    if known is None:
        known = {name: RetentionTerms.of(policy) for name, policy in configured.items()}
        _accept(services, file, known, what="retention")
    in_force = {name: _in_force(services, name, policy, known) for name, policy in configured.items()}
    now = known | {name: RetentionTerms.of(policy) for name, policy in in_force.items()}
    if now != known:
        _accept(services, file, now, what="retention")
    return in_force


def _in_force(
    services: Services, name: str, policy: ConfiguredPolicy, known: Mapping[str, RetentionTerms]
) -> ConfiguredPolicy:
    wanted, former = RetentionTerms.of(policy), known.get(name)
    shorter = wanted.lacks(former) if former else ()
    if former is None or not shorter or not _asks(services, ApprovalAction.RETENTION, name):
        return policy
    with suppress(ApprovalNeeded, NotApproved):
        what = {"retention": msgspec.to_builtins(wanted)}
        _require(services, ApprovalAction.RETENTION, what, policy=name, lines=shorter)
        return policy
    return _longer(policy, wanted, former)


def _longer(policy: ConfiguredPolicy, wanted: RetentionTerms, former: RetentionTerms) -> ConfiguredPolicy:
    """Return a policy that keeps all that either of two keeps."""
    counts = {name: max(getattr(wanted, name), getattr(former, name)) for name in _COUNTS}
    if former.everything:
        counts |= dict.fromkeys(_RULES, 0)
    return replace(
        policy,
        keep=KeepRules(**counts, zone=policy.keep.zone),
        grace_days=max(policy.grace_days, former.grace_days),
        legal_hold=policy.legal_hold or former.legal_hold,
    )


def _asks(services: Services, action: ApprovalAction, policy: str) -> bool:
    rules = (rule for rule in services.approvals.rules if action in rule.actions)
    return any(not rule.policies or policy in rule.policies for rule in rules)


def _require(
    services: Services, action: ApprovalAction, what: object, *, policy: str, lines: tuple[str, ...]
) -> None:
    request = command_request(action, what, requester=CONFIGURATION, policy=policy, lines=lines)
    # Every host takes it over once: the same request, and the same user of it.
    require_approval(services, request, holder=request.subject, again=True)


def _accept(services: Services, file: Path, known: object, *, what: str) -> None:
    """Remember what is in force."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = msgspec.json.encode(known, order="deterministic")
    write_whole(file, content + b"\n", replace=True)
    put_accepted(services.store, services.owner.partition(":")[0], what=what)


def _read(file: Path, kind: type[T]) -> T | None:
    """Return what was in force; ``None`` if nothing is remembered yet."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise ConfigError(
            f"'{file}', which says what settings were approved, cannot be read: {why}.",
            hint="Bring it back. If what is configured now is right, move the file away: that is taken then.",
        ) from None


def _folder(services: Services) -> Path:
    return services.state_dir / "approvals" / "settings"
