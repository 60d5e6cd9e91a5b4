"""Keys that stay in a token: found by label and id; AES wraps and unwraps, EC opens."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from strongroom.container.cobblestone import KEY_SIZE, Random, require_key
from strongroom.container.errors import Malformed
from strongroom.container.wrapping import Stanza
from strongroom.errors import KeyServiceError, UsageError
from strongroom.keys import keywrap
from strongroom.keys.ec import Curve, EcPublicKey, EcRecipient, open_stanza
from strongroom.keys.errors import (
    KeyAmbiguous,
    KeyDenied,
    KeyExists,
    KeyNotFound,
    KeyServiceUnavailable,
    MechanismMissing,
    TokenFull,
)
from strongroom.keys.passphrase import KeyHolder
from strongroom.keys.pkcs11.session import FOREIGN, Token, name_of

# -- Finding a key in a token: by label *and* id, and the id is its version ---------------------
#
# A label alone finds every version, and a token that holds a key twice must not choose for us.


MAX_VERSION = 0xFFFF


def version_id(version: int) -> bytes:
    """Return the ``CKA_ID`` of a version: two bytes, big-endian. Raises UsageError."""
    if not 1 <= version <= MAX_VERSION:
        raise UsageError(f"a key's version must be 1 to {MAX_VERSION}")
    return version.to_bytes(2, "big")


def find(token: Token, session: Any, kind: str, label: str, version: int) -> Any:
    """Return the one key object of that label and version.

    Args:
        kind: ``PRIVATE_KEY``, ``PUBLIC_KEY`` or ``SECRET_KEY``.

    Raises:
        KeyNotFound: there is none; the message has the versions that there are.
        KeyAmbiguous: there are several.
    """

    def look(session: Any) -> Any:
        found = search(session, kind, label, version)
        if not found:
            raise KeyNotFound(
                f"{token.describe()} has no key `{label}` v{version}{_others(session, kind, label)}"
            )
        if len(found) > 1:
            raise KeyAmbiguous(f"{token.describe()} has {len(found)} keys `{label}` v{version}")
        return found[0]

    return token.key(session, (kind, label, version), look)


def search(session: Any, kind: str, label: str | None = None, version: int | None = None) -> list[Any]:
    """Return all key objects of a kind, of a label and of a version if given."""
    from pkcs11 import Attribute, ObjectClass

    wanted: dict[Any, Any] = {Attribute.CLASS: ObjectClass[kind]}
    if label is not None:
        wanted[Attribute.LABEL] = label
    if version is not None:
        wanted[Attribute.ID] = version_id(version)
    # A search that cannot begin fails a second time when the binding collects it, with a traceback
    # that nobody can catch; so ask first whether the device is there.
    session.token.slot.get_token()
    # All of them, at once: a search left open calls into the library when it is collected.
    return list(session.get_objects(wanted))


def require_use(key: Any, method: str, attribute: str) -> None:
    """Refuse a key that the token does not allow a use: the binding then gives it no such method.

    Raises:
        KeyDenied: with the attribute that is missing.
    """
    if not hasattr(key, method):
        raise KeyDenied(
            f"the token does not allow the key `{key.label}` this use",
            hint=f"The key lacks {attribute}. No backup is damaged: set it, if the token lets you.",
        )


def versions(token: Token, kind: str, label: str | None = None) -> list[tuple[str, int]]:
    """Return label and version of every key of a kind whose id is a version."""
    return token.do(lambda session: sorted(_versions(session, kind, label)))


def _versions(session: Any, kind: str, label: str | None) -> list[tuple[str, int]]:
    from pkcs11 import Attribute

    found = ((each[Attribute.LABEL], each[Attribute.ID]) for each in search(session, kind, label))
    return [(str(name), int.from_bytes(id_, "big")) for name, id_ in found if len(id_) == 2]


def _others(session: Any, kind: str, label: str) -> str:
    numbers = sorted({version for _, version in _versions(session, kind, label)})
    return f"; there is v{', v'.join(map(str, numbers))}" if numbers else ", nor any other version of it"


# -- AES key wrap by a key in the HSM: *the host can open*, for it needs the HSM to seal --------
#
# The HSM wraps a fresh random data key (RFC 3394, ``CKM_AES_KEY_WRAP``: the one mechanism of its
# kind that tokens agree on). That binds nothing, so the key itself lies under the data key as in
# every other stanza: AES-256-GCM under HKDF-SHA-512, which binds type, version and context.


TYPE = "pkcs11-aes"
LABEL = b"strongroom/v1/wrap/pkcs11-aes/"
_ID_LABEL = b"strongroom/v1/pkcs11-aes-id/"
_ARGS = frozenset({"data_key", "key", "salt", "version", "wrapped"})
_ID = 16
_DATA_KEY = KEY_SIZE + 8  # RFC 3394 2.2.1: one block of 8 bytes more


class HsmAesKey:
    """A wrapping key in a token, by label and version.

    Args:
        key_id: its public id as :func:`generate_aes` gave it, in hex; computed by the HSM on
            first use if left out. With it, another key under the same label is noticed.
    """

    __slots__ = ("_confirmed", "_id", "key", "token", "version")

    def __init__(self, token: Token, *, key: str, version: int, key_id: str | None = None) -> None:
        version_id(version)
        self.token = token
        self.key = key
        self.version = version
        self._id = key_id
        self._confirmed = False

    @property
    def id(self) -> str:
        """The key's public id: a hash of what it wraps zeros to. Raises KeyServiceError."""
        return self._id or self.confirm()

    def confirm(self) -> str:
        """Hold the key in the token to its id, once a process; return the id."""
        if not self._confirmed:
            found = hashlib.sha256(_ID_LABEL + self._wrap(bytes(KEY_SIZE))).digest()[:_ID].hex()
            if self._id not in (None, found):
                raise KeyServiceError(
                    f"{self.describe()} is not the configured one: its id is {found}",
                    hint="Another key lies under that label and version. Do not seal with it.",
                )
            self._id, self._confirmed = found, True
        return self._id or ""

    def describe(self) -> str:
        return f"the HSM key `{self.key}` v{self.version} in {self.token.describe()}"

    def wrap(self, data_key: bytes) -> bytes:
        self.confirm()
        return self._wrap(data_key)

    def unwrap(self, wrapped: bytes) -> bytes | None:
        """Return the data key, or ``None`` if it was not wrapped under this key."""
        self.confirm()
        return self.token.do(lambda session: _unwrap(self._object(session), wrapped))

    def _wrap(self, data_key: bytes) -> bytes:
        return self.token.do(lambda session: _wrap(session, self._object(session), data_key))

    def _object(self, session: Any) -> Any:
        return find(self.token, session, "SECRET_KEY", self.key, self.version)


