"""How a key is destroyed and how that is shown: KMS, Transit, tokens, files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from strongroom.container.wrapping import Identity, Stanza
from strongroom.keys import Opener
from strongroom.keys.destroying import Fate, KeyVersionState, destroyed_mark
from strongroom.keys.errors import KeyNotDestroyed, KeyNotFound
from strongroom.keys.kms import TYPE, Kms, KmsIdentity, arn_of
from strongroom.keys.pkcs11.session import Token
from strongroom.keys.pkcs11.token_keys import search
from strongroom.keys.transit import TYPE as TRANSIT
from strongroom.keys.transit import TransitIdentity, TransitKey
from strongroom.system import files
from strongroom.times import rfc3339

# -- Destroying keys at their key services: an HSM, KMS, a transit key of Vault -----------------


# -- Destroying a key in an HSM: its objects are removed from the token, and looked for anew ----


KINDS = ("PRIVATE_KEY", "SECRET_KEY", "PUBLIC_KEY")
"""The half that opens first: whatever comes next, that one is gone."""


class HsmDestroyer:
    """The key of one label and version in a token.

    Args:
        public: what its stanzas call it, ``type:id``; asked for on use.
        opener: its opening side.
    """

    renews = False

    def __init__(
        self, name: str, token: Token, *, label: str, public: Callable[[], str], opener: Opener
    ) -> None:
        self.name = name
        self._token = token
        self._label = label
        self._public = public
        self._opener = opener

    def owns(self, stanza: Stanza) -> bool:
        return (
            stanza.type in ("pkcs11-ec", "pkcs11-aes")
            and f"{stanza.type}:{stanza.args.get('key')}" == self._public()
        )

    def takes(self, version: int, other: int) -> bool:
        return version == other

    def look(self, version: int) -> KeyVersionState:
        """Begin with the token anew, and look what it has."""
        self._token.begin_again()
        return self._token.do(lambda session: self._look(session, version))

    def prepare(self, version: int) -> None:
        """Do nothing: the policy has to name another key first."""

    def destroy(self, version: int) -> None:
        def remove(session: Any) -> None:
            for kind in KINDS:
                for key in search(session, kind, self._label, version):
                    key.destroy()

        self._token.do_writing(remove)

    def identity(self, version: int) -> Identity:  # noqa: ARG002 - the opener is of one version
        return self._opener

    def _look(self, session: Any, version: int) -> KeyVersionState:
        serial = session.token.serial.decode("utf-8", "replace").strip("\0 ")
        keys = [key for kind in KINDS[:2] for key in search(session, kind, self._label, version)]
        return KeyVersionState(
            fate=Fate.THERE if keys else Fate.GONE,
            where=f"{self._token.describe()}, serial number {serial}",
            absent=not keys,
            doubts=tuple(dict.fromkeys(doubt for key in keys for doubt in _doubts(key))),
            answer={"keys": len(keys), "label": self._label, "serial": serial, "version": version},
        )


def _doubts(key: Any) -> Iterator[str]:
    """Only of a key that was made in the token and could never leave it there is no other copy."""
    from pkcs11 import Attribute, PKCS11Error

    wanted = {
        Attribute.LOCAL: "the key was not made in the token",
        Attribute.NEVER_EXTRACTABLE: "the key could be taken out of the token",
    }
    for attribute, words in wanted.items():
        try:
            good = bool(key[attribute])
        except PKCS11Error:
            good = False
        if not good:
            yield words


# -- Destroying a key of KMS: deletion is scheduled, and until its date somebody can cancel it ---


_WAITS = frozenset({"PendingDeletion", "PendingReplicaDeletion"})


class KmsDestroyer:
    """A key of AWS KMS. Its own rotations cannot be destroyed apart, so it goes as a whole."""

    renews = False

    def __init__(self, name: str, kms: Kms) -> None:
        self.name = name
        self._kms = kms

    def owns(self, stanza: Stanza) -> bool:
        return stanza.type == TYPE and self._kms.may_be(arn_of(stanza))

    def takes(self, version: int, other: int) -> bool:
        return version == other

    def look(self, version: int) -> KeyVersionState:  # noqa: ARG002 - a key has one
        """Ask KMS for the key's state."""
        where = f"{self._kms.options.region} {self._kms.options.key_id}"
        try:
            found = self._kms.state()
        except KeyNotFound as error:
            return KeyVersionState(fate=Fate.GONE, where=where, absent=True, answer={"said": error.code})
        state = str(found.get("KeyState", ""))
        doubts = []
        if found.get("MultiRegion"):
            doubts.append("the key has replicas in other regions, or can have: each opens by itself")
        if found.get("Origin") not in (None, "AWS_KMS"):
            doubts.append("the key's material came from outside of KMS")
        return KeyVersionState(
            fate=Fate.PENDING if state in _WAITS else Fate.THERE,
            where=where,
            until=_date(found.get("DeletionDate")) if state in _WAITS else "",
            doubts=tuple(doubts),
            answer={"arn": str(found.get("Arn", "")), "state": state, "origin": str(found.get("Origin", ""))},
        )

    def prepare(self, version: int) -> None:
        """Do nothing: the policy has to name another key first."""

    def destroy(self, version: int) -> None:
        """Schedule the deletion, as soon as KMS lets."""
        if self.look(version).fate is Fate.THERE:
            self._kms.schedule_deletion()

    def identity(self, version: int) -> Identity:  # noqa: ARG002 - as above
        return KmsIdentity(self._kms)


def _date(value: object) -> str:
    """Of a key that waits for its replicas KMS tells no day."""
    return rfc3339(value) if isinstance(value, datetime) else ""


