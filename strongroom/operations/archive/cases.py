"""Cases on record here and, signed, on the targets: incidents, entry by entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Generic, Literal

import msgspec
from msgspec import Struct, structs
from msgspec.structs import replace

from strongroom.container.canonical import printable
from strongroom.container.errors import Malformed
from strongroom.container.marks import CaseEntry, CaseKind, E
from strongroom.container.signing import CertifiedSigner, ever_trusted
from strongroom.errors import StrongroomError
from strongroom.model import COMMAND, Role, prepare
from strongroom.operations.archive.inventory import SUPERSEDED
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.statements import KEPT, Counting, StatementsOn, judge, put_checked
from strongroom.state.store import RunStore
from strongroom.targets import Target

# -- Cases on record here and, signed, on the targets, so that another host goes on where this one stopped
#
# What counts of a case is every entry that the record here or any target has and somebody trusted signed
# (:mod:`strongroom.container.marks`). So who removes entries from one place takes nothing back, and an edited
# record adds none. Of a signer that is distrusted since, only what is on record here counts: a host that is
# suspected itself must not take an incident with it. Whoever enters something also brings each place what it
# lacks, and so does the hourly turn that puts heads there.


READ = 1_000
"""Names of one kind that are read on one target: anyone who may write there can leave any number."""


class SignedCases(Struct, Generic[E], frozen=True, kw_only=True):
    """What is known of some cases: the entries of each, in order.

    ``unread`` says why a target could not be read, ``aside`` which objects did not count, and why.
    """

    entries: Mapping[str, tuple[E, ...]]
    unread: Mapping[str, str]
    aside: Mapping[str, str]


class Added(Struct, Generic[E], frozen=True, kw_only=True):
    """An entry as it was numbered, and the targets that lack it or an earlier one, with the reason."""

    entry: E
    missed: Mapping[str, str]


class Places(Struct, frozen=True, kw_only=True):
    """Where entries lie, and whose signatures count. A machine without a database has no ``store``."""

    targets: Mapping[str, Target]
    trusted: frozenset[str]
    store: RunStore | None = None


def places_of(services: Services) -> Places:
    """Return the record of an installation and all its targets."""
    return Places(targets=services.targets, trusted=services.signer_fingerprints, store=services.store)


def read_cases(services: Services, kind: CaseKind[E], case: str = "") -> SignedCases[E]:
    """Return all cases of a kind, or one, by the record here and by every target that answers."""
    return read_on(places_of(services), kind, case)


def read_on(places: Places, kind: CaseKind[E], case: str = "") -> SignedCases[E]:
    """Return all cases of a kind, or one, as some places have them."""
    known = _KnownCases(places, kind, case)
    return SignedCases(entries=known.by_case(), unread=known.unread, aside=known.aside)


def add_entry(services: Services, kind: CaseKind[E], entry: E) -> Added[E]:
    """Put an entry on record and on every target, after those that are known; its number is chosen here.

    Each place also gets the earlier entries of the case that it lacks.
    """
    return add_on(places_of(services), kind, entry, services.signers(Role.CONTROL))


def add_on(places: Places, kind: CaseKind[E], entry: E, signer: CertifiedSigner) -> Added[E]:
    """Put an entry on some places, as :func:`add_entry` does."""
    known = _KnownCases(places, kind, entry.case)
    number = 1 + max((counted.statement.number for counted in known.counting.values()), default=0)
    numbered = structs.replace(entry, number=number)
    known.add(numbered, signer)
    return Added(entry=numbered, missed=known.spread(signer))


def spread_case(services: Services, kind: CaseKind[E], case: str) -> Mapping[str, str]:
    """Bring each place what it lacks of a case; return why a target lacks something still."""
    return _KnownCases(places_of(services), kind, case).spread(services.signers(Role.CONTROL))


def spread_cases(places: Places, kind: CaseKind[E], signer: CertifiedSigner) -> None:
    """Bring each place that answers what it lacks of any case. What fails now is done the next time.

    Where all have the same names, nothing is read.
    """
    there: list[set[str]] = []
    for target in places.targets.values():
        with suppress(StrongroomError):
            there.append({info.name for info in target.list(kind.prefix)})
    recorded = {name for name, _ in _recorded(places.store, kind)}
    if any(ids != there[0] or recorded - ids for ids in there):
        _KnownCases(places, kind, "").spread(signer)


class _KnownCases(Generic[E]):
    """The entries that count, as they were signed, and which of them each place has."""

    def __init__(self, places: Places, kind: CaseKind[E], case: str) -> None:
        self._places: Places = places
        self._kind: CaseKind[E] = kind
        self.counting: dict[str, Counting[E]] = {}
        self.unread: dict[str, str] = {}
        self.aside: dict[str, str] = {}
        self._there: dict[str, set[str]] = {}
        self._here: set[str] = set()
        self._by_record: set[str] = set()
        prefix = f"{kind.prefix}{case}/" if case else kind.prefix
        for name, content in _recorded(places.store, kind):
            if name.startswith(prefix) and self._take(name, content, ever_trusted(places.trusted)):
                self._here.add(name)
                believed = judge(kind, name, content, trusted=places.trusted)
                self._by_record |= set() if isinstance(believed, Counting) else {name}
        for place, target in places.targets.items():
            try:
                self._there[place] = self._look(place, target, case)
            except StrongroomError as error:
                self.unread[place] = f"{error.code}: {error.message}"

    def _take(self, name: str, content: bytes, trusted: frozenset[str]) -> bool:
        found = judge(self._kind, name, content, trusted=trusted)
        return self._note(name, found)

    def _note(self, name: str, refusal: Counting[E] | StrongroomError) -> bool:
        """Count an entry, or say why it does not count; tell whether it does."""
        if isinstance(refusal, Counting):
            self.counting[name] = refusal
            return True
        self.aside[name] = f"{refusal.code}: {refusal.message}"
        return False

    def _look(self, place: str, target: Target, case: str) -> set[str]:
        """Return the names of the entries on a target that count; what is known already is not read again."""
        there = StatementsOn(target, self._kind, trusted=self._places.trusted, folder=case)
        infos = sorted(
            (object_info for of in there.folders for object_info in there.infos(of)),
            key=lambda object_info: object_info.name,
        )
        new = [info for info in infos if info.name not in self.counting]
        if len(new) > READ:  # true ones may be hidden behind names that somebody made up
            what = f"{self._kind.prefix}{case}"
            self.aside[f"{what} on {place}"] = f"it has {len(new):,} names; {READ:,} were read"
        for info in new[:READ]:
            self._note(info.name, there.read(info))
        return {info.name for info in infos if info.name in self.counting}

    def by_case(self) -> dict[str, tuple[E, ...]]:
        """Return the entries of each case, in order."""
        found: dict[str, dict[bytes, E]] = {}
        for _, counted in sorted(self.counting.items()):  # one that was signed anew is there twice
            entry = counted.statement
            found.setdefault(entry.case, {})[msgspec.json.encode(entry)] = entry
        return {case: tuple(sorted(said.values(), key=_order)) for case, said in found.items()}

    def add(self, entry: E, signer: CertifiedSigner) -> None:
        """Sign an entry, and count it."""
        content = self._kind.sign(entry, signer)
        self._take(self._kind.name_of(entry, content), content, frozenset({signer.certificate.fingerprint}))

    def spread(self, signer: CertifiedSigner) -> dict[str, str]:
        """Put on record, then on each target, what it lacks; return why a target lacks something still."""
        for name in self._by_record:  # of a signer that is distrusted by now: count for other hosts again
            self.add(self.counting.pop(name).statement, signer)
        self._by_record = set()
        self._put_on_record()
        missed = dict(self.unread)
        for place, there in self._there.items():
            try:
                for name in sorted(self.counting.keys() - there):
                    content, until = self.counting[name].content, datetime.now(UTC) + KEPT
                    put_checked(self._places.targets[place], name, content, until=until)
            except StrongroomError as error:
                missed[place] = f"{error.code}: {error.message}"
        return missed

    def _put_on_record(self) -> None:
        if self._places.store is None:
            return
        lacking = [counted for name, counted in sorted(self.counting.items()) if name not in self._here]
        self._places.store.append([(self._kind.event, _detail(counted)) for counted in lacking])
        self._here.update(counted.name for counted in lacking)


def _detail(counted: Counting[E]) -> dict[str, str]:
    return {"case": counted.statement.case, "name": counted.name, "signed": counted.content.decode()}


def _recorded(store: RunStore | None, kind: CaseKind[E]) -> Iterable[tuple[str, bytes]]:
    """Yield what a record has as an entry, with its name; whether it counts, its signature says."""
    events = () if store is None else store.each_event(kind.event)
    found = {str(event.detail.get("name")): str(event.detail.get("signed")).encode() for event in events}
    return found.items()


def _order(entry: E) -> tuple[int, float, bytes]:
    """Two hosts may give one number to two entries: then the later one counts as later."""
    return entry.number, datetime.fromisoformat(entry.at).timestamp(), msgspec.json.encode(entry)


# -- An incident on record: what is suspected, what it affects, and how each of its steps stands ---
#
# An incident is the sum of its entries (:mod:`.cases`), which lie on the targets too. They are readable to
# whoever reads a target, so they name no secret: names lie sealed in the backups, and those that a person
# gave are sealed in the first entry.


MAX_TEXT = 4_000


class IncidentStep(StrEnum):
    """What an entry is about: that the incident was opened or closed, or one of its :data:`STEPS`."""

    OPEN = "open"
    ISOLATE = "isolate"
    READERS = "readers"
    RESEAL = "reseal"
    ROTATE = "rotate"
    REPORT = "report"
    CLOSE = "close"


STEPS = (
    IncidentStep.ISOLATE,
    IncidentStep.READERS,
    IncidentStep.RESEAL,
    IncidentStep.ROTATE,
    IncidentStep.REPORT,
)
"""What has to be done or waived before an incident is closed, in this order."""

SETTLED = ("done", "waived", "not needed")


class Affected(Struct, frozen=True, kw_only=True):
    """A backup that an incident is about. ``opens_now``: by its newest envelope; else by a copy alone.

    ``file`` is where a command wrote it, empty if it lies on targets. One that could not be
    ``looked_at`` counts as open: nobody knows better.
    """

    backup: str
    policy: str
    created_at: str
    opens_now: bool
    targets: int
    file: str = ""
    looked_at: bool = True


class Suspicion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is suspected to be in wrong hands.

    ``keys`` are named as :func:`~strongroom.keys.allof.stanza_key` does; of a key that has versions,
    ``version`` may name one. ``secrets`` counts those that a person named, ``names`` holds them, sealed.
    """

    keys: tuple[str, ...] = ()
    version: int | None = None
    backups: tuple[str, ...] = ()
    host: str = ""
    target: str = ""
    secrets: int = 0
    names: str = ""

    @property
    def is_about_backups(self) -> bool:
        """Whether somebody else may be able to open backups."""
        return bool(self.keys or self.backups or self.host)


