"""signers list: the installation's fingerprint, and the roles' keys that it certifies."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import asdict

from strongroom.cli.errors import SignersUnsettled
from strongroom.cli.shared import approval
from strongroom.cli.shared.role_keys import RoleKeyStatus, installation_fingerprints, list_role_keys
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.model import ApprovalAction
from strongroom.sheet import Lines, Part, Sheet, Table

REPEAT_ESCROW = "Make a new escrow and print the recovery kit again: both still have the old keys."


def signer_parts(keys: list[RoleKeyStatus], heading: str = "") -> Iterator[Part]:
    """Yield the table of signers, and which of them are due for rotation."""
    installations = [f"Installation: {fingerprint}" for fingerprint in installation_fingerprints(keys)]
    pinned = "That line is what others pin (--signer, trust.signers). It certifies the keys of the roles:"
    nothing = "There is no signing key yet: nothing was signed here."
    yield Lines([*installations, pinned] if keys else [nothing], heading)
    rows = [
        (
            role_key.role,
            role_key.key.version,
            role_key.state,
            role_key.key.since[:10],
            role_key.key.fingerprint,
        )
        for role_key in keys
    ]
    yield Table(("Role", "Version", "State", "Since", "Key"), rows)
    yield Lines(
        [
            f"'{role_key.role}' has signed with one key for over a year: rotate it."
            for role_key in keys
            if role_key.old
        ]
    )


def signer_document(role_key: RoleKeyStatus) -> dict[str, Any]:
    """Return a signer for machines."""
    fields = {name: value for name, value in asdict(role_key.key).items() if name != "certificate"}
    plain = {name: value for name, value in fields.items() if value not in ("", False)}
    plain["public"] = role_key.key.certificate.key
    return {
        "role": role_key.role,
        "fingerprint": role_key.key.fingerprint,
        "state": role_key.state,
        "old": role_key.old,
        **plain,
    }


def list_signers(arguments: Namespace, output: Output) -> Answer:
    keys = list_role_keys(datetime.now(UTC))
    installation = next(iter(installation_fingerprints(keys)), None)
    record = {"installation": installation, "signers": [signer_document(role_key) for role_key in keys]}
    return Answer(record=record, sheet=Sheet(parts=list(signer_parts(keys))))


def approve_signers(action: str, what: Sequence[str], line: str) -> None:
    """Ask for approvals, where the configuration wants them, before it is changed whose signatures count."""
    approval.require_approved(
        place.find(), ApprovalAction.SIGNERS, {"action": action, "what": what}, lines=(line,)
    )


def lack_of_spread(number: int, missed: Iterable[str]) -> SignersUnsettled | None:
    """Return what lacks a new trust list; the media in a safe get it with the next backup onto them."""
    online = load_settings().online
    if lacking := [name for name in missed if name in online]:
        return SignersUnsettled(
            f"Trust list {number} is not yet on {', '.join(lacking)}.",
            hint="The next backup or ledger head there puts it there too.",
        )
    return None
