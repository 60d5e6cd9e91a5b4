"""``strongroom.open``: a backup as Python sees it, under the same rules as on the command line."""

from __future__ import annotations

import os
import pwd
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from strongroom.config import Settings, load_settings
from strongroom.container.errors import WrongKey
from strongroom.container.kinds import HEAD, FileKind, sniff
from strongroom.container.manifest import Manifest
from strongroom.container.reader import read_outer
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Opener
from strongroom.keys.allof import AllOfIdentity
from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.keys.identityfile import load_identity
from strongroom.keys.passphrase import PassphraseIdentity
from strongroom.keys.rolelist import ROLES
from strongroom.model import COMMAND, ApprovalAction, Role, Secret
from strongroom.operations.archive.coverage import (
    NO_VALUES,
    Asked,
    BackupPlace,
    describe_ignored,
    describe_skipped,
    limits_of,
    look_beside,
)
from strongroom.operations.archive.on_record import BackupsOnRecord
from strongroom.operations.archive.open import Backup, LoneContainer, Objects
from strongroom.operations.archive.reading import InOnePlace, maker_of, maker_of_backup, manifest_of
from strongroom.operations.archive.salvage import LostPart, LostParts, Salvaged, before_in
from strongroom.operations.archive.shortfall import Earlier
from strongroom.operations.engine.trust_lists import believed_on
from strongroom.operations.errors import NotCovered, NothingOpens
from strongroom.operations.evidence import access_log
from strongroom.sources.errors import SecretNotFound
from strongroom.system.files import LocalFileReader
from strongroom.system.process import who
from strongroom.targets.directory import MARKER, DirectoryTarget
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.reading import ManifestListing
from strongroom.targets.single_file import BundleReader

NOBODY = Signers()
T = TypeVar("T")
Identities = str | Path | Opener | Sequence[str | Path | Opener]


class LeftAsideWarning(UserWarning):
    """Something beside the backup does not count: damaged, a stranger's, or of an older rotation."""


class LostPartWarning(UserWarning):
    """A part of the backup is lost: what came of its secrets is from earlier backups, the rest is missing."""


class LessThanKnownWarning(UserWarning):
    """The backup that was chosen is not all that is known: newer ones were not taken, or others had more."""


_UNOPENED = (WrongKey, NothingOpens, KeyServiceUnavailable)
"""What says that no key at hand opened anything. Damage does not: something was opened to find it."""


class _Attempt:
    """The record of one opening: attempted before anything is read, then opened or failed, once."""

    def __init__(self, state_dir: Path, where: str) -> None:
        self._state_dir = state_dir
        self._where = where
        self._backup = ""
        self._settled = False

    def begin(self, backup: str) -> None:
        self._backup = backup
        self._note(access_log.ATTEMPTED)

    @contextmanager
    def settling(self) -> Iterator[None]:
        """Note what came of the attempt: keys are tried when something is first read."""
        try:
            yield
        except _UNOPENED as error:
            self._settle(access_log.FAILED, error=error.code)
            raise
        self._settle(access_log.OPENED)

    def of(self, secrets: Iterable[T]) -> Iterator[T]:
        """Yield what is read one by one, and note what comes of it."""
        each = iter(secrets)
        while True:
            with self.settling():
                some = list(islice(each, 1))
            if not some:
                return
            yield some[0]

    def _settle(self, kind: str, **more: str) -> None:
        if not self._settled:
            self._settled = True
            self._note(kind, **more)

    def _note(self, kind: str, **more: str) -> None:
        if not self._state_dir.is_dir():  # no installation is here
            return
        who = {"command": "python", "by": pwd.getpwuid(os.getuid()).pw_name, "host": os.uname().nodename}
        try:
            access_log.record_access(
                self._state_dir, kind, backup=self._backup, where=self._where, **who, **more
            )
        except OSError as error:
            warnings.warn(f"that this was opened could not be put on record: {error.strerror}", stacklevel=5)


