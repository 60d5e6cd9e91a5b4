"""The events of shredding: what was meant, what key services and targets said, and the verdicts.

There is no name of a secret in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.certificate import Certificate, CertifiedSigner, require_in_time, require_signer
from strongroom.container.errors import Malformed
from strongroom.container.signing import verify
from strongroom.container.stanza import Stanza
from strongroom.keys.destroying import Fate
from strongroom.model import prepare
from strongroom.operations.shredding.key_versions import Epoch
from strongroom.operations.shredding.scope import CONFIRMER
from strongroom.state.records import Event

T = TypeVar("T")

INTENT, KEY, TARGET, VERDICT = "shred.intent", "shred.key", "shred.target", "shred.verdict"
LOST = "shred.lost"
SHREDDED, PENDING = "shredded", "pending"
_DOMAIN = b"strongroom/v1/shred-intent"


class Witness(Struct, frozen=True, kw_only=True):
    """One real stanza under a key version, with what it is bound to (hex): with the key gone, nobody
    opens it, and that is tried. It is public: it was stored next to the backup."""

    stanza: Stanza
    context: str


class MeantKey(Struct, frozen=True, kw_only=True):
    """A key version to destroy, as its key service showed it before. ``name`` is the configuration's."""

    epoch: Epoch
    name: str
    where: str
    seen: bool
    doubts: tuple[str, ...]
    answer: Mapping[str, str | int | bool]
    witness: Witness | None


class MeantBackup(Struct, frozen=True, kw_only=True):
    """A backup to shred, and all that is needed to go on once its manifest is gone.

    ``stays`` are recipients whose keys cannot be destroyed; ``gaps``: see
    :class:`~.key_versions.Lying`. ``targets`` may hold it, and ``expected`` are
    those that did: one of these that shows nothing has lost it, or is another medium.
    """

    backup: str
    created_at: str
    secrets: int
    wrapping_keys: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    stays: tuple[str, ...]
    gaps: bool
    targets: tuple[str, ...]
    expected: tuple[str, ...]


class Intent(Struct, frozen=True, kw_only=True):
    """What a person confirmed, and when (RFC 3339): written before anything is destroyed."""

    shred: str
    policy: str
    at: str
    by: str
    keys: tuple[MeantKey, ...]
    backups: tuple[MeantBackup, ...]


class SignedIntent(Struct, frozen=True, kw_only=True):
    """An intent and who signed it: writing to the state database alone destroys nothing."""

    intent: Intent
    certificate: Certificate
    signature: str


class KeyNow(Struct, frozen=True, kw_only=True):
    """What became of a key version: the key service's answer, and that of a real attempt to open.

    ``proven``: it is gone, the same key service says so, nothing opened, and no copy can be left.
    ``why`` is what stands against that.
    """

    epoch: Epoch
    fate: Fate | None = None
    until: str = ""
    proven: bool = False
    tried: str = ""
    why: tuple[str, ...] = ()
    answer: Mapping[str, str | int | bool] = {}


class TargetNow(Struct, frozen=True, kw_only=True):
    """What became of a backup on a target.

    ``found``: some of it was there, once at least. ``gone``: nothing of it is any more, hidden or
    not. ``seen``: the envelopes of the copy that was expected there were read; ``opens`` are those
    recipients for whom they open and whose keys are not to be destroyed.
    ``hidden`` is how many versions a delete left, -1 if that cannot be told.
    """

    backup: str
    target: str
    found: bool = False
    gone: bool = False
    seen: bool = False
    deleted: int = 0
    left: int = 0
    hidden: int = 0
    opens: tuple[str, ...] = ()
    until: str = ""
    why: str = ""


class Judged(Struct, frozen=True, kw_only=True):
    """The verdict on a backup. ``until`` is empty if nobody knows when it will be shredded.

    ``reasons`` say what it waits for; of one that is shredded, on whose word alone a medium is gone."""

    backup: str
    verdict: str
    until: str = ""
    reasons: tuple[str, ...] = ()


class DestroyedMedium(Struct, frozen=True, kw_only=True):
    """Somebody's word that a medium is destroyed, with all that lay on it."""

    target: str
    by: str
    reason: str


prepare(SignedIntent, KeyNow, TargetNow, Judged, DestroyedMedium)


def sign(intent: Intent, signer: CertifiedSigner) -> SignedIntent:
    """Sign what a person confirmed."""
    signature = signer.sign(_DOMAIN, canonical.encode(intent))
    return SignedIntent(intent=intent, certificate=signer.certificate, signature=signature.hex())


def intent_of(event: Event, trusted: frozenset[str]) -> Intent:
    """Return an event's intent.

    Raises:
        UntrustedSigner, Tampered, Malformed: nobody who may confirm this did.
    """
    signed = decoded(event, SignedIntent)
    signed.certificate.check_form()
    signature = canonical.unhex(signed.signature, 64, "An intent's signature")
    verify(signed.certificate.public, _DOMAIN, canonical.encode(signed.intent), signature)
    require_signer(signed.certificate, may=(CONFIRMER,), what="shredding", trusted=trusted)
    require_in_time(signed.certificate, signed.intent.at, trusted)
    return signed.intent


def decoded(event: Event, type_: type[T]) -> T:
    """Return an event's detail as what it is to be. Raises Malformed for one that was edited."""
    try:
        return msgspec.convert(dict(event.detail), type_)
    except msgspec.ValidationError:
        raise Malformed(f"Event {event.id} ({event.kind}) is not what was written.") from None
