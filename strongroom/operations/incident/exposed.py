"""Which secrets have to be changed, and which are changed already: by their keyed digests, unseen.

A secret is known to others as long as the current value at its source is one that an affected backup holds.
So nobody has to take anybody's word for it that a secret was changed, by hand or by a rotator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from strongroom.container.digests import ValueDigester, value_digester
from strongroom.errors import StrongroomError
from strongroom.model import COMMAND, Entry, Secret
from strongroom.operations.archive.first_answer import first_answer
from strongroom.operations.archive.incidents import Affected, Incident
from strongroom.operations.archive.live_comparison import Live, batches, read_each
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.drift.comparison import check_digest_key
from strongroom.operations.incident.names import unseal
from strongroom.operations.incident.reseal import sealed_anew
from strongroom.operations.services import Services
from strongroom.targets.single_file import BundleReader

T = TypeVar("T")


class Compromised(Struct, frozen=True, kw_only=True):
    """The names of the secrets that others may know, each with the backups that hold it; and why those of
    some backups could not be listed, which hold further ones."""

    names: Mapping[str, Sequence[str]]
    unlisted: Mapping[str, str]


class Unchanged(Struct, frozen=True, kw_only=True):
    """The names, by source, of secrets whose current value others may know, out of so many ``looked_at``.

    ``unknown`` says of what nobody can tell, and why: a backup, a source, or a number of secrets.
    """

    names: Mapping[str, tuple[str, ...]]
    looked_at: int
    unknown: Mapping[str, str]

    @property
    def count(self) -> int:
        return sum(map(len, self.names.values()))


def compromised_names(services: Services, incident: Incident) -> Compromised:
    """Return what has to be changed. Names can be sensitive: they go to a file of its owner alone."""
    found: dict[str, list[str]] = {name: [] for name in unseal(services, incident.suspicion)}
    unlisted: dict[str, str] = {}
    for one in _held(services, incident):
        try:
            listed = _opened(services, incident, one, lambda backup: [row.name for row in backup.rows()])
        except StrongroomError as error:
            unlisted[one.backup] = _why(incident, one, error)
            continue
        for name in listed:
            if incident.suspicion.is_about_backups or name in found:
                found.setdefault(name, []).append(one.backup)
    return Compromised(names=dict(sorted(found.items())), unlisted=unlisted)


def _why(incident: Incident, one: Affected, error: StrongroomError) -> str:
    return incident.opening.unread.get(one.backup, f"{error.code}: {error.message}")


def _held(services: Services, incident: Incident) -> Iterator[Affected]:
    """Yield the backups that hold what others know: of named secrets, each policy's newest from before."""
    if incident.suspicion.is_about_backups:
        yield from incident.affected
        return
    newest: dict[str, Affected] = {}
    for entry in sorted(services.store.backups(), key=lambda entry: entry.created_at):
        if entry.values and entry.policy != COMMAND and entry.created_at <= incident.opened_at:
            newest[entry.policy] = Affected(
                backup=entry.backup,
                policy=entry.policy,
                created_at=entry.created_at,
                opens_now=False,
                targets=0,
            )
    yield from newest.values()


def _opened(services: Services, incident: Incident, one: Affected, work: Callable[[Backup], T]) -> T:
    """Do something with a backup, from the first place that gives it whole: or with what it is sealed as now,
    where the suspected key is not at hand any more."""
    trusted, identities = services.signer_fingerprints, services.identities()
    if one.file:
        with BundleReader(one.file) as file:
            return work(open_backup(file, one.backup, identities=identities, trusted=trusted))
    now = sealed_anew(incident).get(one.backup)
    places = [(name, backup) for backup in filter(None, (now, one.backup)) for name in services.targets]
    return first_answer(
        places,
        lambda place: work(
            open_backup(services.target(place[0]), place[1], identities=identities, trusted=trusted)
        ),
        of=f"backup {one.backup}",
    )


# -- what is changed already -------------------------------------------------------


def find_unchanged(services: Services, incident: Incident) -> Unchanged:
    """Compare the source with every affected backup; values are seen by nobody."""
    walk = _Walk(services, incident)
    for one in _held(services, incident):
        try:
            _opened(services, incident, one, walk.see)
        except StrongroomError as error:
            walk.unknown[f"backup {one.backup}"] = _why(incident, one, error)
    return walk.result()


class _Walk:
    """One walk over all affected backups; each secret is read from its source once."""

    def __init__(self, services: Services, incident: Incident) -> None:
        self._services = services
        self._named = (
            None if incident.suspicion.is_about_backups else set(unseal(services, incident.suspicion))
        )
        self._live: dict[tuple[str, str], bytes | None] = {}
        self._unchanged: dict[str, set[str]] = {}
        self._unread: set[tuple[str, str]] = set()
        self.unknown: dict[str, str] = {}

    def see(self, backup: Backup) -> None:
        """Compare a backup's secrets with what its source has now.

        Raises:
            SourceError: it did not answer.
            ConfigError: there is no such source, or the digests were made with another key.
        """
        if not backup.manifest.values:
            return
        name = backup.manifest.source
        source, digest = self._services.source(name), value_digester(self._services.digest_key, name)
        check_digest_key(backup, digest)
        meant = (held for held in backup.digested() if self._named is None or held[0] in self._named)
        for batch in batches(meant):
            new = [Entry(secret, 0) for secret, _ in batch if (name, secret) not in self._live]
            for entry, live in zip(new, read_each(source, new), strict=True):
                self._live[name, entry.name] = self._digest(name, entry.name, live, digest)
            for secret, digests in batch:
                if (now := self._live[name, secret]) is not None and now in digests.values():
                    self._unchanged.setdefault(name, set()).add(secret)

    def _digest(self, source: str, name: str, live: Live, digest: ValueDigester) -> bytes | None:
        """Return the keyed digest of the current value; nothing if there is none, or it cannot be read."""
        if isinstance(live, Secret):
            value = live.current.value
            return None if value is None else digest(name, live.current.number, value.reveal())
        if live is not None:
            self._unread.add((source, name))
        return None

    def result(self) -> Unchanged:
        """Return what is still as it was, and of what nobody can tell."""
        unknown = dict(self.unknown)
        if self._unread:
            unknown[f"{len(self._unread):,} secrets"] = "their source lists them, and does not give them"
        lacking = (self._named or set()) - {name for _, name in self._live}
        if lacking:
            unknown[f"{len(lacking):,} of the named secrets"] = (
                "no backup holds them, so nothing can be compared"
            )
        names = {source: tuple(sorted(found)) for source, found in self._unchanged.items()}
        return Unchanged(names=names, looked_at=len(self._live), unknown=unknown)