# -- Destroying versions of a transit key: trimmed, they are gone from Vault's storage ----------
#
# Vault trims from below: destroying a version takes all older ones with it. A raised
# ``min_decryption_version`` refuses too, and can be lowered again: only what was trimmed is gone.


_SHOWN = (
    "allow_plaintext_backup",
    "exportable",
    "imported_key",
    "latest_version",
    "min_available_version",
    "min_decryption_version",
    "min_encryption_version",
    "type",
)


class TransitDestroyer:
    """A key of a Vault's transit engine."""

    renews = True

    def __init__(self, name: str, transit: TransitKey) -> None:
        self.name = name
        self._transit = transit

    def owns(self, stanza: Stanza) -> bool:
        return stanza.type == TRANSIT and stanza.args.get("key") == self._transit.id.hex()

    def takes(self, version: int, other: int) -> bool:
        return other <= version

    def look(self, version: int) -> KeyVersionState:
        """Ask Vault for the key's versions."""
        where = self._transit.place
        try:
            found = self._transit.settings()
        except KeyNotFound as error:
            doubt = "the whole key is not there, as it would not be at a wrong address"
            return KeyVersionState(fate=Fate.GONE, where=where, doubts=(doubt,), answer={"said": error.code})
        trimmed = _number(found, "min_available_version") > version
        return KeyVersionState(
            fate=Fate.GONE if trimmed else Fate.THERE,
            where=where,
            doubts=tuple(_doubts_of_transit(found)),
            answer={name: found[name] for name in _SHOWN if isinstance(found.get(name), str | int)},
        )

    def prepare(self, version: int) -> None:
        """Rotate the key if it still seals under that version."""
        if _number(self._transit.settings(), "latest_version") <= version:
            self._transit.change("rotate", {})

    def destroy(self, version: int) -> None:
        """Trim that version and all before it.

        Raises:
            KeyNotDestroyed: it is the newest, and has to be rotated first.
        """
        found = self._transit.settings()
        if _number(found, "min_available_version") > version:
            return
        oldest = version + 1
        if _number(found, "latest_version") < oldest:
            raise KeyNotDestroyed(f"{self._transit.describe()} still seals under v{version}")
        limits = ("min_decryption_version", "min_encryption_version")
        self._transit.change("config", {name: max(oldest, _number(found, name)) for name in limits})
        self._transit.change("trim", {"min_available_version": oldest})

    def identity(self, version: int) -> Identity:  # noqa: ARG002 - Vault finds the version in what it opens
        return TransitIdentity(self._transit)


def _number(found: dict[str, object], name: str) -> int:
    value = found.get(name, 0)
    return value if isinstance(value, int) else 0


def _doubts_of_transit(found: dict[str, object]) -> list[str]:
    """A key that could be taken out of Vault may lie elsewhere."""
    said = {
        "exportable": "the key may have been exported",
        "allow_plaintext_backup": "the key may have been backed up in plaintext",
        "imported_key": "the key was made outside of Vault",
    }
    return [words for name, words in said.items() if found.get(name)]


# -- Destroying a key that lies in a file: overwritten, then unlinked ---------------------------
#
# That is as good as the medium: a copying file system, a flash disk, a snapshot or somebody's copy may
# keep what was there. So it is never called proven.


DOUBT = "a file that is overwritten and removed is as gone as its medium forgets it"


class FileDestroyer:
    """A key file, or the private half of a key pair.

    Args:
        type: of its stanzas.
        public: what they call it, ``type:id``; asked for on use.
        load: reads it as what opens.
    """

    renews = False

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        type: str,  # noqa: A002 - what stanzas call it
        public: Callable[[], str],
        load: Callable[[Path], Identity],
    ) -> None:
        self.name = name
        self._path = path
        self._type = type
        self._public = public
        self._load = load

    def owns(self, stanza: Stanza) -> bool:
        named = f"{stanza.type}:{stanza.args.get('key')}"
        return stanza.type == self._type and named == self._public()

    def takes(self, version: int, other: int) -> bool:
        return version == other

    def look(self, version: int) -> KeyVersionState:  # noqa: ARG002 - a file holds one
        there = os.path.lexists(self._path)
        return KeyVersionState(
            fate=Fate.THERE if there else Fate.GONE,
            where=str(self._path),
            absent=not there,
            doubts=(DOUBT,),
            answer={"file": "there" if there else "gone"},
        )

    def prepare(self, version: int) -> None:
        """Do nothing: the policy has to name another key first."""

    def destroy(self, version: int) -> None:  # noqa: ARG002 - as above
        """Overwrite it with noise, and remove it. Killed half-way, it is done again.

        Raises:
            KeyNotDestroyed: it is a link, or has another name that would keep it.
        """
        if not os.path.lexists(self._path):
            return
        try:
            _overwrite(self._path)
            destroyed_mark(self._path).touch(mode=0o600)
            self._path.unlink()
            files.sync(self._path.parent)
        except OSError as error:
            raise KeyNotDestroyed(f"'{self._path}' could not be destroyed: {error.strerror}") from None

    def identity(self, version: int) -> Identity:  # noqa: ARG002 - as above
        return self._load(self._path)


def _overwrite(path: Path) -> None:
    # O_NOFOLLOW: through a link, something else would be overwritten.
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise KeyNotDestroyed(
                f"'{path}' is no file of one name, so removing it would leave the key elsewhere",
                hint="Remove its other names by hand, then 'strongroom keys shred --resume'.",
            )
        for content in (os.urandom(found.st_size), bytes(found.st_size)):
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, content)
            os.fsync(descriptor)
    finally:
        with suppress(OSError):
            os.close(descriptor)
