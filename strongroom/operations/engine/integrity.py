"""Checks of a run record against this process's own configuration and keys."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from strongroom.container.errors import Malformed, Tampered
from strongroom.container.signing import Receipt, verify_any, verify_receipt
from strongroom.keys import Recipient, allof
from strongroom.keys.allof import recipient_key
from strongroom.keys.rolelist import A_RUN_LASTS
from strongroom.model import Role, prepare
from strongroom.operations.engine.services import Pinned, Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import RecipientPin, Run, Spec, TargetPin
from strongroom.targets import Target
from strongroom.times import stamp


def check_policy(run: Run, services: Services) -> Pinned:
    """Return a backup's policy, refusing a run that differs from it in anything."""
    pinned = services.pinned(run.spec.policy)
    _compare(run, pinned.spec, WHOLE)
    return pinned


WHOLE = tuple(field for field in Spec.__struct_fields__ if field != "stage")
"""The fields of a policy's backup. Its stage may have changed since: a run keeps the one that it began with,
if this process's configuration still names that."""


TERMS = ("sealed", "targets", "recipients", "quorum", "regions", "providers", "minimum_retention_days")
"""The fields that bind all that is done to an existing backup: where it is kept, how long, who reads it."""


def agrees(run: Run, services: Services) -> bool:
    """Tell whether a run is what this configuration of its policy asks for. Raises ConfigError."""
    own = services.pinned(run.spec.policy).spec
    fields = WHOLE if run.spec.kind is own.kind else TERMS
    return all(getattr(run.spec, field) == getattr(own, field) for field in fields)


def check_terms(run: Run, terms: Sequence[str], services: Services) -> None:
    """Refuse a run that differs from this process's own configuration in one of these fields."""
    if terms:
        _compare(run, services.pinned(run.spec.policy).spec, terms)


def _compare(run: Run, own: Spec, fields: Iterable[str]) -> None:
    for field in fields:
        if getattr(run.spec, field) != getattr(own, field):
            raise RecordRefused(f"run {run.id} disagrees with this worker's own policy in '{field}'")


def check_target(run: Run, name: str, services: Services) -> Target:
    """Return the target of a step, refusing one that moved since this process was set up."""
    target = services.target(name)
    for pin in run.spec.targets:
        if pin.name == name:
            if (pin.address, pin.region, pin.provider) != (target.address, target.region, target.provider):
                raise RecordRefused(f"run {run.id} has target '{name}' at another place than this worker")
            return target
    raise RecordRefused(f"run {run.id} does not have target '{name}'")


# -- the signed record -----------------------------------------------------------

_DOMAIN = b"strongroom/v1/record"

RECORD, SIGNATURE = "record", "record_signature"
"""The facts that keep a run's signed record: the digest of each field, and the control role's signature."""

AHEAD = 3600.0
"""Seconds that a run may be dated ahead of this host's clock: those of a database server run apart."""
OLDEST = A_RUN_LASTS.total_seconds()
"""Seconds after which a run is neither planned nor committed any more. A backup is kept from its run's date
on: whoever could date a run back, or finish one of long ago, could have a backup that is hardly locked."""


def sign_record(run: Run, planned: Mapping[str, Any], services: Services) -> dict[str, Any]:
    """Return what the plan of a run found out, with a signed record of it and of the whole run.

    The record has a digest for each field, so that whoever finds a difference can name the field.
    """
    record = _digests(run, planned)
    signature = services.signers(Role.CONTROL).sign(_DOMAIN, _signed_bytes(run.id, record))
    return {**planned, RECORD: record, SIGNATURE: signature.hex()}


def refusal(run: Run, services: Services, *, signed: bool) -> RecordRefused | None:
    """Return why a run's record is not to be believed, if so; see :func:`check_record`.

    Args:
        signed: whether the run's job has a plan, which signs the record.
    """
    if not signed and RECORD not in run.facts:
        return None
    try:
        check_record(run, services)
    except RecordRefused as error:
        return error
    return None


