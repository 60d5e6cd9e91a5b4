"""What came of a recovery, as a signed document that an auditor keeps.

It is made from the record alone, so that it says the same whoever makes it and however often. No value is in
it and no secret's name.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from strongroom import __version__
from strongroom.operations.archive.recoveries import (
    Recovery,
    RecoveryPart,
    RecoveryProof,
    SourceSeen,
    StepRecord,
)
from strongroom.operations.recovery import words
from strongroom.operations.recovery.decide import took_seconds


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


def report_of(recovery: Recovery, *, objective: float) -> RecoveryReport:
    """Return what is on record of a recovery that is closed, without the digest of its page."""
    scope = recovery.scope
    return RecoveryReport(
        strongroom=__version__,
        recovery=recovery.id,
        outcome=words.verdict(recovery),
        reason=recovery.reason,
        opened_at=recovery.opened_at,
        closed_at=recovery.closed_at,
        took=round(took_seconds(recovery, 0.0)),
        objective=round(objective),
        hosts=recovery.hosts,
        sources=scope.sources if scope else (),
        away=scope.away if scope else {},
        lost=scope.lost if scope else (),
        leaked=scope.leaked if scope else (),
        parts=recovery.parts,
        steps=tuple(map(_step, recovery.steps.values())),
        told=tuple(
            SentMessage(message=entry.reason, at=entry.at, lines=entry.lines) for entry in recovery.told
        ),
        left_to_do=recovery.left,
    )


def _step(record: StepRecord) -> StepReport:
    return StepReport(
        step=record.step,
        ended=words.step_state(record),
        began_at=record.began_at,
        ended_at=record.ended_at,
        attempts=record.attempts,
        by=record.by,
        reason=record.reason,
        proofs=record.proofs,
    )
