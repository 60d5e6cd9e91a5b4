"""Cases on record here and, signed, on the targets, so that another host goes on where this one stopped.

What counts of a case is every entry that the record here or any target has and somebody trusted signed
(:mod:`strongroom.container.case`). So who removes entries from one place takes nothing back, and an edited
record adds none. Of a signer that is distrusted since, only what is on record here counts: a host that is
suspected itself must not take an incident with it. Whoever enters something also brings each place what it
lacks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Generic

import msgspec
from msgspec import Struct, structs

from strongroom.container.case import MAX_ENTRY, CaseKind, E, open_entry, sign_entry
from strongroom.container.certificate import CertifiedSigner
from strongroom.container.errors import FormatError, Tampered
from strongroom.container.signing import ever_trusted
from strongroom.errors import StrongroomError
from strongroom.operations.archive.put_checked import put_checked
from strongroom.operations.services import Services
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.timestamps import rfc3339

KEPT = timedelta(days=366)
"""For how long an entry is locked where a target locks."""
READ = 1_000
"""Names of one kind that are read on one target: anyone who may write there can leave any number."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}/[0-9]{8}-[0-9a-f]{16}\.json")
_PAGE = 1_000


class Cases(Struct, Generic[E], frozen=True, kw_only=True):
    """What is known of some cases: the entries of each, in order.

    ``unread`` says why a target could not be read, ``aside`` which objects did not count, and why.
    ``lacking`` names what each target that answered does not have.
    """

    entries: Mapping[str, tuple[E, ...]]
    unread: Mapping[str, str]
    aside: Mapping[str, str]
    lacking: Mapping[str, tuple[str, ...]]


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
    trusted = services.signer_fingerprints
    return Places(targets=services.targets, trusted=trusted, store=services.store)


def read_cases(services: Services, kind: CaseKind[E], case: str = "") -> Cases[E]:
    """Return all cases of a kind, or one, by the record here and by every target that answers."""
    return read_on(places_of(services), kind, case)


def read_on(places: Places, kind: CaseKind[E], case: str = "") -> Cases[E]:
    """Return all cases of a kind, or one, as some places have them."""
    found = _Found(places, kind, case)
    names = {name for name in found.signed if name.startswith(f"{kind.prefix}{case}")}
    return Cases(
        entries=found.by_case(),
        unread=found.unread,
        aside=found.aside,
        lacking={place: tuple(sorted(names - there)) for place, there in found.there.items()},
    )


def add_entry(services: Services, kind: CaseKind[E], entry: E) -> Added[E]:
    """Put an entry on record and on every target, after those that are known; its number is chosen here.

    Each place also gets the earlier entries of the case that it lacks.
    """
    return add_on(places_of(services), kind, entry, services.signers("control"))


def add_on(places: Places, kind: CaseKind[E], entry: E, signer: CertifiedSigner) -> Added[E]:
    """Put an entry on some places, as :func:`add_entry` does."""
    found = _Found(places, kind, entry.case)
    number = 1 + max((known.number for known in found.entries.values()), default=0)
    numbered = structs.replace(entry, number=number)
    signed = sign_entry(kind, numbered, signer)
    found.take(kind.object_name(numbered, signed), signed, numbered)
    return Added(entry=numbered, missed=found.spread(signer))


def spread_case(services: Services, kind: CaseKind[E], case: str) -> Mapping[str, str]:
    """Bring each place what it lacks of a case; return why a target lacks something still."""
    return _Found(places_of(services), kind, case).spread(services.signers("control"))


