"""Which signatures count for a request, and whether they are enough. Pure: it asks nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from strongroom.container import canonical
from strongroom.keys.allowed_signers import AllowedSigner
from strongroom.keys.errors import SignatureRefused
from strongroom.keys.sshsig import check_signature, parse_signature, ssh_fingerprint
from strongroom.operations.approval.record import ApprovalCase, Signature
from strongroom.operations.approval.request import (
    BREAK_GLASS,
    MAX_TEXT,
    NAMESPACE,
    ApprovalDocument,
    ApprovalRequest,
    break_glass_message,
)
from strongroom.operations.approval_rules import ApprovalRule, ApprovalRules


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
