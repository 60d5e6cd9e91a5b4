"""Who is killed when, drawn by a seed: progress decides the moment, not the clock."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Final

from msgspec import Struct

from strongroom.state.records import StepKind, StepState, Tally
from tests.chaos.place import REGIONS

LEAST: Final = 3
"""Kills that every run must see between its first capture and its commit."""


class Phase(StrEnum):
    """What the run is at when the kill comes. The first two overlap: a container is uploaded
    while the next is captured."""

    CAPTURE = "capture"
    UPLOAD = "upload"
    COMMIT = "commit"


class Victim(StrEnum):
    """Every kind of process there is: forked children, main processes, beat, the broker."""

    SEAL_CHILD = "seal child"
    SEAL = "seal"
    TRANSFER = "transfer"
    CONTROL_CHILD = "control child"
    CONTROL = "control"
    BEAT = "beat"
    REDIS = "redis"


EARLY: Final = {
    Victim.SEAL_CHILD: (Phase.CAPTURE,),
    Victim.SEAL: (Phase.CAPTURE,),
    Victim.TRANSFER: (Phase.UPLOAD,),
    Victim.CONTROL_CHILD: (Phase.CAPTURE, Phase.UPLOAD),
    Victim.CONTROL: (Phase.CAPTURE, Phase.UPLOAD),
    Victim.BEAT: (Phase.CAPTURE, Phase.UPLOAD),
    Victim.REDIS: (Phase.CAPTURE, Phase.UPLOAD),
}
LATE: Final = (Victim.CONTROL_CHILD, Victim.CONTROL, Victim.BEAT, Victim.REDIS)


class Kill(Struct, frozen=True, kw_only=True):
    """One planned kill: due once ``phase`` has come as far as ``at`` (0 to 1)."""

    victim: Victim
    phase: Phase
    at: float = 0.0

    def __str__(self) -> str:
        return f"{self.victim}@{self.phase}" + (f" {self.at:.0%}" if self.phase is not Phase.COMMIT else "")


class Progress(Struct, frozen=True, kw_only=True):
    """How far a run is: the shares of its captures and uploads that are done."""

    captured: float
    uploaded: float
    committing: bool

    @classmethod
    def of(cls, tally: Tally, pieces: int) -> Progress:
        """Read it off the run record's counts."""
        done = (StepState.DONE,)
        return cls(
            captured=tally.of(StepKind.CAPTURE, states=done) / pieces,
            uploaded=tally.of(StepKind.UPLOAD, states=done) / (pieces * len(REGIONS)),
            committing=tally.unsettled(StepKind.COMMIT) > 0,
        )

    def reached(self, kill: Kill) -> bool:
        """Tell whether a kill is due."""
        match kill.phase:
            case Phase.CAPTURE:
                return kill.at <= self.captured < 1
            case Phase.UPLOAD:
                return kill.at <= self.uploaded < 1
            case _:
                return self.committing


def plan(seed: int) -> list[Kill]:
    """Return the kills of a run: three or four while it captures and uploads, each of
    another kind of process, and in most runs one more while it commits."""
    draw = random.Random(seed)
    victims = draw.sample(list(Victim), k=draw.choice((3, 4)))
    kills = [
        Kill(victim=victim, phase=draw.choice(EARLY[victim]), at=round(draw.uniform(0.02, 0.85), 2))
        for victim in victims
    ]
    if draw.random() < 0.75:
        kills.append(Kill(victim=draw.choice(LATE), phase=Phase.COMMIT))
    return sorted(kills, key=lambda kill: (kill.phase is Phase.COMMIT, kill.at))