class Pkcs11AesRecipient(KeyHolder):
    """Seals with an AES key in the HSM."""

    __slots__ = ("_hsm", "_random", "label")

    type = TYPE
    post_quantum = True  # of a 256-bit key, Grover's algorithm leaves 128

    def __init__(self, hsm: HsmAesKey, *, label: str = "", random: Random = os.urandom) -> None:
        self._hsm = hsm
        self._random = random
        self.label = label or hsm.key

    @property
    def fingerprint(self) -> str:
        return f"{TYPE}:{self._hsm.id}"

    def describe(self) -> str:
        return f"{self._hsm.describe()} (AES; the host can open)"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key. Raises KeyServiceError."""
        require_key(key, "key to wrap")
        data_key, version = self._random(KEY_SIZE), self._hsm.version
        args: dict[str, str | int] = {"key": self._hsm.id, "version": version}
        args["data_key"] = self._hsm.wrap(data_key).hex()
        args |= keywrap.wrap(data_key, key, label=_label(version), context=context, random=self._random)
        return Stanza(type=TYPE, label=self.label, args=args)


class Pkcs11AesIdentity(KeyHolder):
    """Opens with an AES key in the HSM."""

    __slots__ = ("_hsm",)

    def __init__(self, hsm: HsmAesKey) -> None:
        self._hsm = hsm

    def describe(self) -> str:
        return self._hsm.describe()

    def recipient(self) -> Pkcs11AesRecipient:
        """Return the sealing side of the same key."""
        return Pkcs11AesRecipient(self._hsm)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if another key or version opens the stanza.

        Raises:
            Malformed: the stanza breaks the format.
            KeyServiceError: the HSM is away or refuses.
        """
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, _ARGS)
        version = keywrap.int_arg(stanza.args, "version")
        if not 1 <= version <= MAX_VERSION:
            raise Malformed("An HSM key's version is out of bounds.")
        wrapped = keywrap.hex_arg(stanza.args, "data_key", _DATA_KEY)
        keywrap.hex_arg(stanza.args, "salt", keywrap.SALT)
        keywrap.hex_arg(stanza.args, "wrapped", keywrap.WRAPPED)
        named = keywrap.hex_arg(stanza.args, "key", _ID)
        if version != self._hsm.version or named.hex() != self._hsm.id:
            return None
        data_key = self._hsm.unwrap(wrapped)
        if data_key is None:
            return None
        return keywrap.unwrap(data_key, stanza.args, label=_label(version), context=context)


def _label(version: int) -> bytes:
    return LABEL + version.to_bytes(2, "big")


