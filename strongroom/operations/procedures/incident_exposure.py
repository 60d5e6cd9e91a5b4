"""Which secrets have to be changed, and which are changed already: by their keyed digests, unseen.

A secret is known to others as long as the current value at its source is one that an affected backup holds,
or that a named secret had when the incident was opened.
So nobody has to take anybody's word for it that a secret was changed, by hand or by a rotator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from strongroom.container.digests import value_digester
from strongroom.errors import StrongroomError
from strongroom.model import COMMAND, ListedSecret, Secret
from strongroom.operations.archive.first_answer import first_answer
from strongroom.operations.archive.incidents import Affected, Incident
from strongroom.operations.archive.live_comparison import batches, read_each
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.drift.comparison import check_digest_key
from strongroom.operations.incident.names import unseal
from strongroom.operations.incident.reseal import sealed_anew
from strongroom.operations.services import Services
from strongroom.sources import is_setting
from strongroom.targets.single_file import BundleReader

T = TypeVar("T")
_Held = tuple[tuple[int, bytes], ...]
"""The keyed digests of a secret's values in all backups, each with its version's number."""


class Compromised(Struct, frozen=True, kw_only=True):
    """The names of the secrets that others may know, each with the backups that hold it; and why those of
    some backups could not be listed, which hold further ones."""

    names: Mapping[str, Sequence[str]]
    unlisted: Mapping[str, str]


class Unchanged(Struct, frozen=True, kw_only=True):
    """The names, by source, of secrets whose current value others may know, out of so many ``looked_at``.

    ``gone`` are not at their source any more. ``settings`` are a server's own, which hold no value to change;
    they are not among those looked at. ``unknown`` says of what nobody can tell, and why: a backup, a
    source, or a number of secrets.
    """

    names: Mapping[str, tuple[str, ...]]
    looked_at: int
    gone: int
    unknown: Mapping[str, str]
    settings: int = 0

    @property
    def count(self) -> int:
        return sum(map(len, self.names.values()))


def compromised_names(services: Services, incident: Incident) -> Compromised:
    """Return what has to be changed. Names can be sensitive: they go to a file of its owner alone."""
    found: dict[str, list[str]] = {name: [] for name in unseal(services, incident.suspicion).names}
    unlisted: dict[str, str] = {}
    for affected_backup in _held(services, incident):
        try:
            listed = _opened(
                services, incident, affected_backup, lambda backup: list(_with_values(services, backup))
            )
        except StrongroomError as error:
            unlisted[affected_backup.backup] = _why(incident, affected_backup, error)
            continue
        for name in listed:
            if incident.suspicion.is_about_backups or name in found:
                found.setdefault(name, []).append(affected_backup.backup)
    return Compromised(names=dict(sorted(found.items())), unlisted=unlisted)


def _with_values(services: Services, backup: Backup) -> Iterator[str]:
    """Yield the names of what has a value that can be changed."""
    source = backup.manifest.source
    place = services.destinations.get(source)
    return (row.name for row in backup.rows() if place is None or not is_setting(row.type, place))


def _why(incident: Incident, affected_backup: Affected, error: StrongroomError) -> str:
    return incident.opening.unread.get(affected_backup.backup, f"{error.code}: {error.message}")


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


def _opened(
    services: Services, incident: Incident, affected_backup: Affected, work: Callable[[Backup], T]
) -> T:
    """Do something with a backup, from the first place that gives it whole: or with what it is sealed as now,
    where the suspected key is not at hand any more."""
    trusted, identities = services.signer_fingerprints, services.identities()
    if affected_backup.file:
        with BundleReader(affected_backup.file) as file:
            return work(open_backup(file, affected_backup.backup, identities=identities, trusted=trusted))
    now = sealed_anew(incident).get(affected_backup.backup)
    places = [
        (name, backup) for backup in filter(None, (now, affected_backup.backup)) for name in services.targets
    ]
    return first_answer(
        places,
        lambda place: work(
            open_backup(services.target(place[0]), place[1], identities=identities, trusted=trusted)
        ),
        of=f"backup {affected_backup.backup}",
    )


# -- what is changed already -------------------------------------------------------


def find_unchanged(services: Services, incident: Incident) -> Unchanged:
    """Compare the sources with every affected backup, and with what a named secret was when the incident was
    opened; values are seen by nobody."""
    walk = _SourceWalk(services, incident)
    for affected_backup in _held(services, incident):
        try:
            _opened(services, incident, affected_backup, walk.see)
        except StrongroomError as error:
            walk.unknown[f"backup {affected_backup.backup}"] = _why(incident, affected_backup, error)
    return walk.result()


_ALL_GONE = (
    "it has none of the secrets: it is lost, or another one than the backups are of, as the local store of "
    "another host is. Repeat the step on the host that has it, or once it is back"
)


class _SourceWalk:
    """What all affected backups hold, and then one walk over the sources: each secret is read once."""

    def __init__(self, services: Services, incident: Incident) -> None:
        self._services = services
        self._named = unseal(services, incident.suspicion)
        self._meant = None if incident.suspicion.is_about_backups else frozenset(self._named.names)
        self._held: dict[str, dict[str, _Held]] = {source: {} for source in self._named.values}
        told = {name for values in self._named.values.values() for name in values}
        self._untold_then = frozenset(self._named.names) - told
        self._looked_at = self._unread = self._gone = self._appeared = self._settings = 0
        self.unknown: dict[str, str] = {}

    def see(self, backup: Backup) -> None:
        """Take in what a backup has of its secrets' values.

        Raises:
            ConfigError: the digests were made with another key.
        """
        if not backup.manifest.values:
            return
        source = backup.manifest.source
        check_digest_key(backup, value_digester(self._services.digest_key, source))
        held = self._held.setdefault(source, {})
        for name, digests in backup.digested():
            if self._meant is None or name in self._meant:
                held[name] = tuple(dict.fromkeys((*held.get(name, ()), *digests.items())))

    def result(self) -> Unchanged:
        """Return what is still as it was, and of what nobody can tell."""
        found: dict[str, tuple[str, ...]] = {}
        for source in self._held:
            try:
                found[source] = tuple(sorted(self._unchanged(source)))
            except StrongroomError as error:  # the other sources go on
                self.unknown[f"source {source}"] = f"{error.code}: {error.message}"
        return Unchanged(
            names={source: names for source, names in found.items() if names},
            looked_at=self._looked_at,
            gone=self._gone,
            unknown={**self.unknown, **dict(self._untold())},
            settings=self._settings,
        )

    def _unchanged(self, source: str) -> Iterator[str]:
        """Yield the secrets of a source whose current value others may know. Raises as the source does."""
        place, digest = self._services.source(source), value_digester(self._services.digest_key, source)
        held, gone = self._held[source], 0
        names = {**held, **self._named.values.get(source, {})}
        for batch in batches(names):
            for name, live in zip(
                batch, read_each(place, [ListedSecret(batch_name, 0) for batch_name in batch]), strict=True
            ):
                if isinstance(live, Secret) and is_setting(live.type, place):
                    self._settings += 1
                    continue
                self._looked_at += 1
                gone += live is None
                self._unread += live is not None and not isinstance(live, Secret)
                value = live.current.value if isinstance(live, Secret) else None
                if value is None:
                    continue
                # Under another number, as a restore writes it, a value is as well known.
                known = any(digest(name, number, value.reveal()) == was for number, was in held.get(name, ()))
                if known or self._named.was(source, name, value.reveal()):
                    yield name
                else:
                    self._appeared += name in self._untold_then and source not in self._named.unread
        self._gone += gone
        whole = self._meant is None  # a few named ones may all have been deleted, and the source not be empty
        if names and gone == len(names) and (whole or next(iter(place.list()), None) is None):
            self.unknown[f"source {source}"] = _ALL_GONE

    def _untold(self) -> Iterator[tuple[str, str]]:
        """Yield of what nobody can tell whether it is changed."""
        if self._unread:
            yield f"{self._unread:,} secrets", "their source lists them, and does not give them"
        for source in self._named.unread:
            said = (
                "it did not answer when the incident was opened, so nobody can tell which values the named "
                "secrets had then: give each another one there, then waive the step"
            )
            yield f"source {source} at the beginning", said
        if self._appeared:
            said = (
                "no source that was asked had them when the incident was opened, so nobody can tell: give "
                "each another value, then waive the step"
            )
            yield f"{self._appeared:,} of the named secrets at the beginning", said
        seen = {name for held in (*self._held.values(), *self._named.values.values()) for name in held}
        if lacking := set(self._named.names) - seen:
            said = "no backup and no source has them, so nothing can be compared"
            yield f"{len(lacking):,} of the named secrets", said
