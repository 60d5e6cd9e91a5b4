"""A recipient: a badge, which is a file of 32 bytes."""

import hashlib
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from strongroom.plugins import AbsolutePath, ConfigError, KeyHolder, KeyKind, SecretBytes, Stanza, keywrap

TYPE = "acme-badge"
LABEL = b"acme/v1/badge/"


class Badge(KeyKind, frozen=True, kw_only=True):
    """Anyone who has the badge can open."""

    PLUGIN_API: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "acme_strongroom.badge:recipient"
    OPENED_BY: ClassVar[str] = "acme_strongroom.badge:identity"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("file",)

    kind: Annotated[Literal["badge"], Meta(description="Which kind of key this is.")]
    file: Annotated[AbsolutePath, Meta(description="The badge's file.", examples=["/etc/acme/badge"])]

    def lost_with(self, vaults):  # noqa: ARG002 - what is lost with a Vault says so
        return f"the badge {self.file}"


def recipient(name, own, settings, ask):
    return BadgeRecipient(_read(own.file), label=name)


def identity(name, own, settings, ask):
    if own.file.exists():
        yield BadgeIdentity(_read(own.file))


def _read(file):
    try:
        key = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"the badge '{file}' cannot be read: {error.strerror}") from None
    if len(key) != 32:
        raise ConfigError(f"'{file}' is no badge")
    return key


def _id(key):
    return hashlib.sha256(b"acme/v1/badge-id/" + key).hexdigest()[:32]


class BadgeRecipient(KeyHolder):
    __slots__ = ("_key", "fingerprint", "label")

    type = TYPE
    post_quantum = True

    def __init__(self, key, *, label=""):
        self._key = SecretBytes(key)
        self.label = label
        self.fingerprint = f"{TYPE}:{_id(key)}"

    def describe(self):
        return f"anyone with the badge `{self.label}`"

    def wrap(self, key, *, context):
        wrapped = keywrap.wrap(self._key.reveal(), key, label=LABEL, context=context)
        return Stanza(type=TYPE, label=self.label, args={"key": _id(self._key.reveal()), **wrapped})


class BadgeIdentity(KeyHolder):
    __slots__ = ("_key",)

    def __init__(self, key):
        self._key = SecretBytes(key)

    def describe(self):
        return f"the badge {_id(self._key.reveal())[:16]}"

    def recipient(self):
        return BadgeRecipient(self._key.reveal())

    def unwrap(self, stanza, *, context):
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, frozenset({"key", "salt", "wrapped"}))
        named = keywrap.hex_arg(stanza.args, "key", 16)
        opened = keywrap.unwrap(self._key.reveal(), stanza.args, label=LABEL, context=context)
        return opened if named.hex() == _id(self._key.reveal()) else None
