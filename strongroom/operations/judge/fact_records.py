"""What is known of an installation: gathered by ``facts.gather``, judged by those who look at it.

Times are seconds since the epoch. Nothing here holds a value, or the name of a secret: what a run or a source
said in its own words is left out, for it may name one.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from strongroom.config.alerts import AlertSettings
from strongroom.model import Depth
from strongroom.operations.backup.verified_share import VerificationState
from strongroom.operations.backup.verify import replica_facts
from strongroom.operations.checks import drift
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.services import ConfiguredPolicy
from strongroom.operations.evidence.ledger_heads import TargetLedger as HeadsOnTarget
from strongroom.operations.keys.health import KeyProof
from strongroom.operations.restore.job import progress_of
from strongroom.schedule import next_slot
from strongroom.sources.local import LocalStore
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    RESTORES,
    Run,
    RunCount,
    RunKind,
    RunProgress,
    RunState,
    StepKind,
    StepState,
    Tally,
    Waiting,
)
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.times import at_least
from strongroom.words import plural

_DEFAULTS = AlertSettings()


class AlertLimits(Struct, frozen=True, kw_only=True):
    """From when on something is an alert; times in seconds; ``strongroom.config.alerts`` explains each."""

    threshold_age: float = _DEFAULTS.threshold_age
    compared: int = 10
    size_factor: float = 2.0
    duration_factor: float = 3.0
    key_age: float = _DEFAULTS.key_age
    notice: float = _DEFAULTS.notice
    free_percent: int = _DEFAULTS.free_percent
    mass_change: drift.MassChangeLimits = drift.MassChangeLimits()


class VerifiedBackup(Struct, frozen=True, kw_only=True):
    """A whole backup, and the depth to which it was verified: ``None`` if it was not, or nobody knows here.

    ``on_targets`` tells whether its signed manifest was read on a target. Otherwise the record alone has it,
    for the targets that may hold it were not looked at. ``shallow`` names the targets whose replica was not
    read back as deep as the policy says.
    """

    backup: str
    made_at: float
    depth: Depth | None = None
    on_targets: bool = True
    recorded: bool = True
    shallow: tuple[str, ...] = ()


class Ran(Struct, frozen=True, kw_only=True):
    """A run. ``code`` is the class of its error."""

    run: str
    state: RunState
    began: float
    ended: float | None
    code: str = ""

    @property
    def took(self) -> float | None:
        """How long it took, in seconds, once it has ended."""
        return None if self.ended is None else max(0.0, self.ended - self.began)


class RunPace(Struct, frozen=True, kw_only=True):
    """How far a run is: ``done`` of ``total`` units. ``rate`` is how many a second, ``left`` how many seconds
    the rest takes at that; ``None`` where nobody knows."""

    unit: str
    done: int
    total: int
    rate: float | None = None
    left: float | None = None

    @property
    def words(self) -> str:
        """How far it is, in words."""
        return f"{self.done:,} of {plural(self.total, self.unit)}"

    @property
    def rate_words(self) -> str:
        return "-" if self.rate is None else f"{self.rate:,.1f} {self.unit}s/s"

    @property
    def left_words(self) -> str:
        return "-" if self.left is None else at_least(self.left) if self.left else "almost done"


class Running(Ran, frozen=True, kw_only=True):
    """A run that has not ended: what it does, how far it is, and whether people have to approve it first.

    ``moved_at`` is when it was last seen to move. ``at_work``: a step of it is being done.
    ``waits_for_keys``: nothing but keys that people bring. ``abandoned``: the process that drove it is gone.
    """

    kind: RunKind
    policy: str
    pace: RunPace
    waits_for_approval: bool = False
    moved_at: float | None = None
    at_work: bool = False
    waits_for_keys: bool = False
    abandoned: bool = False


class Drilled(Ran, frozen=True, kw_only=True):
    """A drill: of which kind, how long the recovery took, and how long it may take (seconds)."""

    drill: str = "full"
    recovered_in: float | None = None
    objective: float = 0.0


class NewestOnTarget(Struct, frozen=True, kw_only=True):
    """The newest backup of a policy on one target, by the record.

    ``depth`` and ``read_at`` say how deep it was read back, and when. ``locked_until`` is until when nobody
    can remove it; ``None`` where it is not locked.
    """

    target: str
    good: bool
    depth: Depth | None = None
    read_at: float | None = None
    locked_until: float | None = None


class BackupContents(Struct, frozen=True, kw_only=True):
    """How much a backup holds."""

    backup: str
    secrets: int
    size: int


class DayOfRuns(Struct, frozen=True, kw_only=True):
    """A day by the clock of a policy, such as ``2026-07-20``, and how the last of its backup runs stands that
    began then; ``None`` if none did."""

    date: str
    state: RunState | None = None


class Policy(Struct, frozen=True, kw_only=True):
    """A policy, and what there is of its backups and runs, each the newest first.

    ``newest`` is its newest whole backup, ``verified`` the newest that was read back. ``rotations`` are the
    runs that rotated its backups, ``drifts`` those that compared them with their source. ``mended`` are
    backups that a repair has made whole since. ``ahead`` are those that say they were made later than now.
    ``blind``: neither the record nor any of its targets could be asked. ``on_targets`` says how its newest
    backup on record lies on each target, ``wanted`` on how many it is to lie, and ``lacks`` what it lacks of
    the policy's quorum. ``begun`` is when the installation began, or 0 if that is not known. ``targets`` are
    those that it names, ``unlocked`` those where its newest backup should be locked and is not. ``days`` are
    the last thirty, the oldest first. ``whole``: it backs up the values of all secrets of its ``source``.
    """

    name: str
    source: str = ""
    whole: bool = False
    schedule: str | None = None
    time_zone: str = "UTC"
    offline: bool = False
    depth: Depth = Depth.DIGEST
    newest: VerifiedBackup | None = None
    verified: VerifiedBackup | None = None
    held: tuple[BackupContents, ...] = ()
    runs: tuple[Ran, ...] = ()
    rotations: tuple[Ran, ...] = ()
    drifts: tuple[Ran, ...] = ()
    mended: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()
    blind: bool = False
    on_targets: tuple[NewestOnTarget, ...] = ()
    wanted: int = 0
    lacks: str | None = None
    begun: float = 0.0
    targets: tuple[str, ...] = ()
    unlocked: tuple[str, ...] = ()
    days: tuple[DayOfRuns, ...] = ()

    def interval(self, now: float) -> float | None:
        """Return how many seconds lie between the two next times of the schedule, if it has one."""
        first = next_slot(self.schedule, now, self.time_zone) if self.schedule else None
        second = next_slot(self.schedule, first, self.time_zone) if self.schedule and first else None
        return None if first is None or second is None else second - first


class TargetFacts(Struct, frozen=True, kw_only=True):
    """A target. ``away`` says why it could not be checked.

    ``lost`` are backups on record as good there whose manifest is not there, ``bad`` those on record as
    damaged, ``missing`` those that never came or were found to lack something and are not there, ``refused``
    manifests that nobody who is trusted signed, ``unknown`` backups that the catalog does not know.
    """

    name: str
    away: str | None = None
    lost: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class Room(Struct, frozen=True, kw_only=True):
    """A directory's file system, in bytes. ``least`` is what has to be free there to go on at all."""

    name: str
    free: int
    total: int
    least: int = 0
    writable: bool = True


