"""Reading one backup from several places, once or on past damage; who made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TypeVar

from msgspec import Struct

from strongroom.container.cobblestone import name_hashes
from strongroom.container.errors import (
    DAMAGE,
    FormatError,
    MissingPiece,
    TrustListMissing,
    UntrustedSigner,
    WrongKey,
)
from strongroom.container.manifest import ContainerEntry, Manifest, SignedManifest
from strongroom.container.signing import (
    Certificate,
    Signers,
    require_in_time,
    require_listed,
    require_trusted,
    unknown_installation,
)
from strongroom.errors import StrongroomError, TargetError
from strongroom.keys import Identity
from strongroom.model import Secret
from strongroom.operations.archive.coverage import BackupChoice
from strongroom.operations.archive.envelopes import Elsewhere, UnreadableEnvelope, most_telling
from strongroom.operations.archive.open import (
    Backup,
    DigestedRow,
    Listed,
    Objects,
    backup_ids,
    on_every_core,
    read_manifest,
    signed_copy,
)
from strongroom.operations.engine.trust_lists import unasked

# -- Reading one backup from several places: what one does not give whole, the next one does ----
#
# A place that is away, damaged or rolled back costs a restore nothing but the second reading of one
# container. Which place that was is kept, so that it is said and mended.


T = TypeVar("T")
Told = Callable[[str, str, str], None]
_ELSEWHERE = (*DAMAGE, TargetError)
"""What another place may give all the same."""


class Replicated:
    """A backup, read from the first of its places that gives what is asked for.

    Args:
        trusted: whose detached envelopes count; ``None`` for anybody's, which the caller must say.
        told: is given the name of a place, what is wrong with it, and the backup, if it is damaged there.

    ``gave`` counts what was read from each place so far: secrets, rows or digests. ``failed`` says of each
    place that did not give something whole what was wrong with it.
    """

    def __init__(
        self,
        choice: BackupChoice,
        identities: Sequence[Identity],
        *,
        trusted: frozenset[str] | None,
        told: Told,
    ) -> None:
        places = {
            replica.name: Backup(
                replica.objects,
                choice.manifest,
                identities,
                trusted=trusted,
                known=None
                if trusted is None
                else Elsewhere(
                    [shown_replica.objects for shown_replica in choice.replicas if shown_replica != replica],
                    trusted=trusted,
                ),
            )
            for replica in choice.replicas
        }
        self._begin(choice.manifest, places, told)

    def _begin(self, manifest: Manifest, places: dict[str, Backup], told: Told) -> None:
        self.manifest = manifest
        self.gave: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        self._told = told
        self._name_key: bytes | None = None
        self._places = places

    @property
    def places(self) -> Mapping[str, Backup]:
        """The backup on each place, the best first."""
        return self._places

    @property
    def aside(self) -> tuple[UnreadableEnvelope, ...]:
        """Envelopes that were left aside with nothing in their place, of the containers opened so far."""
        return tuple(envelope for backup in self._places.values() for envelope in backup.aside)

    def readers(self) -> Manifest:
        """Return the manifest with those who can open the backup now: it may have been rotated since."""
        return self.first(lambda backup: backup.readers())

    def unlock(self) -> None:
        """Open one container of each wrapping key: a wrong key, or a person who is asked, shows here."""
        self.first(lambda backup: backup.unlock())

    def rows(self) -> Iterator[Listed]:
        """Yield the metadata of every secret; values are not read."""
        for entry in self.manifest.containers:
            yield from self.each(lambda backup, entry=entry: backup.rows_in(entry))  # type: ignore[misc]

    def secrets(self) -> Iterator[Secret]:
        """Yield every secret; memory is bounded by one segment."""
        for entry in self.manifest.containers:
            yield from self.each(lambda backup, entry=entry: backup.secrets_in(entry))  # type: ignore[misc]

    def some(self, names: Collection[str]) -> Iterator[Secret]:
        """Yield those of the named secrets that are in it, in its order; only what may hold one is read."""
        for entry, here in self.placed(names):
            yield from self.each(lambda backup, entry=entry, here=here: backup.some_in(entry, here))  # type: ignore[misc]

    def placed(self, names: Collection[str]) -> Iterator[tuple[ContainerEntry, Collection[str]]]:
        """Yield each container that may hold some of the names, with these."""
        if not self.manifest.sealed:
            yield from ((entry, frozenset(names)) for entry in self.manifest.containers)
            return
        hashes = zip(names, name_hashes(self.name_key(), list(names)), strict=True)
        placed = sorted((hashed.hex(), name) for name, hashed in hashes)
        for entry in self.manifest.containers:
            here = [name for hashed, name in placed if entry.first <= hashed <= entry.last]
            if here:
                yield entry, here

    def digested(self) -> Iterator[tuple[str, dict[int, bytes]]]:
        """Yield each secret's name, with the keyed digest of each of its values by the version's number."""
        for entry in self.manifest.containers:
            yield from self.each(lambda backup, entry=entry: backup.container(entry).digested())  # type: ignore[misc]

    def digested_rows(self) -> Iterator[DigestedRow]:
        """Yield the metadata and the digests of every secret; values are not read."""
        for entry in self.manifest.containers:
            yield from self.each(lambda backup, entry=entry: backup.digested_rows_in(entry))  # type: ignore[misc]

    def digested_row(self, name: str) -> DigestedRow | None:
        """Return one secret's metadata and digests with a few ranged reads, or ``None``."""
        return self.first(lambda backup: backup.digested_row(name))

    def parts(self, work: Callable[[Backup, ContainerEntry], Iterator[bytes]]) -> Iterator[bytes]:
        """Yield the parts that some work makes of each container, by every core, in any order; no value
        may be in one.

        A child asks the best place alone. What that does not give whole is asked here of the next ones, and
        told.
        """
        return on_every_core(
            self.manifest.containers,
            lambda entry: self.each(lambda backup: work(backup, entry)),
            lambda entry: work(next(iter(self._places.values())), entry),
            unlock=self.unlock,
            ordered=False,
        )

    def name_key(self) -> bytes:
        """Return the key under which the backup hashes names: any container that opens has it.

        Raises:
            FormatError: none opens.
        """
        failures: list[StrongroomError] = []
        for entry in self.manifest.containers if self._name_key is None else ():
            try:
                self._name_key = self.first(lambda backup: backup.container(entry)).about.name_key  # noqa: B023
                break
            except FormatError as error:
                failures.append(error)
        if self._name_key is None:
            raise most_telling(failures) if failures else MissingPiece("the backup has no container")
        return self._name_key

    def find(self, name: str) -> Secret | None:
        """Return one secret with a few ranged reads, or ``None``."""
        return self.first(lambda backup: backup.find(name))

    def first(self, work: Callable[[Backup], T]) -> T:
        """Do something with the first place that lets it be done."""
        return next(iter(self.each(lambda backup: iter([work(backup)]))))

    def each(self, work: Callable[[Backup], Iterator[T]]) -> Iterator[T]:
        """Yield what work yields; where a place fails, go on at the same point with the next one.

        The bytes are the same everywhere, by the digest in the signed manifest, and so is what they yield.
        """
        given = 0
        failures: list[StrongroomError] = []
        for name in list(self._places):
            try:
                for value in islice(work(self._places[name]), given, None):
                    given += 1
                    self.gave[name] += 1
                    yield value
            except WrongKey as error:
                failures.append(error)
            except _ELSEWHERE as error:
                failures.append(error)
                damaged = self.manifest.backup_id if isinstance(error, DAMAGE) else ""
                self.failed[name] = f"{error.code}: {error.message}"
                self._told(name, self.failed[name], damaged)
                # Ask a place that failed last from now on.
                self._places[name] = self._places.pop(name)
            else:
                return
        raise most_telling(failures)