class _Found(Generic[E]):
    """The entries that count, as they were signed, and which of them each place has."""

    def __init__(self, places: Places, kind: CaseKind[E], case: str) -> None:
        self._places, self._kind = places, kind
        self._trusted = places.trusted
        self.signed: dict[str, bytes] = {}
        self.entries: dict[str, E] = {}
        self.there: dict[str, set[str]] = {}
        self.unread: dict[str, str] = {}
        self.aside: dict[str, str] = {}
        self._here: set[str] = set()
        prefix = f"{kind.prefix}{case}/" if case else kind.prefix
        known = {} if places.store is None else _recorded(places.store, kind)
        recorded = {name: content for name, content in known.items() if name.startswith(prefix)}
        for name, entry in _counting(kind, recorded, ever_trusted(self._trusted), self.aside):
            self.take(name, recorded[name], entry)
            self._here.add(name)
        believed = {name for name, _ in _counting(kind, recorded, self._trusted, {})}
        self._by_record = self._here - believed
        for name, target in places.targets.items():
            try:
                self.there[name] = set(self._on(target, prefix))
            except StrongroomError as error:
                self.unread[name] = f"{error.code}: {error.message}"

    def take(self, name: str, signed: bytes, entry: E) -> None:
        """Count an entry."""
        self.signed[name], self.entries[name] = signed, entry

    def by_case(self) -> dict[str, tuple[E, ...]]:
        """Return the entries of each case, in order."""
        return _grouped(self.entries[name] for name in sorted(self.entries))

    def _on(self, target: Target, prefix: str) -> Iterator[str]:
        """Yield the names of the entries on a target that count; what is known already is not read again."""
        listed = sorted(info.name for info in target.list(prefix))
        names = [name for name in listed if _NAME.fullmatch(name.removeprefix(self._kind.prefix))]
        new = [name for name in names if name not in self.signed]
        if len(new) > READ:  # true ones may be hidden behind names that somebody made up
            self.aside[f"{prefix} on {target.name}"] = f"it has {len(new):,} names; {READ:,} were read"
        contents = {name: b"".join(target.read(name, length=MAX_ENTRY + 1)) for name in new[:READ]}
        for name, entry in _counting(self._kind, contents, self._trusted, self.aside):
            self.take(name, contents[name], entry)
        return (name for name in names if name in self.signed)

    def spread(self, signer: CertifiedSigner) -> dict[str, str]:
        """Put on record, then on each target, what it lacks; return why a target lacks something still."""
        self._sign_anew(signer)
        self._put_on_record()
        missed = dict(self.unread)
        for place, there in self.there.items():
            try:
                for name in sorted(self.signed.keys() - there):
                    until = datetime.now(UTC) + KEPT
                    put_checked(self._places.targets[place], name, self.signed[name], until=until)
            except StrongroomError as error:
                missed[place] = f"{error.code}: {error.message}"
        return missed

    def _sign_anew(self, signer: CertifiedSigner) -> None:
        """Have entries of a signer that is distrusted by now count for other hosts again."""
        for name in self._by_record:
            entry = self.entries.pop(name)
            del self.signed[name]
            renewed = sign_entry(self._kind, entry, signer)
            self.take(self._kind.object_name(entry, renewed), renewed, entry)
        self._by_record = set()

    def _put_on_record(self) -> None:
        if self._places.store is None:
            return
        lacking = [name for name in sorted(self.signed) if name not in self._here]
        self._places.store.append([(self._kind.event, self._detail(name)) for name in lacking])
        self._here.update(lacking)

    def _detail(self, name: str) -> dict[str, str]:
        return {"case": self.entries[name].case, "name": name, "signed": self.signed[name].decode()}


def _recorded(store: RunStore, kind: CaseKind[E]) -> dict[str, bytes]:
    """Return what the record has as an entry, by its name; whether it counts, its signature says."""
    found: dict[str, bytes] = {}
    after = 0
    while page := store.events(kind=kind.event, after=after, limit=_PAGE):
        for event in page:
            found[str(event.detail.get("name"))] = str(event.detail.get("signed")).encode()
        after = page[-1].id
    return found


def _counting(
    kind: CaseKind[E], contents: Mapping[str, bytes], trusted: frozenset[str], aside: dict[str, str]
) -> Iterator[tuple[str, E]]:
    """Yield the entries that somebody trusted signed and that lie under their own name."""
    for name, content in contents.items():
        try:
            entry = open_entry(kind, content, trusted=trusted)
            if kind.object_name(entry, content) != name:
                raise Tampered(f"'{name}' is another entry.")
        except FormatError as error:
            aside[name] = f"{error.code}: {error.message}"
        else:
            yield name, entry


def _grouped(entries: Iterable[E]) -> dict[str, tuple[E, ...]]:
    found: dict[str, dict[bytes, E]] = {}
    for entry in entries:  # one that was signed anew is there twice
        found.setdefault(entry.case, {})[msgspec.json.encode(entry)] = entry
    return {case: tuple(sorted(said.values(), key=_order)) for case, said in found.items()}


def _order(entry: E) -> tuple[int, float, bytes]:
    """Two hosts may give one number to two entries: then the later one counts as later."""
    return entry.number, datetime.fromisoformat(entry.at).timestamp(), msgspec.json.encode(entry)


def now() -> str:
    """Return the time as an entry says it."""
    return rfc3339(time.time())
