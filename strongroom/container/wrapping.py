"""Who can open: recipients wrap a run's wrapping key, it wraps every file key, envelopes hold the copies."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn, Protocol, runtime_checkable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from strongroom.container import canonical, cobblestone, document
from strongroom.container.canonical import printable, unhex
from strongroom.container.cobblestone import KEY_SIZE, Random, hkdf, require_key
from strongroom.container.document import DocumentKind
from strongroom.container.errors import FormatError, Malformed, Stale, Tampered, WrongKey
from strongroom.container.signing import ENVELOPE_ROLES, Certificate, CertifiedSigner
from strongroom.errors import ConfigError, KeyServiceError, StrongroomError, UsageError
from strongroom.model import prepare

# -- What the format knows of recipients and identities: who can wrap and unwrap a key ----------
#
# A *recipient* needs only what sealing needs (for HPKE the public half). An *identity*
# can open. Both speak in :class:`Stanza`, the wrapped copy of one 32-byte key.
# The implementations live in :mod:`strongroom.keys`, which gives these names on.


ALL_OF: Final = "all-of"
LEAST_LEGS, MOST_LEGS, MOST_SPARES = 2, 8, 8

PBKDF2: Final = "passphrase"
SCRYPT: Final = "scrypt"
ITERATIONS: Final = range(100_000, 10_000_001)
"""Rounds of PBKDF2-HMAC-SHA-256 that a stanza may ask for."""
LOG_N: Final = range(15, 21)
"""Powers of two that scrypt's N may be: 32 MiB to 1 GiB."""


