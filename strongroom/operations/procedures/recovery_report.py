"""Where the record of a recovery lies: in the state directory, and on each target that answers.

No state database is needed: it may be what was lost. A target that did not answer once is not asked again by
this process: an entry must not wait for the region that is gone. It gets what it lacks on a later day.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from strongroom.container.certificate import CertifiedSigner
from strongroom.container.errors import VerificationFailed
from strongroom.errors import StrongroomError
from strongroom.operations.archive.cases import Places, add_on, read_on
from strongroom.operations.archive.recoveries import (
    FOLDER,
    HERE,
    RECOVERY,
    Recovery,
    RecoveryEntry,
    RecoveryEntryKind,
    RecoveryProof,
    RecoveryStep,
    in_order,
    recovery_of,
)
from strongroom.operations.recovery.page import REPORT
from strongroom.operations.recovery.report import RecoveryReport
from strongroom.operations.signed_report import PAGE, vouch
from strongroom.operations.statements import KEPT, put_checked
from strongroom.system.person import who
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.timestamps import rfc3339

REPORTS = "recovery-reports/"


class RecordPlaces:
    """The places of the record, as one.

    Args:
        state_dir: where this machine keeps its part.
        targets: those that answered.
        trusted: whose entries count; this machine's own signer is among them.
        signer: who signs what this machine says.
    """

    def __init__(
        self,
        state_dir: Path,
        targets: Mapping[str, Target],
        *,
        trusted: frozenset[str],
        signer: CertifiedSigner,
    ) -> None:
        here = DirectoryTarget(state_dir / FOLDER, name=HERE, region="")
        here.prepare()
        self._signer = signer
        self._places = Places(targets={HERE: here, **targets}, trusted=trusted)
        self.missed: dict[str, str] = {}

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that have the record, besides this machine."""
        return tuple(name for name in self._places.targets if name != HERE)

    def recoveries(self) -> dict[str, Recovery]:
        """Return every recovery that a place knows, the newest last."""
        cases = read_on(self._places, RECOVERY)
        self._leave_out(cases.unread)
        return in_order(cases.entries)

    def read(self, case: str) -> Recovery:
        """Return a recovery as all places know it by now."""
        cases = read_on(self._places, RECOVERY, case)
        self._leave_out(cases.unread)
        return recovery_of(case, cases.entries[case])

    def add(self, entry: RecoveryEntry) -> Recovery:
        """Put an entry on all places; return what the recovery comes to then.

        Raises:
            TargetError: this machine cannot keep it: nothing may go on that leaves no trace.
        """
        added = add_on(self._places, RECOVERY, entry, self._signer)
        if HERE in added.missed:
            raise VerificationFailed(
                f"The record of this recovery cannot be kept here: {added.missed[HERE]}",
                hint="Free space in the state directory, or set STRONGROOM_STATE_DIR. Then repeat.",
            )
        self._leave_out(added.missed)
        return self.read(entry.case)

    def put_report(self, report: RecoveryReport) -> dict[str, bytes]:
        """Sign a report, put it with its page on all places, and return both by their names."""
        beside = REPORT.files(report)
        signed = REPORT.sign(vouch(report, beside), self._signer)
        files = {f"{report.recovery}.html": beside[PAGE], f"{report.recovery}.json": signed}
        for name, target in self._places.targets.items():
            try:
                for file, content in files.items():
                    put_checked(target, f"{REPORTS}{file}", content, until=datetime.now(UTC) + KEPT)
            except StrongroomError as error:
                self.missed[name] = f"{error.code}: {error.message}"
        return files

    def _leave_out(self, missed: Mapping[str, str]) -> None:
        self.missed.update(missed)
        answering = {name: target for name, target in self._places.targets.items() if name not in missed}
        self._places = replace(self._places, targets=answering)


class RecoveryJournal:
    """The record of one recovery, which this process adds to."""

    def __init__(self, places: RecordPlaces, recovery: Recovery) -> None:
        self.places, self.recovery = places, recovery

    def note(self, about: RecoveryEntryKind, step: RecoveryStep | None = None, **said: Any) -> None:
        """Put something on record, on every place."""
        entry = RecoveryEntry(
            case=self.recovery.id,
            number=1,
            at=rfc3339(time.time()),
            by=who(),
            about=about,
            step=step,
            **said,
        )
        self.recovery = self.places.add(entry)

    def prove(self, step: RecoveryStep, check: str, *said: str, of: str = "", code: str = "") -> None:
        """Put the result of a check on record."""
        self.note(
            RecoveryEntryKind.PROVED, step, proofs=(RecoveryProof(check=check, of=of, code=code, said=said),)
        )

    def left(self, *lines: str) -> None:
        """Put on record what a person has to do still, each once."""
        if new := tuple(line for line in lines if line not in self.recovery.left):
            self.note(RecoveryEntryKind.LEFT, lines=new)
