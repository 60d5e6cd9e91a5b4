"""Approvals: what k named people have to agree to, the bytes that they sign, and whether it is enough."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import Struct, field

from strongroom.container import canonical
from strongroom.container.errors import Malformed
from strongroom.keys.errors import SignatureRefused
from strongroom.keys.sshsig import AllowedSigner, check_signature, parse_signature, ssh_fingerprint
from strongroom.model import ApprovalAction, prepare
from strongroom.operations.engine.muted import Muted, read_muted
from strongroom.operations.engine.services import ApprovalRule, ApprovalRules
from strongroom.state.records import Event
from strongroom.times import as_written, rfc3339
from strongroom.words import spelled_out

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


# -- What is asked of the people who approve: exactly what will be done, in the bytes that they sign


UNKNOWN: Final = "somebody (the host that asked did not say who)"
NAMESPACE: Final = "strongroom-approval"
BREAK_GLASS: Final = "strongroom-break-glass"
"""The namespaces of the two kinds of signatures: neither counts as the other."""
MAX_TEXT: Final = 1_000
MAX_DOCUMENT: Final = 32 * 1024
MOST_LINES, LONGEST_LINE = 40, 300
"""How much of what a command will do is shown: a request is small."""


class ApprovalRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be done, exactly. People sign all of it, so whoever executes makes it anew from what it is
    about to do, and gets the same bytes: nothing of it may depend on the time or on the host.

    Args:
        subject: the run's id, or what :func:`command_request` makes of a command.
        digest: SHA-256, in hex, of what is to be done (for a restore: of its plan).
        destination: the name of the place that is written to.
        requester: who asked, as user@host; they cannot approve it.
        size: how many secrets it is about; ``None`` if that is not what it is about.
        lines: what a person reads before they sign. No names of secrets: they lie in the state database.
    """

    action: ApprovalAction
    subject: str
    digest: str
    requester: str
    destination: str = ""
    policy: str = ""
    size: int | None = None
    lines: tuple[str, ...] = ()


class ApprovalDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people sign: a request, by which installation, until when, and a number that is used once."""

    version: Literal[1] = 1
    kind: Literal["strongroom-approval"] = "strongroom-approval"
    installation: str
    request: ApprovalRequest
    asked_at: str
    expires: str
    nonce: str

    @property
    def content(self) -> bytes:
        """The bytes that are signed: one line of JSON."""
        return canonical.encode(self) + b"\n"

    @property
    def id(self) -> str:
        """What names it on record, whatever a row says: its digest."""
        return hashlib.sha256(self.content).hexdigest()[:32]

    @property
    def ends(self) -> float:
        """When it ends, in seconds since the epoch."""
        moment = as_written(self.expires)
        return moment.timestamp() if moment else 0.0


prepare(ApprovalRequest, ApprovalDocument)


def command_request(
    action: ApprovalAction,
    what: object,
    *,
    requester: str,
    destination: str = "",
    policy: str = "",
    size: int | None = None,
    lines: tuple[str, ...] = (),
) -> ApprovalRequest:
    """Return the request of a command. Repeated by the same person, it is the same, and finds its approvals.

    Args:
        what: all that the command will do, as JSON can say it.
    """
    requester, lines = shown(requester), shown_lines(lines)
    asked = (action, requester, destination, policy, size, lines, what)
    digest = hashlib.sha256(canonical.encode(msgspec.to_builtins(asked))).hexdigest()
    return ApprovalRequest(
        action=action,
        subject=f"{action.value}-{digest[:12]}",
        digest=digest,
        requester=requester,
        destination=destination,
        policy=policy,
        size=size,
        lines=lines,
    )


def shown(text: str) -> str:
    """Return a text of others as a request may say it."""
    return spelled_out(text)[:LONGEST_LINE]


def shown_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return what a person reads of many lines. The digest is over all."""
    left = len(lines) - MOST_LINES
    more = (f"and {left:,} more",) if left > 0 else ()
    return (*map(shown, lines[:MOST_LINES]), *more)


def new_document(
    request: ApprovalRequest, *, installation: str, now: float, valid: float
) -> ApprovalDocument:
    """Return a document that asks for a request from now on."""
    return ApprovalDocument(
        installation=installation,
        request=request,
        asked_at=rfc3339(now),
        expires=rfc3339(now + valid),
        nonce=os.urandom(16).hex(),
    )


