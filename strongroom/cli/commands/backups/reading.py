"""Opening one backup after another: what cannot be read is said, and stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from strongroom.cli.shared import access_log, admission, backup_selection, opening
from strongroom.cli.shared.backup_selection import near_name
from strongroom.cli.shared.identities import identities_of
from strongroom.cli.shared.options import BackupSource
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import WrongKey
from strongroom.container.manifest import Manifest, SignedManifest
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Opener
from strongroom.keys.allof import AllOfIdentity
from strongroom.keys.hpke import HpkeIdentity
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.passphrase import PassphraseIdentity
from strongroom.operations.archive.coverage import Asked, BackupChoice, all_away, describe_skipped, lacks
from strongroom.operations.archive.find import AT_ONCE, SecretQuery, outcomes
from strongroom.operations.archive.history import IndexedSpan, NameIndexes
from strongroom.operations.archive.open import nothing_there
from strongroom.operations.archive.reading import Replicated, maker_of_backup
from strongroom.operations.archive.shortfall import Earlier
from strongroom.operations.errors import NotAllRead
from strongroom.sources.errors import SecretNotFound
from strongroom.words import plural

T = TypeVar("T")
_Told = tuple[str, IndexedSpan]
_BY_THE_INDEX = "no key here opens it, so its index of names alone says that it does not have the secret"
_LEFT_OUT = "it leaves out what the backup has, so the backups of this policy were read themselves"
Take = Callable[[BackupChoice, T], None]
_IN_MEMORY = (KeyFileIdentity, HpkeIdentity, PassphraseIdentity, AllOfIdentity)
"""Identities that open by computing alone; that of several together is made of the others at hand."""


class BackupReader:
    """The backups that a command looks into, and with what they are opened.

    ``read`` are those that were read, newest first; ``places`` has the names of those that have all of one.
    """

    def __init__(
        self, given: BackupSource, output: Output, installation: InstallationPlace, *, indexed: bool
    ) -> None:
        self.installation = installation
        self.chooser = backup_selection.chooser_of(given, installation)
        self._known = self.chooser.trusted
        self.read: list[BackupChoice] = []
        self.places: dict[str, list[str]] = {}
        self._given, self._is_indexed = given, indexed
        self._output = output
        self._openers: Sequence[Opener] = identities_of(given.opening, output, installation)
        self._failures: list[StrongroomError] = []
        self._passed_over: list[StrongroomError] = []

    def open(self, choice: BackupChoice) -> Replicated:
        """Open a backup, which goes on record."""
        self._about_to_open(choice)
        return self.replicated(choice)

    def replicated(self, choice: BackupChoice) -> Replicated:
        """Return a backup of which the opening is on record already. Nothing is read yet."""
        pins = self._pins(choice)
        return Replicated(choice, self._openers, trusted=pins, told=self.chooser.note)

    def earlier(self, choice: BackupChoice, asked: Asked) -> Earlier:
        """Return the backups before one, of which none is opened."""
        return Earlier(
            choice,
            asked,
            self.chooser,
            identities=(),
            trusted=self._pins(choice),
            opened=None,
            held=admission.read_record(self.installation).held,
        )

    def _pins(self, choice: BackupChoice) -> Signers:
        return maker_of_backup(choice.signed, self._known).pins(self._known)

    def _about_to_open(self, choice: BackupChoice) -> None:
        """Say if nobody here knows who made it, and put the attempt on record."""
        admission.admit_maker(maker_of_backup(choice.signed, self._known), self._given.trust, self._output)
        access_log.record_opening(
            self._output,
            self.installation,
            choice.manifest.backup_id,
            where=self._given.where,
            quarantine=choice.quarantine,
        )

    def each(
        self, asked: Asked, look: Callable[[Replicated], T], take: Take[T], *, wanted: SecretQuery
    ) -> list[_Told]:
        """Look into every backup that may hold what is asked for, newest first, several at once.

        What indexes of names say of ``wanted`` is returned, with the source, and the backups of which they
        tell it are not looked into. They count as read. That the newest backup of a policy does not have a
        name, no index is believed: that costs one look.

        Args:
            look: reads one backup, maybe in a thread; what it returns is false if nothing is there.
            take: is given what was read of each.

        Raises:
            TargetError: no place answered.
            NotABackup: no place shows a backup.
            StrongroomError: what the newest lacks, if none of them could be read.
        """
        if self.chooser.away and not self.chooser.listings:
            raise all_away(self.chooser.away)
        choices = list(self._choices(asked))
        periods, covered = self._indexed(wanted, choices)
        others = [
            backup_choice for backup_choice in choices if backup_choice.manifest.backup_id not in covered
        ]
        # One name costs a few requests each, and waits for them; for a pattern every core reads one backup.
        together = self._may_share and bool(wanted.name)
        for choice, outcome in outcomes(others, self.open, look, together=together):
            self._took(choice, outcome, take)
        if wanted.name:
            periods, covered = self._confirmed(choices, periods, covered, look, take)
        self.read += [
            backup_choice for backup_choice in choices if backup_choice.manifest.backup_id in covered
        ]
        self.read.sort(key=lambda choice: choice.manifest.backup_id, reverse=True)
        self._report(asked)
        return periods

    def _confirmed(
        self,
        choices: Sequence[BackupChoice],
        periods: list[_Told],
        covered: frozenset[str],
        look: Callable[[Replicated], T],
        take: Take[T],
    ) -> tuple[list[_Told], frozenset[str]]:
        """Return what indexes say that is to be believed: where one leaves out what the newest backup of its
        policy has, all of the policy are looked into instead."""
        having = {backup for _, period in periods for backup in period.backups}
        newest = {
            backup_choice.manifest.policy: backup_choice for backup_choice in reversed(choices)
        }.values()
        silent = [
            backup_choice for backup_choice in newest if backup_choice.manifest.backup_id in covered - having
        ]
        for choice, outcome in outcomes(silent, self.open, look, together=self._may_share):
            access_log.record_outcome(outcome if isinstance(outcome, StrongroomError) else None)
            if isinstance(outcome, StrongroomError):
                covered -= self._unconfirmed(choice, outcome)
            elif outcome:
                indexed = [
                    backup_choice for backup_choice in choices if backup_choice.manifest.backup_id in covered
                ]
                lying = [
                    backup_choice
                    for backup_choice in indexed
                    if backup_choice.manifest.policy == choice.manifest.policy
                ]
                covered -= self._instead(lying, look, take)
        return [span for told in periods if (span := _within(told, covered))], covered

    def _unconfirmed(self, choice: BackupChoice, error: StrongroomError) -> set[str]:
        """Say that an index alone tells of a backup. What no key opens here, was to be told by it alone."""
        if isinstance(error, WrongKey):
            self._output.note(f"not checked: {choice.manifest.backup_id}: {_BY_THE_INDEX}")
            return set()
        self._not_read(choice.signed, error)
        return {choice.manifest.backup_id}

    def _instead(
        self, doubted: Sequence[BackupChoice], look: Callable[[Replicated], T], take: Take[T]
    ) -> set[str]:
        """Look into backups of which an index was not believed; return them."""
        self._output.note(f"not believed: the index of names of {doubted[0].manifest.backup_id}: {_LEFT_OUT}")
        for choice, outcome in outcomes(doubted, self.open, look, together=self._may_share):
            self._took(choice, outcome, take)
        return {backup_choice.manifest.backup_id for backup_choice in doubted}

    def _choices(self, asked: Asked) -> Iterator[BackupChoice]:
        meant: list[SignedManifest] = []
        for signed, believed in self.chooser.listed(asked):
            refusal = None if believed else self._refusal(signed)
            if refusal is not None:
                self._not_read(signed, refusal)
            elif not lacks(signed.manifest, asked):
                meant.append(signed)
        with ThreadPoolExecutor(AT_ONCE) as threads:  # each place is asked what it has of each
            yield from threads.map(self._choice, meant)

    def _refusal(self, signed: SignedManifest) -> StrongroomError | None:
        maker = maker_of_backup(signed, self._known)
        return None if maker.may_be_taken and self._given.trust.any_signer else maker.refusal

    def _indexed(
        self, wanted: SecretQuery, choices: Sequence[BackupChoice]
    ) -> tuple[list[_Told], frozenset[str]]:
        """Return what the indexes of names say of these backups, and of which of them they tell."""
        if not self._is_indexed:
            return [], frozenset()
        places = {name: listing.objects for name, listing in self.chooser.listings.items()}
        indexes = NameIndexes(places, self._openers, told=self._index_passed_over)
        found: list[_Told] = []
        covered: frozenset[str] = frozenset()
        by_pins: dict[frozenset[str], dict[str, Manifest]] = {}
        for choice in choices:
            if choice.manifest.backup_id in indexes.backups:
                self._about_to_open(choice)
            by_pins.setdefault(self._pins(choice), {})[choice.manifest.backup_id] = choice.manifest
        for pins, manifests in by_pins.items():
            periods, told = indexes.search(wanted, manifests, trusted=pins)
            found += ((manifests[span.backups[0]].source, span) for span in periods)
            covered |= told
        access_log.record_outcomes(None if covered else next(iter(self._passed_over), None))
        return found, covered

    def _index_passed_over(self, name: str, error: StrongroomError) -> None:
        self._passed_over.append(error)
        self._output.note(f"not used: {name}: {error.code}: {error.message}")

    def _choice(self, signed: SignedManifest) -> BackupChoice:
        whole, lacking = self.chooser.replicas(signed)
        self.places[signed.manifest.backup_id] = [replica.name for replica in whole]
        quarantine = self.chooser.why_quarantined(signed.manifest.backup_id)
        return BackupChoice(signed=signed, replicas=(*whole, *lacking), quarantine=quarantine)

    def _took(self, choice: BackupChoice, outcome: T | StrongroomError, take: Take[T]) -> None:
        if isinstance(outcome, StrongroomError):
            access_log.record_outcome(outcome)
            if isinstance(outcome, UsageError):
                raise outcome
            self._not_read(choice.signed, outcome)
            return
        access_log.record_outcome(None)
        take(choice, outcome)
        self.read.append(choice)

    @property
    def _may_share(self) -> bool:
        """Whether threads may open with these keys at once: one session of a token serves one at a time."""
        return all(isinstance(opener, _IN_MEMORY) for opener in self._openers)

    def _not_read(self, signed: SignedManifest, error: StrongroomError) -> None:
        manifest = signed.manifest
        self._output.note(
            f"not read: {manifest.backup_id} of policy '{manifest.policy}', made {manifest.created_at}: "
            f"{error.code}: {error.message}"
        )
        self._failures.append(error)

    def _report(self, asked: Asked) -> None:
        newest = self.read[0].manifest if self.read else None
        if lost := backup_selection.unseen(self.chooser, asked, newest, named=False):
            self._output.note(f"not read: {lost.message}")
            self._output.end_with(lost)
        for line in describe_skipped(self.chooser.passed):
            self._output.note(f"no backup: {line}")
        for name, error in self.chooser.away.items():
            self._output.note(f"not looked at: '{name}': {error.message}")
        unread = [
            *self._failures,
            *(passed_over.broken for passed_over in self.chooser.passed if passed_over.broken),
        ]
        if not self.read and unread:
            raise unread[0]
        if not self.read and not any(map(len, self.chooser.listings.values())):
            raise nothing_there(self.chooser.listings)
        if self.not_read:
            self._output.end_with(NotAllRead(f"{plural(self.not_read, 'backup')} could not be read."))
        self._output.end_with(admission.set_aside(self.quarantined))

    def missing(self, said: str, hint: str, kind: type[StrongroomError] = SecretNotFound) -> StrongroomError:
        """Return what to say where none of the backups read has what is asked for: another one may."""
        if self.not_read:
            lost = plural(self.not_read, "backup")
            return NotAllRead(f"{said}; {lost} could not be read, and may.")
        return kind(f"{said}.", hint=hint)

    def near(self, name: str) -> str:
        """Ask whether the nearest name in the newest backup was meant."""
        return near_name(name, self.replicated(self.read[0]) if self.read else None)

    def not_compared(self, backup: str, error: StrongroomError) -> None:
        """Say that the values of a backup could not be compared with others."""
        self._output.note(f"not compared: {backup}: {error.code}: {error.message}")
        self._output.end_with(NotAllRead(f"The values of backup {backup} could not be compared."))

    @property
    def quarantined(self) -> dict[str, str]:
        """The backups that were read and are in quarantine, and why."""
        return {choice.manifest.backup_id: choice.quarantine for choice in self.read if choice.quarantine}

    @property
    def not_read(self) -> int:
        """How many backups could not be read."""
        return len(self._failures) + len(self.chooser.passed)


def _within(told: _Told, covered: frozenset[str]) -> _Told | None:
    source, period = told
    backups = tuple(backup for backup in period.backups if backup in covered)
    return (source, period._replace(backups=backups)) if backups else None


@contextmanager
def reading(given: BackupSource, output: Output, *, indexed: bool = True) -> Iterator[BackupReader]:
    """Give a command the backups that it names, or all; damage is said at the end, and what opens them.

    Args:
        indexed: whether indexes of names are believed, so that not every backup is read.
    """
    reader = BackupReader(given, output, place.find(), indexed=indexed)
    with (
        backup_selection.reporting_damage(reader.chooser, output, reader.installation),
        opening.explaining_keys(),
    ):
        yield reader