def _wrap(session: Any, kek: Any, data_key: bytes) -> bytes:
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

    require_use(kek, "wrap_key", "CKA_WRAP")
    made = session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.TOKEN: False,
            Attribute.SENSITIVE: False,
            Attribute.EXTRACTABLE: True,
            Attribute.VALUE: data_key,
        }
    )
    try:
        return bytes(kek.wrap_key(made, mechanism=Mechanism.AES_KEY_WRAP))
    finally:
        with suppress(Exception):  # a session object goes with its session
            made.destroy()


def _unwrap(kek: Any, wrapped: bytes) -> bytes | None:
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, PKCS11Error

    require_use(kek, "unwrap_key", "CKA_UNWRAP")
    template = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    try:
        made = kek.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.GENERIC_SECRET,
            wrapped,
            mechanism=Mechanism.AES_KEY_WRAP,
            template=template,
        )
    except PKCS11Error as error:
        if name_of(error) not in FOREIGN:
            raise
        # "General error" is also what a token says that is gone: one that still answers is not.
        kek[Attribute.KEY_TYPE]
        return None
    try:
        value = bytes(made[Attribute.VALUE])
        return value if len(value) == KEY_SIZE else None
    finally:
        with suppress(Exception):  # as above
            made.destroy()


# -- Opening with an EC private key that stays in the HSM ---------------------------------------


_OCTET_STRING = 0x04
_UNCOMPRESSED = 0x04


class Pkcs11EcIdentity(KeyHolder):
    """Opens with the key ``key`` of version ``version`` in a token.

    Args:
        public: the public half; read from the token on first use if left out. With it, a
            stanza for somebody else is skipped without a call to the HSM.
    """

    __slots__ = ("_public", "key", "token", "version")

    def __init__(self, token: Token, *, key: str, version: int, public: EcPublicKey | None = None) -> None:
        version_id(version)
        self.token = token
        self.key = key
        self.version = version
        self._public = public

    @property
    def public(self) -> EcPublicKey:
        """The public half. Raises KeyServiceError where it has to be read and cannot be."""
        if self._public is None:
            self._public = read_public(self.token, self.key, self.version)
        return self._public

    def describe(self) -> str:
        return f"the HSM key `{self.key}` v{self.version} in {self.token.describe()}"

    def recipient(self) -> EcRecipient:
        """Return the sealing side."""
        return EcRecipient(self.public, key=self.key, version=self.version, token=self.token.label or "")

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if the stanza is for another key or version.

        Raises:
            Malformed: the stanza breaks the format.
            KeyServiceError: the HSM is away or refuses; see :meth:`Token.do`.
        """
        if stanza.type != EcRecipient.type:
            return None
        return open_stanza(
            stanza, public=self.public, version=self.version, context=context, agree=self._agree
        )

    def _agree(self, point: bytes) -> bytes:
        return self.token.do(
            lambda session: derive(
                find(self.token, session, "PRIVATE_KEY", self.key, self.version), point, self.public.curve
            )
        )


def derive(private: Any, point: bytes, curve: Curve) -> bytes:
    """Return the x-coordinate of the shared point (SEC 1 3.3.1, PKCS#11 ``CKM_ECDH1_DERIVE``)."""
    from pkcs11 import KDF, Attribute, KeyType, Mechanism

    require_use(private, "derive_key", "CKA_DERIVE")
    secret = private.derive_key(
        KeyType.GENERIC_SECRET,
        8 * curve.field,
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, point),
        template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )
    try:
        return bytes(secret[Attribute.VALUE])
    finally:
        with suppress(Exception):  # a session object goes with its session
            secret.destroy()


def read_public(token: Token, key: str, version: int) -> EcPublicKey:
    """Read the public half from the token. Raises KeyServiceError."""
    from pkcs11 import Attribute

    def read(session: Any) -> bytes:
        return bytes(find(token, session, "PUBLIC_KEY", key, version)[Attribute.EC_POINT])

    return public_of(token.do(read), f"the key `{key}` v{version} of {token.describe()}")


def public_of(point: bytes, what: str) -> EcPublicKey:
    """Return the key of a ``CKA_EC_POINT``: a point in a DER octet string, or bare in some tokens."""
    if len(point) > 2 and point[0] == _OCTET_STRING and point[1] == len(point) - 2:
        point = point[2:]
    for curve in Curve:
        if len(point) == curve.point and point[0] == _UNCOMPRESSED:
            return EcPublicKey(curve, point)
    raise KeyServiceError(f"{what} is on neither P-256 nor P-384", hint="Make one on P-256.")


# -- Making keys in a token: they never leave it, and are believed only after being read back ---


