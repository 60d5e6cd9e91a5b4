"""approve: sign what somebody else asked for, with one's own SSH key."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

import msgspec

from strongroom.cli.commands.approval.render import answer_standing, document_sheet
from strongroom.cli.commands.approval.signing import sign
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.container import canonical
from strongroom.container.errors import Malformed, MissingPiece
from strongroom.errors import UsageError
from strongroom.operations.approval.grant import add_signature, find_case, require_open
from strongroom.operations.approval.judge import rules_for
from strongroom.operations.approval.record import ApprovalCase, Signature
from strongroom.operations.approval.request import (
    BREAK_GLASS,
    MAX_DOCUMENT,
    MAX_TEXT,
    NAMESPACE,
    ApprovalDocument,
    break_glass_message,
    parse_document,
)
from strongroom.operations.approval_rules import ApprovalRules
from strongroom.sheet import Lines, Sheet
from strongroom.system.atomic_file import refuse_existing, write_whole
from strongroom.wiring.approvals import approval_rules


class SignedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``approve --request`` writes: the request, and a signature of it."""

    request: str
    signature: str
    break_glass: bool = False
    reason: str = ""


def approve_request(arguments: Namespace, output: Output) -> Answer:
    if bool(arguments.request) != bool(arguments.output):
        raise UsageError("--request and --output go together.")
    if arguments.break_glass != bool(arguments.reason):
        raise UsageError("--break-glass and --reason go together.")
    if not canonical.printable(arguments.reason, MAX_TEXT):
        raise UsageError("--reason is too long, or cannot be printed.")
    return _sign_elsewhere(arguments, output) if arguments.request else _approve_here(arguments, output)


def _approve_here(arguments: Namespace, output: Output) -> Answer:
    rules, store = approval_rules(load_settings()), run_store()
    case = find_case(store, arguments.id)
    require_open(case, now=time.time())
    _show(case.document, arguments, output)
    signature = _signature(case.document, arguments, allowed=_keys(case, rules, arguments))
    standing = add_signature(store, rules, case, signature)
    did = "signed to break the glass for" if arguments.break_glass else "approved"
    said = f"You {did} '{case.document.request.subject}'."
    return answer_standing(said, case, standing, now=time.time())


def _keys(case: ApprovalCase, rules: ApprovalRules, arguments: Namespace) -> list[bytes]:
    """Return the keys of those who may approve this, by the configuration of this host."""
    asking = [*rules_for(rules, case.document.request)]
    if arguments.break_glass and rules.break_glass:
        asking = [rules.break_glass]
    people = {person for rule in asking for person in rule.people}
    return [signer.key for signer in rules.signers() if people & set(signer.names)]


def _sign_elsewhere(arguments: Namespace, output: Output) -> Answer:
    """Sign a request that came in a file. This host may know nothing of the installation."""
    refuse_existing(arguments.output, replace=arguments.force)
    document = parse_document(read_small(arguments.request))
    _show(document, arguments, output)
    signature = _signature(document, arguments, allowed=[])
    made = SignedFile(
        request=document.content.decode(),
        signature=signature.armored,
        break_glass=signature.break_glass,
        reason=signature.reason,
    )
    write_whole(arguments.output, msgspec.json.encode(made) + b"\n", replace=arguments.force)
    file: Path = arguments.output
    said = f"The signature is in {file}. It counts once it is brought to where this was asked for:"
    add = Lines([f"strongroom approvals add {file.name}"], style="code")
    return Answer(record={"file": file, "id": document.id}, sheet=Sheet(verdict=said, parts=[add]))


def _show(document: ApprovalDocument, arguments: Namespace, output: Output) -> None:
    output.note(document_sheet(document).text().rstrip())
    what = (
        "You do without the approvals of this, which is an alarm"
        if arguments.break_glass
        else "You sign this"
    )
    prompts.confirm(what, force=arguments.force)


def _signature(document: ApprovalDocument, arguments: Namespace, *, allowed: list[bytes]) -> Signature:
    message, namespace = document.content, NAMESPACE
    if arguments.break_glass:
        message, namespace = break_glass_message(document, arguments.reason), BREAK_GLASS
    armored = sign(message, namespace=namespace, key=arguments.key, allowed=allowed)
    return Signature(armored=armored, break_glass=arguments.break_glass, reason=arguments.reason)


def read_small(path: Path) -> bytes:
    """Return a request, or a signature, that somebody brought in a file."""
    try:
        with path.open("rb") as file:
            content = file.read(2 * MAX_DOCUMENT + 1)
    except OSError as error:
        raise MissingPiece(f"'{path}' cannot be read: {error.strerror}.", hint="Check the path.") from None
    if len(content) > 2 * MAX_DOCUMENT:
        raise Malformed(f"'{path}' is too large for a request or a signature.")
    return content
