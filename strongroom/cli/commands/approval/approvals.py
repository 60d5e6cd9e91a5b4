"""approvals and approve: what waits for people, and their word on it, signed with their own SSH keys."""

from __future__ import annotations

import base64
import binascii
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.cli.commands.approval.arguments import (
    AGENT,
    AddSignature,
    ApproveRequest,
    RejectRequest,
    ShowRequest,
)
from strongroom.cli.parameters import Nothing
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.container import canonical
from strongroom.container.errors import Malformed, MissingPiece
from strongroom.errors import Missing, UsageError
from strongroom.keys.errors import SignatureRefused
from strongroom.keys.sshsig import check_signature, parse_signature, ssh_fingerprint
from strongroom.operations.engine import grant
from strongroom.operations.engine.approvals import (
    BREAK_GLASS,
    MAX_DOCUMENT,
    MAX_TEXT,
    NAMESPACE,
    ApprovalCase,
    ApprovalDocument,
    ApprovalRequest,
    ApprovalState,
    Signature,
    break_glass_message,
    judge,
    parse_document,
    read_cases,
    rules_for,
)
from strongroom.operations.engine.grant import add_signature, find_case, require_open
from strongroom.operations.engine.services import ApprovalRules
from strongroom.sheet import Lines, Pairs, Part, Sheet, Table
from strongroom.state.store import RunStore
from strongroom.system.files import refuse_existing, write_whole
from strongroom.system.process import who
from strongroom.times import for_people, rfc3339
from strongroom.wiring.jobs import approval_rules

# -- A request for approval as it is shown ------------------------------------------------------


class ApprovalAnswer(Struct, frozen=True, kw_only=True):
    """A request, how far it is, who signed it, what it still needs, and what of it does not count."""

    id: str
    state: str
    asked_at: str
    expires: str
    rejected: str | None
    request: ApprovalRequest
    signed_by: tuple[str, ...]
    lacks: tuple[str, ...]
    approved: bool
    refused: tuple[str, ...]


def approval_state(case: ApprovalCase, standing: ApprovalState, *, now: float) -> ApprovalAnswer:
    """Return how a request is."""
    return ApprovalAnswer(
        id=case.document.id,
        state=_state_of(case, now=now),
        asked_at=rfc3339(case.at),
        expires=case.document.expires,
        rejected=case.rejected or None,
        request=case.document.request,
        signed_by=standing.by,
        lacks=standing.lacks,
        approved=standing.enough,
        refused=tuple(refusal.why for refusal in standing.refused),
    )


def _state_of(case: ApprovalCase, *, now: float) -> str:
    if case.broken:
        return "break-glass" if case.acknowledged else "break-glass, not looked into"
    if case.used:
        return "used"
    if case.rejected:
        return "rejected"
    return "open" if now < case.document.ends else "expired"


def answer_standing(said: str, case: ApprovalCase, standing: ApprovalState, *, now: float) -> Answer:
    """Answer with what was done for a request, and how it is now."""
    sheet = Sheet(verdict=said, parts=[Lines(list(standing_lines(standing)))])
    return Answer(record=approval_state(case, standing, now=now), sheet=sheet)


def document_sheet(document: ApprovalDocument, *, more: Sequence[tuple[str, str]] = ()) -> Sheet:
    """Return what people approve, all of it."""
    request = document.request
    pairs = [
        ("asked by", request.requester),
        ("destination", request.destination),
        ("policy", request.policy),
        ("about", "" if request.size is None else plural(request.size, "secret")),
        *(("" if at else "what", line) for at, line in enumerate(request.lines)),
        ("digest", request.digest),
        ("installation", document.installation),
        ("holds until", for_people(document.ends)),
        *more,
    ]
    return Sheet(parts=[Pairs(pairs, f"{request.action.value} '{request.subject}'")])


