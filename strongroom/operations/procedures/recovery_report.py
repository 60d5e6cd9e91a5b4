"""What came of a recovery, as a signed document and a page, and where it lies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from strongroom import __version__
from strongroom.container.errors import VerificationFailed
from strongroom.container.signing import CertifiedSigner
from strongroom.errors import StrongroomError
from strongroom.operations.archive.cases import Places, add_on, read_on
from strongroom.operations.archive.recoveries import (
    FOLDER,
    HERE,
    RECOVERY,
    Recovery,
    RecoveryEntry,
    RecoveryEntryKind,
    RecoveryPart,
    RecoveryProof,
    RecoveryStep,
    SourceSeen,
    in_order,
    recovery_of,
)
from strongroom.operations.engine.statements import KEPT, put_checked
from strongroom.operations.evidence.signed_report import PAGE, ReportKind, vouch
from strongroom.operations.procedures import recovery
from strongroom.operations.procedures.account import ProcedureAccount, StepAccount
from strongroom.operations.procedures.recovery import took_seconds
from strongroom.sheet import Mood, Part, Table, marked
from strongroom.system.process import who
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.times import measured, readable, rfc3339
from strongroom.words import plural

# -- What came of a recovery, as a signed document that an auditor keeps ------------------------
#
# It is made from the record alone, so that it says the same whoever makes it and however often. No value is
# in it and no secret's name.


class StepReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step: how it ended, who ended it, why if it was passed over, and the checks that prove it."""

    step: str
    ended: str
    began_at: str
    ended_at: str
    attempts: int
    by: str
    reason: str
    proofs: tuple[RecoveryProof, ...]


class SentMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message: when it was due, whom it was mailed to, and why some were not reached."""

    message: str
    at: str
    lines: tuple[str, ...]


class RecoveryReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The report. Times are RFC 3339, ``took`` and ``objective`` are seconds.

    ``page_sha256`` is the digest of the HTML page beside it, which says the same to people.
    """

    strongroom: str
    recovery: str
    outcome: str
    reason: str
    opened_at: str
    closed_at: str
    took: int
    objective: int
    hosts: tuple[str, ...]
    sources: tuple[SourceSeen, ...]
    away: Mapping[str, str]
    lost: tuple[str, ...]
    leaked: tuple[str, ...]
    parts: tuple[RecoveryPart, ...]
    steps: tuple[StepReport, ...]
    told: tuple[SentMessage, ...]
    left_to_do: tuple[str, ...]
    page_sha256: str = ""

    @property
    def in_time(self) -> bool:
        return self.took <= self.objective


def report_of(case: Recovery, *, objective: float, now: float = 0.0) -> RecoveryReport:
    """Return what is on record of a recovery, without the digest of its page. What one that is closed says
    does not depend on ``now``."""
    scope = case.scope
    return RecoveryReport(
        strongroom=__version__,
        recovery=case.id,
        outcome=recovery.verdict(case),
        reason=case.reason,
        opened_at=case.opened_at,
        closed_at=case.closed_at,
        took=round(took_seconds(case, now)),
        objective=round(objective),
        hosts=case.hosts,
        sources=scope.sources if scope else (),
        away=scope.away if scope else {},
        lost=scope.lost if scope else (),
        leaked=scope.leaked if scope else (),
        parts=case.parts,
        steps=tuple(
            StepReport(
                step=record.step,
                ended=recovery.step_state(record),
                began_at=record.began_at,
                ended_at=record.ended_at,
                attempts=record.attempts,
                by=record.by,
                reason=record.reason,
                proofs=record.proofs,
            )
            for record in case.steps.values()
        ),
        told=tuple(SentMessage(message=entry.reason, at=entry.at, lines=entry.lines) for entry in case.told),
        left_to_do=case.left,
    )


class RecoveryStatus(RecoveryReport, frozen=True, kw_only=True):
    """A recovery as it stands now: what its report says, and the command that goes on."""

    next: str


def status_of(case: Recovery, *, objective: float, now: float, goes_on: str) -> RecoveryStatus:
    """Return how a recovery stands, with the command that goes on with it until it is closed."""
    following = "" if case.closed_at else goes_on
    return RecoveryStatus(**asdict(report_of(case, objective=objective, now=now)), next=following)


