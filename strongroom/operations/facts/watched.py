"""What watching needs: the state, the targets, and whose signatures count. No key, no source, no stage."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from strongroom.operations.evidence.ledger_check import TargetLedger as HeadsOnTarget
from strongroom.operations.facts.records import LateEntry
from strongroom.operations.keep_rules import ConfiguredPolicy
from strongroom.operations.scheduled import Scheduled
from strongroom.state.records import RunKind
from strongroom.state.store import RunStore
from strongroom.targets import Target


class WatchedDrill(Struct, frozen=True, kw_only=True):
    """A drill that is scheduled: of which kind, and of which policy."""

    drill: str
    policy: str
    schedule: str
    time_zone: str = "UTC"


class WatchedRoom(Struct, frozen=True, kw_only=True):
    """A directory whose file system has to have room, if nothing else for ``least`` bytes; that of a target,
    if it is one. People call it by a name that ends with " on HOST"."""

    name: str
    path: Path
    least: int = 0
    target: str = ""


def _nothing_late(_now: float) -> Iterable[LateEntry]:
    return ()


@dataclass(frozen=True, kw_only=True, repr=False)
class WatchedInstallation:
    """What is watched, and by what.

    ``state_dir`` has this host's part of the record of recoveries, if it keeps one; ``recovery_objective``
    says within how many seconds one should be over.
    ``store`` gives the run store; that it cannot is an alert, and no error. ``hold_ledger`` holds the record
    of events against the signed heads on the targets, and raises LedgerChanged or LedgerCut. ``late_entries``
    gives what the calendar should have begun by a time. ``certificates`` are files that have to hold, each by
    what people call it, which ends with " on HOST". ``host`` is this one. ``key_health`` is when all
    keys are tried, in the time zone ``key_zone``. ``access_logs`` says of each after how many seconds
    without a line it is silent.
    ``channels`` are those by which people are told; ``None``: any on record.
    ``checks`` names the checks of the calendar, ``calendar`` has its entries. ``configured_at`` is when the
    configuration file was last written (epoch seconds), if there is one.
    """

    store: Callable[[], RunStore]
    targets: Mapping[str, Target]
    trusted: frozenset[str]
    policies: tuple[ConfiguredPolicy, ...]
    drills: tuple[WatchedDrill, ...] = ()
    key_health: str | None = None
    key_zone: str = "UTC"
    checks: tuple[str, ...] = ()
    access_logs: Mapping[str, float] = field(default_factory=dict)
    calendar: tuple[Scheduled, ...] = ()
    configured_at: float | None = None
    host: str = field(default_factory=socket.gethostname)
    hold_ledger: Callable[[], tuple[HeadsOnTarget, ...]] | None = None
    late_entries: Callable[[float], Iterable[LateEntry]] = _nothing_late
    state_dir: Path | None = None
    recovery_objective: float = 0.0
    channels: frozenset[str] | None = None
    rooms: tuple[WatchedRoom, ...] = ()
    certificates: Mapping[str, Path] = field(default_factory=dict)

    @property
    def verification(self) -> Scheduled | None:
        """The calendar's entry that reads every replica again."""
        return next((entry for entry in self.calendar if entry.kind is RunKind.SCRUB), None)

    @property
    def in_use(self) -> tuple[str, ...]:
        """The targets that are to answer at any time: those of offline policies lie in a safe."""
        named = (name for policy in self.policies if not policy.offline for name in policy.targets)
        return tuple(dict.fromkeys(name for name in named if name in self.targets))
