"""``strongroom.open``: a backup as Python sees it, under the same rules as on the command line."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

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
from strongroom.model import COMMAND, ApprovalAction, ListedSecret, Role, Secret, Selection
from strongroom.operations.archive.coverage import (
    NO_VALUES,
    Asked,
    BackupChoice,
    BackupPlace,
    describe_ignored,
    describe_skipped,
    limits_of,
    look_beside,
)
from strongroom.operations.archive.on_record import BackupsOnRecord
from strongroom.operations.archive.open import Backup, LoneContainer, Objects
from strongroom.operations.archive.reading import (
    InOnePlace,
    Replicated,
    maker_of,
    maker_of_backup,
    manifest_of,
)
from strongroom.operations.archive.salvage import LostPart, LostParts, Salvaged, before_in
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.archive.shortfall import Earlier
from strongroom.operations.engine.trust_lists import believed_on
from strongroom.operations.errors import NotCovered, NothingOpens
from strongroom.operations.evidence import access_log
from strongroom.sources.batches import matches
from strongroom.sources.errors import SecretNotFound
from strongroom.system.files import LocalFileReader
from strongroom.system.process import who
from strongroom.targets.directory import MARKER, DirectoryTarget
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.reading import ManifestListing
from strongroom.targets.single_file import BundleReader
from strongroom.times import beginning, by_then
from strongroom.words import plural

T = TypeVar("T")
Identities = str | Path | Opener | Sequence[str | Path | Opener]
Places = str | Path | Sequence[str | Path]
log = logging.getLogger(__name__)


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
        detail = access_log.by_whom("python") | {"backup": self._backup, "where": self._where} | more
        try:
            access_log.record_access(self._state_dir, kind, **detail)
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

    chosen: str
    """Which backup it is, and on which targets."""
    signer: str
    """The fingerprint of the installation that signed it."""
    maker_known: bool
    """Whether that is one that is believed here."""
    less: str
    """What makes it less than is known; empty if nothing does."""
    left_aside: str
    """What lies beside it and does not count; empty if nothing does."""
    quarantine: str
    """Why it was set aside; empty if it was not."""

    def __init__(
        self,
        backup: Salvaged,
        *,
        signer: str,
        left_aside: str,
        record: _Attempt,
        settings: Settings,
        chosen: str = "",
        selection: Selection = Selection(),
        less: str = "",
        maker_known: bool = True,
        quarantine: str = "",
    ) -> None:
        self._backup = backup
        self._selection = selection
        self.chosen = chosen
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
        everything = self._selection == Selection()
        return self._backup.manifest.counts.secrets if everything else sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        rows = self._record.of(self._backup.rows())
        return (
            row.name for row in rows if matches(self._selection, ListedSecret(row.name, 0, tags=row.tags))
        )

    def names(self) -> list[str]:
        """Return the names of all its secrets that are asked for. No value is read."""
        return list(self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def _find(self, name: str) -> Secret | None:
        with self._record.settling():
            found = self._backup.find(name)
        return found if found is not None and matches(self._selection, found) else None

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
        """Yield every secret that is asked for; memory is bounded, whatever their number.

        What lay in lost parts comes last, out of earlier backups. :attr:`lost` says then what is missing.
        """
        found = self._record.of(self._backup.secrets())
        return (self._opened(secret) for secret in found if matches(self._selection, secret))


@contextmanager
def open(  # noqa: A001 - strongroom.open, as gzip.open
    file_or_target: Places = (),
    *,
    backup: str | None = None,
    policy: str | None = None,
    at: str | datetime | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    filter_tag: Mapping[str, str] | None = None,
    partial: bool = False,
    identity: Identities = (),
    passphrase: str | None = None,
    signer: str | Sequence[str] = (),
    trust_any: bool = False,
    use_quarantined: bool = False,
    config: str | Path | None = None,
) -> Iterator[OpenedBackup]:
    """Open a backup to read secrets from it. ``chosen`` of what is opened says which one it is, and why.

    Args:
        file_or_target: a backup file, a container, or a target: its directory, or its configured name. Of
            several targets, what one does not give whole is read from the next. All configured ones if left
            out.
        backup: which one of the targets. If left out, the newest that is trusted, whole, in no quarantine and
            made of all that is asked for; where there is none such, the newest that is made of less, with a
            warning.
        policy: the newest of this policy.
        at: the newest that was made by then: a date, which means its end, or a time.
        include: only secrets named like one of these patterns, such as ``prod/*``.
        exclude: no secret named like one of these.
        filter_tag: only secrets with all these tags.
        partial: also take a backup that is made of less.
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
    places = [file_or_target] if isinstance(file_or_target, str | Path) else list(file_or_target)
    opening = _OpeningTerms(
        settings=settings,
        openers=_openers(settings, identity, passphrase),
        known=_trusted(settings, [signer] if isinstance(signer, str) else signer),
        anybody=trust_any,
        asked=Asked(
            backup=backup or "",
            policy=policy or "",
            until=None if at is None else _until(at),
            selection=Selection(include=tuple(include), exclude=tuple(exclude), tags=dict(filter_tag or {})),
            partial=partial,
            use_quarantined=use_quarantined,
        ),
        record=_Attempt(settings.state_dir, ", ".join(map(str, places)) or "the configured targets"),
    )
    with ExitStack() as stack:
        opened = opening.of_places(places, stack)
        log.info("backup-chosen", extra={"backup": opened.id, "policy": opened.policy})
        if opened.less:
            warnings.warn(opened.less, LessThanKnownWarning, stacklevel=3)
        if opened.left_aside:
            warnings.warn(opened.left_aside, LeftAsideWarning, stacklevel=3)
        yield opened


def _until(at: str | datetime) -> float:
    try:
        return by_then(at) if isinstance(at, str) else beginning(at.isoformat())
    except ValueError:
        raise UsageError(
            f"'{at}' is no date or time.", hint="Such as 2026-07-20 or 2026-07-20T18:00."
        ) from None


class _OpeningTerms(NamedTuple):
    """With what a backup is opened, and which is asked for."""

    settings: Settings
    openers: Sequence[Opener]
    known: Signers
    anybody: bool
    asked: Asked
    record: _Attempt

    def of_places(self, places: Sequence[str | Path], stack: ExitStack) -> OpenedBackup:
        """Open what lies in a file, or the backup of targets that is asked for."""
        files = [
            place for place in places if str(place) not in self.settings.targets and Path(place).is_file()
        ]
        if not files:
            return self._on_targets(places)
        if len(places) > 1:
            raise UsageError("A file holds one backup: name it alone.", hint="Several targets can be named.")
        path = Path(files[0])
        match _kind(path):
            case FileKind.CONTAINER:
                return self._lone(stack.enter_context(LocalFileReader(path)))
            case FileKind.METADATA:
                raise UsageError(
                    f"'{path}' is a metadata backup, which holds no values.", hint="Name a full one."
                )
        return self._in_file(stack.enter_context(BundleReader(path)))

    def _in_file(self, file: BundleReader) -> OpenedBackup:
        folder = self.settings.state_dir / ROLES
        listing = [ManifestListing(file)]
        strict = not self.anybody
        known = believed_on(self.known, listing, folder=folder, strict=strict, strangers=self.anybody)
        signed = manifest_of(file, self.asked.backup or None, known, anybody=self.anybody)
        maker = maker_of_backup(signed, known)
        maker.require(anybody=self.anybody)
        pins, name = maker.pins(known), signed.manifest.backup_id
        looked = _on_record(self.settings).of_one_place(file, trusted=pins)
        quarantine = looked.why_quarantined(name)
        if quarantine and not self.asked.use_quarantined:
            raise looked.refusal(name)
        backup = Backup(file, signed.manifest, self.openers, trusted=pins)
        before = before_in(backup, trusted=pins) if pins else ()
        return self._opened(
            InOnePlace(backup),
            before,
            signer=signed.fingerprint,
            maker_known=maker.known,
            quarantine=quarantine,
            aside=self._aside([file], signed.manifest, pins, looked.marks_aside),
            where="in the file",
        )

    def _on_targets(self, places: Sequence[str | Path]) -> OpenedBackup:
        """Open a backup on targets, chosen by the rule of every command."""
        here = _on_record(self.settings)
        chooser = here.chooser(
            _holders(places, self.settings),
            trusted=self.known,
            folder=self.settings.state_dir / ROLES,
            strict=not self.anybody,
            strangers=self.anybody,
        )
        choice, asked, less = _chosen(chooser, self.asked, here, self.known)
        known = chooser.trusted
        maker = maker_of_backup(choice.signed, known)
        maker.require(anybody=self.anybody)
        pins = maker.pins(known)

        def read(of: BackupChoice) -> Replicated:
            return Replicated(of, self.openers, trusted=pins, told=chooser.note)

        objects = [replica.objects for replica in choice.replicas]
        names = ", ".join(f"'{replica.name}'" for replica in choice.replicas)
        return self._opened(
            read(choice),
            map(read, chooser.before(choice.manifest, asked)) if pins else (),
            signer=choice.signed.fingerprint,
            maker_known=maker.known,
            quarantine=choice.quarantine,
            aside=self._aside(objects, choice.manifest, pins, chooser.marks_aside),
            where=f"on {names}",
            less=less,
        )

    def _aside(
        self, places: Sequence[Objects], manifest: Manifest, pins: Signers, odd_marks: Mapping[str, str]
    ) -> str:
        """Say what lies beside a backup and does not count. Raises UsageError for one without values."""
        if not manifest.values:
            raise UsageError(
                f"Backup {manifest.backup_id} holds no values.", hint="Name a full backup with 'backup'."
            )
        self.record.begin(manifest.backup_id)
        newest = not self.asked.backup
        aside = [
            copy
            for objects in places
            for copy in look_beside(objects, manifest, trusted=pins, newest=newest).aside
        ]
        ignored = (
            [f"Objects next to the backup were ignored: {describe_ignored(tuple(aside))}"] if aside else []
        )
        return "; ".join([*ignored, *(f"{folder}: {why}" for folder, why in odd_marks.items())])

    def _opened(
        self,
        backup: Replicated,
        before: Iterable[Replicated],
        *,
        signer: str,
        maker_known: bool,
        quarantine: str,
        aside: str,
        where: str,
        less: str = "",
    ) -> OpenedBackup:
        manifest = backup.manifest
        return OpenedBackup(
            Salvaged(backup, before, told=_warn_of_lost),
            signer=signer,
            left_aside=aside,
            record=self.record,
            settings=self.settings,
            selection=self.asked.selection,
            chosen=f"Backup {manifest.backup_id} of policy '{manifest.policy}', made {manifest.created_at}: "
            f"{plural(manifest.counts.secrets, 'secret')}, {where}.",
            less=less,
            maker_known=maker_known,
            quarantine=quarantine,
        )

    def _lone(self, reader: LocalFileReader) -> OpenedBackup:
        """Open one container alone, which counts by its own certificate."""
        maker = maker_of(read_outer(reader, trusted=None).envelope.certificate, self.known)
        maker.require(anybody=self.anybody)
        self.record.begin("")  # which backup it is of, its key alone tells
        with self.record.settling():
            lone = LoneContainer.open(reader, self.openers, trusted=maker.pins(self.known))
        return self._opened(
            InOnePlace(lone),
            (),
            signer=maker.fingerprint,
            maker_known=maker.known,
            quarantine="",
            aside=f"This is {lone.described}.",
            where="of which one container is here",
        )


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
    chooser: Chooser, asked: Asked, record: BackupsOnRecord, known: Signers
) -> tuple[BackupChoice, Asked, str]:
    """Return which backup is opened, by what was it asked for, and what makes it less than is known."""
    less: list[str] = []
    try:
        choice = chooser.choose(asked)
    except NotCovered:
        if asked.partial or asked.backup:
            raise
        asked = replace(asked, partial=True)
        choice = chooser.choose(asked)
        less.append(f"It holds only secrets {limits_of(choice.manifest)}: no backup there is of everything.")
    if asked.backup:
        return choice, asked, ""
    newer = [
        passed_over for passed_over in chooser.passed if passed_over.policy and passed_over.why != NO_VALUES
    ]
    less += [f"Newer, and not taken: {line}." for line in describe_skipped(newer)]
    if (vanished := chooser.lost(asked, choice.manifest)) is not None:
        less.append(vanished.error(choice.manifest).message)
    found = Earlier(choice, asked, chooser, identities=(), trusted=known, opened=None, held=record.held)
    less += [f"About it: {line}." for line in found.shortfall().lines()]
    chosen = f"Backup {choice.manifest.backup_id} was chosen. " if less else ""
    return choice, asked, chosen + " ".join(less)


def _on_record(settings: Settings) -> BackupsOnRecord:
    """Return what the record here says of backups; reading needs none."""
    from strongroom.operations.archive.catalog import read_record
    from strongroom.operations.archive.shredding import shredded_backups
    from strongroom.wiring.database import existing_run_store

    with suppress(StrongroomError):
        if (store := existing_run_store(settings)) is not None:
            return read_record(store, gone=frozenset(shredded_backups(store, _trusted(settings, ()))))
    return BackupsOnRecord()


def _holders(places: Sequence[str | Path], settings: Settings) -> list[BackupPlace]:
    """Return the targets that are named, or all that are configured."""
    from strongroom.wiring import adapters

    def configured(name: str) -> BackupPlace:
        online = name in settings.online
        return BackupPlace(name, lambda: adapters.target(name, settings, prepare=False), online)

    holders: dict[str, BackupPlace] = {}
    for place in places or settings.targets:
        if str(place) in settings.targets:
            holders[str(place)] = configured(str(place))
            continue
        path = Path(place)
        if not (path / MARKER).exists():
            targets = ", ".join(settings.targets) or "none"
            raise TargetUnavailable(
                f"'{place}' is no backup file, no target's directory and no configured target (known: "
                f"{targets}).",
                hint=f"Check the path. A copy of a target needs the file {MARKER} in it.",
            )
        name = str(path) if path.name in holders or not path.name else path.name
        target = DirectoryTarget(path, name=name, region="")
        holders[name] = BackupPlace(name, lambda target=target: target)  # type: ignore[misc]
    return list(holders.values())


def _kind(path: Path) -> FileKind:
    with LocalFileReader(path) as reader:
        return sniff(reader.read(0, HEAD))


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
