"""The one question that every action asks before it begins, and what people do about it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys import Recipient
from strongroom.model import ApprovalAction, prepare
from strongroom.operations.engine import approvals
from strongroom.operations.engine.approvals import (
    LONGEST,
    ApprovalCase,
    ApprovalCases,
    ApprovalDocument,
    ApprovalRequest,
    ApprovalState,
    command_request,
    judge,
    new_document,
    put_accepted,
    rules_for,
)
from strongroom.operations.engine.services import ApprovalRule, ConfiguredPolicy, KeepRules, Services
from strongroom.operations.engine.stage import USED, Stage, shared_stage
from strongroom.operations.errors import ApprovalNeeded, NotApproved
from strongroom.state.records import RecipientPin
from strongroom.system.files import write_whole
from strongroom.times import compact, for_people

# -- Each approval is used once: by one run, or by one command ----------------------------------
#
# Several records hold it. A lease in the state database keeps another host from using it as well. A file of
# this host's own, and where there are several hosts a mark on their stage, keep whoever edits the database
# from having it used again, on whatever host.


SPENT = "spent"


def is_ours(services: Services, document: ApprovalDocument, holder: str) -> bool:
    """Tell whether it was used for this run before, here or on another host."""
    known = _read(_file(services, document))
    marks = _UseMarks.of(services, document)
    return holder == (known or (marks.holder() if marks else "")) and not (marks and marks.spent())


def take(services: Services, document: ApprovalDocument, holder: str) -> bool:
    """Take an approval for a run or a command; return whether it has it now, or had it before."""
    file, marks = _file(services, document), _UseMarks.of(services, document)
    if (known := _read(file)) not in ("", holder):
        return False
    if marks is not None and not marks.take(holder):  # first: where it does not answer, nothing is used up
        return False
    if services.store.take_lease(_lease(document), holder, seconds=LONGEST + 86_400.0) != holder:
        return False
    if not known:
        _write(file, holder)
    return True


def spend(services: Services, document: ApprovalDocument) -> None:
    """Let nobody use it any more, not even who had it: what was approved is over."""
    _write(_file(services, document), SPENT)
    if (marks := _UseMarks.of(services, document)) is not None:
        with suppress(StrongroomError):  # the run ends all the same, and no other has it
            marks.spend()


class _UseMarks:
    """What the stage that all hosts reach says of the use of an approval: it is put there once, by one."""

    def __init__(self, stage: Stage, document: ApprovalDocument) -> None:
        self._stage = stage
        self._folder = f"{USED}{compact(document.ends)}-{document.id}/"
        self._context = b"strongroom/v1/approval-used/" + document.id.encode()

    @classmethod
    def of(cls, services: Services, document: ApprovalDocument) -> _UseMarks | None:
        """Return them; ``None`` on a single host."""
        stage = shared_stage(services)
        return None if stage is None else cls(stage, document)

    def holder(self) -> str:
        """Return who has it; empty if nobody has."""
        content = self._stage.open_as(f"{self._folder}by", context=self._context)
        return "" if content is None else content.decode()

    def spent(self) -> bool:
        return self._stage.place.stat(f"{self._folder}{SPENT}") is not None

    def take(self, holder: str) -> bool:
        """Be the one who has it, if nobody else was; return whether that is so."""
        self._stage.seal_as(f"{self._folder}by", holder.encode(), context=self._context)
        return self.holder() == holder and not self.spent()

    def spend(self) -> None:
        self._stage.seal_as(f"{self._folder}{SPENT}", b"", context=self._context)


def _file(services: Services, document: ApprovalDocument) -> Path:
    return services.state_dir / "approvals" / document.id


def _lease(document: ApprovalDocument) -> str:
    return f"approval {document.id}"


def _write(file: Path, user: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(file, user.encode(), replace=True)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


# -- The one question that every action asks before it begins: may it go on? --------------------


SKEW = 300.0
"""Seconds by which the clock of the host that asked may have been ahead."""


def require_approval(
    services: Services, request: ApprovalRequest, *, holder: str = "", again: bool = False
) -> None:
    """Return if no rule of this process's configuration asks for approvals, or if enough are there.

    Whoever executes asks it, with a request made anew of what it is about to do. Rows say nothing: a request
    on record counts if it is that very one, and a signature if it fits and its key is allowed here.

    Args:
        holder: the run or plan that uses an approval for all its steps. A command has none, and uses one up.
        again: whether to ask again for what was not approved in time.

    Raises:
        ApprovalNeeded: not enough people approved yet; it says who may, and what they type.
        NotApproved: somebody rejected it, or the run or plan was not approved in time.
        ConfigError: the allowed signers cannot be read.
    """
    rules = rules_for(services.approvals, request)
    if rules:
        _Question(services, request, rules, holder).ask(again=again or not holder)


def end_approval(services: Services, subject: str) -> None:
    """Let nobody use again what a run or plan was approved for: it is over."""
    if not services.approvals.rules:
        return
    for case in approvals.read_cases(services.store).about(subject):
        if case.used and not case.spent:
            spend(services, case.document)
            approvals.put_spent(services.store, case.document)


class _Question:
    """One request, by the rules that ask for it, and what is on record of it."""

    def __init__(
        self, services: Services, request: ApprovalRequest, rules: Sequence[ApprovalRule], holder: str
    ) -> None:
        self._services, self._request, self._rules = services, request, rules
        self._holder = holder or f"{services.owner} {os.urandom(8).hex()}"
        self._lasting = bool(holder)
        self._now = time.time()
        self._used_up: set[str] = set()
        self._cases: ApprovalCases = approvals.read_cases(services.store)

    def ask(self, *, again: bool) -> None:
        """Return if it may go on."""
        fitting = list(self._fitting())
        for case in reversed(fitting):
            if self._grants(case):
                return
        open_ones = [case for case in fitting if self._is_open(case)]
        if not open_ones and fitting and not again:
            why = "its approval was used before" if self._used_up else "it was not approved in time"
            raise NotApproved(f"{self._what()} is not done: {why}.")
        document = open_ones[-1].document if open_ones else self._put_on_record()
        standing = judge(
            open_ones[-1] if open_ones else ApprovalCase(document=document, at=self._now),
            self._rules,
            self._services.approvals,
            now=self._now,
        )
        raise self._needed(document, standing)

    def _fitting(self) -> Iterator[ApprovalCase]:
        """Yield the requests on record that are the very one; what was signed for another is refused."""
        installation = self._services.installation()
        for case in self._cases.about(self._request.subject):
            why = _difference(case.document, self._request, installation)
            if not why:
                yield case
            elif case.signatures:
                self._refuse(case, "document", why, stale=True)

    def _grants(self, case: ApprovalCase) -> bool:
        """Tell whether a request is approved, and may be used now."""
        if case.rejected and self._is_open(case):
            raise NotApproved(f"{self._what()} is not done. {case.rejected}.")
        ours = self._lasting and is_ours(self._services, case.document, self._holder)
        if not ours and not self._is_in_time(case):
            return False
        standing = judge(case, self._rules, self._services.approvals, now=self._now)
        for refusal in standing.refused:
            self._refuse(case, refusal.what, refusal.why)
        return standing.enough and self._take(case, standing)

    def _is_in_time(self, case: ApprovalCase) -> bool:
        ends = case.document.ends
        if ends > self._now + self._services.approvals.valid + SKEW:
            self._refuse(case, "document", f"It would hold until {case.document.expires}, which is too long.")
            return False
        if case.signatures and not case.used and ends <= self._now:
            self._refuse(case, "expiry", f"It expired at {case.document.expires}.", stale=True)
        return ends > self._now

    def _take(self, case: ApprovalCase, standing: ApprovalState) -> bool:
        if not take(self._services, case.document, self._holder):
            self._used_up.add(case.document.id)
            if not case.used:  # otherwise somebody repeats what is done, and asks for it again
                self._refuse(case, "use", "It was used before, and the record of that is gone.")
            return False
        if not case.used:
            approvals.put_used(
                self._services.store, case.document, by=standing.by, break_glass=bool(standing.lacks)
            )
        return True

    def _is_open(self, case: ApprovalCase) -> bool:
        latest = self._now + self._services.approvals.valid + SKEW
        over = case.used or case.document.id in self._used_up
        return not over and self._now < case.document.ends <= latest

    def _put_on_record(self) -> ApprovalDocument:
        document = new_document(
            self._request,
            installation=self._services.installation(),
            now=self._now,
            valid=self._services.approvals.valid,
        )
        approvals.put_request(self._services.store, document)
        return document

    def _refuse(self, case: ApprovalCase, what: str, why: str, *, stale: bool = False) -> None:
        """Put on record, once, what does not count."""
        if (case.document.id, what) not in self._cases.refused:
            approvals.put_refused(self._services.store, case.document, what=what, why=why, stale=stale)

    def _needed(self, document: ApprovalDocument, standing: ApprovalState) -> ApprovalNeeded:
        until = for_people(document.ends)
        return ApprovalNeeded(
            f"{self._what()} has to be approved first, by {'; and by '.join(standing.lacks)}.",
            expires=document.ends,
            hint=f"'strongroom approvals approve {self._request.subject}', typed by each of them until "
            f"{until}. A run that waits for it goes on by itself then, if a cluster runs; retry one that "
            "failed, and repeat any other command.",
        )

    def _what(self) -> str:
        return f"'{self._request.subject}'"


def _difference(document: ApprovalDocument, request: ApprovalRequest, installation: str) -> str:
    """Say in what a request on record is another one; nothing if it is the very one."""
    if document.installation != installation:
        return "It is about another installation."
    asked = document.request
    if asked == request:
        return ""
    if asked.destination != request.destination:
        return f"It is about destination '{asked.destination}', not '{request.destination}'."
    if asked.requester != request.requester:
        return f"{asked.requester} asked for it, not {request.requester}."
    if asked.action is not request.action:
        return f"It is about '{asked.action.value}', not '{request.action.value}'."
    return "It is about another plan than the one that is to be done now."


# -- Changed settings that people have to approve: a new reader of backups, and keeping them for a shorter
# time
#
# Each host remembers in its state directory what was in force. What is more than that waits until it is
# approved: nothing is sealed for a new reader, and nothing is deleted that the former settings keep. The
# first time that a rule asks, what is configured then is what was in force.


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
    known = _read_known(file, set[str])
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
    known = _read_known(file, set[str])
    if known is None:
        known = set(configured)
        _accept(services, file, known, what="recipients of the index")
    of_backups = _read_known(_folder(services) / "recipients", set[str]) or set()
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
    known = _read_known(file, dict[str, RetentionTerms])
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


def _read_known(file: Path, kind: type[T]) -> T | None:
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