def standing_lines(standing: ApprovalState) -> Iterator[str]:
    """Yield how a request stands."""
    if standing.by:
        yield f"signed by {', '.join(standing.by)}"
    if standing.break_glass:
        yield "break-glass: it goes on without the approvals, and is an alarm until it is looked into"
    elif standing.lacks:
        yield from (f"still needs {lack}" for lack in standing.lacks)
    else:
        yield "approved"
    yield from (f"does not count: {refusal.why}" for refusal in standing.refused)


# -- Signing with a person's own SSH key: OpenSSH does it, so that agents and hardware keys work ---


_MISSING = (
    "Install OpenSSH's client. Or sign elsewhere: 'strongroom approvals show ID --output FILE', there "
    "'ssh-keygen -Y sign -n strongroom-approval -f KEY FILE', and here 'strongroom approvals add FILE.sig'."
)


def sign(message: bytes, *, namespace: str, key: str, allowed: Sequence[bytes]) -> str:
    """Return an armored signature by a key file, or by the key in the agent.

    Args:
        key: a file, or ``agent``.
        allowed: the public keys that count, as far as this host knows: of an agent's keys one of these is
            meant.

    Raises:
        UsageError: there is no such key, or OpenSSH did not sign.
        Missing: OpenSSH is not installed.
    """
    if key != AGENT:
        if not Path(key).is_file():
            raise UsageError(
                f"There is no file '{key}'.", hint="--key takes your SSH key's file, or 'agent'."
            )
        return _sign(message, namespace, ["-f", key])
    with tempfile.TemporaryDirectory(prefix="strongroom-") as folder:
        public = Path(folder) / "own.pub"
        public.write_text(_agent_key(allowed), encoding="ascii")
        return _sign(message, namespace, ["-U", "-f", str(public)])