class OpenedSecret:
    """One secret of a backup. Its ``repr`` shows no value."""

    def __init__(self, secret: Secret, admit: Callable[[], None], manifest: Manifest) -> None:
        self._secret = secret
        self._admit = admit
        self._manifest = manifest

    def __repr__(self) -> str:
        return f"<OpenedSecret {self.name!r}>"

    @property
    def name(self) -> str:
        return self._secret.name

    @property
    def backup(self) -> str:
        """The backup that it is from: an earlier one if its part of the opened one is lost."""
        return self._manifest.backup_id

    @property
    def as_of(self) -> str:
        """When the backup was made that it is from."""
        return self._manifest.created_at

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._secret.tags)

    @property
    def versions(self) -> list[int]:
        """The numbers of its versions, the newest last."""
        return [version.number for version in self._secret.versions]

    def reveal(self, version: int | None = None) -> bytes:
        """Return a version's value; the newest's if none is named.

        Raises:
            SecretNotFound: there is no such version, or it holds no value any more.
            ApprovalNeeded, NotApproved: a rule of the configuration asks people to approve that first.
        """
        self._admit()
        for stored in reversed(self._secret.versions):
            if stored.value is not None and version in (None, stored.number):
                return stored.value.reveal()
        which = "no version with a value" if version is None else f"no value of version {version}"
        raise SecretNotFound(f"Secret '{self.name}' has {which} in this backup.")


