"""An installation whose restores and exports people have to approve, and those people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from strongroom.keys.sshsig import read_allowed_signers
from strongroom.model import ApprovalAction
from strongroom.operations.engine import approvals
from strongroom.operations.engine.approvals import (
    ApprovalCase,
    ApprovalDocument,
    ApprovalRequest,
    ApprovalState,
    Signature,
)
from strongroom.operations.engine.approving import require_approval
from strongroom.operations.engine.grant import add_signature, find_case
from strongroom.operations.engine.services import ApprovalRule, ApprovalRules, Services
from strongroom.operations.errors import ApprovalNeeded
from strongroom.state.records import Event
from tests.operations.world import World
from tests.ssh_people import Person, allow, person

NAMES = ("alice@example.org", "bob@example.org", "carol@example.org", "mallory@example.org")
PEOPLE = NAMES[:3]


@dataclass(frozen=True, kw_only=True)
class Office:
    """Alice, Bob and Carol, two of whom have to approve; Mallory has a key, and no say."""

    world: World
    people: Mapping[str, Person]
    allowed: Path

    def rules(self, **changed: object) -> ApprovalRules:
        rule = ApprovalRule(
            name="two",
            actions=(ApprovalAction.RESTORE, ApprovalAction.EXPORT),
            k=2,
            people=PEOPLE,
            above=10,
        )
        emergency = ApprovalRule(name="break-glass", actions=tuple(ApprovalAction), k=2, people=PEOPLE)
        given: dict[str, object] = {
            "rules": (rule,),
            "break_glass": emergency,
            "signers": partial(read_allowed_signers, self.allowed),
        }
        return ApprovalRules(**{**given, **changed})  # type: ignore[arg-type]

    def services(self, **changed: object) -> Services:
        return self.world.services(approvals=self.rules(**changed))

    def ask(self, services: Services, request: ApprovalRequest) -> ApprovalDocument:
        """Ask whether something may be done that is not approved yet; return what people are to sign."""
        try:
            require_approval(services, request, holder=request.subject)
        except ApprovalNeeded:
            return find_case(services.store, request.subject).document
        raise AssertionError("nobody had to approve it")

    def sign(self, services: Services, document: ApprovalDocument, *names: str) -> ApprovalState:
        """Have people approve a request; return how it stands."""
        for name in names:
            case = find_case(services.store, document.id)
            standing = add_signature(
                services.store, services.approvals, case, self.people[name].approve(document)
            )
        return standing

    def force(self, services: Services, document: ApprovalDocument, *signatures: Signature) -> None:
        """Write signatures into the state database, as somebody can who reaches it: nobody checks them."""
        for signature in signatures:
            approvals.put_signature(services.store, document, signature, by="whoever wrote it")


def make_office(folder: Path, world: World) -> Office:
    """Return an office with new keys."""
    people = {name.partition("@")[0]: person(folder / "people", name) for name in NAMES}
    return Office(world=world, people=people, allowed=allow(folder / "allowed_signers", *people.values()))


def restore_of(subject: str = "20261127T120000Z-0123456789abcdef", **changed: object) -> ApprovalRequest:
    """Return the request of a restore of 50 secrets, which Dave asked for."""
    given: dict[str, object] = {
        "action": ApprovalAction.RESTORE,
        "subject": subject,
        "digest": "ab" * 32,
        "requester": "dave@host",
        "destination": "production",
        "policy": "weekly",
        "size": 50,
        "lines": ("restore backup B into local 'production'", "create 48, change 2"),
    }
    return ApprovalRequest(**{**given, **changed})  # type: ignore[arg-type]


def refusals(services: Services) -> list[str]:
    """Return why something did not count, as is on record."""
    return [str(event.detail["why"]) for event in events(services, approvals.REFUSED)]


def events(services: Services, kind: str) -> list[Event]:
    return services.store.events(kind=kind)


def case_of(services: Services, subject: str) -> ApprovalCase:
    return find_case(services.store, subject)