def check_record(run: Run, services: Services) -> None:
    """Refuse a run that is not, field by field, what the control role signed when it planned the run.

    Raises:
        RecordRefused: naming the field that was changed.
    """
    record = _signed_record(run, services)
    planned = {name.removeprefix(_FACT): name for name in record if name.startswith(_FACT)}
    if absent := next((fact for fact in planned if fact not in run.facts), None):
        raise _changed(run, absent)
    own = _digests(run, {fact: run.facts[fact] for fact in planned})
    if differing := next((name for name in own if own[name] != record.get(name)), None):
        raise _changed(run, differing.removeprefix(_FACT).removeprefix(_SPEC))


def check_time(run: Run) -> None:
    """Refuse a run whose date is not the one in its id, or is no date of a run that goes on now."""
    if run.id.partition("-")[0] != stamp(run.created_at):
        raise _changed(run, "created_at")
    age = time.time() - run.created_at
    if age < -AHEAD:
        raise RecordRefused(
            f"run {run.id} is dated ahead of this host's clock",
            hint="Set the clocks of this host and of the database right, then submit a new run.",
        )
    if age > OLDEST:
        raise RecordRefused(
            f"run {run.id} is older than a week, and makes no backup any more",
            hint="No backup was made. Submit a new run.",
        )


_SPEC, _FACT = "spec.", "facts."


def _digests(run: Run, planned: Mapping[str, Any]) -> dict[str, str]:
    named = WHOLE if run.spec.stage is None else Spec.__struct_fields__  # a record of before there was any
    fields = {f"{_SPEC}{name}": getattr(run.spec, name) for name in named}
    fields |= {"created_at": run.created_at}
    fields |= {f"{_FACT}{name}": value for name, value in planned.items()}
    return {name: hashlib.sha256(_encode(value)).hexdigest() for name, value in fields.items()}


def _signed_record(run: Run, services: Services) -> dict[str, str]:
    try:
        record = msgspec.convert(run.facts[RECORD], dict[str, str])
        signature = bytes.fromhex(run.facts[SIGNATURE])
        verify_any(
            services.trusted(Role.CONTROL, run.created_at), _DOMAIN, _signed_bytes(run.id, record), signature
        )
    except (KeyError, TypeError, ValueError, msgspec.ValidationError, Tampered):
        raise RecordRefused(
            f"the record of run {run.id} is not the one that the control role signed", hint=UNSIGNED
        ) from None
    return record


UNSIGNED = (
    "If a key was distrusted since the run began, or a host thrown out (as leaked, or a run of more than a "
    "week), that is why: begin another. "
    f"Else: {RecordRefused.default_hint}"
)


def _changed(run: Run, field: str) -> RecordRefused:
    return RecordRefused(f"run {run.id} was changed in the state database, in '{field}'")


def _signed_bytes(run: str, record: Mapping[str, str]) -> bytes:
    return _encode([run, record])


_encode = msgspec.json.Encoder(order="deterministic").encode


# -- receipts ----------------------------------------------------------------------


class SignedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt as a capture's result keeps it, and the public key that it was found to be of."""

    receipt: Receipt
    signature: str
    signer: bytes = b""


prepare(SignedRun)


def receipt_of(run: Run, piece: int, result: Mapping[str, Any] | None, services: Services) -> SignedRun:
    """Return a capture's receipt, refusing one that the seal role did not sign for this piece."""
    try:
        signed = msgspec.convert({key: (result or {})[key] for key in ("receipt", "signature")}, SignedRun)
        signer = verify_receipt(signed.receipt, signed.signature, services.trusted(Role.SEAL, run.created_at))
    except (KeyError, msgspec.ValidationError, Tampered, Malformed):
        raise RecordRefused(
            f"the receipt of piece {piece} of run {run.id} is not the seal role's", hint=UNSIGNED
        ) from None
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
        composition=recipient_key(recipient) if recipient.type == allof.TYPE else "",
    )


def pin_target(name: str, target: Target, *, counts: bool = True) -> TargetPin:
    """Return a target as a run freezes it."""
    return TargetPin(
        name=name, address=target.address, region=target.region, provider=target.provider, counts=counts
    )
