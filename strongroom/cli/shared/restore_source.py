"""What is restored from: a backup on targets or in a file, or the secrets of an old file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from strongroom.cli.shared import (
    access_log,
    admission,
    backup_selection,
    identities,
    opening,
    options,
    recipients,
)
from strongroom.cli.shared.backup_selection import near_name
from strongroom.cli.shared.opening import kind_of
from strongroom.cli.shared.options import BackupSource
from strongroom.cli.terminal.output import Output, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.kinds import FileKind
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Opener
from strongroom.keys.roles import load_or_create_role
from strongroom.model import ListedSecret, Role, Secret, Selection
from strongroom.operations.archive.coverage import ESCROW, Asked, BackupChoice, limits_of
from strongroom.operations.archive.open import Backup
from strongroom.operations.archive.reading import InOnePlace, Replicated, maker_of_backup
from strongroom.operations.archive.salvage import Before, Salvaged
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.archive.shortfall import Earlier
from strongroom.operations.errors import NewestUnseen, NotCovered
from strongroom.operations.restore.journal import Rate, Restored, measured_rate
from strongroom.operations.restore.restorable import Restorable, at_version, holds, no_version
from strongroom.operations.restore.undo import UndoSealer
from strongroom.sources import Destination
from strongroom.sources.batches import matches
from strongroom.sources.errors import SecretNotFound
from strongroom.system.lazy import resolve
from strongroom.times import at_least

if TYPE_CHECKING:
    from strongroom.operations.archive.cases import Incident
    from strongroom.operations.procedures.incident_exposure import Leaked


LOOK_BACK = 20
"""Backups that are opened to find one secret: names are sealed, so looking takes the key."""


class RestoreSource(Restorable):
    """What a person chose to restore from: of one secret, older backups are looked in too."""

    def __init__(
        self,
        name: str,
        openers: list[Opener],
        backup: Salvaged | None,
        secrets: Sequence[Secret] = (),
        *,
        older: _OlderBackups | None = None,
        earlier: Callable[[], Earlier] | None = None,
        incidents: Callable[[], Mapping[str, Incident]] | None = None,
    ) -> None:
        super().__init__(name, openers, backup, secrets, earlier=earlier)
        self._older = older
        self._incidents = incidents

    @property
    def source(self) -> str:
        """Where the secrets are from, as the backup says."""
        return self.backup.manifest.source if self.backup is not None else options.LOCAL

    def leaked(self, request_names: Sequence[str], selection: Selection) -> list[Leaked]:
        """Return what incidents have as known to others of what would be restored."""
        if self.backup is None or self._incidents is None:
            return []
        if not (incidents := self._incidents()):
            return []
        filled = self.filled
        manifests = [self.backup.manifest]
        manifests += (
            [filled.opened(backup).manifest for backup in filled.backups] if filled is not None else []
        )
        found: list[Leaked] = resolve("strongroom.operations.procedures.incident_exposure:leaked_values")(
            incidents,
            manifests,
            self._as_restored,
            identities=self.openers,
            asked=lambda name: (
                name in request_names
                if request_names
                else matches(_by_name(selection), ListedSecret(name, 0))
            ),
        )
        return found

    def _as_restored(self, name: str) -> tuple[Secret, Manifest] | None:
        """Return a secret as it would be restored, and the backup that it is from."""
        assert self.backup is not None
        earlier = self.filled.backup_of(name) if self.filled is not None else ""
        backup = self.filled.opened(earlier) if self.filled is not None and earlier else self.backup
        secret = backup.find(name)
        return None if secret is None else (secret, backup.source_of(name))

    def find(self, name: str, version: int | None = None) -> Secret:
        """Return one secret: of the newest backup that has it, unless one was named.

        Args:
            version: which version of it is to be the newest; later ones are left out then.

        Raises:
            SecretNotFound: none has it, of those that were looked in.
        """
        first = self.find_or_none(name)
        found = first if first is not None and holds(first, version) else None
        if found is None and self._older is not None:
            found = self._in_older(name, version, self._older)
        if found is not None:
            return at_version(found, version, where=self.name)
        if first is None and (loss := self.loss()) is not None:
            raise loss
        if first is not None and version is not None:
            raise no_version(first, version, where=f"{self.name[0].upper()}{self.name[1:]}")
        raise SecretNotFound(
            f"{self.name} holds no secret '{name}'{self._looked()}.",
            hint=f"{near_name(name, self.backup)}Names are case-sensitive, and complete. See them with "
            "'strongroom list --from-target TARGET' or '--backup-file FILE'.",
        )

    def _in_older(self, name: str, version: int | None, older: _OlderBackups) -> Secret | None:
        what = f"'{name}'" if version is None else f"version {version} of '{name}'"
        for choice, opened in older.backups(what, self.manifest):
            backup = Salvaged(opened)
            found = backup.find(name)
            if found is not None and holds(found, version):
                older.tell(choice)
                self.backup = backup
                self.read.append(backup)
                self.name = f"backup {backup.manifest.backup_id}"
                return found
        return None

    def _looked(self) -> str:
        looked = self._older.looked if self._older is not None else 0
        return f", and neither do the {looked} before it that may" if looked else ""


class _TargetOptions(NamedTuple):
    """With what backups on targets are opened."""

    found: Chooser
    asked: Asked
    given: BackupSource
    output: Output
    here: InstallationPlace
    openers: list[Opener]

    def open(self, choice: BackupChoice) -> Replicated:
        """Open a backup, which goes on record."""
        backup = choice.manifest.backup_id
        known = self.found.trusted
        admission.admit_maker(maker_of_backup(choice.signed, known), self.given.trust, self.output)
        access_log.record_opening(
            self.output, self.here, backup, where=self.given.where, quarantine=choice.quarantine
        )
        pins = backup_selection.report_unlisted(choice, known, self.output, self.here)
        return Replicated(choice, self.openers, trusted=pins, told=self.found.note)

    def before(self, choice: BackupChoice) -> Before:
        """Open the backups that tell of what is lost of one, as they are asked for."""
        return map(self.open, self.found.before(choice.manifest, self.asked))

    def earlier(self, choice: BackupChoice, installation: InstallationPlace) -> Earlier:
        """Return the backups before one, of the same source."""
        known = self.found.trusted
        return Earlier(
            choice,
            self.asked,
            self.found,
            identities=self.openers,
            trusted=maker_of_backup(choice.signed, known).pins(known),
            opened=self.open,
            held=admission.read_record(installation).held,
        )


class _OlderBackups:
    """The older backups that may hold a secret, opened one after another."""

    def __init__(self, choices: Iterator[BackupChoice], means: _TargetOptions) -> None:
        self._choices = choices
        self._means = means
        self.looked = 0

    def tell(self, choice: BackupChoice) -> None:
        """Say which of them is taken, and what was passed over."""
        backup_selection.report_choice(choice, self._means.found, self._means.asked, self._means.output)

    def backups(self, what: str, first: Manifest | None) -> Iterator[tuple[BackupChoice, Replicated]]:
        """Yield them, newest first; as many as it is worth to open."""
        manifest, (found, _, _, output, *_rest) = first, self._means
        for choice in self._choices:
            if manifest is not None:
                found.pass_over(manifest, f"it does not hold {what}")
            if self.looked >= LOOK_BACK:
                output.warn(f"only the newest {LOOK_BACK + 1} that may hold it were opened; older: --at DATE")
                return
            self.looked += 1
            manifest = choice.manifest
            yield choice, self._means.open(choice)


class SourceQuery(Struct, frozen=True, kw_only=True):
    """What is restored, or compared, and how.

    Args:
        name: the one secret that is meant; empty: all that is selected.
        source: where to; its own backups go before others.
        whole: everything is brought back.
        writes: values are written, so an older backup than the newest is taken only if somebody names it.
        dry: nothing is put on record.
        planned: a plan says which backups are read.
    """

    selection: Selection = Selection()
    name: str = ""
    source: str = ""
    whole: bool = False
    writes: bool = False
    dry: bool = False
    planned: bool = False


@contextmanager
def open_restore_source(
    given: BackupSource, query: SourceQuery, output: Output, installation: InstallationPlace
) -> Iterator[RestoreSource]:
    """Open what is restored from; what is wrong with it is said here, before anything is written.

    Raises:
        NotCovered: no backup there holds what is asked for.
        BackupQuarantined: it is not to be restored from.
        BackupShredded: it is not to be brought back.
    """
    if installation.problem:
        output.note(f"note: {installation.problem}")
    if given.where.backup_file is not None:
        yield from _from_file(given.where.backup_file, given, query, output, installation)
    else:
        yield from _from_targets(given, query, output, installation)


def _from_file(
    file: Path, given: BackupSource, query: SourceQuery, output: Output, installation: InstallationPlace
) -> Iterator[RestoreSource]:
    kind = None if file.is_dir() else kind_of(file)
    identities.refuse_legacy_option(given, kind)
    if kind is FileKind.METADATA:
        raise _without_values()
    if kind is FileKind.LEGACY:
        secrets = identities.secrets_of(file, given, output)
        openers = identities.identities_of(given.opening, output, installation)
        yield RestoreSource(str(file), openers, None, secrets)
        return
    openers = identities.identities_of(given.opening, output, installation)
    with (
        opening.backup_trusted(given, output, lambda: openers, installation) as backup,
        opening.explaining_keys(),
    ):
        _refuse_without_values(backup)
        if query.whole and (limits := limits_of(backup.manifest)):
            output.warn(f"this backup holds only secrets {limits}: it brings back no others.")
        before = opening.before_in_file(backup, given, installation)
        origin = RestoreSource(
            f"backup {backup.manifest.backup_id}", openers, Salvaged(InOnePlace(backup), before), []
        )
        with backup_selection.telling_losses(origin.read, output):
            yield origin


def _from_targets(
    given: BackupSource, query: SourceQuery, output: Output, installation: InstallationPlace
) -> Iterator[RestoreSource]:
    identities.refuse_legacy_option(given, None)
    if given.choice.backup:
        admission.refuse_shredded(installation, given.choice.backup)
    chooser = backup_selection.chooser_of(given, installation)
    known = chooser.trusted
    asked = backup_selection.requested(
        given.choice, values=True, selection=query.selection, name=query.name, source=query.source
    )
    choices = chooser.choices(asked)
    choice = next(choices, None) or chooser.choose(asked)
    lost = backup_selection.unseen(chooser, asked, choice.manifest)
    if lost is not None and query.writes and isinstance(lost, NewestUnseen):
        raise lost
    backup_selection.report_choice(choice, chooser, asked, output)
    if query.whole:
        backup_selection.report_newer_parts(chooser, output)
    openers = identities.identities_of(given.opening, output, installation)
    means = _TargetOptions(chooser, asked, given, output, installation, openers)
    older = _OlderBackups(choices, means) if asked.name else None
    with (
        backup_selection.reporting_damage(chooser, output, installation, dry=query.dry),
        opening.explaining_keys(),
    ):
        origin = RestoreSource(
            f"backup {choice.manifest.backup_id}",
            openers,
            Salvaged(means.open(choice), () if query.planned else means.before(choice)),
            [],
            older=older,
            earlier=partial(means.earlier, choice, installation),
            incidents=partial(_incidents, installation, known, chooser),
        )
        with backup_selection.telling_losses(origin.read, output):
            yield origin


def _by_name(selection: Selection) -> Selection:
    return Selection(include=selection.include, exclude=selection.exclude)


def _incidents(
    installation: InstallationPlace, known: frozenset[str], chooser: Chooser
) -> Mapping[str, Incident]:
    """Return the incidents that the record here and the places of the backup know of."""
    places = {name: listing.objects for name, listing in chooser.listings.items()}
    store = None
    with suppress(StrongroomError):  # a recovery needs no record
        store = admission.find_run_store(installation)
    found: Mapping[str, Incident] = {}
    with suppress(StrongroomError):
        asked = resolve("strongroom.operations.archive.cases:Places")(
            targets=places, trusted=known, store=store
        )
        found = resolve("strongroom.operations.archive.cases:incidents_on")(asked)
    return found


def _refuse_without_values(backup: Backup) -> None:
    if backup.manifest.source == ESCROW:
        raise UsageError(
            "This is an escrow, not a backup of secrets.",
            hint="Open it with 'strongroom emergency escrow --open FILE'.",
        )
    if not backup.manifest.values:
        raise _without_values()


def _without_values() -> NotCovered:
    return NotCovered(
        "This backup holds no values, so nothing can be restored from it.",
        hint="Restore from one that was made with --include-values, if need be from a target: --from-target.",
    )


# -- How long a restore takes: by what was measured, and at the least by what the destination lets through
#
# A drill restores into a store on this host and knows nothing of that: at the destination's own pace the
# same secrets may take hours.


class Estimate(Struct, frozen=True, kw_only=True):
    """How long a restore takes. ``seconds`` is ``None`` if nothing is known of it."""

    seconds: float | None
    least: float | None
    rate: Rate | None

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "seconds": self.seconds,
            "least_seconds": self.least,
            "seconds_per_write": self.rate.writing if self.rate else None,
            "seconds_per_secret": self.rate.looking if self.rate else None,
            "restores": self.rate.restores if self.rate else 0,
        }

    def describe(self, name: str, planned: Restored) -> str:
        """Say it, of a destination that is called by ``name``."""
        if self.rate is not None and self.seconds != self.least:
            times = (
                "the last restore" if self.rate.restores == 1 else f"the last {self.rate.restores} restores"
            )
            return f"that takes about {at_least(self.seconds or 0.0)}, at the pace of {times} into '{name}'"
        if self.least is not None:
            return describe_least(name, self.least, secrets=planned.written, versions=planned.versions)
        return f"how long that takes is not known: no restore into '{name}' is on record here"


def estimate(destination: Destination, planned: Restored, *, undo: Path, to: str) -> Estimate:
    """Estimate a restore of so much: at measured rates, but in no less than the destination's own pace takes.

    Args:
        undo: where earlier restores are on record.
        to: what the destination is called there.
    """
    least = least_seconds(destination, secrets=planned.written, versions=planned.versions)
    rate = measured_rate(undo, to) if planned.total else None
    known = [seconds for seconds in (least, rate.seconds(planned) if rate else None) if seconds is not None]
    return Estimate(seconds=max(known, default=None), least=least, rate=rate)


def least_seconds(destination: Destination, *, secrets: int, versions: int) -> float | None:
    """Return the seconds, or ``None`` if nothing but the machines sets a pace."""
    return (destination.least_seconds(secrets=secrets, versions=versions) if secrets else 0.0) or None


def describe_least(name: str, seconds: float, *, secrets: int, versions: int) -> str:
    """Say it."""
    what = f"{plural(secrets, 'secret')} ({plural(versions, 'version')})"
    return f"'{name}' takes at least {at_least(seconds)} for {what}, at the rate that it allows"


# -- What seals the way back of a restore of the command line ---------------------------------------


def undo_sealer(
    openers: Sequence[Opener], manifest: Manifest | None, output: Output, place: InstallationPlace
) -> UndoSealer:
    """Return it: for the keys at hand, and the backup's other recipients that this host knows."""
    return UndoSealer(
        identities.without_questions(openers),
        load_or_create_role(place.role_keys, Role.RECOVER),
        manifest=manifest,
        others=partial(recipients.configured_without_questions, output, place),
    )
