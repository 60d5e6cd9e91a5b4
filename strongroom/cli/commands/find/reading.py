"""Opening one backup after another: what cannot be read is said, and stops nothing."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from strongroom.cli.shared import access_log, backup_selection, opening, trust
from strongroom.cli.shared.identities import identities_of
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import Place
from strongroom.container.errors import UntrustedSigner
from strongroom.container.manifest import SignedManifest
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Opener
from strongroom.operations.archive.coverage import Asked, lacks
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.open import nothing_there
from strongroom.operations.archive.select_backup import Choice, describe_skipped
from strongroom.operations.errors import NotAllRead
from strongroom.words import plural

Work = Callable[[Replicated, Choice], None]


class Reader:
    """The backups that a command looks into, and with what they are opened.

    ``read`` are those that were read, newest first; ``places`` has the names of those that have all of one.
    """

    def __init__(self, arguments: Namespace, output: Output, installation: Place) -> None:
        self.installation = installation
        self._known = trust.trusted_signers(installation, arguments.signer)
        self.chooser = backup_selection.make_chooser(
            arguments, installation, self._known, strangers=not self._known
        )
        self.read: list[Choice] = []
        self.places: dict[str, list[str]] = {}
        self._arguments = arguments
        self._output = output
        self._openers: Sequence[Opener] = identities_of(arguments, output, installation)
        self._failures: list[StrongroomError] = []

    def open(self, choice: Choice) -> Replicated:
        """Open a backup, which goes on record."""
        if doubt := trust.doubt_about(choice.signed, self._known):
            self._output.note(f"note: {choice.manifest.backup_id}: {doubt}")
        access_log.record_opening(
            self._arguments,
            self._output,
            self.installation,
            choice.manifest.backup_id,
            quarantine=choice.quarantine,
        )
        pins = trust.signers_to_accept(choice.signed, self._known)
        return Replicated(choice, self._openers, trusted=pins, told=self.chooser.note)

    def each(self, asked: Asked, work: Work) -> None:
        """Do something with every backup that may hold what is asked for, newest first.

        Raises:
            TargetError: no place answered.
            NotABackup: no place shows a backup.
            StrongroomError: what the newest lacks, if none of them could be read.
        """
        if self.chooser.away and not self.chooser.listings:
            raise next(iter(self.chooser.away.values()))
        for signed, believed in self.chooser.listed(asked):
            if not believed and self._known:
                self._not_read(signed, UntrustedSigner(f"Signed by installation {signed.fingerprint}."))
            elif not lacks(signed.manifest, asked):
                self._one(self._choice(signed), work)
        self._report()

    def _choice(self, signed: SignedManifest) -> Choice:
        whole, lacking = self.chooser.replicas(signed)
        self.places[signed.manifest.backup_id] = [replica.name for replica in whole]
        quarantine = self.chooser.why_quarantined(signed.manifest.backup_id)
        return Choice(signed=signed, replicas=(*whole, *lacking), quarantine=quarantine)

    def _one(self, choice: Choice, work: Work) -> None:
        try:
            work(self.open(choice), choice)
        except UsageError:
            raise
        except StrongroomError as error:
            access_log.record_outcomes(error)
            self._not_read(choice.signed, error)
        else:
            access_log.record_outcomes(None)
            self.read.append(choice)

    def _not_read(self, signed: SignedManifest, error: StrongroomError) -> None:
        manifest = signed.manifest
        self._output.note(
            f"not read: {manifest.backup_id} of policy '{manifest.policy}', made {manifest.created_at}: "
            f"{error.code}: {error.message}"
        )
        self._failures.append(error)

    def _report(self) -> None:
        for line in describe_skipped(self.chooser.passed):
            self._output.note(f"no backup: {line}")
        for name, why in self.chooser.marks_aside.items():
            self._output.note(f"not believed: {name}: {why}")
        for name, error in self.chooser.away.items():
            self._output.note(f"not looked at: '{name}': {error.message}")
        if not self.read and self._failures:
            raise self._failures[0]
        if not self.read and not any(map(len, self.chooser.listings.values())):
            raise nothing_there()
        if self.not_read:
            self._output.end_with(NotAllRead(f"{plural(self.not_read, 'backup')} could not be read."))

    @property
    def not_read(self) -> int:
        """How many backups could not be read."""
        return len(self._failures) + len(self.chooser.passed)


@contextmanager
def reading(arguments: Namespace, output: Output) -> Iterator[Reader]:
    """Give a command the backups that it names, or all; damage is said at the end, and what opens them."""
    reader = Reader(arguments, output, place.find())
    with (
        backup_selection.reporting_damage(reader.chooser, output, reader.installation),
        backup_selection.explaining_signers(),
        opening.explaining_keys(),
    ):
        yield reader