class Dated(Struct, frozen=True, kw_only=True):
    """Something with a date: since when a key is in use, until when a certificate holds.

    ``key`` is what stanzas call a key.
    """

    name: str
    at: float
    key: str = ""


class ExposedFile(Struct, frozen=True, kw_only=True):
    """A file or folder that others may use, and the mode that it should have."""

    path: str
    mode: str


class LocalStoreFacts(Struct, frozen=True, kw_only=True):
    """A local store of secrets: whether there is one, why it cannot be used, which error says so, and what to
    do if that is not to bring it back."""

    name: str
    made: bool
    trouble: str = ""
    code: str = ""
    to_do: str = ""


class HostFacts(Struct, frozen=True, kw_only=True):
    """What a host stands on. ``private`` counts the files of keys and state, ``exposed`` has those that
    others may use. ``ahead`` is by how many seconds its clock is before the database's. ``unsound`` says what
    of the database cannot be read; ``None``: nobody looked.
    """

    name: str
    private: int = 0
    exposed: tuple[ExposedFile, ...] = ()
    ahead: float | None = None
    unsound: tuple[str, ...] | None = None
    stores: tuple[LocalStoreFacts, ...] = ()


class ClusterFacts(Struct, frozen=True, kw_only=True):
    """How a cluster stands; none of it, where none is configured or ``runs``.

    On ``host``: ``killed`` tells whether its supervisor is gone, ``down`` names the processes that do not
    run, ``again`` those that were started again. ``broker`` is the one that was asked, if one was; ``away``
    says why it did not answer, ``mend`` what to do about that if it is not to start the broker, ``unasked``
    why no worker was asked. ``answered`` are the pools of which a
    worker did, ``silent`` those that always run and of which none did.
    """

    runs: bool
    host: str = ""
    killed: bool = False
    down: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    broker: str = ""
    away: str = ""
    mend: str = ""
    unasked: str = ""
    answered: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