class InOnePlace(Replicated):
    """A backup that lies in one place: in a file, or on the only target that was asked."""

    def __init__(self, backup: Backup, told: Told | None = None, *, name: str = "") -> None:
        self._begin(backup.manifest, {name: backup}, told or _untold)


def _untold(name: str, why: str, damaged: str) -> None:
    """Of a file nothing is repaired from elsewhere."""


# -- Who made what is read: the one place that decides whether it may be called verified --------
#
# "Verified" means that somebody who is trusted here signed it: this installation, one that its configuration
# names, or one that a person named. What a stranger signed may be whole all the same: a person may go on with
# it, is told that its maker is unknown, and nothing of it enters a record. What was signed by a key that is
# distrusted here, or after the time of one that was retired, counts for nobody.


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
        refusal = _refusal(certificate, known.of_stranger(fingerprint), made_at=made_at, stated=stated)
        if isinstance(refusal, UntrustedSigner):
            return Maker(fingerprint=certificate.fingerprint, refusal=refusal)
        unknown = unknown_installation(certificate.fingerprint)
        if refusal is not None:
            unknown = UntrustedSigner(f"{unknown.message} {refusal.message}", hint=refusal.hint)
        return Maker(fingerprint=certificate.fingerprint, refusal=unknown, is_stranger=True)
    return Maker(
        fingerprint=fingerprint, refusal=_refusal(certificate, known, made_at=made_at, stated=stated)
    )


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
