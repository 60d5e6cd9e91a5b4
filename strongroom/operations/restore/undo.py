"""undo: sealed files of what a restore is about to overwrite.

Sealed to whoever could open the backup that is being restored. Each batch of a restore gets its
file before it writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from strongroom.container.about import ContainerHeader
from strongroom.container.cobblestone import KEY_SIZE, name_hashes
from strongroom.container.manifest import (
    Counts,
    Manifest,
    ManifestRecipient,
    ManifestSelection,
    sign_manifest,
)
from strongroom.container.signing import CertifiedSigner, sign_receipt
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import SealedContainer, write_container
from strongroom.errors import ConfigError, KeyServiceError, StrongroomError
from strongroom.keys import BY_LABEL, Opener, Recipient, Stanza
from strongroom.keys.allof import TYPE as ALL_OF
from strongroom.keys.allof import AllOfIdentity
from strongroom.keys.passphrase import KeyHolder
from strongroom.model import ListedSecret
from strongroom.operations.engine.layout import container_entry, container_name, manifest_name, sealed_receipt
from strongroom.operations.restore.record import KEY_NAME
from strongroom.operations.restore.restore import Undo
from strongroom.sources import Source
from strongroom.sources.batches import only
from strongroom.sources.memory import MemoryStore
from strongroom.targets import put_whole
from strongroom.targets.single_file import BundleWriter
from strongroom.times import rfc3339, unique

UNDO = "(undo)"
"""What stands in the place of a policy's name in an undo file."""
_TRIAL = b"strongroom/v1/undo/trial"
"""A key is tried under this context, so that no file holds what it wrapped."""


class UndoSealer:
    """Seals what undoes a restore, for whoever could open the backup that is restored.

    Those are the keys at hand, one of which opened it, and the backup's other recipients as far as this host
    knows how to seal for them: what one person restored a colleague can undo. A key that is gone, or whose
    service does not answer, is left out, since it must not stop a restore that another key opens.

    Args:
        identities: the keys at hand.
        manifest: the backup's that is restored, if there is one: whoever needed several keys for it needs
            them for the way back too.
        others: gives the recipients that this host is configured with. They are asked for once.
    """

    def __init__(
        self,
        identities: Sequence[Opener],
        signer: CertifiedSigner,
        *,
        manifest: Manifest | None = None,
        others: Callable[[], Iterable[Recipient]] = tuple,
    ) -> None:
        self._identities = tuple(identities)
        self._signer = signer
        self._manifest = manifest
        self._others = others
        self._answering: tuple[Recipient, ...] = ()
        self.absent: dict[str, StrongroomError] = {}

    def seal(self, path: Path, source: Source, names: Sequence[str]) -> None:
        """Seal the named secrets as they are now into a file.

        Raises:
            StrongroomError: no key is at hand that could open it, or none that answers.
        """
        try:
            self._seal(path, source, names)
        except (KeyServiceError, ConfigError):  # one of them went away meanwhile, and others may not have
            self._answering = ()
            self._seal(path, source, names)

    def _seal(self, path: Path, source: Source, names: Sequence[str]) -> None:
        seal_to_file(path, source, names, recipients=self.recipients(), signer=self._signer)

    def recipients(self) -> tuple[Recipient, ...]:
        """Return for whom to seal: those whose keys answer.

        Raises:
            StrongroomError: why there is nobody.
        """
        if not self._answering:
            self._answering = tuple(self._find())
        if not self._answering:
            raise next(iter(self.absent.values()), _nobody())
        return self._answering

    def _find(self) -> Iterator[Recipient]:
        self.absent = {}
        readers = self._manifest.recipients if self._manifest is not None else ()
        alone = self._at_hand()
        own = [known for each in alone if (known := _as_known(each, readers, kind_will_do=True))]
        if not own and ALL_OF in {reader.type for reader in readers}:
            own = self._together()
        mine = own or alone
        yield from self._answers(mine)
        there = {recipient.fingerprint for recipient in mine}  # one that is away is waited for once
        named = (_as_known(each, readers) for each in (self._others() if readers else ()))
        yield from self._answers([each for each in named if each and each.fingerprint not in there])

    def _at_hand(self) -> list[Recipient]:
        """Return the sealing sides of the keys at hand, but for what they are together."""
        found = []
        for identity in self._identities:
            if not isinstance(identity, AllOfIdentity):
                with self._noting(identity.describe()):
                    found.append(identity.recipient())
        return found

    def _together(self) -> list[Recipient]:
        """Return what seals to all keys at hand that answer: the backup opened with several of them."""
        alone = [opener for opener in self._identities if not isinstance(opener, AllOfIdentity)]
        whole = AllOfIdentity([opener for opener in alone if self._answers_itself(opener)])
        return [whole.recipient()] if whole.seals else []

    def _answers_itself(self, identity: Opener) -> bool:
        found: list[Recipient] = []
        with self._noting(identity.describe()):
            found = self._answers([identity.recipient()])
        return bool(found)

    def _answers(self, recipients: Sequence[Recipient]) -> list[Recipient]:
        answering = []
        for recipient in recipients:
            with self._noting(recipient.label or recipient.describe()):
                recipient.wrap(os.urandom(KEY_SIZE), context=_TRIAL)
                answering.append(recipient)
        return answering

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        try:
            yield
        except (KeyServiceError, ConfigError) as error:
            self.absent[name] = error


