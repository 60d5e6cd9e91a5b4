"""Checks of a run record against this process's own configuration and keys.

Neither the broker nor the state database is a root of trust. A row that was edited to add
a reader, move a target or swap a digest is refused here, by the worker, from what it holds
itself: its configuration and the public halves of the roles' signing keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from strongroom.container.receipt import Receipt, verify_receipt
from strongroom.errors import Malformed, RecordRefused, Tampered
from strongroom.keys import Recipient
from strongroom.model import prepare
from strongroom.operations.services import Pinned, Services
from strongroom.state.records import RecipientPin, Run, Spec, TargetPin
from strongroom.targets import Target


def check_sealing(run: Run, services: Services) -> Pinned:
    """Return the policy to seal by, refusing a run that differs from it in anything."""
    pinned = services.pinned(run.spec.policy)
    for field in Spec.__struct_fields__:
        if field != "options" and getattr(run.spec, field) != getattr(pinned.spec, field):
            raise RecordRefused(f"run {run.id} disagrees with this worker's own policy in '{field}'")
    return pinned


def check_target(run: Run, name: str, services: Services) -> Target:
    """Return the target of a step, refusing one that moved since this process was set up."""
    target = services.target(name)
    for pin in run.spec.targets:
        if pin.name == name:
            if (pin.address, pin.region, pin.provider) != (target.address, target.region, target.provider):
                raise RecordRefused(f"run {run.id} has target '{name}' at another place than this worker")
            return target
    raise RecordRefused(f"run {run.id} does not have target '{name}'")


def check_quorum(run: Run, services: Services) -> None:
    """Refuse a run whose quorum or targets are not the policy's own."""
    own = services.pinned(run.spec.policy).spec
    for field in ("targets", "quorum", "regions", "providers", "keep_days"):
        if getattr(run.spec, field) != getattr(own, field):
            raise RecordRefused(f"run {run.id} disagrees with this worker's own policy in '{field}'")


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt as a capture's result keeps it, and the public key that it was found to be of."""

    receipt: Receipt
    signature: str
    signer: bytes = b""


prepare(Signed)


def receipt_of(run: Run, piece: int, result: Mapping[str, Any] | None, services: Services) -> Signed:
    """Return a capture's receipt, refusing one that the seal role did not sign for this piece."""
    try:
        signed = msgspec.convert({key: (result or {})[key] for key in ("receipt", "signature")}, Signed)
        signer = verify_receipt(signed.receipt, signed.signature, services.trusted("seal"))
    except (KeyError, msgspec.ValidationError, Tampered, Malformed):
        raise RecordRefused(f"the receipt of piece {piece} of run {run.id} is not the seal role's") from None
    if (signed.receipt.run, signed.receipt.piece) != (run.id, piece):
        raise RecordRefused(f"the receipt of piece {piece} of run {run.id} belongs elsewhere")
    return msgspec.structs.replace(signed, signer=signer)


def pin_recipient(name: str, recipient: Recipient) -> RecipientPin:
    """Return a recipient as a run freezes it."""
    return RecipientPin(
        name=name,
        type=recipient.type,
        fingerprint=recipient.fingerprint,
        post_quantum=recipient.post_quantum,
        describes=recipient.describe(),
    )


def pin_target(name: str, target: Target, *, counts: bool = True) -> TargetPin:
    """Return a target as a run freezes it."""
    return TargetPin(
        name=name, address=target.address, region=target.region, provider=target.provider, counts=counts
    )