class OpenedBackup:
    """A backup whose signer counts. Secrets are read as they are asked for."""

    def __init__(
        self,
        backup: Salvaged,
        *,
        signer: str,
        left_aside: str,
        record: _Attempt,
        settings: Settings,
        less: str = "",
        maker_known: bool = True,
        quarantine: str = "",
    ) -> None:
        self._backup = backup
        self._admit = cache(partial(_require_approved, settings, backup.manifest))
        self._record = record
        self.signer = signer
        self.left_aside = left_aside
        self.less = less
        self.maker_known = maker_known
        self.quarantine = quarantine

    def __repr__(self) -> str:
        return f"<OpenedBackup {self.id} of policy {self.policy!r}>"

    @property
    def lost(self) -> LostParts | None:
        """What of it could not be read so far, and what came from earlier backups instead; or ``None``."""
        return self._backup.lost

    @property
    def id(self) -> str:
        return self._backup.manifest.backup_id

    @property
    def policy(self) -> str:
        return self._backup.manifest.policy

    @property
    def created_at(self) -> str:
        return self._backup.manifest.created_at

    def __len__(self) -> int:
        return self._backup.manifest.counts.secrets

    def __iter__(self) -> Iterator[str]:
        return (row.name for row in self._record.of(self._backup.rows()))

    def names(self) -> list[str]:
        """Return the names of all its secrets. No value is read."""
        return list(self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def _find(self, name: str) -> Secret | None:
        with self._record.settling():
            return self._backup.find(name)

    def __getitem__(self, name: str) -> OpenedSecret:
        """Return one secret, by a few ranged reads. Raises SecretNotFound."""
        secret = self._find(name)
        if secret is None and (loss := self._backup.error()) is not None:
            raise loss
        if secret is None:
            raise SecretNotFound(f"Backup {self.id} holds no secret '{name}'.", hint="See names().")
        return self._opened(secret)

    def _opened(self, secret: Secret) -> OpenedSecret:
        return OpenedSecret(secret, self._admit, self._backup.source_of(secret.name))

    def secrets(self) -> Iterator[OpenedSecret]:
        """Yield every secret; memory is bounded, whatever their number.

        What lay in lost parts comes last, out of earlier backups. :attr:`lost` says then what is missing.
        """
        return map(self._opened, self._record.of(self._backup.secrets()))


@contextmanager
def open(  # noqa: A001 - strongroom.open, as gzip.open
    file_or_target: str | Path,
    *,
    backup: str | None = None,
    policy: str | None = None,
    partial: bool = False,
    identity: Identities = (),
    passphrase: str | None = None,
    signer: str | Sequence[str] = (),
    trust_any: bool = False,
    use_quarantined: bool = False,
    config: str | Path | None = None,
) -> Iterator[OpenedBackup]:
    """Open a backup to read secrets from it.

    Args:
        file_or_target: a backup file, a container, a target's directory, or a configured target's name.
        backup: which one of a target. If left out, the newest that is trusted, whole, in no quarantine and
            made of everything; where there is none such, the newest that is made of less, with a warning.
        policy: the newest of this policy.
        partial: also take one that is made of less.
        identity: what opens it: key files, private keys, or identities of ``strongroom.keys``. The
            configured keys if neither this nor ``passphrase`` is given.
        passphrase: one that opens it, or a sealed file of ``identity``.
        signer: the fingerprints (``sr1:…``) of the installations that are believed. This installation and
            those that its configuration names if left out.
        trust_any: take what a stranger signed too: it may be intact, and nobody knows its maker
            (``maker_known``). What it says may be made up by anybody. A key that is distrusted here signs
            nothing that is taken.
        use_quarantined: take a backup that was set aside (``quarantine`` says why).
        config: the configuration file, if not the one that the command line finds.

    Raises:
        UntrustedSigner: nobody who counts signed it.
        BackupQuarantined: it was set aside in an incident.
        StrongroomError: it cannot be read or opened; each class says what to do.
    """
    settings = load_settings(path=config)
    known = _trusted(settings, [signer] if isinstance(signer, str) else signer)
    openers = _openers(settings, identity, passphrase)
    record = _Attempt(settings.state_dir, str(file_or_target))
    with ExitStack() as stack:
        opened = _opened(
            file_or_target,
            asked=Asked(
                backup=backup or "", policy=policy or "", partial=partial, use_quarantined=use_quarantined
            ),
            openers=openers,
            known=known,
            anybody=trust_any,
            settings=settings,
            stack=stack,
            record=record,
        )
        if opened.less:
            warnings.warn(opened.less, LessThanKnownWarning, stacklevel=3)
        if opened.left_aside:
            warnings.warn(opened.left_aside, LeftAsideWarning, stacklevel=3)
        yield opened


def _opened(
    where: str | Path,
    *,
    asked: Asked,
    openers: Sequence[Opener],
    known: Signers,
    anybody: bool,
    settings: Settings,
    stack: ExitStack,
    record: _Attempt,
) -> OpenedBackup:
    if Path(where).is_file() and _kind(Path(where)) is FileKind.CONTAINER:
        reader = stack.enter_context(LocalFileReader(Path(where)))
        return _lone(reader, openers, known, settings, record, anybody=anybody)
    objects = _objects(where, settings, stack)
    here = _on_record(settings)
    folder = settings.state_dir / ROLES
    places = [ManifestListing(objects)]
    known = believed_on(known, places, folder=folder, strict=not anybody, strangers=anybody)
    name, less = _chosen(objects, asked, known, here, anybody=anybody)
    signed = manifest_of(objects, name, known, anybody=anybody)
    maker = maker_of_backup(signed, known)
    maker.require(anybody=anybody)
    pins = maker.pins(known)
    name = signed.manifest.backup_id
    looked = here.of_one_place(objects, trusted=pins)
    quarantine = looked.why_quarantined(name)
    if quarantine and not asked.use_quarantined:
        raise looked.refusal(name)
    _require_values(signed.manifest)
    record.begin(name)
    aside = look_beside(objects, signed.manifest, trusted=pins, newest=not asked.backup).aside
    left_aside = f"Objects next to the backup were ignored: {describe_ignored(aside)}" if aside else ""
    odd = [f"{folder}: {why}" for folder, why in looked.marks_aside.items()]
    left_aside = "; ".join(filter(None, [left_aside, *odd]))
    return OpenedBackup(
        _salvaged(Backup(objects, signed.manifest, openers, trusted=pins), pins),
        signer=signed.fingerprint,
        left_aside=left_aside,
        record=record,
        settings=settings,
        less=less,
        maker_known=maker.known,
        quarantine=quarantine,
    )


def _lone(
    reader: LocalFileReader,
    openers: Sequence[Opener],
    known: Signers,
    settings: Settings,
    record: _Attempt,
    *,
    anybody: bool,
) -> OpenedBackup:
    """Open one container alone, which counts by its own certificate."""
    maker = maker_of(read_outer(reader, trusted=None).envelope.certificate, known)
    maker.require(anybody=anybody)
    record.begin("")  # which backup it is of, its key alone tells
    with record.settling():
        lone = LoneContainer.open(reader, openers, trusted=maker.pins(known))
    return OpenedBackup(
        _salvaged(lone),
        signer=maker.fingerprint,
        left_aside=f"This is {lone.described}.",
        record=record,
        settings=settings,
        maker_known=maker.known,
    )


def _salvaged(backup: Backup, pins: Signers = NOBODY) -> Salvaged:
    """Return a backup as far as it is sound, and what is lost of it out of those before it in its place."""
    return Salvaged(InOnePlace(backup), before_in(backup, trusted=pins) if pins else (), told=_warn_of_lost)


def _warn_of_lost(part: LostPart) -> None:
    warnings.warn(f"Lost of backup {part.backup}: {part.words}", LostPartWarning, stacklevel=2)


def _require_approved(settings: Settings, manifest: Manifest) -> None:
    """Return if values of a backup may be given to this program: it asks once for all of them.

    Raises:
        ApprovalNeeded, NotApproved: people have to approve it first, or did not.
    """
    if not settings.approvals.rules:
        return
    from strongroom.operations.engine.approvals import command_request
    from strongroom.operations.engine.approving import require_approval
    from strongroom.wiring.services import build_services

    request = command_request(
        ApprovalAction.EXPORT,
        {"python": manifest.backup_id},
        requester=who(),
        policy="" if manifest.policy == COMMAND else manifest.policy,
        size=manifest.counts.secrets,
        lines=(
            f"give the values of backup {manifest.backup_id} to a Python program on {os.uname().nodename}",
        ),
    )
    require_approval(build_services(settings, role=Role.OPERATOR), request)


def _chosen(
    objects: Objects, asked: Asked, known: Signers, record: BackupsOnRecord, *, anybody: bool
) -> tuple[str | None, str]:
    """Return which backup is opened, by the rule of every command, and what makes it less than is known."""
    if asked.backup or isinstance(objects, BundleReader):
        return asked.backup or None, ""
    name = getattr(objects, "name", "")
    chooser = record.chooser([BackupPlace(name, lambda: objects)], trusted=known, strangers=anybody)
    less: list[str] = []
    try:
        choice = chooser.choose(asked)
    except NotCovered:
        asked = replace(asked, partial=True)
        choice = chooser.choose(asked)
        less.append(f"It holds only secrets {limits_of(choice.manifest)}: no backup there is of everything.")
    newer = [
        passed_over for passed_over in chooser.passed if passed_over.policy and passed_over.why != NO_VALUES
    ]
    less += [f"Newer, and not taken: {line}." for line in describe_skipped(newer)]
    found = Earlier(choice, asked, chooser, identities=(), trusted=known, opened=None, held=record.held)
    less += [f"About it: {line}." for line in found.shortfall().lines()]
    chosen = f"Backup {choice.manifest.backup_id} was chosen. " if less else ""
    return choice.manifest.backup_id, chosen + " ".join(less)


def _on_record(settings: Settings) -> BackupsOnRecord:
    """Return what the record here says of backups; reading needs none."""
    from strongroom.operations.archive.catalog import read_record
    from strongroom.operations.archive.shredding import shredded_backups
    from strongroom.wiring.database import existing_run_store

    with suppress(StrongroomError):
        if (store := existing_run_store(settings)) is not None:
            return read_record(store, gone=frozenset(shredded_backups(store, _trusted(settings, ()))))
    return BackupsOnRecord()


def _objects(where: str | Path, settings: Settings, stack: ExitStack) -> Objects:
    path = Path(where)
    if str(where) in settings.targets:
        from strongroom.wiring import adapters

        return adapters.target(str(where), settings, prepare=False)
    if path.is_file():
        if _kind(path) is FileKind.METADATA:
            raise UsageError(
                f"'{path}' is a metadata backup, which holds no values.", hint="Name a full one."
            )
        return stack.enter_context(BundleReader(path))
    if (path / MARKER).exists():
        return DirectoryTarget(path, name=path.name or "target", region="")
    targets = ", ".join(settings.targets) or "none"
    raise TargetUnavailable(
        f"'{where}' is no backup file, no target's directory and no configured target (known: {targets}).",
        hint=f"Check the path. A copy of a target needs the file {MARKER} in it.",
    )


def _kind(path: Path) -> FileKind:
    with LocalFileReader(path) as reader:
        return sniff(reader.read(0, HEAD))


def _require_values(manifest: Manifest) -> None:
    if not manifest.values:
        raise UsageError(
            f"Backup {manifest.backup_id} holds no values.", hint="Name a full backup with 'backup'."
        )


def _trusted(settings: Settings, typed: Sequence[str]) -> Signers:
    from strongroom.keys import roles

    folder = settings.state_dir / "keys" / "roles"
    signers = roles.believed(folder, settings.trust.signers)
    if not typed:
        return signers
    named = signers.with_named(typed)  # and what is known of their keys counts on
    return Signers(named & set(typed), retired=named.retired, distrusted=named.distrusted)


def _of_file(path: Path, passphrase: str | None) -> Opener:
    if passphrase is not None:
        return load_identity(path, lambda _: (passphrase,))
    from strongroom.wiring import keys

    return load_identity(path, keys.passphrases(None))


def _openers(settings: Settings, identity: Identities, passphrase: str | None) -> list[Opener]:
    several = identity if isinstance(identity, Sequence) and not isinstance(identity, str) else [identity]
    openers = [_of_file(Path(each), passphrase) if isinstance(each, str | Path) else each for each in several]
    if passphrase is not None:
        openers.append(PassphraseIdentity(passphrase))
    if not openers:
        from strongroom.wiring import keys

        return list(keys.identities(settings))
    return [*openers, AllOfIdentity(openers)] if len(openers) > 1 else openers