def _sign(message: bytes, namespace: str, options: Sequence[str]) -> str:
    done = _run(["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, *options], message)
    if done.returncode != 0:
        raise UsageError("OpenSSH did not sign; its own message is above.", hint="Nothing was approved.")
    return done.stdout.decode("ascii", "replace")


def _agent_key(allowed: Sequence[bytes]) -> str:
    """Return the line of the agent's one key that counts."""
    done = _run(["ssh-add", "-L"], b"", quiet=True)
    lines = done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else []
    found = {blob: line for line in lines if (blob := _blob(line)) and (not allowed or blob in allowed)}
    if len(found) == 1:
        return f"{next(iter(found.values()))}\n"
    if not lines:
        raise UsageError(
            "There is no key in the SSH agent.", hint="Add yours with 'ssh-add', or give --key FILE."
        )
    known = ", ".join(ssh_fingerprint(blob) for blob in filter(None, map(_blob, lines)))
    count = "Several" if found else "None"
    raise UsageError(
        f"{count} of the keys in the SSH agent may approve this: it has {known}.",
        hint="Give your key's public half: --key FILE.pub.",
    )


def _blob(line: str) -> bytes:
    try:
        return base64.b64decode(line.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return b""


def _run(command: Sequence[str], stdin: bytes, *, quiet: bool = False) -> subprocess.CompletedProcess[bytes]:
    # Its stderr is a person's: it asks there to touch a hardware key.
    told = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=told, check=False)
    except FileNotFoundError:
        raise Missing(f"'{command[0]}' is not installed here.", hint=_MISSING) from None


def is_armored(text: str) -> bool:
    """Tell whether a file is a bare signature of ``ssh-keygen``."""
    return text.lstrip().startswith("-----BEGIN SSH SIGNATURE-----")


# -- approve: sign what somebody else asked for, with one's own SSH key -------------------------


class SignedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``approve --request`` writes: the request, and a signature of it."""

    request: str
    signature: str
    break_glass: bool = False
    reason: str = ""


def approve_request(given: ApproveRequest, output: Output) -> Answer:
    if not canonical.printable(given.reason, MAX_TEXT):
        raise UsageError("--reason is too long, or cannot be printed.")
    if given.subject.request is not None and given.output is not None:
        return _sign_elsewhere(given.subject.request, given.output, given, output)
    rules, store = approval_rules(load_settings()), run_store()
    case = find_case(store, given.subject.id or "")
    require_open(case, now=time.time())
    _show(case.document, given, output)
    signature = _signature(case.document, given, allowed=_keys(case, rules, given))
    standing = add_signature(store, rules, case, signature)
    did = "signed to break the glass for" if given.break_glass else "approved"
    said = f"You {did} '{case.document.request.subject}'."
    return answer_standing(said, case, standing, now=time.time())


def _keys(case: ApprovalCase, rules: ApprovalRules, given: ApproveRequest) -> list[bytes]:
    """Return the keys of those who may approve this, by the configuration of this host."""
    asking = [*rules_for(rules, case.document.request)]
    if given.break_glass and rules.break_glass:
        asking = [rules.break_glass]
    people = {person for rule in asking for person in rule.people}
    return [signer.key for signer in rules.signers() if people & set(signer.names)]


def _sign_elsewhere(request: Path, file: Path, given: ApproveRequest, output: Output) -> Answer:
    """Sign a request that came in a file. This host may know nothing of the installation."""
    refuse_existing(file, replace=given.force)
    document = parse_document(read_small(request))
    _show(document, given, output)
    signature = _signature(document, given, allowed=[])
    made = SignedFile(
        request=document.content.decode(),
        signature=signature.armored,
        break_glass=signature.break_glass,
        reason=signature.reason,
    )
    write_whole(file, msgspec.json.encode(made) + b"\n", replace=given.force)
    said = f"The signature is in {file}. It counts once it is brought to where this was asked for:"
    add = Lines([f"strongroom approvals add {file.name}"], style="code")
    return Answer(record={"file": file, "id": document.id}, sheet=Sheet(verdict=said, parts=[add]))


def _show(document: ApprovalDocument, given: ApproveRequest, output: Output) -> None:
    output.note(document_sheet(document).text().rstrip())
    what = "You do without the approvals of this, which is an alarm" if given.break_glass else "You sign this"
    prompts.confirm(what, force=given.force)


def _signature(document: ApprovalDocument, given: ApproveRequest, *, allowed: list[bytes]) -> Signature:
    message, namespace = document.content, NAMESPACE
    if given.break_glass:
        message, namespace = break_glass_message(document, given.reason), BREAK_GLASS
    armored = sign(message, namespace=namespace, key=given.key, allowed=allowed)
    return Signature(armored=armored, break_glass=given.break_glass, reason=given.reason)


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


# -- approvals: the requests on record, and what people did about them --------------------------


def list_requests(given: Nothing, output: Output) -> Answer:
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


def show_request(given: ShowRequest, output: Output) -> Answer:
    rules, now = approval_rules(load_settings()), time.time()
    case = grant.find_case(run_store(), given.id)
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
    if given.output:
        write_whole(given.output, case.document.content)
        name = given.output.name
        sign = f"strongroom approvals approve --request {name} --output {name}.sig"
        written = f"The request is in {given.output}. Where the key of somebody who may approve it is:"
        parts += [Lines([written]), Lines([sign], style="code")]
    return Answer(record=state, sheet=replace(sheet, parts=(*sheet.parts, *parts)))


def add_from_file(given: AddSignature, output: Output) -> Answer:
    rules, store = approval_rules(load_settings()), run_store()
    case, signature = _from_file(given.file, store)
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


def reject_request(given: RejectRequest, output: Output) -> Answer:
    store = run_store()
    case = grant.find_case(store, given.id)
    grant.reject(store, case, by=who(), reason=given.reason)
    subject = case.document.request.subject
    sheet = Sheet(verdict=f"'{subject}' is rejected: it is not done.")
    return Answer(record={"rejected": subject, "id": case.document.id}, sheet=sheet)