class Drills(Struct, frozen=True, kw_only=True):
    """The drills of one kind and policy, the newest first. ``schedule`` is empty where none is scheduled."""

    policy: str
    drill: str = "full"
    schedule: str = ""
    time_zone: str = "UTC"
    runs: tuple[Drilled, ...] = ()


class KeyFacts(Struct, frozen=True, kw_only=True):
    """How the keys stand. ``used`` says since when each is sealed to, without a rotation to a newer one.

    ``proofs`` says of each that is used, or was tried and not retired, how its proof stands. ``checked_at``
    is when they were all tried last, ``unread`` names the backups that no target gave then, ``asked`` has the
    challenges that nobody has answered, with when they were made. ``unasked`` are those whose key services
    did not say which key it is, with why.
    """

    schedule: str | None = None
    time_zone: str = "UTC"
    used: tuple[Dated, ...] = ()
    checked_at: float | None = None
    proofs: tuple[KeyProof, ...] = ()
    unread: tuple[str, ...] = ()
    asked: tuple[Dated, ...] = ()
    unasked: Mapping[str, str] = {}


class Signs(Struct, frozen=True, kw_only=True):
    """What the record has of somebody who should not: of the last day, but for the ledger and shredding.

    ``messages`` counts refused messages by pool, ``failed`` those that were our own and could not be acted
    on, which is a fault and no stranger. ``records`` names runs in which a worker refused a row.
    ``shreds`` counts orders to shred that nobody who is trusted signed. ``broken_at`` is the first event of
    the ledger that is not what was appended, ``unlike`` says which signed head on a target it does not fit.
    ``events`` counts those on record; if this look did not read all, it read the ``fresh``, and all were read
    at ``whole_at`` (epoch seconds). ``heads`` has what each target says of them. ``uncovered`` is since when
    an event is under no head there.
    """

    messages: Mapping[str, int] = {}
    failed: Mapping[str, int] = {}
    records: tuple[str, ...] = ()
    shreds: int = 0
    broken_at: int | None = None
    unlike: str | None = None
    events: int | None = None
    fresh: int = 0
    whole_at: float | None = None
    heads: tuple[HeadsOnTarget, ...] = ()
    uncovered: float | None = None


class CalendarCheck(Struct, frozen=True, kw_only=True):
    """A check of the calendar, and the newest run of it that ended."""

    name: str
    newest: Ran


class PausedEntry(Struct, frozen=True, kw_only=True):
    """An entry of the calendar that is kept from running (epoch seconds).

    ``due`` and ``following`` are its newest slot and the one after it. ``paused`` is since when somebody has
    let it rest. ``refused`` is the code of the error for which its slot became no run.
    """

    name: str
    due: float
    following: float
    paused: float | None = None
    refused: str = ""


