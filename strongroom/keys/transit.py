"""A key of Vault's transit engine: *whoever may use it there can open*.

Vault gives a fresh data key, in plaintext and wrapped under its own key; the wrapping key lies
under the data key as in every other stanza (AES-256-GCM under HKDF-SHA-512), which binds type and
context here. Vault's own associated data would bind it too, but no server can re-wrap with it
(hashicorp/vault#29532); and so Vault never sees what opens a backup. The host that seals needs
``datakey`` alone, and cannot open.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from strongroom.container.cobblestone import KEY_SIZE, Random, require_key
from strongroom.container.errors import Malformed
from strongroom.container.wrapping import Stanza
from strongroom.errors import KeyServiceError
from strongroom.keys import keywrap
from strongroom.keys.errors import (
    KeyDenied,
    KeyNotFound,
    KeyServiceUnavailable,
    KeyVersionTooOld,
    MechanismMissing,
)
from strongroom.keys.passphrase import KeyHolder
from strongroom.vault import answers
from strongroom.vault.answers import ServerAnswer

if TYPE_CHECKING:
    from strongroom.vault.client import Vault

TYPE = "transit"
LABEL = b"strongroom/v1/wrap/transit/"
_ID_LABEL = b"strongroom/v1/transit-id/"
_ARGS = frozenset({"data_key", "key", "salt", "version", "wrapped"})
_ID = 16
_DATA_KEY = 12 + KEY_SIZE + 16  # nonce, key, tag: aes256-gcm96 and chacha20-poly1305
_MOST = 1 << 31
_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]{0,9}):([A-Za-z0-9+/]+={0,2})")


class TransitKey:
    """A key in a Vault. Making one calls nothing.

    Args:
        server: what people call the server.
    """

    __slots__ = ("_vault", "key", "mount", "server")

    def __init__(self, vault: Vault, *, key: str, mount: str = "transit", server: str = "") -> None:
        self._vault = vault
        self.key = key
        self.mount = mount.strip("/")
        self.server = server or vault.connection.address

    @property
    def id(self) -> bytes:
        """A public name of mount and key, 16 bytes. The address is not in it: servers move."""
        return hashlib.sha256(_ID_LABEL + f"{self.mount}/{self.key}".encode()).digest()[:_ID]

    @property
    def place(self) -> str:
        """Address, namespace, mount and key: what tells two recipients apart."""
        connection = self._vault.connection
        return f"{connection.address} {connection.namespace} {self.mount}/{self.key}"

    def describe(self) -> str:
        return f"the transit key `{self.key}` of the Vault `{self.server}`"

    def data_key(self) -> tuple[int, bytes, bytes]:
        """Return the key's version, and a fresh data key: wrapped, and in plaintext.

        Raises:
            KeyServiceError: Vault refuses, is away, or has no such key.
        """
        try:
            answer = self._guarded(
                lambda: self._vault.transit.generate_data_key(
                    self.key, "plaintext", bits=8 * KEY_SIZE, mount_point=self.mount
                )
            )
        except answers.VaultRefused:
            self.settings()  # says so if there is no such key: a refusal is all that Vault answers then
            raise self._odd() from None
        try:
            data = answer.data()
            match = _CIPHERTEXT.fullmatch(str(data["ciphertext"]))
            if match is None or int(match[1]) >= _MOST:
                raise ValueError
            version, wrapped = int(match[1]), base64.b64decode(match[2], validate=True)
            plain = base64.b64decode(str(data["plaintext"]), validate=True)
        except (KeyError, ValueError, answers.NotVault):
            raise self._odd() from None
        if len(wrapped) != _DATA_KEY or len(plain) != KEY_SIZE:
            raise self._odd()
        return version, wrapped, plain

    def unwrap(self, version: int, wrapped: bytes) -> bytes | None:
        """Return a data key; ``None`` if it was not wrapped under this key.

        Raises:
            KeyVersionTooOld: Vault no longer decrypts with that version.
            KeyServiceError: Vault refuses, is away, or has no such key.
        """
        ciphertext = f"vault:v{version}:{base64.b64encode(wrapped).decode()}"
        try:
            answer = self._guarded(
                lambda: self._vault.transit.decrypt_data(self.key, ciphertext, mount_point=self.mount)
            )
            plain = base64.b64decode(str(answer.data().get("plaintext", "")), validate=True)
        except answers.VaultRefused:
            self._require_opens(version)
            return None
        except (ValueError, answers.NotVault):
            raise self._nonsense() from None
        return plain if len(plain) == KEY_SIZE else None

    def settings(self) -> dict[str, Any]:
        """Return what Vault says of the key: type, versions. Raises KeyServiceError."""
        try:
            answer = self._guarded(lambda: self._vault.transit.read_key(self.key, mount_point=self.mount))
        except answers.VaultRefused as error:
            raise KeyServiceError(f"{self.describe()}: {error.message}") from None
        if not answer.found:
            raise KeyNotFound(
                f"there is no {self.describe().removeprefix('the ')}, or no mount '{self.mount}'"
            )
        try:
            return answer.data()
        except answers.NotVault:
            raise self._nonsense() from None

    def change(self, what: str, body: dict[str, object]) -> None:
        """Have Vault ``rotate``, ``config`` or ``trim`` the key. Raises KeyServiceError."""
        try:
            # Not by hvac: it sets no 'min_encryption_version' that equals 'min_decryption_version'.
            self._guarded(
                lambda: self._vault.post(self.mount, "keys", self.key, what, body=body, repeatable=True)
            )
        except answers.VaultRefused as error:
            raise KeyServiceError(f"{self.describe()} ({what}): {error.message}") from None

    def _require_opens(self, version: int) -> None:
        """Raise if Vault refuses for the version's sake: its words are not read, they may quote us."""
        settings = self.settings()
        oldest, kept = settings.get("min_decryption_version", 1), settings.get("min_available_version", 0)
        if type(oldest) is not int or type(kept) is not int:
            raise self._nonsense()
        if version < max(oldest, kept):
            gone = " They were trimmed: what needs them is lost here." if version < kept else ""
            raise KeyVersionTooOld(
                f"{self.describe()} opens nothing older than v{max(oldest, kept)}, "
                f"and this was sealed under v{version}.{gone}"
            )

    def _odd(self) -> MechanismMissing:
        return MechanismMissing(
            f"{self.describe()} gives no data key", hint="It has to be of type aes256-gcm96: make another."
        )

    def _nonsense(self) -> KeyServiceError:
        return KeyServiceError(
            f"{self.describe()} gives an answer that Vault does not give",
            hint="No backup is damaged. Check who answers at that address; another recipient opens.",
        )

    def _guarded(self, ask: Callable[[], ServerAnswer]) -> ServerAnswer:
        """Ask; where the answer is lost, ask again: done twice, each request is as good as once."""
        try:
            return ask()
        except answers.VaultRefused:
            raise
        except answers.Unavailable as error:
            raise KeyServiceUnavailable(
                f"{self.describe()} cannot be reached: {error.message}", hint=error.hint
            ) from None
        except (answers.Denied, answers.LoginRefused) as error:
            raise KeyDenied(f"{self.describe()} may not be used like that: {error.message}") from None
        except answers.VaultError as error:
            raise KeyServiceError(f"{self.describe()}: {error.message}", hint=error.hint) from None


