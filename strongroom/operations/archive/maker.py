"""Who made what is read: the one place that decides whether it may be called verified.

"Verified" means that somebody who is trusted here signed it: this installation, one that its configuration
names, or one that a person named. What a stranger signed may be whole all the same: a person may go on with
it, is told that its maker is unknown, and nothing of it enters a record. What was signed by a key that is
distrusted here, or after the time of one that was retired, counts for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from msgspec import Struct

from strongroom.container.certificate import (
    Certificate,
    require_in_time,
    require_listed,
    require_trusted,
    unknown_installation,
)
from strongroom.container.errors import FormatError, MissingPiece, TrustListMissing, UntrustedSigner
from strongroom.container.manifest import SignedManifest
from strongroom.container.signing import Signers
from strongroom.operations.archive.open import Objects, backup_ids, read_manifest, signed_copy
from strongroom.operations.trust_lists.believed import unasked

UNKNOWN = "Intact. Maker unknown."
"""What is said of something whole that nobody trusted here signed."""


class Maker(Struct, frozen=True, kw_only=True):
    """Who signed what is read.

    ``refusal`` is why that does not count here, if it does not; ``is_stranger``, that nobody here knows the
    installation. Otherwise something is known of the key, or a list that may name it is kept back.
    """

    fingerprint: str
    refusal: UntrustedSigner | TrustListMissing | None = None
    is_stranger: bool = False

    @property
    def known(self) -> bool:
        """Whether somebody who is trusted here signed it: then alone it is verified."""
        return self.refusal is None

    @property
    def doubt(self) -> str:
        """Why the signature does not count here; nothing if it does."""
        return "" if self.refusal is None else self.refusal.message

    @property
    def may_be_taken(self) -> bool:
        """Whether it counts, or a person may go on who takes anybody's: not past what is known of a key."""
        return self.known or self.is_stranger or isinstance(self.refusal, TrustListMissing)

    def require(self, *, anybody: bool) -> None:
        """Refuse what nobody trusted here signed.

        Args:
            anybody: a person said that a stranger's will do.

        Raises:
            UntrustedSigner: says which fingerprint it is.
            TrustListMissing: a list that may name its key is kept back.
        """
        if self.refusal is not None and not (anybody and self.may_be_taken):
            raise self.refusal

    def pins(self, known: Signers) -> Signers:
        """Return whose containers and envelopes count for it.

        Of a stranger's, its own: another stranger's envelope must not stand in the way.
        """
        return known if self.fingerprint in known else unasked(known.of_stranger(self.fingerprint))


def maker_of(certificate: Certificate, known: Signers, *, made_at: str = "", stated: int = 0) -> Maker:
    """Judge the signature under something, whose own signature was found to be right.

    Args:
        known: who is trusted here.
        made_at: when it was made, if it says so: a key that was retired counts for what it made before.
        stated: the number of the trust list that its signer knew.
    """
    fingerprint = certificate.fingerprint
    if fingerprint not in known:
        return _stranger(certificate, known.of_stranger(fingerprint), made_at=made_at, stated=stated)
    return Maker(
        fingerprint=fingerprint, refusal=_refusal(certificate, known, made_at=made_at, stated=stated)
    )


def _stranger(certificate: Certificate, own: Signers, *, made_at: str, stated: int) -> Maker:
    refusal = _refusal(certificate, own, made_at=made_at, stated=stated)
    if isinstance(refusal, UntrustedSigner):
        return Maker(fingerprint=certificate.fingerprint, refusal=refusal)
    unknown = unknown_installation(certificate.fingerprint)
    if refusal is not None:
        unknown = UntrustedSigner(f"{unknown.message} {refusal.message}", hint=refusal.hint)
    return Maker(fingerprint=certificate.fingerprint, refusal=unknown, is_stranger=True)


def _refusal(
    certificate: Certificate, known: Signers, *, made_at: str, stated: int
) -> UntrustedSigner | TrustListMissing | None:
    try:
        require_trusted(certificate, known)
        if made_at:
            require_in_time(certificate, made_at, known)
        require_listed(certificate, stated, known)
    except (UntrustedSigner, TrustListMissing) as error:
        return error
    return None


def maker_of_backup(signed: SignedManifest, known: Signers) -> Maker:
    """Judge the signature under a backup's manifest."""
    manifest = signed.manifest
    return maker_of(signed.certificate, known, made_at=manifest.created_at, stated=manifest.trust)


def manifest_of(
    objects: Objects, backup: str | None, known: Signers, *, anybody: bool, policy: str | None = None
) -> SignedManifest:
    """Return a backup's manifest with its signer: one of those known, if one of its copies has such.

    Args:
        backup: which one; the newest, or the newest of the policy, of a known signer if left out.
        anybody: where nobody known signed it, a stranger's is returned too. Otherwise nothing of a stranger's
            is taken apart: it may be as large as the format allows.

    Raises:
        UntrustedSigner: says which fingerprint it is.
    """
    wanted = backup or _newest(objects, known, policy, anybody=anybody)
    try:
        return signed_copy(objects, wanted, trusted=known)
    except (UntrustedSigner, TrustListMissing):
        if not anybody:
            raise
    return anybodys(partial(signed_copy, objects, wanted), known)


def anybodys(read: Callable[..., SignedManifest], known: Signers) -> SignedManifest:
    """Return a manifest of whomever: of one signed again, a copy whose key its maker does not distrust."""
    first = read(trusted=None)
    if not maker_of_backup(first, known).may_be_taken:
        with suppress(FormatError):
            return read(trusted=unasked(known.of_stranger(first.fingerprint)))
    return first


def _newest(objects: Objects, known: Signers, policy: str | None, *, anybody: bool) -> str:
    try:
        return _newest_of(objects, known, policy)
    except FormatError:
        if not anybody:
            raise
    return _newest_of(objects, None, policy)


def _newest_of(objects: Objects, trusted: Signers | None, policy: str | None) -> str:
    if policy is None:
        return read_manifest(objects, trusted=trusted).backup_id
    refusals: list[FormatError] = []
    for backup, found in _policies(objects, trusted):
        if isinstance(found, UntrustedSigner | TrustListMissing):
            refusals.append(found)
        elif found == policy:
            return backup
    if refusals:
        raise refusals[0]
    raise MissingPiece(
        f"there is no backup of policy '{policy}' here",
        hint="See which there are with 'strongroom backups list --from-target TARGET'.",
    )


def _policies(objects: Objects, trusted: Signers | None) -> Iterator[tuple[str, str | FormatError]]:
    """Yield each backup, newest first, with its policy, or why its manifest does not count."""
    for backup in reversed(backup_ids(objects)):
        try:
            yield backup, signed_copy(objects, backup, trusted=trusted).manifest.policy
        except FormatError as error:
            yield backup, error
