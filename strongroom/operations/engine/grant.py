"""What people do about a request: approve it, reject it, and look into a break-glass afterwards."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from strongroom.container.errors import MissingPiece
from strongroom.keys.errors import SignatureRefused
from strongroom.operations.engine import approvals as record
from strongroom.operations.engine.approvals import (
    ApprovalCase,
    ApprovalState,
    Signature,
    count,
    digest_of,
    judge,
    rules_about,
    rules_for,
)
from strongroom.operations.engine.services import ApprovalRules
from strongroom.operations.errors import NotApproved
from strongroom.state.records import StepKind
from strongroom.state.store import RunStore

_SEE: Final = "See 'strongroom approvals list'."


def find_case(store: RunStore, name: str) -> ApprovalCase:
    """Return a request by its run, command or id. Raises MissingPiece."""
    case = record.read_cases(store).find(name)
    if case is None:
        raise MissingPiece(f"There is no request for approval '{name}'.", hint=_SEE)
    return case


def add_signature(
    store: RunStore, approvals: ApprovalRules, case: ApprovalCase, signature: Signature
) -> ApprovalState:
    """Put a signature on record, and return how the request stands by this host's configuration.

    The worker that executes judges anew, by its own.

    Raises:
        SignatureRefused: it does not count; that is on record too.
        NotApproved: the request is over.
    """
    now = time.time()
    require_open(case, now=now)
    rules = rules_for(approvals, case.document.request)
    asking = rules_about(signature, rules, approvals)
    try:
        counted = count(case.document, signature, approvals.signers(), asking, now=now)
    except SignatureRefused as error:
        record.put_refused(store, case.document, what=digest_of(signature), why=error.message)
        raise
    if digest_of(signature) not in map(digest_of, case.signatures):
        record.put_signature(store, case.document, signature, by=counted.names[0])
    store.wake(case.document.request.subject, StepKind.APPROVE)
    signed = msgspec.structs.replace(case, signatures=(*case.signatures, signature))
    return judge(signed, rules, approvals, now=now)


def require_open(case: ApprovalCase, *, now: float) -> None:
    """Refuse to sign what is over: it was used, was rejected, or has expired. Raises NotApproved."""
    why = ""
    if case.used:
        why = "was approved and used already"
    elif case.rejected:
        why = "was rejected"
    elif case.document.ends <= now:
        why = f"has expired at {case.document.expires}"
    if why:
        raise NotApproved(f"The request about '{case.document.request.subject}' {why}.", hint=_SEE)


def reject(store: RunStore, case: ApprovalCase, *, by: str, reason: str) -> None:
    """Reject a request: it is not done, whoever approved it. Raises NotApproved if it is over already."""
    require_open(case, now=time.time())
    record.put_decision(store, record.REJECTED, case.document, by=by, reason=reason)
    store.wake(case.document.request.subject, StepKind.APPROVE)
