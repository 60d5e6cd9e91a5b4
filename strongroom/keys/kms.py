"""A key of AWS KMS, of one region: *whoever may decrypt with it can open*.

KMS encrypts the wrapping key itself, with an encryption context that names the wrapping key: that
is associated data of its AES-256-GCM, and stands in CloudTrail at every use. One recipient is one
region's key. Name several regions' keys, and losing a region loses nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from strongroom.container.cobblestone import require_key
from strongroom.container.errors import Malformed
from strongroom.container.wrapping import Stanza
from strongroom.errors import ConfigError, KeyServiceError
from strongroom.keys import keywrap
from strongroom.keys.errors import (
    KeyDenied,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KeyServiceUnavailable,
    MechanismMissing,
)
from strongroom.keys.passphrase import KeyHolder
from strongroom.system.process import PerProcess

# -- KMS of one region, one key: asked, or a typed error. One client a process, made on first use ---


T = TypeVar("T")

CONTEXT = "strongroom"
"""The encryption context's one name; its value is what a recipient binds, in hex."""

SHORTEST_WAIT = 7
"""Days that a key at least waits for its deletion."""

_FOREIGN = frozenset({"InvalidCiphertextException", "IncorrectKeyException", "InvalidCiphertext"})
_OTHERS = "The ciphertext refers to a customer master key that"
"""How KMS begins its refusal, an AccessDeniedException, of what another key made."""
_AWAY = frozenset(
    {
        "500",  # answers without a code of the service's own: something before it is in trouble
        "502",
        "503",
        "504",
        "DependencyTimeoutException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
        "LimitExceededException",
    }
)
_DENIED = frozenset(
    {
        "403",  # an answer without a code of the service's own: something before it refuses
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_NONSENSE = (AttributeError, LookupError, TypeError, ValueError)
_STATES = frozenset({"DisabledException", "KMSInvalidStateException"})


class KmsOptions(Struct, frozen=True, kw_only=True):
    """Which key, and how it is reached.

    Args:
        key_id: id, ARN or alias. Give the opening host the ARN: an alias may be moved to another key.
        profile: of the AWS configuration; the SDK's own chain if left out.
    """

    key_id: str
    region: str
    endpoint_url: str | None = None
    profile: str | None = None
    ca_bundle: Path | None = None
    connect_timeout: float = 5.0
    read_timeout: float = 15.0
    max_attempts: int = 3


class DecryptedKey(Struct, frozen=True, kw_only=True):
    """What decrypting gave, and with which key. It has no ``repr``."""

    key: bytes
    arn: str

    def __repr__(self) -> str:
        return f"Opened(by {self.arn})"


class Kms:
    """One key of KMS. Making one calls nothing."""

    __slots__ = ("_process", "options")

    def __init__(self, options: KmsOptions) -> None:
        self.options = options
        self._process = PerProcess(lambda: _KmsProcess(options))

    def describe(self) -> str:
        return f"the KMS key `{self.options.key_id}` in {self.options.region}"

    def may_be(self, arn: str) -> bool:
        """Whether that may be our key. Of an alias only KMS knows."""
        own = self.options.key_id
        if f":kms:{self.options.region}:" not in arn:
            return False
        if "alias/" in own:
            return True
        return arn in (own, f"{arn.rpartition('/')[0]}/{own}")

    def encrypt(self, key: bytes, *, context: str) -> tuple[str, bytes]:
        """Return the key's ARN, and what it made of ``key``. Raises KeyServiceError."""

        def encrypt(client: Any) -> tuple[str, bytes]:
            answer = client.encrypt(
                KeyId=self.options.key_id, Plaintext=key, EncryptionContext={CONTEXT: context}
            )
            arn, blob = answer["KeyId"], bytes(answer["CiphertextBlob"])
            if not (arn.startswith("arn:") and blob):
                raise ValueError
            return str(arn), blob

        return self._ask(encrypt)

    def decrypt(self, blob: bytes, *, context: str) -> DecryptedKey | None:
        """Return what is in it; ``None`` if it was not made by this key for this context."""

        def decrypt(client: Any) -> DecryptedKey:
            answer = client.decrypt(
                KeyId=self.options.key_id, CiphertextBlob=blob, EncryptionContext={CONTEXT: context}
            )
            return DecryptedKey(key=bytes(answer["Plaintext"]), arn=str(answer["KeyId"]))

        try:
            return self._ask(decrypt)
        except _Foreign:
            return None

    def state(self) -> dict[str, Any]:
        """Return what KMS says of the key (``KeyMetadata``). Raises KeyServiceError."""
        return self._ask(lambda client: dict(client.describe_key(KeyId=self.options.key_id)["KeyMetadata"]))

    def schedule_deletion(self) -> None:
        """Have the key deleted, after the shortest time that KMS allows. Raises KeyServiceError.

        Named by the id that KMS just showed: only the key's own account may delete it.
        """
        shown = str(self.state()["KeyId"])
        self._ask(lambda client: client.schedule_key_deletion(KeyId=shown, PendingWindowInDays=SHORTEST_WAIT))

    def require_usable(self) -> None:
        """Refuse a key that is off, on its way out, or of a kind that is not used here.

        Looked at once a process, so that sealing costs one request: of a state that changes later
        KMS's own refusal tells.

        Raises:
            KeyDisabled, KeyPendingDeletion, MechanismMissing: what is wrong with it.
        """
        link = self._process.get()
        if link.looked_at:
            return
        found = self.state()
        problem = self._trouble(found)
        if problem is not None:
            raise problem
        if found.get("KeySpec", found.get("CustomerMasterKeySpec")) != "SYMMETRIC_DEFAULT":
            raise MechanismMissing(f"{self.describe()} is not symmetric", hint="Use a symmetric key.")
        link.looked_at = True

    def _trouble(self, found: dict[str, Any]) -> KeyServiceError | None:
        state = found.get("KeyState")
        if state in ("PendingDeletion", "PendingReplicaDeletion"):
            when = found.get("DeletionDate")
            on = f" on {when:%Y-%m-%d}" if when is not None else ""
            return KeyPendingDeletion(f"{self.describe()} is going to be deleted{on}")
        if state != "Enabled":
            return KeyDisabled(f"{self.describe()} is switched off (state {state})")
        return None

    def _ask(self, call: Callable[[Any], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call(self._process.get().client)
        except ClientError as error:
            code, words = _said(error.response)
        except BotoCoreError as error:
            raise _without_answer(error, self.describe()) from None
        except _NONSENSE:
            # The SDK does not look what it is given: a proxy's page in the service's place ends so.
            raise KeyServiceError(
                f"{self.describe()} gives an answer that KMS does not give",
                hint="No backup is damaged. Check who answers at that address; another recipient opens.",
            ) from None
        if code in _FOREIGN or _OTHERS in words:
            raise _Foreign(f"that was not made by {self.describe()}")
        if code in _STATES:
            # Say which state it is: one code stands for several.
            try:
                problem = self._trouble(self.state())
            except KeyServiceError:
                problem = None
            raise problem or KeyDisabled(f"{self.describe()} cannot be used in its state ({code})")
        raise _problem(code, self.describe())


class _KmsProcess:
    """What belongs to one process."""

    def __init__(self, options: KmsOptions) -> None:
        from botocore.config import Config
        from botocore.session import Session

        self.client = Session(profile=options.profile).create_client(
            "kms",
            region_name=options.region,
            endpoint_url=options.endpoint_url,
            verify=str(options.ca_bundle) if options.ca_bundle else None,
            config=Config(
                connect_timeout=options.connect_timeout,
                read_timeout=options.read_timeout,
                retries={"mode": "standard", "total_max_attempts": options.max_attempts},
                user_agent_extra="strongroom",
            ),
        )
        self.looked_at = False


class _Foreign(KeyServiceError):
    """It was not made by this key, or not for this context."""


def _said(response: dict[str, Any]) -> tuple[str, str]:
    """Return the code and the words of a refusal; the words are looked at and not repeated."""
    error = response.get("Error", {})
    return str(error.get("Code", "")), str(error.get("Message", ""))


def _problem(code: str, where: str) -> KeyServiceError:
    if code in _AWAY:
        return KeyServiceUnavailable(f"{where} does not answer ({code})")
    if code in _DENIED:
        return KeyDenied(f"{where} may not be used by these credentials ({code})")
    if code in ("NotFoundException", "NotFound"):
        return KeyNotFound(f"there is no such key: {where}")
    return KeyServiceError(f"{where} refuses ({code})")


def _without_answer(error: Any, where: str) -> KeyServiceError | ConfigError:
    from botocore import exceptions

    away = (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.ReadTimeoutError)
    name = type(error).__name__
    if isinstance(error, exceptions.SSLError):
        return KeyServiceError(f"{where} has a certificate that is not believed ({name})")
    if isinstance(error, away):
        return KeyServiceUnavailable(f"{where} does not answer ({name})")
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return KeyDenied(f"there are no credentials for {where}", hint="Give the host a role or a profile.")
    return ConfigError(f"{where} cannot be used as it is configured ({name})")


# -- A key of AWS KMS, of one region: *whoever may decrypt with it can open* --------------------
#
# KMS encrypts the wrapping key itself, with an encryption context that names the wrapping key: that
# is associated data of its AES-256-GCM, and stands in CloudTrail at every use. One recipient is one
# region's key. Name several regions' keys, and losing a region loses nothing.


TYPE = "kms"
_ID_LABEL = b"strongroom/v1/kms-id/"
_ARGS = frozenset({"arn", "blob"})
_MAX_ARN, _MAX_BLOB = 2048, 6144
"""What the service itself allows."""


class KmsRecipient(KeyHolder):
    """Seals to a key of KMS."""

    __slots__ = ("_kms", "label")

    type = TYPE
    post_quantum = True  # the key is symmetric, of 256 bits, and never leaves KMS

    def __init__(self, kms: Kms, *, label: str = "") -> None:
        self._kms = kms
        self.label = label or kms.options.region

    @property
    def fingerprint(self) -> str:
        place = f"{self._kms.options.region} {self._kms.options.key_id}".encode()
        return f"{TYPE}:{hashlib.sha256(_ID_LABEL + place).hexdigest()}"

    def describe(self) -> str:
        return f"anyone who may decrypt with {self._kms.describe()}"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key.

        Raises:
            KeyDisabled, KeyPendingDeletion: nothing is sealed for a key that is on its way out.
            KeyServiceError: KMS refuses, is away, or has no such key.
        """
        require_key(key, "key to wrap")
        self._kms.require_usable()
        arn, blob = self._kms.encrypt(key, context=context.hex())
        args: dict[str, str | int] = {"arn": arn.encode().hex(), "blob": blob.hex()}
        return Stanza(type=TYPE, label=self.label, args=args)


class KmsIdentity(KeyHolder):
    """Opens where KMS lets us decrypt."""

    __slots__ = ("_kms",)

    def __init__(self, kms: Kms) -> None:
        self._kms = kms

    def describe(self) -> str:
        return self._kms.describe()

    def recipient(self) -> KmsRecipient:
        """Return the sealing side."""
        return KmsRecipient(self._kms)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if another key opens the stanza.

        KMS is asked to decrypt with *our* key, whatever the stanza names.

        Raises:
            Malformed: the stanza breaks the format.
            KeyServiceError: KMS refuses, is away, or the key is disabled or on its way out.
        """
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, _ARGS)
        arn, blob = arn_of(stanza), _hex(stanza, "blob", _MAX_BLOB)
        if not self._kms.may_be(arn):
            return None
        key = self._kms.decrypt(blob, context=context.hex())
        return key.key if key is not None and key.arn == arn and len(key.key) == 32 else None


def arn_of(stanza: Stanza) -> str:
    """Return which key a stanza is for. Raises Malformed."""
    try:
        arn = _hex(stanza, "arn", _MAX_ARN).decode("ascii")
    except UnicodeDecodeError:
        arn = ""
    if not arn.isprintable():
        arn = ""
    return arn


def _hex(stanza: Stanza, name: str, most: int) -> bytes:
    text = stanza.args[name]
    size = len(text) // 2 if isinstance(text, str) else 0
    if not 1 <= size <= most:
        raise Malformed(f"A KMS stanza's {name} is of a length that the service does not have.")
    return keywrap.hex_arg(stanza.args, name, size)