class Stanza(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One wrapped copy of a key.

    ``args`` holds lower-case hex strings and integers only, so that every JSON decoder
    reads the same and re-encoding is identical. Unknown types are carried and skipped.
    """

    type: str
    label: str
    args: dict[str, str | int]

    @property
    def kind(self) -> str:
        """What people call what opens it: a passphrase is one, however its key is derived."""
        return PBKDF2 if self.type == SCRYPT else self.type


Legs = tuple[tuple[Stanza, ...], ...]


def legs_of(stanza: Stanza) -> Legs:
    """Return the stanzas in an all-of stanza, leg by leg. Raises Malformed."""
    text = stanza.args.get("legs")
    if not isinstance(text, str):
        raise Malformed("An all-of stanza's legs are not hex.")
    data = canonical.unhex(text, len(text) // 2, "An all-of stanza's list of legs")
    legs = canonical.decode(data, Legs, "An all-of stanza's list of legs")
    if not LEAST_LEGS <= len(legs) <= MOST_LEGS or any(not 1 <= len(leg) <= MOST_SPARES for leg in legs):
        raise Malformed("An all-of stanza has too few or too many legs.")
    if any(each.type == ALL_OF for leg in legs for each in leg):
        raise Malformed("An all-of stanza is inside another.")
    return legs


@runtime_checkable  # what a plug-in gives is held to it
class Recipient(Protocol):
    """Something that can wrap a key.

    ``fingerprint`` is public, stable and tells two recipients of one type apart; a run
    freezes it, and a worker refuses a run whose fingerprints are not its own.
    """

    @property
    def type(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def post_quantum(self) -> bool: ...

    def describe(self) -> str:
        """Say in words who can open ("the holder of private key `recovery`")."""
        ...

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key. ``context`` is bound; unwrapping with another fails."""
        ...


class Identity(Protocol):
    """Something that can unwrap."""

    def describe(self) -> str:
        """Say in words what this is, for the list of attempts in an error."""
        ...

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the 32-byte key, or ``None`` if this stanza is not for this identity.

        "Not mine" includes a failed authentication: the caller cannot tell a wrong
        passphrase from a stanza for another one. Raises a typed error only when trying
        further is pointless or dangerous (for instance work factors out of bounds:
        :class:`~strongroom.container.errors.Malformed`).
        """
        ...


# -- Two layers of keys: recipients wrap a run's wrapping key once, it wraps every file key -----
#
# Two hundred containers then cost one key derivation or HSM call per recipient, and
# rotating to other recipients writes one small record and touches no payload.


ID_SIZE = 16
FILE_ID_SIZE = 32
SALT_SIZE = 32
WRAPPED_SIZE = KEY_SIZE + 16
MAX_STANZAS = 64
MAX_GENERATION = 99_999_999
MAX_LABEL = 128
MOST_COST: Final = 1 << 25
"""What the passphrases of one record may cost together: some seconds, in rounds of PBKDF2."""
_SCRYPT_COST = 16
"""What a unit of scrypt's N costs, in rounds of PBKDF2: that, measured, or a little less."""

# The derived key wraps one key and is never used again, so the nonce may be constant.
_NONCE = bytes(12)
_TYPE = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")
_CONTEXT = b"strongroom/v1/wrapping-key/"


class _UnsignedWrapping(Struct, frozen=True):
    id: str
    generation: int
    stanzas: tuple[Stanza, ...]


class WrappingKeyRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wrapping key as it is stored: wrapped once for each recipient.

    ``mac`` is made under the wrapping key, so somebody who cannot open the record cannot add
    a recipient or renumber it. ``generation`` counts from 1, one more at each rotation.
    """

    id: str
    generation: int
    stanzas: tuple[Stanza, ...]
    mac: str

    def check(self) -> None:
        """Hold the record to the format's limits; raise Malformed."""
        unhex(self.id, ID_SIZE, "A wrapping key's id")
        unhex(self.mac, 32, "A wrapping key's MAC")
        if not 1 <= self.generation <= MAX_GENERATION:
            raise Malformed("A wrapping key's generation is out of bounds.")
        if not 1 <= len(self.stanzas) <= MAX_STANZAS:
            raise Malformed(f"A wrapping key must have 1 to {MAX_STANZAS} recipients.")
        for stanza in self.stanzas:
            # Both are shown to people before anything is known of who wrote them.
            if not _TYPE.fullmatch(stanza.type):
                raise Malformed("A recipient's type is not what the format asks for.")
            if not printable(stanza.label, MAX_LABEL):
                raise Malformed("A recipient's label is too long, or cannot be printed.")
        if passphrase_cost(self.stanzas) > MOST_COST:
            raise Malformed("The passphrases of this backup would cost a reader too much work.")

    @property
    def labels(self) -> tuple[str, ...]:
        """Who can open it, as ``type (label)``, for people to read; of what has no label, its key's id."""
        return tuple(f"{s.kind} ({s.label})" if s.label else f"{s.kind}{_id(s)}" for s in self.stanzas)


prepare(WrappingKeyRecord)


class FileKeyWrap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file key under a wrapping key: AES-256-GCM under HKDF(wrapping key, salt, file id)."""

    salt: str
    wrapped: str


class WrappingKey:
    """A wrapping key in the memory of the process that seals. Neither shown nor pickled."""

    __slots__ = ("_key", "_random", "absent", "record")

    def __init__(
        self,
        key: bytes,
        record: WrappingKeyRecord,
        *,
        absent: tuple[str, ...] = (),
        _random: Random = os.urandom,
    ) -> None:
        require_key(key, "wrapping key")
        self._key = key
        self.record = record
        self.absent = absent
        self._random = _random

    @classmethod
    def create(
        cls, recipients: Sequence[Recipient], *, may_lack: bool = False, _random: Random = os.urandom
    ) -> WrappingKey:
        """Make a new key and wrap it for each recipient; the only slow step of sealing.

        Args:
            may_lack: go on without a recipient whose key is gone, switched off or out of reach, if another
                is left: a key that is lost must not stop what is sealed for several. ``absent`` then has
                its label, and whoever seals has to say so.
        """
        key, key_id = _random(KEY_SIZE), _random(ID_SIZE).hex()
        context = wrap_context(key_id)
        stanzas, absent = _wrapped(key, recipients, context, may_lack=may_lack)
        return cls(key, _record(key, key_id, 1, stanzas), absent=absent, _random=_random)

    def rewrap(self, recipients: Sequence[Recipient], *, generation: int | None = None) -> WrappingKey:
        """Return the same key wrapped for other recipients, in a later generation (default: the next)."""
        later = self.record.generation + 1 if generation is None else generation
        if later <= self.record.generation:
            raise UsageError(f"Generation {later} is not later than {self.record.generation}.")
        context = wrap_context(self.record.id)
        stanzas, _ = _wrapped(self._key, recipients, context, may_lack=False)
        record = _record(self._key, self.record.id, later, stanzas)
        return WrappingKey(self._key, record, _random=self._random)

    def vouches_for(self, record: WrappingKeyRecord) -> bool:
        """Tell whether a record was made by somebody who had this very key.

        That is all that can be told of its stanzas without the recipients' own keys.
        """
        mac = _mac(self._key, _UnsignedWrapping(record.id, record.generation, record.stanzas))
        return record.id == self.record.id and hmac.compare_digest(mac.hex(), record.mac)

    @property
    def id(self) -> str:
        """Sixteen random bytes in hex."""
        return self.record.id

    def wrap_file_key(self, file_key: bytes, file_id: bytes) -> FileKeyWrap:
        """Wrap a file key; a fresh salt makes the wrapping single-use."""
        require_key(file_key, "file key")
        salt = self._random(SALT_SIZE)
        aead = AESGCM(hkdf(self._key, salt=salt, info=cobblestone.FILE_KEY + file_id))
        return FileKeyWrap(salt=salt.hex(), wrapped=aead.encrypt(_NONCE, file_key, None).hex())

    def unwrap_file_key(self, wrap: FileKeyWrap, file_id: bytes) -> bytes:
        """Return the file key, or raise :class:`~strongroom.container.errors.Tampered`."""
        salt = unhex(wrap.salt, SALT_SIZE, "A file key's salt")
        wrapped = unhex(wrap.wrapped, WRAPPED_SIZE, "A wrapped file key")
        aead = AESGCM(hkdf(self._key, salt=salt, info=cobblestone.FILE_KEY + file_id))
        try:
            return aead.decrypt(_NONCE, wrapped, None)
        except InvalidTag:
            raise Tampered("The wrapped file key does not belong to this container and key.") from None

    def __repr__(self) -> str:
        return f"WrappingKey({self.id}, generation {self.record.generation})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a wrapping key must not be pickled")


def unlock(record: WrappingKeyRecord, identities: Sequence[Identity]) -> WrappingKey:
    """Open a record with the first identity that fits.

    Raises:
        WrongKey: none fits; the message lists what was tried on what.
        Tampered: one fits, but the record is not the one that was made with the key.
        StrongroomError: an identity could not be tried (its service is away, a file is missing, custodians
            are), and no other fits; the first such error.
    """
    key = _find_key(record, identities)
    mac = _mac(key, _UnsignedWrapping(record.id, record.generation, record.stanzas))
    if not hmac.compare_digest(mac, unhex(record.mac, 32, "A wrapping key's MAC")):
        raise Tampered("The list of recipients was altered.")
    return WrappingKey(key, record)


def passphrase_cost(stanzas: Iterable[Stanza]) -> int:
    """Return what trying a passphrase on all of these costs, in rounds of PBKDF2.

    Whoever writes a file asks its readers for this work, so a record is held to :data:`MOST_COST` before
    anything is tried. What breaks the bounds of its type is never tried, and costs nothing.
    """
    return sum(map(_cost, stanzas))


def _cost(stanza: Stanza) -> int:
    iterations, log_n = stanza.args.get("iterations"), stanza.args.get("log_n")
    if stanza.type == PBKDF2:
        return iterations if isinstance(iterations, int) and iterations in ITERATIONS else 0
    if stanza.type == SCRYPT:
        return _SCRYPT_COST << log_n if isinstance(log_n, int) and log_n in LOG_N else 0
    if stanza.type != ALL_OF:
        return 0
    try:
        return passphrase_cost(each for leg in legs_of(stanza) for each in leg)
    except Malformed:
        return 0


def wrap_context(key_id: str) -> bytes:
    """Return what recipients bind a wrapped wrapping key to."""
    return _CONTEXT + unhex(key_id, ID_SIZE, "A wrapping key's id")


def _wrapped(
    key: bytes, recipients: Sequence[Recipient], context: bytes, *, may_lack: bool
) -> tuple[tuple[Stanza, ...], tuple[str, ...]]:
    """Wrap a key for each recipient; return the stanzas, and the labels of those that it could not be."""
    if not 1 <= len(recipients) <= MAX_STANZAS:
        raise UsageError(f"A sealed backup needs 1 to {MAX_STANZAS} recipients.")
    stanzas, absent, problem = [], [], None
    for recipient in recipients:
        try:
            stanzas.append(recipient.wrap(key, context=context))
        except (KeyServiceError, ConfigError) as error:
            if not may_lack:
                raise
            absent.append(recipient.label)
            problem = error
    if problem is not None and not stanzas:
        raise problem
    return tuple(stanzas), tuple(absent)


def _record(key: bytes, key_id: str, generation: int, stanzas: tuple[Stanza, ...]) -> WrappingKeyRecord:
    if passphrase_cost(stanzas) > MOST_COST:
        raise UsageError(
            "So many passphrases would cost a reader too much work: each has to be tried.",
            hint="Sixteen are allowed. Seal to a key pair in their place ('strongroom keys new').",
        )
    mac = _mac(key, _UnsignedWrapping(key_id, generation, stanzas))
    record = WrappingKeyRecord(id=key_id, generation=generation, stanzas=stanzas, mac=mac.hex())
    record.check()
    return record


def _mac(key: bytes, unsigned: _UnsignedWrapping) -> bytes:
    salt = unhex(unsigned.id, ID_SIZE, "A wrapping key's id")
    return hmac.digest(hkdf(key, salt=salt, info=cobblestone.RECORD), canonical.encode(unsigned), "sha256")


def _find_key(record: WrappingKeyRecord, identities: Sequence[Identity]) -> bytes:
    record.check()
    context = wrap_context(record.id)
    problem: StrongroomError | None = None
    for identity in identities:
        for stanza in record.stanzas:
            try:
                key = identity.unwrap(stanza, context=context)
            except StrongroomError as error:
                # A region that is away, an HSM without its software here, a quorum of which too few came, a
                # stanza that is malformed: none of them may hide that another key opens. The last is said
                # first: it does not pass by itself.
                if problem is None or isinstance(error, FormatError) > isinstance(problem, FormatError):
                    problem = error
                continue
            if key is not None:
                return key
    if problem is not None:
        raise problem
    tried = ", ".join(filter(None, (identity.describe() for identity in identities)))
    recipients = ", ".join(map(_named, record.stanzas))
    raise WrongKey(f"Sealed to {recipients}; tried {tried or 'nothing'}.", nothing_tried=not tried)


def _named(stanza: Stanza) -> str:
    """Name a key by its label, which people know, and its id, which what was tried is named by."""
    return f"{stanza.kind}{f' ({stanza.label})' if stanza.label else ''}{_id(stanza)}"


def _id(stanza: Stanza) -> str:
    key = stanza.args.get("key")
    return f" {key[:16]}" if isinstance(key, str) else ""


# -- Envelopes: the wrapped copies of a file key ------------------------------------------------
#
# Each container ends in its first one. Later generations, made by rotation, are *detached*:
# signed documents of their own, so that no byte of a locked container has to change.


MAX_ENVELOPE = 256 * 1024
_FRAME = 1024
DETACHED = DocumentKind("envelope", "detached envelope", ENVELOPE_ROLES, MAX_ENVELOPE + _FRAME)


class Envelope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a container carries: its file key under a wrapping key, that one's record, and its signer's
    certificate."""

    file_key: FileKeyWrap
    wrapping_key: WrappingKeyRecord
    certificate: Certificate


prepare(Envelope)


def encode_envelope(envelope: Envelope) -> bytes:
    """Return the canonical JSON; raise Malformed if the format's limit would be passed."""
    data = canonical.encode(envelope)
    if len(data) > MAX_ENVELOPE:
        raise Malformed("The recipients' stanzas are larger than an envelope may be.")
    return data


def decode_envelope(data: bytes) -> Envelope:
    """Parse a container's envelope strictly."""
    envelope = canonical.decode(data, Envelope, "The envelope")
    envelope.wrapping_key.check()
    envelope.certificate.check_form()
    return envelope


def write_detached(record: WrappingKeyRecord, signer: CertifiedSigner) -> bytes:
    """Return a detached envelope: the record, signed."""
    return document.write(DETACHED, canonical.encode(record), signer)


class SignedEnvelope(Struct, frozen=True):
    """A detached envelope's record, with the certificate of the key that signed it."""

    record: WrappingKeyRecord
    certificate: Certificate


def open_detached(data: bytes, *, trusted: frozenset[str] | None) -> SignedEnvelope:
    """Parse a detached envelope strictly, check its signature, and return the signer's certificate too."""
    parsed = document.parse(DETACHED, data, trusted=trusted)
    body = parsed.body
    if len(body) > MAX_ENVELOPE:
        raise Malformed("The envelope is larger than the format allows.")
    record = canonical.decode(body, WrappingKeyRecord, "The envelope")
    record.check()
    return SignedEnvelope(record, parsed.certificate)


def choose(envelope: Envelope, newer: WrappingKeyRecord | None) -> WrappingKeyRecord:
    """Return the record to unlock: the newer generation if there is one.

    There is no falling back to the older one: its recipients were rotated away.
    """
    own = envelope.wrapping_key
    if newer is None:
        return own
    if newer.id != own.id:
        raise Tampered("The detached envelope is another wrapping key's.")
    if newer.generation <= own.generation:
        raise Stale(f"The detached envelope's generation {newer.generation} is not newer.")
    return newer
