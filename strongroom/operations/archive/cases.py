"""Cases on record here and, signed, on the targets, so that another host goes on where this one stopped.

What counts of a case is every entry that the record here or any target has and somebody trusted signed
(:mod:`strongroom.container.case`). So who removes entries from one place takes nothing back, and an edited
record adds none. Of a signer that is distrusted since, only what is on record here counts: a host that is
suspected itself must not take an incident with it. Whoever enters something also brings each place what it
lacks, and so does the hourly turn that puts heads there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic

import msgspec
from msgspec import Struct, structs

from strongroom.container.case import CaseKind, E
from strongroom.container.certificate import CertifiedSigner
from strongroom.container.signing import ever_trusted
from strongroom.errors import StrongroomError
from strongroom.operations.statements import KEPT, Counting, StatementsOn, judge, put_checked
from strongroom.targets import Target

if TYPE_CHECKING:  # a restore looks at incidents on targets, and loads no database
    from strongroom.operations.services import Services
    from strongroom.state.store import RunStore

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
    return add_on(places_of(services), kind, entry, services.signers("control"))


def add_on(places: Places, kind: CaseKind[E], entry: E, signer: CertifiedSigner) -> Added[E]:
    """Put an entry on some places, as :func:`add_entry` does."""
    known = _KnownCases(places, kind, entry.case)
    number = 1 + max((counted.statement.number for counted in known.counting.values()), default=0)
    numbered = structs.replace(entry, number=number)
    known.add(numbered, signer)
    return Added(entry=numbered, missed=known.spread(signer))


def spread_case(services: Services, kind: CaseKind[E], case: str) -> Mapping[str, str]:
    """Bring each place what it lacks of a case; return why a target lacks something still."""
    return _KnownCases(places_of(services), kind, case).spread(services.signers("control"))


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

    def _note(self, name: str, found: Counting[E] | StrongroomError) -> bool:
        """Count an entry, or say why it does not count; tell whether it does."""
        if isinstance(found, Counting):
            self.counting[name] = found
            return True
        self.aside[name] = f"{found.code}: {found.message}"
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