def _nobody() -> ConfigError:
    return ConfigError(
        "No key is on this host that what undoes this could be sealed to.",
        hint="Give one that opens the backup: --identity FILE.",
    )


class _Known(KeyHolder):
    """A recipient under the name that the backup's manifest has for it: people know that one."""

    __slots__ = ("_inner", "_reader")

    def __init__(self, inner: Recipient, reader: ManifestRecipient) -> None:
        self._inner = inner
        self._reader = reader

    @property
    def type(self) -> str:
        return self._inner.type

    @property
    def label(self) -> str:
        return self._reader.name

    @property
    def fingerprint(self) -> str:
        return self._reader.fingerprint

    @property
    def post_quantum(self) -> bool:
        return self._inner.post_quantum

    def describe(self) -> str:
        return self._reader.describes

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        return replace(self._inner.wrap(key, context=context), label=self.label)


def _as_known(
    recipient: Recipient, readers: Iterable[ManifestRecipient], *, kind_will_do: bool = False
) -> Recipient | None:
    """Return a recipient as one of those who can open a backup, ``None`` if it is none of them.

    Args:
        kind_will_do: whether a key at hand of such a kind is taken for one of them. What a key service calls
            a key may change, and a passphrase that was typed has no name.
    """
    for reader in readers:
        same_kind = recipient.type == reader.type and recipient.type in BY_LABEL
        if recipient.fingerprint == reader.fingerprint or (
            same_kind and (kind_will_do or recipient.label == reader.name)
        ):
            return _Known(recipient, reader)
    return None


def undo_into(folder: Path, source: Source, sealer: UndoSealer) -> Undo:
    """Return an :data:`Undo` that writes ``folder/0001.strongroom`` and so on."""
    written = len(list(folder.glob("*.strongroom")))  # an attempt that died may have kept some

    def keep(names: Sequence[str]) -> str:
        nonlocal written
        written += 1
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = folder / f"{written:04}.strongroom"
        sealer.seal(file, source, names)
        return file.name

    return keep


def seal_record_key(sealer: UndoSealer, path: Path, key: bytes) -> None:
    """Seal the key of a record's digests for those who can open the undo files."""
    sealer.seal(path, MemoryStore([only(KEY_NAME, key)], name="undo"), [KEY_NAME])


def seal_to_file(
    path: Path,
    source: Source,
    names: Sequence[str],
    *,
    recipients: Sequence[Recipient],
    signer: CertifiedSigner,
    policy: str = UNDO,
    replace: bool = False,
) -> None:
    """Seal the named secrets as they are now into one single-file backup."""
    about = _about(source.name, policy)
    ordered = sorted(names)
    hashes = name_hashes(about.name_key, ordered)
    secrets = source.read([ListedSecret(name, 0) for name in ordered])
    rows = ((place, secret) for place, secret in zip(hashes, secrets, strict=True) if secret is not None)
    content = bytearray()
    sealed = write_container(
        content.extend,
        rows,
        about=about,
        wrapping_key=WrappingKey.create(recipients),
        signer=signer,
        digest_key=os.urandom(32),
    )
    manifest = sign_manifest(_manifest(about, sealed, recipients, signer), signer)
    with BundleWriter(path, replace=replace) as bundle:
        put_whole(bundle, container_name(about.backup_id, sealed.hexdigest), bytes(content))
        for name, trust_list in signer.lists.items():
            put_whole(bundle, name, trust_list)
        put_whole(bundle, manifest_name(about.backup_id), manifest)
        bundle.close(commit=True)


def _about(source: str, policy: str) -> ContainerHeader:
    now = time.time()
    return ContainerHeader(
        backup_id=unique(now),
        piece=0,
        pieces=1,
        source=source,
        policy=policy,
        values=True,
        created_at=rfc3339(now),
        name_key=os.urandom(32),
    )


def _manifest(
    about: ContainerHeader, sealed: SealedContainer, recipients: Sequence[Recipient], signer: CertifiedSigner
) -> Manifest:
    receipt = sealed_receipt(about, sealed)
    return Manifest(
        backup_id=about.backup_id,
        policy=about.policy,
        source=about.source,
        created_at=about.created_at,
        values=True,
        sealed=True,
        selection=ManifestSelection(),
        counts=Counts(secrets=sealed.secrets, versions=sealed.versions, size=sealed.size),
        recipients=tuple(
            ManifestRecipient(
                name=recipient.label,
                type=recipient.type,
                fingerprint=recipient.fingerprint,
                post_quantum=recipient.post_quantum,
                describes=recipient.describe(),
            )
            for recipient in recipients
        ),
        targets=(),
        quorum=1,
        regions=1,
        providers=1,
        not_contained=(),
        containers=(container_entry(receipt, sign_receipt(receipt, signer), signer.public),),
        previous=None,
        trust=signer.trust,
    )