class LateEntry(Struct, frozen=True, kw_only=True):
    """An entry of the calendar that came due (epoch seconds) and was not begun, and what keeps it."""

    name: str
    due: float
    why: str


class Approval(Struct, frozen=True, kw_only=True):
    """Something that people have to approve.

    ``waits``: nobody did yet, and it can still be approved until ``ends``.
    ``late``: half of its time is over, and it is not done. ``broken``: it was done by break-glass, and nobody
    looked into that yet. ``refused`` counts what did not count in the last week, and may be an attack.
    """

    subject: str
    action: str
    requester: str
    asked_at: float
    ends: float = 0.0
    waits: bool = False
    late: bool = False
    broken: bool = False
    refused: int = 0


class Intrusion(Struct, frozen=True, kw_only=True):
    """What an access log told in the last week that no record of ours has. ``kind`` is that of its alert."""

    kind: str
    log: str
    who: str = ""
    origin: str = ""
    what: str = ""
    how: str = ""
    times: int = 1
    at: float = 0.0


class Unused(Struct, frozen=True, kw_only=True):
    """A configuration file that its host's processes did not take on: a ``problem``, or the sections for
    which it ``waits`` for a restart."""

    host: str
    problem: str = ""
    waits: tuple[str, ...] = ()


class Mended(Struct, frozen=True, kw_only=True):
    """A replica that was damaged and is good again: what was found, and from where it was repaired."""

    backup: str
    target: str
    why: str
    sources: tuple[str, ...] = ()


class BrokenChannel(Struct, frozen=True, kw_only=True):
    """A channel that did not take the last that was sent to it, since when, and why."""

    name: str
    since: float
    why: str


class IncidentFacts(Struct, frozen=True, kw_only=True):
    """An incident that is not closed: since when, when it should be, and the command that goes on with it."""

    incident: str
    opened: float
    due: float
    following: str


class OpenRecovery(Struct, frozen=True, kw_only=True):
    """A recovery that is not over: since when, and when it should be."""

    recovery: str
    opened: float
    due: float


