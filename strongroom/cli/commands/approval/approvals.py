"""approvals: the requests on record, and what people did about them."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

import msgspec
from msgspec.structs import replace

from strongroom.cli.commands.approval.approve import SignedFile, read_small
from strongroom.cli.commands.approval.render import (
    ApprovalAnswer,
    answer_standing,
    approval_state,
    document_sheet,
    standing_lines,
)
from strongroom.cli.commands.approval.signing import is_armored
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.container.errors import Malformed
from strongroom.keys.errors import SignatureRefused
from strongroom.keys.sshsig import check_signature, parse_signature
from strongroom.operations.approval import grant
from strongroom.operations.approval.judge import ApprovalState, judge, rules_for
from strongroom.operations.approval.record import ApprovalCase, Signature, read_cases
from strongroom.operations.approval.request import NAMESPACE, parse_document
from strongroom.operations.approval_rules import ApprovalRules
from strongroom.sheet import Lines, Part, Sheet, Table
from strongroom.state.store import RunStore
from strongroom.system.atomic_file import write_whole
from strongroom.system.person import who
from strongroom.timestamps import for_people
from strongroom.wiring.approvals import approval_rules


def list_requests(arguments: Namespace, output: Output) -> Answer:
    rules, now = approval_rules(load_settings()), time.time()
    cases = sorted(read_cases(run_store()).cases, key=lambda case: case.at, reverse=True)
    states = tuple(approval_state(case, _standing(case, rules, now=now), now=now) for case in cases)
    rows = [_row(state, for_people(case.document.ends)) for state, case in zip(states, cases, strict=True)]
    head = ("For", "Action", "Secrets", "Into", "Asked by", "Until", "State")
    table = Table(head, rows, nothing="Nothing was to be approved.")
    return Answer(record={"approvals": states}, sheet=Sheet(parts=[table]))


def _row(of: ApprovalAnswer, until: str) -> tuple[object, ...]:
    request, state = of.request, of.state
    if state == "open":
        state = "approved" if of.approved else f"needs {'; '.join(of.lacks)}"
    return (
        *(request.subject, request.action.value, request.size),
        *(request.destination, request.requester, until, state),
    )


def _standing(case: ApprovalCase, rules: ApprovalRules, *, now: float) -> ApprovalState:
    asking = rules_for(rules, case.document.request)
    standing = judge(case, asking, rules, now=now)
    return standing if asking else replace(standing, lacks=(_ELSEWHERE,))


_ELSEWHERE = "what another host's configuration asks for; no rule of this one does"


def show_request(arguments: Namespace, output: Output) -> Answer:
    rules, now = approval_rules(load_settings()), time.time()
    case = grant.find_case(run_store(), arguments.id)
    standing = _standing(case, rules, now=now)
    state = approval_state(case, standing, now=now)
    sheet = document_sheet(case.document, more=[("state", state.state)])
    lines = [*standing_lines(standing), case.rejected]
    lines += [
        f"the glass was broken because: {signature.reason}"
        for signature in case.signatures
        if signature.break_glass
    ]
    parts: list[Part] = [Lines(list(filter(None, lines)))]
    if arguments.output:
        write_whole(arguments.output, case.document.content)
        name = arguments.output.name
        sign = f"strongroom approvals approve --request {name} --output {name}.sig"
        written = f"The request is in {arguments.output}. Where the key of somebody who may approve it is:"
        parts += [Lines([written]), Lines([sign], style="code")]
    return Answer(record=state, sheet=replace(sheet, parts=(*sheet.parts, *parts)))


def add_from_file(arguments: Namespace, output: Output) -> Answer:
    rules, store = approval_rules(load_settings()), run_store()
    case, signature = _from_file(arguments.file, store)
    standing = grant.add_signature(store, rules, case, signature)
    said = f"The signature counts for '{case.document.request.subject}'."
    return answer_standing(said, case, standing, now=time.time())


def _from_file(path: Path, store: RunStore) -> tuple[ApprovalCase, Signature]:
    content = read_small(path)
    text = content.decode("utf-8", "replace")
    if is_armored(text):
        return _signed_request(text, store)
    try:
        signed = msgspec.json.decode(content, type=SignedFile)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed(f"'{path}' holds no signature of a request.") from None
    case = grant.find_case(store, parse_document(signed.request.encode()).id)
    return case, Signature(armored=signed.signature, break_glass=signed.break_glass, reason=signed.reason)


def _signed_request(armored: str, store: RunStore) -> tuple[ApprovalCase, Signature]:
    """Return the request that a bare signature of ssh-keygen fits: it does not say which."""
    parsed = parse_signature(armored)
    for case in reversed(read_cases(store).cases):
        try:
            check_signature(parsed, case.document.content, namespace=NAMESPACE)
        except SignatureRefused:
            continue
        return case, Signature(armored=armored)
    raise SignatureRefused("The signature fits no request that is on record here.")


def reject_request(arguments: Namespace, output: Output) -> Answer:
    store = run_store()
    case = grant.find_case(store, arguments.id)
    grant.reject(store, case, by=who(), reason=arguments.reason)
    subject = case.document.request.subject
    sheet = Sheet(verdict=f"'{subject}' is rejected: it is not done.")
    return Answer(record={"rejected": subject, "id": case.document.id}, sheet=sheet)