def parse_document(content: bytes) -> ApprovalDocument:
    """Return a document that a row or a file holds.

    Raises:
        Malformed: it is none, or says what no terminal should show.
    """
    if len(content) > MAX_DOCUMENT or not content.endswith(b"\n"):
        raise Malformed("This is no request for approval.")
    document = canonical.decode(content[:-1], ApprovalDocument, "The request for approval")
    request = document.request
    own = (document.installation, document.asked_at, document.expires, document.nonce)
    asked = (request.subject, request.digest, request.requester, request.destination, request.policy)
    texts = (*own, *asked, *request.lines)
    if not all(canonical.printable(text, MAX_TEXT) for text in texts) or not document.ends:
        raise Malformed("What the request for approval says is too long, or cannot be printed.")
    return document


def break_glass_message(document: ApprovalDocument, reason: str) -> bytes:
    """Return what is signed to do without approvals: the document, and why."""
    return document.content + reason.encode() + b"\n"


# -- What is on record of approvals: requests, signatures and what became of them, as events of the ledger
#
# Nothing here is believed. Whoever can write to the state database can write any of it: a request counts if
# it is the very one that a worker is about to do, and a signature if it fits the request.


REQUESTED: Final = "approval.requested"
SIGNED: Final = "approval.signed"
REJECTED: Final = "approval.rejected"
REFUSED: Final = "approval.refused"
USED: Final = "approval.used"
SPENT: Final = "approval.spent"
ACCEPTED: Final = "approval.accepted"

BROKEN: Final = "approval.break-glass"
"""The alert that somebody has to acknowledge once they looked into it."""
LONGEST: Final = 30 * 86_400.0
"""The longest that a request may hold, in seconds."""


class Signature(Struct, frozen=True, kw_only=True):
    """A signature as it is on record. ``reason`` is signed too, where it is one of break-glass."""

    armored: str
    at: float = 0.0
    break_glass: bool = False
    reason: str = ""


class ApprovalCase(Struct, frozen=True, kw_only=True):
    """A request on record, and what is on record about it."""

    document: ApprovalDocument
    at: float
    signatures: tuple[Signature, ...] = ()
    rejected: str = ""
    used: bool = False
    broken: bool = False
    """Whether it was used without the approvals, by break-glass."""
    spent: bool = False
    acknowledged: bool = False


class ApprovalCases(Struct, frozen=True, kw_only=True):
    """All requests on record, the oldest first, and what was refused so far: each is told once."""

    cases: tuple[ApprovalCase, ...]
    refused: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def about(self, subject: str) -> tuple[ApprovalCase, ...]:
        """Return the requests about a run or a command."""
        return tuple(case for case in self.cases if case.document.request.subject == subject)

    def find(self, name: str) -> ApprovalCase | None:
        """Return the newest request of a run or command, or the one of an id."""
        found = [case for case in self.cases if name in (case.document.request.subject, case.document.id)]
        return found[-1] if found else None


def read_cases(store: RunStore, *, since: float | None = None) -> ApprovalCases:
    """Return what is on record. Rows that say nothing readable are left out."""
    start = time.time() - LONGEST - 86_400.0 if since is None else since
    kinds = (REQUESTED, SIGNED, REJECTED, REFUSED, USED, SPENT)
    events = store.happened(*kinds, since=start)
    documents: dict[str, tuple[ApprovalDocument, float]] = {}
    for event in events:
        if event.kind == REQUESTED and (document := _document(event)) is not None:
            documents.setdefault(document.id, (document, event.at))
    about, muted = _by_document(events), read_muted(store, now=time.time(), since=start)
    cases = tuple(
        _case(document, at, about.get(name, ()), muted) for name, (document, at) in documents.items()
    )
    refused = {
        (_text(event.detail, "document"), _text(event.detail, "what"))
        for event in events
        if event.kind == REFUSED
    }
    return ApprovalCases(cases=cases, refused=frozenset(refused))