class Opening(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found when an incident was opened.

    ``since`` is the time (RFC 3339) from which on readers are looked for, ``due_at`` when all should be done.
    ``unread`` says why some of what is affected could not be read, ``gone`` are backups whose files a person
    said are gone: what was copied of those is as open as before.
    """

    suspicion: Suspicion
    since: str
    due_at: str
    affected: tuple[Affected, ...]
    unread: Mapping[str, str]
    gone: tuple[str, ...]


class BackupOpener(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who opened affected backups, or tried to: what they did, how often, first and last when."""

    who: str
    did: str
    times: int
    first: str
    last: str
    backups: tuple[str, ...]


class StepOutcome(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of a step. ``done`` says what each thing is now, ``missing`` why another is not done;
    ``left`` is what a person has to do, in sentences."""

    counts: Mapping[str, int] = {}
    done: Mapping[str, str] = {}
    missing: Mapping[str, str] = {}
    readers: tuple[BackupOpener, ...] = ()
    left: tuple[str, ...] = ()


class IncidentEntry(CaseEntry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One word about an incident: that it was opened or closed, or how a step stands and why."""

    step: IncidentStep
    state: Literal["begun", "partly", "done", "waived"]
    said: str
    opening: Opening | None = None
    outcome: StepOutcome | None = None


prepare(IncidentEntry)


def _check(entry: IncidentEntry) -> None:
    if (entry.step is IncidentStep.OPEN) != (entry.opening is not None):
        raise Malformed("An entry that opens an incident says what was found, and no other does.")
    if not (printable(entry.said, MAX_TEXT) and printable(entry.by, MAX_TEXT)):
        raise Malformed("What the incident entry says is too long, or cannot be printed.")


INCIDENT = CaseKind(
    name="incident",
    words="incident entry",
    record=IncidentEntry,
    prefix="incidents/",
    event="incident.entered",
    rules=_check,
)


class StepStanding(Struct, frozen=True, kw_only=True):
    """How a step stands, why, and by whose word since when (both empty if nobody began it)."""

    step: IncidentStep
    state: Literal["open", "begun", "partly", "done", "waived", "not needed"]
    said: str
    by: str = ""
    at: str = ""
    outcome: StepOutcome = StepOutcome()

    @property
    def settled(self) -> bool:
        return self.state in SETTLED


class Incident(Struct, frozen=True, kw_only=True, dict=True):
    """An incident, by its entries in order. ``opening`` is what was found when it was last looked for."""

    entries: tuple[IncidentEntry, ...]
    opening: Opening

    @property
    def id(self) -> str:
        return self.entries[0].case

    @property
    def looked_at(self) -> int:
        """The number of the entry that says what is affected: what was done before may have missed some."""
        return max(entry.number for entry in self.entries if entry.opening is not None)

    @property
    def opened_at(self) -> str:
        return self.entries[0].at

    @property
    def by(self) -> str:
        return self.entries[0].by

    @property
    def reason(self) -> str:
        return self.entries[0].said

    @property
    def suspicion(self) -> Suspicion:
        return self.opening.suspicion

    @property
    def affected(self) -> tuple[Affected, ...]:
        return self.opening.affected

    @property
    def closed(self) -> IncidentEntry | None:
        """The entry that closed it, if one did."""
        return next((entry for entry in self.entries if entry.step is IncidentStep.CLOSE), None)

    @cached_property
    def policies(self) -> dict[str, tuple[str, ...]]:
        """The backups of each policy that can be sealed anew on their targets, the most exposed first."""
        found: dict[str, list[str]] = {}
        for affected_backup in self.affected:
            if not affected_backup.file and affected_backup.looked_at and affected_backup.policy != COMMAND:
                found.setdefault(affected_backup.policy, []).append(affected_backup.backup)
        return {policy: tuple(backups) for policy, backups in found.items()}

    @property
    def files(self) -> tuple[str, ...]:
        """The files of what commands made, which no policy seals anew."""
        return tuple(
            backup.file for backup in self.affected if backup.file and not backup.file.endswith(SUPERSEDED)
        )

    @property
    def superseded(self) -> tuple[str, ...]:
        """The files that were sealed anew already, and that this kept beside the new ones."""
        return tuple(backup.file for backup in self.affected if backup.file.endswith(SUPERSEDED))

    @cached_property
    def readers(self) -> tuple[BackupOpener, ...]:
        """Who read what, by the records of all hosts that looked; what a host said last counts."""
        found: dict[tuple[str, str], BackupOpener] = {}
        for entry in self.entries:
            if entry.step is IncidentStep.READERS and entry.outcome is not None:
                found |= {(opener.who, opener.did): opener for opener in entry.outcome.readers}
        return tuple(sorted(found.values(), key=lambda opener: opener.last, reverse=True))

    def last(self, step: IncidentStep) -> IncidentEntry | None:
        """Return the last word about a step."""
        return next((entry for entry in reversed(self.entries) if entry.step is step), None)

    def is_overdue(self, now: float) -> bool:
        """Tell whether it is open and should not be any more."""
        return self.closed is None and now > datetime.fromisoformat(self.opening.due_at).timestamp()


def steps_of(incident: Incident) -> tuple[StepStanding, ...]:
    """Return how each step of an incident stands, in their order."""
    return tuple(_standing(incident, step) for step in STEPS)


def _standing(incident: Incident, step: IncidentStep) -> StepStanding:
    if (entry := incident.last(step)) is not None:
        stale = entry.state == "done" and entry.number < incident.looked_at
        return StepStanding(
            step=step,
            state="partly" if stale else entry.state,
            said="more was found to be affected since" if stale else entry.said,
            by=entry.by,
            at=entry.at,
            outcome=_outcome(incident, entry),
        )
    if why := _needless(incident.suspicion, step):
        return StepStanding(step=step, state="not needed", said=why)
    return StepStanding(step=step, state="open", said="")


def _outcome(incident: Incident, entry: IncidentEntry) -> StepOutcome:
    """Return what came of a step, with the readers that other hosts found."""
    outcome, readers = entry.outcome or StepOutcome(), incident.readers
    if entry.step is not IncidentStep.READERS or len(readers) <= len(outcome.readers):
        return outcome
    counts = {**outcome.counts, "readers": len(readers), "times": sum(opener.times for opener in readers)}
    return replace(outcome, counts=counts, readers=readers)


def _needless(suspicion: Suspicion, step: IncidentStep) -> str:
    """Say why a step has nothing to do for what is suspected; empty if it has."""
    if suspicion.is_about_backups:
        return ""
    if suspicion.target:
        return {
            IncidentStep.RESEAL: "the backups on the target are sealed, and no key is suspected",
            IncidentStep.ROTATE: "" if suspicion.secrets else "no value can be read there without a key",
        }.get(step, "")
    return {
        IncidentStep.ISOLATE: "the backups are good; only the values of some secrets are known to others",
        IncidentStep.RESEAL: "no key is suspected",
    }.get(step, "")


def next_command(incident: Incident) -> str:
    """Return the command line that goes on with an incident; empty once it is closed."""
    if incident.closed is not None:
        return ""
    step = next(
        (standing.step for standing in steps_of(incident) if not standing.settled), IncidentStep.CLOSE
    )
    return f"strongroom incident {step} {incident.id}"


def incidents_on_record(store: RunStore, *, trusted: frozenset[str]) -> dict[str, Incident]:
    """Return the incidents that are on record here, without asking a target."""
    return incidents_on(Places(targets={}, trusted=trusted, store=store))


def incidents_on(places: Places) -> dict[str, Incident]:
    """Return the incidents that some places know of."""
    return _incidents(read_on(places, INCIDENT).entries)


class KnownIncidents(Struct, frozen=True, kw_only=True):
    """The incidents that are known, and why a target could not be asked."""

    incidents: Mapping[str, Incident]
    unread: Mapping[str, str]
    aside: Mapping[str, str]


def read_incidents(services: Services, incident: str = "") -> KnownIncidents:
    """Return all incidents, or one, by the record here and by every target that answers."""
    cases = read_cases(services, INCIDENT, incident)
    return KnownIncidents(incidents=_incidents(cases.entries), unread=cases.unread, aside=cases.aside)


def _incidents(entries: Mapping[str, tuple[IncidentEntry, ...]]) -> dict[str, Incident]:
    """What no entry opens is none yet: the target that has that one is away."""
    found = {}
    for case, said in sorted(entries.items()):
        if openings := [entry.opening for entry in said if entry.opening is not None]:
            found[case] = Incident(entries=said, opening=openings[-1])
    return found