class InstallationFacts(Struct, frozen=True, kw_only=True):
    """All of it. ``state`` says why the state database could not be read; what it has is missing then.

    ``lost`` are backups on record that lie on no target. ``active`` are the runs that have not ended,
    ``prunes`` the newest prunes of all policies. ``beat_age`` is how many seconds ago beat was alive, if
    it ever was. ``unused`` are changed configuration files that are not in force, ``hooks`` the entries
    whose hooks failed in the last day. ``approvals`` are what people have to approve or look into.
    ``verification`` is how much was read again within its span, ``unverified`` why nothing reads it by
    itself, and ``mended`` what was repaired in the last day. ``counts`` are all runs on record,
    ``waiting`` the steps that have not ended, ``incidents`` those that are open, and ``recoveries`` those
    that are not over. ``channels`` are those that do not work, ``intrusions`` what access logs told in
    the last week. ``late`` are the entries that should have been begun, ``quarantined`` counts the backups in
    quarantine. ``stage_users`` are the hosts that hand runs on to one another, if they are several, and
    ``unshared`` the policies whose stage is a folder of each.
    """

    now: float
    policies: tuple[Policy, ...] = ()
    places: tuple[TargetFacts, ...] = ()
    lost: tuple[str, ...] = ()
    active: tuple[Running, ...] = ()
    prunes: tuple[Ran, ...] = ()
    rooms: tuple[Room, ...] = ()
    certificates: tuple[Dated, ...] = ()
    host: HostFacts | None = None
    cluster: ClusterFacts | None = None
    drills: tuple[Drills, ...] = ()
    keys: KeyFacts = KeyFacts()
    signs: Signs = Signs()
    verification: VerificationState | None = None
    unverified: str = ""
    mended: tuple[Mended, ...] = ()
    beat_age: float | None = None
    unused: tuple[Unused, ...] = ()
    checks: tuple[CalendarCheck, ...] = ()
    entries: tuple[PausedEntry, ...] = ()
    hooks: tuple[str, ...] = ()
    approvals: tuple[Approval, ...] = ()
    counts: tuple[RunCount, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    incidents: tuple[IncidentFacts, ...] = ()
    recoveries: tuple[OpenRecovery, ...] = ()
    channels: tuple[BrokenChannel, ...] = ()
    intrusions: tuple[Intrusion, ...] = ()
    late: tuple[LateEntry, ...] = ()
    quarantined: int = 0
    stage_users: tuple[str, ...] = ()
    unshared: tuple[str, ...] = ()
    state: str | None = None

    @property
    def away(self) -> tuple[str, ...]:
        """The targets that could not be looked at."""
        return tuple(place.name for place in self.places if place.away is not None)


# -- What watching needs: the state, the targets, and whose signatures count. No key, no source, no stage


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
    what people call it, which ends with " on HOST". ``host`` is this one. ``secret_files`` hold a key, a PIN
    or a password. ``key_health`` is when all
    keys are tried, in the time zone ``key_zone``. ``access_logs`` says of each after how many seconds
    without a line it is silent.
    ``channels`` are those by which people are told; ``None``: any on record.
    ``checks`` names the checks of the calendar, ``calendar`` has its entries. ``configured_at`` is when the
    configuration file was last written (epoch seconds), if there is one. ``unshared`` names the policies
    whose stage is a folder of each host.
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
    secret_files: tuple[Path, ...] = ()
    local_stores: tuple[LocalStore, ...] = ()
    cluster: Callable[[], ClusterFacts] | None = None
    unshared: tuple[str, ...] = ()

    @property
    def verification(self) -> Scheduled | None:
        """The calendar's entry that reads every replica again."""
        return next((entry for entry in self.calendar if entry.kind is RunKind.SCRUB), None)

    @property
    def in_use(self) -> tuple[str, ...]:
        """The targets that are to answer at any time: those of offline policies lie in a safe."""
        named = (name for policy in self.policies if not policy.offline for name in policy.targets)
        return tuple(dict.fromkeys(name for name in named if name in self.targets))


# -- How far a run is, how fast it goes and how long the rest takes: from the record alone ------


COPIED = (StepKind.CAPTURE, StepKind.UPLOAD, StepKind.VERIFY)
ENDED = (StepState.DONE, StepState.MISSED, StepState.POISONED)


def pace_of(run: Run, store: RunStore, of: RunProgress | None = None, *, now: float) -> RunPace:
    """Return how far a run is. An odd row hides how far its run is, and nothing else.

    Args:
        of: what the record has of it, if that was read.
    """
    tally = store.tally(run.id) if of is None else of.tally
    with suppress(RecordRefused):
        if run.spec.kind in RESTORES:
            rows = store.rows(run.id, StepKind.RESTORE)
            if found := progress_of(run, rows, now=now):
                rate, left = (found.rate, found.left_seconds) if found.rate else (None, None)
                return RunPace(unit="secret", done=found.done, total=found.total, rate=rate, left=left)
        if run.spec.kind is RunKind.BACKUP and (plan := replica_facts(run).plan):
            return _of_steps(run, tally, COPIED, plan.pieces * (1 + 2 * len(run.spec.targets)), now)
    return _of_steps(run, tally, tuple(StepKind), 0, now)


def _of_steps(run: Run, tally: Tally, kinds: tuple[StepKind, ...], total: int, now: float) -> RunPace:
    """Count steps. Of a run that makes its steps as it goes, nobody knows how long it takes yet."""
    done = sum(tally.of(kind, states=ENDED) for kind in kinds)
    known = sum(tally.of(kind) for kind in kinds)
    rate = done / max((run.finished_at or now) - run.created_at, 0.001) if done else None
    left = max(0, total - done) / rate if rate and total else None
    return RunPace(unit="step", done=done, total=max(total, known), rate=rate, left=left)