_NAMES = {Curve.P256: "secp256r1", Curve.P384: "secp384r1"}
_TRIAL = b"strongroom/v1/trial"


def next_version(token: Token) -> int:
    """Return the first version that no key in the token has, of whatever label."""
    return token.do(lambda session: max(_taken(session), default=0)) + 1


def generate_ec(token: Token, *, key: str, version: int, curve: Curve = Curve.P256) -> EcPublicKey:
    """Make an EC key pair in the token; return the public half.

    Raises:
        KeyExists: there is a key of that label and version, or another of that version.
        MechanismMissing: the token could not use such a key; none is made.
        TokenFull: the token said that it made the key, and has not kept it.
        KeyServiceError: anything else that the token refuses.
    """
    _made(token, version, lambda session: _pair(session, key, version, curve), needs="ECDH1_DERIVE")
    identity = Pkcs11EcIdentity(_afresh(token), key=key, version=version)
    _try(lambda: identity.recipient().wrap(bytes(32), context=_TRIAL), identity, token)
    return identity.public


def generate_aes(token: Token, *, key: str, version: int) -> str:
    """Make an AES-256 wrapping key in the token; return its public id. Raises as above."""
    _made(token, version, lambda session: _secret(session, key, version), needs="AES_KEY_WRAP")
    hsm_aes_key = HsmAesKey(_afresh(token), key=key, version=version)
    sample = os.urandom(32)
    if _kept(lambda: hsm_aes_key.unwrap(hsm_aes_key.wrap(sample)), token) != sample:
        raise KeyServiceError(f"{hsm_aes_key.describe()} does not open what it wrapped")
    return hsm_aes_key.id


def _made(token: Token, version: int, make: Callable[[Any], object], *, needs: str) -> None:
    """Have a key made. A full token may fail as one that was unplugged does: look which it is."""
    try:
        token.do_writing(lambda session: _make(token, session, version, make, needs=needs))
        return
    except KeyServiceUnavailable as error:
        problem = error
    if version in _afresh(token).do(_taken):
        raise problem
    raise TokenFull(f"{token.describe()} is there, and has not kept the new key")


def _make(token: Token, session: Any, version: int, make: Callable[[Any], object], *, needs: str) -> None:
    """Make a key unless its id is taken, or the token lacks the mechanism that the key is for.

    Some tokens (NSS) take a new key of an id for the old one and overwrite it, whatever the
    labels are, so an id is given once in a token.
    """
    version_id(version)
    if needs not in {each.name for each in session.token.slot.get_mechanisms() if hasattr(each, "name")}:
        raise MechanismMissing(f"{token.describe()} has no mechanism CKM_{needs}; no key was made")
    if version in _taken(session):
        raise KeyExists(f"{token.describe()} has a key of version {version} already")
    make(session)


def _taken(session: Any) -> set[int]:
    from pkcs11 import Attribute

    kinds = ("PRIVATE_KEY", "PUBLIC_KEY", "SECRET_KEY")
    ids = [each[Attribute.ID] for kind in kinds for each in search(session, kind)]
    numbers = (int.from_bytes(id_, "big") for id_ in ids if len(id_) <= 2)
    return {number for number in numbers if 1 <= number <= MAX_VERSION}


def _pair(session: Any, key: str, version: int, curve: Curve) -> None:
    from pkcs11 import Attribute, KeyType, MechanismFlag
    from pkcs11.util.ec import encode_named_curve_parameters

    named = {Attribute.EC_PARAMS: encode_named_curve_parameters(_NAMES[curve])}
    session.create_domain_parameters(KeyType.EC, named, local=True).generate_keypair(
        store=True,
        label=key,
        id=version_id(version),
        capabilities=MechanismFlag.DERIVE,
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )


def _secret(session: Any, key: str, version: int) -> None:
    from pkcs11 import Attribute, KeyType, MechanismFlag

    session.generate_key(
        KeyType.AES,
        256,
        store=True,
        label=key,
        id=version_id(version),
        capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )


def _afresh(token: Token) -> Token:
    """Have the library read the token again: what it remembers is not what the token keeps."""
    token.begin_again()
    return token


def _try(wrap: Callable[[], Any], identity: Pkcs11EcIdentity, token: Token) -> None:
    if _kept(lambda: identity.unwrap(wrap(), context=_TRIAL), token) != bytes(32):
        raise KeyServiceError(f"{identity.describe()} does not open what was sealed to it")


def _kept(use: Callable[[], bytes | None], token: Token) -> bytes | None:
    try:
        return use()
    except KeyNotFound:
        raise TokenFull(f"{token.describe()} said that it made the key, and has not kept it") from None