def _by_document(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        if event.kind != REQUESTED:
            found.setdefault(_text(event.detail, "document"), []).append(event)
    return found


def _case(document: ApprovalDocument, at: float, events: Iterable[Event], muted: Muted) -> ApprovalCase:
    told = list(events)
    by_kind = {event.kind: event for event in told}
    looked_into = muted.acknowledged.get(f"{BROKEN}:{document.request.subject}")
    rejected = by_kind.get(REJECTED)
    return ApprovalCase(
        document=document,
        at=at,
        signatures=tuple(_signature(event) for event in told if event.kind == SIGNED),
        rejected=_rejection(rejected) if rejected else "",
        used=USED in by_kind,
        broken=USED in by_kind and by_kind[USED].detail.get("break_glass") is True,
        spent=SPENT in by_kind,
        acknowledged=USED in by_kind and looked_into is not None and looked_into.at >= by_kind[USED].at,
    )


def _rejection(event: Event) -> str:
    return f"{_text(event.detail, 'by') or 'somebody'} rejected it: {_text(event.detail, 'reason')}"


def _signature(event: Event) -> Signature:
    return Signature(
        armored=_text(event.detail, "signature"),
        at=event.at,
        break_glass=event.detail.get("break_glass") is True,
        reason=_text(event.detail, "reason"),
    )


def _document(event: Event) -> ApprovalDocument | None:
    try:
        return parse_document(_text(event.detail, "request").encode())
    except (Malformed, UnicodeEncodeError):
        return None


def _text(detail: Mapping[str, Any], name: str) -> str:
    found = detail.get(name)
    return found if isinstance(found, str) else ""


def put_request(store: RunStore, document: ApprovalDocument) -> None:
    """Put a request on record."""
    _put(store, REQUESTED, document, request=document.content.decode())


def put_signature(store: RunStore, document: ApprovalDocument, signature: Signature, *, by: str) -> None:
    """Put a signature on record that was checked."""
    detail = {"signature": signature.armored, "break_glass": signature.break_glass}
    if signature.reason:
        detail["reason"] = signature.reason
    _put(store, SIGNED, document, by=by, **detail)


def put_refused(
    store: RunStore, document: ApprovalDocument, *, what: str, why: str, stale: bool = False
) -> None:
    """Put on record what did not count. ``what`` names it, so that it is told once. ``stale``: it was good
    for what was asked then, so that it is no attack."""
    _put(store, REFUSED, document, what=what, why=why, stale=stale)


def put_decision(store: RunStore, kind: str, document: ApprovalDocument, *, by: str, reason: str) -> None:
    """Put on record that somebody rejected a request."""
    _put(store, kind, document, by=by, reason=reason)


def put_used(store: RunStore, document: ApprovalDocument, *, by: Iterable[str], break_glass: bool) -> None:
    """Put on record that something is done on the word of these people."""
    request = document.request
    detail = {"action": request.action.value, "destination": request.destination, "size": request.size}
    _put(store, USED, document, by=list(by), break_glass=break_glass, **detail)


def put_spent(store: RunStore, document: ApprovalDocument) -> None:
    """Put on record that what was approved is over."""
    _put(store, SPENT, document)


def put_accepted(store: RunStore, host: str, *, what: str) -> None:
    """Put on record that a host remembers other settings as those in force."""
    store.event(ACCEPTED, None, host=host, what=what)


def _put(store: RunStore, kind: str, document: ApprovalDocument, **detail: Any) -> None:
    request = document.request
    said = {"subject": request.subject, "document": document.id, **detail}
    store.event(kind, None, **said)


# -- Which signatures count for a request, and whether they are enough. Pure: it asks nobody ----


class Counted(Struct, frozen=True, kw_only=True):
    """A signature that fits the request, by somebody who may approve."""

    names: tuple[str, ...]
    break_glass: bool = False


class Refusal(Struct, frozen=True, kw_only=True):
    """Something that does not count: what it is, in a digest, and why."""

    what: str
    why: str


class ApprovalState(Struct, frozen=True, kw_only=True):
    """How a request stands. ``lacks`` has a line for each rule that is not met yet."""

    by: tuple[str, ...]
    lacks: tuple[str, ...]
    break_glass: bool = False
    refused: tuple[Refusal, ...] = ()

    @property
    def enough(self) -> bool:
        return self.break_glass or not self.lacks


def rules_for(approvals: ApprovalRules, request: ApprovalRequest) -> tuple[ApprovalRule, ...]:
    """Return the rules that ask for approvals of a request. Where it does not say a destination, a policy or
    a size, a rule that goes by those asks: what is not known must not be the way round it."""
    return tuple(rule for rule in approvals.rules if _matches(rule, request))


def _matches(rule: ApprovalRule, request: ApprovalRequest) -> bool:
    return (
        request.action in rule.actions
        and (request.size is None or request.size > rule.above)
        and (not request.destination or not rule.destinations or request.destination in rule.destinations)
        and (not request.policy or not rule.policies or request.policy in rule.policies)
    )


def judge(
    case: ApprovalCase, rules: Sequence[ApprovalRule], approvals: ApprovalRules, *, now: float
) -> ApprovalState:
    """Return how a request stands by the rules that ask for it.

    Raises:
        ConfigError: the allowed signers cannot be read.
    """
    signers = approvals.signers()
    counted: list[Counted] = []
    refused: list[Refusal] = []
    for signature in case.signatures:
        try:
            asking = rules_about(signature, rules, approvals)
            counted.append(count(case.document, signature, signers, asking, now=now))
        except SignatureRefused as error:
            refused.append(Refusal(what=digest_of(signature), why=error.message))
    approved = [counted_signature for counted_signature in counted if not counted_signature.break_glass]
    broken = [counted_signature for counted_signature in counted if counted_signature.break_glass]
    emergency = approvals.break_glass
    return ApprovalState(
        by=tuple(
            dict.fromkeys(
                name for rule in (*rules, *_break_glass(approvals)) for name in named(rule, counted)
            )
        ),
        lacks=tuple(_lacks(rules, approved)),
        break_glass=emergency is not None and len(named(emergency, broken)) >= emergency.k,
        refused=tuple(refused),
    )


def rules_about(
    signature: Signature, rules: Sequence[ApprovalRule], approvals: ApprovalRules
) -> Sequence[ApprovalRule]:
    """Return the rules by which a signature may count: who may approve may not break the glass, nor the other
    way round, unless they are named in both."""
    return tuple(_break_glass(approvals)) if signature.break_glass else rules


def _break_glass(approvals: ApprovalRules) -> Iterator[ApprovalRule]:
    if approvals.break_glass is not None:
        yield approvals.break_glass


def count(
    document: ApprovalDocument,
    signature: Signature,
    signers: Iterable[AllowedSigner],
    rules: Iterable[ApprovalRule],
    *,
    now: float,
) -> Counted:
    """Return a signature that counts.

    Raises:
        SignatureRefused: why it does not: forged, made for another request, of a key that nobody here has,
            of the person who asks, or of somebody who may not approve this.
    """
    found = parse_signature(signature.armored)
    names = names_of(found.key, signers, namespace=_namespace(signature), now=now)
    message = document.content
    if signature.break_glass:
        if not signature.reason.strip() or not canonical.printable(signature.reason, MAX_TEXT):
            raise SignatureRefused("Breaking the glass needs a reason, which can be printed.")
        message = break_glass_message(document, signature.reason)
    check_signature(found, message, namespace=_namespace(signature))
    requester = document.request.requester
    if any(is_same_person(name, requester) for name in names):
        raise SignatureRefused(
            f"{names[0]} asked for this (as {requester}), and cannot approve it as well.",
            hint="Somebody else has to: 'strongroom approvals show ID' says who may.",
        )
    if not any(set(names) & set(rule.people) for rule in rules):
        may = "break the glass" if signature.break_glass else "approve this"
        raise SignatureRefused(
            f"{names[0]} is not among the people who may {may}.",
            hint="'strongroom approvals show ID' says who may.",
        )
    return Counted(names=names, break_glass=signature.break_glass)


def _namespace(signature: Signature) -> str:
    return BREAK_GLASS if signature.break_glass else NAMESPACE


def names_of(key: bytes, signers: Iterable[AllowedSigner], *, namespace: str, now: float) -> tuple[str, ...]:
    """Return the names of the person who has a key. Raises SignatureRefused if nobody here has."""
    lines = [signer for signer in signers if signer.key == key]
    names = tuple(
        dict.fromkeys(n for line in lines if line.counts(namespace=namespace, now=now) for n in line.names)
    )
    if not names:
        why = "counts for something else, or at another time" if lines else "is nobody's"
        raise SignatureRefused(f"The key {ssh_fingerprint(key)} {why} in the allowed signers.")
    return names


def is_same_person(name: str, requester: str) -> bool:
    """Tell whether a person of the allowed signers is the one who asks (user@host): by the whole name, or by
    the part before the @. Rather once too often: another person can approve."""
    approver, other = name.casefold(), requester.casefold()
    return approver == other or approver.partition("@")[0] == other.partition("@")[0]


def named(rule: ApprovalRule, counted: Iterable[Counted]) -> tuple[str, ...]:
    """Return the people of a rule who signed. A person with two keys is one, and so is a key of two names."""
    people = (
        next((name for name in rule.people if name in counted_signature.names), None)
        for counted_signature in counted
    )
    return tuple(dict.fromkeys(name for name in people if name is not None))


def _lacks(rules: Iterable[ApprovalRule], approved: Sequence[Counted]) -> Iterator[str]:
    for rule in rules:
        have = named(rule, approved)
        if len(have) < rule.k:
            so_far = f"; so far {', '.join(have)}" if have else ""
            yield f"{rule.k} of {', '.join(rule.people)} (rule '{rule.name}'{so_far})"


def digest_of(signature: Signature) -> str:
    """Return what names a signature on record."""
    text = f"{signature.break_glass} {signature.reason} {signature.armored}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