# -- A recovery in words: a pure function of its report, whose document vouches for its page ----


def account_of(report: RecoveryReport) -> ProcedureAccount:
    """Return what is on record of a recovery, in words."""
    outcome = recovery.OUTCOMES[report.outcome]
    lasts = "has taken" if report.outcome == recovery.OPEN else "took"
    objective = f"its objective of {measured(report.objective)}"
    in_time = f"within {objective}" if report.in_time else f"longer than {objective}"
    late = outcome.mood is Mood.GOOD and not report.in_time
    return ProcedureAccount(
        kind="Recovery",
        case=report.recovery,
        verdict=outcome.verdict,
        mood=Mood.WARN if late else outcome.mood,
        about=f"{outcome.about} It {lasts} {measured(report.took)}: {in_time}.",
        happened=list(_happened(report)),
        steps=list(map(_step_account, report.steps)),
        left=report.left_to_do,
        next=report.next if isinstance(report, RecoveryStatus) else "",
        details=list(_details(report)),
    )


def _happened(report: RecoveryReport) -> Iterator[tuple[str, str]]:
    yield "Why", report.reason
    yield "Opened", readable(report.opened_at)
    yield "Closed", readable(report.closed_at)
    yield "Lost", ", ".join(report.lost) or "nothing"
    yield "Leaked", ", ".join(report.leaked) or "no key that is known"
    yield from (("Did not answer", f"target {target}: {why}") for target, why in report.away.items())
    yield "Hosts", ", ".join(report.hosts)


def _step_account(step: StepReport) -> StepAccount:
    took = ""
    if step.began_at and step.ended_at:
        seconds = datetime.fromisoformat(step.ended_at) - datetime.fromisoformat(step.began_at)
        took = f"took {measured(seconds.total_seconds())}"
    tries = plural(step.attempts, "attempt") if step.attempts > 1 else ""
    return StepAccount(
        name=recovery.STEPS[RecoveryStep(step.step)],
        state=step.ended,
        settled=step.ended in recovery.ENDED.values(),
        by=step.by,
        at=step.ended_at or step.began_at,
        found=list(filter(None, (step.reason.rstrip("."), tries, took))),
    )


def _details(report: RecoveryReport) -> Iterator[Part]:
    sources = [
        (
            marked(source.name, bad=source.name in report.lost),
            "no answer" if source.there is None else source.there,
            source.held,
            source.why,
        )
        for source in report.sources
    ]
    yield Table(("Source", "Secrets there", "In its backup", "Remark"), sources, "What was lost")
    restored = [
        (part.backup, part.policy, part.made_at, part.secrets, part.limits or "everything", part.into)
        for part in report.parts
    ]
    head = ("Backup", "Policy", "Made", "Secrets", "Of", "Restored into")
    yield Table(head, restored, "What was restored")
    proofs = [
        (
            marked(recovery.STEPS[RecoveryStep(step.step)], bad=bool(proof.code)),
            proof.check,
            proof.code or "good",
            " ".join((*proof.said, proof.of and f"({proof.of})")),
        )
        for step in report.steps
        for proof in step.proofs
    ]
    yield Table(("Step", "Check", "Result", "Found"), proofs, "What each step was proved by")
    told = [(message.message, readable(message.at), "; ".join(message.lines)) for message in report.told]
    yield Table(("Message", "At", "To"), told, "Who was notified")


REPORT = ReportKind(
    name="recovery-report",
    words="recovery report",
    record=RecoveryReport,
    sheet=lambda report: account_of(report).report(foot=f"{report.strongroom}, recovery {report.recovery}"),
    moment="closed_at",
    most=4 * 1024 * 1024,
    file_name=lambda report: report.recovery,
)


# -- Where the record of a recovery lies: in the state directory, and on each target that answers ---
#
# No state database is needed: it may be what was lost. A target that did not answer once is not asked again
# by this process: an entry must not wait for the region that is gone. It gets what it lacks on a later day.


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