class TransitRecipient(KeyHolder):
    """Seals with data keys of a transit key."""

    __slots__ = ("_random", "_transit", "label")

    type = TYPE
    post_quantum = True  # the key in Vault is symmetric, of 256 bits

    def __init__(self, transit: TransitKey, *, label: str = "", random: Random = os.urandom) -> None:
        self._transit = transit
        self._random = random
        self.label = label or transit.key

    @property
    def fingerprint(self) -> str:
        return f"{TYPE}:{hashlib.sha256(_ID_LABEL + self._transit.place.encode()).hexdigest()}"

    def describe(self) -> str:
        return f"anyone who may decrypt with {self._transit.describe()}"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key under the key's newest version. Raises KeyServiceError."""
        require_key(key, "key to wrap")
        version, wrapped, plain = self._transit.data_key()
        args: dict[str, str | int] = {
            "data_key": wrapped.hex(),
            "key": self._transit.id.hex(),
            "version": version,
        }
        args |= keywrap.wrap(plain, key, label=LABEL, context=context, random=self._random)
        return Stanza(type=TYPE, label=self.label, args=args)


class TransitIdentity(KeyHolder):
    """Opens where Vault lets us decrypt."""

    __slots__ = ("_transit",)

    def __init__(self, transit: TransitKey) -> None:
        self._transit = transit

    def describe(self) -> str:
        return self._transit.describe()

    def recipient(self) -> TransitRecipient:
        """Return the sealing side."""
        return TransitRecipient(self._transit)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if another key opens the stanza.

        Raises:
            Malformed: the stanza breaks the format.
            KeyServiceError: see :meth:`TransitKey.unwrap`.
        """
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, _ARGS)
        version = keywrap.int_arg(stanza.args, "version")
        if not 1 <= version < _MOST:
            raise Malformed("A transit key's version is out of bounds.")
        wrapped = keywrap.hex_arg(stanza.args, "data_key", _DATA_KEY)
        keywrap.hex_arg(stanza.args, "salt", keywrap.SALT)
        keywrap.hex_arg(stanza.args, "wrapped", keywrap.WRAPPED)
        if keywrap.hex_arg(stanza.args, "key", _ID) != self._transit.id:
            return None
        plain = self._transit.unwrap(version, wrapped)
        if plain is None:
            return None
        return keywrap.unwrap(plain, stanza.args, label=LABEL, context=context)
