"""The one question that every action asks before it begins: may it go on?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from strongroom.operations.approval import once, record
from strongroom.operations.approval.judge import ApprovalState, judge, rules_for
from strongroom.operations.approval.record import ApprovalCase, ApprovalCases
from strongroom.operations.approval.request import ApprovalDocument, ApprovalRequest, new_document
from strongroom.operations.approval_rules import ApprovalRule
from strongroom.operations.errors import ApprovalNeeded, NotApproved
from strongroom.operations.services import Services
from strongroom.timestamps import for_people

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
    for case in record.read_cases(services.store).about(subject):
        if case.used and not case.spent:
            once.spend(services, case.document)
            record.put_spent(services.store, case.document)


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
        self._cases: ApprovalCases = record.read_cases(services.store)

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
        ours = self._lasting and once.is_ours(self._services, case.document, self._holder)
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
        if not once.take(self._services, case.document, self._holder):
            self._used_up.add(case.document.id)
            if not case.used:  # otherwise somebody repeats what is done, and asks for it again
                self._refuse(case, "use", "It was used before, and the record of that is gone.")
            return False
        if not case.used:
            record.put_used(
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
        record.put_request(self._services.store, document)
        return document

    def _refuse(self, case: ApprovalCase, what: str, why: str, *, stale: bool = False) -> None:
        """Put on record, once, what does not count."""
        if (case.document.id, what) not in self._cases.refused:
            record.put_refused(self._services.store, case.document, what=what, why=why, stale=stale)

    def _needed(self, document: ApprovalDocument, standing: ApprovalState) -> ApprovalNeeded:
        until = for_people(document.ends)
        return ApprovalNeeded(
            f"{self._what()} has to be approved first, by {'; and by '.join(standing.lacks)}.",
            expires=document.ends,
            hint=f"'strongroom approvals approve {self._request.subject}', typed by each of them until "
            f"{until}. A run "
            "goes on by itself then, if a cluster runs; otherwise repeat the command.",
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
